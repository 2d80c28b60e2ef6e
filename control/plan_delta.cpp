#include "control/plan_delta.h"

#include <algorithm>
#include <utility>

#include "control/detect_local.h"
#include "control/planner.h"

namespace sluice::control {
namespace {

using config::ObjectName;
using net::IpAddr;
using net::Prefix;

// More nodes than that are planned anew, with all others.
constexpr size_t most_nodes = 64;
constexpr size_t most_ends = 64;  // that are looked at within one network

template <class Key>
uint32_t count_in(const std::map<Key, uint32_t>& counts, const Key& key) {
  const auto found = counts.find(key);
  return found == counts.end() ? 0 : found->second;
}

template <class Map, class Key>
void set_or_erase(Map& map, const Key& key, const std::optional<typename Map::mapped_type>& value) {
  if (value) {
    map.insert_or_assign(key, *value);
  } else {
    map.erase(key);
  }
}

// Takes out of both what is in both.
void cancel(std::vector<std::string>& a, std::vector<std::string>& b) {
  std::erase_if(a, [&](const std::string& text) {
    const auto found = std::find(b.begin(), b.end(), text);
    if (found == b.end()) return false;
    b.erase(found);
    return true;
  });
}

class DeltaMaker {
 public:
  DeltaMaker(const Plan& plan, const config::Config& config, const config::Gateway& gateway, const Allocated& allocated,
             const Allocated* before)
      : plan_(plan),
        config_(config),
        gateway_(gateway),
        allocated_(allocated),
        allocated_before_(before == nullptr ? allocated : *before),
        planner_(config, gateway, allocated) {}

  // Each step says whether the delta can be told so far.
  std::optional<PlanDelta> make(const config::Change& change) {
    if (!plan_.direct_services.empty() || !find_touched(change)) return std::nullopt;
    std::optional<Plan> part = Planner(config_, gateway_, allocated_).make_part(plan_, nodes_, pods_);
    if (!part) return std::nullopt;
    part_ = std::move(*part);
    const bool told = lose_nodes() && lose_pods() && move_ends() && move_tunnels() && move_neighbors() &&
                      move_routes() && move_networks() && move_interfaces();
    if (!told) return std::nullopt;
    cancel(delta_.warnings, delta_.lost_warnings);
    return std::move(delta_);
  }

 private:
  bool find_touched(const config::Change& change);
  std::set<std::string>& touch_node(const std::string& name);
  void find_node(const std::string& name);
  void find_block(const std::string& name);
  bool find_allocated();
  bool lose_nodes();
  bool lose_pods();
  bool lose_route(const Prefix& prefix, const std::string& origin);
  bool move_ends();
  bool move_tunnels();
  [[nodiscard]] bool keeps_own_end(const IpAddr& local) const;
  bool move_neighbors();
  bool lose_neighbor(const PlannedNeighbor& neighbor);
  bool gain_neighbor(const PlannedNeighbor& neighbor);
  bool move_routes();
  [[nodiscard]] bool leads_to_ends(const Prefix& prefix) const;
  bool move_networks();
  bool move_interfaces();

  const Plan& plan_;
  const config::Config& config_;
  const config::Gateway& gateway_;
  const Allocated& allocated_;
  const Allocated& allocated_before_;
  const Planner planner_;  // to be asked
  Planner::Nodes nodes_;
  std::set<std::string> touched_nodes_;  // whose Node is another one
  std::set<ObjectName> pods_;
  std::vector<Prefix> claims_;  // what they say, now or before, that a node has
  Plan part_;
  std::map<Prefix, const PlannedRoute*> lost_;
  std::map<Prefix, bool> lost_networks_;
  std::map<IpAddr, int> ends_;  // how many more have it
  PlanDelta delta_;
};

std::set<std::string>& DeltaMaker::touch_node(const std::string& name) {
  const auto [at, fresh] = nodes_.try_emplace(name);
  if (const auto before = plan_.nodes.find(name); fresh && before != plan_.nodes.end())
    at->second = before->second.blocks;
  return at->second;
}

bool DeltaMaker::find_touched(const config::Change& change) {
  for (const config::Change::Touched& touched : change.touched) {
    if (!touched.effective) continue;
    const std::string& name = touched.key.name;
    if (touched.key.kind == "WorkloadEndpoint") pods_.insert({touched.key.ns, name});
    if (touched.key.kind == "Node" && touched.moved) find_node(name);
    if (touched.key.kind == "BlockAffinity") find_block(name);
  }
  for (const std::string& name : change.blocks) find_block(name);
  // The podCIDRs of nodes that count as this one may be whose pods are local (detect_local.h).
  const bool networks_of_local = gateway_.cluster.detect_local == config::DetectLocal::NodeCidr &&
                                 std::any_of(touched_nodes_.begin(), touched_nodes_.end(),
                                             [this](const std::string& name) { return gateway_.is_local(name); });
  return find_allocated() && nodes_.size() <= most_nodes && !touched_nodes_.contains(gateway_.node_name) &&
         !networks_of_local;
}

// Whose an allocated block is depends on what others have of it.
bool DeltaMaker::find_allocated() {
  if (!(allocated_.tunnels == allocated_before_.tunnels)) return false;
  const auto is_claimed = [&](const config::BlockAffinity& block) {
    return std::any_of(claims_.begin(), claims_.end(), [&](const Prefix& claim) { return claim.overlaps(block.cidr); });
  };
  if (std::any_of(allocated_.blocks.begin(), allocated_.blocks.end(), is_claimed)) return false;
  const auto touch_those_only_in = [&](const Allocated& some, const Allocated& others) {
    for (const config::BlockAffinity& block : some.blocks) {
      if (std::find(others.blocks.begin(), others.blocks.end(), block) == others.blocks.end()) touch_node(block.node);
    }
  };
  if (allocated_.blocks != allocated_before_.blocks) {
    touch_those_only_in(allocated_, allocated_before_);
    touch_those_only_in(allocated_before_, allocated_);
  }
  // One without a route was warned of, and nobody knows here whether it still has none.
  return std::all_of(allocated_before_.blocks.begin(), allocated_before_.blocks.end(),
                     [&](const config::BlockAffinity& block) {
                       if (!nodes_.contains(block.node)) return true;
                       const auto node = plan_.nodes.find(block.node);
                       if (node == plan_.nodes.end()) return false;
                       const std::vector<Prefix>& networks = node->second.networks;
                       return std::find(networks.begin(), networks.end(), block.cidr) != networks.end();
                     });
}

void DeltaMaker::find_node(const std::string& name) {
  touch_node(name);
  touched_nodes_.insert(name);
  delta_.node_addresses = true;
  const auto claim = [&](const std::vector<Prefix>& cidrs) {
    claims_.insert(claims_.end(), cidrs.begin(), cidrs.end());
  };
  if (const auto before = plan_.nodes.find(name); before != plan_.nodes.end()) claim(before->second.pod_cidrs);
  if (const auto now = config_.nodes.find(name); now != config_.nodes.end()) claim(now->second.pod_cidrs);
}

void DeltaMaker::find_block(const std::string& name) {
  std::optional<PlannedBlock>& planned = delta_.blocks[name];
  if (const auto before = plan_.blocks.find(name); before != plan_.blocks.end()) {
    claims_.push_back(before->second.cidr);
    if (before->second.confirmed) touch_node(before->second.node).erase(name);
  }
  const auto now = config_.blocks.find(name);
  if (now == config_.blocks.end()) return;
  const config::BlockAffinity& block = now->second;
  planned = PlannedBlock{block.node, block.cidr, block.confirmed};
  claims_.push_back(block.cidr);
  if (block.confirmed) touch_node(block.node).insert(name);
}

bool DeltaMaker::lose_route(const Prefix& prefix, const std::string& origin) {
  if (plan_.contested.contains(prefix)) return false;
  const auto route = plan_.routes.find(prefix);
  if (route != plan_.routes.end() && route->second.origin == origin) lost_.emplace(prefix, &route->second);
  return true;
}

bool DeltaMaker::lose_nodes() {
  for (const auto& [name, blocks] : nodes_) {
    const auto found = plan_.nodes.find(name);
    const PlannedNode before = found == plan_.nodes.end() ? PlannedNode{} : found->second;
    const PlannedNode& now = part_.nodes[name];
    if (touched_nodes_.contains(name) && (before.own || now.own)) return false;
    for (const Prefix& network : before.networks) {
      if (!lose_route(network, before.own || name == gateway_.node_name ? "block" : "node " + name)) return false;
      const auto known = plan_.pod_networks.networks().find(network.masked());
      if (known->second.added != 1) return false;
      lost_networks_.emplace(known->first, known->second.elsewhere);
    }
    for (const IpAddr& end : before.ends) --ends_[end];
    for (const IpAddr& end : now.ends) ++ends_[end];
    for (const std::string& tunnel : before.tunnels) {
      if (plan_.tunnels.contains(tunnel) && !part_.tunnels.contains(tunnel)) delta_.lost_tunnels.push_back(tunnel);
    }
    delta_.lost_warnings.insert(delta_.lost_warnings.end(), before.warnings.begin(), before.warnings.end());
    const bool allocated = std::any_of(allocated_.blocks.begin(), allocated_.blocks.end(),
                                       [&, &of = name](const auto& block) { return block.node == of; });
    const bool there = config_.nodes.contains(name) || !blocks.empty() || allocated;
    delta_.nodes[name] = there ? std::optional(now) : std::nullopt;
  }
  delta_.warnings = part_.warnings;
  return true;
}

bool DeltaMaker::lose_pods() {
  for (const ObjectName& name : pods_) {
    if (const auto before = plan_.pods.find(name); before != plan_.pods.end()) {
      if (!before->second.in_kernel) return false;
      for (const IpAddr& address : before->second.addresses) {
        if (!lose_route(Prefix::host(address), "pod")) return false;
        const auto known = plan_.pod_networks.networks().find(Prefix::host(address));
        if (known->second.added != 1) return false;
        lost_networks_.emplace(known->first, known->second.elsewhere);
      }
    }
    const auto now = part_.pods.find(name);
    if (now != part_.pods.end() && !now->second.in_kernel) return false;
    delta_.pods[name] = now == part_.pods.end() ? std::nullopt : std::optional(now->second);
  }
  return true;
}

bool DeltaMaker::move_ends() {
  for (const auto& [end, more] : ends_) {
    if (more == 0) continue;
    const int before = static_cast<int>(count_in(plan_.ends, end));
    const int now = before + more;
    if (before > 1 || now > 1) return false;
    (now == 1 ? delta_.sources : delta_.lost_sources).push_back(end);
  }
  return plan_.terminator.sources.has_room(delta_.sources.size());
}

// The addresses at which tunnels end here are those of all tunnels together.
bool DeltaMaker::keeps_own_end(const IpAddr& local) const {
  const auto own = config_.nodes.find(gateway_.node_name);
  if (own != config_.nodes.end() && own->second.underlay(local.family()) == local) return true;
  return std::any_of(plan_.tunnels.begin(), plan_.tunnels.end(), [&](const auto& tunnel) {
    const bool changes =
        part_.tunnels.contains(tunnel.first) ||
        std::find(delta_.lost_tunnels.begin(), delta_.lost_tunnels.end(), tunnel.first) != delta_.lost_tunnels.end();
    return !changes && tunnel.second.spec.local == local;
  });
}

bool DeltaMaker::move_tunnels() {
  for (const auto& [name, tunnel] : part_.tunnels) {
    const auto before = plan_.tunnels.find(name);
    if (before != plan_.tunnels.end() && before->second == tunnel) continue;
    if (!keeps_own_end(tunnel.spec.local)) return false;
    if (before != plan_.tunnels.end() && !keeps_own_end(before->second.spec.local)) return false;
    delta_.tunnels.emplace(name, tunnel);
  }
  return std::all_of(delta_.lost_tunnels.begin(), delta_.lost_tunnels.end(),
                     [&](const std::string& name) { return keeps_own_end(plan_.tunnels.at(name).spec.local); });
}

bool DeltaMaker::lose_neighbor(const PlannedNeighbor& neighbor) {
  delta_.lost_neighbors.push_back(neighbor);
  const auto route = planner_.route_to(neighbor);
  if (!route) return true;
  const Prefix prefix = Prefix::host(neighbor.address);
  const auto known = plan_.routes.find(prefix);
  if (plan_.contested.contains(prefix) || known == plan_.routes.end() || !(known->second == *route)) return false;
  lost_.emplace(prefix, &known->second);
  return true;
}

bool DeltaMaker::gain_neighbor(const PlannedNeighbor& neighbor) {
  delta_.neighbors.push_back(neighbor);
  auto route = planner_.route_to(neighbor);
  return !route || part_.routes.try_emplace(Prefix::host(neighbor.address), std::move(*route)).second;
}

bool DeltaMaker::move_neighbors() {
  for (const auto& [prefix, route] : lost_) {
    for (const PlannedHop& hop : route->hops) {
      if (hop.neighbor) --delta_.neighbor_uses[*hop.neighbor];
    }
  }
  for (const auto& [neighbor, uses] : part_.neighbor_uses) {
    delta_.neighbor_uses[neighbor] += static_cast<int32_t>(uses);
  }
  for (const auto& [neighbor, more] : delta_.neighbor_uses) {
    const auto before = static_cast<int32_t>(count_in(plan_.neighbor_uses, neighbor));
    if (before != 0 && before + more == 0 && !lose_neighbor(neighbor)) return false;
    if (before == 0 && more != 0 && !gain_neighbor(neighbor)) return false;
  }
  return true;
}

// Somebody's tunnel, or way to a node, may lead there by such a route.
bool DeltaMaker::leads_to_ends(const Prefix& prefix) const {
  size_t looked_at = 0;
  const auto leads = [&](const IpAddr& end) { return prefix.contains(end) && !planner_.is_connected(end); };
  for (auto at = plan_.ends.lower_bound(prefix.masked().addr); at != plan_.ends.end(); ++at) {
    if (!prefix.contains(at->first)) break;
    if (++looked_at > most_ends || leads(at->first)) return true;
  }
  return std::any_of(ends_.begin(), ends_.end(), [&](const auto& end) { return leads(end.first); });
}

bool DeltaMaker::move_routes() {
  for (auto& [prefix, route] : part_.routes) {
    if (plan_.contested.contains(prefix)) return false;
    const auto before = lost_.find(prefix);
    if (before == lost_.end() && plan_.routes.contains(prefix)) return false;
    const bool same = before != lost_.end() && *before->second == route;
    if (before != lost_.end()) lost_.erase(before);
    if (same) continue;
    if (leads_to_ends(prefix)) return false;
    delta_.routes.emplace(prefix, std::move(route));
  }
  for (const auto& [prefix, route] : lost_) {
    if (leads_to_ends(prefix)) return false;
    delta_.lost_routes.push_back(prefix);
  }
  return true;
}

bool DeltaMaker::move_networks() {
  std::map<Prefix, bool> gained;
  for (const auto& [network, what] : part_.pod_networks.networks()) {
    if (what.added != 1) return false;
    const auto before = lost_networks_.find(network);
    if (before == lost_networks_.end() && plan_.pod_networks.networks().contains(network)) return false;
    if (before != lost_networks_.end() && before->second == what.elsewhere) {
      lost_networks_.erase(before);
    } else {
      gained.emplace(network, what.elsewhere);
    }
  }
  std::set<Prefix> all;
  for (const auto& [network, elsewhere] : lost_networks_) all.insert(network);
  for (const auto& [network, elsewhere] : gained) all.insert(network);
  // Sorted, what lies within another one follows it, or others that do.
  for (auto at = all.begin(); at != all.end() && std::next(at) != all.end(); ++at) {
    if (at->contains(*std::next(at))) return false;
  }
  for (const auto& [network, elsewhere] : lost_networks_) {
    const auto shows = plan_.pod_networks.shows(network, elsewhere);
    if (!shows) return false;
    if (*shows) delta_.pods_not_elsewhere.push_back(network);
    delta_.lost_networks.push_back(network);
  }
  for (const auto& [network, elsewhere] : gained) {
    const auto shows = plan_.pod_networks.shows(network, elsewhere);
    if (!shows) return false;
    if (*shows) delta_.pods_elsewhere.push_back(network);
    delta_.networks.emplace_back(network, elsewhere);
  }
  return true;
}

bool DeltaMaker::move_interfaces() {
  if (pods_.empty()) return true;
  std::map<ObjectName, const PlannedInterface*> interfaces;
  size_t at = plan_.interfaces.size() - plan_.pods.size();
  std::vector<PlannedInterface> all(plan_.interfaces.begin(), plan_.interfaces.begin() + static_cast<ptrdiff_t>(at));
  for (const auto& [name, pod] : plan_.pods) {
    const PlannedInterface& interface = plan_.interfaces[at++];
    if (!pods_.contains(name)) interfaces.emplace(name, &interface);
  }
  at = 0;
  for (const auto& [name, pod] : part_.pods) interfaces.emplace(name, &part_.interfaces[at++]);
  for (const auto& [name, interface] : interfaces) all.push_back(*interface);
  if (all == plan_.interfaces) return true;
  if (auto before = detect_local_warning(config_, plan_.interfaces)) delta_.lost_warnings.push_back(std::move(*before));
  if (auto now = detect_local_warning(config_, all)) delta_.warnings.push_back(std::move(*now));
  delta_.interfaces = std::move(all);
  return true;
}

}  // namespace

bool is_planned_by_delta(std::string_view kind) {
  return kind == "Node" || kind == "BlockAffinity" || kind == "IPAMBlock" || kind == "WorkloadEndpoint";
}

std::optional<PlanDelta> plan_delta(const Plan& plan, const config::Config& config, const config::Change& change,
                                    const Allocated& allocated, const HostAddresses& host, const Allocated* before) {
  if (host.empty()) return DeltaMaker(plan, config, config.gateway, allocated, before).make(change);
  const config::Gateway gateway = with_host_addresses(config.gateway, host);
  return DeltaMaker(plan, config, gateway, allocated, before).make(change);
}

void apply(const PlanDelta& delta, Plan& plan) {
  for (const Prefix& prefix : delta.lost_routes) plan.routes.erase(prefix);
  for (const auto& [prefix, route] : delta.routes) plan.routes.insert_or_assign(prefix, route);
  for (const std::string& name : delta.lost_tunnels) plan.tunnels.erase(name);
  for (const auto& [name, tunnel] : delta.tunnels) plan.tunnels.insert_or_assign(name, tunnel);
  for (const PlannedNeighbor& neighbor : delta.lost_neighbors) plan.neighbors.erase(neighbor);
  plan.neighbors.insert(delta.neighbors.begin(), delta.neighbors.end());
  for (const auto& [neighbor, more] : delta.neighbor_uses) {
    const auto at = plan.neighbor_uses.try_emplace(neighbor, 0).first;
    at->second += static_cast<uint32_t>(more);
    if (at->second == 0) plan.neighbor_uses.erase(at);
  }
  if (!delta.sources.empty() || !delta.lost_sources.empty()) {
    plan.terminator.sources = *plan.terminator.sources.with(delta.sources, delta.lost_sources);
  }
  for (const IpAddr& end : delta.lost_sources) plan.ends.erase(end);
  for (const IpAddr& end : delta.sources) plan.ends.emplace(end, 1);
  for (const Prefix& network : delta.pods_not_elsewhere) {
    const auto at = std::lower_bound(plan.pods_elsewhere.begin(), plan.pods_elsewhere.end(), network);
    plan.pods_elsewhere.erase(at);
  }
  for (const Prefix& network : delta.pods_elsewhere) {
    const auto at = std::lower_bound(plan.pods_elsewhere.begin(), plan.pods_elsewhere.end(), network);
    plan.pods_elsewhere.insert(at, network);
  }
  for (const Prefix& network : delta.lost_networks) plan.pod_networks.remove(network);
  for (const auto& [network, elsewhere] : delta.networks) plan.pod_networks.add(network, elsewhere);
  if (delta.interfaces) plan.interfaces = *delta.interfaces;
  plan.warnings = warnings_after(delta, std::move(plan.warnings));
  for (const auto& [name, node] : delta.nodes) set_or_erase(plan.nodes, name, node);
  for (const auto& [name, block] : delta.blocks) set_or_erase(plan.blocks, name, block);
  for (const auto& [name, pod] : delta.pods) set_or_erase(plan.pods, name, pod);
}

std::vector<std::string> warnings_after(const PlanDelta& delta, std::vector<std::string> warnings) {
  for (const std::string& lost : delta.lost_warnings) {
    if (const auto at = std::find(warnings.begin(), warnings.end(), lost); at != warnings.end()) warnings.erase(at);
  }
  warnings.insert(warnings.end(), delta.warnings.begin(), delta.warnings.end());
  return warnings;
}

}  // namespace sluice::control
