// The link to a pod: proxy ARP and neighbour discovery for its gateway, which sources it may use, and the reverse path
// filter of the other links.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr uint16_t request = 1;
constexpr uint16_t reply = 2;
constexpr net::MacAddr gateway_mac{{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}};
constexpr const char* gateway_v6 = "fe80::ecee:eeff:feee:eeee";  // section 19

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                      .ports = {"TCP 80 8080 30080", "UDP 53 5353"},
                      .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};

// A pod 10.244.0.5, fd00:10:246:1::5 with MAC …55 at port c, whose own MAC is that of BASE-2.
class Workload : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load(R"("podMAC":"02:00:00:00:00:55",)");
  }
  void load(const std::string& more) {
    Gateway gateway;
    gateway.interfaces += R"(,{"name":"pod","device":"net_ring_c","mac":"ee:ee:ee:ee:ee:ee","role":"workload",)" +
                          more + R"("podAddresses":["10.244.0.5","fd00:10:246:1::5"]})";
    rig().load(list({gateway.text(), cluster(), service(web)}));
  }
  std::string from_pod(const Ip& packet) {
    return rig().send_frame("c", ethernet(gateway_mac, mac(0x55), packet.bytes()));
  }
  std::string ask(const char* sender, const char* target) {
    return rig().send_frame("c", arp(request, mac(0x55), sender, target));
  }
  std::string solicit(const char* source, const char* target) {
    const net::MacAddr group = net::MacAddr::for_multicast(Endpoint(target).address.v6().solicited_node());
    return rig().send_frame("c", ethernet(group, mac(0x55), nd_solicit(source, target, mac(0x55))));
  }
};

// ---- ARP and ND ----------------------------------------------------------------------------------------

TEST_P(Workload, BASE2_ARP1_AnswersForTheGatewayAndEveryOtherAddress) {
  for (const char* target : {"169.254.1.1", "10.244.0.6", "192.0.2.10", "8.8.8.8"}) {
    EXPECT_EQ(ask("10.244.0.5", target),
              "c/55 arp reply " + std::string(target) + " is ee:ee:ee:ee:ee:ee to 10.244.0.5");
    EXPECT_EQ(rig().only().from, gateway_mac);
  }
  EXPECT_EQ(rig().count(dataplane::Event::ArpRepliesSent), 4u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Workload, ARP1_NeverAnswersForThePodItself) {
  EXPECT_EQ(ask("0.0.0.0", "10.244.0.5"), "") << "its duplicate address detection";
  EXPECT_EQ(ask("10.244.0.5", "10.244.0.5"), "") << "its gratuitous announcement";
  EXPECT_EQ(rig().drops(), "arp_not_for_us 2");
}

TEST_P(Workload, ARP1_OnlyTheUplinkIsSilentAboutOthers) {
  EXPECT_EQ(rig().send_frame("a", arp(request, mac(0x33), "192.0.2.33", "169.254.1.1")), "");
  EXPECT_EQ(rig().send_frame("a", arp(request, mac(0x33), "192.0.2.33", "10.244.0.5")), "");
  EXPECT_EQ(rig().drops(), "arp_not_for_us 2");
}

TEST_P(Workload, ARP2_ThePodIsAskedForFromTheNodesAddress) {
  load("");
  EXPECT_TRUE(like(rig().announcements(), "*c/ff arp request 10.244.0.5? from 192.*"));
  (void)rig().advance(10000);
  ASSERT_TRUE(like(rig().send("a", udp("192.0.2.10:5", "10.244.0.5:6")) + rig().advance(6000),
                   "*c/ff arp request 10.244.0.5? from 192.*"));
  (void)rig().send_frame("c", arp(reply, mac(0x55), "10.244.0.5", "192.0.2.1", gateway_mac));
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.0.5:6")), "c/55 udp 192.0.2.10:5>10.244.0.5:6 ttl 63");
}

TEST_P(Workload, ARP3_SolicitationsForTheGatewayAndEveryOtherAddressAreAnswered) {
  for (const char* source : {"fd00:10:246:1::5", "fe80::55"}) {
    for (const char* target : {gateway_v6, "2001:db8:2::10", "fd00:10:246::20"}) {
      EXPECT_EQ(solicit(source, target),
                "c/55 nd advert " + std::string(target) + " " + target + ">" + source + " ttl 255");
      EXPECT_EQ(rig().only().from, gateway_mac);
    }
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Workload, ARP3_NeitherThePodItselfNorARouterSolicitation) {
  EXPECT_EQ(solicit("::", "fd00:10:246:1::5"), "") << "its duplicate address detection";
  EXPECT_EQ(solicit("fe80::55", "fd00:10:246:1::5"), "");
  EXPECT_EQ(rig().drops(), "nd_not_for_us 2");
  Ip router = icmp_error("fe80::55", "ff02::2", net::icmpv6::router_solicitation, 0, {});
  router.ttl = 255;
  EXPECT_EQ(rig().send_frame("c", ethernet({{0x33, 0x33, 0, 0, 0, 2}}, mac(0x55), router.bytes())), "");
  router = icmp_error("fe80::55", "ff02::1", net::icmpv6::router_solicitation + 1, 0, Bytes(8));
  router.ttl = 255;
  EXPECT_EQ(rig().send_frame("c", ethernet({{0x33, 0x33, 0, 0, 0, 1}}, mac(0x55), router.bytes())), "") << "SPOOF-2";
  EXPECT_EQ(rig().drops(), "nd_not_for_us 2");
}

TEST_P(Workload, ARP3_TheGatewayAnswersItsPing) {
  ASSERT_TRUE(like(from_pod(echo("fe80::55", gateway_v6, 3)), "c/55 nd solicit fe80::55 *")) << "not known yet";
  EXPECT_EQ(rig().send_frame("c", ethernet(gateway_mac, mac(0x55), nd_advert("fe80::55", gateway_v6, mac(0x55)))),
            "c/55 echo-reply " + std::string(gateway_v6) + ">fe80::55 id 3 ttl 64");
}

// ---- packets -------------------------------------------------------------------------------------------

TEST_P(Workload, BASE1_ThePodAndTheWorldReachEachOther) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.0.5:6")), "c/55 udp 192.0.2.10:5>10.244.0.5:6 ttl 63");
  EXPECT_EQ(rig().only().from, gateway_mac);
  EXPECT_EQ(from_pod(udp("10.244.0.5:6", "192.0.2.10:5")), "a/10 udp 10.244.0.5:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(from_pod(udp("10.244.0.5:6", "10.244.34.5:53")),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 10.244.0.5:6>10.244.34.5:53 ttl 63");
  EXPECT_EQ(from_pod(udp("[fd00:10:246:1::5]:6", "[2001:db8:2::10]:5")),
            "a/10 udp [fd00:10:246:1::5]:6>[2001:db8:2::10]:5 ttl 63");
  EXPECT_EQ(from_pod(tcp("10.244.0.5:6", "10.96.0.10:80", "S")), "b/13 tcp S 10.244.0.5:6>10.246.1.20:8080 ttl 63");
}

TEST_P(Workload, ICMP8_ErrorsComeFromAnAddressOfTheNode) {
  EXPECT_EQ(from_pod(udp("10.244.0.5:6", "192.0.2.10:5").with_ttl(1)),
            "c/55 icmp 11/0 192.0.2.1>10.244.0.5 ttl 64 [ udp 10.244.0.5:6>192.0.2.10:5 ttl 1 ]");
  EXPECT_EQ(
      from_pod(udp("[fd00:10:246:1::5]:6", "[2001:db8:2::10]:5").with_ttl(1)),
      "c/55 icmp 3/0 2001:db8:2::1>fd00:10:246:1::5 ttl 64 [ udp [fd00:10:246:1::5]:6>[2001:db8:2::10]:5 ttl 1 ]");
}

TEST_P(Workload, SPOOF1_AForeignSourceIsDropped) {
  EXPECT_EQ(from_pod(udp("10.244.0.6:6", "192.0.2.10:5")), "") << "its neighbour's";
  EXPECT_EQ(from_pod(udp("192.0.2.1:6", "192.0.2.10:5")), "") << "the router's";
  EXPECT_EQ(from_pod(tcp("10.244.0.6:6", "10.96.0.10:80", "S")), "") << "to a service";
  EXPECT_EQ(from_pod(echo("10.244.0.6", "192.0.2.1", 1)), "") << "to the router";
  EXPECT_EQ(from_pod(udp("[fd00:10:246:1::6]:6", "[2001:db8:2::10]:5")), "");
  for (const Bytes& part : fragments(udp("10.244.0.6:6", "192.0.2.10:5").with_payload(800).bytes(), 400)) {
    EXPECT_EQ(rig().send_frame("c", ethernet(gateway_mac, mac(0x55), part)), "");
  }
  EXPECT_EQ(rig().drops(), "spoofed_source 7");
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Workload, SPOOF1_CT22_AnAnswerUnderAForeignSourceIsNotTakenForTheOthers) {
  ASSERT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S")),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(from_pod(tcp("10.246.1.20:8080", "10.246.1.5:1000", "SA")), "");
  EXPECT_EQ(rig().drops(), "spoofed_source 1");
}

TEST_P(Workload, SPOOF1_AForeignArpSenderIsNeitherAnsweredNorBelieved) {
  EXPECT_EQ(ask("10.244.0.6", "169.254.1.1"), "");
  EXPECT_EQ(ask("8.8.8.8", "8.8.8.8"), "");
  EXPECT_EQ(rig().drops(), "spoofed_source 2");
  EXPECT_EQ(solicit("fd00:10:246:1::6", gateway_v6), "");
  EXPECT_EQ(rig().drops(), "spoofed_source 1");
}

// Nor does a pod speak as a node that may send tunnel packets.
TEST_P(Workload, SPOOF1_IPIP3_VXL6_NoTunnelPacketsOfAPod) {
  const Bytes inner = udp("10.245.40.6:80", "192.0.2.10:5000").bytes();
  VxlanOptions options;
  options.inner_destination = rig().snapshot().terminator.vtep_mac;
  for (const Bytes& outer :
       {ipip("192.168.0.12", "192.168.0.1", inner), vxlan("192.168.0.11", "192.168.0.1", inner, options)}) {
    EXPECT_EQ(rig().send_frame("c", ethernet(gateway_mac, mac(0x55), outer)), "");
    EXPECT_EQ(rig().drops(), "spoofed_source 1");
  }
  EXPECT_EQ(rig().send_frame("c", ethernet(gateway_mac, mac(0x55), ipip("10.244.0.5", "192.168.0.1", inner))), "");
  EXPECT_EQ(rig().drops(), "tunnel_unknown_source 1");
}

TEST_P(Workload, SPOOF1_NoAnswerToAForeignSourceFromTheLinkLocalAddress) {
  EXPECT_EQ(from_pod(echo("2001:db8:99::1", gateway_v6, 3)), "");
  EXPECT_EQ(rig().drops(), "spoofed_source 1");
}

TEST_P(Workload, SPOOF3_LinkLocalAddressesAreNotForwarded) {
  EXPECT_EQ(from_pod(udp("10.244.0.5:6", "169.254.169.254:80")), "");
  EXPECT_EQ(rig().drops(), "blackhole 1");
  EXPECT_EQ(from_pod(udp("fe80::55", "[2001:db8:2::10]:5")), "");
  EXPECT_EQ(rig().drops(), "link_local_scope 1");
}

TEST_P(Workload, SPOOF2_NoDhcpOfThePod) {
  EXPECT_EQ(rig().send_frame(
                "c", ethernet(net::MacAddr::broadcast(), mac(0x55), udp("0.0.0.0:68", "255.255.255.255:67").bytes())),
            "");
  EXPECT_EQ(rig().drops(), "ip_broadcast 1");
}

SLUICE_WITH_WORKERS(Workload);

// ---- section 2 step 4, on the other ports ----------------------------------------------------------------

class ReversePath : public RigTest {
 protected:
  void load(const std::string& at_a, const std::string& at_b) {
    const auto with = [](std::string interface, const std::string& rpf) {
      return interface.insert(interface.find("\"addresses\""), "\"rpf\":\"" + rpf + "\",");
    };
    Gateway gateway;
    gateway.interfaces = with(interface_a, at_a) + "," + with(interface_b, at_b);
    gateway.more = R"("routes":[{"destination":"203.0.113.0/24","type":"blackhole"},
      {"destination":"2001:db8:dead::/64","type":"unreachable"}])";
    rig().load(list({gateway.text(), cluster(), service(web)}));
  }
};

TEST_P(ReversePath, PIPE_Strict) {
  load("strict", "strict");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "192.168.0.13:6")), "b/13 udp 192.0.2.10:5>192.168.0.13:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("198.51.100.9:5", "192.168.0.13:6")), "b/13 udp 198.51.100.9:5>192.168.0.13:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("192.168.0.12:5", "192.168.0.13:6")), "") << "it is at the other side";
  EXPECT_EQ(rig().send("b", udp("198.51.100.9:5", "192.0.2.10:6")), "");
  EXPECT_EQ(rig().send("b", udp("[2001:db8:99::1]:5", "[2001:db8:2::10]:6")), "");
  EXPECT_EQ(rig().send("b", udp("10.244.34.5:5", "192.0.2.10:6")), "") << "it is behind a tunnel";
  EXPECT_EQ(rig().send("a", udp("203.0.113.1:5", "192.168.0.13:6")), "") << "a blackhole is no way back";
  EXPECT_EQ(rig().drops(), "reverse_path 5");
}

TEST_P(ReversePath, PIPE_Loose) {
  load("loose", "loose");
  EXPECT_EQ(rig().send("b", udp("198.51.100.9:5", "192.0.2.10:6")), "a/10 udp 198.51.100.9:5>192.0.2.10:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("192.168.0.12:5", "192.168.0.13:6")), "b/13 udp 192.168.0.12:5>192.168.0.13:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("203.0.113.1:5", "192.168.0.13:6")), "");
  EXPECT_EQ(rig().send("a", udp("10.244.99.9:5", "192.168.0.13:6")), "") << "a pool address of no block";
  EXPECT_EQ(rig().send("a", udp("[2001:db8:dead::1]:5", "[2001:db8:a::13]:6")), "");
  EXPECT_EQ(rig().drops(), "reverse_path 3");
}

TEST_P(ReversePath, PIPE_OffTakesEverySource) {
  load("off", "off");
  EXPECT_EQ(rig().send("a", udp("203.0.113.1:5", "192.168.0.13:6")), "b/13 udp 203.0.113.1:5>192.168.0.13:6 ttl 63");
}

// The filter stands before the services and before the router itself.
TEST_P(ReversePath, PIPE_HoldsForServicesAndTheRouterToo) {
  load("strict", "strict");
  EXPECT_EQ(rig().send("a", tcp("203.0.113.1:5", "192.0.2.1:30080", "S")), "");
  EXPECT_EQ(rig().send("a", tcp("10.246.1.5:5", "10.96.0.10:80", "S")), "");
  EXPECT_EQ(rig().send("a", tcp("[fd00:10:246::5]:5", "[fd00:10:96::10]:80", "S")), "");
  EXPECT_EQ(rig().send("a", echo("192.168.0.13", "192.0.2.1", 1)), "");
  EXPECT_EQ(rig().drops(), "reverse_path 4");
  EXPECT_EQ(rig().flows(), 0u);
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:5", "10.96.0.10:80", "S")),
            "b/13 tcp S 10.246.1.5:5>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().send("b", echo("192.168.0.13", "192.168.0.1", 1)),
            "b/13 echo-reply 192.168.0.1>192.168.0.13 id 1 ttl 64");
}

// What a tunnel brought is the tunnel's business (IPIP-3), not that of the underlay's filter.
TEST_P(ReversePath, PIPE_TunnelledPacketsAreNotAskedFor) {
  load("strict", "strict");
  EXPECT_EQ(rig().send("b", ipip("192.168.0.12", "192.168.0.1", udp("10.245.40.6:80", "192.0.2.10:5000").bytes())),
            "a/10 udp 10.245.40.6:80>192.0.2.10:5000 ttl 63");
}

SLUICE_WITH_WORKERS(ReversePath);

}  // namespace
}  // namespace sluice::packet_test
