// IPv6 through NAT: natOutgoing, fragments, ICMPv6 errors in both directions. What IPv4 does by its header checksum,
// IPv6 does by the pseudo header: every L4 and ICMPv6 checksum is verified by DPDK's functions (frames_view.cpp).
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* endpoint = "[fd00:10:246::20]:5353";
constexpr const char* vip = "[fd00:10:96::10]:53";
constexpr const char* node_port = "[2001:db8:2::1]:30053";

const ServiceSpec dns{.name = "dns",
                      .cluster_ips = {"fd00:10:96::10"},
                      .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                      .endpoints = {"fd00:10:246::20 node3"}};

std::string pod(int port) { return "[fd00:10:246::5]:" + std::to_string(port); }
std::string outside(int port) { return "[2001:db8:99::9]:" + std::to_string(port); }

class NatV6 : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(R"("natOutgoing":true)"), service(dns)}));
  }
};

// ---- natOutgoing ---------------------------------------------------------------------------------------

TEST_P(NatV6, MASQ8_PodToOutsideIsMasqueraded) {
  for (int port = 1000; port < 1016; ++port) {
    ASSERT_TRUE(like(rig().send("b", udp(pod(port), "[2001:db8:99::9]:53")),
                     "a/fe udp [2001:db8:2::1]:*>[2001:db8:99::9]:53 ttl 63"));
    const std::string translated = rig().only().ip.src.text();
    EXPECT_GE(rig().only().ip.src.port, 32768);
    EXPECT_EQ(rig().send("a", udp("[2001:db8:99::9]:53", translated)),
              "b/13 udp [2001:db8:99::9]:53>" + pod(port) + " ttl 63");
  }
  ASSERT_TRUE(like(rig().send("b", tcp(pod(1), "[2001:db8:99::9]:80", "S")), "a/fe tcp S [2001:db8:2::1]:*"));
  EXPECT_EQ(rig().send("a", tcp("[2001:db8:99::9]:80", rig().only().ip.src.text(), "SA")),
            "b/13 tcp SA [2001:db8:99::9]:80>" + pod(1) + " ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(NatV6, MASQ8_MASQ11_PodToPodAndAnswersOfPodsKeepTheirSource) {
  EXPECT_EQ(rig().send("b", udp(pod(1), "[fd00:10:246::6]:53")), "b/13 udp " + pod(1) + ">[fd00:10:246::6]:53 ttl 63");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:9", "[fd00:10:246::5]:53")),
            "b/13 udp [2001:db8:2::10]:9>[fd00:10:246::5]:53 ttl 63");
  EXPECT_EQ(rig().send("b", udp("[fd00:10:246::5]:53", "[2001:db8:2::10]:9")),
            "a/10 udp [fd00:10:246::5]:53>[2001:db8:2::10]:9 ttl 63");
}

TEST_P(NatV6, MASQ12_PingIsMasqueradedByIdentifier) {
  ASSERT_TRUE(like(rig().send("b", echo("fd00:10:246::5", "2001:db8:99::9", 7)),
                   "a/fe echo 2001:db8:2::1>2001:db8:99::9 id * ttl 63"));
  const uint16_t id = rig().only().ip.src.port;
  EXPECT_EQ(rig().send("a", echo_reply("2001:db8:99::9", "2001:db8:2::1", id)),
            "b/13 echo-reply 2001:db8:99::9>fd00:10:246::5 id 7 ttl 63");
}

TEST_P(NatV6, MASQ2_MASQ3_NodePortAndHairpin) {
  ASSERT_TRUE(
      like(rig().send("a", udp(outside(1000), node_port)), "b/13 udp [2001:db8:a::1]:*>[fd00:10:246::20]:5353 ttl 63"));
  EXPECT_EQ(rig().send("b", udp(endpoint, rig().only().ip.src.text())),
            "a/fe udp [2001:db8:2::1]:30053>[2001:db8:99::9]:1000 ttl 63");
  ASSERT_TRUE(like(rig().send("b", udp("[fd00:10:246::20]:9", vip)),
                   "b/13 udp [2001:db8:a::1]:*>[fd00:10:246::20]:5353 ttl 63"));
  EXPECT_EQ(rig().send("b", udp(endpoint, rig().only().ip.src.text())),
            "b/13 udp [fd00:10:96::10]:53>[fd00:10:246::20]:9 ttl 63");
}

// ---- fragments -----------------------------------------------------------------------------------------

TEST_P(NatV6, FRAG1_FragmentsOfATranslatedDatagramFollowTheFirst) {
  for (int i = 1; i <= 16; ++i) {
    const std::string client = pod(1000 + i);
    const auto parts = fragments(udp(client, vip).with_payload(1000).bytes(), 600, static_cast<uint32_t>(i) * 77);
    ASSERT_EQ(rig().send("b", parts[0]), "b/13 udp " + client + ">[fd00:10:246::20]:5353 ttl 63 frag 0+ len 648");
    const Bytes head = rig().only().l3;
    ASSERT_EQ(rig().send("b", parts[1]), "b/13 udp fd00:10:246::5>fd00:10:246::20 ttl 63 frag 600 len 456");
    EXPECT_EQ(Bytes(head.begin() + 40, head.begin() + 48), Bytes(parts[0].begin() + 40, parts[0].begin() + 48))
        << "the fragment header is the sender's";
    EXPECT_EQ(text_of(reassembled(head, rig().only().l3)), "udp " + client + ">[fd00:10:246::20]:5353 ttl 63")
        << "and the checksum of the whole";
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(NatV6, FRAG1_MasqueradedOnesAndTheirReplies) {
  const auto parts = fragments(udp(outside(1000), node_port).with_payload(1000).bytes(), 600);
  ASSERT_TRUE(like(rig().send("a", parts[0]), "b/13 udp [2001:db8:a::1]:*>[fd00:10:246::20]:5353 ttl 63 frag 0+ *"));
  const std::string translated = rig().only().ip.src.text();
  EXPECT_EQ(rig().send("a", parts[1]), "b/13 udp 2001:db8:a::1>fd00:10:246::20 ttl 63 frag 600 len 456");
  const auto back = fragments(udp(endpoint, translated).with_payload(1000).bytes(), 400);
  ASSERT_EQ(rig().send("b", back[0]), "a/fe udp [2001:db8:2::1]:30053>[2001:db8:99::9]:1000 ttl 63 frag 0+ len 448");
  const Bytes head = rig().only().l3;
  ASSERT_EQ(rig().send("b", back[1]), "a/fe udp 2001:db8:2::1>2001:db8:99::9 ttl 63 frag 400 len 656");
  EXPECT_EQ(text_of(reassembled(head, rig().only().l3)), "udp [2001:db8:2::1]:30053>[2001:db8:99::9]:1000 ttl 63");
}

TEST_P(NatV6, FRAG1_DatagramsAreToldApartByTheWholeIdentification) {
  const auto one = fragments(udp(pod(1000), vip).with_payload(1000).bytes(), 600, 0x00010001);
  const auto other = fragments(udp(pod(1001), "[2001:db8:99::9]:53").with_payload(1000).bytes(), 600, 0x00020001);
  ASSERT_NE(rig().send("b", one[0]), "");
  ASSERT_NE(rig().send("b", other[0]), "");
  EXPECT_EQ(rig().send("b", one[1]), "b/13 udp fd00:10:246::5>fd00:10:246::20 ttl 63 frag 600 len 456");
  EXPECT_EQ(rig().send("b", other[1]), "a/fe udp 2001:db8:2::1>2001:db8:99::9 ttl 63 frag 600 len 456");
}

// FRAG-3, RFC 6946: a datagram in one fragment is processed by itself.
TEST_P(NatV6, FRAG3_AtomicFragment) {
  Bytes atomic = udp(pod(1000), vip).with_payload(96).bytes();
  Bytes extension{atomic[6], 0, 0, 0, 1, 2, 3, 4};
  atomic[6] = net::protocol::fragment;
  atomic.insert(atomic.begin() + 40, extension.begin(), extension.end());
  net::store_be16(&atomic[4], static_cast<uint16_t>(atomic.size() - 40));
  EXPECT_EQ(rig().send("b", atomic), "b/13 udp " + pod(1000) + ">[fd00:10:246::20]:5353 ttl 63");
}

TEST_P(NatV6, FRAG1_FragmentsInTransit) {
  const auto parts = fragments(udp("[2001:db8:2::10]:5", "[2001:db8:a::13]:6").with_payload(1000).bytes(), 600);
  EXPECT_EQ(rig().send("a", parts[0]), "b/13 udp [2001:db8:2::10]:5>[2001:db8:a::13]:6 ttl 63 frag 0+ len 648");
  EXPECT_EQ(rig().send("a", parts[1]), "b/13 udp 2001:db8:2::10>2001:db8:a::13 ttl 63 frag 600 len 456");
}

// RFC 8200 section 5: a router does not fragment, the sender is told.
TEST_P(NatV6, MTU2_AFragmentThatIsTooBigIsToldOnlyOfTheFirst) {
  Gateway narrow;
  std::string b = interface_b;
  b.insert(b.find("\"addresses\""), "\"mtu\":1280,");
  narrow.interfaces = std::string(interface_a) + "," + b;
  rig().load(list({narrow.text(), cluster(), service(dns)}));
  const auto parts = fragments(udp(outside(5), node_port).with_payload(2600).bytes(), 1304);
  EXPECT_TRUE(like(rig().send("a", parts[0]), "a/fe icmp 2/0 mtu 1280 2001:db8:2::1>2001:db8:99::9 ttl 64 [ udp " +
                                                  outside(5) + ">" + node_port + " ttl 64 frag 0+ *"));
  EXPECT_EQ(rig().send("a", parts[1]), "") << "ICMP-7";
}

// ---- ICMPv6 errors -------------------------------------------------------------------------------------

TEST_P(NatV6, ICMP1_ICMP2a_ErrorFromBehindComesFromTheServiceAddress) {
  ASSERT_NE(rig().send("b", tcp(pod(1000), "[fd00:10:96::10]:80", "S")), "");
  const Bytes seen = rig().only().l3;
  for (const bool shortest : {false, true}) {
    EXPECT_EQ(rig().send("b", icmp_error("2001:db8:a::13", "fd00:10:246::5", 2, 0,
                                         shortest ? shortest_quote(seen) : seen, 1300)),
              "b/13 icmp 2/0 mtu 1300 fd00:10:96::10>fd00:10:246::5 ttl 63 [ tcp " + std::string(shortest ? "" : "S ") +
                  pod(1000) + ">[fd00:10:96::10]:80 ttl 63 ]");
  }
  EXPECT_EQ(
      rig().send("b", icmp_error("fd00:10:246::20", "fd00:10:246::5", 3, 0, seen)),
      "b/13 icmp 3/0 fd00:10:96::10>fd00:10:246::5 ttl 63 [ tcp S " + pod(1000) + ">[fd00:10:96::10]:80 ttl 63 ]");
  EXPECT_EQ(rig().count(dataplane::Event::IcmpErrorsTranslated), 3u);
}

TEST_P(NatV6, ICMP6_MasqueradedClientReadsAboutItsOwnPacket) {
  for (int port = 1000; port < 1016; ++port) {
    ASSERT_NE(rig().send("a", udp(outside(port), node_port)), "");
    EXPECT_EQ(
        rig().send("b", icmp_error("fd00:10:246::20", "2001:db8:a::1", 1, 4, rig().only().l3)),
        "a/fe icmp 1/4 2001:db8:2::1>2001:db8:99::9 ttl 63 [ udp " + outside(port) + ">" + node_port + " ttl 63 ]");
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(NatV6, ICMP6_OutgoingClientIsTold) {
  ASSERT_NE(rig().send("b", udp(pod(1000), "[2001:db8:99::9]:53")), "");
  const Bytes seen = rig().only().l3;
  EXPECT_EQ(rig().send("a", icmp_error("2001:db8:77::1", "2001:db8:2::1", 2, 0, seen, 1300)),
            "b/13 icmp 2/0 mtu 1300 2001:db8:77::1>fd00:10:246::5 ttl 63 [ udp " + pod(1000) +
                ">[2001:db8:99::9]:53 ttl 63 ]");
  ASSERT_NE(rig().send("b", echo("fd00:10:246::5", "2001:db8:99::9", 7)), "");
  EXPECT_EQ(rig().send("a", icmp_error("2001:db8:77::1", "2001:db8:2::1", 1, 3, rig().only().l3)),
            "b/13 icmp 1/3 2001:db8:77::1>fd00:10:246::5 ttl 63 [ echo fd00:10:246::5>2001:db8:99::9 id 7 ttl 63 ]");
}

TEST_P(NatV6, ICMP2b_ErrorAboutTheReplyGoesToTheEndpoint) {
  ASSERT_NE(rig().send("a", udp(outside(1000), node_port)), "");
  const std::string translated = rig().only().ip.src.text();
  ASSERT_NE(rig().send("b", udp(endpoint, translated).with_payload(1200)), "");
  const Bytes seen = rig().only().l3;
  for (const bool shortest : {false, true}) {
    EXPECT_EQ(rig().send("a", icmp_error("2001:db8:77::1", "2001:db8:2::1", 2, 0,
                                         shortest ? shortest_quote(seen) : seen, 1280)),
              "b/13 icmp 2/0 mtu 1280 2001:db8:a::1>fd00:10:246::20 ttl 63 [ udp " + std::string(endpoint) + ">" +
                  translated + " ttl 63 ]");
  }
}

// Of a fragmented datagram the first fragment is quoted with its fragment header.
TEST_P(NatV6, ICMP3_AQuotedFirstFragment) {
  const auto parts = fragments(udp(pod(1000), vip).with_payload(1000).bytes(), 600);
  ASSERT_NE(rig().send("b", parts[0]), "");
  const Bytes seen = rig().only().l3;
  EXPECT_EQ(
      rig().send("b", icmp_error("fd00:10:246::20", "fd00:10:246::5", 3, 1, Bytes(seen.begin(), seen.begin() + 80))),
      "b/13 icmp 3/1 fd00:10:96::10>fd00:10:246::5 ttl 63 [ udp " + pod(1000) + ">" + vip + " ttl 63 frag 0+ len 80 ]");
}

TEST_P(NatV6, ICMP5_OwnErrorsQuoteThePacketAsItWasSent) {
  EXPECT_EQ(rig().send("b", udp(pod(1000), vip).with_ttl(1)),
            "b/13 icmp 3/0 2001:db8:a::1>fd00:10:246::5 ttl 64 [ udp " + pod(1000) + ">" + vip + " ttl 1 ]");
  ASSERT_NE(rig().send("a", udp(outside(1000), node_port)), "");
  const std::string translated = rig().only().ip.src.text();
  EXPECT_EQ(rig().send("b", udp(endpoint, translated).with_ttl(1)),
            "b/13 icmp 3/0 2001:db8:a::1>fd00:10:246::20 ttl 64 [ udp " + std::string(endpoint) + ">" + translated +
                " ttl 1 ]");
}

TEST_P(NatV6, RFC5508_3_DamagedErrorsAreDropped) {
  ASSERT_NE(rig().send("a", udp(outside(1000), node_port)), "");
  Bytes damaged = icmp_error("fd00:10:246::20", "2001:db8:a::1", 1, 4, rig().only().l3).bytes();
  damaged.back() ^= 1;
  EXPECT_EQ(rig().send("b", damaged), "");
  EXPECT_EQ(rig().drops(), "icmp_bad_checksum 1");
}

TEST_P(NatV6, ICMP4_WithoutASession) {
  const Bytes about = udp("[2001:db8:a::1]:40000", endpoint).bytes();
  EXPECT_EQ(rig().send("b", icmp_error("fd00:10:246::20", "2001:db8:a::1", 1, 4, about)), "");
  EXPECT_EQ(rig().drops(), "icmp_no_flow 1");
  const Bytes transit = udp("[2001:db8:2::10]:1", "[2001:db8:a::13]:2").bytes();
  EXPECT_EQ(rig().send("b", icmp_error("2001:db8:a::13", "2001:db8:2::10", 1, 4, transit)),
            "a/10 icmp 1/4 2001:db8:a::13>2001:db8:2::10 ttl 63 [ udp [2001:db8:2::10]:1>[2001:db8:a::13]:2 ttl 64 ]");
}

SLUICE_WITH_WORKERS(NatV6);

}  // namespace
}  // namespace sluice::packet_test
