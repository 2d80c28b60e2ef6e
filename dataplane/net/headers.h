// Wire structures and field access. The structures are DPDK's; what DPDK leaves out stands here.
#pragma once

#include <cstdint>
#include <cstring>

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "dataplane/net/addr.h"

namespace sluice::net {

inline constexpr uint16_t ethernet_header_length = 14;
inline constexpr uint16_t vlan_tag_length = 4;
inline constexpr uint16_t ipv4_header_length = 20;  // without options
inline constexpr uint16_t ipv6_header_length = 40;
inline constexpr uint16_t udp_header_length = 8;
inline constexpr uint16_t tcp_header_length = 20;  // without options
inline constexpr uint16_t icmp_header_length = 8;
inline constexpr uint16_t vxlan_header_length = 8;

inline constexpr uint16_t ether_type_ipv4 = 0x0800;
inline constexpr uint16_t ether_type_arp = 0x0806;
inline constexpr uint16_t ether_type_vlan = 0x8100;
inline constexpr uint16_t ether_type_ipv6 = 0x86dd;

namespace protocol {
inline constexpr uint8_t hop_by_hop = 0;
inline constexpr uint8_t icmp = 1;
inline constexpr uint8_t ipip = 4;
inline constexpr uint8_t tcp = 6;
inline constexpr uint8_t udp = 17;
inline constexpr uint8_t ipv6 = 41;
inline constexpr uint8_t routing = 43;
inline constexpr uint8_t fragment = 44;
inline constexpr uint8_t icmpv6 = 58;
inline constexpr uint8_t no_next_header = 59;
inline constexpr uint8_t destination_options = 60;
inline constexpr uint8_t vrrp = 112;
inline constexpr uint8_t sctp = 132;
}  // namespace protocol

namespace icmpv4 {
inline constexpr uint8_t echo_reply = 0;
inline constexpr uint8_t unreachable = 3;
inline constexpr uint8_t code_net = 0;
inline constexpr uint8_t code_host = 1;
inline constexpr uint8_t code_protocol = 2;
inline constexpr uint8_t code_port = 3;
inline constexpr uint8_t code_fragmentation_needed = 4;
inline constexpr uint8_t code_admin_prohibited = 13;
inline constexpr uint8_t source_quench = 4;
inline constexpr uint8_t redirect = 5;
inline constexpr uint8_t echo_request = 8;
inline constexpr uint8_t time_exceeded = 11;
inline constexpr uint8_t parameter_problem = 12;
// RFC 1122 section 3.2.2: these quote a datagram.
constexpr bool is_error(uint8_t type) {
  return type == unreachable || type == source_quench || type == redirect || type == time_exceeded ||
         type == parameter_problem;
}
}  // namespace icmpv4

namespace icmpv6 {
inline constexpr uint8_t unreachable = 1;
inline constexpr uint8_t code_no_route = 0;
inline constexpr uint8_t code_admin_prohibited = 1;
inline constexpr uint8_t code_address = 3;
inline constexpr uint8_t code_port = 4;
inline constexpr uint8_t packet_too_big = 2;
inline constexpr uint8_t time_exceeded = 3;
inline constexpr uint8_t parameter_problem = 4;
inline constexpr uint8_t code_erroneous_field = 0;
inline constexpr uint8_t code_incomplete_headers = 3;  // RFC 7112 section 5
inline constexpr uint8_t echo_request = 128;
inline constexpr uint8_t echo_reply = 129;
inline constexpr uint8_t router_solicitation = 133;
inline constexpr uint8_t neighbor_solicitation = 135;
inline constexpr uint8_t neighbor_advertisement = 136;
inline constexpr uint8_t redirect = 137;
// RFC 4443 section 2.1: the high bit is clear for errors.
constexpr bool is_error(uint8_t type) { return type < 128; }
}  // namespace icmpv6

namespace tcp_flag {
inline constexpr uint8_t fin = 0x01;
inline constexpr uint8_t syn = 0x02;
inline constexpr uint8_t rst = 0x04;
inline constexpr uint8_t psh = 0x08;
inline constexpr uint8_t ack = 0x10;
inline constexpr uint8_t urg = 0x20;
inline constexpr uint8_t cwr = 0x80;  // RFC 3168 section 6.1
}  // namespace tcp_flag

// The fragment_offset field of IPv4, in host byte order.
inline constexpr uint16_t ipv4_reserved_flag = 0x8000;
inline constexpr uint16_t ipv4_dont_fragment = 0x4000;
inline constexpr uint16_t ipv4_more_fragments = 0x2000;
inline constexpr uint16_t ipv4_offset_mask = 0x1fff;

// Unaligned loads and stores of wire data.
template <class T>
[[nodiscard]] inline T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
inline void store(void* to, const T& value) {
  std::memcpy(to, &value, sizeof value);
}
[[nodiscard]] inline uint16_t load_be16(const void* from) { return be16::from_wire(load<uint16_t>(from)).host(); }
[[nodiscard]] inline uint32_t load_be32(const void* from) { return be32::from_wire(load<uint32_t>(from)).host(); }
inline void store_be16(void* to, uint16_t host) { store(to, be16::from_host(host).wire()); }
inline void store_be32(void* to, uint32_t host) { store(to, be32::from_host(host).wire()); }

// The address fields of an IP header of family F, as values.
template <class F>
struct IpHeader;

template <>
struct IpHeader<V4> {
  using Wire = rte_ipv4_hdr;
  static Ipv4Addr source(const void* l3) {
    return Ipv4Addr::from_wire(load<uint32_t>(static_cast<const uint8_t*>(l3) + 12));
  }
  static Ipv4Addr destination(const void* l3) {
    return Ipv4Addr::from_wire(load<uint32_t>(static_cast<const uint8_t*>(l3) + 16));
  }
  static uint8_t ttl(const void* l3) { return static_cast<const uint8_t*>(l3)[8]; }
  // DSCP and ECN, the whole octet.
  static uint8_t traffic_class(const void* l3) { return static_cast<const uint8_t*>(l3)[1]; }
};

template <>
struct IpHeader<V6> {
  using Wire = rte_ipv6_hdr;
  static Ipv6Addr source(const void* l3) { return load<Ipv6Addr>(static_cast<const uint8_t*>(l3) + 8); }
  static Ipv6Addr destination(const void* l3) { return load<Ipv6Addr>(static_cast<const uint8_t*>(l3) + 24); }
  static uint8_t ttl(const void* l3) { return static_cast<const uint8_t*>(l3)[7]; }
  static uint8_t traffic_class(const void* l3) { return static_cast<uint8_t>(load_be16(l3) >> 4); }
};

[[nodiscard]] inline uint8_t ip_version(const void* l3) { return *static_cast<const uint8_t*>(l3) >> 4; }

}  // namespace sluice::net
