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

// Where there are endpoints, by family.
struct Presence {
  bool any_v4 = false, any_v6 = false;
  bool local_v4 = false, local_v6 = false;

  void add(net::Family family, bool local) {
    (family == net::Family::V4 ? any_v4 : any_v6) = true;
    if (local) (family == net::Family::V4 ? local_v4 : local_v6) = true;
  }
  [[nodiscard]] bool wanted(net::Family family, bool local_only) const {
    if (local_only) return family == net::Family::V4 ? local_v4 : local_v6;
    return family == net::Family::V4 ? any_v4 : any_v6;
  }
};

// Both say whether an entry came or went.
template <class Map, class Key>
bool remove(Map& names_by_key, const Key& key, const ObjectName& name) {
  const auto entry = names_by_key.find(key);
  entry->second.erase(name);
  if (!entry->second.empty()) return false;
  names_by_key.erase(entry);
  return true;
}
template <class Map, class Key>
bool add_name(Map& names_by_key, const Key& key, const ObjectName& name) {
  BgpServices::Names& names = names_by_key[key];
  const bool fresh = names.empty();
  names.insert(name);
  return fresh;
}

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

std::map<ObjectName, config::BgpAdvertisement> bgp_advertisements_of(const config::Config& config) {
  static const config::Labels none;
  std::map<ObjectName, config::BgpAdvertisement> out;
  const auto own = config.nodes.find(config.gateway.node_name);
  const bool known = own != config.nodes.end();
  if (excluded_from_load_balancers(config) || (known && !own->second.network_available)) return out;
  for (const auto& [name, advertisement] : config.bgp_advertisements) {
    if (any_matches(advertisement.node_selectors, known ? own->second.labels : none)) out.emplace(name, advertisement);
  }
  return out;
}

bool excluded_from_load_balancers(const config::Config& config) {
  const auto own = config.nodes.find(config.gateway.node_name);
  return own != config.nodes.end() &&
         own->second.labels.contains("node.kubernetes.io/exclude-from-external-load-balancers");
}

struct BgpServices::Endpoints {
  Presence ready;
  Presence serving;  // or ready
};

bool BgpServices::is_drained(const config::EndpointSlice& slice, const config::Endpoint& endpoint) const {
  return !slice.ports.empty() &&
         std::all_of(slice.ports.begin(), slice.ports.end(), [&](const config::EndpointPort& port) {
           return drains_.of({slice.name.ns, endpoint.pod}, endpoint.address, port.port) != Drain::None;
         });
}

BgpServices::Surroundings BgpServices::surroundings_of(const config::Config& config) {
  Surroundings out;
  if (config.gateway.bgp.engine == config::BgpEngine::None) return out;
  out.ranges = service_ranges(config);
  out.local_node_names = config.gateway.local_node_names;
  out.any_node_is_local = config.gateway.proxy.external_policy_local_scope == config::LocalScope::Cluster;
  out.excluded = excluded_from_load_balancers(config);
  out.advertisements = bgp_advertisements_of(config);
  if (!out.advertisements.empty()) out.pools = config.address_pools;
  return out;
}

bool BgpServices::rebuild(const config::Config& config) {
  const std::map<Prefix, Names> before = std::move(prefixes_);
  const std::map<Prefix, Advertisements> advertised_before = std::move(advertised_);
  prefixes_.clear();
  advertised_.clear();
  contributions_.clear();
  slices_of_.clear();
  service_of_slice_.clear();
  surroundings_ = surroundings_of(config);
  Names ignored;
  for (const auto& [name, slice] : config.slices) index_slice(config, name, ignored);
  for (const auto& [name, service] : config.services) refresh(config, name);
  return prefixes_ != before || advertised_ != advertised_before;
}

bool BgpServices::update(const config::Config& config, const config::Change& change) {
  const bool around = change.touches("GatewayConfiguration") || change.touches("BGPConfiguration") ||
                      change.touches("Node") || change.touches("BGPAdvertisement") || change.touches("IPAddressPool");
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

bool BgpServices::update(const config::Config& config, const DrainList& drains) {
  const std::set<DrainTarget> targets = DrainList::difference(drains_, drains);
  drains_ = drains;
  bool changed = false;
  for (const ObjectName& name : services_with(config, targets)) changed = refresh(config, name) || changed;
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

BgpServices::Endpoints BgpServices::endpoints_of(const config::Config& config, const ObjectName& service) const {
  Endpoints out;
  const auto is_local = [&](const std::string& node) {
    const auto& names = surroundings_.local_node_names;
    return surroundings_.any_node_is_local || std::find(names.begin(), names.end(), node) != names.end();
  };
  const auto slices = slices_of_.find(service);
  if (slices == slices_of_.end()) return out;
  for (const ObjectName& name : slices->second) {
    const config::EndpointSlice& slice = config.slices.at(name);
    if (slice.fqdn) continue;
    for (const config::Endpoint& endpoint : slice.endpoints) {
      if (!endpoint.ready && !endpoint.serving) continue;
      if (!drains_.empty() && is_drained(slice, endpoint)) continue;
      const bool local = is_local(endpoint.node_name);
      if (endpoint.ready) out.ready.add(slice.family, local);
      out.serving.add(slice.family, local);
    }
  }
  return out;
}

// LB-10: by which advertisements of this node the service's addresses are announced, and in which prefixes.
void BgpServices::add_advertised(const config::Service& service, const Endpoints& endpoints, Contribution& out) const {
  if (service.type != config::ServiceType::LoadBalancer) return;
  const bool local_only = service.external_policy == config::TrafficPolicy::Local;
  for (const IpAddr& address : load_balancer_addresses(service)) {
    if (!endpoints.serving.wanted(address.family(), local_only)) continue;
    const auto pool = std::find_if(surroundings_.pools.begin(), surroundings_.pools.end(),
                                   [&](const auto& entry) { return entry.second.has(address); });
    if (pool == surroundings_.pools.end()) continue;
    for (const auto& [name, advertisement] : surroundings_.advertisements) {
      if (!advertisement.announces(pool->second)) continue;
      if (!any_matches(advertisement.service_selectors, service.labels)) continue;
      const Prefix prefix = Prefix{address, advertisement.length(address.family())}.masked();
      if (prefix.length != 0) out.advertised.emplace(prefix, name);
    }
  }
}

BgpServices::Contribution BgpServices::contribution(const config::Config& config,
                                                    const config::Service& service) const {
  Contribution out;
  const bool nothing = surroundings_.ranges.empty() && surroundings_.advertisements.empty();
  if (nothing || surroundings_.excluded || !service.proxied) return out;
  const Endpoints endpoints = endpoints_of(config, service.name);
  const bool local_only = service.external_policy == config::TrafficPolicy::Local;
  const auto add = [&](const std::vector<IpAddr>& addresses, Kind kind) {
    for (const IpAddr& address : addresses) {
      const ServiceRange* range = range_of(surroundings_.ranges, kind, address);
      if (range == nullptr || (range->aggregated && !local_only)) continue;
      if (endpoints.ready.wanted(address.family(), local_only)) out.prefixes.insert(Prefix::host(address));
    }
  };
  add(service.cluster_ips, Kind::ClusterIp);
  add(service.external_ips, Kind::ExternalIp);
  add(load_balancer_addresses(service), Kind::LoadBalancerIp);
  add_advertised(service, endpoints, out);
  return out;
}

bool BgpServices::refresh(const config::Config& config, const ObjectName& name) {
  const auto service = config.services.find(name);
  Contribution now;
  if (service != config.services.end()) now = contribution(config, service->second);
  Contribution before;
  if (const auto known = contributions_.find(name); known != contributions_.end()) before = known->second;
  if (now == before) return false;
  bool changed = false;
  for (const Prefix& prefix : before.prefixes) {
    if (!now.prefixes.contains(prefix)) changed = remove(prefixes_, prefix, name) || changed;
  }
  for (const Prefix& prefix : now.prefixes) changed = add_name(prefixes_, prefix, name) || changed;
  for (const auto& [prefix, advertisement] : before.advertised) {
    if (now.advertised.contains({prefix, advertisement})) continue;
    const auto entry = advertised_.find(prefix);
    changed = remove(entry->second, advertisement, name) || changed;
    if (entry->second.empty()) advertised_.erase(entry);
  }
  for (const auto& [prefix, advertisement] : now.advertised) {
    changed = add_name(advertised_[prefix], advertisement, name) || changed;
  }
  if (now.empty()) {
    contributions_.erase(name);
  } else {
    contributions_.insert_or_assign(name, std::move(now));
  }
  return changed;
}

}  // namespace sluice::control
