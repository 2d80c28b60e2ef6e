#include "tools/trafgen/turn_around.h"

#include <array>

namespace sluice::trafgen {
namespace {

template <size_t N>
void swap_bytes(uint8_t* a, uint8_t* b) {
  const auto kept = net::load<std::array<uint8_t, N>>(a);
  net::store(a, net::load<std::array<uint8_t, N>>(b));
  net::store(b, kept);
}

void write_checksum(const FrameView& view, net::ChecksumDelta delta) {
  uint8_t* at = view.data + view.checksum_offset();
  const auto old = net::load<uint16_t>(at);
  net::store(at, view.protocol == net::protocol::udp ? net::apply_udp(delta, old) : delta.apply(old));
}

}  // namespace

void swap_macs(uint8_t* frame) { swap_bytes<6>(frame, frame + 6); }

void turn_around(const FrameView& view) {
  swap_macs(view.data);
  if (view.tunnel != TunnelKind::None) {
    swap_bytes<4>(view.data + view.outer_l3 + 12, view.data + view.outer_l3 + 16);
    if (view.tunnel == TunnelKind::Vxlan) swap_macs(view.data + view.l3 - net::ethernet_header_length);
  }
  uint8_t* ip = view.data + view.l3;
  if (view.v4) {
    swap_bytes<4>(ip + 12, ip + 16);
  } else {
    swap_bytes<16>(ip + 8, ip + 24);
  }
  uint8_t* l4 = view.data + view.l4;
  if (view.icmp()) {
    const uint8_t request = view.v4 ? net::icmpv4::echo_request : net::icmpv6::echo_request;
    const uint8_t reply = view.v4 ? net::icmpv4::echo_reply : net::icmpv6::echo_reply;
    if (l4[0] == request) replace_word(view, l4, static_cast<uint16_t>(reply | l4[1] << 8));
    return;
  }
  swap_bytes<2>(l4, l4 + 2);
  if (view.protocol == net::protocol::tcp &&
      (l4[13] & (net::tcp_flag::syn | net::tcp_flag::ack)) == net::tcp_flag::syn) {
    replace_word(view, l4 + 12, static_cast<uint16_t>(l4[12] | (l4[13] | net::tcp_flag::ack) << 8));
  }
}

void replace_word(const FrameView& view, uint8_t* at, uint16_t wire) {
  net::ChecksumDelta delta;
  delta.replace16(net::load<uint16_t>(at), wire);
  net::store(at, wire);
  write_checksum(view, delta);
}

void replace_signature(const FrameView& view, const Signature& from, const Signature& to) {
  net::ChecksumDelta delta;
  delta.replace32(from.id, to.id)
      .replace32(from.sequence, to.sequence)
      .replace32(from.stamp, to.stamp)
      .replace32(from.guard, to.guard);
  to.write(view.data + view.payload);
  write_checksum(view, delta);
}

TcpAnswer answer_tcp(const FrameView& view) {
  using namespace net::tcp_flag;
  if (view.protocol != net::protocol::tcp || view.payload_length != 0) return TcpAnswer::None;
  uint8_t* l4 = view.data + view.l4;
  const uint8_t flags = view.tcp_flags();
  const uint32_t seq = net::load_be32(l4 + 4);
  const uint32_t ack = net::load_be32(l4 + 8);
  uint32_t answer_seq = 0;
  uint8_t answer_flags = 0;
  TcpAnswer answer = TcpAnswer::None;
  if ((flags & rst) != 0) return answer;
  if ((flags & (syn | net::tcp_flag::ack)) == syn) {
    answer = TcpAnswer::SynAck;
    answer_seq = seq + server_sequence_offset;
    answer_flags = syn | net::tcp_flag::ack;
  } else if ((flags & fin) != 0) {
    answer = TcpAnswer::FinAck;
    answer_seq = ack;
    answer_flags = fin | net::tcp_flag::ack;
  } else {
    return answer;
  }
  turn_around(view);
  net::ChecksumDelta delta;
  const auto old_seq = net::load<uint32_t>(l4 + 4);
  const auto old_ack = net::load<uint32_t>(l4 + 8);
  const auto old_flags = net::load<uint16_t>(l4 + 12);
  net::store_be32(l4 + 4, answer_seq);
  net::store_be32(l4 + 8, seq + 1);
  l4[13] = answer_flags;
  delta.replace32(old_seq, net::load<uint32_t>(l4 + 4))
      .replace32(old_ack, net::load<uint32_t>(l4 + 8))
      .replace16(old_flags, net::load<uint16_t>(l4 + 12));
  write_checksum(view, delta);
  return answer;
}

}  // namespace sluice::trafgen
