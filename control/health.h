// What load balancers and people are told about the health of services and of this node, as values: no socket, no clock
// of its own. health_server.h listens.
//
//   healthCheckNodePort   200 while this node has ready endpoints of the service, else 503, so that a load balancer
//   moves
//                         the traffic away while terminating endpoints still serve what comes (SVC-80, SVC-81)
//   healthzPort           /healthz 200 while the router keeps up with its configuration and the node is not about to be
//                         deleted; /livez the same without a look at the node (SVC-82, KEP-3836)
//
// Answers have the form of kube-proxy's.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "config/model.h"
#include "config/object_set.h"
#include "control/api.h"
#include "control/drains.h"

namespace sluice::control {

struct ServiceHealth {
  config::ObjectName service;
  uint32_t local_endpoints =
      0;  // ready, with a weight, not drained, by address; of a dual-stack service in the family that has more
};

struct HealthPlan {
  std::map<uint16_t, ServiceHealth> services;  // by healthCheckNodePort
  uint16_t healthz_port = 0;                   // 0: none
  std::vector<net::IpAddr> addresses;          // of the machine, to listen on; empty: all
  bool node_eligible = true;                   // the node is not being deleted
  std::vector<config::Warning> warnings;       // about checks that nobody can reach
};

[[nodiscard]] HealthPlan make_health_plan(const config::Config& config, const DrainList& drains = {});

// Whether make_health_plan() can say something else than `served` after such a change.
[[nodiscard]] bool affects_health(const config::Config& config, const config::Change& change, const HealthPlan& served);

// How the router is. Unhealthy: it has no configuration yet, or the workers did not take over the last one in time.
struct RouterHealth {
  bool healthy = false;
  std::chrono::system_clock::time_point updated;  // when a configuration was put in place last
};

// The answer to a request that came in at `port`. `target`: as in the request, "/healthz?x".
[[nodiscard]] Response health_answer(const HealthPlan& plan, uint16_t port, std::string_view method,
                                     std::string_view target, const RouterHealth& router,
                                     std::chrono::system_clock::time_point now);

}  // namespace sluice::control
