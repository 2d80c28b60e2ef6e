// How a worker rests when nothing comes. After `spin_turns` empty turns of its loop it has the kernel wake it: it turns
// on the interrupts of its receive queues, looks once more, and waits for one of their descriptors, for the packet
// socket of its pods or for its doorbell (doorbell.h), at most `longest_wait`, so that timers and changed snapshots do
// not wait long. Where one of its queues has no descriptor (Port::interrupt_of) it takes short naps instead.
//
// While it waits it takes no part in grace periods (publisher.h): it holds nothing from before, and the control thread
// does not wait for it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <poll.h>

#include "dataplane/publisher.h"

namespace sluice::dataplane {

class Doorbell;

class IdleWait {
 public:
  static constexpr unsigned spin_turns = 2000;
  static constexpr long longest_wait = 5'000'000;  // nanoseconds

  // Of one worker. `nap_microseconds`: where it cannot wait; 0: it never rests. The others outlive it.
  IdleWait(uint16_t worker, Publisher& publisher, Doorbell& doorbell, uint32_t nap_microseconds)
      : worker_(worker), nap_microseconds_(nap_microseconds), publisher_(publisher), doorbell_(doorbell) {}

  // The worker, after each turn: whether it did anything. Returns when the next one may be worth it.
  void after_turn(bool busy) {
    if (busy) [[likely]] {
      empty_turns_ = 0;
      if (armed_) [[unlikely]]
        disarm(publisher_.current());
    } else if (nap_microseconds_ != 0 && ++empty_turns_ > spin_turns) {
      rest();
    }
  }

 private:
  // Turns between asking to be woken and waiting: what was on its way meanwhile is found by them.
  static constexpr unsigned armed_turns = 8;
  static constexpr size_t most_descriptors = 64;

  void rest();
  void nap() const;
  // Sets `descriptors_`. False if something that the worker looks at has none.
  [[nodiscard]] bool collect(const WorkerPorts& ports);
  // Whether every queue has its interrupts on.
  [[nodiscard]] bool arm(const Snapshot& snapshot);
  void disarm(const Snapshot& snapshot);
  void wait();

  uint16_t worker_;
  uint32_t nap_microseconds_;
  Publisher& publisher_;
  Doorbell& doorbell_;
  unsigned empty_turns_ = 0;
  bool armed_ = false;
  uint32_t generation_ = 0;          // of the snapshot that it is armed for
  uint32_t napping_generation_ = 0;  // of the last one with which it cannot wait; 0: none
  size_t count_ = 0;
  std::array<pollfd, most_descriptors> descriptors_{};  // the doorbell, the pods' socket, then queues
  size_t first_queue_ = 0;
};

}  // namespace sluice::dataplane
