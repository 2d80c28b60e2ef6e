// MSS clamping, byte by byte, against checksums that DPDK computes anew.
#include <algorithm>
#include <vector>

#include <gtest/gtest.h>
#include <rte_ip.h>

#include "dataplane/mss.h"

namespace sluice::dataplane {
namespace {

using Bytes = std::vector<uint8_t>;

// A TCP header with these options, padded, and a checksum that is right without a pseudo header.
Bytes segment(Bytes options) {
  while (options.size() % 4 != 0) options.push_back(0);
  Bytes tcp(net::tcp_header_length + options.size());
  net::store_be32(&tcp[0], 0x13880050);
  net::store_be32(&tcp[4], 0x01020304);
  net::store_be32(&tcp[12], static_cast<uint32_t>(tcp.size() / 4 << 28) | 0x00027210);
  std::copy(options.begin(), options.end(), tcp.begin() + net::tcp_header_length);
  net::store(&tcp[16], static_cast<uint16_t>(~rte_raw_cksum(tcp.data(), tcp.size())));
  return tcp;
}

Bytes clamped(Bytes tcp, uint16_t limit) {
  clamp_mss(tcp.data(), limit);
  EXPECT_EQ(rte_raw_cksum(tcp.data(), tcp.size()), 0xffff) << "checksum";
  return tcp;
}

TEST(Mss, MTU4_IsWhatThePacketLeaves) {
  EXPECT_EQ(mss_of<net::V4>(1450), 1410);
  EXPECT_EQ(mss_of<net::V6>(1430), 1370);
  EXPECT_EQ(mss_of<net::V6>(50), 0);
}

TEST(Mss, MTU4_LowersAndNeverRaises) {
  const Bytes syn = segment({2, 4, 0x05, 0xb4, 1, 3, 3, 7});  // 1460, NOP, window scale 7
  EXPECT_EQ(clamped(syn, 1410), segment({2, 4, 0x05, 0x82, 1, 3, 3, 7}));
  EXPECT_EQ(clamped(syn, 1460), syn);
  EXPECT_EQ(clamped(syn, 8960), syn);
}

TEST(Mss, MTU4_AtAnyOffset) {
  EXPECT_EQ(clamped(segment({1, 2, 4, 0x05, 0xb4}), 1000), segment({1, 2, 4, 0x03, 0xe8})) << "odd";
  EXPECT_EQ(clamped(segment({1, 1, 2, 4, 0xff, 0xff}), 1), segment({1, 1, 2, 4, 0, 1}));
  EXPECT_EQ(clamped(segment({4, 2, 3, 3, 7, 2, 4, 0x05, 0xb4}), 536), segment({4, 2, 3, 3, 7, 2, 4, 0x02, 0x18}));
  for (unsigned value = 1; value < 65536; value += 97) {
    for (const bool odd : {false, true}) {
      Bytes options{2, 4, static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
      if (odd) options.insert(options.begin(), 1);
      Bytes expected = options;
      const uint16_t limit = 1234;
      if (value > limit) net::store_be16(&expected[expected.size() - 2], limit);
      const Bytes got = clamped(segment(options), limit);
      // The checksum may be written as either zero of ones' complement.
      Bytes want = segment(expected);
      net::store(&want[16], net::load<uint16_t>(&got[16]));
      EXPECT_EQ(got, want) << value;
    }
  }
}

TEST(Mss, MTU4_WithoutTheOptionNothingChanges) {
  for (const Bytes& options : {Bytes{}, Bytes{1, 1, 1, 1}, Bytes{3, 3, 7}, Bytes{0, 2, 4, 0x05, 0xb4},
                               Bytes{2, 3, 0x05, 0xb4}, Bytes{2, 5, 0x05, 0xb4, 0}}) {
    EXPECT_EQ(clamped(segment(options), 100), segment(options));
  }
}

// Lengths that lead nowhere or outside end the search.
TEST(Mss, MTU4_BrokenOptionsAreLeftAlone) {
  for (const Bytes& options : {Bytes{3, 0, 2, 4, 5, 0xb4}, Bytes{3, 1, 2, 4, 5, 0xb4}, Bytes{3, 40, 2, 4, 5, 0xb4},
                               Bytes{1, 1, 1, 2}, Bytes{1, 1, 2, 4}, Bytes{1, 2, 4, 5}}) {
    EXPECT_EQ(clamped(segment(options), 100), segment(options));
  }
}

}  // namespace
}  // namespace sluice::dataplane
