// Writes down what a pipeline does to one packet, by looking at it from outside before and after.
#pragma once

#include <array>

#include "dataplane/connections.h"
#include "dataplane/context.h"
#include "dataplane/output.h"
#include "dataplane/pipeline.h"
#include "dataplane/trace.h"

namespace sluice::dataplane {

class TraceRecorder {
 public:
  // All of one worker, which outlive the recorder.
  TraceRecorder(Context& context, Output& output, const Pipeline& pipeline, const Connections& connections)
      : context_(context), output_(output), pipeline_(pipeline), connections_(connections) {}

  // Before the pipeline gets `mbuf`, alone: sends what waits, so that what waits afterwards is of this packet, and
  // begins `trace` anew.
  void begin(PacketTrace& trace, const rte_mbuf* mbuf);
  // After the pipeline came back, before anything is sent.
  void end();

 private:
  template <class F>
  void look_at(const net::FlowPacket<F>& packet);
  void record(const net::IpAddr& destination, const Egress& egress);
  void look_at_counters();
  void look_at_sent();
  PacketTrace::Frame keep(const rte_mbuf* mbuf);

  Context& context_;
  Output& output_;
  const Pipeline& pipeline_;
  const Connections& connections_;
  PacketTrace* trace_ = nullptr;
  std::array<uint64_t, net::drop_reason_count> drops_{};
  std::array<uint64_t, event_count> events_{};
};

}  // namespace sluice::dataplane
