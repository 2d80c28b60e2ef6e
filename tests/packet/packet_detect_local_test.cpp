// MASQ-1 with kube-proxy's modes of detectLocal: which clients are local pods, and what follows for the others of the
// cluster.
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/deploy.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* router = "192.168.0.1";
constexpr const char* router_v6 = "2001:db8:a::1";
constexpr const char* cluster_ip = "10.96.0.10:80";
constexpr const char* cluster_ip_v6 = "[fd00:10:96::10]:80";
constexpr const char* balancer = "198.51.100.80:80";
constexpr const char* by_node = R"("detectLocalMode":"NodeCIDR",)";

class DetectLocal : public RigTest {
 protected:
  struct Setting {
    std::string mode;         // members of spec.cluster, with a comma behind
    std::string own_cidrs;    // podCIDRs of the Node gw, with quotation marks
    std::string other_cidrs;  // of node1
    std::string gateway;      // further members of spec
    std::string policy;       // further members of the service
    std::vector<std::string> endpoints{"10.246.1.20 gw", "10.246.1.21 node3", "fd00:10:246::20 node3"};
    std::string interfaces;  // further ones, with a comma in front
    std::string objects;     // further ones
  };
  static void insert(std::string& text, const std::string& behind, const std::string& what) {
    text.insert(text.find(behind) + behind.size(), what);
  }
  static std::string document(const Setting& setting) {
    Gateway gateway;
    gateway.more = setting.gateway;
    gateway.interfaces += setting.interfaces;
    std::string text = gateway.text();
    insert(text, R"("cluster":{)", setting.mode);
    std::string nodes = cluster();
    const auto give = [&](const char* node, const std::string& cidrs) {
      if (cidrs.empty()) return;
      const std::string metadata = R"("metadata":{"name":")" + std::string(node) + '"';
      nodes.insert(nodes.find(R"("kind":"Node",)" + metadata) + 14, R"("spec":{"podCIDRs":[)" + cidrs + "]},");
    };
    give("gw", setting.own_cidrs);
    give("node1", setting.other_cidrs);
    ServiceSpec spec{.name = "web",
                     .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                     .ports = {"TCP 80 8080 30080"},
                     .load_balancer_ip = "198.51.100.80"};
    spec.endpoints = setting.endpoints;
    spec.more = setting.policy;
    return list({text, nodes, service(spec), setting.objects});
  }
  void load(const Setting& setting) { rig().load(document(setting)); }
  // The source that an endpoint sees, and all endpoints that 24 connections get: "10.246.1.5
  // > 10.246.1.20 10.246.1.21".
  std::string seen(const std::string& port, const std::string& client, const std::string& frontend) {
    std::set<std::string> sources, endpoints;
    for (int i = 0; i < 24; ++i) {
      if (rig().send(port, tcp(client + ":" + std::to_string(next_port_++), frontend, "S")).empty()) return "nothing";
      sources.insert(net::to_string(rig().only().ip.src.address));
      endpoints.insert(net::to_string(rig().only().ip.dst.address));
    }
    return joined(sources) + " > " + joined(endpoints);
  }
  static std::string joined(const std::set<std::string>& words) {
    std::string out;
    for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
    return out;
  }
  std::string by_tunnel(const std::string& client) {
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac("gw");
    const Bytes inner = tcp(client + ":" + std::to_string(next_port_++), cluster_ip, "S").bytes();
    if (rig().send("b", vxlan("192.168.0.11", router, inner, options)).empty()) return "nothing";
    return net::to_string(rig().only().ip.src.address);
  }
  [[nodiscard]] std::string warning() { return rig().plan().warnings.empty() ? "" : rig().plan().warnings.back(); }

 private:
  int next_port_ = 1000;
};

const std::string both = "10.246.1.20 10.246.1.21";

TEST_P(DetectLocal, MASQ1_NodeCidr) {
  load({.mode = by_node, .own_cidrs = R"("10.244.0.0/26","fd00:10:246:0:5::/80")"});
  EXPECT_EQ(warning(), "");
  EXPECT_EQ(seen("b", "10.244.0.5", cluster_ip), "10.244.0.5 > " + both);
  EXPECT_EQ(seen("b", "[fd00:10:246:0:5::7]", cluster_ip_v6), "fd00:10:246:0:5::7 > fd00:10:246::20");
  EXPECT_EQ(seen("b", "10.246.1.5", cluster_ip), std::string(router) + " > " + both) << "of the cluster, not local";
  EXPECT_EQ(seen("b", "[fd00:10:246::5]", cluster_ip_v6), std::string(router_v6) + " > fd00:10:246::20");
  EXPECT_EQ(by_tunnel("10.244.34.5"), router);
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(seen("a", "203.0.113.2", cluster_ip), "nothing");
  EXPECT_EQ(rig().drops(), "cluster_ip_from_outside 1") << "SVC-121";
}

TEST_P(DetectLocal, MASQ1_NodeCidrFollowsTheNode) {
  Setting setting{.mode = by_node, .own_cidrs = R"("10.244.0.0/26")"};
  load(setting);
  ASSERT_EQ(seen("b", "10.244.0.5", cluster_ip), "10.244.0.5 > " + both);
  setting.own_cidrs = R"("10.245.0.0/26")";
  EXPECT_EQ(rig().try_change(document(setting)), no_delta);
  load(setting);
  EXPECT_EQ(seen("b", "10.244.0.5", cluster_ip), std::string(router) + " > " + both);
  EXPECT_EQ(seen("b", "10.245.0.5", cluster_ip), "10.245.0.5 > " + both);
  setting.own_cidrs = "";
  load(setting);
  EXPECT_EQ(seen("b", "10.245.0.5", cluster_ip), std::string(router) + " > " + both);
  EXPECT_EQ(warning(),
            "cluster.detectLocalMode NodeCIDR: no Node of gw has podCIDRs; until then no client counts as a "
            "pod of this node");
}

// Every Node of localNodeNames is this one; others change beside them.
TEST_P(DetectLocal, MASQ1_NodeCidrOfAllThatCountAsThisNode) {
  Setting setting{.mode = by_node,
                  .own_cidrs = R"("10.244.0.0/26")",
                  .other_cidrs = R"("10.244.34.0/26")",
                  .gateway = R"("localNodeNames":["gw","node1"])"};
  load(setting);
  EXPECT_EQ(by_tunnel("10.244.34.5"), "10.244.34.5");
  setting.other_cidrs = R"("10.244.34.0/27")";
  EXPECT_EQ(rig().try_change(document(setting)), no_delta);
  load(setting);
  EXPECT_EQ(by_tunnel("10.244.34.5"), "10.244.34.5");
  EXPECT_EQ(by_tunnel("10.244.34.50"), router);
  setting.gateway = "";
  load(setting);
  EXPECT_EQ(by_tunnel("10.244.34.5"), router);
  setting.other_cidrs = R"("10.244.34.0/28")";
  ASSERT_EQ(rig().try_change(document(setting)), "") << "of another node";
  EXPECT_EQ(seen("b", "10.244.0.5", cluster_ip), "10.244.0.5 > " + both);
  EXPECT_EQ(by_tunnel("10.244.34.5"), router);
}

TEST_P(DetectLocal, MASQ1_BridgeInterface) {
  load({.mode = R"("detectLocalMode":"BridgeInterface","detectLocal":{"bridgeInterface":"un"},)"});
  EXPECT_EQ(seen("b", "10.246.1.5", cluster_ip), "10.246.1.5 > " + both);
  EXPECT_EQ(seen("b", "203.0.113.2", cluster_ip), "203.0.113.2 > " + both) << "whatever its address";
  EXPECT_EQ(seen("b", "[fd00:10:246::5]", cluster_ip_v6), "fd00:10:246::5 > fd00:10:246::20");
  EXPECT_EQ(seen("a", "10.246.1.5", cluster_ip), std::string(router) + " > " + both);
  EXPECT_EQ(seen("a", "[fd00:10:246::5]", cluster_ip_v6), std::string(router_v6) + " > fd00:10:246::20");
  EXPECT_EQ(by_tunnel("10.244.34.5"), router) << "a tunnel is not the port that its packets come in by";
  EXPECT_EQ(seen("a", "203.0.113.2", cluster_ip), "nothing");
}

TEST_P(DetectLocal, MASQ1_InterfaceNamePrefix) {
  const std::string mode = R"("detectLocalMode":"InterfaceNamePrefix","detectLocal":{"interfaceNamePrefix":"cali"},)";
  load({.mode = mode});
  EXPECT_EQ(warning(),
            "cluster.detectLocal.interfaceNamePrefix: no interface or WorkloadEndpoint has a name that "
            "begins with \"cali\"; until then no client counts as a pod of this node");
  EXPECT_EQ(seen("b", "10.246.1.5", cluster_ip), std::string(router) + " > " + both);
  // Names of router and pods alike.
  load({.mode = mode,
        .objects = R"({"apiVersion":"projectcalico.org/v3","kind":"WorkloadEndpoint","metadata":{"namespace":"default",
          "name":"gw-k8s-web-eth0","annotations":{"sluice.dev/device":"net_ring_c"}},"spec":{"node":"gw","pod":"web",
          "interfaceName":"cali12ab","mac":"02:00:00:00:00:55","ipNetworks":["10.244.0.5/32"]}})"});
  EXPECT_EQ(warning(), "");
  const net::MacAddr gateway_mac{{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}};
  const Bytes syn = tcp("10.244.0.5:999", cluster_ip, "S").bytes();
  EXPECT_TRUE(like(rig().send_frame("c", ethernet(gateway_mac, mac(0x55), syn)),
                   "b/13 tcp S 10.244.0.5:999>10.246.1.2*:8080 ttl 63"));
  EXPECT_EQ(seen("b", "10.246.1.5", cluster_ip), std::string(router) + " > " + both);
  load({.mode = R"("detectLocalMode":"InterfaceNamePrefix","detectLocal":{"interfaceNamePrefix":"u"},)"});
  EXPECT_EQ(seen("a", "203.0.113.2", cluster_ip), "203.0.113.2 > " + both);
}

// What else asks whether a client is local: the short cut of externalTrafficPolicy Local (SVC-62, SVC-63). Which
// endpoints internalTrafficPolicy Local allows does not depend on it (SVC-64), nor who is inside (SVC-68).
TEST_P(DetectLocal, MASQ1_SVC62_SVC63_SVC64_SVC68_PoliciesOfPodsThatAreNotLocal) {
  Setting setting{.mode = by_node,
                  .own_cidrs = R"("10.244.0.0/26")",
                  .gateway = R"("proxy":{"sourceRangesForInCluster":false})",
                  .policy = R"("externalTrafficPolicy":"Local","loadBalancerSourceRanges":["192.0.2.0/24"])"};
  load(setting);
  EXPECT_EQ(seen("b", "10.244.0.5", balancer), "10.244.0.5 > " + both);
  EXPECT_EQ(seen("b", "10.246.1.5", balancer), "10.246.1.5 > 10.246.1.20");
  EXPECT_EQ(seen("a", "192.0.2.10", balancer), "192.0.2.10 > 10.246.1.20");
  EXPECT_EQ(seen("a", "203.0.113.2", balancer), "nothing");
  setting.policy = R"("internalTrafficPolicy":"Local")";
  load(setting);
  EXPECT_EQ(seen("b", "10.244.0.5", cluster_ip), "10.244.0.5 > 10.246.1.20");
  EXPECT_EQ(seen("b", "10.246.1.5", cluster_ip), std::string(router) + " > 10.246.1.20");
  EXPECT_EQ(seen("b", "10.244.0.5", balancer), std::string(router) + " > " + both) << "MASQ-2";
}

SLUICE_WITH_WORKERS(DetectLocal);

}  // namespace
}  // namespace sluice::packet_test
