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
// more. Windows are kept in units of 256 bytes, rounded up: the check is lenient by less than that.
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
[[nodiscard]] constexpr uint32_t later(uint32_t a, uint32_t b) { return seq_before(a, b) ? b : a; }

// One end of a connection; all zero: nothing was seen of it.
struct TcpEnd {
  uint32_t end;         // one past the highest sequence number it sent
  uint32_t max_end;     // one past the highest it may send
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
  // Of the windows in segments that are no SYN: scaling holds if both SYNs offer it (CT-11).
  [[nodiscard]] uint32_t scale_of(Direction direction) const {
    return (ends[0].scales & ends[1].scales) != 0 ? of(direction).scale : 0;
  }
  // For advance_window: the connection is established, so its scales are what they are. False: an end has not spoken
  // or not acknowledged yet.
  [[nodiscard]] bool settle() {
    if ((ends[0].scales & ends[1].scales) == 0) ends[0].scale = ends[1].scale = 0;
    return ends[0].seen() && ends[1].seen() && ends[0].has_acked != 0 && ends[1].has_acked != 0;
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

// The server's SYN+ACK is the one that the windows began with, sent again (CT-5): no younger connection.
[[nodiscard]] bool is_known_syn_ack(const TcpWindows& windows, const TcpSegment& segment);

// The same as check_window for the ordinary segment: an ACK (is_plain_ack) of a connection whose windows settle().
// False: it does not fit or is not so ordinary, and nothing was changed. `tcp`: the header, `length` bytes with its
// payload.
[[nodiscard]] bool advance_window(TcpWindows& windows, Direction direction, const uint8_t* tcp, uint32_t length);

}  // namespace sluice::nat
