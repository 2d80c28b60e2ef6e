// What becomes of connections when endpoints drain, go and come back, and when services change under them (3.11).
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

const std::string reset = R"("proxy":{"onBackendRemoved":"Reset"})";

class Draining : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load({"10.246.1.20 node3"});
  }
  void load_service(const ServiceSpec& spec, const std::string& more = "") {
    rig().load(list({gateway(more), cluster(), service(spec)}));
  }
  void load(std::vector<std::string> endpoints, const std::string& more = "") {
    ServiceSpec spec = web;
    spec.endpoints = std::move(endpoints);
    load_service(spec, more);
  }
  // The endpoint of a new connection.
  std::string open(const std::string& client, const std::string& frontend = "10.96.0.10:80") {
    const std::string port = client.starts_with("203.") ? "a" : "b";
    if (rig().send(port, tcp(client, frontend, "S").with_seq(100, 0)).empty()) return "nothing";
    return rig().only().ip.dst.text();
  }
  // The same, until it is established.
  std::string connect(const std::string& client, const std::string& frontend = "10.96.0.10:80") {
    const std::string backend = open(client, frontend);
    if (backend == "nothing") return backend;
    const std::string port = client.starts_with("203.") ? "a" : "b";
    const std::string seen = rig().only().ip.src.text();
    (void)rig().send("b", tcp(backend, seen, "SA").with_seq(500, 101));
    (void)rig().send(port, tcp(client, frontend, "A").with_seq(101, 501));
    return backend;
  }
  std::set<std::string> open_often(int first_port, const Family& family = ipv4) {
    std::set<std::string> out;
    for (int port = first_port; port < first_port + 40; ++port) {
      out.insert(open(family.pod(5, port), family.service_at(80)));
    }
    return out;
  }
  static std::string client_at(int port) { return "10.246.1.5:" + std::to_string(port); }

  const ServiceSpec web{.name = "web",
                        .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                        .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                        .endpoints = {"10.246.1.20 node3"},
                        .load_balancer_ip = "198.51.100.80"};
};

using Endpoints = std::set<std::string>;

TEST_P(Draining, SVC90_EstablishedConnectionsKeepEndpointsThatExist) {
  std::map<std::string, std::string> connections;
  load({"10.246.1.20 node3", "10.246.1.21 node3"});
  for (int port = 1000; port < 1016; ++port) connections[client_at(port)] = connect(client_at(port));
  for (int last = 22; last < 30; ++last) {
    load({"10.246.1.20 node3", "10.246.1.21 node3", "10.246.1." + std::to_string(last) + " node3"});
    for (const auto& [client, backend] : connections) {
      EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "PA")),
                "b/13 tcp PA " + client + ">" + backend + " ttl 63");
    }
  }
}

TEST_P(Draining, SVC10_SVC91_ATerminatingEndpointGetsNoNewConnections) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string client = family.pod(5, 999), frontend = family.service_at(80);
    load({family.endpoint(20)});
    const std::string old = connect(client, frontend);
    load({family.endpoint(20, "terminating"), family.endpoint(21)});
    EXPECT_EQ(open_often(1000, family), (Endpoints{family.pod(21, 8080)}));
    EXPECT_EQ(rig().send("b", tcp(client, frontend, "PA")), "b/13 tcp PA " + client + ">" + old + " ttl 63")
        << "what runs goes on";
    load({family.endpoint(20, "terminating"), family.endpoint(21, "unready")});
    EXPECT_EQ(open_often(2000, family), (Endpoints{family.pod(20, 8080)})) << "SVC-10: only terminating ones are left";
    load({family.endpoint(20, "unready"), family.endpoint(21, "unready")});
    EXPECT_TRUE(like(rig().send("b", tcp(family.pod(5, 3000), frontend, "S")),
                     "b/13 icmp " + std::string(family.port_unreachable) + " " + family.service + ">*"));
  }
}

TEST_P(Draining, SVC11_TheLocalListFallsBackOnItsOwn) {
  ServiceSpec spec = web;
  spec.more = R"("externalTrafficPolicy":"Local")";
  spec.endpoints = {"10.246.1.20 gw terminating", "10.246.1.21 node3"};
  load_service(spec);
  EXPECT_EQ(open("203.0.113.2:1000", "198.51.100.80:80"), "10.246.1.20:8080");
  EXPECT_EQ(open_often(1000), (Endpoints{"10.246.1.21:8080"}));
}

TEST_P(Draining, SVC93_ReadyAgainIsUsedAgain) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const Endpoints both{family.pod(20, 8080), family.pod(21, 8080)};
    load({family.endpoint(20), family.endpoint(21)});
    EXPECT_EQ(open_often(1000, family), both);
    for (const char* state : {"terminating", "unready"}) {
      load({family.endpoint(20, state), family.endpoint(21)});
      EXPECT_EQ(open_often(2000, family), (Endpoints{family.pod(21, 8080)}));
      (void)rig().advance(200000);
      load({family.endpoint(20), family.endpoint(21)});
      EXPECT_EQ(open_often(3000, family), both);
      (void)rig().advance(200000);
    }
  }
}

TEST_P(Draining, SVC31_TheVerdictIsAboutNewConnections) {
  const std::string backend = connect(client_at(1000));
  ServiceSpec spec = web;
  for (const char* more : {R"("internalTrafficPolicy":"Local")", ""}) {
    spec.more = more;
    spec.endpoints = {*more != '\0' ? "10.246.1.20 node3" : "10.246.1.20 node3 unready"};
    load_service(spec);
    EXPECT_EQ(rig().send("b", tcp(client_at(1000), "10.96.0.10:80", "PA")),
              "b/13 tcp PA 10.246.1.5:1000>" + backend + " ttl 63");
    EXPECT_FALSE(like(rig().send("b", tcp(client_at(1001), "10.96.0.10:80", "S")), "b/13 tcp S *"));
  }
}

// ---- SVC-92: a client begins anew with the port of an old connection -----------------------------------

TEST_P(Draining, SVC92_ASynWhoseEndpointIsGoneIsBalancedAnew) {
  for (int port = 1000; port < 1008; ++port) {
    const std::string client = client_at(port);
    load({"10.246.1.20 node3"});
    ASSERT_EQ(connect(client), "10.246.1.20:8080");
    load({"10.246.1.21 node3"});
    // Traffic of the old connection meanwhile: nothing is decided by that.
    EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "PA")),
              "b/13 tcp PA " + client + ">10.246.1.20:8080 ttl 63");
    EXPECT_EQ(open(client), "10.246.1.21:8080");
    EXPECT_EQ(rig().send("b", tcp("10.246.1.21:8080", client, "SA").with_seq(1, 101)),
              "b/13 tcp SA 10.96.0.10:80>" + client + " ttl 63");
  }
  EXPECT_EQ(rig().flows(), 8u);
}

TEST_P(Draining, SVC92_AlsoWhenItWasNeverAnsweredOrIsClosing) {
  EXPECT_EQ(open(client_at(1000)), "10.246.1.20:8080");
  const std::string backend = connect(client_at(1001));
  (void)rig().send("b", tcp(client_at(1001), "10.96.0.10:80", "FA").with_seq(101, 501));
  const std::string outside = connect("203.0.113.2:1000", "192.0.2.1:30080");
  load({"10.246.1.21 node3"});
  EXPECT_EQ(open(client_at(1000)), "10.246.1.21:8080");
  EXPECT_EQ(open(client_at(1001)), "10.246.1.21:8080");
  EXPECT_EQ(open("203.0.113.2:1000", "192.0.2.1:30080"), "10.246.1.21:8080") << "masqueraded ones, too";
  EXPECT_EQ(rig().flows(), 3u);
}

TEST_P(Draining, SVC92_AnEndpointThatStillServesKeepsItsConnection) {
  ASSERT_EQ(connect(client_at(1000)), "10.246.1.20:8080");
  load({"10.246.1.20 node3 terminating", "10.246.1.21 node3"});
  EXPECT_EQ(open(client_at(1000)), "10.246.1.20:8080") << "CT-5 decides";
  load({"10.246.1.20 node3 unready", "10.246.1.21 node3"});
  EXPECT_EQ(open(client_at(1000)), "10.246.1.21:8080") << "one that does not serve is as good as gone";
}

TEST_P(Draining, SVC92_SVC9_ASynToAServiceThatIsGone) {
  ASSERT_EQ(connect(client_at(1000)), "10.246.1.20:8080");
  rig().load(list({gateway(), cluster()}));
  EXPECT_EQ(rig().send("b", tcp(client_at(1000), "10.96.0.10:80", "PA")),
            "b/13 tcp PA 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().send("b", tcp(client_at(1000), "10.96.0.10:80", "S")), "");
  EXPECT_EQ(rig().drops(), "service_unknown 1");
}

// ---- SVC-92: onBackendRemoved Reset --------------------------------------------------------------------

TEST_P(Draining, SVC92_ResetTellsTheClientThatSends) {
  for (int port = 1000; port < 1008; ++port) {
    const std::string client = client_at(port);
    load({"10.246.1.20 node3"}, reset);
    ASSERT_EQ(connect(client), "10.246.1.20:8080");
    load({"10.246.1.21 node3"}, reset);
    EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "PA").with_seq(101, 501).with_payload(100)),
              "b/13 tcp R 10.96.0.10:80>" + client + " ttl 64");
    EXPECT_EQ(rig().only().ip.seq, 501u) << "RFC 9293 section 3.10.7.1";
    EXPECT_EQ(rig().drops(), "endpoint_gone 1");
    EXPECT_EQ(rig().flows(), static_cast<uint64_t>(port - 1000)) << "those that began anew";
    EXPECT_EQ(connect(client), "10.246.1.21:8080");
  }
}

TEST_P(Draining, SVC92_ResetTellsTheClientWhenTheEndpointSends) {
  load({"10.246.1.20 node3"}, reset);
  ASSERT_EQ(connect(client_at(1000)), "10.246.1.20:8080");
  load({}, reset);
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client_at(1000), "PA").with_seq(501, 101).with_payload(100)),
            "b/13 tcp RA 10.96.0.10:80>10.246.1.5:1000 ttl 64");
  EXPECT_EQ(rig().only().ip.seq, 501u);
  EXPECT_EQ(rig().only().ip.ack, 101u);
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Draining, SVC92_ResetOfMasqueradedConnections) {
  load({"10.246.1.20 node3"}, reset);
  ASSERT_EQ(open("203.0.113.2:1000", "192.0.2.1:30080"), "10.246.1.20:8080");
  const std::string router = rig().only().ip.src.text();
  (void)rig().send("b", tcp("10.246.1.20:8080", router, "SA").with_seq(500, 101));
  (void)rig().send("a", tcp("203.0.113.2:1000", "192.0.2.1:30080", "A").with_seq(101, 501));
  load({"10.246.1.21 node3"}, reset);
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", router, "A").with_seq(501, 101)),
            "a/fe tcp RA 192.0.2.1:30080>203.0.113.2:1000 ttl 64");
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Draining, SVC92_ResetIPv6) {
  ServiceSpec spec = web;
  spec.endpoints = {"fd00:10:246::20 node3"};
  load_service(spec, reset);
  ASSERT_EQ(connect("[fd00:10:246::5]:1000", "[fd00:10:96::10]:80"), "[fd00:10:246::20]:8080");
  spec.endpoints = {"fd00:10:246::21 node3"};
  load_service(spec, reset);
  EXPECT_EQ(rig().send("b", tcp("[fd00:10:246::5]:1000", "[fd00:10:96::10]:80", "PA").with_seq(101, 501)),
            "b/13 tcp R [fd00:10:96::10]:80>[fd00:10:246::5]:1000 ttl 64");
}

TEST_P(Draining, SVC92_ResetLeavesTheRestAlone) {
  load({"10.246.1.20 node3"}, reset);
  ASSERT_EQ(connect(client_at(1000)), "10.246.1.20:8080");
  ASSERT_EQ(connect(client_at(1001), "10.246.1.20:8080"), "10.246.1.20:8080") << "not by the service";
  load({"10.246.1.20 node3 terminating", "10.246.1.21 node3"}, reset);
  EXPECT_EQ(rig().send("b", tcp(client_at(1000), "10.96.0.10:80", "PA")),
            "b/13 tcp PA 10.246.1.5:1000>10.246.1.20:8080 ttl 63")
      << "it still serves";
  load({"10.246.1.21 node3"}, reset);
  EXPECT_EQ(rig().send("b", tcp(client_at(1001), "10.246.1.20:8080", "PA")),
            "b/13 tcp PA 10.246.1.5:1001>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().send("b", tcp(client_at(1000), "10.96.0.10:80", "R").with_seq(101, 0)),
            "b/13 tcp R 10.246.1.5:1000>10.246.1.20:8080 ttl 63")
      << "a reset is never answered with another";
}

// ---- SVC-94: UDP ---------------------------------------------------------------------------------------

TEST_P(Draining, SVC94_ANewTargetPort) {
  EXPECT_EQ(rig().send("b", udp(client_at(1000), "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
  ServiceSpec spec = web;
  spec.ports[1] = "UDP 53 5454 30053";
  load_service(spec);
  EXPECT_EQ(rig().send("b", udp(client_at(1000), "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>10.246.1.20:5454 ttl 63");
}

TEST_P(Draining, SVC94_ANewNodePort) {
  ASSERT_TRUE(like(rig().send("a", udp("203.0.113.2:1000", "192.0.2.1:30053")), "b/13 udp 192.168.0.1:*"));
  ServiceSpec spec = web;
  spec.ports[1] = "UDP 53 5353 30054";
  load_service(spec);
  EXPECT_TRUE(like(rig().send("a", udp("203.0.113.2:1000", "192.0.2.1:30053")), "a/fe icmp 3/3 192.0.2.1>*"));
  EXPECT_TRUE(like(rig().send("a", udp("203.0.113.2:1000", "192.0.2.1:30054")), "b/13 udp 192.168.0.1:*"));
}

TEST_P(Draining, SVC94_TheServiceIsDeleted) {
  (void)rig().send("b", udp(client_at(1000), "10.96.0.10:53"));
  (void)rig().send("b", udp("10.246.1.20:5353", client_at(1000)));
  rig().load(list({gateway(), cluster()}));
  EXPECT_EQ(rig().send("b", udp(client_at(1000), "10.96.0.10:53")), "");
  EXPECT_EQ(rig().drops(), "service_unknown 1");
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Draining, SVC94_TopologyAndPolicyDoNotMatter) {
  EXPECT_EQ(rig().send("b", udp(client_at(1000), "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
  ServiceSpec spec = web;
  spec.more = R"("internalTrafficPolicy":"Local")";
  spec.endpoints = {"10.246.1.20 node3", "10.246.1.21 gw"};
  load_service(spec);
  EXPECT_EQ(rig().send("b", udp(client_at(1000), "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
  EXPECT_EQ(rig().send("b", udp(client_at(1001), "10.96.0.10:53")), "b/13 udp 10.246.1.5:1001>10.246.1.21:5353 ttl 63");
}

TEST_P(Draining, SVC94_OtherServicesFlowsAreNotTouched) {
  const ServiceSpec other{.name = "other",
                          .cluster_ips = {"10.96.0.11"},
                          .ports = {"UDP 53 5353"},
                          .endpoints = {"10.246.1.20 node3", "10.246.1.30 node3"}};
  rig().load(list({gateway(), cluster(), service(web), service(other)}));
  (void)rig().send("b", udp(client_at(1000), "10.96.0.11:53"));
  const std::string backend = rig().only().ip.dst.text();
  const uint64_t closed = rig().count(dataplane::Event::FlowsClosed);
  ServiceSpec changed = web;
  changed.endpoints = {"10.246.1.21 node3"};
  rig().load(list({gateway(), cluster(), service(changed), service(other)}));
  (void)rig().send("b", udp(client_at(1000), "10.96.0.11:53"));
  EXPECT_EQ(rig().only().ip.dst.text(), backend);
  EXPECT_EQ(rig().count(dataplane::Event::FlowsClosed), closed);
}

// ---- by hand -------------------------------------------------------------------------------------------

class ByHand : public Draining {
 protected:
  // As sluicectl does it: the configuration stays as it is.
  void drain(const char* endpoint, bool hard = false) {
    (void)rig().drains().add(*control::DrainTarget::parse(endpoint), hard);
    load(both);
  }
  void undrain(const char* endpoint) {
    EXPECT_TRUE(rig().drains().remove(*control::DrainTarget::parse(endpoint)));
    load(both);
  }
  const std::vector<std::string> both{"10.246.1.20 node3", "10.246.1.21 node3"};
  const Endpoints other{"10.246.1.21:8080"};
};

TEST_P(ByHand, SVC91_ADrainedEndpointGetsNothingNewAndKeepsWhatItHas) {
  ASSERT_EQ(connect(client_at(999)), "10.246.1.20:8080");
  for (const char* endpoint : {"default/web-10-246-1-20", "10.246.1.20", "10.246.1.20:8080"}) {
    drain(endpoint);
    EXPECT_EQ(open_often(1000), other) << endpoint;
    EXPECT_EQ(open("203.0.113.2:1000", "198.51.100.80:80"), "10.246.1.21:8080");
    load(both);
    EXPECT_EQ(open_often(2000), other) << "a new configuration leaves it drained";
    EXPECT_EQ(rig().send("b", tcp(client_at(999), "10.96.0.10:80", "PA").with_seq(101, 501)),
              "b/13 tcp PA 10.246.1.5:999>10.246.1.20:8080 ttl 63");
    EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client_at(999), "PA").with_seq(501, 101)),
              "b/13 tcp PA 10.96.0.10:80>10.246.1.5:999 ttl 63");
    undrain(endpoint);
    (void)rig().advance(200000);
    EXPECT_EQ(open_often(3000).size(), 2u) << "SVC-93";
    (void)rig().advance(200000);
  }
}

TEST_P(ByHand, SVC91_OnePortOfAnEndpoint) {
  drain("10.246.1.20:5353");
  std::set<std::string> udp_endpoints;
  for (int port = 1000; port < 1040; ++port) {
    (void)rig().send("b", udp(client_at(port), "10.96.0.10:53"));
    udp_endpoints.insert(rig().only().ip.dst.text());
  }
  EXPECT_EQ(udp_endpoints, (Endpoints{"10.246.1.21:5353"}));
  EXPECT_EQ(open_often(1000).size(), 2u);
}

TEST_P(ByHand, SVC30_NoneIsLeft) {
  drain("10.246.1.20");
  drain("10.246.1.21");
  EXPECT_TRUE(like(rig().send("b", tcp(client_at(1000), "10.96.0.10:80", "S")), "b/13 icmp 3/3 10.96.0.10>*"));
  EXPECT_EQ(rig().drops(), "no_endpoint_rejected 1");
}

TEST_P(ByHand, SVC92_DrainedHardTcpEndsWithAReset) {
  ASSERT_EQ(connect(client_at(1000)), "10.246.1.20:8080");
  ASSERT_EQ(connect(client_at(1001)), "10.246.1.20:8080");
  ASSERT_EQ(connect(client_at(1002)), "10.246.1.20:8080");
  drain("10.246.1.20", true);
  EXPECT_EQ(rig().send("b", tcp(client_at(1000), "10.96.0.10:80", "PA").with_seq(101, 501)),
            "b/13 tcp R 10.96.0.10:80>10.246.1.5:1000 ttl 64");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client_at(1001), "PA").with_seq(501, 101)),
            "b/13 tcp RA 10.96.0.10:80>10.246.1.5:1001 ttl 64")
      << "the client is told when the endpoint sends, too";
  EXPECT_EQ(rig().drops(), "endpoint_gone 2");
  EXPECT_EQ(connect(client_at(1000)), "10.246.1.21:8080");
  EXPECT_EQ(open(client_at(1002)), "10.246.1.21:8080") << "who begins anew is balanced anew";
  EXPECT_EQ(open_often(2000), other);
}

TEST_P(ByHand, SVC92_OthersAreNotReset) {
  ASSERT_EQ(connect(client_at(1000)), "10.246.1.20:8080");
  load({"10.246.1.21 node3"});
  (void)rig().drains().add(*control::DrainTarget::parse("10.246.1.21"), true);
  load({"10.246.1.21 node3"});
  EXPECT_EQ(rig().send("b", tcp(client_at(1000), "10.96.0.10:80", "PA").with_seq(101, 501)),
            "b/13 tcp PA 10.246.1.5:1000>10.246.1.20:8080 ttl 63")
      << "onBackendRemoved is Keep";
}

TEST_P(ByHand, SVC94_DrainedHardUdpGetsAnotherEndpoint) {
  ASSERT_EQ(rig().send("b", udp(client_at(1000), "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
  drain("10.246.1.20");
  EXPECT_EQ(rig().send("b", udp(client_at(1000), "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
  drain("10.246.1.20", true);
  EXPECT_EQ(rig().send("b", udp(client_at(1000), "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>10.246.1.21:5353 ttl 63");
}

SLUICE_WITH_WORKERS(ByHand);
SLUICE_WITH_WORKERS(Draining);

}  // namespace
}  // namespace sluice::packet_test
