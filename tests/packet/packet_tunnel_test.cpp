// Tunnels: what goes in and what comes out of VXLAN and IPIP, the reference frame, who may send.
#include <set>

#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

VxlanOptions to_us() {
  VxlanOptions options;
  options.inner_destination = encap::vtep_mac("gw");
  return options;
}

class Tunnel : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster()}));
  }
};

TEST_P(Tunnel, VXL3_EncapsulatesToTheRemoteVtep) {
  const Ip packet = tcp("192.0.2.10:5000", "10.244.34.5:80", "S");
  EXPECT_EQ(rig().send("a", packet),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | tcp S 192.0.2.10:5000>10.244.34.5:80 ttl 63");
  const Bytes& outer = rig().only().outer;
  EXPECT_EQ(outer.size(), packet.bytes().size() + 50);
  EXPECT_EQ(outer[8], 64) << "TTL-3";
  const Bytes header(outer.begin() + 28, outer.begin() + 36);
  EXPECT_EQ(header, (Bytes{8, 0, 0, 0, 0, 0x10, 0, 0})) << "section 19";
  EXPECT_EQ(net::load<net::MacAddr>(&outer[36]), encap::vtep_mac("node1")) << "VXL-4";
  EXPECT_EQ(net::load<net::MacAddr>(&outer[42]), encap::vtep_mac("gw"));
  EXPECT_EQ(rig().count(dataplane::Event::Encapsulated), 1u);
}

TEST_P(Tunnel, VXL2_SourcePortIsThatOfTheFlow) {
  std::set<uint16_t> ports;
  for (int port = 1000; port < 1100; ++port) {
    std::set<uint16_t> of_flow;
    for (int i = 0; i < 2; ++i) {
      (void)rig().send("a", udp("192.0.2.10:" + std::to_string(port), "10.244.34.5:80"));
      of_flow.insert(net::load_be16(&rig().only().outer[20]));
    }
    EXPECT_EQ(of_flow.size(), 1u);
    EXPECT_GE(*of_flow.begin(), 49152);
    ports.insert(*of_flow.begin());
  }
  EXPECT_GT(ports.size(), 90u);
}

TEST_P(Tunnel, VXL3_Decapsulates) {
  const Bytes inner = udp("10.244.34.5:80", "192.0.2.10:5000").bytes();
  EXPECT_EQ(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", inner, to_us())),
            "a/10 udp 10.244.34.5:80>192.0.2.10:5000 ttl 63");
  const Bytes inner6 = udp("[fd00:10:246::5]:80", "[2001:db8:2::10]:5").bytes();
  EXPECT_EQ(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", inner6, to_us())),
            "a/10 udp [fd00:10:246::5]:80>[2001:db8:2::10]:5 ttl 63");
  EXPECT_EQ(rig().count(dataplane::Event::Decapsulated), 2u);
}

TEST_P(Tunnel, VXL_IPIP_FromOneTunnelIntoTheOther) {
  const Bytes inner = udp("10.244.34.5:80", "10.245.40.6:5000").with_df().bytes();
  EXPECT_EQ(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", inner, to_us())),
            "b/12 ipip 192.168.0.1>192.168.0.12 | udp 10.244.34.5:80>10.245.40.6:5000 ttl 63 df");
}

// Tunnels that people name, each with the VNI of its far end or the overlay's.
TEST_P(Tunnel, VXL1_TunnelsWithVnisOfTheirOwn) {
  rig().load(list({gateway(R"("tunnels":[
    {"name":"one","type":"vxlan","remote":"192.168.0.13","vni":77,"remoteMAC":"02:00:00:00:0a:01"},
    {"name":"two","type":"vxlan","remote":"192.168.0.12","vni":16777215,"remoteMAC":"02:00:00:00:0a:02"}],
    "routes":[{"destination":"10.250.0.0/16","tunnel":"one"},{"destination":"10.251.0.0/16","tunnel":"two"},
              {"destination":"fd00:10:250::/48","tunnel":"one"}])"),
                   cluster()}));
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.250.0.5:6")),
            "b/13 vxlan 192.168.0.1>192.168.0.13 vni 77 | udp 192.0.2.10:5>10.250.0.5:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("[2001:db8:2::10]:5", "[fd00:10:250::5]:6")),
            "b/13 vxlan 192.168.0.1>192.168.0.13 vni 77 | udp [2001:db8:2::10]:5>[fd00:10:250::5]:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.251.0.5:6")),
            "b/12 vxlan 192.168.0.1>192.168.0.12 vni 16777215 | udp 192.0.2.10:5>10.251.0.5:6 ttl 63");
  VxlanOptions options = to_us();
  const auto back = [&](uint32_t vni, const char* far_end, const Ip& inner) {
    options.vni = vni;
    return rig().send("b", vxlan(far_end, "192.168.0.1", inner.bytes(), options));
  };
  const Ip first = udp("10.250.0.5:6", "192.0.2.10:5");
  EXPECT_EQ(back(77, "192.168.0.13", first), "a/10 udp 10.250.0.5:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(back(77, "192.168.0.13", first.with_df()), "a/10 udp 10.250.0.5:6>192.0.2.10:5 ttl 63 df");
  EXPECT_EQ(back(77, "192.168.0.13", udp("[fd00:10:250::5]:6", "[2001:db8:2::10]:5")),
            "a/10 udp [fd00:10:250::5]:6>[2001:db8:2::10]:5 ttl 63");
  EXPECT_EQ(back(16777215, "192.168.0.12", udp("10.251.0.5:6", "192.0.2.10:5")),
            "a/10 udp 10.251.0.5:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(back(4096, "192.168.0.11", udp("10.244.34.5:6", "192.0.2.10:5")),
            "a/10 udp 10.244.34.5:6>192.0.2.10:5 ttl 63")
      << "the overlay's, too";
  options.checksum = true;  // looked at by the general function, not by the short cut
  EXPECT_EQ(back(77, "192.168.0.13", first), "a/10 udp 10.250.0.5:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(back(78, "192.168.0.13", first), "");
  EXPECT_EQ(back(0, "192.168.0.13", first), "");
  EXPECT_EQ(rig().drops(), "vxlan_unknown_vni 2");
}

struct Refused {
  const char* name;
  const char* drops;
  Bytes (*outer)(const Bytes& inner);

  friend void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.name; }
};

class TunnelRefused : public testing::TestWithParam<std::tuple<uint16_t, Refused>> {};

TEST_P(TunnelRefused, IsDroppedAndCounted) {
  const Refused& refused = std::get<1>(GetParam());
  Rig rig({.workers = std::get<0>(GetParam())});
  rig.load(list({gateway(), cluster()}));
  EXPECT_EQ(rig.send("b", refused.outer(udp("10.244.34.5:80", "192.0.2.10:5000").bytes())), "");
  EXPECT_EQ(rig.drops(), refused.drops);
}

INSTANTIATE_TEST_SUITE_P(
    Checks, TunnelRefused,
    testing::Combine(
        testing::Values(uint16_t{1}, uint16_t{2}), testing::Values(
                                                       Refused{"VXL6_UnknownSource", "tunnel_unknown_source 1",
                                                               [](const Bytes& inner) {
                                                                 return vxlan("192.168.0.77", "192.168.0.1", inner,
                                                                              to_us());
                                                               }},
                                                       Refused{"IPIP3_UnknownSource", "tunnel_unknown_source 1",
                                                               [](const Bytes& inner) {
                                                                 return ipip("192.168.0.77", "192.168.0.1", inner);
                                                               }},
                                                       Refused{"VXL1_WrongVni", "vxlan_unknown_vni 1",
                                                               [](const Bytes& inner) {
                                                                 VxlanOptions options = to_us();
                                                                 options.vni = 4097;
                                                                 return vxlan("192.168.0.11", "192.168.0.1", inner,
                                                                              options);
                                                               }},
                                                       Refused{"VXL1_NoIFlag", "vxlan_bad_flags 1",
                                                               [](const Bytes& inner) {
                                                                 VxlanOptions options = to_us();
                                                                 options.flags = 0;
                                                                 return vxlan("192.168.0.11", "192.168.0.1", inner,
                                                                              options);
                                                               }},
                                                       Refused{"VXL3_NotOurInnerMac", "vxlan_not_our_mac 1",
                                                               [](const Bytes& inner) {
                                                                 VxlanOptions options = to_us();
                                                                 options.inner_destination = mac(0x99);
                                                                 return vxlan("192.168.0.11", "192.168.0.1", inner,
                                                                              options);
                                                               }},
                                                       Refused{"VXL3_InnerVlan", "vxlan_vlan 1",
                                                               [](const Bytes& inner) {
                                                                 VxlanOptions options = to_us();
                                                                 options.ether_type = net::ether_type_vlan;
                                                                 return vxlan("192.168.0.11", "192.168.0.1", inner,
                                                                              options);
                                                               }},
                                                       Refused{"VXL3_InnerArp", "vxlan_not_ip 1",
                                                               [](const Bytes& inner) {
                                                                 VxlanOptions options = to_us();
                                                                 options.ether_type = net::ether_type_arp;
                                                                 return vxlan("192.168.0.11", "192.168.0.1", inner,
                                                                              options);
                                                               }},
                                                       Refused{"TunnelInTunnel", "tunnel_nested 1",
                                                               [](const Bytes& inner) {
                                                                 return ipip(
                                                                     "192.168.0.12", "192.168.0.1",
                                                                     ipip("192.168.0.11", "192.168.0.1", inner));
                                                               }},
                                                       Refused{"IPIP2_TheSameTunnelInItself", "tunnel_loop 1",
                                                               [](const Bytes& inner) {
                                                                 return ipip(
                                                                     "192.168.0.12", "192.168.0.1",
                                                                     ipip("192.168.0.12", "192.168.0.1", inner));
                                                               }},
                                                       Refused{"VxlanInIpip", "tunnel_nested 1",
                                                               [](const Bytes& inner) {
                                                                 return ipip("192.168.0.12", "192.168.0.1",
                                                                             vxlan("192.168.0.11", "192.168.0.1", inner,
                                                                                   to_us()));
                                                               }},
                                                       Refused{"ECN2_InnerNotEctOuterCe", "tunnel_ecn 1",
                                                               [](const Bytes& inner) {
                                                                 return ipip("192.168.0.12", "192.168.0.1", inner, 3);
                                                               }},
                                                       Refused{"InnerChecksumBad", "ip_bad_checksum 1",
                                                               [](const Bytes& inner) {
                                                                 Bytes damaged = inner;
                                                                 damaged[10] ^= 1;
                                                                 return ipip("192.168.0.12", "192.168.0.1", damaged);
                                                               }})),
    [](const auto& info) {
      return std::string(std::get<1>(info.param).name) + "_" + std::to_string(std::get<0>(info.param));
    });

TEST_P(Tunnel, IPIP1_EncapsulatesAndDecapsulates) {
  EXPECT_EQ(rig().send("a", echo("192.0.2.10", "10.245.40.6", 7).with_ttl(20).with_tos(0xb8)),
            "b/12 ipip 192.168.0.1>192.168.0.12 | echo 192.0.2.10>10.245.40.6 id 7 ttl 19 tos 184");
  EXPECT_EQ(rig().only().outer[8], 19) << "TTL-3: inherited";
  EXPECT_EQ(rig().only().outer[1], 0xb8) << "ECN-1: DSCP copied";
  EXPECT_EQ(rig().send("b", ipip("192.168.0.12", "192.168.0.1", echo_reply("10.245.40.6", "192.0.2.10", 7).bytes())),
            "a/10 echo-reply 10.245.40.6>192.0.2.10 id 7 ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Tunnel, ECN2_OuterCeMarksTheInnerPacket) {
  const Bytes inner = udp("10.245.40.6:80", "192.0.2.10:5000").with_tos(2).bytes();
  EXPECT_EQ(rig().send("b", ipip("192.168.0.12", "192.168.0.1", inner, 3)),
            "a/10 udp 10.245.40.6:80>192.0.2.10:5000 ttl 63 tos 3");
}

// From the address of our end of the tunnel, which is what the other end expects from there.
TEST_P(Tunnel, MASQ10_ICMP8_TTL2_InTheTunnelTheSenderIsToldThroughTheTunnel) {
  const Bytes inner = udp("10.244.34.5:80", "192.0.2.10:5000").with_ttl(1).bytes();
  EXPECT_EQ(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", inner, to_us())),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | icmp 11/0 10.244.0.0>10.244.34.5 ttl 64 "
            "[ udp 10.244.34.5:80>192.0.2.10:5000 ttl 1 ]");
}

TEST_P(Tunnel, MTU1_MTU2_TunnelMtu) {
  const auto size = [](int mtu) { return static_cast<size_t>(mtu - 28); };
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.34.5:6").with_df().with_payload(size(1450))),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63 df");
  EXPECT_EQ(rig().only().outer.size(), 1500u);
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.34.5:6").with_df().with_payload(size(1451))),
            "a/10 icmp 3/4 mtu 1450 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>10.244.34.5:6 ttl 64 df ]");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.245.40.6:6").with_df().with_payload(size(1481))),
            "a/10 icmp 3/4 mtu 1480 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>10.245.40.6:6 ttl 64 df ]");
}

TEST_P(Tunnel, MTU2_TheInnerPacketIsFragmentedNotTheOuter) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.34.5:6").with_payload(1472)),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63 frag 0+ len 1444\n"
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10>10.244.34.5 ttl 63 frag 1424 len 76");
  ASSERT_EQ(rig().out().size(), 2u);
  const auto& out = rig().out();
  EXPECT_EQ(net::load_be16(&out[0].outer[20]), net::load_be16(&out[1].outer[20])) << "VXL-2: one path for a datagram";
  EXPECT_NE(net::load_be16(&out[0].outer[4]), net::load_be16(&out[1].outer[4])) << "outer identifications";
}

TEST_P(Tunnel, IPAM5_OwnBlockIsABlackHole) {
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.0.9:6")), "");
  EXPECT_EQ(rig().drops(), "blackhole 1");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.99.9:6")), "") << "ENC-4: an address of no block";
  EXPECT_EQ(rig().drops(), "blackhole 1");
}

// ---- borrowed addresses ----------------------------------------------------------------------------------

std::string_view node_of(const std::string& sent) { return std::string_view(sent).substr(0, 4); }

TEST_P(Tunnel, ENC5_ABorrowedAddressIsWhereItsBorrowerIs) {
  const auto lend = [](const std::string& borrowed) { return list({gateway(), cluster(), borrowed}); };
  const auto to = [&](const char* pod) { return rig().send("a", udp("192.0.2.10:5", pod)); };
  rig().load(lend(block("node2", "10.244.34.7/32")));
  EXPECT_EQ(to("10.244.34.7:6"),
            "b/12 vxlan 192.168.0.1>192.168.0.12 vni 4096 | udp 192.0.2.10:5>10.244.34.7:6 ttl 63");
  EXPECT_EQ(node_of(to("10.244.34.6:6")), "b/11") << "those beside it stay with the block";
  EXPECT_EQ(node_of(to("10.244.34.8:6")), "b/11");
  EXPECT_EQ(
      rig().send("b", vxlan("192.168.0.12", "192.168.0.1", udp("10.244.34.7:6", "192.0.2.10:5").bytes(), to_us())),
      "a/10 udp 10.244.34.7:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(rig().drops(), "");
  ASSERT_EQ(rig().try_change(lend(block("node2", "10.244.34.8/32"))), "");
  EXPECT_EQ(node_of(to("10.244.34.7:6")), "b/11") << "given back";
  EXPECT_EQ(node_of(to("10.244.34.8:6")), "b/12");
}

// As Calico tells it: nobody makes a BlockAffinity of a borrowed address.
TEST_P(Tunnel, ENC5_IPAM4_AnIpamBlockKnowsWhoBorrows) {
  const auto document = [](const std::string& affinity, const std::string& borrower) {
    return list({gateway(), cluster(),
                 R"({"apiVersion":"crd.projectcalico.org/v1","kind":"IPAMBlock",
      "metadata":{"name":"10-244-34-0-26"},"spec":{"cidr":"10.244.34.0/26","affinity":"host:)" +
                     affinity +
                     R"(","allocations":[null,1,null,null,null,null,null,0],"attributes":[
      {"handle_id":"a","secondary":{"node":")" +
                     borrower + R"(","pod":"p"}},
      {"handle_id":"b","secondary":{"node":"node1"}}]}})"});
  };
  const auto to = [&](const char* pod) { return rig().send("a", udp("192.0.2.10:5", pod)); };
  rig().load(document("node1", "node2"));
  EXPECT_EQ(to("10.244.34.7:6"),
            "b/12 vxlan 192.168.0.1>192.168.0.12 vni 4096 | udp 192.0.2.10:5>10.244.34.7:6 ttl 63");
  EXPECT_EQ(node_of(to("10.244.34.6:6")), "b/11") << "those beside it stay with the block";
  EXPECT_EQ(node_of(to("10.244.34.1:6")), "b/11");
  EXPECT_EQ(
      rig().send("b", vxlan("192.168.0.12", "192.168.0.1", udp("10.244.34.7:6", "192.0.2.10:5").bytes(), to_us())),
      "a/10 udp 10.244.34.7:6>192.0.2.10:5 ttl 63");
  ASSERT_EQ(rig().try_change(document("node1", "node1")), "");
  EXPECT_EQ(node_of(to("10.244.34.7:6")), "b/11") << "given back";
  ASSERT_EQ(rig().try_change(document("node2", "node2")), "");
  EXPECT_EQ(node_of(to("10.244.34.6:6")), "b/12") << "the affinity of an IPAMBlock beats the BlockAffinity's";
  EXPECT_EQ(node_of(to("10.244.34.1:6")), "b/11");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Tunnel, ENC5_LentOutOfABlockOfOurs) {
  rig().load(list({gateway(), cluster(), block("node1", "10.245.0.9/32")}));
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.245.0.9:6")),
            "b/11 ipip 192.168.0.1>192.168.0.11 | udp 192.0.2.10:5>10.245.0.9:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.245.0.10:6")), "") << "the rest of it has no pods here";
  EXPECT_EQ(rig().drops(), "blackhole 1");
}

// A pod of ours has an address of another node's block.
TEST_P(Tunnel, ENC5_BorrowedByUs) {
  Gateway here;
  here.interfaces += R"(,{"name":"pod","device":"net_ring_c","mac":"02:00:00:00:00:0c","role":"workload",
    "podAddresses":["10.244.34.7"],"podMAC":"02:00:00:00:00:42"})";
  const ServiceSpec web{
      .name = "web", .cluster_ips = {"10.96.0.10"}, .ports = {"UDP 53 5353"}, .endpoints = {"10.244.34.7 gw"}};
  rig().load(list({here.text(), cluster(), service(web)}));
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.34.7:6")), "c/42 udp 192.0.2.10:5>10.244.34.7:6 ttl 63");
  EXPECT_EQ(node_of(rig().send("a", udp("192.0.2.10:5", "10.244.34.6:6"))), "b/11");
  EXPECT_EQ(
      rig().send("b", vxlan("192.168.0.11", "192.168.0.1", udp("10.244.34.6:9", "10.96.0.10:53").bytes(), to_us())),
      "c/42 udp 10.244.34.6:9>10.244.34.7:5353 ttl 63")
      << "a service's endpoint, asked from the block it is borrowed of";
  EXPECT_EQ(rig().send("c", udp("10.244.34.7:5353", "10.244.34.6:9")),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 10.96.0.10:53>10.244.34.6:9 ttl 63");
  EXPECT_EQ(rig().drops(), "");
}

// ---- whose address is inside -----------------------------------------------------------------------------

class TunnelSources : public Tunnel {
 protected:
  void filter(const std::string& mode) {
    const ServiceSpec web{
        .name = "web", .cluster_ips = {"10.96.0.10"}, .ports = {"UDP 53 5353"}, .endpoints = {"10.246.1.20 node3"}};
    Gateway gateway;
    gateway.interfaces = interface_a + ("," + std::string(interface_b).insert(1, R"("rpf":")" + mode + "\","));
    gateway.interfaces += R"(,{"name":"pod","device":"net_ring_c","mac":"02:00:00:00:00:0c","role":"workload",
      "podAddresses":["10.244.0.7"],"podMAC":"02:00:00:00:00:42"})";
    gateway.more = R"("routes":[{"destination":"203.0.113.0/24","via":"192.168.0.13"}])";
    rig().load(list({gateway.text(), cluster(), block("node2", "10.244.34.7/32"), service(web)}));
  }
  std::string through_ipip(int node, const char* source, const char* to = "192.0.2.10:5") {
    return rig().send("b", ipip("192.168.0.1" + std::to_string(node), "192.168.0.1", udp(source, to).bytes()));
  }
};

TEST_P(TunnelSources, IPIP3_APodsAddressComesFromItsNode) {
  filter("strict");
  EXPECT_EQ(through_ipip(2, "10.245.40.6:6"), "a/10 udp 10.245.40.6:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(through_ipip(1, "10.244.34.6:6"), "a/10 udp 10.244.34.6:6>192.0.2.10:5 ttl 63");
  EXPECT_EQ(through_ipip(2, "10.244.34.7:6"), "a/10 udp 10.244.34.7:6>192.0.2.10:5 ttl 63") << "borrowed";
  EXPECT_EQ(through_ipip(3, "10.246.1.5:6"), "a/10 udp 10.246.1.5:6>192.0.2.10:5 ttl 63")
      << "a node that is reached without a tunnel";
  EXPECT_EQ(through_ipip(1, "198.51.100.9:6"), "a/10 udp 198.51.100.9:6>192.0.2.10:5 ttl 63")
      << "a client for whom a gateway speaks";
  EXPECT_EQ(through_ipip(1, "203.0.113.9:6"), "a/10 udp 203.0.113.9:6>192.0.2.10:5 ttl 63")
      << "one whose answers go by another gateway, which is node3";
  EXPECT_EQ(through_ipip(1, "10.244.34.6:6", "10.96.0.10:53"), "b/13 udp 10.244.34.6:6>10.246.1.20:5353 ttl 63");
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(through_ipip(1, "10.245.40.6:6"), "") << "node2's";
  EXPECT_EQ(through_ipip(1, "10.244.34.7:6"), "") << "lent to node2";
  EXPECT_EQ(through_ipip(2, "10.246.1.5:6"), "") << "node3's";
  EXPECT_EQ(through_ipip(2, "10.244.0.7:6"), "") << "of a pod of ours";
  EXPECT_EQ(through_ipip(2, "10.244.0.9:6"), "") << "of a block of ours";
  EXPECT_EQ(through_ipip(2, "192.0.2.1:6"), "") << "our own";
  EXPECT_EQ(through_ipip(2, "10.244.34.6:7", "10.96.0.10:53"), "") << "who may not have it gets no endpoint either";
  EXPECT_EQ(rig().drops(), "reverse_path 7");
  const Bytes spoofed = udp("10.245.40.6:6", "192.0.2.10:5").bytes();
  EXPECT_EQ(rig().send("b", vxlan("192.168.0.11", "192.168.0.1", spoofed, to_us())), "");
  EXPECT_EQ(rig().drops(), "reverse_path 1");
}

TEST_P(TunnelSources, IPIP3_OnlyAStrictFilterAsks) {
  for (const char* mode : {"off", "loose"}) {
    filter(mode);
    EXPECT_EQ(through_ipip(1, "10.245.40.6:6"), "a/10 udp 10.245.40.6:6>192.0.2.10:5 ttl 63") << mode;
    EXPECT_EQ(rig().drops(), "") << mode;
  }
}

TEST_P(Tunnel, ENC1_CrossSubnetIsDirectInTheSubnetAndTunnelledBeyondIt) {
  rig().load(list({gateway(R"("routes":[{"destination":"172.30.0.0/16","via":"192.168.0.12"}])"),
                   node("gw", "192.168.0.1"), node("near", "192.168.0.11"), node("far", "172.30.0.5"),
                   pool("cross", "10.244.0.0/16", R"("vxlanMode":"CrossSubnet")"), block("near", "10.244.34.0/26"),
                   block("far", "10.244.35.0/26")}));
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.34.5:6")), "b/11 udp 192.0.2.10:5>10.244.34.5:6 ttl 63");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.35.5:6")),
            "b/12 vxlan 192.168.0.1>172.30.0.5 vni 4096 | udp 192.0.2.10:5>10.244.35.5:6 ttl 63");
}

// BASE-4: the frame of section 19, byte for byte but for the outer identification and what depends on it.
TEST_P(Tunnel, BASE4_ReferenceFrame) {
  std::string a = interface_a;
  const std::string own = "\"192.0.2.1/24\"";
  a.replace(a.find(own), own.size(), "\"192.0.2.1/24\",\"172.16.228.1/24\"");
  std::string b = interface_b;
  const std::string underlay = "192.168.0.1/24";
  b.replace(b.find(underlay), underlay.size(), "192.168.100.101/24");
  Gateway reference;
  reference.interfaces = a + "," + b;
  reference.neighbors = R"({"interface":"up","address":"192.0.2.254","mac":"02:00:00:00:00:fe"},
    {"interface":"un","address":"192.168.100.102","mac":"02:00:00:00:00:12"})";
  reference.more = R"("overlay":{"outerDF":"Set"})";
  start({});
  rig().load(list({reference.text(), node("gw", "192.168.100.101"), node("node2", "192.168.100.102"),
                   pool("ipip", "172.16.46.0/24", R"("ipipMode":"Always")"), block("node2", "172.16.46.0/26")}));
  Ip ping = echo("172.16.228.84", "172.16.46.12", 0x7e2a).with_df().with_id(0x9e57).with_payload(56);
  ASSERT_EQ(rig().send("a", ping),
            "b/12 ipip 192.168.100.101>192.168.100.102 | echo 172.16.228.84>172.16.46.12 id 32298 ttl 63 df");
  const View& seen = rig().only();
  ASSERT_EQ(seen.frame.size(), 118u);
  EXPECT_EQ(net::load_be16(&seen.l3[10]), 0x32d0) << "inner header checksum";
  Bytes outer(seen.outer.begin(), seen.outer.begin() + 20);
  net::store_be16(&outer[4], 0xd3f8);
  finish_ipv4(outer);
  EXPECT_EQ(outer,
            (Bytes{0x45, 0, 0, 104, 0xd3, 0xf8, 0x40, 0, 63, 4, 0x1d, 0x7d, 192, 168, 100, 101, 192, 168, 100, 102}));
  ping.ttl = 63;
  EXPECT_EQ(seen.l3, ping.bytes());
}

SLUICE_WITH_WORKERS(Tunnel);

SLUICE_WITH_WORKERS(TunnelSources);

}  // namespace
}  // namespace sluice::packet_test
