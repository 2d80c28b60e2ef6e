// Known tunnel sources: against std::map, with external networks, at the size of a large cluster.
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "encap/known_sources.h"
#include "tests/unit/net_frames.h"

namespace sluice::encap {
namespace {

using net::Ipv4Addr;
using net::no_tunnel_source;
using test::v4;

std::vector<net::Prefix> prefixes(std::initializer_list<const char*> texts) {
  std::vector<net::Prefix> out;
  for (const char* text : texts) out.push_back(net::parse_prefix(text).value());
  return out;
}

TEST(KnownSources, EmptyKnowsNobody) {
  const KnownSources none;
  EXPECT_EQ(none.find(v4("10.0.0.1")), no_tunnel_source);
  EXPECT_EQ(none.find(v4("0.0.0.0")), no_tunnel_source);
  EXPECT_EQ(none.find(v4("255.255.255.255")), no_tunnel_source);
}

TEST(KnownSources, FindsNodes) {
  const KnownSources sources({{v4("192.168.100.101"), 4}, {v4("192.168.100.102"), 0}}, {}, no_tunnel_source);
  EXPECT_EQ(sources.find(v4("192.168.100.101")), 4);
  EXPECT_EQ(sources.find(v4("192.168.100.102")), 0);
  EXPECT_EQ(sources.find(v4("192.168.100.103")), no_tunnel_source);
}

TEST(KnownSources, FirstOfTwoNodesWithOneAddress) {
  const KnownSources sources({{v4("10.0.0.1"), 7}, {v4("10.0.0.1"), 8}, {v4("0.0.0.0"), 9}}, {}, no_tunnel_source);
  EXPECT_EQ(sources.find(v4("10.0.0.1")), 7);
  EXPECT_EQ(sources.find(v4("0.0.0.0")), no_tunnel_source);
}

// IPIP-3: externalNodesCIDRs. Host bits in a prefix do not matter; a node inside one is still that node.
TEST(KnownSources, ExternalNetworks) {
  const KnownSources sources({{v4("172.18.0.5"), 5}}, prefixes({"172.18.3.4/16", "10.1.1.1/32", "2001:db8::/32"}), 99);
  EXPECT_EQ(sources.find(v4("172.18.0.0")), 99);
  EXPECT_EQ(sources.find(v4("172.18.255.255")), 99);
  EXPECT_EQ(sources.find(v4("172.18.0.5")), 5);
  EXPECT_EQ(sources.find(v4("172.17.255.255")), no_tunnel_source);
  EXPECT_EQ(sources.find(v4("172.19.0.0")), no_tunnel_source);
  EXPECT_EQ(sources.find(v4("10.1.1.1")), 99);
  EXPECT_EQ(sources.find(v4("32.1.13.184")), no_tunnel_source);  // the first bytes of 2001:db8::
  EXPECT_EQ(sources.find(v4("10.1.1.2")), no_tunnel_source);
  EXPECT_EQ(KnownSources({}, prefixes({"0.0.0.0/0"}), 1).find(v4("8.8.8.8")), 1);
}

TEST(KnownSources, AgreesWithMap) {
  std::mt19937_64 random(1);
  for (const size_t count : {1, 2, 3, 7, 8, 100, 5000}) {
    std::map<uint32_t, uint16_t> truth;
    std::vector<KnownSources::Node> nodes;
    for (size_t i = 0; i < count; ++i) {
      // Dense, so that unknown neighbours of known addresses are asked for too.
      const auto address = static_cast<uint32_t>(0x0a000000 + random() % (2 * count));
      if (!truth.emplace(address, static_cast<uint16_t>(i)).second) continue;
      nodes.push_back({Ipv4Addr::from_host(address), static_cast<uint16_t>(i)});
    }
    const KnownSources sources(nodes, {}, no_tunnel_source);
    const KnownSources copy = sources;
    for (uint32_t offset = 0; offset < 2 * count + 10; ++offset) {
      const uint32_t address = 0x0a000000 + offset;
      const auto found = truth.find(address);
      const uint16_t expected = found == truth.end() ? no_tunnel_source : found->second;
      EXPECT_EQ(sources.find(Ipv4Addr::from_host(address)), expected);
      EXPECT_EQ(copy.find(Ipv4Addr::from_host(address)), expected);
    }
  }
}

// Small tables whose entries collide in the last slot and go on in the first.
TEST(KnownSources, ProbesAroundTheEnd) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 5000; ++i) {
    std::vector<KnownSources::Node> nodes;
    for (uint16_t index = 0; index < 3; ++index) {
      nodes.push_back({Ipv4Addr::from_host(static_cast<uint32_t>(random() | 1)), index});
    }
    const KnownSources sources(nodes, {}, no_tunnel_source);
    for (const KnownSources::Node& node : nodes) EXPECT_EQ(sources.find(node.address.v4()), node.index);
    EXPECT_EQ(sources.find(Ipv4Addr::from_host(static_cast<uint32_t>(random() & ~1u))), no_tunnel_source);
  }
}

// One after the other, in tables that fill and empty.
TEST(KnownSources, SCALE5_NodesComeAndGo) {
  std::mt19937_64 random(3);
  std::map<uint32_t, uint16_t> truth;
  KnownSources sources({{v4("192.0.2.1"), 0}}, prefixes({"172.18.0.0/16"}), 1);
  const KnownSources before = sources;
  for (int i = 0; i < 3000; ++i) {
    const uint32_t address = 0x0a000000 + static_cast<uint32_t>(random() % 64);
    const Ipv4Addr one = Ipv4Addr::from_host(address);
    const bool known = truth.erase(address) != 0;
    sources = *sources.with(known ? std::vector<net::IpAddr>{} : std::vector<net::IpAddr>{one},
                            known ? std::vector<net::IpAddr>{one} : std::vector<net::IpAddr>{});
    if (!known) truth[address] = sources.find(one);
    std::map<uint16_t, uint32_t> by_index;
    for (uint32_t each = 0x0a000000; each < 0x0a000000 + 64; ++each) {
      const auto found = truth.find(each);
      const uint16_t index = sources.find(Ipv4Addr::from_host(each));
      ASSERT_EQ(index, found == truth.end() ? no_tunnel_source : found->second);
      if (index != no_tunnel_source) ASSERT_TRUE(by_index.emplace(index, each).second);
    }
    ASSERT_FALSE(by_index.contains(0) || by_index.contains(1));
  }
  EXPECT_EQ(sources.find(v4("192.0.2.1")), 0);
  EXPECT_EQ(sources.find(v4("172.18.9.9")), 1);
  EXPECT_EQ(before.find(Ipv4Addr::from_host(truth.begin()->first)), no_tunnel_source) << "a copy stays what it was";
  const auto both = sources.with({net::IpAddr(test::v6("2001:db8::1"))}, {v4("192.0.2.1")});
  EXPECT_EQ(both->find(v4("192.0.2.1")), no_tunnel_source);
  EXPECT_NE(both->find(test::v6("2001:db8::1")), no_tunnel_source);
}

TEST(KnownSources, SCALE5_IndicesComeToAnEnd) {
  // Those from there on mean something else (dataplane/net/packet.h).
  constexpr uint16_t end = net::turned_source;
  static_assert(end < net::host_source && end < no_tunnel_source);
  KnownSources sources({{v4("192.0.2.1"), end - 3}}, {}, no_tunnel_source);
  EXPECT_TRUE(sources.has_room(2));
  EXPECT_FALSE(sources.has_room(3));
  sources = *sources.with({v4("10.0.0.1"), v4("10.0.0.2")}, {});
  EXPECT_EQ(sources.find(v4("10.0.0.2")), end - 1);
  net::Packet packet;
  packet.tunnel_source = end - 1;
  EXPECT_TRUE(packet.from_tunnel() && !packet.turned_back() && !packet.from_host());
  EXPECT_FALSE(sources.with({v4("10.0.0.3")}, {}));
}

// VXL-9: an IPv6 underlay; the families do not meet.
TEST(KnownSources, VXL6_IPIP3_VXL9_IPv6) {
  std::vector<KnownSources::Node> nodes;
  for (uint16_t i = 0; i < 3000; ++i) {
    net::Ipv6Addr address = test::v6("2001:db8:a::");
    address.bytes[14] = static_cast<uint8_t>(i >> 8);
    address.bytes[15] = static_cast<uint8_t>(i);
    nodes.push_back({address, i});
    nodes.push_back({Ipv4Addr::from_host(0x0a000000U + i), static_cast<uint16_t>(i + 3000)});
  }
  const KnownSources sources(nodes, prefixes({"fd00::/16", "172.18.0.0/16"}), 9999);
  for (const KnownSources::Node& node : nodes) {
    EXPECT_EQ(node.address.is_v4() ? sources.find(node.address.v4()) : sources.find(node.address.v6()), node.index);
  }
  EXPECT_EQ(sources.find(test::v6("2001:db8:a::ffff")), no_tunnel_source);
  EXPECT_EQ(sources.find(test::v6("fd00:1::1")), 9999);
  EXPECT_EQ(sources.find(test::v6("fd01::1")), no_tunnel_source);
  EXPECT_EQ(sources.find(test::v6("::")), no_tunnel_source);
  EXPECT_EQ(sources.find(v4("172.18.3.3")), 9999);
}

}  // namespace
}  // namespace sluice::encap
