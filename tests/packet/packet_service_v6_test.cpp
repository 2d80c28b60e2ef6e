// Services and connections over IPv6: twins of cases that their own files have for IPv4.
#include <set>

#include <gtest/gtest.h>

#include "nat/snat.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* vip = "[fd00:10:96::10]:53";
constexpr const char* vip_tcp = "[fd00:10:96::10]:80";
constexpr const char* balancer = "[2001:db8:80::80]:80";

ServiceSpec web() {
  return {.name = "web",
          .cluster_ips = {"fd00:10:96::10"},
          .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
          .endpoints = {"fd00:10:246::20 node3"},
          .load_balancer_ip = "2001:db8:80::80"};
}

std::string pod(int port) { return "[fd00:10:246::5]:" + std::to_string(port); }
std::string outside(int port) { return "[2001:db8:99::9]:" + std::to_string(port); }
std::string endpoint(const char* host, int port = 5353) {
  return "[fd00:10:246::" + std::string(host) + "]:" + std::to_string(port);
}

class ServicesV6 : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load(web());
  }
  void load(const ServiceSpec& spec, const std::string& more = "") {
    rig().load(list({gateway(more), cluster(), service(spec)}));
  }
  void with(std::vector<std::string> endpoints, const std::string& more = "") {
    ServiceSpec spec = web();
    spec.endpoints = std::move(endpoints);
    spec.more = more;
    load(spec);
  }
  // Where a new flow of the pod to the service goes.
  std::string chosen(int port) {
    if (rig().send("b", udp(pod(port), vip)).empty()) return "";
    return rig().only().ip.dst.text();
  }
};

// ---- what is refused -----------------------------------------------------------------------------------

TEST_P(ServicesV6, SVC2_SVC3_SVC71_WhatAServiceAddressDoesNotHave) {
  EXPECT_EQ(
      rig().send("b", tcp(pod(1000), "[fd00:10:96::10]:81", "S")),
      "b/13 icmp 1/4 fd00:10:96::10>fd00:10:246::5 ttl 64 [ tcp S [fd00:10:246::5]:1000>[fd00:10:96::10]:81 ttl 64 "
      "]");
  EXPECT_EQ(rig().drops(), "service_port_unknown 1");
  EXPECT_EQ(rig().send("b", tcp(pod(1000), "[fd00:10:96::77]:80", "S")), "");
  EXPECT_EQ(rig().drops(), "service_unknown 1");
  EXPECT_EQ(rig().send("b", echo("fd00:10:246::5", "fd00:10:96::10", 1)), "");
  EXPECT_EQ(rig().drops(), "echo_disabled 1");
}

TEST_P(ServicesV6, SVC14_SVC31_NoEndpointOfTheFamilyOrOfTheNode) {
  with({"10.246.1.20 node3"});
  EXPECT_TRUE(like(rig().send("b", udp(pod(1000), vip)), "b/13 icmp 1/4 fd00:10:96::10>fd00:10:246::5 *"));
  with({"fd00:10:246::20 node3"}, R"("externalTrafficPolicy":"Local")");
  EXPECT_EQ(rig().send("a", tcp(outside(1000), balancer, "S")), "")
      << "dropped, so that the balancer tries another node";
  EXPECT_TRUE(like(rig().drops(), "*no_local_endpoint 1"));
}

TEST_P(ServicesV6, SVC66_SVC67_SVC53_SourceRanges) {
  ServiceSpec ranged = web();
  ranged.more = R"("loadBalancerSourceRanges":["2001:db8:99::/64"])";
  load(ranged);
  EXPECT_TRUE(like(rig().send("a", tcp(outside(1000), balancer, "S")), "b/13 tcp S [2001:db8:a::1]:*"));
  EXPECT_EQ(rig().send("a", tcp("[2001:db8:98::9]:1000", balancer, "S")), "");
  EXPECT_EQ(rig().drops(), "source_range 1");
  EXPECT_TRUE(like(rig().send("a", tcp("[2001:db8:98::9]:1000", "[2001:db8:2::1]:30080", "S")), "b/13 tcp S *"))
      << "the node port has none";
}

// ---- who is chosen -------------------------------------------------------------------------------------

TEST_P(ServicesV6, SVC10_SVC11_SVC12_TerminatingOnesOnlyWhereNoneIsReady) {
  with({"fd00:10:246::20 node3 terminating", "fd00:10:246::21 node3 terminating"});
  std::set<std::string> seen;
  for (int port = 1000; port < 1032; ++port) seen.insert(chosen(port));
  EXPECT_EQ(seen, (std::set<std::string>{endpoint("20"), endpoint("21")}));
  with({"fd00:10:246::20 node3 terminating", "fd00:10:246::22 node3"});
  for (int port = 2000; port < 2032; ++port) EXPECT_EQ(chosen(port), endpoint("22"));
}

TEST_P(ServicesV6, SVC41_SVC42_SVC43_SVC44_AffinityOfAClient) {
  const std::vector<std::string> all{"fd00:10:246::20 node3", "fd00:10:246::21 node3", "fd00:10:246::22 node3",
                                     "fd00:10:246::23 node3"};
  const std::string affinity =
      R"("sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":100}})";
  with(all, affinity);
  const std::string first = chosen(1000);
  for (int port = 1001; port < 1032; ++port) EXPECT_EQ(chosen(port), first);
  std::set<std::string> others;
  for (int host = 100; host < 132; ++host) {
    ASSERT_NE(rig().send("b", udp("[fd00:10:246::" + std::to_string(host) + "]:9", vip)), "");
    others.insert(rig().only().ip.dst.text());
  }
  EXPECT_GT(others.size(), 1u) << "of each client its own";
  std::vector<std::string> left;
  for (const std::string& one : all) {
    if (!first.starts_with("[" + one.substr(0, one.find(' ')) + "]")) left.push_back(one);
  }
  with(left, affinity);
  const std::string next = chosen(3000);
  EXPECT_NE(next, first) << "it is gone";
  for (int port = 3001; port < 3016; ++port) EXPECT_EQ(chosen(port), next);
}

TEST_P(ServicesV6, SVC65_NodesThatCountAsThisOne) {
  ServiceSpec spec = web();
  spec.more = R"("externalTrafficPolicy":"Local")";
  load(spec, R"("localNodeNames":["gw","node3"])");
  EXPECT_EQ(rig().send("a", tcp(outside(1000), balancer, "S")),
            "b/13 tcp S " + outside(1000) + ">" + endpoint("20", 8080) + " ttl 63");
  EXPECT_EQ(rig().send("b", tcp(endpoint("20", 8080), outside(1000), "SA")),
            "a/fe tcp SA " + std::string(balancer) + ">" + outside(1000) + " ttl 63");
}

// ---- changes -------------------------------------------------------------------------------------------

TEST_P(ServicesV6, SVC90_SVC92_SVC94_TcpStaysAndUdpMoves) {
  ASSERT_EQ(chosen(1000), endpoint("20"));
  (void)rig().send("b", tcp(pod(1000), vip_tcp, "S").with_seq(100, 0));
  (void)rig().send("b", tcp(endpoint("20", 8080), pod(1000), "SA").with_seq(500, 101));
  (void)rig().send("b", tcp(pod(1000), vip_tcp, "A").with_seq(101, 501));
  with({"fd00:10:246::21 node3"});
  EXPECT_EQ(chosen(1000), endpoint("21"));
  EXPECT_EQ(rig().send("b", tcp(pod(1000), vip_tcp, "PA").with_seq(101, 501)),
            "b/13 tcp PA " + pod(1000) + ">" + endpoint("20", 8080) + " ttl 63");
}

// ---- ports and records ---------------------------------------------------------------------------------

TEST_P(ServicesV6, MASQ6_NoPortIsLeft) {
  load(web(), R"("snat":{"portRange":"40000-40007"})");
  std::set<uint16_t> ports;
  bool refused = false;
  for (int port = 1000; port < 1256 && !refused; ++port) {
    const std::string out = rig().send("a", udp(outside(port), "[2001:db8:2::1]:30053"));
    if (like(out, "b/13 udp *")) {
      EXPECT_TRUE(ports.insert(rig().only().ip.src.port).second);
      EXPECT_GE(rig().only().ip.src.port, 40000);
      EXPECT_LE(rig().only().ip.src.port, 40007);
    } else if (ports.size() == 8) {
      EXPECT_TRUE(out.empty() || like(out, "a/fe icmp 1/1 2001:db8:2::1>2001:db8:99::9 *")) << out;
      refused = true;
    }
  }
  EXPECT_EQ(ports.size(), 8u);
  EXPECT_TRUE(refused);
}

TEST_P(ServicesV6, CT4_CT8_CT16_WhatIsOverGoesAndMayBeginAnew) {
  (void)rig().send("b", udp(pod(1), vip));
  EXPECT_EQ(rig().flows(), 1u);
  EXPECT_EQ(rig().advance(40'000), "");
  EXPECT_EQ(rig().flows(), 0u) << "30 s without an answer";
  (void)rig().send("b", tcp(pod(1000), vip_tcp, "S").with_seq(100, 0));
  (void)rig().send("b", tcp(endpoint("20", 8080), pod(1000), "SA").with_seq(500, 101));
  (void)rig().send("b", tcp(pod(1000), vip_tcp, "A").with_seq(101, 501));
  (void)rig().send("b", tcp(pod(1000), vip_tcp, "FA").with_seq(101, 501));
  (void)rig().send("b", tcp(endpoint("20", 8080), pod(1000), "FA").with_seq(501, 102));
  (void)rig().send("b", tcp(pod(1000), vip_tcp, "A").with_seq(102, 502));
  EXPECT_EQ(rig().flows(), 1u);
  with({"fd00:10:246::21 node3"});
  EXPECT_EQ(rig().send("b", tcp(pod(1000), vip_tcp, "S").with_seq(900, 0)),
            "b/13 tcp S " + pod(1000) + ">" + endpoint("21", 8080) + " ttl 63");
}

TEST_P(ServicesV6, CT21_WhatThePortFoundDamaged) {
  rig().set_receive_flags(RTE_MBUF_F_RX_L4_CKSUM_BAD);
  EXPECT_EQ(rig().send("b", udp(pod(1), vip)), "");
  EXPECT_EQ(rig().drops(), "l4_bad_checksum 1");
  rig().set_receive_flags(0);
  (void)rig().send("b", tcp(pod(1000), vip_tcp, "S").with_seq(100, 0));
  (void)rig().send("b", tcp(endpoint("20", 8080), pod(1000), "SA").with_seq(500, 101));
  (void)rig().send("b", tcp(pod(1000), vip_tcp, "A").with_seq(101, 501));
  rig().set_receive_flags(RTE_MBUF_F_RX_L4_CKSUM_BAD);
  EXPECT_EQ(rig().send("b", tcp(pod(1000), vip_tcp, "R").with_seq(101, 0)),
            "b/13 tcp R " + pod(1000) + ">" + endpoint("20", 8080) + " ttl 63");
  rig().set_receive_flags(0);
  EXPECT_EQ(rig().advance(200'000), "");
  EXPECT_EQ(rig().flows(), 1u);
}

TEST_P(ServicesV6, CT30_MASQ7_ClashTowardsTheEndpoint) {
  ServiceSpec other = web();
  other.name = "other";
  other.cluster_ips = {"fd00:10:96::12"};
  other.ports = {"TCP 80 8080"};
  other.load_balancer_ip = "";
  rig().load(list({gateway(), cluster(), service(web()), service(other)}));
  for (int host = 21; host < 40; ++host) {
    const std::string client = "[fd00:10:246::" + std::to_string(host) + "]:10000";
    ASSERT_EQ(rig().send("b", tcp(client, vip_tcp, "S")),
              "b/13 tcp S " + client + ">" + endpoint("20", 8080) + " ttl 63");
    ASSERT_NE(rig().send("b", tcp(client, "[fd00:10:96::12]:80", "S")), "");
    const Endpoint translated = rig().only().ip.src;
    ASSERT_NE(translated.port, 10000) << "both connections have the same tuple towards the endpoint";
    EXPECT_EQ(rig().send("b", tcp(endpoint("20", 8080), translated.text(), "SA")),
              "b/13 tcp SA [fd00:10:96::12]:80>" + client + " ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
}

INSTANTIATE_TEST_SUITE_P(Workers, ServicesV6, testing::Values(uint16_t{1}, uint16_t{2}, uint16_t{4}),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace sluice::packet_test
