// MASQ-6 at its end: every source port towards a destination is in use. What is refused has a name, is told so, costs a
// bounded number of looks, harms no connection that exists, and it is over when a port is free again.
#include <set>

#include <gtest/gtest.h>

#include "nat/snat.h"
#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr int ports = 16;
constexpr const char* few_ports = R"("snat":{"portRange":"40000-40015"})";

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10"},
                      .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                      .endpoints = {"10.246.1.20 node3"},
                      .load_balancer_ip = "198.51.100.80"};

class Exhaustion : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load();
  }
  void load(const std::string& more = "") {
    rig().load(list({gateway(few_ports + more), cluster(R"("natOutgoing":true)"), service(web)}));
  }
  // As /metrics tells it.
  uint64_t refused() {
    uint64_t sum = 0;
    for (uint16_t worker = 0; worker < GetParam(); ++worker) {
      const nat::SnatCounters& counters = rig().plane().worker(worker).snat_counters();
      sum += counters.exhausted + counters.gave_up;
    }
    return sum;
  }
  static std::string client(int port) { return "198.51.100.9:" + std::to_string(port); }
  static std::string pod(int port) { return "10.246.1.5:" + std::to_string(port); }
  // Opens flows to the node port until every port is taken: translated source by client port.
  std::map<int, std::string> fill(const char* frontend = "192.0.2.1:30053") {
    std::map<int, std::string> taken;
    for (int port = 1000; port < 1000 + 8 * ports && taken.size() < ports; ++port) {
      if (like(rig().send("a", udp(client(port), frontend)), "b/13 udp *")) taken[port] = rig().only().ip.src.text();
    }
    (void)rig().drops();
    (void)rig().advance(100);  // the rate limit of errors
    return taken;
  }
};

TEST_P(Exhaustion, MASQ6_EveryPortIsUsedOnceAndNoneOutsideOfTheRange) {
  const auto taken = fill();
  ASSERT_EQ(taken.size(), size_t{ports});
  std::set<std::string> different;
  for (const auto& [port, translated] : taken) {
    EXPECT_GE(Endpoint(translated).port, 40000);
    EXPECT_LE(Endpoint(translated).port, 40015);
    different.insert(translated);
  }
  EXPECT_EQ(different.size(), size_t{ports});
}

TEST_P(Exhaustion, MASQ6_RFC5508_8_TheNextOneIsRefusedByNameAndTold) {
  ASSERT_EQ(fill().size(), size_t{ports});
  (void)rig().advance(2000);
  const uint64_t refused_before = refused();
  const uint64_t opened = rig().count(dataplane::Event::FlowsOpened);
  const uint64_t masqueraded = rig().count(dataplane::Event::Masqueraded);
  const uint64_t to_services = rig().count(dataplane::Event::ServiceFlows);
  for (int i = 0; i < 8; ++i) {
    const std::string sent = client(5000 + i);
    EXPECT_EQ(rig().send("a", udp(sent, "192.0.2.1:30053")),
              "a/fe icmp 3/13 192.0.2.1>198.51.100.9 ttl 64 [ udp " + sent + ">192.0.2.1:30053 ttl 64 ]");
  }
  EXPECT_EQ(rig().drops(), "snat_exhausted 8");
  EXPECT_EQ(refused() - refused_before, 8u) << "the counters of /metrics";
  EXPECT_EQ(rig().flows(), uint64_t{ports});
  EXPECT_EQ(rig().count(dataplane::Event::FlowsOpened), opened);
  EXPECT_EQ(rig().count(dataplane::Event::Masqueraded), masqueraded);
  EXPECT_EQ(rig().count(dataplane::Event::ServiceFlows), to_services) << "a flow that was refused is no flow";
}

TEST_P(Exhaustion, MASQ6_LiveMappingsAreNotTouched) {
  const auto taken = fill();
  ASSERT_EQ(taken.size(), size_t{ports});
  for (int i = 0; i < 50; ++i) (void)rig().send("a", udp(client(5000 + i), "192.0.2.1:30053"));
  for (const auto& [port, translated] : taken) {
    EXPECT_EQ(rig().send("a", udp(client(port), "192.0.2.1:30053")),
              "b/13 udp " + translated + ">10.246.1.20:5353 ttl 63");
    EXPECT_EQ(rig().send("b", udp("10.246.1.20:5353", translated)),
              "a/fe udp 192.0.2.1:30053>" + client(port) + " ttl 63");
  }
}

// Uniqueness is per protocol, address and port of the destination.
TEST_P(Exhaustion, MASQ6_OtherDestinationsHaveTheirOwnPorts) {
  ASSERT_EQ(fill().size(), size_t{ports});
  for (const char* frontend : {"192.0.2.1:30080", "198.51.100.80:80"}) {
    bool passed = false;
    for (int port = 1000; port < 1000 + 2 * ports && !passed; ++port) {
      passed = static_cast<bool>(like(rig().send("a", tcp(client(port), frontend, "S")), "b/13 tcp S 192.168.0.1:*"));
    }
    EXPECT_TRUE(passed) << frontend;
  }
  EXPECT_TRUE(like(rig().send("b", udp(pod(1000), "10.96.0.10:53")), "b/13 udp 10.246.1.5:1000>*"))
      << "not masqueraded";
}

TEST_P(Exhaustion, MASQ6_OverWhenTheFlowsAre) {
  ASSERT_EQ(fill().size(), size_t{ports});
  EXPECT_TRUE(like(rig().send("a", udp(client(5000), "192.0.2.1:30053")), "a/fe icmp 3/13 *"));
  (void)rig().advance(35000);
  EXPECT_EQ(rig().flows(), 0u);
  EXPECT_EQ(fill().size(), size_t{ports});
}

// A port that is given back is found at once, also while the shortage is remembered.
TEST_P(Exhaustion, MASQ6_OneFreePortIsFound) {
  std::map<std::string, std::string> taken;
  for (int port = 1000; port < 1000 + 8 * ports && taken.size() < ports; ++port) {
    const std::string from = client(port);
    if (like(rig().send("a", tcp(from, "192.0.2.1:30080", "S").with_seq(100, 0)), "b/13 tcp S *"))
      taken[from] = rig().only().ip.src.text();
  }
  ASSERT_EQ(taken.size(), size_t{ports});
  (void)rig().advance(100);
  ASSERT_TRUE(like(rig().send("a", tcp(client(5000), "192.0.2.1:30080", "S")), "a/fe icmp 3/13 *"));
  const auto [gone, translated] = *taken.begin();
  ASSERT_EQ(rig().send("b", tcp("10.246.1.20:8080", translated, "RA").with_seq(0, 101)),
            "a/fe tcp RA 192.0.2.1:30080>" + gone + " ttl 63");
  // With two workers the port is the one's whose reply key it makes; a client port of that worker gets it.
  std::string again;
  for (int port = 6000; port < 6064 && again.empty(); ++port) {
    (void)rig().advance(20);
    if (like(rig().send("a", tcp(client(port), "192.0.2.1:30080", "S")), "b/13 tcp S *"))
      again = rig().only().ip.src.text();
  }
  EXPECT_EQ(again, translated);
}

// natOutgoing: the destination is somebody else's, and the error is ours (ICMP-8).
TEST_P(Exhaustion, MASQ6_MASQ8_OutgoingIsToldByTheRouter) {
  size_t passed = 0;
  for (int port = 1000; port < 1000 + 8 * ports && passed < ports; ++port) {
    if (like(rig().send("b", udp(pod(port), "198.51.100.9:53")), "a/fe udp 192.0.2.1:*")) ++passed;
  }
  ASSERT_EQ(passed, size_t{ports});
  (void)rig().advance(1000);
  EXPECT_EQ(rig().send("b", udp(pod(5000), "198.51.100.9:53")),
            "b/13 icmp 3/13 192.168.0.1>10.246.1.5 ttl 64 [ udp 10.246.1.5:5000>198.51.100.9:53 ttl 64 ]");
}

TEST_P(Exhaustion, MASQ12_IdentifiersOfPingsToo) {
  size_t passed = 0;
  for (uint16_t id = 1; id <= 8 * ports && passed < ports; ++id) {
    if (like(rig().send("b", echo("10.246.1.5", "198.51.100.9", id)), "a/fe echo 192.0.2.1>*")) ++passed;
  }
  ASSERT_EQ(passed, size_t{ports});
  (void)rig().advance(1000);
  (void)rig().drops();
  EXPECT_EQ(rig().send("b", echo("10.246.1.5", "198.51.100.9", 500)),
            "b/13 icmp 3/13 192.168.0.1>10.246.1.5 ttl 64 [ echo 10.246.1.5>198.51.100.9 id 500 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "snat_exhausted 1");
}

TEST_P(Exhaustion, MASQ12_IdentifierZeroIsOneLikeOthers) {
  ASSERT_TRUE(like(rig().send("b", echo("10.246.1.5", "198.51.100.9", 0)), "a/fe echo 192.0.2.1>198.51.100.9 id *"));
  const uint16_t first = rig().only().ip.src.port;
  ASSERT_TRUE(like(rig().send("b", echo("10.246.1.6", "198.51.100.9", 0)), "a/fe echo 192.0.2.1>198.51.100.9 id *"));
  const uint16_t second = rig().only().ip.src.port;
  EXPECT_NE(first, second);
  EXPECT_EQ(rig().send("a", echo_reply("198.51.100.9", "192.0.2.1", first)),
            "b/13 echo-reply 198.51.100.9>10.246.1.5 id 0 ttl 63");
  EXPECT_EQ(rig().send("a", echo_reply("198.51.100.9", "192.0.2.1", second)),
            "b/13 echo-reply 198.51.100.9>10.246.1.6 id 0 ttl 63");
}

// What has no ports is known by its addresses; a second client cannot be told apart from the first.
TEST_P(Exhaustion, CT37_MASQ6_WithoutPortsThereIsOneFlowPerDestination) {
  constexpr uint8_t gre = 47, esp = 50, udp_lite = 136;
  for (const Family& family : families) {
    for (const uint8_t protocol : {gre, esp, udp_lite}) {
      const std::string name = "protocol " + std::to_string(protocol) + " ";
      SCOPED_TRACE(name + family.name);
      const std::string pod = family.pod(5), other_pod = family.pod(6), outside = family.client(9);
      const auto packet = [protocol](const std::string& from, const std::string& to) {
        Ip out = udp(from, to);
        out.protocol = protocol;
        return out;
      };
      ASSERT_EQ(rig().send("b", packet(pod, outside)), "a/fe " + name + family.router_a + ">" + outside + " ttl 63");
      // With two workers the clash may be found on the other one, after the packet left.
      std::string second;
      for (int attempt = 0; attempt < (GetParam() == 1 ? 1 : 3) && !second.starts_with("b/13"); ++attempt) {
        second = rig().send("b", packet(other_pod, outside));
      }
      EXPECT_EQ(second, "b/13 icmp " + std::string(family.prohibited) + " " + family.router_b + ">" + other_pod +
                            " ttl 64 [ " + name + other_pod + ">" + outside + " ttl 64 ]");
      EXPECT_EQ(rig().drops(), "snat_exhausted 1");
      EXPECT_EQ(rig().send("a", packet(outside, family.router_a)), "b/13 " + name + outside + ">" + pod + " ttl 63");
    }
  }
}

SLUICE_WITH_WORKERS(Exhaustion);

// A flood of refused flows costs no more than the draws that one request may take, and once the walk is through, one
// comparison: no scan of the range for every packet. In numbers of lookups, not in time.
class ExhaustionCost : public testing::Test {};

TEST_F(ExhaustionCost, MASQ6_NoScanCliff) {
  nat::PortAllocator allocator(1, 1);
  const nat::PortRange range{32768, 65535};
  std::vector<bool> used(65536);
  uint64_t most = 0;
  uint64_t refused = 0;
  const auto request = [&](nat::Millis now) {
    const uint64_t before = allocator.counters().draws;
    const auto port = allocator.allocate(range, 7, now, [&](net::be16 port) { return !used[port.host()]; });
    if (port) used[port->host()] = true;
    most = std::max(most, allocator.counters().draws - before);
    if (!port) ++refused;
    return static_cast<bool>(port);
  };
  size_t given = 0;
  for (int i = 0; i < 40000; ++i) given += request(1) ? 1 : 0;
  EXPECT_EQ(given, size_t{range.size()}) << "every one of them is found in the end";
  EXPECT_LE(most, 2048u);
  EXPECT_EQ(allocator.counters().exhausted + allocator.counters().gave_up, refused) << "truthful";
  EXPECT_EQ(allocator.counters().allocated, given);
  // Known to be exhausted: nothing is looked at any more.
  const uint64_t draws = allocator.counters().draws;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(request(1));
  EXPECT_EQ(allocator.counters().draws, draws);
}

}  // namespace
}  // namespace sluice::packet_test
