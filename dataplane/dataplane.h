// The data plane as the control thread holds it: tables, workers, publication. Created once; ports and snapshots
// come and go through it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/net/result.h"
#include "dataplane/publisher.h"
#include "dataplane/punt.h"
#include "dataplane/worker.h"

namespace sluice::dataplane {

struct DataplaneOptions {
  uint16_t workers = 1;
  uint32_t mbufs = 16384;
  uint32_t connections = 65536;  // per family, over all workers
  uint32_t late_buffers = 2048;  // per family and worker: clients whose bytes are read at a time (late_table.h)
  uint32_t idle_sleep_microseconds = 0;
  // Of hashes and translated ports. 0: the kernel's random numbers; another value makes every run alike (tests), and
  // the hashes no secret.
  uint64_t seed = 0;
  FibSizing fib;
};

class Dataplane {
 public:
  // The EAL runs already, with an lcore for each worker if start() will be called.
  static net::Result<std::unique_ptr<Dataplane>> create(const DataplaneOptions& options);
  // The same in two steps, of which the first does without DataplaneOptions::connections.
  static net::Result<std::unique_ptr<Dataplane>> prepare(const DataplaneOptions& options);
  [[nodiscard]] net::Status<> complete(uint32_t connections);
  ~Dataplane();
  Dataplane(const Dataplane&) = delete;
  Dataplane& operator=(const Dataplane&) = delete;

  // Launches worker i on lcore i + 1. Without it the caller turns the workers itself (tests).
  [[nodiscard]] net::Status<> start();
  void stop();

  [[nodiscard]] const DataplaneOptions& options() const { return options_; }
  [[nodiscard]] uint16_t worker_count() const { return options_.workers; }
  [[nodiscard]] Worker& worker(uint16_t index) { return *workers_[index]; }
  [[nodiscard]] const Worker& worker(uint16_t index) const { return *workers_[index]; }
  [[nodiscard]] Publisher& publisher() { return *publisher_; }
  [[nodiscard]] const Publisher& publisher() const { return *publisher_; }
  [[nodiscard]] Fib& fib() { return *fib_; }
  [[nodiscard]] const Fib& fib() const { return *fib_; }
  [[nodiscard]] NextHopTable& next_hops() { return next_hops_; }
  [[nodiscard]] const NextHopTable& next_hops() const { return next_hops_; }
  [[nodiscard]] NeighborTable& neighbors() { return *neighbors_; }
  [[nodiscard]] const NeighborTable& neighbors() const { return *neighbors_; }
  [[nodiscard]] const TunnelPathTable& tunnel_paths() const { return tunnel_paths_; }
  [[nodiscard]] PuntRings& punts() { return *punts_; }
  // As the workers have them.
  [[nodiscard]] const Tables& tables() const { return tables_; }
  [[nodiscard]] rte_mempool* pool() const { return pool_; }
  [[nodiscard]] uint32_t mbufs_in_use() const;

 private:
  explicit Dataplane(const DataplaneOptions& options) : options_(options) {}
  struct Launch {
    Worker* worker;
    const std::atomic<bool>* stop;
  };

  DataplaneOptions options_;
  uint64_t seed_ = 0;  // for the next random number
  rte_mempool* pool_ = nullptr;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<Fib> fib_;
  NextHopTable next_hops_;
  std::unique_ptr<NeighborTable> neighbors_;
  TunnelPathTable tunnel_paths_;
  std::unique_ptr<HandoffRings> rings_;
  std::unique_ptr<PuntRings> punts_;
  Tables tables_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Launch> launches_;
  std::atomic<bool> stop_{false};
  bool running_ = false;
};

}  // namespace sluice::dataplane
