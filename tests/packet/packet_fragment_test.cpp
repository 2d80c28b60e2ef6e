// Fragments on their way through: out of order, twice, over each other, never complete (FRAG-1 to FRAG-4, FRAG-7).
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

const ServiceSpec dns4{
    .name = "dns4", .cluster_ips = {"10.96.0.10"}, .ports = {"UDP 53 5353 30053"}, .endpoints = {"10.246.1.20 node3"}};
const ServiceSpec dns6{.name = "dns6",
                       .cluster_ips = {"fd00:10:96::10"},
                       .ports = {"UDP 53 5353 30054"},
                       .endpoints = {"fd00:10:246::20 node3"}};

// A datagram from a pod to a service, cut at 400, 800 and 1200: 408 bytes at most go behind each cut.
struct Sent {
  const char* client;
  const char* vip;
  const char* source;
  const char* endpoint;
  size_t header;  // of IP and, for IPv6, the fragment
};
constexpr Sent families[] = {{"10.246.1.5", "10.96.0.10", "10.246.1.5", "10.246.1.20", 20},
                             {"[fd00:10:246::5]", "[fd00:10:96::10]", "fd00:10:246::5", "fd00:10:246::20", 48}};

class Fragments : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), service(dns4), service(dns6)}));
  }
  void load(const std::string& limits) {
    rig().load(list({gateway(R"("fragments":{)" + limits + "}"), cluster(), service(dns4), service(dns6)}));
  }
  static std::vector<Bytes> datagram(const Sent& sent, uint16_t port, uint32_t id, const std::vector<size_t>& cuts) {
    const Ip packet = udp(std::string(sent.client) + ":" + std::to_string(port), std::string(sent.vip) + ":53");
    return fragments(packet.with_payload(1400).with_id(static_cast<uint16_t>(id)).bytes(), cuts, id);
  }
  static std::string text(const Sent& sent, uint16_t port, size_t offset, size_t length, bool last = false) {
    const bool v4 = sent.header == 20;
    const std::string to = v4 ? sent.endpoint : "[" + std::string(sent.endpoint) + "]";
    const std::string ends = offset == 0 ? std::string(sent.client) + ":" + std::to_string(port) + ">" + to + ":5353"
                                         : std::string(sent.source) + ">" + sent.endpoint;
    return "b/13 udp " + ends + " ttl 63 frag " + std::to_string(offset) + (last ? "" : "+") + " len " +
           std::to_string(sent.header + length);
  }
  // Where in the datagram each frame that came out lies, in the order it came.
  std::vector<size_t> offsets() {
    std::vector<size_t> found;
    for (const View& view : rig().out()) {
      const bool v4 = view.l3[0] >> 4 == 4;
      found.push_back(v4 ? (net::load_be16(&view.l3[6]) & 0x1fffU) * 8 : net::load_be16(&view.l3[42]) & 0xfff8U);
    }
    return found;
  }
};

TEST_P(Fragments, FRAG2_WhatComesBeforeTheFirstFollowsIt) {
  for (const Sent& sent : families) {
    for (uint16_t port = 1000; port < 1008; ++port) {
      const auto parts = datagram(sent, port, port, {400, 800, 1200});
      EXPECT_EQ(rig().send("b", parts[3]), "");
      EXPECT_EQ(rig().send("b", parts[1]), "");
      const std::string all = rig().send("b", parts[0]);
      std::vector<size_t> order = offsets();
      ASSERT_EQ(order.size(), 3u) << all;
      EXPECT_NE(all.find(text(sent, port, 0, 400)), std::string::npos) << all;
      EXPECT_NE(all.find(text(sent, port, 400, 400)), std::string::npos) << all;
      EXPECT_NE(all.find(text(sent, port, 1200, 208, true)), std::string::npos) << all;
      if (GetParam() == 1) {
        EXPECT_EQ(order, (std::vector<size_t>{0, 1200, 400})) << "behind the first, as they came";
      }
      EXPECT_EQ(rig().send("b", parts[2]), text(sent, port, 800, 400));
    }
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Fragments, FRAG2_ADatagramBackwardsInOneBurst) {
  for (const Sent& sent : families) {
    auto parts = datagram(sent, 1000, 7, {400, 800, 1200});
    std::reverse(parts.begin(), parts.end());
    (void)rig().send_burst("b", parts);
    std::vector<size_t> order = offsets();
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, (std::vector<size_t>{0, 400, 800, 1200}));
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Fragments, FRAG2_WithoutTheFirstTheRestGoesAfterFiveSeconds) {
  for (const Sent& sent : families) {
    const auto parts = datagram(sent, 1000, 7, {400, 800});
    EXPECT_EQ(rig().send("b", parts[1]), "");
    EXPECT_EQ(rig().send("b", parts[2]), "");
    EXPECT_EQ(rig().advance(4000), "");
    EXPECT_EQ(rig().drops(), "");
    EXPECT_EQ(rig().advance(1500), "");
    EXPECT_EQ(rig().drops(), "fragment_without_first 2");
    EXPECT_EQ(rig().send("b", parts[0]), text(sent, 1000, 0, 400)) << "too late for the others, and not their fault";
  }
}

// FRAG-7: 256 are held at most, then the oldest goes for each that comes.
TEST_P(Fragments, FRAG7_HeldOnesAreBounded) {
  for (const Sent& sent : families) {
    for (uint32_t id = 1; id <= 700; ++id) {
      ASSERT_EQ(rig().send("b", datagram(sent, 1000, id, {400})[1]), "");
    }
    const uint64_t held = rig().plane().mbufs_in_use();
    EXPECT_LE(held, 256u * GetParam());
    EXPECT_EQ(rig().drops(), "fragment_without_first " + std::to_string(700 - held));
    const auto last = datagram(sent, 1000, 700, {400});
    EXPECT_NE(rig().send("b", last[0]).find(text(sent, 1000, 400, 1008, true)), std::string::npos)
        << "the newest is still there";
    (void)rig().advance(6000);
    EXPECT_EQ(rig().plane().mbufs_in_use(), 0u);
    (void)rig().drops();
  }
}

TEST_P(Fragments, FRAG3_TheSameAgainIsDroppedByItself) {
  for (const Sent& sent : families) {
    const auto parts = datagram(sent, 1000, 7, {400, 800});
    EXPECT_EQ(rig().send("b", parts[0]), text(sent, 1000, 0, 400));
    EXPECT_EQ(rig().send("b", parts[1]), text(sent, 1000, 400, 400));
    EXPECT_EQ(rig().send("b", parts[1]), "");
    EXPECT_EQ(rig().drops(), "fragment_duplicate 1");
    EXPECT_EQ(rig().send("b", parts[2]), text(sent, 1000, 800, 608, true)) << "the datagram is still good";
  }
}

// RFC 5722, RFC 1858: nothing more of a datagram whose fragments lie over each other.
TEST_P(Fragments, FRAG3_OverlapEndsTheDatagram) {
  for (const Sent& sent : families) {
    const auto parts = datagram(sent, 1000, 7, {400, 800});
    const auto over = datagram(sent, 1000, 7, {392, 792});
    EXPECT_EQ(rig().send("b", parts[0]), text(sent, 1000, 0, 400));
    EXPECT_EQ(rig().send("b", over[1]), "") << "from 392";
    EXPECT_EQ(rig().send("b", parts[1]), "");
    EXPECT_EQ(rig().send("b", parts[2]), "");
    EXPECT_EQ(rig().drops(), "fragment_overlap 3");
    // Another datagram of the same two is not concerned, nor this one's identification after a while.
    EXPECT_EQ(rig().send("b", datagram(sent, 1000, 8, {400})[0]), text(sent, 1000, 0, 400));
    (void)rig().advance(6000);
    EXPECT_EQ(rig().send("b", parts[0]), text(sent, 1000, 0, 400));
  }
}

TEST_P(Fragments, FRAG3_AllButTheLastCarryAMultipleOfEightBytes) {
  for (const Sent& sent : families) {
    const auto parts = datagram(sent, 1000, 7, {404});
    // Over IPv6 the sender is told (packet_reassembly_test.cpp).
    EXPECT_TRUE(like(rig().send("b", parts[0]), parts[0][0] >> 4 == 4 ? "" : "b/* icmp 4/0 *"));
    EXPECT_EQ(rig().drops(), "fragment_malformed 1");
  }
}

// Whatever is translated: destination, source, or both back.
TEST_P(Fragments, FRAG5_TheIdentificationSurvivesTranslation) {
  const auto seen = [&] {
    const Bytes& l3 = rig().only().l3;
    return l3[0] >> 4 == 4 ? uint32_t{net::load_be16(&l3[4])} : net::load_be32(&l3[44]);
  };
  for (const uint16_t id : {uint16_t{0}, uint16_t{1}, uint16_t{0x5678}, uint16_t{0xffff}}) {
    for (const bool df : {false, true}) {
      Ip there = udp("10.246.1.5:1000", "10.96.0.10:53").with_id(id);
      Ip from_outside = udp("198.51.100.9:1000", "192.0.2.1:30053").with_id(id);
      there.df = from_outside.df = df;
      ASSERT_TRUE(like(rig().send("b", there), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63*"));
      EXPECT_EQ(seen(), id);
      ASSERT_TRUE(
          like(rig().send("b", udp("10.246.1.20:5353", "10.246.1.5:1000").with_id(id)), "b/13 udp 10.96.0.10:*"));
      EXPECT_EQ(seen(), id);
      ASSERT_TRUE(like(rig().send("a", from_outside), "b/13 udp 192.168.0.1:*>10.246.1.20:5353 ttl 63*"));
      EXPECT_EQ(seen(), id);
      const std::string translated = rig().only().ip.src.text();
      ASSERT_TRUE(like(rig().send("b", udp("10.246.1.20:5353", translated).with_id(id)), "a/fe udp 192.0.2.1:30053>*"));
      EXPECT_EQ(seen(), id);
    }
  }
  for (const Sent& sent : families) {
    for (const uint32_t id : {uint32_t{1}, uint32_t{0x89abcdef}}) {
      for (const Bytes& part : datagram(sent, 1000, id, {400, 800})) {
        ASSERT_NE(rig().send("b", part), "");
        EXPECT_EQ(seen(), sent.header == 20 ? id & 0xffff : id);
      }
    }
  }
}

// Of the fragments of one datagram only the first has ports to spread it by, so they come in at several workers. Those
// that wait for the first are found by it (FRAG-2), which they are only at the same worker.
TEST_P(Fragments, FRAG4_AllFragmentsOfADatagramAreOneWorkers) {
  for (const Sent& sent : families) {
    for (uint16_t port = 1000; port < 1032; ++port) {
      auto parts = datagram(sent, port, port, {400, 800, 1200});
      std::rotate(parts.begin(), parts.begin() + 1, parts.end());
      for (size_t i = 0; i < 3; ++i) EXPECT_EQ(rig().send("b", parts[i]), "") << "waits";
      (void)rig().send("b", parts[3]);
      std::vector<size_t> order = offsets();
      std::sort(order.begin(), order.end());
      EXPECT_EQ(order, (std::vector<size_t>{0, 400, 800, 1200}));
    }
  }
  EXPECT_EQ(rig().count(dataplane::Event::HandedOver) > 0, GetParam() > 1);
  EXPECT_EQ(rig().flows(), 64u);
  EXPECT_EQ(rig().drops(), "");
}

// RFC 4963: a fast sender begins again with an identification long before five seconds are over.
TEST_P(Fragments, FRAG1_ACompleteDatagramIsForgotten) {
  for (const Sent& sent : families) {
    for (uint16_t port = 1000; port < 1004; ++port) {
      const auto parts = datagram(sent, port, 7, {400, 800});
      EXPECT_EQ(rig().send("b", parts[0]), text(sent, port, 0, 400));
      EXPECT_EQ(rig().send("b", parts[2]), text(sent, port, 800, 608, true));
      EXPECT_EQ(rig().send("b", parts[1]), text(sent, port, 400, 400));
    }
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Fragments, FRAG2_AtMostFortyFiveOfADatagram) {
  std::vector<size_t> cuts;
  for (size_t at = 8; at <= 8 * 50; at += 8) cuts.push_back(at);
  for (const Sent& sent : families) {
    const auto parts = datagram(sent, 1000, 7, cuts);
    size_t out = 0;
    for (const Bytes& part : parts) out += rig().send("b", part).empty() ? 0 : 1;
    EXPECT_EQ(out, 45u);
    EXPECT_EQ(rig().drops(), "fragment_too_many " + std::to_string(parts.size() - 45));
  }
}

// ---- limits of the configuration -----------------------------------------------------------------------

TEST_P(Fragments, FRAG2_TheTimeout) {
  load(R"("timeout":"20s")");
  for (const Sent& sent : families) {
    const auto parts = datagram(sent, 1000, 7, {400, 800});
    EXPECT_EQ(rig().send("b", parts[1]), "");
    EXPECT_EQ(rig().advance(19000), "");
    EXPECT_NE(rig().send("b", parts[0]).find(text(sent, 1000, 400, 400)), std::string::npos);
    EXPECT_EQ(rig().advance(19000), "");
    EXPECT_EQ(rig().send("b", parts[2]), text(sent, 1000, 800, 608, true)) << "the datagram is still known";
    EXPECT_EQ(rig().send("b", datagram(sent, 1000, 8, {400})[1]), "");
    EXPECT_EQ(rig().drops(), "");
    EXPECT_EQ(rig().advance(21000), "");
    EXPECT_EQ(rig().drops(), "fragment_without_first 1");
  }
}

TEST_P(Fragments, FRAG2_SoManyOfADatagram) {
  load(R"("maxPerDatagram":3)");
  for (const Sent& sent : families) {
    const auto parts = datagram(sent, 1000, 7, {400, 800, 1200});
    for (size_t i = 0; i < 3; ++i) EXPECT_NE(rig().send("b", parts[i]), "");
    EXPECT_EQ(rig().send("b", parts[3]), "");
    EXPECT_EQ(rig().drops(), "fragment_too_many 1");
  }
}

// 1 MiB are 455 buffers of 2304 bytes: 227 of each family with one worker, 113 with each of two.
TEST_P(Fragments, FRAG7_TheMemoryOfHeldOnes) {
  load(R"("maxMemoryMiB":1)");
  for (const Sent& sent : families) {
    for (uint32_t id = 1; id <= 700; ++id) {
      ASSERT_EQ(rig().send("b", datagram(sent, 1000, id, {400})[1]), "");
    }
    EXPECT_EQ(rig().plane().mbufs_in_use(), GetParam() == 1 ? 227u : 226u);
    const auto last = datagram(sent, 1000, 700, {400});
    EXPECT_NE(rig().send("b", last[0]).find(text(sent, 1000, 400, 1008, true)), std::string::npos)
        << "the newest is still there";
    (void)rig().advance(6000);
    EXPECT_EQ(rig().plane().mbufs_in_use(), 0u);
    (void)rig().drops();
  }
}

// One burst brings the firsts of all that is held, then others before their firsts and those.
TEST_P(Fragments, FRAG2_MoreInOneBurstThanIsEverHeld) {
  std::vector<size_t> cuts;
  for (size_t at = 8; at <= 8 * 43; at += 8) cuts.push_back(at);
  for (const Sent& sent : families) {
    std::vector<Bytes> firsts;
    size_t held = 0;
    for (uint32_t id = 1; id <= 6; ++id) {
      const auto parts = datagram(sent, 1000, id, cuts);
      firsts.push_back(parts[0]);
      for (size_t i = 1; i < parts.size() && held < 256; ++i, ++held) EXPECT_EQ(rig().send("b", parts[i]), "");
    }
    for (uint32_t id = 10; id < 39; ++id) {
      const auto parts = datagram(sent, 1000, id, {400});
      firsts.push_back(parts[1]);
      firsts.push_back(parts[0]);
    }
    (void)rig().send_burst("b", firsts);
    EXPECT_EQ(rig().out().size(), held + firsts.size());
    EXPECT_EQ(rig().drops(), "");
    EXPECT_EQ(rig().plane().mbufs_in_use(), 0u);
    (void)rig().advance(6000);
  }
}

// The identification is the fragment header's, whatever follows it.
TEST_P(Fragments, FRAG1_OptionsBehindTheFragmentHeader) {
  Bytes whole = udp("[fd00:10:246::5]:1000", "[fd00:10:96::10]:53").with_payload(1000).bytes();
  const Bytes options{net::protocol::udp, 0, 1, 4, 0, 0, 0, 0};  // PadN
  whole[6] = net::protocol::destination_options;
  whole.insert(whole.begin() + 40, options.begin(), options.end());
  net::store_be16(&whole[4], static_cast<uint16_t>(whole.size() - 40));
  const auto one = fragments(whole, 400, 0x11111111);
  const auto other = fragments(whole, 400, 0x22222222);
  EXPECT_NE(rig().send("b", one[0]), "");
  EXPECT_EQ(rig().send("b", other[1]), "") << "another datagram";
  EXPECT_NE(rig().send("b", one[1]), "");
  EXPECT_EQ(net::load<net::Ipv6Addr>(&rig().only().l3[24]), Endpoint("fd00:10:246::20").address.v6());
  (void)rig().advance(6000);
  EXPECT_EQ(rig().drops(), "fragment_without_first 1");
}

// The same addresses and identification inside a tunnel and outside of it: two datagrams.
TEST_P(Fragments, FRAG1_ATunnelIsPartOfTheDatagramsName) {
  VxlanOptions options;
  options.inner_destination = encap::vtep_mac("gw");
  const auto through = [&](const Bytes& inner) {
    return rig().send("b", vxlan("192.168.0.11", "192.168.0.1", inner, options));
  };
  const Ip packet = udp("10.244.34.5:1000", "192.0.2.10:2000").with_payload(1000).with_id(9);
  const auto inside = fragments(packet.bytes(), 400);
  const auto outside = fragments(udp("10.244.34.5:3000", "192.0.2.10:4000").with_payload(1000).with_id(9).bytes(), 600);
  EXPECT_EQ(through(inside[0]), "a/10 udp 10.244.34.5:1000>192.0.2.10:2000 ttl 63 frag 0+ len 420");
  EXPECT_EQ(rig().send("b", outside[0]), "a/10 udp 10.244.34.5:3000>192.0.2.10:4000 ttl 63 frag 0+ len 620");
  EXPECT_EQ(through(inside[1]), "a/10 udp 10.244.34.5>192.0.2.10 ttl 63 frag 400 len 628");
  EXPECT_EQ(rig().send("b", outside[1]), "a/10 udp 10.244.34.5>192.0.2.10 ttl 63 frag 600 len 428");
  EXPECT_EQ(rig().drops(), "");
}

SLUICE_WITH_WORKERS(Fragments);

}  // namespace
}  // namespace sluice::packet_test
