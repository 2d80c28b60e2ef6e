// What the router says about packets in the rig: explained without sending them, and traced on their way.
#pragma once

#include <string>
#include <vector>

#include "control/packet_filter.h"
#include "control/probe.h"
#include "control/trace_text.h"
#include "dataplane/dry_run.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {

// The steps as lines "name: text", then "=> verdict" or "=> verdict (reason)".
[[nodiscard]] std::string text_of(const control::Explanation& explanation);

[[nodiscard]] control::Explanation describe(Rig& rig, const dataplane::PacketTrace& trace, bool dry,
                                            std::string_view said = {});

// As the controller does it (control/controller_traces.cpp). `flow`: the connection that a worker has of it.
[[nodiscard]] std::string explain(Rig& rig, const control::Probe& probe, const dataplane::FlowRecord* flow = nullptr);

// The same with what the rig's workers know of the packet's connection and of mappings.
[[nodiscard]] std::string explain_as_known(Rig& rig, const control::Probe& probe);

// A TCP SYN.
[[nodiscard]] control::Probe syn(const Endpoint& from, const Endpoint& to);

// The line of this step; "" if there is none.
[[nodiscard]] std::string step(const std::string& explanation, const std::string& name);

// Workers trace what matches the filter as long as this lives.
class RigTrace {
 public:
  RigTrace(Rig& rig, const std::string& filter);
  ~RigTrace();
  RigTrace(const RigTrace&) = delete;
  RigTrace& operator=(const RigTrace&) = delete;

  // What was recorded since the last call.
  [[nodiscard]] std::vector<dataplane::PacketTrace> take();
  [[nodiscard]] std::vector<std::string> texts();

 private:
  Rig& rig_;
  control::PacketFilter filter_;
  dataplane::TraceOrders orders_;
};

}  // namespace sluice::packet_test
