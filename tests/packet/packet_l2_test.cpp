// Load balancer addresses on the wire: who is answered, what a take-over sends, and what is heard of others.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr uint16_t request = 1;
constexpr uint16_t reply = 2;
constexpr const char* vip = "203.0.113.10";
constexpr const char* vip_v6 = "2001:db8:77::10";

net::IpAddr ip(std::string_view text) { return *net::parse_ip(text); }

class L2 : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    Gateway gateway;
    gateway.interfaces = std::string(interface_a) + "," + interface_b;
    rig().load(list({gateway.text()}));
    rig().publish({announced(vip), announced(vip_v6)});
  }
  // At "a", whose subnets the addresses are not of (L2-7).
  static dataplane::Announcement announced(const char* address, bool answers = true) {
    return {ip(address), 0, answers};
  }
  std::string ask(const char* port = "a", uint16_t operation = request,
                  const net::MacAddr& to = net::MacAddr::broadcast()) {
    return rig().send_frame(port, arp(operation, mac(0x33), "203.0.113.33", vip, to));
  }
  std::string solicit(const char* target) {
    const net::MacAddr group = net::MacAddr::for_multicast(Endpoint(target).address.v6().solicited_node());
    return rig().send_frame("a", ethernet(group, mac(0x33), nd_solicit("2001:db8:2::33", target, mac(0x33))));
  }
  std::vector<dataplane::AddressClaim> claims() {
    std::vector<dataplane::AddressClaim> out;
    rig().plane().worker(0).claims()->take([&](const dataplane::AddressClaim& claim) { out.push_back(claim); });
    return out;
  }
};

TEST_P(L2, L23_ArpRequestsForTheAddressAreAnsweredWithThePortsMac) {
  EXPECT_EQ(ask(), "a/33 arp reply 203.0.113.10 is 02:00:00:00:00:0a to 203.0.113.33");
  EXPECT_EQ(ask("a", request, mac(0x0a)), "a/33 arp reply 203.0.113.10 is 02:00:00:00:00:0a to 203.0.113.33")
      << "unicast to us";
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(L2, L23_NothingElseIsAnswered) {
  EXPECT_EQ(ask("b"), "") << "not announced there";
  EXPECT_EQ(rig().drops(), "arp_not_for_us 1");
  EXPECT_EQ(ask("a", reply), "") << "no request";
  EXPECT_EQ(ask("a", request, *net::parse_mac("01:00:5e:00:00:01")), "") << "a group";
  EXPECT_EQ(rig().drops(), "arp_not_for_us 1");
  EXPECT_EQ(ask("a", request, mac(0x77)), "") << "somebody else's";
  EXPECT_EQ(rig().drops(), "not_our_mac 1");
}

TEST_P(L2, L24_AnswersEndWithTheOwnership) {
  rig().publish({announced(vip_v6)});
  EXPECT_EQ(ask(), "");
  rig().publish({announced(vip, false), announced(vip_v6)});
  EXPECT_EQ(ask(), "") << "watched is not answered";
  EXPECT_NE(solicit(vip_v6), "");
}

TEST_P(L2, L23_SolicitationsAreAnsweredAlsoToTheirGroup) {
  EXPECT_EQ(solicit(vip_v6), "a/33 nd advert 2001:db8:77::10 2001:db8:77::10>2001:db8:2::33 ttl 255");
  EXPECT_EQ(solicit("2001:db8:77::11"), "");
}

TEST_P(L2, L24_ATakeOverIsToldInBothFormsAndAsAnUnsolicitedAdvertisement) {
  EXPECT_EQ(rig().announce({announced(vip), announced(vip_v6)}),
            "a/01 nd advert 2001:db8:77::10 2001:db8:77::10>ff02::1 ttl 255\n"
            "a/16 icmp 143/0 fe80::ff:fe00:a>ff02::16 ttl 1\n"
            "a/ff arp reply 203.0.113.10 is 02:00:00:00:00:0a to 203.0.113.10\n"
            "a/ff arp request 203.0.113.10? from 203.0.113.10");
  for (const View& frame : rig().out()) {
    if (frame.text.find("nd advert") == std::string::npos) continue;
    // Ethernet, IPv6, type and so on: the flags are the fifth byte of the message, override is 0x20.
    EXPECT_EQ(frame.frame.at(14 + 40 + 4) & 0x60, 0x20) << "override and not solicited";
  }
  // RFC 3810 sections 5 and 5.2: behind the router alert, one record "change to exclude" of the solicited-node group.
  for (const View& frame : rig().out()) {
    if (frame.text.find("icmp 143/0") == std::string::npos) continue;
    const Bytes options(frame.frame.begin() + 14 + 40, frame.frame.begin() + 14 + 48);
    EXPECT_EQ(options, (Bytes{58, 0, 5, 2, 0, 0, 1, 0}));
    const Bytes record(frame.frame.begin() + 14 + 48 + 6, frame.frame.end());
    EXPECT_EQ(record, (Bytes{0, 1, 4, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x10}));
  }
  EXPECT_EQ(rig().announce({announced("203.0.113.99")}), "") << "not ours: it was lost on the way";
}

TEST_P(L2, L25_AnotherMacThatClaimsTheAddressIsHeard) {
  EXPECT_EQ(rig().send_frame("a", arp(request, mac(0x99), vip, vip, net::MacAddr::broadcast())), "");
  EXPECT_EQ(rig().send_frame("a", arp(reply, mac(0x98), vip, "203.0.113.33", mac(0x0a))), "");
  EXPECT_EQ(rig().drops(), "arp_conflict 2");
  EXPECT_EQ(rig().send("a", nd_advert(vip_v6, "ff02::1", mac(0x97))), "");
  const auto heard = claims();
  ASSERT_EQ(heard.size(), 3u);
  EXPECT_EQ(heard[0].address, ip(vip));
  EXPECT_EQ(heard[0].mac, mac(0x99));
  EXPECT_EQ(heard[1].mac, mac(0x98));
  EXPECT_EQ(heard[2].address, ip(vip_v6));
  EXPECT_EQ(heard[2].mac, mac(0x97));
  EXPECT_EQ(rig().count(dataplane::Event::VipClaims), 3u);
}

TEST_P(L2, L25_OurOwnFramesComeBackAreNoClaim) {
  (void)rig().send_frame("a", arp(request, mac(0x0a), vip, vip, net::MacAddr::broadcast()));
  (void)rig().send("a", nd_advert(vip_v6, "ff02::1", mac(0x0a)));
  EXPECT_TRUE(claims().empty());
}

TEST_P(L2, L25_WhatWasGivenUpIsAskedForAndTheAnswerHeard) {
  rig().publish({announced(vip, false), announced(vip_v6, false)});
  EXPECT_EQ(rig().announce({announced(vip, false), announced(vip_v6, false)}),
            "a/10 nd solicit 2001:db8:77::10 2001:db8:2::1>ff02::1:ff00:10 ttl 255\n"
            "a/ff arp request 203.0.113.10? from 192.0.2.1");
  (void)rig().send_frame("a", arp(reply, mac(0x99), vip, "192.0.2.1", mac(0x0a)));
  ASSERT_EQ(claims().size(), 1u);
}

SLUICE_WITH_WORKERS(L2);

}  // namespace
}  // namespace sluice::packet_test
