// The TCP window check (specification section 5.3) on the way through the router: a connection to a service, both ways.
#include <gtest/gtest.h>
#include <rte_ip.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

class Window : public RigTest {
 protected:
  void load(const std::string& more = "") {
    ServiceSpec spec{.name = "web", .cluster_ips = {"10.96.0.10", "fd00:10:96::10"}, .ports = {"TCP 80 8080"}};
    spec.endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"};
    rig().load(list({gateway(more), cluster(), service(spec)}));
  }
  struct Side {
    std::string client;
    std::string frontend;
    std::string backend;
  };
  static Side v4() { return {"10.246.1.5:1000", "10.96.0.10:80", "10.246.1.20:8080"}; }
  static Side v6() { return {"[fd00:10:246::5]:1000", "[fd00:10:96::10]:80", "[fd00:10:246::20]:8080"}; }

  // Numbers of the client begin at 101, of the server at 501.
  void connect(const Side& side) {
    ASSERT_NE(rig().send("b", tcp(side.client, side.frontend, "S").with_seq(100, 0)), "");
    ASSERT_NE(rig().send("b", tcp(side.backend, side.client, "SA").with_seq(500, 101)), "");
    ASSERT_NE(rig().send("b", tcp(side.client, side.frontend, "A").with_seq(101, 501)), "");
  }
  bool passes(const Ip& packet) { return passes(packet.bytes()); }
  bool passes(const Bytes& packet) {
    const bool passed = !rig().send("b", packet).empty();
    if (!passed) {
      EXPECT_EQ(rig().drops(), "conntrack_invalid 1");
    }
    return passed;
  }
  Ip request(const Side& side, const char* flags, uint32_t seq, uint32_t ack, size_t size = 0) {
    return tcp(side.client, side.frontend, flags).with_seq(seq, ack).with_payload(size);
  }
  Ip answer(const Side& side, const char* flags, uint32_t seq, uint32_t ack, size_t size = 0) {
    return tcp(side.backend, side.client, flags).with_seq(seq, ack).with_payload(size);
  }
};

constexpr uint16_t full = 65535;

// The segment with these options, a multiple of four bytes, and the window field.
Bytes with_options(Ip segment, const Bytes& options, uint16_t window = full) {
  segment.payload.insert(segment.payload.begin(), options.begin(), options.end());
  Bytes packet = segment.bytes();
  const bool v4 = segment.src.address.is_v4();
  uint8_t* const l4 = &packet[v4 ? net::ipv4_header_length : net::ipv6_header_length];
  l4[12] = static_cast<uint8_t>((5 + options.size() / 4) << 4);
  net::store_be16(l4 + 14, window);
  net::store(l4 + 16, uint16_t{0});
  net::store(l4 + 16, v4 ? rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(packet.data()), l4)
                         : rte_ipv6_udptcp_cksum(reinterpret_cast<const rte_ipv6_hdr*>(packet.data()), l4));
  return packet;
}

constexpr uint8_t no_scale = 255;
Bytes scale(uint8_t shift) { return shift == no_scale ? Bytes{} : Bytes{3, 3, shift, 1}; }  // RFC 7323 section 2.2

TEST_P(Window, CT11_WindowsAreScaledIfBothSynsSayHow) {
  struct Case {
    uint8_t client, server;            // what their SYNs say
    uint8_t client_used, server_used;  // what counts
  };
  for (const Side& base : {v4(), v6()}) {
    load();
    Side side = base;
    for (const Case& each : {Case{7, 3, 7, 3}, Case{0, 7, 0, 7}, Case{7, no_scale, 0, 0}, Case{no_scale, 7, 0, 0},
                             Case{15, 200, 14, 14}}) {
      SCOPED_TRACE(testing::Message() << side.client << " scales " << int{each.client} << " and " << int{each.server});
      ASSERT_TRUE(passes(with_options(request(side, "S", 100, 0), scale(each.client))));
      ASSERT_TRUE(passes(with_options(answer(side, "SA", 500, 101), scale(each.server))));
      ASSERT_TRUE(passes(request(side, "A", 101, 501)));
      ASSERT_TRUE(passes(answer(side, "A", 501, 101)));
      const uint32_t last = 101 + (uint32_t{full} << each.server_used);
      EXPECT_FALSE(passes(request(side, "A", last + 1, 501)));
      EXPECT_TRUE(passes(request(side, "A", last, 501)));
      const uint32_t last_answer = 501 + (uint32_t{full} << each.client_used);
      EXPECT_FALSE(passes(answer(side, "A", last_answer + 1, last)));
      EXPECT_TRUE(passes(answer(side, "A", last_answer, last)));
      side.client.back() = static_cast<char>(side.client.back() + 1);  // the next port
    }
  }
}

TEST_P(Window, CT11_WindowsOfSynsAreNotScaled) {
  load();
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    ASSERT_TRUE(passes(with_options(request(side, "S", 100, 0), scale(10), 1000)));
    ASSERT_TRUE(passes(with_options(answer(side, "SA", 500, 101), scale(10), 2000)));
    ASSERT_TRUE(passes(request(side, "A", 101, 501)));
    EXPECT_FALSE(passes(request(side, "A", 101 + 2001, 501)));
    EXPECT_TRUE(passes(request(side, "A", 101 + 2000, 501)));
  }
}

// RFC 2018: what a block says was received was sent.
TEST_P(Window, CT12_SelectiveAcknowledgementsCount) {
  load();
  const Bytes permitted{4, 2, 1, 1};
  const auto block = [](uint32_t left, uint32_t right) {
    Bytes option{1, 1, 5, 10, 0, 0, 0, 0, 0, 0, 0, 0};
    net::store_be32(&option[4], left);
    net::store_be32(&option[8], right);
    return option;
  };
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    ASSERT_TRUE(passes(with_options(request(side, "S", 100, 0), permitted)));
    ASSERT_TRUE(passes(with_options(answer(side, "SA", 500, 101), permitted)));
    ASSERT_TRUE(passes(request(side, "A", 101, 501)));
    EXPECT_TRUE(passes(answer(side, "A", 1501, 101, 1000))) << "the first thousand were lost before us";
    EXPECT_TRUE(passes(with_options(request(side, "A", 101, 501), block(1501, 2501))));
    EXPECT_FALSE(passes(with_options(request(side, "A", 101, 501), block(1501, 2502)))) << "never sent";
  }
}

TEST_P(Window, CT10_CT20_SegmentsOutsideTheWindowAreDropped) {
  load();
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    connect(side);
    EXPECT_TRUE(passes(request(side, "PA", 101, 501, 100)));
    EXPECT_TRUE(passes(answer(side, "A", 501, 201)));
    EXPECT_FALSE(passes(request(side, "PA", 201 + 70'000, 501, 100))) << "behind the window";
    EXPECT_FALSE(passes(request(side, "A", 201, 502))) << "acknowledges what was not sent";
    EXPECT_FALSE(passes(answer(side, "A", 501, 202)));
    EXPECT_TRUE(passes(answer(side, "PA", 501, 201, 1000)));
    EXPECT_TRUE(passes(request(side, "A", 201, 1501)));
  }
}

TEST_P(Window, CT14_ResetsThatDoNotFit) {
  load();
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    connect(side);
    EXPECT_TRUE(passes(answer(side, "PA", 501, 101, 1000)));
    EXPECT_TRUE(passes(request(side, "A", 101, 1501)));
    for (const uint32_t seq : {0U, 542U, 1'000'000U}) EXPECT_FALSE(passes(answer(side, "R", seq, 0))) << seq;
    EXPECT_TRUE(passes(request(side, "PA", 101, 1501, 10))) << "still established";
    EXPECT_TRUE(passes(answer(side, "R", 1501, 0)));
    EXPECT_TRUE(passes(request(side, "S", 9000, 0))) << "CT-4: over, so this opens a new one";
  }
}

// The client lost its memory and opened again, which the server accepted.
TEST_P(Window, CT5_CT14_ResetOfTheConnectionBeforeTheYoungerOne) {
  load();
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    connect(side);
    EXPECT_TRUE(passes(request(side, "S", 900'000, 0)));
    EXPECT_TRUE(passes(answer(side, "SA", 70'000, 900'001)));
    EXPECT_FALSE(passes(request(side, "RA", 101, 501)));
    EXPECT_TRUE(passes(request(side, "A", 900'001, 70'001)));
    EXPECT_TRUE(passes(answer(side, "PA", 70'001, 900'001, 10))) << "as established as it was";
  }
}

TEST_P(Window, CT16_WhatWasAcknowledgedAlreadyPasses) {
  load();
  connect(v4());
  for (uint32_t at = 101; at < 100'000; at += 1000) {
    ASSERT_TRUE(passes(request(v4(), "A", at, 501, 1000)));
    ASSERT_TRUE(passes(answer(v4(), "A", 501, at + 1000)));
  }
  EXPECT_TRUE(passes(request(v4(), "A", 101, 501, 1000)));
  EXPECT_TRUE(passes(answer(v4(), "A", 501, 5000))) << "overtaken";
}

TEST_P(Window, CT13_Liberal) {
  load(R"("conntrack":{"tcpBeLiberal":true})");
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    connect(side);
    EXPECT_TRUE(passes(request(side, "PA", 101 + 900'000, 501, 100)));
    EXPECT_TRUE(passes(request(side, "A", 101, 77'000)));
    EXPECT_FALSE(passes(request(side, "R", 101 + 900'000, 0)));
  }
}

// CT-5: the server knows an older connection of the port, the client does not.
TEST_P(Window, CT5_AChallengeAndItsReset) {
  load();
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    EXPECT_TRUE(passes(request(side, "S", 100, 0)));
    EXPECT_TRUE(passes(answer(side, "A", 777, 400'000'000)));
    EXPECT_TRUE(passes(request(side, "R", 400'000'000, 0)));
    connect(side);
    EXPECT_TRUE(passes(request(side, "PA", 101, 501, 10)));
    EXPECT_FALSE(passes(request(side, "A", 111, 502))) << "with the numbers of the new one";
  }
}

TEST_P(Window, CT5_AClientThatRestartedIsFollowed) {
  load();
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    connect(side);
    EXPECT_FALSE(passes(request(side, "PA", 7'000'001, 501, 10)));
    EXPECT_TRUE(passes(request(side, "S", 7'000'000, 0)));
    EXPECT_TRUE(passes(answer(side, "SA", 9'000'000, 7'000'001)));
    EXPECT_TRUE(passes(request(side, "A", 7'000'001, 9'000'001)));
    EXPECT_TRUE(passes(request(side, "PA", 7'000'001, 9'000'001, 10)));
    EXPECT_TRUE(passes(answer(side, "PA", 9'000'001, 7'000'011, 10)));
  }
}

TEST_P(Window, CT15_TenSecondsAfterAReset) {
  load();
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    connect(side);
    EXPECT_TRUE(passes(request(side, "R", 101, 0)));
    (void)rig().advance(9'000);
    EXPECT_EQ(rig().flows(), 1u);
    (void)rig().advance(3'000);
    EXPECT_EQ(rig().flows(), 0u);
  }
}

// Only the first fragment has numbers, and of how much data nobody knows.
TEST_P(Window, CT32_SegmentsInFragments) {
  load();
  for (const Side& side : {v4(), v6()}) {
    SCOPED_TRACE(side.client);
    connect(side);
    const Bytes whole = request(side, "PA", 101, 501, 3000).with_id(7).bytes();
    for (const Bytes& part : fragments(whole, {1440, 2880})) EXPECT_NE(rig().send("b", part), "");
    EXPECT_TRUE(passes(answer(side, "A", 501, 3101))) << "more than the first fragment carried";
  }
}

SLUICE_WITH_WORKERS(Window);

}  // namespace
}  // namespace sluice::packet_test
