// A poll-mode worker: one core, one loop, its own connections and counters.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/command.h"
#include "dataplane/connections.h"
#include "dataplane/context.h"
#include "dataplane/flow_events.h"
#include "dataplane/net/result.h"
#include "dataplane/pipeline.h"
#include "dataplane/publisher.h"
#include "dataplane/punt.h"
#include "dataplane/super_frame.h"
#include "dataplane/tracer.h"

struct rte_ring;

namespace sluice::dataplane {

struct WorkerOptions {
  uint32_t connections = 65536;  // per family
  uint32_t late_buffers = 2048;  // per family
  uint64_t seed = 1;             // random, not 0
  // What an idle worker naps for where nothing can wake it (idle_wait.h); 0: polls for ever.
  uint32_t idle_sleep_microseconds = 0;
};

class Worker {
 public:
  static net::Result<std::unique_ptr<Worker>> create(uint16_t index, const Tables& tables, Publisher& publisher,
                                                     const WorkerOptions& options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The loop, until `stop`. Registers with the publisher and leaves it at the end.
  void run(const std::atomic<bool>& stop);
  // One turn of the loop; true if it moved a packet. The caller has registered the worker (tests).
  bool run_once();
  // One turn with the clock set forward, so that tests need not wait for timeouts.
  void advance_clock(nat::Millis milliseconds) { clock_offset_ += milliseconds; }
  // From now on only advance_clock() moves it, so that a run can be repeated exactly (tests).
  void stop_clock() { cycles_per_millisecond_ = UINT64_MAX; }

  // Control thread. False if the ring is full.
  [[nodiscard]] bool submit(Command* command);
  // Whether connections that open and end are noted, from the next turn on; and what was noted.
  void watch_flows(bool watched) { watched_.store(watched, std::memory_order_relaxed); }
  // Of worker 0; nullptr of others.
  [[nodiscard]] ClaimRing* claims();
  [[nodiscard]] FlowEventRing& flow_events() { return flow_events_; }
  [[nodiscard]] Tracer& tracer() { return tracer_; }
  [[nodiscard]] const WorkerCounters& counters() const { return context_.counters; }
  [[nodiscard]] const nat::SnatCounters& snat_counters() const { return pipeline_.snat_counters(); }

 private:
  Worker(uint16_t index, const Tables& tables, Publisher& publisher, const WorkerOptions& options);
  void read_clock();
  // Whether it may wait between turns that found frames (moderation.h).
  [[nodiscard]] bool may_moderate() const;
  [[nodiscard]] bool poll_ports();
  [[nodiscard]] bool poll_pods(PodSocket& pods, unsigned bursts);
  // Whether the pods' next frame went on as it is.
  [[nodiscard]] bool forward_super_frame(PodSocket& pods);
  void process(rte_mbuf** frames, uint16_t count, uint16_t port);
  [[nodiscard]] bool poll_workers();
  [[nodiscard]] bool poll_host();
  void read_messages();
  void work_on_command(unsigned budget);
  // Whether it is done.
  bool announce(Command& command);
  bool set_neighbors(Command& command);
  template <class F>
  void find_affinity(Command::Affinity& question) const;
  template <class F>
  void find_mapping(Command::Mapping& question) const;
  template <class F>
  bool work_through(Command& command, unsigned budget);

  static constexpr unsigned expiry_budget = 32;
  static constexpr unsigned host_burst = 32;
  static constexpr unsigned announce_budget = 16;  // addresses per turn
  // Connections looked at per turn: packets wait meanwhile, some 30 us where each is a cache miss.
  static constexpr unsigned command_budget = 128;
  static constexpr unsigned idle_command_budget = 512;

  Publisher& publisher_;
  WorkerOptions options_;
  Context context_;
  Punt punt_;
  Connections connections_;
  Output output_;
  IcmpResponder icmp_;
  std::unique_ptr<Resolver> resolver_;           // worker 0
  std::unique_ptr<TunnelErrors> tunnel_errors_;  // worker 0
  std::unique_ptr<Reassembly> reassembly_;
  Pipeline pipeline_;
  Tracer tracer_;
  SuperFrames super_frames_;
  const TraceOrders* traced_ = nullptr;   // of this loop; nullptr: nobody traces
  std::array<StubMessage, 16> messages_;  // those being read
  FlowEventRing flow_events_;
  std::atomic<bool> watched_{false};
  rte_ring* commands_ = nullptr;
  Command* command_ = nullptr;  // in work
  bool more_due_ = false;       // timers, in the next turn
  unsigned turn_frames_ = 0;    // of this turn
  uint64_t cycles_per_millisecond_ = 1;
  uint64_t start_tsc_ = 0;
  nat::Millis clock_offset_ = 0;
};

}  // namespace sluice::dataplane
