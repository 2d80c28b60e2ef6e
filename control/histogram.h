// A histogram as Prometheus has it: how many values were at most as large as each of some bounds. Control thread only.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::control {

class Histogram {
 public:
  // Seconds: finer than kube-proxy's where this router is at home, and as far as those reach.
  static constexpr std::array<double, 19> bounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                 2,     5,      10,    20,   30,    60,   120, 180,  300};

  void observe(double seconds) {
    const auto* bound = std::lower_bound(bounds.begin(), bounds.end(), seconds);
    ++counts_[static_cast<size_t>(bound - bounds.begin())];
    ++count_;
    sum_ += seconds;
  }

  // Values above the bound before and up to this one; the last: above all bounds.
  [[nodiscard]] const std::array<uint64_t, bounds.size() + 1>& counts() const { return counts_; }
  [[nodiscard]] uint64_t count() const { return count_; }
  [[nodiscard]] double sum() const { return sum_; }

 private:
  std::array<uint64_t, bounds.size() + 1> counts_{};
  uint64_t count_ = 0;
  double sum_ = 0;
};

}  // namespace sluice::control
