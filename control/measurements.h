// What the control thread measures of its own work, for /metrics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "control/histogram.h"

namespace sluice::control {

// Names of Services outside of the cluster (external_names.h).
struct ExternalNameCounts {
  uint64_t answered = 0, none = 0, failed = 0;  // look-ups, of one family each, since the start
  size_t known = 0, unknown = 0;                // names that have an address to use, and those that have none
};

struct Measurements {
  // From the moment that an EndpointSlice says it was triggered (its annotation
  // endpoints.kubernetes.io/last-change-trigger-time) until every worker used it; as kube-proxy's
  // kubeproxy_network_programming_duration_seconds, one value for each slice that a change set.
  Histogram network_programming;
  // From the request until every worker used the change, by its kind: document (a whole one), endpoints (nothing but
  // EndpointSlices), objects (the rest).
  std::map<std::string, Histogram, std::less<>> applies{{"document", {}}, {"endpoints", {}}, {"objects", {}}};

  // Requests by path, method and status code. Paths are those of routes.h: what a client made up is "other".
  using RequestKey = std::tuple<std::string_view, std::string_view, unsigned>;
  std::map<RequestKey, uint64_t> requests;
  // From a request's last byte to the first of its answer, by path.
  std::map<std::string_view, Histogram> request_durations;
  ExternalNameCounts external_names;
  uint64_t connections = 0;           // open
  uint64_t connections_accepted = 0;  // since the start
};

}  // namespace sluice::control
