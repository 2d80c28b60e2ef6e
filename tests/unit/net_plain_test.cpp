// The short cut says yes to ordinary packets, and never to anything that the full checks see otherwise.
#include <gtest/gtest.h>

#include "tests/unit/net_parsed.h"
#include "tests/unit/net_plain_check.h"

namespace sluice::net {
namespace {

using test::Bytes;
using test::counting;
using test::ipv4;
using test::ipv6;
using test::tcp;
using test::udp;
using test::with;
using test::operator+;

template <class F>
bool is_plain(const Bytes& packet) {
  bool yes = false;
  const char* const wrong = test::wrong_about_plain<F>(Bytes(14, 0xee) + packet, 14, false, &yes);
  EXPECT_EQ(wrong, nullptr) << wrong;
  return yes;
}

// Every value of every byte of the headers, with the IPv4 checksum as it was and put right.
template <class F>
void change_every_byte(const Bytes& good) {
  for (size_t at = 0; at < good.size() && at < 64; ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      Bytes changed = with(good, at, static_cast<uint8_t>(value));
      for (const bool known_good : {false, true}) {
        const char* const wrong = test::wrong_about_plain<F>(changed, 0, known_good);
        ASSERT_EQ(wrong, nullptr) << wrong << ": byte " << at << " = " << value;
      }
      if (!F::is_v4 || at == 0) continue;  // another header length
      test::fix_ipv4_checksum(changed);
      const char* const wrong = test::wrong_about_plain<F>(changed, 0, false);
      ASSERT_EQ(wrong, nullptr) << wrong << ": byte " << at << " = " << value << ", checksum put right";
    }
  }
}

TEST(PlainPacket, OrdinaryOnesAre) {
  EXPECT_TRUE(is_plain<V4>(ipv4({}, udp(1, 2, {}))));
  EXPECT_TRUE(is_plain<V4>(ipv4({}, udp(1, 2, counting(100)))));
  EXPECT_TRUE(is_plain<V4>(ipv4({}, udp(1, 2, {})) + Bytes(18)));  // padding
  EXPECT_TRUE(is_plain<V4>(ipv4({.protocol = protocol::tcp}, tcp(1, 2, tcp_flag::ack, {}))));
  EXPECT_TRUE(is_plain<V6>(ipv6({}, udp(1, 2, {}))));
}

TEST(PlainPacket, AgreesWithTheFullChecksOnEveryChangedByte) {
  change_every_byte<V4>(ipv4({}, udp(1, 2, counting(10))));
  change_every_byte<V4>(ipv4({.protocol = protocol::tcp}, tcp(1, 2, tcp_flag::ack, {})) + Bytes(6));
  change_every_byte<V6>(ipv6({}, udp(1, 2, counting(10))));
}

TEST(PlainPacket, AgreesWithTheFullChecksOnEveryCut) {
  for (const Bytes& packet :
       {ipv4({}, udp(1, 2, counting(10))), ipv4({.protocol = protocol::tcp}, tcp(1, 2, tcp_flag::ack, {}))}) {
    for (size_t size = 0; size <= packet.size(); ++size)
      EXPECT_EQ(is_plain<V4>(test::take(packet, size)), size == packet.size());
  }
  const Bytes packet = ipv6({}, udp(1, 2, counting(10)));
  for (size_t size = 0; size <= packet.size(); ++size)
    EXPECT_EQ(is_plain<V6>(test::take(packet, size)), size == packet.size());
}

TEST(PlainPacket, SeveralBuffersAreNot) {
  const Bytes packet = ipv4({}, udp(1, 2, counting(100)));
  test::FakeMbuf head(test::take(packet, 60));
  test::FakeMbuf tail(Bytes(packet.begin() + 60, packet.end()));
  head.chain(tail);
  Packet frame;
  frame.mbuf = head.get();
  FlowPacket<V4> parsed;
  EXPECT_FALSE(parse_plain(frame, false, parsed));
  EXPECT_EQ(head.bytes(), packet);
}

}  // namespace
}  // namespace sluice::net
