// How much of something that is gone when it is used has been used lately: what is added leaks away with time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace sluice::control {

class LeakyBucket {
 public:
  using Clock = std::chrono::steady_clock;

  LeakyBucket(uint64_t capacity, uint64_t per_second) : capacity_(capacity), per_second_(per_second) {}

  [[nodiscard]] uint64_t room(Clock::time_point now) {
    leak(now);
    return capacity_ - level_;
  }
  // At most what there is room for.
  void add(uint64_t amount, Clock::time_point now) {
    leak(now);
    level_ += std::min(amount, capacity_ - level_);
  }

 private:
  // In whole seconds, of which none is lost.
  void leak(Clock::time_point now) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(now - since_);
    since_ += seconds;
    const auto count = static_cast<uint64_t>(std::max<int64_t>(seconds.count(), 0));
    level_ -= count > capacity_ / per_second_ ? level_ : std::min(level_, count * per_second_);
  }

  uint64_t capacity_;
  uint64_t per_second_;
  uint64_t level_ = 0;
  Clock::time_point since_;
};

}  // namespace sluice::control
