// Between the rings of the workers (dataplane/punt.h) and the TAP devices of the host: a thread of its own, beside the
// control thread on its CPU. It wakes when a TAP device has a frame, or a worker has put one into its ring and rung.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "control/host_interface.h"
#include "dataplane/punt.h"

namespace sluice::control {

class HostLink {
 public:
  // By the index of the interface; nullptr: it has no twin.
  using Twins = std::vector<std::shared_ptr<HostInterface>>;

  // `rings` outlive it.
  explicit HostLink(dataplane::PuntRings& rings) : rings_(rings) {}
  ~HostLink();
  HostLink(const HostLink&) = delete;
  HostLink& operator=(const HostLink&) = delete;

  // From now on. The thread may hold those of before a moment longer.
  void set(Twins twins);
  // Frames that a TAP device did not take: it is down, or its queue is full.
  [[nodiscard]] uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  void run();
  [[nodiscard]] bool write_frames(const Twins& twins);
  [[nodiscard]] bool read_frames(const Twins& twins);

  dataplane::PuntRings& rings_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<const Twins> wanted_ = std::make_shared<const Twins>();
  bool stop_ = false;
  std::atomic<uint64_t> refused_{0};
  std::thread thread_;  // from the first twin on
};

}  // namespace sluice::control
