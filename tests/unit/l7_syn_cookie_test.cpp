// Cookies, what SYNs offer, and the hash behind them.
#include <gtest/gtest.h>

#include "dataplane/l7/syn_cookie.h"

namespace sluice::l7 {
namespace {

using net::be16;
using net::V4;
using net::V6;

constexpr SipKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};

net::FlowKey<V4> tuple(uint32_t client = 0xc000020a, uint16_t port = 40000) {
  return {net::Ipv4Addr::from_host(client),
          net::Ipv4Addr::from_host(0xc6336450),
          be16::from_host(port),
          be16::from_host(80),
          6,
          {}};
}

// The vectors of the reference implementation: messages 00, 00 01, 00 01 02 ... under the key 00 01 ... 0f.
TEST(SipHash, SPL1_ReferenceVectors) {
  uint8_t message[15];
  for (uint8_t i = 0; i < sizeof message; ++i) message[i] = i;
  EXPECT_EQ(siphash(key, message, 0), 0x726fdb47dd0e0e31u);
  EXPECT_EQ(siphash(key, message, 1), 0x74f839c593dc67fdu);
  EXPECT_EQ(siphash(key, message, 8), 0x93f5f5799a932462u);
  EXPECT_EQ(siphash(key, message, 15), 0xa129ca6149be45e5u);
}

TEST(SynCookie, SPL1_SaysWhatTheSynOffered) {
  const SynCookies cookies(key);
  for (const uint16_t mss : {536, 1220, 1460, 8900}) {
    for (uint8_t scale = 0; scale <= no_scale; ++scale) {
      for (const bool sack : {false, true}) {
        const uint32_t cookie = cookies.make(tuple(), 77, {mss, scale, sack, {}}, 5000);
        const auto found = cookies.check(tuple(), 77, cookie, 6000);
        ASSERT_TRUE(found);
        EXPECT_EQ(found->mss, mss);
        EXPECT_EQ(found->scale, scale);
        EXPECT_EQ(found->sack, sack);
      }
    }
  }
}

TEST(SynCookie, SPL1_TheMssIsRoundedDown) {
  const SynCookies cookies(key);
  const auto rounded = [&](uint16_t mss) {
    return cookies.check(tuple(), 1, cookies.make(tuple(), 1, {mss, 7, true, {}}, 0), 0)->mss;
  };
  EXPECT_EQ(rounded(1459), 1440);
  EXPECT_EQ(rounded(65495), 8900);
  EXPECT_EQ(rounded(100), 536) << "the least that everybody takes, RFC 9293 section 3.7.1";
}

TEST(SynCookie, SPL1_IsGoodForOneConnectionAndAWhile) {
  const SynCookies cookies(key);
  const TcpOffer offer{1460, 7, true, {}};
  for (const uint32_t begin : {1000U, 0U - 10}) {
    const uint32_t cookie = cookies.make(tuple(), 77, offer, begin);
    EXPECT_TRUE(cookies.check(tuple(), 77, cookie, begin + SynCookies::period));
    EXPECT_FALSE(cookies.check(tuple(), 77, cookie, begin + 2 * SynCookies::period));
    EXPECT_FALSE(cookies.check(tuple(), 78, cookie, begin));
    EXPECT_FALSE(cookies.check(tuple(0xc000020b), 77, cookie, begin));
    EXPECT_FALSE(cookies.check(tuple(0xc000020a, 40001), 77, cookie, begin));
    EXPECT_FALSE(SynCookies({1, 2}).check(tuple(), 77, cookie, begin));
    for (unsigned bit = 0; bit < 32; ++bit) EXPECT_FALSE(cookies.check(tuple(), 77, cookie ^ 1U << bit, begin)) << bit;
  }
}

TEST(SynCookie, SPL1_BothFamilies) {
  const SynCookies cookies(key);
  net::FlowKey<V6> six;
  six.src.bytes[15] = 1;
  six.dst.bytes[15] = 2;
  const uint32_t cookie = cookies.make(six, 9, {1440, 2, false, {}}, 0);
  ASSERT_TRUE(cookies.check(six, 9, cookie, 0));
  six.src.bytes[0] = 0x20;
  EXPECT_FALSE(cookies.check(six, 9, cookie, 0));
  EXPECT_NE(cookies.timestamp_offset(tuple()), cookies.timestamp_offset(tuple(1)));
}

TEST(TcpOffer, SPL1_WhatIsWrittenIsRead) {
  for (const uint8_t scale : {uint8_t{0}, uint8_t{14}, no_scale}) {
    for (const bool sack : {false, true}) {
      for (const bool timestamp : {false, true}) {
        TcpOffer offer{1400, scale, sack, {}};
        if (timestamp) offer.timestamp = Timestamp{0x01020304, 0xfffefdfc};
        uint8_t options[most_options];
        const uint8_t length = write_offer(options, offer);
        ASSERT_EQ(length % 4, 0);
        const TcpOffer read = read_offer(options, length);
        EXPECT_EQ(read.mss, 1400);
        EXPECT_EQ(read.scale, scale);
        EXPECT_EQ(read.sack, sack);
        ASSERT_EQ(read.timestamp.has_value(), timestamp);
        if (timestamp) {
          EXPECT_EQ(read.timestamp->value, 0x01020304u);
          EXPECT_EQ(read.timestamp->echo, 0xfffefdfcu);
        }
      }
    }
  }
}

// The options of a SYN that Linux 6.1 sent, as tcpdump showed them.
TEST(TcpOffer, SPL1_OfLinux) {
  const uint8_t options[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0xa1, 0xb2, 0xc3, 0xd4, 0, 0, 0, 0, 1, 3, 3, 7};
  const TcpOffer read = read_offer(options, sizeof options);
  EXPECT_EQ(read.mss, 1460);
  EXPECT_EQ(read.scale, 7);
  EXPECT_TRUE(read.sack);
  ASSERT_TRUE(read.timestamp);
  EXPECT_EQ(read.timestamp->value, 0xa1b2c3d4u);
  EXPECT_EQ(read_offer(options, 0).mss, default_mss);
}

}  // namespace
}  // namespace sluice::l7
