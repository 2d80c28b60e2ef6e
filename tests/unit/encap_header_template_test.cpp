// The outer header, byte for byte, against a straightforward construction with DPDK's checksum.
#include <random>

#include <gtest/gtest.h>

#include "encap/header_template.h"
#include "tests/unit/fake_mbuf.h"
#include "tests/unit/net_frames.h"

namespace sluice::encap {
namespace {

using net::V4;
using net::V6;
using test::Bytes;
using test::counting;
using test::FakeMbuf;
using test::hex;
using test::ipv4;
using test::ipv6;
using test::udp;
using test::v4;
using test::operator+;

constexpr uint16_t dont_fragment = net::ipv4_dont_fragment;

TunnelSpec spec_of(Kind kind) {
  return {.kind = kind,
          .local = v4("192.168.100.101"),
          .remote = v4("192.168.100.102"),
          .vni = 4096,
          .inner_source = vtep_mac("node1"),
          .inner_destination = vtep_mac("k8s-w1")};
}

// The frame after encapsulating `packet`, which arrived behind 14 bytes of Ethernet.
template <class F>
Bytes applied(const TunnelSpec& spec, const Bytes& packet, uint64_t hash = 0, uint16_t id = 0) {
  FakeMbuf mbuf(Bytes(14, 0xee) + packet);
  const bool ok = HeaderTemplate::build(spec).apply<F>(mbuf.get(), 14, static_cast<uint16_t>(packet.size()), hash, id);
  EXPECT_TRUE(ok);
  EXPECT_EQ(mbuf->pkt_len, mbuf->data_len);
  return mbuf.bytes();
}

// BASE-4: the published capture of one echo request between two pods.
TEST(HeaderTemplate, IpipReferenceFrame) {
  const Bytes inner = hex("45 00 00 54 9e 57 40 00 3f 01 32 d0 ac 10 e4 54 ac 10 2e 0c"
                          "08 00 00 00 7e 2a 00 01") +
                      counting(56);
  ASSERT_TRUE(test::ipv4_checksum_good(inner.data()));
  const Bytes frame = applied<V4>(spec_of(Kind::Ipip), inner, 0, 0xd3f8);
  EXPECT_EQ(frame.size(), 104u);
  EXPECT_EQ(14 + frame.size(), 118u);
  EXPECT_EQ(frame, hex("45 00 00 68 d3 f8 40 00 3f 04 1d 7d c0 a8 64 65 c0 a8 64 66") + inner);
}

TEST(HeaderTemplate, VxlanFrame) {
  const Bytes inner = ipv4({.ttl = 63, .fragment = dont_fragment}, udp(1, 2, counting(56)));
  ASSERT_EQ(inner.size(), 84u);
  const uint64_t hash = 0x123456789abcdef0;
  const Bytes frame = applied<V4>(spec_of(Kind::Vxlan), inner, hash, 0x0102);
  EXPECT_EQ(frame.size(), 134u);
  Bytes expected =
      hex("45 00 00 86 01 02 00 00 40 11 00 00 c0 a8 64 65 c0 a8 64 66"
          "00 00 12 b5 00 72 00 00  08 00 00 00 00 10 00 00"
          "66 74 91 32 7c 04 66 f9 37 c3 7e 94 08 00");
  net::store_be16(expected.data() + 20, vxlan_source_port(hash, 49152, 65535 - 49152));
  test::fix_ipv4_checksum(expected);
  EXPECT_EQ(frame, expected + inner);
}

TEST(HeaderTemplate, Ipv6Inside) {
  const Bytes inner = ipv6({.traffic_class = 0xba, .hop_limit = 17}, udp(1, 2, counting(3)));
  const Bytes ipip = applied<V6>(spec_of(Kind::Ipip), inner, 0, 7);
  EXPECT_EQ(ipip.size(), inner.size() + 20);
  EXPECT_EQ(ipip[1], 0xba);
  EXPECT_EQ(net::load_be16(ipip.data() + 6), dont_fragment);
  EXPECT_EQ(ipip[8], 17);
  EXPECT_EQ(ipip[9], net::protocol::ipv6);
  EXPECT_TRUE(test::ipv4_checksum_good(ipip.data()));
  EXPECT_EQ(test::skip(ipip, 20), inner);

  const Bytes vxlan = applied<V6>(spec_of(Kind::Vxlan), inner, 0, 7);
  EXPECT_EQ(vxlan[1], 0xba);
  EXPECT_EQ(vxlan[8], 64);
  EXPECT_EQ(net::load_be16(vxlan.data() + 48), net::ether_type_ipv6);
  EXPECT_EQ(test::skip(vxlan, 50), inner);
}

struct DfCase {
  Kind kind;
  OuterDf df;
  uint16_t outer_for_clear;  // inner DF clear
  uint16_t outer_for_set;    // inner DF set, or IPv6
};

// MTU-2, VXL-7, RFC 2003 section 3.1.
TEST(HeaderTemplate, DontFragment) {
  for (const DfCase& c : {
           DfCase{Kind::Ipip, OuterDf::Inherit, 0, dont_fragment},
           {Kind::Ipip, OuterDf::Set, dont_fragment, dont_fragment},
           {Kind::Ipip, OuterDf::Clear, 0, dont_fragment},
           {Kind::Vxlan, OuterDf::Inherit, 0, 0},
           {Kind::Vxlan, OuterDf::Set, dont_fragment, dont_fragment},
           {Kind::Vxlan, OuterDf::Clear, 0, 0},
       }) {
    TunnelSpec spec = spec_of(c.kind);
    spec.outer_df = c.df;
    const auto flags = [&](uint16_t inner) {
      return net::load_be16(applied<V4>(spec, ipv4({.fragment = inner}, counting(16))).data() + 6);
    };
    EXPECT_EQ(flags(0), c.outer_for_clear);
    EXPECT_EQ(flags(dont_fragment), c.outer_for_set);
    // A fragment inside is a whole packet outside.
    EXPECT_EQ(flags(net::ipv4_more_fragments | 5), c.outer_for_clear);
    EXPECT_EQ(flags(0x9fff), c.outer_for_clear);
    EXPECT_EQ(net::load_be16(applied<V6>(spec, ipv6({}, counting(16))).data() + 6), c.outer_for_set);
  }
}

// TTL-3.
TEST(HeaderTemplate, Ttl) {
  for (const uint8_t inner : {1, 63, 255}) {
    const Bytes packet = ipv4({.ttl = inner}, udp(1, 2, {}));
    EXPECT_EQ(applied<V4>(spec_of(Kind::Ipip), packet)[8], inner);
    EXPECT_EQ(applied<V4>(spec_of(Kind::Vxlan), packet)[8], 64);
    TunnelSpec fixed = spec_of(Kind::Ipip);
    fixed.ipip_ttl = 100;
    EXPECT_EQ(applied<V4>(fixed, packet)[8], 100);
  }
}

// ECN-1: every inner octet in each of the four modes.
TEST(HeaderTemplate, DscpAndEcn) {
  for (const Kind kind : {Kind::Ipip, Kind::Vxlan}) {
    for (int tos = 0; tos < 256; ++tos) {
      const Bytes four = ipv4({.tos = static_cast<uint8_t>(tos)}, udp(1, 2, {}));
      const Bytes six = ipv6({.traffic_class = static_cast<uint8_t>(tos)}, udp(1, 2, {}));
      for (const bool copy_dscp : {false, true}) {
        for (const bool copy_ecn : {false, true}) {
          TunnelSpec spec = spec_of(kind);
          spec.copy_dscp = copy_dscp;
          spec.dscp = 46;
          spec.copy_ecn = copy_ecn;
          const int expected = (copy_dscp ? tos & 0xfc : 46 << 2) | (copy_ecn ? tos & 3 : 0);
          EXPECT_EQ(applied<V4>(spec, four)[1], expected) << tos;
          EXPECT_EQ(applied<V6>(spec, six)[1], expected) << tos;
        }
      }
    }
  }
}

// What a person would write without templates.
template <class F>
Bytes reference(const TunnelSpec& spec, const Bytes& inner, uint64_t hash, uint16_t id) {
  const bool is_vxlan = spec.kind == Kind::Vxlan;
  Bytes payload = inner;
  if (is_vxlan) {
    const auto port = static_cast<uint16_t>(
        spec.source_port_first +
        ((hash >> 8 & 0xffffffff) * static_cast<uint64_t>(spec.source_port_last - spec.source_port_first + 1) >> 32));
    payload = udp(port, spec.udp_port,
                  test::vxlan(spec.vni, test::ethernet(spec.inner_destination, spec.inner_source,
                                                       F::is_v4 ? 0x0800 : 0x86dd, inner)));
  }
  const uint8_t inner_tos = F::is_v4 ? inner[1] : static_cast<uint8_t>(inner[0] << 4 | inner[1] >> 4);
  const bool inner_df = !F::is_v4 || (inner[6] & 0x40) != 0;
  const uint8_t inner_ttl = F::is_v4 ? inner[8] : inner[7];
  const bool df = spec.outer_df == OuterDf::Set || (!is_vxlan && inner_df);
  Bytes out = ipv4({.protocol = static_cast<uint8_t>(is_vxlan   ? 17
                                                     : F::is_v4 ? 4
                                                                : 41),
                    .tos = static_cast<uint8_t>((spec.copy_dscp ? inner_tos & 0xfc : spec.dscp << 2) |
                                                (spec.copy_ecn ? inner_tos & 3 : 0)),
                    .ttl = static_cast<uint8_t>(is_vxlan             ? 64
                                                : spec.ipip_ttl == 0 ? inner_ttl
                                                                     : spec.ipip_ttl),
                    .id = id,
                    .fragment = df ? dont_fragment : uint16_t{0}},
                   payload);
  net::store(out.data() + 12, spec.local.v4());
  net::store(out.data() + 16, spec.remote.v4());
  test::fix_ipv4_checksum(out);
  return out;
}

template <class F>
void compare_random_packets(uint64_t seed) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20000; ++i) {
    TunnelSpec spec;
    spec.kind = random() % 2 == 0 ? Kind::Vxlan : Kind::Ipip;
    spec.local = net::Ipv4Addr::from_wire(static_cast<uint32_t>(random()));
    spec.remote = net::Ipv4Addr::from_wire(random() % 8 == 0 ? 0xffffffff : static_cast<uint32_t>(random()));
    spec.vni = static_cast<uint32_t>(random() % 0x1000000);
    spec.udp_port = static_cast<uint16_t>(random());
    spec.source_port_first = static_cast<uint16_t>(random());
    spec.source_port_last = static_cast<uint16_t>(spec.source_port_first + random() % (65536 - spec.source_port_first));
    for (uint8_t& byte : spec.inner_source.bytes) byte = static_cast<uint8_t>(random());
    for (uint8_t& byte : spec.inner_destination.bytes) byte = static_cast<uint8_t>(random());
    spec.outer_df = static_cast<OuterDf>(random() % 3);
    spec.copy_dscp = random() % 2 == 0;
    spec.dscp = static_cast<uint8_t>(random() % 64);
    spec.copy_ecn = random() % 2 == 0;
    spec.ipip_ttl = random() % 2 == 0 ? uint8_t{0} : static_cast<uint8_t>(random());

    Bytes inner = test::random_bytes(random, 40 + random() % 100);
    inner[0] = static_cast<uint8_t>((F::is_v4 ? 0x40 : 0x60) | (inner[0] & 0xf));
    const uint64_t hash = random();
    const auto id = static_cast<uint16_t>(random());
    ASSERT_EQ(applied<F>(spec, inner, hash, id), reference<F>(spec, inner, hash, id));
  }
}

TEST(HeaderTemplate, EqualsReferenceForRandomIpv4) { compare_random_packets<V4>(1); }
TEST(HeaderTemplate, EqualsReferenceForRandomIpv6) { compare_random_packets<V6>(2); }

// Every value of one word, the others small and large: some sums carry twice, about one in thirty thousand.
TEST(HeaderTemplate, ChecksumForEveryIdentification) {
  const Bytes inner = ipv4({.ttl = 255, .fragment = dont_fragment}, udp(1, 2, {}));
  for (const Kind kind : {Kind::Ipip, Kind::Vxlan}) {
    const HeaderTemplate outer = HeaderTemplate::build(spec_of(kind));
    for (const uint16_t l3_length : {28, 20000, 40000, 65485}) {
      for (uint32_t id = 0; id <= 0xffff; ++id) {
        FakeMbuf mbuf(inner);
        ASSERT_TRUE(outer.apply<V4>(mbuf.get(), 0, l3_length, 0, static_cast<uint16_t>(id)));
        ASSERT_TRUE(test::ipv4_checksum_good(mbuf.bytes().data())) << id << " " << l3_length;
      }
    }
  }
}

TEST(HeaderTemplate, LargestInnerPackets) {
  for (const Kind kind : {Kind::Ipip, Kind::Vxlan}) {
    const Bytes inner = ipv4({}, Bytes(65535u - 20 - overhead(kind), 0xab));
    FakeMbuf mbuf(test::take(inner, 100));  // only the header is looked at
    const auto length = static_cast<uint16_t>(inner.size());
    ASSERT_TRUE(HeaderTemplate::build(spec_of(kind)).apply<V4>(mbuf.get(), 0, length, 0, 0));
    EXPECT_EQ(net::load_be16(mbuf.bytes().data() + 2), 65535);
    EXPECT_TRUE(test::ipv4_checksum_good(mbuf.bytes().data()));
  }
}

// Whatever stood before the inner header goes: nothing, Ethernet, Ethernet with a tag, an old tunnel.
TEST(HeaderTemplate, OldLayer2IsReplaced) {
  const Bytes inner = ipv4({.ttl = 9}, udp(1, 2, counting(30)));
  for (const Kind kind : {Kind::Ipip, Kind::Vxlan}) {
    const Bytes expected = applied<V4>(spec_of(kind), inner, 5, 6);
    for (const uint16_t before : {0, 14, 18, 64, 84}) {
      FakeMbuf mbuf(Bytes(before, 0xee) + inner);
      ASSERT_TRUE(HeaderTemplate::build(spec_of(kind))
                      .apply<V4>(mbuf.get(), before, static_cast<uint16_t>(inner.size()), 5, 6));
      EXPECT_EQ(mbuf.bytes(), expected) << before;
      EXPECT_GE(rte_pktmbuf_headroom(mbuf.get()), HeaderTemplate::link_headroom);
    }
  }
}

TEST(HeaderTemplate, RefusesWithoutHeadroomAndChangesNothing) {
  const Bytes inner = ipv4({}, udp(1, 2, counting(30)));
  for (const Kind kind : {Kind::Ipip, Kind::Vxlan}) {
    const uint16_t needed = overhead(kind) + HeaderTemplate::link_headroom;
    for (uint16_t before = 0; before <= 18; ++before) {
      for (uint16_t headroom = 0; headroom <= needed; ++headroom) {
        const Bytes frame = Bytes(before, 0xee) + inner;
        FakeMbuf mbuf(frame, headroom);
        const bool ok = HeaderTemplate::build(spec_of(kind))
                            .apply<V4>(mbuf.get(), before, static_cast<uint16_t>(inner.size()), 0, 0);
        EXPECT_EQ(ok, headroom + before >= needed) << headroom << " " << before;
        if (!ok) {
          EXPECT_EQ(mbuf.bytes(), frame);
        }
      }
    }
  }
}

TEST(HeaderTemplate, LaterSegmentsStay) {
  const Bytes inner = ipv4({}, udp(1, 2, counting(100)));
  FakeMbuf head(test::take(inner, 40));
  FakeMbuf tail(test::skip(inner, 40));
  head.chain(tail);
  ASSERT_TRUE(
      HeaderTemplate::build(spec_of(Kind::Vxlan)).apply<V4>(head.get(), 0, static_cast<uint16_t>(inner.size()), 0, 0));
  EXPECT_EQ(head->pkt_len, inner.size() + 50);
  EXPECT_EQ(head->data_len, 90);
  EXPECT_EQ(test::skip(head.bytes(), 50), inner);
  EXPECT_EQ(net::load_be16(head.bytes().data() + 2), inner.size() + 50);
}

TEST(HeaderTemplate, IsOneCacheLine) {
  EXPECT_EQ(sizeof(HeaderTemplate), 64u);
  EXPECT_EQ(alignof(HeaderTemplate), 64u);
  EXPECT_EQ(overhead(Kind::Ipip), 20);
  EXPECT_EQ(overhead(Kind::Vxlan), 50);
}

// IPIP-2, the sender's side.
TEST(Ipip, Loops) {
  const auto a = v4("10.0.0.1");
  const auto b = v4("10.0.0.2");
  EXPECT_TRUE(ipip_loops(a, b, a, b));
  EXPECT_FALSE(ipip_loops(b, a, a, b));
  EXPECT_FALSE(ipip_loops(a, a, a, b));
  EXPECT_FALSE(ipip_loops(b, b, a, b));
}

}  // namespace
}  // namespace sluice::encap
