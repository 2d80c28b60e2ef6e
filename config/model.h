// The configuration as values: what the JSON objects of one document say, with every default filled in.
//
// Objects keep the names of Kubernetes, Calico and of our own GatewayConfiguration (docs/config.md), so a
// reader of the JSON finds the field here. Nothing in it points anywhere: references are by name, a missing
// referenced object is allowed. Two equal documents, in whatever order, give equal Configs: collections are
// keyed maps. Built by config::parse, checked by config::validate, compiled by control::compile.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/bgp.h"
#include "config/content_policy.h"
#include "config/ingress.h"
#include "config/metallb.h"
#include "config/metallb_bgp.h"
#include "config/selector.h"
#include "dataplane/net/addr.h"

namespace sluice::config {

using net::IpAddr;
using net::Ipv4Addr;
using net::MacAddr;
using net::Prefix;
using Seconds = std::chrono::seconds;
using Milliseconds = std::chrono::milliseconds;

enum class Protocol : uint8_t { Icmp = 1, Tcp = 6, Udp = 17, Sctp = 132 };

// namespace "" for cluster-scoped kinds.
struct ObjectName {
  std::string ns;
  std::string name;

  [[nodiscard]] std::string text() const { return ns.empty() ? name : ns + "/" + name; }
  friend bool operator==(const ObjectName&, const ObjectName&) = default;
  friend auto operator<=>(const ObjectName&, const ObjectName&) = default;
};

using Labels = std::map<std::string, std::string>;

// ---- v1 Node -----------------------------------------------------------------------------------------
struct Node {
  std::string name;
  Labels labels;
  std::vector<IpAddr> internal_ips;           // status.addresses[type=InternalIP], in order
  std::vector<IpAddr> external_ips;           // status.addresses[type=ExternalIP]
  std::optional<Prefix> bgp_ipv4;             // annotation projectcalico.org/IPv4Address (with its subnet length)
  std::optional<Prefix> bgp_ipv6;             // annotation projectcalico.org/IPv6Address
  std::optional<Ipv4Addr> vxlan_tunnel_ipv4;  // annotation projectcalico.org/IPv4VXLANTunnelAddr
  std::optional<Ipv4Addr> ipip_tunnel_ipv4;   // annotation projectcalico.org/IPv4IPIPTunnelAddr
  std::optional<MacAddr> vxlan_mac;           // annotation projectcalico.org/VXLANTunnelMACAddr, else VXL-4's rule
  std::vector<Prefix> pod_cidrs;              // spec.podCIDRs, used as blocks when no BlockAffinity names the node
  std::optional<AsNumber> as_number;          // annotation projectcalico.org/ASNumber
  std::optional<Ipv4Addr> cluster_id;         // annotation projectcalico.org/RouteReflectorClusterID
  bool being_deleted = false;                 // spec.taints has the cluster autoscaler's (SVC-82)
  bool alive = true;                          // Ready, as far as is said, and not tainted as unreachable (L2-2)
  bool network_available = true;              // status.conditions[type=NetworkUnavailable] is not True

  std::optional<net::Ipv6Addr> vxlan_tunnel_ipv6;  // annotation projectcalico.org/IPv6VXLANTunnelAddr
  std::optional<MacAddr> vxlan_mac_v6;             // annotation projectcalico.org/VXLANTunnelMACAddrV6

  // The node's underlay address of a family: the Calico annotation, else the first InternalIP.
  [[nodiscard]] std::optional<IpAddr> underlay(net::Family family) const;
  friend bool operator==(const Node&, const Node&) = default;
};

// ---- v1 Service --------------------------------------------------------------------------------------
enum class ServiceType : uint8_t { ClusterIp, NodePort, LoadBalancer, ExternalName };
enum class TrafficPolicy : uint8_t { Cluster, Local };

struct ServicePort {
  std::string name;
  Protocol protocol = Protocol::Tcp;
  uint16_t port = 0;
  uint16_t node_port = 0;  // 0: none
  friend bool operator==(const ServicePort&, const ServicePort&) = default;
};

struct Endpoint;
struct EndpointSlice;

// Annotation sluice.dev/weights: shares of new flows, 0 to 100. What says most about an endpoint counts: its address,
// then its pod, then the labels of its slice, of which the smallest.
struct EndpointWeights {
  static constexpr uint8_t full = 100;  // where nothing is said

  std::map<IpAddr, uint8_t> addresses;
  std::map<std::string, uint8_t> pods;  // by name, in the service's namespace
  std::map<std::pair<std::string, std::string>, uint8_t> labels;

  [[nodiscard]] bool empty() const { return addresses.empty() && pods.empty() && labels.empty(); }
  [[nodiscard]] uint8_t of(const EndpointSlice& slice, const Endpoint& endpoint) const;
  friend bool operator==(const EndpointWeights&, const EndpointWeights&) = default;
};

// Annotation sluice.dev/forwarding: how a client from outside reaches an endpoint that is not here.
enum class Forwarding : uint8_t {
  Snat,  // under our address, so that the answer comes back
  Dsr,   // in a tunnel as it came; the endpoint answers the client (direct server return)
};

struct Service {
  ObjectName name;
  Labels labels;
  ServiceType type = ServiceType::ClusterIp;
  bool proxied = true;              // false: headless, ExternalName or another service proxy (SVC-4)
  std::vector<IpAddr> cluster_ips;  // none for headless
  std::vector<IpAddr> external_ips;
  // What status.loadBalancer.ingress has, or what was given here instead (ObjectSet::give).
  std::vector<IpAddr> load_balancer_ips;
  std::vector<ServicePort> ports;
  std::optional<Seconds> affinity;  // sessionAffinity ClientIP: its timeout
  TrafficPolicy external_policy = TrafficPolicy::Cluster;
  TrafficPolicy internal_policy = TrafficPolicy::Cluster;
  uint16_t health_check_node_port = 0;  // 0: none
  std::vector<Prefix> source_ranges;    // loadBalancerSourceRanges
  EndpointWeights weights;
  Forwarding forwarding = Forwarding::Snat;
  LoadBalancerRequest load_balancer;

  // Direct server return is for these addresses only; node ports are the gateway's own.
  [[nodiscard]] bool returns_directly() const {
    return proxied && forwarding == Forwarding::Dsr && !(external_ips.empty() && load_balancer_ips.empty());
  }
  friend bool operator==(const Service&, const Service&) = default;
};

// ---- v1 Namespace ------------------------------------------------------------------------------------
struct Namespace {
  std::string name;
  Labels labels;
  // Annotations cni.projectcalico.org/ipv4pools and ipv6pools: names or CIDRs of IPPools for its pods (IPAM-9).
  std::vector<std::string> ipv4_pools, ipv6_pools;
  friend bool operator==(const Namespace&, const Namespace&) = default;
};

// ---- discovery.k8s.io/v1 EndpointSlice ---------------------------------------------------------------
struct Endpoint {
  IpAddr address;  // the first of addresses[] (SVC-7)
  bool ready = true;
  bool serving = true;
  bool terminating = false;
  std::string node_name;
  std::string pod;  // targetRef of kind Pod: its name, in the slice's namespace
  std::vector<std::string> zone_hints;
  std::vector<std::string> node_hints;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

struct EndpointPort {
  std::string name;
  Protocol protocol = Protocol::Tcp;
  uint16_t port = 0;  // slice ports without a number are left out (SVC-6)
  friend bool operator==(const EndpointPort&, const EndpointPort&) = default;
};

struct EndpointSlice {
  ObjectName name;
  Labels labels;
  std::string service;  // label kubernetes.io/service-name, same namespace; empty: belongs to none
  net::Family family = net::Family::V4;
  bool fqdn = false;  // addressType FQDN: ignored by the dataplane
  std::vector<EndpointPort> ports;
  std::vector<Endpoint> endpoints;
  friend bool operator==(const EndpointSlice&, const EndpointSlice&) = default;
};

// ---- v1 Pod ------------------------------------------------------------------------------------------
struct HostPort {
  std::optional<IpAddr> host_ip;  // absent: every address of the node
  uint16_t host_port = 0;
  uint16_t container_port = 0;
  Protocol protocol = Protocol::Tcp;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

struct Pod {
  ObjectName name;
  std::string node_name;
  std::vector<IpAddr> addresses;     // status.podIPs
  std::vector<HostPort> host_ports;  // none of a pod in the host's network, or of one that has ended
  friend bool operator==(const Pod&, const Pod&) = default;
};

// ---- projectcalico.org/v3 IPPool, BlockAffinity ------------------------------------------------------
enum class TunnelMode : uint8_t { Never, Always, CrossSubnet };

struct IpPool {
  std::string name;
  Prefix cidr;  // masked
  TunnelMode vxlan_mode = TunnelMode::Never;
  TunnelMode ipip_mode = TunnelMode::Never;
  uint8_t block_size = 26;  // 122 for IPv6
  bool nat_outgoing = false;
  bool disabled = false;
  bool disable_bgp_export = false;
  bool load_balancer_only = false;  // allowedUses is [LoadBalancer]: no pod and no tunnel has an address of it
  // Of the allocator of addresses (IPAM-1, IPAM-9).
  bool for_workloads = true;    // allowedUses has Workload
  bool for_tunnels = true;      // allowedUses has Tunnel
  bool manual = false;          // assignmentMode: only for those who name the pool or an address of it
  Selector node_selector;       // labels of the Nodes that have addresses of it
  Selector namespace_selector;  // labels of the Namespaces whose pods have
  friend bool operator==(const IpPool&, const IpPool&) = default;
};

// IPAMConfiguration.
struct Ipam {
  bool strict_affinity = false;  // no address of another node's block
  bool auto_allocate_blocks = true;
  uint32_t max_blocks_per_host = 20;   // of a family; 0: any number
  uint32_t cooldown_seconds = 0;       // from when an address is given back until it is given out again
  uint32_t leak_grace_seconds = 900;   // from when its network namespace is gone until a handle is released
  bool auto_tunnel_addresses = false;  // the router gives its tunnels addresses unasked (IPAM-7)
  friend bool operator==(const Ipam&, const Ipam&) = default;
};

struct BlockAffinity {
  std::string name;
  std::string node;
  Prefix cidr;            // masked; a /32 or /128 is a borrowed address (ENC-5)
  bool confirmed = true;  // spec.state == confirmed && !spec.deleted
  friend bool operator==(const BlockAffinity&, const BlockAffinity&) = default;
};

// ---- projectcalico.org/v3 WorkloadEndpoint -----------------------------------------------------------
// How one pod is attached to its node. Only those of our own nodes (localNodeNames) become ports.
struct WorkloadEndpoint {
  ObjectName name;
  Labels labels;
  std::string node;
  std::string pod;
  std::string interface;                // of the node's kernel: the end of the veth pair that is not the pod's
  std::string device;                   // annotation sluice.dev/device: a DPDK device instead of that interface
  std::optional<MacAddr> mac;           // the pod's; absent: it is asked for
  std::vector<IpAddr> addresses;        // the pod's, spec.ipNetworks
  std::vector<Prefix> allowed_sources;  // spec.allowSpoofedSourcePrefixes: further sources (SPOOF-1)

  // What its port is called: the kernel's interface, where there is one.
  [[nodiscard]] std::string port_name() const { return interface.empty() ? name.text() : interface; }
  friend bool operator==(const WorkloadEndpoint&, const WorkloadEndpoint&) = default;
};

// ---- sluice.dev/v1 GatewayConfiguration --------------------------------------------------------------
enum class InterfaceRole : uint8_t { Uplink, Workload };
enum class ReversePathFilter : uint8_t { Off, Loose, Strict };

struct Interface {
  std::string name;
  std::string device;  // DPDK device: PCI address, or a vdev with its arguments "net_af_packet0,iface=eth1"
  uint16_t vlan = 0;   // 802.1Q tag, 0: untagged. Interfaces with one device and different tags share the port
  InterfaceRole role = InterfaceRole::Uplink;
  std::vector<Prefix> addresses;       // host bits kept: 192.168.0.2/24
  std::optional<MacAddr> mac;          // default: the device's own
  uint16_t mtu = 1500;                 // bytes, L3
  std::optional<Ipv4Addr> gateway_v4;  // sugar for a default route
  std::optional<net::Ipv6Addr> gateway_v6;
  ReversePathFilter rpf = ReversePathFilter::Off;
  bool promiscuous = false;
  std::vector<Prefix> pod_addresses;  // workload role: the pod's /32 and /128
  std::optional<MacAddr> pod_mac;     // workload role: a static neighbour for the pod's addresses
  bool tcp_mss_clamp = false;         // MTU-4
  std::string host_interface;         // name of its twin in the host, a TAP device; empty: none
  friend bool operator==(const Interface&, const Interface&) = default;
};

enum class RouteType : uint8_t { Unicast, Blackhole, Unreachable, Prohibit };

struct RouteHop {
  std::optional<IpAddr> via;  // gateway; absent: on-link at `interface`
  std::string interface;      // may be empty when `via` is on a connected subnet
  std::string tunnel;         // name of a Tunnel instead of via/interface
  friend bool operator==(const RouteHop&, const RouteHop&) = default;
};

struct StaticRoute {
  Prefix destination;  // masked
  RouteType type = RouteType::Unicast;
  std::vector<RouteHop> hops;  // several: ECMP by flow hash
  friend bool operator==(const StaticRoute&, const StaticRoute&) = default;
};

struct StaticNeighbor {
  std::string interface;
  IpAddr address;
  MacAddr mac;
  friend bool operator==(const StaticNeighbor&, const StaticNeighbor&) = default;
};

enum class TunnelType : uint8_t { Vxlan, Ipip };

// A tunnel that no Kubernetes object describes, for a gateway outside Kubernetes.
struct Tunnel {
  std::string name;
  TunnelType type = TunnelType::Vxlan;
  IpAddr remote;
  std::optional<IpAddr> local;        // default: the uplink's first address of the family of `remote`
  std::optional<uint32_t> vni;        // default: overlay.vxlanVNI
  std::optional<MacAddr> remote_mac;  // VXLAN: the remote VTEP's inner MAC; required for VXLAN
  std::optional<uint16_t> mtu;        // default: overlay.mtu
  friend bool operator==(const Tunnel&, const Tunnel&) = default;
};

enum class ServiceLoopPrevention : uint8_t { Drop, Reject, Disabled };
enum class NoEndpoints : uint8_t { Reject, Drop };
enum class LocalScope : uint8_t { Node, Cluster };
enum class BackendRemoval : uint8_t { Keep, Reset };
enum class OuterDf : uint8_t { Inherit, Set, Clear };
enum class DscpMode : uint8_t { Copy, Fixed };
enum class EcnMode : uint8_t { Normal, Compatibility };
enum class IcmpErrorSource : uint8_t { Vip, Original };
enum class UnknownPods : uint8_t { Drop, Reject };
enum class DetectLocal : uint8_t { ClusterCidr, NodeCidr, BridgeInterface, InterfaceNamePrefix };
enum class NatExclusions : uint8_t { IpPoolsOnly, IpPoolsAndHostIps };

struct PortRange {
  uint16_t first = 0;
  uint16_t last = 0;
  [[nodiscard]] bool contains(uint16_t port) const { return port >= first && port <= last; }
  friend bool operator==(const PortRange&, const PortRange&) = default;
};

struct Cluster {
  std::vector<Prefix> cluster_cidrs;  // addresses of all pods
  std::vector<Prefix> service_cidrs;
  PortRange node_port_range{30000, 32767};
  UnknownPods unknown_pods = UnknownPods::Drop;         // ENC-4: addresses of pools that no pod has
  DetectLocal detect_local = DetectLocal::ClusterCidr;  // MASQ-1: whose packets a local pod's are
  std::string bridge_interface;                         // of BridgeInterface
  std::string interface_name_prefix;                    // of InterfaceNamePrefix
  friend bool operator==(const Cluster&, const Cluster&) = default;
};

struct Proxy {
  bool node_ports_on_primary = true;        // nodePortAddresses "primary"
  std::vector<Prefix> node_port_addresses;  // further: local addresses inside these
  bool masquerade_all = false;
  bool allow_external_cluster_ip = false;      // SVC-121
  std::vector<Prefix> allowed_external_cidrs;  // SVC-120; empty: every address that is not refused
  ServiceLoopPrevention service_loop_prevention = ServiceLoopPrevention::Drop;
  uint32_t maglev_table_size = 0;            // 0: smallest listed prime >= 100 x endpoints
  bool source_ranges_for_in_cluster = true;  // SVC-68
  NoEndpoints no_endpoints = NoEndpoints::Reject;
  bool vip_echo_reply = false;                                // SVC-71
  LocalScope external_policy_local_scope = LocalScope::Node;  // SVC-65
  BackendRemoval on_backend_removed = BackendRemoval::Keep;   // SVC-92
  uint16_t healthz_port = 0;                                  // SVC-82; 0: none
  std::vector<IpAddr> health_addresses;                       // of the machine's kernel; empty: all
  friend bool operator==(const Proxy&, const Proxy&) = default;
};

enum class Mapping : uint8_t { Symmetric, EndpointIndependent };
enum class Filtering : uint8_t { EndpointIndependent, AddressDependent, AddressAndPortDependent };

struct Snat {
  PortRange port_range{32768, 65535};
  // Of what natOutgoing translates (MASQ-8). Absent: the address of the interface or tunnel it leaves by; port_range.
  std::optional<net::Ipv4Addr> nat_outgoing_v4;
  std::optional<net::Ipv6Addr> nat_outgoing_v6;
  std::optional<PortRange> nat_port_range;
  NatExclusions nat_outgoing_exclusions = NatExclusions::IpPoolsOnly;
  Mapping mapping = Mapping::Symmetric;                      // MASQ-13: of what natOutgoing translates
  Filtering filtering = Filtering::AddressAndPortDependent;  // of what comes to a mapping's port
  friend bool operator==(const Snat&, const Snat&) = default;
};

struct Overlay {
  uint32_t vxlan_vni = 4096;
  uint16_t vxlan_port = 4789;
  PortRange vxlan_source_ports{49152, 65535};
  bool strict_vxlan_flags = false;
  std::optional<uint16_t> mtu;  // absent: "auto" (MTU-1)
  OuterDf outer_df = OuterDf::Inherit;
  DscpMode dscp = DscpMode::Copy;
  uint8_t dscp_value = 0;  // when Fixed
  EcnMode ecn = EcnMode::Normal;
  std::vector<Prefix> external_nodes;  // externalNodesCIDRs: further allowed tunnel sources (IPIP-3)
  std::optional<MacAddr> vtep_mac;     // default: VXL-4's rule from nodeName
  bool tcp_mss_clamp = false;          // MTU-4, of connections through tunnels
  bool zero_checksum_v6 = false;       // VXL-9
  bool reassemble_outer = true;        // FRAG-6
  friend bool operator==(const Overlay&, const Overlay&) = default;
};

// Section 5.1 of the behaviour specification; kube-proxy's values for established and close-wait.
struct ConntrackTimeouts {
  Seconds tcp_syn_sent{120};
  Seconds tcp_syn_recv{60};
  Seconds tcp_established{86400};
  Seconds tcp_fin_wait{120};
  Seconds tcp_close_wait{3600};
  Seconds tcp_last_ack{30};
  Seconds tcp_time_wait{120};
  Seconds tcp_close{10};
  Seconds tcp_unacknowledged{300};
  Seconds udp{30};
  Seconds udp_stream{120};
  Seconds icmp{30};
  Seconds generic{600};
  Seconds tcp_syn_sent2{120};  // SYNs from both sides; tcpSynSent where only that is given
  Seconds tcp_unreplied{300};  // a connection that was picked up in the middle, until the other side is seen (CT-7)
  Seconds gre{30};
  Seconds gre_stream{180};
  Milliseconds sctp_cookie_wait{3'000};
  Milliseconds sctp_cookie_echoed{3'000};
  Milliseconds sctp_established{432'000'000};
  Milliseconds sctp_shutdown_sent{300};
  Milliseconds sctp_shutdown_recd{300};
  Milliseconds sctp_shutdown_ack_sent{3'000};
  Milliseconds sctp_closed{10'000};
  Milliseconds sctp_unreplied{30'000};  // an association that was picked up in the middle, until the other end is seen

  // The profile `rfc` of CT-1: RFC 4787 REQ-5, RFC 5508 REQ-2, RFC 5382 REQ-5 and RFC 7857 section 2.2.
  [[nodiscard]] static ConntrackTimeouts rfc();
  friend bool operator==(const ConntrackTimeouts&, const ConntrackTimeouts&) = default;
};

struct Conntrack {
  uint32_t max = 1048576;  // connections per address family, over all workers; fixed at start
  bool tcp_be_liberal = false;
  bool tcp_loose = true;
  ConntrackTimeouts timeouts;
  friend bool operator==(const Conntrack&, const Conntrack&) = default;
};

// FRAG-2: what is held until the first fragment of its datagram comes.
struct Fragments {
  Seconds timeout{5};
  uint32_t max_per_datagram = 45;
  uint32_t max_memory_mib = 64;  // of packet buffers, over all workers
  friend bool operator==(const Fragments&, const Fragments&) = default;
};

struct Icmp {
  uint32_t error_rate_per_second = 1000;
  IcmpErrorSource error_source = IcmpErrorSource::Vip;
  friend bool operator==(const Icmp&, const Icmp&) = default;
};

// Of ContentPolicies.
struct Content {
  std::optional<IpAddr> collector;  // where copies of the packets of mirrored connections go
  friend bool operator==(const Content&, const Content&) = default;
};

// What goes to the host, in packets per second; dataplane/punt_class.h has the classes.
struct HostRateLimits {
  uint32_t neighbor = 1000;
  uint32_t icmp = 1000;
  uint32_t routing = 5000;
  uint32_t management = 10000;
  uint32_t multicast = 1000;
  uint32_t other = 20000;
  friend bool operator==(const HostRateLimits&, const HostRateLimits&) = default;
};

// Which routes of the host's kernel, by the twins, become the router's.
struct HostRoutes {
  std::vector<uint32_t> tables{254};
  std::vector<uint8_t> protocols;  // rtm_protocol; empty: every one
  friend bool operator==(const HostRoutes&, const HostRoutes&) = default;
};

struct Host {
  HostRateLimits rate_limits;
  std::optional<HostRoutes> routes;  // absent: none
  friend bool operator==(const Host&, const Host&) = default;
};

struct Gateway {
  std::string name = "default";
  std::string node_name;
  std::vector<std::string> local_node_names;  // default: {node_name}
  std::vector<Interface> interfaces;          // in document order
  std::vector<StaticRoute> routes;
  std::vector<StaticNeighbor> neighbors;
  std::vector<Tunnel> tunnels;
  Cluster cluster;
  Proxy proxy;
  Snat snat;
  Overlay overlay;
  Conntrack conntrack;
  Fragments fragments;
  Icmp icmp;
  Host host;
  Bgp bgp;
  IngressSettings ingress;
  Content content;

  // Whether a node counts as this one (localNodeNames).
  [[nodiscard]] bool is_local(const std::string& node) const;
  friend bool operator==(const Gateway&, const Gateway&) = default;
};

// ---- the document ------------------------------------------------------------------------------------
struct Config {
  Gateway gateway;
  std::map<std::string, Node> nodes;
  std::map<ObjectName, Service> services;
  std::map<ObjectName, EndpointSlice> slices;
  std::map<ObjectName, Pod> pods;  // that have host ports
  std::map<std::string, IpPool> pools;
  Ipam ipam;
  std::map<std::string, BlockAffinity> blocks;
  std::map<ObjectName, WorkloadEndpoint> workloads;
  std::map<std::string, Namespace> namespaces;
  std::map<ObjectName, AddressPool> address_pools;
  std::map<ObjectName, L2Advertisement> l2_advertisements;
  std::map<ObjectName, BgpAdvertisement> bgp_advertisements;
  std::map<ObjectName, MetallbPeer> metallb_peers;
  std::map<ObjectName, CommunityList> community_lists;
  std::map<ObjectName, BfdProfile> bfd_profiles;
  std::map<std::string, BgpConfiguration> bgp_configurations;
  std::map<std::string, BgpPeer> bgp_peers;
  std::map<std::string, BgpFilter> bgp_filters;
  std::map<ObjectName, Secret> secrets;
  std::map<ObjectName, ContentPolicy> content_policies;
  std::map<ObjectName, Ingress> ingresses;
  std::map<std::string, IngressClass> ingress_classes;
  friend bool operator==(const Config&, const Config&) = default;
};

}  // namespace sluice::config
