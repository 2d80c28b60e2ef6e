// Changes of configuration: another encapsulation under open connections, changes that fail and leave the old
// configuration serving, and switches of single behaviours.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

// The network of a family: its remote node, in our subnet or behind a router at node2, and its pool.
struct Overlay {
  Family family;
  const char *node, *far_node, *far_network, *far_router;
  const char *pool, *own_block, *block, *pod;
  const char* annotations;     // of the gateway's node
  const char* tunnel_address;  // of VXLAN
  const char* vtep;
  const char* neighbor;                       // node3
  const char *elsewhere_network, *elsewhere;  // by the default gateway, unless a change says otherwise
};
const Overlay v4{ipv4,
                 "192.168.0.11",
                 "172.30.0.5",
                 "172.30.0.0/16",
                 "192.168.0.12",
                 "10.244.0.0/16",
                 "10.244.0.0/26",
                 "10.244.34.0/26",
                 "10.244.34.5",
                 R"("projectcalico.org/IPv4Address":"192.168.0.1/24",
      "projectcalico.org/IPv4VXLANTunnelAddr":"10.244.0.0","projectcalico.org/IPv4IPIPTunnelAddr":"10.244.0.1")",
                 "10.244.0.0",
                 "gw",
                 "192.168.0.13",
                 "172.31.0.0/16",
                 "172.31.0.9"};
const Overlay v6{ipv6,
                 "2001:db8:a::11",
                 "2001:db8:30::5",
                 "2001:db8:30::/48",
                 "2001:db8:a::12",
                 "fd00:10:244::/48",
                 "fd00:10:244:ff::/122",
                 "fd00:10:244::/122",
                 "fd00:10:244::5",
                 R"("projectcalico.org/IPv6VXLANTunnelAddr":"fd00:10:244:ff::")",
                 "fd00:10:244:ff::",
                 "gw-v6",
                 "2001:db8:a::13",
                 "2001:db8:31::/48",
                 "2001:db8:31::9"};

class Change : public RigTest {
 protected:
  // The cluster of one remote node with the pool in `mode`, e.g. "vxlanMode":"Always".
  static std::string with_mode(const std::string& mode, const Overlay& net = v4, const char* node_address = nullptr) {
    const std::string route =
        fmt::format(R"("routes":[{{"destination":"{}","via":"{}"}}])", net.far_network, net.far_router);
    return list({gateway(route), node("gw", net.family.router_b, net.annotations),
                 node("node1", node_address == nullptr ? net.node : node_address), pool("pods", net.pool, mode),
                 block("gw", net.own_block), block("node1", net.block), web(net)});
  }
  static std::string web(const Overlay& net = v4) {
    return service({.name = "web",
                    .cluster_ips = {net.family.service},
                    .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                    .endpoints = {net.pod + std::string(" node1")},
                    .load_balancer_ip = net.family.balancer});
  }
  std::string from_node1(const std::string& mode, const Ip& packet, const Overlay& net = v4) {
    const char* const self = net.family.router_b;
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac(net.vtep);
    if (mode == vxlan_mode) return rig().send("b", vxlan(net.node, self, packet.bytes(), options));
    if (mode == ipip_mode) return rig().send("b", ipip(net.node, self, packet.bytes()));
    return rig().send("b", packet);
  }
  static std::string outer(const std::string& mode, const Overlay& net = v4) {
    const std::string ends = std::string(net.family.router_b) + ">" + net.node;
    if (mode == vxlan_mode) return "b/11 vxlan " + ends + " vni 4096 | ";
    if (mode == ipip_mode) return "b/11 ipip " + ends + " | ";
    return "b/11 ";
  }
  // The modes that the family has, again and again: IPIP is IPv4's (IPIP-5).
  static std::vector<const char*> modes(const Overlay& net) {
    if (net.family.name == ipv6.name) return {vxlan_mode, direct_mode, vxlan_mode, direct_mode, vxlan_mode};
    return {vxlan_mode, ipip_mode, direct_mode, vxlan_mode, direct_mode, ipip_mode, vxlan_mode};
  }

  static constexpr const char* vxlan_mode = R"("vxlanMode":"Always")";
  static constexpr const char* ipip_mode = R"("ipipMode":"Always")";
  static constexpr const char* direct_mode = R"("vxlanMode":"Never")";
};

// ---- ENC-3 ---------------------------------------------------------------------------------------------

TEST_P(Change, ENC3_ANewModeRoutesOpenConnectionsAnew) {
  for (const Overlay& net : {v4, v6}) {
    SCOPED_TRACE(net.family.name);
    const std::string node_port = net.family.node_port(30080), endpoint = with_port(net.pod, 8080);
    start({});
    rig().load(with_mode(vxlan_mode, net));
    std::map<std::string, std::string> connections;
    for (int port = 1000; port < 1008; ++port) {
      const std::string client = net.family.client(9, port);
      ASSERT_TRUE(like(rig().send("a", tcp(client, node_port, "S").with_seq(100, 0)),
                       outer(vxlan_mode, net) + "tcp S *>" + endpoint + " ttl 63"));
      const Endpoint translated = rig().only().ip.src;
      ASSERT_EQ(net::to_string(translated.address), net.tunnel_address);
      connections[client] = translated.text();
      ASSERT_EQ(from_node1(vxlan_mode, tcp(endpoint, translated, "SA").with_seq(500, 101), net),
                "a/fe tcp SA " + node_port + ">" + client + " ttl 63");
      ASSERT_NE(rig().send("a", tcp(client, node_port, "A").with_seq(101, 501)), "");
    }
    for (const char* mode : modes(net)) {
      rig().load(with_mode(mode, net));
      for (const auto& [client, translated] : connections) {
        EXPECT_EQ(rig().send("a", tcp(client, node_port, "PA").with_seq(101, 501)),
                  outer(mode, net) + "tcp PA " + translated + ">" + endpoint + " ttl 63")
            << "its port and address are those it had";
        EXPECT_EQ(from_node1(mode, tcp(endpoint, translated, "PA").with_seq(501, 101), net),
                  "a/fe tcp PA " + node_port + ">" + client + " ttl 63");
      }
    }
    EXPECT_EQ(rig().drops(), "");
    EXPECT_EQ(rig().flows(), 8u);
  }
}

TEST_P(Change, ENC3_ENC1_CrossSubnetFollowsTheNode) {
  constexpr const char* cross = R"("vxlanMode":"CrossSubnet")";
  for (const Overlay& net : {v4, v6}) {
    SCOPED_TRACE(net.family.name);
    const std::string client = net.family.client(9, 1000), node_port = net.family.node_port(30053);
    const std::string to_endpoint = ">" + with_port(net.pod, 5353) + " ttl 63";
    const std::string far = "b/12 vxlan " + std::string(net.family.router_b) + ">" + net.far_node + " vni 4096 | udp ";
    rig().load(with_mode(cross, net));
    ASSERT_TRUE(like(rig().send("a", udp(client, node_port)), "b/11 udp *" + to_endpoint));
    const Endpoint translated = rig().only().ip.src;
    EXPECT_EQ(net::to_string(translated.address), net.family.router_b);
    // The node gets an address in another subnet, and comes back.
    rig().load(with_mode(cross, net, net.far_node));
    EXPECT_EQ(rig().send("a", udp(client, node_port)), far + translated.text() + to_endpoint);
    EXPECT_TRUE(like(rig().send("a", udp(net.family.client(9, 1001), node_port)), far + "*" + to_endpoint));
    EXPECT_EQ(net::to_string(rig().only().ip.src.address), net.tunnel_address) << "MASQ-5: what is new";
    rig().load(with_mode(cross, net));
    EXPECT_EQ(rig().send("a", udp(client, node_port)), "b/11 udp " + translated.text() + to_endpoint);
    EXPECT_EQ(rig().drops(), "");
  }
}

TEST_P(Change, ENC1_ENC2_ENC3_TransitChangesAtOnce) {
  for (const Overlay& net : {v4, v6}) {
    const Ip packet = udp(net.family.client(9, 5), with_port(net.pod, 6));
    for (const char* mode : modes(net)) {
      rig().load(with_mode(mode, net));
      EXPECT_EQ(rig().send("a", packet), outer(mode, net) + text_of(packet.with_ttl(63).bytes()));
    }
  }
}

TEST_P(Change, ENC4_ABlockThatIsGoneLeadsNowhere) {
  rig().load(with_mode(vxlan_mode));
  ASSERT_TRUE(like(rig().send("a", udp("192.0.2.10:1000", "192.0.2.1:30053")), "b/11 vxlan *"));
  rig().load(list({gateway(), node("gw", "192.168.0.1"), pool("pods", "10.244.0.0/16", vxlan_mode), web()}));
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:1000", "192.0.2.1:30053")), "");
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "10.244.34.5:6")), "");
  EXPECT_EQ(rig().drops(), "blackhole 2");
  rig().load(with_mode(vxlan_mode));
  EXPECT_TRUE(like(rig().send("a", udp("192.0.2.10:1000", "192.0.2.1:30053")), "b/11 vxlan * | udp 10.244.0.0:*"));
}

// ---- changes that fail -----------------------------------------------------------------------------------

class Retreat : public Change {
 protected:
  void SetUp() override { begin(v4); }
  // A router with an open connection to node1's pod, by VXLAN.
  void begin(const Overlay& net) {
    start({});
    net_ = &net;
    client_ = net.family.client(9, 1000);
    frontend_ = net.family.node_port(30080);
    endpoint_ = with_port(net.pod, 8080);
    rig().load(with_mode(vxlan_mode, net));
    ASSERT_TRUE(like(rig().send("a", tcp(client_, frontend_, "S").with_seq(100, 0)), "b/11 vxlan *"));
    translated_ = rig().only().ip.src.text();
    ASSERT_NE(from_node1(vxlan_mode, tcp(endpoint_, translated_, "SA").with_seq(500, 101), net), "");
    ASSERT_NE(rig().send("a", tcp(client_, frontend_, "A").with_seq(101, 501)), "");
  }
  // The old configuration serves: connections, new flows, transit, what is refused.
  void expect_unchanged(int port) {
    SCOPED_TRACE("the old configuration");
    const Overlay& net = *net_;
    EXPECT_EQ(rig().send("a", tcp(client_, frontend_, "PA").with_seq(101, 501)),
              outer(vxlan_mode, net) + "tcp PA " + translated_ + ">" + endpoint_ + " ttl 63");
    EXPECT_EQ(from_node1(vxlan_mode, tcp(endpoint_, translated_, "PA").with_seq(501, 101), net),
              "a/fe tcp PA " + frontend_ + ">" + client_ + " ttl 63");
    const std::string other = net.family.client(10, port);
    EXPECT_TRUE(like(rig().send("a", udp(other, net.family.node_port(30053))),
                     outer(vxlan_mode, net) + "udp *>" + with_port(net.pod, 5353) + " ttl 63"));
    EXPECT_EQ(net::to_string(rig().only().ip.src.address), net.tunnel_address);
    const auto expect_transit = [&](const char* way, const char* address) {
      const std::string to = with_port(address, 6);
      EXPECT_EQ(rig().send("a", udp(other, to)), std::string(way) + " udp " + other + ">" + to + " ttl 63");
    };
    expect_transit("b/13", net.neighbor);
    expect_transit("b/12", net.far_node);
    expect_transit("a/fe", net.elsewhere);
    EXPECT_EQ(rig().drops(), "");
  }
  // IPIP is IPv4's (IPIP-5).
  [[nodiscard]] const char* other_mode() const { return net_ == &v4 ? ipip_mode : direct_mode; }
  // More routes than the tables of the rig have room for, and the other changes in one document.
  [[nodiscard]] std::string too_many_routes(const std::string& interfaces, const char* node_address = nullptr) const {
    std::string routes = fmt::format(R"({{"destination":"{}","via":"{}"}})", net_->elsewhere_network, net_->far_router);
    for (int i = 0; i < 5000; ++i) {
      const std::string network =
          net_ == &v4 ? fmt::format("11.{}.{}.0/24", i / 256, i % 256) : fmt::format("2001:db8:{:x}::/48", 0x1000 + i);
      routes += fmt::format(R"(,{{"destination":"{}","via":"{}"}})", network, net_->far_router);
    }
    Gateway broken;
    broken.interfaces = interfaces;
    broken.more = R"("routes":[)" + routes + "]";
    return list({broken.text(), node("gw", net_->family.router_b),
                 node("node1", node_address == nullptr ? net_->node : node_address),
                 pool("pods", net_->pool, other_mode()), block("node1", net_->block)});
  }

  const Overlay* net_ = &v4;

 private:
  std::string client_, frontend_, endpoint_, translated_;
};

TEST_P(Retreat, UPDATE_ADeviceThatDoesNotExist) {
  Gateway broken;
  broken.interfaces += R"(,{"name":"fine","device":"net_ring_c","addresses":["198.19.1.1/24"]},
    {"name":"more","device":"net_af_packet9,iface=no-such-link","addresses":["198.19.0.1/24"]})";
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(like(rig().try_load(list({broken.text()})), "interface more: *no-such-link*"));
    expect_unchanged(2000 + i);
  }
}

TEST_P(Retreat, UPDATE_TooManyRoutes) {
  for (const Overlay* net : {&v4, &v6}) {
    SCOPED_TRACE(net->family.name);
    begin(*net);
    for (int i = 0; i < 3; ++i) {
      const std::string error = rig().try_load(too_many_routes(std::string(interface_a) + "," + interface_b));
      ASSERT_NE(error, "");
      EXPECT_TRUE(like(error, net == &v4 ? "*11.*" : "*2001:db8:1*::/48*")) << "names the route";
      expect_unchanged(2000 + i);
    }
    rig().load(with_mode(other_mode(), *net));
    EXPECT_TRUE(like(rig().send("a", udp(net->family.client(10, 3000), net->family.node_port(30053))),
                     outer(other_mode(), *net) + "udp *"));
    EXPECT_EQ(net::to_string(rig().only().ip.src.address), net == &v4 ? "10.244.0.1" : net->family.router_b);
  }
}

// The workers were told of another address, MTU and role, of a new interface and of another end of the tunnel, before
// it failed.
TEST_P(Retreat, UPDATE_WhatWasAnnouncedIsTakenBack) {
  std::string a = interface_a;
  const std::string own = "192.0.2.1/24";
  a.replace(a.find(own), own.size(), "192.0.2.77/24");
  std::string b = interface_b;
  b.insert(b.find("\"addresses\""), "\"mtu\":1400,");
  const std::string interfaces =
      a + "," + b + R"(,{"name":"more","device":"net_ring_c","mac":"02:00:00:00:00:0c","addresses":["198.19.0.1/24"]})";
  for (int i = 0; i < 3; ++i) {
    ASSERT_NE(rig().try_load(too_many_routes(interfaces, "192.168.0.13")), "");
    (void)rig().advance(50);  // its addresses are announced again
    expect_unchanged(2000 + i);
    EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "192.168.0.13:6").with_df().with_payload(1472)),
              "b/13 udp 192.0.2.10:5>192.168.0.13:6 ttl 63 df");
    EXPECT_EQ(rig().send("a", echo("192.0.2.10", "192.0.2.1", 1)), "a/10 echo-reply 192.0.2.1>192.0.2.10 id 1 ttl 64");
    EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "192.0.2.77:6").with_ttl(1)),
              "a/10 icmp 11/0 192.0.2.1>192.0.2.10 ttl 64 [ udp 192.0.2.10:5>192.0.2.77:6 ttl 1 ]");
    (void)rig().drops();
    (void)rig().advance(10000);
  }
}

// PIPE-3: between the two generations nobody's packet is lost.
TEST_P(Retreat, PIPE3_TrafficInTheMiddleOfTheChange) {
  for (const Overlay* net : {&v4, &v6}) {
    SCOPED_TRACE(net->family.name);
    begin(*net);
    int calls = 0;
    rig().between([&] {
      ++calls;
      expect_unchanged(2000 + calls);
    });
    ASSERT_NE(rig().try_load(too_many_routes(std::string(interface_a) + "," + interface_b)), "");
    rig().load(with_mode(other_mode(), *net));
    EXPECT_EQ(calls, 2);
  }
}

// Names of interfaces have numbers for good (counters, flows and neighbours remember them), and there are so many.
TEST_P(Retreat, UPDATE_MoreInterfacesThanThereIsRoomFor) {
  const auto vlans = [](int first, int count) {
    Gateway many;
    for (int i = 0; i < count; ++i) {
      many.interfaces += fmt::format(R"(,{{"name":"v{0}","device":"net_ring_c","vlan":{1}}})", first + i, i + 1);
    }
    return list({many.text()});
  };
  EXPECT_TRUE(like(rig().try_load(vlans(0, 1100)), "*more than 1024 *"));
  expect_unchanged(2000);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(rig().try_load(vlans(i * 300, 300)), "");
  EXPECT_TRUE(like(rig().try_load(vlans(900, 300)), "*more than 1024 *"));
  (void)rig().advance(50);
  EXPECT_EQ(rig().send("c", udp("192.0.2.10:5", "192.168.0.13:6").bytes(), 300), "") << "not our address there";
  EXPECT_EQ(rig().send("a", udp("192.0.2.10:5", "192.168.0.13:6")), "b/13 udp 192.0.2.10:5>192.168.0.13:6 ttl 63");
}

SLUICE_WITH_WORKERS(Change);
SLUICE_WITH_WORKERS(Retreat);

}  // namespace
}  // namespace sluice::packet_test
