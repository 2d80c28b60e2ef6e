// Packets for unit tests, as bytes. Lengths are right by themselves, checksums by DPDK's arithmetic and not by ours.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

#include "dataplane/net/headers.h"

namespace sluice::test {

using Bytes = std::vector<uint8_t>;

inline Bytes operator+(Bytes front, const Bytes& back) {
  front.insert(front.end(), back.begin(), back.end());
  return front;
}

inline Bytes take(const Bytes& bytes, size_t count) {
  return {bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(count)};
}
inline Bytes skip(const Bytes& bytes, size_t count) {
  return {bytes.begin() + static_cast<ptrdiff_t>(count), bytes.end()};
}

// "45 00 00 54" → bytes.
inline Bytes hex(std::string_view text) {
  Bytes out;
  int high = -1;
  for (const char c : text) {
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      out.push_back(static_cast<uint8_t>(high << 4 | digit));
      high = -1;
    }
  }
  return out;
}

// 0, 1, 2, …
inline Bytes counting(size_t length) {
  Bytes out(length);
  for (size_t i = 0; i < length; ++i) out[i] = static_cast<uint8_t>(i);
  return out;
}

inline Bytes random_bytes(std::mt19937_64& random, size_t length) {
  Bytes out(length);
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random());
  return out;
}

inline net::Ipv4Addr v4(std::string_view text) { return net::parse_ipv4(text).value(); }
inline net::Ipv6Addr v6(std::string_view text) { return net::parse_ipv6(text).value(); }

struct Ipv4Fields {
  std::string_view src = "10.0.0.1";
  std::string_view dst = "10.0.0.2";
  uint8_t protocol = net::protocol::udp;
  uint8_t tos = 0;
  uint8_t ttl = 64;
  uint16_t id = 0x1234;
  uint16_t fragment = 0;  // flags and offset, host byte order
  Bytes options = {};     // a multiple of 4
};

// Computes the header checksum anew.
inline void fix_ipv4_checksum(Bytes& packet, size_t at = 0) {
  net::store<uint16_t>(packet.data() + at + 10, 0);
  auto* header = reinterpret_cast<rte_ipv4_hdr*>(packet.data() + at);
  net::store<uint16_t>(packet.data() + at + 10, rte_ipv4_cksum(header));
}

inline bool ipv4_checksum_good(const uint8_t* header) {
  return rte_raw_cksum(header, static_cast<size_t>(header[0] & 0xf) * 4) == 0xffff;
}

inline Bytes ipv4(const Ipv4Fields& fields, const Bytes& payload) {
  Bytes out(20);
  out[0] = static_cast<uint8_t>(0x45 + fields.options.size() / 4);
  out[1] = fields.tos;
  net::store_be16(out.data() + 2, static_cast<uint16_t>(20 + fields.options.size() + payload.size()));
  net::store_be16(out.data() + 4, fields.id);
  net::store_be16(out.data() + 6, fields.fragment);
  out[8] = fields.ttl;
  out[9] = fields.protocol;
  net::store(out.data() + 12, v4(fields.src));
  net::store(out.data() + 16, v4(fields.dst));
  out = out + fields.options + payload;
  fix_ipv4_checksum(out);
  return out;
}

// Of TCP or UDP; `at` is the offset of the checksum in the L4 header. 0 and 0xffff are one number.
inline bool l4_checksum_good(const Bytes& packet, size_t l4, size_t at) {
  Bytes copy = packet;
  const auto field = net::load<uint16_t>(copy.data() + l4 + at);
  net::store<uint16_t>(copy.data() + l4 + at, 0);
  const uint8_t* const l3 = copy.data();
  const uint16_t right = net::ip_version(l3) == 4
                             ? rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(l3), l3 + l4)
                             : rte_ipv6_udptcp_cksum(reinterpret_cast<const rte_ipv6_hdr*>(l3), l3 + l4);
  return field % 0xffff == right % 0xffff;
}

struct Ipv6Fields {
  std::string_view src = "2001:db8::1";
  std::string_view dst = "2001:db8::2";
  uint8_t next = net::protocol::udp;
  uint8_t traffic_class = 0;
  uint8_t hop_limit = 64;
  uint32_t flow_label = 0x54321;
};

inline Bytes ipv6(const Ipv6Fields& fields, const Bytes& payload) {
  Bytes out(40);
  net::store_be32(out.data(), 6u << 28 | static_cast<uint32_t>(fields.traffic_class) << 20 | fields.flow_label);
  net::store_be16(out.data() + 4, static_cast<uint16_t>(payload.size()));
  out[6] = fields.next;
  out[7] = fields.hop_limit;
  net::store(out.data() + 8, v6(fields.src));
  net::store(out.data() + 24, v6(fields.dst));
  return out + payload;
}

inline Bytes udp(uint16_t src, uint16_t dst, const Bytes& payload) {
  Bytes out(8);
  net::store_be16(out.data(), src);
  net::store_be16(out.data() + 2, dst);
  net::store_be16(out.data() + 4, static_cast<uint16_t>(8 + payload.size()));
  return out + payload;
}

inline Bytes tcp(uint16_t src, uint16_t dst, uint8_t flags, const Bytes& payload) {
  Bytes out(20);
  net::store_be16(out.data(), src);
  net::store_be16(out.data() + 2, dst);
  out[12] = 5 << 4;
  out[13] = flags;
  return out + payload;
}

// Without checksum: `rest` is the second word of the header.
inline Bytes icmp(uint8_t type, uint8_t code, uint32_t rest, const Bytes& payload) {
  Bytes out{type, code, 0, 0, 0, 0, 0, 0};
  net::store_be32(out.data() + 4, rest);
  return out + payload;
}

inline Bytes ethernet(const net::MacAddr& dst, const net::MacAddr& src, uint16_t type, const Bytes& payload) {
  Bytes out(14);
  net::store(out.data(), dst);
  net::store(out.data() + 6, src);
  net::store_be16(out.data() + 12, type);
  return out + payload;
}

// `header` behind the UDP header; flags and VNI as RFC 7348 has them.
inline Bytes vxlan(uint32_t vni, const Bytes& frame) {
  Bytes out{0x08, 0, 0, 0, 0, 0, 0, 0};
  net::store_be32(out.data() + 4, vni << 8);
  return out + frame;
}

}  // namespace sluice::test
