#include "tools/trafgen/pattern.h"

#include "dataplane/net/checksum.h"

namespace sluice::trafgen {

const Pattern& Pattern::get() {
  static const Pattern pattern;
  return pattern;
}

Pattern::Pattern() {
  uint32_t state = 0x12345678;
  for (uint8_t& byte : bytes_) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(state >> 24);
  }
  for (uint16_t end = signature_length; end <= length; ++end) {
    sums_[end] = net::checksum_fold(net::checksum_sum(tail(), end - signature_length));
  }
}

}  // namespace sluice::trafgen
