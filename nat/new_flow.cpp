#include "nat/new_flow.h"

#include <algorithm>

namespace sluice::nat {
namespace {

using net::DropReason;

template <class F>
ServiceChoice<F> dropped(DropReason reason) {
  return {Outcome::Drop, reason};
}

// The cluster's own pods are inside (SVC-68, SVC-121), also where they are not local ones (MASQ-1).
bool is_outside(ClientKind client) { return client == ClientKind::Outside || client == ClientKind::Relayed; }

// Which list of endpoints a client gets and under which source address.
template <class F>
struct Route {
  const BackendSet<F>* backends;
  bool masquerade;
};

template <class F>
Route<F> route_internal(const ServicePort<F>& service, ClientKind client, const ProxySettings& settings) {
  // SVC-64: the policy selects endpoints, it does not change masquerading, which is MASQ-1's.
  return {service.internal_policy == TrafficPolicy::Local ? &service.local : &service.cluster,
          settings.masquerade_all || client != ClientKind::Pod};
}

template <class F>
Route<F> route_external(const ServicePort<F>& service, ClientKind client, const ProxySettings& settings) {
  // SVC-60, MASQ-2: pods included.
  if (service.external_policy == TrafficPolicy::Cluster) return {&service.cluster, true};
  switch (client) {
    case ClientKind::Pod:
      return {&service.cluster, false};  // SVC-62: the short cut
    case ClientKind::Node:
      return {&service.cluster, true};  // SVC-62
    case ClientKind::RemotePod:         // SVC-63: of another node, which has no short cut for it here
    case ClientKind::Outside:
    case ClientKind::Relayed:
      break;
  }
  // SVC-61; SVC-65: a gateway on the return path of every endpoint keeps the source and takes any.
  return {settings.local_scope_cluster ? &service.cluster : &service.local, false};
}

// Node ports stand on the gateway's own addresses, from which nobody else can answer.
template <class F>
bool returns_directly(const Frontend<F>& frontend, ClientKind client) {
  return frontend.service->direct_return && is_outside(client) &&
         (frontend.kind == FrontendKind::LoadBalancer || frontend.kind == FrontendKind::ExternalIp);
}

// SVC-21, SVC-41: with affinity all flows of a client, to any frontend of the service port, hash alike.
template <class F>
uint64_t hash_for(const ServicePort<F>& service, const FlowKey<F>& key) {
  if (service.affinity_seconds == 0) return net::balancing_hash(key);
  return net::balancing_hash(FlowKey<F>{key.src, {}, {}, {}, key.protocol, {}});
}

template <class F>
bool in_any(std::span<const Pool<F>> pools, const typename F::Addr& addr) {
  return std::any_of(pools.begin(), pools.end(), [&](const Pool<F>& pool) { return pool.cidr.contains(addr); });
}

}  // namespace

template <class F>
DropReason refusal(const Frontend<F>& frontend, const typename F::Addr& source, ClientKind client,
                   const ProxySettings& settings, bool source_is_vip) {
  const ServicePort<F>& service = *frontend.service;
  const bool internal = frontend.kind == FrontendKind::ClusterIp;
  if (internal && is_outside(client) && !settings.allow_external_cluster_ip) {
    return DropReason::ClusterIpFromOutside;  // SVC-121
  }
  // SVC-66: load balancer addresses only; SVC-53: not the node port of the same service.
  if (frontend.kind == FrontendKind::LoadBalancer) {
    const bool asked = is_outside(client) || settings.source_ranges_for_in_cluster;  // SVC-68
    const bool node_to_itself = source_is_vip && service.ranges_admit_node;          // SVC-67
    if (asked && !node_to_itself && !source_admitted(service, source)) return DropReason::SourceRange;
  }
  return DropReason::None;
}

template <class F>
ServiceChoice<F> choose_backend(const Frontend<F>& frontend, const FlowKey<F>& key, ClientKind client,
                                const ProxySettings& settings, bool source_is_vip, const Backend<F>* kept) {
  const ServicePort<F>& service = *frontend.service;

  // Who may not enter does not learn whether there are endpoints: both filters come before the verdicts of 3.4.
  const DropReason refused = refusal(frontend, key.src, client, settings, source_is_vip);
  if (refused != DropReason::None) return dropped<F>(refused);
  const bool internal = frontend.kind == FrontendKind::ClusterIp;

  // SVC-30: nothing usable in the whole cluster. The Local list does not matter here (SVC-14).
  if (!service.has_endpoint) {
    if (!settings.no_endpoints_reject) return dropped<F>(DropReason::NoEndpoint);
    return {Outcome::Reject, DropReason::NoEndpointRejected};
  }

  const bool direct = returns_directly(frontend, client);
  Route<F> route = internal ? route_internal(service, client, settings) : route_external(service, client, settings);
  if (direct && client == ClientKind::Relayed) route.backends = &service.local;
  const Backend<F>* backend = kept == nullptr ? nullptr : route.backends->find(kept->addr, kept->port);
  if (backend == nullptr) backend = route.backends->pick(hash_for(service, key));
  // Endpoints only elsewhere: silence, so that health checks move the traffic away (SVC-61).
  if (backend == nullptr) return dropped<F>(DropReason::NoLocalEndpoint);

  // MASQ-3: an endpoint that talks to itself would answer itself directly.
  const bool hairpin = backend->addr == key.src;
  const bool keeps_source = direct && backend->local;
  return {Outcome::Forward, DropReason::None, backend, (route.masquerade && !keeps_source) || hairpin,
          direct && !backend->local && !hairpin};
}

template <class F>
bool source_admitted(const ServicePort<F>& service, const typename F::Addr& source) {
  if (!service.restricted) return true;
  return std::any_of(service.source_ranges.begin(), service.source_ranges.end(),
                     [&](const Cidr<F>& range) { return range.contains(source); });
}

template <class F>
bool nat_outgoing(const typename F::Addr& src, const typename F::Addr& dst, const PoolView<F>& view) {
  const bool leaves = std::any_of(view.pools.begin(), view.pools.end(),
                                  [&](const Pool<F>& pool) { return pool.nat_outgoing && pool.cidr.contains(src); });
  return leaves && !in_any(view.pools, dst) &&
         !std::binary_search(view.excluded_nodes.begin(), view.excluded_nodes.end(), dst);
}

template ServiceChoice<net::V4> choose_backend(const Frontend<net::V4>&, const FlowKey<net::V4>&, ClientKind,
                                               const ProxySettings&, bool, const Backend<net::V4>*);
template ServiceChoice<net::V6> choose_backend(const Frontend<net::V6>&, const FlowKey<net::V6>&, ClientKind,
                                               const ProxySettings&, bool, const Backend<net::V6>*);
template DropReason refusal(const Frontend<net::V4>&, const net::Ipv4Addr&, ClientKind, const ProxySettings&, bool);
template DropReason refusal(const Frontend<net::V6>&, const net::Ipv6Addr&, ClientKind, const ProxySettings&, bool);
template bool source_admitted(const ServicePort<net::V4>&, const net::Ipv4Addr&);
template bool source_admitted(const ServicePort<net::V6>&, const net::Ipv6Addr&);
template bool nat_outgoing(const net::Ipv4Addr&, const net::Ipv4Addr&, const PoolView<net::V4>&);
template bool nat_outgoing(const net::Ipv6Addr&, const net::Ipv6Addr&, const PoolView<net::V6>&);

}  // namespace sluice::nat
