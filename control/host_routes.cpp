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

// The way of packets into the tunnel to a node, by its address; nullopt: there is none.
std::optional<std::pair<net::IpAddr, PlannedHop>> way_into(const std::string& tunnel, const config::Node& node,
                                                           const Plan& plan) {
  const auto end = node.underlay(net::Family::V4);
  if (!end || !plan.tunnels.contains(tunnel)) return std::nullopt;
  auto neighbor = way_to(plan, *end);
  if (!neighbor) return std::nullopt;
  return std::pair(*end, PlannedHop{.kind = HopKind::Tunnel, .neighbor = std::move(neighbor), .tunnel = tunnel});
}

std::string tunnel_of(const std::string& node) { return "ipip@" + node; }

constexpr size_t few_ways = 64;  // that nobody uses may lie around

}  // namespace

HostTunnels host_tunnels(const config::Config& config, const Plan& plan) {
  HostTunnels out;
  if (!config.gateway.host.routes) return out;
  for (const auto& [name, node] : config.nodes) {
    if (auto way = way_into(tunnel_of(name), node, plan)) out.nodes.insert(std::move(*way));
  }
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

std::vector<net::IpAddr> HostRouteTable::vias_of(const std::vector<Known>& known) {
  std::vector<net::IpAddr> vias;
  for (const Known& one : known) {
    for (const netlink::Route::Hop& hop : one.route.hops) {
      if (hop.via) vias.push_back(*hop.via);
    }
  }
  std::sort(vias.begin(), vias.end());
  vias.erase(std::unique(vias.begin(), vias.end()), vias.end());
  return vias;
}

bool HostRouteTable::set_wanted(const std::optional<config::HostRoutes>& wanted, Links links) {
  if (wanted == wanted_ && links == links_) return false;
  const bool other_routes = !(wanted == wanted_);
  wanted_ = wanted;
  links_ = std::move(links);
  if (other_routes) {
    for (auto& entry : entries_) {
      const std::vector<net::IpAddr> before = vias_of(entry.second.known);
      std::erase_if(entry.second.known, [this](const Known& known) { return !wants(known.route); });
      index(entry, before);
    }
  }
  look_again();
  return other_routes && wanted_.has_value();
}

void HostRouteTable::set_neighbors(const std::set<PlannedNeighbor>& neighbors) {
  std::map<Place, net::MacAddr> macs;
  for (const PlannedNeighbor& neighbor : neighbors) {
    if (neighbor.mac) macs[{neighbor.interface, neighbor.address}] = *neighbor.mac;
  }
  const std::map<Place, net::MacAddr> before = macs_;
  for (const auto& [place, mac] : before) {
    if (!macs.contains(place)) set_mac(place, std::nullopt);
  }
  for (const auto& [place, mac] : macs) set_mac(place, mac);
}

void HostRouteTable::set_tunnels(HostTunnels tunnels) {
  const auto look_where = [this](const HostTunnels& these, const HostTunnels& others) {
    for (const auto& pool : these.pools) {
      const auto same = others.pools.find(pool.first);
      if (same == others.pools.end() || same->second != pool.second) look_into(pool.first);
    }
    for (const auto& node : these.nodes) {
      const auto same = others.nodes.find(node.first);
      const bool is_same = same != others.nodes.end() && same->second == node.second;
      if (!is_same || is_in(these.connected, node.first) != is_in(others.connected, node.first)) look_at(node.first);
    }
  };
  look_where(tunnels_, tunnels);
  look_where(tunnels, tunnels_);
  tunnels_ = std::move(tunnels);
  index_nodes();
}

void HostRouteTable::index_nodes() {
  node_of_.clear();
  behind_.clear();
  for (const auto& [address, hop] : tunnels_.nodes) {
    node_of_.emplace(hop.tunnel, address);
    behind_[{hop.neighbor->interface, hop.neighbor->address}].insert(address);
  }
}

void HostRouteTable::forget_node(const std::string& tunnel) {
  const auto known = node_of_.find(tunnel);
  if (known == node_of_.end()) return;
  const auto node = tunnels_.nodes.find(known->second);
  const auto behind = behind_.find({node->second.neighbor->interface, node->second.neighbor->address});
  behind->second.erase(node->first);
  if (behind->second.empty()) behind_.erase(behind);
  look_at(node->first);
  tunnels_.nodes.erase(node);
  node_of_.erase(known);
}

void HostRouteTable::set_node(const std::string& tunnel, const std::optional<std::pair<net::IpAddr, PlannedHop>>& way) {
  const auto known = node_of_.find(tunnel);
  if (way && known != node_of_.end() && known->second == way->first && tunnels_.nodes.at(way->first) == way->second) {
    return;
  }
  forget_node(tunnel);
  if (!way) return;
  const auto& [address, hop] = *way;
  if (const auto other = tunnels_.nodes.find(address); other != tunnels_.nodes.end()) {
    // Of two nodes with one address the first by name has it, as in host_tunnels().
    if (other->second.tunnel < tunnel) return;
    forget_node(std::string(other->second.tunnel));
  }
  tunnels_.nodes.emplace(address, hop);
  node_of_.emplace(tunnel, address);
  behind_[{hop.neighbor->interface, hop.neighbor->address}].insert(address);
  look_at(address);
}

void HostRouteTable::set_mac(const Place& neighbor, const std::optional<net::MacAddr>& mac) {
  const auto known = macs_.find(neighbor);
  if (mac ? known != macs_.end() && known->second == *mac : known == macs_.end()) return;
  if (mac) {
    macs_[neighbor] = *mac;
  } else {
    macs_.erase(known);
  }
  look_at(neighbor);
}

void HostRouteTable::follow(const config::Config& config, const Plan& plan, const PlanDelta& delta) {
  for (const PlannedNeighbor& neighbor : delta.lost_neighbors) {
    if (neighbor.mac) set_mac({neighbor.interface, neighbor.address}, std::nullopt);
  }
  for (const PlannedNeighbor& neighbor : delta.neighbors) {
    if (neighbor.mac) set_mac({neighbor.interface, neighbor.address}, neighbor.mac);
  }
  if (!config.gateway.host.routes) return;
  std::set<std::string> tunnels;
  for (const auto& [name, node] : delta.nodes) tunnels.insert(tunnel_of(name));
  // Nodes to which another route leads now.
  const auto add_within = [&](const net::Prefix& prefix) {
    for (auto at = tunnels_.nodes.lower_bound(prefix.addr); at != tunnels_.nodes.end(); ++at) {
      if (!prefix.contains(at->first)) break;
      tunnels.insert(at->second.tunnel);
    }
  };
  for (const auto& [prefix, route] : delta.routes) add_within(prefix);
  for (const net::Prefix& prefix : delta.lost_routes) add_within(prefix);
  for (const std::string& tunnel : tunnels) {
    const auto node = config.nodes.find(tunnel.substr(tunnel_of({}).size()));
    set_node(tunnel, node == config.nodes.end() ? std::nullopt : way_into(tunnel, node->second, plan));
  }
}

bool HostRouteTable::is_in(const std::vector<net::Prefix>& subnets, const net::IpAddr& address) {
  return std::any_of(subnets.begin(), subnets.end(),
                     [&](const net::Prefix& subnet) { return subnet.contains(address); });
}

void HostRouteTable::look_at(const net::IpAddr& via) {
  const auto found = by_via_.find(via);
  if (found == by_via_.end()) return;
  for (const Entries::value_type* entry : found->second) changed_.insert(entry->first);
}

void HostRouteTable::look_at(const Place& neighbor) {
  look_at(neighbor.second);
  const auto nodes = behind_.find(neighbor);
  if (nodes == behind_.end()) return;
  for (const net::IpAddr& node : nodes->second) look_at(node);
}

void HostRouteTable::look_into(const net::Prefix& pool) {
  for (auto at = entries_.lower_bound(pool); at != entries_.end() && pool.contains(at->first); ++at) {
    changed_.insert(at->first);
  }
}

void HostRouteTable::index(const Entries::value_type& entry, const std::vector<net::IpAddr>& before) {
  const std::vector<net::IpAddr> now = vias_of(entry.second.known);
  for (const net::IpAddr& via : before) {
    if (std::binary_search(now.begin(), now.end(), via)) continue;
    const auto found = by_via_.find(via);
    found->second.erase(&entry);
    if (found->second.empty()) by_via_.erase(found);
  }
  for (const net::IpAddr& via : now) {
    if (!std::binary_search(before.begin(), before.end(), via)) by_via_[via].insert(&entry);
  }
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
  const std::vector<net::IpAddr> before = vias_of(known);
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
  index(*at, before);
  changed_.insert(route.destination);
}

void HostRouteTable::end_all() {
  for (auto& entry : entries_) {
    std::vector<Known>& known = entry.second.known;
    const auto is_gone = [this](const Known& one) { return one.round != round_; };
    if (std::none_of(known.begin(), known.end(), is_gone)) continue;
    const std::vector<net::IpAddr> before = vias_of(known);
    std::erase_if(known, is_gone);
    index(entry, before);
    changed_.insert(entry.first);
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
  const bool is_bare = pool->second == config::TunnelMode::CrossSubnet && is_in(tunnels_.connected, via);
  return is_bare ? nullptr : &node->second;
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
  if (changed_.empty() && ways_.size() > 2 * ways_in_use_ + few_ways) {
    std::erase_if(ways_, [](const auto& way) { return way.second.use_count() == 1; });
    ways_in_use_ = ways_.size();
  }
  return changes;
}

}  // namespace sluice::control
