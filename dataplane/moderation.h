// Interrupt moderation, as NICs know it (ethtool -C rx-usecs), for a worker whose ports are all sockets of the kernel:
// packet sockets and TAP devices. There every turn of its loop costs system calls and wakes whoever receives what it
// sends, so it pays to let frames gather for `wait_microseconds` before the next turn.
//
// It pays only while there are frames enough, and hurts where a few connections wait for each other's answers: each of
// them would wait for the worker, too. So it is tried: it goes on while turns bring more frames each and no fewer come
// than came without, and is tried again from time to time.
#pragma once

#include <cstdint>

namespace sluice::dataplane {

class Moderation {
 public:
  static constexpr long wait_microseconds = 50;
  static constexpr unsigned full_turn = 32;  // frames: behind such a turn more are waiting
  static constexpr unsigned window_milliseconds = 10;
  static constexpr unsigned least_rate = 20;  // frames per millisecond

  // `tsc_hz`: of the clock that after_turn() is told.
  explicit Moderation(uint64_t tsc_hz)
      : window_(tsc_hz / 1000 * window_milliseconds),
        shortest_pause_(tsc_hz / 10),
        trust_(tsc_hz),
        pause_(shortest_pause_) {}

  // After a turn that took frames: whether to wait() before the next.
  [[nodiscard]] bool after_turn(unsigned frames, uint64_t tsc) {
    frames_ += frames;
    ++turns_;
    if (tsc - begin_ >= window_) [[unlikely]]
      judge(tsc);
    return state_ != State::Off && frames < full_turn;
  }

  static void wait();

 private:
  enum class State : uint8_t { Off, Tried, On };

  void judge(uint64_t tsc);

  uint64_t window_;          // TSC cycles: frames are counted over so long
  uint64_t shortest_pause_;  // after a trial that failed
  uint64_t trust_;           // in one that did not
  State state_ = State::Off;
  uint64_t begin_ = 0;  // of the window
  uint64_t frames_ = 0;
  uint64_t turns_ = 0;
  double rate_without_ = 0;  // frames per window
  double failed_rate_ = 0;
  uint64_t pause_;
  uint64_t next_ = 0;  // trial, or check of what is on
};

}  // namespace sluice::dataplane
