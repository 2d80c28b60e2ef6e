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
#pragma once

#include <cstdint>

#include "dataplane/net/headers.h"
#include "nat/flow.h"
#include "nat/tcp_end.h"

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

// Both ends of a connection, which are somebody else's.
class TcpWindows {
 public:
  TcpWindows(TcpEnd& original, TcpEnd& reply) : ends_{&original, &reply} {}

  [[nodiscard]] TcpEnd& of(Direction direction) const { return *ends_[static_cast<size_t>(direction)]; }
  // One past the highest number that this direction may send.
  [[nodiscard]] uint32_t max_end(Direction direction) const { return of(opposite(direction)).limit; }
  // Of the windows in segments that are no SYN: scaling holds if both SYNs offer it (CT-11).
  [[nodiscard]] uint32_t scale_of(Direction direction) const {
    return (ends_[0]->scales & ends_[1]->scales) != 0 ? of(direction).scale : 0;
  }
  // For advance_window: the connection is established, so its scales are what they are. False: an end has not spoken
  // or not acknowledged yet.
  [[nodiscard]] bool settle() const {
    if ((ends_[0]->scales & ends_[1]->scales) == 0) ends_[0]->scale = ends_[1]->scale = 0;
    return ends_[0]->seen() && ends_[1]->seen() && ends_[0]->has_acked != 0 && ends_[1]->has_acked != 0;
  }

 private:
  TcpEnd* ends_[2];  // by Direction
};

// Something that was sent waits for its acknowledgement.
[[nodiscard]] inline bool has_unacknowledged(const TcpEnd& one, const TcpEnd& other) {
  const auto waits = [](const TcpEnd& sender, const TcpEnd& receiver) {
    return sender.seen() && receiver.has_acked != 0 && seq_before(receiver.max_ack, sender.end);
  };
  return waits(one, other) || waits(other, one);
}

enum class WindowVerdict : uint8_t { Fits, Outside, Invalid };

// Judges a segment and, if it fits, learns from it. `opening`: the connection is not established yet, so a later SYN
// takes the place of an earlier one.
[[nodiscard]] WindowVerdict check_window(const TcpWindows& windows, Direction direction, const TcpSegment& segment,
                                         bool opening);

// A RST with this number is certainly of this connection's present (CT-14): the other end's highest acknowledgement,
// or right behind what the sender sent last.
[[nodiscard]] bool is_exact_reset(const TcpWindows& windows, Direction direction, uint32_t seq);
// It is older than what the other end has acknowledged (CT-14).
[[nodiscard]] bool is_stale_reset(const TcpWindows& windows, Direction direction, uint32_t seq);

// The server's SYN+ACK is the one that the windows began with, sent again (CT-5): no younger connection.
[[nodiscard]] bool is_known_syn_ack(const TcpWindows& windows, const TcpSegment& segment);

// The same as check_window for the ordinary segment: an ACK (is_plain_ack) of a connection whose windows settle().
// False: it does not fit or is not so ordinary, and nothing was changed. Otherwise it changes what is known of its
// sender, and only rarely of its receiver. `tcp`: the header, `length` bytes with its payload.
[[nodiscard]] bool advance_window(TcpEnd& sender, TcpEnd& receiver, const uint8_t* tcp, uint32_t length);

}  // namespace sluice::nat
