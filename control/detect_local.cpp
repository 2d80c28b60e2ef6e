#include "control/detect_local.h"

#include <algorithm>

#include <fmt/format.h>

#include "config/finding.h"

namespace sluice::control {

using config::DetectLocal;

bool holds_local_pods(const config::Cluster& cluster, std::string_view interface) {
  switch (cluster.detect_local) {
    case DetectLocal::BridgeInterface:
      return interface == cluster.bridge_interface;
    case DetectLocal::InterfaceNamePrefix:
      return interface.starts_with(cluster.interface_name_prefix);
    case DetectLocal::ClusterCidr:
    case DetectLocal::NodeCidr:
      break;
  }
  return false;
}

std::vector<net::Prefix> local_pod_networks(const config::Config& config) {
  const config::Gateway& gateway = config.gateway;
  if (gateway.cluster.detect_local == DetectLocal::ClusterCidr) return gateway.cluster.cluster_cidrs;
  std::vector<net::Prefix> networks;
  if (gateway.cluster.detect_local != DetectLocal::NodeCidr) return networks;
  for (const std::string& name : gateway.local_node_names) {
    const auto node = config.nodes.find(name);
    if (node == config.nodes.end()) continue;
    networks.insert(networks.end(), node->second.pod_cidrs.begin(), node->second.pod_cidrs.end());
  }
  return networks;
}

std::optional<std::string> detect_local_warning(const config::Config& config,
                                                const std::vector<PlannedInterface>& interfaces) {
  constexpr std::string_view until = "until then no client counts as a pod of this node";
  const config::Cluster& cluster = config.gateway.cluster;
  const bool by_name =
      cluster.detect_local == DetectLocal::BridgeInterface || cluster.detect_local == DetectLocal::InterfaceNamePrefix;
  if (by_name) {
    const bool any = std::any_of(interfaces.begin(), interfaces.end(),
                                 [](const PlannedInterface& interface) { return interface.local_pods; });
    if (any) return std::nullopt;
    const bool bridge = cluster.detect_local == DetectLocal::BridgeInterface;
    return fmt::format("cluster.detectLocal.{}: no interface or WorkloadEndpoint has a name that {} {}; {}",
                       bridge ? "bridgeInterface" : "interfaceNamePrefix", bridge ? "is" : "begins with",
                       config::quoted(bridge ? cluster.bridge_interface : cluster.interface_name_prefix), until);
  }
  if (cluster.detect_local != DetectLocal::NodeCidr || !local_pod_networks(config).empty()) return std::nullopt;
  return fmt::format("cluster.detectLocalMode NodeCIDR: no Node of {} has podCIDRs; {}",
                     fmt::join(config.gateway.local_node_names, ", "), until);
}

}  // namespace sluice::control
