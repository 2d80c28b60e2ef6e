// What has been asked and not yet answered, oldest first; bounded, without search. An entry leaves when it is the
// oldest and answered or too old, so one that is lost holds its place for the timeout.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice::trafgen {

class Outstanding {
 public:
  struct Entry {
    uint32_t flow = 0;
    uint32_t number = 0;  // sequence or generation
    uint64_t time = 0;    // TSC
  };

  explicit Outstanding(uint32_t limit = 1)
      : limit_(limit), mask_(std::bit_ceil(limit) - 1), entries_(static_cast<size_t>(mask_) + 1) {}

  [[nodiscard]] uint32_t size() const { return tail_ - head_; }
  [[nodiscard]] uint32_t room() const { return limit_ - size(); }
  void push(const Entry& entry) { entries_[tail_++ & mask_] = entry; }

  // Takes away the oldest entries that are done(entry); those older than `timeout` go to failed(entry).
  template <class DoneCheck, class Failed>
  void settle(uint64_t now, uint64_t timeout, DoneCheck done, Failed failed) {
    while (head_ != tail_) {
      const Entry& oldest = entries_[head_ & mask_];
      if (!done(oldest)) {
        if (now - oldest.time < timeout) return;
        failed(oldest);
      }
      ++head_;
    }
  }
  void clear() { head_ = tail_; }

 private:
  uint32_t limit_;
  uint32_t mask_;
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace sluice::trafgen
