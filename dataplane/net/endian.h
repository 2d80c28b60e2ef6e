// Integers in network byte order as types of their own, so that a value read from a frame cannot be
// mistaken for a number. Conversion happens only where it is written: `host()` and `from_host()`.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <functional>

namespace sluice::net {

template <std::unsigned_integral T>
class BigEndian {
 public:
  constexpr BigEndian() = default;

  // `value` in host byte order.
  static constexpr BigEndian from_host(T value) { return BigEndian(swap(value)); }
  // `value` as it lies in the frame (DPDK's rte_be16_t / rte_be32_t).
  static constexpr BigEndian from_wire(T value) { return BigEndian(value); }

  [[nodiscard]] constexpr T host() const { return swap(raw_); }
  [[nodiscard]] constexpr T wire() const { return raw_; }

  friend constexpr bool operator==(BigEndian, BigEndian) = default;
  // Numeric order, not the order of the bytes in memory.
  friend constexpr auto operator<=>(BigEndian a, BigEndian b) { return a.host() <=> b.host(); }

 private:
  explicit constexpr BigEndian(T raw) : raw_(raw) {}

  static constexpr T swap(T value) {
    if constexpr (std::endian::native == std::endian::big || sizeof(T) == 1) {
      return value;
    } else if constexpr (sizeof(T) == 2) {
      return __builtin_bswap16(value);
    } else if constexpr (sizeof(T) == 4) {
      return __builtin_bswap32(value);
    } else {
      return __builtin_bswap64(value);
    }
  }

  T raw_ = 0;
};

using be16 = BigEndian<uint16_t>;
using be32 = BigEndian<uint32_t>;

}  // namespace sluice::net

template <std::unsigned_integral T>
struct std::hash<sluice::net::BigEndian<T>> {
  size_t operator()(sluice::net::BigEndian<T> value) const noexcept { return std::hash<T>{}(value.wire()); }
};
