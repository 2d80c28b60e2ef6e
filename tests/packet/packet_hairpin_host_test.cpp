// MASQ-13 and the host behind the router: sockets of the host whose address is one of a pool have mappings like other
// endpoints inside, and others have ports at the very address that mappings use.
#include <string>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* peer = "198.51.100.1:53";
constexpr const char* pod = "10.246.1.5:5000";
constexpr const char* other_pod = "10.246.1.6:6000";
constexpr const char* socket = "10.246.1.62:50123";  // of the host; its port is one that mappings may have

class HairpinHost : public RigTest {
 protected:
  // Mappings are at `outside`, an address of "up", which has no twin, or of "un", which has one, as has the pool's
  // address of the host.
  void load(const std::string& outside, const std::string& filtering) {
    Gateway gateway;
    gateway.interfaces = R"({"name":"up","device":"net_ring_a","mac":"02:00:00:00:00:0a","role":"uplink",
      "addresses":["192.0.2.1/24","2001:db8:2::1/64","203.0.113.7/32"],
      "gateway":{"v4":"192.0.2.254","v6":"2001:db8:2::fe"}},{"name":"un","device":"net_ring_b",
      "mac":"02:00:00:00:00:0b","role":"uplink","hostInterface":"tap-b",
      "addresses":["192.168.0.1/24","2001:db8:a::1/64","10.246.1.62/32"]})";
    gateway.more = R"("snat":{"portRange":"40000-40999","natPortRange":"50000-50999","mapping":"EndpointIndependent",
      "filtering":")" +
                   filtering + R"(","natOutgoingAddress":{"v4":")" + outside + "\"}}";
    rig().load(list({gateway.text(), cluster(R"("natOutgoing":true)")}));
    (void)punted();
  }
  // What lies in the ring to the host; of the only twin.
  std::string punted() {
    std::string out;
    for (uint16_t worker = 0; worker < GetParam(); ++worker) {
      (void)rig().plane().punts().to_host(worker).take(1000, [&](uint16_t, const uint8_t* frame, uint32_t length) {
        out += (out.empty() ? "" : "\n") + view("host", Bytes(frame, frame + length)).text;
      });
    }
    return out;
  }
  // The host sends a packet by its TAP device.
  std::string from_host(const Ip& packet) {
    const Bytes frame = ethernet(mac(0x13), mac(0x0b), packet.bytes());
    const auto& interfaces = rig().snapshot().interfaces;
    uint16_t index = 0;
    while (interfaces[index].name != "un") ++index;
    dataplane::FrameRing& ring = rig().plane().punts().from_host();
    std::copy(frame.begin(), frame.end(), ring.reserve(index, static_cast<uint32_t>(frame.size())));
    ring.commit();
    return rig().run();
  }
  // The host's socket as the peer sees it.
  std::string socket_outside() {
    EXPECT_TRUE(like(from_host(udp(socket, peer)), std::string("a/fe udp 203.0.113.7:50*>") + peer + " ttl 63"));
    return rig().only().ip.src.text();
  }
};

TEST_P(HairpinHost, MASQ13_HOST1_AnswersToASocketOfTheHostEndThere) {
  load("203.0.113.7", "AddressAndPortDependent");
  const std::string outside = socket_outside();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(rig().send("a", udp(peer, outside)), "");
    EXPECT_EQ(punted(), std::string("host/0b udp ") + peer + ">" + socket + " ttl 64");
  }
  EXPECT_EQ(rig().send("a", udp(peer, outside).with_ttl(1)), "");
  EXPECT_EQ(punted(), std::string("host/0b udp ") + peer + ">" + socket + " ttl 1") << "it goes no further";
  EXPECT_EQ(rig().flows(), 1u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(HairpinHost, MASQ13_HOST1_ICMP3_ErrorsAboutItsPacketsEndThere) {
  load("203.0.113.7", "AddressAndPortDependent");
  (void)socket_outside();
  EXPECT_EQ(rig().send("a", icmp_error("198.51.100.254", "203.0.113.7", 3, 3, rig().only().l3)), "");
  EXPECT_TRUE(like(punted(), std::string("host/0b icmp 3/3 198.51.100.254>10.246.1.62 ttl 64 [ udp ") + socket + ">" +
                                 peer + " ttl * ]"));
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(HairpinHost, MASQ13_RFC4787_8_HOST1_FromOutsideToAMappingOfTheHost) {
  load("203.0.113.7", "EndpointIndependent");
  const std::string outside = socket_outside();
  const std::string stranger = "198.51.100.2:9";
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(rig().send("a", udp(stranger, outside)), "");
    EXPECT_EQ(punted(), "host/0b udp " + stranger + ">" + socket + " ttl 64");
    EXPECT_EQ(from_host(udp(socket, stranger)), "a/fe udp " + outside + ">" + stranger + " ttl 63");
  }
  EXPECT_EQ(rig().flows(), 2u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(HairpinHost, MASQ13_RFC4787_9_HOST1_BetweenAPodAndTheHost) {
  load("203.0.113.7", "EndpointIndependent");
  const std::string outside = socket_outside();
  EXPECT_EQ(rig().send("b", udp(pod, outside)), "");
  const std::string seen = punted();
  ASSERT_TRUE(like(seen, std::string("host/0b udp 203.0.113.7:50*>") + socket + " ttl 63")) << seen;
  const std::string pod_outside = seen.substr(12, seen.find('>') - 12);
  EXPECT_EQ(from_host(udp(socket, pod_outside)), "b/13 udp " + outside + ">" + pod + " ttl 62");
  EXPECT_EQ(rig().drops(), "");
}

// Such a packet would have an address of the host's own for its source, which no kernel takes.
TEST_P(HairpinHost, MASQ13_HOST1_NoAddressOfTheHostTalksToTheHost) {
  load("192.168.0.1", "EndpointIndependent");
  ASSERT_TRUE(like(from_host(udp(socket, peer)), std::string("a/fe udp 192.168.0.1:50*>") + peer + " ttl 63"));
  const std::string outside = rig().only().ip.src.text();
  EXPECT_EQ(rig().send("b", udp(pod, outside)), "");
  EXPECT_EQ(punted(), "");
  EXPECT_EQ(rig().drops(), "mapping_filtered 1");
  EXPECT_EQ(rig().send("a", udp(peer, outside)), "");
  EXPECT_EQ(punted(), std::string("host/0b udp ") + peer + ">" + socket + " ttl 64") << "others do";
}

// The router keeps nothing of what the host sends on a link by itself; so it does not know the answers.
TEST_P(HairpinHost, MASQ13_HOST1_APortThatASocketOfTheHostHasAsWell) {
  load("192.168.0.1", "EndpointIndependent");
  ASSERT_TRUE(like(rig().send("b", tcp(other_pod, "198.51.100.1:443", "S")), "a/fe tcp S 192.168.0.1:50*"));
  const std::string own = rig().only().ip.src.text();
  const std::string server = "10.246.1.5:8080";
  EXPECT_EQ(from_host(tcp(own, server, "S")), "b/13 tcp S " + own + ">" + server + " ttl 64");
  for (const char* flags : {"SA", "A", "PA", "FA"}) {
    EXPECT_EQ(rig().send("b", tcp(server, own, flags)), "");
    EXPECT_EQ(punted(), std::string("host/0b tcp ") + flags + " " + server + ">" + own + " ttl 64");
  }
  EXPECT_EQ(rig().drops(), "");
  EXPECT_TRUE(
      like(rig().send("b", tcp(server, own, "S")), "b/13 tcp S 192.168.0.1:50*>" + std::string(other_pod) + " ttl 62"))
      << "what begins something is the mapping's";
  EXPECT_EQ(punted(), "");
}

INSTANTIATE_TEST_SUITE_P(Workers, HairpinHost, testing::Values(uint16_t{1}, uint16_t{2}, uint16_t{4}),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace sluice::packet_test
