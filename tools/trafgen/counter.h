// A number that one thread counts up and others read while it does.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice::trafgen {

class Counter {
 public:
  void add(uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void clear() { value_.store(0, std::memory_order_relaxed); }
  [[nodiscard]] uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

}  // namespace sluice::trafgen
