// What VXLAN checks of its own when a packet comes in.
#include <random>

#include "tests/unit/encap_received.h"

namespace sluice::encap {
namespace {

using net::DropReason;
using test::Bytes;
using test::counting;
using test::inner4;
using test::ipv4;
using test::our_mac;
using test::reason;
using test::Received;
using test::terminator;
using test::their_mac;
using test::udp;
using test::v4;
using test::vni;
using test::vxlan_frame;
using test::vxlan_payload;
using test::what;
using test::with;
using test::with_udp_checksum;
using test::operator+;

// VXL-1: the I flag must be set; the reserved bits are ignored, or must be zero when strict.
TEST(DecapsulateVxlan, Flags) {
  Terminator strict = terminator();
  strict.strict_flags = true;
  const Bytes good = vxlan_payload(inner4);
  EXPECT_EQ(what(vxlan_frame(good), strict), Decap::Stripped);
  for (int flags = 0; flags < 256; ++flags) {
    const Bytes frame = vxlan_frame(with(good, 0, static_cast<uint8_t>(flags)));
    EXPECT_EQ(reason(frame), (flags & 8) != 0 ? DropReason::None : DropReason::VxlanBadFlags) << flags;
    EXPECT_EQ(Received(frame, strict).result.reason, flags == 8 ? DropReason::None : DropReason::VxlanBadFlags)
        << flags;
  }
  for (const size_t reserved : {1, 2, 3, 7}) {
    const Bytes frame = vxlan_frame(with(good, reserved, 1));
    EXPECT_EQ(reason(frame), DropReason::None) << reserved;
    EXPECT_EQ(Received(frame, strict).result.reason, DropReason::VxlanBadFlags) << reserved;
  }
}

TEST(DecapsulateVxlan, UnknownVni) {
  for (const uint32_t other : {0u, 4095u, 4097u, 0xffffffu, 0x100000u}) {
    EXPECT_EQ(reason(vxlan_frame(test::vxlan(other, test::ethernet(our_mac, their_mac, 0x0800, inner4)))),
              DropReason::VxlanUnknownVni)
        << other;
  }
}

// VXL-3.
TEST(DecapsulateVxlan, NotOurMac) {
  for (const net::MacAddr& mac : {their_mac, net::MacAddr::broadcast(), net::MacAddr{}}) {
    EXPECT_EQ(reason(vxlan_frame(test::vxlan(vni, test::ethernet(mac, their_mac, 0x0800, inner4)))),
              DropReason::VxlanNotOurMac);
  }
}

TEST(DecapsulateVxlan, VlanAndOtherTypes) {
  EXPECT_EQ(reason(vxlan_frame(vxlan_payload(inner4, 0x8100))), DropReason::VxlanVlan);
  EXPECT_EQ(reason(vxlan_frame(vxlan_payload(inner4, 0x88a8))), DropReason::VxlanVlan);
  for (const uint16_t type : {0x0806, 0x0000, 0x0005, 0x8847, 0x88cc, 0xffff}) {
    EXPECT_EQ(reason(vxlan_frame(vxlan_payload(inner4, type))), DropReason::VxlanNotIp) << type;
  }
}

// CSUM-4: zero is accepted, anything else must be right.
TEST(DecapsulateVxlan, UdpChecksum) {
  for (size_t extra = 0; extra < 5; ++extra) {
    const Bytes inner = ipv4({}, udp(1, 2, counting(20 + extra)));
    const Bytes good = with_udp_checksum(vxlan_frame(vxlan_payload(inner)));
    ASSERT_NE(net::load_be16(good.data() + 26), 0);
    EXPECT_EQ(reason(good), DropReason::None);
    EXPECT_EQ(reason(good + Bytes(7, 0x55)), DropReason::None);  // padding is not under it
    EXPECT_EQ(reason(with(good, 27, static_cast<uint8_t>(good[27] ^ 1))), DropReason::VxlanBadChecksum);
    EXPECT_EQ(reason(with(good, 20, static_cast<uint8_t>(good[20] ^ 1))), DropReason::VxlanBadChecksum);
    const size_t last = good.size() - 1;
    EXPECT_EQ(reason(with(good, last, static_cast<uint8_t>(good[last] ^ 1))), DropReason::VxlanBadChecksum);
  }
}

// The pseudo header is under the checksum: an outer address changed on the way is noticed.
TEST(DecapsulateVxlan, UdpChecksumCoversTheAddresses) {
  Bytes frame = with_udp_checksum(vxlan_frame(vxlan_payload(inner4)));
  net::store(frame.data() + 16, v4("192.168.100.199"));
  test::fix_ipv4_checksum(frame);
  EXPECT_EQ(reason(frame), DropReason::VxlanBadChecksum);
}

// The sum runs over segments, odd lengths included.
TEST(DecapsulateVxlan, UdpChecksumOverSegments) {
  std::mt19937_64 random(1);
  const Bytes inner = ipv4({}, udp(1, 2, test::random_bytes(random, 333)));
  const Bytes good = with_udp_checksum(vxlan_frame(vxlan_payload(inner)));
  for (size_t cut = 70; cut < good.size(); ++cut) {
    EXPECT_EQ(Received(good, cut).result.reason, DropReason::None) << cut;
    const Bytes bad = with(good, good.size() - 3, static_cast<uint8_t>(good[good.size() - 3] ^ 0x10));
    EXPECT_EQ(Received(bad, cut).result.reason, DropReason::VxlanBadChecksum) << cut;
  }
}

TEST(DecapsulateVxlan, LengthField) {
  Bytes frame = vxlan_frame(vxlan_payload(inner4));
  const auto length = static_cast<uint16_t>(frame.size() - 20);
  const auto with_length = [&](int value) {
    Bytes out = frame;
    net::store_be16(out.data() + 24, static_cast<uint16_t>(value));
    return out;
  };
  EXPECT_EQ(reason(with_length(length)), DropReason::None);
  EXPECT_EQ(reason(with_length(length + 1)), DropReason::TunnelMalformed);  // more than the IP packet holds
  EXPECT_EQ(reason(with_length(65535)), DropReason::TunnelMalformed);
  for (int value = 0; value < 30 + 20; ++value) {
    EXPECT_EQ(reason(with_length(value)), DropReason::TunnelMalformed) << value;
  }
  // Shorter than the IP packet: what is behind the datagram does not become part of the inner packet.
  const Received shorter(with_length(length - 5));
  ASSERT_EQ(shorter.result.what, Decap::Stripped);
  EXPECT_EQ(shorter.mbuf.bytes(), test::take(inner4, inner4.size() - 5));
}

}  // namespace
}  // namespace sluice::encap
