// Config → Plan: interfaces, tunnels, neighbours and routes as values that name each other by name. Pure: no
// device, no table, no clock. What it says is put into the data plane by Deployment (deployment.h).
//
// Where endpoints of services with direct server return are (sluice.dev/forwarding: dsr) is planned as well, so those
// services' EndpointSlices are read here; no other is.
//
// Where several sources want the same prefix the first of this list wins: own addresses, static routes, static
// neighbours, pods of workload ports, default gateways, connected subnets, blocks of nodes, services, pools.
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/model.h"
#include "control/link_use.h"
#include "control/pod_networks.h"
#include "dataplane/interface.h"
#include "dataplane/next_hop.h"
#include "encap/decap.h"
#include "encap/tunnel.h"

namespace sluice::control {

struct PlannedNeighbor {
  std::string interface;
  net::IpAddr address;
  std::optional<net::MacAddr> mac;  // static

  friend bool operator==(const PlannedNeighbor&, const PlannedNeighbor&) = default;
  friend auto operator<=>(const PlannedNeighbor&, const PlannedNeighbor&) = default;
};

// One way to go. Ordered by all its fields, so that equal hops of many routes become one entry.
struct PlannedHop {
  dataplane::HopKind kind = dataplane::HopKind::Drop;
  dataplane::NextHopId fixed = 0;           // one of dataplane::hop:: for kinds that need nothing else
  std::string interface;                    // Connected
  std::optional<PlannedNeighbor> neighbor;  // Gateway, Tunnel (of the outer packet)
  std::string tunnel;                       // Tunnel: its name

  friend bool operator==(const PlannedHop&, const PlannedHop&) = default;
  friend auto operator<=>(const PlannedHop&, const PlannedHop&) = default;
};

struct PlannedRoute {
  std::vector<PlannedHop> hops;  // several: ECMP, at most dataplane::max_group_members
  std::string origin;            // for people: interface, static, node, pool, service …

  friend bool operator==(const PlannedRoute&, const PlannedRoute&) = default;
};

inline constexpr const char* service_origin = "service";
inline constexpr const char* neighbor_origin = "neighbor";
// Of every address of a service.
[[nodiscard]] PlannedRoute service_route();

struct PlannedInterface {
  std::string name;
  std::string device;
  std::string link;                 // the kernel's interface that a packet socket reads, or a memif; empty: DPDK's
  LinkUse use = LinkUse::Pod;       // of the link
  std::optional<net::MacAddr> mac;  // default: the port's
  bool promiscuous = false;
  bool clamps_mss = false;
  bool local_pods = false;     // what comes in is of a pod of this node (detect_local.h)
  std::string host_interface;  // its twin in the host; empty: none
  uint16_t vlan = 0;
  uint16_t mtu = 1500;
  dataplane::Role role = dataplane::Role::Uplink;
  dataplane::ReversePathFilter rpf = dataplane::ReversePathFilter::Off;
  std::vector<net::Prefix> addresses;
  std::vector<net::IpAddr> pod_addresses;
  std::vector<net::Prefix> allowed_sources;

  [[nodiscard]] bool in_kernel() const { return !link.empty(); }
  [[nodiscard]] bool of_pod() const { return device.empty(); }
  friend bool operator==(const PlannedInterface&, const PlannedInterface&) = default;
};

struct PlannedTunnel {
  encap::TunnelSpec spec;
  net::Ipv4Addr masquerade_v4;  // MASQ-5
  net::Ipv6Addr masquerade_v6;
  std::string label;         // "vxlan 192.168.0.12"
  bool to_endpoint = false;  // its far end is an endpoint of a service, not a node: nothing comes back through it

  friend bool operator==(const PlannedTunnel&, const PlannedTunnel&) = default;
};

// The tunnel to an endpoint that answers clients itself.
struct PlannedDirectReturn {
  std::string tunnel;
  bool same_port_only = false;  // it is the tunnel's far end itself, and nothing there translates ports
};

// The router's own addresses in tunnels (IPAM-7).
struct TunnelAddresses {
  std::optional<net::Ipv4Addr> vxlan_v4, ipip_v4;
  std::optional<net::Ipv6Addr> vxlan_v6;
  friend bool operator==(const TunnelAddresses&, const TunnelAddresses&) = default;
};

// What the router has given out itself (ipam.h), beside the configuration, which has the last word where they differ.
struct Allocated {
  std::vector<config::BlockAffinity> blocks;
  TunnelAddresses tunnels;
  friend bool operator==(const Allocated&, const Allocated&) = default;
};

// What a plan has of a node, a Node or one that blocks name, to find it when the node changes (plan_delta.h).
struct PlannedNode {
  bool own = false;                    // the router itself
  std::set<std::string> blocks;        // confirmed BlockAffinities
  std::vector<net::Prefix> networks;   // of its pods, whether or not a route leads there
  std::vector<std::string> tunnels;    // to it, those without a way as well
  std::vector<net::IpAddr> ends;       // its underlay addresses
  std::vector<std::string> warnings;   // in Plan::warnings
  std::vector<net::Prefix> pod_cidrs;  // that its Node has, used or not

  friend bool operator==(const PlannedNode&, const PlannedNode&) = default;
};

// What it was told of a BlockAffinity.
struct PlannedBlock {
  std::string node;
  net::Prefix cidr;
  bool confirmed = false;

  friend bool operator==(const PlannedBlock&, const PlannedBlock&) = default;
};

// What it has of a WorkloadEndpoint of this node.
struct PlannedPod {
  std::vector<net::IpAddr> addresses;
  bool in_kernel = false;  // its interface

  friend bool operator==(const PlannedPod&, const PlannedPod&) = default;
};

struct Plan {
  std::vector<PlannedInterface> interfaces;
  std::map<std::string, PlannedTunnel> tunnels;
  std::map<net::Prefix, PlannedRoute> routes;
  std::set<net::Prefix> contested;      // that more want a route for than one, or than services alone
  std::set<PlannedNeighbor> neighbors;  // every one that a hop names
  std::vector<net::Ipv4Addr> tunnel_endpoints;
  std::vector<net::Ipv6Addr> tunnel_endpoints_v6;
  std::map<net::IpAddr, PlannedDirectReturn> direct_returns;  // by endpoint
  std::set<config::ObjectName> direct_services;               // those whose endpoints are looked at for that
  std::vector<net::Prefix> pods_elsewhere;                    // networks of pods of nodes that do not count as this one
  encap::Terminator terminator;
  net::Ipv4Addr router_v4;  // source of what the router sends where the interface has no address
  net::Ipv6Addr router_v6;
  std::vector<std::string> warnings;  // routes that lead nowhere yet, and why

  // Where it has this from.
  std::map<std::string, PlannedNode> nodes;
  std::map<std::string, PlannedBlock> blocks;         // by the BlockAffinity's name
  std::map<config::ObjectName, PlannedPod> pods;      // in the order of their interfaces, the last ones
  PodNetworks pod_networks;                           // what pods_elsewhere is made of
  std::map<net::IpAddr, uint32_t> ends;               // underlay addresses and far ends of tunnels: how many have it
  std::map<PlannedNeighbor, uint32_t> neighbor_uses;  // how many hops name it, but for its own host route
};

// Addresses that people gave the twins of interfaces in the host, by the interface's name.
using HostAddresses = std::map<std::string, std::vector<net::Prefix>>;

// `host`: become addresses of the interfaces, behind those of the configuration, unless another one has them.
[[nodiscard]] Plan make_plan(const config::Config& config, const Allocated& allocated = {},
                             const HostAddresses& host = {});

// Longest match among the plan's routes; nullptr if none.
[[nodiscard]] const std::pair<const net::Prefix, PlannedRoute>* find_route(
    const std::map<net::Prefix, PlannedRoute>& routes, const net::IpAddr& address);

}  // namespace sluice::control
