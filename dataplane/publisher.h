// One way from the control thread to the workers: a pointer to the current snapshot and the grace periods
// (QSBR) after which the previous one, or a table entry nobody names any more, may be reclaimed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/net/result.h"
#include "dataplane/snapshot.h"

struct rte_rcu_qsbr;

namespace sluice::dataplane {

class Publisher {
 public:
  static net::Result<std::unique_ptr<Publisher>> create(uint16_t workers);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  // Workers, once per loop.
  [[nodiscard]] const Snapshot& current() const { return *current_.load(std::memory_order_acquire); }
  // The worker holds nothing of an earlier loop and has passed `generation`.
  void quiescent(uint16_t worker, uint32_t generation);
  // Between online() and offline() a worker takes part in grace periods.
  void online(uint16_t worker);
  void offline(uint16_t worker);
  // The same for a worker that waits and comes back, between rest() and resume().
  void rest(uint16_t worker);
  void resume(uint16_t worker);

  // Control thread: makes `next` the current snapshot. The previous one is kept until reclaim() finds its
  // grace period over. Returns the token of the grace period.
  uint64_t publish(std::unique_ptr<const Snapshot> next);
  // A grace period starting now.
  [[nodiscard]] uint64_t start_grace_period();
  [[nodiscard]] bool passed(uint64_t token) const;
  // Frees snapshots whose grace period is over.
  void reclaim();
  [[nodiscard]] uint32_t generation_of(uint16_t worker) const;
  [[nodiscard]] rte_rcu_qsbr* qsbr() { return qsbr_; }

 private:
  struct alignas(64) Passed {
    std::atomic<uint32_t> generation{0};
  };
  struct Retired {
    std::unique_ptr<const Snapshot> snapshot;
    uint64_t token;
  };

  Publisher() = default;

  std::atomic<const Snapshot*> current_{nullptr};
  std::unique_ptr<const Snapshot> owned_;
  std::vector<Retired> retired_;
  std::unique_ptr<Passed[]> passed_;
  rte_rcu_qsbr* qsbr_ = nullptr;
};

}  // namespace sluice::dataplane
