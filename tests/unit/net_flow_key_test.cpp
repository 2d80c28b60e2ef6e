// Keys as memory, the symmetric hash, the spread over workers.
#include <array>
#include <cmath>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "dataplane/net/flow_key.h"
#include "tests/unit/net_frames.h"

namespace sluice::net {
namespace {

using test::v4;
using test::v6;

FlowKey<V4> key4(uint32_t src, uint32_t dst, uint16_t src_port, uint16_t dst_port, uint8_t proto = protocol::tcp) {
  return {Ipv4Addr::from_host(src),
          Ipv4Addr::from_host(dst),
          be16::from_host(src_port),
          be16::from_host(dst_port),
          proto,
          {}};
}

FlowKey<V6> random_key6(std::mt19937_64& random) {
  FlowKey<V6> key;
  for (uint8_t& byte : key.src.bytes) byte = static_cast<uint8_t>(random());
  for (uint8_t& byte : key.dst.bytes) byte = static_cast<uint8_t>(random());
  key.src_port = be16::from_host(static_cast<uint16_t>(random()));
  key.dst_port = be16::from_host(static_cast<uint16_t>(random()));
  key.protocol = protocol::udp;
  return key;
}

// The largest deviation of a bucket from an even share, as a fraction.
template <size_t Buckets>
double worst_deviation(const std::array<uint32_t, Buckets>& counts, size_t used, size_t total) {
  double worst = 0;
  for (size_t i = 0; i < used; ++i) {
    const double share = static_cast<double>(total) / static_cast<double>(used);
    worst = std::max(worst, std::abs(counts[i] - share) / share);
  }
  return worst;
}

TEST(FlowKey, ReversedTwiceIsItself) {
  const auto key = key4(0x0a000001, 0x0a000002, 1234, 80);
  EXPECT_EQ(key.reversed().src, key.dst);
  EXPECT_EQ(key.reversed().dst_port, key.src_port);
  EXPECT_EQ(key.reversed().reversed(), key);
  EXPECT_FALSE(key.reversed() == key);
}

TEST(FlowKey, EveryFieldCounts) {
  const auto key = key4(1, 2, 3, 4, 6);
  EXPECT_FALSE(key == key4(9, 2, 3, 4, 6));
  EXPECT_FALSE(key == key4(1, 9, 3, 4, 6));
  EXPECT_FALSE(key == key4(1, 2, 9, 4, 6));
  EXPECT_FALSE(key == key4(1, 2, 3, 9, 6));
  EXPECT_FALSE(key == key4(1, 2, 3, 4, 17));
}

TEST(FlowHasher, BothDirectionsHashAlike) {
  std::mt19937_64 random(1);
  const FlowHasher hash{random(), random()};
  for (int i = 0; i < 10000; ++i) {
    const auto four = key4(static_cast<uint32_t>(random()), static_cast<uint32_t>(random()),
                           static_cast<uint16_t>(random()), static_cast<uint16_t>(random()));
    EXPECT_EQ(hash(four), hash(four.reversed()));
    const auto six = random_key6(random);
    EXPECT_EQ(hash(six), hash(six.reversed()));
  }
}

TEST(FlowHasher, EveryFieldAndKeyCounts) {
  const FlowHasher hash;
  const auto key = key4(1, 2, 3, 4, 6);
  EXPECT_NE(hash(key), hash(key4(9, 2, 3, 4, 6)));
  EXPECT_NE(hash(key), hash(key4(1, 9, 3, 4, 6)));
  EXPECT_NE(hash(key), hash(key4(1, 2, 9, 4, 6)));
  EXPECT_NE(hash(key), hash(key4(1, 2, 3, 9, 6)));
  EXPECT_NE(hash(key), hash(key4(1, 2, 3, 4, 17)));
  // Swapping only the ports, or only the addresses, is another flow.
  EXPECT_NE(hash(key), hash(key4(1, 2, 4, 3, 6)));
  EXPECT_NE(hash(key), (FlowHasher{1, 2})(key));
  std::mt19937_64 random(2);
  auto six = random_key6(random);
  const uint64_t before = hash(six);
  for (size_t byte = 0; byte < 16; ++byte) {
    auto changed = six;
    changed.dst.bytes[byte] ^= 1;
    EXPECT_NE(hash(changed), before) << byte;
  }
}

// Clients with consecutive ports to one service: what a load generator and a busy proxy look like.
TEST(FlowHasher, ConsecutivePortsSpreadOverWorkersAndBuckets) {
  constexpr size_t flows = 32768;
  for (uint16_t workers = 2; workers <= 8; ++workers) {
    std::array<uint32_t, 8> counts{};
    for (size_t i = 0; i < flows; ++i) {
      const auto key = key4(0x0a000001, 0xc0a80001, static_cast<uint16_t>(32768 + i), 80);
      const uint16_t owner = owner_of(FlowHasher{}(key), workers);
      ASSERT_LT(owner, workers);
      ++counts[owner];
    }
    EXPECT_LT(worst_deviation(counts, workers, flows), 0.06) << workers;
  }
  std::array<uint32_t, 64> buckets{};
  for (size_t i = 0; i < flows; ++i) {
    ++buckets[FlowHasher{}(key4(0x0a000001, 0xc0a80001, static_cast<uint16_t>(i), 80)) % 64];
  }
  EXPECT_LT(worst_deviation(buckets, buckets.size(), flows), 0.2);
}

TEST(FlowHasher, ConsecutiveAddressesSpreadOverWorkers) {
  constexpr size_t flows = 32768;
  for (uint16_t workers = 2; workers <= 8; ++workers) {
    std::array<uint32_t, 8> four{};
    std::array<uint32_t, 8> six{};
    for (size_t i = 0; i < flows; ++i) {
      ++four[owner_of(FlowHasher{}(key4(0x0a000000 + static_cast<uint32_t>(i), 0xc0a80001, 1024, 53, 17)), workers)];
      FlowKey<V6> key{v6("2001:db8::"), v6("2001:db8::53"), be16::from_host(1024), be16::from_host(53), 17, {}};
      key.src.bytes[14] = static_cast<uint8_t>(i >> 8);
      key.src.bytes[15] = static_cast<uint8_t>(i);
      ++six[owner_of(FlowHasher{}(key), workers)];
    }
    EXPECT_LT(worst_deviation(four, workers, flows), 0.06) << workers;
    EXPECT_LT(worst_deviation(six, workers, flows), 0.06) << workers;
  }
}

// Within one worker's share the low bits, which index buckets, still take every value evenly.
TEST(FlowHasher, OwnerAndBucketAreIndependent) {
  std::array<uint32_t, 16> buckets{};
  size_t owned = 0;
  for (uint32_t i = 0; i < 65536; ++i) {
    const uint64_t hash = FlowHasher{}(key4(0x0a000001, 0xc0a80001, static_cast<uint16_t>(i), 443));
    if (owner_of(hash, 4) != 2) continue;
    ++owned;
    ++buckets[hash % 16];
  }
  EXPECT_LT(worst_deviation(buckets, buckets.size(), owned), 0.15);
}

TEST(OwnerOf, OneWorkerOwnsAll) {
  EXPECT_EQ(owner_of(0, 1), 0);
  EXPECT_EQ(owner_of(UINT64_MAX, 1), 0);
  EXPECT_EQ(owner_of(UINT64_MAX, 8), 7);
  EXPECT_EQ(owner_of(UINT64_MAX, 65535), 65534);
}

// SVC-21: fixed numbers, so that gateways of different builds choose alike.
TEST(BalancingHash, IsFixed) {
  const auto key = key4(0x0a000001, 0xc0a80001, 40000, 80);
  EXPECT_EQ(balancing_hash(key), balancing_hash(FlowKey<V4>(key)));
  EXPECT_NE(balancing_hash(key), balancing_hash(key.reversed()));
  EXPECT_EQ(balancing_hash(key4(0x0a000001, 0xc0a80001, 40000, 80)), 0xf7b2152d1cf8b961);
}

TEST(BalancingHash, AffinityIgnoresTheSourcePort) {
  const auto one = key4(0x0a000001, 0xc0a80001, 40000, 80);
  const auto other = key4(0x0a000001, 0xc0a80001, 40001, 80);
  EXPECT_NE(balancing_hash(one), balancing_hash(other));
  EXPECT_EQ(balancing_hash(one, false), balancing_hash(other, false));
  EXPECT_NE(balancing_hash(one, false), balancing_hash(key4(0x0a000002, 0xc0a80001, 40000, 80), false));
  std::set<uint64_t> six;
  std::mt19937_64 random(3);
  auto key = random_key6(random);
  for (uint16_t port = 0; port < 1000; ++port) {
    key.src_port = be16::from_host(port);
    six.insert(balancing_hash(key));
    EXPECT_EQ(balancing_hash(key, false),
              balancing_hash(FlowKey<V6>{key.src, key.dst, {}, key.dst_port, 17, {}}, false));
  }
  EXPECT_EQ(six.size(), 1000u);
}

}  // namespace
}  // namespace sluice::net
