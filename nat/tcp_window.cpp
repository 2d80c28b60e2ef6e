#include "nat/tcp_window.h"

namespace sluice::nat {
namespace {

using net::tcp_flag::ack;
using net::tcp_flag::rst;
using net::tcp_flag::syn;

// TCP option kinds (IANA "TCP Option Kind Numbers").
constexpr uint8_t option_end = 0;
constexpr uint8_t option_nop = 1;
constexpr uint8_t option_window_scale = 3;
constexpr uint8_t option_sack_permitted = 4;
constexpr uint8_t option_sack = 5;

constexpr uint8_t most_scale = 14;  // RFC 7323 section 2.3: above is read as 14

// Calls fn(kind, value, length of value) for each option; stops at one that is malformed.
template <class Fn>
void for_each_option(const TcpSegment& segment, Fn fn) {
  const uint8_t* const options = segment.options;
  for (uint32_t at = 0; at < segment.options_length;) {
    const uint8_t kind = options[at];
    if (kind == option_end) return;
    if (kind == option_nop) {
      ++at;
      continue;
    }
    if (at + 2U > segment.options_length) return;
    const uint8_t length = options[at + 1];
    if (length < 2 || at + length > segment.options_length) return;
    fn(kind, options + at + 2, static_cast<uint8_t>(length - 2));
    at += length;
  }
}

// What a SYN says of its sender. Scaling holds if both SYNs offer it (CT-11).
void begin(TcpEnd& sender, TcpEnd& receiver, const TcpSegment& segment, uint32_t end) {
  sender = {};
  sender.end = sender.max_end = end;
  for_each_option(segment, [&](uint8_t kind, const uint8_t* value, uint8_t length) {
    if (kind == option_window_scale && length == 1) {
      sender.scales = 1;
      sender.wanted_scale = std::min(*value, most_scale) & 0xf;
    } else if (kind == option_sack_permitted && length == 0) {
      sender.sacks = 1;
    }
  });
  if ((sender.scales & receiver.scales) != 0) {
    sender.scale = sender.wanted_scale;
    const uint32_t bytes = receiver.window_bytes();
    receiver.scale = receiver.wanted_scale;
    receiver.window = 0;
    receiver.offer(bytes);
  }
  sender.offer(std::max<uint32_t>(segment.window, 1));
}

// The first that is seen of this end is not its SYN: no scale is known, what it sends is taken for what it may.
void begin_in_the_middle(TcpEnd& sender, TcpEnd& receiver, const TcpSegment& segment, uint32_t end, uint32_t sack) {
  sender.end = end;
  sender.offer(std::max<uint32_t>(segment.window, 1));
  sender.max_end = end + sender.window_bytes();
  if (!receiver.seen()) {
    receiver.end = receiver.max_end = sack;
  } else if (sack == receiver.end + 1) {  // the answer to a keepalive (RFC 9293 section 3.8.4)
    ++receiver.end;
  }
}

// The highest number that is acknowledged, selectively or not (CT-12).
uint32_t highest_acknowledged(const TcpEnd& receiver, const TcpSegment& segment) {
  uint32_t highest = segment.ack;
  if (receiver.sacks == 0) return highest;
  for_each_option(segment, [&](uint8_t kind, const uint8_t* value, uint8_t length) {
    if (kind != option_sack) return;
    for (unsigned block = 0; block + 8U <= length; block += 8) {
      const uint32_t right = net::load_be32(value + block + 4);
      if (seq_before(highest, right)) highest = right;
    }
  });
  return highest;
}

}  // namespace

WindowVerdict check_window(TcpWindows& windows, Direction direction, const TcpSegment& segment, bool opening) {
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

  if (seq_before(sender.max_end, seq)) return WindowVerdict::Invalid;                                           // (a)
  if (receiver.seen() && seq_before(end, sender.end - receiver.window_bytes())) return WindowVerdict::Outside;  // (b)
  if (seq_before(receiver.end, sack)) return WindowVerdict::Invalid;                                            // (c)
  constexpr uint32_t least_ack_window = 66'000;
  if (seq_before(sack, receiver.end - std::max(sender.window_bytes(), least_ack_window))) {  // (d)
    return WindowVerdict::Outside;
  }

  const uint32_t offered = uint32_t{segment.window} << (is_syn ? 0 : sender.scale);
  if (receiver.seen() && seq_before(sender.max_end, end)) {
    receiver.offer(receiver.window_bytes() + (end - sender.max_end));
  }
  sender.offer(offered + (sack - acked));
  if (seq_before(sender.end, end)) sender.end = end;
  if ((segment.flags & ack) != 0) sender.acknowledge(acked);
  const uint32_t allowed = sack + offered + (offered == 0 ? 1 : 0);
  if (seq_before(receiver.max_end, allowed)) receiver.max_end = allowed;
  return WindowVerdict::Fits;
}

bool is_exact_reset(const TcpWindows& windows, Direction direction, uint32_t seq) {
  const TcpEnd& receiver = windows.of(opposite(direction));
  return (receiver.has_acked != 0 && seq == receiver.max_ack) || seq == windows.of(direction).end;
}

bool is_stale_reset(const TcpWindows& windows, Direction direction, uint32_t seq) {
  const TcpEnd& receiver = windows.of(opposite(direction));
  return receiver.has_acked != 0 && seq_before(seq, receiver.max_ack);
}

}  // namespace sluice::nat
