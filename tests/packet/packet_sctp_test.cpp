// SCTP through services (SVC-1, SVC-97): addresses and ports are translated, the CRC32c only where a port changes, and
// a wrong one stays wrong. Every checksum is verified by DPDK's CRC (frames_view.cpp).
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr uint8_t data = 0;
constexpr uint8_t init = 1;
constexpr uint8_t init_ack = 2;
constexpr uint8_t abort_chunk = 6;

const ServiceSpec same_port{.name = "diameter",
                            .cluster_ips = {"10.96.0.20", "fd00:10:96::20"},
                            .ports = {"SCTP 3868 3868 30868", "TCP 3868 8080"},
                            .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};
const ServiceSpec other_port{
    .name = "sigtran", .cluster_ips = {"10.96.0.21"}, .ports = {"SCTP 2905 12905"}, .endpoints = {"10.246.1.20 node3"}};
const ServiceSpec empty{.name = "empty", .cluster_ips = {"10.96.0.22"}, .ports = {"SCTP 2905 12905"}};

class Sctp : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), service(same_port), service(other_port), service(empty)}));
  }
};

TEST_P(Sctp, SVC97_AddressesAreTranslatedThereAndBack) {
  for (int port = 1000; port < 1016; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    const Ip first = sctp(client, "10.96.0.20:3868", init, 0);
    ASSERT_EQ(rig().send("b", first), "b/13 sctp " + client + ">10.246.1.20:3868 ttl 63");
    const Bytes sent = first.bytes();
    EXPECT_EQ(Bytes(rig().only().l3.begin() + 20, rig().only().l3.end()), Bytes(sent.begin() + 20, sent.end()))
        << "no pseudo header: with the ports the checksum stays";
    EXPECT_EQ(rig().send("b", sctp("10.246.1.20:3868", client, init_ack)),
              "b/13 sctp 10.96.0.20:3868>" + client + " ttl 63");
    EXPECT_EQ(rig().send("b", sctp(client, "10.96.0.20:3868", data).with_payload(777)),
              "b/13 sctp " + client + ">10.246.1.20:3868 ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(rig().flows(), 16u);
}

TEST_P(Sctp, SVC97_TheChecksumFollowsThePorts) {
  for (const size_t size : {0, 1, 2, 3, 4, 100, 1399}) {
    const std::string client = "10.246.1.5:" + std::to_string(1000 + size);
    EXPECT_EQ(rig().send("b", sctp(client, "10.96.0.21:2905", data).with_payload(size)),
              "b/13 sctp " + client + ">10.246.1.20:12905 ttl 63");
    EXPECT_EQ(rig().send("b", sctp("10.246.1.20:12905", client, data).with_payload(size)),
              "b/13 sctp 10.96.0.21:2905>" + client + " ttl 63");
  }
}

TEST_P(Sctp, SVC97_AWrongChecksumStaysWrong) {
  Bytes damaged = sctp("10.246.1.5:1000", "10.96.0.21:2905", data).bytes();
  damaged.back() ^= 1;
  std::string text;
  EXPECT_NONFATAL_FAILURE(text = rig().send("b", damaged), "SCTP checksum");
  EXPECT_EQ(text, "b/13 sctp 10.246.1.5:1000>10.246.1.20:12905 ttl 63");
}

TEST_P(Sctp, SVC1_IsAServiceOfItsOwn) {
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.20:3868", "S")),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:1000", "10.96.0.20:3868")),
            "b/13 icmp 3/3 10.96.0.20>10.246.1.5 ttl 64 [ udp 10.246.1.5:1000>10.96.0.20:3868 ttl 64 ]");
}

TEST_P(Sctp, SVC97_MasqueradedByPort) {
  for (int port = 1000; port < 1016; ++port) {
    const std::string client = "198.51.100.9:" + std::to_string(port);
    ASSERT_TRUE(like(rig().send("a", sctp(client, "192.0.2.1:30868", init, 0)),
                     "b/13 sctp 192.168.0.1:*>10.246.1.20:3868 ttl 63"));
    const std::string translated = rig().only().ip.src.text();
    EXPECT_EQ(rig().send("b", sctp("10.246.1.20:3868", translated, init_ack)),
              "a/fe sctp 192.0.2.1:30868>" + client + " ttl 63");
    EXPECT_EQ(rig().send("a", sctp(client, "192.0.2.1:30868", data)),
              "b/13 sctp " + translated + ">10.246.1.20:3868 ttl 63");
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Sctp, SVC100_IPv6) {
  EXPECT_EQ(rig().send("b", sctp("[fd00:10:246::5]:1000", "[fd00:10:96::20]:3868", init, 0)),
            "b/13 sctp [fd00:10:246::5]:1000>[fd00:10:246::20]:3868 ttl 63");
  EXPECT_EQ(rig().send("b", sctp("[fd00:10:246::20]:3868", "[fd00:10:246::5]:1000", init_ack)),
            "b/13 sctp [fd00:10:96::20]:3868>[fd00:10:246::5]:1000 ttl 63");
}

TEST_P(Sctp, SVC30_NoEndpointAndNoPort) {
  EXPECT_EQ(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.22:2905", init, 0)),
            "b/13 icmp 3/3 10.96.0.22>10.246.1.5 ttl 64 [ sctp 10.246.1.5:1000>10.96.0.22:2905 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "no_endpoint_rejected 1");
  EXPECT_EQ(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.20:99", init, 0)),
            "b/13 icmp 3/3 10.96.0.20>10.246.1.5 ttl 64 [ sctp 10.246.1.5:1000>10.96.0.20:99 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "service_port_unknown 1");
}

// RFC 792: eight bytes of it are quoted, which leaves the CRC out; and all of it, which does not.
TEST_P(Sctp, ICMP1_ICMP3_ErrorsAreTranslatedBack) {
  const Ip sent = sctp("10.246.1.5:1000", "10.96.0.21:2905", init, 0);
  ASSERT_NE(rig().send("b", sent), "");
  const Bytes seen = rig().only().l3;
  for (const bool shortest : {true, false}) {
    ASSERT_EQ(rig().send("b", icmp_error("192.168.0.13", "10.246.1.5", 3, 1, shortest ? shortest_quote(seen) : seen)),
              "b/13 icmp 3/1 10.96.0.21>10.246.1.5 ttl 63 [ sctp 10.246.1.5:1000>10.96.0.21:2905 ttl 63 ]");
  }
  const Bytes quoted(rig().only().l3.begin() + 28, rig().only().l3.end());
  Bytes expected = sent.bytes();
  expected[8] = 63;
  finish_ipv4(expected);
  EXPECT_EQ(quoted, expected) << "and its checksum";
}

TEST_P(Sctp, MASQ7_ClashTowardsTheEndpoint) {
  ServiceSpec twin = other_port;
  twin.name = "twin";
  twin.cluster_ips = {"10.96.0.23"};
  rig().load(list({gateway(), cluster(), service(other_port), service(twin)}));
  ASSERT_EQ(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.21:2905", init, 0)),
            "b/13 sctp 10.246.1.5:1000>10.246.1.20:12905 ttl 63");
  Endpoint translated;
  // With two workers the clash may be found on the other one, after the packet left.
  for (int attempt = 0; attempt < (GetParam() == 1 ? 1 : 3); ++attempt) {
    ASSERT_NE(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.23:2905", init, 0)), "");
    translated = rig().only().ip.src;
    if (translated.port != 1000) break;
  }
  ASSERT_NE(translated.port, 1000);
  EXPECT_EQ(rig().send("b", sctp("10.246.1.20:12905", translated.text(), init_ack)),
            "b/13 sctp 10.96.0.23:2905>10.246.1.5:1000 ttl 63");
  EXPECT_EQ(rig().send("b", sctp("10.246.1.20:12905", "10.246.1.5:1000", init_ack)),
            "b/13 sctp 10.96.0.21:2905>10.246.1.5:1000 ttl 63");
}

TEST_P(Sctp, SVC90_TheAssociationOutlivesAChangeOfEndpoints) {
  ASSERT_NE(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.21:2905", init, 0)), "");
  ASSERT_NE(rig().send("b", sctp("10.246.1.20:12905", "10.246.1.5:1000", init_ack)), "");
  ServiceSpec more = other_port;
  more.endpoints = {"10.246.1.21 node3", "10.246.1.20 node3", "10.246.1.22 node3"};
  rig().load(list({gateway(), cluster(), service(more)}));
  EXPECT_EQ(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.21:2905", data)),
            "b/13 sctp 10.246.1.5:1000>10.246.1.20:12905 ttl 63");
  EXPECT_EQ(rig().send("b", sctp("10.246.1.20:12905", "10.246.1.5:1000", abort_chunk)),
            "b/13 sctp 10.96.0.21:2905>10.246.1.5:1000 ttl 63");
}

TEST_P(Sctp, CSUM_TruncatedHeaderIsRefused) {
  Bytes packet = sctp("10.246.1.5:1000", "10.96.0.21:2905", init, 0).bytes();
  packet.resize(20 + 8);
  net::store_be16(&packet[2], 28);
  finish_ipv4(packet);
  EXPECT_EQ(rig().send("b", packet), "");
  EXPECT_EQ(rig().drops(), "l4_truncated 1");
}

SLUICE_WITH_WORKERS(Sctp);

}  // namespace
}  // namespace sluice::packet_test
