// MASQ-8: what natOutgoing translates gets an address and ports of its own, if the configuration says so.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* with_addresses =
    R"({"name":"up","device":"net_ring_a","mac":"02:00:00:00:00:0a","role":"uplink",
  "addresses":["192.0.2.1/24","2001:db8:2::1/64","203.0.113.7/32","2001:db8:77::7/128"],
  "gateway":{"v4":"192.0.2.254","v6":"2001:db8:2::fe"}})";

class NatOutgoing : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    Gateway gateway;
    gateway.interfaces = std::string(with_addresses) + "," + interface_b;
    gateway.more = R"("snat":{"portRange":"40000-40999","natPortRange":"50000-50099",
      "natOutgoingAddress":{"v4":"203.0.113.7","v6":"2001:db8:77::7"}})";
    const ServiceSpec web{.name = "web",
                          .cluster_ips = {"10.96.0.10"},
                          .ports = {"UDP 53 5353 30053"},
                          .endpoints = {"10.246.1.20 node3"}};
    rig().load(list({gateway.text(), cluster(R"("natOutgoing":true)"), service(web)}));
  }
  // Of what came out.
  void expect_ports(uint16_t first, uint16_t last) {
    EXPECT_GE(rig().only().ip.src.port, first);
    EXPECT_LE(rig().only().ip.src.port, last);
  }
};

TEST_P(NatOutgoing, MASQ8_TheConfiguredAddressAndPorts) {
  for (int port = 5000; port < 5016; ++port) {
    const std::string pod = "10.246.1.5:" + std::to_string(port);
    ASSERT_TRUE(like(rig().send("b", udp(pod, "198.51.100.9:53")), "a/fe udp 203.0.113.7:*>198.51.100.9:53 ttl 63"));
    expect_ports(50000, 50099);
    const std::string mapped = rig().only().ip.src.text();
    EXPECT_EQ(rig().send("a", udp("198.51.100.9:53", mapped)), "b/13 udp 198.51.100.9:53>" + pod + " ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(NatOutgoing, MASQ8_BothFamilies) {
  const std::string pod = "[fd00:10:246::5]:5000";
  ASSERT_TRUE(like(rig().send("b", tcp(pod, "[2001:db8:99::9]:80", "S").with_seq(100, 0)),
                   "a/fe tcp S [2001:db8:77::7]:*>[2001:db8:99::9]:80 ttl 63"));
  expect_ports(50000, 50099);
  const std::string mapped = rig().only().ip.src.text();
  EXPECT_EQ(rig().send("a", tcp("[2001:db8:99::9]:80", mapped, "SA").with_seq(500, 101)),
            "b/13 tcp SA [2001:db8:99::9]:80>" + pod + " ttl 63");
}

TEST_P(NatOutgoing, MASQ8_MASQ12_EchoesToo) {
  ASSERT_TRUE(like(rig().send("b", echo("10.246.1.5", "198.51.100.9", 7)), "a/fe echo 203.0.113.7>198.51.100.9 id *"));
  expect_ports(50000, 50099);
  EXPECT_EQ(rig().send("a", echo_reply("198.51.100.9", "203.0.113.7", rig().only().ip.src.port)),
            "b/13 echo-reply 198.51.100.9>10.246.1.5 id 7 ttl 63");
}

TEST_P(NatOutgoing, MASQ5_ServicesKeepTheirs) {
  ASSERT_TRUE(like(rig().send("a", udp("198.51.100.9:1000", "192.0.2.1:30053")), "b/13 udp 192.168.0.1:*"));
  expect_ports(40000, 40999);
}

SLUICE_WITH_WORKERS(NatOutgoing);

}  // namespace
}  // namespace sluice::packet_test
