// What is known of one end of a TCP connection: what its segments said. Kept in the Flow of the direction that it sends
// (flow.h), so that an ordinary segment writes nothing but its own flow's line; the rules are in tcp_window.h.
//
// Windows are kept in units of 256 bytes, rounded up: the check is lenient by less than that.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice::nat {

// Sequence numbers are compared modulo 2^32.
[[nodiscard]] constexpr bool seq_before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }
[[nodiscard]] constexpr uint32_t later(uint32_t a, uint32_t b) { return seq_before(a, b) ? b : a; }

// All zero: nothing was seen of it.
struct TcpEnd {
  uint32_t end;         // one past the highest sequence number it sent
  uint32_t limit;       // one past the highest it allows the other end to send
  uint32_t max_ack;     // highest acknowledgement it sent, if has_acked
  uint32_t scale : 4;   // of the windows in its segments (RFC 7323) if the other end scales too
  uint32_t scales : 1;  // its SYN had that option
  uint32_t sacks : 1;   // its SYN permitted selective acknowledgements (RFC 2018)
  uint32_t has_acked : 1;
  uint32_t reserved : 1;
  uint32_t window : 24;  // largest it offered, in units of 256 bytes; 0: it has sent nothing yet

  [[nodiscard]] bool seen() const { return window != 0; }
  [[nodiscard]] uint32_t window_bytes() const { return window << 8; }
  // Remembers a window of `bytes` if it is the largest yet. Half the sequence space is more than any.
  void offer(uint64_t bytes) {
    const auto units = static_cast<uint32_t>(std::min<uint64_t>((bytes + 255) >> 8, (1U << 23) - 1));
    if (units > window) window = units & 0xffffff;
  }
  void acknowledge(uint32_t number) {
    if (has_acked == 0 || seq_before(max_ack, number)) max_ack = number;
    has_acked = 1;
  }
};
static_assert(sizeof(TcpEnd) == 16);

}  // namespace sluice::nat
