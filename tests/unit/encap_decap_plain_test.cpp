// The short cut out of a tunnel says yes to ordinary packets, and never to anything that decapsulate sees otherwise.
#include "tests/unit/encap_plain_check.h"
#include "tests/unit/encap_received.h"

namespace sluice::encap {
namespace {

using test::Bytes;
using test::inner4;
using test::inner6;
using test::ipip_frame;
using test::terminator;
using test::vxlan_frame;
using test::vxlan_payload;
using test::with;
using test::operator+;

bool is_plain(const Bytes& frame, const Terminator& by = terminator()) {
  bool yes = false;
  const char* const wrong = test::wrong_about_plain_inner(Bytes(14, 0xee) + frame, 14, false, by, &yes);
  EXPECT_EQ(wrong, nullptr) << wrong;
  return yes;
}

std::vector<Bytes> ordinary() {
  return {vxlan_frame(vxlan_payload(inner4)), vxlan_frame(vxlan_payload(inner6, net::ether_type_ipv6)),
          ipip_frame(inner4), ipip_frame(inner6, net::protocol::ipv6)};
}

TEST(PlainInner, OrdinaryOnesAre) {
  for (const Bytes& frame : ordinary()) EXPECT_TRUE(is_plain(frame));
  EXPECT_TRUE(is_plain(ipip_frame(inner4) + Bytes(18)));  // padding
}

TEST(PlainInner, NotWhatIsNotAccepted) {
  Terminator by = terminator();
  by.accept_vxlan = by.accept_ipip = false;
  for (const Bytes& frame : ordinary()) EXPECT_FALSE(is_plain(frame, by));
  by = terminator();
  by.udp_port = 4790;
  EXPECT_FALSE(is_plain(ordinary()[0], by));
  by = terminator();
  const uint32_t vni = by.vni++;
  EXPECT_FALSE(is_plain(ordinary()[0], by));
  by.tunnel_vnis = {vni - 1, vni + 2};
  EXPECT_FALSE(is_plain(ordinary()[0], by));
  by.tunnel_vnis = {vni - 1, vni, vni + 2};
  EXPECT_TRUE(is_plain(ordinary()[0], by));
  EXPECT_FALSE(is_plain(test::with_udp_checksum(ordinary()[0])));  // is to be verified
}

// RFC 6040 figure 4: where the inner field changes, decapsulate has to do it.
TEST(PlainInner, EveryMarkInsideAndOutside) {
  for (uint8_t inside = 0; inside < 4; ++inside) {
    Bytes inner = with(inner4, 1, inside);
    test::fix_ipv4_checksum(inner);
    for (uint8_t outside = 0; outside < 4; ++outside) {
      const bool unchanged = outside == 0 || outside == inside;
      EXPECT_EQ(is_plain(vxlan_frame(vxlan_payload(inner), outside)), unchanged) << +inside << +outside;
      EXPECT_EQ(is_plain(ipip_frame(inner, net::protocol::ipip, outside)), unchanged) << +inside << +outside;
    }
  }
}

TEST(PlainInner, AgreesWithDecapsulateOnEveryChangedByte) {
  Terminator strict = terminator();
  strict.strict_flags = true;
  for (const Bytes& good : ordinary()) {
    for (size_t at = 0; at < good.size() && at < 120; ++at) {
      for (unsigned value = 0; value < 256; ++value) {
        Bytes changed = with(good, at, static_cast<uint8_t>(value));
        for (const bool known_good : {false, true}) {
          const char* wrong = test::wrong_about_plain_inner(changed, 0, known_good, terminator());
          ASSERT_EQ(wrong, nullptr) << wrong << ": byte " << at << " = " << value;
          wrong = test::wrong_about_plain_inner(changed, 0, known_good, strict);
          ASSERT_EQ(wrong, nullptr) << wrong << ": byte " << at << " = " << value << ", strict";
        }
        if (at == 0 || at >= net::ipv4_header_length) continue;
        test::fix_ipv4_checksum(changed);
        const char* const wrong = test::wrong_about_plain_inner(changed, 0, false, terminator());
        ASSERT_EQ(wrong, nullptr) << wrong << ": byte " << at << " = " << value << ", checksum put right";
      }
    }
  }
}

TEST(PlainInner, AgreesWithDecapsulateOnEveryCut) {
  for (const Bytes& good : ordinary()) {
    for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(is_plain(test::take(good, size))) << size;
    // The outer lengths say less than there is.
    for (uint16_t total = 0; total < good.size(); ++total) {
      Bytes shorter = good;
      net::store_be16(shorter.data() + 2, total);
      test::fix_ipv4_checksum(shorter);
      (void)is_plain(shorter);
    }
  }
}

}  // namespace
}  // namespace sluice::encap
