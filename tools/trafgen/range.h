// Ranges of addresses and ports as profiles write them: "10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/24",
// "10.0.0.1+100/256" (first + count / step), "80", "1024-65535".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/net/addr.h"

namespace sluice::trafgen {

// An address as two 64-bit numbers in host byte order; IPv4 lies in `low`, and then `high` is 0.
struct WideAddr {
  uint64_t high = 0;
  uint64_t low = 0;

  static WideAddr of(const net::IpAddr& addr);
  [[nodiscard]] net::IpAddr to_ip(net::Family family) const;
  friend bool operator==(const WideAddr&, const WideAddr&) = default;
};

// `count` addresses, `step` apart. Only the last 64 bits of an IPv6 address change.
struct AddrRange {
  WideAddr first;
  net::Family family = net::Family::V4;
  uint64_t count = 1;
  uint64_t step = 1;

  [[nodiscard]] uint64_t low_at(uint64_t index) const { return first.low + index * step; }
  // Which of the addresses this is.
  [[nodiscard]] std::optional<uint64_t> index_of(const WideAddr& addr) const {
    if (addr.high != first.high || addr.low < first.low) return std::nullopt;
    const uint64_t distance = addr.low - first.low;
    if (step == 1) return distance < count ? std::optional(distance) : std::nullopt;
    if (distance % step != 0 || distance / step >= count) return std::nullopt;
    return distance / step;
  }
  [[nodiscard]] bool contains(const WideAddr& addr) const { return index_of(addr).has_value(); }
  [[nodiscard]] net::IpAddr address(uint64_t index) const;
};

struct PortRange {
  uint16_t first = 0;  // host byte order
  uint32_t count = 1;

  [[nodiscard]] uint16_t at(uint32_t index) const { return static_cast<uint16_t>(first + index); }
  [[nodiscard]] bool contains(uint16_t port) const { return static_cast<uint32_t>(port) - first < count; }
};

// Empty: no such thing, or it leaves the address family (10.0.0.1+2^40).
[[nodiscard]] std::optional<AddrRange> parse_addr_range(std::string_view text);
[[nodiscard]] std::optional<AddrRange> make_addr_range(const net::IpAddr& first, uint64_t count, uint64_t step);
[[nodiscard]] std::optional<PortRange> parse_port_range(std::string_view text);
// "250000", "500k", "1.5M", "2G": a positive number.
[[nodiscard]] std::optional<double> parse_rate(std::string_view text);

}  // namespace sluice::trafgen
