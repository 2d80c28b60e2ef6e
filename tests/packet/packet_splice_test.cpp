// Connections that the router takes itself, reads, and splices to an endpoint: a client and a server that speak TCP, a
// router between them, and packets that get lost, come twice and out of order. Truth: what one says is what the other
// hears.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/splice_network.h"

namespace sluice::packet_test {
namespace {

using dataplane::Event;
using dataplane::Snapshot;
using net::V4;
using net::V6;
namespace tcp_flag = net::tcp_flag;

class Splice : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load();
  }
  void load() { load_splices(rig()); }
};

TEST_P(Splice, SPL1_ASynIsAnsweredAndForgotten) {
  for (unsigned i = 0; i < 1000; ++i) {
    TcpSegment syn;
    syn.src = "10.246.1.5:" + std::to_string(1000 + i);
    syn.dst = "10.96.0.10:80";
    syn.flags = tcp_flag::syn;
    syn.seq = i * 77777;
    syn.mss = 1460;
    syn.scale = 9;
    syn.sack_permitted = true;
    syn.timestamp = {i, 0};
    ASSERT_NE(rig().send("b", syn.bytes()), "");
    const TcpSegment answer = segment_of(rig().only());
    ASSERT_EQ(answer.flags, tcp_flag::syn | tcp_flag::ack);
    EXPECT_EQ(answer.ack, syn.seq + 1);
    EXPECT_EQ(answer.mss, 1460);
    EXPECT_EQ(answer.scale, 7);
    EXPECT_TRUE(answer.sack_permitted);
    ASSERT_TRUE(answer.timestamp);
    EXPECT_EQ(answer.timestamp->second, i);
  }
  EXPECT_EQ(rig().count(Event::SynCookiesSent), 1000u);
  EXPECT_EQ(rig().count(Event::LateOpened), 0u);
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Splice, SPL1_NumbersThatTheRouterNeverSent) {
  TcpSegment guess;
  guess.src = "10.246.1.5:1000";
  guess.dst = "10.96.0.10:80";
  guess.flags = tcp_flag::ack;
  guess.seq = 5;
  guess.ack = 77;
  guess.data = "1 0\n";
  ASSERT_NE(rig().send("b", guess.bytes()), "");
  EXPECT_EQ(rig().only().text, "b/13 tcp R 10.96.0.10:80>10.246.1.5:1000 ttl 64");
  EXPECT_EQ(segment_of(rig().only()).seq, 77u);
  EXPECT_EQ(rig().drops(), "syn_cookie_invalid 1");
  EXPECT_EQ(rig().count(Event::LateOpened), 0u);
}

TEST_P(Splice, SPL3_SPL5_SPL6_ARequestAndItsAnswer) {
  for (const Network::Side& side : Network::all()) {
    SCOPED_TRACE(side.client);
    Network net(rig(), side);
    net.client.connect();
    net.client.say("1 10\n0123456789");
    ASSERT_TRUE(
        net.run_until([&] { return net.has_server(side.server) && net.server().heard() == "1 10\n0123456789"; }));
    ASSERT_TRUE(net.server().other_syn());
    EXPECT_EQ(net.server().other_syn()->mss, net.mss());
    EXPECT_EQ(net.server().other_syn()->scale, 7);
    net.server().say(pattern(200'000, 1));
    net.client.say(pattern(150'000, 2));
    EXPECT_TRUE(
        net.run_until([&] { return net.client.heard().size() == 200'000 && net.server().heard().size() == 150'015; }));
    EXPECT_EQ(net.client.heard(), pattern(200'000, 1));
    EXPECT_EQ(net.server().heard(), "1 10\n0123456789" + pattern(150'000, 2));
    net.client.finish();
    net.server().finish();
    EXPECT_TRUE(net.run_until([&] { return net.client.ended() && net.server().ended(); }));
    EXPECT_EQ(net.client.fault(), "");
    EXPECT_EQ(net.server().fault(), "");
    net.run(8);
    EXPECT_TRUE(net.client.all_acknowledged());
    EXPECT_TRUE(net.server().all_acknowledged());
    EXPECT_EQ(rig().drops(), "");
  }
  EXPECT_EQ(rig().count(Event::LateForwarded), 3u);
}

TEST_P(Splice, SPL2_SPL5_SPL6_WhatIsSaidIsHeardOverABadNetwork) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    for (Network::Side side : Network::all()) {
      SCOPED_TRACE("seed " + std::to_string(seed) + " " + side.client);
      side.client.replace(side.client.rfind(':') + 1, 4, std::to_string(2000 + seed));
      Network net(rig(), side, seed, seed % 4 == 0 ? 20 : 8);
      const std::string request = "1 0\n" + pattern(seed * 977, seed);
      const std::string answer = pattern(seed * 5003, seed + 1);
      ASSERT_TRUE(net.converse(request, answer, 4000));
      EXPECT_EQ(net.client.heard(), answer);
      EXPECT_EQ(net.server().heard(), request);
      EXPECT_TRUE(net.server().ended());
      EXPECT_EQ(net.client.fault(), "");
      EXPECT_EQ(net.server().fault(), "");
    }
  }
}

TEST_P(Splice, SPL3_TheRouterAnswersItself) {
  for (const Network::Side& side : Network::all()) {
    for (const unsigned bad : {0U, 15U}) {
      SCOPED_TRACE(side.client);
      Network net(rig(), side, 5, bad);
      net.client.connect();
      net.client.say("answer\n");
      ASSERT_TRUE(net.run_until([&] { return net.client.ended(); }));
      net.client.finish();
      EXPECT_EQ(net.client.heard(), "no such thing\n");
      net.run(20);
      EXPECT_FALSE(net.client.was_reset());
      EXPECT_TRUE(net.servers.empty());
    }
  }
  EXPECT_EQ(rig().flows(), 0u);
}

TEST_P(Splice, SPL3_OrResets) {
  Network net(rig(), Network::v4());
  net.client.connect();
  net.client.say("reset\n");
  EXPECT_TRUE(net.run_until([&] { return net.client.was_reset(); }, 40));
  EXPECT_EQ(rig().count(Event::LateRefused), 1u);
}

TEST_P(Splice, SPL4_NoEndpoint) {
  Network net(rig(), Network::v4());
  net.client.connect();
  net.client.say("3 0\n");
  EXPECT_TRUE(net.run_until([&] { return net.client.ended(); }, 40));
  EXPECT_EQ(net.client.heard(), "unavailable\n");
  EXPECT_EQ(rig().count(Event::LateUnavailable), 1u);
}

TEST_P(Splice, SPL4_AnEndpointThatRefusesOrIsSilent) {
  for (const bool by_reset : {true, false}) {
    for (const char* const dead : {"10.246.1.20:8080", "10.246.1.21:8080"}) {
      SCOPED_TRACE(dead);
      Network::Side side = Network::v4();
      side.client = "10.246.1.5:" + std::to_string(3000 + (by_reset ? 100 : 0) + dead[10]);
      const std::string alive = dead == side.server ? side.second : side.server;
      Network net(rig(), side);
      net.refuses[dead] = by_reset;
      net.client.connect();
      net.client.say("4 0\n");
      ASSERT_TRUE(net.run_until([&] { return net.has_server(alive) && net.server(alive).heard() == "4 0\n"; }, 100));
      net.server(alive).say("hello");
      EXPECT_TRUE(net.run_until([&] { return net.client.heard() == "hello"; }, 40));
      EXPECT_EQ(net.client.fault(), "");
    }
  }
}

TEST_P(Splice, SPL4_ING6_NobodyAnswers) {
  unsigned port = 3300;
  for (const bool by_reset : {true, false}) {
    Network::Side side = Network::v4();
    side.client = "10.246.1.5:" + std::to_string(port++);
    Network net(rig(), side);
    net.refuses[net.side().server] = by_reset;
    net.client.connect();
    net.client.say("1 0\n");
    EXPECT_TRUE(net.run_until([&] { return net.client.ended(); }, 200));
    EXPECT_EQ(net.client.heard(), by_reset ? "refused\n" : "unanswered\n");
  }
}

TEST_P(Splice, SPL8_AHeadThatDoesNotCome) {
  Network net(rig(), Network::v4());
  net.client.connect();
  net.client.say("1 ");
  net.run(8);
  (void)rig().advance(11'000);
  EXPECT_EQ(rig().count(Event::LateTimedOut), 1u);
  EXPECT_TRUE(net.run_until([&] { return net.client.ended(); }, 40));
  EXPECT_EQ(net.client.heard(), "too slow\n");
}

TEST_P(Splice, SPL8_AHeadThatIsTooLong) {
  Network net(rig(), Network::v4());
  net.client.connect();
  net.client.say(pattern(5000, 1));
  EXPECT_TRUE(net.run_until([&] { return net.client.ended(); }, 40));
  EXPECT_EQ(net.client.heard(), "too long\n");
  EXPECT_EQ(rig().count(Event::LateTooLong), 1u);
}

// Somebody outside of the cluster answers by this router only what comes from it.
TEST_P(Splice, ING9_ING11_WhomTheEndpointSees) {
  unsigned port = 1000;
  for (const auto& [request, sees_client] : {std::pair("1 0\n", false), std::pair("1k 0\n", true),
                                             std::pair("1x 0\n", false), std::pair("1kx 0\n", false)}) {
    SCOPED_TRACE(request);
    const std::string said = request;
    Network::Side side = Network::outside();
    side.client = "192.0.2.10:" + std::to_string(++port);
    Network net(rig(), side);
    net.client.connect();
    net.client.say(said);
    ASSERT_TRUE(net.run_until([&] { return net.has_server(side.server) && net.server().heard() == said; }));
    EXPECT_EQ(net.server().other_syn()->src.address == *net::parse_ip("192.0.2.10"), sees_client);
    net.server().say("answer");
    EXPECT_TRUE(net.run_until([&] { return net.client.heard() == "answer"; }));
  }
}

TEST_P(Splice, SPL9_ProxyHeader) {
  for (const Network::Side& side : Network::all()) {
    for (const unsigned bad : {0U, 10U}) {
      SCOPED_TRACE(side.client);
      Network net(rig(), side, 3 + bad, bad);
      const std::string request = "1p 0\n" + pattern(3000, 4);
      net.client.connect();
      net.client.say(request);
      const size_t header = side.client[0] == '[' ? 52 : 28;
      ASSERT_TRUE(net.run_until(
          [&] { return net.has_server(side.server) && net.server().heard().size() == header + request.size(); }));
      EXPECT_EQ(net.server().heard().substr(header), request);
      EXPECT_EQ(net.server().heard().substr(0, 12), std::string("\r\n\r\n\0\r\nQUIT\n", 12));
      net.server().say("fine");
      EXPECT_TRUE(net.run_until([&] { return net.client.heard() == "fine"; }));
      EXPECT_EQ(net.client.fault(), "");
      net.client.finish();
      net.server().finish();
      EXPECT_TRUE(net.run_until([&] { return net.client.ended() && net.server().ended(); }));
    }
  }
}

TEST_P(Splice, SPL6_EndpointsThatOfferLess) {
  unsigned port = 4000;
  for (const uint8_t scale : {uint8_t{2}, uint8_t{9}, uint8_t{255}}) {
    Network::Side side = Network::v4();
    side.client = "10.246.1.5:" + std::to_string(port++);
    SCOPED_TRACE(static_cast<unsigned>(scale));
    Network net(rig(), side);
    net.server_options.scale = scale == 255 ? std::optional<uint8_t>() : scale;
    net.server_options.sack = false;
    net.client.connect();
    net.client.say("1 0\n" + pattern(100'000, 1));
    ASSERT_TRUE(net.run_until([&] { return net.has_server(side.server) && net.server().heard().size() == 100'004; }));
    net.server().say(pattern(100'000, 2));
    EXPECT_TRUE(net.run_until([&] { return net.client.heard() == pattern(100'000, 2); }));
    EXPECT_EQ(net.client.fault(), "");
    EXPECT_EQ(net.server().fault(), "");
  }
}

// A client that was told of timestamps may drop what comes without; the next is not told of them.
TEST_P(Splice, SPL6_AnEndpointWithoutTimestampsIsLearnt) {
  Network::Side side = Network::v4();
  Network first(rig(), side);
  first.server_options.timestamps = false;
  first.client.connect();
  first.client.say("1 0\n");
  EXPECT_TRUE(first.run_until([&] { return first.client.was_reset(); }, 40));
  EXPECT_EQ(rig().count(Event::LateMismatch), 1u);
  // The same client, so that it is the worker that has learnt.
  Network second(rig(), side, 9);
  second.server_options.timestamps = false;
  second.client.connect();
  second.client.say("1 0\n");
  ASSERT_TRUE(
      second.run_until([&] { return second.has_server(side.server) && second.server().heard() == "1 0\n"; }, 40));
  second.server().say("good");
  EXPECT_TRUE(second.run_until([&] { return second.client.heard() == "good"; }, 40));
  EXPECT_EQ(second.client.fault(), "");
}

// Requests and answers in turn, as an HTTP client that waits for each answer.
class Conversation {
 public:
  Conversation(Network& net, unsigned seed) : net_(net), seed_(seed) {}

  // Empty, or what went wrong.
  std::string ask(const std::string& target, size_t body, size_t answer) {
    const std::string request = target + "w " + std::to_string(body) + "\n" + pattern(body, ++seed_);
    const std::string expected = pattern(answer, seed_ + 100);
    const std::string& to = target == "1" ? net_.side().server : net_.side().second;
    const size_t heard = net_.client.heard().size();
    std::string before = net_.has_server(to) ? net_.server(to).heard() : "";
    const auto* const known = net_.has_server(to) ? &net_.server(to) : nullptr;
    const uint32_t was = known != nullptr ? known->isn() : 0;
    net_.client.say(request);
    const bool answered = net_.run_until(
        [&] {
          if (!net_.has_server(to)) return false;
          if (net_.server(to).isn() != was) before.clear();  // connected anew
          TcpPeer& server = net_.server(to);
          if (server.heard() == before + request && !said_) {
            said_ = true;
            server.say(expected);
          }
          return net_.client.heard().size() >= heard + answer || net_.client.was_reset() || net_.client.ended();
        },
        3000);
    said_ = false;
    if (!answered) return "no answer to " + target;
    if (net_.client.heard().substr(heard) != expected) return "another answer from " + target;
    net_.run(8);  // so that it is acknowledged
    return net_.client.fault() + net_.server(to).fault();
  }

 private:
  Network& net_;
  unsigned seed_;
  bool said_ = false;
};

TEST_P(Splice, SPL7_LaterRequestsOfTheSameTargetPass) {
  for (const Network::Side& side : Network::all()) {
    SCOPED_TRACE(side.client);
    Network net(rig(), side);
    net.client.connect();
    Conversation talk(net, 1);
    for (unsigned i = 0; i < 10; ++i) EXPECT_EQ(talk.ask("1", i * 700, 1 + i * 3000), "") << i;
    EXPECT_FALSE(net.has_server(side.second));
  }
  EXPECT_EQ(rig().count(Event::LateForwarded), 3u);
  EXPECT_EQ(rig().count(Event::LateRebound), 0u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Splice, SPL7_LaterRequestsGoElsewhere) {
  for (const Network::Side& side : Network::all()) {
    for (const unsigned bad : {0U, 6U, 15U}) {
      SCOPED_TRACE(side.client + " " + std::to_string(bad));
      Network::Side own = side;
      own.client.replace(own.client.rfind(':') + 1, 4, std::to_string(5000 + bad));
      Network net(rig(), own, 40 + bad, bad);
      net.client.connect();
      Conversation talk(net, bad);
      std::mt19937 random(bad);
      for (unsigned i = 0; i < 12; ++i) {
        ASSERT_EQ(talk.ask(random() % 2 == 0 ? "1" : "2", random() % 6000, 1 + random() % 20000), "") << i;
      }
      EXPECT_FALSE(net.client.was_reset());
    }
  }
  EXPECT_GT(rig().count(Event::LateRebound), 9u);
}

TEST_P(Splice, SPL7_ALaterRequestThatTheRouterAnswers) {
  Network net(rig(), Network::v4());
  net.client.connect();
  Conversation talk(net, 1);
  ASSERT_EQ(talk.ask("1", 10, 100), "");
  const size_t heard = net.client.heard().size();
  net.client.say("answer\n");
  EXPECT_TRUE(net.run_until([&] { return net.client.ended(); }, 60));
  EXPECT_EQ(net.client.heard().substr(heard), "no such thing\n");
  EXPECT_TRUE(net.server().was_reset());
  EXPECT_EQ(net.client.fault(), "");
}

// The second request comes with the first: nobody gets what is another's.
TEST_P(Splice, SPL7_ClientsThatDoNotWait) {
  for (const unsigned bad : {0U, 10U}) {
    Network::Side side = Network::v4();
    side.client = "10.246.1.5:" + std::to_string(6000 + bad);
    Network net(rig(), side, bad, bad);
    net.client.connect();
    net.client.say("1w 5\nhello1w 0\n2w 3\nbye");
    ASSERT_TRUE(
        net.run_until([&] { return net.has_server(side.server) && net.server().heard() == "1w 5\nhello1w 0\n"; }));
    net.run(10);
    EXPECT_FALSE(net.has_server(side.second)) << "before the answer";
    EXPECT_EQ(net.server().heard(), "1w 5\nhello1w 0\n");
    net.server().say("one");
    ASSERT_TRUE(net.run_until([&] { return net.client.heard() == "one"; }));
    EXPECT_FALSE(net.client.ended());
    net.server().say("two");
    ASSERT_TRUE(net.run_until([&] { return net.client.ended(); }));
    EXPECT_EQ(net.client.heard(), "onetwo");
    EXPECT_FALSE(net.has_server(side.second)) << "nobody counts answers";
    net.client.finish();
    EXPECT_TRUE(net.run_until([&] { return net.server().was_reset() && net.client.all_acknowledged(); }));
    EXPECT_EQ(net.client.fault(), "");
  }
}

TEST_P(Splice, SPL10_AClientThatWaitsForAGreeting) {
  for (unsigned seed = 0; seed <= 8; ++seed) {
    for (Network::Side side : Network::all()) {
      SCOPED_TRACE("seed " + std::to_string(seed) + " " + side.client);
      side.client.replace(side.client.rfind(':') + 1, 4, std::to_string(2000 + seed));
      Network net(rig(), side, seed, seed == 0 ? 0 : 12);
      net.client.connect();
      net.client.say("?\n");
      ASSERT_TRUE(net.run_until([&] { return net.client.heard() == "go on\n"; }));
      EXPECT_FALSE(net.has_server(side.server));
      const std::string request = "1p 3000\n" + pattern(3000, seed);
      net.arrives =
          "???"
          "?\n" +
          request;
      net.client.say("ok\n" + request);
      const auto heard = [&](const std::string& text) {
        return net.has_server(side.server) && net.server().heard().ends_with(text);
      };
      ASSERT_TRUE(net.run_until([&] { return heard("?\n" + request); }, 2000));
      net.server().say(pattern(5000, 1));
      net.client.finish();
      net.server().finish();
      EXPECT_TRUE(net.run_until([&] { return net.client.ended() && net.server().ended(); }, 2000));
      EXPECT_EQ(net.client.heard(), "go on\n" + pattern(5000, 1));
      EXPECT_EQ(net.client.fault(), "");
      EXPECT_EQ(net.server().fault(), "");
    }
  }
}

TEST_P(Splice, SPL10_AGreetingThatIsNotThanked) {
  for (const char* const next : {"", "ok\nanswer\n", "ok\n3 0\n"}) {
    SCOPED_TRACE(next);
    Network net(rig(), Network::v4(), 7, 25);
    net.client.connect();
    net.client.say("?\n");
    ASSERT_TRUE(net.run_until([&] { return !net.client.heard().empty(); }));
    net.client.say(next);
    ASSERT_TRUE(net.run_until([&] { return net.client.ended() || net.client.was_reset(); }, 2000));
    const std::string last = *next == 0 ? "too slow\n" : next[3] == 'a' ? "no such thing\n" : "unavailable\n";
    EXPECT_EQ(net.client.heard(), "go on\n" + last);
    EXPECT_EQ(net.client.fault(), "");
    (void)rig().advance(300'000);
  }
}

TEST_P(Splice, SPL8_TheUndecidedGiveWay) {
  const uint32_t limit = RigOptions{}.late_buffers;
  std::vector<TcpSegment> answers;
  for (unsigned i = 0; i < limit * 2 + 10; ++i) {
    TcpSegment syn;
    syn.src = "10.246.1.5:" + std::to_string(10000 + i);
    syn.dst = "10.96.0.10:80";
    syn.flags = tcp_flag::syn;
    syn.seq = 1000;
    syn.mss = 1460;
    (void)rig().send("b", syn.bytes());
    const TcpSegment answer = segment_of(rig().only());
    TcpSegment data = syn;
    data.mss.reset();
    data.flags = tcp_flag::ack;
    data.seq = 1001;
    data.ack = answer.seq + 1;
    data.data = "1";
    (void)rig().send("b", data.bytes());
  }
  EXPECT_GE(rig().count(Event::LateGivenUp), 10u);
  EXPECT_EQ(rig().count(Event::LateOpened), limit * 2 + 10);
  EXPECT_EQ(rig().drops(), "") << "the young ones have room";
  Network net(rig(), Network::v4());
  net.client.connect();
  net.client.say("1 0\n");
  EXPECT_TRUE(net.run_until([&] { return net.has_server(net.side().server); }, 40));
}

// ICMP: the endpoint's host says that nobody listens; and a router behind says that a segment of an answer is too big,
// with the number that the endpoint knows.
TEST_P(Splice, SPL4_SPL6_IcmpErrors) {
  Network net(rig(), Network::v4());
  net.client.connect();
  net.client.say("1 0\n");
  ASSERT_TRUE(net.run_until([&] { return net.has_server(net.side().server) && net.server().heard() == "1 0\n"; }, 40));
  net.run(4);
  TcpSegment big;
  big.src = "10.246.1.20:8080";
  big.dst = "10.246.1.5:1000";
  big.flags = tcp_flag::ack;
  big.seq = net.server().next();
  big.ack = net.server().expects();
  big.timestamp = {net.server().clock(200000), 0};
  big.data = pattern(1000, 1);
  ASSERT_NE(rig().send("b", big.bytes()), "");
  const Bytes at_client = rig().only().l3;
  const Ip error = icmp_error("10.246.1.5", "10.96.0.10", 3, 4, at_client, 1200);
  ASSERT_NE(rig().send("b", error), "");
  const View& told = rig().only();
  EXPECT_EQ(told.ip.dst.text(), "10.246.1.20:0");
  EXPECT_EQ(net::load_be32(&told.l3[20 + 8 + 20 + 4]), big.seq);
}

// ---- one segment after another -----------------------------------------------------------------------

// A client that has taken the router's answer to its SYN: what it sends next.
TcpSegment opened(Rig& rig, unsigned port, uint32_t isn, uint32_t clock = 1000) {
  TcpSegment syn;
  syn.src = "10.246.1.5:" + std::to_string(port);
  syn.dst = "10.96.0.10:80";
  syn.flags = tcp_flag::syn;
  syn.seq = isn;
  syn.window = 60000;
  syn.mss = 1460;
  syn.timestamp = {clock, 0};
  EXPECT_NE(rig.send("b", syn.bytes()), "");
  const TcpSegment answer = segment_of(rig.only());
  TcpSegment next = syn;
  next.mss.reset();
  next.flags = tcp_flag::ack;
  next.seq = isn + 1;
  next.ack = answer.seq + 1;
  next.timestamp = {clock, answer.timestamp->first};
  return next;
}
TcpSegment with(TcpSegment segment, uint32_t further, const std::string& data) {
  segment.seq += further;
  segment.data = data;
  return segment;
}
// Those to the endpoint that left after this packet.
std::vector<TcpSegment> to_endpoint(Rig& rig) {
  std::vector<TcpSegment> out;
  for (const View& view : rig.out()) {
    if (view.ip.dst.text() == "10.246.1.20:8080") out.push_back(segment_of(view));
  }
  return out;
}
// What the endpoint answers `syn` with.
TcpSegment accepted(const TcpSegment& syn, uint32_t isn) {
  TcpSegment out;
  out.src = syn.dst;
  out.dst = syn.src;
  out.flags = tcp_flag::syn | tcp_flag::ack;
  out.seq = isn;
  out.ack = syn.seq + 1;
  out.window = 60000;
  out.mss = 1460;
  out.timestamp = {7000, syn.timestamp->first};
  return out;
}

TEST_P(Splice, SPL7_AHeadInTwoBehindALongBody) {
  Network net(rig(), Network::v4());
  net.client.connect();
  Conversation talk(net, 1);
  ASSERT_EQ(talk.ask("1", 200'000, 100), "");
  const size_t heard = net.client.heard().size();
  net.client.say("1w");
  net.run(3);
  net.client.say(" 3\nbye");
  ASSERT_TRUE(net.run_until([&] { return net.server().heard().size() == net.client.said().size(); }, 100));
  net.server().say("good");
  EXPECT_TRUE(net.run_until([&] { return net.client.heard().size() == heard + 4; }, 40));
  EXPECT_EQ(net.server().heard(), net.client.said());
}

TEST_P(Splice, SPL6_EndpointsThatTakeTinySegments) {
  unsigned port = 4100;
  for (const uint16_t mss : {uint16_t{0}, uint16_t{8}, uint16_t{12}, uint16_t{100}}) {
    for (Network::Side side : {Network::v4(), Network::v6()}) {
      SCOPED_TRACE(side.client + " " + std::to_string(mss));
      side.client.replace(side.client.rfind(':') + 1, 4, std::to_string(port++));
      Network net(rig(), side);
      net.server_options.mss = mss;
      net.client.connect();
      net.client.say("1 0\n" + pattern(5000, 1));
      EXPECT_TRUE(
          net.run_until([&] { return net.has_server(side.server) && net.server().heard().size() == 5004; }, 40));
      net.run(8);
    }
  }
}

TEST_P(Splice, SPL7_ABodyThatIsCutAnew) {
  for (const Network::Side& side : {Network::v4(), Network::v6()}) {
    SCOPED_TRACE(side.client);
    Network net(rig(), side);
    net.client.connect();
    Conversation talk(net, 1);
    ASSERT_EQ(talk.ask("1", 10, 10), "");
    net.deaf = true;
    net.client.say("1w 30000\n" + pattern(14600, 3));
    net.turn(false);
    net.deaf = false;
    net.client.say(pattern(15400, 4) + "1w 2\nhi");
    net.client.cut(1300);
    EXPECT_TRUE(net.run_until([&] { return net.server().heard().size() == net.client.said().size(); }, 100));
    EXPECT_EQ(net.server().heard(), net.client.said());
  }
}

// What is collected is acknowledged, and with it what the endpoint has not got yet.
TEST_P(Splice, SPL7_AHeadBehindABodyThatIsLost) {
  Network net(rig(), Network::v4());
  net.client.connect();
  net.client.say("1w 6000\n");
  ASSERT_TRUE(net.run_until([&] { return net.has_server(net.side().server) && net.server().heard() == "1w 6000\n"; }));
  net.run(4);
  net.deaf = true;
  net.client.say(pattern(6000, 3));
  net.turn(false);
  net.client.say("2w 3\nbye");
  net.turn(false);
  net.deaf = false;
  net.client.cut(1000);
  ASSERT_TRUE(net.run_until([&] { return net.server().heard() == "1w 6000\n" + pattern(6000, 3); }, 100));
  net.server().say("one");
  EXPECT_TRUE(net.run_until(
      [&] { return net.has_server(net.side().second) && net.server(net.side().second).heard() == "2w 3\nbye"; }, 100));
}

TEST_P(Splice, SPL8_TheSilentAreNotGivenUpForABuffer) {
  for (unsigned i = 0; i < 50; ++i) (void)rig().send("b", opened(rig(), 9000 + i, 1000).bytes());
  ASSERT_EQ(rig().count(Event::LateOpened), 50u);
  std::string drops;
  for (unsigned i = 0; i < 3 * RigOptions{}.late_buffers && drops.empty(); ++i) {
    (void)rig().send("b", with(opened(rig(), 10000 + i, 1000), 0, "1 0\n").bytes());
    drops = rig().drops();
  }
  EXPECT_EQ(drops, "late_table_full 1");
  EXPECT_EQ(rig().count(Event::LateGivenUp), 0u) << "they have no buffer";
}

TEST_P(Splice, SPL8_AnswersThatNobodyTakesGiveWay) {
  for (unsigned i = 0; i < 2 * RigOptions{}.late_buffers + 10; ++i)
    (void)rig().send("b", with(opened(rig(), 10000 + i, 1000), 0, "answer\n").bytes());
  EXPECT_GE(rig().count(Event::LateGivenUp), 10u);
  EXPECT_EQ(rig().drops(), "");
  (void)rig().send("b", with(opened(rig(), 9000, 1000), 0, "1 0\n").bytes());
  EXPECT_EQ(to_endpoint(rig()).size(), 1u);
}

TEST_P(Splice, SPL8_AnswersThatWereTakenNeedNoBuffer) {
  for (unsigned i = 0; i < 2 * RigOptions{}.late_buffers + 10; ++i) {
    const TcpSegment client = opened(rig(), 10000 + i, 1000);
    (void)rig().send("b", with(client, 0, "answer\n").bytes());
    TcpSegment heard = with(client, 7, "");
    heard.ack += 15;
    (void)rig().send("b", heard.bytes());
  }
  EXPECT_EQ(rig().count(Event::LateGivenUp), 0u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Splice, SPL8_AnAnswerIsNotSentForEver) {
  const TcpSegment client = opened(rig(), 9000, 1000);
  (void)rig().send("b", with(client, 0, "answer\n").bytes());
  bool reset = false;
  for (unsigned i = 0; i < 140 && !reset; ++i) {
    (void)rig().advance(500);
    for (const View& view : rig().out()) reset = reset || segment_of(view).has(tcp_flag::rst);
    TcpSegment closed = with(client, 7, "");
    closed.window = 0;
    if (!reset) (void)rig().send("b", closed.bytes());
  }
  EXPECT_TRUE(reset);
}

TEST_P(Splice, SPL3_AClientThatTakesLittle) {
  Network::Side side = Network::v4();
  Network net(rig(), side);
  net.client = TcpPeer(side.client, side.front, 77, {.scale = {}, .buffer = 10});
  net.client.connect();
  net.client.say("answer\n");
  EXPECT_TRUE(net.run_until([&] { return net.client.ended(); }, 60));
  EXPECT_EQ(net.client.heard(), "no such thing\n");
}

TEST_P(Splice, SPL2_WhatOvertakesAnotherMakesItNoDuplicate) {
  const TcpSegment client = opened(rig(), 9000, 1000);
  (void)rig().send("b", client.bytes());
  TcpSegment second = with(client, 2, "0\n");
  second.timestamp->first += 5;
  (void)rig().send("b", second.bytes());
  (void)rig().send("b", with(client, 0, "1 ").bytes());
  EXPECT_EQ(to_endpoint(rig()).size(), 1u);
}

TEST_P(Splice, SPL2_SegmentsOutsideOfTheWindowChangeNothing) {
  const TcpSegment client = opened(rig(), 9000, 1000);
  (void)rig().send("b", client.bytes());
  TcpSegment stray = with(client, 0x20000000, "");
  stray.timestamp->first += 0x40000000;
  stray.window = 0;
  (void)rig().send("b", stray.bytes());
  stray.flags |= tcp_flag::fin;
  (void)rig().send("b", stray.bytes());
  stray.flags = tcp_flag::rst;
  (void)rig().send("b", stray.bytes());
  EXPECT_EQ(rig().out().size(), 0u) << "a reset is not answered";
  (void)rig().send("b", with(client, 0, "1 0\n").bytes());
  const auto syn = to_endpoint(rig());
  ASSERT_EQ(syn.size(), 1u);
  EXPECT_EQ(syn[0].timestamp->first, client.timestamp->first);
  EXPECT_EQ(syn[0].window, 60000);
}

TEST_P(Splice, SPL1_AClientThatBeginsAnew) {
  for (const char* const before : {"", "1 ", "answer\n"}) {
    SCOPED_TRACE(before);
    const unsigned port = 9000 + static_cast<unsigned char>(before[0]);
    (void)rig().send("b", with(opened(rig(), port, 1000), 0, before).bytes());
    const TcpSegment again = opened(rig(), port, 0x50001000, 9000);
    (void)rig().send("b", again.bytes());
    (void)rig().send("b", with(again, 0, "1 0\n").bytes());
    EXPECT_EQ(to_endpoint(rig()).size(), 1u);
  }
  // Its first segment coming again is no beginning.
  const TcpSegment client = opened(rig(), 9500, 1000);
  (void)rig().send("b", client.bytes());
  (void)rig().send("b", with(client, 0, "1 ").bytes());
  (void)rig().send("b", client.bytes());
  (void)rig().send("b", with(client, 2, "0\n").bytes());
  EXPECT_EQ(to_endpoint(rig()).size(), 1u);
}

TEST_P(Splice, SPL2_KeepAlivesAreAnswered) {
  const TcpSegment client = opened(rig(), 9000, 1000);
  (void)rig().send("b", client.bytes());
  const auto alive = [&](uint32_t taken) {
    (void)rig().advance(1000);
    (void)rig().send("b", with(client, taken - 1, "").bytes());
    for (const View& view : rig().out()) {
      const TcpSegment answer = segment_of(view);
      if (view.ip.dst.text() == client.src.text() && answer.ack == client.seq + taken) return true;
    }
    return false;
  };
  EXPECT_TRUE(alive(0)) << "nothing said";
  (void)rig().send("b", with(client, 0, "1 0").bytes());
  EXPECT_TRUE(alive(3)) << "something said";
  (void)rig().send("b", with(client, 3, "\n").bytes());
  EXPECT_TRUE(alive(4)) << "connecting";
}

TEST_P(Splice, SPL5_WhatIsAcknowledgedMustBeTrue) {
  const TcpSegment client = opened(rig(), 9000, 1000);
  (void)rig().send("b", with(client, 0, "1 0\n").bytes());
  auto out = to_endpoint(rig());
  ASSERT_EQ(out.size(), 1u);
  const TcpSegment answer = accepted(out[0], 5000);
  Bytes broken = answer.bytes();
  broken[20 + 7] ^= 1;  // its number
  (void)rig().send("b", broken);
  EXPECT_EQ(to_endpoint(rig()).size(), 0u);
  EXPECT_EQ(rig().drops(), "l4_bad_checksum 1");
  (void)rig().send("b", answer.bytes());
  out = to_endpoint(rig());
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].data, "1 0\n");

  TcpSegment heard = answer;
  heard.mss.reset();
  heard.flags = tcp_flag::ack;
  heard.seq += 1;
  heard.ack = out[0].seq + 4;
  broken = heard.bytes();
  broken[20 + 16] ^= 1;
  (void)rig().send("b", broken);
  TcpSegment stray = heard;
  stray.ack += 5000;  // what nobody said
  (void)rig().send("b", stray.bytes());
  stray = heard;
  stray.seq += 0x20000000;
  (void)rig().send("b", stray.bytes());
  (void)rig().advance(1000);
  out = to_endpoint(rig());
  ASSERT_GE(out.size(), 1u) << "it has not acknowledged it";
  EXPECT_EQ(out[0].data, "1 0\n");
  (void)rig().send("b", heard.bytes());
  (void)rig().advance(5000);
  EXPECT_EQ(to_endpoint(rig()).size(), 0u);
}

// On links of large frames a client must not send what endpoints do not take.
TEST_P(Splice, SPL6_AnMssBelowThatOfTheClientsLinkIsLearnt) {
  load_splices(rig(), {}, {}, 9000);
  const auto told = [&](unsigned port) {
    (void)opened(rig(), port, 1000);
    return segment_of(rig().only()).mss;
  };
  EXPECT_EQ(told(8000), 8960);
  // Every worker has seen some.
  for (unsigned port = 9000; port < 9040; ++port) {
    const TcpSegment client = opened(rig(), port, 1000);
    (void)rig().send("b", with(client, 0, "1 0\n").bytes());
    const auto syn = to_endpoint(rig());
    ASSERT_EQ(syn.size(), 1u);
    (void)rig().send("b", accepted(syn[0], 5000).bytes());
  }
  for (unsigned port = 9100; port < 9110; ++port) EXPECT_EQ(told(port), 1460);
}

TEST_P(Splice, SPL6_WhatIsConfiguredIsTold) {
  LineListener::limits = {.mss = 1200, .timestamps = false, .sack = false};
  TcpSegment syn;
  syn.src = "10.246.1.5:1000";
  syn.dst = "10.96.0.10:80";
  syn.flags = tcp_flag::syn;
  syn.mss = 1460;
  syn.sack_permitted = true;
  syn.timestamp = {1, 0};
  (void)rig().send("b", syn.bytes());
  LineListener::limits = {};
  const TcpSegment answer = segment_of(rig().only());
  EXPECT_EQ(answer.mss, 1200);
  EXPECT_FALSE(answer.timestamp);
  EXPECT_FALSE(answer.sack_permitted);
}

// A sender that has heard nothing of the way yet (RFC 6928); what gets lost comes again one by one (RFC 5681).
TEST_P(Splice, SPL5_WhatIsOwedDoesNotComeAllAtOnce) {
  const TcpSegment client = opened(rig(), 9000, 1000);
  (void)rig().send("b", client.bytes());
  for (uint32_t at = 0; at < 12'000; at += 1000)
    (void)rig().send("b", with(client, at, (at == 0 ? "1 0\n" : "") + pattern(at == 0 ? 996 : 1000, 1)).bytes());
  (void)rig().advance(3000);
  auto out = to_endpoint(rig());
  ASSERT_FALSE(out.empty());
  TcpSegment answer = accepted(out[0], 5000);
  answer.mss = 536;
  (void)rig().send("b", answer.bytes());
  out = to_endpoint(rig());
  EXPECT_EQ(out.size(), 10u);
  (void)rig().advance(20'000);
  out = to_endpoint(rig());
  for (const TcpSegment& segment : out) EXPECT_EQ(segment.seq, client.seq) << "nobody has acknowledged the first";
  answer.mss.reset();
  answer.flags = tcp_flag::ack;
  answer.seq += 1;
  answer.ack = client.seq + static_cast<uint32_t>(out[0].data.size());
  (void)rig().send("b", answer.bytes());
  EXPECT_EQ(to_endpoint(rig()).size(), 2u);
}

TEST_P(Splice, SPL5_WhatIsOwedAndTooBigIsSentInSmallerSegments) {
  const Network::Side side = Network::v6();
  Network net(rig(), side);
  net.client.connect();
  net.client.say("1 0\n" + pattern(2800, 1));
  ASSERT_TRUE(net.run_until([&] { return net.has_server(side.server) && net.server().other_syn(); }, 60));
  net.deaf = true;
  net.turn(false);
  // The first segment to the server that comes again, at most 10 s later.
  const auto again = [&] {
    for (unsigned i = 0; i < 50; ++i) {
      (void)rig().advance(200);
      for (const View& view : rig().out()) {
        if (view.ip.dst.text() == side.server && !segment_of(view).data.empty()) return view;
      }
    }
    return View{};
  };
  const View big = again();
  ASSERT_EQ(big.l3.size(), 1500u);
  (void)rig().send("b", icmp_error("fd00:10:246::9", big.ip.src, 2, 0, big.l3, 1280));
  EXPECT_EQ(again().l3.size(), 1280u);
  net.deaf = false;
  EXPECT_TRUE(net.run_until([&] { return net.server().heard() == net.client.said(); }, 100));
}

TEST_P(Splice, SPL5_AnEndpointWithASmallWindow) {
  Network net(rig(), Network::v4());
  net.server_options.buffer = 3000;
  net.client.connect();
  net.client.say("1 0\n" + pattern(28000, 1));
  EXPECT_TRUE(
      net.run_until([&] { return net.has_server(net.side().server) && net.server().heard().size() == 28004; }, 24));
}

// The endpoint answers probes, and opens its window after a minute.
TEST_P(Splice, SPL5_AnEndpointWithAClosedWindow) {
  const TcpSegment client = opened(rig(), 9000, 1000);
  (void)rig().send("b", with(client, 0, "1 0\n").bytes());
  auto out = to_endpoint(rig());
  ASSERT_EQ(out.size(), 1u);
  TcpSegment answer = accepted(out[0], 5000);
  answer.window = 0;
  (void)rig().send("b", answer.bytes());
  answer.mss.reset();
  answer.flags = tcp_flag::ack;
  answer.seq += 1;
  for (unsigned i = 0; i < 120; ++i) {
    (void)rig().advance(500);
    for (const TcpSegment& segment : to_endpoint(rig())) ASSERT_FALSE(segment.has(tcp_flag::rst)) << i;
    (void)rig().send("b", answer.bytes());
  }
  answer.window = 1000;
  (void)rig().send("b", answer.bytes());
  out = to_endpoint(rig());
  ASSERT_GE(out.size(), 1u);
}

TEST_P(Splice, SPL7_AClientThatDoesNotWaitForALongAnswer) {
  unsigned port = 9000;
  for (const char* const next : {"2w 0\n", "answer\n", "2w"}) {
    SCOPED_TRACE(next);
    const TcpSegment client = opened(rig(), port++, 1000);
    (void)rig().send("b", with(client, 0, "1w 0\n").bytes());
    auto out = to_endpoint(rig());
    ASSERT_EQ(out.size(), 1u);
    TcpSegment server = accepted(out[0], 5000);
    (void)rig().send("b", server.bytes());
    server.mss.reset();
    server.flags = tcp_flag::ack;
    server.seq += 1;
    server.ack += 5;
    (void)rig().send("b", with(server, 0, pattern(1000, 1)).bytes());
    (void)rig().send("b", with(client, 5, next).bytes());
    for (unsigned i = 1; i < 30; ++i) {
      (void)rig().advance(1000);
      for (const View& view : rig().out())
        EXPECT_FALSE(view.ip.dst.text() == client.src.text() && segment_of(view).has(tcp_flag::rst)) << i;
      (void)rig().send("b", with(server, 1000 * i, pattern(1000, i)).bytes());
    }
    EXPECT_EQ(rig().count(Event::LateTimedOut), 0u);
    // Now it is complete.
    TcpSegment heard = with(client, 5 + static_cast<uint32_t>(std::string(next).size()), "");
    heard.ack += 30'000;
    (void)rig().send("b", heard.bytes());
    (void)rig().advance(11'000);
    EXPECT_EQ(rig().count(Event::LateTimedOut), next == std::string("2w") ? 1u : 0u);
    EXPECT_EQ(rig().count(Event::LateRebound), 0u);
  }
}

SLUICE_WITH_WORKERS(Splice);

}  // namespace
}  // namespace sluice::packet_test
