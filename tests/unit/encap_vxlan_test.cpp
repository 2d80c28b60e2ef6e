// VTEP MACs, the VXLAN header's bytes, source ports.
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/unit/net_frames.h"

namespace sluice::encap {
namespace {

using net::be16;

// VXL-4, the published vectors.
TEST(Vxlan, VtepMac) {
  EXPECT_EQ(net::to_string(vtep_mac("node1")), "66:f9:37:c3:7e:94");
  EXPECT_EQ(net::to_string(vtep_mac("k8s-w1")), "66:74:91:32:7c:04");
  EXPECT_EQ(net::to_string(vtep_mac("node-a")), "66:07:02:c1:cc:60");
  EXPECT_EQ(net::to_string(vtep_mac("node1-v6")), "66:0f:35:f2:60:df");
  EXPECT_FALSE(vtep_mac("node1").is_multicast());
  EXPECT_EQ(net::to_string(vtep_mac("")), "66:da:39:a3:ee:5e");  // SHA-1 of nothing (FIPS 180-4 example)
}

// VXL-1, VXL-3.
TEST(Vxlan, HeaderBytes) {
  const TunnelSpec spec{
      .vni = 4096, .udp_port = 4789, .inner_source = vtep_mac("node1"), .inner_destination = vtep_mac("k8s-w1")};
  test::Bytes out(vxlan_length + 2, 0xee);
  write_vxlan(spec, out.data());
  EXPECT_EQ(out, test::hex("00 00 12 b5 00 00 00 00"  // ports, length, checksum
                           "08 00 00 00 00 10 00 00"
                           "66 74 91 32 7c 04 66 f9 37 c3 7e 94 08 00"
                           "ee ee"));
  const TunnelSpec widest{.vni = 0xffffff, .udp_port = 65535};
  write_vxlan(widest, out.data());
  EXPECT_EQ(test::take(test::skip(out, 2), 14), test::hex("ff ff 00 00 00 00  08 00 00 00 ff ff ff 00"));
}

// VXL-2: one flow, one port; many flows, many ports; the whole range and nothing outside.
TEST(Vxlan, SourcePortIsStableAndSpreads) {
  constexpr uint16_t first = 49152;
  constexpr uint16_t range = 65535 - first;
  const net::FlowHasher hash;
  std::set<uint16_t> ports;
  for (uint16_t client = 0; client < 1000; ++client) {
    const net::FlowKey<net::V4> key{test::v4("172.16.228.84"), test::v4("172.16.46.12"), be16::from_host(client),
                                    be16::from_host(80),       net::protocol::tcp,       {}};
    const uint16_t port = vxlan_source_port(hash(key), first, range);
    EXPECT_EQ(port, vxlan_source_port(hash(key), first, range));
    EXPECT_GE(port, first);
    ports.insert(port);
  }
  EXPECT_GT(ports.size(), 950u);  // 1000 of 16384: about 30 share a port by chance
}

TEST(Vxlan, SourcePortCoversTheRangeEvenly) {
  std::mt19937_64 random(1);
  std::map<uint16_t, int> counts;
  for (int i = 0; i < 100000; ++i) ++counts[vxlan_source_port(random(), 1000, 99)];
  EXPECT_EQ(counts.size(), 100u);
  EXPECT_EQ(counts.begin()->first, 1000);
  EXPECT_EQ(counts.rbegin()->first, 1099);
  for (const auto& [port, count] : counts) EXPECT_NEAR(count, 1000, 200) << port;
}

TEST(Vxlan, SourcePortLimits) {
  EXPECT_EQ(vxlan_source_port(UINT64_MAX, 4789, 0), 4789);
  EXPECT_EQ(vxlan_source_port(0, 0, 65535), 0);
  EXPECT_EQ(vxlan_source_port(UINT64_MAX, 0, 65535), 65535);
  EXPECT_EQ(vxlan_source_port(UINT64_MAX, 49152, 16383), 65535);
}

// One worker's flows must not end up in a corner of the range: the bits that choose the worker are others.
TEST(Vxlan, SourcePortIsIndependentOfTheOwner) {
  std::mt19937_64 random(2);
  std::map<uint16_t, std::set<uint16_t>> eighths;
  for (int i = 0; i < 10000; ++i) {
    const uint64_t hash = random();
    const uint16_t port = vxlan_source_port(hash, 49152, 16383);
    eighths[net::owner_of(hash, 8)].insert(static_cast<uint16_t>((port - 49152) / 2048));
  }
  for (const auto& [owner, seen] : eighths) EXPECT_EQ(seen.size(), 8u) << owner;
}

}  // namespace
}  // namespace sluice::encap
