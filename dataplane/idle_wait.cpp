#include "dataplane/idle_wait.h"

#include <cerrno>
#include <ctime>
#include <unistd.h>

#include <rte_ethdev.h>

#include "dataplane/doorbell.h"
#include "dataplane/pod_socket.h"
#include "dataplane/publisher.h"
#include "dataplane/snapshot.h"

namespace sluice::dataplane {
namespace {

// An interrupt is counted until somebody reads it, in eight bytes by eventfd(2), in four by the kernel's uio.
void take_interrupts(int descriptor) {
  uint64_t count = 0;
  if (read(descriptor, &count, sizeof count) < 0 && errno == EINVAL) (void)!read(descriptor, &count, sizeof count / 2);
}

}  // namespace

// The turn before has told the control thread that nothing is held any more (Publisher::quiescent): the snapshot is
// read anew, here and in what follows.
void IdleWait::rest() {
  const Snapshot& snapshot = publisher_.current();
  if (worker_ >= snapshot.workers.size()) return nap();
  if (armed_ && generation_ != snapshot.generation) disarm(snapshot);
  if (!armed_) {
    if (napping_generation_ == snapshot.generation) return nap();
    if (!collect(snapshot.workers[worker_]) || !arm(snapshot)) {
      napping_generation_ = snapshot.generation;
      return nap();
    }
    empty_turns_ = spin_turns;
  } else if (empty_turns_ > spin_turns + armed_turns) {
    wait();
  }
}

void IdleWait::nap() const {
  const timespec time{0, static_cast<long>(nap_microseconds_) * 1000};
  nanosleep(&time, nullptr);
}

bool IdleWait::collect(const WorkerPorts& ports) {
  count_ = 0;
  descriptors_[count_++] = {doorbell_.descriptor(), POLLIN, 0};
  if (ports.pods != nullptr) descriptors_[count_++] = {ports.pods->descriptor(), POLLIN, 0};
  first_queue_ = count_;
  for (const PollQueue& queue : ports.receive) {
    if (queue.interrupt < 0 || count_ == descriptors_.size()) return false;
    descriptors_[count_++] = {queue.interrupt, POLLIN, 0};
  }
  return true;
}

bool IdleWait::arm(const Snapshot& snapshot) {
  for (const PollQueue& queue : snapshot.workers[worker_].receive) {
    if (rte_eth_dev_rx_intr_enable(queue.port, queue.queue) == 0) continue;
    disarm(snapshot);
    return false;
  }
  doorbell_.await(true);
  armed_ = true;
  generation_ = snapshot.generation;
  return true;
}

// A queue that is not in the snapshot any more is closed and not touched.
void IdleWait::disarm(const Snapshot& snapshot) {
  armed_ = false;
  doorbell_.await(false);
  for (const PollQueue& queue : snapshot.workers[worker_].receive) {
    if (queue.interrupt >= 0) rte_eth_dev_rx_intr_disable(queue.port, queue.queue);
  }
}

void IdleWait::wait() {
  publisher_.rest(worker_);
  const timespec most{0, longest_wait};
  bool woken = false;
  if (const int ready = ppoll(descriptors_.data(), count_, &most, nullptr); ready > 0) {
    for (size_t i = 0; i < count_; ++i) {
      if ((descriptors_[i].revents & POLLIN) == 0) continue;
      woken = true;
      if (i == 0) doorbell_.hear();
      if (i >= first_queue_) take_interrupts(descriptors_[i].fd);
    }
    if (!woken) nap();  // an error that stays, and would have it never wait
  }
  publisher_.resume(worker_);
  if (!woken) return;  // the next turn sees to timers, and after it this waits again
  disarm(publisher_.current());
  empty_turns_ = 0;
}

}  // namespace sluice::dataplane
