// Connections over time: states of TCP, timeouts, a full table, changes of configuration under way.
#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

class Connections : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load({"10.246.1.20 node3"});
  }
  // The service "web" with these endpoints; `times` makes documents differ.
  void load(std::vector<std::string> endpoints, int times = 0, const std::string& more = "") {
    ServiceSpec spec{
        .name = "web", .cluster_ips = {ipv4.service, ipv6.service}, .ports = {"TCP 80 8080", "UDP 53 5353"}};
    spec.endpoints = std::move(endpoints);
    const ServiceSpec other{.name = "other" + std::to_string(times),
                            .cluster_ips = {"10.96.1." + std::to_string(times % 200 + 1)},
                            .ports = {"TCP 80 8080"},
                            .endpoints = {"10.246.1.9 node3"}};
    rig().load(list({gateway(more), cluster(), service(spec), service(other)}));
  }
  // Three packets; the endpoint that was chosen, empty if the connection did not come about.
  std::string connect(const std::string& client, const std::string& frontend = "10.96.0.10:80") {
    if (rig().send("b", tcp(client, frontend, "S").with_seq(100, 0)).empty()) return {};
    const std::string backend = rig().only().ip.dst.text();
    const std::string seen_client = rig().only().ip.src.text();
    if (rig().send("b", tcp(backend, seen_client, "SA").with_seq(500, 101)).empty()) return {};
    if (rig().send("b", tcp(client, frontend, "A").with_seq(101, 501)).empty()) return {};
    return backend;
  }
  void close(const std::string& client, const std::string& backend) {
    (void)rig().send("b", tcp(client, "10.96.0.10:80", "FA").with_seq(101, 501));
    (void)rig().send("b", tcp(backend, client, "FA").with_seq(501, 102));
    (void)rig().send("b", tcp(client, "10.96.0.10:80", "A").with_seq(102, 502));
  }
};

constexpr const char* a_client = "10.246.1.5:1000";

TEST_P(Connections, CT3_CT20_InvalidSegmentsOfATranslatedFlowAreDropped) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string client = family.pod(5, 1000), frontend = family.service_at(80), endpoint = family.pod(20, 8080);
    load({family.endpoint(20)});
    ASSERT_EQ(connect(client, frontend), endpoint);
    for (const char* flags : {"", "P", "U", "F", "FU", "SF", "SFA", "SR", "RF", "SFRPAU", "SA"}) {
      EXPECT_EQ(rig().send("b", tcp(client, frontend, flags)), "") << "flags " << flags;
      EXPECT_EQ(rig().drops(), "conntrack_invalid 1") << "flags " << flags;
    }
    for (const char* flags : {"A", "PA", "AU", "S"}) {
      EXPECT_EQ(rig().send("b", tcp(client, frontend, flags)),
                "b/13 tcp " + std::string(flags) + " " + client + ">" + endpoint + " ttl 63");
    }
  }
}

TEST_P(Connections, CT20_WhatCannotBeginAConnection) {
  for (const char* flags : {"SA", "FA", "R", "RA", ""}) {
    EXPECT_EQ(rig().send("b", tcp(a_client, "10.96.0.10:80", flags)), "") << "flags " << flags;
    EXPECT_EQ(rig().drops(), "conntrack_invalid 1") << "flags " << flags;
  }
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Connections, CT7_PickUpInTheMiddle) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string client = family.pod(5, 1000), frontend = family.service_at(80), endpoint = family.pod(20, 8080);
    load({family.endpoint(20)});
    EXPECT_EQ(rig().send("b", tcp(client, frontend, "A")), "b/13 tcp A " + client + ">" + endpoint + " ttl 63");
    load({family.endpoint(20)}, 0, R"("conntrack":{"tcpLoose":false})");
    EXPECT_EQ(rig().send("b", tcp(family.pod(5, 1001), frontend, "A")), "");
    EXPECT_EQ(rig().drops(), "conntrack_invalid 1");
  }
}

TEST_P(Connections, CT4_ClosedConnectionIsReopenedWithANewChoice) {
  for (int port = 1000; port < 1008; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    load({"10.246.1.20 node3"});
    const std::string backend = connect(client);
    ASSERT_EQ(backend, "10.246.1.20:8080");
    close(client, backend);
    load({"10.246.1.21 node3"});
    EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "S").with_seq(9000, 0)),
              "b/13 tcp S " + client + ">10.246.1.21:8080 ttl 63");
    EXPECT_EQ(rig().send("b", tcp("10.246.1.21:8080", client, "SA").with_seq(1, 9001)),
              "b/13 tcp SA 10.96.0.10:80>" + client + " ttl 63");
  }
}

TEST_P(Connections, CT8_RefusedConnectionIsForgottenAtOnce) {
  ASSERT_NE(rig().send("b", tcp(a_client, "10.96.0.10:80", "S").with_seq(100, 0)), "");
  EXPECT_EQ(rig().flows(), 1u);
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", a_client, "RA").with_seq(0, 101)),
            "b/13 tcp RA 10.96.0.10:80>10.246.1.5:1000 ttl 63");
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Connections, PIPE1_SVC92_TcpKeepsItsEndpointWhateverChanges) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string frontend = family.service_at(80);
    std::map<std::string, std::string> connections;
    load({family.endpoint(20), family.endpoint(21)});
    for (int port = 1000; port < 1016; ++port) {
      const std::string client = family.pod(5, port);
      connections[client] = connect(client, frontend);
      ASSERT_NE(connections[client], "");
    }
    const auto all_pass = [&] {
      for (const auto& [client, backend] : connections) {
        EXPECT_EQ(rig().send("b", tcp(client, frontend, "PA")), "b/13 tcp PA " + client + ">" + backend + " ttl 63");
        EXPECT_EQ(rig().send("b", tcp(backend, client, "PA")), "b/13 tcp PA " + frontend + ">" + client + " ttl 63");
      }
    };
    load({family.endpoint(21)});
    all_pass();
    load({family.endpoint(22), family.endpoint(23)});
    all_pass();
    load({});
    all_pass();
    // MASQ-14: not even the service is needed.
    rig().load(list({gateway(), cluster()}));
    all_pass();
    EXPECT_EQ(rig().drops(), "");
  }
}

TEST_P(Connections, SVC94_UdpMovesWhenItsEndpointIsGone) {
  for (int port = 1000; port < 1016; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    load({"10.246.1.20 node3"});
    EXPECT_EQ(rig().send("b", udp(client, "10.96.0.10:53")), "b/13 udp " + client + ">10.246.1.20:5353 ttl 63");
    load({"10.246.1.21 node3", "10.246.1.20 node3 terminating"});
    EXPECT_EQ(rig().send("b", udp(client, "10.96.0.10:53")), "b/13 udp " + client + ">10.246.1.20:5353 ttl 63")
        << "it still serves";
    load({"10.246.1.21 node3"});
    EXPECT_EQ(rig().send("b", udp(client, "10.96.0.10:53")), "b/13 udp " + client + ">10.246.1.21:5353 ttl 63");
    EXPECT_EQ(rig().send("b", udp("10.246.1.21:5353", client)), "b/13 udp 10.96.0.10:53>" + client + " ttl 63");
  }
}

TEST_P(Connections, SVC94_FromEndpointsToNoneAndBack) {
  EXPECT_EQ(rig().send("b", udp(a_client, "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
  load({});
  EXPECT_TRUE(like(rig().send("b", udp(a_client, "10.96.0.10:53")), "b/13 icmp 3/3 10.96.0.10>10.246.1.5 *"));
  load({"10.246.1.22 node3"});
  EXPECT_EQ(rig().send("b", udp(a_client, "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>10.246.1.22:5353 ttl 63");
}

TEST_P(Connections, SVC95_ServiceThatIsCreatedWhileTheClientSends) {
  for (const Family& family : families) {
    const std::string client = family.pod(5, 1000), frontend = family.service_at(53);
    rig().load(list({gateway(), cluster()}));
    EXPECT_EQ(rig().send("b", udp(client, frontend)), "") << family.name;
    load({family.endpoint(20)});
    EXPECT_EQ(rig().send("b", udp(client, frontend)), "b/13 udp " + client + ">" + family.pod(20, 5353) + " ttl 63");
  }
}

// The address was somebody else's until now, and the pod's flow to it was masqueraded (MASQ-8).
TEST_P(Connections, SVC95_AnEntryFromBeforeTheServiceDoesNotCapture) {
  const std::string pools = cluster(R"("natOutgoing":true)");
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string client = family.pod(5, 1000), frontend = with_port(family.balancer, 53);
    const auto expect_sent = [&](const std::string& from, const std::string& to, const char* way) {
      ASSERT_TRUE(like(rig().send("b", udp(client, frontend)), std::string(way) + " udp * ttl 63"));
      EXPECT_EQ(net::to_string(rig().only().ip.src.address), from);
      EXPECT_EQ(rig().only().ip.dst.text(), to);
    };
    const ServiceSpec later{.name = "later",
                            .cluster_ips = {family.service},
                            .ports = {"UDP 53 5353", "TCP 80 8080"},
                            .endpoints = {family.endpoint(20)},
                            .load_balancer_ip = family.balancer};
    rig().load(list({gateway(), pools}));
    expect_sent(family.router_a, frontend, "a/fe");
    const Ip syn = tcp(client, with_port(family.balancer, 80), "S");
    ASSERT_TRUE(like(rig().send("b", syn), "a/fe tcp S *"));
    rig().load(list({gateway(), pools, service(later)}));
    expect_sent(family.router_b, family.pod(20, 5353), "b/13");
    EXPECT_EQ(rig().drops(), "");
    // SVC-92: TCP keeps what it has, and that leads to an address of ours now (SVC-70).
    EXPECT_EQ(rig().send("b", syn), "");
    EXPECT_EQ(rig().drops(), "service_loop 1");
    rig().load(list({gateway(), pools}));
    expect_sent(family.router_a, frontend, "a/fe");
  }
}

// A direct flow to an endpoint is tracked too (MASQ-7); the endpoint's address becomes a service's.
TEST_P(Connections, SVC95_NorOneThatIsNotTranslated) {
  EXPECT_EQ(rig().send("b", udp(a_client, "10.246.1.20:5353")), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
  EXPECT_EQ(rig().flows(), 1u);
  load({"10.246.1.21 node3"});
  EXPECT_EQ(rig().send("b", udp(a_client, "10.246.1.20:5353")), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
}

TEST_P(Connections, SVC96_OneWayUdpIsTranslatedEveryTime) {
  load({ipv4.endpoint(20), ipv6.endpoint(20)});
  for (const Family& family : families) {
    const std::string client = family.pod(5, 1000), frontend = family.service_at(53);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(rig().send("b", udp(client, frontend)), "b/13 udp " + client + ">" + family.pod(20, 5353) + " ttl 63");
    }
    const std::vector<Bytes> burst(32, udp(family.pod(5, 1001), frontend).bytes());
    (void)rig().send_burst("b", burst);
    EXPECT_EQ(rig().out().size(), 32u) << "PIPE-2: also when the first ones come together";
  }
  EXPECT_EQ(rig().flows(), 4u);
}

// Both ends open at once: SYNs cross, then SYN+ACKs (RFC 9293 section 3.5, figure 7).
TEST_P(Connections, CT6_SimultaneousOpen) {
  struct Ends {
    const char* client;
    const char* service;
    const char* endpoint;
  };
  const ServiceSpec spec{.name = "web",
                         .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                         .ports = {"TCP 80 8080"},
                         .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};
  rig().load(list({gateway(), cluster(), service(spec)}));
  for (const Ends& ends : {Ends{a_client, "10.96.0.10:80", "10.246.1.20:8080"},
                           Ends{"[fd00:10:246::5]:1000", "[fd00:10:96::10]:80", "[fd00:10:246::20]:8080"}}) {
    const auto there = [&](const char* flags, uint32_t seq, uint32_t ack) {
      const std::string text = rig().send("b", tcp(ends.client, ends.service, flags).with_seq(seq, ack));
      EXPECT_EQ(text, "b/13 tcp " + std::string(flags) + " " + ends.client + ">" + ends.endpoint + " ttl 63");
    };
    const auto back = [&](const char* flags, uint32_t seq, uint32_t ack) {
      const std::string text = rig().send("b", tcp(ends.endpoint, ends.client, flags).with_seq(seq, ack));
      EXPECT_EQ(text, "b/13 tcp " + std::string(flags) + " " + ends.service + ">" + ends.client + " ttl 63");
    };
    there("S", 100, 0);
    back("S", 500, 0);
    there("SA", 100, 501);
    back("SA", 500, 101);
    there("A", 101, 501);
    back("A", 501, 101);
    there("PA", 101, 501);
  }
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(rig().flows(), 2u);
  (void)rig().advance(200'000);
  EXPECT_EQ(rig().flows(), 2u) << "established, not half open: those go after 120 s";
}

TEST_P(Connections, CT6_CT1_OneThatIsNotFinishedGoes) {
  ASSERT_NE(rig().send("b", tcp(a_client, "10.96.0.10:80", "S").with_seq(100, 0)), "");
  ASSERT_NE(rig().send("b", tcp("10.246.1.20:8080", a_client, "S").with_seq(500, 0)), "");
  (void)rig().advance(110'000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().advance(15'000);
  EXPECT_EQ(rig().flows(), 0u) << "SYN_SENT2: 120 s";
}

// The middle of a connection between pods that this table has not seen. Only where an entry has something to keep, the
// way of a service's endpoint, one is made; elsewhere the segment is forwarded like any packet.
TEST_P(Connections, CT22_AStraySegmentBetweenPods) {
  const ServiceSpec spec{.name = "web",
                         .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                         .ports = {"TCP 80 8080"},
                         .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};
  for (const bool loose : {true, false}) {
    start({});
    rig().load(list({gateway(loose ? "" : R"("conntrack":{"tcpLoose":false})"), cluster(), service(spec)}));
    for (const char* flags : {"A", "PA"}) {
      EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.246.1.6:9", flags)),
                "b/13 tcp " + std::string(flags) + " 10.246.1.5:1000>10.246.1.6:9 ttl 63");
      EXPECT_EQ(rig().send("b", tcp("[fd00:10:246::5]:1000", "[fd00:10:246::6]:9", flags)),
                "b/13 tcp " + std::string(flags) + " [fd00:10:246::5]:1000>[fd00:10:246::6]:9 ttl 63");
    }
    EXPECT_EQ(rig().flows(), 0u);
    EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.246.1.20:8080", "A").with_seq(101, 501)),
              "b/13 tcp A 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
    EXPECT_EQ(rig().send("b", tcp("[fd00:10:246::5]:1000", "[fd00:10:246::20]:8080", "A").with_seq(101, 501)),
              "b/13 tcp A [fd00:10:246::5]:1000>[fd00:10:246::20]:8080 ttl 63");
    EXPECT_EQ(rig().flows(), loose ? 2u : 0u);
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", "10.246.1.5:1000", "PA").with_seq(501, 101)),
              "b/13 tcp PA 10.246.1.20:8080>10.246.1.5:1000 ttl 63");
    EXPECT_EQ(rig().send("b", tcp("[fd00:10:246::20]:8080", "[fd00:10:246::5]:1000", "PA").with_seq(501, 101)),
              "b/13 tcp PA [fd00:10:246::20]:8080>[fd00:10:246::5]:1000 ttl 63");
    EXPECT_EQ(rig().drops(), "");
  }
}

TEST_P(Connections, CT1_Timeouts) {
  (void)rig().send("b", udp(a_client, "10.96.0.10:53"));
  (void)rig().advance(29000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().advance(3000);
  EXPECT_EQ(rig().flows(), 0u) << "one way: 30 s";

  (void)rig().send("b", udp(a_client, "10.96.0.10:53"));
  (void)rig().advance(3000);
  (void)rig().send("b", udp("10.246.1.20:5353", a_client));
  (void)rig().advance(100000);
  EXPECT_EQ(rig().flows(), 1u) << "answered after two seconds: 120 s";
  (void)rig().advance(30000);
  EXPECT_EQ(rig().flows(), 0u);

  (void)rig().send("b", tcp(a_client, "10.96.0.10:80", "S"));
  (void)rig().advance(110000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().advance(15000);
  EXPECT_EQ(rig().flows(), 0u) << "SYN_SENT: 120 s";

  ASSERT_NE(connect(a_client), "");
  (void)rig().advance(600000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().send("b", tcp(a_client, "10.96.0.10:80", "RA").with_seq(101, 501));
  (void)rig().advance(15000);
  EXPECT_EQ(rig().flows(), 0u) << "CT-15: after RST 10 s";
}

// The new value holds from the flow's next packet on, also if it is shorter.
TEST_P(Connections, CT2_NewTimeoutsHoldForOldFlows) {
  (void)rig().send("b", udp(a_client, "10.96.0.10:53"));
  load({"10.246.1.20 node3"}, 0, R"("conntrack":{"timeouts":{"udp":"5s"}})");
  (void)rig().send("b", udp(a_client, "10.96.0.10:53"));
  (void)rig().advance(8000);
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Connections, CT1_TheProfileOfTheRfcs) {
  load({"10.246.1.20 node3"}, 0, R"("conntrack":{"profile":"rfc"})");
  (void)rig().send("b", udp(a_client, "10.96.0.10:53"));
  (void)rig().send("b", tcp(a_client, "10.96.0.10:80", "S"));
  (void)rig().advance(230000);
  EXPECT_EQ(rig().flows(), 2u);
  (void)rig().advance(15000);
  EXPECT_EQ(rig().flows(), 1u) << "RFC 5382 REQ-5: 4 min for what is not open";
  (void)rig().advance(45000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().advance(15000);
  EXPECT_EQ(rig().flows(), 0u) << "RFC 4787 REQ-5: 5 min";
}

TEST_P(Connections, CT2_OfConnectionsOfWhichOneSideIsSeen) {
  (void)rig().send("b", tcp(a_client, "10.96.0.10:80", "A"));
  (void)rig().advance(290000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().advance(15000);
  EXPECT_EQ(rig().flows(), 0u);
  load({"10.246.1.20 node3"}, 0, R"("conntrack":{"timeouts":{"tcpUnreplied":"20s"}})");
  (void)rig().send("b", tcp(a_client, "10.96.0.10:80", "A"));
  (void)rig().advance(15000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().advance(10000);
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Connections, CT2_SynsOfBothSides) {
  load({"10.246.1.20 node3"}, 0, R"("conntrack":{"timeouts":{"tcpSynSent2":"20s"}})");
  (void)rig().send("b", tcp(a_client, "10.96.0.10:80", "S").with_seq(100, 0));
  (void)rig().send("b", tcp("10.246.1.20:8080", a_client, "S").with_seq(500, 0));
  (void)rig().advance(15000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().advance(10000);
  EXPECT_EQ(rig().flows(), 0u) << "one SYN alone has 120 s";
}

TEST_P(Connections, CT2_Gre) {
  const std::string timeouts = R"("conntrack":{"timeouts":{"gre":"20s","greStream":"50s"}})";
  rig().load(list({gateway(timeouts), cluster(R"("natOutgoing":true)")}));
  const auto gre = [](const char* from, const char* to) {
    Ip packet = udp(from, to);
    packet.protocol = 47;
    return packet;
  };
  ASSERT_NE(rig().send("b", gre("10.246.1.5", "198.51.100.9")), "");
  (void)rig().advance(15000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().advance(10000);
  EXPECT_EQ(rig().flows(), 0u);
  ASSERT_NE(rig().send("b", gre("10.246.1.5", "198.51.100.9")), "");
  (void)rig().advance(3000);
  ASSERT_NE(rig().send("a", gre("198.51.100.9", "192.0.2.1")), "");
  (void)rig().advance(40000);
  EXPECT_EQ(rig().flows(), 1u);
  (void)rig().advance(15000);
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Connections, CT9_AFullTableEvictsTheUnassured) {
  start({.connections = 128});
  load({"10.246.1.20 node3"});
  std::vector<std::string> established;
  for (int port = 1000; port < 1032; ++port) {
    established.push_back("10.246.1.5:" + std::to_string(port));
    ASSERT_NE(connect(established.back()), "");
  }
  for (int port = 2000; port < 2400; ++port) {
    const std::string client = "10.246.1.6:" + std::to_string(port);
    ASSERT_EQ(rig().send("b", udp(client, "10.96.0.10:53")), "b/13 udp " + client + ">10.246.1.20:5353 ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
  EXPECT_GT(rig().count(dataplane::Event::FlowsEvicted), 0u);
  EXPECT_LE(rig().flows(), 128u);
  for (const std::string& client : established) {
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client, "PA")),
              "b/13 tcp PA 10.96.0.10:80>" + client + " ttl 63");
  }
}

// The table is full and the client's port clashes at the endpoint: both are solved for one packet.
TEST_P(Connections, CT9_MASQ7_AClashInAFullTable) {
  if (GetParam() != 1) return;  // both keys would have to be one worker's
  start({.connections = 128});
  load({"10.246.1.20 node3"});
  const ServiceSpec one{.name = "one",
                        .cluster_ips = {"10.96.0.10"},
                        .ports = {"TCP 80 8080", "UDP 53 5353"},
                        .endpoints = {"10.246.1.20 node3"}};
  const ServiceSpec twin{
      .name = "twin", .cluster_ips = {"10.96.0.12"}, .ports = {"TCP 80 8080"}, .endpoints = {"10.246.1.20 node3"}};
  rig().load(list({gateway(), cluster(), service(one), service(twin)}));
  ASSERT_NE(connect(a_client), "");
  for (int port = 2000; port < 2200; ++port) {
    (void)rig().send("b", udp("10.246.1.6:" + std::to_string(port), "10.96.0.10:53"));
  }
  ASSERT_EQ(rig().flows(), 128u);
  ASSERT_TRUE(
      like(rig().send("b", tcp(a_client, "10.96.0.12:80", "S")), "b/13 tcp S 10.246.1.5:*>10.246.1.20:8080 ttl 63"));
  EXPECT_NE(rig().only().ip.src.port, 1000);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Connections, CT9_AssuredConnectionsAreNeverEvicted) {
  start({.connections = 128});
  load({"10.246.1.20 node3"}, 0, R"("proxy":{"masqueradeAll":true})");
  std::vector<std::string> established;
  for (int port = 1000; port < 1400; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    if (!connect(client).empty()) established.push_back(client);
  }
  EXPECT_EQ(established.size(), 128u);
  EXPECT_TRUE(like(rig().drops(), "conntrack_full *"));
  for (const std::string& client : established) {
    EXPECT_TRUE(
        like(rig().send("b", tcp(client, "10.96.0.10:80", "PA")), "b/13 tcp PA 192.168.0.1:*>10.246.1.20:8080 *"));
    const std::string seen_client = rig().only().ip.src.text();
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", seen_client, "PA")),
              "b/13 tcp PA 10.96.0.10:80>" + client + " ttl 63");
  }
}

// PIPE-3 and the promise of the whole: a change of configuration loses nothing.
TEST_P(Connections, UPDATE_TwoHundredChangesUnderTraffic) {
  load({"10.246.1.20 node3", "10.246.1.21 node3"});
  std::map<std::string, std::string> connections;
  for (int port = 1000; port < 1008; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    connections[client] = connect(client);
    ASSERT_NE(connections[client], "");
  }
  for (int i = 0; i < 200; ++i) {
    std::vector<std::string> endpoints;
    for (int j = 0; j <= i % 4; ++j) endpoints.push_back("10.246.1." + std::to_string(20 + (i + j) % 9) + " node3");
    load(endpoints, i);
    for (const auto& [client, backend] : connections) {
      ASSERT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "PA")),
                "b/13 tcp PA " + client + ">" + backend + " ttl 63");
      ASSERT_EQ(rig().send("b", tcp(backend, client, "PA")), "b/13 tcp PA 10.96.0.10:80>" + client + " ttl 63");
    }
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Connections, CT21_WhatThePortFoundDamagedOpensNothing) {
  rig().set_receive_flags(RTE_MBUF_F_RX_L4_CKSUM_BAD);
  EXPECT_EQ(rig().send("b", tcp(a_client, "10.96.0.10:80", "S")), "");
  EXPECT_EQ(rig().send("b", udp(a_client, "10.96.0.10:53")), "");
  EXPECT_EQ(rig().drops(), "l4_bad_checksum 2");
  EXPECT_EQ(rig().flows(), 0u);
  rig().set_receive_flags(0);
  EXPECT_EQ(connect(a_client), "10.246.1.20:8080");
}

// It goes on, for its receiver to refuse, and the record stays as it is.
TEST_P(Connections, CT21_WhatThePortFoundDamagedChangesNothing) {
  const std::string backend = connect(a_client);
  ASSERT_EQ(backend, "10.246.1.20:8080");
  rig().set_receive_flags(RTE_MBUF_F_RX_L4_CKSUM_BAD);
  for (const char* flags : {"R", "FA", "S", "PA"}) {
    EXPECT_TRUE(like(rig().send("b", tcp(a_client, "10.96.0.10:80", flags)),
                     std::string("b/13 tcp * ") + a_client + ">" + backend + " ttl 63"))
        << flags;
    EXPECT_TRUE(like(rig().send("b", tcp(backend, a_client, flags)),
                     std::string("b/13 tcp * 10.96.0.10:80>") + a_client + " ttl 63"))
        << flags;
  }
  rig().set_receive_flags(0);
  EXPECT_EQ(rig().advance(200'000), "");
  EXPECT_EQ(rig().flows(), 1u) << "no end of it was seen";
  EXPECT_EQ(rig().send("b", tcp(a_client, "10.96.0.10:80", "PA")),
            std::string("b/13 tcp PA ") + a_client + ">" + backend + " ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Connections, CT21_WhatThePortFoundDamagedKeepsNothingAlive) {
  EXPECT_NE(rig().send("b", udp(a_client, "10.96.0.10:53")), "");
  EXPECT_EQ(rig().advance(20'000), "");
  rig().set_receive_flags(RTE_MBUF_F_RX_L4_CKSUM_BAD);
  EXPECT_NE(rig().send("b", udp(a_client, "10.96.0.10:53")), "");
  EXPECT_EQ(rig().advance(20'000), "");
  EXPECT_EQ(rig().flows(), 0u);
}

// Only the inner packet has a connection.
TEST_P(Connections, CT33_OuterPacketsOfTunnelsAreNotTracked) {
  VxlanOptions to_us;
  to_us.inner_destination = encap::vtep_mac("gw");
  const Bytes inner = udp("10.244.34.5:1000", "10.96.0.10:53").bytes();
  EXPECT_NE(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", inner, to_us)), "");
  EXPECT_NE(rig().send("b", ipip("192.168.0.12", "192.168.0.1", udp("10.245.40.5:1000", "10.96.0.10:53").bytes())), "");
  EXPECT_EQ(rig().flows(), 2u);
}

SLUICE_WITH_WORKERS(Connections);

}  // namespace
}  // namespace sluice::packet_test
