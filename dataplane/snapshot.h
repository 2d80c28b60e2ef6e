// Everything the workers share about one generation of the configuration: const, built off-path, published
// with one release store (publisher.h). Large tables that change in place (FIB, next hops, neighbours) are not
// in it, they live in Tables; parts that did not change are shared between snapshots.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/announcements.h"
#include "dataplane/content_pods.h"
#include "dataplane/fragment_limits.h"
#include "dataplane/interface.h"
#include "dataplane/net/addr.h"
#include "dataplane/punt_class.h"
#include "dataplane/shared_vector.h"
#include "encap/decap.h"
#include "encap/header_template.h"
#include "encap/header_template_v6.h"
#include "nat/endpoint_set.h"
#include "nat/filtering.h"
#include "nat/new_flow.h"
#include "nat/service.h"
#include "nat/timeouts.h"

namespace sluice::dataplane {

// One tunnel; NextHop::tunnel is its index.
struct Tunnel {
  bool present = false;  // false: a hole in the index space
  bool over_v6 = false;  // the underlay; one of the headers counts
  encap::TunnelSpec spec;
  encap::HeaderTemplate header;
  encap::HeaderTemplateV6 header_v6;
  // Source of masqueraded flows that leave through it (MASQ-5), and of what the router sends into it (MASQ-10);
  // unspecified: the interface's.
  net::Ipv4Addr masquerade_v4;
  net::Ipv6Addr masquerade_v6;

  template <class F>
  [[nodiscard]] const typename F::Addr& masquerade() const {
    if constexpr (F::is_v4) {
      return masquerade_v4;
    } else {
      return masquerade_v6;
    }
  }
};

// The far end of a tunnel, to find the tunnel that an ICMP error is about.
struct TunnelEnd {
  net::IpAddr remote;
  uint16_t tunnel = 0;  // index into Snapshot::tunnels
};

// A queue a worker polls: of a device of DPDK, or the only one of a pod's link by shared memory (PortView::memif).
struct PollQueue {
  uint16_t port = 0;
  uint16_t queue = 0;
  int interrupt =
      -1;  // readable when a frame has come while its interrupts are on; -1: it has none (Port::interrupt_of)
  bool through_kernel = false;  // Port::through_kernel
};

class MemifLink;
class PodSocket;

// What one worker polls and may send to.
struct WorkerPorts {
  std::vector<PollQueue> receive;
  PodSocket* pods = nullptr;  // nullptr: it has none

  // Whether every frame costs system calls.
  [[nodiscard]] bool through_kernel() const {
    for (const PollQueue& queue : receive) {
      if (!queue.through_kernel) return false;
    }
    return pods != nullptr || !receive.empty();
  }
};

// Which port frames from an interface of the kernel come in by.
struct PodPort {
  uint32_t kernel_index = 0;
  uint16_t port = 0;
};

struct PortView {
  bool present = false;
  uint16_t tx_queues = 0;         // worker w sends on queue w if w < tx_queues, else worker w % tx_queues sends for it
  bool rx_ipv4_checksum = false;  // the port verifies IPv4 header checksums
  uint32_t kernel_index = 0;      // of a pod's port: the interface of the kernel; 0: it has none
  MemifLink* memif = nullptr;     // of a pod's port: its shared memory; nullptr: it has none
  PortMap interfaces;
};

struct IcmpSettings {
  uint32_t errors_per_second = 1000;  // of the whole router
  bool error_source_vip = true;       // ICMP-2
  bool vip_echo_reply = false;        // SVC-71
};

// How a packet of a client reaches an endpoint that answers the client itself.
template <class F>
struct DirectReturn {
  typename F::Addr endpoint;
  uint16_t tunnel = 0;          // index into Snapshot::tunnels
  bool same_port_only = false;  // the far end is the endpoint, not a router that translates
};

template <class F>
struct FamilyTables {
  std::shared_ptr<const nat::ServiceTable<F>> services = std::make_shared<nat::ServiceTable<F>>();
  std::shared_ptr<const nat::EndpointSet<F>> endpoints = std::make_shared<nat::EndpointSet<F>>();
  std::shared_ptr<const ContentPods<F>> content = std::make_shared<ContentPods<F>>();
  std::vector<nat::Cidr<F>> cluster_cidrs;       // where pods live
  std::vector<nat::Cidr<F>> local_cidrs;         // those of this node, as detectLocalMode has it (MASQ-1)
  std::vector<nat::Pool<F>> pools;               // MASQ-8
  std::vector<typename F::Addr> excluded_nodes;  // sorted; natOutgoingExclusions IPPoolsAndHostIPs
  std::vector<typename F::Addr> own_addresses;   // every local address, sorted
  bool any_nat_outgoing = false;
  typename F::Addr nat_outgoing_address{};  // source of what leaves by natOutgoing; unspecified: of the egress (MASQ-5)
  std::vector<DirectReturn<F>> direct_returns;  // sorted by endpoint
  // Where pods of other nodes live (SVC-63): networks apart from each other, sorted.
  std::shared_ptr<const std::vector<nat::Cidr<F>>> pods_elsewhere = std::make_shared<std::vector<nat::Cidr<F>>>();

  // nullptr: none leads to this endpoint.
  [[nodiscard]] const DirectReturn<F>* direct_return(const typename F::Addr& endpoint) const {
    const auto at = std::lower_bound(direct_returns.begin(), direct_returns.end(), endpoint,
                                     [](const auto& entry, const auto& addr) { return entry.endpoint < addr; });
    return at != direct_returns.end() && at->endpoint == endpoint ? &*at : nullptr;
  }
  [[nodiscard]] bool is_pod_elsewhere(const typename F::Addr& addr) const {
    const auto behind = std::upper_bound(pods_elsewhere->begin(), pods_elsewhere->end(), addr,
                                         [](const auto& wanted, const auto& cidr) { return wanted < cidr.network; });
    return behind != pods_elsewhere->begin() && std::prev(behind)->contains(addr);
  }
  [[nodiscard]] nat::PoolView<F> pool_view() const { return {pools, excluded_nodes}; }
  [[nodiscard]] bool owns(const typename F::Addr& addr) const {
    return std::binary_search(own_addresses.begin(), own_addresses.end(), addr);
  }
};

struct Snapshot {
  uint32_t generation = 0;  // never 0 once published; flows compare with it
  std::vector<Interface> interfaces;
  std::vector<PortView> ports;  // by DPDK port id; from first_pod_port on those of pods
  std::vector<WorkerPorts> workers;
  std::vector<PodPort> pod_ports;  // sorted by kernel_index
  std::shared_ptr<const Announcements> announcements = std::make_shared<const Announcements>();
  SharedVector<Tunnel> tunnels;
  SharedVector<TunnelEnd> tunnel_ends;  // of those present, sorted by `remote`
  bool clamps_mss = false;              // MTU-4, anywhere
  bool clamps_mss_tunnels = false;      // of connections that go or come through a tunnel
  bool terminates_tunnels = false;
  bool reassembles_outer = true;  // FRAG-6
  encap::Terminator terminator;
  std::vector<net::Ipv4Addr> tunnel_endpoints;  // own outer addresses
  std::vector<net::Ipv6Addr> tunnel_endpoints_v6;
  FamilyTables<net::V4> v4;
  FamilyTables<net::V6> v6;
  bool every_pod_is_local = true;  // detectLocalMode ClusterCIDR: no pod is ClientKind::RemotePod
  nat::ProxySettings proxy;
  nat::Timeouts timeouts;
  FragmentLimits fragments;
  bool tcp_loose = true;
  bool tcp_be_liberal = false;
  uint32_t pinned_neighbors = 0;  // NeighborTable indices below this may be live
  uint16_t snat_first = 32768;    // host byte order
  uint16_t snat_last = 65535;
  uint16_t nat_outgoing_first = 32768;  // of natOutgoing
  uint16_t nat_outgoing_last = 65535;
  bool endpoint_independent = false;                                   // MASQ-13: of natOutgoing
  nat::Filtering filtering = nat::Filtering::AddressAndPortDependent;  // of those mappings
  IcmpSettings icmp;
  std::vector<uint16_t> twins;  // interfaces that have one; empty: the host gets nothing
  PuntLimits punt_limits = default_punt_limits;
  std::optional<net::IpAddr> collector;  // gets copies of the packets of mirrored connections
  net::Ipv4Addr router_v4;               // source where the receiving interface has no address (ICMP-8)
  net::Ipv6Addr router_v6;

  template <class F>
  [[nodiscard]] const FamilyTables<F>& family() const {
    if constexpr (F::is_v4) {
      return v4;
    } else {
      return v6;
    }
  }
  // no_port: none.
  [[nodiscard]] uint16_t pod_port(uint32_t kernel_index) const {
    const auto at = std::lower_bound(pod_ports.begin(), pod_ports.end(), kernel_index,
                                     [](const PodPort& entry, uint32_t index) { return entry.kernel_index < index; });
    return at != pod_ports.end() && at->kernel_index == kernel_index ? at->port : no_port;
  }
  // Own outer addresses.
  template <class F>
  [[nodiscard]] const std::vector<typename F::Addr>& own_ends() const {
    if constexpr (F::is_v4) {
      return tunnel_endpoints;
    } else {
      return tunnel_endpoints_v6;
    }
  }
  template <class F>
  [[nodiscard]] const typename F::Addr& router_address() const {
    if constexpr (F::is_v4) {
      return router_v4;
    } else {
      return router_v6;
    }
  }
};

}  // namespace sluice::dataplane
