// The head of an HTTP/1 request: RFC 9112, held to strictly. What one reader takes for the end of a head, of a body or
// of a name and another does not is how requests are smuggled past rules, so whatever leaves a doubt is refused
// (ING-13).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dataplane/l7/decision.h"

namespace sluice::l7 {

// Longer heads are refused; with it what a worker keeps of a connection is bounded.
inline constexpr uint32_t most_head_bytes = 16384;

enum class HeadState : uint8_t { More, Whole, Bad };

// Views are into the bytes that were parsed.
struct HttpHead {
  HeadState state = HeadState::More;
  uint16_t status = 0;      // of Bad: 400, 431 or 505
  std::string_view reason;  // of Bad: "bare_carriage_return"
  uint32_t size = 0;        // bytes, with the empty line that ends it
  std::string_view method;
  std::string_view target;     // as it was sent
  std::string_view authority;  // host and maybe port: of the target if it has one, else of Host; may be empty
  std::string_view path;       // of the target, without its query; "*" of OPTIONS, empty of CONNECT
  std::string_view query;      // with the question mark that it begins with
  bool http10 = false;
  bool close = false;             // the client wants no further answer on this connection
  bool upgrade = false;           // what follows the body is another protocol's, if the endpoint agrees
  bool expects_continue = false;  // the body comes when the endpoint has said so, or after a while
  Body body;
};

// Of so many first bytes it can be said at once that they are no HTTP/1.
inline constexpr size_t strict_head_bytes = 64;
// Whether there is more to say of these first bytes of a request than of strict_head_bytes of them: the head seems to
// be whole, or is too long. Much cheaper than parse_http_head(); what ends the head for any reader ends it here.
[[nodiscard]] bool http_head_may_end(Bytes start);

// `start`: the first bytes of a request. Bad as early as it is certain; a request line that has been read stays so that
// it can be said what was refused.
[[nodiscard]] HttpHead parse_http_head(Bytes start);

}  // namespace sluice::l7
