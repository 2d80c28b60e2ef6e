// Errors about packets that are translated or tunnelled: TTL and size at every kind of hop, who they come from, what
// they quote. The sender must read about the packet it sent (ICMP-5).
#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

const ServiceSpec direct{.name = "direct",
                         .cluster_ips = {"10.96.0.10"},
                         .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                         .endpoints = {"10.246.1.20 node3"},
                         .load_balancer_ip = "198.51.100.80"};
const ServiceSpec tunnelled{.name = "tunnelled",
                            .cluster_ips = {"10.96.0.13"},
                            .ports = {"UDP 53 5353 30054"},
                            .endpoints = {"10.244.34.5 node1"}};

std::string from(const std::string& router_and_client, const std::string& quoted) {
  return "icmp 11/0 " + router_and_client + " ttl 64 [ " + quoted + " ttl 1 ]";
}

class Errors : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load();
  }
  void load(const std::string& more = "", const std::vector<ServiceSpec>& services = {direct, tunnelled}) {
    std::string texts;
    for (const ServiceSpec& spec : services) texts += (texts.empty() ? "" : ",") + service(spec);
    rig().load(list({gateway(more), cluster(R"("natOutgoing":true)"), texts}));
  }
  std::string from_node1(const Ip& packet) {
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac("gw");
    return rig().send("b", vxlan("192.168.0.11", "192.168.0.1", packet.bytes(), options));
  }
  // The translated source of a new flow of `client` through the node port.
  std::string open(const char* client, const char* node_port) {
    EXPECT_NE(rig().send("a", udp(client, node_port)), "");
    return rig().only().ip.src.text();
  }
};

constexpr const char* vxlan_out = "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | ";
constexpr const char* ipip_out = "b/12 ipip 192.168.0.1>192.168.0.12 | ";
constexpr const char* client = "198.51.100.9:1000";

// ---- TTL -----------------------------------------------------------------------------------------------

TEST_P(Errors, TTL1_TTL2_IntoATunnel) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.34.5:6").with_ttl(2)),
            vxlan_out + std::string("udp 192.0.2.10:5>10.244.34.5:6 ttl 1"));
  EXPECT_EQ(rig().only().outer[8], 64) << "TTL-3";
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.245.40.6:6").with_ttl(2)),
            ipip_out + std::string("udp 192.0.2.10:5>10.245.40.6:6 ttl 1"));
  EXPECT_EQ(rig().only().outer[8], 1) << "TTL-3: inherited";
  for (const char* pod : {"10.244.34.5", "10.245.40.6"}) {
    EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", std::string(pod) + ":6").with_ttl(1)),
              "a/10 " + from("192.0.2.1>192.0.2.10", "udp 192.0.2.10:5>" + std::string(pod) + ":6"));
  }
  EXPECT_EQ(rig().drops(), "ttl_exceeded 2");
}

TEST_P(Errors, TTL1_TTL2_OutOfATunnel) {
  EXPECT_TRUE(
      like(from_node1(udp("10.244.34.5:6", "192.0.2.10:5").with_ttl(2)), "a/10 udp 192.0.2.1:*>192.0.2.10:5 ttl 1"));
  EXPECT_EQ(
      rig().send("b", ipip("192.168.0.12", "192.168.0.1", udp("10.245.40.6:6", "192.0.2.10:5").with_ttl(1).bytes())),
      ipip_out + from("10.245.0.0>10.245.40.6", "udp 10.245.40.6:6>192.0.2.10:5"));
  EXPECT_EQ(from_node1(udp("10.244.34.5:6", "10.245.40.6:5").with_ttl(1)),
            vxlan_out + from("10.244.0.0>10.244.34.5", "udp 10.244.34.5:6>10.245.40.6:5"))
      << "from one tunnel into the other";
  EXPECT_EQ(rig().drops(), "ttl_exceeded 2");
}

TEST_P(Errors, TTL2_ICMP5_ToAServiceAndBack) {
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.10:53").with_ttl(1)),
            "b/13 " + from("192.168.0.1>10.246.1.5", "udp 10.246.1.5:1000>10.96.0.10:53"))
      << "the first packet";
  ASSERT_NE(rig().send("b", udp("10.246.1.5:1000", "10.96.0.10:53").with_ttl(2)), "");
  EXPECT_EQ(rig().only().ip.ttl, 1);
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.10:53").with_ttl(1)),
            "b/13 " + from("192.168.0.1>10.246.1.5", "udp 10.246.1.5:1000>10.96.0.10:53"))
      << "a later one";
  EXPECT_EQ(rig().send("b", udp("10.246.1.20:5353", "10.246.1.5:1000").with_ttl(1)),
            "b/13 " + from("192.168.0.1>10.246.1.20", "udp 10.246.1.20:5353>10.246.1.5:1000"))
      << "the reply";
}

TEST_P(Errors, TTL2_ICMP5_MasqueradedThereAndBack) {
  const std::string translated = open(client, "192.0.2.1:30053");
  EXPECT_EQ(rig().send("a", udp(client, "192.0.2.1:30053").with_ttl(1)),
            "a/fe " + from("192.0.2.1>198.51.100.9", "udp 198.51.100.9:1000>192.0.2.1:30053"));
  EXPECT_EQ(rig().send("b", udp("10.246.1.20:5353", translated).with_ttl(1)),
            "b/13 " + from("192.168.0.1>10.246.1.20", "udp 10.246.1.20:5353>" + translated));
}

TEST_P(Errors, TTL2_ICMP5_AServiceBehindATunnel) {
  const std::string translated = open(client, "192.0.2.1:30054");
  EXPECT_EQ(rig().send("a", udp(client, "192.0.2.1:30054").with_ttl(1)),
            "a/fe " + from("192.0.2.1>198.51.100.9", "udp 198.51.100.9:1000>192.0.2.1:30054"));
  EXPECT_EQ(from_node1(udp("10.244.34.5:5353", translated).with_ttl(1)),
            vxlan_out + from("10.244.0.0>10.244.34.5", "udp 10.244.34.5:5353>" + translated));
  EXPECT_EQ(from_node1(udp("10.244.34.5:5353", translated).with_ttl(2)),
            "a/fe udp 192.0.2.1:30054>198.51.100.9:1000 ttl 1");
}

TEST_P(Errors, TTL2_ICMP5_NatOutgoing) {
  EXPECT_EQ(rig().send("b", echo("10.246.1.5", "198.51.100.9", 7).with_ttl(1)),
            "b/13 icmp 11/0 192.168.0.1>10.246.1.5 ttl 64 [ echo 10.246.1.5>198.51.100.9 id 7 ttl 1 ]")
      << "traceroute";
  ASSERT_NE(rig().send("b", udp("10.246.1.5:1000", "198.51.100.9:53")), "");
  const std::string translated = rig().only().ip.src.text();
  EXPECT_EQ(rig().send("a", udp("198.51.100.9:53", translated).with_ttl(1)),
            "a/fe " + from("192.0.2.1>198.51.100.9", "udp 198.51.100.9:53>" + translated));
}

TEST_P(Errors, TTL2_WhatIsForUsIsNotExceeded) {
  load(R"("proxy":{"vipEchoReply":true})");
  EXPECT_EQ(rig().send("a", echo("192.0.2.10", "192.0.2.1", 1).with_ttl(1)),
            "a/10 echo-reply 192.0.2.1>192.0.2.10 id 1 ttl 64");
  EXPECT_EQ(rig().send("b", echo("10.246.1.5", "10.96.0.10", 1).with_ttl(1)),
            "b/13 echo-reply 10.96.0.10>10.246.1.5 id 1 ttl 64");
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1", "10.96.0.10:99").with_ttl(1)),
            "b/13 icmp 3/3 10.96.0.10>10.246.1.5 ttl 64 [ udp 10.246.1.5:1>10.96.0.10:99 ttl 1 ]");
  VxlanOptions options;
  options.inner_destination = encap::vtep_mac("gw");
  Bytes outer = vxlan("192.168.0.11", "192.168.0.1", udp("10.244.34.5:6", "192.0.2.10:5").bytes(), options);
  outer[8] = 1;
  finish_ipv4(outer);
  EXPECT_TRUE(like(rig().send("b", outer), "a/10 udp 192.0.2.1:*>192.0.2.10:5 ttl 63")) << "the outer header ends here";
}

// ---- size ----------------------------------------------------------------------------------------------

size_t payload(int mtu) { return static_cast<size_t>(mtu - 28); }
size_t payload_v6(int mtu) { return static_cast<size_t>(mtu - 48); }

TEST_P(Errors, MTU6_ICMP5_ARequestTooBigForTheTunnel) {
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.13:53").with_df().with_payload(payload(1450))),
            vxlan_out + std::string("udp 10.246.1.5:1000>10.244.34.5:5353 ttl 63 df"));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.13:53").with_df().with_payload(payload(1451))),
              "b/13 icmp 3/4 mtu 1450 192.168.0.1>10.246.1.5 ttl 64 [ udp 10.246.1.5:1000>10.96.0.13:53 ttl 64 df ]");
    EXPECT_EQ(
        rig().send("a", udp(client, "192.0.2.1:30054").with_df().with_payload(payload(1451))),
        "a/fe icmp 3/4 mtu 1450 192.0.2.1>198.51.100.9 ttl 64 [ udp 198.51.100.9:1000>192.0.2.1:30054 ttl 64 df ]");
  }
  EXPECT_EQ(rig().drops(), "mtu_exceeded 4");
}

// The pod behind the tunnel asks the outside, whose answer does not fit the tunnel.
TEST_P(Errors, MTU6_ICMP5_AnAnswerTooBigForTheTunnel) {
  ASSERT_TRUE(like(from_node1(udp("10.244.34.5:1000", "198.51.100.9:53")), "a/fe udp 192.0.2.1:*"));
  const std::string translated = rig().only().ip.src.text();
  EXPECT_EQ(
      rig().send("a", udp("198.51.100.9:53", translated).with_df().with_payload(payload(1451))),
      "a/fe icmp 3/4 mtu 1450 192.0.2.1>198.51.100.9 ttl 64 [ udp 198.51.100.9:53>" + translated + " ttl 64 df ]");
  EXPECT_EQ(rig().send("a", udp("198.51.100.9:53", translated).with_payload(payload(1460))),
            vxlan_out + std::string("udp 198.51.100.9:53>10.244.34.5:1000 ttl 63 frag 0+ len 1444\n") + vxlan_out +
                "udp 198.51.100.9>10.244.34.5 ttl 63 frag 1424 len 36")
      << "MTU-2";
  EXPECT_EQ(text_of(reassembled(rig().out()[0].l3, rig().out()[1].l3)), "udp 198.51.100.9:53>10.244.34.5:1000 ttl 63");
}

// IPv6 pods behind VXLAN over IPv4: 50 bytes, and nobody but the sender fragments.
class ErrorsV6 : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load("");
  }
  void load(const std::string& more) {
    const ServiceSpec dns{.name = "dns",
                          .cluster_ips = {"fd00:10:96::53"},
                          .ports = {"UDP 53 5353 30053"},
                          .endpoints = {"fd00:10:246::20 node3"}};
    const std::string node3 = R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"node3"},"status":{"addresses":[
      {"type":"InternalIP","address":"192.168.0.13"},{"type":"InternalIP","address":"2001:db8:a::13"}]}})";
    rig().load(list({gateway(more), node("gw", "192.168.0.1"), node3,
                     pool("v6", "fd00:10:246::/48", R"("vxlanMode":"Always")"), block("node3", "fd00:10:246::/122"),
                     service(dns)}));
  }
  static constexpr const char* out = "b/13 vxlan 192.168.0.1>192.168.0.13 vni 4096 | ";
  std::string from_node3(const Ip& packet) {
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac("gw");
    return rig().send("b", vxlan("192.168.0.13", "192.168.0.1", packet.bytes(), options));
  }
};

TEST_P(ErrorsV6, MTU1_MTU2_IntoVxlan) {
  const Ip packet = udp("[2001:db8:2::10]:5", "[fd00:10:246::5]:6");
  EXPECT_EQ(rig().send("a", packet.with_payload(payload_v6(1450))),
            out + std::string("udp [2001:db8:2::10]:5>[fd00:10:246::5]:6 ttl 63"));
  EXPECT_EQ(rig().only().outer.size(), 1500u);
  EXPECT_EQ(rig().send("a", packet.with_payload(payload_v6(1451))),
            "a/10 icmp 2/0 mtu 1450 2001:db8:2::1>2001:db8:2::10 ttl 64 "
            "[ udp [2001:db8:2::10]:5>[fd00:10:246::5]:6 ttl 64 ]");
  EXPECT_EQ(rig().only().outer.size(), 1280u) << "ICMP-7";
  EXPECT_EQ(rig().drops(), "mtu_exceeded 1");
}

TEST_P(ErrorsV6, MTU1_TheConfiguredMtuIsTold) {
  load(R"("overlay":{"mtu":1280})");
  const Ip packet = udp("[2001:db8:2::10]:5", "[fd00:10:246::5]:6");
  EXPECT_EQ(rig().send("a", packet.with_payload(payload_v6(1280))),
            out + std::string("udp [2001:db8:2::10]:5>[fd00:10:246::5]:6 ttl 63"));
  EXPECT_TRUE(like(rig().send("a", packet.with_payload(payload_v6(1281))), "a/10 icmp 2/0 mtu 1280 *"));
}

TEST_P(ErrorsV6, MTU6_ICMP5_AServiceBehindVxlan) {
  EXPECT_EQ(rig().send("a", udp("[2001:db8:99::9]:1000", "[2001:db8:2::1]:30053").with_payload(payload_v6(1451))),
            "a/fe icmp 2/0 mtu 1450 2001:db8:2::1>2001:db8:99::9 ttl 64 "
            "[ udp [2001:db8:99::9]:1000>[2001:db8:2::1]:30053 ttl 64 ]");
  ASSERT_TRUE(like(rig().send("a", udp("[2001:db8:99::9]:1000", "[2001:db8:2::1]:30053")), out + std::string("udp *")));
  const std::string translated = rig().only().ip.src.text();
  EXPECT_EQ(from_node3(udp("[fd00:10:246::20]:5353", translated)),
            "a/fe udp [2001:db8:2::1]:30053>[2001:db8:99::9]:1000 ttl 63");
}

TEST_P(ErrorsV6, TTL1_TTL2_IntoVxlanAndOutOfIt) {
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:246::5]:6").with_ttl(2)),
            out + std::string("udp [2001:db8:2::10]:5>[fd00:10:246::5]:6 ttl 1"));
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:246::5]:6").with_ttl(1)),
            "a/10 icmp 3/0 2001:db8:2::1>2001:db8:2::10 ttl 64 [ udp [2001:db8:2::10]:5>[fd00:10:246::5]:6 ttl 1 ]");
  EXPECT_EQ(from_node3(udp("[fd00:10:246::5]:6", "[2001:db8:2::10]:5").with_ttl(1)),
            out + std::string("icmp 3/0 2001:db8:2::1>fd00:10:246::5 ttl 64 "
                              "[ udp [fd00:10:246::5]:6>[2001:db8:2::10]:5 ttl 1 ]"));
}

// ---- who an error comes from (ICMP-2) --------------------------------------------------------------------

TEST_P(Errors, ICMP2_OriginalShowsWhoSentTheError) {
  load(R"("icmp":{"errorSource":"original"})");
  ASSERT_NE(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S")), "");
  const Bytes seen = rig().only().l3;
  EXPECT_EQ(rig().send("b", icmp_error("192.168.0.13", "10.246.1.5", 11, 0, seen)),
            "b/13 icmp 11/0 192.168.0.13>10.246.1.5 ttl 63 [ tcp S 10.246.1.5:1000>10.96.0.10:80 ttl 63 ]");
  EXPECT_EQ(rig().send("b", icmp_error("10.246.1.20", "10.246.1.5", 3, 3, seen)),
            "b/13 icmp 3/3 10.96.0.10>10.246.1.5 ttl 63 [ tcp S 10.246.1.5:1000>10.96.0.10:80 ttl 63 ]")
      << "the endpoint speaks to the client as the service, in errors too";
  const std::string translated = open(client, "192.0.2.1:30053");
  EXPECT_EQ(rig().send("b", icmp_error("192.168.0.13", "192.168.0.1", 3, 1, rig().only().l3)),
            "a/fe icmp 3/1 192.168.0.13>198.51.100.9 ttl 63 [ udp 198.51.100.9:1000>192.0.2.1:30053 ttl 63 ]");
  ASSERT_NE(rig().send("b", udp("10.246.1.20:5353", translated)), "");
  EXPECT_EQ(rig().send("a", icmp_error("203.0.113.7", "192.0.2.1", 3, 4, rig().only().l3, 1000)),
            "b/13 icmp 3/4 mtu 1000 203.0.113.7>10.246.1.20 ttl 63 [ udp 10.246.1.20:5353>" + translated + " ttl 63 ]");
}

TEST_P(Errors, ICMP2_VipHidesWhatIsBehindTheService) {
  ASSERT_NE(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S")), "");
  EXPECT_EQ(rig().send("b", icmp_error("192.168.0.13", "10.246.1.5", 11, 0, rig().only().l3)),
            "b/13 icmp 11/0 10.96.0.10>10.246.1.5 ttl 63 [ tcp S 10.246.1.5:1000>10.96.0.10:80 ttl 63 ]");
}

// It holds for errors about flows that are open already.
TEST_P(Errors, ICMP2_TheSettingChangesUnderOpenFlows) {
  ASSERT_NE(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S")), "");
  const Bytes seen = rig().only().l3;
  load(R"("icmp":{"errorSource":"original"})");
  EXPECT_TRUE(
      like(rig().send("b", icmp_error("192.168.0.13", "10.246.1.5", 11, 0, seen)), "b/13 icmp 11/0 192.168.0.13>*"));
  load();
  EXPECT_TRUE(
      like(rig().send("b", icmp_error("192.168.0.13", "10.246.1.5", 11, 0, seen)), "b/13 icmp 11/0 10.96.0.10>*"));
}

// An error goes to who sent the packet it quotes, or nowhere: no way through the translation for others.
TEST_P(Errors, RFC5508_4_AnErrorForSomebodyElseIsNotTranslated) {
  ASSERT_NE(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S")), "");
  EXPECT_EQ(rig().send("b", icmp_error("10.246.1.20", "10.246.1.6", 3, 3, rig().only().l3)), "");
  EXPECT_EQ(rig().drops(), "icmp_malformed 1");
}

// CT-31, RFC 5508 REQ-6: an error neither prolongs a flow nor ends it.
TEST_P(Errors, CT31_ErrorsDoNotRefreshTheFlow) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    ServiceSpec spec = direct;
    spec.cluster_ips = {family.service};
    spec.endpoints = {family.endpoint(20)};
    spec.load_balancer_ip = family.balancer;
    load("", {spec});
    const bool v4 = family.name == ipv4.name;
    const std::string outside = family.client(9, 1000), node_port = family.node_port(30053);
    ASSERT_NE(rig().send("a", udp(outside, node_port)), "");
    const Ip error = icmp_error(family.pod(20), family.router_b, v4 ? 3 : 1, v4 ? 3 : 4, rig().only().l3);
    const std::string told = "a/fe icmp " + std::string(family.port_unreachable) + " " + family.router_a + ">" +
                             family.client(9) + " ttl 63 [ udp " + outside + ">" + node_port + " ttl 63 ]";
    for (int i = 0; i < 5; ++i) {
      (void)rig().advance(5000);
      EXPECT_EQ(rig().send("b", error), told);
    }
    EXPECT_EQ(rig().flows(), 1u);
    (void)rig().advance(8000);
    EXPECT_EQ(rig().flows(), 0u);
  }
}

// ---- SVC-68 --------------------------------------------------------------------------------------------

TEST_P(Errors, SVC68_SourceRangesMayLeaveTheClusterOut) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const bool v4 = std::string(family.name) == ipv4.name;
    const ServiceSpec ranged{
        .name = "ranged",
        .cluster_ips = {family.service},
        .ports = {"TCP 80 8080 30080"},
        .endpoints = {family.endpoint(20)},
        .load_balancer_ip = family.balancer,
        .more = R"("loadBalancerSourceRanges":[")" + std::string(v4 ? "203.0.113.0/25" : "2001:db8:99::/121") + "\"]"};
    const std::string balancer = with_port(family.balancer, 80);
    const auto expect_translated = [&](const char* port, const std::string& from) {
      EXPECT_TRUE(like(rig().send(port, tcp(from, balancer, "S")), "b/13 tcp S *>" + family.pod(20, 8080) + " ttl 63"));
      EXPECT_EQ(net::to_string(rig().only().ip.src.address), family.router_b);
    };
    load("", {ranged});
    EXPECT_EQ(rig().send("b", tcp(family.pod(5, 1000), balancer, "S")), "");
    EXPECT_EQ(rig().drops(), "source_range 1") << "as kube-proxy does";
    load(R"("proxy":{"sourceRangesForInCluster":false})", {ranged});
    expect_translated("b", family.pod(5, 1000));
    expect_translated("a", family.client(2, 1000));
    EXPECT_EQ(rig().send("a", tcp(family.client(130, 1000), balancer, "S")), "");
    EXPECT_EQ(rig().drops(), "source_range 1") << "outside clients are still asked";
  }
}

SLUICE_WITH_WORKERS(Errors);
SLUICE_WITH_WORKERS(ErrorsV6);

}  // namespace
}  // namespace sluice::packet_test
