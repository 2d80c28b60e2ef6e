// VXLAN (RFC 7348), used between layer-3 hosts the way Calico does (VXL-3):
//
//   outer IPv4 20 or IPv6 40 | UDP 8 | VXLAN 8 | inner Ethernet 14 | inner IP
//
// The inner Ethernet header carries no information of its own: its addresses are the two VTEP MACs, which follow
// from the node names (VXL-4), so nothing is learned, flooded or asked by ARP. On the way in a frame for another
// MAC, with a VLAN tag or with anything but IP inside is dropped.
//
// The UDP source port spreads flows over the underlay's equal-cost paths and the receiver's queues. Over IPv4 the UDP
// checksum is sent as 0 (CSUM-4), over IPv6 it is sent unless both ends agreed otherwise (VXL-9, RFC 6935). One that a
// peer sends is verified (RFC 7348 section 5).
#pragma once

#include <cstdint>
#include <string_view>

#include "dataplane/net/packet.h"
#include "dataplane/net/verdict.h"
#include "encap/tunnel.h"

namespace sluice::encap {

struct Terminator;

inline constexpr uint8_t vxlan_flag_vni = 0x08;  // the I flag of RFC 7348 section 5
inline constexpr uint8_t vxlan_outer_ttl = 64;   // TTL-3
// What stands between the outer and the inner IP header.
inline constexpr uint16_t vxlan_length =
    net::udp_header_length + net::vxlan_header_length + net::ethernet_header_length;

// VXL-4: byte 0 is 'f', the rest the first five bytes of the SHA-1 of the node's name. For the IPv6 VTEP of a node
// pass its name with "-v6" behind it. Zero if libcrypto refuses SHA-1.
[[nodiscard]] net::MacAddr vtep_mac(std::string_view node_name);

// VXL-2: a port of [first, first + range], host byte order, the same for one hash always. Takes bits 8 to 39 of the
// hash: the ones above choose the worker, so one worker's flows still use the whole range.
[[nodiscard]] constexpr uint16_t vxlan_source_port(uint64_t flow_hash, uint16_t first, uint16_t range) {
  const uint64_t spread = static_cast<uint32_t>(flow_hash >> 8);
  return static_cast<uint16_t>(first + (spread * (uint64_t{range} + 1) >> 32));
}

// Writes the vxlan_length bytes behind the outer IP header; what depends on the packet is zero.
void write_vxlan(const TunnelSpec& spec, uint8_t* out);

// Fills in what depends on the packet. `inner` is the inner IP header with the bytes of write_vxlan before it.
template <class F>
inline void patch_vxlan(uint8_t* inner, uint16_t l3_length, uint16_t source_port) {
  net::store_be16(inner - vxlan_length, source_port);
  net::store_be16(inner - vxlan_length + 4, static_cast<uint16_t>(l3_length + vxlan_length));
  if constexpr (!F::is_v4) net::store_be16(inner - 2, net::ether_type_ipv6);
}

// Checks a whole UDP datagram to the terminator's port and finds the inner packet. None, or why it is dropped.
template <class Outer>
[[nodiscard]] net::DropReason open_vxlan(const net::FlowPacket<Outer>& outer, const Terminator& terminator,
                                         InnerPacket& inner);

}  // namespace sluice::encap
