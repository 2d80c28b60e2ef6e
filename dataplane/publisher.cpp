#include "dataplane/publisher.h"

#include <cstdlib>

#include <rte_rcu_qsbr.h>

namespace sluice::dataplane {

net::Result<std::unique_ptr<Publisher>> Publisher::create(uint16_t workers) {
  std::unique_ptr<Publisher> publisher(new Publisher);
  publisher->passed_ = std::make_unique<Passed[]>(workers);
  const size_t size = rte_rcu_qsbr_get_memsize(workers);
  publisher->qsbr_ = static_cast<rte_rcu_qsbr*>(std::aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_CACHE_LINE_ROUNDUP(size)));
  if (publisher->qsbr_ == nullptr || rte_rcu_qsbr_init(publisher->qsbr_, workers) != 0) {
    return net::Error{"the grace-period state could not be allocated"};
  }
  publisher->owned_ = std::make_unique<Snapshot>();
  publisher->current_.store(publisher->owned_.get(), std::memory_order_release);
  return publisher;
}

Publisher::~Publisher() { std::free(qsbr_); }

void Publisher::quiescent(uint16_t worker, uint32_t generation) {
  if (passed_[worker].generation.load(std::memory_order_relaxed) != generation) {
    passed_[worker].generation.store(generation, std::memory_order_release);
  }
  rte_rcu_qsbr_quiescent(qsbr_, worker);
}

void Publisher::online(uint16_t worker) {
  rte_rcu_qsbr_thread_register(qsbr_, worker);
  rte_rcu_qsbr_thread_online(qsbr_, worker);
}

void Publisher::offline(uint16_t worker) {
  rte_rcu_qsbr_thread_offline(qsbr_, worker);
  rte_rcu_qsbr_thread_unregister(qsbr_, worker);
}

void Publisher::rest(uint16_t worker) { rte_rcu_qsbr_thread_offline(qsbr_, worker); }

void Publisher::resume(uint16_t worker) { rte_rcu_qsbr_thread_online(qsbr_, worker); }

uint64_t Publisher::publish(std::unique_ptr<const Snapshot> next) {
  const Snapshot* const raw = next.get();
  std::unique_ptr<const Snapshot> previous = std::move(owned_);
  owned_ = std::move(next);
  current_.store(raw, std::memory_order_release);
  const uint64_t token = start_grace_period();
  retired_.push_back({std::move(previous), token});
  return token;
}

uint64_t Publisher::start_grace_period() { return rte_rcu_qsbr_start(qsbr_); }

bool Publisher::passed(uint64_t token) const { return rte_rcu_qsbr_check(qsbr_, token, false) == 1; }

void Publisher::reclaim() {
  std::erase_if(retired_, [this](const Retired& retired) { return passed(retired.token); });
}

uint32_t Publisher::generation_of(uint16_t worker) const {
  return passed_[worker].generation.load(std::memory_order_acquire);
}

}  // namespace sluice::dataplane
