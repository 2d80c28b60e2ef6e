// The router as a listener of the solicited-node groups of its addresses (RFC 3810, RFC 2710): what queries are
// answered.
#include <algorithm>

#include <gtest/gtest.h>

#include "dataplane/membership.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* vip = "2001:db8:77::10";
constexpr const char* vip_group = "ff02::1:ff00:10";
constexpr const char* any_group = "::";
constexpr uint16_t delay = 10000;  // milliseconds
constexpr uint8_t exclude = 2;     // RFC 3810 section 5.2.12

// With a router alert in front of the message.
Bytes query(const char* group, bool v1, const char* source = "fe80::99", const char* destination = nullptr) {
  Ip packet;
  packet.src = source;
  packet.dst = destination != nullptr ? destination : group == any_group ? "ff02::1" : group;
  packet.protocol = net::protocol::icmpv6;
  packet.ttl = 1;
  packet.type = dataplane::multicast_listener_query;
  packet.rest = uint32_t{delay} << 16;
  const net::Ipv6Addr address = Endpoint(group).address.v6();
  packet.payload.assign(address.bytes.begin(), address.bytes.end());
  if (!v1) packet.payload.resize(20);
  Bytes bytes = packet.bytes();
  const Bytes options{58, 0, 5, 2, 0, 0, 1, 0};
  bytes.insert(bytes.begin() + 40, options.begin(), options.end());
  bytes[5] = static_cast<uint8_t>(bytes[5] + options.size());
  bytes[6] = 0;
  return bytes;
}

class Mld : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    Gateway gateway;
    gateway.interfaces = std::string(interface_a) + "," + interface_b;
    rig().load(list({gateway.text()}));
    rig().publish({{*net::parse_ip(vip), 0, true}, {*net::parse_ip("2001:db8:77::66"), 0, false}});
  }
  // The groups of reports, each as "type group", sorted; of everything that comes within the delay.
  std::vector<std::string> answers(const Bytes& l3) {
    std::vector<std::string> out;
    (void)rig().send("a", l3);
    collect(out);
    (void)rig().advance(delay + 40);
    collect(out);
    std::sort(out.begin(), out.end());
    return out;
  }
  void collect(std::vector<std::string>& out) {
    for (const View& frame : rig().out()) {
      const Bytes& bytes = frame.outer;
      if (bytes.size() < 56 || bytes[6] != 0) continue;
      EXPECT_EQ(frame.port, "a");
      EXPECT_EQ(bytes[7], 1) << "hop limit";
      EXPECT_EQ(Bytes(bytes.begin() + 40, bytes.begin() + 48), (Bytes{58, 0, 5, 2, 0, 0, 1, 0}));
      const auto group_at = [&](size_t at) {
        net::Ipv6Addr group;
        std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at), 16, group.bytes.begin());
        return net::to_string(net::IpAddr(group));
      };
      if (bytes[48] == 131) {
        EXPECT_EQ(frame.ip.dst.address, *net::parse_ip(group_at(56)));
        out.push_back("v1 " + group_at(56));
        continue;
      }
      ASSERT_EQ(bytes[48], 143);
      const size_t records = bytes[54] * 256U + bytes[55];
      ASSERT_EQ(bytes.size(), 56 + 20 * records);
      for (size_t at = 56; at < bytes.size(); at += 20) {
        EXPECT_EQ(bytes[at], exclude);
        out.push_back("v2 " + group_at(at + 4));
      }
    }
  }
};

TEST_P(Mld, L24_AGeneralQueryIsAnsweredForEveryGroup) {
  const std::vector<std::string> wanted{"v2 ff02::1:ff00:1", "v2 ff02::1:ff00:10", "v2 ff02::1:ff00:a"};
  EXPECT_EQ(answers(query(any_group, false)), wanted);
  EXPECT_EQ(answers(query(any_group, false)), wanted) << "and again";
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Mld, L24_AQueryForAGroupIsAnsweredByItsListener) {
  EXPECT_EQ(answers(query(vip_group, false)), (std::vector<std::string>{"v2 ff02::1:ff00:10"}));
  EXPECT_TRUE(answers(query("ff02::1:ff00:66", false)).empty()) << "an address that another one answers for";
  EXPECT_TRUE(answers(query("ff02::fb", false)).empty());
}

TEST_P(Mld, L24_QueriesThatComeTogetherHaveOneAnswer) {
  (void)rig().send("a", query(vip_group, false));
  EXPECT_EQ(answers(query("ff02::1:ff00:a", false)).size(), 3U);
}

TEST_P(Mld, L24_ARouterOfMldV1IsAnsweredAndToldByMldV1) {
  EXPECT_EQ(answers(query(any_group, true)),
            (std::vector<std::string>{"v1 ff02::1:ff00:1", "v1 ff02::1:ff00:10", "v1 ff02::1:ff00:a"}));
  EXPECT_EQ(answers(query(vip_group, true)), (std::vector<std::string>{"v1 ff02::1:ff00:10"}));
  EXPECT_EQ(answers(query(vip_group, false)), (std::vector<std::string>{"v1 ff02::1:ff00:10"})) << "section 8.2.1";
  const dataplane::Announcement announced{*net::parse_ip(vip), 0, true};
  EXPECT_NE(rig().announce({announced}).find("icmp 131/0"), std::string::npos);
  (void)rig().advance(260000);
  EXPECT_NE(rig().announce({announced}).find("icmp 143/0"), std::string::npos);
  EXPECT_EQ(answers(query(vip_group, false)), (std::vector<std::string>{"v2 ff02::1:ff00:10"}));
}

// RFC 3810 section 6.2.
TEST_P(Mld, L24_WhatIsNoQueryOfTheLinkIsDropped) {
  const auto dropped = [&](const Bytes& l3, const char* what) {
    EXPECT_TRUE(answers(l3).empty()) << what;
    EXPECT_EQ(rig().drops(), "nd_malformed 1") << what;
  };
  dropped(query(any_group, false, "2001:db8:2::99"), "not of a link-local address");
  dropped(query(any_group, false, "fe80::99", vip_group), "a general query to one group");
  Bytes far = query(any_group, false);
  far[7] = 2;
  dropped(far, "hop limit 2");
  Bytes quiet = query(any_group, false);
  quiet[42] = 1;  // PadN in place of the router alert
  dropped(quiet, "no router alert");
  Bytes spoiled = query(any_group, false);
  spoiled.back() ^= 1;
  dropped(spoiled, "a wrong checksum");
}

// RFC 3810 section 5.1.3.
TEST(MldDelay, L24_MaximumResponseDelay) {
  EXPECT_EQ(dataplane::mld_response_delay(0), 0U);
  EXPECT_EQ(dataplane::mld_response_delay(0x7fff), 32767U);
  EXPECT_EQ(dataplane::mld_response_delay(0x8000), 32768U);
  EXPECT_EQ(dataplane::mld_response_delay(0x8001), 32776U);
  EXPECT_EQ(dataplane::mld_response_delay(0xffff), 0x1fffU << 10);
}

SLUICE_WITH_WORKERS(Mld);

}  // namespace
}  // namespace sluice::packet_test
