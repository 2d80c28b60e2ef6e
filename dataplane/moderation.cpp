#include "dataplane/moderation.h"

#include <algorithm>
#include <ctime>

namespace sluice::dataplane {
namespace {

constexpr double least_gain = 2;        // frames per turn
constexpr double least_of_rate = 0.85;  // fewer are not the noise of a window
constexpr uint64_t longest_pause = 32;  // times the shortest

}  // namespace

void Moderation::wait() {
  const timespec time{0, wait_microseconds * 1000};
  nanosleep(&time, nullptr);
}

void Moderation::judge(uint64_t tsc) {
  const uint64_t elapsed = tsc - begin_;
  const double rate = static_cast<double>(frames_) * static_cast<double>(window_) / static_cast<double>(elapsed);
  const double gain = static_cast<double>(frames_) / static_cast<double>(turns_);
  begin_ = tsc;
  frames_ = 0;
  turns_ = 0;
  if (elapsed >= 2 * window_) {  // nothing came for a while
    state_ = State::Off;
    return;
  }
  switch (state_) {
    case State::Off:
      rate_without_ = rate;
      if (rate >= least_rate * window_milliseconds && gain < full_turn && (tsc >= next_ || rate > 2 * failed_rate_))
        state_ = State::Tried;
      break;
    case State::Tried:
      if (gain < least_gain || rate < least_of_rate * rate_without_) {
        state_ = State::Off;
        failed_rate_ = rate_without_;
        next_ = tsc + pause_;
        pause_ = std::min(2 * pause_, longest_pause * shortest_pause_);
      } else {
        state_ = State::On;
        next_ = tsc + trust_;
        pause_ = shortest_pause_;
      }
      break;
    case State::On:
      if (gain < least_gain || tsc >= next_) state_ = State::Off;
      break;
  }
}

}  // namespace sluice::dataplane
