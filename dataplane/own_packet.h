// The IP headers of packets that the router makes itself (ICMP errors, TCP resets, SCTP ABORTs), what of them enters
// layer 4's checksum, and the checksum of ICMP.
#pragma once

#include <cstdint>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/net/mbuf_sum.h"
#include "dataplane/net/packet.h"

namespace sluice::dataplane {

inline constexpr uint8_t own_ttl = 64;  // TTL-4
template <class F>
inline constexpr uint16_t own_header_length = F::is_v4 ? net::ipv4_header_length : net::ipv6_header_length;

// `tos`: the whole octet. `payload`: bytes behind the header. `id`: IPv4 identification, host byte order.
inline void write_own_header(uint8_t* l3, net::Ipv4Addr src, net::Ipv4Addr dst, uint8_t protocol, uint8_t tos,
                             uint16_t payload, uint16_t id) {
  std::memset(l3, 0, net::ipv4_header_length);
  l3[0] = 0x45;
  l3[1] = tos;
  net::store_be16(l3 + 2, static_cast<uint16_t>(payload + net::ipv4_header_length));
  net::store_be16(l3 + 4, id);
  l3[8] = own_ttl;
  l3[9] = protocol;
  net::store(l3 + 12, src.wire());
  net::store(l3 + 16, dst.wire());
  net::store(l3 + 10, net::checksum(l3, net::ipv4_header_length));
}

inline void write_own_header(uint8_t* l3, const net::Ipv6Addr& src, const net::Ipv6Addr& dst, uint8_t protocol,
                             uint8_t tos, uint16_t payload, uint16_t /*id*/) {
  net::store_be32(l3, 0x60000000U | static_cast<uint32_t>(tos) << 20);
  net::store_be16(l3 + 4, payload);
  l3[6] = protocol;
  l3[7] = own_ttl;
  net::store(l3 + 8, src);
  net::store(l3 + 24, dst);
}

// RFC 9293 section 3.1, RFC 8200 section 8.1: the sum of the pseudo header, of the addresses in the header at `l3`.
template <class F>
[[nodiscard]] inline uint64_t pseudo_header_sum(const uint8_t* l3, uint8_t protocol, uint16_t payload) {
  const uint64_t addresses = F::is_v4 ? net::checksum_sum(l3 + 12, 8) : net::checksum_sum(l3 + 8, 32);
  return addresses + net::be16::from_host(payload).wire() + net::be16::from_host(protocol).wire();
}

// What an ICMP message of `payload` bytes adds to: ICMPv6 covers a pseudo header (RFC 4443 section 2.3), ICMPv4 does
// not.
template <class F>
[[nodiscard]] inline uint64_t icmp_pseudo_sum(const uint8_t* l3, uint16_t payload) {
  return F::is_v4 ? 0 : pseudo_header_sum<F>(l3, net::protocol::icmpv6, payload);
}

// Of a whole ICMP packet, over all its buffers.
template <class F>
[[nodiscard]] inline bool icmp_checksum_good(const net::FlowPacket<F>& packet) {
  const auto payload = static_cast<uint16_t>(packet.l3_length - (packet.l4 - packet.l3));
  const uint64_t pseudo = icmp_pseudo_sum<F>(packet.l3_header(), payload);
  return net::checksum_fold(pseudo + net::mbuf_sum(packet.mbuf, packet.l4, payload)) == 0xffff;
}

}  // namespace sluice::dataplane
