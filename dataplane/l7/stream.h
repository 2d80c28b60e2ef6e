// What a client sends, put in order in a buffer (RFC 9293 section 3.10.7.4): segments may come late, twice and
// overlapping. What has once been in order never changes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace sluice::l7 {

class Stream {
 public:
  static constexpr unsigned most_ranges = 8;  // received behind a hole

  // The buffer is the caller's and stays where it is. `seq`: of the first byte, host byte order.
  void begin(uint8_t* buffer, uint32_t capacity, uint32_t seq) {
    *this = {};
    buffer_ = buffer;
    capacity_ = capacity;
    base_ = seq;
  }

  // Takes what of `length` bytes from `seq` on is new and has room; copy(uint8_t* to, uint32_t from, uint32_t bytes)
  // fetches them, `from` counting from the first. False: nothing was.
  template <class Copy>
  bool put(uint32_t seq, uint32_t length, const Copy& copy);

  [[nodiscard]] std::span<const uint8_t> in_order() const { return {buffer_, size_}; }
  [[nodiscard]] uint32_t base() const { return base_; }          // number of the first byte
  [[nodiscard]] uint32_t next() const { return base_ + size_; }  // of the first one missing
  [[nodiscard]] uint32_t room() const { return capacity_ - size_; }
  [[nodiscard]] bool has_gap() const { return count_ != 0; }
  [[nodiscard]] uint8_t* data() { return buffer_; }
  // Forgets the first `bytes` in order; what is behind them moves.
  void drop_front(uint32_t bytes) { cut(0, bytes); }
  // Forgets `bytes` in order from the offset `at` on. Those before them take the numbers in front of those behind them.
  void cut(uint32_t at, uint32_t bytes);

 private:
  // Offsets into the buffer, begin < end.
  struct Range {
    uint32_t begin, end;
  };
  // False: there are too many.
  [[nodiscard]] bool add(Range range);

  uint8_t* buffer_ = nullptr;
  uint32_t capacity_ = 0;
  uint32_t base_ = 0;
  uint32_t size_ = 0;
  uint32_t count_ = 0;
  std::array<Range, most_ranges> ranges_{};  // ascending, none touches another or the bytes in order
};

template <class Copy>
bool Stream::put(uint32_t seq, uint32_t length, const Copy& copy) {
  // Relative to the first byte; negative: before it.
  const int64_t start = static_cast<int32_t>(seq - base_);
  const int64_t begin = std::max<int64_t>(start, size_);
  const int64_t end = std::min<int64_t>(start + length, capacity_);
  if (begin >= end) return false;
  const Range range{static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
  if (range.begin != size_ && !add(range)) return false;
  copy(buffer_ + range.begin, static_cast<uint32_t>(begin - start), range.end - range.begin);
  if (range.begin != size_) return true;
  size_ = range.end;
  unsigned closed = 0;
  while (closed < count_ && ranges_[closed].begin <= size_) size_ = std::max(size_, ranges_[closed++].end);
  std::copy(ranges_.begin() + closed, ranges_.begin() + count_, ranges_.begin());
  count_ -= closed;
  return true;
}

inline bool Stream::add(Range range) {
  unsigned at = 0;
  while (at < count_ && ranges_[at].end < range.begin) ++at;
  unsigned behind = at;
  for (; behind < count_ && ranges_[behind].begin <= range.end; ++behind) {
    range.begin = std::min(range.begin, ranges_[behind].begin);
    range.end = std::max(range.end, ranges_[behind].end);
  }
  if (behind == at) {
    if (count_ == most_ranges) return false;
    std::copy_backward(ranges_.begin() + at, ranges_.begin() + count_, ranges_.begin() + count_ + 1);
    ++count_;
  } else {
    std::copy(ranges_.begin() + behind, ranges_.begin() + count_, ranges_.begin() + at + 1);
    count_ -= behind - at - 1;
  }
  ranges_[at] = range;
  return true;
}

inline void Stream::cut(uint32_t at, uint32_t bytes) {
  const uint32_t used = count_ == 0 ? size_ : ranges_[count_ - 1].end;
  std::memmove(buffer_ + at, buffer_ + at + bytes, used - at - bytes);
  base_ += bytes;
  size_ -= bytes;
  for (unsigned i = 0; i < count_; ++i) {
    ranges_[i].begin -= bytes;
    ranges_[i].end -= bytes;
  }
}

}  // namespace sluice::l7
