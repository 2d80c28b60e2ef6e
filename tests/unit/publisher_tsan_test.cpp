// Publication under load: one thread publishes and reclaims, workers read. Run under ThreadSanitizer by
// scripts/test; without it the test still shows that no worker meets a snapshot that was freed.
#include "dataplane/publisher.h"

#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::dataplane {
namespace {

TEST(Publisher, SCALE6_workers_see_whole_snapshots_while_they_change) {
  constexpr uint16_t workers = 2;
  constexpr uint32_t generations = 2000;
  auto created = Publisher::create(workers);
  ASSERT_TRUE(created.ok());
  Publisher& publisher = **created;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> torn{0};
  std::atomic<uint16_t> online{0};
  std::vector<std::thread> threads;
  for (uint16_t worker = 0; worker < workers; ++worker) {
    threads.emplace_back([&, worker] {
      publisher.online(worker);
      ++online;
      uint32_t last = 0;
      while (!stop.load(std::memory_order_relaxed)) {
        const Snapshot& now = publisher.current();
        // Two fields that are written together, and generations never go back.
        if (now.interfaces.size() != now.generation % 7 || now.generation < last) ++torn;
        last = now.generation;
        publisher.quiescent(worker, now.generation);
      }
      publisher.offline(worker);
    });
  }
  while (online.load() != workers) std::this_thread::yield();
  uint64_t token = 0;
  for (uint32_t generation = 1; generation <= generations; ++generation) {
    auto next = std::make_unique<Snapshot>();
    next->generation = generation;
    next->interfaces.resize(generation % 7);
    token = publisher.publish(std::move(next));
    publisher.reclaim();
  }
  while (!publisher.passed(token) || publisher.generation_of(0) != generations ||
         publisher.generation_of(1) != generations) {
    std::this_thread::yield();
  }
  for (uint16_t worker = 0; worker < workers; ++worker) EXPECT_EQ(publisher.generation_of(worker), generations);
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  publisher.reclaim();
  EXPECT_EQ(torn.load(), 0U);
}

}  // namespace
}  // namespace sluice::dataplane
