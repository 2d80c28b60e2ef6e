// The packet quoted in an ICMP error.
#include <gtest/gtest.h>

#include "dataplane/net/parse.h"
#include "tests/unit/net_parsed.h"

namespace sluice::net {
namespace {

using test::Bytes;
using test::counting;
using test::extension;
using test::fragment_header;
using test::icmp;
using test::ipv4;
using test::ipv6;
using test::Parsed4;
using test::tcp;
using test::udp;
using test::v4;
using test::with;
using test::operator+;

template <class F>
bool quoted(const Bytes& bytes, FlowKey<F>& key, uint16_t& l4) {
  const Bytes exact = bytes;
  return parse_quoted<F>(exact.data(), static_cast<uint16_t>(exact.size()), key, l4);
}

template <class F>
bool quoted(const Bytes& bytes) {
  FlowKey<F> key;
  uint16_t l4 = 0;
  return quoted<F>(bytes, key, l4);
}

TEST(ParseQuoted, V4) {
  FlowKey<V4> key;
  uint16_t l4 = 0;
  // RFC 792: header and 8 bytes are enough; the total length speaks of the packet that was.
  Bytes bytes = test::take(ipv4({.protocol = protocol::tcp}, tcp(1234, 80, 0, counting(100))), 28);
  ASSERT_TRUE(quoted<V4>(bytes, key, l4));
  EXPECT_EQ(l4, 20);
  EXPECT_EQ(key, (FlowKey<V4>{v4("10.0.0.1"), v4("10.0.0.2"), be16::from_host(1234), be16::from_host(80), 6, {}}));
  // A router on the way has changed the header: the checksum is no reason to refuse.
  bytes[8] = 0;
  EXPECT_TRUE(quoted<V4>(bytes));
  // Options are quoted as they were.
  ASSERT_TRUE(quoted<V4>(ipv4({.options = Bytes(8, 1)}, udp(5, 6, {})), key, l4));
  EXPECT_EQ(l4, 28);
  EXPECT_EQ(key.dst_port.host(), 6);
}

TEST(ParseQuoted, V6) {
  FlowKey<V6> key;
  uint16_t l4 = 0;
  ASSERT_TRUE(quoted<V6>(test::take(ipv6({.next = protocol::tcp}, tcp(1234, 80, 0, counting(100))), 48), key, l4));
  EXPECT_EQ(l4, 40);
  EXPECT_EQ(key.dst_port.host(), 80);
  ASSERT_TRUE(quoted<V6>(ipv6({.next = protocol::hop_by_hop}, extension(protocol::udp, 1) + udp(5, 6, {})), key, l4));
  EXPECT_EQ(l4, 56);
  EXPECT_EQ(key.protocol, protocol::udp);
}

TEST(ParseQuoted, EchoFindsItsFlow) {
  FlowKey<V4> key;
  uint16_t l4 = 0;
  ASSERT_TRUE(quoted<V4>(ipv4({.protocol = protocol::icmp}, icmp(8, 0, 0x7e2a0001, {})), key, l4));
  EXPECT_EQ(key, Parsed4(ipv4({.protocol = protocol::icmp}, icmp(8, 0, 0x7e2a0001, {}))).packet.key);
  FlowKey<V6> key6;
  ASSERT_TRUE(quoted<V6>(ipv6({.next = protocol::icmpv6}, icmp(129, 0, 0x7e2a0001, {})), key6, l4));
  EXPECT_EQ(key6.dst_port.host(), 0x7e2a);
}

TEST(ParseQuoted, Refused) {
  // An error about an error (ICMP-7).
  EXPECT_FALSE(quoted<V4>(ipv4({.protocol = protocol::icmp}, icmp(3, 1, 0, counting(28)))));
  EXPECT_FALSE(quoted<V6>(ipv6({.next = protocol::icmpv6}, icmp(3, 0, 0, counting(48)))));
  // A later fragment has no ports; a first one has.
  EXPECT_FALSE(quoted<V4>(ipv4({.fragment = 3}, counting(16))));
  EXPECT_TRUE(quoted<V4>(ipv4({.fragment = ipv4_more_fragments}, counting(16))));
  EXPECT_FALSE(quoted<V6>(ipv6({.next = protocol::fragment}, fragment_header(protocol::udp, 8, true) + counting(16))));
  EXPECT_TRUE(quoted<V6>(ipv6({.next = protocol::fragment}, fragment_header(protocol::udp, 0, true) + counting(16))));
  // The other family, a bad header length.
  EXPECT_FALSE(quoted<V4>(ipv6({}, udp(1, 2, counting(8)))));
  EXPECT_FALSE(quoted<V6>(ipv4({}, udp(1, 2, counting(60)))));
  EXPECT_FALSE(quoted<V4>(with(ipv4({}, udp(1, 2, counting(8))), 0, 0x44)));
  EXPECT_FALSE(quoted<V4>(with(ipv4({}, udp(1, 2, {})), 0, 0x46)));
}

TEST(ParseQuoted, CutAtEveryByte) {
  const Bytes four = ipv4({.options = Bytes(12, 1)}, udp(1, 2, {}));
  for (size_t length = 0; length < four.size(); ++length) EXPECT_FALSE(quoted<V4>(test::take(four, length))) << length;
  EXPECT_TRUE(quoted<V4>(four));
  const Bytes six =
      ipv6({.next = protocol::hop_by_hop}, extension(protocol::routing) + extension(protocol::udp, 1) + udp(1, 2, {}));
  for (size_t length = 0; length < six.size(); ++length) EXPECT_FALSE(quoted<V6>(test::take(six, length))) << length;
}

}  // namespace
}  // namespace sluice::net
