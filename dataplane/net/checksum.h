// The Internet checksum, incrementally (RFC 1071, RFC 1624). Sums are of 16-bit words as they lie in
// the frame, so nothing here swaps bytes. A `ChecksumDelta` is ~old + new folded to 16 bits: computed
// once per flow, added once per packet.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "dataplane/net/addr.h"

namespace sluice::net {

// Ones'-complement sum folded to 16 bits.
[[nodiscard]] constexpr uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// Sum of the 16-bit words of `length` bytes; an odd last byte counts as the high byte of a word (RFC 1071).
[[nodiscard]] inline uint64_t checksum_sum(const void* data, size_t length, uint64_t sum = 0) {
  const auto* p = static_cast<const uint8_t*>(data);
  for (; length >= 4; length -= 4, p += 4) {
    uint32_t word = 0;
    std::memcpy(&word, p, 4);
    sum += word;
  }
  if (length >= 2) {
    uint16_t word = 0;
    std::memcpy(&word, p, 2);
    sum += word;
    p += 2;
    length -= 2;
  }
  if (length == 1) {
    uint16_t word = 0;
    std::memcpy(&word, p, 1);
    sum += word;
  }
  return sum;
}

// The checksum field's value for `length` bytes whose checksum field is zero.
[[nodiscard]] inline uint16_t checksum(const void* data, size_t length, uint64_t sum = 0) {
  return static_cast<uint16_t>(~checksum_fold(checksum_sum(data, length, sum)));
}

// What changing some words of a checksummed range does to its checksum (RFC 1624 eqn. 3).
class ChecksumDelta {
 public:
  constexpr ChecksumDelta() = default;

  constexpr ChecksumDelta& replace16(uint16_t old_wire, uint16_t new_wire) {
    value_ = checksum_fold(static_cast<uint64_t>(value_) + static_cast<uint16_t>(~old_wire) + new_wire);
    return *this;
  }
  constexpr ChecksumDelta& replace32(uint32_t old_wire, uint32_t new_wire) {
    value_ = checksum_fold(static_cast<uint64_t>(value_) + static_cast<uint32_t>(~old_wire) + new_wire);
    return *this;
  }
  constexpr ChecksumDelta& replace(be16 from, be16 to) { return replace16(from.wire(), to.wire()); }
  ChecksumDelta& replace(Ipv4Addr from, Ipv4Addr to) { return replace32(from.wire(), to.wire()); }
  ChecksumDelta& replace(const Ipv6Addr& from, const Ipv6Addr& to) {
    for (size_t i = 0; i < 16; i += 4) {
      uint32_t old_word = 0;
      uint32_t new_word = 0;
      std::memcpy(&old_word, from.bytes.data() + i, 4);
      std::memcpy(&new_word, to.bytes.data() + i, 4);
      replace32(old_word, new_word);
    }
    return *this;
  }

  // The new checksum field, both in frame byte order: HC' = ~(~HC + ~m + m') (RFC 1624 eqn. 3). A one's complement
  // subtraction is the same in fewer steps: what is borrowed at the top is taken off at the bottom.
  [[nodiscard]] constexpr uint16_t apply(uint16_t checksum_wire) const {
    return static_cast<uint16_t>(checksum_wire - value_ - (checksum_wire < value_ ? 1 : 0));
  }

  [[nodiscard]] constexpr uint16_t wire() const { return value_; }
  friend constexpr bool operator==(ChecksumDelta, ChecksumDelta) = default;

 private:
  uint16_t value_ = 0;
};

// UDP says "no checksum" with 0: 0 stays 0, and a computed 0 is sent as 0xffff (RFC 768).
[[nodiscard]] constexpr uint16_t apply_udp(ChecksumDelta delta, uint16_t checksum_wire) {
  if (checksum_wire == 0) return 0;
  const uint16_t result = delta.apply(checksum_wire);
  return result == 0 ? 0xffff : result;
}

}  // namespace sluice::net
