#include "control/host_routes.h"

#include <algorithm>

namespace sluice::control {
namespace {

using dataplane::HopKind;

PlannedHop fixed_hop(dataplane::NextHopId id, HopKind kind) { return {.kind = kind, .fixed = id}; }

// Who has packets to an address next, as for a tunnel's outer packets.
std::optional<PlannedNeighbor> way_to(const Plan& plan, const net::IpAddr& address) {
  const auto* const route = find_route(plan.routes, address);
  if (route == nullptr) return std::nullopt;
  const PlannedHop& hop = route->second.hops.front();
  if (hop.kind == HopKind::Gateway) return hop.neighbor;
  if (hop.kind == HopKind::Connected) return PlannedNeighbor{hop.interface, address, std::nullopt};
  return std::nullopt;
}

}  // namespace

HostTunnels host_tunnels(const config::Config& config, const Plan& plan) {
  HostTunnels out;
  if (!config.gateway.host.routes) return out;
  for (const auto& [name, node] : config.nodes) {
    const std::string tunnel = "ipip@" + name;
    const auto end = node.underlay(net::Family::V4);
    if (!end || !plan.tunnels.contains(tunnel)) continue;
    if (auto neighbor = way_to(plan, *end)) {
      out.nodes.emplace(*end, PlannedHop{.kind = HopKind::Tunnel, .neighbor = std::move(neighbor), .tunnel = tunnel});
    }
  }
  if (out.nodes.empty()) return out;
  for (const auto& [name, pool] : config.pools) {
    if (pool.ipip_mode != config::TunnelMode::Never && pool.cidr.addr.is_v4()) {
      out.pools.emplace(pool.cidr, pool.ipip_mode);
    }
  }
  for (const PlannedInterface& interface : plan.interfaces) {
    for (const net::Prefix& address : interface.addresses) {
      if (!address.is_host()) out.connected.push_back(address.masked());
    }
  }
  return out;
}

bool HostRouteTable::set_wanted(const std::optional<config::HostRoutes>& wanted, Links links) {
  if (wanted == wanted_ && links == links_) return false;
  const bool other_routes = !(wanted == wanted_);
  wanted_ = wanted;
  links_ = std::move(links);
  if (other_routes) {
    for (auto& [destination, entry] : entries_) {
      std::erase_if(entry.known, [this](const Known& known) { return !wants(known.route); });
    }
  }
  look_again();
  return other_routes && wanted_.has_value();
}

void HostRouteTable::set_neighbors(const std::set<PlannedNeighbor>& neighbors) {
  std::map<std::pair<std::string, net::IpAddr>, net::MacAddr> macs;
  for (const PlannedNeighbor& neighbor : neighbors) {
    if (neighbor.mac) macs[{neighbor.interface, neighbor.address}] = *neighbor.mac;
  }
  if (macs == macs_) return;
  macs_ = std::move(macs);
  look_again();
}

void HostRouteTable::set_tunnels(HostTunnels tunnels) {
  if (tunnels == tunnels_) return;
  ways_.clear();
  const auto look_into = [this](const net::Prefix& pool) {
    for (auto at = entries_.lower_bound(pool); at != entries_.end() && pool.contains(at->first); ++at) {
      changed_.insert(at->first);
    }
  };
  for (const auto& [pool, mode] : tunnels_.pools) look_into(pool);
  for (const auto& [pool, mode] : tunnels.pools) look_into(pool);
  tunnels_ = std::move(tunnels);
}

void HostRouteTable::look_again() {
  ways_.clear();
  for (const auto& [destination, entry] : entries_) changed_.insert(destination);
}

bool HostRouteTable::wants(const netlink::Route& route) const {
  if (!wanted_) return false;
  const auto& protocols = wanted_->protocols;
  // Those mean nothing beyond their link.
  if (route.destination.addr.is_link_local() || route.destination.addr.is_multicast()) return false;
  return std::find(wanted_->tables.begin(), wanted_->tables.end(), route.table) != wanted_->tables.end() &&
         (protocols.empty() || std::find(protocols.begin(), protocols.end(), route.protocol) != protocols.end());
}

bool HostRouteTable::is_better(const netlink::Route& a, const netlink::Route& b) const {
  if (a.table == b.table) return a.metric < b.metric;
  return std::find(wanted_->tables.begin(), wanted_->tables.end(), a.table) <
         std::find(wanted_->tables.begin(), wanted_->tables.end(), b.table);
}

void HostRouteTable::learn(const netlink::Route& route) {
  const bool wanted = wants(route);
  if (!wanted && !route.replaces) return;
  const bool gone = route.gone || !wanted;
  const auto at = gone ? entries_.find(route.destination) : entries_.try_emplace(route.destination).first;
  if (at == entries_.end()) return;
  std::vector<Known>& known = at->second.known;
  const auto same = std::find_if(known.begin(), known.end(), [&](const Known& one) {
    return one.route.table == route.table && one.route.metric == route.metric;
  });
  if (!gone) {
    if (same == known.end()) {
      known.push_back({route, round_});
    } else {
      same->round = round_;
      if (same->route == route) return;
      same->route = route;
    }
  } else if (same != known.end()) {
    // IPv6 tells of each next hop that leaves a route.
    std::vector<netlink::Route::Hop> left = same->route.hops;
    std::erase_if(left, [&](const auto& hop) {
      return std::find(route.hops.begin(), route.hops.end(), hop) != route.hops.end();
    });
    if (!route.replaces && route.destination.addr.is_v6() && !left.empty() && left.size() != same->route.hops.size()) {
      same->route.hops = std::move(left);
    } else {
      known.erase(same);
    }
  }
  changed_.insert(route.destination);
}

void HostRouteTable::end_all() {
  for (auto& [destination, entry] : entries_) {
    const size_t before = entry.known.size();
    std::erase_if(entry.known, [this](const Known& known) { return known.round != round_; });
    if (entry.known.size() != before) changed_.insert(destination);
  }
}

std::vector<PlannedHop> HostRouteTable::hops_of(const netlink::Route& route) const {
  switch (route.type) {
    case netlink::RouteType::Blackhole:
      return {fixed_hop(dataplane::hop::blackhole, HopKind::Drop)};
    case netlink::RouteType::Unreachable:
      return {fixed_hop(dataplane::hop::unreachable, HopKind::Reject)};
    case netlink::RouteType::Prohibit:
      return {fixed_hop(dataplane::hop::prohibit, HopKind::Reject)};
    case netlink::RouteType::Unicast:
      break;
  }
  std::vector<PlannedHop> hops;
  for (const netlink::Route::Hop& hop : route.hops) {
    const auto link = links_.find(hop.link);
    if (link == links_.end()) continue;
    if (!hop.via) {
      hops.push_back({.kind = HopKind::Connected, .interface = link->second});
      continue;
    }
    if (const PlannedHop* tunnel = tunnel_for(route.destination, *hop.via); tunnel != nullptr) {
      hops.push_back(*tunnel);
      hops.back().neighbor = known(*tunnel->neighbor);
      continue;
    }
    hops.push_back({.kind = HopKind::Gateway, .neighbor = known({link->second, *hop.via, std::nullopt})});
  }
  if (hops.size() > dataplane::max_group_members) hops.resize(dataplane::max_group_members);
  return hops;
}

const PlannedHop* HostRouteTable::tunnel_for(const net::Prefix& destination, const net::IpAddr& via) const {
  const auto node = tunnels_.nodes.find(via);
  if (node == tunnels_.nodes.end()) return nullptr;
  const auto pool = std::find_if(tunnels_.pools.begin(), tunnels_.pools.end(),
                                 [&](const auto& entry) { return entry.first.contains(destination); });
  if (pool == tunnels_.pools.end()) return nullptr;
  const bool same_subnet = std::any_of(tunnels_.connected.begin(), tunnels_.connected.end(),
                                       [&](const net::Prefix& subnet) { return subnet.contains(via); });
  return pool->second == config::TunnelMode::CrossSubnet && same_subnet ? nullptr : &node->second;
}

PlannedNeighbor HostRouteTable::known(PlannedNeighbor neighbor) const {
  const auto mac = macs_.find({neighbor.interface, neighbor.address});
  if (mac != macs_.end()) neighbor.mac = mac->second;
  return neighbor;
}

HostRoute HostRouteTable::shared(std::vector<PlannedHop> hops) {
  const auto [at, fresh] = ways_.try_emplace(std::move(hops));
  if (fresh) at->second = std::make_shared<const PlannedRoute>(PlannedRoute{at->first, "host"});
  return at->second;
}

HostRoute HostRouteTable::resolve(const Entry& entry) {
  const Known* best = nullptr;
  std::vector<PlannedHop> best_hops;
  for (const Known& known : entry.known) {
    if (best != nullptr && !is_better(known.route, best->route)) continue;
    std::vector<PlannedHop> hops = hops_of(known.route);
    if (hops.empty()) continue;
    best = &known;
    best_hops = std::move(hops);
  }
  return best == nullptr ? nullptr : shared(std::move(best_hops));
}

std::vector<HostRouteChange> HostRouteTable::take_changes(size_t most) {
  std::vector<HostRouteChange> changes;
  for (size_t looked = 0; looked < most && !changed_.empty(); ++looked) {
    const net::Prefix destination = *changed_.begin();
    changed_.erase(changed_.begin());
    const auto at = entries_.find(destination);
    if (at == entries_.end()) continue;
    HostRoute now = resolve(at->second);
    const HostRoute& before = at->second.told;
    const bool same = now == before || (now != nullptr && before != nullptr && *now == *before);
    if (!same) {
      at->second.told = now;
      changes.push_back({destination, std::move(now)});
    }
    if (at->second.known.empty()) entries_.erase(at);
  }
  if (changed_.empty()) std::erase_if(ways_, [](const auto& way) { return way.second.use_count() == 1; });
  return changes;
}

}  // namespace sluice::control
