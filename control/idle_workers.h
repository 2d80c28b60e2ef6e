// Whether the workers leave their processors to others: adaptive ones sleep when nothing comes. A helper thread beside
// one of them then costs it nothing but the time to wake up.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace sluice::control {

class IdleWorkers {
 public:
  struct Look {
    uint64_t now = 0;             // cycles
    std::vector<uint64_t> spent;  // cycles that each worker was awake, since it began
  };

  // `look` may be called by any thread, one at a time. `interval`: of looks, in cycles.
  IdleWorkers(std::function<Look()> look, uint64_t interval) : look_(std::move(look)), interval_(interval) {}

  // Whether each was asleep for more than half of the time between the last two looks; no, if the one before the last
  // was so long ago that it says nothing of now, as before the first piece of work in a while. Any thread.
  [[nodiscard]] bool operator()() {
    const std::lock_guard guard(mutex_);
    Look now = look_();
    if (now.now - last_.now < interval_ && last_.spent.size() == now.spent.size()) return idle_;
    idle_ = now.spent.size() == last_.spent.size() && now.now - last_.now <= longest * interval_;
    for (size_t i = 0; i < now.spent.size() && idle_; ++i) {
      idle_ = 2 * (now.spent[i] - last_.spent[i]) < now.now - last_.now;
    }
    last_ = std::move(now);
    return idle_;
  }

 private:
  static constexpr uint64_t longest = 100;  // intervals: more than a piece of work takes

  std::mutex mutex_;
  std::function<Look()> look_;
  uint64_t interval_;
  Look last_;
  bool idle_ = false;
};

}  // namespace sluice::control
