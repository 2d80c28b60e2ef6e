// Which address one service gets (LB-1 to LB-3, LB-5).
#include <algorithm>

#include <fmt/format.h>

#include "control/load_balancer.h"

namespace sluice::control {
namespace {

using config::FamilyPolicy;
using config::LoadBalancerRequest;
using config::Service;
using net::IpAddr;

std::string_view text_of(net::Family family) { return family == net::Family::V4 ? "IPv4" : "IPv6"; }

// An order of pools in which 0 comes last (LB-1).
uint64_t rank(const config::AddressPool& pool) {
  const uint32_t priority = pool.allocation->priority;
  return priority == 0 ? UINT64_MAX : priority;
}

}  // namespace

bool LoadBalancer::is_reserved(const IpAddr& address, const Holding& as) const {
  const auto found = reserved_.find(address);
  if (found == reserved_.end()) return false;
  const auto own = std::count(as.external.begin(), as.external.end(), address);
  if (found->second <= static_cast<size_t>(own)) return false;
  if (std::find(as.held.begin(), as.held.end(), address) == as.held.end()) return true;
  const auto has = [&](const auto& entry) {
    return std::find(entry.second.begin(), entry.second.end(), address) != entry.second.end();
  };
  if (const auto router = reserved_by_.find({}); router != reserved_by_.end() && has(*router)) return true;
  const auto nodes = reserved_by_.lower_bound({reserved_for_node, ""});
  const auto behind =
      std::find_if(nodes, reserved_by_.end(), [](const auto& entry) { return entry.first.ns != reserved_for_node; });
  return std::any_of(nodes, behind, has);
}

std::string LoadBalancer::objection(const IpAddr& address, const Holding& as) const {
  const std::string text = net::to_string(address);
  if (is_reserved(address, as)) {
    return fmt::format(
        "{} belongs to a node, to this router, to a service by its cluster or external IPs, or had been given to one "
        "that has not come since the start",
        text);
  }
  const auto found = in_use_.find(address);
  if (found == in_use_.end()) return {};
  const Use& use = found->second;
  const std::string owner = use.services.begin()->text();
  if (as.share_key.empty() || use.share_key != as.share_key) {
    return fmt::format("{} is in use by service {}, and they have no metallb.io/allow-shared-ip in common", text,
                       owner);
  }
  if (use.backend != as.backend) {
    return fmt::format(
        "{} is in use by service {}, and sharing needs externalTrafficPolicy Cluster of both or one selector of both",
        text, owner);
  }
  for (const Port& port : as.ports) {
    const auto taken = use.ports.find(port);
    if (taken == use.ports.end()) continue;
    return fmt::format("port {} of {} is in use by service {}", port.second, text, taken->second.text());
  }
  return {};
}

bool LoadBalancer::is_pinned_to(const config::AddressPool& pool, const Service& service) const {
  const config::ServiceAllocation& allocation = *pool.allocation;
  if (!allocation.namespaces.empty() || !allocation.namespace_selectors.empty()) {
    const std::string& ns = service.name.ns;
    const bool named =
        std::find(allocation.namespaces.begin(), allocation.namespaces.end(), ns) != allocation.namespaces.end();
    // Every namespace has this label, by the API server.
    config::Labels labels{{"kubernetes.io/metadata.name", ns}};
    if (const auto found = config_->namespaces.find(ns); found != config_->namespaces.end()) {
      labels.insert(found->second.labels.begin(), found->second.labels.end());
    }
    const bool selected =
        !allocation.namespace_selectors.empty() && any_matches(allocation.namespace_selectors, labels);
    if (!named && !selected) return false;
  }
  return any_matches(allocation.service_selectors, service.labels);
}

std::string LoadBalancer::allocation_problem(const config::AddressPool& pool, const Service& service) const {
  const LoadBalancerRequest& request = service.load_balancer;
  if (!request.pool.empty() && request.pool != pool.name) {
    return fmt::format("it is of pool {} and not of pool {}, which metallb.io/address-pool names", pool.name,
                       request.pool);
  }
  if (pool.allocation && !is_pinned_to(pool, service)) {
    return fmt::format("the serviceAllocation of pool {} does not select this service", pool.name);
  }
  return {};
}

// LB-2: exactly these or none.
LoadBalancer::Choice LoadBalancer::choose_wanted(const Service& service, const Holding& as) {
  const LoadBalancerRequest& request = service.load_balancer;
  const Pool* first = nullptr;
  for (const IpAddr& address : request.wanted) {
    if (std::find(request.families.begin(), request.families.end(), address.family()) == request.families.end()) {
      return {{},
              fmt::format("{} is wanted, but {} is not of the service's ipFamilies", net::to_string(address),
                          text_of(address.family()))};
    }
    const Pool* pool = pool_with(address);
    if (pool == nullptr) return {{}, fmt::format("{} is wanted, but is in no IPAddressPool", net::to_string(address))};
    if (std::string why = allocation_problem(*pool->pool, service); !why.empty()) {
      return {{}, fmt::format("{} is wanted, but {}", net::to_string(address), why)};
    }
    if (first == nullptr) first = pool;
    if (first != pool) {
      return {{}, fmt::format("the addresses wanted are of two pools, {} and {}", first->pool->name, pool->pool->name)};
    }
    if (std::string why = objection(address, as); !why.empty()) return {{}, "wanted, but " + why};
  }
  if (request.policy == FamilyPolicy::RequireDualStack && request.wanted.size() < 2) {
    return {{}, "ipFamilyPolicy RequireDualStack needs a wanted address of each family"};
  }
  return {request.wanted, {}};
}

std::optional<IpAddr> LoadBalancer::pick(Pool& pool, net::Family family, const Holding& as) {
  if (!frozen_.empty()) return std::nullopt;
  if (const auto shared = shared_.find(as.share_key); !as.share_key.empty() && shared != shared_.end()) {
    for (const IpAddr& address : shared->second) {
      if (address.family() == family && pool_with(address) == &pool && objection(address, as).empty()) return address;
    }
  }
  return pool.free.first(family, [&](const IpAddr& address) { return pool.pool->has(address); });
}

// LB-5. What the service had comes first.
LoadBalancer::Choice LoadBalancer::choose_from(Pool& pool, const Service& service, const Holding& as,
                                               const std::vector<IpAddr>& had) {
  const LoadBalancerRequest& request = service.load_balancer;
  Choice out;
  if (std::string why = allocation_problem(*pool.pool, service); !why.empty()) return {{}, std::move(why)};
  for (const net::Family family : request.families) {
    const auto before = std::find_if(had.begin(), had.end(), [&](const IpAddr& one) {
      return one.family() == family && pool_with(one) == &pool && objection(one, as).empty();
    });
    if (before != had.end()) {
      out.addresses.push_back(*before);
    } else if (const auto found = pick(pool, family, as)) {
      out.addresses.push_back(*found);
    } else {
      out.problem =
          frozen_.empty() ? fmt::format("pool {} has no free {} address", pool.pool->name, text_of(family)) : frozen_;
      if (request.policy == FamilyPolicy::PreferDualStack) continue;
      out.addresses.clear();
      return out;
    }
  }
  if (!out.addresses.empty()) out.problem.clear();
  return out;
}

// In the order in which they are tried (LB-1).
std::vector<LoadBalancer::Pool*> LoadBalancer::pools_for(const Service& service) {
  std::vector<Pool*> pinned;
  std::vector<Pool*> open;
  for (auto& [name, pool] : pools_) {
    if (!pool.pool->auto_assign) continue;
    if (!pool.pool->allocation) {
      open.push_back(&pool);
    } else if (is_pinned_to(*pool.pool, service)) {
      pinned.push_back(&pool);
    }
  }
  std::stable_sort(pinned.begin(), pinned.end(),
                   [](const Pool* a, const Pool* b) { return rank(*a->pool) < rank(*b->pool); });
  pinned.insert(pinned.end(), open.begin(), open.end());
  return pinned;
}

LoadBalancer::Choice LoadBalancer::choose(const Service& service, const Holding& as, const std::vector<IpAddr>& had) {
  const LoadBalancerRequest& request = service.load_balancer;
  if (!request.wanted.empty()) return choose_wanted(service, as);
  if (!request.pool.empty()) {
    const auto found = pools_.find(request.pool);
    if (found == pools_.end()) return {{}, fmt::format("there is no IPAddressPool {}", config::quoted(request.pool))};
    return choose_from(found->second, service, as, had);
  }
  // LB-4: where it is it stays.
  for (const IpAddr& address : had) {
    Pool* pool = pool_with(address);
    if (pool == nullptr || address.family() != request.families.front() || !objection(address, as).empty()) continue;
    Choice choice = choose_from(*pool, service, as, had);
    if (!choice.addresses.empty()) return choice;
  }
  std::optional<Choice> partial;
  std::string problem = "no IPAddressPool gives addresses to this service by itself (autoAssign, serviceAllocation)";
  for (Pool* pool : pools_for(service)) {
    Choice choice = choose_from(*pool, service, as, had);
    const bool whole = choice.addresses.size() == request.families.size();
    if (whole) return choice;
    if (!choice.addresses.empty() && !partial) partial = std::move(choice);
    if (!choice.problem.empty()) problem = std::move(choice.problem);
  }
  if (partial) return *std::move(partial);
  return {{}, std::move(problem)};
}

}  // namespace sluice::control
