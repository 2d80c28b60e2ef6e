// Wakes a worker that waits (idle_wait.h): whoever has put something where only it looks rings. A load of memory that
// rarely changes while the worker is awake; a system call only if it waits.
#pragma once

#include <atomic>
#include <memory>

#include "dataplane/net/result.h"

namespace sluice::dataplane {

class Doorbell {
 public:
  static net::Result<std::unique_ptr<Doorbell>> create();
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // Any thread, after what the worker is to find is where it looks. The worker may have looked already and begin to
  // wait just now: it then finds it at the end of the longest time that it waits.
  void ring() {
    if (awaited_.load(std::memory_order_relaxed)) [[unlikely]]
      wake();
  }

  // The worker: from now on, or no longer, it is to be woken.
  void await(bool awaited) { awaited_.store(awaited, std::memory_order_seq_cst); }
  // Readable once it was rung, until the worker has heard it.
  [[nodiscard]] int descriptor() const { return descriptor_; }
  void hear();

 private:
  explicit Doorbell(int descriptor) : descriptor_(descriptor) {}
  void wake();

  alignas(64) std::atomic<bool> awaited_{false};
  int descriptor_;  // eventfd(2), never blocks
};

}  // namespace sluice::dataplane
