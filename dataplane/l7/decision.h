// What the first bytes of a connection decide, for addresses where they do: a listener reads what the client has sent
// so far and says whether that is enough, and if so where the connection goes or how the router itself answers.
//
// A listener is made by the control thread, const afterwards and shared by all workers. It keeps nothing of a
// connection: the worker has the bytes, and the little that must be remembered between two requests is a `Body`.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "dataplane/net/addr.h"

namespace sluice::l7 {

using Bytes = std::span<const uint8_t>;

// A service port that rules lead to: the number of its hidden frontend (target_address).
using TargetId = uint32_t;
inline constexpr TargetId no_target = 0xffffffff;
inline constexpr uint32_t no_rule = 0xffffffff;

enum class Outcome : uint8_t {
  More,     // the bytes so far decide nothing yet
  Forward,  // to an endpoint of the target
  Answer,   // the router answers itself and closes the connection
  Reset,    // there is nothing that could be answered: the connection is reset
};
// snake_case, stable: "forward".
[[nodiscard]] std::string_view name(Outcome outcome);

// Where the body of a request ends (RFC 9112 section 6.3).
enum class Framing : uint8_t {
  None,     // right behind the head
  Length,   // after `remaining` bytes
  Chunked,  // behind the last chunk and the trailers
  Endless,  // never: upgraded connections, CONNECT, whatever is not HTTP/1
};

// What a connection's worker remembers of the request it is in. Bytes of it that have passed are taken off by skip().
struct Body {
  uint64_t remaining = 0;  // of the body, or of the chunk
  Framing framing = Framing::None;
  uint8_t state = 0;  // within the line of a chunk: request_body.cpp
  [[nodiscard]] bool done() const { return framing == Framing::None; }
};

struct Skipped {
  uint32_t bytes = 0;  // of the data belong to this body; what is behind them begins the next head
  bool bad = false;    // no chunk is written like that: the connection must not go on (RFC 9112 section 7.1)
};
// Takes what of `data` belongs to the body off it. `body.done()` afterwards: the body ends with these bytes.
[[nodiscard]] Skipped skip(Body& body, Bytes data);

struct Decision {
  Outcome outcome = Outcome::More;
  bool watched = false;         // later requests of this connection may go elsewhere: their heads must be read too
  bool proxy_protocol = false;  // the endpoint wants a PROXY header, version 2, before the first byte
  TargetId target = no_target;  // of Forward
  uint32_t rule = no_rule;      // which of the listener's rules, for people
  uint32_t head = 0;            // bytes of the head that decided; the body begins behind it
  uint32_t cut = 0;             // of those, that many from `cut_at` on are for the router, not for the endpoint
  uint32_t cut_at = 0;
  Body body;                // of this request
  Bytes answer;             // of Answer: all there is to send. Lives until this thread asks a listener again
  Bytes unavailable;        // of Forward: what to send if the target has no endpoint; empty: reset. Lives so, too
  std::string_view reason;  // of Answer and Reset: why, for people and as a label of counters: "no_host_rule"
  // Of Forward: the endpoint sees the client's address, not the router's.
  bool preserve_client = false;
};

// An address whose connections are bound late.
class Listener {
 public:
  virtual ~Listener() = default;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Of the first bytes of a connection, or of the head of a later request of it: always from the first byte on that
  // decides, so it is asked again with more. Neither allocates nor throws.
  [[nodiscard]] virtual Decision decide(Bytes start) const = 0;
  // What a client may wait for before it says enough; empty: nothing. `start`: what there is, which decides nothing
  // yet. Lives as long as the program.
  [[nodiscard]] virtual Bytes greeting([[maybe_unused]] Bytes start) const { return {}; }
  // The same as decide(), of a connection whose client was sent the greeting.
  [[nodiscard]] virtual Decision decide_greeted(Bytes start) const { return decide(start); }
  // What to send to a client whose head did not come in time, or whose head is longer than most_bytes(). `start`: what
  // there is of it. Lives until this thread asks a listener again.
  [[nodiscard]] virtual Bytes timed_out([[maybe_unused]] Bytes start = {}) const { return {}; }
  [[nodiscard]] virtual Bytes too_long([[maybe_unused]] Bytes start = {}) const { return {}; }
  // Until the head of a connection's first request has to be there. 0: the worker's own default.
  [[nodiscard]] virtual uint32_t head_seconds() const { return 0; }
  // More bytes than these are never needed to decide.
  [[nodiscard]] virtual uint32_t most_bytes() const = 0;

 protected:
  Listener() = default;
};

// The hidden frontend of a target in the service table, which no packet can name: port 0 and protocol TCP of an address
// of "this network" (RFC 1122 section 3.2.1.3), in ::/96 for IPv6. Targets are below 2^24.
template <class Addr>
[[nodiscard]] inline Addr target_address(TargetId target) {
  if constexpr (std::is_same_v<Addr, net::Ipv4Addr>) {
    return net::Ipv4Addr::from_host(target);
  } else {
    net::Ipv6Addr addr;
    for (size_t i = 0; i < 4; ++i) addr.bytes[15 - i] = static_cast<uint8_t>(target >> 8 * i);
    return addr;
  }
}

}  // namespace sluice::l7
