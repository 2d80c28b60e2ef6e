// What a flow's receiver remembers: the highest sequence number and which of the 32 up to it have come. Eight bytes
// a flow; a packet that comes later than 32 others of its flow counts as reordered, even if it is a second copy.
#pragma once

#include <cstdint>

namespace sluice::trafgen {

enum class Arrival : uint8_t { InOrder, Reordered, Duplicate };

class SequenceWindow {
 public:
  Arrival receive(uint32_t sequence) {
    const auto ahead = static_cast<int32_t>(sequence - next_);
    if (ahead >= 0) {
      seen_ = ahead >= 31 ? 1 : seen_ << (ahead + 1) | 1;
      next_ = sequence + 1;
      return Arrival::InOrder;
    }
    const auto behind = static_cast<uint32_t>(-ahead) - 1;
    if (behind >= 32) return Arrival::Reordered;
    const uint32_t bit = 1U << behind;
    if ((seen_ & bit) != 0) return Arrival::Duplicate;
    seen_ |= bit;
    return Arrival::Reordered;
  }
  // Whether it has come; true as well for what is too old to know.
  [[nodiscard]] bool has(uint32_t sequence) const {
    const auto ahead = static_cast<int32_t>(sequence - next_);
    if (ahead >= 0) return false;
    const auto behind = static_cast<uint32_t>(-ahead) - 1;
    return behind >= 32 || (seen_ >> behind & 1) != 0;
  }

 private:
  uint32_t next_ = 0;  // the highest that came, plus one
  uint32_t seen_ = 0;  // bit i: next_ - 1 - i came
};
static_assert(sizeof(SequenceWindow) == 8);

}  // namespace sluice::trafgen
