// Addresses that nobody has: of pods (ENC-4), and of the networks that services get theirs from (SVC-70). They must
// not follow the default route to where they may come back from.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* address_pool = R"({"apiVersion":"metallb.io/v1beta1","kind":"IPAddressPool",
  "metadata":{"namespace":"metallb-system","name":"lb"},
  "spec":{"addresses":["203.0.113.5-203.0.113.20","2001:db8:77::/64","192.0.2.200-192.0.2.210"]}})";
constexpr const char* bgp = R"({"apiVersion":"projectcalico.org/v3","kind":"BGPConfiguration",
  "metadata":{"name":"default"},"spec":{"serviceLoadBalancerAggregation":"Disabled",
    "serviceLoadBalancerIPs":[{"cidr":"198.51.100.64/28"}],"serviceExternalIPs":[{"cidr":"198.51.100.32/32"}],
    "serviceClusterIPs":[{"cidr":"10.97.0.0/16"}]}})";

class Unowned : public RigTest {
 protected:
  void load(const std::string& more = "") {
    const ServiceSpec spec{.name = "web",
                           .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                           .ports = {"TCP 80 8080"},
                           .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"},
                           .external_ip = "203.0.113.7"};
    rig().load(list({gateway(more), cluster(), service(spec), address_pool, bgp}));
  }
  // From a pod of another node.
  std::string send(const std::string& to) {
    const bool v6 = to.find(':') != std::string::npos;
    return rig().send(
        "b", v6 ? tcp("[fd00:10:246::5]:1000", "[" + to + "]:80", "S") : tcp("10.246.1.5:1000", to + ":80", "S"));
  }
};

const std::vector<std::string> of_services{"203.0.113.5",   "203.0.113.20",  "2001:db8:77::9", "198.51.100.64",
                                           "198.51.100.79", "198.51.100.32", "10.97.3.4"};
const std::vector<std::string> of_others{"203.0.113.4",   "203.0.113.21",  "2001:db8:78::9", "198.51.100.63",
                                         "198.51.100.80", "198.51.100.33", "10.98.0.1"};

TEST_P(Unowned, SVC70_PoolsAndNetworksOfServicesDoNotFollowTheDefaultRoute) {
  load();
  for (const std::string& address : of_services) {
    EXPECT_EQ(send(address), "") << address;
    EXPECT_EQ(rig().drops(), "service_unknown 1") << address;
  }
  for (const std::string& address : of_others) EXPECT_TRUE(like(send(address), "a/fe tcp S *")) << address;
  EXPECT_TRUE(like(send("203.0.113.7"), "b/13 tcp S *>10.246.1.20:8080 ttl 63")) << "a service has it";
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Unowned, SVC70_TheyAreRefusedByOptionOrFollowTheRoutes) {
  load(R"("proxy":{"serviceLoopPrevention":"Reject"})");
  for (const std::string& address : of_services) EXPECT_TRUE(like(send(address), "b/13 icmp *")) << address;
  EXPECT_EQ(rig().drops(), "unreachable " + std::to_string(of_services.size()));
  load(R"("proxy":{"serviceLoopPrevention":"Disabled"})");
  for (const std::string& address : of_services) EXPECT_TRUE(like(send(address), "a/fe tcp S *")) << address;
}

// Another router may have the address there, and no default route is followed.
TEST_P(Unowned, SVC70_APoolInAConnectedSubnetIsAskedForThere) {
  load();
  EXPECT_EQ(send("192.0.2.205"), "a/ff arp request 192.0.2.205? from 192.0.2.1");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Unowned, SVC70_AMoreSpecificRouteGoesBefore) {
  load(R"("routes":[{"destination":"203.0.113.8/32","via":"192.168.0.12"}])");
  EXPECT_TRUE(like(send("203.0.113.8"), "b/12 tcp S *"));
  EXPECT_EQ(send("203.0.113.9"), "");
  EXPECT_EQ(rig().drops(), "service_unknown 1");
}

// 10.244.34.0/26 is a block of another node; 10.244.0.0/26 is the router's own.
class UnknownPods : public RigTest {
 protected:
  void load(const std::string& choice) {
    std::string text = Gateway().text();
    const std::string at = R"("clusterCIDRs":)";
    if (!choice.empty()) text.insert(text.find(at), R"("unknownPods":")" + choice + R"(",)");
    rig().load(list({text, node("gw", "192.168.0.1"), node("node1", "192.168.0.11"), pool("v4", "10.244.0.0/16"),
                     pool("v6", "fd00:10:244::/48"), block("gw", "10.244.0.0/26"), block("node1", "10.244.34.0/26"),
                     block("gw", "fd00:10:244::/122")}));
  }
  static constexpr const char* client4 = "192.0.2.10:5";
  static constexpr const char* client6 = "[2001:db8:2::10]:5";
};

TEST_P(UnknownPods, ENC4_Dropped) {
  for (const char* choice : {"", "Drop"}) {
    load(choice);
    for (const char* pod : {"10.244.0.5:6", "10.244.77.5:6"}) EXPECT_EQ(rig().send("a", udp(client4, pod)), "");
    for (const char* pod : {"[fd00:10:244::5]:6", "[fd00:10:244:1::5]:6"}) {
      EXPECT_EQ(rig().send("a", udp(client6, pod)), "");
    }
    EXPECT_EQ(rig().drops(), "blackhole 4");
  }
}

TEST_P(UnknownPods, ENC4_AnsweredByOption) {
  load("Reject");
  for (const char* pod : {"10.244.0.5:6", "10.244.77.5:6"}) {
    const std::string to = pod;
    EXPECT_EQ(rig().send("a", udp(client4, pod)),
              "a/10 icmp 3/1 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>" + to + " ttl 64 ]");
  }
  for (const char* pod : {"[fd00:10:244::5]:6", "[fd00:10:244:1::5]:6"}) {
    EXPECT_TRUE(like(rig().send("a", udp(client6, pod)), "a/10 icmp 1/3 2001:db8:2::1>2001:db8:2::10 *")) << pod;
  }
  EXPECT_EQ(rig().drops(), "unreachable 4");
  EXPECT_TRUE(like(rig().send("a", udp(client4, "10.244.34.5:6")), "b/11 udp *")) << "a node has the block";
}

SLUICE_WITH_WORKERS(Unowned);
SLUICE_WITH_WORKERS(UnknownPods);

}  // namespace
}  // namespace sluice::packet_test
