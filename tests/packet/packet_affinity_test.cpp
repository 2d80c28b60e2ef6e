// Session affinity through the whole router: a client keeps its endpoint while the set of endpoints changes.
#include <map>
#include <set>

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

const std::string client_ip =
    R"("sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}})";

std::vector<std::string> endpoints(int first, int last, const Family& family = ipv4) {
  std::vector<std::string> out;
  for (int i = first; i <= last; ++i) out.push_back(family.endpoint(i));
  return out;
}

class Affinity : public RigTest {
 protected:
  void load(std::vector<std::string> with, const std::string& more = client_ip) {
    ServiceSpec spec{.name = "web",
                     .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                     .ports = {"TCP 80 8080 30080", "TCP 81 8081", "UDP 53 5353"},
                     .load_balancer_ip = "198.51.100.80"};
    spec.endpoints = std::move(with);
    spec.more = more;
    rig().load(list({gateway(), cluster(), service(spec)}));
  }
  // The endpoint that a new connection of the client gets, without its port.
  std::string connect(const std::string& client, const std::string& frontend = "10.96.0.10:80") {
    const std::string from = with_port(client, next_port_++);
    const std::string port = client.starts_with(ipv4.clients) || client.starts_with(ipv6.clients) ? "a" : "b";
    if (rig().send(port, tcp(from, frontend, "S")).empty()) return "nothing";
    return net::to_string(rig().only().ip.dst.address);
  }
  // What `count` connections get.
  std::set<std::string> connect_often(int count, const std::string& client, const std::string& frontend) {
    std::set<std::string> out;
    for (int i = 0; i < count; ++i) out.insert(connect(client, frontend));
    return out;
  }
  // What twelve clients get, one connection each.
  std::set<std::string> twelve_clients(const std::string& frontend = "10.96.0.10:80", const Family& family = ipv4) {
    std::set<std::string> out;
    for (int i = 40; i < 52; ++i) out.insert(connect(family.pod(i), frontend));
    return out;
  }

 private:
  int next_port_ = 1000;
};

const std::set<std::string> only_20{"10.246.1.20"};

TEST_P(Affinity, SVC40_AClientKeepsItsEndpointWhenOthersCome) {
  for (const Family& family : families) {
    const std::string web = family.service_at(80);
    const std::set<std::string> first{family.pod(20)};
    load(endpoints(20, 20, family));
    EXPECT_EQ(twelve_clients(web, family), first);
    load(endpoints(20, 29, family));
    for (int i = 0; i < 4; ++i) EXPECT_EQ(twelve_clients(web, family), first) << "by whichever worker";
    std::set<std::string> others;
    for (int i = 30; i < 40; ++i) others.insert(connect(family.pod(i), web));
    EXPECT_GT(others.size(), 1u) << "clients that are new";
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Affinity, SVC40_SVC43_UntilTheTimeIsUp) {
  load(endpoints(20, 20));
  EXPECT_EQ(twelve_clients(), only_20);
  load(endpoints(20, 29));
  (void)rig().advance(40000);
  EXPECT_EQ(twelve_clients(), only_20);
  (void)rig().advance(40000);
  EXPECT_EQ(twelve_clients(), only_20) << "a new connection begins the time anew";
  (void)rig().advance(61000);
  EXPECT_GT(twelve_clients().size(), 1u);
}

TEST_P(Affinity, SVC43_PacketsOfAConnectionDoNotBeginTheTimeAnew) {
  load(endpoints(20, 20));
  std::set<std::string> later;
  for (int i = 40; i < 52; ++i) {
    (void)rig().send("b", tcp("10.246.1." + std::to_string(i) + ":999", "10.96.0.10:80", "S"));
  }
  load(endpoints(20, 29));
  (void)rig().advance(40000);
  for (int i = 40; i < 52; ++i) {
    (void)rig().send("b", tcp("10.246.1." + std::to_string(i) + ":999", "10.96.0.10:80", "S"));
    EXPECT_EQ(net::to_string(rig().only().ip.dst.address), "10.246.1.20");
  }
  (void)rig().advance(25000);
  EXPECT_GT(twelve_clients().size(), 1u);
}

// A packet that is dropped changes nothing: one that the port found damaged (CT-21), or whose time is up (TTL-2).
TEST_P(Affinity, SVC43_CT21_WhatIsDroppedNeitherBeginsNorRenewsIt) {
  const auto send_dropped = [this] {
    for (int i = 40; i < 52; ++i) {
      const std::string from = "10.246.1." + std::to_string(i) + ":900";
      rig().set_receive_flags(RTE_MBUF_F_RX_L4_CKSUM_BAD);
      EXPECT_EQ(rig().send("b", tcp(from, "10.96.0.10:80", "S")), "");
      rig().set_receive_flags(0);
      (void)rig().advance(100);  // the rate limit of errors
      EXPECT_TRUE(like(rig().send("b", tcp(from, "10.96.0.10:80", "S").with_ttl(1)), "b/13 icmp 11/0 *"));
    }
    EXPECT_EQ(rig().drops(), "l4_bad_checksum 12, ttl_exceeded 12");
  };
  load(endpoints(20, 20));
  send_dropped();
  load(endpoints(20, 29));
  EXPECT_GT(twelve_clients().size(), 1u) << "nobody has an endpoint yet";

  start({});
  load(endpoints(20, 20));
  EXPECT_EQ(twelve_clients(), only_20);
  load(endpoints(20, 29));
  (void)rig().advance(40'000);
  send_dropped();
  (void)rig().advance(25'000);
  EXPECT_GT(twelve_clients().size(), 1u) << "the time has not begun anew";
}

TEST_P(Affinity, SVC41_SVC42_OneEntryForAllFrontendsOfAPort) {
  load(endpoints(20, 20));
  const std::vector<std::string> outside{"203.0.113.2", "203.0.113.3", "203.0.113.4", "203.0.113.5"};
  EXPECT_EQ(twelve_clients(), only_20);
  for (const std::string& client : outside) EXPECT_EQ(connect(client, "198.51.100.80:80"), "10.246.1.20");
  load(endpoints(20, 29));
  EXPECT_EQ(twelve_clients("198.51.100.80:80"), only_20);
  EXPECT_EQ(twelve_clients("192.0.2.1:30080"), only_20) << "the client's own address counts, not the masquerade's";
  for (const std::string& client : outside) EXPECT_EQ(connect(client, "192.0.2.1:30080"), "10.246.1.20");
  EXPECT_GT(twelve_clients("10.96.0.10:81").size(), 1u) << "another port of the service is another matter";
}

TEST_P(Affinity, SVC44_AnEndpointThatIsNotUsableAnyMoreIsLeftForGood) {
  for (const char* state : {"gone", "unready", "terminating"}) {
    load(endpoints(20, 20));
    for (int i = 40; i < 52; ++i) (void)connect("10.246.1." + std::to_string(i), "10.96.0.10:80");
    std::vector<std::string> without = endpoints(21, 29);
    if (std::string(state) != "gone") without.push_back(std::string("10.246.1.20 node3 ") + state);
    load(without);
    std::map<std::string, std::string> chosen;
    for (int i = 40; i < 52; ++i) {
      const std::string client = "10.246.1." + std::to_string(i);
      chosen[client] = connect(client);
      EXPECT_NE(chosen[client], "10.246.1.20") << state;
    }
    load(endpoints(20, 28));
    for (const auto& [client, endpoint] : chosen) {
      if (endpoint == "10.246.1.29") continue;
      EXPECT_EQ(connect(client), endpoint) << state << ": the entry was overwritten";
    }
    (void)rig().advance(61000);
  }
}

TEST_P(Affinity, SVC44_AllOfThemTerminating) {
  load({"10.246.1.20 node3 terminating"});
  EXPECT_EQ(twelve_clients(), only_20);
  load({"10.246.1.20 node3 terminating", "10.246.1.21 node3 terminating", "10.246.1.22 node3 terminating"});
  EXPECT_EQ(twelve_clients(), only_20) << "SVC-10: then it is usable";
}

TEST_P(Affinity, SVC45_SwitchedOffAndOnAgain) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string web = family.service_at(80);
    load(endpoints(20, 20, family));
    EXPECT_EQ(twelve_clients(web, family), (std::set<std::string>{family.pod(20)}));
    load(endpoints(20, 29, family), "");
    EXPECT_GT(connect_often(40, family.pod(40), web).size(), 3u);
    load(endpoints(20, 29, family));
    EXPECT_GT(twelve_clients(web, family).size(), 1u) << "what was before is forgotten";
    EXPECT_EQ(connect_often(40, family.pod(40), web).size(), 1u);
  }
}

// The entry of a policy's list is no use for the other list.
TEST_P(Affinity, SVC44_SVC46_OnlyAnEndpointOfTheListThatCounts) {
  const std::string local = client_ip + R"(,"externalTrafficPolicy":"Local")";
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string frontend = family.node_port(30080);
    std::vector<std::string> on_nodes;
    for (int i = 20; i <= 29; ++i) on_nodes.push_back(family.pod(i) + (i % 2 == 0 ? " gw" : " node3"));
    load({on_nodes[1]});
    EXPECT_EQ(connect(family.client(2), frontend), family.pod(21));
    load({on_nodes[1], on_nodes[2]}, local);
    EXPECT_EQ(connect(family.client(2), frontend), family.pod(22)) << "the one that is local";
    load(on_nodes, local);
    EXPECT_EQ(connect_often(8, family.client(2), frontend), (std::set<std::string>{family.pod(22)}));
  }
}

TEST_P(Affinity, SVC43_UdpToo) {
  load(endpoints(20, 20));
  for (int i = 40; i < 52; ++i) {
    (void)rig().send("b", udp("10.246.1." + std::to_string(i) + ":1000", "10.96.0.10:53"));
  }
  load(endpoints(20, 29));
  for (int i = 40; i < 52; ++i) {
    (void)rig().send("b", udp("10.246.1." + std::to_string(i) + ":1001", "10.96.0.10:53"));
    EXPECT_EQ(rig().only().ip.dst.text(), "10.246.1.20:5353");
  }
}

SLUICE_WITH_WORKERS(Affinity);

}  // namespace
}  // namespace sluice::packet_test
