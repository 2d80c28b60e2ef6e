// Direct server return at the other end of the tunnel: the router of the endpoint's node takes what a gateway relayed,
// finds one of its own endpoints, and answers the client itself.
#include <set>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* client = "198.51.100.9:1000";
constexpr const char* client_v6 = "[2001:db8:99::9]:1000";
constexpr const char* vip = "203.0.113.80";
constexpr const char* vip_v6 = "2001:db8:80::80";
const char* const pod_interface = R"({"name":"pod","device":"net_ring_c","mac":"02:00:00:00:00:0c","role":"workload",
  "addresses":["169.254.1.1/32"],"podAddresses":["10.244.0.5/32","10.244.0.6/32","fd00:10:244::5/128"],
  "podMAC":"02:00:00:00:00:15"})";

// The node is "gw" at 192.168.0.1 with its pods at port c; the gateway is node2, 192.168.0.12.
class DsrNode : public RigTest {
 protected:
  void load(std::vector<std::string> endpoints, const std::string& forwarding = "dsr", const std::string& more = "") {
    const ServiceSpec web{.name = "web",
                          .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                          .ports = {"TCP 80 8080 30080", "UDP 53 5353"},
                          .endpoints = std::move(endpoints),
                          .load_balancer_ip = vip,
                          .external_ip = vip_v6,
                          .more = more,
                          .forwarding = forwarding};
    Gateway node;
    node.interfaces += std::string(",") + pod_interface;
    rig().load(list({node.text(), cluster(), pool("v6", "fd00:10:244::/48"), service(web)}));
  }
  std::string relayed(const Ip& packet, const char* from = "192.168.0.12") {
    return rig().send("b", ipip(from, "192.168.0.1", packet.bytes()));
  }
};

Ip to_vip(const char* flags) { return tcp(client, "203.0.113.80:80", flags).with_ttl(63); }

TEST_P(DsrNode, SVC61_MASQ4_ToAPodOfOursAndStraightBack) {
  load({"10.244.0.5 gw", "fd00:10:244::5 gw", "10.246.1.20 node3"});
  EXPECT_EQ(relayed(to_vip("S").with_seq(100, 0)), "c/15 tcp S 198.51.100.9:1000>10.244.0.5:8080 ttl 62");
  EXPECT_EQ(rig().send("c", tcp("10.244.0.5:8080", client, "SA").with_seq(500, 101)),
            "a/fe tcp SA 203.0.113.80:80>198.51.100.9:1000 ttl 63")
      << "not through the tunnel";
  EXPECT_EQ(relayed(to_vip("A").with_seq(101, 501)), "c/15 tcp A 198.51.100.9:1000>10.244.0.5:8080 ttl 62");
  EXPECT_EQ(relayed(to_vip("PA").with_seq(101, 501).with_payload(9)),
            "c/15 tcp PA 198.51.100.9:1000>10.244.0.5:8080 ttl 62");
  EXPECT_EQ(rig().send("c", tcp("10.244.0.5:8080", client, "PA").with_seq(501, 110).with_payload(99)),
            "a/fe tcp PA 203.0.113.80:80>198.51.100.9:1000 ttl 63");
  EXPECT_EQ(rig().count(dataplane::Event::Masqueraded), 0u);
  EXPECT_EQ(rig().count(dataplane::Event::DirectReturnFlows), 0u);
  EXPECT_EQ(rig().count(dataplane::Event::Encapsulated), 0u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(DsrNode, SVC61_IPv6) {
  load({"10.244.0.5 gw", "fd00:10:244::5 gw"});
  EXPECT_EQ(relayed(udp(client_v6, "[2001:db8:80::80]:53").with_ttl(63)),
            "c/15 udp [2001:db8:99::9]:1000>[fd00:10:244::5]:5353 ttl 62");
  EXPECT_EQ(rig().send("c", udp("[fd00:10:244::5]:5353", client_v6)),
            "a/fe udp [2001:db8:80::80]:53>[2001:db8:99::9]:1000 ttl 63");
}

TEST_P(DsrNode, SVC20_OurEndpointsShareWhatComes) {
  load({"10.244.0.5 gw", "10.244.0.6 gw", "10.246.1.20 node3"});
  std::set<std::string> endpoints;
  for (int port = 1000; port < 1050; ++port) {
    const std::string from = "198.51.100.9:" + std::to_string(port);
    ASSERT_TRUE(like(relayed(udp(from, "203.0.113.80:53")), "c/15 udp *"));
    const std::string first = rig().only().ip.dst.text();
    ASSERT_TRUE(like(relayed(udp(from, "203.0.113.80:53")), "c/15 udp *"));
    EXPECT_EQ(rig().only().ip.dst.text(), first);
    endpoints.insert(first);
  }
  EXPECT_EQ(endpoints, (std::set<std::string>{"10.244.0.5:5353", "10.244.0.6:5353"}));
}

// No loop: to another node it is never sent.
TEST_P(DsrNode, SVC70_WithoutAnEndpointOfOursItEndsHere) {
  load({"10.246.1.20 node3"});
  EXPECT_EQ(relayed(to_vip("S")), "");
  EXPECT_EQ(rig().drops(), "no_local_endpoint 1");
  load({"10.244.0.5 gw unready", "10.246.1.20 node3"});
  EXPECT_EQ(relayed(to_vip("S")), "");
  EXPECT_EQ(rig().drops(), "no_local_endpoint 1");
  load({});
  EXPECT_TRUE(like(relayed(to_vip("S")), "a/fe icmp 3/3 203.0.113.80>198.51.100.9 *")) << "SVC-30";
}

// The client came to us first, then to another gateway, which relays to us: both have an entry that leads to a tunnel.
TEST_P(DsrNode, SVC70_AnOlderEntryOfOursDoesNotSendItOn) {
  load({"10.246.1.20 node3"});
  const std::string out = "b/13 ipip 192.168.0.1>192.168.0.13 | ";
  ASSERT_TRUE(like(rig().send("a", to_vip("S").with_seq(100, 0)), out + "tcp S *"));
  ASSERT_TRUE(like(rig().send("a", to_vip("A").with_seq(101, 501)), out + "tcp A *"));
  ASSERT_TRUE(like(rig().send("a", to_vip("A").with_seq(101, 501)), out + "tcp A *"));
  EXPECT_EQ(relayed(to_vip("A").with_seq(101, 501)), "");
  EXPECT_EQ(rig().drops(), "no_local_endpoint 1");
  EXPECT_EQ(rig().flows(), 0u);
  ASSERT_TRUE(like(rig().send("a", to_vip("S").with_seq(200, 0)), out + "tcp S *"));
  const Bytes answer = tcp("203.0.113.80:80", client, "A").bytes();
  EXPECT_EQ(relayed(icmp_error("198.51.100.254", vip, 3, 4, answer, 1300)), "");
  EXPECT_EQ(rig().drops(), "icmp_no_flow 1");
}

TEST_P(DsrNode, ICMP1_ICMP2_ARelayedErrorReachesThePod) {
  load({"10.244.0.5 gw", "fd00:10:244::5 gw"});
  ASSERT_NE(relayed(to_vip("S").with_seq(100, 0)), "");
  ASSERT_NE(rig().send("c", tcp("10.244.0.5:8080", client, "SA").with_seq(500, 101).with_payload(700)), "");
  EXPECT_EQ(relayed(icmp_error("198.51.100.254", vip, 3, 4, rig().only().l3, 600)),
            "c/15 icmp 3/4 mtu 600 198.51.100.254>10.244.0.5 ttl 63 "
            "[ tcp SA 10.244.0.5:8080>198.51.100.9:1000 ttl 63 ]");
  ASSERT_NE(relayed(udp(client_v6, "[2001:db8:80::80]:53")), "");
  ASSERT_NE(rig().send("c", udp("[fd00:10:244::5]:5353", client_v6).with_payload(1300)), "");
  EXPECT_EQ(relayed(icmp_error("2001:db8:99::fe", vip_v6, 2, 0, rig().only().l3, 1280)),
            "c/15 icmp 2/0 mtu 1280 2001:db8:99::fe>fd00:10:244::5 ttl 63 "
            "[ udp [fd00:10:244::5]:5353>[2001:db8:99::9]:1000 ttl 63 ]");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(DsrNode, IPIP3_OnlyFromNodesWeKnow) {
  load({"10.244.0.5 gw"});
  EXPECT_EQ(relayed(to_vip("S"), "192.168.0.77"), "");
  EXPECT_EQ(rig().drops(), "tunnel_unknown_source 1");
}

// IPIP is taken for such a service's sake even where no pool and no tunnel asks for it.
TEST_P(DsrNode, IPIP3_AcceptedWithoutAnyPool) {
  const auto document = [](const std::string& forwarding) {
    Gateway node;
    node.interfaces += std::string(",") + pod_interface;
    const ServiceSpec web{.name = "web",
                          .cluster_ips = {"10.96.0.10"},
                          .ports = {"TCP 80 8080"},
                          .endpoints = {"10.244.0.5 gw"},
                          .load_balancer_ip = vip,
                          .forwarding = forwarding};
    return list({node.text(), packet_test::node("gw", "192.168.0.1"), packet_test::node("node2", "192.168.0.12"),
                 service(web)});
  };
  rig().load(document("dsr"));
  EXPECT_EQ(relayed(to_vip("S")), "c/15 tcp S 198.51.100.9:1000>10.244.0.5:8080 ttl 62");
  rig().load(document("snat"));
  EXPECT_TRUE(like(relayed(to_vip("S")), "b/12 icmp 3/2 192.168.0.1>192.168.0.12 *"));
}

// A service that is translated is so for what comes by a tunnel as well, and pods are no clients from outside.
TEST_P(DsrNode, MASQ1_MASQ2_OtherTrafficFromTunnelsIsAsEver) {
  load({"10.246.1.20 node3"}, "snat");
  EXPECT_TRUE(like(relayed(to_vip("S")), "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 62"));
  load({"10.246.1.20 node3"});
  EXPECT_TRUE(like(relayed(tcp("10.245.40.6:1000", "203.0.113.80:80", "S")),
                   "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"));
  EXPECT_TRUE(like(relayed(tcp("10.245.40.6:1001", "10.96.0.10:80", "S")),
                   "b/13 tcp S 10.245.40.6:1001>10.246.1.20:8080 ttl 63"));
}

TEST_P(DsrNode, SVC40_AffinityHoldsAmongOurEndpoints) {
  load({"10.244.0.5 gw", "10.244.0.6 gw", "10.246.1.20 node3"}, "dsr", R"("sessionAffinity":"ClientIP")");
  ASSERT_TRUE(like(relayed(udp(client, "203.0.113.80:53")), "c/15 udp *"));
  const std::string first = rig().only().ip.dst.text();
  for (int port = 2000; port < 2020; ++port) {
    ASSERT_TRUE(like(relayed(udp("198.51.100.9:" + std::to_string(port), "203.0.113.80:53")), "c/15 udp *"));
    EXPECT_EQ(rig().only().ip.dst.text(), first);
  }
}

TEST_P(DsrNode, FRAG1_RelayedFragments) {
  load({"10.244.0.5 gw"});
  const auto parts = fragments(udp(client, "203.0.113.80:53").with_payload(1000).bytes(), 504);
  EXPECT_EQ(rig().send_burst(
                "b", {ipip("192.168.0.12", "192.168.0.1", parts[1]), ipip("192.168.0.12", "192.168.0.1", parts[0])}),
            "c/15 udp 198.51.100.9:1000>10.244.0.5:5353 ttl 63 frag 0+ len 524\n"
            "c/15 udp 198.51.100.9>10.244.0.5 ttl 63 frag 504 len 524");
}

SLUICE_WITH_WORKERS(DsrNode);

}  // namespace
}  // namespace sluice::packet_test
