// IPv4 packets with options: forwarded, translated, tunnelled and cut like any other, their options as they came; but
// not those that choose a way of their own.
#include <algorithm>

#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

const Bytes router_alert{0x94, 4, 0, 0};  // RFC 2113; of the kind that is copied into every fragment
constexpr const char* alert = " options 94040000";

Bytes with_options(Bytes packet, const Bytes& options) {
  packet.insert(packet.begin() + net::ipv4_header_length, options.begin(), options.end());
  packet[0] = static_cast<uint8_t>(packet[0] + options.size() / 4);
  net::store_be16(&packet[2], static_cast<uint16_t>(packet.size()));
  finish_ipv4(packet);
  return packet;
}
Bytes alerted(const Ip& packet) { return with_options(packet.bytes(), router_alert); }

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10"},
                      .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053", "SCTP 99 9999"},
                      .endpoints = {"10.246.1.20 node3"}};
const ServiceSpec tunnelled{
    .name = "tunnelled", .cluster_ips = {"10.96.0.13"}, .ports = {"UDP 53 5353"}, .endpoints = {"10.244.34.5 node1"}};

class IpOptions : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), service(web), service(tunnelled)}));
  }
};

TEST_P(IpOptions, FWD_TransitKeepsThem) {
  EXPECT_EQ(rig().send("a", alerted(udp("192.0.2.10:5000", "192.168.0.13:53").with_payload(7))),
            std::string("b/13 udp 192.0.2.10:5000>192.168.0.13:53 ttl 63") + alert);
  EXPECT_EQ(rig().send("a", alerted(tcp("192.0.2.10:5000", "192.168.0.13:53", "PA").with_payload(300))),
            std::string("b/13 tcp PA 192.0.2.10:5000>192.168.0.13:53 ttl 63") + alert);
  EXPECT_EQ(rig().send("b", with_options(echo("192.168.0.13", "198.51.100.9", 7).bytes(), Bytes(8, 1))),
            "a/fe echo 192.168.0.13>198.51.100.9 id 7 ttl 63 options 0101010101010101");
  EXPECT_EQ(rig().drops(), "");
}

// RFC 7126 sections 4.3 and 4.4.
TEST_P(IpOptions, FWD_SourceRoutesAreDropped) {
  for (const Bytes& options : {Bytes{131, 7, 4, 10, 0, 0, 1, 0}, Bytes{137, 7, 4, 10, 0, 0, 1, 0},
                               Bytes{0x94, 4, 0, 0, 1, 131, 3, 4}, Bytes{7, 9, 4, 0, 0, 0, 0, 0}}) {
    EXPECT_EQ(rig().send("a", with_options(udp("192.0.2.10:5000", "192.168.0.13:53").bytes(), options)), "");
    EXPECT_EQ(rig().drops(), "ip_options 1") << int{options[0]};
  }
}

TEST_P(IpOptions, BASE5_ServicesThereAndBack) {
  for (int port = 1000; port < 1008; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    EXPECT_EQ(rig().send("b", alerted(tcp(client, "10.96.0.10:80", "S"))),
              "b/13 tcp S " + client + ">10.246.1.20:8080 ttl 63" + alert);
    EXPECT_EQ(rig().send("b", alerted(tcp("10.246.1.20:8080", client, "SA"))),
              "b/13 tcp SA 10.96.0.10:80>" + client + " ttl 63" + alert);
    EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "A")), "b/13 tcp A " + client + ">10.246.1.20:8080 ttl 63")
        << "the same connection without";
    EXPECT_EQ(rig().send("b", alerted(sctp(client, "10.96.0.10:99", 1))),
              "b/13 sctp " + client + ">10.246.1.20:9999 ttl 63" + alert);
  }
  EXPECT_EQ(rig().flows(), 16u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(IpOptions, MASQ2_MasqueradedThereAndBack) {
  for (const char* client : {"198.51.100.9:1000", "198.51.100.9:1001", "198.51.100.9:1002"}) {
    EXPECT_TRUE(like(rig().send("a", alerted(udp(client, "192.0.2.1:30053").with_payload(9))),
                     std::string("b/13 udp 192.168.0.1:*>10.246.1.20:5353 ttl 63") + alert));
    const std::string translated = rig().only().ip.src.text();
    EXPECT_EQ(rig().send("b", alerted(udp("10.246.1.20:5353", translated).with_payload(9))),
              std::string("a/fe udp 192.0.2.1:30053>") + client + " ttl 63" + alert);
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(IpOptions, IPIP1_VXL1_ThroughTunnels) {
  EXPECT_EQ(
      rig().send("a", alerted(udp("192.0.2.10:5", "10.244.34.5:6"))),
      std::string("b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63") + alert);
  EXPECT_EQ(rig().only().outer[0], 0x45) << "none of them outside";
  EXPECT_EQ(rig().send("a", alerted(udp("192.0.2.10:5", "10.245.40.6:6"))),
            std::string("b/12 ipip 192.168.0.1>192.168.0.12 | udp 192.0.2.10:5>10.245.40.6:6 ttl 63") + alert);
  const Bytes inner = alerted(udp("10.245.40.6:6", "192.0.2.10:5").with_payload(11));
  const std::string out = std::string("a/10 udp 10.245.40.6:6>192.0.2.10:5 ttl 63") + alert;
  EXPECT_EQ(rig().send("b", ipip("192.168.0.12", "192.168.0.1", inner)), out);
  EXPECT_EQ(rig().send("b", with_options(ipip("192.168.0.12", "192.168.0.1", inner), router_alert)), out)
      << "outside as well";
  VxlanOptions to_us;
  to_us.inner_destination = encap::vtep_mac("gw");
  const Bytes whole = with_options(
      vxlan("192.168.0.11", "192.168.0.1", alerted(udp("10.244.34.5:6", "192.0.2.10:5")), to_us), router_alert);
  EXPECT_EQ(rig().send("b", whole), std::string("a/10 udp 10.244.34.5:6>192.0.2.10:5 ttl 63") + alert);
  EXPECT_EQ(rig().drops(), "");
}

// RFC 791 section 3.1: a router alert is copied into all fragments, a record of the route is in the first alone.
TEST_P(IpOptions, MTU2_FragmentsHaveWhatIsCopied) {
  const Bytes options{0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 1};
  const Bytes sent = with_options(udp("192.0.2.10:5", "10.244.34.5:6").with_payload(1450).bytes(), options);
  (void)rig().send("a", sent);
  ASSERT_EQ(rig().out().size(), 2u);
  Bytes whole;
  for (const View& piece : rig().out()) {
    const bool first = piece.ip.offset == 0;
    EXPECT_NE(piece.text.find(first ? " options 940400000707040000000001" : alert), std::string::npos) << piece.text;
    EXPECT_EQ(piece.l3[0], first ? 0x48 : 0x46);
    EXPECT_LE(piece.l3.size(), 1450u);
    EXPECT_EQ(piece.ip.mf, first);
    const auto body = piece.l3.begin() + (piece.l3[0] & 0xf) * 4;
    whole.resize(std::max(whole.size(), piece.ip.offset + static_cast<size_t>(piece.l3.end() - body)));
    std::copy(body, piece.l3.end(), whole.begin() + piece.ip.offset);
  }
  EXPECT_EQ(whole, Bytes(sent.begin() + 32, sent.end()));
  const Bytes df =
      with_options(udp("192.0.2.10:5", "10.244.34.5:6").with_payload(1422).with_df().bytes(), router_alert);
  EXPECT_EQ(rig().send("a", df),
            "a/10 icmp 3/4 mtu 1450 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>10.244.34.5:6 "
            "ttl 64 df options 94040000 ]")
      << "1450 without them";
  EXPECT_EQ(rig().drops(), "mtu_exceeded 1");
}

// What comes in fragments: the second has none of them, as a sender makes it.
TEST_P(IpOptions, FRAG1_FragmentsOfAService) {
  for (int port = 1000; port < 1008; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    const auto parts = fragments(udp(client, "10.96.0.10:53").with_payload(592).bytes(), 400);
    const Bytes first = with_options(parts[0], {7, 7, 4, 0, 0, 0, 0, 0});
    EXPECT_EQ(rig().send("b", parts[1]), "");
    const std::string out = rig().send("b", first);
    EXPECT_NE(out.find("udp " + client + ">10.246.1.20:5353 ttl 63 frag 0+ len 428 options 0707040000000000"),
              std::string::npos)
        << out;
    EXPECT_NE(out.find("udp 10.246.1.5>10.246.1.20 ttl 63 frag 400 len 220"), std::string::npos) << out;
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(IpOptions, TTL2_ICMP5_ErrorsQuoteThem) {
  EXPECT_EQ(
      rig().send("b", alerted(udp("10.246.1.5:1000", "10.96.0.10:53").with_ttl(1))),
      "b/13 icmp 11/0 192.168.0.1>10.246.1.5 ttl 64 [ udp 10.246.1.5:1000>10.96.0.10:53 ttl 1 options 94040000 ]");
  // About a packet behind the translation, with options itself and in what it quotes.
  (void)rig().send("b", alerted(udp("10.246.1.5:1000", "10.96.0.10:53")));
  const Bytes quoted = rig().only().l3;
  EXPECT_EQ(rig().send("b", alerted(icmp_error("192.168.0.254", "10.246.1.5", 3, 1, quoted))),
            "b/13 icmp 3/1 10.96.0.10>10.246.1.5 ttl 63 options 94040000 [ udp 10.246.1.5:1000>10.96.0.10:53 ttl 63 "
            "options 94040000 ]");
  EXPECT_EQ(rig().drops(), "ttl_exceeded 1");
}

TEST_P(IpOptions, ICMP8_AnEchoIsAnsweredWithThem) {
  EXPECT_EQ(rig().send("a", alerted(echo("192.0.2.10", "192.0.2.1", 5).with_payload(33))),
            std::string("a/10 echo-reply 192.0.2.1>192.0.2.10 id 5 ttl 64") + alert);
  EXPECT_EQ(rig().drops(), "");
}

// FRAG-6: an outer packet in pieces, with options.
TEST_P(IpOptions, FRAG6_OuterFragments) {
  const auto parts = fragments(
      ipip("192.168.0.12", "192.168.0.1", alerted(udp("10.245.40.6:6", "192.0.2.10:5").with_payload(1400))), 800);
  EXPECT_EQ(rig().send("b", with_options(parts[1], router_alert)), "");
  EXPECT_EQ(rig().send("b", with_options(parts[0], router_alert)),
            std::string("a/10 udp 10.245.40.6:6>192.0.2.10:5 ttl 63") + alert);
  EXPECT_EQ(rig().drops(), "");
}

INSTANTIATE_TEST_SUITE_P(Workers, IpOptions, testing::Values(uint16_t{1}, uint16_t{2}, uint16_t{4}),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace sluice::packet_test
