// The host behind the router: what is addressed to it and what it sends, by class and within limits, and the routes of
// its kernel. Its TAP devices are the rings that a thread would empty into them.
#include <algorithm>
#include <ctime>
#include <set>

#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

using control::HostRouteChange;
using dataplane::Event;

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10"},
                      .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                      .endpoints = {"10.246.1.20 node3"}};

// Pods of the host's network.
const ServiceSpec on_host{.name = "kubernetes",
                          .cluster_ips = {"10.96.0.10"},
                          .ports = {"TCP 443 6443 30443", "UDP 53 5353 30053"},
                          .endpoints = {"192.0.2.1 gw"}};

std::string with_twin(std::string interface, const std::string& name) {
  return interface.replace(0, 1, R"({"hostInterface":")" + name + "\",");
}

class Host : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    for (uint16_t i = 0; i < GetParam(); ++i) rig().plane().worker(i).stop_clock();
    load();
  }
  void load(const std::string& more = "", const std::string& services = service(web)) {
    Gateway gateway;
    gateway.interfaces = with_twin(interface_a, "tap-a") + "," + with_twin(interface_b, "tap-b");
    gateway.more = more;
    rig().load(list({gateway.text(), cluster(), services}));
    (void)punted();
  }
  // What lies in the rings: "a/0a udp …" went to the twin of a, addressed to its MAC.
  std::string punted() {
    std::vector<std::string> texts;
    frames_.clear();
    for (uint16_t worker = 0; worker < GetParam(); ++worker) {
      (void)rig().plane().punts().to_host(worker).take(
          1000, [&](uint16_t index, const uint8_t* frame, uint32_t length) {
            const std::string port = rig().snapshot().interfaces[index].name == "up" ? "a" : "b";
            frames_.emplace_back(frame, frame + length);
            texts.push_back(view(port, frames_.back()).text);
          });
    }
    std::sort(texts.begin(), texts.end());
    std::string out;
    for (const std::string& text : texts) out += (out.empty() ? "" : "\n") + text;
    return out;
  }
  std::string to_host(const std::string& port, const Ip& packet) {
    EXPECT_EQ(rig().send(port, packet), "");
    return punted();
  }
  // The host's kernel sends a frame by the twin of a port.
  std::string from_host(const std::string& port, const Bytes& frame) {
    const auto& interfaces = rig().snapshot().interfaces;
    uint16_t index = 0;
    while (interfaces[index].name != (port == "a" ? "up" : "un")) ++index;
    dataplane::FrameRing& ring = rig().plane().punts().from_host();
    uint8_t* const to = ring.reserve(index, static_cast<uint32_t>(frame.size()));
    std::copy(frame.begin(), frame.end(), to);
    ring.commit();
    return rig().run();
  }
  std::string from_host(const std::string& port, const Ip& packet) {
    return from_host(port, ethernet(mac(port == "a" ? 0xfe : 0x77), mac(port == "a" ? 0x0a : 0x0b), packet.bytes()));
  }

  std::vector<Bytes> frames_;
};

// ---- to the host ---------------------------------------------------------------------------------------

TEST_P(Host, HOST1_WhatIsAddressedToTheHostGoesThereAsItCame) {
  EXPECT_EQ(to_host("a", tcp("192.0.2.10:40000", "192.0.2.1:22", "S")),
            "a/0a tcp S 192.0.2.10:40000>192.0.2.1:22 ttl 64");
  EXPECT_EQ(to_host("a", echo("192.0.2.10", "192.0.2.1", 7)), "a/0a echo 192.0.2.10>192.0.2.1 id 7 ttl 64");
  EXPECT_EQ(to_host("a", udp("[2001:db8:2::10]:5", "[2001:db8:2::1]:6")),
            "a/0a udp [2001:db8:2::10]:5>[2001:db8:2::1]:6 ttl 64");
  EXPECT_EQ(to_host("a", udp("192.0.2.10:5", "192.168.0.1:6")), "a/0a udp 192.0.2.10:5>192.168.0.1:6 ttl 64")
      << "any of its addresses, by the link it came from";
  EXPECT_EQ(to_host("a", tcp("192.0.2.10:1", "192.0.2.1:179", "S")), "a/0a tcp S 192.0.2.10:1>192.0.2.1:179 ttl 64");
  EXPECT_EQ(frames_.at(0)[11], 0xee) << "with its sender's MAC address";
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(rig().count(Event::HostManagement), 1u);
  EXPECT_EQ(rig().count(Event::HostIcmp), 1u);
  EXPECT_EQ(rig().count(Event::HostRouting), 1u);
  EXPECT_EQ(rig().count(Event::HostOther), 2u);
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Host, HOST1_FragmentsAreTheHostsToPutTogether) {
  const auto parts = fragments(udp("192.0.2.10:5", "192.0.2.1:6").with_payload(1200).bytes(), 808);
  EXPECT_EQ(rig().send_burst("a", {parts[0], parts[1]}), "");
  (void)punted();
  ASSERT_EQ(frames_.size(), 2u);
  EXPECT_EQ(Bytes(frames_[0].begin() + 14, frames_[0].end()), parts[0]);
  EXPECT_EQ(Bytes(frames_[1].begin() + 14, frames_[1].end()), parts[1]);
}

TEST_P(Host, HOST1_FromAPodThroughATunnel) {
  VxlanOptions options;
  options.inner_destination = encap::vtep_mac("gw");
  const Bytes outer =
      vxlan("192.168.0.11", "192.168.0.1", tcp("10.244.34.5:40000", "192.168.0.1:22", "S").bytes(), options);
  EXPECT_EQ(rig().send("b", outer), "");
  EXPECT_EQ(punted(), "b/0b tcp S 10.244.34.5:40000>192.168.0.1:22 ttl 64");
}

TEST_P(Host, HOST1_ServicesAndTranslatedConnectionsStayTheRouters) {
  EXPECT_TRUE(like(rig().send("a", tcp("198.51.100.9:1000", "192.0.2.1:30080", "S")),
                   "b/13 tcp S 192.168.0.1:*>10.246.1.20:8080 ttl 63"));
  const Endpoint masqueraded = rig().only().ip.src;
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", masqueraded, "SA")),
            "a/fe tcp SA 192.0.2.1:30080>198.51.100.9:1000 ttl 63");
  EXPECT_EQ(punted(), "");
}

TEST_P(Host, HOST1_WithoutATwinTheRouterAnswersAsEver) {
  rig().load(list({gateway(), cluster()}));
  EXPECT_EQ(rig().send("a", echo("192.0.2.10", "192.0.2.1", 7)), "a/10 echo-reply 192.0.2.1>192.0.2.10 id 7 ttl 64");
  EXPECT_TRUE(like(rig().send("a", tcp("192.0.2.10:40000", "192.0.2.1:22", "S")), "a/10 icmp 3/3 *"));
  EXPECT_EQ(punted(), "");
}

TEST_P(Host, HOST1_BroadcastsAndMulticastsOfTheLink) {
  const auto group = [&](uint8_t last, const Ip& packet) {
    net::MacAddr to = last == 0xff ? net::MacAddr::broadcast() : net::MacAddr{{1, 0, 0x5e, 0, 0, last}};
    EXPECT_EQ(rig().send_frame("a", ethernet(to, mac(0xee), packet.bytes())), "");
    return punted();
  };
  EXPECT_EQ(group(0xff, udp("0.0.0.0:68", "255.255.255.255:67")), "a/ff udp 0.0.0.0:68>255.255.255.255:67 ttl 64");
  EXPECT_EQ(group(0xff, udp("192.0.2.10:137", "192.0.2.255:137")), "a/ff udp 192.0.2.10:137>192.0.2.255:137 ttl 64");
  EXPECT_EQ(group(0xfb, udp("192.0.2.10:5353", "224.0.0.251:5353")),
            "a/fb udp 192.0.2.10:5353>224.0.0.251:5353 ttl 64");
  EXPECT_EQ(rig().count(Event::HostMulticast), 3u);
  Ip vrrp = udp("192.0.2.10:1", "224.0.0.18:1");
  Bytes packet = vrrp.bytes();
  packet[9] = net::protocol::vrrp;
  finish_ipv4(packet);
  EXPECT_EQ(rig().send_frame("a", ethernet({{1, 0, 0x5e, 0, 0, 18}}, mac(0xee), packet)), "");
  EXPECT_EQ(rig().count(Event::HostRouting), 1u);
  EXPECT_EQ(rig().drops(), "");
  (void)punted();
  EXPECT_EQ(group(0x05, udp("192.0.2.10:5", "239.1.1.5:6")), "") << "beyond the link";
  EXPECT_EQ(group(0xff, udp("192.0.2.10:5", "203.0.113.9:6")), "") << "a broadcast frame with somebody's address";
  EXPECT_EQ(rig().drops(), "ip_broadcast 2");
  EXPECT_EQ(rig().send_frame(
                "a", ethernet({{0x33, 0x33, 0, 0, 0, 0x12}}, mac(0xee), udp("[fe80::9]:1", "[ff02::12]:1").bytes())),
            "");
  EXPECT_EQ(rig().count(Event::HostMulticast), 4u);
}

// RFC 2131 section 4.1: a server answers a client to its MAC address and the address it offers.
TEST_P(Host, HOST1_LeasesForAnAddressThatTheHostDoesNotHaveYet) {
  EXPECT_EQ(to_host("a", udp("192.0.2.10:67", "192.0.2.77:68")), "a/0a udp 192.0.2.10:67>192.0.2.77:68 ttl 64");
  EXPECT_EQ(to_host("a", udp("192.0.2.10:67", "10.9.9.9:68")), "a/0a udp 192.0.2.10:67>10.9.9.9:68 ttl 64")
      << "another network, to which the way is back where it came from";
  EXPECT_EQ(to_host("b", udp("192.168.0.11:67", "192.168.0.77:68")), "b/0b udp 192.168.0.11:67>192.168.0.77:68 ttl 64");
  EXPECT_EQ(to_host("a", udp("192.0.2.10:67", "192.0.2.1:68")), "a/0a udp 192.0.2.10:67>192.0.2.1:68 ttl 64")
      << "a renewal";
  EXPECT_EQ(rig().count(Event::HostOther), 4u);
  EXPECT_EQ(rig().drops(), "");
  // What is for others passes.
  EXPECT_EQ(rig().send("a", udp("198.51.100.9:67", "192.168.0.11:68")),
            "b/11 udp 198.51.100.9:67>192.168.0.11:68 ttl 63");
  EXPECT_EQ(rig().send("b", udp("192.168.0.11:67", "203.0.113.9:68")),
            "a/fe udp 192.168.0.11:67>203.0.113.9:68 ttl 63");
  EXPECT_EQ(rig().send("a", udp("192.0.2.254:1000", "203.0.113.9:68")),
            "a/fe udp 192.0.2.254:1000>203.0.113.9:68 ttl 63");
  EXPECT_EQ(punted(), "");
}

TEST_P(Host, HOST1_LeasesWithoutATwinAreAsAnyPacket) {
  rig().load(list({gateway(), cluster()}));
  EXPECT_EQ(rig().send("a", udp("192.0.2.254:67", "203.0.113.9:68")), "a/fe udp 192.0.2.254:67>203.0.113.9:68 ttl 63");
  EXPECT_EQ(punted(), "");
}

TEST_P(Host, HOST1_ArpAndDiscoveryAreAnsweredHereAndAnswersAreCopied) {
  EXPECT_EQ(rig().send_frame("a", arp(1, mac(0x10), "192.0.2.10", "192.0.2.1")),
            "a/10 arp reply 192.0.2.1 is 02:00:00:00:00:0a to 192.0.2.10");
  EXPECT_EQ(punted(), "") << "one answer is enough";
  EXPECT_EQ(rig().send_frame("a", arp(2, mac(0x33), "192.0.2.33", "192.0.2.1", mac(0x0a))), "");
  EXPECT_TRUE(like(punted(), "a/0a arp reply 192.0.2.33 *"));
  EXPECT_EQ(
      rig().send_frame("a", ethernet(mac(0x0a), mac(0x33), nd_advert("2001:db8:2::33", "2001:db8:2::1", mac(0x33)))),
      "");
  EXPECT_TRUE(like(punted(), "a/0a nd advert 2001:db8:2::33 *"));
  EXPECT_EQ(rig().count(Event::HostNeighbor), 2u);
}

TEST_P(Host, HOST1_ErrorsAboutWhatTheHostSent) {
  const Bytes sent = udp("192.0.2.1:5000", "203.0.113.5:6").bytes();
  EXPECT_EQ(rig().send("a", icmp_error("203.0.113.1", "192.0.2.1", 3, 4, sent, 1400)), "");
  EXPECT_TRUE(like(punted(), "a/0a icmp 3/4 mtu 1400 203.0.113.1>192.0.2.1 *"));
}

TEST_P(Host, HOST1_AnInterfaceWithATagHasATwinWithout) {
  Gateway gateway;
  gateway.interfaces = with_twin(interface_a, "tap-a").insert(1, "\"vlan\":7,") + "," + interface_b;
  rig().load(list({gateway.text(), cluster()}));
  EXPECT_EQ(rig().send("a", tcp("192.0.2.10:40000", "192.0.2.1:22", "S").bytes(), 7), "");
  EXPECT_EQ(punted(), "a/0a tcp S 192.0.2.10:40000>192.0.2.1:22 ttl 64");
  EXPECT_EQ(view("a", frames_.at(0)).vlan, 0);
  EXPECT_EQ(from_host("a", tcp("192.0.2.1:22", "192.0.2.10:40000", "SA")),
            "a/fe vlan 7 tcp SA 192.0.2.1:22>192.0.2.10:40000 ttl 64");
  EXPECT_EQ(rig().only().vlan, 7);
}

// ---- limits --------------------------------------------------------------------------------------------

TEST_P(Host, HOST2_EachClassHasItsOwnLimit) {
  load(R"("host":{"rateLimits":{"icmp":40,"management":40}})");
  (void)rig().advance(1000);
  const unsigned share = 40 / GetParam();
  const unsigned burst = 8;
  for (int i = 0; i < 50; ++i) EXPECT_EQ(rig().send("a", echo("192.0.2.10", "192.0.2.1", 7)), "");
  (void)punted();
  EXPECT_EQ(frames_.size(), burst);
  EXPECT_EQ(rig().drops(), "host_icmp_limit " + std::to_string(50 - burst));
  for (int i = 0; i < 8; ++i) (void)rig().send("a", tcp("192.0.2.10:40000", "192.0.2.1:22", "A"));
  (void)punted();
  EXPECT_EQ(frames_.size(), 8u) << "the room of another class is its own";
  EXPECT_EQ(rig().drops(), "");
  (void)rig().advance(100);
  for (int i = 0; i < 50; ++i) (void)rig().send("a", echo("192.0.2.10", "192.0.2.1", 7));
  (void)punted();
  EXPECT_EQ(frames_.size(), share / 10) << "a tenth of a second later";
}

TEST_P(Host, HOST2_AFullRingDropsAndLosesNoBuffer) {
  load(R"("host":{"rateLimits":{"other":10000000}})");
  const Ip packet = udp("192.0.2.10:5", "192.0.2.1:6").with_payload(1400);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(rig().send("a", packet), "");
  EXPECT_TRUE(like(rig().drops(), "host_queue_full *"));
  EXPECT_EQ(rig().plane().mbufs_in_use(), 0u);
  (void)punted();
  EXPECT_EQ(to_host("a", packet), "a/0a udp 192.0.2.10:5>192.0.2.1:6 ttl 64");
}

// ---- from the host -------------------------------------------------------------------------------------

TEST_P(Host, HOST1_TheHostFramesItsPacketsItself) {
  EXPECT_EQ(from_host("a", tcp("192.0.2.1:22", "198.51.100.9:40000", "SA")),
            "a/fe tcp SA 192.0.2.1:22>198.51.100.9:40000 ttl 64");
  EXPECT_EQ(from_host("b", udp("192.168.0.1:5", "192.168.0.77:6")), "b/77 udp 192.168.0.1:5>192.168.0.77:6 ttl 64")
      << "a neighbour that only the host knows";
  EXPECT_EQ(from_host("a", arp(1, mac(0x0a), "192.0.2.1", "192.0.2.33")),
            "a/ff arp request 192.0.2.33? from 192.0.2.1");
  EXPECT_EQ(
      from_host("a", ethernet(net::MacAddr::broadcast(), mac(0x0a), udp("0.0.0.0:68", "255.255.255.255:67").bytes())),
      "a/ff udp 0.0.0.0:68>255.255.255.255:67 ttl 64");
  EXPECT_EQ(from_host("a", ethernet(mac(0xfe), mac(0x0a), udp("[fe80::1]:546", "[fe80::2]:547").bytes())),
            "a/fe udp [fe80::1]:546>[fe80::2]:547 ttl 64");
  EXPECT_EQ(rig().count(Event::HostSent), 5u);
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Host, HOST1_WhereOnlyTheRouterKnowsTheWay) {
  EXPECT_EQ(from_host("a", udp("192.0.2.1:5", "10.244.34.5:6")),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.1:5>10.244.34.5:6 ttl 63");
  EXPECT_EQ(from_host("a", udp("192.0.2.1:5", "10.246.1.20:6")), "b/13 udp 192.0.2.1:5>10.246.1.20:6 ttl 63")
      << "by another interface";
  EXPECT_EQ(rig().send("b", udp("10.246.1.20:6", "192.0.2.1:5")), "");
  EXPECT_EQ(punted(), "b/0b udp 10.246.1.20:6>192.0.2.1:5 ttl 64") << "and back";
  EXPECT_EQ(from_host("a", udp("192.0.2.1:5", "10.245.40.63:6").with_ttl(1)), "");
  EXPECT_EQ(rig().drops(), "ttl_exceeded 1");
  EXPECT_TRUE(like(punted(), "a/0a icmp 11/0 *>192.0.2.1 * [ udp 192.0.2.1:5>10.245.40.63:6 *"));
}

TEST_P(Host, HOST1_ErrorsOfTheHostLeaveAsItFramedThem) {
  const Bytes refused = udp("198.51.100.9:5", "192.0.2.1:6").bytes();
  EXPECT_TRUE(like(from_host("a", icmp_error("192.0.2.1", "198.51.100.9", 3, 3, refused)),
                   "a/fe icmp 3/3 192.0.2.1>198.51.100.9 ttl 64 [ udp 198.51.100.9:5>192.0.2.1:6 *"));
  const Bytes from_pod = udp("10.244.34.5:5", "192.0.2.1:6").bytes();
  EXPECT_TRUE(like(from_host("a", icmp_error("192.0.2.1", "10.244.34.5", 3, 3, from_pod)),
                   "b/11 vxlan * | icmp 3/3 192.0.2.1>10.244.34.5 ttl 63 *"))
      << "where only the router knows the way";
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Host, HOST1_TheHostsOwnWayIntoATunnelIsMeasured) {
  EXPECT_EQ(from_host("a", udp("192.0.2.1:5", "10.244.34.5:6").with_payload(1440).with_df()), "");
  EXPECT_TRUE(like(punted(), "a/0a icmp 3/4 mtu 1450 *>192.0.2.1 * [ udp 192.0.2.1:5>10.244.34.5:6 *"));
  EXPECT_EQ(rig().drops(), "mtu_exceeded 1");
}

TEST_P(Host, HOST1_TheHostUsesServices) {
  EXPECT_TRUE(
      like(from_host("a", tcp("192.0.2.1:40000", "10.96.0.10:80", "S")), "b/13 tcp S *>10.246.1.20:8080 ttl 63"));
  const Endpoint client = rig().only().ip.src;
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", client, "SA")), "");
  EXPECT_TRUE(like(punted(), "b/0b tcp SA 10.96.0.10:80>192.0.2.1:40000 ttl *"));
  EXPECT_TRUE(
      like(from_host("a", tcp("192.0.2.1:40000", "10.96.0.10:80", "A")), "b/13 tcp A *>10.246.1.20:8080 ttl 63"));
  EXPECT_EQ(rig().flows(), 1u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Host, HOST1_AServiceMayEndAtTheHost) {
  load("", service(on_host));
  VxlanOptions options;
  options.inner_destination = encap::vtep_mac("gw");
  EXPECT_EQ(rig().send("b", vxlan("192.168.0.11", "192.168.0.1",
                                  tcp("10.244.34.5:40000", "10.96.0.10:443", "S").bytes(), options)),
            "");
  EXPECT_EQ(punted(), "b/0b tcp S 10.244.34.5:40000>192.0.2.1:6443 ttl 64");
  EXPECT_EQ(from_host("a", tcp("192.0.2.1:6443", "10.244.34.5:40000", "SA")),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | tcp SA 10.96.0.10:443>10.244.34.5:40000 ttl 63");
  EXPECT_EQ(to_host("a", tcp("198.51.100.9:1000", "192.0.2.1:30443", "S")),
            "a/0a tcp S 198.51.100.9:1000>192.0.2.1:6443 ttl 64")
      << "as Linux does it, which masquerades nothing that ends at the host";
  EXPECT_EQ(from_host("a", tcp("192.0.2.1:6443", "198.51.100.9:1000", "SA")),
            "a/fe tcp SA 192.0.2.1:30443>198.51.100.9:1000 ttl 63");
  EXPECT_EQ(to_host("a", udp("198.51.100.9:1000", "192.0.2.1:30053").with_ttl(1)),
            "a/0a udp 198.51.100.9:1000>192.0.2.1:5353 ttl 1")
      << "which is not forwarded";
  EXPECT_EQ(rig().flows(), 3u);
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(from_host("a", tcp("192.0.2.1:40000", "10.96.0.10:443", "S")), "");
  EXPECT_EQ(punted(), "") << "the host's kernel would not take it";
  EXPECT_EQ(rig().drops(), "service_loop 1");
}

// The same where the client's first bytes decide: it is told at once, and not when the kernel has kept silent for long.
TEST_P(Host, HOST1_ING8_TheHostsOwnRequestsDoNotEndAtTheHost) {
  ServiceSpec web_on_host = on_host;
  web_on_host.ports = {"TCP 80 8080"};
  load(R"("ingress":{"enabled":true,"addresses":["198.51.100.7"]})",
       service(web_on_host) +
           R"(,{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"namespace":"default","name":"site",
    "annotations":{"kubernetes.io/ingress.class":"sluice"}},"spec":{"rules":[{"http":{"paths":[{"path":"/",
    "pathType":"Prefix","backend":{"service":{"name":"kubernetes","port":{"number":80}}}}]}}]}})");
  EXPECT_EQ(from_host("a", tcp("192.0.2.1:40000", "198.51.100.7:80", "S").with_seq(100, 0)), "");
  ASSERT_TRUE(like(punted(), "*/0* tcp SA 198.51.100.7:80>192.0.2.1:40000 ttl *"));
  const uint32_t isn = view("a", frames_.at(0)).ip.seq;
  const std::string said = "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
  Ip request = tcp("192.0.2.1:40000", "198.51.100.7:80", "PA").with_seq(101, isn + 1);
  request.payload.assign(said.begin(), said.end());
  EXPECT_EQ(from_host("a", request), "");
  EXPECT_EQ(punted().find("192.0.2.1:8080"), std::string::npos) << "the host's kernel would not take it";
  std::string answer;
  for (const Bytes& frame : frames_) {
    const Bytes payload = view("a", frame).ip.payload;
    answer.append(payload.begin(), payload.end());
  }
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 503") << answer;
  EXPECT_TRUE(like(rig().drops(), "service_loop *"));
}

// Who speaks to the same socket directly, and by the service, from one port.
TEST_P(Host, HOST1_MASQ7_DirectlyAndByTheService) {
  load("", service(on_host));
  for (int host = 30; host < 46; ++host) {
    const std::string client = "198.51.100." + std::to_string(host) + ":1000";
    ASSERT_EQ(to_host("a", tcp(client, "192.0.2.1:6443", "S")), "a/0a tcp S " + client + ">192.0.2.1:6443 ttl 64");
    Endpoint translated;
    // With two workers the clash may be found on the other one, after the packet left; the client sends again.
    for (int attempt = 0; attempt < (GetParam() == 1 ? 1 : 3); ++attempt) {
      EXPECT_EQ(rig().send("a", tcp(client, "192.0.2.1:30443", "S")), "");
      ASSERT_TRUE(like(punted(), "a/0a tcp S 198.51.100.*>192.0.2.1:6443 ttl 64"));
      translated = view("a", frames_.at(0)).ip.src;
      if (translated.port != 1000) break;
    }
    ASSERT_NE(translated.port, 1000) << "the host could not tell the two apart";
    EXPECT_EQ(from_host("a", tcp("192.0.2.1:6443", client, "SA").with_ttl(1)),
              "a/fe tcp SA 192.0.2.1:6443>" + client + " ttl 1")
        << "as the host framed it";
    EXPECT_EQ(from_host("a", tcp("192.0.2.1:6443", translated.text(), "SA")),
              "a/fe tcp SA 192.0.2.1:30443>" + client + " ttl 63");
    EXPECT_EQ(to_host("a", tcp(client, "192.0.2.1:6443", "A")), "a/0a tcp A " + client + ">192.0.2.1:6443 ttl 64");
    EXPECT_EQ(to_host("a", tcp(client, "192.0.2.1:30443", "A")),
              "a/0a tcp A " + translated.text() + ">192.0.2.1:6443 ttl 64");
  }
  EXPECT_EQ(rig().flows(), 32u);
}

TEST_P(Host, HOST1_MASQ7_ByTheServiceAndThenDirectly) {
  load("", service(on_host));
  if (GetParam() != 1) return;  // both keys would have to be one worker's
  const std::string client = "198.51.100.9:1000";
  EXPECT_EQ(to_host("a", udp(client, "192.0.2.1:30053")), "a/0a udp 198.51.100.9:1000>192.0.2.1:5353 ttl 64");
  ASSERT_TRUE(like(to_host("a", udp(client, "192.0.2.1:5353")), "a/0a udp 198.51.100.9:*>192.0.2.1:5353 ttl 64"));
  const Endpoint direct = view("a", frames_.at(0)).ip.src;
  ASSERT_NE(direct.port, 1000);
  EXPECT_EQ(from_host("a", udp("192.0.2.1:5353", client)), "a/fe udp 192.0.2.1:30053>198.51.100.9:1000 ttl 63");
  EXPECT_EQ(from_host("a", udp("192.0.2.1:5353", direct.text())), "a/fe udp 192.0.2.1:5353>198.51.100.9:1000 ttl 63");
  const Bytes refused = udp(direct.text(), "192.0.2.1:5353").bytes();
  EXPECT_TRUE(like(from_host("a", icmp_error("192.0.2.1", "198.51.100.9", 3, 3, refused)),
                   "a/fe icmp 3/3 192.0.2.1>198.51.100.9 ttl 63 [ udp 198.51.100.9:1000>192.0.2.1:5353 *"));
  EXPECT_EQ(rig().flows(), 2u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Host, HOST1_CT20_WhatIsNotTranslatedTheHostJudges) {
  load("", service(on_host));
  const std::string client = "198.51.100.9:1000";
  EXPECT_NE(to_host("a", tcp(client, "192.0.2.1:6443", "S")), "");
  EXPECT_EQ(rig().flows(), 1u);
  EXPECT_EQ(to_host("a", tcp(client, "192.0.2.1:6443", "A")), "a/0a tcp A 198.51.100.9:1000>192.0.2.1:6443 ttl 64")
      << "the answer left by another device of the host";
  EXPECT_EQ(to_host("a", tcp(client, "192.0.2.1:22", "S")), "a/0a tcp S 198.51.100.9:1000>192.0.2.1:22 ttl 64");
  EXPECT_EQ(rig().flows(), 1u) << "a socket that is nobody's endpoint needs no entry";
  const Bytes refused = udp(client, "192.0.2.1:5353").bytes();
  EXPECT_EQ(to_host("a", udp(client, "192.0.2.1:5353")), "a/0a udp 198.51.100.9:1000>192.0.2.1:5353 ttl 64");
  EXPECT_TRUE(like(from_host("a", icmp_error("192.0.2.1", "198.51.100.9", 3, 3, refused)),
                   "a/fe icmp 3/3 192.0.2.1>198.51.100.9 ttl 64 [ udp 198.51.100.9:1000>192.0.2.1:5353 *"));
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Host, HOST1_CT9_AFullTableKeepsNobodyFromTheHost) {
  start({.connections = 128});
  load("", service(on_host));
  for (int port = 1000; port < 1300; ++port) {
    const std::string client = "198.51.100.9:" + std::to_string(port);
    ASSERT_NE(to_host("a", tcp(client, "192.0.2.1:6443", "S")), "");
    ASSERT_NE(from_host("a", tcp("192.0.2.1:6443", client, "SA")), "");
    ASSERT_NE(to_host("a", tcp(client, "192.0.2.1:6443", "A")), "");
  }
  EXPECT_LE(rig().flows(), 128u);
  EXPECT_EQ(rig().drops(), "");
}

// The time of the processor that packets of an open connection to the host take.
double time_of_many(Rig& rig, const Bytes& packet) {
  const auto now = [] {
    timespec time{};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
  };
  const std::vector<Bytes> burst(32, packet);
  double least = 1e18;
  for (int round = 0; round < 10; ++round) {
    const double begin = now();
    for (int i = 0; i < 8; ++i) EXPECT_EQ(rig.send_burst("a", burst), "");
    least = std::min(least, now() - begin);
  }
  return least;
}

TEST_P(Host, HOST1_OtherEndpointsCostAnOpenConnectionNothing) {
  if (GetParam() != 1) return;
  ServiceSpec spec = on_host;
  spec.more = R"("externalTrafficPolicy":"Local")";
  const auto measure = [&](int others) {
    spec.endpoints = {"192.0.2.1 gw"};
    for (int i = 0; i < others; ++i) {
      spec.endpoints.push_back("10.246." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1) + " node3");
    }
    load(R"("proxy":{"onBackendRemoved":"Reset"},"host":{"rateLimits":{"other":10000000}})", service(spec));
    const std::string client = "198.51.100.9:" + std::to_string(1000 + others);
    const Ip packet = udp(client, "192.0.2.1:30053");
    EXPECT_EQ(to_host("a", packet), "a/0a udp " + client + ">192.0.2.1:5353 ttl 64");
    EXPECT_NE(from_host("a", udp("192.0.2.1:5353", client)), "");
    const double time = time_of_many(rig(), packet.bytes());
    while (!punted().empty()) continue;
    return time;
  };
  const double alone = measure(0);
  const double among_many = measure(999);
  EXPECT_LT(among_many, 3 * alone);
  RecordProperty("nanoseconds", std::to_string(alone / 256) + " alone, " + std::to_string(among_many / 256));
}

TEST_P(Host, HOST1_AnEndpointThatIsAServiceItselfIsALoop) {
  const ServiceSpec round{
      .name = "round", .cluster_ips = {"10.96.0.10"}, .ports = {"TCP 443 30443 30443"}, .endpoints = {"192.0.2.1 gw"}};
  load("", service(round));
  EXPECT_EQ(to_host("a", tcp("198.51.100.9:1000", "192.0.2.1:30443", "S")), "");
  EXPECT_EQ(rig().drops(), "service_loop 1");
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Host, HOST1_StrictReversePathDoesNotStopTheHost) {
  Gateway gateway;
  gateway.interfaces = with_twin(interface_a, "tap-a").insert(1, R"("rpf":"strict",)") + "," + interface_b;
  rig().load(list({gateway.text(), cluster()}));
  EXPECT_EQ(from_host("a", udp("192.0.2.1:5", "10.246.1.20:6")), "b/13 udp 192.0.2.1:5>10.246.1.20:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("192.0.2.1:5", "10.246.1.20:6")), "") << "the same from the wire";
  EXPECT_EQ(rig().drops(), "reverse_path 1");
}

// ---- routes of the kernel ------------------------------------------------------------------------------

class HostRoutes : public Host {
 protected:
  static control::HostRoute by(const std::vector<std::string>& next_hops) {
    control::PlannedRoute route{.origin = "host"};
    for (const std::string& next_hop : next_hops) {
      control::PlannedNeighbor neighbor{"un", *net::parse_ip(next_hop), std::nullopt};
      const auto& last = neighbor.address.v4().host();
      neighbor.mac = mac(static_cast<uint8_t>(0x10 + last % 10));
      route.hops.push_back({.kind = dataplane::HopKind::Gateway, .neighbor = neighbor});
    }
    return std::make_shared<const control::PlannedRoute>(route);
  }
  void change(const std::vector<std::pair<std::string, control::HostRoute>>& routes) {
    std::vector<HostRouteChange> changes;
    for (const auto& [destination, route] : routes) changes.push_back({*net::parse_prefix(destination), route});
    problems_ = rig().change_host_routes(changes);
  }
  std::string way_to(const std::string& destination) {
    return rig().send("a", udp("192.0.2.10:5", destination + ":6"));
  }

  std::string problems_;
};

// RFC 8950: the next hop is asked for by neighbour discovery, what goes there is IPv4.
TEST_P(HostRoutes, HOST4_NextHopsOfIpv6ForIpv4) {
  const auto way = [](const std::vector<std::string>& next_hops) {
    control::PlannedRoute route{.origin = "host"};
    for (const std::string& next_hop : next_hops) {
      control::PlannedNeighbor neighbor{"un", *net::parse_ip(next_hop), std::nullopt};
      if (neighbor.address.is_v4()) neighbor.mac = mac(0x13);
      route.hops.push_back({.kind = dataplane::HopKind::Gateway, .neighbor = neighbor});
    }
    return std::make_shared<const control::PlannedRoute>(route);
  };
  change({{"203.0.113.0/24", way({"fe80::9"})}});
  EXPECT_EQ(problems_, "");
  const std::string at_once = way_to("203.0.113.5");
  EXPECT_TRUE(like(at_once + "\n" + rig().advance(1100), "*nd solicit fe80::9 fe80::*>ff02::1:ff00:9*"));
  const auto& interfaces = rig().snapshot().interfaces;
  const auto un = std::find_if(interfaces.begin(), interfaces.end(), [](const auto& one) { return one.name == "un"; });
  const std::string own = net::to_string(net::IpAddr(un->link_local));
  EXPECT_EQ(rig().send("b", nd_advert("fe80::9", own.c_str(), mac(0x59))),
            "b/59 udp 192.0.2.10:5>203.0.113.5:6 ttl 63");
  EXPECT_EQ(way_to("203.0.113.6"), "b/59 udp 192.0.2.10:5>203.0.113.6:6 ttl 63");
  // The sender hears by IPv4 of a TTL that ends.
  EXPECT_TRUE(like(rig().send("a", udp("192.0.2.10:5", "203.0.113.5:6").with_ttl(1)), "a/10 icmp 11/0 *>192.0.2.10 *"));
  // Beside one of IPv4, by the flow.
  change({{"203.0.113.0/24", way({"fe80::9", "192.168.0.13"})}});
  std::set<std::string> ways;
  for (int port = 1; port <= 64; ++port) {
    ways.insert(rig().send("a", udp("192.0.2.10:" + std::to_string(port), "203.0.113.5:6")).substr(0, 4));
  }
  EXPECT_EQ(ways, (std::set<std::string>{"b/13", "b/59"}));
  change({{"203.0.113.0/24", nullptr}});
  EXPECT_TRUE(like(way_to("203.0.113.5"), "a/fe *"));
}

TEST_P(HostRoutes, HOST4_ComeChangeAndGo) {
  EXPECT_TRUE(like(way_to("203.0.113.5"), "a/fe *"));
  change({{"203.0.113.0/24", by({"192.168.0.13"})}});
  EXPECT_EQ(way_to("203.0.113.5"), "b/13 udp 192.0.2.10:5>203.0.113.5:6 ttl 63");
  change({{"203.0.113.0/24", by({"192.168.0.12"})}});
  EXPECT_EQ(way_to("203.0.113.5"), "b/12 udp 192.0.2.10:5>203.0.113.5:6 ttl 63");
  change({{"203.0.113.0/24", nullptr}});
  EXPECT_TRUE(like(way_to("203.0.113.5"), "a/fe *"));
  EXPECT_TRUE(problems_.empty());
}

TEST_P(HostRoutes, HOST4_ThoseOfTheConfigurationHideThem) {
  const std::string routes = R"("routes":[{"destination":"203.0.113.0/24","via":"192.168.0.12"}])";
  load(routes);
  change({{"203.0.113.0/24", by({"192.168.0.13"})}, {"203.0.113.128/25", by({"192.168.0.13"})}});
  EXPECT_TRUE(like(way_to("203.0.113.5"), "b/12 *")) << "hidden";
  EXPECT_TRUE(like(way_to("203.0.113.200"), "b/13 *")) << "more specific";
  load();
  EXPECT_TRUE(like(way_to("203.0.113.5"), "b/13 *")) << "it comes to light";
  load(routes);
  EXPECT_TRUE(like(way_to("203.0.113.5"), "b/12 *"));
  change({{"203.0.113.0/24", nullptr}, {"203.0.113.128/25", nullptr}});
  EXPECT_TRUE(like(way_to("203.0.113.5"), "b/12 *"));
  load();
  EXPECT_TRUE(like(way_to("203.0.113.5"), "a/fe *"));
}

TEST_P(HostRoutes, HOST4_SeveralNextHopsAndNone) {
  change({{"203.0.113.0/24", by({"192.168.0.12", "192.168.0.13"})}});
  std::map<uint8_t, int> taken;
  for (int i = 0; i < 64; ++i) {
    (void)rig().send("a", udp("192.0.2.10:" + std::to_string(1000 + i), "203.0.113.5:6"));
    ++taken[rig().only().to.bytes[5]];
  }
  EXPECT_GT(taken[0x12], 15);
  EXPECT_GT(taken[0x13], 15);
  const control::PlannedRoute blackhole{
      .hops = {{.kind = dataplane::HopKind::Drop, .fixed = dataplane::hop::blackhole}}};
  change({{"203.0.113.0/24", std::make_shared<const control::PlannedRoute>(blackhole)}});
  EXPECT_EQ(way_to("203.0.113.5"), "");
  EXPECT_EQ(rig().drops(), "blackhole 1");
}

// A connection that is translated remembers its way; it must notice.
TEST_P(HostRoutes, HOST4_EstablishedConnectionsTakeTheNewWay) {
  load(
      "",
      service({.name = "far", .cluster_ips = {"10.96.0.20"}, .ports = {"UDP 53 53"}, .endpoints = {"203.0.113.53 -"}}));
  change({{"203.0.113.0/24", by({"192.168.0.12"})}});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(like(rig().send("b", udp("10.246.1.20:7", "10.96.0.20:53")), "b/12 *"));
  change({{"203.0.113.0/24", by({"192.168.0.13"})}});
  EXPECT_TRUE(like(rig().send("b", udp("10.246.1.20:7", "10.96.0.20:53")), "b/13 *"));
  EXPECT_EQ(rig().flows(), 1u);
}

TEST_P(HostRoutes, HOST4_NextHopsAreGivenBack) {
  const size_t before = rig().plane().next_hops().used();
  for (int i = 0; i < 200; ++i) {
    change({{"203.0.113.0/24", by({"192.168.0." + std::to_string(20 + i), "192.168.0." + std::to_string(21 + i)})}});
  }
  EXPECT_LE(rig().plane().next_hops().used(), before + 6);
  change({{"203.0.113.0/24", nullptr}});
  EXPECT_EQ(rig().plane().next_hops().used(), before);
}

// Its next hop of before is given back, and may become another's.
TEST_P(HostRoutes, HOST4_AWayThatHasNoRoomLeavesNothingOfTheOldOne) {
  change({{"203.0.113.0/24", by({"192.168.0.12"})}});
  std::vector<std::pair<std::string, control::HostRoute>> many;
  for (unsigned i = 0; i * 8 < dataplane::NeighborTable::pinned_capacity; ++i) {
    std::vector<std::string> next_hops;
    for (unsigned j = 0; j < 8; ++j)
      next_hops.push_back("10." + std::to_string(i >> 8) + "." + std::to_string(i & 0xff) + "." + std::to_string(j));
    many.emplace_back("100." + std::to_string(i >> 8) + "." + std::to_string(i & 0xff) + ".0/24", by(next_hops));
  }
  change(many);
  ASSERT_FALSE(problems_.empty()) << "every neighbour is named";
  EXPECT_TRUE(like(way_to("203.0.113.5"), "b/12 *"));
  change({{"203.0.113.0/24", by({"192.168.0.217"})}});
  ASSERT_FALSE(problems_.empty());
  EXPECT_TRUE(like(way_to("203.0.113.5"), "a/fe *")) << "neither the old nor the new one";
  for (auto& [destination, route] : many) route = nullptr;
  change(many);
  change({{"203.0.113.0/24", by({"192.168.0.12"})}});
  EXPECT_TRUE(problems_.empty());
  EXPECT_TRUE(like(way_to("203.0.113.5"), "b/12 *"));
}

TEST_P(HostRoutes, HOST4_WhatHasNoRoomIsToldAndTriedAgain) {
  std::vector<std::pair<std::string, control::HostRoute>> many;
  const auto way = by({"192.168.0.13"});
  for (int i = 0; i < 5000; ++i) {
    many.emplace_back("100." + std::to_string(64 + i / 250) + "." + std::to_string(i % 250) + ".0/24", way);
  }
  change(many);
  EXPECT_FALSE(problems_.empty()) << "the table of tests holds 4096";
  EXPECT_TRUE(like(way_to("100.64.0.1"), "b/13 *")) << "those that had room are there";
  EXPECT_TRUE(like(way_to("100.83.249.1"), "a/fe *"));
  auto some = many;
  some.resize(1000);
  for (auto& [destination, route] : some) route = nullptr;
  change(some);
  EXPECT_EQ(problems_, "");
  EXPECT_TRUE(like(way_to("100.83.249.1"), "b/13 *")) << "it has the room of those that went";
  for (auto& [destination, route] : many) route = nullptr;
  change(many);
  EXPECT_TRUE(like(way_to("100.64.0.1"), "a/fe *"));
  change({{"203.0.113.0/24", way}});
  EXPECT_TRUE(problems_.empty());
}

SLUICE_WITH_WORKERS(Host);
SLUICE_WITH_WORKERS(HostRoutes);

}  // namespace
}  // namespace sluice::packet_test
