// Tunnel termination: what is accepted, and every way to be refused, with a packet that differs in just that.
#include "encap/decap.h"
#include "encap/header_template.h"
#include "tests/unit/encap_received.h"

namespace sluice::encap {
namespace {

using net::DropReason;
using test::Bytes;
using test::FakeMbuf;
using test::inner4;
using test::inner6;
using test::ipip_frame;
using test::ipv4;
using test::node;
using test::our_mac;
using test::reason;
using test::Received;
using test::self;
using test::terminator;
using test::their_mac;
using test::udp;
using test::v4;
using test::vni;
using test::vxlan_frame;
using test::vxlan_payload;
using test::what;
using test::with;
using test::operator+;

TEST(Decapsulate, StripsEveryKind) {
  struct Case {
    Bytes frame;
    Bytes inner;
    net::Family family;
  };
  for (const Case& c : {Case{vxlan_frame(vxlan_payload(inner4)), inner4, net::Family::V4},
                        Case{vxlan_frame(vxlan_payload(inner6, net::ether_type_ipv6)), inner6, net::Family::V6},
                        Case{ipip_frame(inner4), inner4, net::Family::V4},
                        Case{ipip_frame(inner6, net::protocol::ipv6), inner6, net::Family::V6}}) {
    Received r(c.frame);
    ASSERT_EQ(r.result.what, Decap::Stripped) << r.result.reason;
    EXPECT_EQ(r.result.inner, c.family);
    EXPECT_FALSE(r.result.odd_ecn);
    EXPECT_EQ(r.mbuf.bytes(), c.inner);
    EXPECT_EQ(r.packet.l3, 0);
    EXPECT_EQ(r.packet.tunnel_source, 3);
    EXPECT_EQ(r.packet.decapsulations, 1);
    EXPECT_EQ(r.mbuf->ol_flags, RTE_MBUF_F_RX_RSS_HASH);  // the port verified the outer header, not this one
  }
}

TEST(Decapsulate, UndoesTheTemplate) {
  for (const Kind kind : {Kind::Vxlan, Kind::Ipip}) {
    const auto outer = HeaderTemplate::build({.kind = kind,
                                              .local = v4(node),
                                              .remote = v4(self),
                                              .vni = vni,
                                              .inner_source = their_mac,
                                              .inner_destination = our_mac});
    FakeMbuf four(inner4);
    ASSERT_TRUE(outer.apply<net::V4>(four.get(), 0, static_cast<uint16_t>(inner4.size()), 99, 1));
    EXPECT_EQ(Received(four.bytes()).mbuf.bytes(), inner4);
    FakeMbuf six(inner6);
    ASSERT_TRUE(outer.apply<net::V6>(six.get(), 0, static_cast<uint16_t>(inner6.size()), 99, 1));
    EXPECT_EQ(Received(six.bytes()).mbuf.bytes(), inner6);
  }
}

TEST(Decapsulate, OrdinaryTrafficIsNoTunnel) {
  const Bytes other_port = ipv4({.src = node, .dst = self}, udp(4789, 4790, vxlan_payload(inner4)));
  EXPECT_EQ(what(other_port), Decap::NotTunnel);
  EXPECT_EQ(what(ipv4({.src = node, .dst = self, .protocol = net::protocol::tcp}, test::tcp(1, 4789, 0, {}))),
            Decap::NotTunnel);
  EXPECT_EQ(what(ipv4({.src = node, .dst = self, .protocol = 47}, inner4)), Decap::NotTunnel);
  // A stranger's ordinary traffic is judged elsewhere.
  EXPECT_EQ(what(ipv4({.src = "10.9.9.9", .dst = self}, udp(1, 53, {}))), Decap::NotTunnel);
  Terminator on_4790 = terminator();
  on_4790.udp_port = 4790;
  EXPECT_EQ(what(other_port, on_4790), Decap::Stripped);
  EXPECT_EQ(what(vxlan_frame(vxlan_payload(inner4)), on_4790), Decap::NotTunnel);
}

TEST(Decapsulate, OnlyAcceptedKinds) {
  Terminator only_ipip = terminator();
  only_ipip.accept_vxlan = false;
  EXPECT_EQ(what(vxlan_frame(vxlan_payload(inner4)), only_ipip), Decap::NotTunnel);
  EXPECT_EQ(what(ipip_frame(inner4), only_ipip), Decap::Stripped);
  Terminator only_vxlan = terminator();
  only_vxlan.accept_ipip = false;
  EXPECT_EQ(what(vxlan_frame(vxlan_payload(inner4)), only_vxlan), Decap::Stripped);
  EXPECT_EQ(what(ipip_frame(inner4), only_vxlan), Decap::NotTunnel);
  EXPECT_EQ(what(ipip_frame(inner6, net::protocol::ipv6), only_vxlan), Decap::NotTunnel);
}

// VXL-6, IPIP-3.
TEST(Decapsulate, UnknownSource) {
  const Bytes payload = udp(50000, 4789, vxlan_payload(inner4));
  EXPECT_EQ(reason(ipv4({.src = "192.168.100.103", .dst = self}, payload)), DropReason::TunnelUnknownSource);
  EXPECT_EQ(reason(ipv4({.src = "192.168.100.103", .dst = self, .protocol = net::protocol::ipip}, inner4)),
            DropReason::TunnelUnknownSource);
  // Before everything else: a stranger learns nothing from the other counters.
  EXPECT_EQ(reason(ipv4({.src = "192.168.100.103", .dst = self}, udp(50000, 4789, {}))),
            DropReason::TunnelUnknownSource);
  const Received external(ipv4({.src = "172.18.9.9", .dst = self}, payload));
  EXPECT_EQ(external.result.what, Decap::Stripped);
  EXPECT_EQ(external.packet.tunnel_source, 77);
}

// VXL-8.
TEST(Decapsulate, Fragments) {
  const Bytes payload = udp(50000, 4789, vxlan_payload(inner4));
  const auto beginning = [](const Bytes& whole) { return test::take(whole, whole.size() / 8 * 8); };
  EXPECT_EQ(reason(ipv4({.src = node, .dst = self, .fragment = net::ipv4_more_fragments}, beginning(payload))),
            DropReason::TunnelFragment);
  EXPECT_EQ(
      reason(ipv4({.src = node, .dst = self, .protocol = 4, .fragment = net::ipv4_more_fragments}, beginning(inner4))),
      DropReason::TunnelFragment);
  EXPECT_EQ(reason(ipv4({.src = node, .dst = self, .protocol = 4, .fragment = 3}, inner4)), DropReason::TunnelFragment);
  // Without ports nobody can say what a later UDP fragment belongs to.
  EXPECT_EQ(what(ipv4({.src = node, .dst = self, .fragment = 3}, payload)), Decap::NotTunnel);
}

// A tunnel to us inside a tunnel to us: VXLAN in VXLAN, IPIP in IPIP, each in the other.
TEST(Decapsulate, Nested) {
  for (const Bytes& inside : {vxlan_frame(vxlan_payload(inner4)), ipip_frame(inner4)}) {
    const Bytes moved = with(inside, 4, 0x77);
    Bytes fixed = moved;
    test::fix_ipv4_checksum(fixed);
    // The inner sender must not be the outer one for IPIP, or it is a loop first.
    net::store(fixed.data() + 12, v4("172.18.0.1"));
    test::fix_ipv4_checksum(fixed);
    for (const Bytes& frame : {vxlan_frame(vxlan_payload(fixed)), ipip_frame(fixed)}) {
      Received r(frame);
      ASSERT_EQ(r.result.what, Decap::Stripped);
      ASSERT_EQ(net::parse_ip(r.packet, false), DropReason::None);
      const DecapResult second = decapsulate(r.packet, terminator());
      EXPECT_EQ(second.what, Decap::Dropped);
      EXPECT_EQ(second.reason, DropReason::TunnelNested);
      EXPECT_EQ(r.packet.decapsulations, 1);
    }
  }
}

// IPIP-2, RFC 2003 section 3.2.
TEST(Decapsulate, Loop) {
  EXPECT_EQ(reason(ipip_frame(ipv4({.src = node, .dst = self}, udp(1, 2, {})))), DropReason::TunnelLoop);
  EXPECT_EQ(reason(ipip_frame(ipv4({.src = self, .dst = node}, udp(1, 2, {})))), DropReason::None);
  EXPECT_EQ(reason(ipip_frame(ipv4({.src = node, .dst = "10.0.0.9"}, udp(1, 2, {})))), DropReason::None);
}

// The IP packet ends there: at every byte it is refused until the inner IP header is whole.
TEST(Decapsulate, TruncatedAtEveryByte) {
  const Bytes vx4 = vxlan_payload(inner4);
  for (size_t length = 0; length <= vx4.size(); ++length) {
    EXPECT_EQ(reason(vxlan_frame(test::take(vx4, length))),
              length < 22 + 20 ? DropReason::TunnelMalformed : DropReason::None)
        << length;
  }
  const Bytes vx6 = vxlan_payload(inner6, net::ether_type_ipv6);
  for (size_t length = 0; length <= vx6.size(); ++length) {
    EXPECT_EQ(reason(vxlan_frame(test::take(vx6, length))),
              length < 22 + 40 ? DropReason::TunnelMalformed : DropReason::None)
        << length;
  }
  for (size_t length = 0; length <= inner4.size(); ++length) {
    EXPECT_EQ(reason(ipip_frame(test::take(inner4, length))),
              length < 20 ? DropReason::TunnelMalformed : DropReason::None)
        << length;
  }
  for (size_t length = 0; length <= inner6.size(); ++length) {
    EXPECT_EQ(reason(ipip_frame(test::take(inner6, length), net::protocol::ipv6)),
              length < 40 ? DropReason::TunnelMalformed : DropReason::None)
        << length;
  }
}

// All headers, the inner IP header included, lie in the first segment or the packet is refused.
TEST(Decapsulate, SplitAtEveryByte) {
  const Bytes vxlan = vxlan_frame(vxlan_payload(inner4));
  for (size_t cut = 28; cut < vxlan.size(); ++cut) {
    const Received r(vxlan, cut);
    EXPECT_EQ(r.result.reason, cut < 70 ? DropReason::TunnelMalformed : DropReason::None) << cut;
    if (cut >= 70) {
      EXPECT_EQ(r.mbuf.bytes(), inner4);
    }
  }
  const Bytes ipip = ipip_frame(inner4);
  for (size_t cut = 20; cut < ipip.size(); ++cut) {
    EXPECT_EQ(Received(ipip, cut).result.reason, cut < 40 ? DropReason::TunnelMalformed : DropReason::None) << cut;
  }
}

// The announced family and the first nibble must agree.
TEST(Decapsulate, FamilyMustAgree) {
  EXPECT_EQ(reason(vxlan_frame(vxlan_payload(inner6))), DropReason::TunnelMalformed);
  EXPECT_EQ(reason(vxlan_frame(vxlan_payload(inner4, net::ether_type_ipv6))), DropReason::TunnelMalformed);
  EXPECT_EQ(reason(ipip_frame(inner6)), DropReason::TunnelMalformed);
  EXPECT_EQ(reason(ipip_frame(inner4, net::protocol::ipv6)), DropReason::TunnelMalformed);
  EXPECT_EQ(reason(ipip_frame(with(inner4, 0, 0x05))), DropReason::TunnelMalformed);
}

// Inner lengths and checksums are parse_ip's business: they pass here and fail there.
TEST(Decapsulate, InnerPacketIsNotBelieved) {
  Bytes lying = inner4;
  net::store_be16(lying.data() + 2, 1500);
  test::fix_ipv4_checksum(lying);
  Received r(vxlan_frame(vxlan_payload(lying)));
  ASSERT_EQ(r.result.what, Decap::Stripped);
  EXPECT_EQ(net::parse_ip(r.packet, false), DropReason::IpBadTotalLength);
  Received bad(ipip_frame(with(inner4, 11, static_cast<uint8_t>(inner4[11] ^ 1))));
  ASSERT_EQ(bad.result.what, Decap::Stripped);
  EXPECT_EQ(net::parse_ip(bad.packet, false), DropReason::IpBadChecksum);
}

}  // namespace
}  // namespace sluice::encap
