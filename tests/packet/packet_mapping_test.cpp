// MASQ-13: with snat.mapping EndpointIndependent what natOutgoing translates has one port outside for each endpoint
// inside, whatever it talks to and whichever workers its packets come by.
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* with_addresses =
    R"({"name":"up","device":"net_ring_a","mac":"02:00:00:00:00:0a","role":"uplink",
  "addresses":["192.0.2.1/24","2001:db8:2::1/64","203.0.113.7/32","2001:db8:77::7/128"],
  "gateway":{"v4":"192.0.2.254","v6":"2001:db8:2::fe"}})";
constexpr const char* addresses = R"("natOutgoingAddress":{"v4":"203.0.113.7","v6":"2001:db8:77::7"})";
constexpr nat::Millis udp_timeout = 31'000;  // of what was not answered, and a little
constexpr nat::Millis hold = nat::MappingTable<net::V4>::hold + 1'000;

class Mapping : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load("50000-50999");
  }
  void load(const std::string& ports, const std::string& mapping = "EndpointIndependent",
            const std::string& pools = R"("natOutgoing":true)") {
    Gateway gateway;
    gateway.interfaces = std::string(with_addresses) + "," + interface_b;
    gateway.more = R"("snat":{"portRange":"40000-40999","natPortRange":")" + ports + R"(","mapping":")" + mapping +
                   "\"," + addresses + "}";
    const ServiceSpec outside{
        .name = "outside", .cluster_ips = {"10.96.0.20"}, .ports = {"UDP 53 53"}, .endpoints = {"198.51.100.9 -"}};
    rig().load(list({gateway.text(), cluster(pools), service(outside)}));
  }
  static std::string pod(int host, int port = 5000) {
    return "10.246.1." + std::to_string(host) + ":" + std::to_string(port);
  }
  static std::string peer(int host, int port = 3478) {
    return "198.51.100." + std::to_string(host) + ":" + std::to_string(port);
  }
  // The source that the peer sees; empty if the packet did not get there.
  std::string mapped(const Ip& packet) {
    if (!like(rig().send("b", packet), "a/fe *")) return "";
    if (rig().only().ip.protocol != packet.protocol) return "";
    return rig().only().ip.src.text();
  }
  std::string mapped(const std::string& inside, const std::string& to) { return mapped(udp(inside, to)); }
  uint64_t mappings() {
    uint64_t sum = 0;
    for (uint16_t worker = 0; worker < GetParam(); ++worker)
      sum += rig().plane().worker(worker).counters().live_mappings;
    return sum;
  }
};

TEST_P(Mapping, MASQ13_RFC4787_1_OnePortWhateverTheDestination) {
  const std::string outside = mapped(pod(5), peer(1));
  EXPECT_TRUE(like(outside, "203.0.113.7:50*"));
  for (int host = 1; host <= 24; ++host) {
    for (const int port : {53, 3478}) {
      EXPECT_EQ(mapped(pod(5), peer(host, port)), outside);
      EXPECT_EQ(rig().send("a", udp(peer(host, port), outside)),
                "b/13 udp " + peer(host, port) + ">" + pod(5) + " ttl 63");
      EXPECT_EQ(mapped(pod(5), peer(host, port)), outside) << "the second packet of the connection";
    }
  }
  EXPECT_EQ(mappings(), 1u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Mapping, MASQ13_RFC4787_1_IPv6) {
  const std::string inside = "[fd00:10:246::5]:5000";
  const std::string outside = mapped(inside, "[2001:db8:99::1]:3478");
  EXPECT_TRUE(like(outside, "[2001:db8:77::7]:50*"));
  for (int host = 1; host <= 24; ++host) {
    const std::string to = "[2001:db8:99::" + std::to_string(host) + "]:53";
    EXPECT_EQ(mapped(inside, to), outside);
    EXPECT_EQ(rig().send("a", udp(to, outside)), "b/13 udp " + to + ">" + inside + " ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Mapping, MASQ13_RFC5382_1_TcpConnectionsOfOnePort) {
  const std::string outside = mapped(tcp(pod(5), peer(1, 80), "S").with_seq(100, 0));
  EXPECT_TRUE(like(outside, "203.0.113.7:50*"));
  for (int host = 1; host <= 16; ++host) {
    const std::string to = peer(host, 80);
    EXPECT_EQ(mapped(tcp(pod(5), to, "S").with_seq(100, 0)), outside);
    EXPECT_EQ(rig().send("a", tcp(to, outside, "SA").with_seq(500, 101)),
              "b/13 tcp SA " + to + ">" + pod(5) + " ttl 63");
    EXPECT_EQ(mapped(tcp(pod(5), to, "A").with_seq(101, 501)), outside);
    EXPECT_EQ(mapped(tcp(pod(5), to, "A").with_seq(101, 501).with_payload(50)), outside);
    EXPECT_EQ(rig().send("a", tcp(to, outside, "A").with_seq(501, 151)), "b/13 tcp A " + to + ">" + pod(5) + " ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
}

// RFC 5508 REQ-1: the identifier does not depend on who is asked.
TEST_P(Mapping, MASQ13_MASQ12_EchoesToo) {
  std::set<std::string> seen;
  for (int host = 1; host <= 16; ++host) {
    const std::string to = "198.51.100." + std::to_string(host);
    ASSERT_TRUE(like(rig().send("b", echo("10.246.1.5", to, 7)), "a/fe echo 203.0.113.7>" + to + " id *"));
    const uint16_t id = rig().only().ip.src.port;
    seen.insert(std::to_string(id));
    EXPECT_EQ(rig().send("a", echo_reply(to, "203.0.113.7", id)), "b/13 echo-reply " + to + ">10.246.1.5 id 7 ttl 63");
  }
  EXPECT_EQ(seen.size(), 1u);
}

TEST_P(Mapping, MASQ13_RFC4787_3_NoTwoEndpointsShareAPort) {
  std::map<std::string, std::string> owners;
  for (int port = 5000; port < 5032; ++port) {
    for (const int host : {5, 6}) {
      const std::string inside = pod(host, port);
      const std::string outside = mapped(inside, peer(host, port));
      EXPECT_TRUE(owners.emplace(outside, inside).second) << outside << " is " << owners[outside] << " and " << inside;
      EXPECT_EQ(mapped(inside, peer(77, 77)), outside);
    }
  }
  EXPECT_EQ(mappings(), 64u);
}

// What comes from elsewhere to a mapped port does not get in.
TEST_P(Mapping, MASQ13_FilteringIsByAddressAndPort) {
  const std::string outside = mapped(pod(5), peer(1));
  for (const std::string& other : {peer(1, 3479), peer(2), std::string("192.0.2.10:3478")}) {
    EXPECT_TRUE(like(rig().send("a", udp(other, outside)), "a/* icmp 3/3 203.0.113.7>*")) << other;
  }
  EXPECT_EQ(rig().drops(), "mapping_filtered 3");
}

// RFC 4787 REQ-5, RFC 6888 REQ-8: kept for a while after its last connection, and not for ever.
TEST_P(Mapping, MASQ13_RFC4787_5_KeptForTwoMinutes) {
  const std::string outside = mapped(pod(5), peer(1));
  (void)rig().advance(udp_timeout);
  ASSERT_EQ(rig().flows(), 0u);
  EXPECT_EQ(mappings(), 1u);
  (void)rig().advance(hold - 5'000);
  EXPECT_EQ(mapped(pod(5), peer(2)), outside);
  (void)rig().advance(udp_timeout);
  EXPECT_EQ(rig().flows(), 0u);
  EXPECT_EQ(mappings(), 1u) << "the time begins anew";
  (void)rig().advance(hold);
  EXPECT_EQ(mappings(), 0u);
  EXPECT_FALSE(mapped(pod(5), peer(1)).empty());
}

TEST_P(Mapping, MASQ13_MASQ6_WithoutAFreePortItIsToldAndCounted) {
  constexpr size_t ports = 16;
  load("50000-50015");
  std::map<std::string, std::string> outside;
  std::set<std::string> different;
  for (int port = 5000; port < 5400 && outside.size() < ports; ++port) {
    const std::string at = mapped(pod(5, port), peer(1));
    if (at.empty()) continue;
    outside[pod(5, port)] = at;
    different.insert(at);
  }
  ASSERT_EQ(outside.size(), ports);
  EXPECT_EQ(different.size(), ports);
  (void)rig().drops();
  (void)rig().advance(100);  // the rate limit of errors
  EXPECT_EQ(rig().send("b", udp(pod(6), peer(1))),
            "b/13 icmp 3/13 192.168.0.1>10.246.1.6 ttl 64 [ udp " + pod(6) + ">" + peer(1) + " ttl 64 ]");
  EXPECT_EQ(rig().send("b", udp(pod(6), peer(2))),
            "b/13 icmp 3/13 192.168.0.1>10.246.1.6 ttl 64 [ udp " + pod(6) + ">" + peer(2) + " ttl 64 ]")
      << "another destination does not help";
  EXPECT_EQ(rig().drops(), "snat_exhausted 2");
  uint64_t refused = 0;
  for (uint16_t worker = 0; worker < GetParam(); ++worker) {
    const nat::SnatCounters& counters = rig().plane().worker(worker).snat_counters();
    refused += counters.exhausted + counters.gave_up;
  }
  EXPECT_GE(refused, 2u);
  for (const auto& [inside, at] : outside) EXPECT_EQ(mapped(inside, peer(2)), at) << "who has a port keeps it";
  // When their connections have ended, ports go to who needs them, the one unused the longest first.
  (void)rig().advance(udp_timeout);
  ASSERT_EQ(rig().flows(), 0u);
  size_t passed = 0;
  for (int port = 6000; port < 6400 && passed < ports; ++port) {
    const std::string at = mapped(pod(6, port), peer(1));
    if (at.empty()) continue;
    ++passed;
    EXPECT_EQ(different.count(at), 1u) << at;
  }
  EXPECT_EQ(passed, ports);
}

// A new configuration leads no packet of an open connection elsewhere.
TEST_P(Mapping, MASQ13_PIPE1_ConnectionsOutliveTheOption) {
  for (const bool pools : {false, true}) {
    load("50000-50999");
    std::map<std::string, std::string> outside;
    for (int port = 5000; port < 5016; ++port) {
      const std::string inside = pod(5, port);
      outside[inside] = mapped(tcp(inside, peer(1, 80), "S").with_seq(100, 0));
      (void)rig().send("a", tcp(peer(1, 80), outside[inside], "SA").with_seq(500, 101));
      (void)mapped(tcp(inside, peer(1, 80), "A").with_seq(101, 501));
    }
    if (pools) {
      load("50000-50999", "EndpointIndependent", "");
    } else {
      load("51000-51999", "Symmetric");
    }
    for (const auto& [inside, at] : outside) {
      EXPECT_EQ(mapped(tcp(inside, peer(1, 80), "A").with_seq(101, 501).with_payload(10)), at);
      EXPECT_EQ(rig().send("a", tcp(peer(1, 80), at, "A").with_seq(501, 111)),
                "b/13 tcp A " + peer(1, 80) + ">" + inside + " ttl 63");
      // Ends them all.
      EXPECT_EQ(rig().send("a", tcp(peer(1, 80), at, "RA").with_seq(501, 111)),
                "b/13 tcp RA " + peer(1, 80) + ">" + inside + " ttl 63");
    }
    (void)rig().advance(15'000);
    EXPECT_EQ(rig().flows(), 0u);
  }
  EXPECT_EQ(rig().drops(), "");
}

// The ports that connections from before the option have towards this destination are found out one by one.
TEST_P(Mapping, MASQ13_AFreshMappingEvadesOlderConnections) {
  load("50000-50063", "Symmetric");
  std::set<std::string> old;  // with the later ones no more than one worker of four has ports
  for (int port = 5000; old.size() < 8; ++port) {
    ASSERT_LT(port, 5064);
    // A worker has a share of the ports towards a destination, by a hash, and may have no more of them.
    if (const std::string outside = mapped(pod(5, port), peer(1)); !outside.empty()) old.insert(outside);
  }
  load("50000-50063");
  // Where another worker knows the tuple, it is asked before the first packet leaves.
  for (int port = 5000; port < 5008; ++port) {
    const std::string outside = mapped(pod(6, port), peer(1));
    EXPECT_TRUE(like(outside, "203.0.113.7:500*")) << port;
    EXPECT_FALSE(old.contains(outside)) << outside;
    EXPECT_EQ(mapped(pod(6, port), peer(2)), outside);
    EXPECT_EQ(rig().send("a", udp(peer(1), outside)), "b/13 udp " + peer(1) + ">" + pod(6, port) + " ttl 63");
  }
}

TEST_P(Mapping, MASQ13_SymmetricAgainWhenAskedFor) {
  load("50000-50999", "Symmetric");
  std::set<std::string> ports;
  for (int host = 1; host <= 16; ++host) ports.insert(mapped(pod(5), peer(host)));
  EXPECT_GT(ports.size(), 8u);
  EXPECT_EQ(mappings(), 0u);
}

// SVC-92: a client that uses its port again.
TEST_P(Mapping, MASQ13_CT4_APortUsedAgainAtOnce) {
  for (int port = 5000; port < 5016; ++port) {
    const std::string inside = pod(5, port);
    const std::string to = peer(1, 80);
    const std::string outside = mapped(tcp(inside, to, "S").with_seq(100, 0));
    (void)rig().send("a", tcp(to, outside, "SA").with_seq(500, 101));
    (void)mapped(tcp(inside, to, "A").with_seq(101, 501));
    (void)mapped(tcp(inside, to, "FA").with_seq(101, 501));
    (void)rig().send("a", tcp(to, outside, "FA").with_seq(501, 102));
    EXPECT_EQ(mapped(tcp(inside, to, "A").with_seq(102, 502)), outside);
    EXPECT_EQ(mapped(tcp(inside, to, "S").with_seq(90000, 0)), outside);
    EXPECT_EQ(rig().send("a", tcp(to, outside, "SA").with_seq(7000, 90001)),
              "b/13 tcp SA " + to + ">" + inside + " ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Mapping, MASQ13_ICMP6_ErrorsFindTheirConnection) {
  for (int port = 5000; port < 5008; ++port) {
    const std::string outside = mapped(pod(5, port), peer(1));
    const Bytes quoted = udp(outside, peer(1)).bytes();
    EXPECT_EQ(rig().send("a", icmp_error("198.51.100.200", "203.0.113.7", 3, 1, quoted)),
              "b/13 icmp 3/1 198.51.100.200>10.246.1.5 ttl 63 [ udp " + pod(5, port) + ">" + peer(1) + " ttl 64 ]");
  }
}

TEST_P(Mapping, MASQ13_FRAG1_FragmentsToo) {
  for (int host = 1; host <= 8; ++host) {
    const std::string outside = mapped(pod(5), peer(host));
    ASSERT_FALSE(outside.empty());
    const auto cut = fragments(udp(pod(5), peer(host + 20)).with_payload(600).with_id(host).bytes(), 304);
    (void)rig().send_burst("b", cut);
    ASSERT_EQ(rig().out().size(), 2u);
    EXPECT_EQ(text_of(reassembled(rig().out()[0].l3, rig().out()[1].l3)),
              "udp " + outside + ">" + peer(host + 20) + " ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
}

// Service NAT is per connection: what a pod asks by a service has a port of its own, and may go to an endpoint that the
// pod talks to directly as well (MASQ-7, MASQ-9).
TEST_P(Mapping, MASQ13_MASQ9_ServicesArePerConnection) {
  for (int port = 5000; port < 5008; ++port) {
    const std::string direct = mapped(pod(5, port), peer(9, 53));
    EXPECT_EQ(rig().send("a", udp(peer(9, 53), direct)), "b/13 udp " + peer(9, 53) + ">" + pod(5, port) + " ttl 63");
    const std::string by_service = mapped(pod(5, port), "10.96.0.20:53");
    EXPECT_NE(direct, by_service);
    EXPECT_EQ(rig().send("a", udp(peer(9, 53), direct)), "b/13 udp " + peer(9, 53) + ">" + pod(5, port) + " ttl 63");
    EXPECT_EQ(rig().send("a", udp(peer(9, 53), by_service)), "b/13 udp 10.96.0.20:53>" + pod(5, port) + " ttl 63");
  }
}

// Connections open, talk and end at random in a table that is too small for them: as long as a connection is there, its
// endpoint has the port of its mapping in all of them, and nobody else has.
TEST_P(Mapping, MASQ13_UniqueAndStableWhateverHappens) {
  start({.connections = 256});
  load("50000-50255");
  std::mt19937 random(GetParam());
  const auto pick = [&](int from, int to) { return std::uniform_int_distribution(from, to)(random); };
  std::map<std::string, std::string> port_of;   // while no time passes
  std::map<std::string, std::string> owner_of;  // the other way
  std::set<std::string> cut_off;                // an endpoint and its peer
  unsigned refused = 0;
  unsigned moved = 0;
  uint64_t given_up = 0;
  for (int step = 0; step < 4000; ++step) {
    if (pick(0, 249) == 0) {
      (void)rig().advance(static_cast<nat::Millis>(pick(1, 3)) * 60'000);
      port_of.clear();
      owner_of.clear();
      cut_off.clear();
    }
    const std::string inside = pod(pick(5, 8), pick(5000, 5047));
    const std::string to = peer(pick(1, 6), pick(1, 3));
    const std::string outside = mapped(inside, to);
    // Where its answers arrive there may be no room for a stub; then it is given up to that peer for a while.
    const auto no_room_for_stub = [&] {
      const uint64_t clashes = rig().count(dataplane::Event::StubClashes);
      if (clashes != given_up) cut_off.insert(inside + to);
      given_up = clashes;
      return cut_off.count(inside + to) != 0;
    };
    if (outside.empty()) {
      ++refused;
      EXPECT_TRUE(port_of.count(inside) == 0 || no_room_for_stub()) << "who has a port is not refused";
      continue;
    }
    // Who has given up all its connections for others, at a table this small, may come back with another port if its
    // old one is taken towards this peer, by a connection that another worker has.
    if (std::string& before = port_of.emplace(inside, outside).first->second; before != outside && GetParam() > 1) {
      ++moved;
      owner_of.erase(std::exchange(before, outside));
    }
    EXPECT_EQ(port_of[inside], outside) << inside << " in step " << step;
    EXPECT_EQ(owner_of.emplace(outside, inside).first->second, inside) << outside << " in step " << step;
    const std::string answer = rig().send("a", udp(to, outside));
    if (no_room_for_stub()) continue;
    EXPECT_EQ(answer, "b/13 udp " + to + ">" + inside + " ttl 63");
    if (HasFailure()) return;
  }
  EXPECT_LT(refused, 400u);
  EXPECT_LT(moved, 4u);
  EXPECT_LT(given_up, GetParam() == 1 ? 1u : 100u);
  (void)rig().advance(udp_timeout + 120'000);
  (void)rig().advance(hold);
  EXPECT_EQ(rig().flows(), 0u);
  EXPECT_EQ(mappings(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Workers, Mapping, testing::Values(uint16_t{1}, uint16_t{2}, uint16_t{4}),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace sluice::packet_test
