// The real data plane without NICs: ports are rings, the benchmark turns its worker, or its workers one after the
// other, and times each turn by the TSC. What a turn costs is the whole router without drivers: receive ring, pipeline,
// timers, flush. Making the frames before and taking them away after is not timed.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "control/deployment.h"
#include "control/service_compiler.h"
#include "dataplane/dataplane.h"

namespace sluice::bench {

// Addresses and ports in network byte order, as they lie in a frame.
struct Tuple {
  uint32_t src = 0, dst = 0;
  uint16_t src_port = 0, dst_port = 0;

  [[nodiscard]] Tuple reversed() const { return {dst, src, dst_port, src_port}; }
};

// A frame of which only the innermost tuple differs from packet to packet.
class Shape {
 public:
  Shape() = default;
  // `frame` ends in IPv4/UDP or IPv4/TCP; `inner` is the offset of that IPv4 header.
  Shape(std::vector<uint8_t> frame, uint16_t inner) : frame_(std::move(frame)), inner_(inner) {}

  // As if it had just been received.
  void write(rte_mbuf* mbuf, const Tuple& tuple) const;
  [[nodiscard]] const std::vector<uint8_t>& frame() const { return frame_; }
  [[nodiscard]] uint16_t inner() const { return inner_; }

 private:
  std::vector<uint8_t> frame_;
  uint16_t inner_ = 0;
};

enum class Side : uint8_t { A, B };  // ports net_ring_a and net_ring_b of tests/packet/documents.h

class BenchRig {
 public:
  struct Options {
    uint32_t connections = 65536;
    uint32_t routes = 4096;
    uint16_t workers = 1;  // at most 2; the first receives everything
  };
  // Starts the EAL at the first call. Ends the program with a sentence if anything fails.
  explicit BenchRig(const Options& options);
  ~BenchRig();
  BenchRig(const BenchRig&) = delete;
  BenchRig& operator=(const BenchRig&) = delete;

  void load(const std::string& document);

  // A buffer to fill; at most one burst at a time.
  rte_mbuf* take();
  void offer(Side side, rte_mbuf* const* frames, unsigned count);
  // One turn of every worker; TSC cycles of all. Once they run apart, a turn of the first, and what the second was busy
  // with until all that was offered has come out.
  uint64_t turn();
  // From now on the second worker runs by itself on another CPU.
  void run_apart();
  // What came out since the last call, good until the next take().
  const std::vector<rte_mbuf*>& collect();
  // Without looking; returns how many there were.
  size_t discard_output();
  void advance_clock(nat::Millis milliseconds);

  // Another thread writes what is read here.
  [[nodiscard]] const dataplane::WorkerCounters& counters(uint16_t worker = 0) const {
    return plane_->worker(worker).counters();
  }
  // "no_route 5": what was dropped since the start; empty if nothing was.
  [[nodiscard]] std::string drops() const;

 private:
  void give_back();
  void stop_second();

  std::unique_ptr<dataplane::Dataplane> plane_;
  control::ContentLibrary content_;
  control::ServiceCompiler services_;
  std::unique_ptr<control::Deployment> deployment_;
  std::deque<rte_mbuf*> stock_;  // first in, first out, so that buffers are as cold as in a driver's ring
  std::vector<rte_mbuf*> out_;
  size_t offered_ = 0;  // since the last take()
  bool apart_ = false;
  std::atomic<bool> stop_second_{false};
};

}  // namespace sluice::bench
