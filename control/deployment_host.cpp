// Routes of the host's kernel in the running data plane: beside the plan, which hides them, and without it being made
// anew.
#include <fmt/format.h>

#include "control/deployment.h"

namespace sluice::control {

using net::Prefix;

// A route of the host that no other hides.
net::Status<> Deployment::install_host_route(const std::pair<const Prefix, HostRoute>& entry) {
  for (const PlannedHop& hop : entry.second->hops) {
    if (!hop.neighbor) continue;
    if (auto pinned = pin(*hop.neighbor); !pinned) return pinned;
  }
  const auto id = hop_id(*entry.second);
  if (!id) return id.error();
  const auto [at, fresh] = installed_.try_emplace(entry.first, *id);
  if (!fresh && at->second == *id) return net::Done{};
  if (auto added = plane_.fib().add(entry.first, *id); !added) {
    if (fresh) installed_.erase(at);
    return added;
  }
  at->second = *id;
  return net::Done{};
}

std::string Deployment::host_routes_problem() const {
  if (host_routes_left_out_.empty()) return {};
  return fmt::format("{} routes of the host cannot be installed: {}", host_routes_left_out_.size(), left_out_because_);
}

uint64_t Deployment::change_host_routes(const std::vector<HostRouteChange>& changes) {
  bool way_gone = false;
  const auto forget_way = [&](const HostRoute& route) {
    const auto uses = host_ways_.find(route->hops);
    if (--uses->second != 0) return;
    host_ways_.erase(uses);
    way_gone = true;
  };
  // Adding comes before deleting (fib.h).
  for (const HostRouteChange& change : changes) {
    if (change.route == nullptr) continue;
    ++host_ways_[change.route->hops];
    const auto [at, fresh] = host_routes_.try_emplace(change.destination, change.route);
    if (!fresh) {
      forget_way(at->second);
      at->second = change.route;
    }
    host_routes_left_out_.erase(change.destination);
    if (plan_.routes.contains(change.destination)) continue;
    if (auto installed = install_host_route(*at); !installed) {
      host_routes_left_out_.insert(change.destination);
      left_out_because_ = installed.error().message;
      // Its way of before may be given back below.
      if (installed_.erase(change.destination) != 0) plane_.fib().remove(change.destination);
    }
  }
  for (const HostRouteChange& change : changes) {
    const auto at = host_routes_.find(change.destination);
    if (change.route != nullptr || at == host_routes_.end()) continue;
    forget_way(at->second);
    host_routes_.erase(at);
    host_routes_left_out_.erase(change.destination);
    if (!plan_.routes.contains(change.destination) && installed_.erase(change.destination) != 0) {
      plane_.fib().remove(change.destination);
    }
  }
  for (auto at = host_routes_left_out_.begin(); at != host_routes_left_out_.end();) {
    const bool hidden = plan_.routes.contains(*at);
    if (!hidden && !install_host_route(*host_routes_.find(*at))) break;
    at = host_routes_left_out_.erase(at);
  }
  if (way_gone) {
    retire_unused(plan_);
    retire_tunnel_indices(plan_);
  }
  auto snapshot = std::make_unique<dataplane::Snapshot>(*last_);
  snapshot->generation = ++generation_;
  snapshot->pinned_neighbors = next_pinned_;
  return hand_out(std::move(snapshot));
}

}  // namespace sluice::control
