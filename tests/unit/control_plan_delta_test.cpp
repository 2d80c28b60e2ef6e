// plan_delta: whatever nodes, blocks and pods come, change and go, the plan is what a plan made anew would be.
#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "config/ipam_blocks.h"
#include "control/plan_delta.h"

namespace sluice::control {
namespace {

using net::IpAddr;
using net::Prefix;

IpAddr ip(const std::string& text) { return *net::parse_ip(text); }
Prefix prefix(const std::string& text) { return *net::parse_prefix(text); }

enum class Overlay : uint8_t { None, Vxlan, VxlanCrossSubnet, IpipCrossSubnet, IpipLearned };

void add_pool(config::Config& config, const std::string& name, const std::string& cidr, Overlay overlay) {
  config::IpPool pool;
  pool.name = name;
  pool.cidr = prefix(cidr);
  if (overlay == Overlay::Vxlan) pool.vxlan_mode = config::TunnelMode::Always;
  if (overlay == Overlay::VxlanCrossSubnet) pool.vxlan_mode = config::TunnelMode::CrossSubnet;
  if (overlay == Overlay::IpipCrossSubnet || overlay == Overlay::IpipLearned)
    pool.ipip_mode = config::TunnelMode::CrossSubnet;
  config.pools[name] = pool;
}

// A node with a router behind which other subnets lie, and a neighbour whose MAC address is known.
config::Config base(Overlay overlay) {
  config::Config config;
  config.gateway.node_name = "gw";
  config.gateway.local_node_names = {"gw"};
  config::Interface up;
  up.name = "up";
  up.device = "net_null0";
  up.addresses = {prefix("192.0.2.1/24"), prefix("2001:db8::1/64")};
  up.gateway_v4 = ip("192.0.2.254").v4();
  config.gateway.interfaces = {up};
  config.gateway.neighbors = {{"up", ip("192.0.2.13"), *net::parse_mac("02:00:00:00:00:0d")}};
  config.gateway.cluster.service_cidrs = {prefix("10.96.0.0/16")};
  config.gateway.routes = {{prefix("10.244.99.0/26"), config::RouteType::Blackhole, {}},
                           {prefix("203.0.113.0/24"),
                            config::RouteType::Unicast,
                            {{ip("192.0.2.253"), "up", ""}, {ip("192.0.2.252"), "up", ""}}}};
  add_pool(config, "pods", "10.244.0.0/16", overlay);
  add_pool(config, "pods6", "fd00:10::/48", overlay >= Overlay::IpipCrossSubnet ? Overlay::None : overlay);
  if (overlay == Overlay::IpipLearned) config.gateway.host.routes.emplace();  // may lead to any node (BGP-8)
  config::Node own;
  own.name = "gw";
  own.internal_ips = {ip("192.0.2.1"), ip("2001:db8::1")};
  own.vxlan_tunnel_ipv4 = ip("10.244.0.0").v4();
  config.nodes["gw"] = own;
  config::Service service;
  service.name = {"ns", "svc"};
  service.cluster_ips = {ip("10.96.0.1")};
  service.external_ips = {ip("192.0.2.14")};  // which a node may have as well
  config.services[service.name] = service;
  return config;
}

std::string text_of(const Plan& plan) {
  std::string out;
  for (const auto& [to, route] : plan.routes) {
    out += net::to_string(to) + " " + route.origin;
    for (const PlannedHop& hop : route.hops) {
      out += " " + hop.tunnel + (hop.neighbor ? "@" + net::to_string(hop.neighbor->address) : "");
    }
    out += "\n";
  }
  for (const Prefix& one : plan.pods_elsewhere) out += "elsewhere " + net::to_string(one) + "\n";
  return out;
}

void expect_same(const Plan& plan, const Plan& wanted, const std::vector<IpAddr>& sources) {
  ASSERT_EQ(text_of(plan), text_of(wanted));
  ASSERT_EQ(plan.routes, wanted.routes);
  ASSERT_EQ(plan.contested, wanted.contested);
  ASSERT_EQ(plan.tunnels, wanted.tunnels);
  ASSERT_EQ(plan.neighbors, wanted.neighbors);
  ASSERT_EQ(plan.interfaces, wanted.interfaces);
  ASSERT_EQ(plan.pods_elsewhere, wanted.pods_elsewhere);
  ASSERT_EQ(plan.tunnel_endpoints, wanted.tunnel_endpoints);
  ASSERT_EQ(plan.tunnel_endpoints_v6, wanted.tunnel_endpoints_v6);
  ASSERT_EQ(plan.terminator.accept_vxlan, wanted.terminator.accept_vxlan);
  ASSERT_EQ(plan.terminator.accept_ipip, wanted.terminator.accept_ipip);
  ASSERT_EQ(plan.terminator.tunnel_vnis, wanted.terminator.tunnel_vnis);
  std::map<uint16_t, IpAddr> by_index;
  for (const IpAddr& source : sources) {
    const auto find = [&](const Plan& in) {
      return source.is_v4() ? in.terminator.sources.find(source.v4()) : in.terminator.sources.find(source.v6());
    };
    const uint16_t index = find(plan);
    ASSERT_EQ(index == net::no_tunnel_source, find(wanted) == net::no_tunnel_source) << net::to_string(source);
    if (index != net::no_tunnel_source) {
      ASSERT_TRUE(by_index.emplace(index, source).second) << net::to_string(source);
    }
  }
  ASSERT_EQ(std::multiset<std::string>(plan.warnings.begin(), plan.warnings.end()),
            std::multiset<std::string>(wanted.warnings.begin(), wanted.warnings.end()));
  ASSERT_EQ(plan.nodes, wanted.nodes);
  ASSERT_EQ(plan.blocks, wanted.blocks);
  ASSERT_EQ(plan.pods, wanted.pods);
  ASSERT_EQ(plan.pod_networks, wanted.pod_networks);
  ASSERT_EQ(plan.ends, wanted.ends);
  ASSERT_EQ(plan.neighbor_uses, wanted.neighbor_uses);
}

class Nodes : public testing::Test {
 protected:
  void begin(Overlay overlay) {
    config = base(overlay);
    allocated_before = allocated;
    plan = make_plan(config, allocated);
  }
  void set_node(const std::string& name, std::vector<IpAddr> addresses, std::vector<Prefix> pod_cidrs = {}) {
    config::Node node;
    node.name = name;
    node.internal_ips = std::move(addresses);
    node.pod_cidrs = std::move(pod_cidrs);
    config.nodes[name] = node;
    touch("Node", name);
  }
  void set_block(const std::string& name, const std::string& node, const std::string& cidr, bool confirmed = true) {
    ipam.set(config::BlockAffinity{.name = name, .node = node, .cidr = prefix(cidr), .confirmed = confirmed},
             config.blocks);
    touch("BlockAffinity", name);
  }
  void allocate(const std::string& cidr, const std::string& node = "gw") {
    std::erase_if(allocated.blocks, [&](const auto& block) { return block.name == cidr; });
    allocated.blocks.push_back({.name = cidr, .node = node, .cidr = prefix(cidr), .confirmed = true});
    std::sort(allocated.blocks.begin(), allocated.blocks.end(),
              [](const auto& a, const auto& b) { return a.cidr < b.cidr; });
  }
  void give_back(const std::string& cidr) {
    std::erase_if(allocated.blocks, [&](const auto& block) { return block.name == cidr; });
  }
  void erase_block(const std::string& name) {
    ipam.erase_affinity(name, config.blocks);
    touch("BlockAffinity", name);
  }
  void set_ipam_block(const std::string& name, const std::string& node, const std::string& cidr,
                      const std::map<IpAddr, std::string>& borrowed) {
    ipam.set(config::IpamBlock{name, prefix(cidr), node, borrowed}, config.blocks);
    touch("IPAMBlock", name);
  }
  void erase_ipam_block(const std::string& name) {
    ipam.erase_block(name, config.blocks);
    touch("IPAMBlock", name);
  }
  void set_pod(const std::string& name, std::vector<IpAddr> addresses, const std::string& node = "gw") {
    config::WorkloadEndpoint pod;
    pod.name = {"ns", name};
    pod.node = node;
    pod.interface = "cali" + name;
    pod.addresses = std::move(addresses);
    config.workloads[pod.name] = pod;
    touch("WorkloadEndpoint", name, "ns");
  }
  void touch(const std::string& kind, const std::string& name, const std::string& ns = {}) {
    change.touched.push_back({.key = {kind, ns, name}});
  }
  // Whether there is a delta. The plan is as the configuration says afterwards.
  bool follow() {
    change.blocks = ipam.settle(config.blocks);
    const auto delta = plan_delta(plan, config, change, allocated, {}, &allocated_before);
    change = {};
    allocated_before = allocated;
    const Plan wanted = make_plan(config, allocated);
    if (!delta) {
      plan = wanted;
      return false;
    }
    apply(*delta, plan);
    expect_same(plan, wanted, sources);
    return true;
  }

  config::Config config;
  config::IpamBlocks ipam;
  config::Change change;
  Allocated allocated, allocated_before;
  Plan plan;
  std::vector<IpAddr> sources{ip("192.0.2.1"), ip("192.0.2.10"), ip("192.0.2.11"), ip("203.0.113.10"),
                              ip("2001:db8::10")};
};

TEST_F(Nodes, SCALE5_ANodeComesWithBlocksAndGoes) {
  for (const Overlay overlay :
       {Overlay::None, Overlay::Vxlan, Overlay::VxlanCrossSubnet, Overlay::IpipCrossSubnet, Overlay::IpipLearned}) {
    begin(overlay);
    // The first way of all into tunnels from an address other than the own node's would be planned anew.
    set_node("a", {ip("192.0.2.10"), ip("2001:db8::10")});
    EXPECT_TRUE(follow());
    set_block("a1", "a", "10.244.1.0/26");
    EXPECT_TRUE(follow());
    EXPECT_EQ(plan.routes.at(prefix("10.244.1.0/26")).origin, "node a");
    EXPECT_EQ(plan.pods_elsewhere, std::vector{prefix("10.244.1.0/26")});
    set_block("a2", "a", "fd00:10::/122");
    set_block("a3", "a", "10.244.1.64/26");
    EXPECT_TRUE(follow());
    set_node("a", {ip("203.0.113.10")});
    EXPECT_TRUE(follow());
    EXPECT_EQ(plan.terminator.sources.find(ip("192.0.2.10").v4()), net::no_tunnel_source);
    set_block("a3", "b", "10.244.1.64/26");
    EXPECT_TRUE(follow());
    EXPECT_EQ(plan.warnings.back(), "block 10.244.1.64/26 has no route: there is no Node b");
    config.nodes.erase("a");
    touch("Node", "a");
    EXPECT_TRUE(follow());
    EXPECT_EQ(plan.warnings.size(), 3u);
    for (const char* block : {"a1", "a2", "a3"}) erase_block(block);
    EXPECT_TRUE(follow());
    EXPECT_TRUE(plan.warnings.empty());
    EXPECT_TRUE(plan.tunnels.empty());
  }
}

TEST_F(Nodes, SCALE5_ENC5_IPAM4_WhatAnIpamBlockSaysComesAndGoes) {
  begin(Overlay::Vxlan);
  set_node("a", {ip("192.0.2.10")});
  set_node("b", {ip("192.0.2.11")});
  set_block("a1", "a", "10.244.1.0/26");
  (void)follow();
  const auto origin = [&](const char* to) { return plan.routes.at(prefix(to)).origin; };
  set_ipam_block("i", "a", "10.244.1.0/26", {{ip("10.244.1.9"), "b"}});
  (void)follow();
  EXPECT_EQ(origin("10.244.1.0/26"), "node a");
  EXPECT_EQ(origin("10.244.1.9/32"), "node b");
  EXPECT_FALSE(plan.blocks.contains("a1")) << "the IPAMBlock speaks for it";
  set_ipam_block("i", "a", "10.244.1.0/26", {{ip("10.244.1.9"), "b"}, {ip("10.244.1.10"), "b"}});
  EXPECT_TRUE(follow()) << "one more needs no new plan";
  EXPECT_EQ(origin("10.244.1.10/32"), "node b");
  set_block("a1", "b", "10.244.1.0/26");
  (void)follow();
  EXPECT_EQ(origin("10.244.1.0/26"), "node a");
  set_ipam_block("i", "", "10.244.1.0/26", {});
  (void)follow();
  EXPECT_EQ(origin("10.244.1.0/26"), "node b") << "the BlockAffinity again";
  EXPECT_FALSE(plan.routes.contains(prefix("10.244.1.9/32")));
  erase_ipam_block("i");
  erase_block("a1");
  (void)follow();
  EXPECT_FALSE(plan.routes.contains(prefix("10.244.1.0/26")));
}

TEST_F(Nodes, SCALE5_APodOfThisNodeComesAndGoes) {
  begin(Overlay::Vxlan);
  set_block("own", "gw", "10.244.7.0/26");
  EXPECT_TRUE(follow());
  EXPECT_EQ(plan.routes.at(prefix("10.244.7.0/26")).origin, "block");
  set_pod("b", {ip("10.244.7.2")});
  EXPECT_TRUE(follow());
  set_pod("a", {ip("10.244.7.3"), ip("fd00:10::3")});
  EXPECT_TRUE(follow());
  ASSERT_EQ(plan.interfaces.size(), 3u);
  EXPECT_EQ(plan.interfaces[1].name, "calia");
  set_pod("a", {ip("10.244.7.4")}, "elsewhere");
  EXPECT_TRUE(follow());
  EXPECT_EQ(plan.interfaces.size(), 2u);
  config.workloads.clear();
  touch("WorkloadEndpoint", "a", "ns");
  touch("WorkloadEndpoint", "b", "ns");
  EXPECT_TRUE(follow());
  EXPECT_EQ(plan.interfaces.size(), 1u);
}

TEST_F(Nodes, SCALE5_MASQ1_PodsAreLocalByTheirInterface) {
  begin(Overlay::Vxlan);
  config.gateway.cluster.detect_local = config::DetectLocal::InterfaceNamePrefix;
  config.gateway.cluster.interface_name_prefix = "cali";
  plan = make_plan(config, allocated);
  EXPECT_EQ(plan.warnings.size(), 1u) << "nothing is called so";
  set_pod("b", {ip("10.244.7.2")});
  EXPECT_TRUE(follow());
  ASSERT_EQ(plan.interfaces.size(), 2u);
  EXPECT_FALSE(plan.interfaces[0].local_pods);
  EXPECT_TRUE(plan.interfaces[1].local_pods);
  EXPECT_TRUE(plan.warnings.empty());
  config.workloads.clear();
  touch("WorkloadEndpoint", "b", "ns");
  EXPECT_TRUE(follow());
  EXPECT_EQ(plan.warnings.size(), 1u);
}

TEST_F(Nodes, SCALE5_IPAM5_AnAllocatedBlockComesAndGoes) {
  begin(Overlay::Vxlan);
  allocate("10.244.3.0/26");
  EXPECT_TRUE(follow());
  EXPECT_EQ(plan.routes.at(prefix("10.244.3.0/26")).origin, "block");
  set_block("own", "gw", "10.244.7.0/26");
  EXPECT_TRUE(follow());
  allocate("10.244.1.0/26");
  allocate("fd00:10::/122");
  EXPECT_TRUE(follow());
  EXPECT_EQ(plan.nodes.at("gw").networks.size(), 4U);
  give_back("10.244.3.0/26");
  set_node("a", {ip("192.0.2.10")});
  set_block("a1", "a", "10.244.8.0/26");
  EXPECT_TRUE(follow());
  EXPECT_FALSE(plan.routes.contains(prefix("10.244.3.0/26")));
  allocate("10.244.9.0/26", "a");
  EXPECT_TRUE(follow());
  EXPECT_EQ(plan.routes.at(prefix("10.244.9.0/26")).origin, "node a");
  allocate("10.244.8.0/26");
  EXPECT_FALSE(follow()) << "it is another's";
  give_back("10.244.8.0/26");
  EXPECT_FALSE(follow()) << "it had no route";
  allocated.tunnels.vxlan_v4 = ip("10.244.1.1").v4();
  EXPECT_FALSE(follow());
  allocated = {};
}

TEST_F(Nodes, SCALE5_WhatSomebodyElseHasAPartInIsPlannedAnew) {
  const auto refuses = [&](const char* why, const auto& prepare, const auto& act) {
    begin(Overlay::Vxlan);
    prepare();
    change = {};
    plan = make_plan(config, allocated);
    allocated_before = allocated;
    act();
    EXPECT_FALSE(follow()) << why;
    allocated = {};
  };
  const auto nothing = [] {};
  refuses("its own Node", nothing, [&] { set_node("gw", {ip("192.0.2.1")}); });
  refuses("a node with its address", nothing, [&] { set_node("a", {ip("192.0.2.1")}); });
  refuses("a static route", nothing, [&] {
    set_node("a", {ip("192.0.2.10")});
    set_block("a1", "a", "10.244.99.0/26");
  });
  refuses(
      "two nodes with one address", [&] { set_node("a", {ip("192.0.2.10")}); },
      [&] { set_node("b", {ip("192.0.2.10")}); });
  refuses(
      "one block, two nodes",
      [&] {
        set_node("a", {ip("192.0.2.10")});
        set_block("a1", "a", "10.244.1.0/26");
        set_block("b1", "b", "10.244.1.0/26");
      },
      [&] { set_node("b", {ip("192.0.2.11")}); });
  refuses(
      "pods' networks within each other",
      [&] {
        set_node("a", {ip("192.0.2.10")});
        set_block("a1", "a", "10.244.1.0/26");
      },
      [&] { set_pod("p", {ip("10.244.1.9")}); });
  refuses(
      "an underlay address among pods", [&] { set_node("a", {ip("203.0.113.10")}); },
      [&] {
        set_node("b", {ip("192.0.2.11")});
        set_block("b1", "b", "203.0.113.0/26");
      });
  refuses(
      "an allocated block",
      [&] {
        allocated.blocks = {{.name = "", .node = "gw", .cidr = prefix("10.244.3.0/26"), .confirmed = true}};
        set_node("a", {ip("192.0.2.10")});
      },
      [&] { set_block("a1", "a", "10.244.3.0/26", false); });
  refuses(
      "direct server return", [&] { config.services.begin()->second.forwarding = config::Forwarding::Dsr; },
      [&] { set_node("a", {ip("192.0.2.10")}); });
  const auto with_node_cidr = [&] {
    config.gateway.cluster.detect_local = config::DetectLocal::NodeCidr;
    config.gateway.local_node_names = {"gw", "a"};
    set_node("a", {ip("192.0.2.10")}, {prefix("10.244.7.0/26")});
    set_node("b", {ip("192.0.2.11")});
  };
  refuses("whose pods are local", with_node_cidr,
          [&] { set_node("a", {ip("192.0.2.10")}, {prefix("10.244.8.0/26")}); });
  set_node("b", {ip("192.0.2.11")}, {prefix("10.244.9.0/26")});
  EXPECT_TRUE(follow()) << "of another node, its pods are not";
  refuses(
      "a pod with a device",
      [&] {
        set_pod("p", {ip("10.244.7.2")});
        config.workloads.begin()->second.device = "net_null7";
      },
      [&] { touch("WorkloadEndpoint", "p", "ns"); });
}

TEST_F(Nodes, SCALE5_ANodeWithoutAnotherAddressIsNotLookedAt) {
  begin(Overlay::Vxlan);
  config.nodes["a"].name = "a";
  change.touched = {{.key = {"Node", "", "a"}, .moved = false}};
  const auto delta = plan_delta(plan, config, change);
  ASSERT_TRUE(delta);
  EXPECT_FALSE(delta->changes_routing());
  EXPECT_TRUE(delta->nodes.empty());
}

// Few names and addresses, so that much happens to the same ones.
class RandomChanges : public Nodes, public testing::WithParamInterface<Overlay> {};

TEST_P(RandomChanges, SCALE5_AnyOrderOfChangesLeadsToAPlanMadeAnew) {
  begin(GetParam());
  config.gateway.cluster.detect_local = config::DetectLocal::BridgeInterface;
  config.gateway.cluster.bridge_interface = "calip";
  plan = make_plan(config, allocated);
  std::mt19937 random(7);
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  const std::array<std::string, 7> nodes{"a", "b", "c", "d", "e", "f", "gw"};
  const auto address = [&]() -> IpAddr {
    switch (below(8)) {
      case 0:
        return ip("203.0.113." + std::to_string(10 + below(8)));
      case 1:
        return ip("198.51.100." + std::to_string(10 + below(4)));  // behind the default gateway
      case 2:
        return ip("2001:db8::" + std::to_string(10 + below(8)));
      case 3:
        return ip(below(16) == 0 ? "10.244.1.5" : "192.0.2.10");
      default:
        return ip("192.0.2." + std::to_string(10 + below(12)));
    }
  };
  sources.clear();
  for (unsigned i = 0; i < 256; ++i) {
    for (const char* net : {"192.0.2.", "203.0.113.", "198.51.100."}) sources.push_back(ip(net + std::to_string(i)));
  }
  for (unsigned i = 10; i < 20; ++i) sources.push_back(ip("2001:db8::" + std::to_string(i)));
  unsigned planned = 0;
  constexpr unsigned steps = 3000;
  for (unsigned step = 0; step < steps; ++step) {
    std::set<std::string> touched;
    for (uint32_t i = 0, count = 1 + below(3); i < count; ++i) {
      const uint32_t what = below(14);
      if (what < 4) {
        const std::string name = nodes[below(below(16) == 0 ? 7 : 6)];
        if (!touched.insert("Node " + name).second) continue;
        if (below(4) == 0 && name != "gw") {
          config.nodes.erase(name);
          touch("Node", name);
          continue;
        }
        std::vector<IpAddr> addresses{name == "gw" ? ip("192.0.2.1") : address()};
        if (below(3) == 0) addresses.push_back(address());
        set_node(name, addresses,
                 below(4) == 0 ? std::vector{prefix("10.244." + std::to_string(50 + below(6)) + ".0/24")}
                               : std::vector<Prefix>{});
        if (below(4) == 0)
          config.nodes[name].vxlan_mac = *net::parse_mac("02:00:00:00:01:" + std::to_string(10 + below(9)));
      } else if (what < 9) {
        const uint32_t number = below(24);
        const std::string name = "b" + std::to_string(number);
        if (!touched.insert("BlockAffinity " + name).second) continue;
        if (below(3) == 0) {
          erase_block(name);
          continue;
        }
        std::string cidr = "10.244." + std::to_string(number) + ".0/26";
        if (number % 6 == 5) cidr = "fd00:10::" + std::to_string(number) + "00/122";
        if (below(12) == 0) cidr = "10.244." + std::to_string(below(56)) + ".64/27";
        if (below(24) == 0) cidr = "10.244." + std::to_string(below(24)) + "." + std::to_string(below(8)) + "/32";
        set_block(name, nodes[below(7)], cidr, below(8) != 0);
      } else if (what >= 12) {
        const std::string cidr = "10.244." + std::to_string(60 + below(below(8) == 0 ? 140 : 8)) + ".0/26";
        touched.insert(cidr);
        if (below(3) == 0) {
          give_back(cidr);
        } else {
          allocate(cidr, below(8) == 0 ? "a" : "gw");
        }
      } else if (what < 11) {
        const uint32_t number = below(24);
        const std::string name = "i" + std::to_string(number);
        if (!touched.insert("IPAMBlock " + name).second) continue;
        if (below(3) == 0) {
          erase_ipam_block(name);
          continue;
        }
        const std::string network =
            number % 6 == 5 ? "fd00:10::" + std::to_string(number) + "0" : "10.244." + std::to_string(number) + ".";
        std::map<IpAddr, std::string> borrowed;
        for (uint32_t count = below(4); count > 0; --count) {
          borrowed[ip(network + std::to_string(below(8)))] = nodes[below(7)];
        }
        set_ipam_block(name, below(8) == 0 ? "" : nodes[below(7)], network + (number % 6 == 5 ? "0/122" : "0/26"),
                       borrowed);
      } else {
        const std::string name(1, static_cast<char>('p' + below(6)));
        if (!touched.insert("pod " + name).second) continue;
        if (below(3) == 0) {
          config.workloads.erase({"ns", name});
          touch("WorkloadEndpoint", name, "ns");
          continue;
        }
        const std::string own = below(8) == 0 ? std::to_string(below(24)) : "200";
        set_pod(name, {ip("10.244." + own + "." + std::to_string(below(20)))}, below(6) == 0 ? "a" : "gw");
      }
    }
    if (touched.empty()) continue;
    if (!follow()) ++planned;
    ASSERT_FALSE(HasFatalFailure()) << "step " << step;
  }
  EXPECT_GT(planned, steps / 100);
  EXPECT_LT(planned, steps * 3 / 5);
}

INSTANTIATE_TEST_SUITE_P(Overlays, RandomChanges,
                         testing::Values(Overlay::None, Overlay::Vxlan, Overlay::VxlanCrossSubnet,
                                         Overlay::IpipCrossSubnet, Overlay::IpipLearned));

}  // namespace
}  // namespace sluice::control
