// A record of what happened to a packet (dataplane/trace.h) in words: a line for each decision, the verdict, and for a
// drop what to do about it.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "control/content_library.h"
#include "control/plan.h"
#include "control/router.h"
#include "dataplane/snapshot.h"
#include "dataplane/trace.h"

namespace sluice::control {

// Where the record's numbers get their names.
struct TraceNames {
  const dataplane::Snapshot* snapshot = nullptr;
  const Plan* plan = nullptr;
  // Of a service port's id: "default/web:http", empty for none.
  std::function<std::string(uint32_t)> service;
  // Of a rule's number: "default/web www.example.com/api"; empty: the rules do not say.
  std::function<std::string(uint32_t)> rule;
  // Of "default/web:http": "0 of 2 endpoints are usable (1 not ready, 1 drained)".
  std::function<std::string(const std::string&)> endpoints;
  // What patterns of ContentPolicies are made of; nullptr: nobody knows.
  const ContentLibrary* content = nullptr;
  // Of a packet that nobody sent: what its client says first, or what is in the datagram. Outlives the call.
  std::string_view said = {};
};

// `dry`: of a packet that nobody sent (dataplane/dry_run.h).
[[nodiscard]] Explanation describe(const dataplane::PacketTrace& trace, const TraceNames& names, bool dry);

}  // namespace sluice::control
