// What a change of nodes, their blocks and the pods of this node makes of a plan, without making it anew: what it
// costs is in proportion to the change. The result is the plan that make_plan() would make; where that is not certain
// (two want one route, networks of pods within each other, an underlay address inside a network of pods, direct server
// return, the router's own Node), there is no delta, and the plan is made anew. Control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/model.h"
#include "config/object_set.h"
#include "control/plan.h"

namespace sluice::control {

struct PlanDelta {
  std::map<net::Prefix, PlannedRoute> routes;  // new ones and those that lead elsewhere now
  std::vector<net::Prefix> lost_routes;
  std::map<std::string, PlannedTunnel> tunnels;  // new and changed ones
  std::vector<std::string> lost_tunnels;
  std::vector<PlannedNeighbor> neighbors, lost_neighbors;
  std::vector<net::IpAddr> sources, lost_sources;  // of packets in tunnels
  std::vector<net::Prefix> pods_elsewhere, pods_not_elsewhere;
  std::optional<std::vector<PlannedInterface>> interfaces;  // all, if there are others now
  std::vector<std::string> warnings, lost_warnings;
  bool node_addresses = false;  // a Node may have others now

  // What the plan says of where it has this from; all that concerns a node, a block or a pod is replaced.
  std::map<std::string, std::optional<PlannedNode>> nodes;
  std::map<std::string, std::optional<PlannedBlock>> blocks;
  std::map<config::ObjectName, std::optional<PlannedPod>> pods;
  std::map<PlannedNeighbor, int32_t> neighbor_uses;  // by how many more routes name it
  std::vector<std::pair<net::Prefix, bool>> networks;
  std::vector<net::Prefix> lost_networks;

  // Whether routes, tunnels, neighbours or interfaces are others now.
  [[nodiscard]] bool changes_routing() const {
    return !routes.empty() || !lost_routes.empty() || !tunnels.empty() || !lost_tunnels.empty() || !neighbors.empty() ||
           !lost_neighbors.empty() || interfaces;
  }
};

// Whether this is a kind of object that plan_delta() looks at.
[[nodiscard]] bool is_planned_by_delta(std::string_view kind);

// `plan` was made of `config` as it was before `change`, with the same `host` and with `before` (nullptr: the same) for
// `allocated`, of which blocks may be others. Objects of other kinds than is_planned_by_delta() says are not looked at:
// their changes must leave the plan as it is.
[[nodiscard]] std::optional<PlanDelta> plan_delta(const Plan& plan, const config::Config& config,
                                                  const config::Change& change, const Allocated& allocated = {},
                                                  const HostAddresses& host = {}, const Allocated* before = nullptr);
void apply(const PlanDelta& delta, Plan& plan);
// Of the plan after `delta`.
[[nodiscard]] std::vector<std::string> warnings_after(const PlanDelta& delta, std::vector<std::string> warnings);

}  // namespace sluice::control
