// SYNs faster than their entries could stay, to a service that a ContentPolicy looks into: the router answers them with
// cookies and binds who answers at once. Truth: what one says is what the other hears, patterns are found, and what is
// not meant by it goes its ordinary way.
#include <functional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/explain.h"
#include "tests/packet/splice_network.h"

namespace sluice::packet_test {
namespace {

using dataplane::Event;
namespace tcp_flag = net::tcp_flag;

constexpr uint32_t records = 128;

std::string policy(const std::string& action, const std::string& more = "") {
  return fmt::format(R"({{"apiVersion":"sluice.dev/v1","kind":"ContentPolicy","metadata":{{"name":"p",
    "namespace":"default"}},"spec":{{"serviceSelector":{{"matchLabels":{{"looked":"into"}}}},"overload":"Drop",
    "action":"{}",{}"patterns":[{{"name":"bad","regex":"jndi:[a-z]"}}]}}}})",
                     action, more);
}

// The service with the label that the policy asks for.
std::string looked_into(const ServiceSpec& spec) {
  std::string text = service(spec);
  const std::string metadata = R"("metadata":{"namespace":"default",)";
  return text.insert(text.find(metadata) + metadata.size(), R"("labels":{"looked":"into"},)");
}

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                      .ports = {"TCP 80 8080 30080"},
                      .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"},
                      .load_balancer_ip = "198.51.100.80"};
const ServiceSpec plain{.name = "plain",
                        .cluster_ips = {"10.96.0.11", "fd00:10:96::11"},
                        .ports = {"TCP 80 8080"},
                        .endpoints = {"10.246.1.22 node3", "fd00:10:246::22 node3"}};

class Pressure : public RigTest {
 protected:
  void SetUp() override { load(policy("Drop")); }
  void load(const std::string& object, const ServiceSpec& spec = web) {
    start({.connections = records});
    rig().load(list({gateway(), cluster(), looked_into(spec), service(plain), object}));
  }
  [[nodiscard]] static TcpSegment syn(const std::string& from, const std::string& to, uint32_t seq = 100) {
    TcpSegment out;
    out.src = from;
    out.dst = to;
    out.flags = tcp_flag::syn;
    out.seq = seq;
    out.mss = 1460;
    out.scale = 9;
    out.sack_permitted = true;
    return out;
  }
  // SYNs of made-up sources.
  void flood(const std::string& to, unsigned count = 200) {
    std::vector<Bytes> burst;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned source = next_++;
      const char* const address = to[0] == '[' ? "[fd00:10:246::3{}]:{}" : "10.246.1.3{}:{}";
      burst.push_back(
          syn(fmt::format(fmt::runtime(address), source / 60000 % 10, 2000 + source % 60000), to, source).bytes());
    }
    (void)rig().send_burst("b", burst);
  }
  // Until every worker answers with cookies.
  void press(const std::string& to) {
    for (unsigned round = 0; round < 20; ++round) {
      const uint64_t opened = rig().count(Event::FlowsOpened);
      flood(to, 100);
      if (rig().count(Event::FlowsOpened) == opened) return;
    }
    FAIL() << "they take entries still";
  }
  void press() {
    press("10.96.0.10:80");
    press("[fd00:10:96::10]:80");
  }
  [[nodiscard]] uint64_t cookies() { return rig().count(Event::SynCookiesSent); }
  // Of an honest client whose SYN is answered with a cookie: what acknowledges it.
  [[nodiscard]] TcpSegment answers_cookie(const TcpSegment& first) {
    (void)rig().send("b", first.bytes());
    const TcpSegment answer = segment_of(rig().only());
    EXPECT_EQ(answer.flags, tcp_flag::syn | tcp_flag::ack);
    TcpSegment out;
    out.src = first.src;
    out.dst = first.dst;
    out.flags = tcp_flag::ack;
    out.seq = first.seq + 1;
    out.ack = answer.seq + 1;
    out.window = 500;
    if (first.timestamp) out.timestamp = {first.timestamp->first + 1, answer.timestamp->first};
    return out;
  }

  unsigned next_ = 0;
};

TEST_P(Pressure, SPL11_CNT6_ASynIsAnsweredAndForgotten) {
  for (const char* const to : {"10.96.0.10:80", "[fd00:10:96::10]:80"}) {
    SCOPED_TRACE(to);
    press(to);
    const uint64_t flows = rig().flows();
    const uint64_t before = cookies();
    const uint64_t evicted = rig().count(Event::FlowsEvicted);
    (void)rig().drops();
    for (unsigned i = 0; i < 20; ++i) {
      flood(to);
      ASSERT_EQ(rig().out().size(), 200u);
      for (const View& view : rig().out()) {
        const TcpSegment answer = segment_of(view);
        ASSERT_EQ(answer.flags, tcp_flag::syn | tcp_flag::ack);
        ASSERT_EQ(answer.src.text(), to);
        EXPECT_EQ(answer.scale, 7);
        EXPECT_EQ(answer.mss, to[0] == '[' ? 1440 : 1460);
        EXPECT_TRUE(answer.sack_permitted);
      }
    }
    EXPECT_EQ(cookies() - before, 4000u);
    EXPECT_EQ(rig().flows(), flows);
    EXPECT_EQ(rig().count(Event::FlowsEvicted), evicted);
    EXPECT_EQ(rig().count(Event::LateOpened), 0u);
    EXPECT_EQ(rig().drops(), "");
  }
}

TEST_P(Pressure, SPL11_WithoutItEverythingIsAsEver) {
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S").with_seq(100, 0)),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", "10.246.1.5:1000", "SA").with_seq(500, 101)),
            "b/13 tcp SA 10.96.0.10:80>10.246.1.5:1000 ttl 63");
  EXPECT_EQ(rig().only().ip.seq, 500u) << "of the endpoint itself";
  // A full table whose entries are old enough to go: fewer than a worker's 64 come within five seconds, however the
  // hash spreads them.
  while (rig().count(Event::FlowsEvicted) == 0) {
    ASSERT_LT(next_, 1000u);
    flood("10.96.0.10:80", 8);
    (void)rig().advance(1000);
  }
  EXPECT_EQ(cookies(), 0u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Pressure, SPL11_ItEndsWithTheFlood) {
  press();
  const std::string from = "10.246.1.5:";
  const auto is_ordinary = [&](int port) {
    const std::string out = rig().send("b", syn(from + std::to_string(port), "10.96.0.10:80").bytes());
    return like(out, "b/13 tcp S *>10.246.1.20:8080 ttl 63");
  };
  EXPECT_FALSE(is_ordinary(1000));
  const uint64_t opened = rig().count(Event::FlowsOpened);
  for (unsigned second = 0; second < 15; ++second) {
    (void)rig().advance(1000);
    flood("10.96.0.10:80", 60);
  }
  EXPECT_FALSE(is_ordinary(1001)) << "though what is in the table is old";
  EXPECT_EQ(rig().count(Event::FlowsOpened), opened);
  (void)rig().advance(6000);
  (void)is_ordinary(1002);
  (void)rig().advance(6000);
  EXPECT_TRUE(is_ordinary(1003));
}

TEST_P(Pressure, SPL11_OtherServicesGoTheirWay) {
  press();
  const uint64_t before = cookies();
  EXPECT_EQ(rig().send("b", syn("10.246.1.5:1000", "10.96.0.11:80").bytes()),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.22:8080 ttl 63");
  EXPECT_EQ(rig().send("b", syn("[fd00:10:246::5]:1000", "[fd00:10:96::11]:80").bytes()),
            "b/13 tcp S [fd00:10:246::5]:1000>[fd00:10:246::22]:8080 ttl 63");
  EXPECT_EQ(cookies(), before);
}

TEST_P(Pressure, SPL11_HonestClientsInAFlood) {
  unsigned number = 0;
  for (const bool bad : {false, true}) {
    for (const Network::Side& way : Network::all()) {
      for (unsigned seed = 0; seed < 6; ++seed) {
        Network::Side side = way;
        side.client.replace(side.client.rfind(':') + 1, 4, std::to_string(2000 + number++));
        SCOPED_TRACE(side.client + (bad ? " bad" : ""));
        press(side.client[0] == '[' ? "[fd00:10:96::10]:80" : "10.96.0.10:80");
        const uint64_t bound = rig().count(Event::LateForwarded);
        Network net(rig(), side, seed, bad ? 8 : 0);
        const std::string request = seed % 3 == 0 ? "hello" : pattern(seed * 2477, seed);
        const std::string answer = pattern(seed * 9001 + 1, seed + 1);
        unsigned turns = 0;
        ASSERT_TRUE(net.converse(request, answer, 4000, [&] {
          if (turns++ % 4 == 1) flood(side.client[0] == '[' ? "[fd00:10:96::10]:80" : "10.96.0.10:80", 60);
        }));
        EXPECT_EQ(net.client.heard(), answer);
        EXPECT_EQ(net.server().heard(), request);
        EXPECT_TRUE(net.server().ended());
        EXPECT_EQ(net.client.fault(), "");
        EXPECT_EQ(net.server().fault(), "");
        EXPECT_EQ(rig().count(Event::LateForwarded), bound + 1);
      }
    }
  }
}

TEST_P(Pressure, SPL11_AServerThatSpeaksFirst) {
  for (const bool bad : {false, true}) {
    for (Network::Side side : Network::all()) {
      if (bad) side.client.replace(side.client.rfind(':') + 1, 4, "3000");
      SCOPED_TRACE(side.client + (bad ? " bad" : ""));
      press();
      Network net(rig(), side, 7, bad ? 15 : 0);
      net.on_server = [&](const std::string& name) { net.server(name).say("220 mail\r\n"); };
      net.client.connect();
      ASSERT_TRUE(net.run_until([&] { return net.client.heard() == "220 mail\r\n"; }));
      EXPECT_EQ(net.server().heard(), "") << "the client has said nothing yet";
      net.client.say("QUIT\r\n");
      ASSERT_TRUE(net.run_until([&] { return net.server().heard() == "QUIT\r\n"; }));
      net.server().say("221 bye\r\n");
      net.server().finish();
      net.client.finish();
      EXPECT_TRUE(net.run_until([&] { return net.client.ended() && net.server().ended(); }));
      EXPECT_EQ(net.client.heard(), "220 mail\r\n221 bye\r\n");
      EXPECT_EQ(net.client.fault(), "");
      EXPECT_EQ(net.server().fault(), "");
    }
  }
}

// The client has sent its FIN with its first words, or without any.
TEST_P(Pressure, SPL11_AClientThatOnlyListens) {
  for (Network::Side side : Network::all()) {
    SCOPED_TRACE(side.client);
    press();
    Network net(rig(), side);
    net.on_server = [&](const std::string& name) { net.server(name).say("the time is up\n"); };
    net.client.connect();
    net.client.finish();
    ASSERT_TRUE(net.run_until([&] { return net.client.heard() == "the time is up\n" && net.server().ended(); }));
    net.server().finish();
    EXPECT_TRUE(net.run_until([&] { return net.client.ended(); }));
    EXPECT_EQ(net.client.fault(), "");
    EXPECT_EQ(net.server().fault(), "");
  }
}

TEST_P(Pressure, SPL11_CNT4_APatternOverTheFirstSegmentsIsFound) {
  for (const char* const action : {"Drop", "Reset"}) {
    load(policy(action));
    for (Network::Side side : Network::all()) {
      SCOPED_TRACE(side.client + " " + action);
      press();
      const uint64_t found = rig().count(Event::ContentMatches);
      Network net(rig(), side);
      net.client.connect();
      net.client.cut(5);
      net.client.say("user: ${jndi:ldap://x}");
      if (std::string(action) == "Reset") {
        EXPECT_TRUE(net.run_until([&] { return net.client.was_reset() && net.server().was_reset(); }));
      } else {
        net.run(40);
        EXPECT_FALSE(net.client.was_reset()) << "silence";
      }
      if (net.has_server(side.server)) {
        EXPECT_EQ(net.server().heard().find("jndi:l"), std::string::npos);
      }
      EXPECT_EQ(rig().count(Event::ContentMatches), found + 1);
      EXPECT_EQ(net.client.fault(), "");
    }
  }
}

TEST_P(Pressure, SPL11_CNT3_WhatTheEndpointSaysFirstIsLookedAt) {
  load(policy("Reset", R"("direction":"Egress",)"));
  for (Network::Side side : Network::all()) {
    SCOPED_TRACE(side.client);
    press();
    Network net(rig(), side);
    net.on_server = [&](const std::string& name) { net.server(name).say("a jn"); };
    net.client.connect();
    ASSERT_TRUE(net.run_until([&] { return net.client.heard() == "a jn"; }));
    net.server().say("di:x");
    EXPECT_TRUE(net.run_until([&] { return net.client.was_reset() && net.server().was_reset(); }));
    EXPECT_EQ(net.client.heard(), "a jn");
  }
}

TEST_P(Pressure, SPL11_WhatIsThereGoesOn) {
  const auto says = [&](const char* flags) {
    Ip packet = tcp("10.246.1.5:1000", "10.96.0.10:80", flags).with_seq(101, 501);
    return rig().send("b", packet);
  };
  (void)rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S").with_seq(100, 0));
  (void)rig().send("b", tcp("10.246.1.20:8080", "10.246.1.5:1000", "SA").with_seq(500, 101));
  (void)says("A");
  press();
  EXPECT_EQ(says("PA"), "b/13 tcp PA 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
  EXPECT_EQ(rig().only().ip.ack, 501u) << "untranslated";
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", "10.246.1.5:1000", "PA").with_seq(501, 101)),
            "b/13 tcp PA 10.96.0.10:80>10.246.1.5:1000 ttl 63");
  EXPECT_EQ(rig().only().ip.seq, 501u);
  // A handshake that began before is finished as it began: its SYN has an entry that no such SYN takes.
  load(policy("Drop"));
  (void)rig().send("b", syn("10.246.1.5:1001", "10.96.0.10:80").bytes());
  next_ = 0;
  for (unsigned i = 0; cookies() == 0; ++i) flood("10.96.0.10:80", 1);
  EXPECT_EQ(rig().send("b", tcp("10.246.1.20:8080", "10.246.1.5:1001", "SA").with_seq(500, 101)),
            "b/13 tcp SA 10.96.0.10:80>10.246.1.5:1001 ttl 63");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1001", "10.96.0.10:80", "A").with_seq(101, 501)),
            "b/13 tcp A 10.246.1.5:1001>10.246.1.20:8080 ttl 63");
}

// By Maglev, by affinity, and by the policy of the address.
TEST_P(Pressure, SPL11_TheEndpointIsTheOneThatTheSynWouldHaveGot) {
  ServiceSpec several = web;
  several.endpoints = {"10.246.1.20 node3", "10.246.1.21 node3", "10.246.1.23 node3", "10.246.1.24 node3"};
  several.cluster_ips = {"10.96.0.10"};
  for (const char* const more : {"", R"("sessionAffinity":"ClientIP")"}) {
    SCOPED_TRACE(more);
    several.more = more;
    std::vector<std::string> ordinary;
    for (const bool pressed : {false, true}) {
      load(policy("Drop"), several);
      if (pressed) press("10.96.0.10:80");
      for (unsigned i = 0; i < 24; ++i) {
        TcpSegment first = syn(fmt::format("10.246.1.{}:1000", 5 + i / 4), "10.96.0.10:80", i);
        if (i % 4 != 0) first.src.port = static_cast<uint16_t>(1000 + i);
        if (!pressed) {
          (void)rig().send("b", first.bytes());
          ordinary.push_back(rig().only().ip.dst.text());
          continue;
        }
        (void)rig().send("b", answers_cookie(first).bytes());
        const TcpSegment opened = segment_of(rig().only());
        EXPECT_EQ(opened.flags, tcp_flag::syn);
        EXPECT_EQ(opened.seq, i) << "of the client";
        EXPECT_EQ(opened.src.text(), first.src.text());
        EXPECT_EQ(opened.dst.text(), ordinary[i]);
      }
    }
  }
}

TEST_P(Pressure, SPL11_WhoGetsNoEndpointIsToldAsEver) {
  ServiceSpec nobody = web;
  nobody.cluster_ips = {"10.96.0.10"};
  nobody.endpoints = {};
  load(policy("Drop"), nobody);
  // By another service that is looked into.
  ServiceSpec other = web;
  other.name = "other";
  other.cluster_ips = {"10.96.0.12", "fd00:10:96::12"};
  other.ports = {"TCP 80 8080"};
  other.load_balancer_ip = "";
  rig().load(list({gateway(), cluster(), looked_into(nobody), looked_into(other), policy("Drop")}));
  press("10.96.0.12:80");
  (void)rig().drops();
  EXPECT_TRUE(like(rig().send("b", syn("10.246.1.5:1000", "10.96.0.10:80").bytes()), "b/13 icmp 3/3 *"));
  EXPECT_EQ(rig().drops(), "no_endpoint_rejected 1");
}

TEST_P(Pressure, SPL11_SPL4_AnEndpointThatRefusesOrIsSilent) {
  for (const bool refuses : {true, false}) {
    load(policy("Drop"));
    for (const Network::Side& side : Network::all()) {
      SCOPED_TRACE(side.client + (refuses ? " refuses" : " is silent"));
      press();
      Network net(rig(), side);
      net.refuses[side.server] = refuses;
      net.client.connect();
      net.client.say("hello");
      EXPECT_TRUE(net.run_until([&] { return net.client.was_reset(); }));
      EXPECT_EQ(net.client.fault(), "");
    }
    EXPECT_EQ(rig().count(Event::LateUnavailable), 3u);
  }
}

// Segments that overtake the ACK, or whose ACK is lost, must not open a connection in the middle.
TEST_P(Pressure, SPL11_WhatOvertakesTheFirstSegmentComesAgain) {
  for (const bool timestamps : {true, false}) {
    SCOPED_TRACE(timestamps);
    press();
    (void)rig().drops();
    TcpSegment first = syn(timestamps ? "10.246.1.5:1000" : "10.246.1.5:1001", "10.96.0.10:80");
    if (timestamps) first.timestamp = {7, 0};
    TcpSegment said = answers_cookie(first);
    TcpSegment second = said;
    second.seq += 5;
    second.data = "world";
    EXPECT_EQ(rig().send("b", second.bytes()), "");
    EXPECT_EQ(rig().drops(), "syn_cookie_invalid 1");
    said.data = "hello";
    EXPECT_NE(rig().send("b", said.bytes()), "");
    EXPECT_EQ(rig().count(Event::LateOpened), timestamps ? 1u : 2u);
  }
}

// What has an entry of another time, or never had one, is picked up as ever (CT-7) once no cookie is about.
TEST_P(Pressure, SPL11_CT7_OthersArePickedUp) {
  press();
  TcpSegment middle;
  middle.src = "10.246.1.5:1000";
  middle.dst = "10.96.0.10:80";
  middle.flags = tcp_flag::ack;
  middle.seq = 5000;
  middle.ack = 7000;
  middle.timestamp = {1, 2};
  EXPECT_TRUE(like(rig().send("b", middle.bytes()), "b/13 tcp A 10.246.1.5:1000>10.246.1.20:8080 *"))
      << "its timestamp is not the router's";
  (void)rig().advance(130'000);
  middle.src.port = 1001;
  middle.timestamp.reset();
  EXPECT_TRUE(like(rig().send("b", middle.bytes()), "b/13 tcp A 10.246.1.5:1001>10.246.1.20:8080 *"));
}

// The ACK that ends the handshake with the endpoint is lost, and nobody says anything.
TEST_P(Pressure, SPL11_TheEndpointAsksAgain) {
  press();
  (void)rig().send("b", answers_cookie(syn("10.246.1.5:1000", "10.96.0.10:80")).bytes());
  const TcpSegment opened = segment_of(rig().only());
  TcpSegment accepts;
  accepts.src = opened.dst;
  accepts.dst = opened.src;
  accepts.flags = tcp_flag::syn | tcp_flag::ack;
  accepts.seq = 70'000;
  accepts.ack = opened.seq + 1;
  accepts.window = 30'000;
  accepts.mss = 1460;
  accepts.scale = 7;
  accepts.sack_permitted = true;
  for (unsigned again = 0; again < 3; ++again) {
    ASSERT_NE(rig().send("b", accepts.bytes()), "");
    const TcpSegment ack = segment_of(rig().only());
    EXPECT_EQ(ack.flags, tcp_flag::ack);
    EXPECT_EQ(ack.seq, 101u);
    EXPECT_EQ(ack.ack, 70'001u);
    EXPECT_EQ(ack.dst.text(), "10.246.1.20:8080");
  }
  accepts.flags = tcp_flag::ack | tcp_flag::psh;
  accepts.seq = 70'001;
  accepts.mss.reset();
  accepts.scale.reset();
  accepts.sack_permitted = false;
  accepts.data = "hello";
  EXPECT_EQ(rig().send("b", accepts.bytes()), "b/13 tcp PA 10.96.0.10:80>10.246.1.5:1000 ttl 63");
  // From now on it is a connection like those that were decided, which nothing is kept of but the numbers.
  (void)rig().drops();
  EXPECT_EQ(rig().send("b", fragments(accepts.bytes(), 24).front()), "");
  EXPECT_EQ(rig().drops(), "content_fragment 1") << "not for the router itself";
}

TEST_P(Pressure, SPL11_EXP5_TracesSayIt) {
  press();
  RigTrace trace(rig(), "tcp and host 10.246.1.5");
  const auto joined = [&] {
    std::string out;
    for (const std::string& text : trace.texts()) out += text + "\n";
    return out;
  };
  const TcpSegment said = answers_cookie(syn("10.246.1.5:1000", "10.96.0.10:80"));
  EXPECT_TRUE(like(joined(),
                   "*cookie: its entry would not stay*service: default/web:*backend: 10.246.1.20:8080, the only "
                   "endpoint*=> answered*"));
  (void)rig().send("b", said.bytes());
  EXPECT_TRUE(like(joined(), "*cookie: the client has answered it: the connection is bound now*=> forwarded*"));
}

SLUICE_WITH_WORKERS(Pressure);

}  // namespace
}  // namespace sluice::packet_test
