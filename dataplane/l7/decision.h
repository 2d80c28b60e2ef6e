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
// So many of the next bytes belong to the body or to its chunk whatever they are, and need not be read.
[[nodiscard]] uint64_t skippable(const Body& body);
// Takes that many of them off it.
void pass(Body& body, uint64_t bytes);

// How the endpoint's answers to requests of a connection are read.
enum class AnswerKind : uint8_t {
  Unread,  // not at all: what the client has acknowledged while nothing more comes counts as an answer
  Http,    // as those of HTTP/1 (answers.h)
  Head,    // the same, without a body
};

struct Decision {
  Outcome outcome = Outcome::More;
  bool watched = false;         // later requests of this connection may go elsewhere: their heads must be read too
  bool proxy_protocol = false;  // the endpoint wants a PROXY header, version 2, before the first byte
  TargetId target = no_target;  // of Forward
  uint32_t rule = no_rule;      // which of the listener's rules, for people
  uint32_t head = 0;            // bytes of the head that decided; the body begins behind it
  uint32_t cut = 0;             // of those, that many from `cut_at` on are for the router, not for the endpoint
  uint32_t cut_at = 0;
  Body body;                                // of this request
  AnswerKind answers = AnswerKind::Unread;  // of Forward, if it is watched: to this request
  bool upgrade = false;     // what the client says behind the body is for another protocol if the answer agrees to it
  Bytes answer;             // of Answer: all there is to send. Lives until this thread asks a listener again
  std::string_view reason;  // of Answer and Reset: why, for people and as a label of counters: "no_host_rule"
  // Of Forward: the endpoint sees the client's address, not the router's.
  bool preserve_client = false;
};

// Why a connection to a target did not come about.
enum class Failure : uint8_t {
  Unavailable,  // the target has no endpoint
  Refused,      // none takes connections
  Unanswered,   // the last one that was tried says nothing
};

// What is at most offered to clients in the handshake, whatever endpoints can do (RFC 9293 section 3.7.1, RFC 7323, RFC
// 2018).
struct TcpLimits {
  uint16_t mss = 0xffff;  // bytes
  bool timestamps = true;
  bool sack = true;
  friend bool operator==(const TcpLimits&, const TcpLimits&) = default;
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
  // What to send to a client whose request, which `start` begins with, was forwarded to a target that failed; empty:
  // reset. Lives as long as the program.
  [[nodiscard]] virtual Bytes failed([[maybe_unused]] Bytes start, [[maybe_unused]] Failure failure) const {
    return {};
  }
  // What to send to a client whose request has a body that nobody can find the end of; empty: reset. Lives as long as
  // the program.
  [[nodiscard]] virtual Bytes bad_body() const { return {}; }
  // What connections are offered.
  [[nodiscard]] virtual TcpLimits tcp() const { return {}; }
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
