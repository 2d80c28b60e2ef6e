// ICMP errors of the underlay about our own outer packets: what the router learns of a tunnel's way, what inner senders
// are told, who is believed, and for how long.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

size_t payload(int length) { return static_cast<size_t>(length - 28); }
size_t payload_v6(int length) { return static_cast<size_t>(length - 48); }

constexpr const char* vxlan_out = "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | ";
constexpr const char* ipip_out = "b/12 ipip 192.168.0.1>192.168.0.12 | ";
constexpr const char* router = "192.168.0.254";

const Ip to_vxlan = udp("192.0.2.10:5", "10.244.34.5:6").with_df();
const Ip to_ipip = udp("192.0.2.10:5", "10.245.40.6:6").with_df();

std::string too_big(const Ip& packet, int mtu) {
  return "a/10 icmp 3/4 mtu " + std::to_string(mtu) + " 192.0.2.1>192.0.2.10 ttl 64 [ " + text_of(packet.bytes()) +
         " ]";
}
std::string unreachable(const Ip& packet) {
  return "a/10 icmp 3/1 192.0.2.1>192.0.2.10 ttl 64 [ " + text_of(packet.bytes()) + " ]";
}

class TunnelPath : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), pool("v6", "fd00:10:244::/48", R"("vxlanMode":"Always")"),
                     block("node1", "fd00:10:244::/122")}));
  }
  // The outer packet that the router makes of this one.
  Bytes outer_of(const Ip& packet) {
    (void)rig().send("a", packet);
    return rig().only().outer;
  }
  // The underlay tells about an outer packet.
  std::string too_big_outside(const Bytes& outer, uint32_t mtu) {
    return rig().send("b", icmp_error(router, "192.168.0.1", 3, 4, outer, mtu));
  }
  std::string fits(const Ip& packet, int length) { return rig().send("a", packet.with_payload(payload(length))); }
};

TEST_P(TunnelPath, MTU3_LowersTheMtuOfThatTunnelForTenMinutes) {
  EXPECT_EQ(too_big_outside(outer_of(to_vxlan), 1400), "");
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(rig().count(dataplane::Event::TunnelMtuLowered), 1u);
  EXPECT_EQ(fits(to_vxlan, 1351), too_big(to_vxlan, 1350));
  EXPECT_TRUE(like(fits(to_vxlan, 1350), vxlan_out + std::string("udp *")));
  EXPECT_EQ(rig().only().outer.size(), 1400u);
  EXPECT_TRUE(like(fits(to_ipip, 1480), ipip_out + std::string("udp *"))) << "the other tunnel keeps its own";
  (void)rig().advance(599000);
  EXPECT_EQ(fits(to_vxlan, 1351), too_big(to_vxlan, 1350));
  (void)rig().advance(2000);
  EXPECT_TRUE(like(fits(to_vxlan, 1450), vxlan_out + std::string("udp *")));
  EXPECT_EQ(fits(to_vxlan, 1451), too_big(to_vxlan, 1450));
}

TEST_P(TunnelPath, MTU3_IpipOnTheShortestQuote) {
  EXPECT_EQ(too_big_outside(shortest_quote(outer_of(to_ipip)), 1000), "");
  EXPECT_EQ(fits(to_ipip, 981), too_big(to_ipip, 980));
  EXPECT_TRUE(like(fits(to_ipip, 980), ipip_out + std::string("udp *")));
}

TEST_P(TunnelPath, MTU3_MTU2_WithoutDfTheInnerPacketIsFragmented) {
  EXPECT_EQ(too_big_outside(outer_of(to_vxlan), 1050), "");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.34.5:6").with_payload(1172)),
            vxlan_out + std::string("udp 192.0.2.10:5>10.244.34.5:6 ttl 63 frag 0+ len 996\n") + vxlan_out +
                "udp 192.0.2.10>10.244.34.5 ttl 63 frag 976 len 224");
}

// A flow that is open, with its route remembered, learns it too.
TEST_P(TunnelPath, MTU3_HoldsForOpenFlows) {
  const ServiceSpec dns{
      .name = "dns", .cluster_ips = {"10.96.0.13"}, .ports = {"UDP 53 5353"}, .endpoints = {"10.244.34.5 node1"}};
  rig().load(list({gateway(), cluster(), service(dns)}));
  const Ip asked = udp("10.246.1.5:1000", "10.96.0.13:53").with_df();
  ASSERT_NE(rig().send("b", asked), "");
  const Bytes outer = rig().only().outer;
  ASSERT_NE(rig().send("b", asked.with_payload(payload(1450))), "");
  EXPECT_EQ(too_big_outside(outer, 1400), "");
  EXPECT_EQ(rig().send("b", asked.with_payload(payload(1351))),
            "b/13 icmp 3/4 mtu 1350 192.168.0.1>10.246.1.5 ttl 64 [ udp 10.246.1.5:1000>10.96.0.13:53 ttl 64 df ]");
}

TEST_P(TunnelPath, MTU3_IsNeverRaisedByAnError) {
  const Bytes outer = outer_of(to_vxlan);
  EXPECT_EQ(too_big_outside(outer, 1500), "");
  EXPECT_EQ(rig().count(dataplane::Event::TunnelMtuLowered), 0u) << "what fits now is no news";
  EXPECT_EQ(too_big_outside(outer, 1300), "");
  EXPECT_EQ(too_big_outside(outer, 1400), "");
  EXPECT_EQ(fits(to_vxlan, 1251), too_big(to_vxlan, 1250));
}

TEST_P(TunnelPath, MTU3_IPv6InsideIsToldNoLessThanItsMinimum) {
  const Ip inner = udp("[2001:db8:2::10]:5", "[fd00:10:244::5]:6");
  EXPECT_EQ(too_big_outside(outer_of(inner), 1000), "");
  EXPECT_TRUE(like(rig().send("a", inner.with_payload(payload_v6(1281))), "a/10 icmp 2/0 mtu 1280 *"));
  EXPECT_EQ(rig().send("a", inner.with_payload(payload_v6(1280))),
            vxlan_out + std::string("udp [2001:db8:2::10]:5>[fd00:10:244::5]:6 ttl 63"));
  EXPECT_EQ(rig().only().outer[6] & 0x40, 0) << "RFC 4213 section 3.2.2: the underlay may fragment it";
}

// ---- who is believed -------------------------------------------------------------------------------------

struct Forged {
  const char* name;
  const char* drops;
  void (*forge)(Bytes& outer, uint32_t& mtu);

  friend void PrintTo(const Forged& forged, std::ostream* out) { *out << forged.name; }
};

class TunnelPathForged : public testing::TestWithParam<std::tuple<uint16_t, Forged>> {};

TEST_P(TunnelPathForged, MTU3_IsNotBelieved) {
  const Forged& forged = std::get<1>(GetParam());
  Rig rig({.workers = std::get<0>(GetParam())});
  rig.load(list({gateway(), cluster()}));
  (void)rig.send("a", to_vxlan);
  Bytes outer = rig.only().outer;
  uint32_t mtu = 1300;
  forged.forge(outer, mtu);
  EXPECT_EQ(rig.send("b", icmp_error(router, "192.168.0.1", 3, 4, outer, mtu)), "");
  EXPECT_EQ(rig.drops(), forged.drops);
  EXPECT_EQ(rig.count(dataplane::Event::TunnelMtuLowered), 0u);
  EXPECT_TRUE(like(rig.send("a", to_vxlan.with_payload(payload(1450))), vxlan_out + std::string("udp *")));
}

INSTANTIATE_TEST_SUITE_P(
    Forged, TunnelPathForged,
    testing::Combine(testing::Values(uint16_t{1}, uint16_t{2}),
                     testing::Values(Forged{"AnotherSource", "icmp_no_flow 1",
                                            [](Bytes& outer, uint32_t&) {
                                              outer[15] = 2;
                                              finish_ipv4(outer);
                                            }},
                                     Forged{"NoFarEndOfOurs", "icmp_no_flow 1",
                                            [](Bytes& outer, uint32_t&) {
                                              outer[19] = 99;
                                              finish_ipv4(outer);
                                            }},
                                     Forged{"AnotherProtocol", "icmp_no_flow 1",
                                            [](Bytes& outer, uint32_t&) {
                                              outer[9] = net::protocol::ipip;
                                              finish_ipv4(outer);
                                            }},
                                     Forged{"AnotherPort", "icmp_no_flow 1",
                                            [](Bytes& outer, uint32_t&) { net::store_be16(&outer[22], 4790); }},
                                     Forged{"AnotherVni", "icmp_no_flow 1",
                                            [](Bytes& outer, uint32_t&) { outer[33] ^= 1; }},
                                     Forged{"LessThanEveryLinkCarries", "", [](Bytes&, uint32_t& mtu) { mtu = 575; }},
                                     Forged{"NoMtu", "", [](Bytes&, uint32_t& mtu) { mtu = 0; }},
                                     Forged{"QuotesTooLittle", "icmp_no_flow 1",
                                            [](Bytes& outer, uint32_t&) { outer.resize(27); }})),
    [](const auto& info) {
      return std::string(std::get<1>(info.param).name) + "_" + std::to_string(std::get<0>(info.param));
    });

TEST_P(TunnelPath, MTU3_AWrongChecksumIsNotBelieved) {
  Bytes error = icmp_error(router, "192.168.0.1", 3, 4, outer_of(to_vxlan), 1300).bytes();
  error[40] ^= 1;
  EXPECT_EQ(rig().send("b", error), "");
  EXPECT_EQ(rig().drops(), "icmp_bad_checksum 1");
  EXPECT_EQ(rig().count(dataplane::Event::TunnelMtuLowered), 0u);
}

TEST_P(TunnelPath, MTU3_IsForgottenWithItsTunnel) {
  EXPECT_EQ(too_big_outside(outer_of(to_vxlan), 1000), "");
  EXPECT_EQ(fits(to_vxlan, 1351), too_big(to_vxlan, 950));
  rig().load(list({gateway(), node("gw", "192.168.0.1")}));
  rig().load(list({gateway(), cluster()}));
  EXPECT_TRUE(like(fits(to_vxlan, 1450), vxlan_out + std::string("udp *")));
}

// ---- the far end is not reached --------------------------------------------------------------------------

struct Lost {
  const char* name;
  uint8_t type;
  uint8_t code;
};

TEST_P(TunnelPath, IPIP4_TheInnerSenderIsToldOfAHostThatIsNotReached) {
  const Bytes outer = outer_of(to_ipip);
  const Bytes vxlan_outer = outer_of(to_vxlan);
  for (const Lost& lost :
       {Lost{"net", 3, 0}, Lost{"host", 3, 1}, Lost{"protocol", 3, 2}, Lost{"prohibited", 3, 13}, Lost{"ttl", 11, 0}}) {
    SCOPED_TRACE(lost.name);
    EXPECT_EQ(rig().send("b", icmp_error(router, "192.168.0.1", lost.type, lost.code, shortest_quote(outer))), "");
    EXPECT_EQ(rig().send("a", to_ipip),
              unreachable(to_ipip) + "\n" + ipip_out + "udp 192.0.2.10:5>10.245.40.6:6 ttl 63 df")
        << "RFC 2003 section 5.1: told, and sent all the same";
    EXPECT_EQ(rig().send("a", to_vxlan), vxlan_out + std::string("udp 192.0.2.10:5>10.244.34.5:6 ttl 63 df"));
    (void)rig().advance(6000);
    EXPECT_EQ(rig().send("a", to_ipip), ipip_out + std::string("udp 192.0.2.10:5>10.245.40.6:6 ttl 63 df"));
  }
  EXPECT_EQ(rig().send("b", icmp_error(router, "192.168.0.1", 3, 3, vxlan_outer)), "") << "no VXLAN there";
  EXPECT_EQ(rig().send("a", to_vxlan),
            unreachable(to_vxlan) + "\n" + vxlan_out + "udp 192.0.2.10:5>10.244.34.5:6 ttl 63 df");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(TunnelPath, IPIP4_IPv6InsideIsToldAddressUnreachable) {
  const Ip inner = udp("[2001:db8:2::10]:5", "[fd00:10:244::5]:6");
  EXPECT_EQ(rig().send("b", icmp_error(router, "192.168.0.1", 3, 1, outer_of(inner))), "");
  EXPECT_EQ(rig().send("a", inner),
            "a/10 icmp 1/3 2001:db8:2::1>2001:db8:2::10 ttl 64 [ udp [2001:db8:2::10]:5>[fd00:10:244::5]:6 ttl 64 ]\n" +
                std::string(vxlan_out) + "udp [2001:db8:2::10]:5>[fd00:10:244::5]:6 ttl 63");
}

// Reassembly that failed, source quench, parameter problem: nothing that the inner sender could do about.
TEST_P(TunnelPath, IPIP4_OtherErrorsAreTakenSilently) {
  const Bytes outer = outer_of(to_ipip);
  for (const Lost& other : {Lost{"reassembly", 11, 1}, Lost{"quench", 4, 0}, Lost{"parameter", 12, 0}}) {
    EXPECT_EQ(rig().send("b", icmp_error(router, "192.168.0.1", other.type, other.code, outer)), "") << other.name;
    EXPECT_EQ(rig().send("a", to_ipip), ipip_out + std::string("udp 192.0.2.10:5>10.245.40.6:6 ttl 63 df"));
  }
}

// Behind a service and masqueraded the sender reads about the packet it sent (ICMP-5).
TEST_P(TunnelPath, IPIP4_ICMP5_QuotesThePacketAsItWasSent) {
  const ServiceSpec web{
      .name = "web", .cluster_ips = {"10.96.0.13"}, .ports = {"UDP 53 5353"}, .endpoints = {"10.245.40.6 node2"}};
  rig().load(list({gateway(), cluster(), service(web)}));
  const Ip asked = udp("10.246.1.5:1000", "10.96.0.13:53");
  ASSERT_NE(rig().send("b", asked), "");
  EXPECT_EQ(rig().send("b", icmp_error(router, "192.168.0.1", 3, 1, shortest_quote(rig().only().outer))), "");
  EXPECT_TRUE(like(rig().send("b", asked),
                   "b/12 ipip *b/13 icmp 3/1 192.168.0.1>10.246.1.5 ttl 64 [ udp 10.246.1.5:1000>10.96.0.13:53 ttl 64 "
                   "]"));
}

SLUICE_WITH_WORKERS(TunnelPath);

}  // namespace
}  // namespace sluice::packet_test
