// The payload behind the signature: one fixed sequence of bytes, of which every packet has the beginning, so that
// the receiver compares it in one go and knows its share of the checksum beforehand.
#pragma once

#include <array>
#include <cstdint>

#include "tools/trafgen/signature.h"

namespace sluice::trafgen {

class Pattern {
 public:
  static constexpr uint16_t length = 2048;

  [[nodiscard]] static const Pattern& get();

  // What stands at offset signature_length of the payload and behind.
  [[nodiscard]] const uint8_t* tail() const { return bytes_.data() + signature_length; }
  // Sum, for the Internet checksum, of the payload's bytes from signature_length to `payload_length`.
  [[nodiscard]] uint64_t tail_sum(uint16_t payload_length) const { return sums_[payload_length]; }

 private:
  Pattern();
  std::array<uint8_t, length> bytes_{};
  std::array<uint32_t, length + 1> sums_{};
};

}  // namespace sluice::trafgen
