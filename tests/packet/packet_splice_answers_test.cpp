// What may follow an answer on a connection that the router has spliced: where it ends decides whether the next request
// may go elsewhere, and the status of an upgrade what the client's next bytes are.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/splice_network.h"

namespace sluice::packet_test {
namespace {

using dataplane::Event;
namespace tcp_flag = net::tcp_flag;

std::string answer_of(size_t size) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" + pattern(size, 7);
}
// RFC 9112 section 2.2: a server may end lines with LF alone.
std::string bare(std::string head) {
  std::erase(head, '\r');
  return head;
}
std::string chunks_of(size_t size) {
  std::string out = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (size_t at = 0; at < size; at += 0x3e8) out += "3e8\r\n" + pattern(0x3e8, 3) + "\r\n";
  return out + "0\r\n\r\n";
}

class SpliceAnswers : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load_splices(rig());
  }
  // A connection whose client has said `request`, which its endpoint has heard.
  std::unique_ptr<Network> asked(const std::string& request, unsigned bad = 0) {
    Network::Side side = Network::v4();
    side.client = "10.246.1.5:" + std::to_string(port_++);
    auto net = std::make_unique<Network>(rig(), side, bad + port_, bad);
    net->client.connect();
    net->client.say(request);
    EXPECT_TRUE(net->run_until([&] { return net->has_server(side.server) && net->server().heard() == request; }));
    return net;
  }
  // Nothing of it is on its way any more.
  void leave(Network& net) {
    net.set_bad(0);
    net.run(20);
    (void)rig().advance(130'000);
  }
  static std::string heard_of_second(Network& net) {
    return net.has_server(net.side().second) ? net.server(net.side().second).heard() : "";
  }
  // The client gets this, and nothing else happens.
  static void expect_heard(Network& net, const std::string& text) {
    EXPECT_TRUE(net.run_until([&] { return net.client.heard().size() >= text.size(); }, 2000));
    EXPECT_EQ(net.client.heard(), text);
    EXPECT_EQ(net.client.fault(), "");
  }

 private:
  unsigned port_ = 4000;
};

// The client asks for something elsewhere when a part of the answer has come, and it has acknowledged that.
TEST_P(SpliceAnswers, SPL7_ING12_ASlowAnswerIsWaitedFor) {
  for (const std::string& answer : {answer_of(5000), chunks_of(5000)}) {
    for (const size_t part : {size_t{10}, size_t{60}, answer.size() - 1}) {
      SCOPED_TRACE(answer.substr(17, 40) + " " + std::to_string(part));
      const auto net = asked("1wh 0\n");
      net->server().say(answer.substr(0, part));
      expect_heard(*net, answer.substr(0, part));
      net->run(8);
      net->client.say("2wh 0\n");
      net->run(20);
      EXPECT_FALSE(net->has_server(net->side().second)) << "the answer before is not whole";
      net->server().say(answer.substr(part));
      EXPECT_TRUE(net->run_until([&] { return heard_of_second(*net) == "2wh 0\n"; }, 60));
      EXPECT_EQ(net->client.heard(), answer);
      net->server(net->side().second).say(answer_of(3));
      expect_heard(*net, answer + answer_of(3));
      leave(*net);
    }
  }
}

TEST_P(SpliceAnswers, SPL7_ING12_LongAnswersAndBadNetworks) {
  for (const unsigned bad : {0U, 6U, 12U}) {
    SCOPED_TRACE(bad);
    const auto net = asked("1wh 0\n", bad);
    std::string expected;
    for (unsigned i = 0; i < 6; ++i) {
      const std::string answer = answer_of(1 + i * 9000);
      expected += answer;
      const std::string& from = i % 2 == 0 ? net->side().server : net->side().second;
      const std::string& next = i % 2 == 0 ? net->side().second : net->side().server;
      net->server(from).say(answer);
      ASSERT_TRUE(net->run_until([&] { return net->client.heard().size() >= expected.size(); }, 3000)) << i;
      ASSERT_EQ(net->client.heard(), expected);
      net->run(8);
      const auto was = net->has_server(next) ? net->server(next).isn() : 0;
      net->client.say((i % 2 == 0 ? "2wh 0\n" : "1wh 0\n"));
      ASSERT_TRUE(net->run_until(
          [&] { return net->has_server(next) && net->server(next).isn() != was && !net->server(next).heard().empty(); },
          3000));
    }
    EXPECT_FALSE(net->client.was_reset());
    EXPECT_EQ(net->client.fault(), "");
    leave(*net);
  }
  EXPECT_GE(rig().count(Event::LateRebound), 18u);
}

// Two requests for one endpoint and one for another, all at once; the second is one of HEAD.
TEST_P(SpliceAnswers, SPL7_ING12_ClientsThatDoNotWait) {
  const auto net = asked("1wh 3\nabc1wd 0\n");
  net->client.say("2wh 0\n");
  net->run(8);
  const std::string first = "HTTP/1.1 100 Continue\r\n\r\n" + answer_of(2000);
  net->server().say(first);
  expect_heard(*net, first);
  net->run(20);
  EXPECT_FALSE(net->has_server(net->side().second)) << "there is a second one";
  const std::string second = "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n";
  net->server().say(second);
  EXPECT_TRUE(net->run_until([&] { return heard_of_second(*net) == "2wh 0\n"; }, 60));
  expect_heard(*net, first + second);
  EXPECT_FALSE(net->client.ended());
}

// Nobody can say where these answers end: the connection ends behind them.
TEST_P(SpliceAnswers, SPL7_ING12_AnswersWithoutAnEnd) {
  for (const char* const answer : {"HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
                                   "HTTP/1.1 204 OK\r\n\r\nHTTP/1.1 408 Too late\r\n\r\n"}) {
    SCOPED_TRACE(answer);
    const auto net = asked("1wh 0\n");
    net->server().say(answer);
    expect_heard(*net, answer);
    net->run(8);
    net->client.say("2wh 0\n");
    EXPECT_TRUE(net->run_until([&] { return net->client.ended(); }, 60));
    EXPECT_EQ(net->client.heard(), answer);
    EXPECT_FALSE(net->has_server(net->side().second));
    leave(*net);
  }
}

TEST_P(SpliceAnswers, ING12_ARefusedUpgradeLeavesTheConnectionAsItWas) {
  for (const char* const status : {"200 OK", "401 Unauthorized", "426 Upgrade Required"}) {
    SCOPED_TRACE(status);
    const auto net = asked("1wu 3\nabc");
    const std::string refusal = std::string("HTTP/1.1 ") + status + "\r\nContent-Length: 2\r\n\r\nno";
    net->server().say(refusal);
    expect_heard(*net, refusal);
    net->run(8);
    net->client.say("2wh 0\n");
    EXPECT_TRUE(net->run_until([&] { return heard_of_second(*net) == "2wh 0\n"; }, 60));
    EXPECT_EQ(net->server().heard(), "1wu 3\nabc");
    EXPECT_FALSE(net->client.ended());
    leave(*net);
  }
}

// What the client says before it knows: it is for whoever answers next.
TEST_P(SpliceAnswers, ING12_WhatIsSaidBeforeTheStatusIsHeld) {
  const std::string agreed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
  for (const bool agrees : {false, true}) {
    SCOPED_TRACE(agrees);
    const auto net = asked("1wu 0\n");
    net->client.say("2wh 0\n");
    net->run(20);
    EXPECT_EQ(net->server().heard(), "1wu 0\n") << "nobody has agreed yet";
    EXPECT_FALSE(net->has_server(net->side().second));
    net->server().say(agrees ? agreed : answer_of(9));
    if (!agrees) {
      EXPECT_TRUE(net->run_until([&] { return heard_of_second(*net) == "2wh 0\n"; }, 60));
    } else {
      EXPECT_TRUE(net->run_until([&] { return net->server().heard() == "1wu 0\n2wh 0\n"; }, 60));
      EXPECT_FALSE(net->has_server(net->side().second)) << "it is no request";
    }
    leave(*net);
  }
}

TEST_P(SpliceAnswers, ING12_AnUpgradedConnectionIsReadNoFurther) {
  for (const auto& [bad, feeds] :
       {std::pair(0U, false), std::pair(10U, false), std::pair(0U, true), std::pair(10U, true)}) {
    SCOPED_TRACE(std::to_string(bad) + (feeds ? " with line feeds alone" : ""));
    const auto net = asked("1wh 0\n1wu 5\nhello", bad);
    const std::string switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
    const std::string agreed = answer_of(4) + (feeds ? bare(switching) : switching) + "welcome";
    net->server().say(agreed);
    expect_heard(*net, agreed);
    net->client.say("reset\n" + pattern(20'000, 1));
    net->server().say(pattern(30'000, 2));
    expect_heard(*net, agreed + pattern(30'000, 2));
    EXPECT_TRUE(net->run_until([&] { return net->server().heard() == net->client.said(); }, 2000));
    net->client.finish();
    net->server().finish();
    EXPECT_TRUE(net->run_until([&] { return net->client.ended() && net->server().ended(); }, 2000));
    EXPECT_EQ(net->server().fault(), "");
    leave(*net);
  }
}

// One that ends keeps what it has, and gets nothing new.
TEST_P(SpliceAnswers, ING8_AnEndpointThatEndsGetsNoNewRequest) {
  load_splices(rig(), {}, {"10.246.1.20 node3"});
  const auto net = asked("4wh 0\n4wh 0\n");
  load_splices(rig(), {}, {"10.246.1.20 node3 terminating", "10.246.1.21 node3"});
  net->server().say(answer_of(2000));
  net->run(12);
  EXPECT_EQ(net->client.heard(), answer_of(2000)) << "it still answers";
  net->server().say(answer_of(3));
  expect_heard(*net, answer_of(2000) + answer_of(3));
  net->run(8);
  net->client.say("4wh 0\n");
  EXPECT_TRUE(net->run_until([&] { return heard_of_second(*net) == "4wh 0\n"; }, 60));
  EXPECT_EQ(net->server().heard(), "4wh 0\n4wh 0\n");
}

// Nobody knows where the body ends. As long as nothing has come of an answer the router has one.
TEST_P(SpliceAnswers, ING13_ABadChunkIsAnswered) {
  const auto early = asked("1whc 0\n5\r\nhello\r\n");
  early->run(8);
  early->client.say("x\r\n");
  EXPECT_TRUE(early->run_until([&] { return early->client.ended(); }, 60));
  EXPECT_EQ(early->client.heard(), "bad body\n");
  EXPECT_TRUE(early->server().was_reset());
  EXPECT_EQ(early->server().heard(), "1whc 0\n5\r\nhello\r\n");
  leave(*early);

  const auto late = asked("1whc 0\n5\r\nhello\r\n");
  late->server().say("HTTP/1.1 ");
  late->run(8);
  late->client.say("x\r\n");
  EXPECT_TRUE(late->run_until([&] { return late->client.was_reset(); }, 60));
  leave(*late);

  Network first(rig(), Network::v4());
  first.client.connect();
  first.client.say("1whc 0\nx\r\n");
  EXPECT_TRUE(first.run_until([&] { return first.client.ended(); }, 60));
  EXPECT_EQ(first.client.heard(), "bad body\n");
  EXPECT_FALSE(first.has_server(first.side().server));
}

SLUICE_WITH_WORKERS(SpliceAnswers);

}  // namespace
}  // namespace sluice::packet_test
