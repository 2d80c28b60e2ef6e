// Which addresses and ports lead to a service, and what is left of them when the service changes (SVC-9).
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

class Frontends : public RigTest {
 protected:
  void load(const std::vector<std::string>& services, const std::string& more = "") {
    std::vector<std::string> objects{gateway(more), cluster()};
    objects.insert(objects.end(), services.begin(), services.end());
    rig().load(list(objects));
  }
  // What a new connection gets: "served", "refused" (ICMP), "gone" (sent on as if it were nobody's), or the drop.
  std::string ask(const std::string& client, const std::string& frontend) {
    (void)rig().drops();
    const bool is_outside = client.starts_with(ipv4.clients) || client.starts_with(ipv6.clients);
    const std::string text = rig().send(is_outside ? "a" : "b", tcp(with_port(client, next_port_++), frontend, "S"));
    if (text.empty()) return rig().drops();
    if (text.find(" icmp ") != std::string::npos) return "refused";
    const bool served = rig().only().ip.dst.text() != frontend;
    return served ? "served" : "gone";
  }

  const std::string pod = "10.246.1.5";
  const std::string outside = "203.0.113.2";
  const ServiceSpec web{.name = "web",
                        .cluster_ips = {"10.96.0.10"},
                        .ports = {"TCP 80 8080"},
                        .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};

 private:
  int next_port_ = 1000;
};

// Each step: the service, and what its addresses and those of the step before answer.
TEST_P(Frontends, SVC9_SwitchesOfTypeTakeEffectAndLeaveNothingBehind) {
  const std::string cluster_ip = "10.96.0.10:80";
  const std::string node_port = "192.0.2.1:30080";
  const std::string balancer = "198.51.100.80:80";
  const std::string external = "198.51.100.81:80";
  ServiceSpec with_node_port = web;
  with_node_port.ports = {"TCP 80 8080 30080"};
  ServiceSpec with_balancer = with_node_port;
  with_balancer.load_balancer_ip = "198.51.100.80";
  ServiceSpec with_external = web;
  with_external.external_ip = "198.51.100.81";
  const std::string external_name = R"({"apiVersion":"v1","kind":"Service","metadata":{"namespace":"default",
      "name":"web"},"spec":{"type":"ExternalName","externalName":"db.example"}})";
  struct Step {
    std::string service;
    const char *cluster_ip, *node_port, *balancer, *external;
  };
  for (const Step& step : {
           Step{service(web), "served", "refused", "gone", "gone"},
           Step{service(with_node_port), "served", "served", "gone", "gone"},
           Step{service(with_balancer), "served", "served", "served", "gone"},
           Step{service(with_external), "served", "refused", "gone", "served"},
           Step{external_name, "service_unknown 1", "refused", "gone", "gone"},
           Step{service(with_balancer), "served", "served", "served", "gone"},
           Step{"", "service_unknown 1", "refused", "gone", "gone"},
           Step{service(web), "served", "refused", "gone", "gone"},
       }) {
    load({step.service});
    EXPECT_EQ(ask(pod, cluster_ip), step.cluster_ip) << step.service;
    EXPECT_EQ(ask(outside, node_port), step.node_port) << step.service;
    EXPECT_EQ(ask(outside, balancer), step.balancer) << step.service;
    EXPECT_EQ(ask(outside, external), step.external) << step.service;
  }
}

TEST_P(Frontends, SVC9_PortsComeAndGo) {
  ServiceSpec spec = web;
  spec.ports = {"TCP 80 8080 30080", "TCP 443 8443"};
  load({service(spec)});
  EXPECT_EQ(ask(pod, "10.96.0.10:443"), "served");
  spec.ports = {"TCP 81 8080 30081"};
  load({service(spec)});
  EXPECT_EQ(ask(pod, "10.96.0.10:81"), "served");
  EXPECT_EQ(ask(pod, "10.96.0.10:80"), "refused");
  EXPECT_EQ(ask(pod, "10.96.0.10:443"), "refused");
  EXPECT_EQ(ask(outside, "192.0.2.1:30080"), "refused");
  EXPECT_EQ(ask(outside, "192.0.2.1:30081"), "served");
  spec.cluster_ips = {"10.96.0.11"};
  load({service(spec)});
  EXPECT_EQ(ask(pod, "10.96.0.10:81"), "service_unknown 1");
  EXPECT_EQ(ask(pod, "10.96.0.11:81"), "served");
}

TEST_P(Frontends, SVC101_TheSecondFamilyComesGoesAndChanges) {
  ServiceSpec spec = web;
  const auto v6 = [](const char* address) { return "[" + std::string(address) + "]:80"; };
  load({service(spec)});
  EXPECT_EQ(ask("fd00:10:246::5", v6("fd00:10:96::10")), "service_unknown 1");
  spec.cluster_ips = {"10.96.0.10", "fd00:10:96::10"};
  load({service(spec)});
  EXPECT_EQ(ask("fd00:10:246::5", v6("fd00:10:96::10")), "served");
  EXPECT_EQ(ask(pod, "10.96.0.10:80"), "served");
  spec.cluster_ips[1] = "fd00:10:96::11";
  load({service(spec)});
  EXPECT_EQ(ask("fd00:10:246::5", v6("fd00:10:96::10")), "service_unknown 1");
  EXPECT_EQ(ask("fd00:10:246::5", v6("fd00:10:96::11")), "served");
  spec.cluster_ips = {"fd00:10:96::11", "10.96.0.10"};
  load({service(spec)});
  EXPECT_EQ(ask("fd00:10:246::5", v6("fd00:10:96::11")), "served") << "whichever is first";
  EXPECT_EQ(ask(pod, "10.96.0.10:80"), "served");
  spec.cluster_ips = {"10.96.0.10"};
  load({service(spec)});
  EXPECT_EQ(ask("fd00:10:246::5", v6("fd00:10:96::11")), "service_unknown 1");
  EXPECT_EQ(ask(pod, "10.96.0.10:80"), "served");
}

// SVC-14: whether there is any usable endpoint in the cluster decides between REJECT and DROP (3.4).
TEST_P(Frontends, SVC14_RejectOrDrop) {
  const std::string internal = R"("internalTrafficPolicy":"Local")";
  const std::string external = R"("externalTrafficPolicy":"Local")";
  struct Case {
    std::string policy;
    const char* endpoint;  // on another node
    const char *cluster_ip, *node_port, *balancer;
  };
  const char* const local = "no_local_endpoint 1";
  for (const Case& one : {
           Case{"", "unready", "refused", "refused", "refused"},
           Case{internal, "unready", "refused", "refused", "refused"},
           Case{external, "unready", "refused", "refused", "refused"},
           Case{"", "ready", "served", "served", "served"},
           Case{internal, "ready", local, "served", "served"},
           Case{external, "ready", "served", local, local},
           Case{internal + "," + external, "terminating", local, local, local},
       }) {
    ServiceSpec spec = web;
    spec.ports = {"TCP 80 8080 30080"};
    spec.load_balancer_ip = "198.51.100.80";
    spec.more = one.policy;
    spec.endpoints = {std::string("10.246.1.20 node3 ") + one.endpoint};
    load({service(spec)});
    EXPECT_EQ(ask(pod, "10.96.0.10:80"), one.cluster_ip) << one.policy << " " << one.endpoint;
    EXPECT_EQ(ask(outside, "192.0.2.1:30080"), one.node_port) << one.policy << " " << one.endpoint;
    EXPECT_EQ(ask(outside, "198.51.100.80:80"), one.balancer) << one.policy << " " << one.endpoint;
  }
}

// A gateway that stands in front of nodes may count some of them as this one; the way to their pods stays as it is.
TEST_P(Frontends, SVC65_NodesThatCountAsThisOne) {
  ServiceSpec spec = web;
  spec.load_balancer_ip = "198.51.100.80";
  spec.more = R"("externalTrafficPolicy":"Local")";
  spec.endpoints = {"10.246.1.20 node3", "10.244.34.5 node1"};
  load({service(spec)});
  EXPECT_EQ(ask(outside, "198.51.100.80:80"), "no_local_endpoint 1");
  load({service(spec)}, R"("localNodeNames":["gw","node3"])");
  EXPECT_EQ(rig().send("a", tcp("203.0.113.2:1000", "198.51.100.80:80", "S")),
            "b/13 tcp S 203.0.113.2:1000>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", "203.0.113.2:1000", "SA")),
            "a/fe tcp SA 198.51.100.80:80>203.0.113.2:1000 ttl 63");
  load({service(spec)}, R"("localNodeNames":["node1"])");
  EXPECT_EQ(rig().send("a", tcp("203.0.113.2:1001", "198.51.100.80:80", "S")),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | tcp S 203.0.113.2:1001>10.244.34.5:8080 ttl 63");
  VxlanOptions options;
  options.inner_destination = rig().snapshot().terminator.vtep_mac;
  const Bytes answer = tcp("10.244.34.5:8080", "203.0.113.2:1001", "SA").bytes();
  EXPECT_EQ(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", answer, options)),
            "a/fe tcp SA 198.51.100.80:80>203.0.113.2:1001 ttl 63");
}

// At a node port a pod of another node is no better than a client from outside; of this node it has the short cut.
TEST_P(Frontends, SVC63_PodsOfOtherNodesAtANodePort) {
  ServiceSpec spec = web;
  spec.ports = {"TCP 80 8080 30080"};
  spec.load_balancer_ip = "198.51.100.80";
  spec.more = R"("externalTrafficPolicy":"Local")";
  spec.cluster_ips = {"10.96.0.10", "fd00:10:96::10"};
  const std::string six = "fd00:10:246::5";
  load({service(spec)});
  EXPECT_EQ(ask(pod, "192.0.2.1:30080"), "no_local_endpoint 1");
  EXPECT_EQ(ask(six, "[2001:db8:2::1]:30080"), "no_local_endpoint 1");
  EXPECT_EQ(ask(pod, "198.51.100.80:80"), "served") << "SVC-62: that is of the cluster, not of a node";
  EXPECT_EQ(ask(pod, "10.96.0.10:80"), "served");
  load({service(spec)}, R"("localNodeNames":["gw","node3"])");
  EXPECT_EQ(ask(pod, "192.0.2.1:30080"), "served");
  EXPECT_EQ(ask(six, "[2001:db8:2::1]:30080"), "served");
  load({service(spec)}, R"("proxy":{"externalPolicyLocalScope":"Cluster"})");
  EXPECT_EQ(ask(pod, "192.0.2.1:30080"), "served") << "SVC-65";
  spec.more = "";
  load({service(spec)});
  EXPECT_EQ(ask(pod, "192.0.2.1:30080"), "served") << "SVC-60";
}

// Blocks of others with single addresses of still others in them, and of this node.
TEST_P(Frontends, SVC63_BorrowedAddresses) {
  ServiceSpec spec = web;
  spec.ports = {"TCP 80 8080 30080"};
  spec.more = R"("externalTrafficPolicy":"Local")";
  spec.cluster_ips = {"10.96.0.10", "fd00:10:96::10"};
  load({service(spec), block("node2", "10.246.1.7/32"), block("node2", "fd00:10:246::7/128"),
        block("gw", "10.246.1.9/32"), block("gw", "fd00:10:246::9/128")});
  for (const char* elsewhere : {"10.246.1.6", "10.246.1.7", "10.246.1.8", "10.246.1.10", "10.246.1.63"}) {
    EXPECT_EQ(ask(elsewhere, "192.0.2.1:30080"), "no_local_endpoint 1") << elsewhere;
  }
  for (const char* elsewhere : {"fd00:10:246::6", "fd00:10:246::7", "fd00:10:246::8", "fd00:10:246::a"}) {
    EXPECT_EQ(ask(elsewhere, "[2001:db8:2::1]:30080"), "no_local_endpoint 1") << elsewhere;
  }
  EXPECT_EQ(ask("10.246.1.9", "192.0.2.1:30080"), "served");
  EXPECT_EQ(ask("fd00:10:246::9", "[2001:db8:2::1]:30080"), "served");
}

// ---- node ports ----------------------------------------------------------------------------------------

TEST_P(Frontends, SVC50_TheRangeIsConfigured) {
  ServiceSpec spec = web;
  spec.cluster_ips = {ipv4.service, ipv6.service};
  spec.ports = {"TCP 80 8080 20080"};
  Gateway other;
  other.more = R"("snat":{"portRange":"32768-65535"})";
  const std::string text = other.text();
  const std::string key = R"("cluster":{)";
  std::string ranged = text;
  ranged.insert(ranged.find(key) + key.size(), R"("nodePortRange":"20000-20999",)");
  rig().load(list({ranged, cluster(), service(spec)}));
  for (const Family& family : families) EXPECT_EQ(ask(family.client(2), family.node_port(20080)), "served");
  EXPECT_NE(rig().try_load(list({text, cluster(), service(spec)})), "");
}

TEST_P(Frontends, SVC51_OnEveryAddressIfAsked) {
  ServiceSpec spec = web;
  spec.cluster_ips = {"10.96.0.10", "fd00:10:96::10"};
  spec.ports = {"TCP 80 8080 30080"};
  load({service(spec)});
  EXPECT_EQ(ask(outside, "192.0.2.1:30080"), "served");
  EXPECT_EQ(ask(outside, "192.168.0.1:30080"), "refused");
  EXPECT_EQ(ask("fd00:10:246::5", "[2001:db8:2::1]:30080"), "served") << "the primary of each family";
  EXPECT_EQ(ask("fd00:10:246::5", "[2001:db8:a::1]:30080"), "refused");
  load({service(spec)}, R"("proxy":{"nodePortAddresses":["0.0.0.0/0","::/0"]})");
  EXPECT_EQ(ask(outside, "192.168.0.1:30080"), "served");
  EXPECT_EQ(ask("fd00:10:246::5", "[2001:db8:a::1]:30080"), "served");
  EXPECT_EQ(ask(pod, "10.96.0.10:30080"), "refused") << "SVC-52";
}

TEST_P(Frontends, SVC54_ALoadBalancerWithoutNodePort) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    ServiceSpec spec = web;
    spec.cluster_ips = {family.service};
    spec.load_balancer_ip = family.balancer;
    spec.more = R"("allocateLoadBalancerNodePorts":false)";
    load({service(spec)});
    EXPECT_EQ(ask(family.client(2), with_port(family.balancer, 80)), "served");
    spec.more += R"(,"externalTrafficPolicy":"Local")";
    spec.endpoints = {family.pod(20) + " gw"};
    load({service(spec)});
    EXPECT_EQ(ask(family.client(2), with_port(family.balancer, 80)), "served")
        << "SVC-12: reachable from outside all the same";
  }
}

TEST_P(Frontends, SVC121_ClusterAddressesFromOutsideOnlyIfAllowed) {
  ServiceSpec spec = web;
  spec.cluster_ips = {ipv4.service, ipv6.service};
  for (const bool allowed : {false, true}) {
    load({service(spec)}, allowed ? R"("proxy":{"allowExternalClusterIP":true})" : "");
    for (const Family& family : families) {
      SCOPED_TRACE(family.name);
      EXPECT_EQ(ask(family.client(2), family.service_at(80)), allowed ? "served" : "cluster_ip_from_outside 1");
      EXPECT_EQ(ask(family.pod(5), family.service_at(80)), "served");
    }
  }
}

TEST_P(Frontends, SVC55_OneNumberForTcpAndUdp) {
  ServiceSpec by_tcp = web;
  by_tcp.ports = {"TCP 80 8080 30080"};
  ServiceSpec by_udp{.name = "dns", .cluster_ips = {"10.96.0.53"}, .ports = {"UDP 53 5353 30080"}};
  by_udp.endpoints = {"10.246.1.30 node3"};
  load({service(by_tcp), service(by_udp)});
  (void)rig().send("a", tcp("203.0.113.2:1000", "192.0.2.1:30080", "S"));
  EXPECT_EQ(rig().only().ip.dst.text(), "10.246.1.20:8080");
  (void)rig().send("a", udp("203.0.113.2:1000", "192.0.2.1:30080"));
  EXPECT_EQ(rig().only().ip.dst.text(), "10.246.1.30:5353");
}

// ---- host ports ----------------------------------------------------------------------------------------

std::string pod_with_port(const std::string& node, const std::string& address, const std::string& port) {
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"default","name":"agent"},"spec":{"nodeName":")" +
         node + R"(","containers":[{"name":"agent","ports":[{)" + port +
         R"(}]}]},"status":{"phase":"Running","podIPs":[{"ip":")" + address + R"("},{"ip":"fd00:10:246::20"}]}})";
}

TEST_P(Frontends, SVC_3_1_HostPorts) {
  const std::string port = R"("containerPort":8080,"hostPort":9000)";
  load({pod_with_port("gw", "10.246.1.20", port)});
  EXPECT_EQ(rig().send("a", tcp("203.0.113.2:1000", "192.0.2.1:9000", "S")),
            "b/13 tcp S 203.0.113.2:1000>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", "203.0.113.2:1000", "SA")),
            "a/fe tcp SA 192.0.2.1:9000>203.0.113.2:1000 ttl 63");
  EXPECT_EQ(ask(outside, "192.168.0.1:9000"), "served") << "every address of the node";
  EXPECT_EQ(ask("fd00:10:246::5", "[2001:db8:2::1]:9000"), "served");
  EXPECT_EQ(ask(outside, "192.0.2.1:8080"), "refused");
  EXPECT_TRUE(like(rig().send("b", tcp("10.246.1.20:1000", "192.0.2.1:9000", "S")),
                   "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"))
      << "MASQ-3";
  load({pod_with_port("gw", "10.246.1.20", port + R"(,"hostIP":"192.168.0.1")")});
  EXPECT_EQ(ask(outside, "192.0.2.1:9000"), "refused");
  EXPECT_EQ(ask(outside, "192.168.0.1:9000"), "served");
  load({pod_with_port("node3", "10.246.1.20", port)});
  EXPECT_EQ(ask(outside, "192.0.2.1:9000"), "refused") << "on the pod's node only";
}

TEST_P(Frontends, SVC94_HostPortOfAPodThatIsReplaced) {
  const std::string port = R"("containerPort":53,"hostPort":5353,"protocol":"UDP")";
  load({pod_with_port("gw", "10.246.1.20", port)});
  EXPECT_EQ(rig().send("a", udp("203.0.113.2:1000", "192.0.2.1:5353")),
            "b/13 udp 203.0.113.2:1000>10.246.1.20:53 ttl 63");
  load({pod_with_port("gw", "10.246.1.21", port)});
  EXPECT_EQ(rig().send("a", udp("203.0.113.2:1000", "192.0.2.1:5353")),
            "b/13 udp 203.0.113.2:1000>10.246.1.21:53 ttl 63");
  load({});
  EXPECT_TRUE(like(rig().send("a", udp("203.0.113.2:1000", "192.0.2.1:5353")), "a/fe icmp 3/3 192.0.2.1>*"));
}

TEST_P(Frontends, SVC_3_1_ANodePortComesBeforeAHostPort) {
  ServiceSpec spec = web;
  spec.ports = {"TCP 80 8080 30080"};
  load({service(spec), pod_with_port("gw", "10.246.1.30", R"("containerPort":80,"hostPort":30080)")});
  (void)rig().send("a", tcp("203.0.113.2:1000", "192.0.2.1:30080", "S"));
  EXPECT_EQ(rig().only().ip.dst.text(), "10.246.1.20:8080");
}

// ---- service loop prevention ---------------------------------------------------------------------------

TEST_P(Frontends, SVC70_WhatNoServiceTakes) {
  const auto prevention = [](const char* action) {
    return std::string(R"("proxy":{"serviceLoopPrevention":")") + action + R"("})";
  };
  load({service(web)});
  EXPECT_EQ(ask(outside, "10.96.0.77:80"), "service_unknown 1");
  EXPECT_TRUE(rig().out().empty()) << "only the request was seen";
  load({service(web)}, prevention("Drop"));
  EXPECT_EQ(ask(outside, "10.96.0.77:80"), "service_unknown 1");
  load({service(web)}, prevention("Reject"));
  EXPECT_EQ(ask(outside, "10.96.0.77:80"), "refused");
  EXPECT_EQ(ask("fd00:10:246::5", "[fd00:10:96::77]:80"), "refused");
  EXPECT_EQ(ask(pod, "10.96.0.10:80"), "served");
  load({service(web)}, prevention("Disabled"));
  EXPECT_EQ(ask(outside, "10.96.0.77:80"), "gone") << "back by the default route";
}

// A pool that only load balancer addresses come from is as much ours as the service network.
TEST_P(Frontends, SVC70_AddressesOfALoadBalancerPool) {
  const std::string addresses = pool("balancers", "198.51.100.0/25", R"("allowedUses":["LoadBalancer"])");
  ServiceSpec spec = web;
  spec.load_balancer_ip = "198.51.100.80";
  load({service(spec), addresses});
  EXPECT_EQ(ask(outside, "198.51.100.80:80"), "served");
  EXPECT_EQ(ask(outside, "198.51.100.81:80"), "service_unknown 1");
  load({service(spec), addresses}, R"("proxy":{"serviceLoopPrevention":"Reject"})");
  EXPECT_EQ(ask(outside, "198.51.100.81:80"), "refused");
  load({service(spec), addresses}, R"("proxy":{"serviceLoopPrevention":"Disabled"})");
  EXPECT_EQ(ask(outside, "198.51.100.80:80"), "served");
  EXPECT_EQ(ask(outside, "198.51.100.81:80"), "gone");
}

SLUICE_WITH_WORKERS(Frontends);

}  // namespace
}  // namespace sluice::packet_test
