// Tunnels over an IPv6 underlay: VXLAN and IPIP of both families inside, there and back.
#include <set>

#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* self = "2001:db8:a::1";
constexpr const char* vxlan_out = "b/11 vxlan 2001:db8:a::1>2001:db8:a::11 vni 4096 | ";
constexpr const char* ipip_out = "b/12 ipip 2001:db8:a::1>2001:db8:a::12 | ";
constexpr const char* router = "2001:db8:a::fe";

size_t payload(int length) { return static_cast<size_t>(length - 28); }
size_t payload_v6(int length) { return static_cast<size_t>(length - 48); }

const Ip to_pod = udp("[2001:db8:2::10]:5", "[fd00:10:244::5]:6");
const Ip from_pod = udp("[fd00:10:244::5]:6", "[2001:db8:2::10]:5");

std::string too_big(const Ip& packet, int mtu) {
  return "a/10 icmp 2/0 mtu " + std::to_string(mtu) + " 2001:db8:2::1>2001:db8:2::10 ttl 64 [ " +
         text_of(packet.bytes()) + " ]";
}

// node1 is a Node with VXLAN and addresses of both families; "six" a static IPIP tunnel that carries both families.
class TunnelV6 : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load();
  }
  void load(const std::string& overlay = "", const std::string& objects = "") {
    Gateway description;
    description.more = R"("tunnels":[{"name":"six","type":"ipip","remote":"2001:db8:a::12"}],
      "routes":[{"destination":"10.250.0.0/16","tunnel":"six"},{"destination":"fd00:10:250::/48","tunnel":"six"}])" +
                       std::string(overlay.empty() ? "" : R"(,"overlay":)") + overlay;
    const std::string both = R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"%"%A},"status":{"addresses":[
      {"type":"InternalIP","address":"192.168.0.%N"},{"type":"InternalIP","address":"2001:db8:a::%N"}]}})";
    const auto node_text = [&](const char* name, const char* number, const char* annotations) {
      std::string text = both;
      const auto put = [&](const std::string& mark, const std::string& value) {
        for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark)) {
          text.replace(at, mark.size(), value);
        }
      };
      put("%A", annotations);
      put("%N", number);
      put("%", name);
      return text;
    };
    rig().load(list(
        {description.text(),
         node_text("gw", "1", R"(,"annotations":{"projectcalico.org/IPv6VXLANTunnelAddr":"fd00:10:244:ff::"})"),
         node_text("node1", "11", ""), pool("pods", "fd00:10:244::/48", R"("vxlanMode":"Always","natOutgoing":false)"),
         pool("pods4", "10.244.0.0/16", R"("vxlanMode":"Always")"), block("node1", "fd00:10:244::/122"),
         block("node1", "10.244.34.0/26"), objects}));
  }
  static VxlanOptions to_us() {
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac("gw-v6");
    return options;
  }
  std::string from_node1(const Ip& packet, const VxlanOptions& options = to_us()) {
    return rig().send("b", vxlan("2001:db8:a::11", self, packet.bytes(), options));
  }
};

TEST_P(TunnelV6, VXL9_VXL3_VXL4_TTL3_ECN1_Encapsulates) {
  const Ip packet = tcp("[2001:db8:2::10]:5000", "[fd00:10:244::5]:80", "S").with_tos(0xb9);
  EXPECT_EQ(rig().send("a", packet),
            vxlan_out + std::string("tcp S [2001:db8:2::10]:5000>[fd00:10:244::5]:80 ttl 63 tos 185"));
  const Bytes& outer = rig().only().outer;
  EXPECT_EQ(outer.size(), packet.bytes().size() + 70) << "MTU-1";
  EXPECT_EQ(outer[7], 64) << "TTL-3";
  EXPECT_EQ((net::load_be32(outer.data()) >> 20) & 0xff, 0xb9u) << "ECN-1";
  EXPECT_NE(net::load_be16(&outer[46]), 0) << "the checksum, which view() has verified";
  EXPECT_EQ(net::load<net::MacAddr>(&outer[56]), encap::vtep_mac("node1-v6"));
  EXPECT_EQ(net::load<net::MacAddr>(&outer[62]), encap::vtep_mac("gw-v6"));
}

TEST_P(TunnelV6, VXL3_IPv4PoolsKeepTheirIPv4Underlay) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.34.5:6")),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63");
  EXPECT_EQ(net::load<net::MacAddr>(&rig().only().outer[36]), encap::vtep_mac("node1"));
}

TEST_P(TunnelV6, VXL2_AFlowHasOnePortAndOneLabel) {
  std::set<uint16_t> ports;
  std::set<uint32_t> labels;
  for (int port = 1000; port < 1100; ++port) {
    std::set<std::pair<uint16_t, uint32_t>> of_flow;
    for (int i = 0; i < 2; ++i) {
      (void)rig().send("a", udp("[2001:db8:2::10]:" + std::to_string(port), "[fd00:10:244::5]:80"));
      const Bytes& outer = rig().only().outer;
      of_flow.insert({net::load_be16(&outer[40]), net::load_be32(outer.data()) & 0xfffff});
    }
    EXPECT_EQ(of_flow.size(), 1u);
    ports.insert(of_flow.begin()->first);
    labels.insert(of_flow.begin()->second);
  }
  EXPECT_GT(ports.size(), 90u);
  EXPECT_GT(labels.size(), 90u) << "RFC 6438";
}

TEST_P(TunnelV6, VXL9_Decapsulates) {
  EXPECT_EQ(from_node1(from_pod), "a/10 udp [fd00:10:244::5]:6>[2001:db8:2::10]:5 ttl 63");
  EXPECT_EQ(from_node1(udp("10.244.34.5:6", "192.0.2.10:5")), "a/10 udp 10.244.34.5:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(rig().count(dataplane::Event::Decapsulated), 2u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(TunnelV6, VXL9_NoChecksumOnlyByAgreement) {
  VxlanOptions none = to_us();
  none.checksum = false;
  EXPECT_EQ(from_node1(from_pod, none), "");
  EXPECT_EQ(rig().drops(), "vxlan_bad_checksum 1") << "RFC 8200 section 8.1";
  load(R"({"vxlanZeroChecksumV6":true})");
  EXPECT_EQ(from_node1(from_pod, none), "a/10 udp [fd00:10:244::5]:6>[2001:db8:2::10]:5 ttl 63");
  EXPECT_EQ(from_node1(from_pod), "a/10 udp [fd00:10:244::5]:6>[2001:db8:2::10]:5 ttl 63")
      << "a right one does no harm";
  ASSERT_NE(rig().send("a", to_pod), "");
  EXPECT_EQ(net::load_be16(&rig().only().outer[46]), 0);
}

TEST_P(TunnelV6, VXL9_CSUM4_AWrongChecksumIsDropped) {
  Bytes outer = vxlan("2001:db8:a::11", self, from_pod.bytes(), to_us());
  outer.back() ^= 1;
  EXPECT_EQ(rig().send("b", outer), "");
  EXPECT_EQ(rig().drops(), "vxlan_bad_checksum 1");
}

TEST_P(TunnelV6, VXL9_TheChecksumRunsOverAllBuffers) {
  for (const size_t cut : {14 + 48, 14 + 40 + 40, 14 + 41 + 40}) {
    const Bytes packet = udp("[2001:db8:2::10]:5", "[fd00:10:244::5]:6").with_payload(333).bytes();
    EXPECT_EQ(rig().send_cut("a", packet, {cut}),
              vxlan_out + std::string("udp [2001:db8:2::10]:5>[fd00:10:244::5]:6 ttl 63"));
  }
}

TEST_P(TunnelV6, VXL1_ATunnelWithAVniOfItsOwn) {
  Gateway description;
  description.more =
      R"("tunnels":[{"name":"six","type":"vxlan","remote":"2001:db8:a::12","vni":77,"remoteMAC":"02:00:00:00:0a:01"}],
    "routes":[{"destination":"10.250.0.0/16","tunnel":"six"},{"destination":"fd00:10:250::/48","tunnel":"six"}])";
  rig().load(list({description.text()}));
  const std::string out = "b/12 vxlan 2001:db8:a::1>2001:db8:a::12 vni 77 | ";
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.250.0.5:6")), out + "udp 192.0.2.10:5>10.250.0.5:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:250::5]:6")),
            out + "udp [2001:db8:2::10]:5>[fd00:10:250::5]:6 ttl 63");
  VxlanOptions options = to_us();
  for (const uint32_t vni : {77U, 4096U, 78U}) {
    options.vni = vni;
    EXPECT_EQ(rig().send("b", vxlan("2001:db8:a::12", self, udp("10.250.0.5:6", "192.0.2.10:5").bytes(), options)),
              vni == 78 ? "" : "a/10 udp 10.250.0.5:6>192.0.2.10:5 ttl 63");
  }
  EXPECT_EQ(rig().drops(), "vxlan_unknown_vni 1");
}

TEST_P(TunnelV6, IPIP2_IPIP3_VXL1_VXL3_VXL6_WhatIsRefused) {
  EXPECT_EQ(rig().send("b", vxlan("2001:db8:a::77", self, from_pod.bytes(), to_us())), "");
  EXPECT_EQ(rig().drops(), "tunnel_unknown_source 1");
  VxlanOptions options = to_us();
  options.vni = 4097;
  EXPECT_EQ(from_node1(from_pod, options), "");
  EXPECT_EQ(rig().drops(), "vxlan_unknown_vni 1");
  options = to_us();
  options.inner_destination = encap::vtep_mac("gw");
  EXPECT_EQ(from_node1(from_pod, options), "");
  EXPECT_EQ(rig().drops(), "vxlan_not_our_mac 1") << "VXL-4: that is the address over IPv4";
  EXPECT_EQ(rig().send("b", ipip("2001:db8:a::77", self, from_pod.bytes())), "");
  EXPECT_EQ(rig().drops(), "tunnel_unknown_source 1") << "IPIP-3";
  EXPECT_EQ(rig().send("b", ipip("2001:db8:a::12", self, ipip("2001:db8:a::12", self, from_pod.bytes()))), "");
  EXPECT_EQ(rig().drops(), "tunnel_loop 1") << "IPIP-2";
  EXPECT_EQ(rig().send("b", ipip("2001:db8:a::12", self, vxlan("2001:db8:a::11", self, from_pod.bytes(), to_us()))),
            "");
  EXPECT_EQ(rig().drops(), "tunnel_nested 1");
}

TEST_P(TunnelV6, IPIP1_TTL3_ECN1_BothFamiliesInside) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.250.0.5:6").with_ttl(20).with_tos(0xb8)),
            ipip_out + std::string("udp 192.0.2.10:5>10.250.0.5:6 ttl 19 tos 184"));
  EXPECT_EQ(rig().only().outer[6], net::protocol::ipip);
  EXPECT_EQ(rig().only().outer[7], 19) << "TTL-3: inherited";
  EXPECT_EQ((net::load_be32(rig().only().outer.data()) >> 20) & 0xff, 0xb8u) << "ECN-1";
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:250::5]:6")),
            ipip_out + std::string("udp [2001:db8:2::10]:5>[fd00:10:250::5]:6 ttl 63"));
  EXPECT_EQ(rig().only().outer[6], net::protocol::ipv6);
  EXPECT_EQ(rig().only().outer.size(), udp("[2001:db8:2::10]:5", "[fd00:10:250::5]:6").bytes().size() + 40);
  EXPECT_EQ(rig().send("b", ipip("2001:db8:a::12", self, udp("10.250.0.5:6", "192.0.2.10:5").bytes())),
            "a/10 udp 10.250.0.5:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(rig().send("b", ipip("2001:db8:a::12", self, udp("[fd00:10:250::5]:6", "[2001:db8:2::10]:5").bytes())),
            "a/10 udp [fd00:10:250::5]:6>[2001:db8:2::10]:5 ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

// Linux puts a tunnel encapsulation limit in front (RFC 2473 section 4.1.1) unless it is told not to.
TEST_P(TunnelV6, IPIP1_BehindATunnelEncapsulationLimit) {
  Bytes outer = ipip("2001:db8:a::12", self, udp("10.250.0.5:6", "192.0.2.10:5").bytes());
  const Bytes limit{outer[6], 0, 4, 1, 4, 1, 1, 0};
  outer.insert(outer.begin() + 40, limit.begin(), limit.end());
  outer[6] = net::protocol::destination_options;
  net::store_be16(&outer[4], static_cast<uint16_t>(net::load_be16(&outer[4]) + 8));
  EXPECT_EQ(rig().send("b", outer), "a/10 udp 10.250.0.5:6>192.0.2.10:5 ttl 63");
}

TEST_P(TunnelV6, IPIP1_IPv6InIPv4) {
  Gateway description;
  description.more = R"("tunnels":[{"name":"sit","type":"ipip","remote":"192.168.0.12"}],
    "routes":[{"destination":"fd00:10:251::/48","tunnel":"sit"}])";
  rig().load(list({description.text()}));
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:251::5]:6")),
            "b/12 ipip 192.168.0.1>192.168.0.12 | udp [2001:db8:2::10]:5>[fd00:10:251::5]:6 ttl 63");
  EXPECT_EQ(rig().only().outer[9], 41);
  EXPECT_EQ(rig().send("b", ipip("192.168.0.12", "192.168.0.1", from_pod.bytes())),
            "a/10 udp [fd00:10:244::5]:6>[2001:db8:2::10]:5 ttl 63");
}

// All combinations: packet_outer_header_test.cpp.
TEST_P(TunnelV6, ECN2_ECN3_ECN4_OuterCeMarksTheInnerPacketOrDropsIt) {
  EXPECT_EQ(rig().send("b", ipip("2001:db8:a::12", self, from_pod.with_tos(0x28 | 2).bytes(), 0xb8 | 3)),
            "a/10 udp [fd00:10:244::5]:6>[2001:db8:2::10]:5 ttl 63 tos 43");
  VxlanOptions marked = to_us();
  marked.tos = 0xb8 | 3;
  EXPECT_EQ(from_node1(from_pod.with_tos(0x28 | 1), marked),
            "a/10 udp [fd00:10:244::5]:6>[2001:db8:2::10]:5 ttl 63 tos 43");
  EXPECT_EQ(from_node1(from_pod.with_tos(0x28), marked), "");
  EXPECT_EQ(rig().drops(), "tunnel_ecn 1");
}

TEST_P(TunnelV6, MTU1_MTU2_Sizes) {
  EXPECT_TRUE(like(rig().send("a", to_pod.with_payload(payload_v6(1430))), vxlan_out + std::string("*")));
  EXPECT_EQ(rig().only().outer.size(), 1500u);
  EXPECT_EQ(rig().send("a", to_pod.with_payload(payload_v6(1431))), too_big(to_pod, 1430));
  const Ip inner = udp("192.0.2.10:5", "10.250.0.5:6");
  EXPECT_TRUE(like(rig().send("a", inner.with_df().with_payload(payload(1460))), ipip_out + std::string("*")));
  EXPECT_EQ(rig().only().outer.size(), 1500u);
  EXPECT_EQ(rig().send("a", inner.with_df().with_payload(payload(1461))),
            "a/10 icmp 3/4 mtu 1460 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>10.250.0.5:6 ttl 64 df ]");
  EXPECT_EQ(rig().send("a", inner.with_payload(payload(1480))),
            ipip_out + std::string("udp 192.0.2.10:5>10.250.0.5:6 ttl 63 frag 0+ len 1460\n") + ipip_out +
                "udp 192.0.2.10>10.250.0.5 ttl 63 frag 1440 len 40");
}

TEST_P(TunnelV6, MTU3_PacketTooBigOfTheUnderlay) {
  (void)rig().send("a", to_pod);
  const Bytes outer = rig().only().outer;
  EXPECT_EQ(rig().send("b", icmp_error(router, self, 2, 0, outer, 1279)), "");
  EXPECT_TRUE(like(rig().send("a", to_pod.with_payload(payload_v6(1430))), vxlan_out + std::string("*")))
      << "less than IPv6 allows is not believed";
  EXPECT_EQ(rig().send("b", icmp_error(router, self, 2, 0, outer, 1400)), "");
  EXPECT_EQ(rig().send("a", to_pod.with_payload(payload_v6(1331))), too_big(to_pod, 1330));
  EXPECT_TRUE(like(rig().send("a", to_pod.with_payload(payload_v6(1330))), vxlan_out + std::string("*")));
  (void)rig().advance(601000);
  EXPECT_TRUE(like(rig().send("a", to_pod.with_payload(payload_v6(1430))), vxlan_out + std::string("*")));
  EXPECT_EQ(rig().drops(), "mtu_exceeded 1");
}

TEST_P(TunnelV6, IPIP4_UnreachableAndHopLimitOfTheUnderlay) {
  const Ip inner = udp("192.0.2.10:5", "10.250.0.5:6");
  const std::string sent = ipip_out + std::string("udp 192.0.2.10:5>10.250.0.5:6 ttl 63");
  (void)rig().send("a", inner);
  const Bytes outer = rig().only().outer;
  for (const auto& [type, code] : {std::pair<uint8_t, uint8_t>{1, 0}, {1, 3}, {3, 0}}) {
    EXPECT_EQ(rig().send("b", icmp_error(router, self, type, code, outer)), "");
    EXPECT_EQ(rig().send("a", inner),
              "a/10 icmp 3/1 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>10.250.0.5:6 ttl 64 ]\n" + sent);
    (void)rig().advance(6000);
    EXPECT_EQ(rig().send("a", inner), sent);
  }
}

TEST_P(TunnelV6, MASQ10_TTL1_TTL2_IntoTheTunnelAndOutOfIt) {
  EXPECT_EQ(rig().send("a", to_pod.with_ttl(1)),
            "a/10 icmp 3/0 2001:db8:2::1>2001:db8:2::10 ttl 64 [ udp [2001:db8:2::10]:5>[fd00:10:244::5]:6 ttl 1 ]");
  EXPECT_EQ(from_node1(from_pod.with_ttl(1)),
            vxlan_out + std::string("icmp 3/0 fd00:10:244:ff::>fd00:10:244::5 ttl 64 "
                                    "[ udp [fd00:10:244::5]:6>[2001:db8:2::10]:5 ttl 1 ]"))
      << "MASQ-10: from our address in the tunnel";
}

const ServiceSpec dns{.name = "dns",
                      .cluster_ips = {"fd00:10:96::53"},
                      .ports = {"UDP 53 5353 30053"},
                      .endpoints = {"fd00:10:244::5 node1"}};

// Only the inner packet has a connection.
TEST_P(TunnelV6, CT33_OuterPacketsOfTunnelsAreNotTracked) {
  load("", service(dns));
  EXPECT_NE(from_node1(udp("[fd00:10:244::6]:1000", "[2001:db8:2::1]:30053")), "");
  const Bytes inner = udp("[fd00:10:250::5]:1000", "[2001:db8:2::1]:30053").bytes();
  EXPECT_NE(rig().send("b", ipip("2001:db8:a::12", self, inner)), "");
  EXPECT_EQ(rig().flows(), 2u);
}

TEST_P(TunnelV6, MASQ5_TheTunnelsAddressIsTheSource) {
  load("", service(dns));
  const std::string client = "[2001:db8:99::9]:1000";
  ASSERT_TRUE(like(rig().send("a", udp(client, "[2001:db8:2::1]:30053")),
                   vxlan_out + std::string("udp [fd00:10:244:ff::]:*>[fd00:10:244::5]:5353 ttl 63")));
  const std::string translated = rig().only().ip.src.text();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(from_node1(udp("[fd00:10:244::5]:5353", translated)),
              "a/fe udp [2001:db8:2::1]:30053>" + client + " ttl 63");
    EXPECT_EQ(rig().send("a", udp(client, "[2001:db8:2::1]:30053")),
              vxlan_out + std::string("udp ") + translated + ">[fd00:10:244::5]:5353 ttl 63")
        << "by the short cut";
  }
}

// The other end's MAC address is asked for by neighbour discovery.
TEST_P(TunnelV6, VXL5_NeighbourDiscoveryInTheUnderlay) {
  Gateway description;
  description.more = R"("tunnels":[{"name":"six","type":"ipip","remote":"2001:db8:a::77"}],
    "routes":[{"destination":"fd00:10:250::/48","tunnel":"six"}])";
  rig().load(list({description.text()}));
  EXPECT_TRUE(rig().announcements().find("nd solicit 2001:db8:a::77") != std::string::npos) << rig().announcements();
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:250::5]:6")), "");
  EXPECT_EQ(rig().send("b", nd_advert("2001:db8:a::77", self, mac(0x77))),
            "b/77 ipip 2001:db8:a::1>2001:db8:a::77 | udp [2001:db8:2::10]:5>[fd00:10:250::5]:6 ttl 63");
}

// UDP to the VXLAN port of an address that is no end of a tunnel is traffic like any other.
TEST_P(TunnelV6, VXL1_OnlyOurEndsAreEnds) {
  EXPECT_EQ(rig().send("a", vxlan("2001:db8:2::10", "2001:db8:a::13", from_pod.bytes(), to_us())),
            "b/13 vxlan 2001:db8:2::10>2001:db8:a::13 vni 4096 | udp [fd00:10:244::5]:6>[2001:db8:2::10]:5 ttl 64");
  EXPECT_EQ(rig().only().outer[7], 63);
}

SLUICE_WITH_WORKERS(TunnelV6);

}  // namespace
}  // namespace sluice::packet_test
