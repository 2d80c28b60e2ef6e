// The outer IPv6 header, byte for byte, against a straightforward construction with DPDK's checksum.
#include <random>

#include <gtest/gtest.h>

#include "encap/header_template_v6.h"
#include "tests/unit/fake_mbuf.h"
#include "tests/unit/net_frames.h"

namespace sluice::encap {
namespace {

using net::V4;
using net::V6;
using test::Bytes;
using test::counting;
using test::FakeMbuf;
using test::ipv4;
using test::ipv6;
using test::udp;
using test::v6;
using test::operator+;

TunnelSpec spec_of(Kind kind) {
  return {.kind = kind,
          .local = v6("2001:db8:a::1"),
          .remote = v6("2001:db8:a::11"),
          .vni = 4096,
          .inner_source = vtep_mac("gw-v6"),
          .inner_destination = vtep_mac("node1-v6")};
}

template <class F>
Bytes applied(const TunnelSpec& spec, const Bytes& packet, uint64_t hash = 0) {
  FakeMbuf mbuf(Bytes(14, 0xee) + packet);
  EXPECT_TRUE(HeaderTemplateV6::build(spec).apply<F>(mbuf.get(), 14, static_cast<uint16_t>(packet.size()), hash));
  EXPECT_EQ(mbuf->pkt_len, mbuf->data_len);
  return mbuf.bytes();
}

// What a person would write without templates.
template <class F>
Bytes reference(const TunnelSpec& spec, const Bytes& inner, uint64_t hash) {
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
  const uint8_t inner_class = F::is_v4 ? inner[1] : static_cast<uint8_t>(inner[0] << 4 | inner[1] >> 4);
  const uint8_t inner_hops = F::is_v4 ? inner[8] : inner[7];
  Bytes out = ipv6({.next = static_cast<uint8_t>(is_vxlan   ? 17
                                                 : F::is_v4 ? 4
                                                            : 41),
                    .traffic_class = static_cast<uint8_t>((spec.copy_dscp ? inner_class & 0xfc : spec.dscp << 2) |
                                                          (spec.copy_ecn ? inner_class & 3 : 0)),
                    .hop_limit = static_cast<uint8_t>(is_vxlan             ? 64
                                                      : spec.ipip_ttl == 0 ? inner_hops
                                                                           : spec.ipip_ttl),
                    .flow_label = static_cast<uint32_t>(hash >> 12 & 0xfffff)},
                   payload);
  net::store(out.data() + 8, spec.local.v6());
  net::store(out.data() + 24, spec.remote.v6());
  if (is_vxlan && !spec.zero_checksum) {
    net::store(out.data() + 46, rte_ipv6_udptcp_cksum(reinterpret_cast<const rte_ipv6_hdr*>(out.data()), &out[40]));
  }
  return out;
}

template <class F>
void compare_random_packets(uint64_t seed) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20000; ++i) {
    TunnelSpec spec = spec_of(random() % 2 == 0 ? Kind::Vxlan : Kind::Ipip);
    net::Ipv6Addr ends[2];
    for (net::Ipv6Addr& end : ends) {
      for (uint8_t& byte : end.bytes) byte = random() % 4 == 0 ? uint8_t{0xff} : static_cast<uint8_t>(random());
    }
    spec.local = ends[0];
    spec.remote = ends[1];
    spec.vni = static_cast<uint32_t>(random() % 0x1000000);
    spec.udp_port = static_cast<uint16_t>(random());
    spec.source_port_first = static_cast<uint16_t>(random());
    spec.source_port_last = static_cast<uint16_t>(spec.source_port_first + random() % (65536 - spec.source_port_first));
    for (uint8_t& byte : spec.inner_source.bytes) byte = static_cast<uint8_t>(random());
    for (uint8_t& byte : spec.inner_destination.bytes) byte = static_cast<uint8_t>(random());
    spec.copy_dscp = random() % 2 == 0;
    spec.dscp = static_cast<uint8_t>(random() % 64);
    spec.copy_ecn = random() % 2 == 0;
    spec.ipip_ttl = random() % 2 == 0 ? uint8_t{0} : static_cast<uint8_t>(random());
    spec.zero_checksum = random() % 4 == 0;

    Bytes inner = test::random_bytes(random, 40 + random() % 100);
    inner[0] = static_cast<uint8_t>((F::is_v4 ? 0x40 : 0x60) | (inner[0] & 0xf));
    const uint64_t hash = random();
    ASSERT_EQ(applied<F>(spec, inner, hash), reference<F>(spec, inner, hash));
  }
}

TEST(HeaderTemplateV6, VXL9_IPIP1_EqualsReferenceForRandomIpv4) { compare_random_packets<V4>(1); }
TEST(HeaderTemplateV6, VXL9_IPIP1_EqualsReferenceForRandomIpv6) { compare_random_packets<V6>(2); }

// CSUM-2: a sum of 0 is sent as 0xffff, because 0 says that there is none.
TEST(HeaderTemplateV6, CSUM2_ZeroIsSentAsAllOnes) {
  const TunnelSpec spec = spec_of(Kind::Vxlan);
  unsigned all_ones = 0;
  for (uint32_t word = 0; word <= 0xffff; ++word) {
    Bytes inner = ipv4({}, udp(1, 2, counting(4)));
    net::store_be16(&inner[28], static_cast<uint16_t>(word));
    const Bytes frame = applied<V4>(spec, inner);
    const uint16_t field = net::load_be16(&frame[46]);
    ASSERT_NE(field, 0);
    all_ones += field == 0xffff ? 1 : 0;
    ASSERT_TRUE(test::l4_checksum_good(frame, 40, 6));
  }
  EXPECT_GE(all_ones, 1u);
}

TEST(HeaderTemplateV6, MTU1_Overhead) {
  EXPECT_EQ(overhead(Kind::Vxlan, net::Family::V6), 70);
  EXPECT_EQ(overhead(Kind::Ipip, net::Family::V6), 40);
  EXPECT_EQ(overhead(spec_of(Kind::Vxlan)), 70);
}

TEST(HeaderTemplateV6, RefusesWithoutHeadroomAndChangesNothing) {
  const Bytes inner = ipv4({}, udp(1, 2, counting(30)));
  for (const Kind kind : {Kind::Ipip, Kind::Vxlan}) {
    const uint16_t needed = overhead(kind, net::Family::V6) + HeaderTemplate::link_headroom;
    for (uint16_t headroom = 0; headroom <= needed; ++headroom) {
      FakeMbuf mbuf(inner, headroom);
      const bool ok =
          HeaderTemplateV6::build(spec_of(kind)).apply<V4>(mbuf.get(), 0, static_cast<uint16_t>(inner.size()), 0);
      EXPECT_EQ(ok, headroom >= needed) << headroom;
      if (!ok) {
        EXPECT_EQ(mbuf.bytes(), inner);
      }
    }
  }
}

TEST(HeaderTemplateV6, LaterSegmentsStayAndAreSummed) {
  const Bytes inner = ipv4({}, udp(1, 2, counting(101)));
  for (const size_t cut : {40, 41, 128}) {
    FakeMbuf head(test::take(inner, cut));
    FakeMbuf tail(test::skip(inner, cut));
    head.chain(tail);
    ASSERT_TRUE(
        HeaderTemplateV6::build(spec_of(Kind::Vxlan)).apply<V4>(head.get(), 0, static_cast<uint16_t>(inner.size()), 0));
    EXPECT_EQ(head.bytes(), reference<V4>(spec_of(Kind::Vxlan), inner, 0));
  }
}

}  // namespace
}  // namespace sluice::encap
