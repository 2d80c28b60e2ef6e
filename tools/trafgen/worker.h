// A packet thread: receives on its ports, checks, answers, and sends its streams. The control thread gives orders and
// waits until they are carried out; packets are received all the time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "tools/trafgen/testbed.h"

namespace sluice::trafgen {

struct WorkerTimes {
  uint64_t began = 0, ended = 0;  // TSC, of sending
  uint64_t idle = 0;              // TSC cycles in turns without any work
  uint64_t stalled = 0;           // TSC cycles in which the thread had lost its CPU, as far as gaps show
  uint64_t packets = 0;           // sent and received while sending
};

class Worker {
 public:
  enum class Order : uint8_t { None, Clear, Send, Stop, Quit };

  Worker(Testbed& bed, uint32_t index);

  // Until the order Quit. The thread's function.
  void run();

  // From the control thread. `cycles`: how long to send (TSC).
  void give(Order order, uint64_t cycles = 0);
  // Clear and Stop are done when carried out, Send when its time is over.
  [[nodiscard]] bool done() const { return done_.load(std::memory_order_acquire) == given_; }
  // Ask for gateways every 100 ms.
  void resolve(bool on) { resolving_.store(on, std::memory_order_relaxed); }
  [[nodiscard]] const WorkerTimes& times() const { return times_; }
  // Packets of a stream that came to a port of another thread, per stream and direction.
  [[nodiscard]] uint64_t stray(uint32_t stream, bool answer) const { return stray_[stream * 2 + answer].get(); }

 private:
  void take_order(uint64_t now);
  void clear();
  void finish(uint64_t now);
  bool receive(TestPort& port);
  void process(TestPort& port, rte_mbuf** mbufs, unsigned count);
  // Each takes the mbuf over, or returns false.
  bool stream_packet(TestPort& port, rte_mbuf* mbuf, const FrameView& view, const Signature& signature, uint32_t now);
  bool connection_segment(TestPort& port, rte_mbuf* mbuf, const FrameView& view);
  bool reflect(TestPort& port, rte_mbuf* mbuf, const FrameView& view);
  bool respond(TestPort& port, rte_mbuf* mbuf, const FrameView& view);
  void ask_gateways(uint64_t now);

  Testbed& bed_;
  uint32_t index_;
  std::vector<TestPort*> ports_;
  std::vector<TestStream*> senders_;
  size_t first_sender_ = 0;  // of senders_
  std::vector<Counter> stray_;
  unsigned burst_;

  Order order_ = Order::None;
  uint64_t cycles_ = 0;
  uint32_t given_ = 0;  // the control thread's
  std::atomic<uint32_t> posted_{0};
  std::atomic<uint32_t> done_{0};
  std::atomic<bool> resolving_{false};
  uint32_t seen_ = 0;
  bool sending_ = false;
  bool quit_ = false;
  uint64_t deadline_ = 0;
  uint64_t asked_ = 0;
  WorkerTimes times_;
  // Of the burst being looked at.
  std::array<FrameView, max_burst> views_;
  std::array<Signature, max_burst> signatures_;
  std::array<bool, max_burst> genuine_{};
  uint64_t work_ = 0;  // packets handled, ever
};

}  // namespace sluice::trafgen
