// TCP window tracking: is a segment one that its connection can carry now? Specification section 5.3; the idea is that
// of G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000).
//
// A router sees both directions, so of each end it knows what the end has sent (`end`), what the other end has allowed
// it to send (`max_end`), the largest window it offered and the highest number it acknowledged. A segment fits if
//
//   CT-10 (a)  it begins within what the receiver allowed                             else Invalid
//         (b)  it reaches into what the receiver may not have yet                     else Outside
//         (c)  it acknowledges nothing that was not sent                              else Invalid
//         (d)  its acknowledgement is not older than a window (at least 66 000 bytes) else Outside
//
// Outside (CT-16) is what a lost acknowledgement leads to: data sent again that the receiver has, or an acknowledgement
// that was overtaken. It must reach the other end, or the connection stalls for ever; it teaches the router nothing.
//
// Half of a cache line per connection, so that ordinary segments of established connections read and write that and no
// more. Windows are kept in units of the end's own scale, rounded up: with scale s the check is lenient by less than
// 2^s bytes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "dataplane/net/headers.h"
#include "nat/flow.h"

namespace sluice::nat {

// What tracking reads of a segment. Host byte order.
struct TcpSegment {
  uint8_t flags = 0;  // net::tcp_flag
  uint32_t seq = 0;
  uint32_t ack = 0;
  uint32_t length = 0;  // bytes of payload
  uint16_t window = 0;  // as in the header, unscaled
  uint8_t options_length = 0;
  const uint8_t* options = nullptr;  // the packet's

  // Sequence numbers it takes (RFC 9293 section 3.4).
  [[nodiscard]] uint32_t sequence_length() const {
    return length + ((flags & net::tcp_flag::syn) != 0) + ((flags & net::tcp_flag::fin) != 0);
  }
};

// Sequence numbers are compared modulo 2^32.
[[nodiscard]] constexpr bool seq_before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

// One end of a connection; all zero: nothing was seen of it.
struct TcpEnd {
  uint32_t end;               // one past the highest sequence number it sent
  uint32_t max_end;           // one past the highest it may send
  uint32_t max_ack;           // highest acknowledgement it sent, if has_acked
  uint32_t window : 21;       // largest it offered, in 2^scale bytes; 0: it has sent nothing yet
  uint32_t scale : 4;         // of the windows in its segments (RFC 7323)
  uint32_t wanted_scale : 4;  // by its SYN's option,
  uint32_t scales : 1;        // if there was one
  uint32_t sacks : 1;         // its SYN permitted selective acknowledgements (RFC 2018)
  uint32_t has_acked : 1;

  [[nodiscard]] bool seen() const { return window != 0; }
  [[nodiscard]] uint32_t window_bytes() const { return window << scale; }
  // Remembers a window of `bytes` if it is the largest yet.
  void offer(uint32_t bytes) {
    constexpr uint32_t most = (1U << 21) - 1;
    const uint32_t units = std::min(most, static_cast<uint32_t>((uint64_t{bytes} + (1U << scale) - 1) >> scale));
    if (units > window) window = units;
  }
  void acknowledge(uint32_t number) {
    if (has_acked == 0 || seq_before(max_ack, number)) max_ack = number;
    has_acked = 1;
  }
};

// By Direction.
struct alignas(32) TcpWindows {
  TcpEnd ends[2];

  [[nodiscard]] TcpEnd& of(Direction direction) { return ends[static_cast<size_t>(direction)]; }
  [[nodiscard]] const TcpEnd& of(Direction direction) const { return ends[static_cast<size_t>(direction)]; }
  // Something that was sent waits for its acknowledgement.
  [[nodiscard]] bool has_unacknowledged() const {
    const auto waits = [](const TcpEnd& sender, const TcpEnd& receiver) {
      return sender.seen() && receiver.has_acked != 0 && seq_before(receiver.max_ack, sender.end);
    };
    return waits(ends[0], ends[1]) || waits(ends[1], ends[0]);
  }
};
static_assert(sizeof(TcpWindows) == 32);

enum class WindowVerdict : uint8_t { Fits, Outside, Invalid };

// Judges a segment and, if it fits, learns from it. `opening`: the connection is not established yet, so a later SYN
// takes the place of an earlier one.
[[nodiscard]] WindowVerdict check_window(TcpWindows& windows, Direction direction, const TcpSegment& segment,
                                         bool opening);

// A RST with this number is certainly of this connection's present (CT-14): the other end's highest acknowledgement,
// or right behind what the sender sent last.
[[nodiscard]] bool is_exact_reset(const TcpWindows& windows, Direction direction, uint32_t seq);
// It is older than what the other end has acknowledged (CT-14).
[[nodiscard]] bool is_stale_reset(const TcpWindows& windows, Direction direction, uint32_t seq);

// The same as check_window for the ordinary segment: an ACK (is_plain_ack) between ends that are both known. False:
// it does not fit or is not so ordinary, and nothing was changed. `tcp`: the header, `length` bytes with its payload.
[[nodiscard, gnu::always_inline]] inline bool advance_window(TcpWindows& windows, Direction direction,
                                                             const uint8_t* tcp, uint32_t length) {
  TcpEnd& sender = windows.of(direction);
  TcpEnd& receiver = windows.of(opposite(direction));
  // Without options or with a timestamp as RFC 7323 appendix A lays it out: no selective acknowledgement.
  constexpr uint32_t nop_nop_timestamp = 0x0101080a;
  const uint32_t header = (tcp[12] >> 4) * 4U;
  const bool ordinary = header == net::tcp_header_length ||
                        (header == net::tcp_header_length + 12 && net::load_be32(tcp + 20) == nop_nop_timestamp);
  const uint32_t seq = net::load_be32(tcp + 4);
  const uint32_t ack = net::load_be32(tcp + 8);
  const uint32_t end = seq + (length - header);
  const uint32_t own = sender.window_bytes();
  constexpr uint32_t least_ack_window = 66'000;
  const bool fits = !seq_before(sender.max_end, seq) && !seq_before(end, sender.end - receiver.window_bytes()) &&
                    !seq_before(receiver.end, ack) && !seq_before(ack, receiver.end - std::max(own, least_ack_window));
  if (!(ordinary & fits & sender.seen() & receiver.seen() & (sender.has_acked != 0))) return false;
  // Rare in an established connection: a larger window than ever, or more than was allowed.
  const uint32_t offered = uint32_t{net::load_be16(tcp + 14)} << sender.scale;
  if (offered > own || seq_before(sender.max_end, end)) [[unlikely]] {
    if (seq_before(sender.max_end, end)) receiver.offer(receiver.window_bytes() + (end - sender.max_end));
    sender.offer(offered);
  }
  if (seq_before(sender.end, end)) sender.end = end;
  if (seq_before(sender.max_ack, ack)) sender.max_ack = ack;
  const uint32_t allowed = ack + offered + (offered == 0 ? 1 : 0);
  if (seq_before(receiver.max_end, allowed)) receiver.max_end = allowed;
  return true;
}

}  // namespace sluice::nat
