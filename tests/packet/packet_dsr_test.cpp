// Direct server return (sluice.dev/forwarding: dsr) at the gateway: what goes into the tunnel and what does not, how
// connections of which only one half is seen are kept, errors about the half that is not. The other end of the tunnel:
// packet_dsr_node_test.cpp.
#include <map>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* client = "198.51.100.9:1000";
constexpr const char* client_v6 = "[2001:db8:99::9]:1000";
constexpr const char* vip = "203.0.113.80";
constexpr const char* vip_v6 = "2001:db8:80::80";
const std::string node2 = "b/12 ipip 192.168.0.1>192.168.0.12 | ";
const std::string node3 = "b/13 ipip 192.168.0.1>192.168.0.13 | ";

std::string at(const char* address, int port) {
  const std::string text = address;
  return (text.find(':') == std::string::npos ? text : "[" + text + "]") + ":" + std::to_string(port);
}

ServiceSpec web(std::vector<std::string> endpoints) {
  return {.name = "web",
          .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
          .ports = {"TCP 80 8080 30080", "UDP 53 5353"},
          .endpoints = std::move(endpoints),
          .load_balancer_ip = vip,
          .external_ip = vip_v6,
          .forwarding = "dsr"};
}

class Dsr : public RigTest {
 protected:
  void load(const ServiceSpec& spec, const std::string& more = "") {
    rig().load(list({gateway(more), cluster(), service(spec)}));
  }
  void serve(std::vector<std::string> endpoints) { load(web(std::move(endpoints))); }
  std::string send(const Ip& packet) { return rig().send("a", packet); }
  // The address of the node that a client's first packet went to.
  std::string node_of(const Ip& packet) {
    (void)send(packet);
    return net::to_string(*net::parse_ip(text_of_node()));
  }
  void handshake(const std::string& from = client) {
    ASSERT_TRUE(like(send(tcp(from, at(vip, 80), "S").with_seq(100, 0)), "*| tcp S *"));
    ASSERT_TRUE(like(send(tcp(from, at(vip, 80), "A").with_seq(101, 501)), "*| tcp A *"));
  }

 private:
  std::string text_of_node() {
    const Bytes& outer = rig().only().outer;
    return std::to_string(outer[16]) + "." + std::to_string(outer[17]) + "." + std::to_string(outer[18]) + "." +
           std::to_string(outer[19]);
  }
};

// ---- what goes into the tunnel ---------------------------------------------------------------------------

TEST_P(Dsr, SVC60_IPIP1_TTL1_ThePacketGoesAsItCame) {
  serve({"10.245.40.6 node2"});
  const Bytes sent = tcp(client, at(vip, 80), "S").with_tos(0x2a).with_payload(40).bytes();
  EXPECT_EQ(rig().send("a", sent), node2 + "tcp S 198.51.100.9:1000>203.0.113.80:80 ttl 63 tos 42");
  Bytes expected = sent;
  expected[8] = 63;
  finish_ipv4(expected);
  EXPECT_EQ(rig().only().l3, expected) << "the same but for the TTL";
  EXPECT_EQ(rig().only().outer[8], 63) << "TTL-3";
  EXPECT_EQ(rig().only().outer[1], 0x2a) << "ECN-1";
  EXPECT_EQ(rig().count(dataplane::Event::DirectReturnFlows), 1u);
  EXPECT_EQ(rig().count(dataplane::Event::Masqueraded), 0u);
  EXPECT_EQ(rig().drops(), "");
}

// The mode of the pool is for pods' packets: direct and VXLAN for others' packets, IPIP for these.
TEST_P(Dsr, SVC60_AlwaysIpipToTheNode) {
  serve({"10.244.34.5 node1"});
  EXPECT_EQ(send(udp(client, at(vip, 53))),
            "b/11 ipip 192.168.0.1>192.168.0.11 | udp 198.51.100.9:1000>203.0.113.80:53 ttl 63");
  serve({"10.246.1.20 node3"});
  EXPECT_EQ(send(udp(client, at(vip, 53))), node3 + "udp 198.51.100.9:1000>203.0.113.80:53 ttl 63");
}

TEST_P(Dsr, SVC60_IPIP1_IPv6OverIPv4) {
  serve({"fd00:10:246::20 node3"});
  const Bytes sent = tcp(client_v6, at(vip_v6, 80), "S").with_payload(11).bytes();
  EXPECT_EQ(rig().send("a", sent), node3 + "tcp S [2001:db8:99::9]:1000>[2001:db8:80::80]:80 ttl 63");
  EXPECT_EQ(rig().only().outer[9], net::protocol::ipv6);
  Bytes expected = sent;
  expected[7] = 63;
  EXPECT_EQ(rig().only().l3, expected);
}

TEST_P(Dsr, SVC60_IPIP1_OverIPv6) {
  const std::string own = R"("projectcalico.org/IPv6Address":"2001:db8:a::1/64")";
  const std::string far = R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"node3"},"status":{"addresses":[
    {"type":"InternalIP","address":"2001:db8:a::13"}]}})";
  rig().load(list({gateway(), node("gw", "192.168.0.1", own), far, pool("v6", "fd00:10:246::/48"),
                   block("node3", "fd00:10:246::/122"), service(web({"fd00:10:246::20 node3", "10.246.1.20 node3"}))}));
  EXPECT_EQ(send(udp(client_v6, at(vip_v6, 53))),
            "b/13 ipip 2001:db8:a::1>2001:db8:a::13 | udp [2001:db8:99::9]:1000>[2001:db8:80::80]:53 ttl 63");
  EXPECT_EQ(send(udp(client, at(vip, 53))),
            "b/13 ipip 2001:db8:a::1>2001:db8:a::13 | udp 198.51.100.9:1000>203.0.113.80:53 ttl 63");
  EXPECT_EQ(send(udp(client_v6, at(vip_v6, 53))),
            "b/13 ipip 2001:db8:a::1>2001:db8:a::13 | udp [2001:db8:99::9]:1000>[2001:db8:80::80]:53 ttl 63")
      << "by the short way";
}

TEST_P(Dsr, MASQ1_MASQ2_EverybodyElseIsTranslatedAsEver) {
  serve({"10.246.1.20 node3"});
  EXPECT_TRUE(like(send(tcp(client, "192.0.2.1:30080", "S")), "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"))
      << "a node port stands on our own address";
  EXPECT_TRUE(like(rig().send("b", tcp("10.246.1.5:1000", at(vip, 80), "S")),
                   "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"))
      << "a pod";
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1001", "10.96.0.10:80", "S")),
            "b/13 tcp S 10.246.1.5:1001>10.246.1.20:8080 ttl 63");
  EXPECT_TRUE(like(rig().send("b", tcp("10.246.1.20:1000", at(vip, 80), "S")),
                   "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"))
      << "MASQ-3";
  ServiceSpec translated = web({"10.246.1.20 node3"});
  translated.forwarding = "snat";
  load(translated);
  EXPECT_TRUE(like(send(tcp(client, at(vip, 80), "S")), "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"));
}

TEST_P(Dsr, SVC61_SVC66_SVC30_RulesOfTheServiceHold) {
  ServiceSpec spec = web({"10.246.1.20 node3"});
  spec.more = R"("loadBalancerSourceRanges":["198.51.100.0/24"])";
  load(spec);
  EXPECT_EQ(send(tcp("198.51.101.9:1000", at(vip, 80), "S")), "");
  EXPECT_EQ(rig().drops(), "source_range 1");
  EXPECT_NE(send(tcp(client, at(vip, 80), "S")), "");
  spec = web({"10.246.1.20 node3"});
  spec.more = R"("externalTrafficPolicy":"Local")";
  load(spec);
  EXPECT_EQ(send(tcp("198.51.100.9:1001", at(vip, 80), "S")), "");
  EXPECT_EQ(rig().drops(), "no_local_endpoint 1");
  load(spec, R"("proxy":{"externalPolicyLocalScope":"Cluster"})");
  EXPECT_EQ(send(tcp("198.51.100.9:1001", at(vip, 80), "S")), node3 + "tcp S 198.51.100.9:1001>203.0.113.80:80 ttl 63");
  serve({});
  EXPECT_TRUE(like(send(tcp("198.51.100.9:1002", at(vip, 80), "S")), "a/fe icmp 3/3 203.0.113.80>198.51.100.9 *"));
}

// Wherever the endpoint is, it sees the client's own address.
TEST_P(Dsr, SVC61_AnEndpointOfOursIsReachedWithoutMasquerade) {
  const std::string b_with_pod = R"({"name":"un","device":"net_ring_b","mac":"02:00:00:00:00:0b","role":"workload",
    "addresses":["169.254.1.1/32"],"podAddresses":["10.244.0.5/32"],"podMAC":"02:00:00:00:00:15"})";
  Gateway one;
  one.interfaces = std::string(interface_a) + "," + b_with_pod;
  one.neighbors = R"({"interface":"up","address":"192.0.2.254","mac":"02:00:00:00:00:fe"})";
  rig().load(list({one.text(), service(web({"10.244.0.5 gw"}))}));
  EXPECT_EQ(send(tcp(client, at(vip, 80), "S")), "b/15 tcp S 198.51.100.9:1000>10.244.0.5:8080 ttl 63");
  EXPECT_EQ(rig().send("b", tcp("10.244.0.5:8080", client, "SA")),
            "a/fe tcp SA 203.0.113.80:80>198.51.100.9:1000 ttl 63");
}

// ---- a server that is not a node: its own tunnel ----------------------------------------------------------

TEST_P(Dsr, SVC60_IPIP1_AServerWithTheAddressOnItsLoopback) {
  ServiceSpec spec = web({"192.168.0.12 -", "2001:db8:a::13 -"});
  spec.ports = {"TCP 80 80", "TCP 443 8443"};
  load(spec);
  EXPECT_EQ(send(tcp(client, at(vip, 80), "S")), node2 + "tcp S 198.51.100.9:1000>203.0.113.80:80 ttl 63");
  EXPECT_EQ(send(tcp(client_v6, at(vip_v6, 80), "S")),
            "b/13 ipip 2001:db8:a::1>2001:db8:a::13 | tcp S [2001:db8:99::9]:1000>[2001:db8:80::80]:80 ttl 63");
  EXPECT_TRUE(like(send(tcp(client, at(vip, 443), "S")), "b/12 tcp S 192.168.0.1:*>192.168.0.12:8443 ttl 63"))
      << "nobody there translates ports";
}

// Nothing comes back through such a tunnel (IPIP-3).
TEST_P(Dsr, IPIP3_AServerIsNoSourceOfTunnels) {
  ServiceSpec spec = web({"192.168.0.77 -"});
  spec.ports = {"TCP 80 80"};
  load(spec);
  EXPECT_EQ(rig().send("b", ipip("192.168.0.77", "192.168.0.1", udp("10.244.34.5:6", "192.0.2.10:5").bytes())), "");
  EXPECT_EQ(rig().drops(), "tunnel_unknown_source 1");
}

// ---- one half of a connection ------------------------------------------------------------------------------

TEST_P(Dsr, CT1_CT9_TcpIsEstablishedByTheClientsAck) {
  serve({"10.245.40.6 node2"});
  EXPECT_NE(send(tcp("198.51.100.9:1001", at(vip, 80), "S").with_seq(100, 0)), "");
  handshake();
  EXPECT_EQ(rig().flows(), 2u);
  (void)rig().advance(125'000);
  EXPECT_EQ(rig().flows(), 1u) << "a SYN that nobody acknowledged is forgotten after 120 s";
  (void)rig().advance(600'000);
  EXPECT_EQ(rig().flows(), 1u) << "not the 300 s of a connection without a reply";
  const Ip data = tcp(client, at(vip, 80), "PA").with_seq(101, 501).with_payload(100);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(like(send(data), node2 + "tcp PA *"));
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Dsr, CT10_NumbersAreNotHeldAgainstTheClient) {
  serve({"10.245.40.6 node2"});
  handshake();
  EXPECT_NE(send(tcp(client, at(vip, 80), "PA").with_seq(3'000'000, 900'000'000).with_payload(10)), "")
      << "what the server sent and allowed is not known";
  EXPECT_EQ(send(tcp(client, at(vip, 80), "SF")), "") << "CT-3";
  EXPECT_EQ(rig().drops(), "conntrack_invalid 1");
}

TEST_P(Dsr, CT1_CT4_CloseAndBeginAgain) {
  serve({"10.245.40.6 node2", "10.246.1.20 node3"});
  handshake();
  EXPECT_NE(send(tcp(client, at(vip, 80), "FA").with_seq(101, 501)), "");
  EXPECT_NE(send(tcp(client, at(vip, 80), "A").with_seq(102, 502)), "");
  EXPECT_NE(send(tcp(client, at(vip, 80), "S").with_seq(5000, 0)), "") << "the port again";
  EXPECT_EQ(rig().count(dataplane::Event::FlowsOpened), 2u);
  EXPECT_NE(send(tcp(client, at(vip, 80), "A").with_seq(5001, 1)), "");
  EXPECT_NE(send(tcp(client, at(vip, 80), "FA").with_seq(5001, 1)), "");
  (void)rig().advance(125'000);
  EXPECT_EQ(rig().flows(), 0u) << "120 s after the FIN";
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Dsr, CT14_CT15_AResetEndsItUnlessItGoesOn) {
  serve({"10.245.40.6 node2"});
  handshake();
  EXPECT_NE(send(tcp(client, at(vip, 80), "R").with_seq(77, 0)), "");
  EXPECT_NE(send(tcp(client, at(vip, 80), "A").with_seq(101, 501)), "") << "somebody made the RST up";
  (void)rig().advance(30'000);
  EXPECT_EQ(rig().flows(), 1u);
  EXPECT_NE(send(tcp(client, at(vip, 80), "R").with_seq(101, 0)), "");
  (void)rig().advance(11'000);
  EXPECT_EQ(rig().flows(), 0u);
}

// CT-7: after a fail-over connections come in the middle, and Maglev leads them where they were.
TEST_P(Dsr, CT7_SVC21_PickedUpInTheMiddle) {
  const std::vector<std::string> endpoints{"10.244.34.5 node1", "10.245.40.6 node2", "10.246.1.20 node3"};
  std::map<int, std::string> before;
  serve(endpoints);
  for (int port = 1000; port < 1040; ++port) {
    before[port] = node_of(tcp("198.51.100.9:" + std::to_string(port), at(vip, 80), "S"));
  }
  start({});
  serve(endpoints);
  for (const auto& [port, node] : before) {
    EXPECT_EQ(node_of(tcp("198.51.100.9:" + std::to_string(port), at(vip, 80), "A").with_seq(900, 900)), node);
  }
  (void)rig().advance(3'000);
  EXPECT_NE(send(tcp("198.51.100.9:1000", at(vip, 80), "A").with_seq(901, 900)), "");
  (void)rig().advance(310'000);
  EXPECT_EQ(rig().flows(), 1u) << "the one that went on; of a single ACK nothing is left after 300 s";
}

TEST_P(Dsr, CT1_CT9_UdpThatGoesOnIsAStream) {
  serve({"10.245.40.6 node2"});
  EXPECT_NE(send(udp("198.51.100.9:1001", at(vip, 53))), "");
  EXPECT_NE(send(udp(client, at(vip, 53))), "");
  (void)rig().advance(3'000);
  EXPECT_NE(send(udp(client, at(vip, 53))), "");
  (void)rig().advance(31'000);
  EXPECT_EQ(rig().flows(), 1u) << "one packet: 30 s";
  (void)rig().advance(80'000);
  EXPECT_EQ(rig().flows(), 1u) << "a stream: 120 s";
  (void)rig().advance(15'000);
  EXPECT_EQ(rig().flows(), 0u);
}

// Its answers pass us by, but nothing breaks if they come this way (a node whose default route is the gateway).
TEST_P(Dsr, MASQ14_AnswersThatComeThisWayAreTransit) {
  serve({"10.245.40.6 node2"});
  EXPECT_NE(send(tcp(client, at(vip, 80), "S").with_seq(100, 0)), "");
  EXPECT_EQ(rig().send("b", tcp(at(vip, 80), client, "SA").with_seq(500, 101)),
            "a/fe tcp SA 203.0.113.80:80>198.51.100.9:1000 ttl 63");
  EXPECT_EQ(send(tcp(client, at(vip, 80), "A").with_seq(101, 501)),
            node2 + "tcp A 198.51.100.9:1000>203.0.113.80:80 ttl 63");
  EXPECT_EQ(rig().send("b", tcp(at(vip, 80), client, "PA").with_seq(501, 101).with_payload(5)),
            "a/fe tcp PA 203.0.113.80:80>198.51.100.9:1000 ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

// What the endpoint ends is not seen here, so these connections are given up before others are refused; what was given
// up goes on.
TEST_P(Dsr, CT9_TheyMakeRoomForOthers) {
  start({.connections = 64});
  serve({"10.244.34.5 node1", "10.245.40.6 node2", "10.246.1.20 node3"});
  std::map<int, std::string> nodes;
  for (int port = 1000; port < 1400; ++port) {
    const std::string from = "198.51.100.9:" + std::to_string(port);
    handshake(from);
    nodes[port] = node_of(tcp(from, at(vip, 80), "A").with_seq(101, 501));
  }
  EXPECT_LE(rig().flows(), 64u * GetParam());
  EXPECT_GE(rig().count(dataplane::Event::FlowsEvicted), 400u - 64u * GetParam());
  for (int port = 1000; port < 1400; ++port) {
    const std::string from = "198.51.100.9:" + std::to_string(port);
    EXPECT_EQ(node_of(tcp(from, at(vip, 80), "A").with_seq(101, 501)), nodes[port]);
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Dsr, CT9_WithoutRoomTheyGoWithoutAnEntry) {
  start({.connections = 64});
  serve({"10.246.1.20 node3"});
  for (int port = 1000; port < 1400; ++port) {
    const std::string pod = "10.246.1.5:" + std::to_string(port);
    if (rig().send("b", tcp(pod, "10.96.0.10:80", "S").with_seq(100, 0)).empty()) continue;
    (void)rig().send("b", tcp("10.246.1.20:8080", pod, "SA").with_seq(500, 101));
    (void)rig().send("b", tcp(pod, "10.96.0.10:80", "A").with_seq(101, 501));
  }
  ASSERT_NE(rig().count(dataplane::Event::StatelessForwards), 0u)
      << "the table is full of connections that nobody may give up";
  const uint64_t opened = rig().count(dataplane::Event::FlowsOpened);
  for (int port = 1000; port < 1100; ++port) {
    EXPECT_TRUE(like(send(tcp("198.51.100.9:" + std::to_string(port), at(vip, 80), "S")), node3 + "tcp S *"));
  }
  EXPECT_EQ(rig().count(dataplane::Event::FlowsOpened), opened);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Dsr, FRAG1_FragmentsFollowTheirFirst) {
  serve({"10.245.40.6 node2"});
  const auto parts = fragments(udp(client, at(vip, 53)).with_payload(1000).bytes(), 504);
  EXPECT_EQ(rig().send_burst("a", {parts[1], parts[0]}),
            node2 + "udp 198.51.100.9:1000>203.0.113.80:53 ttl 63 frag 0+ len 524\n" + node2 +
                "udp 198.51.100.9>203.0.113.80 ttl 63 frag 504 len 524");
  EXPECT_EQ(rig().flows(), 1u);
}

// ---- endpoints come and go -----------------------------------------------------------------------------------

TEST_P(Dsr, SVC90_SVC92_ConnectionsStayWithTheirEndpoint) {
  serve({"10.245.40.6 node2"});
  handshake();
  serve({"10.245.40.6 node2", "10.246.1.20 node3", "10.244.34.5 node1"});
  const Ip data = tcp(client, at(vip, 80), "A").with_seq(101, 501);
  EXPECT_TRUE(like(send(data), node2 + "tcp A *"));
  serve({"10.245.40.6 node2 terminating", "10.246.1.20 node3"});
  EXPECT_TRUE(like(send(data), node2 + "tcp A *"));
  EXPECT_TRUE(like(send(tcp("198.51.100.9:2000", at(vip, 80), "S")), node3 + "tcp S *")) << "SVC-91";
  serve({"10.245.40.7 node2 unready", "10.246.1.20 node3"});
  EXPECT_TRUE(like(send(data), node2 + "tcp A *")) << "kept, while there is a tunnel to its node";
  EXPECT_TRUE(like(send(tcp(client, at(vip, 80), "S").with_seq(9000, 0)), node3 + "tcp S *")) << "who begins anew";
}

TEST_P(Dsr, SVC92_ResetIfRemovedEndpointsAreToBeReset) {
  const std::string resets = R"("proxy":{"onBackendRemoved":"Reset"})";
  load(web({"10.245.40.6 node2"}), resets);
  handshake();
  load(web({"10.245.40.7 node2"}), resets);
  EXPECT_EQ(send(tcp(client, at(vip, 80), "A").with_seq(101, 501)),
            "a/fe tcp R 203.0.113.80:80>198.51.100.9:1000 ttl 64");
  EXPECT_EQ(rig().drops(), "endpoint_gone 1");
}

TEST_P(Dsr, SVC94_UdpGoesToAnEndpointThatServes) {
  serve({"10.245.40.6 node2"});
  EXPECT_TRUE(like(send(udp(client, at(vip, 53))), node2 + "*"));
  serve({"10.246.1.20 node3"});
  EXPECT_TRUE(like(send(udp(client, at(vip, 53))), node3 + "*"));
  EXPECT_EQ(rig().flows(), 1u);
}

TEST_P(Dsr, SVC9_TheModeChangesUnderConnections) {
  serve({"10.246.1.20 node3"});
  handshake();
  EXPECT_NE(send(udp(client, at(vip, 53))), "");
  ServiceSpec translated = web({"10.246.1.20 node3"});
  translated.forwarding = "snat";
  load(translated);
  EXPECT_TRUE(
      like(send(tcp(client, at(vip, 80), "A").with_seq(101, 501)), "b/13 tcp A 192.168.0.1:*>10.246.1.20:8080 ttl 63"))
      << "the endpoint will reset it: it knew another address";
  EXPECT_TRUE(like(send(udp(client, at(vip, 53))), "b/13 udp 192.168.0.1:*>10.246.1.20:5353 ttl 63"));
  serve({"10.246.1.20 node3"});
  EXPECT_TRUE(like(send(udp(client, at(vip, 53))), "b/13 udp 192.168.0.1:*>10.246.1.20:5353 ttl 63"))
      << "translated connections go on";
  EXPECT_TRUE(like(send(udp("198.51.100.9:1001", at(vip, 53))), node3 + "udp 198.51.100.9:1001>203.0.113.80:53*"));
}

TEST_P(Dsr, SVC9_SVC92_ItsAddressGoesUnderConnections) {
  serve({"10.246.1.20 node3"});
  handshake();
  const Ip data = tcp(client, at(vip, 80), "A").with_seq(101, 501);
  EXPECT_TRUE(like(send(udp(client, at(vip, 53))), node3 + "udp *"));
  ServiceSpec without = web({"10.246.1.20 node3"});
  without.load_balancer_ip = without.external_ip = "";
  const auto change = [&](const std::string& services) { rig().load(list({gateway(), cluster(), services})); };
  change(service(without));
  EXPECT_TRUE(like(send(data), node3 + "tcp A *")) << "TCP goes on, as to an endpoint that is gone";
  EXPECT_EQ(send(udp(client, at(vip, 53))), "a/fe udp 198.51.100.9:1000>203.0.113.80:53 ttl 63") << "SVC-94";
  EXPECT_EQ(send(tcp("198.51.100.9:2000", at(vip, 80), "S")), "a/fe tcp S 198.51.100.9:2000>203.0.113.80:80 ttl 63");
  EXPECT_EQ(rig().flows(), 1u);
  change(service(web({"10.246.1.20 node3"})));
  EXPECT_TRUE(like(send(data), node3 + "tcp A *"));
  EXPECT_TRUE(like(send(tcp("198.51.100.9:2000", at(vip, 80), "S")), node3 + "tcp S *"));
  change("");
  EXPECT_EQ(send(data), "a/fe tcp A 198.51.100.9:1000>203.0.113.80:80 ttl 63")
      << "nobody knows any more where its endpoint is";
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Dsr, SVC40_SVC41_AffinityByClient) {
  ServiceSpec spec = web({"10.244.34.5 node1", "10.245.40.6 node2", "10.246.1.20 node3"});
  spec.more = R"("sessionAffinity":"ClientIP")";
  load(spec);
  for (const std::string from : {"198.51.100.1:", "198.51.100.2:", "198.51.100.3:", "198.51.100.4:"}) {
    const std::string node = node_of(tcp(from + "1000", at(vip, 80), "S"));
    for (int port = 1001; port < 1010; ++port) {
      EXPECT_EQ(node_of(tcp(from + std::to_string(port), at(vip, 80), "S")), node);
    }
  }
}

TEST_P(Dsr, SVC22_SVC91_WeightsAndDrains) {
  ServiceSpec spec = web({"10.245.40.6 node2", "10.246.1.20 node3"});
  spec.weights = R"({"10.245.40.6": 0})";
  load(spec);
  for (int port = 1000; port < 1020; ++port) {
    EXPECT_TRUE(like(send(tcp("198.51.100.9:" + std::to_string(port), at(vip, 80), "S")), node3 + "*"));
  }
}

// ---- size, TTL, errors ---------------------------------------------------------------------------------------

TEST_P(Dsr, MTU1_MTU2_TooBigForTheTunnel) {
  serve({"10.245.40.6 node2"});
  const Ip packet = udp(client, at(vip, 53));
  EXPECT_TRUE(like(send(packet.with_df().with_payload(1480 - 28)), node2 + "udp *"));
  EXPECT_EQ(rig().only().outer.size(), 1500u);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(send(packet.with_df().with_payload(1481 - 28)),
              "a/fe icmp 3/4 mtu 1480 192.0.2.1>198.51.100.9 ttl 64 "
              "[ udp 198.51.100.9:1000>203.0.113.80:53 ttl 64 df ]");
  }
  EXPECT_EQ(rig().drops(), "mtu_exceeded 2");
  EXPECT_EQ(send(packet.with_payload(1481 - 28)),
            node2 + "udp 198.51.100.9:1000>203.0.113.80:53 ttl 63 frag 0+ len 1476\n" + node2 +
                "udp 198.51.100.9>203.0.113.80 ttl 63 frag 1456 len 25")
      << "cut before it is wrapped";
}

TEST_P(Dsr, MTU2_TTL2_IPv6) {
  serve({"fd00:10:246::20 node3"});
  EXPECT_TRUE(like(send(udp(client_v6, at(vip_v6, 53)).with_payload(1480 - 48)), node3 + "udp *"));
  EXPECT_TRUE(like(send(udp(client_v6, at(vip_v6, 53)).with_payload(1481 - 48)), "a/fe icmp 2/0 mtu 1480 *"));
  EXPECT_TRUE(like(send(udp(client_v6, at(vip_v6, 53)).with_ttl(1)), "a/fe icmp 3/0 *"));
}

TEST_P(Dsr, MTU3_IPIP4_ErrorsAboutTheTunnelReachTheClient) {
  serve({"10.245.40.6 node2"});
  const Ip packet = udp(client, at(vip, 53)).with_df();
  ASSERT_NE(send(packet), "");
  const Bytes outer = rig().only().outer;
  EXPECT_EQ(rig().send("b", icmp_error("192.168.0.254", "192.168.0.1", 3, 4, outer, 1400)), "");
  EXPECT_TRUE(like(send(packet.with_payload(1381 - 28)), "a/fe icmp 3/4 mtu 1380 192.0.2.1>198.51.100.9 *"));
  EXPECT_TRUE(like(send(packet.with_payload(1380 - 28)), node2 + "*"));
  EXPECT_EQ(rig().send("b", icmp_error("192.168.0.254", "192.168.0.1", 3, 1, outer)), "");
  EXPECT_TRUE(like(send(packet), "a/fe icmp 3/1 192.0.2.1>198.51.100.9 *\n" + node2 + "udp *"));
}

// About an answer that we never saw: a router between the endpoint and the client tells the service's address.
TEST_P(Dsr, ICMP2_ICMP3_AnErrorAboutAnAnswerFollowsTheClientsPackets) {
  serve({"10.245.40.6 node2", "fd00:10:246::20 node3"});
  handshake();
  const Bytes answer = tcp(at(vip, 80), client, "PA").with_seq(501, 101).with_payload(1400).with_df().bytes();
  const Ip error = icmp_error("198.51.100.254", vip, 3, 4, answer, 1300);
  for (const Bytes& sent :
       {error.bytes(), icmp_error("198.51.100.254", vip, 3, 4, shortest_quote(answer), 1300).bytes()}) {
    EXPECT_TRUE(like(rig().send("a", sent), node2 + "icmp 3/4 mtu 1300 198.51.100.254>203.0.113.80 ttl 63 [ tcp*"));
    Bytes expected = sent;
    expected[8] = 63;
    finish_ipv4(expected);
    EXPECT_EQ(rig().only().l3, expected) << "as it came: the node knows what to translate";
  }
  ASSERT_NE(send(udp(client_v6, at(vip_v6, 53))), "");
  const Bytes answer_v6 = udp(at(vip_v6, 53), client_v6).with_payload(1000).bytes();
  EXPECT_TRUE(like(send(icmp_error("2001:db8:99::fe", vip_v6, 2, 0, answer_v6, 1300)),
                   node3 + "icmp 2/0 mtu 1300 2001:db8:99::fe>2001:db8:80::80 ttl 63 *"));
  EXPECT_EQ(rig().drops(), "");
  // To somebody else than the sender of what it quotes.
  ASSERT_EQ(send(icmp_error("198.51.100.254", "10.246.1.5", 3, 4, answer, 1300)), "");
  EXPECT_EQ(rig().drops(), "icmp_malformed 1");
  const Bytes unknown = tcp(at(vip, 80), "198.51.100.9:4444", "A").bytes();
  EXPECT_EQ(send(icmp_error("198.51.100.254", vip, 3, 4, unknown, 1300)), "");
  EXPECT_EQ(rig().drops(), "icmp_no_flow 1");
}

TEST_P(Dsr, ICMP2_AServersOwnErrorPassesAsItIs) {
  serve({"10.245.40.6 node2"});
  ASSERT_NE(send(udp(client, at(vip, 53))), "");
  EXPECT_EQ(rig().send("b", icmp_error(vip, "198.51.100.9", 3, 3, rig().only().l3)),
            "a/fe icmp 3/3 203.0.113.80>198.51.100.9 ttl 63 [ udp 198.51.100.9:1000>203.0.113.80:53 ttl 63 ]");
}

SLUICE_WITH_WORKERS(Dsr);

}  // namespace
}  // namespace sluice::packet_test
