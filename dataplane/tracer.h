// A worker's part in tracing. While nobody asks it costs a load per turn of the loop and a branch per burst. While
// somebody does, every frame is shown to the filters; those that are wanted go through the pipeline alone, between
// others in their order, and are written down. A traced packet that is handed over is traced by the next worker too.
//
// What cannot be written down because the ring is full is processed like any other packet, and counted.
#pragma once

#include <atomic>
#include <cstdint>

#include "dataplane/trace.h"
#include "dataplane/trace_recorder.h"

namespace sluice::dataplane {

class Tracer {
 public:
  Tracer(Context& context, Output& output, Pipeline& pipeline, const Connections& connections)
      : context_(context), pipeline_(pipeline), recorder_(context, output, pipeline, connections) {}

  // Control thread. nullptr: nobody asks. What was given before may be read until a grace period has passed.
  void order(const TraceOrders* orders) { orders_.store(orders, std::memory_order_release); }
  [[nodiscard]] TraceRing& ring() { return ring_; }

  // Worker.
  [[nodiscard]] const TraceOrders* orders() const { return orders_.load(std::memory_order_acquire); }
  // As Pipeline's, at most net::burst_size.
  void process_frames(const TraceOrders& orders, rte_mbuf** frames, uint16_t count, uint16_t port);
  void process_handed_over(rte_mbuf** packets, uint16_t count);

 private:
  // Gives `process` the packets that are not wanted in bursts and those that are one by one. `wanted`: bits of orders.
  template <class Process>
  void process(rte_mbuf** packets, const uint8_t* wanted, uint16_t count, uint16_t port, const Process& process);

  Context& context_;
  Pipeline& pipeline_;
  TraceRecorder recorder_;
  TraceRing ring_;
  std::atomic<const TraceOrders*> orders_{nullptr};
};

}  // namespace sluice::dataplane
