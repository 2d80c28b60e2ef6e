// What nodes have to do with the rules about others.
#include <algorithm>
#include <unordered_set>

#include "config/change_rules.h"

namespace sluice::config {

std::vector<ObjectName> names_of(const Change& change, std::string_view kind, bool moved) {
  std::vector<ObjectName> out;
  for (const Change::Touched& touched : change.touched) {
    if (touched.key.kind == kind && touched.effective && (touched.moved || !moved)) {
      out.push_back({touched.key.ns, touched.key.name});
    }
  }
  return out;
}

bool concern_services(const Config& config, const Scope& scope) {
  if (scope.change == nullptr) return true;
  std::unordered_set<IpAddr> addresses;
  std::vector<Prefix> pods;
  for (const ObjectName& name : names_of(*scope.change, "Node", true)) {
    const auto found = config.nodes.find(name.name);
    if (found == config.nodes.end()) continue;
    const Node& node = found->second;
    addresses.insert(node.internal_ips.begin(), node.internal_ips.end());
    addresses.insert(node.external_ips.begin(), node.external_ips.end());
    if (node.bgp_ipv4) addresses.insert(node.bgp_ipv4->addr);
    if (node.bgp_ipv6) addresses.insert(node.bgp_ipv6->addr);
    if (node.vxlan_tunnel_ipv4) addresses.insert(*node.vxlan_tunnel_ipv4);
    if (node.ipip_tunnel_ipv4) addresses.insert(*node.ipip_tunnel_ipv4);
    if (node.vxlan_tunnel_ipv6) addresses.insert(*node.vxlan_tunnel_ipv6);
    pods.insert(pods.end(), node.pod_cidrs.begin(), node.pod_cidrs.end());
  }
  if (addresses.empty() && pods.empty()) return false;
  const auto held = [&](const IpAddr& address) {
    return addresses.contains(address) ||
           std::any_of(pods.begin(), pods.end(), [&](const Prefix& network) { return network.contains(address); });
  };
  const std::vector<IpAddr>& listening = config.gateway.ingress.addresses;
  const Owners& owners = *scope.owners;
  return std::any_of(listening.begin(), listening.end(), held) ||
         std::any_of(addresses.begin(), addresses.end(),
                     [&](const IpAddr& address) { return owners.has_external_ip(address); }) ||
         std::any_of(pods.begin(), pods.end(),
                     [&](const Prefix& network) { return owners.has_external_ip_in(network); });
}

}  // namespace sluice::config
