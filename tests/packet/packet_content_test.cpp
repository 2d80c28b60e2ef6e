// What ContentPolicies do to connections: patterns over segments, verdicts, depth, changes of the policy.
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

using dataplane::Event;

constexpr const char* client = "10.246.1.5:1000";
constexpr const char* vip = "10.96.0.10:80";
constexpr const char* endpoint = "10.246.1.20:8080";

Bytes bytes(std::string_view text) { return {text.begin(), text.end()}; }

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                      .ports = {"TCP 80 8080", "UDP 53 5353"},
                      .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};

std::string policy(const std::string& spec, const std::string& name = "no-shells") {
  return fmt::format(R"({{"apiVersion":"sluice.dev/v1","kind":"ContentPolicy",
    "metadata":{{"name":"{}","namespace":"default"}},"spec":{{{}}}}})",
                     name, spec);
}

std::string looks_for(const std::string& regex, const std::string& action, const std::string& more = "") {
  return policy(fmt::format(R"("serviceSelector":{{}},"action":"{}",{}"patterns":[{{"name":"bad","regex":"{}"}}])",
                            action, more, regex));
}

class Content : public RigTest {
 protected:
  void load(const std::string& object) { rig().load(list({gateway(), cluster(), service(web), object})); }
  // A client's connection that is established.
  void connect(const char* from = client) {
    ASSERT_FALSE(rig().send("b", tcp(from, vip, "S").with_seq(100, 0)).empty());
    const std::string seen = rig().only().ip.src.text();
    (void)rig().send("b", tcp(endpoint, seen, "SA").with_seq(500, 101));
    (void)rig().send("b", tcp(from, vip, "A").with_seq(101, 501));
    (void)rig().drops();
  }
  std::string says(uint32_t seq, std::string_view text, const char* from = client) {
    Ip packet = tcp(from, vip, "PA").with_seq(101 + seq, 501);
    packet.payload = bytes(text);
    return rig().send("b", packet);
  }
  std::string answers(uint32_t seq, std::string_view text, const char* to = client) {
    Ip packet = tcp(endpoint, to, "PA").with_seq(501 + seq, 101);
    packet.payload = bytes(text);
    return rig().send("b", packet);
  }
};

const std::string passed = "b/13 tcp PA 10.246.1.5:1000>10.246.1.20:8080 ttl 63";
const std::string passed_back = "b/13 tcp PA 10.96.0.10:80>10.246.1.5:1000 ttl 63";

TEST_P(Content, CNT3_DropEndsAConnectionInSilence) {
  load(looks_for("jndi:[a-z]+", "Drop"));
  connect();
  EXPECT_EQ(says(0, "GET / HTTP/1.1\r\n"), passed);
  EXPECT_EQ(says(16, "X: ${jndi:ldap}"), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
  EXPECT_EQ(says(16, "X: harmless"), "");
  EXPECT_EQ(answers(0, "HTTP/1.1 200"), "");
  EXPECT_EQ(rig().drops(), "content_blocked 2");
  EXPECT_EQ(rig().count(Event::ContentMatches), 1u);
}

TEST_P(Content, CNT3_ResetTellsBothEnds) {
  load(looks_for("jndi:", "Reset"));
  connect();
  EXPECT_EQ(says(0, "a jndi: b"),
            "b/13 tcp R 10.246.1.5:1000>10.246.1.20:8080 ttl 64\nb/13 tcp RA 10.96.0.10:80>10.246.1.5:1000 ttl 64");
  for (const View& view : rig().out()) {
    if (view.ip.dst.text() == client) {
      EXPECT_EQ(view.ip.seq, 501u);
      EXPECT_EQ(view.ip.ack, 110u);
    } else {
      EXPECT_EQ(view.ip.seq, 101u);
    }
  }
  EXPECT_EQ(rig().drops(), "content_matched 1");
  // It stays closed: nobody goes on in the middle.
  EXPECT_EQ(says(9, "more"), "");
  EXPECT_EQ(answers(0, "more"), "");
  EXPECT_EQ(rig().send("b", tcp(client, vip, "R").with_seq(110, 0)), "");
  EXPECT_EQ(says(9, "more"), "");
  EXPECT_EQ(rig().drops(), "content_blocked 4");
}

TEST_P(Content, CNT3_AResetReachesWhomItIsFor) {
  load(looks_for("i:ldap", "Reset", R"("direction":"Ingress",)"));
  connect();
  EXPECT_EQ(says(0, "jndi"), passed);
  EXPECT_EQ(says(3, "i:ldap"),
            "b/13 tcp R 10.246.1.5:1000>10.246.1.20:8080 ttl 64\n"
            "b/13 tcp R 10.246.1.5:1000>10.246.1.20:8080 ttl 64\n"
            "b/13 tcp RA 10.96.0.10:80>10.246.1.5:1000 ttl 64");
  std::set<uint32_t> numbers;
  for (const View& view : rig().out()) {
    if (view.ip.dst.text() == endpoint) numbers.insert(view.ip.seq);
  }
  EXPECT_EQ(numbers, (std::set<uint32_t>{101, 105})) << "whether it has the first bytes or not";
}

TEST_P(Content, CNT4_ASegmentThatNobodyTakesIsNotLookedAt) {
  load(looks_for("jndi:", "Drop"));
  connect();
  Ip junk = tcp(client, vip, "PA").with_seq(101, 501);
  junk.payload = bytes("junk!");
  Bytes broken = junk.bytes();
  broken.back() ^= 0x55;
  EXPECT_EQ(rig().send("b", broken), "");
  EXPECT_EQ(rig().drops(), "l4_bad_checksum 1");
  EXPECT_EQ(says(0, "jn"), passed);
  EXPECT_EQ(says(2, "di:"), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT4_NoByteIsUrgent) {
  load(looks_for("never", "Drop"));
  connect();
  Ip packet = tcp(client, vip, "PAU").with_seq(101, 501);
  packet.payload = bytes("jnXdi:");
  EXPECT_EQ(rig().send("b", packet), passed) << "and its checksum is right";
}

TEST_P(Content, CNT7_ASynBehindTheHandshakeBeginsAnew) {
  load(looks_for("jndi:", "Drop", R"("depth":64,"direction":"Ingress",)"));
  connect();
  EXPECT_EQ(says(0, std::string(80, 'x')), passed);
  EXPECT_EQ(says(80, "jndi:"), passed) << "behind the depth";
  EXPECT_EQ(rig().send("b", tcp(client, vip, "S").with_seq(9000, 0)),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
  (void)rig().send("b", tcp(endpoint, client, "SA").with_seq(7000, 9001));
  Ip packet = tcp(client, vip, "PA").with_seq(9001, 7001);
  packet.payload = bytes("jndi:");
  EXPECT_EQ(rig().send("b", packet), "");
  EXPECT_EQ(rig().count(Event::ContentFlows), 2u);
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT3_CountLetsItPass) {
  load(looks_for("jndi:", "Count"));
  connect();
  EXPECT_EQ(says(0, "a jndi: b"), passed);
  EXPECT_EQ(says(9, "a jndi: b"), passed);
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(rig().count(Event::ContentMatches), 1u) << "once for each connection";
}

TEST_P(Content, CNT3_MirrorSendsCopiesOfAllThatFollows) {
  for (const char* collector : {"192.168.0.13", "2001:db8:a::13"}) {
    rig().load(list({gateway(fmt::format(R"("content":{{"collector":"{}"}})", collector)), cluster(), service(web),
                     looks_for("jndi:", "Mirror")}));
    const std::string from = collector[3] == '.' ? "10.246.1.5:1000" : "10.246.1.5:2000";
    connect(from.c_str());
    EXPECT_TRUE(like(says(0, "harmless", from.c_str()), "b/13 tcp PA 10.246.1.5:*>10.246.1.20:8080 ttl 63"));
    EXPECT_TRUE(like(says(8, "a jndi: b", from.c_str()), "b/13 ipip *>" + std::string(collector) + " | tcp PA " + from +
                                                             ">10.96.0.10:80 ttl 64\n" + "b/13 tcp PA " + from +
                                                             ">10.246.1.20:8080 ttl 63"));
    EXPECT_TRUE(like(answers(0, "fine", from.c_str()), "b/13 ipip *>" + std::string(collector) +
                                                           " | tcp PA 10.246.1.20:8080>" + from + " ttl 64\n" +
                                                           "b/13 tcp PA 10.96.0.10:80>" + from + " ttl 63"));
    EXPECT_EQ(rig().drops(), "");
  }
  EXPECT_EQ(rig().count(Event::Mirrored), 4u);
}

TEST_P(Content, CNT3_DirectionsAreTheSelectedServices) {
  load(looks_for("secret", "Drop", R"("direction":"Egress",)"));
  connect();
  EXPECT_EQ(says(0, "the secret?"), passed);
  EXPECT_EQ(answers(0, "it is "), passed_back);
  EXPECT_EQ(answers(6, "a secret"), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT4_APatternOverSegmentsIsFound) {
  load(looks_for("jndi:ldap", "Drop"));
  connect();
  EXPECT_EQ(says(0, "j"), passed);
  EXPECT_EQ(says(1, "ndi:l"), passed);
  EXPECT_EQ(says(6, "da"), passed);
  EXPECT_EQ(says(8, "p"), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT4_WhatComesTooEarlyIsSentAgain) {
  load(looks_for("jndi:ldap", "Drop"));
  connect();
  EXPECT_EQ(says(5, "ldap"), "");
  EXPECT_EQ(rig().drops(), "content_gap 1");
  EXPECT_EQ(says(0, "jndi:"), passed);
  EXPECT_EQ(says(0, "jndi:"), passed) << "again";
  EXPECT_EQ(says(3, "i:ldap"), "") << "half of it is new";
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT4_WhatIsSentAgainWithOtherBytesIsLookedAt) {
  load(looks_for("jndi:", "Drop"));
  connect();
  EXPECT_EQ(says(0, "xxxxx"), passed);
  EXPECT_EQ(says(0, "jndi:"), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT5_BehindTheDepthAConnectionIsLikeAnyOther) {
  load(looks_for("jndi:", "Drop", R"("depth":64,"direction":"Ingress",)"));
  connect();
  EXPECT_EQ(says(0, std::string(60, 'x')), passed);
  ASSERT_EQ(rig().count(Event::ContentFlows), 1u);
  EXPECT_EQ(says(60, "jndi:jndi:"), passed) << "it ends behind the depth";
  EXPECT_EQ(says(70, "jndi:"), passed);
  EXPECT_EQ(says(100, "jndi:"), passed) << "nobody asks for order any more";
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Content, CNT7_AConnectionGoesOnWithTheRulesItBeganWith) {
  load(looks_for("jndi:", "Drop"));
  connect();
  EXPECT_EQ(says(0, "jn"), passed);
  rig().load(list({gateway(), cluster(), service(web)}));
  EXPECT_EQ(says(2, "d"), passed);
  connect("10.246.1.5:2000");
  EXPECT_FALSE(says(0, "jndi:", "10.246.1.5:2000").empty()) << "a new one";
  EXPECT_EQ(says(3, "i:"), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT3_DatagramsAreLookedAtOneByOne) {
  load(looks_for("version\\\\.bind", "Drop"));
  Ip query = udp("10.246.1.5:1000", "10.96.0.10:53");
  query.payload = bytes("harmless");
  EXPECT_EQ(rig().send("b", query), "b/13 udp 10.246.1.5:1000>10.246.1.20:5353 ttl 63");
  query.payload = bytes("a version.bind b");
  EXPECT_EQ(rig().send("b", query), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
  query.payload = bytes("harmless");
  EXPECT_EQ(rig().send("b", query), "");
  EXPECT_EQ(rig().drops(), "content_blocked 1");
}

TEST_P(Content, CNT3_AResetDatagramIsAnsweredByIcmp) {
  load(looks_for("bad", "Reset"));
  Ip query = udp("10.246.1.5:1000", "10.96.0.10:53");
  query.payload = bytes("bad");
  EXPECT_TRUE(like(rig().send("b", query), "b/13 icmp 3/13 *"));
}

TEST_P(Content, CNT3_BothFamilies) {
  load(looks_for("jndi:", "Drop"));
  Ip packet = udp("[fd00:10:246::5]:1000", "[fd00:10:96::10]:53");
  packet.payload = bytes("jndi:");
  EXPECT_EQ(rig().send("b", packet), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT4_FragmentsCannotBeLookedInto) {
  load(looks_for("jndi:", "Drop"));
  Ip packet = udp("10.246.1.5:1000", "10.96.0.10:53");
  packet.payload = Bytes(64, 'x');
  for (const Bytes& fragment : fragments(packet.bytes(), 32)) EXPECT_EQ(rig().send("b", fragment), "");
  EXPECT_EQ(rig().drops(), "content_fragment 2");
}

TEST_P(Content, CNT4_APatternOverTheBuffersOfOnePacketIsFound) {
  load(looks_for("jndi:ldap", "Drop"));
  connect();
  Ip packet = tcp(client, vip, "PA").with_seq(101, 501);
  packet.payload = bytes("xxjndi:ldapxx");
  EXPECT_EQ(rig().send_cut("b", packet.bytes(), {14 + 40 + 4, 14 + 40 + 6}), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT1_SeveralPoliciesLookIntoOneConnection) {
  rig().load(list({gateway(), cluster(), service(web),
                   policy(R"("serviceSelector":{},"action":"Count","patterns":[{"name":"x","literal":"one"}])", "a"),
                   policy(R"("serviceSelector":{},"patterns":[{"name":"x","literal":"two"}])", "b")}));
  connect();
  EXPECT_EQ(says(0, "one"), passed);
  EXPECT_EQ(rig().count(Event::ContentMatches), 1u);
  EXPECT_EQ(says(3, "two"), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT1_APodIsLookedIntoInBothRoles) {
  const std::string pod = R"({"apiVersion":"projectcalico.org/v3","kind":"WorkloadEndpoint",
    "metadata":{"name":"db-0","namespace":"default","labels":{"app":"db"},
      "annotations":{"sluice.dev/device":"net_ring_c"}},
    "spec":{"node":"gw","mac":"02:00:00:00:00:55","ipNetworks":["10.244.0.5/32"]}})";
  const std::string selects = R"("podSelector":{"matchLabels":{"app":"db"}},)";
  rig().load(list({gateway(), cluster(), pod,
                   policy(selects + R"("patterns":[{"name":"in","literal":"drop table","direction":"Ingress"},
                                                   {"name":"out","literal":"secret","direction":"Egress"}])")}));
  const auto datagram = [](const char* from, const char* to, std::string_view text) {
    Ip packet = udp(from, to);
    packet.payload = bytes(text);
    return packet;
  };
  const auto from_pod = [&](const char* to, std::string_view text) {
    return rig().send_frame(
        "c", ethernet({{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}}, mac(0x55), datagram("10.244.0.5:53", to, text).bytes()));
  };
  EXPECT_FALSE(rig().send("b", datagram("10.246.1.5:1000", "10.244.0.5:53", "a secret?")).empty());
  EXPECT_EQ(from_pod("10.246.1.5:1000", "the secret"), "") << "as a server";
  EXPECT_EQ(rig().drops(), "content_matched 1");
  EXPECT_EQ(rig().send("b", datagram("10.246.1.5:1001", "10.244.0.5:53", "drop table x")), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
  EXPECT_FALSE(from_pod("10.246.1.5:2000", "drop table").empty());
  EXPECT_EQ(from_pod("10.246.1.5:2001", "my secret"), "") << "as a client";
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT8_WhatHyperscanRefusesIsToldAtItsPlace) {
  const auto refusal = [&](const std::string& object) {
    return rig().try_load(list({gateway(), cluster(), service(web), object}));
  };
  EXPECT_TRUE(like(refusal(looks_for("a(b", "Drop")), "*spec.patterns[0].regex: \"a(b\" cannot be looked for: *"));
  EXPECT_TRUE(like(refusal(looks_for("(a)\\\\1", "Drop")), "*spec.patterns[0].regex: *Back-references*"));
  EXPECT_TRUE(like(refusal(looks_for("a*", "Drop")), "*spec.patterns[0].regex*"));
  EXPECT_TRUE(like(refusal(looks_for("[a-z].{9000}[^x].{9000}y", "Drop")), "*spec.patterns[0].regex*too expensive*"));
}

TEST_P(Content, CNT6_ASynTakesNoRoom) {
  load(looks_for("jndi:", "Drop"));
  for (unsigned i = 0; i < 500; ++i)
    ASSERT_NE(rig().send("b", tcp("10.246.1.5:" + std::to_string(2000 + i), vip, "S").with_seq(100, 0)), "");
  // Whose addresses they are may answer what it never asked for.
  for (unsigned i = 0; i < 250; ++i) {
    const std::string other = "10.246.1.5:" + std::to_string(2000 + i);
    (void)rig().send("b", tcp("10.246.1.20:8080", other, "SA").with_seq(500, 101));
    (void)rig().send("b", tcp(other, vip, "R").with_seq(101, 0));
  }
  connect();
  EXPECT_EQ(rig().count(Event::ContentFlows), 0u);
  EXPECT_EQ(says(0, "jndi:"), "");
  EXPECT_EQ(rig().count(Event::ContentFlows), 1u);
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

// The client's ACK is lost, and its first bytes come in disorder.
TEST_P(Content, CNT4_TheFirstByteIsThatBehindTheSyn) {
  load(looks_for("^jndi:", "Drop"));
  Ip early = tcp(client, vip, "S").with_seq(100, 0);
  early.payload = bytes("jndi:");
  EXPECT_EQ(rig().send("b", early), "") << "with the SYN";
  EXPECT_EQ(rig().drops(), "content_gap 1");
  ASSERT_NE(rig().send("b", tcp(client, vip, "S").with_seq(100, 0)), "");
  (void)rig().send("b", tcp(endpoint, client, "SA").with_seq(500, 101));
  EXPECT_EQ(says(2, "di:"), "");
  EXPECT_EQ(rig().drops(), "content_gap 1");
  EXPECT_EQ(answers(3, "behind"), "");
  EXPECT_EQ(rig().drops(), "content_gap 1");
  EXPECT_EQ(answers(0, "abc"), passed_back);
  EXPECT_EQ(says(0, "jn"), passed);
  EXPECT_EQ(says(2, "di:"), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

TEST_P(Content, CNT3_ADatagramInSeveralBuffers) {
  load(looks_for("version\\\\.bind", "Drop"));
  Ip query = udp("10.246.1.5:1000", "10.96.0.10:53");
  query.payload = bytes("a version.bind b");
  const size_t payload = 14 + 20 + 8;
  EXPECT_EQ(rig().send_cut("b", query.bytes(), {payload + 5, payload + 6}), "");
  EXPECT_EQ(rig().drops(), "content_matched 1");
}

SLUICE_WITH_WORKERS(Content);

// More connections than can be looked into are half open, and those that are not still are.
TEST(ContentFlood, CNT6_ManySynsTakeNoRoomFromOthers) {
  Rig rig({.connections = 100'000});
  rig.load(list({gateway(), cluster(), service(web), looks_for("jndi:", "Drop")}));
  for (unsigned i = 0; i < 66'000; ++i) {
    const std::string from = "10.246.1." + std::to_string(40 + i / 60'000) + ":" + std::to_string(1000 + i % 60'000);
    ASSERT_NE(rig.send("b", tcp(from, vip, "S").with_seq(100, 0)), "") << from;
  }
  EXPECT_EQ(rig.count(Event::ContentFlows), 0u);
  (void)rig.send("b", tcp(client, vip, "S").with_seq(100, 0));
  (void)rig.send("b", tcp(endpoint, client, "SA").with_seq(500, 101));
  (void)rig.send("b", tcp(client, vip, "A").with_seq(101, 501));
  Ip packet = tcp(client, vip, "PA").with_seq(101, 501);
  packet.payload = bytes("jndi:");
  EXPECT_EQ(rig.send("b", packet), "");
  EXPECT_EQ(rig.drops(), "content_matched 1");
}

}  // namespace
}  // namespace sluice::packet_test
