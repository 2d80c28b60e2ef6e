// A bounded batch of things on the stack.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::net {

inline constexpr uint16_t burst_size = 64;

template <class T, size_t Capacity = burst_size>
class Burst {
 public:
  // Precondition: !full().
  T& push(const T& item) { return items_[count_++] = item; }
  // The place of the next, uninitialised, which take() makes one of them. Precondition: !full().
  T& place() { return items_[count_]; }
  void take() { ++count_; }
  void clear() { count_ = 0; }
  void truncate(size_t count) { count_ = static_cast<uint32_t>(count); }

  [[nodiscard]] size_t size() const { return count_; }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] bool full() const { return count_ == Capacity; }
  T& operator[](size_t i) { return items_[i]; }
  const T& operator[](size_t i) const { return items_[i]; }
  T* data() { return items_; }
  T* begin() { return items_; }
  T* end() { return items_ + count_; }
  const T* begin() const { return items_; }
  const T* end() const { return items_ + count_; }

 private:
  T items_[Capacity];
  uint32_t count_ = 0;
};

}  // namespace sluice::net
