#include "dataplane/dataplane.h"

#include <string>
#include <sys/random.h>

#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

namespace sluice::dataplane {
namespace {

constexpr unsigned pool_cache = 256;

// `seed` as in DataplaneOptions; moved on (splitmix64), so that every call gives another number. Never 0.
uint64_t random_number(uint64_t& seed) {
  uint64_t value = 0;
  if (seed == 0) {
    if (getrandom(&value, sizeof value, 0) != sizeof value) value = 0;
  } else {
    seed += 0x9e3779b97f4a7c15;
    value = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    value ^= value >> 31;
  }
  return value != 0 ? value : 0x9e3779b97f4a7c15;
}

}  // namespace

net::Result<std::unique_ptr<Dataplane>> Dataplane::create(const DataplaneOptions& options) {
  auto plane = prepare(options);
  if (!plane) return plane;
  if (auto completed = (*plane)->complete(options.connections); !completed) return completed.error();
  return plane;
}

net::Result<std::unique_ptr<Dataplane>> Dataplane::prepare(const DataplaneOptions& options) {
  std::unique_ptr<Dataplane> plane(new Dataplane(options));
  plane->pool_ =
      rte_pktmbuf_pool_create("sluice_mbufs", options.mbufs, pool_cache, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
  if (plane->pool_ == nullptr) {
    return net::Error{std::to_string(options.mbufs) + " packet buffers could not be allocated: " +
                      rte_strerror(rte_errno) + "; raise --memory or lower --mbufs"};
  }
  auto publisher = Publisher::create(options.workers);
  if (!publisher) return publisher.error();
  plane->publisher_ = std::move(*publisher);
  auto fib = Fib::create(options.fib);
  if (!fib) return fib.error();
  plane->fib_ = std::move(*fib);
  auto neighbors = NeighborTable::create(plane->publisher_->qsbr());
  if (!neighbors) return neighbors.error();
  plane->neighbors_ = std::move(*neighbors);
  auto rings = HandoffRings::create(options.workers);
  if (!rings) return rings.error();
  plane->rings_ = std::move(*rings);
  auto punts = PuntRings::create(options.workers, plane->rings_->doorbell(0));
  if (!punts) return punts.error();
  plane->punts_ = std::move(*punts);

  Tables& tables = plane->tables_;
  tables.fib = plane->fib_.get();
  tables.next_hops = &plane->next_hops_;
  tables.neighbors = plane->neighbors_.get();
  tables.tunnel_paths = &plane->tunnel_paths_;
  tables.rings = plane->rings_.get();
  tables.punts = plane->punts_.get();
  tables.pool = plane->pool_;
  uint64_t& seed = plane->seed_;
  seed = options.seed;
  const uint64_t key = random_number(seed);
  tables.hasher = {key, random_number(seed)};
  tables.workers = options.workers;
  const uint64_t cookie_key = random_number(seed);
  tables.cookie_key = {cookie_key, random_number(seed)};
  return plane;
}

net::Status<> Dataplane::complete(uint32_t connections) {
  options_.connections = connections;
  for (uint16_t i = 0; i < options_.workers; ++i) {
    WorkerOptions worker_options;
    worker_options.connections = std::max<uint32_t>(connections / options_.workers, 64);
    worker_options.seed = random_number(seed_);
    worker_options.late_buffers = options_.late_buffers;
    worker_options.idle_sleep_microseconds = options_.idle_sleep_microseconds;
    auto worker = Worker::create(i, tables_, *publisher_, worker_options);
    if (!worker) return worker.error();
    workers_.push_back(std::move(*worker));
  }
  return net::Done{};
}

net::Status<> Dataplane::start() {
  launches_.reserve(workers_.size());
  stop_.store(false);
  for (uint16_t i = 0; i < workers_.size(); ++i) {
    launches_.push_back({workers_[i].get(), &stop_});
    const auto run = [](void* argument) {
      const auto* launch = static_cast<const Launch*>(argument);
      launch->worker->run(*launch->stop);
      return 0;
    };
    if (rte_eal_remote_launch(run, &launches_[i], i + 1U) != 0) {
      stop();
      return net::Error{"worker " + std::to_string(i) + " could not be started"};
    }
    running_ = true;
  }
  return net::Done{};
}

void Dataplane::stop() {
  if (!running_) return;
  stop_.store(true);
  rte_eal_mp_wait_lcore();
  running_ = false;
}

Dataplane::~Dataplane() {
  stop();
  workers_.clear();
  rings_.reset();
  neighbors_.reset();
  rte_mempool_free(pool_);
}

uint32_t Dataplane::mbufs_in_use() const { return rte_mempool_in_use_count(pool_); }

}  // namespace sluice::dataplane
