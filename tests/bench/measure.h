// What the benchmarks measure with: random numbers that cost nothing to speak of, and medians of cycles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice::bench {

// xorshift64.
struct Random {
  uint64_t state = 0x9e3779b97f4a7c15;
  uint32_t below(uint32_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<uint32_t>((state >> 32) * limit >> 32);
  }
};

// Cycles of many bursts; the median is what a burst costs when nobody else takes the core away.
class Distribution {
 public:
  void add(uint64_t cycles) { ++counts_[std::min<uint64_t>(cycles, counts_.size() - 1)]; }
  [[nodiscard]] double quantile(double part) const {
    uint64_t total = 0;
    for (const uint32_t count : counts_) total += count;
    const auto wanted = static_cast<uint64_t>(static_cast<double>(total) * part);
    uint64_t below = 0;
    size_t cycles = 0;
    while (cycles + 1 < counts_.size() && below + counts_[cycles] <= wanted) below += counts_[cycles++];
    return static_cast<double>(cycles);
  }

 private:
  std::vector<uint32_t> counts_ = std::vector<uint32_t>(1 << 20);
};

}  // namespace sluice::bench
