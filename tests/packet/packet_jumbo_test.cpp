// MTU-5: frames larger than a packet buffer, which come in several of them.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr size_t mtu = 9000;
constexpr size_t vxlan_mtu = mtu - 50;
constexpr size_t ipip_mtu = mtu - 20;
const std::vector<size_t> buffers{2030, 4060, 6090, 8120};

class Jumbo : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load(R"("mtu":9000)");
  }
  void load(const std::string& first) {
    Gateway gateway;
    gateway.interfaces = with(interface_a, first) + "," + with(interface_b, R"("mtu":9000)");
    const ServiceSpec dns{.name = "dns",
                          .cluster_ips = {"10.96.0.10"},
                          .ports = {"UDP 53 5353 30053"},
                          .endpoints = {"10.246.1.20 node3"}};
    rig().load(list({gateway.text(), cluster(R"("natOutgoing":true)"), service(dns)}));
  }
  static std::string with(std::string interface, const std::string& member) {
    return interface.insert(1, member + ",");
  }
  // An IPv4 packet of this many bytes.
  static Ip sized(const Ip& packet, size_t bytes) { return packet.with_payload(bytes - 28).with_df(); }
};

TEST_P(Jumbo, MTU5_TransitOfTheWholeMtu) {
  const Ip packet = sized(udp("192.0.2.10:5", "192.168.0.13:6"), mtu);
  ASSERT_EQ(rig().send_cut("a", packet.bytes(), buffers), "b/13 udp 192.0.2.10:5>192.168.0.13:6 ttl 63 df");
  EXPECT_EQ(rig().only().l3, packet.with_ttl(63).bytes());
  const Ip six = udp("[2001:db8:2::10]:5", "[2001:db8:a::13]:6").with_payload(mtu - 48);
  ASSERT_EQ(rig().send_cut("a", six.bytes(), buffers), "b/13 udp [2001:db8:2::10]:5>[2001:db8:a::13]:6 ttl 63");
  EXPECT_EQ(rig().only().l3, six.with_ttl(63).bytes());
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Jumbo, MTU5_TranslatedBothWays) {
  const Ip question = sized(udp("10.246.1.5:1000", "10.96.0.10:53"), mtu);
  ASSERT_EQ(rig().send_cut("b", question.bytes(), buffers), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63 df");
  Ip expected = question.with_ttl(63);
  expected.dst = "10.246.1.20:5353";
  EXPECT_EQ(rig().only().l3, expected.bytes()) << "payload and checksum";
  const Ip answer = sized(udp("10.246.1.20:5353", "10.246.1.5:1000"), mtu);
  ASSERT_EQ(rig().send_cut("b", answer.bytes(), buffers), "b/13 udp 10.96.0.10:53>10.246.1.5:1000 ttl 63 df");
  const Ip outgoing = sized(udp("10.246.1.5:1000", "198.51.100.9:7"), mtu);
  ASSERT_TRUE(like(rig().send_cut("b", outgoing.bytes(), buffers), "a/fe udp 192.0.2.1:*>198.51.100.9:7 ttl 63 df"));
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Jumbo, MTU5_IntoTunnelsAndOutOfThem) {
  const Ip to_vxlan = sized(udp("192.0.2.10:5", "10.244.34.5:6"), vxlan_mtu);
  ASSERT_EQ(rig().send_cut("a", to_vxlan.bytes(), buffers),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63 df");
  EXPECT_EQ(rig().only().l3, to_vxlan.with_ttl(63).bytes());
  EXPECT_EQ(rig().only().outer.size(), mtu);
  const Ip to_ipip = sized(udp("192.0.2.10:5", "10.245.40.6:6"), ipip_mtu);
  ASSERT_EQ(rig().send_cut("a", to_ipip.bytes(), buffers),
            "b/12 ipip 192.168.0.1>192.168.0.12 | udp 192.0.2.10:5>10.245.40.6:6 ttl 63 df");
  EXPECT_EQ(rig().only().outer.size(), mtu);

  VxlanOptions options;
  options.inner_destination = rig().snapshot().terminator.vtep_mac;
  const Ip out_of_vxlan = sized(udp("10.244.34.5:6", "192.0.2.10:5"), vxlan_mtu);
  ASSERT_EQ(rig().send_cut("b", vxlan("192.168.0.11", "192.168.0.1", out_of_vxlan.bytes(), options), buffers),
            "a/10 udp 10.244.34.5:6>192.0.2.10:5 ttl 63 df");
  EXPECT_EQ(rig().only().l3, out_of_vxlan.with_ttl(63).bytes());
  const Ip out_of_ipip = sized(udp("10.245.40.6:6", "192.0.2.10:5"), ipip_mtu);
  ASSERT_EQ(rig().send_cut("b", ipip("192.168.0.12", "192.168.0.1", out_of_ipip.bytes()), buffers),
            "a/10 udp 10.245.40.6:6>192.0.2.10:5 ttl 63 df");
  EXPECT_EQ(rig().only().l3, out_of_ipip.with_ttl(63).bytes());
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Jumbo, MTU5_OneByteMoreIsTooBigAndCounted) {
  EXPECT_TRUE(like(rig().send_cut("a", sized(udp("192.0.2.10:5", "192.168.0.13:6"), mtu + 1).bytes(), buffers),
                   "a/10 icmp 3/4 mtu 9000 192.0.2.1>192.0.2.10 *"));
  EXPECT_EQ(rig().drops(), "mtu_exceeded 1");
  EXPECT_TRUE(like(rig().send_cut("a", sized(udp("192.0.2.10:5", "10.244.34.5:6"), vxlan_mtu + 1).bytes(), buffers),
                   "a/10 icmp 3/4 mtu 8950 192.0.2.1>192.0.2.10 *"));
  EXPECT_EQ(rig().drops(), "mtu_exceeded 1");
}

// The device is told the largest MTU of a port's VLANs.
TEST_P(Jumbo, MTU5_AVlanNarrowerThanItsPort) {
  const auto vlan = [](int tag, int bytes) {
    const std::string number = std::to_string(tag);
    return R"(,{"name":"v)" + number + R"(","device":"net_ring_a","vlan":)" + number + R"(,"mtu":)" +
           std::to_string(bytes) + R"(,"mac":"02:00:00:00:00:0a","addresses":["198.19.)" + number + R"(.1/24"]})";
  };
  Gateway gateway;
  gateway.interfaces =
      with(interface_a, R"("mtu":1600)") + "," + with(interface_b, R"("mtu":9000)") + vlan(7, 1500) + vlan(8, 1700);
  gateway.neighbors += R"(,{"interface":"v7","address":"198.19.7.9","mac":"02:00:00:00:00:79"},
    {"interface":"v8","address":"198.19.8.9","mac":"02:00:00:00:00:89"})";
  rig().load(list({gateway.text(), cluster()}));
  const auto from = [&](uint16_t tag, size_t bytes) {
    const std::string source = "198.19." + std::to_string(tag) + ".9:5";
    const Ip packet = sized(udp(source, "192.168.0.13:6"), bytes);
    const std::string sent = rig().send("a", packet.bytes(), tag);
    return sent == "b/13 udp " + source + ">192.168.0.13:6 ttl 63 df";
  };
  EXPECT_TRUE(from(7, 1500));
  EXPECT_TRUE(from(8, 1700));
  EXPECT_EQ(rig().drops(), "");
  EXPECT_FALSE(from(7, 1501)) << "what the port takes for the sake of the other VLAN";
  EXPECT_FALSE(from(8, 1701));
  EXPECT_EQ(rig().drops(), "mtu_exceeded 2");
  EXPECT_EQ(rig().send("a", sized(udp("192.0.2.10:5", "192.168.0.13:6"), 1600)),
            "b/13 udp 192.0.2.10:5>192.168.0.13:6 ttl 63 df");
  const Ip out = udp("192.168.0.13:6", "198.19.7.9:5");
  EXPECT_EQ(rig().send("b", sized(out, 1500)), "a/79 vlan 7 udp 192.168.0.13:6>198.19.7.9:5 ttl 63 df");
  EXPECT_TRUE(like(rig().send("b", sized(out, 1501)), "b/13 icmp 3/4 mtu 1500 *"));
  EXPECT_EQ(rig().send("b", sized(udp("192.168.0.13:6", "198.19.8.9:5"), 1700)),
            "a/89 vlan 8 udp 192.168.0.13:6>198.19.8.9:5 ttl 63 df");
  EXPECT_EQ(rig().drops(), "mtu_exceeded 1");
}

// Without DF it is cut, into pieces that lie in a packet buffer each.
TEST_P(Jumbo, MTU2_CutForASmallerWayAndForATunnel) {
  load(R"("mtu":1500)");
  for (const char* to : {"192.0.2.10:5", "10.244.34.5:6"}) {
    const Ip packet = udp("192.168.0.13:6", to).with_payload(mtu - 28);
    (void)rig().send_cut("b", packet.bytes(), buffers);
    ASSERT_GT(rig().out().size(), 5u);
    size_t payload = 0;
    for (const View& piece : rig().out()) {
      EXPECT_LE(piece.outer.size(), size_t{1500});
      payload += piece.l3.size() - 20;
    }
    EXPECT_EQ(payload, mtu - 20);
  }
  load(R"("mtu":9000)");
  const Ip packet = udp("192.168.0.13:6", "10.244.34.5:6").with_payload(mtu - 28);
  (void)rig().send_cut("b", packet.bytes(), buffers);
  ASSERT_EQ(rig().out().size(), 5u) << "a packet buffer holds some 2000 bytes";
  EXPECT_EQ(rig().drops(), "");
}

SLUICE_WITH_WORKERS(Jumbo);

}  // namespace
}  // namespace sluice::packet_test
