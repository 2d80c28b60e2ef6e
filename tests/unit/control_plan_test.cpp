// make_plan: precedence of routes, modes of encapsulation, tunnels and the ways to them, known tunnel sources.
#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/plan.h"
#include "encap/vxlan.h"

namespace sluice::control {
namespace {

using config::TunnelMode;
using dataplane::HopKind;
using net::IpAddr;
using net::Prefix;

IpAddr ip(const char* text) { return *net::parse_ip(text); }
Prefix prefix(const char* text) { return *net::parse_prefix(text); }
net::MacAddr mac(uint8_t last) { return {{2, 0, 0, 0, 0, last}}; }

// A gateway with 192.0.2.1/24 at "up" (with a default gateway) and 192.168.0.1/24 at "un".
config::Config base() {
  config::Config config;
  config.gateway.node_name = "gw";
  config.gateway.local_node_names = {"gw"};
  config::Interface up;
  up.name = "up";
  up.device = "net_null0";
  up.addresses = {prefix("192.0.2.1/24"), prefix("2001:db8::1/64")};
  up.gateway_v4 = ip("192.0.2.254").v4();
  config::Interface un;
  un.name = "un";
  un.device = "net_null1";
  un.addresses = {prefix("192.168.0.1/24")};
  config.gateway.interfaces = {up, un};
  config.gateway.cluster.service_cidrs = {prefix("10.96.0.0/16")};
  return config;
}

void add_node(config::Config& config, const std::string& name, const char* address) {
  config::Node node;
  node.name = name;
  node.internal_ips = {ip(address)};
  config.nodes[name] = node;
}

void add_pool(config::Config& config, const char* cidr, TunnelMode vxlan, TunnelMode ipip) {
  config::IpPool pool;
  pool.name = cidr;
  pool.cidr = prefix(cidr);
  pool.vxlan_mode = vxlan;
  pool.ipip_mode = ipip;
  config.pools[pool.name] = pool;
}

void add_block(config::Config& config, const std::string& node, const char* cidr, bool confirmed = true) {
  config.blocks[node + cidr] = {.name = node + cidr, .node = node, .cidr = prefix(cidr), .confirmed = confirmed};
}

void add_service(config::Config& config, const char* address) {
  config::Service service;
  service.name = {"default", address};
  service.cluster_ips = {ip(address)};
  config.services[service.name] = service;
}

// The longest match: "Tunnel vxlan@node1 un 192.168.0.11", "Drop", "Gateway un 192.168.0.12" …
std::string way(const Plan& plan, const char* destination) {
  const auto* found = find_route(plan.routes, ip(destination));
  if (found == nullptr) return "none";
  std::string out;
  for (const PlannedHop& hop : found->second.hops) {
    if (!out.empty()) out += " | ";
    switch (hop.kind) {
      case HopKind::Drop:
        out += "Drop";
        break;
      case HopKind::Reject:
        out += "Reject";
        break;
      case HopKind::Local:
        out += "Local";
        break;
      case HopKind::Service:
        out += "Service";
        break;
      case HopKind::Connected:
        out += "Connected " + hop.interface;
        break;
      case HopKind::Gateway:
        out += "Gateway";
        break;
      case HopKind::Tunnel:
        out += "Tunnel " + hop.tunnel;
        break;
      default:
        out += "?";
        break;
    }
    if (hop.neighbor) out += " " + hop.neighbor->interface + " " + net::to_string(hop.neighbor->address);
  }
  return out;
}

TEST(Plan, HOST3_AddressesThatPeopleAddToTwins) {
  config::Config config = base();
  config.gateway.interfaces[0].host_interface = "up0";
  const HostAddresses added{{"up",
                             {prefix("198.51.100.1/24"), prefix("192.0.2.5/24"), prefix("192.168.0.1/24"),
                              prefix("192.168.0.9/24"), prefix("2001:db8::1/64")}},
                            {"un", {prefix("203.0.113.1/24")}},
                            {"gone", {prefix("203.0.113.2/24")}}};
  const Plan plan = make_plan(config, {}, added);
  EXPECT_EQ(way(plan, "198.51.100.1"), "Local");
  EXPECT_EQ(way(plan, "198.51.100.77"), "Connected up");
  EXPECT_EQ(way(plan, "192.0.2.5"), "Local");
  EXPECT_EQ(way(plan, "203.0.113.1"), "Gateway up 192.0.2.254") << "un has no twin";
  EXPECT_EQ(plan.interfaces[0].addresses.size(), 4u)
      << "neither another interface's address or subnet nor its own again";
  EXPECT_EQ(plan.interfaces[0].addresses.front(), prefix("192.0.2.1/24")) << "the configuration's come first";
  EXPECT_EQ(plan.interfaces[1].addresses.size(), 1u);
}

TEST(Plan, InterfacesGiveLocalConnectedBroadcastAndDefaultRoutes) {
  const Plan plan = make_plan(base());
  EXPECT_EQ(way(plan, "192.0.2.1"), "Local");
  EXPECT_EQ(way(plan, "2001:db8::1"), "Local");
  EXPECT_EQ(way(plan, "192.0.2.77"), "Connected up");
  EXPECT_EQ(way(plan, "192.0.2.0"), "Drop");
  EXPECT_EQ(way(plan, "192.0.2.255"), "Drop");
  EXPECT_EQ(way(plan, "2001:db8::77"), "Connected up");
  EXPECT_EQ(way(plan, "8.8.8.8"), "Gateway up 192.0.2.254");
  EXPECT_EQ(way(plan, "192.0.2.254"), "Gateway up 192.0.2.254") << "one entry for the gateway, routed to or through";
  EXPECT_EQ(way(plan, "169.254.1.1"), "Drop") << "SPOOF-3";
  EXPECT_EQ(way(plan, "2001:db8:9::1"), "none");
  EXPECT_EQ(plan.router_v4, ip("192.0.2.1").v4());
}

TEST(Plan, PointToPointSubnetsHaveNoBroadcast) {
  config::Config config = base();
  config.gateway.interfaces[1].addresses = {prefix("192.168.0.0/31")};
  const Plan plan = make_plan(config);
  EXPECT_EQ(way(plan, "192.168.0.0"), "Local");
  EXPECT_EQ(way(plan, "192.168.0.1"), "Connected un") << "RFC 3021";
}

// The order of plan.h: for one and the same prefix the first source wins.
TEST(Plan, PrecedenceOfSourcesForOnePrefix) {
  config::Config config = base();
  const auto hosts = {"10.96.0.1", "10.96.0.2", "10.96.0.3"};
  for (const char* host : hosts) add_service(config, host);
  EXPECT_EQ(way(make_plan(config), "10.96.0.1"), "Service");
  config.gateway.interfaces[1].pod_addresses = {Prefix::host(ip("10.96.0.3")), Prefix::host(ip("10.96.0.2")),
                                                Prefix::host(ip("10.96.0.1")), Prefix::host(ip("192.0.2.1"))};
  EXPECT_EQ(way(make_plan(config), "10.96.0.1"), "Gateway un 10.96.0.1") << "a pod before a service";
  config.gateway.neighbors = {{"up", ip("10.96.0.2"), mac(2)}, {"up", ip("10.96.0.1"), mac(1)}};
  EXPECT_EQ(way(make_plan(config), "10.96.0.2"), "Gateway up 10.96.0.2") << "a static neighbour before a pod";
  config::StaticRoute route;
  route.destination = Prefix::host(ip("10.96.0.1"));
  route.type = config::RouteType::Blackhole;
  config.gateway.routes = {route};
  const Plan plan = make_plan(config);
  EXPECT_EQ(way(plan, "10.96.0.1"), "Drop") << "a static route before a neighbour";
  EXPECT_EQ(way(plan, "10.96.0.3"), "Gateway un 10.96.0.3");
  EXPECT_EQ(way(plan, "192.0.2.1"), "Local") << "an own address before everything";
}

TEST(Plan, StaticDefaultRouteWinsOverAGateway) {
  config::Config config = base();
  config::StaticRoute route;
  route.destination = prefix("0.0.0.0/0");
  route.hops = {{ip("192.168.0.9"), "", ""}, {ip("192.168.0.8"), "", ""}};
  config.gateway.routes = {route};
  EXPECT_EQ(way(make_plan(config), "8.8.8.8"), "Gateway un 192.168.0.9 | Gateway un 192.168.0.8");
}

TEST(Plan, SVC3_SVC70_ServiceCidrDoesNotFollowTheDefaultRoute) {
  config::Config config = base();
  EXPECT_EQ(way(make_plan(config), "10.96.7.7"), "Drop");
  config.gateway.proxy.service_loop_prevention = config::ServiceLoopPrevention::Reject;
  EXPECT_EQ(way(make_plan(config), "10.96.7.7"), "Reject");
  config.gateway.proxy.service_loop_prevention = config::ServiceLoopPrevention::Disabled;
  EXPECT_EQ(way(make_plan(config), "10.96.7.7"), "Gateway up 192.0.2.254");
}

// Networks of services may be wide, and the underlay may be one of them.
TEST(Plan, SVC70_ATunnelKeepsItsWayThroughANetworkOfServices) {
  config::Config config = base();
  add_node(config, "far", "203.0.113.9");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_block(config, "far", "10.244.1.0/26");
  const std::string before = way(make_plan(config), "10.244.1.5");
  ASSERT_THAT(before, testing::HasSubstr("Tunnel vxlan@far"));
  config.bgp_configurations["default"].service_external_ips = {prefix("203.0.113.0/24")};
  const Plan plan = make_plan(config);
  EXPECT_EQ(way(plan, "203.0.113.50"), "Drop");
  EXPECT_EQ(way(plan, "10.244.1.5"), before);
}

TEST(Plan, SVC4_ServicesOfOthersHaveNoRoute) {
  config::Config config = base();
  add_service(config, "10.96.0.1");
  config.gateway.cluster.service_cidrs.push_back(prefix("fd00:10:96::/112"));
  add_service(config, "fd00:10:96::1");
  EXPECT_EQ(way(make_plan(config), "10.96.0.1"), "Service");
  EXPECT_EQ(way(make_plan(config), "fd00:10:96::1"), "Service");
  for (auto& [name, service] : config.services) service.proxied = false;
  EXPECT_EQ(way(make_plan(config), "10.96.0.1"), "Drop");
  EXPECT_EQ(way(make_plan(config), "fd00:10:96::1"), "Drop");
}

struct ModeCase {
  TunnelMode vxlan, ipip;
  const char* near;  // in the subnet of "un"
  const char* far;   // behind a static route
};

TEST(Plan, ENC1_ENC2_Modes) {
  using enum TunnelMode;
  const char* const direct_near = "Gateway un 192.168.0.11";
  const char* const direct_far = "Gateway un 192.168.0.99";
  const char* const vxlan_near = "Tunnel vxlan@near un 192.168.0.11";
  const char* const vxlan_far = "Tunnel vxlan@far un 192.168.0.99";
  const char* const ipip_near = "Tunnel ipip@near un 192.168.0.11";
  const char* const ipip_far = "Tunnel ipip@far un 192.168.0.99";
  for (const ModeCase& mode :
       {ModeCase{Never, Never, direct_near, direct_far}, ModeCase{Always, Never, vxlan_near, vxlan_far},
        ModeCase{CrossSubnet, Never, direct_near, vxlan_far}, ModeCase{Never, Always, ipip_near, ipip_far},
        ModeCase{Never, CrossSubnet, direct_near, ipip_far}}) {
    config::Config config = base();
    config::StaticRoute route;
    route.destination = prefix("172.30.0.0/16");
    route.hops = {{ip("192.168.0.99"), "", ""}};
    config.gateway.routes = {route};
    add_node(config, "gw", "192.168.0.1");
    add_node(config, "near", "192.168.0.11");
    add_node(config, "far", "172.30.0.5");
    add_pool(config, "10.244.0.0/16", mode.vxlan, mode.ipip);
    add_block(config, "near", "10.244.1.0/26");
    add_block(config, "far", "10.244.2.0/26");
    const Plan plan = make_plan(config);
    EXPECT_EQ(way(plan, "10.244.1.5"), mode.near);
    EXPECT_EQ(way(plan, "10.244.2.5"), mode.far);
  }
}

TEST(Plan, ENC4_IPAM4_IPAM5_BlackHoles) {
  config::Config config = base();
  add_node(config, "gw", "192.168.0.1");
  add_node(config, "node1", "192.168.0.11");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_block(config, "gw", "10.244.0.0/26");
  add_block(config, "gw", "10.244.9.9/32");
  add_block(config, "node1", "10.244.1.0/26");
  add_block(config, "node1", "10.244.2.0/26", false);
  const Plan plan = make_plan(config);
  EXPECT_EQ(way(plan, "10.244.0.5"), "Drop");
  EXPECT_EQ(plan.routes.at(prefix("10.244.0.0/26")).origin, "block");
  EXPECT_FALSE(plan.routes.contains(prefix("10.244.9.9/32"))) << "IPAM-5: not for single addresses";
  EXPECT_EQ(way(plan, "10.244.1.5"), "Tunnel vxlan@node1 un 192.168.0.11");
  EXPECT_EQ(way(plan, "10.244.2.5"), "Drop") << "IPAM-4: not confirmed";
  EXPECT_EQ(way(plan, "10.244.77.5"), "Drop") << "ENC-4";
  config.gateway.interfaces[1].pod_addresses = {Prefix::host(ip("10.244.0.5"))};
  EXPECT_EQ(way(make_plan(config), "10.244.0.5"), "Gateway un 10.244.0.5") << "a local pod";
}

TEST(Plan, ENC5_BorrowedAddressWinsOverItsBlock) {
  config::Config config = base();
  add_node(config, "a", "192.168.0.11");
  add_node(config, "b", "192.168.0.12");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_block(config, "a", "10.244.1.0/26");
  add_block(config, "b", "10.244.1.7/32");
  const Plan plan = make_plan(config);
  EXPECT_EQ(way(plan, "10.244.1.6"), "Tunnel vxlan@a un 192.168.0.11");
  EXPECT_EQ(way(plan, "10.244.1.7"), "Tunnel vxlan@b un 192.168.0.12");
}

TEST(Plan, SVC63_WhatOthersBorrowedAndOwnPodsAreCutOutOfBlocks) {
  config::Config config = base();
  config.gateway.local_node_names = {"gw", "c"};
  add_node(config, "gw", "192.168.0.1");
  add_node(config, "a", "192.168.0.11");
  add_node(config, "b", "192.168.0.12");
  add_node(config, "c", "192.168.0.13");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_block(config, "a", "10.244.1.0/30");
  add_block(config, "b", "10.244.1.3/32");
  add_block(config, "c", "10.244.1.1/32");
  add_block(config, "gw", "10.244.2.0/30");
  add_block(config, "b", "10.244.2.1/32");
  add_block(config, "a", "fd00:1::/126");
  config.gateway.interfaces[1].pod_addresses = {prefix("fd00:1::2/128")};
  EXPECT_THAT(make_plan(config).pods_elsewhere,
              testing::ElementsAre(prefix("10.244.1.0/32"), prefix("10.244.1.2/31"), prefix("10.244.2.1/32"),
                                   prefix("fd00:1::/127"), prefix("fd00:1::3/128")));
}

TEST(Plan, VXL1_TunnelsHaveVnisOfTheirOwn) {
  config::Config config = base();
  const auto tunnel = [](const char* name, const char* remote, std::optional<uint32_t> vni) {
    config::Tunnel made;
    made.name = name;
    made.type = config::TunnelType::Vxlan;
    made.remote = ip(remote);
    made.vni = vni;
    return made;
  };
  config.gateway.tunnels = {tunnel("a", "192.168.0.11", 77), tunnel("b", "192.168.0.12", std::nullopt),
                            tunnel("c", "192.168.0.13", 5), tunnel("d", "192.168.0.14", 77)};
  const Plan plan = make_plan(config);
  EXPECT_THAT(plan.terminator.tunnel_vnis, testing::ElementsAre(5, 77));
  EXPECT_TRUE(plan.terminator.knows_vni(77));
  EXPECT_TRUE(plan.terminator.knows_vni(config.gateway.overlay.vxlan_vni));
  EXPECT_FALSE(plan.terminator.knows_vni(6));
}

TEST(Plan, IPAM5_BlocksThatTheRouterCutsItself) {
  config::Config config = base();
  add_node(config, "gw", "192.168.0.1");
  add_node(config, "a", "192.168.0.11");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_block(config, "a", "10.244.2.0/26");
  Allocated allocated;
  for (const auto& [node, cidr] :
       {std::pair("gw", "10.244.0.0/26"), {"a", "10.244.1.0/26"}, {"gw", "10.244.2.0/26"}, {"b", "10.244.3.0/26"}}) {
    allocated.blocks.push_back({.name = cidr, .node = node, .cidr = prefix(cidr), .confirmed = true});
  }
  const Plan plan = make_plan(config, allocated);
  EXPECT_EQ(plan.routes.at(prefix("10.244.0.0/26")).origin, "block");
  EXPECT_EQ(way(plan, "10.244.0.5"), "Drop");
  EXPECT_EQ(way(plan, "10.244.1.5"), "Tunnel vxlan@a un 192.168.0.11");
  EXPECT_EQ(way(plan, "10.244.2.5"), "Tunnel vxlan@a un 192.168.0.11") << "the configuration has the last word";
  EXPECT_THAT(plan.warnings,
              testing::ElementsAre("block 10.244.2.0/26 of node gw has no route: the configuration gives it to node a",
                                   "block 10.244.3.0/26 has no route: there is no Node b"));
}

TEST(Plan, IPAM7_TunnelAddressesThatTheRouterGivesItself) {
  config::Config config = base();
  add_node(config, "gw", "192.168.0.1");
  add_node(config, "a", "192.168.0.11");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_block(config, "a", "10.244.2.0/26");
  Allocated allocated;
  allocated.tunnels.vxlan_v4 = ip("10.244.0.0").v4();
  const Plan plan = make_plan(config, allocated);
  EXPECT_EQ(plan.tunnels.at("vxlan@a").masquerade_v4, ip("10.244.0.0").v4());
  EXPECT_EQ(way(plan, "10.244.0.0"), "Local");
  config.nodes["gw"].vxlan_tunnel_ipv4 = ip("10.244.9.9").v4();
  EXPECT_EQ(make_plan(config, allocated).tunnels.at("vxlan@a").masquerade_v4, ip("10.244.9.9").v4())
      << "the Node's annotation has the last word";
}

TEST(Plan, PodCidrsStandInForBlocks) {
  config::Config config = base();
  add_node(config, "a", "192.168.0.11");
  config.nodes["a"].pod_cidrs = {prefix("10.244.1.0/24")};
  EXPECT_EQ(way(make_plan(config), "10.244.1.6"), "Gateway un 192.168.0.11");
  add_pool(config, "10.244.0.0/16", TunnelMode::Never, TunnelMode::Never);
  add_block(config, "a", "10.244.9.0/26");
  EXPECT_EQ(way(make_plan(config), "10.244.1.6"), "Drop") << "BlockAffinities replace podCIDRs";
}

TEST(Plan, TunnelsTakeTheirWayAndOwnEndFromTheRouteToTheRemote) {
  config::Config config = base();
  add_node(config, "gw", "192.168.0.1");
  config.nodes["gw"].vxlan_tunnel_ipv4 = ip("10.244.0.0").v4();
  add_node(config, "far", "203.0.113.5");
  config.gateway.interfaces[0].mtu = 1400;
  add_pool(config, "10.244.0.0/16", TunnelMode::CrossSubnet, TunnelMode::Never);
  add_block(config, "far", "10.244.2.0/26");
  const Plan plan = make_plan(config);
  EXPECT_EQ(way(plan, "10.244.2.5"), "Tunnel vxlan@far up 192.0.2.254") << "by the default gateway";
  const PlannedTunnel& tunnel = plan.tunnels.at("vxlan@far");
  EXPECT_EQ(tunnel.spec.remote, ip("203.0.113.5"));
  EXPECT_EQ(tunnel.spec.local, ip("192.168.0.1")) << "the node's address, though another interface is used";
  EXPECT_EQ(tunnel.masquerade_v4, ip("10.244.0.0").v4()) << "MASQ-5";
  EXPECT_EQ(way(plan, "10.244.0.0"), "Local");
}

TEST(Plan, MTU1_AutomaticTunnelMtuIsThatOfTheSmallestUplink) {
  config::Config config = base();
  add_node(config, "far", "203.0.113.5");
  add_node(config, "near", "192.168.0.11");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_pool(config, "10.245.0.0/16", TunnelMode::Never, TunnelMode::Always);
  add_block(config, "far", "10.244.2.0/26");
  add_block(config, "near", "10.245.2.0/26");
  config.gateway.interfaces[0].mtu = 1400;
  const Plan plan = make_plan(config);
  EXPECT_EQ(plan.tunnels.at("vxlan@far").spec.mtu, 1350);
  EXPECT_EQ(plan.tunnels.at("ipip@near").spec.mtu, 1380) << "although its packets leave by the other uplink";
  config.gateway.overlay.mtu = 1300;
  EXPECT_EQ(make_plan(config).tunnels.at("vxlan@far").spec.mtu, 1300);
}

// The underlay of a tunnel has the family of what is inside where both nodes have it, as with Calico.
TEST(Plan, VXL9_VXL4_MTU1_IPv6PoolsGoOverIPv6) {
  config::Config config = base();
  config.gateway.interfaces[1].addresses.push_back(prefix("2001:db8:a::1/64"));
  add_node(config, "gw", "192.168.0.1");
  config.nodes["gw"].internal_ips.push_back(ip("2001:db8:a::1"));
  config.nodes["gw"].vxlan_tunnel_ipv6 = ip("fd00:244::").v6();
  add_node(config, "node1", "192.168.0.11");
  config.nodes["node1"].internal_ips.push_back(ip("2001:db8:a::11"));
  add_node(config, "old", "192.168.0.12");
  add_node(config, "new", "2001:db8:a::13");
  add_pool(config, "fd00:244::/48", TunnelMode::Always, TunnelMode::Never);
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  for (const char* node : {"node1", "old", "new"}) {
    const std::string number = node == std::string("node1") ? "1" : node == std::string("old") ? "2" : "3";
    add_block(config, node, ("fd00:244:0:" + number + "::/122").c_str());
    add_block(config, node, ("10.244." + number + ".0/26").c_str());
  }
  const Plan plan = make_plan(config);
  EXPECT_EQ(way(plan, "fd00:244:0:1::5"), "Tunnel vxlan6@node1 un 2001:db8:a::11");
  EXPECT_EQ(way(plan, "10.244.1.5"), "Tunnel vxlan@node1 un 192.168.0.11");
  EXPECT_EQ(way(plan, "fd00:244:0:2::5"), "Tunnel vxlan@old un 192.168.0.12") << "it has no other address";
  EXPECT_EQ(way(plan, "10.244.3.5"), "Tunnel vxlan6@new un 2001:db8:a::13") << "it has no other address";
  const PlannedTunnel& tunnel = plan.tunnels.at("vxlan6@node1");
  EXPECT_EQ(tunnel.spec.local, ip("2001:db8:a::1"));
  EXPECT_EQ(tunnel.spec.mtu, 1430);
  EXPECT_EQ(tunnel.spec.inner_destination, encap::vtep_mac("node1-v6"));
  EXPECT_EQ(tunnel.spec.inner_source, encap::vtep_mac("gw-v6"));
  EXPECT_EQ(tunnel.masquerade_v6, ip("fd00:244::").v6()) << "MASQ-5";
  EXPECT_EQ(way(plan, "fd00:244::"), "Local");
  EXPECT_EQ(plan.terminator.vtep_mac_v6, encap::vtep_mac("gw-v6"));
  EXPECT_EQ(plan.tunnel_endpoints_v6, std::vector{ip("2001:db8:a::1").v6()});
  EXPECT_NE(plan.terminator.sources.find(ip("2001:db8:a::13").v6()), net::no_tunnel_source) << "VXL-6";
  EXPECT_EQ(plan.terminator.sources.find(ip("2001:db8:a::1").v6()), net::no_tunnel_source);
  EXPECT_TRUE(plan.warnings.empty());
}

TEST(Plan, TunnelWithoutAWayIsAWarningAndItsRoutesReject) {
  config::Config config = base();
  config.gateway.interfaces[0].gateway_v4.reset();
  add_node(config, "far", "203.0.113.5");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_block(config, "far", "10.244.2.0/26");
  add_block(config, "nobody", "10.244.3.0/26");
  const Plan plan = make_plan(config);
  EXPECT_EQ(way(plan, "10.244.2.5"), "Reject");
  EXPECT_TRUE(plan.tunnels.empty());
  EXPECT_EQ(plan.warnings.size(), 2u);
}

TEST(Plan, IPIP2_TheWayToATunnelsRemoteIsNeverTheTunnel) {
  struct Case {
    const char *remote, *destination, *address;
  };
  for (const Case& one : {Case{"203.0.113.5", "203.0.113.0/24", "203.0.113.7"},
                          Case{"2001:db8:77::5", "2001:db8:77::/64", "2001:db8:77::7"}}) {
    config::Config config = base();
    config.gateway.interfaces[0].gateway_v6 = ip("2001:db8::fe").v6();
    config.gateway.tunnels = {{.name = "t", .type = config::TunnelType::Ipip, .remote = ip(one.remote)}};
    config::StaticRoute route;
    route.destination = prefix(one.destination);
    route.hops = {{std::nullopt, "", "t"}};
    config.gateway.routes = {route};
    const Plan plan = make_plan(config);
    EXPECT_FALSE(plan.tunnels.contains("t"));
    EXPECT_EQ(plan.warnings.size(), 1u);
    EXPECT_EQ(way(plan, one.address), "Reject");
  }
}

TEST(Plan, VXL6_IPIP3_KnownSources) {
  config::Config config = base();
  add_node(config, "gw", "192.168.0.1");
  add_node(config, "node1", "192.168.0.11");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  config.gateway.tunnels = {{.name = "t", .type = config::TunnelType::Ipip, .remote = ip("192.168.0.77").v4()}};
  config.gateway.overlay.external_nodes = {prefix("172.31.0.0/16")};
  const Plan plan = make_plan(config);
  const auto known = [&](const char* address) {
    return plan.terminator.sources.find(ip(address).v4()) != net::no_tunnel_source;
  };
  EXPECT_TRUE(known("192.168.0.11")) << "a node without a block may send";
  EXPECT_TRUE(known("192.168.0.77"));
  EXPECT_TRUE(known("172.31.4.4"));
  EXPECT_FALSE(known("192.168.0.1")) << "not we ourselves";
  EXPECT_FALSE(known("192.168.0.12"));
  EXPECT_TRUE(plan.terminator.accept_vxlan);
  EXPECT_TRUE(plan.terminator.accept_ipip);
  const auto& ends = plan.tunnel_endpoints;
  EXPECT_NE(std::find(ends.begin(), ends.end(), ip("192.168.0.1").v4()), ends.end());
}

TEST(Plan, WithoutPoolsAndTunnelsNothingIsTerminated) {
  const Plan plan = make_plan(base());
  EXPECT_FALSE(plan.terminator.accept_vxlan);
  EXPECT_FALSE(plan.terminator.accept_ipip);
  EXPECT_TRUE(plan.tunnel_endpoints.empty());
}

TEST(Plan, NeighboursHaveOneMacWhicheverRouteNamesThem) {
  config::Config config = base();
  add_node(config, "node1", "192.168.0.11");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_block(config, "node1", "10.244.1.0/26");
  config.gateway.neighbors = {{"un", ip("192.168.0.11"), mac(0x11)}};
  const Plan plan = make_plan(config);
  EXPECT_TRUE(plan.neighbors.contains({"un", ip("192.168.0.11"), mac(0x11)}));
  EXPECT_FALSE(plan.neighbors.contains({"un", ip("192.168.0.11"), std::nullopt}));
  EXPECT_TRUE(plan.neighbors.contains({"up", ip("192.0.2.254"), std::nullopt}));
}

// A service that is answered directly, with endpoints "address" or "address node".
void add_direct(config::Config& config, const std::vector<std::pair<const char*, std::string>>& endpoints,
                uint16_t port = 80) {
  config::Service service;
  service.name = {"default", "web"};
  service.ports = {{.port = 80}};
  service.load_balancer_ips = {ip("203.0.113.80")};
  service.forwarding = config::Forwarding::Dsr;
  config.services[service.name] = service;
  config::EndpointSlice slice;
  slice.name = {"default", "web-1"};
  slice.service = "web";
  slice.ports = {{.port = port}};
  for (const auto& [address, node] : endpoints) {
    config::Endpoint endpoint;
    endpoint.address = ip(address);
    endpoint.node_name = node;
    slice.endpoints.push_back(endpoint);
  }
  config.slices[slice.name] = slice;
}

TEST(Plan, IPIP1_DirectReturnToTheNodeOfAnEndpoint) {
  config::Config config = base();
  add_node(config, "gw", "192.168.0.1");
  add_node(config, "node1", "192.168.0.11");
  add_node(config, "far", "198.18.0.5");
  config.gateway.neighbors = {{"un", ip("192.168.0.11"), mac(0x11)}};
  add_direct(config, {{"10.244.1.5", "node1"}, {"10.244.1.6", "node1"}, {"10.244.2.5", "far"}, {"10.244.0.5", "gw"}});
  const Plan plan = make_plan(config);
  ASSERT_EQ(plan.direct_returns.size(), 3u) << "ours needs none";
  EXPECT_EQ(plan.direct_returns.at(ip("10.244.1.5")).tunnel, "ipip@node1");
  EXPECT_EQ(plan.direct_returns.at(ip("10.244.1.6")).tunnel, "ipip@node1");
  EXPECT_FALSE(plan.direct_returns.at(ip("10.244.1.5")).same_port_only);
  EXPECT_EQ(plan.direct_returns.at(ip("10.244.2.5")).tunnel, "ipip@far");
  EXPECT_EQ(plan.tunnels.size(), 2u);
  EXPECT_EQ(plan.tunnels.at("ipip@node1").spec.local, ip("192.168.0.1"));
  EXPECT_TRUE(plan.neighbors.contains({"un", ip("192.168.0.11"), mac(0x11)}));
  EXPECT_EQ(way(plan, "192.168.0.11"), "Gateway un 192.168.0.11") << "of the outer packet";
  EXPECT_TRUE(plan.terminator.accept_ipip);
  EXPECT_TRUE(plan.warnings.empty());

  // SVC-92: open connections go on while the service has no address, on both sides.
  config.services.begin()->second.external_ips.clear();
  config.services.begin()->second.load_balancer_ips.clear();
  const Plan nameless = make_plan(config);
  EXPECT_EQ(nameless.tunnels.size(), 2u);
  EXPECT_TRUE(nameless.terminator.accept_ipip);

  config.services.begin()->second.forwarding = config::Forwarding::Snat;
  const Plan without = make_plan(config);
  EXPECT_TRUE(without.direct_returns.empty());
  EXPECT_TRUE(without.tunnels.empty());
  EXPECT_FALSE(without.terminator.accept_ipip);
}

TEST(Plan, IPIP3_DirectReturnToAServerThatIsNoNode) {
  config::Config config = base();
  add_node(config, "gw", "192.168.0.1");
  add_direct(config, {{"192.168.0.40", ""}, {"203.0.113.41", "unknown"}});
  const Plan plan = make_plan(config);
  EXPECT_EQ(plan.direct_returns.at(ip("192.168.0.40")).tunnel, "dsr@192.168.0.40");
  EXPECT_TRUE(plan.direct_returns.at(ip("192.168.0.40")).same_port_only);
  EXPECT_EQ(plan.tunnels.at("dsr@203.0.113.41").spec.remote, ip("203.0.113.41"));
  EXPECT_EQ(plan.terminator.sources.find(ip("192.168.0.40").v4()), net::no_tunnel_source);
  EXPECT_TRUE(plan.warnings.empty());

  add_direct(config, {{"192.168.0.40", ""}}, 8080);
  EXPECT_EQ(make_plan(config).warnings,
            (std::vector<std::string>{"service default/web: port 8080 of endpoint 192.168.0.40 is not the service's "
                                      "80, so it is translated, not answered directly"}));
}

TEST(Plan, IPIP2_DirectReturnNeedsAWayToTheFarEnd) {
  config::Config config = base();
  config.gateway.interfaces[0].gateway_v4.reset();
  add_direct(config, {{"203.0.113.41", ""}});
  const Plan plan = make_plan(config);
  EXPECT_TRUE(plan.direct_returns.empty());
  EXPECT_TRUE(plan.tunnels.empty());
  EXPECT_EQ(plan.warnings.size(), 1u);
}

TEST(Plan, EqualConfigsGiveEqualPlans) {
  config::Config config = base();
  add_node(config, "node1", "192.168.0.11");
  add_pool(config, "10.244.0.0/16", TunnelMode::Always, TunnelMode::Never);
  add_block(config, "node1", "10.244.1.0/26");
  EXPECT_EQ(make_plan(config).routes, make_plan(config).routes);
  EXPECT_EQ(make_plan(config).tunnels, make_plan(config).tunnels);
}

}  // namespace
}  // namespace sluice::control
