// A histogram of latencies with bounded relative error, as HdrHistogram has it: 128 equal steps in every power of
// two, so a value is known to 1/128 (0.8 %), in 4.5 K counters for 0 to 2^40.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace sluice::trafgen {

class Histogram {
 public:
  void record(uint64_t value) {
    ++counts_[index_of(value)];
    ++count_;
    sum_ += value;
    if (value < min_) min_ = value;
    if (value > max_) max_ = value;
  }
  void clear() { *this = Histogram(); }
  void add(const Histogram& other) {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    if (other.min_ < min_) min_ = other.min_;
    if (other.max_ > max_) max_ = other.max_;
  }

  [[nodiscard]] uint64_t count() const { return count_; }
  [[nodiscard]] uint64_t min() const { return count_ == 0 ? 0 : min_; }
  [[nodiscard]] uint64_t max() const { return max_; }
  [[nodiscard]] double mean() const {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
  }

  // The smallest recorded value, to 0.8 %, that at least `share` (0 to 1) of all do not exceed.
  [[nodiscard]] uint64_t quantile(double share) const {
    if (count_ == 0) return 0;
    const double exact = share * static_cast<double>(count_);
    auto rank = static_cast<uint64_t>(exact);
    if (static_cast<double>(rank) < exact) ++rank;
    if (rank == 0) rank = 1;
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= rank) return middle_of(i) > max_ ? max_ : middle_of(i) < min_ ? min_ : middle_of(i);
    }
    return max_;
  }

 private:
  static constexpr unsigned step_bits = 7;
  static constexpr unsigned largest_bits = 40;
  static constexpr size_t size = (largest_bits - step_bits + 1) << step_bits;

  static size_t index_of(uint64_t value) {
    if (value >> largest_bits != 0) value = (uint64_t{1} << largest_bits) - 1;
    const auto bits = static_cast<unsigned>(std::bit_width(value));
    if (bits <= step_bits) return value;
    const unsigned shift = bits - 1 - step_bits;
    return (size_t{shift} << step_bits) + (value >> shift);
  }
  static uint64_t middle_of(size_t index) {
    if (index < (size_t{2} << step_bits)) return index;
    const size_t shift = (index >> step_bits) - 1;
    const uint64_t low = (index - (shift << step_bits)) << shift;
    return low + (uint64_t{1} << shift) / 2;
  }

  std::array<uint64_t, size + (size_t{1} << step_bits)> counts_{};
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
  uint64_t min_ = ~uint64_t{0};
  uint64_t max_ = 0;
};

}  // namespace sluice::trafgen
