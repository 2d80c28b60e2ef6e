// Where things are in a received frame, tunnel taken off. Reading copies nothing; offsets count from the frame's
// first byte.
#pragma once

#include <cstdint>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "encap/vxlan.h"
#include "tools/trafgen/profile.h"
#include "tools/trafgen/range.h"

namespace sluice::trafgen {

enum class FrameKind : uint8_t {
  Packet,  // UDP, TCP or ICMP, whole
  Arp,
  Other,      // fragments, other protocols
  Malformed,  // lengths contradict each other
};

struct FrameView {
  uint8_t* data = nullptr;
  uint16_t length = 0;  // of the frame
  uint16_t l3 = 0, l4 = 0, payload = 0;
  uint16_t l4_length = 0;       // header and payload
  uint16_t payload_length = 0;  // what the lengths in IP and L4 header say
  uint16_t outer_l3 = 0;        // 0: no tunnel
  FrameKind kind = FrameKind::Other;
  TunnelKind tunnel = TunnelKind::None;
  bool v4 = true;
  bool ip_checksum_ok = true;  // of all IPv4 headers, and a VXLAN checksum if there is one
  uint8_t protocol = 0;
  uint32_t vni = 0;

  [[nodiscard]] const uint8_t* ip() const { return data + l3; }
  [[nodiscard]] bool icmp() const { return protocol == (v4 ? net::protocol::icmp : net::protocol::icmpv6); }
  // An echo request or reply.
  [[nodiscard]] bool echo() const {
    const uint8_t type = data[l4];
    return icmp() && (v4 ? type == net::icmpv4::echo_request || type == net::icmpv4::echo_reply
                         : type == net::icmpv6::echo_request || type == net::icmpv6::echo_reply);
  }
  [[nodiscard]] WideAddr src() const { return v4 ? WideAddr{0, net::load_be32(ip() + 12)} : wide(ip() + 8); }
  [[nodiscard]] WideAddr dst() const { return v4 ? WideAddr{0, net::load_be32(ip() + 16)} : wide(ip() + 24); }
  [[nodiscard]] uint16_t src_port() const { return net::load_be16(data + l4 + (icmp() ? 4 : 0)); }
  [[nodiscard]] uint16_t dst_port() const { return icmp() ? 0 : net::load_be16(data + l4 + 2); }
  [[nodiscard]] uint8_t ttl() const { return ip()[v4 ? 8 : 7]; }
  [[nodiscard]] uint8_t tcp_flags() const { return data[l4 + 13]; }
  [[nodiscard]] uint32_t outer_src() const { return net::load_be32(data + outer_l3 + 12); }
  [[nodiscard]] uint32_t outer_dst() const { return net::load_be32(data + outer_l3 + 16); }
  [[nodiscard]] uint16_t checksum_offset() const {
    return static_cast<uint16_t>(l4 + (protocol == net::protocol::udp ? 6 : protocol == net::protocol::tcp ? 16 : 2));
  }
  // The pseudo header's share of the L4 checksum.
  [[nodiscard]] uint64_t pseudo_sum() const {
    if (v4 && protocol == net::protocol::icmp) return 0;
    const uint64_t sum = uint64_t{net::be16::from_host(l4_length).wire()} + net::be16::from_host(protocol).wire();
    return v4 ? net::checksum_sum(ip() + 12, 8, sum) : net::checksum_sum(ip() + 8, 32, sum);
  }
  // By reading every byte of it.
  [[nodiscard]] bool l4_checksum_ok() const {
    return net::checksum_fold(net::checksum_sum(data + l4, l4_length, pseudo_sum())) == 0xffff;
  }

 private:
  static WideAddr wide(const uint8_t* from) {
    return {__builtin_bswap64(net::load<uint64_t>(from)), __builtin_bswap64(net::load<uint64_t>(from + 8))};
  }
};

namespace detail {

// Sets the view's inner fields from the IP header at `l3`, which has `room` bytes behind it.
inline FrameKind read_ip(FrameView& view, uint16_t l3, uint16_t type, bool inner) {
  const uint8_t* ip = view.data + l3;
  const auto room = static_cast<uint16_t>(view.length - l3);
  uint16_t header = 0;
  uint16_t total = 0;
  if (type == net::ether_type_ipv4) {
    if (room < net::ipv4_header_length || ip[0] >> 4 != 4) return FrameKind::Malformed;
    header = static_cast<uint16_t>((ip[0] & 15) * 4);
    total = net::load_be16(ip + 2);
    if (header < net::ipv4_header_length || total < header || total > room) return FrameKind::Malformed;
    if (net::checksum_fold(net::checksum_sum(ip, header)) != 0xffff) view.ip_checksum_ok = false;
    view.v4 = true;
    view.protocol = ip[9];
    if ((net::load_be16(ip + 6) & ~(net::ipv4_dont_fragment | net::ipv4_reserved_flag)) != 0) return FrameKind::Other;
  } else if (type == net::ether_type_ipv6) {
    if (room < net::ipv6_header_length || ip[0] >> 4 != 6) return FrameKind::Malformed;
    header = net::ipv6_header_length;
    total = static_cast<uint16_t>(net::load_be16(ip + 4) + header);
    if (total > room) return FrameKind::Malformed;
    view.v4 = false;
    view.protocol = ip[6];
  } else {
    return FrameKind::Other;
  }
  view.l3 = l3;
  view.l4 = static_cast<uint16_t>(l3 + header);
  view.l4_length = static_cast<uint16_t>(total - header);
  const uint8_t* l4 = view.data + view.l4;
  if (!inner && view.v4 && (view.protocol == net::protocol::ipip || view.protocol == net::protocol::ipv6)) {
    view.tunnel = TunnelKind::Ipip;
    view.outer_l3 = l3;
    const bool v4_inside = view.protocol == net::protocol::ipip;
    return read_ip(view, view.l4, v4_inside ? net::ether_type_ipv4 : net::ether_type_ipv6, true);
  }
  if (view.protocol == net::protocol::udp) {
    if (view.l4_length < net::udp_header_length || net::load_be16(l4 + 4) != view.l4_length)
      return FrameKind::Malformed;
    view.payload = static_cast<uint16_t>(view.l4 + net::udp_header_length);
    if (!inner && net::load_be16(l4 + 2) == 4789 && view.l4_length > encap::vxlan_length) {
      if (net::load<uint16_t>(l4 + 6) != 0 && !view.l4_checksum_ok()) view.ip_checksum_ok = false;
      view.tunnel = TunnelKind::Vxlan;
      view.outer_l3 = l3;
      view.vni = net::load_be32(l4 + 12) >> 8;
      return read_ip(view, static_cast<uint16_t>(view.l4 + encap::vxlan_length),
                     net::load_be16(l4 + encap::vxlan_length - 2), true);
    }
  } else if (view.protocol == net::protocol::tcp) {
    if (view.l4_length < net::tcp_header_length) return FrameKind::Malformed;
    const auto tcp_header = static_cast<uint16_t>((l4[12] >> 4) * 4);
    if (tcp_header < net::tcp_header_length || tcp_header > view.l4_length) return FrameKind::Malformed;
    view.payload = static_cast<uint16_t>(view.l4 + tcp_header);
  } else if (view.icmp()) {
    if (view.l4_length < net::icmp_header_length) return FrameKind::Malformed;
    view.payload = static_cast<uint16_t>(view.l4 + net::icmp_header_length);
  } else {
    return FrameKind::Other;
  }
  view.payload_length = static_cast<uint16_t>(view.l4_length - (view.payload - view.l4));
  return FrameKind::Packet;
}

}  // namespace detail

// `data` holds `length` contiguous bytes from the Ethernet header on. Writes in place: a view that is copied right
// after it was written costs more than reading the frame.
inline void read_frame(uint8_t* data, uint16_t length, FrameView& view) {
  view.data = data;
  view.length = length;
  view.outer_l3 = 0;
  view.payload_length = 0;
  view.tunnel = TunnelKind::None;
  view.ip_checksum_ok = true;
  if (length < net::ethernet_header_length) {
    view.kind = FrameKind::Malformed;
    return;
  }
  const uint16_t type = net::load_be16(data + 12);
  view.kind =
      type == net::ether_type_arp ? FrameKind::Arp : detail::read_ip(view, net::ethernet_header_length, type, false);
}
[[nodiscard]] inline FrameView read_frame(uint8_t* data, uint16_t length) {
  FrameView view;
  read_frame(data, length, view);
  return view;
}

}  // namespace sluice::trafgen
