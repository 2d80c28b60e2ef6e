// IPv4 input and what both families share: every check has a frame that fails it and the one next to it that
// passes; every cut is noticed.
#include <gtest/gtest.h>

#include "dataplane/net/parse.h"
#include "tests/unit/net_parsed.h"

namespace sluice::net {
namespace {

using test::Bytes;
using test::counting;
using test::FakeMbuf;
using test::hex;
using test::icmp;
using test::ipv4;
using test::ipv6;
using test::Parsed4;
using test::Parsed6;
using test::reason4;
using test::reason6;
using test::tcp;
using test::udp;
using test::v4;
using test::with;
using test::operator+;

// Sets a byte and makes the IPv4 header checksum right again.
Bytes with_fixed(Bytes bytes, size_t at, uint8_t value) {
  bytes[at] = value;
  test::fix_ipv4_checksum(bytes);
  return bytes;
}

TEST(ParseV4, Udp) {
  const Parsed4 p(ipv4({.ttl = 1}, udp(1234, 53, counting(10))), false, 14);
  EXPECT_EQ(p.reason, DropReason::None);
  EXPECT_EQ(p.packet.l3, 14);
  EXPECT_EQ(p.packet.l4, 34);
  EXPECT_EQ(p.packet.l3_length, 38);
  EXPECT_EQ(p.packet.protocol, protocol::udp);
  EXPECT_EQ(p.packet.fragment, FragmentKind::Whole);
  EXPECT_TRUE(p.packet.has_ports);
  EXPECT_FALSE(p.packet.icmp_error);
  EXPECT_EQ(
      p.packet.key,
      (FlowKey<V4>{v4("10.0.0.1"), v4("10.0.0.2"), be16::from_host(1234), be16::from_host(53), protocol::udp, {}}));
}

TEST(ParseV4, HeaderChecks) {
  const Bytes good = ipv4({}, udp(1, 2, counting(8)));
  EXPECT_EQ(reason4(good), DropReason::None);
  EXPECT_EQ(reason4({}), DropReason::IpTruncated);
  EXPECT_EQ(reason4(with_fixed(good, 0, 0x55)), DropReason::IpBadVersion);
  EXPECT_EQ(reason4(with_fixed(good, 0, 0x65)), DropReason::IpBadVersion);
  EXPECT_EQ(reason4(with(good, 0, 0x44)), DropReason::IpBadHeaderLength);
  EXPECT_EQ(reason4(with(good, 0, 0x40)), DropReason::IpBadHeaderLength);
  EXPECT_EQ(reason4(with(test::take(good, 28), 0, 0x4f)), DropReason::IpTruncated);  // 60 bytes announced
  EXPECT_EQ(reason4(with_fixed(good, 3, 19)), DropReason::IpBadTotalLength);         // less than the header
  EXPECT_EQ(reason4(with_fixed(good, 3, 37)), DropReason::IpBadTotalLength);         // more than the frame
  EXPECT_EQ(reason4(with_fixed(good, 3, 36)), DropReason::None);
  EXPECT_EQ(reason4(with(good, 11, static_cast<uint8_t>(good[11] ^ 1))), DropReason::IpBadChecksum);
}

TEST(ParseV4, EveryHeaderBitIsUnderTheChecksum) {
  const Bytes good = ipv4({}, udp(1, 2, {}));
  for (size_t bit = 8; bit < 160; ++bit) {
    if (bit / 8 == 2 || bit / 8 == 3) continue;  // a longer total length is noticed before
    EXPECT_EQ(reason4(with(good, bit / 8, static_cast<uint8_t>(good[bit / 8] ^ 1 << bit % 8))),
              DropReason::IpBadChecksum)
        << bit;
  }
}

TEST(ParseV4, ChecksumVerifiedByThePortIsNotReadAgain) {
  const Bytes bad = with(ipv4({}, udp(1, 2, {})), 10, 0x55);
  EXPECT_EQ(Parsed4(bad, false).reason, DropReason::IpBadChecksum);
  EXPECT_EQ(Parsed4(bad, true).reason, DropReason::None);
}

TEST(ParseV4, OptionsAreSteppedOver) {
  for (const Bytes& options : {Bytes{1, 1, 1, 0}, Bytes(40, 1), Bytes{0x94, 4, 0, 0}, Bytes{7, 7, 4, 0, 0, 0, 0, 1},
                               Bytes{0, 131, 3, 4}, Bytes{0x44, 4, 5, 0, 0, 0, 0, 0}}) {
    const Parsed4 parsed(ipv4({.options = options}, udp(7, 9, counting(5))));
    EXPECT_EQ(parsed.reason, DropReason::None) << int{options[0]};
    EXPECT_EQ(parsed.packet.l4, parsed.packet.l3 + 20 + options.size());
    EXPECT_EQ(parsed.packet.key.src_port.host(), 7);
    EXPECT_EQ(parsed.packet.key.dst_port.host(), 9);
  }
}

// RFC 7126 sections 4.3 and 4.4; one may hide behind an option whose length is wrong.
TEST(ParseV4, SourceRoutesAndBrokenOptionsAreRefused) {
  for (const Bytes& options : {Bytes{131, 7, 4, 10, 0, 0, 1, 0}, Bytes{137, 7, 4, 10, 0, 0, 1, 0}, Bytes{1, 131, 3, 4},
                               Bytes{0x94, 4, 0, 0, 1, 137, 2, 0}, Bytes{7, 1, 0, 0}, Bytes{7, 0, 0, 0},
                               Bytes{7, 5, 4, 0}, Bytes{1, 1, 1, 7}}) {
    EXPECT_EQ(reason4(ipv4({.options = options}, udp(1, 2, {}))), DropReason::IpOptions) << int{options[0]};
  }
}

struct AddressCase {
  const char* addr;
  DropReason as_source;
  DropReason as_destination;
};

// RFC 1812 section 5.3.7.
TEST(ParseV4, Martians) {
  for (const AddressCase& c : {
           AddressCase{"0.0.0.0", DropReason::IpMartianSource, DropReason::IpMartianDestination},
           {"0.255.255.255", DropReason::IpMartianSource, DropReason::IpMartianDestination},
           {"1.0.0.0", DropReason::None, DropReason::None},
           {"126.255.255.255", DropReason::None, DropReason::None},
           {"127.0.0.1", DropReason::IpMartianSource, DropReason::IpMartianDestination},
           {"127.255.255.255", DropReason::IpMartianSource, DropReason::IpMartianDestination},
           {"128.0.0.0", DropReason::None, DropReason::None},
           {"169.254.1.1", DropReason::None, DropReason::None},
           {"223.255.255.255", DropReason::None, DropReason::None},
           {"224.0.0.1", DropReason::IpMartianSource, DropReason::IpMulticast},
           {"239.255.255.255", DropReason::IpMartianSource, DropReason::IpMulticast},
           {"240.0.0.1", DropReason::IpMartianSource, DropReason::IpMartianDestination},
           {"255.255.255.254", DropReason::IpMartianSource, DropReason::IpMartianDestination},
           {"255.255.255.255", DropReason::IpMartianSource, DropReason::IpBroadcast},
       }) {
    EXPECT_EQ(reason4(ipv4({.src = c.addr}, udp(1, 2, {}))), c.as_source) << c.addr;
    EXPECT_EQ(reason4(ipv4({.dst = c.addr}, udp(1, 2, {}))), c.as_destination) << c.addr;
  }
}

TEST(ParseV4, Fragments) {
  const Parsed4 whole(ipv4({.fragment = ipv4_dont_fragment}, udp(1, 2, counting(16))));
  EXPECT_EQ(whole.packet.fragment, FragmentKind::Whole);
  const Parsed4 first(ipv4({.fragment = ipv4_more_fragments}, udp(1, 2, counting(16))));
  EXPECT_EQ(first.reason, DropReason::None);
  EXPECT_EQ(first.packet.fragment, FragmentKind::First);
  EXPECT_TRUE(first.packet.has_ports);
  for (const uint16_t field : {uint16_t{3}, uint16_t{ipv4_more_fragments | 3}}) {
    const Parsed4 later(ipv4({.fragment = field}, counting(8)));
    EXPECT_EQ(later.reason, DropReason::None);
    EXPECT_EQ(later.packet.fragment, FragmentKind::Later);
    EXPECT_FALSE(later.packet.has_ports);
    EXPECT_EQ(later.packet.key.src_port, be16{});
    EXPECT_EQ(later.packet.key.protocol, protocol::udp);
  }
  // RFC 791 section 3.1: all but the last carry a multiple of 8 bytes.
  EXPECT_EQ(reason4(ipv4({.fragment = ipv4_more_fragments | 3}, counting(9))), DropReason::FragmentMalformed);
  EXPECT_EQ(reason4(ipv4({.fragment = 3}, counting(9))), DropReason::None);
  // A first fragment too small for its header hides the ports from every filter (RFC 1858 section 3).
  EXPECT_EQ(reason4(ipv4({.protocol = protocol::tcp, .fragment = ipv4_more_fragments}, counting(16))),
            DropReason::L4Truncated);
}

// RFC 791: header and all, 65535 bytes.
TEST(ParseV4, FragmentsReachNoFurtherThanADatagramCan) {
  EXPECT_EQ(reason4(ipv4({.fragment = 0x1fff}, counting(8))), DropReason::FragmentMalformed);
  // 8189 * 8 + 20 + 3 = 65535.
  EXPECT_EQ(reason4(ipv4({.fragment = 8189}, counting(3))), DropReason::None);
  EXPECT_EQ(reason4(ipv4({.fragment = 8189}, counting(4))), DropReason::FragmentMalformed);
}

TEST(ParseV4, IcmpKeys) {
  const Parsed4 request(ipv4({.protocol = protocol::icmp}, icmp(8, 0, 0x7e2a0001, counting(8))));
  const Parsed4 reply(
      ipv4({.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = protocol::icmp}, icmp(0, 0, 0x7e2a0001, counting(8))));
  EXPECT_EQ(request.packet.key.src_port.host(), 0x7e2a);
  EXPECT_EQ(request.packet.key.dst_port.host(), 0);
  EXPECT_EQ(reply.packet.key, request.packet.key.reversed());
  EXPECT_TRUE(request.packet.has_ports);
  EXPECT_FALSE(request.packet.icmp_error);

  const Parsed4 timestamp(ipv4({.protocol = protocol::icmp}, icmp(13, 0, 0x7e2a0001, counting(12))));
  EXPECT_EQ(timestamp.packet.key.dst_port.host(), 13 << 8);
  EXPECT_FALSE(timestamp.packet.icmp_error);

  for (const uint8_t type : {3, 4, 5, 11, 12}) {
    const Parsed4 error(ipv4({.protocol = protocol::icmp}, icmp(type, 1, 0, counting(28))));
    EXPECT_TRUE(error.packet.icmp_error) << int{type};
    EXPECT_EQ(error.packet.key.dst_port.host(), type << 8 | 1);
  }
}

TEST(ParseV4, OtherProtocolsHaveNoPorts) {
  for (const uint8_t proto : {protocol::ipip, protocol::ipv6, uint8_t{47}, uint8_t{50}, uint8_t{112}}) {
    const Parsed4 p(ipv4({.protocol = proto}, {}));
    EXPECT_EQ(p.reason, DropReason::None) << int{proto};
    EXPECT_FALSE(p.packet.has_ports);
    EXPECT_EQ(p.packet.key.dst_port, be16{});
  }
  const Parsed4 sctp(ipv4({.protocol = protocol::sctp}, hex("00 50 00 51 00 00 00 00 00 00 00 00")));
  EXPECT_EQ(sctp.packet.key.src_port.host(), 80);
  EXPECT_EQ(sctp.packet.key.dst_port.host(), 81);
}

// ICMPv6 belongs to IPv6 and ICMP to IPv4: in the other family the number is one without meaning to us.
TEST(ParseIp, IcmpOfTheOtherFamilyIsNoIcmp) {
  const Parsed4 four(ipv4({.protocol = protocol::icmpv6}, icmp(1, 0, 0, counting(48))));
  EXPECT_EQ(four.reason, DropReason::None);
  EXPECT_FALSE(four.packet.icmp_error);
  EXPECT_FALSE(four.packet.has_ports);
  const Parsed6 six(ipv6({.next = protocol::icmp}, icmp(3, 1, 0, counting(48))));
  EXPECT_EQ(six.reason, DropReason::None);
  EXPECT_FALSE(six.packet.icmp_error);
  EXPECT_FALSE(six.packet.has_ports);
}

struct L4Case {
  uint8_t protocol4;
  uint8_t protocol6;
  size_t header;
};
constexpr L4Case l4_cases[] = {
    {protocol::tcp, protocol::tcp, 20},
    {protocol::udp, protocol::udp, 8},
    {protocol::icmp, protocol::icmpv6, 8},
    {protocol::sctp, protocol::sctp, 12},
};

// A frame cut anywhere behind a correct header: the header's length tells.
TEST(ParseIp, CutFramesAreNoticedAtEveryByte) {
  for (const L4Case& c : l4_cases) {
    const Bytes four = ipv4({.protocol = c.protocol4}, counting(c.header + 12));
    for (size_t length = 0; length < four.size(); ++length) {
      EXPECT_EQ(reason4(test::take(four, length)), length < 20 ? DropReason::IpTruncated : DropReason::IpBadTotalLength)
          << int{c.protocol4} << " " << length;
    }
    const Bytes six = ipv6({.next = c.protocol6}, counting(c.header + 12));
    for (size_t length = 0; length < six.size(); ++length) {
      EXPECT_EQ(reason6(test::take(six, length)), length < 40 ? DropReason::IpTruncated : DropReason::IpBadTotalLength)
          << int{c.protocol6} << " " << length;
    }
  }
}

// The whole packet is that short, its length field says so: the L4 header decides.
TEST(ParseIp, ShortPacketsAreNoticedAtEveryByte) {
  // As counting(), but with 5 words in TCP's data offset.
  const auto counting = [](size_t length) {
    Bytes bytes = test::counting(length);
    if (length > 12) bytes[12] = 0x50;
    return bytes;
  };
  for (const L4Case& c : l4_cases) {
    for (size_t length = 0; length < c.header + 12; ++length) {
      const DropReason expected = length < c.header ? DropReason::L4Truncated : DropReason::None;
      EXPECT_EQ(reason4(ipv4({.protocol = c.protocol4}, counting(length))), expected) << length;
      EXPECT_EQ(reason6(ipv6({.next = c.protocol6}, counting(length))), expected) << length;
      // Ethernet padding behind it does not stand in for the missing header.
      EXPECT_EQ(reason4(ipv4({.protocol = c.protocol4}, counting(length)) + Bytes(30)), expected) << length;
      EXPECT_EQ(reason6(ipv6({.next = c.protocol6}, counting(length)) + Bytes(30)), expected) << length;
    }
  }
}

// The L4 header has to lie in the first segment.
TEST(ParseIp, HeadersSplitOverSegmentsAreRefused) {
  const Bytes frame = ipv4({.protocol = protocol::tcp}, tcp(1, 2, 0, counting(20)));
  for (size_t cut = 0; cut < frame.size(); ++cut) {
    FakeMbuf head(test::take(frame, cut));
    FakeMbuf tail(test::skip(frame, cut));
    head.chain(tail);
    FlowPacket<V4> packet;
    packet.mbuf = head.get();
    const DropReason reason = parse_ip(packet, false);
    EXPECT_EQ(reason, cut < 20   ? DropReason::IpTruncated
                      : cut < 40 ? DropReason::L4Truncated
                                 : DropReason::None)
        << cut;
  }
}

TEST(ParseIp, PaddingIsCutOff) {
  const Bytes four = ipv4({}, udp(1, 2, counting(2)));
  const Parsed4 p4(four + Bytes(16), false, 14);
  EXPECT_EQ(p4.reason, DropReason::None);
  EXPECT_EQ(p4.mbuf.bytes(), Bytes(14, 0xee) + four);
  const Bytes six = ipv6({}, udp(1, 2, counting(2)));
  const Parsed6 p6(six + Bytes(3), false, 14);
  EXPECT_EQ(p6.mbuf.bytes(), Bytes(14, 0xee) + six);
}

// Padding may be longer than the last segment.
TEST(ParseIp, PaddingIsCutOffOverSegments) {
  const Bytes packet_bytes = ipv4({}, udp(1, 2, counting(100)));
  const Bytes frame = packet_bytes + Bytes(200, 0xaa);
  for (const size_t cut : {size_t{28}, size_t{100}, packet_bytes.size(), packet_bytes.size() + 1, frame.size() - 1}) {
    FakeMbuf head(test::take(frame, cut));
    FakeMbuf middle(test::take(test::skip(frame, cut), (frame.size() - cut) / 2));
    FakeMbuf tail(test::skip(frame, cut + (frame.size() - cut) / 2));
    head.chain(middle);
    head.chain(tail);
    FlowPacket<V4> packet;
    packet.mbuf = head.get();
    ASSERT_EQ(parse_ip(packet, false), DropReason::None);
    EXPECT_EQ(head.bytes(), packet_bytes) << cut;
    EXPECT_EQ(head->pkt_len, packet_bytes.size());
    EXPECT_EQ(head->nb_segs, middle.released() ? 1 : tail.released() ? 2 : 3);
    EXPECT_EQ(middle.released(), cut >= packet_bytes.size());
    EXPECT_TRUE(tail.released() || cut == frame.size() - 1 || cut == 28 || cut == 100);
  }
}

TEST(ParseIp, LeavesNothingFromAnEarlierParse) {
  Parsed4 p(ipv4({.protocol = protocol::icmp}, icmp(3, 1, 0, counting(28))));
  ASSERT_TRUE(p.packet.icmp_error);
  FakeMbuf other(ipv4({.protocol = 47}, counting(4)));
  p.packet.mbuf = other.get();
  ASSERT_EQ(parse_ip(p.packet, false), DropReason::None);
  EXPECT_FALSE(p.packet.icmp_error);
  EXPECT_FALSE(p.packet.has_ports);
  EXPECT_EQ(p.packet.key.src_port, be16{});
  EXPECT_EQ(p.packet.key.dst_port, be16{});
  EXPECT_EQ(p.packet.fragment, FragmentKind::Whole);
}

}  // namespace
}  // namespace sluice::net
