// The ordinary packet, recognised in a few dozen instructions: whole TCP or UDP over IPv4 without options or over IPv6
// without extension headers, in one buffer, with nothing wrong. Nearly all packets are, so the checks here are arranged
// for "yes"; what fails one of them goes to parse_ip, which knows the reason.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/packet.h"

namespace sluice::net {

// 1 for the first octet of an IPv4 address that a forwarded packet may come from or go to (RFC 1812 section 5.3.7,
// RFC 5735): no 0/8, 127/8, multicast, class E.
inline constexpr auto plain_v4_octet = [] {
  std::array<uint8_t, 256> table{};
  for (unsigned octet = 1; octet < 224; ++octet) table[octet] = octet != 127;
  return table;
}();

// Whether the 20 bytes of an IPv4 header add up (RFC 1071).
[[nodiscard]] inline bool plain_v4_checksum(const uint8_t* l3) {
  uint64_t sum = checksum_sum(l3, ipv4_header_length);
  // The halves added to each other with end-around carry: the upper half of the sum with the halves changed over.
  sum += std::rotr(sum, 32);
  auto half = static_cast<uint32_t>(sum >> 32);
  half += std::rotr(half, 16);
  return half >> 16 == 0xffff;
}

// The length in bytes of the IP packet whose header is at `l3` if that header is plain, otherwise 0. Precondition: the
// header is in one piece. That the packet is all there is not checked.
template <class F>
[[nodiscard, gnu::always_inline]] inline uint32_t plain_length(const uint8_t* l3, bool checksum_known_good) {
  if constexpr (F::is_v4) {
    // Version 4 and 20 bytes; neither an offset nor more fragments.
    if (l3[0] != 0x45 || (load<uint16_t>(l3 + 6) & be16::from_host(ipv4_more_fragments | ipv4_offset_mask).wire()) != 0)
      return 0;
    if ((plain_v4_octet[l3[12]] & plain_v4_octet[l3[16]]) == 0) return 0;
    if (!checksum_known_good && !plain_v4_checksum(l3)) return 0;
    return load_be16(l3 + 2);
  } else {
    // First octets 0x01 to 0xfd: neither unspecified, loopback, IPv4-mapped, link-local nor multicast.
    if (ip_version(l3) != 6 || static_cast<uint8_t>(l3[8] - 1) > 0xfc || static_cast<uint8_t>(l3[24] - 1) > 0xfc)
      return 0;
    return uint32_t{ipv6_header_length} + load_be16(l3 + 4);
  }
}

// Fills in what is known of a plain packet of `total` bytes that came as `frame` (see parse_plain).
template <class F>
[[gnu::always_inline]] inline void describe_plain(const Packet& frame, uint32_t total, uint8_t proto,
                                                  FlowPacket<F>& packet) {
  constexpr uint32_t header = F::is_v4 ? ipv4_header_length : ipv6_header_length;
  const uint8_t* const l4 = frame.l3_header() + header;
  // Without options the addresses and ports lie in the packet as they do in the key.
  using Key = FlowKey<F>;
  constexpr size_t addresses = 2 * sizeof(typename F::Addr);
  static_assert(offsetof(Key, src) == 0 && offsetof(Key, src_port) == addresses);
  static_assert(offsetof(Key, dst_port) == addresses + 2 && sizeof(Key) == addresses + 8);
  auto* const key = reinterpret_cast<uint8_t*>(&packet.key);
  std::memcpy(key, l4 - addresses, addresses);
  store(key + addresses, uint64_t{load<uint32_t>(l4)} | uint64_t{proto} << 32);
  packet.mbuf = frame.mbuf;
  packet.original = nullptr;
  // What lies side by side goes there as words.
  static_assert(offsetof(Packet, l4) == offsetof(Packet, l3) + 2 &&
                offsetof(Packet, l3_length) == offsetof(Packet, l3) + 4 &&
                offsetof(Packet, ingress) == offsetof(Packet, l3) + 6);
  static_assert(offsetof(Packet, tunnel_source) == offsetof(Packet, l3) + 8);
  static_assert(offsetof(Packet, decapsulations) == offsetof(Packet, tunnel_source) + 2);
  static_assert(offsetof(Packet, has_ports) == offsetof(Packet, tunnel_source) + 4);
  static_assert(offsetof(Packet, fragment) == offsetof(Packet, tunnel_source) + 7);
  auto* const fields = reinterpret_cast<uint8_t*>(&packet) + offsetof(Packet, l3);
  store(fields, uint64_t{frame.l3} | uint64_t{frame.l3 + header} << 16 | uint64_t{total} << 32);
  packet.ingress = frame.ingress;
  constexpr uint64_t has_ports_and_is_plain = uint64_t{1} << 32 | uint64_t{1} << 48;
  store(fields + 8, uint64_t{frame.tunnel_source} | uint64_t{frame.decapsulations} << 16 |
                        uint64_t{frame.handed_over} << 24 | has_ports_and_is_plain);
  packet.protocol = proto;
}

// True if the IP packet at frame.l3 is plain: then `packet` is as after parse_ip, and `packet.plain` is set. False:
// nothing was changed. Of `frame` only mbuf, l3 and how it came are read: ingress, tunnel_source, decapsulations,
// handed_over.
template <class F>
[[nodiscard, gnu::always_inline]] inline bool parse_plain(const Packet& frame, bool checksum_known_good,
                                                          FlowPacket<F>& packet) {
  rte_mbuf* const mbuf = frame.mbuf;
  const uint32_t l3_offset = frame.l3;
  const uint32_t available = mbuf->data_len - l3_offset;
  const uint8_t* const l3 = rte_pktmbuf_mtod_offset(mbuf, const uint8_t*, l3_offset);
  constexpr uint32_t header = F::is_v4 ? ipv4_header_length : ipv6_header_length;
  if (mbuf->nb_segs != 1 || mbuf->data_len < l3_offset + header + udp_header_length) return false;
  const uint32_t total = plain_length<F>(l3, checksum_known_good);
  if (total > available) return false;
  const uint8_t proto = l3[F::is_v4 ? 9 : 6];
  const uint8_t* const l4 = l3 + header;
  if (proto == protocol::tcp) {
    if (total < header + tcp_header_length) return false;
    const uint32_t length = (l4[12] >> 4) * 4U;
    if (length < tcp_header_length || header + length > total) return false;
  } else if (proto != protocol::udp || total < header + udp_header_length) {
    return false;
  }
  describe_plain(frame, total, proto, packet);
  // Padding is no part of the packet.
  mbuf->data_len = static_cast<uint16_t>(l3_offset + total);
  mbuf->pkt_len = l3_offset + total;
  return true;
}

// What parse_plain found, once more: `frame` is known to be plain, and nobody has changed it since.
template <class F>
inline void reread_plain(const Packet& frame, FlowPacket<F>& packet) {
  const uint8_t proto = frame.l3_header()[F::is_v4 ? 9 : 6];
  describe_plain(frame, frame.mbuf->data_len - uint32_t{frame.l3}, proto, packet);
}

}  // namespace sluice::net
