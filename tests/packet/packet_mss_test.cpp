// MSS clamping on the way through the router: which connections, to what, in both directions and families.
#include <gtest/gtest.h>
#include <rte_ip.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr size_t option_bytes = 4;

// A segment that carries the option; `flags` as tcp() has them.
Bytes with_mss(const Ip& segment, uint16_t mss) {
  Ip longer = segment;
  longer.payload.insert(longer.payload.begin(), {2, 4, static_cast<uint8_t>(mss >> 8), static_cast<uint8_t>(mss)});
  Bytes packet = longer.bytes();
  const size_t tcp = packet.size() - longer.payload.size() - net::tcp_header_length;
  packet[tcp + 12] = (net::tcp_header_length + option_bytes) / 4 << 4;
  net::store(&packet[tcp + 16], uint16_t{0});
  const uint16_t sum = packet[0] >> 4 == 4
                           ? rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(packet.data()), &packet[tcp])
                           : rte_ipv6_udptcp_cksum(reinterpret_cast<const rte_ipv6_hdr*>(packet.data()), &packet[tcp]);
  net::store(&packet[tcp + 16], sum);
  return packet;
}
// What the only packet that came out carries; its checksum has been verified.
int mss_out(Rig& rig) {
  const View& seen = rig.only();
  if (seen.ip.payload.size() < option_bytes || seen.ip.payload[0] != 2) return -1;
  return net::load_be16(&seen.ip.payload[2]);
}

class Mss : public RigTest {
 protected:
  void load(const std::string& more, const std::string& a = "", const std::string& objects = "") {
    Gateway description;
    description.more = more;
    if (!a.empty()) {
      std::string first = interface_a;
      first.insert(first.rfind('}'), "," + a);
      description.interfaces = first + "," + interface_b;
    }
    rig().load(list({description.text(), cluster(), pool("v6", "fd00:10:244::/48", R"("vxlanMode":"Always")"),
                     block("node1", "fd00:10:244::/122"), objects}));
  }
  int send(const char* port, const Ip& segment, uint16_t mss) {
    (void)rig().send(port, with_mss(segment, mss));
    return mss_out(rig());
  }
  std::string from_node1(const Bytes& inner) {
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac("gw");
    return rig().send("b", vxlan("192.168.0.11", "192.168.0.1", inner, options));
  }
};

constexpr const char* on = R"("overlay":{"tcpMssClamp":true})";
const Ip syn = tcp("192.0.2.10:5000", "10.244.34.5:80", "S");
const Ip syn_v6 = tcp("[2001:db8:2::10]:5000", "[fd00:10:244::5]:80", "S");

TEST_P(Mss, MTU4_IsOffUnlessAskedFor) {
  load("");
  EXPECT_EQ(send("a", syn, 1460), 1460);
}

TEST_P(Mss, MTU4_IntoATunnelAndOutOfIt) {
  load(on);
  EXPECT_EQ(send("a", syn, 1460), 1410);
  (void)from_node1(with_mss(tcp("10.244.34.5:80", "192.0.2.10:5000", "SA"), 1460));
  EXPECT_EQ(mss_out(rig()), 1410) << "what comes back must fit the tunnel too";
  EXPECT_EQ(send("a", tcp("192.0.2.10:5000", "10.245.40.6:80", "S"), 1460), 1440) << "IPIP";
  EXPECT_EQ(send("a", syn, 1000), 1000) << "never raised";
  EXPECT_EQ(send("a", tcp("192.0.2.10:5000", "10.246.1.5:80", "S"), 1460), 1460) << "no tunnel on this way";
}

TEST_P(Mss, MTU4_IPv6) {
  load(on);
  EXPECT_EQ(send("a", syn_v6, 1440), 1390);
  (void)from_node1(with_mss(tcp("[fd00:10:244::5]:80", "[2001:db8:2::10]:5000", "SA"), 1440));
  EXPECT_EQ(mss_out(rig()), 1390);
}

TEST_P(Mss, MTU4_OnlySegmentsThatOpenAConnection) {
  load(on);
  EXPECT_EQ(send("a", tcp("192.0.2.10:5000", "10.244.34.5:80", "A"), 1460), 1460);
  EXPECT_EQ(rig().send("a", syn),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | "
            "tcp S 192.0.2.10:5000>10.244.34.5:80 ttl 63")
      << "none is added";
  EXPECT_EQ(rig().only().outer.size(), syn.bytes().size() + 50);
}

TEST_P(Mss, MTU4_ThroughAService) {
  const ServiceSpec web{
      .name = "web", .cluster_ips = {"10.96.0.10"}, .ports = {"TCP 80 8080"}, .endpoints = {"10.244.34.5 node1"}};
  load(on, "", service(web));
  EXPECT_EQ(send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S"), 1460), 1410);
  EXPECT_EQ(rig().only().ip.dst.text(), "10.244.34.5:8080");
  (void)from_node1(with_mss(tcp("10.244.34.5:8080", "10.246.1.5:1000", "SA"), 8960));
  EXPECT_EQ(mss_out(rig()), 1410);
  EXPECT_EQ(rig().only().ip.src.text(), "10.96.0.10:80");
}

TEST_P(Mss, MTU4_OfAnInterface) {
  load("", R"("mtu":1400,"tcpMssClamp":true)");
  EXPECT_EQ(send("a", tcp("192.0.2.10:5000", "10.246.1.5:80", "S"), 1460), 1360) << "comes in by it: the way back";
  EXPECT_EQ(send("b", tcp("10.246.1.5:80", "192.0.2.10:5000", "SA"), 1460), 1360) << "leaves by it";
  EXPECT_EQ(send("b", tcp("10.246.1.5:80", "10.245.40.6:5000", "S"), 1460), 1460) << "does neither";
}

// With MTU-3: what the tunnel carries now counts.
TEST_P(Mss, MTU4_MTU3_FollowsThePathMtu) {
  load(on);
  (void)rig().send("a", syn);
  EXPECT_EQ(rig().send("b", icmp_error("192.168.0.254", "192.168.0.1", 3, 4, rig().only().outer, 1400)), "");
  EXPECT_EQ(send("a", syn, 1460), 1310);
}

// Each of the two connections between hosts inside knows the way of one of them alone.
TEST_P(Mss, MTU4_MASQ13_BetweenTwoMappedHosts) {
  const std::string tunnels = R"("overlay":{"tcpMssClamp":true})";
  const std::string link = R"(,"mtu":1400,"tcpMssClamp":true})";
  struct Case {
    std::string overlay;  // members of spec
    std::string b;        // the end of the interface's description
    int expected;         // the tunnel's MTU less 40
  };
  for (const auto& [overlay, b, expected] :
       {Case{tunnels, "}", 1410}, Case{R"("overlay":{})", link, 1310}, Case{R"("overlay":{})", "}", 1460}}) {
    start({});
    Gateway gateway;
    std::string second = interface_b;
    second.replace(second.rfind('}'), 1, b);
    gateway.interfaces = std::string(interface_a) + "," + second;
    gateway.more = R"("snat":{"natPortRange":"50000-50999","mapping":"EndpointIndependent",
      "filtering":"EndpointIndependent"},)" +
                   overlay;
    rig().load(list({gateway.text(), cluster(R"("natOutgoing":true)")}));
    for (int port = 5000; port < 5006; ++port) {
      const std::string near = "10.246.1.5:" + std::to_string(port);
      const std::string far = "10.244.34.5:" + std::to_string(port);
      (void)send("b", tcp(near, "198.51.100.1:443", "S"), 1000);
      const std::string near_outside = rig().only().ip.src.text();
      (void)from_node1(with_mss(tcp(far, near_outside, "S").with_seq(100, 0), 1460));
      ASSERT_EQ(rig().only().ip.dst.text(), near);
      EXPECT_EQ(mss_out(rig()), expected) << "towards the host on the link";
      const std::string far_outside = rig().only().ip.src.text();
      EXPECT_EQ(send("b", tcp(near, far_outside, "SA").with_seq(500, 101), 1460), expected) << "into the tunnel";
      EXPECT_EQ(rig().only().ip.dst.text(), far);
    }
    EXPECT_EQ(rig().drops(), "");
  }
}

SLUICE_WITH_WORKERS(Mss);

}  // namespace
}  // namespace sluice::packet_test
