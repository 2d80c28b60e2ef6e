// The decisions that the first packet of a flow takes about address translation, as pure functions: no
// routing table, no connection table, no clock.
//
// choose_backend: what a packet to a frontend gets, by specification 3.4 (nothing usable), 3.7 (traffic policies),
// 3.8 (source ranges), 3.16 (the truth table) and MASQ-1 to MASQ-4. nat_outgoing: whether a pod's packet leaves
// the cluster under a gateway address, MASQ-8; asked after choose_backend, on the real destination, and not
// at all for a flow that is masqueraded already (MASQ-9).
//
// Which address and port a masqueraded flow gets is decided elsewhere (MASQ-5 needs the route, MASQ-6 the ports).
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/net/flow_key.h"
#include "dataplane/net/verdict.h"
#include "nat/service.h"

namespace sluice::nat {

using net::FlowKey;

// Where a packet comes from. Pod: a source that the cluster's `detectLocalMode` calls local. RemotePod: any other pod
// of the cluster. Node: one of our own node's addresses. Outside: everyone else. Relayed: from outside as well, but out
// of a tunnel, so another gateway had it first.
enum class ClientKind : uint8_t { Pod, RemotePod, Node, Outside, Relayed };

// What GatewayConfiguration says about services (spec.proxy).
struct ProxySettings {
  bool masquerade_all = false;               // ClusterIP traffic of pods is masqueraded too (MASQ-1)
  bool allow_external_cluster_ip = false;    // SVC-121
  bool source_ranges_for_in_cluster = true;  // loadBalancerSourceRanges hold for pods and the node too (SVC-68)
  bool no_endpoints_reject = true;           // SVC-30: refuse with ICMP; false: drop silently
  bool local_scope_cluster = false;          // externalPolicyLocalScope: Cluster (SVC-65)
  bool reset_removed = false;                // onBackendRemoved: Reset (SVC-92); asked by packets of known flows
};

enum class Outcome : uint8_t { Forward, Drop, Reject };

// Forward: `backend` is set and `reason` is None. Drop, Reject: `reason` says why; Reject answers with an ICMP
// port unreachable from the address the client used (SVC-30).
template <class F>
struct ServiceChoice {
  Outcome outcome = Outcome::Drop;
  net::DropReason reason = net::DropReason::None;
  const Backend<F>* backend = nullptr;  // lives as long as the frontend's service port
  bool masquerade = false;              // replace the source, too
  // Send it as it is, in a tunnel, to where the endpoint is; if there is no such tunnel, translate it as the rest says.
  bool direct_return = false;
};

// `key` is the packet's, before translation. `source_is_vip`: its source is the frontend's own address, a node that
// talks to its own load balancer address (SVC-67).
//
// Direct server return (ServicePort::direct_return) is for clients from outside that come to an external or load
// balancer address. Their own address is kept then: an endpoint here is reached without masquerade, one elsewhere
// through a tunnel, where it, or the router of its node, answers the client past this router. What was relayed to us
// that way is for our own endpoints and never goes to another node again.
//
// `kept`: what the affinity table (affinity.h) says the client had, or nullptr. It counts if it is among the endpoints
// that this client may have now (SVC-44, SVC-46). Without it a service with client IP affinity hashes only the
// client's address, so that all frontends (SVC-41) and all workers choose alike.
template <class F>
[[nodiscard]] ServiceChoice<F> choose_backend(const Frontend<F>& frontend, const FlowKey<F>& key, ClientKind client,
                                              const ProxySettings& settings, bool source_is_vip,
                                              const Backend<F>* kept = nullptr);

// What choose_backend refuses whatever endpoints there are; None: the client may come.
template <class F>
[[nodiscard]] net::DropReason refusal(const Frontend<F>& frontend, const typename F::Addr& source, ClientKind client,
                                      const ProxySettings& settings, bool source_is_vip = false);

// Whether loadBalancerSourceRanges let this source in (SVC-66). A service without ranges of this family is open.
template <class F>
[[nodiscard]] bool source_admitted(const ServicePort<F>& service, const typename F::Addr& source);

// An IPPool as natOutgoing sees it. Disabled pools belong in the list: `disabled` stops the allocation of new
// addresses, nothing else.
template <class F>
struct Pool {
  Cidr<F> cidr;
  bool nat_outgoing = false;
};

// Pools do not overlap (IPAM-1).
template <class F>
struct PoolView {
  std::span<const Pool<F>> pools;
  // Addresses of all nodes in ascending order for natOutgoingExclusions IPPoolsAndHostIPs, else empty.
  std::span<const typename F::Addr> excluded_nodes;
};

// MASQ-8: the source is in a pool with natOutgoing, the destination (after service translation) in no pool.
template <class F>
[[nodiscard]] bool nat_outgoing(const typename F::Addr& src, const typename F::Addr& dst, const PoolView<F>& view);

}  // namespace sluice::nat
