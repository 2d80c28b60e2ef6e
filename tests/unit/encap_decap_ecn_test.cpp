// Congestion marks of the outer header come through into the inner one.
#include "encap/ecn.h"
#include "tests/unit/encap_received.h"

namespace sluice::encap {
namespace {

using net::DropReason;
using test::Bytes;
using test::counting;
using test::ipip_frame;
using test::ipv4;
using test::ipv6;
using test::Received;
using test::udp;
using test::vxlan_frame;
using test::vxlan_payload;
using test::with;

// ECN-2, ECN-3: the matrix of RFC 6040 through real packets, with every DSCP above it.

struct Carrier {
  bool vxlan;
  bool v6;
};

Bytes carry(const Carrier& carrier, uint8_t inner_tos, uint8_t outer_tos) {
  const Bytes payload = udp(1, 2, counting(5));
  const Bytes inner =
      carrier.v6 ? ipv6({.traffic_class = inner_tos}, payload) : ipv4({.tos = inner_tos, .id = inner_tos}, payload);
  if (carrier.vxlan) {
    return vxlan_frame(vxlan_payload(inner, carrier.v6 ? net::ether_type_ipv6 : net::ether_type_ipv4), outer_tos);
  }
  return ipip_frame(inner, carrier.v6 ? net::protocol::ipv6 : net::protocol::ipip, outer_tos);
}

TEST(DecapsulateEcn, WholeMatrix) {
  for (const Carrier& carrier :
       {Carrier{true, false}, Carrier{true, true}, Carrier{false, false}, Carrier{false, true}}) {
    for (int inner = 0; inner < 256; ++inner) {
      for (int outer = 0; outer < 4; ++outer) {
        const auto inner_tos = static_cast<uint8_t>(inner);
        const auto outer_tos = static_cast<uint8_t>(outer | 0xb8);
        const EcnOutcome expected = decapsulate_ecn(inner_tos, outer_tos);
        Received r(carry(carrier, inner_tos, outer_tos));
        EXPECT_EQ(r.result.odd_ecn, expected.odd);
        if (expected.drop) {
          EXPECT_EQ(r.result.reason, DropReason::TunnelEcn);
          continue;
        }
        ASSERT_EQ(r.result.what, Decap::Stripped);
        const Bytes bytes = r.mbuf.bytes();
        const int merged = (inner & 0xfc) | static_cast<int>(expected.ecn);
        if (carrier.v6) {
          EXPECT_EQ(net::load_be32(bytes.data()), 6u << 28 | static_cast<uint32_t>(merged) << 20 | 0x54321u);
        } else {
          EXPECT_EQ(bytes[1], merged);
          EXPECT_TRUE(test::ipv4_checksum_good(bytes.data()));
        }
        // Nothing else has changed.
        const Bytes plain = Received(carry(carrier, inner_tos, 0)).mbuf.bytes();
        for (size_t i = 0; i < bytes.size(); ++i) {
          if (i <= 1 || (!carrier.v6 && (i == 10 || i == 11))) continue;
          ASSERT_EQ(bytes[i], plain[i]) << i;
        }
      }
    }
  }
}

// A wrong inner checksum stays wrong when the ECN field changes.
TEST(DecapsulateEcn, DoesNotRepairAWrongChecksum) {
  Bytes inner = ipv4({.tos = 2}, udp(1, 2, {}));
  inner[10] ^= 0x40;
  Received r(ipip_frame(inner, net::protocol::ipip, 3));
  ASSERT_EQ(r.result.what, Decap::Stripped);
  EXPECT_EQ(r.mbuf.bytes()[1], 3);
  EXPECT_EQ(net::parse_ip(r.packet, false), DropReason::IpBadChecksum);
}

}  // namespace
}  // namespace sluice::encap
