// What the outer header shows of the packet inside, what of it comes back out, and what stays as it was.
#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

// The ends of tunnels, and packets from `a` that go into them: each family inside each.
struct Underlay {
  const char *name, *self, *vxlan_peer, *ipip_peer, *vtep;
  Ip to_vxlan, to_ipip;
};
const Underlay underlays[] = {
    {"IPv4 in IPv4", "192.168.0.1", "192.168.0.11", "192.168.0.12", "gw", udp("192.0.2.10:5", "10.244.34.5:6"),
     udp("192.0.2.10:5", "10.245.40.6:6")},
    {"IPv6 in IPv4", "192.168.0.1", "192.168.0.13", "192.168.0.13", "gw",
     udp("[2001:db8:2::10]:5", "[fd00:10:253::5]:6"), udp("[2001:db8:2::10]:5", "[fd00:10:254::5]:6")},
    {"IPv4 in IPv6", "2001:db8:a::1", "2001:db8:a::11", "2001:db8:a::12", "gw-v6", udp("192.0.2.10:5", "10.251.0.5:6"),
     udp("192.0.2.10:5", "10.252.0.5:6")},
    {"IPv6 in IPv6", "2001:db8:a::1", "2001:db8:a::11", "2001:db8:a::12", "gw-v6",
     udp("[2001:db8:2::10]:5", "[fd00:10:251::5]:6"), udp("[2001:db8:2::10]:5", "[fd00:10:252::5]:6")}};
const Ip& to_vxlan = underlays[0].to_vxlan;
const Ip& to_ipip = underlays[0].to_ipip;

class OuterHeader : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load("");
  }
  void load(const std::string& overlay, const std::string& objects = "") {
    const std::string tunnels = R"("tunnels":[{"name":"six","type":"ipip","remote":"2001:db8:a::12"},
      {"name":"vxlan-six","type":"vxlan","remote":"2001:db8:a::11","remoteMAC":"02:00:00:00:0a:01"},
      {"name":"four","type":"ipip","remote":"192.168.0.13"},
      {"name":"vxlan-four","type":"vxlan","remote":"192.168.0.13","remoteMAC":"02:00:00:00:0a:02"}],
      "routes":[{"destination":"fd00:10:251::/48","tunnel":"vxlan-six"},
                {"destination":"10.251.0.0/16","tunnel":"vxlan-six"},
                {"destination":"fd00:10:252::/48","tunnel":"six"},
                {"destination":"10.252.0.0/16","tunnel":"six"},
                {"destination":"fd00:10:253::/48","tunnel":"vxlan-four"},
                {"destination":"fd00:10:254::/48","tunnel":"four"}])";
    rig().load(list({gateway(tunnels + (overlay.empty() ? "" : ",\"overlay\":" + overlay)), cluster(), objects}));
  }
  // The outer header around a packet from `a`.
  const Bytes& outer(const Ip& packet) {
    (void)rig().send("a", packet);
    return rig().only().outer;
  }
  bool outer_df(const Ip& packet) { return (outer(packet)[6] & 0x40) != 0; }
  uint8_t outer_ttl(const Ip& packet) {
    const Bytes& header = outer(packet);
    return header[header[0] >> 4 == 4 ? 8 : 7];
  }
  unsigned outer_tos(const Ip& packet) {
    const Bytes& header = outer(packet);
    return header[0] >> 4 == 4 ? header[1] : net::load_be32(header.data()) >> 20 & 0xff;
  }
  std::string from_vxlan(const Underlay& underlay, const Ip& packet, uint8_t outer_tos) {
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac(underlay.vtep);
    options.tos = outer_tos;
    return rig().send("b", vxlan(underlay.vxlan_peer, underlay.self, packet.bytes(), options));
  }
};

TEST_P(OuterHeader, VXL7_MTU2_DontFragment) {
  struct Case {
    const char* overlay;
    bool vxlan, vxlan_of_df, ipip, ipip_of_df;
  };
  for (const Case& test : {Case{"", false, false, false, true}, Case{R"({"outerDF":"Set"})", true, true, true, true},
                           Case{R"({"outerDF":"Clear"})", false, false, false, true}}) {
    SCOPED_TRACE(test.overlay);
    load(test.overlay);
    EXPECT_EQ(outer_df(to_vxlan), test.vxlan);
    EXPECT_EQ(outer_df(to_vxlan.with_df()), test.vxlan_of_df);
    EXPECT_EQ(outer_df(to_ipip), test.ipip);
    EXPECT_EQ(outer_df(to_ipip.with_df()), test.ipip_of_df) << "RFC 2003 section 3.1";
    const Underlay& six_in_four = underlays[1];
    EXPECT_EQ(outer_df(six_in_four.to_vxlan), test.vxlan);
    EXPECT_EQ(outer_df(six_in_four.to_ipip), test.ipip_of_df)
        << "IPv6 is not fragmented on its way: RFC 8200 section 5";
  }
}

TEST_P(OuterHeader, TTL3_VXL7_VxlanHas64IpipWhatIsLeftInside) {
  for (const Underlay& underlay : underlays) {
    SCOPED_TRACE(underlay.name);
    for (const uint8_t ttl : {uint8_t{2}, uint8_t{64}, uint8_t{255}}) {
      EXPECT_EQ(outer_ttl(underlay.to_vxlan.with_ttl(ttl)), 64);
      EXPECT_EQ(outer_ttl(underlay.to_ipip.with_ttl(ttl)), ttl - 1);
    }
  }
}

TEST_P(OuterHeader, ECN1_CopiedOrAsConfigured) {
  for (const Underlay& underlay : underlays) {
    SCOPED_TRACE(underlay.name);
    load("");
    for (unsigned tos = 0; tos < 256; tos += 5) {
      EXPECT_EQ(outer_tos(underlay.to_vxlan.with_tos(static_cast<uint8_t>(tos))), tos);
      EXPECT_EQ(outer_tos(underlay.to_ipip.with_tos(static_cast<uint8_t>(tos))), tos);
    }
    load(R"({"dscp":10})");
    for (const Ip& packet : {underlay.to_vxlan, underlay.to_ipip}) {
      EXPECT_EQ(outer_tos(packet.with_tos(0xba)), 10U << 2 | 2) << "RFC 2983 section 3.1: pipe";
      EXPECT_EQ(rig().only().ip.tos, 0xba) << "inside nothing changes";
    }
    load(R"({"ecn":"Compatibility"})");
    for (const Ip& packet : {underlay.to_vxlan, underlay.to_ipip}) {
      EXPECT_EQ(outer_tos(packet.with_tos(0xbb)), 0xb8U) << "RFC 6040 section 4.1";
      EXPECT_EQ(rig().only().ip.tos, 0xbb);
    }
  }
}

// RFC 6040 figure 4, whole; the DSCP outside is another one and stays there.
TEST_P(OuterHeader, ECN2_ECN3_ECN4_WhatComesOut) {
  constexpr int dropped = -1;
  // Rows: inner Not-ECT, ECT(1), ECT(0), CE; columns: the same outside.
  constexpr int expected[4][4] = {{0, 0, 0, dropped}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};
  uint64_t drops = 0;
  const auto expect_out = [&](const Underlay& underlay, uint8_t inside, uint8_t outside) {
    SCOPED_TRACE(testing::Message() << underlay.name << ": inner " << int{inside} << " outer " << int{outside});
    const Ip inner = udp(underlay.to_vxlan.dst, underlay.to_vxlan.src).with_tos(static_cast<uint8_t>(0x28 | inside));
    const auto outer_tos = static_cast<uint8_t>(0xb8 | outside);
    for (const bool ipip_tunnel : {false, true}) {
      const std::string out = ipip_tunnel
                                  ? rig().send("b", ipip(underlay.ipip_peer, underlay.self, inner.bytes(), outer_tos))
                                  : from_vxlan(underlay, inner, outer_tos);
      if (expected[inside][outside] == dropped) {
        EXPECT_EQ(out, "") << "not marked CE as some do: the transport would not understand";
        ++drops;
      } else {
        ASSERT_NE(out, "");
        EXPECT_EQ(rig().only().ip.tos, 0x28 | expected[inside][outside]);
      }
    }
  };
  for (const Underlay& underlay : underlays) {
    for (uint8_t inside = 0; inside < 4; ++inside) {
      for (uint8_t outside = 0; outside < 4; ++outside) expect_out(underlay, inside, outside);
    }
  }
  EXPECT_EQ(drops, 8u);
  EXPECT_EQ(rig().drops(), "tunnel_ecn 8");
  EXPECT_EQ(rig().count(dataplane::Event::EcnOddCombination), 8u * 5) << "those that RFC 6040 marks, counted";
}

TEST_P(OuterHeader, ECN5_TranslationLeavesDscpAndEcnAlone) {
  const ServiceSpec dns{.name = "dns",
                        .cluster_ips = {"10.96.0.10", "fd00:10:96::53"},
                        .ports = {"UDP 53 5353 30053"},
                        .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};
  load("", service(dns));
  for (const uint8_t tos : {uint8_t{0xb9}, uint8_t{2}, uint8_t{3}}) {
    for (int i = 0; i < 2; ++i) {
      ASSERT_NE(rig().send("a", udp("198.51.100.9:1000", "192.0.2.1:30053").with_tos(tos)), "");
      EXPECT_EQ(rig().only().ip.tos, tos);
      const std::string translated = rig().only().ip.src.text();
      ASSERT_NE(rig().send("b", udp("10.246.1.20:5353", translated).with_tos(tos)), "");
      EXPECT_EQ(rig().only().ip.tos, tos);
      ASSERT_NE(rig().send("a", udp("[2001:db8:99::9]:1000", "[2001:db8:2::1]:30053").with_tos(tos)), "");
      EXPECT_EQ(rig().only().ip.tos, tos);
    }
  }
}

// RFC 7348 section 5: reserved bits are ignored, unless somebody wants them to be zero.
TEST_P(OuterHeader, VXL1_ReservedBits) {
  VxlanOptions options;
  options.inner_destination = encap::vtep_mac("gw");
  options.flags = 0x0c;
  const Bytes reserved = vxlan("192.168.0.11", "192.168.0.1", udp("10.244.34.5:6", "192.0.2.10:5").bytes(), options);
  EXPECT_EQ(rig().send("b", reserved), "a/10 udp 10.244.34.5:6>192.0.2.10:5 ttl 63");
  load(R"({"strictVxlanFlags":true})");
  EXPECT_EQ(rig().send("b", reserved), "");
  EXPECT_EQ(rig().drops(), "vxlan_bad_flags 1");
}

TEST_P(OuterHeader, IPIP5_NoIpipForIPv6Pools) {
  const std::string error = rig().try_load(
      list({gateway(), node("gw", "192.168.0.1"), pool("v6", "fd00:10:244::/48", R"("ipipMode":"Always")")}));
  EXPECT_NE(error.find("ipipMode"), std::string::npos) << error;
}

// Every route of a pool is made from its blocks; nothing waits for a routing protocol.
TEST_P(OuterHeader, ENC6_BlocksAreRoutesWithoutBgp) {
  EXPECT_TRUE(like(rig().send("a", to_vxlan), "b/11 vxlan *"));
  EXPECT_TRUE(like(rig().send("a", to_ipip), "b/12 ipip *"));
  EXPECT_TRUE(like(rig().send("a", udp("192.0.2.10:5", "10.246.1.5:6")), "b/13 udp *"));
}

TEST_P(OuterHeader, ENC6_BlocksOfIPv6AreRoutesWithoutBgp) {
  const Ip to_block = udp("[2001:db8:2::10]:5", "[fd00:10:247::5]:6");
  const std::string direct = "b/13 udp [2001:db8:2::10]:5>[fd00:10:246::5]:6 ttl 63";
  EXPECT_EQ(rig().send("a", to_block), "a/fe udp [2001:db8:2::10]:5>[fd00:10:247::5]:6 ttl 63") << "no block yet";
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:246::5]:6")), direct);
  load("", pool("vxlan-v6", "fd00:10:247::/48", R"("vxlanMode":"Always")") + "," + node("node4", "2001:db8:a::12") +
               "," + block("node4", "fd00:10:247::/122"));
  EXPECT_EQ(rig().send("a", to_block),
            "b/12 vxlan 2001:db8:a::1>2001:db8:a::12 vni 4096 | udp [2001:db8:2::10]:5>[fd00:10:247::5]:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:246::5]:6")), direct);
}

// ---- one generator of errors ------------------------------------------------------------------------------

// A refused connection counts against the same limit as any other error to that sender.
TEST_P(OuterHeader, ICMP9_ICMP7_RefusalsComeFromTheSameGenerator) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    start({});
    load("", service({.name = "empty", .cluster_ips = {family.service}, .ports = {"UDP 53 5353"}, .endpoints = {}}));
    const std::string pod = family.pod(5, 1000);
    const std::string refused = "b/13 icmp " + std::string(family.port_unreachable) + " " + family.service + ">" +
                                family.pod(5) + " ttl 64 [ *";
    const std::string expired = "b/13 icmp " + std::string(family.time_exceeded) + " *";
    size_t answered = 0;
    for (int i = 0; i < 40; ++i) {
      const std::string out = i % 2 == 0 ? rig().send("b", udp(pod, family.service_at(53)))
                                         : rig().send("b", udp(pod, family.client(9, 9)).with_ttl(1));
      if (out.empty()) continue;
      ++answered;
      EXPECT_TRUE(like(out, i % 2 == 0 ? refused : expired));
    }
    EXPECT_GE(answered, 20u / GetParam());
    EXPECT_LE(answered, 22u * GetParam()) << "per worker";
    EXPECT_EQ(rig().count(dataplane::Event::IcmpErrorsLimited), 40 - answered);
  }
}

SLUICE_WITH_WORKERS(OuterHeader);

}  // namespace
}  // namespace sluice::packet_test
