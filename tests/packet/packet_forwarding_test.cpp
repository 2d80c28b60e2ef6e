// Transit without state: checks of the IP header, TTL, MTU, routes that lead nowhere, ECMP, VLANs.
#include <set>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* routes = R"("routes":[
  {"destination":"203.0.113.0/25","type":"blackhole"},
  {"destination":"203.0.113.128/26","type":"unreachable"},
  {"destination":"203.0.113.192/26","type":"prohibit"},
  {"destination":"2001:db8:dead::/64","type":"unreachable"},
  {"destination":"2001:db8:beef::/64","type":"prohibit"},
  {"destination":"198.18.0.0/16","nextHops":[{"via":"192.168.0.11"},{"via":"192.168.0.12"}]}])";

class Unconfigured : public RigTest {};

TEST_P(Unconfigured, PIPE4_ForwardsNothing) {
  const ServiceSpec web{.name = "web",
                        .cluster_ips = {ipv4.service, ipv6.service},
                        .ports = {"UDP 53 5353 30053"},
                        .endpoints = {ipv4.endpoint(20), ipv6.endpoint(20)}};
  const auto send = [&](const Family& family, const std::string& to) {
    return rig().send("a", udp(family.client(9, 5000), to));
  };
  for (const Family& family : families) {
    for (const std::string& to : {family.pod(5, 53), family.node_port(30053)}) EXPECT_EQ(send(family, to), "") << to;
  }
  rig().load(list({gateway(routes), cluster(), service(web)}));
  for (const Family& family : families) {
    for (const std::string& to : {family.pod(5, 53), family.node_port(30053)}) EXPECT_NE(send(family, to), "") << to;
  }
}

class Forwarding : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(routes), cluster()}));
  }
};

TEST_P(Forwarding, FWD_PacketGoesOutOfTheOtherPortWithTtlOneLess) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5000", "192.168.0.13:53")),
            "b/13 udp 192.0.2.10:5000>192.168.0.13:53 ttl 63");
  EXPECT_EQ(rig().only().from, mac(0x0b));
  EXPECT_EQ(rig().send("b", tcp("192.168.0.13:22", "192.0.2.10:5000", "PA").with_payload(100).with_tos(0xb9)),
            "a/10 tcp PA 192.168.0.13:22>192.0.2.10:5000 ttl 63 tos 185");
  EXPECT_EQ(rig().send("b", echo("192.168.0.13", "198.51.100.9", 7)),
            "a/fe echo 192.168.0.13>198.51.100.9 id 7 ttl 63");
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(rig().flows(), 0u) << "plain transit has no connection entry";
  EXPECT_EQ(rig().count(dataplane::Event::Transit), 3u);
}

TEST_P(Forwarding, FWD_IPv6) {
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5000", "[2001:db8:a::13]:53")),
            "b/13 udp [2001:db8:2::10]:5000>[2001:db8:a::13]:53 ttl 63");
  EXPECT_EQ(rig().send("b", echo("2001:db8:a::13", "2001:db8:99::1", 3)),
            "a/fe echo 2001:db8:a::13>2001:db8:99::1 id 3 ttl 63");
  EXPECT_EQ(rig().send("a", tcp("[2001:db8:2::10]:5000", "[fd00:10:246::5]:80", "S")),
            "b/13 tcp S [2001:db8:2::10]:5000>[fd00:10:246::5]:80 ttl 63");
}

TEST_P(Forwarding, FWD_EthernetPaddingIsCutOff) {
  Bytes frame = ethernet(mac(0x0a), mac(0x10), udp("192.0.2.10:1", "192.168.0.13:2").with_payload(2).bytes());
  frame.resize(60, 0xaa);
  EXPECT_EQ(rig().send_frame("a", frame), "b/13 udp 192.0.2.10:1>192.168.0.13:2 ttl 63");
  EXPECT_EQ(rig().only().frame.size(), 44u);
}

// ---- RFC 1812 section 5.2.2 and 5.3.7: each check has a counter of its own, and none sends an error --------

struct BadPacket {
  const char* name;
  const char* drops;
  void (*damage)(Bytes&);
  const char* src = "192.0.2.10:5000";
  const char* dst = "192.168.0.13:53";

  friend void PrintTo(const BadPacket& bad, std::ostream* out) { *out << bad.name; }
};

class ForwardingBad : public testing::TestWithParam<std::tuple<uint16_t, BadPacket>> {};

TEST_P(ForwardingBad, IsDroppedSilently) {
  const BadPacket& bad = std::get<1>(GetParam());
  Rig rig({.workers = std::get<0>(GetParam())});
  rig.load(list({gateway(), cluster()}));
  Bytes packet = udp(bad.src, bad.dst).bytes();
  bad.damage(packet);
  EXPECT_EQ(rig.send("a", packet), "");
  EXPECT_EQ(rig.drops(), bad.drops);
}

void no_damage(Bytes&) {}

INSTANTIATE_TEST_SUITE_P(
    Rfc1812, ForwardingBad,
    testing::Combine(
        testing::Values(uint16_t{1}, uint16_t{2}),
        testing::Values(
            BadPacket{"Truncated", "ip_truncated 1", [](Bytes& p) { p.resize(19); }},
            BadPacket{"Version", "ip_bad_version 1", [](Bytes& p) { p[0] = 0x55; finish_ipv4(p); }},
            BadPacket{"HeaderLength", "ip_bad_header_length 1", [](Bytes& p) { p[0] = 0x44; finish_ipv4(p); }},
            BadPacket{"TotalLengthBeyondFrame", "ip_bad_total_length 1", [](Bytes& p) { p[3] = 49; finish_ipv4(p); }},
            BadPacket{"TotalLengthBelowHeader", "ip_bad_total_length 1", [](Bytes& p) { p[3] = 19; finish_ipv4(p); }},
            BadPacket{"Checksum", "ip_bad_checksum 1", [](Bytes& p) { p[10] ^= 1; }},
            BadPacket{"OptionsBeyondTheHeader", "ip_options 1",
                      [](Bytes& p) { p[0] = 0x46; p[20] = 0x44; p[21] = 8; finish_ipv4(p); }},
            BadPacket{"SourceThisNetwork", "ip_martian_source 1", no_damage, "0.1.2.3:5"},
            BadPacket{"SourceLoopback", "ip_martian_source 1", no_damage, "127.0.0.1:5"},
            BadPacket{"SourceMulticast", "ip_martian_source 1", no_damage, "224.0.0.5:5"},
            BadPacket{"SourceBroadcast", "ip_martian_source 1", no_damage, "255.255.255.255:5"},
            BadPacket{"DestinationLoopback", "ip_martian_destination 1", no_damage, "192.0.2.10:5", "127.0.0.1:5"},
            BadPacket{"DestinationClassE", "ip_martian_destination 1", no_damage, "192.0.2.10:5", "240.0.0.1:5"},
            BadPacket{"Multicast", "ip_multicast 1", no_damage, "192.0.2.10:5", "239.1.1.1:5"},
            BadPacket{"Broadcast", "ip_broadcast 1", no_damage, "192.0.2.10:5", "255.255.255.255:5"},
            BadPacket{"DirectedBroadcast", "ip_broadcast 1", no_damage, "192.0.2.10:5", "192.168.0.255:5"},
            BadPacket{"L4Truncated", "l4_truncated 1", [](Bytes& p) { p[3] = 24; p.resize(24); finish_ipv4(p); }},
            BadPacket{"PingOfDeath", "fragment_malformed 1",
                      [](Bytes& p) { net::store_be16(&p[6], 0x1fff); finish_ipv4(p); }},
            BadPacket{"LinkLocal", "blackhole 1", no_damage, "192.0.2.10:5", "169.254.7.7:5"},
            BadPacket{"V6MulticastSource", "ip_martian_source 1", no_damage, "[ff02::1]:5", "[2001:db8:a::13]:5"},
            BadPacket{"V6Loopback", "ip_martian_destination 1", no_damage, "[2001:db8:2::10]:5", "[::1]:5"},
            BadPacket{"V6Mapped", "ip_martian_destination 1", no_damage, "[2001:db8:2::10]:5", "[::ffff:1.2.3.4]:5"},
            BadPacket{"V6LinkLocal", "link_local_scope 1", no_damage, "[2001:db8:2::10]:5", "[fe80::77]:5"},
            BadPacket{"V6Multicast", "ip_multicast 1", no_damage, "[2001:db8:2::10]:5", "[ff05::2]:5"})),
    [](const auto& info) {
      return std::string(std::get<1>(info.param).name) + "_" + std::to_string(std::get<0>(info.param));
    });

TEST_P(Forwarding, FWD_Layer2Checks) {
  const Bytes packet = udp("192.0.2.10:5000", "192.168.0.13:53").bytes();
  EXPECT_EQ(rig().send_frame("a", ethernet(mac(0x77), mac(0x10), packet)), "");
  EXPECT_EQ(rig().drops(), "not_our_mac 1");
  EXPECT_EQ(rig().send_frame("a", ethernet(net::MacAddr::broadcast(), mac(0x10), packet)), "");
  EXPECT_EQ(rig().drops(), "ip_broadcast 1");
  const Bytes v6 = udp("[2001:db8:2::10]:5000", "[2001:db8:a::13]:53").bytes();
  EXPECT_EQ(rig().send_frame("a", ethernet(net::MacAddr::broadcast(), mac(0x10), v6)), "");
  EXPECT_EQ(rig().send_frame("a", ethernet({{0x33, 0x33, 0, 0, 0, 1}}, mac(0x10), v6)), "");
  EXPECT_EQ(rig().drops(), "ip_broadcast 2");
  EXPECT_EQ(rig().send("a", packet, 77), "");
  EXPECT_EQ(rig().drops(), "unknown_vlan 1");
  Bytes other = ethernet(mac(0x0a), mac(0x10), packet);
  other[12] = 0x88;
  EXPECT_EQ(rig().send_frame("a", other), "");
  EXPECT_EQ(rig().drops(), "unknown_ether_type 1");
  EXPECT_EQ(rig().send_frame("a", Bytes(13)), "");
  EXPECT_EQ(rig().drops(), "ethernet_truncated 1");
}

TEST_P(Forwarding, FWD_APortOfTaggedInterfacesTakesNoUntaggedFrame) {
  Gateway gateway;
  gateway.interfaces = std::string(interface_a).insert(1, "\"vlan\":7,") + "," + interface_b;
  rig().load(list({gateway.text(), cluster()}));
  const Bytes v4 = udp("192.0.2.10:5000", "192.168.0.13:53").bytes();
  const Bytes v6 = udp("[2001:db8:2::10]:5000", "[2001:db8:a::13]:53").bytes();
  for (const Bytes& packet : {v4, v6}) {
    EXPECT_EQ(rig().send_frame("a", ethernet(mac(0x0a), mac(0x10), packet)), "");
    EXPECT_EQ(rig().send_frame("a", ethernet(net::MacAddr{}, mac(0x10), packet)), "") << "nobody's address";
  }
  EXPECT_EQ(rig().drops(), "unknown_vlan 4");
  EXPECT_EQ(rig().send("a", v4, 7), "b/13 udp 192.0.2.10:5000>192.168.0.13:53 ttl 63");
}

// ---- TTL ---------------------------------------------------------------------------------------------

TEST_P(Forwarding, TTL1_TTL2_LastHopIsTold) {
  EXPECT_EQ(rig().send("a", udp("198.51.100.9:5", "192.168.0.13:6").with_ttl(2)),
            "b/13 udp 198.51.100.9:5>192.168.0.13:6 ttl 1");
  EXPECT_EQ(rig().send("a", udp("198.51.100.9:5", "192.168.0.13:6").with_ttl(1)),
            "a/fe icmp 11/0 192.0.2.1>198.51.100.9 ttl 64 [ udp 198.51.100.9:5>192.168.0.13:6 ttl 1 ]");
  EXPECT_EQ(rig().drops(), "ttl_exceeded 1");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[2001:db8:a::13]:6").with_ttl(1)),
            "a/10 icmp 3/0 2001:db8:2::1>2001:db8:2::10 ttl 64 [ udp [2001:db8:2::10]:5>[2001:db8:a::13]:6 ttl 1 ]");
}

TEST_P(Forwarding, TTL2_PacketsToUsAreNotRefused) {
  EXPECT_EQ(rig().send("a", echo("192.0.2.10", "192.0.2.1", 9).with_ttl(1)),
            "a/10 echo-reply 192.0.2.1>192.0.2.10 id 9 ttl 64");
}

TEST_P(Forwarding, ICMP7_SilenceRules) {
  const Bytes about = udp("192.0.2.10:5", "192.168.0.13:6").bytes();
  EXPECT_EQ(rig().send("a", icmp_error("192.0.2.10", "192.168.0.13", 3, 1, about).with_ttl(1)), "")
      << "no error about an error";
  EXPECT_EQ(rig().drops(), "ttl_exceeded 1");
  EXPECT_EQ(rig().send("a", echo("192.0.2.10", "192.168.0.13", 1).with_ttl(1)),
            "a/10 icmp 11/0 192.0.2.1>192.0.2.10 ttl 64 [ echo 192.0.2.10>192.168.0.13 id 1 ttl 1 ]");
  auto parts = fragments(udp("192.0.2.10:5", "192.168.0.13:6").with_payload(400).bytes(), 200);
  EXPECT_EQ(rig().send("a", parts[0]), "b/13 udp 192.0.2.10:5>192.168.0.13:6 ttl 63 frag 0+ len 220");
  parts[1][8] = 1;
  finish_ipv4(parts[1]);
  EXPECT_EQ(rig().send("a", parts[1]), "") << "no error about a later fragment";
}

TEST_P(Forwarding, ICMP7_RateLimitPerDestination) {
  std::vector<Bytes> many(200, udp("192.0.2.10:5", "203.0.113.130:6").bytes());
  (void)rig().send_burst("a", many);
  EXPECT_GE(rig().out().size(), 20u);
  EXPECT_LE(rig().out().size(), 25u);
  EXPECT_EQ(rig().drops(), "unreachable 200");
  EXPECT_NE(rig().send("a", udp("192.0.2.254:5", "203.0.113.130:6")), "") << "somebody else is still told";
  (void)rig().advance(1000);
  EXPECT_NE(rig().send("a", udp("192.0.2.10:5", "203.0.113.130:6")), "");
}

TEST_P(Forwarding, ICMP7_QuoteIsAtMost576And1280Bytes) {
  ASSERT_NE(rig().send("a", udp("192.0.2.10:5", "203.0.113.130:6").with_payload(1400)), "");
  EXPECT_EQ(rig().only().outer.size(), 576u);
  ASSERT_NE(rig().send("a", udp("[2001:db8:2::10]:5", "[2001:db8:dead::1]:6").with_payload(1400)), "");
  EXPECT_EQ(rig().only().outer.size(), 1280u);
}

// ---- MTU ---------------------------------------------------------------------------------------------

class ForwardingMtu : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    Gateway small;
    std::string b = interface_b;
    b.insert(b.find("\"addresses\""), "\"mtu\":1400,");
    small.interfaces = std::string(interface_a) + "," + b;
    rig().load(list({small.text(), cluster()}));
  }
};

TEST_P(ForwardingMtu, MTU2_DontFragmentIsTold) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "192.168.0.13:6").with_df().with_payload(1400 - 28)),
            "b/13 udp 192.0.2.10:5>192.168.0.13:6 ttl 63 df");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "192.168.0.13:6").with_df().with_payload(1401 - 28)),
            "a/10 icmp 3/4 mtu 1400 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>192.168.0.13:6 ttl 64 df ]");
  EXPECT_EQ(rig().drops(), "mtu_exceeded 1");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[2001:db8:a::13]:6").with_payload(1400)),
            "a/10 icmp 2/0 mtu 1400 2001:db8:2::1>2001:db8:2::10 ttl 64 "
            "[ udp [2001:db8:2::10]:5>[2001:db8:a::13]:6 ttl 64 ]");
}

TEST_P(ForwardingMtu, MTU2_Rfc791FragmentsFitAndTheirPayloadIsWhole) {
  const Ip whole = udp("192.0.2.10:5", "192.168.0.13:6").with_payload(1472);
  EXPECT_EQ(rig().send("a", whole),
            "b/13 udp 192.0.2.10:5>192.168.0.13:6 ttl 63 frag 0+ len 1396\n"
            "b/13 udp 192.0.2.10>192.168.0.13 ttl 63 frag 1376 len 124");
  ASSERT_EQ(rig().out().size(), 2u);
  Bytes joined;
  for (const View& part : rig().out()) {
    EXPECT_EQ(part.ip.id, whole.id);
    joined.insert(joined.end(), part.outer.begin() + 20, part.outer.end());
  }
  const Bytes sent = whole.bytes();
  EXPECT_EQ(joined, Bytes(sent.begin() + 20, sent.end()));
  EXPECT_EQ(rig().count(dataplane::Event::Fragmented), 1u);
  EXPECT_EQ(rig().count(dataplane::Event::FragmentsSent), 2u);
}

TEST_P(ForwardingMtu, MTU2_AFragmentIsCutAgain) {
  const auto parts = fragments(udp("192.0.2.10:5", "192.168.0.13:6").with_payload(1700).bytes(), 1480);
  EXPECT_EQ(rig().send("a", parts[0]),
            "b/13 udp 192.0.2.10:5>192.168.0.13:6 ttl 63 frag 0+ len 1396\n"
            "b/13 udp 192.0.2.10>192.168.0.13 ttl 63 frag 1376+ len 124");
  EXPECT_EQ(rig().send("a", parts[1]), "b/13 udp 192.0.2.10>192.168.0.13 ttl 63 frag 1480 len 248");
}

// ---- routes ------------------------------------------------------------------------------------------

TEST_P(Forwarding, ROUTE_TypesThatLeadNowhere) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "203.0.113.1:6")), "");
  EXPECT_EQ(rig().drops(), "blackhole 1");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "203.0.113.129:6")),
            "a/10 icmp 3/1 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>203.0.113.129:6 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "unreachable 1");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "203.0.113.200:6")),
            "a/10 icmp 3/13 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>203.0.113.200:6 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "prohibited 1");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[2001:db8:dead::1]:6")),
            "a/10 icmp 1/3 2001:db8:2::1>2001:db8:2::10 ttl 64 [ udp [2001:db8:2::10]:5>[2001:db8:dead::1]:6 ttl 64 ]");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[2001:db8:beef::1]:6")),
            "a/10 icmp 1/1 2001:db8:2::1>2001:db8:2::10 ttl 64 [ udp [2001:db8:2::10]:5>[2001:db8:beef::1]:6 ttl 64 ]");
}

TEST_P(Forwarding, ROUTE_NoRouteIsTold) {
  Gateway lonely;
  std::string a = interface_a;
  a.erase(a.find(",\"gateway\""), std::string_view(R"(,"gateway":{"v4":"192.0.2.254","v6":"2001:db8:2::fe"})").size());
  lonely.interfaces = a + "," + interface_b;
  rig().load(list({lonely.text(), cluster()}));
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "198.51.100.1:6")),
            "a/10 icmp 3/0 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>198.51.100.1:6 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "no_route 1");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[2001:db8:99::1]:6")),
            "a/10 icmp 1/0 2001:db8:2::1>2001:db8:2::10 ttl 64 [ udp [2001:db8:2::10]:5>[2001:db8:99::1]:6 ttl 64 ]");
}

TEST_P(Forwarding, ROUTE_EcmpUsesEveryMemberAndKeepsAFlowOnOne) {
  std::set<uint8_t> used;
  for (int port = 1000; port < 1064; ++port) {
    const Ip packet = udp("192.0.2.10:" + std::to_string(port), "198.18.1.1:53");
    std::set<uint8_t> of_flow;
    for (int i = 0; i < 3; ++i) {
      ASSERT_NE(rig().send("a", packet), "");
      of_flow.insert(rig().only().to.bytes[5]);
    }
    EXPECT_EQ(of_flow.size(), 1u) << "flow from port " << port;
    used.insert(of_flow.begin(), of_flow.end());
  }
  EXPECT_EQ(used, (std::set<uint8_t>{0x11, 0x12}));
}

// ---- VLAN and packets to the router --------------------------------------------------------------------

TEST_P(Forwarding, VLAN_InAndOut) {
  Gateway tagged;
  tagged.interfaces += R"(,{"name":"up7","device":"net_ring_a","vlan":7,"mac":"02:00:00:00:00:0a","role":"uplink",
    "addresses":["198.19.7.1/24","2001:db8:7::1/64"]})";
  tagged.neighbors += R"(,{"interface":"up7","address":"198.19.7.9","mac":"02:00:00:00:00:79"},
    {"interface":"up7","address":"2001:db8:7::9","mac":"02:00:00:00:00:79"})";
  rig().load(list({tagged.text(), cluster()}));
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "198.19.7.9:6")), "a/79 vlan 7 udp 192.0.2.10:5>198.19.7.9:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("198.19.7.9:6", "192.0.2.10:5").bytes(), 7),
            "a/10 udp 198.19.7.9:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(rig().send("a", udp("198.19.7.9:6", "192.168.0.13:5").bytes(), 7),
            "b/13 udp 198.19.7.9:6>192.168.0.13:5 ttl 63");
  EXPECT_EQ(rig().send("b", udp("[2001:db8:a::13]:6", "[2001:db8:7::9]:5")),
            "a/79 vlan 7 udp [2001:db8:a::13]:6>[2001:db8:7::9]:5 ttl 63");
  EXPECT_EQ(rig().send("a", echo("198.19.7.9", "198.19.7.1", 5).bytes(), 7),
            "a/79 vlan 7 echo-reply 198.19.7.1>198.19.7.9 id 5 ttl 64");
}

TEST_P(Forwarding, TTL4_WhatIsSentToTheRouter) {
  EXPECT_EQ(rig().send("a", echo("192.0.2.10", "192.168.0.1", 5)),
            "a/10 echo-reply 192.168.0.1>192.0.2.10 id 5 ttl 64");
  EXPECT_EQ(rig().send("a", echo("2001:db8:2::10", "2001:db8:2::1", 5)),
            "a/10 echo-reply 2001:db8:2::1>2001:db8:2::10 id 5 ttl 64");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "192.0.2.1:6")),
            "a/10 icmp 3/3 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>192.0.2.1:6 ttl 64 ]");
  Ip gre = udp("192.0.2.10", "192.0.2.1");
  gre.protocol = 47;
  EXPECT_EQ(rig().send("a", gre),
            "a/10 icmp 3/2 192.0.2.1>192.0.2.10 ttl 64 [ protocol 47 192.0.2.10>192.0.2.1 ttl 64 ]");
  Bytes damaged = echo("192.0.2.10", "192.0.2.1", 5).bytes();
  damaged.back() ^= 1;
  (void)rig().drops();
  EXPECT_EQ(rig().send("a", damaged), "");
  EXPECT_EQ(rig().drops(), "icmp_bad_checksum 1");
}

SLUICE_WITH_WORKERS(Unconfigured);
SLUICE_WITH_WORKERS(Forwarding);
SLUICE_WITH_WORKERS(ForwardingMtu);

}  // namespace
}  // namespace sluice::packet_test
