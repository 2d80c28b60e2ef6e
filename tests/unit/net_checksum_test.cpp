// Checksums against DPDK's full computation and the vectors of the RFCs.
#include <random>

#include <gtest/gtest.h>

#include "dataplane/net/checksum.h"
#include "tests/unit/net_frames.h"

namespace sluice::net {
namespace {

using test::Bytes;
using test::random_bytes;

uint16_t wire(uint16_t host) { return be16::from_host(host).wire(); }

TEST(Checksum, FoldCarriesAroundFromEveryWidth) {
  EXPECT_EQ(checksum_fold(0), 0);
  EXPECT_EQ(checksum_fold(0xffff), 0xffff);
  EXPECT_EQ(checksum_fold(0x10000), 1);
  EXPECT_EQ(checksum_fold(0x1ffff), 1);
  EXPECT_EQ(checksum_fold(0xffffffff), 0xffff);
  EXPECT_EQ(checksum_fold(0x100000000), 1);
  EXPECT_EQ(checksum_fold(0xffffffffffffffff), 0xffff);
  std::mt19937_64 random(1);
  for (int i = 0; i < 10000; ++i) {
    const uint64_t sum = random() >> (random() % 64);
    const uint16_t folded = checksum_fold(sum);
    EXPECT_EQ(folded % 0xffff, sum % 0xffff) << sum;  // ones' complement is arithmetic modulo 0xffff
    EXPECT_EQ(folded == 0, sum == 0) << sum;
  }
}

// RFC 1071 section 3.
TEST(Checksum, Rfc1071Example) {
  const Bytes data = test::hex("00 01 f2 03 f4 f5 f6 f7");
  EXPECT_EQ(checksum_fold(checksum_sum(data.data(), data.size())), wire(0xddf2));
  EXPECT_EQ(checksum(data.data(), data.size()), wire(0x220d));
}

TEST(Checksum, EqualsDpdkForEveryLengthAndAlignment) {
  std::mt19937_64 random(2);
  for (size_t length = 0; length < 130; ++length) {
    for (size_t offset = 0; offset < 4; ++offset) {
      const Bytes data = random_bytes(random, length + offset);
      const uint16_t expected = rte_raw_cksum(data.data() + offset, length);
      EXPECT_EQ(checksum_fold(checksum_sum(data.data() + offset, length)), expected) << length;
      EXPECT_EQ(checksum(data.data() + offset, length), static_cast<uint16_t>(~expected)) << length;
    }
  }
}

TEST(Checksum, SumsChain) {
  std::mt19937_64 random(3);
  const Bytes data = random_bytes(random, 1001);
  for (size_t cut = 0; cut < data.size(); cut += 2) {
    const uint64_t front = checksum_sum(data.data(), cut);
    EXPECT_EQ(checksum(data.data() + cut, data.size() - cut, front), checksum(data.data(), data.size()));
  }
}

TEST(Checksum, LargestDatagramOfOnesDoesNotOverflow) {
  const Bytes data(65535, 0xff);
  EXPECT_EQ(checksum_fold(checksum_sum(data.data(), data.size())), rte_raw_cksum(data.data(), data.size()));
}

// CSUM-1: RFC 1624 section 4; equation 2 of RFC 1141 would answer 0xffff.
TEST(ChecksumDelta, Rfc1624Vector) {
  const auto delta = ChecksumDelta{}.replace16(wire(0x5555), wire(0x3285));
  EXPECT_EQ(delta.apply(wire(0xdd2f)), wire(0x0000));
}

TEST(ChecksumDelta, EmptyChangesNothing) {
  for (uint32_t checksum = 0; checksum <= 0xffff; ++checksum) {
    EXPECT_EQ(ChecksumDelta{}.apply(static_cast<uint16_t>(checksum)), checksum);
  }
}

// A random header, some words of it replaced: the delta gives what computing it anew gives.
TEST(ChecksumDelta, EqualsFullRecomputationOfIpv4Headers) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 20000; ++i) {
    Bytes header = random_bytes(random, 20);
    header[0] = 0x45;
    test::fix_ipv4_checksum(header);
    const uint16_t before = load<uint16_t>(header.data() + 10);
    ChecksumDelta delta;

    const auto src = Ipv4Addr::from_host(static_cast<uint32_t>(random()));
    delta.replace(IpHeader<V4>::source(header.data()), src);
    store(header.data() + 12, src);
    const uint32_t dst = random() % 4 == 0 ? 0xffffffff : static_cast<uint32_t>(random());
    delta.replace32(load<uint32_t>(header.data() + 16), dst);
    store(header.data() + 16, dst);
    const auto id = be16::from_host(static_cast<uint16_t>(random()));
    delta.replace(be16::from_wire(load<uint16_t>(header.data() + 4)), id);
    store(header.data() + 4, id);

    test::fix_ipv4_checksum(header);
    EXPECT_EQ(delta.apply(before), load<uint16_t>(header.data() + 10));
  }
}

TEST(ChecksumDelta, EqualsFullRecomputationOfIpv6PseudoHeader) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 5000; ++i) {
    Bytes packet = test::ipv6({.next = protocol::tcp}, test::tcp(1, 2, 0, random_bytes(random, 33)));
    auto* header = reinterpret_cast<rte_ipv6_hdr*>(packet.data());
    auto* tcp = reinterpret_cast<rte_tcp_hdr*>(packet.data() + 40);
    tcp->cksum = rte_ipv6_udptcp_cksum(header, tcp);

    Ipv6Addr destination;
    for (uint8_t& byte : destination.bytes) byte = static_cast<uint8_t>(random());
    const be16 port = be16::from_host(static_cast<uint16_t>(random()));
    const auto delta = ChecksumDelta{}
                           .replace(IpHeader<V6>::destination(packet.data()), destination)
                           .replace(be16::from_wire(tcp->dst_port), port);
    store(packet.data() + 24, destination);
    tcp->dst_port = port.wire();
    tcp->cksum = delta.apply(tcp->cksum);
    EXPECT_TRUE(test::l4_checksum_good(packet, 40, 16));
  }
}

// What NAT does on the way out and undoes on the way back.
TEST(ChecksumDelta, ThereAndBackIsTheSameChecksum) {
  std::mt19937_64 random(6);
  for (int i = 0; i < 20000; ++i) {
    const auto from = static_cast<uint32_t>(random());
    const auto to = static_cast<uint32_t>(random());
    const auto checksum = static_cast<uint16_t>(random() % 0xffff);  // 0xffff and 0 are one number
    const uint16_t there = ChecksumDelta{}.replace32(from, to).apply(checksum);
    EXPECT_EQ(ChecksumDelta{}.replace32(to, from).apply(there) % 0xffff, checksum);
  }
}

// Every checksum, with deltas on both sides of every carry.
TEST(ChecksumDelta, CSUM1_AppliedAsEquation3SaysIt) {
  for (const uint16_t to : {0x0000, 0x0001, 0x0002, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff}) {
    const ChecksumDelta delta = ChecksumDelta{}.replace16(0x0001, to);
    for (uint32_t checksum = 0; checksum <= 0xffff; ++checksum) {
      const uint32_t sum = (~checksum & 0xffff) + delta.wire();
      const auto expected = static_cast<uint16_t>(~((sum & 0xffff) + (sum >> 16)));
      ASSERT_EQ(delta.apply(static_cast<uint16_t>(checksum)), expected) << checksum << " to " << to;
    }
  }
}

// CSUM-2.
TEST(UdpChecksum, CT36_CSUM2_ZeroMeansNoneAndStaysZero) {
  EXPECT_EQ(apply_udp(ChecksumDelta{}.replace16(wire(0x5555), wire(0x3285)), 0), 0);
}

TEST(UdpChecksum, ComputedZeroIsSentAsOnes) {
  const auto delta = ChecksumDelta{}.replace16(wire(0x5555), wire(0x3285));
  EXPECT_EQ(apply_udp(delta, wire(0xdd2f)), 0xffff);
}

TEST(UdpChecksum, OnesIsAChecksumLikeAnyOther) {
  std::mt19937_64 random(7);
  int ones = 0;
  for (int i = 0; i < 200000; ++i) {
    Bytes packet = test::ipv4({}, test::udp(static_cast<uint16_t>(random()), 53, random_bytes(random, 4)));
    auto* header = reinterpret_cast<rte_ipv4_hdr*>(packet.data());
    auto* udp = reinterpret_cast<rte_udp_hdr*>(packet.data() + 20);
    // Every second packet gets the port that makes its checksum 0xffff.
    if (i % 2 == 0) {
      udp->src_port = 0;
      udp->src_port = rte_ipv4_udptcp_cksum(header, udp);
    }
    udp->dgram_cksum = rte_ipv4_udptcp_cksum(header, udp);
    ones += udp->dgram_cksum == 0xffff ? 1 : 0;
    const auto dst = Ipv4Addr::from_host(static_cast<uint32_t>(random()));
    const auto delta = ChecksumDelta{}.replace(IpHeader<V4>::destination(packet.data()), dst);
    store(packet.data() + 16, dst);
    udp->dgram_cksum = apply_udp(delta, udp->dgram_cksum);
    ASSERT_NE(udp->dgram_cksum, 0);
    ASSERT_TRUE(test::l4_checksum_good(packet, 20, 6));
  }
  EXPECT_GT(ones, 90000);
}

}  // namespace
}  // namespace sluice::net
