#include "control/service_compiler.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice::control {

using config::Config;
using net::IpAddr;

uint32_t ServiceCompiler::id_of(const std::string& name) {
  const auto [at, inserted] = ids_.try_emplace(name, static_cast<uint32_t>(names_.size()));
  if (inserted) names_.push_back(name);
  return at->second;
}

std::string ServiceCompiler::name_of(uint32_t id) const { return id < names_.size() ? names_[id] : std::string(); }

std::vector<uint32_t> ServiceCompiler::ids_of(const std::string& name) const {
  std::vector<uint32_t> ids;
  for (auto at = ids_.lower_bound(name); at != ids_.end() && at->first.starts_with(name); ++at) {
    if (at->first.size() == name.size() || at->first[name.size()] == ':') ids.push_back(at->second);
  }
  return ids;
}

template <class F>
std::vector<ServiceCompiler::Draft<F>> ServiceCompiler::draft_services(
    const Context& context, const Names& services, const std::map<config::ObjectName, Unit<F>>& units) const {
  static constexpr size_t together = 32;
  const Config& config = *context.config;
  std::vector<IpAddr> node_port_addresses;
  bool primary_taken = false;
  for (const IpAddr& own : context.own_addresses) {
    if (own.family() != F::family || own.is_link_local()) continue;
    const auto& cidrs = config.gateway.proxy.node_port_addresses;
    const bool primary = config.gateway.proxy.node_ports_on_primary && !primary_taken;
    primary_taken = true;
    if (primary || std::any_of(cidrs.begin(), cidrs.end(), [&](const auto& cidr) { return cidr.contains(own); })) {
      node_port_addresses.push_back(own);
    }
  }
  std::vector<const config::ObjectName*> names;
  names.reserve(services.size());
  for (const config::ObjectName& name : services) names.push_back(&name);
  std::vector<Draft<F>> drafts(names.size());
  spread_((names.size() + together - 1) / together, [&](size_t part) {
    for (size_t i = part * together; i < std::min(names.size(), (part + 1) * together); ++i) {
      const config::ObjectName& name = *names[i];
      const Unit<F>* before = find_in(units, name);
      const auto service = config.services.find(name);
      Draft<F> draft;
      if (service != config.services.end()) {
        draft = service_draft<F>(context, service->second, node_port_addresses, before);
      }
      drafts[i] = compared<F>(std::move(draft), before);
    }
  });
  return drafts;
}

template <class F>
void ServiceCompiler::take(std::map<config::ObjectName, Unit<F>>& units, const config::ObjectName& name, Draft<F> draft,
                           Difference<F>& difference) {
  const auto append = [](auto& all, auto& some) {
    all.insert(all.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
  };
  for (const auto& port : draft.fresh) {
    port->id = id_of(port->name);
    if (port->affinity_seconds != 0 && port->affinity_key == 0) port->affinity_key = ++last_affinity_key_;
  }
  append(difference.more, draft.difference.more);
  append(difference.less, draft.difference.less);
  append(difference.more_endpoints, draft.difference.more_endpoints);
  append(difference.less_endpoints, draft.difference.less_endpoints);
  if (draft.unit.ports.empty()) {
    units.erase(name);
  } else {
    units.insert_or_assign(units.end(), name, std::move(draft.unit));  // the first time each comes at the end
  }
}

template <class F>
ServiceCompiler::Difference<F> ServiceCompiler::refresh_family(const Context& context, const Names& services,
                                                               const Names& pods, Family<F>& family) {
  const Config& config = *context.config;
  Difference<F> difference;
  std::vector<Draft<F>> drafts = draft_services<F>(context, services, family.services);
  auto draft = drafts.begin();
  for (const config::ObjectName& name : services) take<F>(family.services, name, std::move(*draft++), difference);
  for (const config::ObjectName& name : pods) {
    const auto pod = config.pods.find(name);
    const Unit<F>* before = find_in(family.pods, name);
    if (pod == config.pods.end() && before == nullptr) continue;
    Draft<F> of_pod;
    if (pod != config.pods.end()) of_pod = pod_draft<F>(context, pod->second, before);
    take<F>(family.pods, name, compared<F>(std::move(of_pod), before), difference);
  }
  const config::ObjectName listeners;
  const Unit<F>* before = find_in(family.listeners, listeners);
  if (before != nullptr || ingress_.http() != nullptr) {
    take<F>(family.listeners, listeners, compared<F>(listener_draft<F>(context, before), before), difference);
  }
  return difference;
}

template <class F>
void ServiceCompiler::change_table(Family<F>& family, Difference<F>& difference) {
  if (difference.more.empty() && difference.less.empty()) return;
  family.table = std::make_shared<const nat::ServiceTable<F>>(
      family.table->changed(std::move(difference.more), std::move(difference.less)));
}

template <class F>
void ServiceCompiler::change_endpoints(Family<F>& family, const Difference<F>& difference) {
  if (difference.more_endpoints.empty() && difference.less_endpoints.empty()) return;
  family.endpoints = std::make_shared<const nat::EndpointSet<F>>(
      family.endpoints->changed(difference.more_endpoints, difference.less_endpoints));
}

void ServiceCompiler::refresh_pods(const Config& config) {
  if (content_ == nullptr) return;
  std::vector<dataplane::ContentPods<net::V4>::Pod> v4;
  std::vector<dataplane::ContentPods<net::V6>::Pod> v6;
  static const std::map<config::ObjectName, config::WorkloadEndpoint> none;
  for (const auto& [name, workload] : config.content_policies.empty() ? none : config.workloads) {
    if (!config.gateway.is_local(workload.node)) continue;
    const auto rules = content_->of_pod(config, workload);
    if (rules.empty()) continue;
    for (const IpAddr& address : workload.addresses) {
      if (address.is_v4()) {
        v4.push_back({net::V4::addr_of(address), rules});
      } else {
        v6.push_back({net::V6::addr_of(address), rules});
      }
    }
  }
  v4_.content = std::make_shared<const dataplane::ContentPods<net::V4>>(std::move(v4));
  v6_.content = std::make_shared<const dataplane::ContentPods<net::V6>>(std::move(v6));
}

ServiceCompiler::Tables ServiceCompiler::refresh(const Context& context, const Names& services, const Names& pods) {
  for (const config::ObjectName& name : services) {
    const config::Service* const service = find_in(context.config->services, name);
    const bool is_external = service != nullptr && service->type == config::ServiceType::ExternalName &&
                             ingress_.targets_of(name) != nullptr;
    const bool was_external = is_external ? !external_.insert(name).second : external_.erase(name) != 0;
    if (is_external || was_external) touched_external_.insert(name);
  }
  static constexpr size_t many = 4096;  // worth another thread's time
  Difference<net::V4> v4 = refresh_family<net::V4>(context, services, pods, v4_);
  Difference<net::V6> v6 = refresh_family<net::V6>(context, services, pods, v6_);
  // The longest first.
  const auto change = [&](size_t which) {
    if (which == 0) change_endpoints(v4_, v4);
    if (which == 1) change_endpoints(v6_, v6);
    if (which == 2) change_table(v4_, v4);
    if (which == 3) change_table(v6_, v6);
  };
  if (v4.more_endpoints.size() + v6.more_endpoints.size() + v4.more.size() + v6.more.size() < many) {
    config::one_after_the_other(4, change);
  } else {
    spread_(4, change);
  }
  return {v4_.table, v6_.table, v4_.endpoints, v6_.endpoints, v4_.content, v6_.content};
}

void ServiceCompiler::index_slice(const Config& config, const config::ObjectName& name, Names& services) {
  if (const auto known = service_of_slice_.find(name); known != service_of_slice_.end()) {
    const auto slices = slices_of_.find(known->second);
    slices->second.erase(name);
    if (slices->second.empty()) slices_of_.erase(slices);
    services.insert(known->second);
    service_of_slice_.erase(known);
  }
  const auto slice = config.slices.find(name);
  if (slice == config.slices.end() || slice->second.service.empty()) return;
  const config::ObjectName service{name.ns, slice->second.service};
  slices_of_[service].insert(name);
  service_of_slice_.emplace(name, service);
  services.insert(service);
}

ServiceCompiler::Tables ServiceCompiler::compile(const Config& config, const std::vector<IpAddr>& own_addresses,
                                                 const DrainList& drains) {
  const Context context{&config, own_addresses, &drains};
  surroundings_ = surroundings_of(context);
  drains_ = drains;
  ingress_.compile(config);
  Names services = ingress_.take_changed_services();
  Names pods;
  slices_of_.clear();
  service_of_slice_.clear();
  for (const auto& [name, slice] : config.slices) {
    if (slice.service.empty()) continue;
    const config::ObjectName service{name.ns, slice.service};
    slices_of_.try_emplace(slices_of_.end(), service)->second.insert(name);
    service_of_slice_.emplace_hint(service_of_slice_.end(), name, service);
  }
  for (const auto& [name, service] : config.services) services.insert(services.end(), name);
  for (const auto& [name, pod] : config.pods) pods.insert(name);
  // Those that are there no more.
  for (const auto& [name, unit] : v4_.services) services.insert(name);
  for (const auto& [name, unit] : v6_.services) services.insert(name);
  services.insert(external_.begin(), external_.end());
  for (const auto& [name, unit] : v4_.pods) pods.insert(name);
  for (const auto& [name, unit] : v6_.pods) pods.insert(name);
  refresh_pods(config);
  return refresh(context, services, pods);
}

ServiceCompiler::Tables ServiceCompiler::update(const Config& config, const config::Change& change,
                                                const std::vector<IpAddr>& own_addresses, const DrainList& drains) {
  const Context context{&config, own_addresses, &drains};
  if (!(surroundings_of(context) == surroundings_)) return compile(config, own_addresses, drains);
  ingress_.update(config, change);
  Names services = ingress_.take_changed_services();
  Names pods;
  for (const config::Change::Touched& touched : change.touched) {
    const config::ObjectName name{touched.key.ns, touched.key.name};
    if (touched.key.kind == "Service") services.insert(name);
    if (touched.key.kind == "EndpointSlice") index_slice(config, name, services);
    if (touched.key.kind == "Pod") pods.insert(name);
    if (touched.key.kind != "ContentPolicy") continue;
    const auto& all = config.services;
    for (auto at = all.lower_bound({name.ns, ""}); at != all.end() && at->first.ns == name.ns; ++at) {
      services.insert(at->first);
    }
  }
  if (const auto targets = DrainList::difference(drains_, drains); !targets.empty()) {
    drains_ = drains;
    services.merge(services_with(config, targets));
    for (const auto& [name, pod] : config.pods) pods.insert(name);
  }
  if (change.touches("ContentPolicy") || change.touches("WorkloadEndpoint")) refresh_pods(config);
  return refresh(context, services, pods);
}

}  // namespace sluice::control
