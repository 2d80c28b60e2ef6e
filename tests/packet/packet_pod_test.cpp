// Pods that WorkloadEndpoints attach (section 9), on ports made of rings. What a port in GatewayConfiguration does is
// in packet_workload_test.cpp.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr uint16_t request = 1;
constexpr net::MacAddr gateway_mac{{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}};
constexpr const char* gateway_v6 = "fe80::ecee:eeff:feee:eeee";  // section 19

std::string endpoint(const std::string& more = "", const std::string& addresses = R"("10.244.0.5/32",
    "fd00:10:246:1::5/128")") {
  return R"({"apiVersion":"projectcalico.org/v3","kind":"WorkloadEndpoint","metadata":{"namespace":"default",
    "name":"gw-k8s-web-eth0","annotations":{"sluice.dev/device":"net_ring_c"}},"spec":{"node":"gw",
    "orchestrator":"k8s","pod":"web","endpoint":"eth0","interfaceName":"cali1",)" +
         more + R"("ipNetworks":[)" + addresses + "]}}";
}

class Pod : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load(endpoint(R"("mac":"02:00:00:00:00:55",)"));
  }
  void load(const std::string& object, const std::string& more = "") {
    Gateway gateway;
    gateway.more = more;
    rig().load(list({gateway.text(), cluster(), object}));
  }
  std::string from_pod(const Ip& packet) {
    return rig().send_frame("c", ethernet(gateway_mac, mac(0x55), packet.bytes()));
  }
  std::string ask(const char* port, const char* sender, const char* target) {
    return rig().send_frame(port, arp(request, mac(0x55), sender, target));
  }
};

TEST_P(Pod, ARP1_EveryAddressIsTheGatewaysButThePodsOwn) {
  for (const char* target : {"169.254.1.1", "10.244.0.6", "192.0.2.10"}) {
    EXPECT_EQ(ask("c", "10.244.0.5", target),
              "c/55 arp reply " + std::string(target) + " is ee:ee:ee:ee:ee:ee to 10.244.0.5");
  }
  EXPECT_EQ(ask("c", "0.0.0.0", "10.244.0.5"), "") << "its duplicate address detection";
  EXPECT_EQ(ask("c", "10.244.0.5", "10.244.0.5"), "") << "its announcement";
  EXPECT_EQ(rig().drops(), "arp_not_for_us 2");
}

TEST_P(Pod, ARP2_TheMacOfTheEndpointNeedsNoQuestion) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.0.5:6")), "c/55 udp 192.0.2.10:5>10.244.0.5:6 ttl 63");
  EXPECT_EQ(rig().count(dataplane::Event::ArpRequestsSent), 2U) << "the announcements of both wires";
}

TEST_P(Pod, ARP2_WithoutOneThePodIsAskedFromTheNodesAddress) {
  load(endpoint());
  EXPECT_TRUE(like(rig().announcements(), "*c/ff arp request 10.244.0.5? from 192.*"));
  EXPECT_TRUE(like(rig().announcements(), "*c/05 nd solicit fd00:10:246:1::5 fe80::ecee:eeff:feee:eeee>*"));
}

TEST_P(Pod, ARP3_TheGatewayOfIPv6) {
  const auto solicit = [&](const char* source, const char* target) {
    const net::MacAddr group = net::MacAddr::for_multicast(Endpoint(target).address.v6().solicited_node());
    return rig().send_frame("c", ethernet(group, mac(0x55), nd_solicit(source, target, mac(0x55))));
  };
  EXPECT_EQ(solicit("fe80::55", gateway_v6),
            "c/55 nd advert " + std::string(gateway_v6) + " " + gateway_v6 + ">fe80::55 ttl 255");
  EXPECT_EQ(rig().only().from, gateway_mac);
  EXPECT_EQ(solicit("::", "fd00:10:246:1::5"), "") << "its duplicate address detection";
  Ip router = icmp_error("fe80::55", "ff02::2", net::icmpv6::router_solicitation, 0, {});
  router.ttl = 255;
  EXPECT_EQ(rig().send_frame("c", ethernet({{0x33, 0x33, 0, 0, 0, 2}}, mac(0x55), router.bytes())), "");
  EXPECT_EQ(rig().drops(), "nd_not_for_us 2");
}

TEST_P(Pod, ARP4_TheWireHearsOfItsOwnAddressesOnly) {
  EXPECT_EQ(ask("a", "192.0.2.33", "192.0.2.1"), "a/55 arp reply 192.0.2.1 is 02:00:00:00:00:0a to 192.0.2.33");
  EXPECT_EQ(ask("a", "192.0.2.33", "192.0.2.77"), "");
  EXPECT_EQ(ask("a", "192.0.2.33", "10.244.0.5"), "") << "a pod's, but not of this subnet";
  EXPECT_EQ(rig().drops(), "arp_not_for_us 2");
  EXPECT_EQ(ask("a", "192.0.2.1", "192.0.2.1"), "") << "somebody else says that it is his";
  EXPECT_EQ(rig().drops(), "arp_conflict 1");
}

TEST_P(Pod, ARP5_PacketsWaitForAPodThatIsAskedFor) {
  load(endpoint());
  EXPECT_TRUE(like(rig().send("a", udp("192.0.2.10:5", "10.244.0.5:6")), "*")) << "held or asked for again";
  EXPECT_EQ(rig().send_frame("c", arp(2, mac(0x55), "10.244.0.5", "192.0.2.1", gateway_mac)),
            "c/55 udp 192.0.2.10:5>10.244.0.5:6 ttl 63");
  load(endpoint("", R"("10.244.0.7/32")"));
  (void)rig().send("a", udp("192.0.2.10:5", "10.244.0.7:6"));
  EXPECT_TRUE(like(rig().advance(4000), "*a/10 icmp 3/1 192.0.2.1>192.0.2.10 *")) << "nobody answered three times";
}

TEST_P(Pod, ARP6_AnAnnouncementMovesNothingThatIsConfigured) {
  EXPECT_EQ(rig().send_frame("c", arp(request, mac(0x66), "10.244.0.5", "10.244.0.5")), "");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.0.5:6")), "c/55 udp 192.0.2.10:5>10.244.0.5:6 ttl 63");
}

// A pod with an address of the wire's subnet: the wire finds it at the router, whose other hosts stay their own.
TEST_P(Pod, ARP7_APodInTheSubnetOfTheWire) {
  load(endpoint(R"("mac":"02:00:00:00:00:55",)", R"("192.0.2.200/32","2001:db8:2::200/128")"));
  EXPECT_EQ(ask("a", "192.0.2.33", "192.0.2.200"), "a/55 arp reply 192.0.2.200 is 02:00:00:00:00:0a to 192.0.2.33");
  EXPECT_EQ(ask("a", "192.0.2.33", "192.0.2.201"), "");
  EXPECT_EQ(ask("b", "192.168.0.33", "192.0.2.200"), "") << "another wire";
  EXPECT_EQ(rig().drops(), "arp_not_for_us 2");
  const net::MacAddr group = net::MacAddr::for_multicast(Endpoint("2001:db8:2::200").address.v6().solicited_node());
  EXPECT_EQ(
      rig().send_frame("a", ethernet(group, mac(0x55), nd_solicit("2001:db8:2::33", "2001:db8:2::200", mac(0x55)))),
      "a/55 nd advert 2001:db8:2::200 2001:db8:2::200>2001:db8:2::33 ttl 255");
}

TEST_P(Pod, SPOOF1_ItsOwnAddressesAndThoseItIsAllowed) {
  load(endpoint(R"("mac":"02:00:00:00:00:55","allowSpoofedSourcePrefixes":["198.51.100.0/24"],)"));
  EXPECT_EQ(from_pod(udp("10.244.0.5:6", "192.0.2.10:5")), "a/10 udp 10.244.0.5:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(from_pod(udp("198.51.100.7:6", "192.0.2.10:5")), "a/10 udp 198.51.100.7:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(from_pod(udp("198.51.101.7:6", "192.0.2.10:5")), "");
  EXPECT_EQ(from_pod(tcp("10.244.0.6:6", "192.0.2.10:5", "S")), "");
  EXPECT_EQ(from_pod(udp("[fd00:10:246:1::6]:6", "[2001:db8:2::10]:5")), "");
  EXPECT_EQ(ask("c", "10.244.0.6", "169.254.1.1"), "");
  EXPECT_EQ(rig().drops(), "spoofed_source 4");
}

TEST_P(Pod, SPOOF2_NeitherDhcpNorRouterAdvertisements) {
  EXPECT_EQ(from_pod(udp("10.244.0.5:68", "192.0.2.10:67")), "") << "asks a server";
  EXPECT_EQ(from_pod(udp("10.244.0.5:67", "192.0.2.10:68")), "") << "is a server";
  EXPECT_EQ(from_pod(udp("[fd00:10:246:1::5]:546", "[2001:db8:2::10]:547")), "");
  EXPECT_EQ(from_pod(udp("[fd00:10:246:1::5]:547", "[2001:db8:2::10]:546")), "");
  EXPECT_EQ(rig().drops(), "pod_dhcp 4");
  EXPECT_EQ(from_pod(tcp("10.244.0.5:67", "192.0.2.10:67", "S")), "a/10 tcp S 10.244.0.5:67>192.0.2.10:67 ttl 63")
      << "is none";
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:67", "10.244.0.5:68")), "c/55 udp 192.0.2.10:67>10.244.0.5:68 ttl 63")
      << "does not come from a pod";
  Ip router = icmp_error("fe80::55", "ff02::1", net::icmpv6::router_solicitation + 1, 0, Bytes(8));
  router.ttl = 255;
  EXPECT_EQ(rig().send_frame("c", ethernet({{0x33, 0x33, 0, 0, 0, 1}}, mac(0x55), router.bytes())), "");
  EXPECT_EQ(rig().drops(), "nd_not_for_us 1");
}

TEST_P(Pod, SPOOF3_LinkLocalIsForwardedOnlyWhereARouteSaysSo) {
  load(endpoint(R"("mac":"02:00:00:00:00:55",)"),
       R"("routes":[{"destination":"169.254.20.10/32","nextHops":[{"via":"192.168.0.13"}]}])");
  EXPECT_EQ(from_pod(udp("10.244.0.5:6", "169.254.169.254:80")), "");
  EXPECT_EQ(rig().drops(), "blackhole 1");
  EXPECT_EQ(from_pod(udp("10.244.0.5:6", "169.254.20.10:53")), "b/13 udp 10.244.0.5:6>169.254.20.10:53 ttl 63");
}

TEST_P(Pod, BASE1_GoneWithItsEndpoint) {
  load("");
  EXPECT_FALSE(like(rig().send("a", udp("192.0.2.10:5", "10.244.0.5:6")), "*c/*"));
  EXPECT_FALSE(like(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:246:1::5]:6")), "*c/*"));
  load(endpoint(R"("mac":"02:00:00:00:00:56",)"));
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.0.5:6")), "c/56 udp 192.0.2.10:5>10.244.0.5:6 ttl 63");
}

SLUICE_WITH_WORKERS(Pod);

}  // namespace
}  // namespace sluice::packet_test
