// One run: packet threads started, links and gateways waited for, then trials, each from a quiet link to a quiet link.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/net/result.h"
#include "tools/trafgen/live_table.h"
#include "tools/trafgen/measurement.h"
#include "tools/trafgen/testbed.h"
#include "tools/trafgen/worker.h"

namespace sluice::trafgen {

class Session {
 public:
  // `stop`: becomes true when the run is to end early.
  Session(Testbed& bed, LiveTable& table, const std::atomic<bool>& stop);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Starts the packet threads: worker i on lcore i + 1. Waits up to `seconds` for links and gateways.
  net::Status<> start(double seconds);
  // Rates per stream in packets per second, 0 for unlimited. `after`: what the run lasts beyond this trial, for
  // the time that is left.
  TrialResult trial(const std::string& what, const std::vector<double>& rates, double seconds, double after);

 private:
  void order_all(Worker::Order order, uint64_t cycles = 0);
  void wait_all();
  // Until nothing has arrived for 50 ms; at most a second, or as long as requests may take.
  void drain();
  [[nodiscard]] Sample sample(double at) const;
  [[nodiscard]] uint64_t received() const;
  void judge(TrialResult& result) const;
  [[nodiscard]] StreamResult read(const TestStream& stream, double rate, double seconds) const;
  [[nodiscard]] DirectionResult read(const Checker& checker, uint64_t sent, uint64_t stray) const;
  [[nodiscard]] uint64_t stray(uint32_t stream, bool answer) const;

  Testbed& bed_;
  LiveTable& table_;
  const std::atomic<bool>& stop_;
  std::vector<std::unique_ptr<Worker>> workers_;
  bool running_ = false;
};

}  // namespace sluice::trafgen
