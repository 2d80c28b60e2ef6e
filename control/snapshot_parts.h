// Parts of a snapshot that are made of a plan and a configuration: for deployment*.cpp.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/model.h"
#include "control/plan.h"
#include "control/pod_ports.h"
#include "dataplane/snapshot.h"

namespace sluice::control {

// Interfaces of the kernel that are ports.
[[nodiscard]] KernelLinks links_of(const std::vector<PlannedInterface>& interfaces);
// Those of uplinks come first.
[[nodiscard]] std::vector<net::IpAddr> own_addresses_of(const std::vector<PlannedInterface>& interfaces);
[[nodiscard]] dataplane::Tunnel make_tunnel(const PlannedTunnel& planned);

template <class F>
void fill_excluded_nodes(dataplane::FamilyTables<F>& tables, const config::Config& config) {
  tables.excluded_nodes.clear();
  if (config.gateway.snat.nat_outgoing_exclusions != config::NatExclusions::IpPoolsAndHostIps) return;
  for (const auto& [name, node] : config.nodes) {
    for (const net::IpAddr& address : node.internal_ips) {
      if (address.family() == F::family) tables.excluded_nodes.push_back(F::addr_of(address));
    }
  }
  std::sort(tables.excluded_nodes.begin(), tables.excluded_nodes.end());
}

template <class F>
[[nodiscard]] bool before(const nat::Cidr<F>& a, const nat::Cidr<F>& b) {
  return a.network < b.network;
}

// Networks apart from each other.
template <class F>
void fill_pods_elsewhere(dataplane::FamilyTables<F>& tables, const std::vector<net::Prefix>& all) {
  std::vector<nat::Cidr<F>> networks;
  for (const net::Prefix& network : all) {
    if (network.family() == F::family) networks.push_back({F::addr_of(network.addr), network.length});
  }
  std::sort(networks.begin(), networks.end(), before<F>);
  tables.pods_elsewhere = std::make_shared<const std::vector<nat::Cidr<F>>>(std::move(networks));
}

// `less` are among them, `more` are not.
template <class F>
void change_pods_elsewhere(dataplane::FamilyTables<F>& tables, const std::vector<net::Prefix>& more,
                           const std::vector<net::Prefix>& less) {
  const auto is_other = [](const net::Prefix& network) { return network.family() != F::family; };
  if (std::all_of(more.begin(), more.end(), is_other) && std::all_of(less.begin(), less.end(), is_other)) return;
  std::vector<nat::Cidr<F>> networks = *tables.pods_elsewhere;
  const auto place = [&](const nat::Cidr<F>& cidr) {
    return std::lower_bound(networks.begin(), networks.end(), cidr, before<F>);
  };
  for (const net::Prefix& network : less) {
    if (!is_other(network)) networks.erase(place({F::addr_of(network.addr), network.length}));
  }
  for (const net::Prefix& network : more) {
    if (is_other(network)) continue;
    const nat::Cidr<F> cidr{F::addr_of(network.addr), network.length};
    networks.insert(place(cidr), cidr);
  }
  tables.pods_elsewhere = std::make_shared<const std::vector<nat::Cidr<F>>>(std::move(networks));
}

}  // namespace sluice::control
