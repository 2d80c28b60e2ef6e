#include "control/load_balancer.h"

#include <algorithm>

#include <fmt/format.h>

namespace sluice::control {
namespace {

using config::Change;
using config::Config;
using config::ObjectName;
using config::Service;
using net::IpAddr;

// LB-3: with the Local policy an address leads to nodes that have endpoints, which must be those of all its services.
std::string backend_of(const Service& service) {
  if (service.external_policy == config::TrafficPolicy::Cluster) return {};
  std::string out = "local";
  for (const auto& [label, value] : service.load_balancer.selector) out += fmt::format(" {}={}", label, value);
  return out;
}

std::vector<IpAddr> own_addresses(const Service& service, bool ours) {
  std::vector<IpAddr> out = service.cluster_ips;
  out.insert(out.end(), service.external_ips.begin(), service.external_ips.end());
  const auto& status = service.load_balancer.status_ips;
  if (!ours) out.insert(out.end(), status.begin(), status.end());
  return out;
}

}  // namespace

// ---- pools and what is taken of them -------------------------------------------------------------------

LoadBalancer::Pool* LoadBalancer::pool_with(const IpAddr& address) {
  auto behind = ranges_.upper_bound(address);
  if (behind == ranges_.begin()) return nullptr;
  const auto& [last, name] = std::prev(behind)->second;
  if (last < address) return nullptr;
  Pool& pool = pools_.at(name);
  return pool.pool->has(address) ? &pool : nullptr;
}

const LoadBalancer::Pool* LoadBalancer::pool_with(const IpAddr& address) const {
  return const_cast<LoadBalancer*>(this)->pool_with(address);
}

bool LoadBalancer::is_blocked(const IpAddr& address) const {
  return in_use_.contains(address) || reserved_.contains(address);
}

void LoadBalancer::block(const IpAddr& address) {
  if (Pool* pool = pool_with(address)) pool->free.take(address);
  freed_.erase(address);
}

void LoadBalancer::unblock(const IpAddr& address) {
  if (is_blocked(address)) return;
  if (Pool* pool = pool_with(address)) {
    pool->free.give_back(address);
    freed_.insert(address);
  }
}

void LoadBalancer::rebuild_pools(const Config& config) {
  pools_.clear();
  ranges_.clear();
  pool_values_.clear();
  pool_values_.reserve(config.address_pools.size());
  for (const auto& [name, pool] : config.address_pools) {
    Pool& built = pools_[pool.name];
    built.pool = &pool_values_.emplace_back(pool);
    for (const config::AddressRange& range : pool.ranges) {
      built.free.add(range);
      ranges_.emplace(range.first, std::pair(range.last, pool.name));
    }
  }
  for (const auto& [address, use] : in_use_) {
    if (Pool* pool = pool_with(address)) ++pool->in_use;
    block(address);
  }
  for (const auto& [address, count] : reserved_) block(address);
  managing_ = !pools_.empty();
  selects_namespaces_ = std::any_of(pool_values_.begin(), pool_values_.end(), [](const config::AddressPool& pool) {
    return pool.allocation && !pool.allocation->namespace_selectors.empty();
  });
}

void LoadBalancer::reserve(const Name& name, std::vector<IpAddr> addresses) {
  const auto before = reserved_by_.find(name);
  if (before == reserved_by_.end() ? addresses.empty() : before->second == addresses) return;
  std::vector<IpAddr> gone;
  if (before != reserved_by_.end()) gone = std::move(before->second);
  for (const IpAddr& address : addresses) {
    if (++reserved_[address] == 1) block(address);
  }
  for (const IpAddr& address : gone) {
    const auto found = reserved_.find(address);
    if (--found->second != 0) continue;
    reserved_.erase(found);
    unblock(address);
  }
  if (addresses.empty()) {
    reserved_by_.erase(name);
  } else {
    reserved_by_[name] = std::move(addresses);
  }
}

void LoadBalancer::reserve_services(const Config& config) {
  for (const auto& [name, service] : config.services) {
    reserve(name, own_addresses(service, managing_ && service.load_balancer.ours));
  }
}

// Addresses of this router and of nodes are nobody's to have.
void LoadBalancer::reserve_network(const Config& config) {
  std::vector<IpAddr> all;
  for (const config::Interface& interface : config.gateway.interfaces) {
    for (const net::Prefix& address : interface.addresses) all.push_back(address.addr);
  }
  if (config.gateway.ingress.enabled) {
    all.insert(all.end(), config.gateway.ingress.addresses.begin(), config.gateway.ingress.addresses.end());
  }
  reserve({}, std::move(all));
}

void LoadBalancer::reserve_node(const Config& config, const std::string& name) {
  std::vector<IpAddr> all;
  if (const auto found = config.nodes.find(name); found != config.nodes.end()) {
    all = found->second.internal_ips;
    all.insert(all.end(), found->second.external_ips.begin(), found->second.external_ips.end());
  }
  reserve({reserved_for_node, name}, std::move(all));
}

void LoadBalancer::reserve_nodes(const Config& config, const Change* change) {
  undo_nodes_.clear();
  if (change == nullptr) {
    for (const auto& [name, node] : config.nodes) undo_nodes_.insert(name);
  } else {
    for (const Change::Touched& touched : change->touched) {
      if (touched.effective && touched.key.kind == "Node") undo_nodes_.insert(touched.key.name);
    }
  }
  for (const std::string& name : undo_nodes_) reserve_node(config, name);
}

// What a service had at the last run waits for it, unless another one shares it.
void LoadBalancer::reserve_absent(const Config& config) {
  for (const auto& [name, addresses] : kept_) {
    if (config.services.contains(name)) continue;
    std::vector<IpAddr> waiting;
    for (const IpAddr& address : addresses) {
      if (managing_ && !in_use_.contains(address)) waiting.push_back(address);
    }
    reserve(name, std::move(waiting));
  }
}

// ---- who has what --------------------------------------------------------------------------------------

void LoadBalancer::remember(const Name& name) {
  const auto found = services_.find(name);
  undo_.try_emplace(name, found == services_.end() ? std::nullopt : std::optional(found->second));
}

void LoadBalancer::hold(const Name& name, Holding holding) {
  for (const IpAddr& address : holding.addresses) {
    const auto [at, fresh] = in_use_.try_emplace(address);
    Use& use = at->second;
    use.share_key = holding.share_key;
    use.backend = holding.backend;
    for (const Port& port : holding.ports) use.ports.try_emplace(port, name);
    use.services.insert(name);
    if (!holding.share_key.empty()) shared_[holding.share_key].insert(address);
    if (!fresh) continue;
    if (Pool* pool = pool_with(address)) ++pool->in_use;
    block(address);
  }
  if (holding.pending.empty()) {
    waiting_.erase(name);
  } else {
    waiting_.insert(name);
  }
  services_.insert_or_assign(name, std::move(holding));
}

void LoadBalancer::release(const Name& name) {
  const auto found = services_.find(name);
  if (found == services_.end()) return;
  const Holding held = std::move(found->second);
  services_.erase(found);
  waiting_.erase(name);
  for (const IpAddr& address : held.addresses) {
    const auto at = in_use_.find(address);
    Use& use = at->second;
    std::erase_if(use.ports, [&](const auto& port) { return port.second == name; });
    use.services.erase(name);
    if (!use.services.empty()) {
      freed_shares_.insert(held.share_key);
      continue;
    }
    if (const auto shared = shared_.find(use.share_key); shared != shared_.end()) {
      shared->second.erase(address);
      if (shared->second.empty()) shared_.erase(shared);
    }
    in_use_.erase(at);
    if (Pool* pool = pool_with(address)) --pool->in_use;
    unblock(address);
  }
}

void LoadBalancer::forget(const Name& name) {
  remember(name);
  release(name);
}

void LoadBalancer::settle(const Name& name) {
  const auto found = config_->services.find(name);
  const Service* service = found == config_->services.end() ? nullptr : &found->second;
  const bool ours = managing_ && service != nullptr && service->load_balancer.ours;
  reserve(name, service == nullptr ? std::vector<IpAddr>{} : own_addresses(*service, ours));
  if (!ours) return forget(name);
  remember(name);
  Holding holding{.share_key = service->load_balancer.share_key,
                  .backend = backend_of(*service),
                  .external = service->external_ips,
                  .status = service->load_balancer.status_ips};
  const std::vector<IpAddr> had = preferred(*service, holding);
  release(name);
  for (const config::ServicePort& port : service->ports) holding.ports.emplace_back(port.protocol, port.port);
  Choice choice = choose(*service, holding, had);
  holding.addresses = std::move(choice.addresses);
  holding.pending = std::move(choice.problem);
  hold(name, std::move(holding));
}

// What is wanted is not in it. A status that is another now is what several routers agree on (LB-4).
std::vector<IpAddr> LoadBalancer::preferred(const Service& service, Holding& as) const {
  const std::vector<IpAddr>& status = service.load_balancer.status_ips;
  std::vector<IpAddr> out;
  if (const auto held = services_.find(service.name); held != services_.end()) {
    as.held = held->second.addresses;
    if (as.held.empty() || status != held->second.status) out = status;
    out.insert(out.end(), as.held.begin(), as.held.end());
    return out;
  }
  if (const auto kept = kept_.find(service.name); kept != kept_.end()) out = as.held = kept->second;
  out.insert(out.end(), status.begin(), status.end());
  return out;
}

void LoadBalancer::freeze(std::string why) {
  thawed_ = why.empty() && !frozen_.empty();
  frozen_ = std::move(why);
}

// As many as addresses became free can be content now; and those that share one whose other user went.
void LoadBalancer::serve_waiting() {
  const bool all = std::exchange(thawed_, false);
  if (!all && freed_.empty() && freed_shares_.empty()) return;
  const std::set<Name> waiting = waiting_;
  for (const Name& name : waiting) {
    const bool sharing = freed_shares_.contains(config_->services.at(name).load_balancer.share_key);
    if (freed_.empty() && !sharing && !all) continue;
    settle(name);
    if (freed_.empty() && freed_shares_.empty() && !all) return;
  }
}

void LoadBalancer::settle_everything(const Config& config) {
  rebuild_pools(config);
  reserve_services(config);
  std::vector<Name> held;
  for (const auto& [name, holding] : services_) held.push_back(name);
  for (const Name& name : held) settle(name);
  // Whoever had an address comes before who wants one: a record here, then a status, then nothing.
  for (const auto& [name, addresses] : GivenAddresses(kept_)) {
    if (config.services.contains(name) && !services_.contains(name)) settle(name);
  }
  reserve_absent(config);
  for (const bool with_status : {true, false}) {
    for (const auto& [name, service] : config.services) {
      const bool has_status = !service.load_balancer.status_ips.empty();
      if (has_status != with_status || services_.contains(name)) continue;
      if (managing_ && service.load_balancer.ours) {
        settle(name);
      } else {
        remember(name);  // its own addresses are reserved
      }
    }
  }
}

void LoadBalancer::settle_touched(const Config& config, const Change& change) {
  // First what goes and what is there, then what is new.
  std::vector<Name> fresh;
  for (const Change::Touched& touched : change.touched) {
    if (!touched.effective || touched.key.kind != "Service") continue;
    Name name{touched.key.ns, touched.key.name};
    if (services_.contains(name) || !config.services.contains(name)) {
      settle(name);
    } else {
      fresh.push_back(std::move(name));
    }
  }
  for (const Name& name : fresh) settle(name);
}

void LoadBalancer::sort_kept(const Config& config, const Change* change) {
  for (const Name& name : gone_) {
    if (!config.services.contains(name)) kept_.erase(name);
  }
  std::erase_if(kept_, [&](const auto& entry) {
    const Name& name = entry.first;
    if (services_.contains(name)) return true;
    if (config.services.contains(name)) return managing_;  // it is not ours
    return drop_absent_ || (change != nullptr && change->touches(config::ObjectKey{"Service", name.ns, name.name}));
  });
  for (const auto& [name, addresses] : undo_kept_) {
    if (!kept_.contains(name) && !config.services.contains(name)) reserve(name, {});
  }
  gone_.clear();
  drop_absent_ = false;
}

std::vector<ObjectName> LoadBalancer::changed_services() const {
  std::vector<Name> out;
  for (const auto& [name, before] : undo_) {
    const auto now = services_.find(name);
    const bool there = now != services_.end();
    if (before.has_value() != there || (there && before->addresses != now->second.addresses)) out.push_back(name);
  }
  for (const auto& [name, addresses] : undo_kept_) {
    if (recorded(name) != addresses) out.push_back(name);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<ObjectName> LoadBalancer::update(const Config& config, const Change* change) {
  config_ = &config;
  undo_.clear();
  undo_kept_ = kept_;
  undo_gone_ = gone_;
  undo_drop_absent_ = drop_absent_;
  freed_.clear();
  freed_shares_.clear();
  const bool pools =
      change == nullptr || change->touches("IPAddressPool") || (selects_namespaces_ && change->touches("Namespace"));
  if (change == nullptr || change->touches("GatewayConfiguration")) reserve_network(config);
  reserve_nodes(config, change);
  if (pools) {
    settle_everything(config);
  } else {
    settle_touched(config, *change);
  }
  sort_kept(config, change);
  serve_waiting();
  config_ = nullptr;
  return changed_services();
}

std::vector<ObjectName> LoadBalancer::update_frozen(const Config& config, const Change* change, std::string why) {
  if (change == nullptr) {
    undo(Config{});
  } else {
    undo(config);
  }
  gone_ = std::move(undo_gone_);
  drop_absent_ = undo_drop_absent_;
  freeze(std::move(why));
  return update(config, change);
}

void LoadBalancer::undo(const Config& config) {
  config_ = &config;
  const auto changes = std::move(undo_);
  undo_.clear();
  kept_ = std::move(undo_kept_);
  undo_kept_.clear();
  for (const auto& [name, before] : changes) release(name);
  rebuild_pools(config);
  reserve_network(config);
  for (const std::string& node : undo_nodes_) reserve_node(config, node);
  for (const auto& [name, before] : changes) {
    const auto service = config.services.find(name);
    reserve(name, service == config.services.end() ? std::vector<IpAddr>{}
                                                   : own_addresses(service->second, before.has_value()));
    if (before) hold(name, *before);
  }
  reserve_absent(config);
  config_ = nullptr;
}

std::optional<std::vector<IpAddr>> LoadBalancer::given(const Name& service) const {
  const auto found = services_.find(service);
  if (found == services_.end()) return std::nullopt;
  return found->second.addresses;
}

std::vector<IpAddr> LoadBalancer::recorded(const Name& service) const {
  if (const auto held = services_.find(service); held != services_.end()) return held->second.addresses;
  const auto kept = kept_.find(service);
  return kept == kept_.end() ? std::vector<IpAddr>{} : kept->second;
}

std::string LoadBalancer::pending(const Name& service) const {
  const auto found = services_.find(service);
  return found == services_.end() ? std::string() : found->second.pending;
}

std::string LoadBalancer::pool_of(const IpAddr& address) const {
  const Pool* pool = pool_with(address);
  return pool == nullptr ? std::string() : pool->pool->name;
}

GivenAddresses LoadBalancer::all() const {
  GivenAddresses out = kept_;
  for (const auto& [name, holding] : services_) {
    if (!holding.addresses.empty()) out[name] = holding.addresses;
  }
  return out;
}

std::vector<LoadBalancer::PoolUse> LoadBalancer::pools() const {
  std::vector<PoolUse> out;
  for (const auto& [name, pool] : pools_) out.push_back({name, pool.in_use});
  return out;
}

}  // namespace sluice::control
