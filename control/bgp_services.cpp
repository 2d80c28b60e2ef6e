#include "control/bgp_services.h"

#include <algorithm>

namespace sluice::control {
namespace {

using config::ObjectName;
using net::IpAddr;
using net::Prefix;
using Kind = ServiceRange::Kind;

// Whoever gives out addresses beside status.loadBalancer adds them here.
const std::vector<IpAddr>& load_balancer_addresses(const config::Service& service) { return service.load_balancer_ips; }

// The longest that holds the address; nullptr if none does.
const ServiceRange* range_of(const std::vector<ServiceRange>& ranges, Kind kind, const IpAddr& address) {
  const ServiceRange* best = nullptr;
  for (const ServiceRange& range : ranges) {
    if (range.kind != kind || !range.cidr.contains(address)) continue;
    if (best == nullptr || range.cidr.length > best->cidr.length) best = &range;
  }
  return best;
}

// Ready endpoints, by family.
struct Ready {
  bool any_v4 = false, any_v6 = false;
  bool local_v4 = false, local_v6 = false;

  [[nodiscard]] bool any(net::Family family) const { return family == net::Family::V4 ? any_v4 : any_v6; }
  [[nodiscard]] bool local(net::Family family) const { return family == net::Family::V4 ? local_v4 : local_v6; }
};

}  // namespace

std::vector<ServiceRange> service_ranges(const config::Config& config) {
  std::vector<ServiceRange> out;
  const auto found = config.bgp_configurations.find("default");
  if (found == config.bgp_configurations.end()) return out;
  const config::BgpConfiguration& bgp = found->second;
  const auto add = [&](const std::vector<Prefix>& cidrs, Kind kind, bool aggregate) {
    for (const Prefix& cidr : cidrs) {
      if (cidr.length != 0) out.push_back({kind, cidr, aggregate && !cidr.is_host()});
    }
  };
  add(bgp.service_cluster_ips, Kind::ClusterIp, true);
  add(bgp.service_external_ips, Kind::ExternalIp, true);
  add(bgp.service_load_balancer_ips, Kind::LoadBalancerIp, bgp.aggregate_load_balancer_ips);
  return out;
}

bool excluded_from_load_balancers(const config::Config& config) {
  const auto own = config.nodes.find(config.gateway.node_name);
  return own != config.nodes.end() &&
         own->second.labels.contains("node.kubernetes.io/exclude-from-external-load-balancers");
}

BgpServices::Surroundings BgpServices::surroundings_of(const config::Config& config) {
  Surroundings out;
  if (config.gateway.bgp.engine == config::BgpEngine::None) return out;
  out.ranges = service_ranges(config);
  out.local_node_names = config.gateway.local_node_names;
  out.any_node_is_local = config.gateway.proxy.external_policy_local_scope == config::LocalScope::Cluster;
  out.excluded = excluded_from_load_balancers(config);
  return out;
}

bool BgpServices::rebuild(const config::Config& config) {
  const std::map<Prefix, Names> before = std::move(prefixes_);
  prefixes_.clear();
  contributions_.clear();
  slices_of_.clear();
  service_of_slice_.clear();
  surroundings_ = surroundings_of(config);
  Names ignored;
  for (const auto& [name, slice] : config.slices) index_slice(config, name, ignored);
  for (const auto& [name, service] : config.services) refresh(config, name);
  return prefixes_ != before;
}

bool BgpServices::update(const config::Config& config, const config::Change& change) {
  const bool around =
      change.touches("GatewayConfiguration") || change.touches("BGPConfiguration") || change.touches("Node");
  if (around && surroundings_of(config) != surroundings_) return rebuild(config);
  Names services;
  for (const config::Change::Touched& touched : change.touched) {
    if (!touched.effective) continue;
    const ObjectName name{touched.key.ns, touched.key.name};
    if (touched.key.kind == "Service") services.insert(name);
    if (touched.key.kind == "EndpointSlice") index_slice(config, name, services);
  }
  bool changed = false;
  for (const ObjectName& name : services) changed = refresh(config, name) || changed;
  return changed;
}

void BgpServices::index_slice(const config::Config& config, const ObjectName& name, Names& services) {
  if (const auto known = service_of_slice_.find(name); known != service_of_slice_.end()) {
    services.insert(known->second);
    const auto index = slices_of_.find(known->second);
    index->second.erase(name);
    if (index->second.empty()) slices_of_.erase(index);
    service_of_slice_.erase(known);
  }
  const auto slice = config.slices.find(name);
  if (slice == config.slices.end() || slice->second.service.empty()) return;
  const ObjectName service{name.ns, slice->second.service};
  services.insert(service);
  slices_of_[service].insert(name);
  service_of_slice_.emplace(name, service);
}

std::set<Prefix> BgpServices::contribution(const config::Config& config, const config::Service& service) const {
  std::set<Prefix> out;
  if (surroundings_.ranges.empty() || surroundings_.excluded || !service.proxied) return out;
  const auto is_local = [&](const std::string& node) {
    const auto& names = surroundings_.local_node_names;
    return surroundings_.any_node_is_local || std::find(names.begin(), names.end(), node) != names.end();
  };
  Ready ready;
  if (const auto slices = slices_of_.find(service.name); slices != slices_of_.end()) {
    for (const ObjectName& name : slices->second) {
      const config::EndpointSlice& slice = config.slices.at(name);
      if (slice.fqdn) continue;
      const bool v4 = slice.family == net::Family::V4;
      for (const config::Endpoint& endpoint : slice.endpoints) {
        if (!endpoint.ready) continue;
        (v4 ? ready.any_v4 : ready.any_v6) = true;
        if (is_local(endpoint.node_name)) (v4 ? ready.local_v4 : ready.local_v6) = true;
      }
    }
  }
  const bool local_only = service.external_policy == config::TrafficPolicy::Local;
  const auto add = [&](const std::vector<IpAddr>& addresses, Kind kind) {
    for (const IpAddr& address : addresses) {
      const ServiceRange* range = range_of(surroundings_.ranges, kind, address);
      if (range == nullptr || (range->aggregated && !local_only)) continue;
      const bool wanted = local_only ? ready.local(address.family()) : ready.any(address.family());
      if (wanted) out.insert(Prefix::host(address));
    }
  };
  add(service.cluster_ips, Kind::ClusterIp);
  add(service.external_ips, Kind::ExternalIp);
  add(load_balancer_addresses(service), Kind::LoadBalancerIp);
  return out;
}

bool BgpServices::refresh(const config::Config& config, const ObjectName& name) {
  const auto service = config.services.find(name);
  std::set<Prefix> now;
  if (service != config.services.end()) now = contribution(config, service->second);
  std::set<Prefix> before;
  if (const auto known = contributions_.find(name); known != contributions_.end()) before = known->second;
  if (now == before) return false;
  bool changed = false;
  for (const Prefix& prefix : before) {
    if (now.contains(prefix)) continue;
    const auto entry = prefixes_.find(prefix);
    entry->second.erase(name);
    if (!entry->second.empty()) continue;
    prefixes_.erase(entry);
    changed = true;
  }
  for (const Prefix& prefix : now) {
    Names& names = prefixes_[prefix];
    changed = changed || names.empty();
    names.insert(name);
  }
  if (now.empty()) {
    contributions_.erase(name);
  } else {
    contributions_.insert_or_assign(name, std::move(now));
  }
  return changed;
}

}  // namespace sluice::control
