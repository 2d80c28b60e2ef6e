// ARP and neighbour discovery: packets that wait, retries, the negative cache, answers, announcements.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr uint16_t request = 1;
constexpr uint16_t reply = 2;

class Neighbor : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    Gateway asks;
    // Only the client is known; the other neighbours have to be asked for.
    asks.neighbors = R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"},
      {"interface":"up","address":"2001:db8:2::10","mac":"02:00:00:00:00:10"})";
    std::string a = interface_a;
    a.erase(a.find(",\"gateway\""),
            std::string_view(R"(,"gateway":{"v4":"192.0.2.254","v6":"2001:db8:2::fe"})").size());
    asks.interfaces = a + "," + interface_b;
    rig().load(list({asks.text()}));
  }
  static Ip packet(int port = 5) { return udp("192.0.2.10:" + std::to_string(port), "192.168.0.50:6"); }
  // The neighbour .50 at b says who it is.
  std::string answer(uint8_t last = 0x50) {
    return rig().send_frame("b", arp(reply, mac(last), "192.168.0.50", "192.168.0.1", mac(0x0b)));
  }
};

constexpr const char* question = "b/ff arp request 192.168.0.50? from 192.168.0.1";

TEST_P(Neighbor, L24_GratuitousArpAndAdvertisementsAtTheStart) {
  EXPECT_TRUE(like(rig().announcements(), "*a/ff arp request 192.0.2.1? from 192.0.2.1*"));
  EXPECT_TRUE(like(rig().announcements(), "*b/ff arp request 192.168.0.1? from 192.168.0.1*"));
  EXPECT_TRUE(like(rig().announcements(), "*a/01 nd advert 2001:db8:2::1 2001:db8:2::1>ff02::1 ttl 255*"));
  EXPECT_TRUE(like(rig().announcements(), "*a/16 icmp 143/0 *>ff02::16 ttl 1*")) << "and the group is joined";
  EXPECT_EQ(rig().advance(3000), "") << "once is enough";
}

TEST_P(Neighbor, ARP5_PacketWaitsForTheAnswer) {
  EXPECT_EQ(rig().send("a", packet()), question);
  EXPECT_EQ(rig().send("a", packet(7)), "") << "asked already";
  EXPECT_EQ(answer(), "b/50 udp 192.0.2.10:5>192.168.0.50:6 ttl 63\nb/50 udp 192.0.2.10:7>192.168.0.50:6 ttl 63");
  EXPECT_EQ(rig().send("a", packet(8)), "b/50 udp 192.0.2.10:8>192.168.0.50:6 ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Neighbor, ARP5_AtMost16Wait) {
  EXPECT_EQ(rig().send("a", packet()), question);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(rig().send("a", packet()), "");
  EXPECT_EQ(rig().drops(), "neighbor_queue_full 5");
  (void)answer();
  EXPECT_EQ(rig().out().size(), 16u);
}

TEST_P(Neighbor, ARP5_ThreeRequestsThenHostUnreachableThenSilence) {
  EXPECT_EQ(rig().send("a", packet()), question);
  EXPECT_EQ(rig().advance(1100), question);
  EXPECT_EQ(rig().advance(1100), question);
  EXPECT_TRUE(
      like(rig().advance(1500), "a/10 icmp 3/1 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>192.168.0.50:6 *"));
  EXPECT_EQ(rig().drops(), "neighbor_failed 1");
  // Negative cache: no request, an answer at once.
  EXPECT_TRUE(like(rig().send("a", packet(9)), "a/10 icmp 3/1 * [ udp 192.0.2.10:9>192.168.0.50:6 *"));
  EXPECT_EQ(rig().drops(), "neighbor_failed 1");
  // It ends.
  (void)rig().advance(6000);
  EXPECT_EQ(rig().send("a", packet(10)), question);
  EXPECT_EQ(answer(), "b/50 udp 192.0.2.10:10>192.168.0.50:6 ttl 63");
}

// The quoted packet is the one the sender sent, TTL included (RFC 1812 section 4.3.2.3, ICMP-5).
TEST_P(Neighbor, ICMP5_HostUnreachableQuotesThePacketAsItWasSent) {
  EXPECT_EQ(rig().send("a", packet()), question);
  (void)rig().advance(4000);
  ASSERT_FALSE(rig().out().empty());
  EXPECT_EQ(rig().out().back().text,
            "a/10 icmp 3/1 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>192.168.0.50:6 ttl 64 ]");
}

class NeighborOfNodes : public Neighbor {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    Gateway silent;
    silent.neighbors = R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"})";
    const ServiceSpec web{.name = "web",
                          .cluster_ips = {"10.96.0.10"},
                          .ports = {"TCP 80 8080 30080"},
                          .endpoints = {"10.246.1.20 node3"}};
    rig().load(list({silent.text(), cluster(), service(web)}));
  }
};

// ICMP-5: also of a packet that was translated before its neighbour was found missing.
TEST_P(NeighborOfNodes, ICMP5_HostUnreachableAboutATranslatedPacket) {
  const std::string at_once = rig().send("a", tcp("192.0.2.10:1000", "192.0.2.1:30080", "S"));
  EXPECT_TRUE(like(at_once + "\n" + rig().advance(6000) + "\n",
                   "*a/10 icmp 3/1 *>192.0.2.10 ttl 64 [ tcp S 192.0.2.10:1000>192.0.2.1:30080 ttl 64 ]*"));
}

// RFC 2003 section 4, IPIP-4: the sender of the inner packet is told.
TEST_P(NeighborOfNodes, IPIP4_HostUnreachableAboutTheTunnelsNextHop) {
  const std::string at_once = rig().send("a", udp("192.0.2.10:5", "10.245.40.6:6"));
  EXPECT_TRUE(like(at_once + "\n" + rig().advance(6000) + "\n",
                   "*a/10 icmp 3/1 *>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>10.245.40.6:6 *"));
}

SLUICE_WITH_WORKERS(NeighborOfNodes);

TEST_P(Neighbor, ARP_KnownNeighbourIsAskedAgainByUnicast) {
  (void)rig().send("a", packet());
  (void)answer();
  (void)rig().advance(25000);
  EXPECT_EQ(rig().send("a", packet()), "b/50 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
  EXPECT_TRUE(like(rig().advance(6000), "b/50 arp request 192.168.0.50? from 192.168.0.1*"));
  EXPECT_EQ(rig().send("a", packet()), "b/50 udp 192.0.2.10:5>192.168.0.50:6 ttl 63") << "usable meanwhile";
  EXPECT_EQ(answer(), "");
  EXPECT_EQ(rig().advance(3000), "");
}

TEST_P(Neighbor, ARP6_AnnouncementUpdatesButDoesNotCreate) {
  const auto gratuitous = [&](uint8_t last) {
    return rig().send_frame("b", arp(request, mac(last), "192.168.0.50", "192.168.0.50"));
  };
  EXPECT_EQ(gratuitous(0x50), "");
  EXPECT_EQ(rig().send("a", packet()), question) << "not created";
  (void)answer();
  EXPECT_EQ(gratuitous(0x51), "");
  EXPECT_EQ(rig().send("a", packet()), "b/51 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
}

TEST_P(Neighbor, ARP6_StaticIsNotOverwritten) {
  EXPECT_EQ(rig().send_frame("a", arp(request, mac(0x66), "192.0.2.10", "192.0.2.10")), "");
  EXPECT_EQ(rig().send_frame("a", arp(reply, mac(0x66), "192.0.2.10", "192.0.2.1", mac(0x0a))), "");
  EXPECT_EQ(rig().send("b", udp("192.168.0.9:5", "192.0.2.10:6")), "a/10 udp 192.168.0.9:5>192.0.2.10:6 ttl 63");
}

TEST_P(Neighbor, ARP4_AnswersForItsOwnAddressesOnly) {
  EXPECT_EQ(rig().send_frame("a", arp(request, mac(0x33), "192.0.2.33", "192.0.2.1")),
            "a/33 arp reply 192.0.2.1 is 02:00:00:00:00:0a to 192.0.2.33");
  EXPECT_EQ(rig().send_frame("a", arp(request, mac(0x33), "192.0.2.33", "192.0.2.77")), "");
  EXPECT_EQ(rig().send_frame("a", arp(request, mac(0x33), "192.0.2.33", "192.168.0.1")), "");
  EXPECT_EQ(rig().drops(), "arp_not_for_us 2");
  EXPECT_EQ(rig().send_frame("a", arp(request, mac(0x33), "192.0.2.1", "192.0.2.1")), "");
  EXPECT_EQ(rig().drops(), "arp_conflict 1");
  Bytes malformed = arp(request, mac(0x33), "192.0.2.33", "192.0.2.1");
  malformed[18] = 8;
  EXPECT_EQ(rig().send_frame("a", malformed), "");
  EXPECT_EQ(rig().drops(), "arp_malformed 1");
}

TEST_P(Neighbor, ND_PacketWaitsForTheAdvertisement) {
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[2001:db8:a::50]:6")),
            "b/50 nd solicit 2001:db8:a::50 2001:db8:a::1>ff02::1:ff00:50 ttl 255");
  EXPECT_EQ(rig().send("b", nd_advert("2001:db8:a::50", "2001:db8:a::1", mac(0x50))),
            "b/50 udp [2001:db8:2::10]:5>[2001:db8:a::50]:6 ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Neighbor, ND_HostUnreachableAfterThreeSolicitations) {
  (void)rig().send("a", udp("[2001:db8:2::10]:5", "[2001:db8:a::50]:6"));
  (void)rig().advance(4000);
  ASSERT_EQ(rig().out().size(), 3u);
  EXPECT_TRUE(like(rig().out().back().text, "a/10 icmp 1/3 2001:db8:2::1>2001:db8:2::10 ttl 64 [ udp *"));
}

TEST_P(Neighbor, ND_AnswersForItsOwnAddressesOnly) {
  const auto ask = [&](const char* target) {
    const net::MacAddr group = net::MacAddr::for_multicast(Endpoint(target).address.v6().solicited_node());
    return rig().send_frame("a", ethernet(group, mac(0x33), nd_solicit("2001:db8:2::33", target, mac(0x33))));
  };
  EXPECT_EQ(ask("2001:db8:2::1"), "a/33 nd advert 2001:db8:2::1 2001:db8:2::1>2001:db8:2::33 ttl 255");
  EXPECT_EQ(ask("2001:db8:2::77"), "");
  EXPECT_EQ(rig().drops(), "nd_not_for_us 1");
}

TEST_P(Neighbor, ND_HopLimitMustBe255) {
  Bytes advert = nd_advert("2001:db8:a::50", "2001:db8:a::1", mac(0x50));
  advert[7] = 254;
  EXPECT_EQ(rig().send("b", advert), "");
  EXPECT_EQ(rig().drops(), "nd_malformed 1");
}

TEST_P(Neighbor, NamedGatewayIsAskedAtOnce) {
  Gateway asks;
  asks.neighbors = "";
  start({});
  rig().load(list({asks.text()}));
  EXPECT_TRUE(like(rig().announcements(), "*a/ff arp request 192.0.2.254? from 192.0.2.1*"));
  EXPECT_TRUE(like(rig().announcements(), "*nd solicit 2001:db8:2::fe 2001:db8:2::1>ff02::1:ff00:fe ttl 255*"));
}

// What was known of a neighbour goes with its last route: named again, it is asked again, at once.
TEST_P(Neighbor, ARP5_ANeighbourThatComesBackIsAskedAtOnce) {
  Gateway named;
  named.neighbors.clear();
  named.more = R"("routes":[{"destination":"10.9.0.0/16","via":"192.168.0.50"},
    {"destination":"fd00:9::/32","via":"2001:db8:a::50"}])";
  Gateway without;
  without.neighbors.clear();
  for (int i = 0; i < 3; ++i) {
    rig().load(list({named.text()}));
    EXPECT_TRUE(like(rig().announcements(), "*arp request 192.168.0.50? from 192.168.0.1*")) << i;
    EXPECT_TRUE(like(rig().announcements(), "*nd solicit 2001:db8:a::50 *")) << i;
    (void)answer();
    EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.9.0.1:6")), "b/50 udp 192.0.2.10:5>10.9.0.1:6 ttl 63");
    (void)rig().send("b", nd_advert("2001:db8:a::50", "2001:db8:a::1", mac(0x50)));
    EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:9::1]:6")),
              "b/50 udp [2001:db8:2::10]:5>[fd00:9::1]:6 ttl 63");
    rig().load(list({without.text()}));
  }
}

// A host of the subnet that a route names is one neighbour, before, meanwhile and afterwards.
TEST_P(Neighbor, ARP5_AHostThatBecomesANextHopStaysKnown) {
  Gateway without;
  without.neighbors = R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"})";
  Gateway named = without;
  named.more = R"("routes":[{"destination":"10.9.0.0/16","via":"192.168.0.50"}])";
  const Ip routed = udp("192.0.2.10:5", "10.9.0.1:6");
  const char* const direct_out = "b/50 udp 192.0.2.10:5>192.168.0.50:6 ttl 63";
  const char* const routed_out = "b/50 udp 192.0.2.10:5>10.9.0.1:6 ttl 63";
  EXPECT_EQ(rig().send("a", packet()), question);
  (void)answer();
  for (int round = 0; round < 2; ++round) {
    rig().load(list({named.text()}));
    EXPECT_FALSE(like(rig().announcements(), std::string("*") + question + "*")) << "it is known";
    unsigned asked = 0;
    for (int seconds = 0; seconds < 100; ++seconds) {
      EXPECT_EQ(rig().send("a", packet()), direct_out) << seconds;
      EXPECT_EQ(rig().send("a", routed), routed_out) << seconds;
      if (like(rig().advance(1000), "*b/50 arp request 192.168.0.50? from 192.168.0.1*")) {
        ++asked;
        (void)answer();
      }
    }
    EXPECT_GE(asked, 2U);
    EXPECT_LE(asked, 4U);
    rig().load(list({without.text()}));
    EXPECT_EQ(rig().send("a", packet()), direct_out) << "it is not forgotten with the route";
    EXPECT_TRUE(like(rig().advance(1000), "*b/50 arp request 192.168.0.50? from 192.168.0.1*")) << "but asked";
    (void)answer();
  }
  EXPECT_EQ(rig().drops(), "");
}

// What waits for an answer goes on waiting, and goes out with it.
TEST_P(Neighbor, ARP5_AHostThatBecomesANextHopWhileItIsAsked) {
  Gateway named;
  named.neighbors = R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"})";
  named.more = R"("routes":[{"destination":"10.9.0.0/16","via":"192.168.0.50"}])";
  EXPECT_EQ(rig().send("a", packet()), question);
  rig().load(list({named.text()}));
  (void)rig().advance(100);
  EXPECT_EQ(answer(), "b/50 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

// MAC addresses that the host's kernel was given for neighbours of this router.
class NeighborOfHost : public Neighbor {
 protected:
  // These from now on, and none else; what comes out meanwhile.
  std::string host_has(const std::vector<std::pair<std::string, uint8_t>>& neighbors, const std::string& at = "un") {
    const auto& interfaces = rig().snapshot().interfaces;
    uint16_t interface = 0;
    while (interfaces[interface].name != at) ++interface;
    dataplane::Command command;
    command.kind = dataplane::Command::Kind::SetNeighbors;
    for (const auto& before : known_) command.other_neighbors.emplace_back(before.interface, before.address);
    known_.clear();
    for (const auto& [address, last] : neighbors) {
      known_.push_back({interface, *net::parse_ip(address), mac(last)});
      command.other_neighbors.emplace_back(interface, known_.back().address);
    }
    command.neighbors = std::make_shared<const dataplane::StaticNeighbors>(known_);
    EXPECT_TRUE(rig().plane().worker(0).submit(&command));
    std::string out;
    for (unsigned turns = 0; turns < 100 && !command.done; ++turns) out += rig().run();
    EXPECT_TRUE(command.done);
    return out;
  }
  // The MAC address that the table has for an address, if it is static; as text.
  std::string permanent(const std::string& address) {
    const dataplane::NeighborTable& table = rig().plane().neighbors();
    for (uint32_t i = 0; i < dataplane::NeighborTable::capacity(); ++i) {
      if (!table[i].live || !(table[i].address == *net::parse_ip(address))) continue;
      const dataplane::NeighborLink link = table[i].load();
      return link.state == dataplane::NeighborState::Permanent ? net::to_string(link.mac) : "resolved";
    }
    return "";
  }

  std::vector<dataplane::StaticNeighbor> known_;
};

TEST_P(NeighborOfHost, HOST5_AreNotAskedFor) {
  EXPECT_EQ(host_has({{"192.168.0.50", 0x55}, {"2001:db8:a::50", 0x56}}), "");
  EXPECT_EQ(permanent("192.168.0.50"), "02:00:00:00:00:55") << "before anybody needs it";
  EXPECT_EQ(rig().send("a", packet()), "b/55 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[2001:db8:a::50]:6")),
            "b/56 udp [2001:db8:2::10]:5>[2001:db8:a::50]:6 ttl 63");
  EXPECT_EQ(answer(), "") << "ARP does not overwrite it";
  EXPECT_EQ(rig().send_frame("b", arp(request, mac(0x51), "192.168.0.50", "192.168.0.50")), "");
  for (int seconds = 0; seconds < 100; seconds += 10) {
    EXPECT_EQ(rig().send("a", packet()), "b/55 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
    EXPECT_EQ(rig().advance(10000), "") << "nor is it asked again";
  }
  EXPECT_EQ(rig().drops(), "arp_not_for_us 1") << "what was announced";
}

TEST_P(NeighborOfHost, HOST5_ChangeAndGo) {
  (void)host_has({{"192.168.0.50", 0x55}});
  EXPECT_EQ(rig().send("a", packet()), "b/55 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
  (void)host_has({{"192.168.0.50", 0x56}});
  EXPECT_EQ(rig().send("a", packet()), "b/56 udp 192.0.2.10:5>192.168.0.50:6 ttl 63")
      << "also where the other one was used";
  EXPECT_EQ(host_has({}), "");
  EXPECT_EQ(permanent("192.168.0.50"), "");
  EXPECT_EQ(rig().send("a", packet()), question);
  EXPECT_EQ(answer(), "b/50 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
  (void)host_has({{"192.168.0.50", 0x57}});
  EXPECT_EQ(rig().send("a", packet()), "b/57 udp 192.0.2.10:5>192.168.0.50:6 ttl 63") << "instead of what was resolved";
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(NeighborOfHost, HOST5_WhatWaitsGoesOut) {
  EXPECT_EQ(rig().send("a", packet()), question);
  EXPECT_EQ(rig().send("a", packet(7)), "");
  EXPECT_EQ(host_has({{"192.168.0.50", 0x55}}),
            "b/55 udp 192.0.2.10:5>192.168.0.50:6 ttl 63\nb/55 udp 192.0.2.10:7>192.168.0.50:6 ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(NeighborOfHost, HOST5_AtItsInterfaceOnly) {
  (void)host_has({{"192.168.0.50", 0x55}}, "up");
  EXPECT_EQ(rig().send("a", packet()), question);
}

// A next hop that the configuration names without a MAC address, and one that it names with.
TEST_P(NeighborOfHost, HOST5_NextHopsOfRoutes) {
  Gateway named;
  named.neighbors = R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"},
    {"interface":"un","address":"192.168.0.51","mac":"02:00:00:00:00:51"})";
  named.more = R"("routes":[{"destination":"10.9.0.0/16","via":"192.168.0.50"},
    {"destination":"10.10.0.0/16","via":"192.168.0.51"}])";
  (void)host_has({{"192.168.0.50", 0x55}, {"192.168.0.51", 0x56}});
  rig().load(list({named.text()}));
  EXPECT_FALSE(like(rig().announcements(), "*arp request 192.168.0.50?*")) << "it is known";
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.9.0.1:6")), "b/55 udp 192.0.2.10:5>10.9.0.1:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.10.0.1:6")), "b/51 udp 192.0.2.10:5>10.10.0.1:6 ttl 63")
      << "the configuration has the last word";
  EXPECT_EQ(rig().send("a", packet()), "b/55 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
  const std::string asked = host_has({{"192.168.0.51", 0x56}});
  EXPECT_TRUE(like(asked + "\n" + rig().advance(100), std::string("*") + question + "*"))
      << "a next hop is asked for at once";
  EXPECT_EQ(answer(), "");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.9.0.1:6")), "b/50 udp 192.0.2.10:5>10.9.0.1:6 ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

// A host of the subnet that a route names keeps it, and afterwards.
TEST_P(NeighborOfHost, HOST5_AHostThatBecomesANextHop) {
  Gateway without;
  without.neighbors = R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"})";
  Gateway named = without;
  named.more = R"("routes":[{"destination":"10.9.0.0/16","via":"192.168.0.50"}])";
  (void)host_has({{"192.168.0.50", 0x55}});
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(rig().send("a", packet()), "b/55 udp 192.0.2.10:5>192.168.0.50:6 ttl 63") << round;
    rig().load(list({named.text()}));
    EXPECT_EQ(rig().send("a", packet()), "b/55 udp 192.0.2.10:5>192.168.0.50:6 ttl 63") << round;
    EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.9.0.1:6")), "b/55 udp 192.0.2.10:5>10.9.0.1:6 ttl 63") << round;
    rig().load(list({without.text()}));
  }
  EXPECT_EQ(rig().send("a", packet()), "b/55 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
  EXPECT_EQ(permanent("192.168.0.50"), "02:00:00:00:00:55");
  EXPECT_FALSE(like(rig().advance(150000), "*192.168.0.50?*")) << "nobody asks for it";
  EXPECT_EQ(permanent("192.168.0.50"), "02:00:00:00:00:55") << "nor is it forgotten";
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(NeighborOfHost, HOST5_ManyAtOnce) {
  std::vector<std::pair<std::string, uint8_t>> many;
  for (int i = 2; i < 250; ++i) many.emplace_back("192.168.0." + std::to_string(i), static_cast<uint8_t>(i));
  EXPECT_EQ(host_has(many), "");
  EXPECT_EQ(rig().send("a", packet()), "b/32 udp 192.0.2.10:5>192.168.0.50:6 ttl 63");
  EXPECT_EQ(host_has({}), "");
  EXPECT_EQ(rig().send("a", packet()), question);
}

SLUICE_WITH_WORKERS(Neighbor);
SLUICE_WITH_WORKERS(NeighborOfHost);

}  // namespace
}  // namespace sluice::packet_test
