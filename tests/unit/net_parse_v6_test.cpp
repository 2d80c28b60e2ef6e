// IPv6 input: header checks, extension headers, fragments.
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
using test::ipv6;
using test::Parsed6;
using test::reason6;
using test::tcp;
using test::udp;
using test::v6;
using test::with;
using test::operator+;

struct AddressCase {
  const char* addr;
  DropReason as_source;
  DropReason as_destination;
};

TEST(ParseV6, HeaderChecks) {
  const Bytes good = ipv6({}, udp(1, 2, counting(8)));
  const Parsed6 p(good, false, 14);
  EXPECT_EQ(p.reason, DropReason::None);
  EXPECT_EQ(p.packet.l4, 54);
  EXPECT_EQ(p.packet.l3_length, 56);
  EXPECT_EQ(
      p.packet.key,
      (FlowKey<V6>{v6("2001:db8::1"), v6("2001:db8::2"), be16::from_host(1), be16::from_host(2), protocol::udp, {}}));
  EXPECT_EQ(reason6({}), DropReason::IpTruncated);
  EXPECT_EQ(reason6(with(good, 0, 0x40)), DropReason::IpBadVersion);
  EXPECT_EQ(reason6(with(good, 5, 17)), DropReason::IpBadTotalLength);
  EXPECT_EQ(reason6(with(good, 5, 15)), DropReason::None);
}

// RFC 4291 sections 2.5.2, 2.5.3, 2.7; RFC 4942 section 2.2.
TEST(ParseV6, Martians) {
  for (const AddressCase& c : {
           AddressCase{"::1", DropReason::IpMartianSource, DropReason::IpMartianDestination},
           {"::", DropReason::IpMartianSource, DropReason::IpMartianDestination},
           {"::2", DropReason::None, DropReason::IpMartianDestination},
           {"::10.0.0.1", DropReason::None, DropReason::IpMartianDestination},
           {"::1:0:0:1", DropReason::None, DropReason::None},
           {"::ffff:10.0.0.1", DropReason::IpMartianSource, DropReason::IpMartianDestination},
           {"ff02::1", DropReason::IpMartianSource, DropReason::None},
           {"fe80::1", DropReason::None, DropReason::None},
       }) {
    EXPECT_EQ(reason6(ipv6({.src = c.addr}, udp(1, 2, {}))), c.as_source) << c.addr;
    EXPECT_EQ(reason6(ipv6({.dst = c.addr}, udp(1, 2, {}))), c.as_destination) << c.addr;
  }
  // Duplicate address detection (RFC 4862 section 5.4.2).
  EXPECT_EQ(
      reason6(ipv6({.src = "::", .dst = "ff02::1:ff00:1", .next = protocol::icmpv6}, icmp(135, 0, 0, counting(16)))),
      DropReason::None);
}

TEST(ParseV6, IcmpKeys) {
  const Parsed6 request(ipv6({.next = protocol::icmpv6}, icmp(128, 0, 0x7e2a0001, {})));
  const Parsed6 reply(
      ipv6({.src = "2001:db8::2", .dst = "2001:db8::1", .next = protocol::icmpv6}, icmp(129, 0, 0x7e2a0001, {})));
  EXPECT_EQ(request.packet.key.src_port.host(), 0x7e2a);
  EXPECT_EQ(reply.packet.key, request.packet.key.reversed());
  for (const uint8_t type : {1, 2, 3, 4, 100, 127}) {
    EXPECT_TRUE(Parsed6(ipv6({.next = protocol::icmpv6}, icmp(type, 0, 0, counting(48)))).packet.icmp_error);
  }
  for (const uint8_t type : {128, 133, 135, 136, 137, 255}) {
    EXPECT_FALSE(Parsed6(ipv6({.next = protocol::icmpv6}, icmp(type, 0, 0, counting(48)))).packet.icmp_error);
  }
}

TEST(ParseV6, ExtensionHeadersAreSteppedOver) {
  const Bytes l4 = udp(1, 2, counting(4));
  const Parsed6 p(ipv6({.next = protocol::hop_by_hop},
                       extension(protocol::destination_options) + extension(protocol::routing, 2) +
                           extension(protocol::destination_options, 1, 4) + extension(protocol::udp, 31) + l4));
  EXPECT_EQ(p.reason, DropReason::None);
  EXPECT_EQ(p.packet.protocol, protocol::udp);
  EXPECT_EQ(p.packet.l4, 40 + 8 + 24 + 16 + 256);
  EXPECT_EQ(p.packet.key.dst_port.host(), 2);
}

TEST(ParseV6, ExtensionHeadersThatAreRefused) {
  const Bytes l4 = udp(1, 2, counting(4));
  // RFC 8200 section 4.1: hop-by-hop only first.
  EXPECT_EQ(reason6(ipv6({.next = protocol::destination_options},
                         extension(protocol::hop_by_hop) + extension(protocol::udp) + l4)),
            DropReason::Ipv6ExtensionHeaders);
  // RFC 5095: routing type 0.
  EXPECT_EQ(reason6(ipv6({.next = protocol::routing}, extension(protocol::udp, 2, 0) + l4)),
            DropReason::Ipv6ExtensionHeaders);
  Bytes chain;
  for (unsigned i = 0; i + 1 < max_extension_headers; ++i) chain = chain + extension(protocol::destination_options);
  EXPECT_EQ(reason6(ipv6({.next = protocol::destination_options}, chain + extension(protocol::udp) + l4)),
            DropReason::None);
  chain = chain + extension(protocol::destination_options);
  EXPECT_EQ(reason6(ipv6({.next = protocol::destination_options}, chain + extension(protocol::udp) + l4)),
            DropReason::Ipv6ExtensionHeaders);
}

// However the chain is cut, with the length field saying so or not, nothing behind the end is read.
TEST(ParseV6, CutExtensionHeadersAreNoticedAtEveryByte) {
  const Bytes payload = extension(protocol::routing, 1) + extension(protocol::fragment, 2) +
                        fragment_header(protocol::destination_options, 0, false) + extension(protocol::tcp, 0) +
                        tcp(1, 2, 0, {});
  ASSERT_EQ(reason6(ipv6({.next = protocol::hop_by_hop}, payload)), DropReason::None);
  for (size_t length = 0; length < payload.size(); ++length) {
    const Bytes cut = test::take(payload, length);
    EXPECT_EQ(reason6(ipv6({.next = protocol::hop_by_hop}, cut)),
              length < payload.size() - 20 ? DropReason::IpTruncated : DropReason::L4Truncated)
        << length;
    EXPECT_NE(reason6(ipv6({.next = protocol::hop_by_hop}, cut) + Bytes(60, 0x3c)), DropReason::None) << length;
  }
}

TEST(ParseV6, Fragments) {
  const Bytes l4 = udp(1, 2, counting(16));
  const auto parse = [&](uint16_t offset, bool more) {
    return ipv6({.next = protocol::fragment}, fragment_header(protocol::udp, offset, more) + l4);
  };
  EXPECT_EQ(Parsed6(parse(0, false)).packet.fragment, FragmentKind::Whole);  // atomic (RFC 6946)
  EXPECT_TRUE(Parsed6(parse(0, false)).packet.has_ports);
  EXPECT_EQ(Parsed6(parse(0, true)).packet.fragment, FragmentKind::First);
  EXPECT_TRUE(Parsed6(parse(0, true)).packet.has_ports);
  for (const bool more : {false, true}) {
    const Parsed6 later(parse(24, more));
    EXPECT_EQ(later.reason, DropReason::None);
    EXPECT_EQ(later.packet.fragment, FragmentKind::Later);
    EXPECT_FALSE(later.packet.has_ports);
    EXPECT_EQ(later.packet.l4, 48);
    EXPECT_EQ(later.packet.protocol, protocol::udp);
  }
  // What follows a later fragment's header is data, whatever it looks like.
  EXPECT_EQ(reason6(ipv6({.next = protocol::fragment}, fragment_header(protocol::routing, 8, false))),
            DropReason::None);
  // RFC 8200 section 4.5: all but the last carry a multiple of 8 bytes.
  for (const uint16_t offset : {0, 24}) {
    const Bytes odd = fragment_header(protocol::udp, offset, true) + udp(1, 2, counting(13));
    EXPECT_EQ(reason6(ipv6({.next = protocol::fragment}, odd)), DropReason::FragmentMalformed);
  }
  // RFC 7112: the first fragment has all headers.
  EXPECT_EQ(reason6(ipv6({.next = protocol::fragment}, fragment_header(protocol::tcp, 0, true) + counting(16))),
            DropReason::FragmentHeaderMissing);
}

// RFC 8200 section 4.5: the reassembled payload has at most 65535 bytes.
TEST(ParseV6, FragmentsReachNoFurtherThanAPacketCan) {
  const auto last = [](size_t length) {
    return ipv6({.next = protocol::fragment}, fragment_header(protocol::udp, 0xfff8, false) + Bytes(length));
  };
  EXPECT_EQ(reason6(last(7)), DropReason::None);
  EXPECT_EQ(reason6(last(8)), DropReason::FragmentMalformed);
}

}  // namespace
}  // namespace sluice::net
