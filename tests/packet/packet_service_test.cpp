// Services through the whole router: frontends, verdicts, traffic policies, source ranges, changes of endpoints.
#include <set>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10"},
                      .ports = {"TCP 80 8080 30080"},
                      .endpoints = {"10.246.1.20 node3"},
                      .load_balancer_ip = "198.51.100.80"};
const ServiceSpec dns{.name = "dns",
                      .cluster_ips = {"10.96.0.53", "fd00:10:96::53"},
                      .ports = {"UDP 53 5353 30053", "TCP 53 53"},
                      .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};

class Services : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), service(web), service(dns)}));
  }
  void with(const ServiceSpec& spec, const std::string& more = "") {
    rig().load(list({gateway(more), cluster(), service(spec)}));
  }
};

TEST_P(Services, BASE5_ClusterIpIsTranslatedThereAndBack) {
  for (int port = 1000; port < 1016; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "S")), "b/13 tcp S " + client + ">10.246.1.20:8080 ttl 63");
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client, "SA")),
              "b/13 tcp SA 10.96.0.10:80>" + client + " ttl 63");
    EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "PA").with_payload(300).with_tos(0x28)),
              "b/13 tcp PA " + client + ">10.246.1.20:8080 ttl 63 tos 40");
  }
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(rig().flows(), 16u);
  EXPECT_EQ(rig().count(dataplane::Event::Masqueraded), 0u);
}

TEST_P(Services, SVC1_SVC100_ProtocolsAndFamiliesAreSeparate) {
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.53:53")),
            "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.53:53", "S")),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.20:53 ttl 63");
  EXPECT_EQ(rig().send("b", udp("[fd00:10:246::5]:1000", "[fd00:10:96::53]:53")),
            "b/13 udp [fd00:10:246::5]:1000>[fd00:10:246::20]:5353 ttl 63");
  EXPECT_EQ(rig().send("b", udp("[fd00:10:246::20]:5353", "[fd00:10:246::5]:1000")),
            "b/13 udp [fd00:10:96::53]:53>[fd00:10:246::5]:1000 ttl 63");
  EXPECT_EQ(rig().send("b", tcp("[fd00:10:246::5]:1000", "[fd00:10:96::53]:53", "S")),
            "b/13 tcp S [fd00:10:246::5]:1000>[fd00:10:246::20]:53 ttl 63");
}

TEST_P(Services, MASQ2_NodePortAndLoadBalancerAreMasqueraded) {
  struct Case {
    const char* frontend;
    const char* client;
    const char* way_back;
    const char* port;
  };
  for (const Case& one : {Case{"192.0.2.1:30080", "198.51.100.9:1000", "a/fe", "a"},
                          Case{"198.51.100.80:80", "198.51.100.9:1000", "a/fe", "a"},
                          Case{"192.0.2.1:30080", "10.246.1.5:1000", "b/13", "b"},
                          Case{"198.51.100.80:80", "10.246.1.5:1001", "b/13", "b"}}) {
    ASSERT_TRUE(like(rig().send(one.port, tcp(one.client, one.frontend, "S")),
                     "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"));
    const std::string translated = rig().only().ip.src.text();
    EXPECT_GE(rig().only().ip.src.port, 32768) << "SVC-56";
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", translated, "SA")),
              std::string(one.way_back) + " tcp SA " + one.frontend + ">" + one.client + " ttl 63");
    EXPECT_EQ(rig().send(one.port, tcp(one.client, one.frontend, "A")),
              "b/13 tcp A " + translated + ">10.246.1.20:8080 ttl 63");
  }
}

TEST_P(Services, SVC51_NodePortStandsOnThePrimaryAddressOnly) {
  EXPECT_EQ(rig().send("a", tcp("198.51.100.9:1000", "192.168.0.1:30080", "S")),
            "a/fe icmp 3/3 192.168.0.1>198.51.100.9 ttl 64 [ tcp S 198.51.100.9:1000>192.168.0.1:30080 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "local_no_listener 1");
  with(web, R"("proxy":{"nodePortAddresses":["192.168.0.0/24"]})");
  EXPECT_TRUE(like(rig().send("a", tcp("198.51.100.9:1000", "192.168.0.1:30080", "S")), "b/13 tcp S 192.168.0.1:*"));
  EXPECT_TRUE(like(rig().send("a", tcp("198.51.100.9:1000", "192.0.2.1:30080", "S")), "a/fe icmp 3/3 192.0.2.1>*"));
}

TEST_P(Services, MASQ3_HairpinIsMasqueraded) {
  ASSERT_TRUE(like(rig().send("b", tcp("10.246.1.20:1000", "10.96.0.10:80", "S")),
                   "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"));
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", rig().only().ip.src.text(), "SA")),
            "b/13 tcp SA 10.96.0.10:80>10.246.1.20:1000 ttl 63");
}

TEST_P(Services, MASQ5_ThroughATunnelTheTunnelAddressIsTheSource) {
  ServiceSpec remote = web;
  remote.endpoints = {"10.244.34.5 node1"};
  with(remote);
  ASSERT_TRUE(like(rig().send("a", tcp("198.51.100.9:1000", "198.51.100.80:80", "S")),
                   "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | tcp S 10.244.0.0:*>10.244.34.5:8080 ttl 63"));
  const std::string translated = rig().only().ip.src.text();
  VxlanOptions options;
  options.inner_destination = rig().snapshot().terminator.vtep_mac;
  EXPECT_EQ(
      rig().send("b", vxlan("192.168.0.11", "192.168.0.1", tcp("10.244.34.5:8080", translated, "SA").bytes(), options)),
      "a/fe tcp SA 198.51.100.80:80>198.51.100.9:1000 ttl 63");
  remote.endpoints = {"10.245.40.6 node2"};
  with(remote);
  ASSERT_TRUE(like(rig().send("a", tcp("198.51.100.9:1001", "198.51.100.80:80", "S")),
                   "b/12 ipip 192.168.0.1>192.168.0.12 | tcp S 10.245.0.0:*>10.245.40.6:8080 ttl 63"));
}

TEST_P(Services, MASQ1_OutsideClientOfAClusterIp) {
  EXPECT_EQ(rig().send("a", tcp("198.51.100.9:1000", "10.96.0.10:80", "S")), "");
  EXPECT_EQ(rig().drops(), "cluster_ip_from_outside 1") << "SVC-121";
  with(web, R"("proxy":{"allowExternalClusterIP":true})");
  EXPECT_TRUE(like(rig().send("a", tcp("198.51.100.9:1000", "10.96.0.10:80", "S")),
                   "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"));
  with(web, R"("proxy":{"masqueradeAll":true})");
  EXPECT_TRUE(like(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S")),
                   "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"));
}

TEST_P(Services, SVC30_NoEndpointIsRefusedFromTheServiceAddress) {
  ServiceSpec empty = dns;
  empty.endpoints = {"10.246.1.20 node3 unready"};
  with(empty);
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.53:53")),
            "b/13 icmp 3/3 10.96.0.53>10.246.1.5 ttl 64 [ udp 10.246.1.5:1000>10.96.0.53:53 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "no_endpoint_rejected 1");
  EXPECT_EQ(rig().send("a", udp("198.51.100.9:1000", "192.0.2.1:30053")),
            "a/fe icmp 3/3 192.0.2.1>198.51.100.9 ttl 64 [ udp 198.51.100.9:1000>192.0.2.1:30053 ttl 64 ]");
  EXPECT_EQ(rig().send("b", tcp("[fd00:10:246::5]:1000", "[fd00:10:96::53]:53", "S")),
            "b/13 icmp 1/4 fd00:10:96::53>fd00:10:246::5 ttl 64 "
            "[ tcp S [fd00:10:246::5]:1000>[fd00:10:96::53]:53 ttl 64 ]");
  (void)rig().drops();
  with(empty, R"("proxy":{"noEndpoints":"Drop"})");
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.53:53")), "");
  EXPECT_EQ(rig().drops(), "no_endpoint 1");
}

TEST_P(Services, SVC2_SVC3_SVC71_WhatAServiceAddressDoesNotHave) {
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:81", "S")),
            "b/13 icmp 3/3 10.96.0.10>10.246.1.5 ttl 64 [ tcp S 10.246.1.5:1000>10.96.0.10:81 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "service_port_unknown 1");
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.10:80")),
            "b/13 icmp 3/3 10.96.0.10>10.246.1.5 ttl 64 [ udp 10.246.1.5:1000>10.96.0.10:80 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "service_port_unknown 1");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.77:80", "S")), "");
  EXPECT_EQ(rig().drops(), "service_unknown 1");
  EXPECT_EQ(rig().send("b", echo("10.246.1.5", "10.96.0.10", 1)), "");
  EXPECT_EQ(rig().drops(), "echo_disabled 1");
  with(web, R"("proxy":{"vipEchoReply":true})");
  EXPECT_EQ(rig().send("b", echo("10.246.1.5", "10.96.0.10", 1)), "b/13 echo-reply 10.96.0.10>10.246.1.5 id 1 ttl 64");
}

TEST_P(Services, SVC71_PingsAreAnsweredByOptionAndNeverForwarded) {
  ServiceSpec both = web;
  both.cluster_ips = {"10.96.0.10", "fd00:10:96::10"};
  both.endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"};
  struct Ping {
    const char* port;
    const char* client;
    const char* address;
    const char* answer;
  };
  const Ping pings[] = {{"b", "10.246.1.5", "10.96.0.10", "b/13"},
                        {"b", "fd00:10:246::5", "fd00:10:96::10", "b/13"},
                        {"a", "192.0.2.10", "198.51.100.80", "a/10"}};
  with(both, R"("proxy":{"vipEchoReply":true})");
  for (const Ping& ping : pings) {
    const Ip request = echo(ping.client, ping.address, 77).with_payload(57);
    EXPECT_EQ(rig().send(ping.port, request),
              std::string(ping.answer) + " echo-reply " + ping.address + ">" + ping.client + " id 77 ttl 64");
    EXPECT_EQ(rig().only().ip.payload, request.payload);
    EXPECT_EQ(rig().send(ping.port, echo_reply(ping.client, ping.address, 77)), "") << "an answer is none";
    EXPECT_EQ(rig().drops(), "echo_disabled 1");
  }
  EXPECT_EQ(rig().count(dataplane::Event::EchoReplies), 3u);
  with(both);
  for (const Ping& ping : pings) {
    EXPECT_EQ(rig().send(ping.port, echo(ping.client, ping.address, 77)), "");
    EXPECT_EQ(rig().drops(), "echo_disabled 1");
  }
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Services, SVC70_AnEndpointThatIsAServiceAddressIsALoop) {
  ServiceSpec loop = web;
  loop.endpoints = {"10.96.0.10 node3"};
  with(loop);
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S")), "");
  EXPECT_EQ(rig().drops(), "service_loop 1");
}

TEST_P(Services, SVC20_EveryEndpointGetsFlowsAndAFlowKeepsItsOwn) {
  ServiceSpec many = web;
  many.endpoints.clear();
  for (int i = 20; i < 30; ++i) many.endpoints.push_back("10.246.1." + std::to_string(i) + " node3");
  with(many);
  std::set<std::string> used;
  for (int port = 1000; port < 1100; ++port) {
    const Endpoint client("10.246.1.5:" + std::to_string(port));
    (void)rig().send("b", tcp(client, "10.96.0.10:80", "S"));
    const std::string backend = rig().only().ip.dst.text();
    (void)rig().send("b", tcp("" + backend, client, "SA"));
    (void)rig().send("b", tcp(client, "10.96.0.10:80", "A"));
    EXPECT_EQ(rig().only().ip.dst.text(), backend);
    used.insert(backend);
  }
  EXPECT_EQ(used.size(), 10u);
}

TEST_P(Services, SVC41_ClientIpAffinityHoldsOverFrontends) {
  ServiceSpec sticky = web;
  sticky.more = R"("sessionAffinity":"ClientIP")";
  sticky.endpoints.clear();
  for (int i = 20; i < 30; ++i) sticky.endpoints.push_back("10.246.1." + std::to_string(i) + " node3");
  with(sticky);
  std::set<std::string> used;
  for (int port = 1000; port < 1020; ++port) {
    for (const char* frontend : {"10.96.0.10:80", "198.51.100.80:80", "192.0.2.1:30080"}) {
      (void)rig().send("b", tcp("10.246.1.5:" + std::to_string(port), frontend, "S"));
      used.insert(rig().only().ip.dst.text());
    }
  }
  EXPECT_EQ(used.size(), 1u);
}

TEST_P(Services, SVC66_SVC67_SVC53_SourceRanges) {
  ServiceSpec ranged = web;
  ranged.more = R"("loadBalancerSourceRanges":["203.0.113.0/25"])";
  with(ranged);
  EXPECT_TRUE(like(rig().send("a", tcp("203.0.113.2:1000", "198.51.100.80:80", "S")), "b/13 tcp S 192.168.0.1:*"));
  EXPECT_EQ(rig().send("a", tcp("203.0.113.130:1000", "198.51.100.80:80", "S")), "");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "198.51.100.80:80", "S")), "");
  EXPECT_EQ(rig().drops(), "source_range 2");
  EXPECT_TRUE(like(rig().send("a", tcp("203.0.113.130:1000", "192.0.2.1:30080", "S")), "b/13 tcp S 192.168.0.1:*"));
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S")),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
}

// ---- 3.16: which endpoints and which source, by policy, client and frontend ----------------------------

struct Row {
  const char* policy;
  const char* client;  // port and address
  const char* frontend;
  const char* expected;  // L: on this node, R: elsewhere
};
constexpr const char* pod = "b 10.246.1.5";  // of another node
constexpr const char* own = "c 10.244.0.6";  // of this node
constexpr const char* outside = "a 203.0.113.2";
constexpr const char* cluster_ip = "10.96.0.10:80";
constexpr const char* node_port = "192.0.2.1:30080";
constexpr const char* lb_ip = "198.51.100.80:80";

TEST_P(Services, SVC_3_16_TruthTable) {
  const std::string external = R"("externalTrafficPolicy":"Local")";
  const std::string internal = R"("internalTrafficPolicy":"Local")";
  const std::map<std::string, std::string> policies{
      {"cluster", ""}, {"external", external}, {"internal", internal}, {"both", external + "," + internal}};
  Gateway with_pod;
  with_pod.interfaces += R"(,{"name":"pod","device":"net_ring_c","mac":"02:00:00:00:00:0c","role":"workload",
    "podAddresses":["10.244.0.5","10.244.0.6"],"podMAC":"02:00:00:00:00:55"})";
  with_pod.more = R"("proxy":{"allowExternalClusterIP":true})";
  const Row rows[] = {
      {"cluster", pod, cluster_ip, "LR"},
      {"cluster", pod, node_port, "LR masq"},
      {"cluster", pod, lb_ip, "LR masq"},
      {"cluster", outside, cluster_ip, "LR masq"},
      {"cluster", outside, node_port, "LR masq"},
      {"cluster", outside, lb_ip, "LR masq"},
      {"external", pod, cluster_ip, "LR"},
      {"external", own, cluster_ip, "LR"},
      {"external", own, node_port, "LR"},
      {"external", pod, node_port, "L"},  // SVC-63
      {"external", pod, lb_ip, "LR"},
      {"external", outside, cluster_ip, "LR masq"},
      {"external", outside, node_port, "L"},
      {"external", outside, lb_ip, "L"},
      {"internal", pod, cluster_ip, "L"},
      {"internal", pod, node_port, "LR masq"},
      {"internal", pod, lb_ip, "LR masq"},
      {"internal", outside, cluster_ip, "L masq"},
      {"internal", outside, node_port, "LR masq"},
      {"internal", outside, lb_ip, "LR masq"},
      {"both", pod, cluster_ip, "L"},
      {"both", own, node_port, "LR"},
      {"both", pod, node_port, "L"},  // SVC-63
      {"both", pod, lb_ip, "LR"},
      {"both", outside, cluster_ip, "L masq"},
      {"both", outside, node_port, "L"},
      {"both", outside, lb_ip, "L"},
  };
  std::string loaded;
  int port = 1000;
  for (const Row& row : rows) {
    if (loaded != row.policy) {
      loaded = row.policy;
      ServiceSpec spec = web;
      spec.endpoints = {"10.244.0.5 gw", "10.246.1.20 node3"};
      spec.more = policies.at(loaded);
      rig().load(list({with_pod.text(), cluster(), service(spec)}));
    }
    const std::string client = std::string(row.client).substr(2);
    bool local = false;
    bool remote = false;
    std::set<bool> masqueraded;
    for (int i = 0; i < 16; ++i, ++port) {
      (void)rig().send(std::string(1, row.client[0]), tcp(client + ":" + std::to_string(port), row.frontend, "S"));
      const View& seen = rig().only();
      (seen.port == "c" ? local : remote) = true;
      masqueraded.insert(net::to_string(seen.ip.src.address) != client);
    }
    const std::string found =
        std::string(local ? "L" : "") + (remote ? "R" : "") + (*masqueraded.begin() ? " masq" : "");
    EXPECT_EQ(masqueraded.size(), 1u);
    EXPECT_EQ(found, row.expected) << row.policy << ", client " << client << ", to " << row.frontend;
  }
}

TEST_P(Services, SVC61_NoLocalEndpointIsSilentForOutside) {
  ServiceSpec spec = web;
  spec.more = R"("externalTrafficPolicy":"Local")";
  with(spec);
  EXPECT_EQ(rig().send("a", tcp("203.0.113.2:1000", "198.51.100.80:80", "S")), "");
  EXPECT_EQ(rig().send("a", tcp("203.0.113.2:1000", "192.0.2.1:30080", "S")), "");
  EXPECT_EQ(rig().drops(), "no_local_endpoint 2");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "198.51.100.80:80", "S")),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
  with(spec, R"("proxy":{"externalPolicyLocalScope":"Cluster"})");
  EXPECT_EQ(rig().send("a", tcp("203.0.113.2:1000", "198.51.100.80:80", "S")),
            "b/13 tcp S 203.0.113.2:1000>10.246.1.20:8080 ttl 63")
      << "SVC-65";
}

TEST_P(Services, SVC52_NoNodePortOnServiceAddresses) {
  for (const Family& family : families) {
    ServiceSpec spec = web;
    spec.cluster_ips = {family.service};
    spec.load_balancer_ip = family.balancer;
    with(spec, R"("proxy":{"nodePortAddresses":["0.0.0.0/0","::/0"]})");
    for (const std::string address : {family.service, family.balancer}) {
      EXPECT_TRUE(like(rig().send("b", tcp(family.pod(5, 1000), with_port(address, 30080), "S")),
                       "b/13 icmp " + std::string(family.port_unreachable) + " " + address + ">*"))
          << address;
    }
  }
}

// Which endpoints of two ready ones new flows get, by their hints and the zone of this node.
TEST_P(Services, SVC15_SVC16_HintsOfZonesAndNodes) {
  struct Case {
    const char *first, *second;  // members of "hints"
    const char* labels;          // of this node
    std::set<int> hosts;
  };
  const char* const zone_a = R"("topology.kubernetes.io/zone":"a")";
  const char* const for_a = R"("forZones":[{"name":"a"}])";
  const char* const for_b = R"("forZones":[{"name":"b"}])";
  const auto insert = [](std::string& text, const std::string& before, const std::string& what, size_t from = 0) {
    const size_t at = text.find(before, from);
    text.insert(at, what);
    return at + what.size() + 1;
  };
  for (const Case& one : {Case{for_a, for_b, zone_a, {20}}, Case{for_a, "", zone_a, {20, 21}},
                          Case{for_b, for_b, zone_a, {20, 21}}, Case{for_a, for_b, "", {20, 21}},
                          Case{R"("forNodes":[{"name":"node3"}])", R"("forNodes":[{"name":"gw"}])", "", {21}}}) {
    for (const Family& family : families) {
      SCOPED_TRACE(testing::Message() << family.name << " " << one.first << " " << one.second << " " << one.labels);
      std::string nodes = cluster();
      (void)insert(nodes, R"("name":"gw")", R"("labels":{)" + std::string(one.labels) + "},");
      std::string text = service({.name = "web",
                                  .cluster_ips = {family.service},
                                  .ports = {"UDP 53 5353"},
                                  .endpoints = {family.endpoint(20), family.endpoint(21)}});
      size_t from = 0;
      for (const char* hints : {one.first, one.second}) {
        from = insert(text, R"("targetRef")", R"("hints":{)" + std::string(hints) + "},", from);
      }
      rig().load(list({gateway(), nodes, text}));
      std::set<std::string> expected, chosen;
      for (const int host : one.hosts) expected.insert(family.pod(host, 5353));
      for (int port = 1000; port < 1032; ++port) {
        ASSERT_NE(rig().send("b", udp(family.pod(5, port), family.service_at(53))), "");
        chosen.insert(rig().only().ip.dst.text());
      }
      EXPECT_EQ(chosen, expected);
      (void)rig().advance(40'000);
    }
  }
}

SLUICE_WITH_WORKERS(Services);

}  // namespace
}  // namespace sluice::packet_test
