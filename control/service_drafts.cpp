// What one service, pod or listener adds to the service tables.
#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "control/service_compiler.h"

namespace sluice::control {
namespace {

using config::Config;
using config::Service;
using net::IpAddr;

bool reachable_from_outside(const Service& service, const config::ServicePort& port) {
  return port.node_port != 0 || !service.external_ips.empty() || !service.load_balancer_ips.empty();
}

constexpr const char* zone_label = "topology.kubernetes.io/zone";
static_assert(config::EndpointWeights::full == nat::full_weight);

// SVC-16: empty, and zones do not count, if the own node has no label of one.
std::string zone_of(const Config& config) {
  const auto own = config.nodes.find(config.gateway.node_name);
  if (own == config.nodes.end()) return {};
  const auto zone = own->second.labels.find(zone_label);
  return zone == own->second.labels.end() ? std::string() : zone->second;
}

template <class F>
struct Candidate {
  nat::Backend<F> backend;
  bool ready;
  bool fallback;  // serving and terminating
  const config::Endpoint* endpoint;
};

bool names_any(const std::vector<std::string>& hints, const std::vector<std::string>& names) {
  return std::find_first_of(hints.begin(), hints.end(), names.begin(), names.end()) != hints.end();
}

// SVC-15: hints of one sort count if every ready endpoint has some and one of them names this place. Then false for
// the endpoints that are meant for others.
template <class F>
class HintFilter {
 public:
  HintFilter(const Config& config, const std::vector<Candidate<F>>& candidates)
      : nodes_(config.gateway.local_node_names) {
    if (std::string zone = zone_of(config); !zone.empty()) zones_ = {std::move(zone)};
    if (count(candidates, &config::Endpoint::node_hints, nodes_)) {
      hints_ = &config::Endpoint::node_hints;
    } else if (count(candidates, &config::Endpoint::zone_hints, zones_)) {
      hints_ = &config::Endpoint::zone_hints;
    }
  }
  [[nodiscard]] bool operator()(const Candidate<F>& candidate) const {
    if (hints_ == nullptr || !candidate.ready) return true;
    return names_any(candidate.endpoint->*hints_, hints_ == &config::Endpoint::node_hints ? nodes_ : zones_);
  }

 private:
  using Hints = std::vector<std::string> config::Endpoint::*;

  static bool count(const std::vector<Candidate<F>>& candidates, Hints hints, const std::vector<std::string>& names) {
    bool any = false;
    for (const Candidate<F>& candidate : candidates) {
      if (!candidate.ready) continue;
      if ((candidate.endpoint->*hints).empty()) return false;
      any = any || names_any(candidate.endpoint->*hints, names);
    }
    return any;
  }

  std::vector<std::string> nodes_;
  std::vector<std::string> zones_;
  Hints hints_ = nullptr;
};

// SVC-10: all that are ready; only if there is none, those that still serve while they terminate.
template <class F, class Wanted>
std::vector<nat::Backend<F>> usable(const std::vector<Candidate<F>>& candidates, Wanted&& wanted) {
  std::vector<nat::Backend<F>> ready;
  std::vector<nat::Backend<F>> fallback;
  for (const Candidate<F>& candidate : candidates) {
    if (!wanted(candidate)) continue;
    if (candidate.ready) ready.push_back(candidate.backend);
    if (candidate.fallback) fallback.push_back(candidate.backend);
  }
  return ready.empty() ? fallback : ready;
}

template <class F>
bool same_inputs(const nat::ServicePort<F>& a, const nat::ServicePort<F>& b) {
  return a.protocol == b.protocol && a.external_policy == b.external_policy && a.internal_policy == b.internal_policy &&
         a.has_endpoint == b.has_endpoint && a.direct_return == b.direct_return &&
         a.affinity_seconds == b.affinity_seconds && a.cluster.backends == b.cluster.backends &&
         a.local.backends == b.local.backends && a.restricted == b.restricted &&
         a.ranges_admit_node == b.ranges_admit_node && a.serving == b.serving && a.cut_off == b.cut_off &&
         a.content == b.content && a.listener == b.listener &&
         std::equal(a.source_ranges.begin(), a.source_ranges.end(), b.source_ranges.begin(), b.source_ranges.end(),
                    [](const auto& x, const auto& y) { return x.network == y.network && x.length == y.length; });
}

// What a service says of its own addresses is not meant for requests that rules lead to its endpoints.
template <class F>
bool has_policies(const nat::ServicePort<F>& port) {
  return port.external_policy == nat::TrafficPolicy::Local || port.internal_policy == nat::TrafficPolicy::Local ||
         port.restricted || port.direct_return;
}

template <class F>
nat::ServicePort<F> without_policies(nat::ServicePort<F> port) {
  port.external_policy = port.internal_policy = nat::TrafficPolicy::Cluster;
  port.restricted = port.ranges_admit_node = port.direct_return = false;
  port.source_ranges.clear();
  port.local = {};
  return port;
}

// Whether the service has anything of this family: most have IPv4 alone.
template <class F>
bool concerns(const Service& service, const std::vector<const config::EndpointSlice*>& slices,
              const std::vector<IpAddr>& node_port_addresses) {
  const auto of_family = [](const IpAddr& address) { return address.family() == F::family; };
  return std::any_of(service.cluster_ips.begin(), service.cluster_ips.end(), of_family) ||
         std::any_of(service.external_ips.begin(), service.external_ips.end(), of_family) ||
         std::any_of(service.load_balancer_ips.begin(), service.load_balancer_ips.end(), of_family) ||
         (!node_port_addresses.empty() && std::any_of(service.ports.begin(), service.ports.end(),
                                                      [](const auto& port) { return port.node_port != 0; })) ||
         std::any_of(slices.begin(), slices.end(),
                     [](const config::EndpointSlice* slice) { return !slice->fqdn && slice->family == F::family; });
}

// Numbers of what rules lead to this port.
std::vector<l7::TargetId> targets_at(const IngressCompiler::Targets* targets, const config::ServicePort& port) {
  std::vector<l7::TargetId> out;
  if (targets == nullptr || port.protocol != config::Protocol::Tcp) return out;
  for (const auto& [wanted, id] : *targets) {
    if (wanted.name.empty() ? wanted.number == port.port : wanted.name == port.name) out.push_back(id);
  }
  return out;
}

}  // namespace

std::string host_port_name(const config::Pod& pod, const config::HostPort& port) {
  const char* protocol = port.protocol == config::Protocol::Udp    ? "udp"
                         : port.protocol == config::Protocol::Sctp ? "sctp"
                                                                   : "tcp";
  return fmt::format("pod/{}:{}-{}{}", pod.name.text(), port.host_port, protocol,
                     port.host_ip ? "@" + net::to_string(*port.host_ip) : "");
}

ServiceCompiler::Surroundings ServiceCompiler::surroundings_of(const Context& context) {
  const config::Gateway& gateway = context.config->gateway;
  return {gateway.local_node_names,          gateway.proxy.node_ports_on_primary,
          gateway.proxy.node_port_addresses, gateway.proxy.maglev_table_size,
          zone_of(*context.config),          context.own_addresses};
}

template <class F>
nat::ServicePort<F> ServiceCompiler::inputs_of(const Config& config, const Service& service,
                                               const config::ServicePort& port,
                                               const std::vector<const config::EndpointSlice*>& slices,
                                               const std::vector<IpAddr>& own_addresses, const DrainList& drains,
                                               bool of_rules) {
  const auto& local_nodes = config.gateway.local_node_names;
  std::vector<Candidate<F>> candidates;
  nat::ServicePort<F> inputs;
  for (const config::EndpointSlice* slice : slices) {
    if (slice->fqdn || slice->family != F::family) continue;
    for (const config::EndpointPort& slice_port : slice->ports) {
      // SVC-6: slice ports and service ports meet by name.
      if (slice_port.name != port.name || slice_port.protocol != port.protocol) continue;
      for (const config::Endpoint& endpoint : slice->endpoints) {
        const nat::Backend<F> backend{
            F::addr_of(endpoint.address), net::be16::from_host(slice_port.port),
            std::find(local_nodes.begin(), local_nodes.end(), endpoint.node_name) != local_nodes.end(),
            service.weights.of(*slice, endpoint)};
        const Drain drain = drains.empty()
                                ? Drain::None  // without copies of names, for each of very many
                                : drains.of({slice->name.ns, endpoint.pod}, endpoint.address, slice_port.port);
        if (drain == Drain::Hard) {
          inputs.cut_off.push_back(backend);
        } else if (endpoint.serving || endpoint.ready) {
          inputs.serving.push_back(backend);
        }
        if (backend.weight == 0 || drain != Drain::None) continue;  // what it has goes on, nothing new comes
        candidates.push_back({backend, endpoint.ready, endpoint.serving && endpoint.terminating, &endpoint});
      }
    }
  }
  inputs.protocol = static_cast<uint8_t>(port.protocol);
  inputs.external_policy = static_cast<nat::TrafficPolicy>(service.external_policy);
  inputs.internal_policy = static_cast<nat::TrafficPolicy>(service.internal_policy);
  inputs.affinity_seconds = service.affinity ? static_cast<uint32_t>(service.affinity->count()) : 0;
  inputs.has_endpoint = std::any_of(candidates.begin(), candidates.end(),
                                    [](const auto& candidate) { return candidate.ready || candidate.fallback; });
  const bool outside = reachable_from_outside(service, port);
  const bool internal_local = service.internal_policy == config::TrafficPolicy::Local;
  const bool external_local = service.external_policy == config::TrafficPolicy::Local;
  if (!internal_local || outside || of_rules) {  // SVC-12
    inputs.cluster.backends = usable(candidates, HintFilter<F>(config, candidates));
  }
  inputs.direct_return = service.returns_directly();
  if (internal_local || (external_local && outside) || inputs.direct_return) {
    inputs.local.backends = usable(candidates, [](const auto& candidate) { return candidate.backend.local; });
  }
  for (const net::Prefix& range : service.source_ranges) {
    if (range.family() != F::family) continue;
    inputs.restricted = true;
    inputs.source_ranges.push_back({F::addr_of(range.addr), range.length});
    inputs.ranges_admit_node =
        inputs.ranges_admit_node ||
        std::any_of(own_addresses.begin(), own_addresses.end(), [&](const IpAddr& own) { return range.contains(own); });
  }
  return inputs;
}

template <class F>
std::shared_ptr<const nat::ServicePort<F>> ServiceCompiler::share(const std::string& name, nat::ServicePort<F> inputs,
                                                                  uint32_t table_size, const Unit<F>* before,
                                                                  Draft<F>& draft) {
  const auto known = before == nullptr ? nullptr : find_in(before->ports, name);
  std::shared_ptr<const nat::ServicePort<F>> shared;
  if (known != nullptr && known->table_size == table_size && same_inputs(known->inputs, inputs)) {
    shared = known->port;
  } else {
    const auto built = std::make_shared<nat::ServicePort<F>>(inputs);
    built->name = name;
    if (built->affinity_seconds != 0 && known != nullptr) built->affinity_key = known->port->affinity_key;
    built->cluster = nat::make_backend_set<F>(std::move(built->cluster.backends), table_size);
    built->local = nat::make_backend_set<F>(std::move(built->local.backends), table_size);
    draft.fresh.push_back(built);
    shared = built;
  }
  draft.unit.ports.emplace(name, Built<F>{table_size, std::move(inputs), shared});
  return shared;
}

template <class F>
ServiceCompiler::Draft<F> ServiceCompiler::service_draft(const Context& context, const Service& service,
                                                         const std::vector<IpAddr>& node_port_addresses,
                                                         const Unit<F>* before) const {
  Draft<F> draft;
  const IngressCompiler::Targets* targets = ingress_.targets_of(service.name);
  if (!service.proxied && targets == nullptr) return draft;
  if (service.type == config::ServiceType::ExternalName) {
    return external_draft<F>(context, service, *targets, before);
  }
  const Config& config = *context.config;
  std::vector<const config::EndpointSlice*> slices;
  if (const Names* names = find_in(slices_of_, service.name)) {
    for (const config::ObjectName& name : *names) slices.push_back(&config.slices.at(name));
  }
  // Under IPv4 every service port gets its number.
  if (!F::is_v4 && targets == nullptr && !concerns<F>(service, slices, node_port_addresses)) return draft;
  const auto content =
      content_ == nullptr ? std::vector<ContentLibrary::Rules>() : content_->of_service(config, service);
  for (const config::ServicePort& port : service.ports) {
    const std::string name = service.name.text() + ":" + (port.name.empty() ? std::to_string(port.port) : port.name);
    const std::vector<l7::TargetId> rules_lead_here = targets_at(targets, port);
    if (!service.proxied && rules_lead_here.empty()) continue;
    nat::ServicePort<F> inputs =
        inputs_of<F>(config, service, port, slices, context.own_addresses, *context.drains, !rules_lead_here.empty());
    inputs.content = content;
    std::shared_ptr<const nat::ServicePort<F>> of_rules;
    if (!rules_lead_here.empty() && has_policies(inputs)) {
      of_rules =
          share<F>(name + "@ingress", without_policies(inputs), config.gateway.proxy.maglev_table_size, before, draft);
    }
    const auto shared = share<F>(name, std::move(inputs), config.gateway.proxy.maglev_table_size, before, draft);
    if (of_rules == nullptr) of_rules = shared;
    const auto add = [&](const IpAddr& address, uint16_t number, nat::FrontendKind kind) {
      if (address.family() != F::family) return;
      draft.unit.frontends.push_back(
          {F::addr_of(address), net::be16::from_host(number), static_cast<uint8_t>(port.protocol), kind, shared});
    };
    for (const l7::TargetId target : rules_lead_here) {
      draft.unit.frontends.push_back({l7::target_address<typename F::Addr>(target), net::be16{},
                                      static_cast<uint8_t>(port.protocol), nat::FrontendKind::ClusterIp, of_rules});
    }
    if (!service.proxied) continue;
    for (const IpAddr& address : service.cluster_ips) add(address, port.port, nat::FrontendKind::ClusterIp);
    for (const IpAddr& address : service.external_ips) add(address, port.port, nat::FrontendKind::ExternalIp);
    for (const IpAddr& address : service.load_balancer_ips) add(address, port.port, nat::FrontendKind::LoadBalancer);
    if (port.node_port != 0) {
      for (const IpAddr& address : node_port_addresses) add(address, port.node_port, nat::FrontendKind::NodePort);
    }
  }
  return draft;
}

// Nobody but DNS says where these are, and nobody knows whether they are ready. What connections lead to keeps serving
// them after DNS has forgotten it. ExternalIp tells workers that the endpoints are outside of the cluster.
template <class F>
ServiceCompiler::Draft<F> ServiceCompiler::external_draft(const Context& context, const Service& service,
                                                          const IngressCompiler::Targets& targets,
                                                          const Unit<F>* before) const {
  Draft<F> draft;
  const Config& config = *context.config;
  const ExternalNames::Addresses* const known =
      external_names_ == nullptr ? nullptr : external_names_->addresses_of(service.name);
  const auto backends_at = [&](const std::vector<IpAddr>& addresses, uint16_t port, auto& out) {
    for (const IpAddr& address : addresses) {
      if (address.family() == F::family) out.push_back({F::addr_of(address), net::be16::from_host(port)});
    }
  };
  std::map<uint16_t, std::shared_ptr<const nat::ServicePort<F>>> made;
  for (const auto& led : targets) {
    const config::BackendPort& wanted = led.first;
    const auto port = std::find_if(service.ports.begin(), service.ports.end(), [&](const config::ServicePort& one) {
      if (one.protocol != config::Protocol::Tcp) return false;
      return wanted.name.empty() ? one.port == wanted.number : one.name == wanted.name;
    });
    const bool listed = port != service.ports.end();
    if (!listed && wanted.number == 0) continue;
    const uint16_t number = listed ? port->port : wanted.number;
    auto& shared = made[number];
    if (shared == nullptr) {
      nat::ServicePort<F> inputs;
      inputs.protocol = static_cast<uint8_t>(config::Protocol::Tcp);
      inputs.affinity_seconds = service.affinity ? static_cast<uint32_t>(service.affinity->count()) : 0;
      if (content_ != nullptr) inputs.content = content_->of_service(config, service);
      if (known != nullptr) {
        backends_at(known->current, number, inputs.cluster.backends);
        backends_at(known->current, number, inputs.serving);
        backends_at(known->former, number, inputs.serving);
      }
      inputs.has_endpoint = !inputs.cluster.backends.empty();
      const std::string name = listed && !port->name.empty() ? port->name : std::to_string(number);
      shared = share<F>(service.name.text() + ":" + name, std::move(inputs), config.gateway.proxy.maglev_table_size,
                        before, draft);
    }
    draft.unit.frontends.push_back({l7::target_address<typename F::Addr>(led.second), net::be16{}, shared->protocol,
                                    nat::FrontendKind::ExternalIp, shared});
  }
  return draft;
}

// As behind the policy Local: who comes from outside keeps its address, as with the portmap plug-in of CNI.
template <class F>
ServiceCompiler::Draft<F> ServiceCompiler::pod_draft(const Context& context, const config::Pod& pod,
                                                     const Unit<F>* before) {
  Draft<F> draft;
  const Config& config = *context.config;
  const auto& local_nodes = config.gateway.local_node_names;
  if (std::find(local_nodes.begin(), local_nodes.end(), pod.node_name) == local_nodes.end()) return draft;
  const auto address = std::find_if(pod.addresses.begin(), pod.addresses.end(),
                                    [](const IpAddr& each) { return each.family() == F::family; });
  if (address == pod.addresses.end()) return draft;
  for (const config::HostPort& port : pod.host_ports) {
    if (port.host_ip && port.host_ip->family() != F::family) continue;
    const nat::Backend<F> backend{F::addr_of(*address), net::be16::from_host(port.container_port), true};
    nat::ServicePort<F> inputs;
    inputs.protocol = static_cast<uint8_t>(port.protocol);
    inputs.external_policy = nat::TrafficPolicy::Local;
    const Drain drain = context.drains->of(pod.name, *address, port.container_port);
    inputs.has_endpoint = drain == Drain::None;
    if (drain == Drain::None) inputs.cluster.backends = inputs.local.backends = {backend};
    (drain == Drain::Hard ? inputs.cut_off : inputs.serving).push_back(backend);
    const auto shared =
        share<F>(host_port_name(pod, port), std::move(inputs), config.gateway.proxy.maglev_table_size, before, draft);
    for (const IpAddr& own : context.own_addresses) {
      if (own.family() != F::family || own.is_link_local()) continue;
      if (port.host_ip && !(*port.host_ip == own)) continue;
      // A node port is found before a host port of the same number.
      draft.unit.frontends.push_back({F::addr_of(own), net::be16::from_host(port.host_port),
                                      static_cast<uint8_t>(port.protocol), nat::FrontendKind::NodePort, shared, true});
    }
  }
  return draft;
}

template <class F>
ServiceCompiler::Draft<F> ServiceCompiler::listener_draft(const Context& context, const Unit<F>* before) const {
  Draft<F> draft;
  if (ingress_.http() == nullptr) return draft;
  const config::IngressSettings& settings = ingress_.settings();
  const auto listen = [&](const std::vector<uint16_t>& ports, const std::shared_ptr<const l7::Listener>& listener) {
    for (const uint16_t port : ports) {
      nat::ServicePort<F> inputs;
      inputs.protocol = static_cast<uint8_t>(config::Protocol::Tcp);
      inputs.listener = listener;
      const auto shared = share<F>(fmt::format("ingress:{}", port), std::move(inputs),
                                   context.config->gateway.proxy.maglev_table_size, before, draft);
      for (const IpAddr& address : settings.addresses) {
        if (address.family() != F::family) continue;
        draft.unit.frontends.push_back({F::addr_of(address), net::be16::from_host(port),
                                        static_cast<uint8_t>(config::Protocol::Tcp), nat::FrontendKind::LoadBalancer,
                                        shared});
      }
    }
  };
  listen(settings.http, ingress_.http());
  listen(settings.https, ingress_.tls());
  return draft;
}

template <class F>
ServiceCompiler::Draft<F> ServiceCompiler::compared(Draft<F> draft, const Unit<F>* before) {
  const auto endpoints_of = [](const Unit<F>& some) {
    std::vector<typename nat::EndpointSet<F>::Endpoint> endpoints;
    for (const auto& [port_name, built] : some.ports) {
      for (const auto* list : {&built.inputs.serving, &built.inputs.cut_off}) {
        for (const nat::Backend<F>& backend : *list) {
          endpoints.push_back({backend.addr, backend.port, built.inputs.protocol});
        }
      }
    }
    std::sort(endpoints.begin(), endpoints.end(), [](const auto& a, const auto& b) { return a.key() < b.key(); });
    return endpoints;
  };
  const auto subtract = [](const auto& from, const auto& what, auto& out) {
    std::set_difference(from.begin(), from.end(), what.begin(), what.end(), std::back_inserter(out),
                        [](const auto& a, const auto& b) { return a.key() < b.key(); });
  };
  static const Unit<F> none;
  const Unit<F>& was = before == nullptr ? none : *before;
  Difference<F>& difference = draft.difference;
  if (!(was.frontends == draft.unit.frontends)) {
    difference.less = was.frontends;
    difference.more = draft.unit.frontends;
  }
  const auto had = endpoints_of(was);
  const auto has = endpoints_of(draft.unit);
  subtract(has, had, difference.more_endpoints);
  subtract(had, has, difference.less_endpoints);
  return draft;
}

template ServiceCompiler::Draft<net::V4> ServiceCompiler::compared(Draft<net::V4>, const Unit<net::V4>*);
template ServiceCompiler::Draft<net::V6> ServiceCompiler::compared(Draft<net::V6>, const Unit<net::V6>*);
template ServiceCompiler::Draft<net::V4> ServiceCompiler::service_draft(const Context&, const Service&,
                                                                        const std::vector<IpAddr>&,
                                                                        const Unit<net::V4>*) const;
template ServiceCompiler::Draft<net::V6> ServiceCompiler::service_draft(const Context&, const Service&,
                                                                        const std::vector<IpAddr>&,
                                                                        const Unit<net::V6>*) const;
template ServiceCompiler::Draft<net::V4> ServiceCompiler::pod_draft(const Context&, const config::Pod&,
                                                                    const Unit<net::V4>*);
template ServiceCompiler::Draft<net::V6> ServiceCompiler::pod_draft(const Context&, const config::Pod&,
                                                                    const Unit<net::V6>*);
template ServiceCompiler::Draft<net::V4> ServiceCompiler::listener_draft(const Context&, const Unit<net::V4>*) const;
template ServiceCompiler::Draft<net::V6> ServiceCompiler::listener_draft(const Context&, const Unit<net::V6>*) const;

}  // namespace sluice::control
