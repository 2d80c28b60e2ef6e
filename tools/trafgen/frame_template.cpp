#include "tools/trafgen/frame_template.h"

#include <algorithm>

#include "encap/vxlan.h"
#include "tools/trafgen/pattern.h"

namespace sluice::trafgen {
namespace {

namespace proto = net::protocol;

uint8_t number_of(Protocol protocol, bool v4) {
  switch (protocol) {
    case Protocol::Udp:
      return proto::udp;
    case Protocol::Tcp:
      return proto::tcp;
    case Protocol::Icmp:
      return v4 ? proto::icmp : proto::icmpv6;
  }
  return proto::udp;
}

void write_ethernet(uint8_t* out, const net::MacAddr& src, const net::MacAddr& dst, uint16_t type) {
  net::store(out, dst);
  net::store(out + 6, src);
  net::store_be16(out + 12, type);
}

// Without addresses and checksum. DF, as hosts send.
void write_ipv4(uint8_t* out, uint16_t total_length, uint8_t ttl, uint8_t protocol) {
  out[0] = 0x45;
  net::store_be16(out + 2, total_length);
  net::store_be16(out + 6, net::ipv4_dont_fragment);
  out[8] = ttl;
  out[9] = protocol;
}

}  // namespace

FrameTemplate::FrameTemplate(const FrameSpec& spec)
    : v4_(spec.family == net::Family::V4), protocol_(spec.protocol), tunnel_(spec.tunnel.kind) {
  const uint16_t l3_length = v4_ ? net::ipv4_header_length : net::ipv6_header_length;
  const uint16_t l4_header = protocol_ == Protocol::Tcp ? net::tcp_header_length : net::udp_header_length;
  const int room = spec.size - net::ethernet_header_length - l3_length - l4_header;
  payload_length_ = spec.bare_tcp ? 0 : static_cast<uint16_t>(std::max<int>(room, signature_length));
  const auto l4_length = static_cast<uint16_t>(l4_header + payload_length_);

  build_outer(spec, static_cast<uint16_t>(l3_length + l4_length));
  l4_ = static_cast<uint16_t>(l3_ + l3_length);
  payload_ = static_cast<uint16_t>(l4_ + l4_header);
  length_ = std::max<uint16_t>(static_cast<uint16_t>(payload_ + payload_length_), 60);
  build_l3(spec, l4_length);
  build_l4(spec);
}

void FrameTemplate::build_outer(const FrameSpec& spec, uint16_t inner_length) {
  const TunnelProfile& tunnel = spec.tunnel;
  uint8_t* out = bytes_.data();
  const uint16_t inner_type = v4_ ? net::ether_type_ipv4 : net::ether_type_ipv6;
  l3_ = net::ethernet_header_length;
  if (tunnel_ == TunnelKind::None) {
    write_ethernet(out, spec.src_mac, spec.dst_mac, inner_type);
    return;
  }
  write_ethernet(out, spec.src_mac, spec.dst_mac, net::ether_type_ipv4);
  outer_src_ = tunnel.src;
  outer_dst_ = tunnel.dst;
  outer_src_count_ = Divider(outer_src_.count);
  outer_dst_count_ = Divider(outer_dst_.count);
  uint8_t* ip = out + l3_;
  if (tunnel_ == TunnelKind::Ipip) {
    write_ipv4(ip, static_cast<uint16_t>(inner_length + net::ipv4_header_length), 64, v4_ ? proto::ipip : proto::ipv6);
    l3_ = static_cast<uint16_t>(l3_ + net::ipv4_header_length);
  } else {
    const auto udp_length = static_cast<uint16_t>(inner_length + encap::vxlan_length);
    write_ipv4(ip, static_cast<uint16_t>(udp_length + net::ipv4_header_length), 64, proto::udp);
    uint8_t* udp = ip + net::ipv4_header_length;
    net::store_be16(udp + 2, tunnel.port);
    net::store_be16(udp + 4, udp_length);
    udp[8] = encap::vxlan_flag_vni;
    net::store_be32(udp + 12, tunnel.vni << 8);
    write_ethernet(udp + 16, tunnel.inner_src, tunnel.inner_dst, inner_type);
    l3_ = static_cast<uint16_t>(l3_ + net::ipv4_header_length + encap::vxlan_length);
  }
  outer_sum_ = net::checksum_sum(ip, net::ipv4_header_length);
}

void FrameTemplate::build_l3(const FrameSpec& spec, uint16_t l4_length) {
  uint8_t* ip = bytes_.data() + l3_;
  const uint8_t number = number_of(protocol_, v4_);
  if (v4_) {
    write_ipv4(ip, static_cast<uint16_t>(l4_length + net::ipv4_header_length), spec.ttl, number);
    ip_sum_ = net::checksum_sum(ip, net::ipv4_header_length);
  } else {
    ip[0] = 0x60;
    net::store_be16(ip + 4, l4_length);
    ip[6] = number;
    ip[7] = spec.ttl;
  }
  // The pseudo header's share; ICMP over IPv4 has none.
  if (protocol_ != Protocol::Icmp || !v4_) {
    l4_sum_ = uint64_t{net::be16::from_host(l4_length).wire()} + net::be16::from_host(number).wire();
  }
}

void FrameTemplate::build_l4(const FrameSpec& spec) {
  uint8_t* l4 = bytes_.data() + l4_;
  const uint16_t header = static_cast<uint16_t>(payload_ - l4_);
  switch (protocol_) {
    case Protocol::Udp:
      net::store_be16(l4 + 4, static_cast<uint16_t>(header + payload_length_));
      checksum_ = static_cast<uint16_t>(l4_ + 6);
      break;
    case Protocol::Tcp:
      net::store_be32(l4 + 4, 1);
      net::store_be32(l4 + 8, 1);
      net::store<uint16_t>(l4 + 12, tcp_ack_word);
      net::store_be16(l4 + 14, 0xffff);  // window
      checksum_ = static_cast<uint16_t>(l4_ + 16);
      bare_fields_sum_ = net::checksum_fold(net::checksum_sum(l4 + 4, 10));
      break;
    case Protocol::Icmp:
      l4[0] = v4_ ? net::icmpv4::echo_request : net::icmpv6::echo_request;
      checksum_ = static_cast<uint16_t>(l4_ + 2);
      break;
  }
  if (!spec.bare_tcp) {
    const Pattern& pattern = Pattern::get();
    std::memcpy(bytes_.data() + payload_ + signature_length, pattern.tail(), payload_length_ - signature_length);
  }
  l4_sum_ = net::checksum_sum(l4, static_cast<size_t>(header) + payload_length_, l4_sum_);
}

void FrameTemplate::write_outer(uint8_t* out, uint32_t flow) const {
  uint8_t* ip = out + net::ethernet_header_length;
  const auto pick = [flow](const AddrRange& range, const Divider& count) {
    const uint32_t index = flow - count.quotient(flow) * count.divisor();
    return __builtin_bswap32(static_cast<uint32_t>(range.low_at(index)));
  };
  const uint32_t src = pick(outer_src_, outer_src_count_);
  const uint32_t dst = pick(outer_dst_, outer_dst_count_);
  net::store(ip + 12, src);
  net::store(ip + 16, dst);
  net::store(ip + 10, static_cast<uint16_t>(~net::checksum_fold(outer_sum_ + src + dst)));
  if (tunnel_ == TunnelKind::Vxlan) {
    net::store_be16(ip + net::ipv4_header_length, static_cast<uint16_t>(49152 + (flow * 0x9e3779b1U >> 18)));
  }
}

}  // namespace sluice::trafgen
