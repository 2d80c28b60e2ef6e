// UDP without a checksum (CT-36). In IPv4 the sender may leave it out (RFC 768). In IPv6 only tunnels may (RFC 8200
// section 8.1, RFC 6935), and what it is, the receiver knows: who is on the way lets both kinds pass (RFC 6936 section
// 5, requirements 8 and 10). What the router itself receives is VXLAN: VXL9 in packet_tunnel_v6_test.cpp.
#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

Ip unsummed(const std::string& from, const std::string& to) {
  Ip packet = udp(from, to);
  packet.no_checksum = true;
  return packet;
}

class NoUdpChecksum : public RigTest {
 protected:
  void load(const Family& family) {
    start({});
    const ServiceSpec spec{.name = "dns",
                           .cluster_ips = {family.service},
                           .ports = {"UDP 53 5353 30053"},
                           .endpoints = {family.endpoint(20)}};
    rig().load(list({gateway(), cluster(), service(spec)}));
    v4_ = std::string(family.name) == ipv4.name;
    mark_ = v4_ ? "" : " no checksum";
  }
  [[nodiscard]] uint16_t checksum() { return net::load_be16(&rig().only().l3[v4_ ? 26 : 46]); }
  // What comes out has none either, and is as `text` says.
  void expect_unsummed(const std::string& port, const Ip& packet, const std::string& text) {
    EXPECT_EQ(rig().send(port, packet), text + mark_);
    EXPECT_EQ(checksum(), 0);
  }
  // What comes out has a checksum, which view() has verified.
  void expect_summed(const std::string& port, const Ip& packet, const std::string& text) {
    EXPECT_EQ(rig().send(port, packet), text);
    EXPECT_NE(checksum(), 0);
  }

 private:
  bool v4_ = true;
  std::string mark_;
};

TEST_P(NoUdpChecksum, CT36_CSUM2_ServicesLeaveItOut) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    load(family);
    const std::string client = family.pod(5, 1000), frontend = family.service_at(53), endpoint = family.pod(20, 5353);
    const std::string there = "b/13 udp " + client + ">" + endpoint + " ttl 63";
    const std::string back = "b/13 udp " + frontend + ">" + client + " ttl 63";
    for (int i = 0; i < 2; ++i) {  // the second time by the short cut
      expect_unsummed("b", unsummed(client, frontend), there);
      expect_unsummed("b", unsummed(endpoint, client), back);
      expect_summed("b", udp(client, frontend), there);
      expect_summed("b", udp(endpoint, client), back);
    }
    EXPECT_EQ(rig().flows(), 1u) << "datagrams of both kinds have one connection: RFC 6936 section 5 (10)";
    EXPECT_EQ(rig().drops(), "");
  }
}

// Here the source's address and port are new as well.
TEST_P(NoUdpChecksum, CT36_CSUM2_MasqueradeLeavesItOut) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    load(family);
    const std::string client = family.client(9, 1000), frontend = family.node_port(30053);
    const std::string endpoint = family.pod(20, 5353);
    ASSERT_NE(rig().send("a", unsummed(client, frontend)), "");
    EXPECT_EQ(checksum(), 0);
    const std::string translated = rig().only().ip.src.text();
    EXPECT_EQ(net::to_string(rig().only().ip.src.address), family.router_b);
    for (int i = 0; i < 2; ++i) {
      expect_unsummed("b", unsummed(endpoint, translated), "a/fe udp " + frontend + ">" + client + " ttl 63");
      expect_unsummed("a", unsummed(client, frontend), "b/13 udp " + translated + ">" + endpoint + " ttl 63");
    }
    EXPECT_EQ(rig().drops(), "");
  }
}

TEST_P(NoUdpChecksum, CT36_CSUM2_TransitIsForwardedAsItIs) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    load(family);
    const std::string outside = family.client(9, 1000), pod = family.pod(5, 6);
    expect_unsummed("a", unsummed(outside, pod), "b/13 udp " + outside + ">" + pod + " ttl 63");
    expect_unsummed("b", unsummed(pod, outside), "a/fe udp " + pod + ">" + outside + " ttl 63");
    EXPECT_EQ(rig().drops(), "");
  }
}

// ICMP-3: the quoted packet is what the client sent, and it sent none.
TEST_P(NoUdpChecksum, CT36_ICMP3_QuotedPacketsHaveNoneEither) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    load(family);
    const std::string client = family.pod(5, 1000), frontend = family.service_at(53), endpoint = family.pod(20, 5353);
    const Ip sent = unsummed(client, frontend);
    ASSERT_NE(rig().send("b", sent), "");
    const Bytes translated = rig().only().l3;
    const bool v4 = translated[0] >> 4 == 4;
    const Ip refusal = icmp_error(family.pod(20), family.pod(5), v4 ? 3 : 1, v4 ? 3 : 4, translated);
    EXPECT_EQ(rig().send("b", refusal), "b/13 icmp " + std::string(family.port_unreachable) + " " + family.service +
                                            ">" + family.pod(5) + " ttl 63 [ " + text_of(sent.with_ttl(63).bytes()) +
                                            " ]");
    const Bytes& error = rig().only().l3;
    EXPECT_EQ(net::load_be16(&error[v4 ? 28 + 26 : 48 + 46]), 0);
  }
}

// Of the packet in a tunnel the same holds, whatever the outer header's checksum is.
TEST_P(NoUdpChecksum, CT36_VXL9_InsideATunnel) {
  const std::string self = "2001:db8:a::1", peer = "2001:db8:a::11";
  rig().load(list({gateway(R"("tunnels":[{"name":"six","type":"vxlan","remote":"2001:db8:a::11",
      "remoteMAC":"02:00:00:00:0a:01"}],"routes":[{"destination":"fd00:10:251::/48","tunnel":"six"},
      {"destination":"10.251.0.0/16","tunnel":"six"}])"),
                   cluster()}));
  struct Case {
    const char *outside, *inside, *mark;
    size_t checksum;  // where it is
  };
  for (const Case& each : {Case{"192.0.2.10:5", "10.251.0.5:6", "", 26},
                           Case{"[2001:db8:2::10]:5", "[fd00:10:251::5]:6", " no checksum", 46}}) {
    SCOPED_TRACE(each.inside);
    EXPECT_EQ(rig().send("a", unsummed(each.outside, each.inside)), "b/11 vxlan " + self + ">" + peer +
                                                                        " vni 4096 | udp " + each.outside + ">" +
                                                                        each.inside + " ttl 63" + each.mark);
    EXPECT_EQ(net::load_be16(&rig().only().l3[each.checksum]), 0);
    EXPECT_NE(net::load_be16(&rig().only().outer[46]), 0) << "RFC 8200 section 8.1: of our own packets";
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac("gw-v6");
    EXPECT_EQ(rig().send("b", vxlan(peer, self, unsummed(each.inside, each.outside).bytes(), options)),
              "a/10 udp " + std::string(each.inside) + ">" + each.outside + " ttl 63" + each.mark);
    EXPECT_EQ(net::load_be16(&rig().only().l3[each.checksum]), 0);
  }
  EXPECT_EQ(rig().drops(), "");
}

SLUICE_WITH_WORKERS(NoUdpChecksum);

}  // namespace
}  // namespace sluice::packet_test
