#include "nat/tcp_window.h"

#include "dataplane/net/tcp_options.h"

namespace sluice::nat {
namespace {

using net::for_each_tcp_option;
namespace tcp_option = net::tcp_option;
using net::tcp_flag::ack;
using net::tcp_flag::rst;
using net::tcp_flag::syn;

// CT-10 (d): an acknowledgement may be this old, whatever the window. Bytes.
constexpr uint32_t least_ack_window = 66'000;

constexpr uint8_t most_scale = 14;  // RFC 7323 section 2.3: above is read as 14

// What the sender of a segment that fits has now sent, and what it allows the receiver.
// `offered`: bytes behind `acked`.
void learn(TcpEnd& sender, uint32_t end, uint32_t acked, uint32_t offered) {
  sender.end = later(sender.end, end);
  // A closed window is probed with one byte (RFC 9293 section 3.8.6.1).
  sender.limit = later(sender.limit, acked + offered + (offered == 0 ? 1 : 0));
}

// What a SYN says of its sender, which may send nothing else until it is answered.
void begin(TcpEnd& sender, TcpEnd& receiver, const TcpSegment& segment, uint32_t end) {
  sender = {.end = end, .limit = sender.limit};
  receiver.limit = end;
  for_each_tcp_option(segment.options, segment.options_length, [&](uint8_t kind, const uint8_t* value, uint8_t length) {
    if (kind == tcp_option::window_scale && length == 1) {
      sender.scales = 1;
      sender.scale = std::min(*value, most_scale) & 0xf;
    } else if (kind == tcp_option::sack_permitted && length == 0) {
      sender.sacks = 1;
    }
  });
  sender.offer(std::max<uint32_t>(segment.window, 1));
}

// The first that is seen of this end is not its SYN: no scale is known, what it sends is taken for what it may.
void begin_in_the_middle(TcpEnd& sender, TcpEnd& receiver, const TcpSegment& segment, uint32_t end, uint32_t sack) {
  sender.end = end;
  sender.offer(std::max<uint32_t>(segment.window, 1));
  receiver.limit = end + sender.window_bytes();
  if (!receiver.seen()) {
    receiver.end = sender.limit = sack;
  } else if (sack == receiver.end + 1) {  // the answer to a keepalive (RFC 9293 section 3.8.4)
    ++receiver.end;
  }
}

// The highest number that is acknowledged, selectively or not (CT-12).
uint32_t highest_acknowledged(const TcpEnd& receiver, const TcpSegment& segment) {
  uint32_t highest = segment.ack;
  if (receiver.sacks == 0) return highest;
  for_each_tcp_option(segment.options, segment.options_length, [&](uint8_t kind, const uint8_t* value, uint8_t length) {
    if (kind != tcp_option::sack) return;
    for (unsigned block = 0; block + 8U <= length; block += 8) {
      const uint32_t right = net::load_be32(value + block + 4);
      if (seq_before(highest, right)) highest = right;
    }
  });
  return highest;
}

// Rare in an established connection: a larger window than ever, or more than was allowed.
[[gnu::noinline, gnu::cold]] void grow(TcpEnd& sender, TcpEnd& receiver, uint32_t end, uint32_t offered) {
  if (seq_before(receiver.limit, end)) receiver.offer(receiver.window_bytes() + (end - receiver.limit));
  sender.offer(offered);
}

}  // namespace

WindowVerdict check_window(const TcpWindows& windows, Direction direction, const TcpSegment& segment, bool opening) {
  TcpEnd& sender = windows.of(direction);
  TcpEnd& receiver = windows.of(opposite(direction));
  const bool is_syn = (segment.flags & syn) != 0;
  const bool is_rst = (segment.flags & rst) != 0;
  uint32_t seq = segment.seq;
  uint32_t end = seq + segment.sequence_length();
  uint32_t acked = segment.ack;
  uint32_t sack = highest_acknowledged(receiver, segment);

  const bool new_syn = is_syn && opening && seq_before(sender.end, end);
  if (is_syn && (!sender.seen() || new_syn)) {
    begin(sender, receiver, segment, end);
    if ((segment.flags & ack) == 0) return WindowVerdict::Fits;  // of either end (CT-6)
  } else if (!sender.seen()) {
    begin_in_the_middle(sender, receiver, segment, end, sack);
  }
  // A RST that acknowledges nothing, by its flags or by zero, as broken stacks send it.
  if ((segment.flags & ack) == 0 || (is_rst && acked == 0)) acked = sack = receiver.end;
  // The answer to a SYN.
  if (is_rst && seq == 0 && opening) seq = end = sender.end;

  if (seq_before(receiver.limit, seq)) return WindowVerdict::Invalid;                                           // (a)
  if (receiver.seen() && seq_before(end, sender.end - receiver.window_bytes())) return WindowVerdict::Outside;  // (b)
  if (seq_before(receiver.end, sack)) return WindowVerdict::Invalid;                                            // (c)
  if (seq_before(sack, receiver.end - std::max(sender.window_bytes(), least_ack_window))) {                     // (d)
    return WindowVerdict::Outside;
  }

  const uint32_t offered = uint32_t{segment.window} << (is_syn ? 0 : windows.scale_of(direction));
  if (receiver.seen() && seq_before(receiver.limit, end)) {
    receiver.offer(receiver.window_bytes() + (end - receiver.limit));
  }
  sender.offer(uint64_t{offered} + (sack - acked));
  if ((segment.flags & ack) != 0) sender.acknowledge(acked);
  learn(sender, end, sack, offered);
  return WindowVerdict::Fits;
}

bool advance_window(TcpEnd& sender, TcpEnd& receiver, const uint8_t* tcp, uint32_t length) {
  // Without options or with a timestamp as RFC 7323 appendix A lays it out: no selective acknowledgement.
  constexpr uint32_t nop_nop_timestamp = 0x0101080a;
  const uint32_t header = (tcp[12] >> 4) * 4U;
  if (header != net::tcp_header_length &&
      (header != net::tcp_header_length + 12 || net::load_be32(tcp + 20) != nop_nop_timestamp))
    return false;
  const uint32_t seq = net::load_be32(tcp + 4);
  const uint32_t ack = net::load_be32(tcp + 8);
  const uint32_t end = seq + (length - header);
  const uint32_t own = sender.window_bytes();
  // CT-10 (a) to (d): each difference is negative if the segment does not fit.
  const uint32_t misfit = (receiver.limit - seq) | (end - sender.end + receiver.window_bytes()) | (receiver.end - ack) |
                          (ack - receiver.end + std::max(own, least_ack_window));
  if (static_cast<int32_t>(misfit) < 0) [[unlikely]]
    return false;
  const uint32_t offered = uint32_t{net::load_be16(tcp + 14)} << sender.scale;
  if (static_cast<int32_t>((own - offered) | (receiver.limit - end)) < 0) [[unlikely]]
    grow(sender, receiver, end, offered);
  sender.max_ack = later(sender.max_ack, ack);
  learn(sender, end, ack, offered);
  return true;
}

bool is_exact_reset(const TcpWindows& windows, Direction direction, uint32_t seq) {
  const TcpEnd& receiver = windows.of(opposite(direction));
  return (receiver.has_acked != 0 && seq == receiver.max_ack) || seq == windows.of(direction).end;
}

bool is_stale_reset(const TcpWindows& windows, Direction direction, uint32_t seq) {
  const TcpEnd& receiver = windows.of(opposite(direction));
  return receiver.has_acked != 0 && seq_before(seq, receiver.max_ack);
}

bool is_known_syn_ack(const TcpWindows& windows, const TcpSegment& segment) {
  return segment.ack == windows.of(Direction::Original).end &&
         segment.seq + segment.sequence_length() == windows.of(Direction::Reply).end;
}

}  // namespace sluice::nat
