// What the router says about a packet that nobody sent: the five usual reasons why a connection to a service fails, the
// ways that work, and that nothing of it stays behind.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/explain.h"

namespace sluice::packet_test {
namespace {

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                      .ports = {"TCP 80 8080 30080"},
                      .endpoints = {"10.244.34.5 node1", "10.244.34.6 node1", "fd00:10:246::20 node3"},
                      .load_balancer_ip = "198.51.100.80",
                      .more = R"("loadBalancerSourceRanges":["192.0.2.0/24"])"};
const ServiceSpec empty{.name = "empty",
                        .cluster_ips = {"10.96.0.99"},
                        .ports = {"TCP 80 8080 30099"},
                        .endpoints = {"10.246.1.20 node3 unready"},
                        .load_balancer_ip = "198.51.100.99"};
const ServiceSpec one{
    .name = "one", .cluster_ips = {"10.96.0.11"}, .ports = {"TCP 80 8080 30011"}, .endpoints = {"10.246.1.20 node3"}};

class Explain : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), service(web), service(empty), service(one)}));
  }
  std::string ask(const control::Probe& probe) { return explain(rig(), probe); }
  std::string ask(const Endpoint& from, const Endpoint& to) { return explain(rig(), syn(from, to)); }
};

TEST_P(Explain, EXP1_AServiceWithoutEndpoints) {
  const std::string text = ask("192.0.2.10", "198.51.100.99:80");
  EXPECT_EQ(text,
            "parsed: tcp SYN 192.0.2.10:40000 > 198.51.100.99:80, 40 bytes, in by up\n"
            "flow: none: a packet like the first of a connection\n"
            "service: default/empty:p80-tcp, LoadBalancer 198.51.100.99:80; the client is outside the cluster\n"
            "backend: none: endpoints of default/empty:p80-tcp\n"
            "answer: icmp unreachable (port) 198.51.100.99 > 192.0.2.10, 68 bytes by up\n"
            "dropped: no_endpoint_rejected: the service has no usable endpoint: check that its selector matches pods "
            "and that they are ready\n"
            "=> dropped (no_endpoint_rejected)");
}

TEST_P(Explain, EXP1_AClientOutsideTheSourceRanges) {
  const std::string text = ask("203.0.113.7", "198.51.100.80:80");
  EXPECT_EQ(text,
            "parsed: tcp SYN 203.0.113.7:40000 > 198.51.100.80:80, 40 bytes, in by up\n"
            "flow: none: a packet like the first of a connection\n"
            "service: default/web:p80-tcp, LoadBalancer 198.51.100.80:80; the client is outside the cluster\n"
            "backend: none: the client may not enter\n"
            "dropped: source_range: 203.0.113.7 is in none of the loadBalancerSourceRanges of default/web:p80-tcp "
            "(192.0.2.0/24): add its network to them if it shall enter\n"
            "=> dropped (source_range)");
}

TEST_P(Explain, EXP1_APacketLargerThanItsTunnelCarries) {
  control::Probe probe = syn("192.0.2.10", "198.51.100.80:80");
  probe.size = 1451;
  const std::string text = ask(probe);
  EXPECT_EQ(step(text, "mtu"), "1451 bytes do not fit the tunnel's MTU of 1450");
  EXPECT_EQ(step(text, "answer"), "icmp fragmentation needed, MTU 1450 192.0.2.1 > 192.0.2.10, 576 bytes by up");
  EXPECT_EQ(step(text, "dropped"),
            "mtu_exceeded: the packet is larger than its way carries and must not be fragmented: lower the sender's "
            "MTU, let ICMP through so that it learns the size, or clamp the MSS (tcpMssClamp)");
  EXPECT_TRUE(text.ends_with("=> dropped (mtu_exceeded)")) << text;
  probe.size = 1450;
  EXPECT_TRUE(ask(probe).ends_with("=> forwarded")) << ask(probe);
  probe.size = 1451;
  probe.dont_fragment = false;
  EXPECT_TRUE(ask(probe).ends_with("=> forwarded")) << ask(probe);
  probe.size = 100;
  EXPECT_EQ(step(ask(probe), "mtu"),
            "100 bytes fit the tunnel's MTU of 1450; those of 1451 to 1500 bytes, which up takes, are fragmented");
  // Where the way carries all that comes in there is nothing to add.
  EXPECT_EQ(step(ask("10.244.34.5", "192.0.2.10:80"), "mtu"), "40 bytes fit the interface's MTU of 1500");
  probe.size = 1451;
  EXPECT_EQ(step(ask(probe), "mtu"), "1451 bytes do not fit the tunnel's MTU of 1450: fragmented");
}

TEST_P(Explain, EXP1_NoRoute) {
  Gateway without;
  without.interfaces = R"({"name":"up","device":"net_ring_a","mac":"02:00:00:00:00:0a","role":"uplink",
    "addresses":["192.0.2.1/24"]},)" +
                       std::string(interface_b);
  without.neighbors = R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"})";
  rig().load(list({without.text(), cluster(), service(web)}));
  const std::string text = ask("192.0.2.10", "203.0.113.9:80");
  EXPECT_EQ(text,
            "parsed: tcp SYN 192.0.2.10:40000 > 203.0.113.9:80, 40 bytes, in by up\n"
            "flow: none: a packet like the first of a connection\n"
            "route: none to 203.0.113.9\n"
            "answer: icmp unreachable (network) 192.0.2.1 > 192.0.2.10, 68 bytes by up\n"
            "dropped: no_route: no route leads to 203.0.113.9: add a route, node or block for it; `sluicectl get "
            "routes` shows those there are\n"
            "=> dropped (no_route)");
  EXPECT_EQ(ask("203.0.113.9", "192.0.2.10:80"),
            "no route leads back to 203.0.113.9, so it is not clear where its packets come in: say which interface");
}

TEST_P(Explain, EXP1_ANeighborThatDoesNotAnswer) {
  Gateway without;
  without.neighbors = R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"})";
  rig().load(list({without.text(), cluster(), service(web), service(one)}));
  std::string text = ask("10.246.1.5", "10.96.0.11:80");
  EXPECT_EQ(step(text, "neighbor"), "no MAC address: 192.168.0.13 on un has not answered ARP yet");
  EXPECT_EQ(step(text, "held"),
            "until the neighbour answers, three seconds at most. 192.168.0.13 on un has not answered ARP yet: is it "
            "up, on this link and in this VLAN? `sluicectl get neighbors` shows its state");
  EXPECT_TRUE(text.ends_with("=> held")) << text;
  (void)rig().advance(4000);
  text = ask("10.246.1.5", "10.96.0.11:80");
  EXPECT_EQ(step(text, "neighbor"), "no MAC address: 192.168.0.13 on un does not answer ARP");
  EXPECT_EQ(step(text, "dropped"),
            "neighbor_failed: 192.168.0.13 on un does not answer ARP: is it up, on this link and in this VLAN? "
            "`sluicectl get neighbors` shows its state");
  EXPECT_TRUE(text.ends_with("=> dropped (neighbor_failed)")) << text;
}

TEST_P(Explain, EXP1_AServiceThatIsAnsweredDirectly) {
  ServiceSpec direct = one;
  direct.load_balancer_ip = "198.51.100.11";
  direct.endpoints = {"10.244.34.5 node1"};
  direct.forwarding = "dsr";
  rig().load(list({gateway(), cluster(), service(direct)}));
  const std::string text = ask("192.0.2.10", "198.51.100.11:80");
  EXPECT_EQ(step(text, "backend"), "10.244.34.5:8080, the only endpoint");
  EXPECT_EQ(step(text, "nat"), "none: the endpoint answers the client directly (sluice.dev/forwarding: dsr)");
  EXPECT_EQ(step(text, "tunnel"), "ipip 192.168.0.11, MTU 1480");
  EXPECT_EQ(step(text, "out"),
            "tcp SYN 192.0.2.10:40000 > 198.51.100.11:80, 40 bytes by un, in ipip 192.168.0.1 > 192.168.0.11");
  EXPECT_TRUE(text.ends_with("=> forwarded")) << text;
}

TEST_P(Explain, EXP1_AConnectionThatWorks) {
  const std::string text = ask("192.0.2.10", "198.51.100.80:80");
  EXPECT_TRUE(
      like(text,
           "parsed: tcp SYN 192.0.2.10:40000 > 198.51.100.80:80, 40 bytes, in by up\n"
           "flow: none yet: this packet opens one\n"
           "service: default/web:p80-tcp, LoadBalancer 198.51.100.80:80; the client is outside the cluster\n"
           "backend: 10.244.34.*:8080, one of 2 endpoints by Maglev hash\n"
           "nat: destination 198.51.100.80:80 to 10.244.34.*:8080, source 192.0.2.10:40000 to 10.244.0.0 and "
           "a free port (masqueraded, so that replies come back here)\n"
           "route: 10.244.34.0/26 (node node1) into a tunnel, dev un\n"
           "tunnel: vxlan 192.168.0.11, MTU 1450\n"
           "neighbor: 192.168.0.11 is at 02:00:00:00:00:11, by configuration\n"
           "mtu: 40 bytes fit the tunnel's MTU of 1450; those of 1451 to 1500 bytes, which up takes, are refused "
           "with ICMP \"fragmentation needed\"\n"
           "out: tcp SYN 10.244.0.0:* > 10.244.34.*:8080, 40 bytes by un, in vxlan 192.168.0.1 > "
           "192.168.0.11\n"
           "=> forwarded"))
      << text;
}

// The endpoint is the one that the packet gets when it comes, without and with session affinity.
TEST_P(Explain, EXP2_TheEndpointIsTheOneThatThePacketGets) {
  for (int port = 1000; port < 1020; ++port) {
    const std::string client = "192.0.2.10:" + std::to_string(port);
    const std::string backend = step(ask(client, "198.51.100.80:80"), "backend");
    const std::string sent = rig().send("a", tcp(client, "198.51.100.80:80", "S"));
    EXPECT_NE(sent.find(">" + backend.substr(0, backend.find(','))), std::string::npos) << backend << "\n" << sent;
  }
}

TEST_P(Explain, EXP2_APodBehindATunnel) {
  const std::string text = ask("10.244.34.5", "10.96.0.11:80");
  EXPECT_EQ(step(text, "parsed"), "tcp SYN 10.244.34.5:40000 > 10.96.0.11:80, 40 bytes, in by un");
  EXPECT_EQ(step(text, "tunnel"), "the packet comes out of a tunnel from a known node");
  EXPECT_EQ(step(text, "service"), "default/one:p80-tcp, ClusterIP 10.96.0.11:80; the client is a pod of this cluster");
  EXPECT_EQ(step(text, "backend"), "10.246.1.20:8080, the only endpoint");
  EXPECT_EQ(step(text, "nat"), "destination 10.96.0.11:80 to 10.246.1.20:8080");
  EXPECT_TRUE(text.ends_with("=> forwarded")) << text;
}

TEST_P(Explain, EXP2_OtherProtocolsAndIpv6) {
  control::Probe probe = syn("192.0.2.10", "192.0.2.1");
  probe.protocol = net::protocol::icmp;
  std::string text = ask(probe);
  EXPECT_EQ(step(text, "answer"), "icmp echo reply 192.0.2.1 > 192.0.2.10, 28 bytes by up");
  EXPECT_TRUE(text.ends_with("=> answered")) << text;
  text = ask("[fd00:10:246::5]", "[fd00:10:96::10]:80");
  EXPECT_EQ(step(text, "backend"), "[fd00:10:246::20]:8080, the only endpoint");
  EXPECT_EQ(step(text, "nat"), "destination [fd00:10:96::10]:80 to [fd00:10:246::20]:8080");
  probe = syn("192.0.2.10:53", "203.0.113.9:53");
  probe.protocol = net::protocol::udp;
  text = ask(probe);
  EXPECT_EQ(step(text, "flow"), "none, and none needed: forwarded by its route alone");
  EXPECT_EQ(step(text, "route"), "0.0.0.0/0 (interface) via 192.0.2.254 dev up");
  probe = syn("192.0.2.10", "10.96.0.10:81");
  EXPECT_TRUE(ask(probe).ends_with("=> dropped (service_port_unknown)"));
  EXPECT_TRUE(ask(syn("192.0.2.10", "10.96.0.10:80")).ends_with("=> dropped (cluster_ip_from_outside)"));
  probe = syn("192.0.2.10", "203.0.113.9:80");
  probe.ttl = 1;
  EXPECT_TRUE(ask(probe).ends_with("=> dropped (ttl_exceeded)"));
}

TEST_P(Explain, EXP2_APacketOfAKnownConnection) {
  const std::string client = "10.246.1.5:2000";
  (void)rig().send("b", tcp(client, "10.96.0.11:80", "S"));
  (void)rig().send("b", tcp("10.246.1.20:8080", client, "SA"));
  dataplane::FlowRecord flow;
  flow.src = flow.reply_dst = net::parse_ip("10.246.1.5").value();
  flow.dst = net::parse_ip("10.96.0.11").value();
  flow.src_port = flow.reply_dst_port = 2000;
  flow.dst_port = 80;
  flow.reply_src = net::parse_ip("10.246.1.20").value();
  flow.reply_src_port = 8080;
  flow.protocol = net::protocol::tcp;
  flow.tcp_state = nat::TcpState::SynRecv;
  flow.flags = nat::connection_flag::replied;
  flow.service =
      rig()
          .snapshot()
          .v4.services->find(net::parse_ipv4("10.96.0.11").value(), net::be16::from_host(80), net::protocol::tcp)
          ->service->id;
  control::Probe probe = syn(client, "10.96.0.11:80");
  probe.tcp_flags = net::tcp_flag::ack;
  const std::string text = explain(rig(), probe, &flow);
  EXPECT_TRUE(like(step(text, "flow"), "known, original direction, ESTABLISHED, * packets there and 0 back, expires *"))
      << text;
  EXPECT_EQ(step(text, "service"), "default/one:p80-tcp, as decided when the connection was opened");
  EXPECT_EQ(step(text, "backend"), "10.246.1.20:8080, kept");
  EXPECT_TRUE(text.ends_with("=> forwarded")) << text;
  // Without it the same segment is like one of a connection that was forgotten.
  EXPECT_EQ(step(ask(probe), "flow"), "none yet: this packet opens one");
  // The endpoint's answer gets its way back.
  probe = syn("10.246.1.20:8080", client);
  probe.tcp_flags = net::tcp_flag::syn | net::tcp_flag::ack;
  const std::string back = explain(rig(), probe, &flow);
  EXPECT_EQ(step(back, "nat"), "source 10.246.1.20:8080 to 10.96.0.11:80");
}

TEST_P(Explain, EXP2_APacketOfAConnectionThatIsAnsweredDirectly) {
  ServiceSpec direct = one;
  direct.load_balancer_ip = "198.51.100.11";
  direct.endpoints = {"10.244.34.5 node1", "10.244.34.6 node1"};
  direct.forwarding = "dsr";
  rig().load(list({gateway(), cluster(), service(direct)}));
  dataplane::FlowRecord flow;
  flow.src = flow.reply_dst = net::parse_ip("192.0.2.10").value();
  flow.dst = net::parse_ip("198.51.100.11").value();
  flow.src_port = flow.reply_dst_port = 2000;
  flow.dst_port = 80;
  flow.reply_src = net::parse_ip("10.244.34.6").value();
  flow.reply_src_port = 8080;
  flow.protocol = net::protocol::tcp;
  flow.tcp_state = nat::TcpState::Established;
  flow.flags = nat::connection_flag::replied | nat::connection_flag::one_way;
  flow.service =
      rig()
          .snapshot()
          .v4.services->find(net::parse_ipv4("198.51.100.11").value(), net::be16::from_host(80), net::protocol::tcp)
          ->service->id;
  control::Probe probe = syn("192.0.2.10:2000", "198.51.100.11:80");
  probe.tcp_flags = net::tcp_flag::ack;
  const std::string text = explain(rig(), probe, &flow);
  EXPECT_EQ(step(text, "backend"), "10.244.34.6:8080, kept");
  EXPECT_EQ(step(text, "nat"), "none: the endpoint answers the client directly (sluice.dev/forwarding: dsr)");
  EXPECT_EQ(step(text, "tunnel"), "ipip 192.168.0.11, MTU 1480");
  EXPECT_EQ(step(text, "out"),
            "tcp ACK 192.0.2.10:2000 > 198.51.100.11:80, 40 bytes by un, in ipip 192.168.0.1 > 192.168.0.11");
}

TEST_P(Explain, EXP3_NothingStaysBehind) {
  (void)rig().advance(2000);
  (void)rig().drops();
  const auto used = [&] {
    size_t count = 0;
    for (uint32_t i = 0; i < dataplane::NeighborTable::capacity(); ++i) {
      if (rig().plane().neighbors()[i].used.load() != 0) ++count;
    }
    return count;
  };
  const uint32_t buffers = rig().plane().mbufs_in_use();
  const size_t before = used();
  uint64_t events = 0;
  for (size_t i = 0; i < dataplane::event_count; ++i) events += rig().count(static_cast<dataplane::Event>(i));
  for (int i = 0; i < 3; ++i) {
    (void)ask("192.0.2.10", "198.51.100.80:80");
    (void)ask("192.0.2.10", "198.51.100.99:80");
    (void)ask("192.0.2.77", "203.0.113.9:80");
    (void)ask("192.0.2.10", "192.168.0.77:80");
  }
  EXPECT_EQ(rig().flows(), 0u);
  EXPECT_EQ(rig().plane().mbufs_in_use(), buffers);
  EXPECT_EQ(used(), before);
  uint64_t after = 0;
  for (size_t i = 0; i < dataplane::event_count; ++i) after += rig().count(static_cast<dataplane::Event>(i));
  EXPECT_EQ(after, events);
  EXPECT_EQ(rig().run(), "");
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Explain, EXP4_WhatCannotComeIn) {
  EXPECT_EQ(ask("192.0.2.1", "203.0.113.9:80"),
            "192.0.2.1 is within 192.0.2.1/32 (interface), from where no packet comes in: say which interface if one "
            "does");
  control::Probe probe = syn("192.0.2.10", "203.0.113.9:80");
  probe.interface = "nowhere";
  EXPECT_EQ(ask(probe), "there is no interface \"nowhere\"");
  EXPECT_EQ(ask("192.0.2.10", "[2001:db8::9]:80"),
            "192.0.2.10 and 2001:db8::9 are of different families, and nothing is translated between them");
  probe.size = 39;
  EXPECT_EQ(ask(probe), "a packet of 39 bytes: expected 40 to 9216");
}

SLUICE_WITH_WORKERS(Explain);

}  // namespace
}  // namespace sluice::packet_test
