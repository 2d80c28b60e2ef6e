// Which clients are pods of this node, by kube-proxy's detectLocalMode (MASQ-1): what a plan and a snapshot have of it.
// The packets are looked at in dataplane/open_flow.cpp.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/model.h"
#include "control/plan.h"

namespace sluice::control {

// Whether whatever comes in by the interface of this name is of a local pod.
[[nodiscard]] bool holds_local_pods(const config::Cluster& cluster, std::string_view interface);

// Networks whose addresses are local pods'; none where interfaces say so. NodeCIDR: of every Node that counts as this
// one (localNodeNames).
[[nodiscard]] std::vector<net::Prefix> local_pod_networks(const config::Config& config);

// Why no client can be a local pod yet; nothing if one can be, or if it is clusterCIDRs alone that say so.
[[nodiscard]] std::optional<std::string> detect_local_warning(const config::Config& config,
                                                              const std::vector<PlannedInterface>& interfaces);

}  // namespace sluice::control
