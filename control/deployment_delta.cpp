// Changes of nodes, blocks and pods of this node in the running data plane (plan_delta.h): the steps of deployment.h,
// each of which looks at what changes alone.
#include <algorithm>

#include "control/deployment.h"
#include "control/snapshot_parts.h"

namespace sluice::control {

using net::Prefix;

std::optional<PlanDelta> Deployment::plan_delta(const config::Config& config, const config::Change& change,
                                                const Allocated& allocated, const Allocated& before,
                                                const HostAddresses& host) const {
  const bool told =
      std::all_of(change.touched.begin(), change.touched.end(), [&](const config::Change::Touched& touched) {
        if (touched.key.kind == "Service") return !touched.effective || !touched.moved;
        return is_planned_by_delta(touched.key.kind) || keeps_plan(config, touched);
      });
  if (generation_ == 0 || !told) return std::nullopt;
  return control::plan_delta(plan_, config, change, allocated, host, &before);
}

net::Status<> Deployment::open_ports(const PlanDelta& delta) {
  opened_.clear();
  changed_.clear();
  if (auto room = check_tunnels(delta.tunnels); !room) return room;
  if (!delta.interfaces) return net::Done{};
  if (auto room = check_names(*delta.interfaces); !room) return room;
  return pods_.open(links_of(*delta.interfaces));
}

uint64_t Deployment::announce(const PlanDelta& delta) {
  auto snapshot = std::make_unique<dataplane::Snapshot>(*last_);
  snapshot->generation = ++generation_;
  if (delta.interfaces) {
    fill_interfaces(*snapshot, *delta.interfaces);
    fill_ports(*snapshot);
  }
  change_tunnels(*snapshot, delta.tunnels, {});
  return hand_out(std::move(snapshot));
}

net::Status<> Deployment::install_routes(const PlanDelta& delta) {
  for (const PlannedNeighbor& neighbor : delta.neighbors) {
    if (auto pinned = pin(neighbor); !pinned) return pinned;
  }
  // Adding comes before deleting (fib.h).
  Undo undo;
  for (const auto& [prefix, route] : delta.routes) {
    if (auto installed = install_route(prefix, route, undo); !installed) {
      put_back(undo);
      return installed;
    }
  }
  for (const Prefix& prefix : delta.lost_routes) remove_route(prefix);
  return net::Done{};
}

uint64_t Deployment::publish(const config::Config& config, const PlanDelta& delta, ServiceCompiler& services,
                             const DrainList& drains, const config::Change& change) {
  auto snapshot = std::make_unique<dataplane::Snapshot>(*last_);
  snapshot->generation = ++generation_;
  retire(delta);
  apply(delta, plan_);
  if (delta.interfaces) {
    pods_.keep(links_of(plan_.interfaces));
    snapshot->interfaces.assign(interfaces_, dataplane::Interface{});
    fill_interfaces(*snapshot, plan_.interfaces);
    fill_ports(*snapshot);
    retire_pod_indices(plan_);
  }
  change_tunnels(*snapshot, delta.tunnels, delta.lost_tunnels);
  for (const std::string& name : delta.lost_tunnels) {
    const auto lost = tunnel_index_.find(name);
    if (lost == tunnel_index_.end() || keeps_tunnel_index(*lost)) continue;
    retired_tunnels_.push_back(lost->second);
    tunnel_index_.erase(lost);
  }
  snapshot->terminator.sources = plan_.terminator.sources;
  tables_ = services.update(config, change, own_addresses_of(plan_.interfaces), drains);
  fill_services(*snapshot);
  if (delta.node_addresses) {
    fill_excluded_nodes(snapshot->v4, config);
    fill_excluded_nodes(snapshot->v6, config);
  }
  change_pods_elsewhere(snapshot->v4, delta.pods_elsewhere, delta.pods_not_elsewhere);
  change_pods_elsewhere(snapshot->v6, delta.pods_elsewhere, delta.pods_not_elsewhere);
  snapshot->pinned_neighbors = next_pinned_;
  return hand_out(std::move(snapshot));
}

void Deployment::change_tunnels(dataplane::Snapshot& snapshot, const std::map<std::string, PlannedTunnel>& set,
                                const std::vector<std::string>& lost) {
  if (set.empty() && lost.empty()) return;
  std::set<uint16_t> changed;
  for (const auto& [name, planned] : set) changed.insert(tunnel_index(name));
  for (const std::string& name : lost) changed.insert(tunnel_index(name));
  snapshot.tunnels.edit([&](std::vector<dataplane::Tunnel>& tunnels) {
    if (tunnels.size() < tunnels_) tunnels.resize(tunnels_);
    for (const auto& [name, planned] : set) tunnels[tunnel_index(name)] = make_tunnel(planned);
    for (const std::string& name : lost) tunnels[tunnel_index(name)] = {};
  });
  snapshot.tunnel_ends.edit([&](std::vector<dataplane::TunnelEnd>& ends) {
    std::erase_if(ends, [&](const dataplane::TunnelEnd& end) { return changed.contains(end.tunnel); });
    for (const auto& [name, planned] : set) {
      const auto at = std::upper_bound(
          ends.begin(), ends.end(), planned.spec.remote,
          [](const net::IpAddr& remote, const dataplane::TunnelEnd& end) { return remote < end.remote; });
      ends.insert(at, {planned.spec.remote, tunnel_index(name)});
    }
  });
}

// What the routes of plan() will not name any more, before it changes.
void Deployment::retire(const PlanDelta& delta) {
  for (const auto& [prefix, route] : delta.routes) use(route.hops);
  const auto drop_old = [&](const Prefix& prefix) {
    if (const auto before = plan_.routes.find(prefix); before != plan_.routes.end()) drop(before->second.hops);
  };
  for (const auto& [prefix, route] : delta.routes) drop_old(prefix);
  for (const Prefix& prefix : delta.lost_routes) drop_old(prefix);
  for (const PlannedNeighbor& neighbor : delta.lost_neighbors) {
    const auto pinned = pinned_.find(neighbor);
    if (pinned == pinned_.end() || host_names(neighbor)) continue;
    retired_neighbors_.push_back(pinned->second);
    pinned_.erase(pinned);
  }
}

void Deployment::use(const std::vector<PlannedHop>& hops) {
  for (const PlannedHop& hop : hops) {
    if (hop.fixed == 0) ++single_uses_[hop];
  }
  if (hops.size() > 1) ++group_uses_[hops];
}

void Deployment::drop(const std::vector<PlannedHop>& hops) {
  const auto drop_from = [this](auto& uses, auto& table, const auto& key, bool of_host) {
    const auto used = uses.find(key);
    if (used == uses.end() || --used->second != 0) return;
    uses.erase(used);
    const auto placed = table.find(key);
    if (of_host || placed == table.end()) return;
    retired_hops_.push_back(placed->second);
    table.erase(placed);
  };
  if (hops.size() > 1) drop_from(group_uses_, groups_, hops, host_ways_.contains(hops));
  for (const PlannedHop& hop : hops) {
    if (hop.fixed == 0) drop_from(single_uses_, single_hops_, hop, host_names(hop));
  }
}

// Flows of direct return remember their tunnel's index, and next hops that routes of the host name have it in them.
bool Deployment::keeps_tunnel_index(const std::pair<const std::string, uint16_t>& tunnel) const {
  return remembered_tunnels_.contains(tunnel.second) ||
         std::any_of(host_ways_.begin(), host_ways_.end(), [&](const auto& way) {
           return std::any_of(way.first.begin(), way.first.end(),
                              [&](const PlannedHop& hop) { return hop.tunnel == tunnel.first; });
         });
}

bool Deployment::host_names(const PlannedHop& hop) const {
  return std::any_of(host_ways_.begin(), host_ways_.end(), [&](const auto& way) {
    return std::find(way.first.begin(), way.first.end(), hop) != way.first.end();
  });
}

bool Deployment::host_names(const PlannedNeighbor& neighbor) const {
  return std::any_of(host_ways_.begin(), host_ways_.end(), [&](const auto& way) {
    return std::any_of(way.first.begin(), way.first.end(),
                       [&](const PlannedHop& hop) { return hop.neighbor == neighbor; });
  });
}

}  // namespace sluice::control
