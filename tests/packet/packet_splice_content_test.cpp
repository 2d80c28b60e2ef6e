// ContentPolicies and connections that are bound late: what a client and an endpoint say is looked at as in any other
// connection, from the client's own first byte on, whoever sends it on.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/packet/splice_network.h"

namespace sluice::packet_test {
namespace {

using dataplane::Event;

std::string policy(const std::string& regex, const std::string& action, const std::string& more = "") {
  return fmt::format(R"({{"apiVersion":"sluice.dev/v1","kind":"ContentPolicy","metadata":{{"name":"p",
    "namespace":"default"}},"spec":{{"serviceSelector":{{}},"action":"{}",{}"patterns":[{{"name":"bad",
    "regex":"{}"}}]}}}})",
                     action, more, regex);
}

class SpliceContent : public RigTest {};

TEST_P(SpliceContent, CNT3_WhatTheFirstRequestSays) {
  load_splices(rig(), policy("jndi:[a-z]", "Drop"));
  for (const Network::Side& side : Network::all()) {
    SCOPED_TRACE(side.client);
    Network net(rig(), side);
    net.client.connect();
    net.client.cut(5);
    net.client.say("1 22\nuser: ${jndi:ldap://x}");
    net.run(60);
    if (net.has_server(side.server)) {
      EXPECT_EQ(net.server().heard().find("jndi:l"), std::string::npos);
    }
    EXPECT_EQ(net.client.heard(), "");
    EXPECT_FALSE(net.client.was_reset()) << "silence";
    EXPECT_EQ(net.client.fault(), "");
  }
  EXPECT_EQ(rig().count(Event::ContentMatches), 3u);
}

TEST_P(SpliceContent, CNT3_AResetReachesBoth) {
  load_splices(rig(), policy("jndi:", "Reset"));
  for (Network::Side side : Network::all()) {
    for (const char* const target : {"1", "1p", "1w"}) {
      SCOPED_TRACE(side.client + " " + target);
      ++side.client.back();  // who was cut off does not come back
      Network net(rig(), side);
      net.client.connect();
      net.client.say(std::string(target) + " 9\nharmless\n");
      ASSERT_TRUE(net.run_until(
          [&] { return net.has_server(side.server) && net.server().heard().ends_with("9\nharmless\n"); }));
      net.server().say("an answer");
      ASSERT_TRUE(net.run_until([&] { return net.client.heard() == "an answer"; }));
      net.run(8);
      net.client.say(std::string(target) + " 6\njndi:x");
      EXPECT_TRUE(net.run_until([&] { return net.client.was_reset() && net.server().was_reset(); }));
      EXPECT_EQ(net.server().heard().find("jndi"), std::string::npos);
      EXPECT_EQ(net.client.fault(), "");
      EXPECT_EQ(net.server().fault(), "");
    }
  }
  EXPECT_EQ(rig().count(Event::ContentMatches), 9u);
}

TEST_P(SpliceContent, CNT3_WhatTheEndpointSays) {
  load_splices(rig(), policy("secret", "Reset", R"("direction":"Egress",)"));
  for (const Network::Side& side : Network::all()) {
    SCOPED_TRACE(side.client);
    Network net(rig(), side);
    net.client.connect();
    net.client.say("1w 0\nsecret");
    ASSERT_TRUE(net.run_until([&] { return net.has_server(side.server) && !net.server().heard().empty(); }));
    net.server().say("a sec");
    ASSERT_TRUE(net.run_until([&] { return net.client.heard() == "a sec"; }));
    net.server().say("ret");
    EXPECT_TRUE(net.run_until([&] { return net.client.was_reset() && net.server().was_reset(); }));
    EXPECT_EQ(net.client.heard(), "a sec");
    EXPECT_EQ(net.client.fault(), "");
    EXPECT_EQ(net.server().fault(), "");
  }
}

TEST_P(SpliceContent, CNT4_TheFirstByteIsTheClients) {
  load_splices(rig(), policy("^1p 3", "Count"));
  Network net(rig(), Network::v4());
  net.client.connect();
  net.client.say("1p 3\nabc");
  const std::string& server = net.side().server;
  EXPECT_TRUE(net.run_until([&] { return net.has_server(server) && net.server().heard().ends_with("1p 3\nabc"); }));
  EXPECT_GT(net.server().heard().size(), 8u) << "there is a PROXY header";
  EXPECT_EQ(rig().count(Event::ContentMatches), 1u);
}

TEST_P(SpliceContent, CNT4_TheProxyHeaderIsNoPartOfItWhenItIsSentAgain) {
  load_splices(rig(), policy("QUIT", "Drop"));
  for (unsigned seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Network::Side side = Network::v4();
    side.client = "10.246.1.5:" + std::to_string(2000 + seed);
    Network net(rig(), side, seed, 25);
    net.client.connect();
    net.client.say("1p 3\nabc");
    EXPECT_TRUE(net.run_until(
        [&] { return net.has_server(side.server) && net.server().heard().ends_with("1p 3\nabc"); }, 2000));
    (void)rig().advance(200'000);  // nothing is owed to this server any more
  }
  EXPECT_EQ(rig().count(Event::ContentMatches), 0u);
}

TEST_P(SpliceContent, CNT4_CNT7_NothingIsLostByLooking) {
  load_splices(rig(), policy("never said", "Drop", R"("depth":20000,)"));
  for (unsigned seed = 1; seed <= 4; ++seed) {
    for (Network::Side side : Network::all()) {
      SCOPED_TRACE("seed " + std::to_string(seed) + " " + side.client);
      side.client.replace(side.client.rfind(':') + 1, 4, std::to_string(2000 + seed));
      Network net(rig(), side, seed, 8);
      net.client.connect();
      net.client.say((seed % 2 == 0 ? "1w 60000\n" : "1 60000\n") + pattern(60000, 1));
      ASSERT_TRUE(net.run_until([&] { return net.has_server(side.server) && !net.server().heard().empty(); }));
      net.server().say(pattern(70000, 2));
      EXPECT_TRUE(net.run_until(
          [&] { return net.client.heard().size() == 70000 && net.server().heard().size() == net.client.said().size(); },
          4000));
      EXPECT_EQ(net.client.heard(), pattern(70000, 2));
      EXPECT_EQ(net.server().heard(), net.client.said());
      EXPECT_EQ(net.client.fault(), "");
      EXPECT_EQ(net.server().fault(), "");
    }
  }
  EXPECT_EQ(rig().count(Event::ContentFlows), 12u);
}

SLUICE_WITH_WORKERS(SpliceContent);

}  // namespace
}  // namespace sluice::packet_test
