// Addresses: IPv4, IPv6, either of them, MAC, prefixes. Plain values without padding, comparable and
// hashable; text goes through the strict parsers below (RFC 4291, no leading zeros in IPv4: SVC-8).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/net/endian.h"

namespace sluice::net {

enum class Family : uint8_t { V4 = 4, V6 = 6 };

struct Ipv4Addr {
  be32 value;

  static constexpr Ipv4Addr from_host(uint32_t host) { return {be32::from_host(host)}; }
  static constexpr Ipv4Addr from_wire(uint32_t wire) { return {be32::from_wire(wire)}; }
  [[nodiscard]] constexpr uint32_t host() const { return value.host(); }
  [[nodiscard]] constexpr uint32_t wire() const { return value.wire(); }

  [[nodiscard]] constexpr bool is_unspecified() const { return value.wire() == 0; }
  [[nodiscard]] constexpr bool is_loopback() const { return host() >> 24 == 127; }
  [[nodiscard]] constexpr bool is_link_local() const { return host() >> 16 == 0xa9fe; }
  [[nodiscard]] constexpr bool is_multicast() const { return host() >> 28 == 0xe; }
  [[nodiscard]] constexpr bool is_broadcast() const { return host() == 0xffffffff; }
  // 0/8: "this network" (RFC 1122 section 3.2.1.3 a).
  [[nodiscard]] constexpr bool is_this_network() const { return host() >> 24 == 0; }

  friend constexpr bool operator==(const Ipv4Addr&, const Ipv4Addr&) = default;
  friend constexpr auto operator<=>(const Ipv4Addr&, const Ipv4Addr&) = default;
};

struct Ipv6Addr {
  std::array<uint8_t, 16> bytes{};

  [[nodiscard]] bool is_unspecified() const { return *this == Ipv6Addr{}; }
  [[nodiscard]] bool is_loopback() const {
    Ipv6Addr one{};
    one.bytes[15] = 1;
    return *this == one;
  }
  [[nodiscard]] constexpr bool is_link_local() const { return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }
  [[nodiscard]] constexpr bool is_multicast() const { return bytes[0] == 0xff; }
  // ::ffff:0:0/96, never valid on the wire (RFC 4942 section 2.2).
  [[nodiscard]] bool is_v4_mapped() const {
    static constexpr std::array<uint8_t, 12> prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::memcmp(bytes.data(), prefix.data(), prefix.size()) == 0;
  }
  // ff02::1:ffXX:XXXX for this address (RFC 4291 section 2.7.1).
  [[nodiscard]] constexpr Ipv6Addr solicited_node() const {
    return {{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, bytes[13], bytes[14], bytes[15]}};
  }

  friend constexpr bool operator==(const Ipv6Addr&, const Ipv6Addr&) = default;
  friend constexpr auto operator<=>(const Ipv6Addr&, const Ipv6Addr&) = default;
};

struct MacAddr {
  std::array<uint8_t, 6> bytes{};

  [[nodiscard]] constexpr bool is_multicast() const { return (bytes[0] & 1) != 0; }
  [[nodiscard]] constexpr bool is_zero() const { return *this == MacAddr{}; }
  static constexpr MacAddr broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
  // Group address of an IPv6 multicast destination (RFC 2464 section 7).
  static constexpr MacAddr for_multicast(const Ipv6Addr& group) {
    return {{0x33, 0x33, group.bytes[12], group.bytes[13], group.bytes[14], group.bytes[15]}};
  }
  // fe80::/64 plus the modified EUI-64 of this MAC (RFC 4291 appendix A).
  [[nodiscard]] constexpr Ipv6Addr link_local() const {
    return {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(bytes[0] ^ 2), bytes[1], bytes[2], 0xff, 0xfe, bytes[3],
             bytes[4], bytes[5]}};
  }

  friend constexpr bool operator==(const MacAddr&, const MacAddr&) = default;
  friend constexpr auto operator<=>(const MacAddr&, const MacAddr&) = default;
};

// An address of either family. An IPv4 address lies in the first four bytes, the rest is zero.
class IpAddr {
 public:
  constexpr IpAddr() = default;
  constexpr IpAddr(Ipv4Addr v4) {  // NOLINT(google-explicit-constructor): a widening
    const uint32_t host = v4.host();
    bytes_.bytes[0] = static_cast<uint8_t>(host >> 24);
    bytes_.bytes[1] = static_cast<uint8_t>(host >> 16);
    bytes_.bytes[2] = static_cast<uint8_t>(host >> 8);
    bytes_.bytes[3] = static_cast<uint8_t>(host);
  }
  constexpr IpAddr(const Ipv6Addr& v6) : bytes_(v6), family_(Family::V6) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] constexpr Family family() const { return family_; }
  [[nodiscard]] constexpr bool is_v4() const { return family_ == Family::V4; }
  [[nodiscard]] constexpr bool is_v6() const { return family_ == Family::V6; }
  // Only valid for the matching family.
  [[nodiscard]] constexpr Ipv4Addr v4() const {
    return Ipv4Addr::from_host(static_cast<uint32_t>(bytes_.bytes[0]) << 24 |
                               static_cast<uint32_t>(bytes_.bytes[1]) << 16 |
                               static_cast<uint32_t>(bytes_.bytes[2]) << 8 | bytes_.bytes[3]);
  }
  [[nodiscard]] constexpr const Ipv6Addr& v6() const { return bytes_; }
  // Network byte order; the first 4 (IPv4) or 16 (IPv6) bytes count.
  [[nodiscard]] constexpr const std::array<uint8_t, 16>& bytes() const { return bytes_.bytes; }
  [[nodiscard]] constexpr uint8_t bit_length() const { return is_v4() ? 32 : 128; }

  [[nodiscard]] bool is_unspecified() const { return is_v4() ? v4().is_unspecified() : v6().is_unspecified(); }
  [[nodiscard]] bool is_loopback() const { return is_v4() ? v4().is_loopback() : v6().is_loopback(); }
  [[nodiscard]] bool is_link_local() const { return is_v4() ? v4().is_link_local() : v6().is_link_local(); }
  [[nodiscard]] bool is_multicast() const { return is_v4() ? v4().is_multicast() : v6().is_multicast(); }

  friend constexpr bool operator==(const IpAddr&, const IpAddr&) = default;
  friend constexpr auto operator<=>(const IpAddr& a, const IpAddr& b) {
    if (auto by_family = a.family_ <=> b.family_; by_family != 0) return by_family;
    return a.bytes_ <=> b.bytes_;
  }

 private:
  Ipv6Addr bytes_{};
  Family family_ = Family::V4;
};

// address/length. As an interface address the host bits may be set; `masked()` is the network.
struct Prefix {
  IpAddr addr;
  uint8_t length = 0;

  // The prefix that holds just `addr`.
  static constexpr Prefix host(const IpAddr& addr) { return {addr, addr.bit_length()}; }
  [[nodiscard]] constexpr Family family() const { return addr.family(); }
  [[nodiscard]] constexpr bool is_host() const { return length == addr.bit_length(); }
  [[nodiscard]] Prefix masked() const;
  [[nodiscard]] bool contains(const IpAddr& other) const;
  [[nodiscard]] bool contains(const Prefix& other) const { return other.length >= length && contains(other.addr); }
  [[nodiscard]] bool overlaps(const Prefix& other) const { return contains(other) || other.contains(*this); }

  friend constexpr bool operator==(const Prefix&, const Prefix&) = default;
  friend constexpr auto operator<=>(const Prefix&, const Prefix&) = default;
};

// Strict text forms. Empty on anything else: white space, leading zeros in IPv4, a zone, a missing length.
[[nodiscard]] std::optional<Ipv4Addr> parse_ipv4(std::string_view text);
[[nodiscard]] std::optional<Ipv6Addr> parse_ipv6(std::string_view text);
[[nodiscard]] std::optional<IpAddr> parse_ip(std::string_view text);
[[nodiscard]] std::optional<MacAddr> parse_mac(std::string_view text);    // aa:bb:cc:dd:ee:ff
[[nodiscard]] std::optional<Prefix> parse_prefix(std::string_view text);  // host bits may be set

[[nodiscard]] std::string to_string(Ipv4Addr addr);
[[nodiscard]] std::string to_string(const Ipv6Addr& addr);  // RFC 5952
[[nodiscard]] std::string to_string(const IpAddr& addr);
[[nodiscard]] std::string to_string(const MacAddr& addr);
[[nodiscard]] std::string to_string(const Prefix& prefix);

// Compile-time families: `template <class F> … typename F::Addr`.
struct V4 {
  using Addr = Ipv4Addr;
  static constexpr Family family = Family::V4;
  static constexpr bool is_v4 = true;
  static Addr addr_of(const IpAddr& ip) { return ip.v4(); }
};
struct V6 {
  using Addr = Ipv6Addr;
  static constexpr Family family = Family::V6;
  static constexpr bool is_v4 = false;
  static const Addr& addr_of(const IpAddr& ip) { return ip.v6(); }
};

}  // namespace sluice::net

template <>
struct std::hash<sluice::net::Ipv4Addr> {
  size_t operator()(const sluice::net::Ipv4Addr& addr) const noexcept { return std::hash<uint32_t>{}(addr.wire()); }
};
template <>
struct std::hash<sluice::net::Ipv6Addr> {
  size_t operator()(const sluice::net::Ipv6Addr& addr) const noexcept {
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(addr.bytes.data()), addr.bytes.size()});
  }
};
template <>
struct std::hash<sluice::net::IpAddr> {
  size_t operator()(const sluice::net::IpAddr& addr) const noexcept {
    return std::hash<sluice::net::Ipv6Addr>{}({addr.bytes()}) ^ static_cast<size_t>(addr.family());
  }
};
template <>
struct std::hash<sluice::net::Prefix> {
  size_t operator()(const sluice::net::Prefix& prefix) const noexcept {
    return std::hash<sluice::net::IpAddr>{}(prefix.addr) * 131 + prefix.length;
  }
};
