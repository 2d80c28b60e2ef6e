// What BIRD 2.0.12 has answered, byte for byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/bird_reply.h"

namespace sluice::control {
namespace {

constexpr std::string_view protocols_answer = R"(2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     2026-11-22 03:34:28  
1006-
1002-mesh.node-1 BGP        ---        up     2026-11-22 03:34:29  Established   
1006-  BGP state:          Established
     Neighbor address: 10.0.0.2
     Neighbor port:    1792
     Neighbor AS:      64512
     Local capabilities
       Multiprotocol
         AF announced: ipv4
   Channel ipv4
     State:          UP
     Import limit:   2 [HIT]
       Action:       block
     Routes:         2 imported, 3 exported, 2 preferred
     Route change stats:     received   rejected   filtered    ignored   accepted
       Import updates:              3          0          0          1          2
     BGP Next hop:   10.0.0.1
 
1002-other1     BGP        ---        start  2026-11-22 03:34:28  Active        Socket: Network is unreachable
1006-  BGP state:          Active
     Neighbor address: 10.0.0.9
     Connect delay:    2.937/5
     Last error:       Socket: Network is unreachable
   Channel ipv4
     State:          DOWN
 
0000 
)";

// All of it, and whether it ended with the last line.
BirdReply reply_of(std::string_view text, bool& ended) {
  BirdReply reply;
  ended = false;
  while (!text.empty()) {
    EXPECT_FALSE(ended) << "lines behind the last one: " << text;
    const size_t end = text.find('\n');
    ended = take_line(reply, text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return reply;
}

TEST(BirdReply, BGP1_SessionsOfShowProtocolsAll) {
  bool ended = false;
  const BirdReply reply = reply_of(protocols_answer, ended);
  EXPECT_TRUE(ended);
  EXPECT_EQ(reply.code, 0);
  const std::vector<BirdProtocol> protocols = parse_protocols(reply.text);
  ASSERT_EQ(protocols.size(), 3U);
  const BirdProtocol& up = protocols[1];
  EXPECT_EQ(up.name, "mesh.node-1");
  EXPECT_EQ(up.kind, "BGP");
  EXPECT_EQ(up.state, "up");
  EXPECT_EQ(up.bgp_state, "Established");
  EXPECT_EQ(up.info, "Established");
  EXPECT_EQ(up.neighbor, "10.0.0.2");
  EXPECT_EQ(up.imported, 2U);
  EXPECT_EQ(up.exported, 3U);
  EXPECT_TRUE(up.limit_reached);
  ASSERT_TRUE(up.since_seconds && protocols[2].since_seconds);
  EXPECT_EQ(*up.since_seconds - *protocols[2].since_seconds, 1);
  const BirdProtocol& waiting = protocols[2];
  EXPECT_EQ(waiting.state, "start");
  EXPECT_EQ(waiting.bgp_state, "Active");
  EXPECT_EQ(waiting.last_error, "Socket: Network is unreachable");
  EXPECT_FALSE(waiting.limit_reached);
}

TEST(BirdReply, BGP1_RefusalsHaveBirdsWords) {
  bool ended = false;
  const BirdReply refused = reply_of(
      "0002-Reading configuration from /tmp/b.conf\n"
      "8002 /tmp/b.conf:3:93 Hold time must be in range 3-65535 or zero\n",
      ended);
  EXPECT_TRUE(ended && refused.refused());
  EXPECT_EQ(refused.last_words(), "/tmp/b.conf:3:93 Hold time must be in range 3-65535 or zero");
  const BirdReply taken = reply_of("0002-Reading configuration from /tmp/x.conf\n0003 Reconfigured\n", ended);
  EXPECT_TRUE(ended && !taken.refused());
}

TEST(BirdReply, BGP10_BfdSessions) {
  const auto states = parse_bfd_sessions(
      "bfd1:\nIP address                Interface  State      Since         Interval  Timeout\n"
      "10.0.0.2                  ---        Down       2026-11-22 03:34:28    1.000    0.000\n"
      "fd00:1::2                 up0        Up         2026-11-22 03:34:28    0.300    0.900\n");
  EXPECT_THAT(states, testing::ElementsAre(testing::Pair("10.0.0.2", "Down"), testing::Pair("fd00:1::2", "Up")));
}

// Whatever comes, nothing is read beyond it.
TEST(BirdReply, BGP1_OddAnswers) {
  bool ended = false;
  for (const std::string_view text : {"\n", "0\n", "00000\n", "000\n", "abcd-x\n", "+0001 news\n", " \n", "9999\n"}) {
    const BirdReply reply = reply_of(text, ended);
    EXPECT_FALSE(ended) << text;
    EXPECT_TRUE(parse_protocols(reply.text).empty());
  }
  EXPECT_TRUE(parse_protocols("a b c\n  Routes: , x imported,\n: \n").empty());
  EXPECT_TRUE(parse_bfd_sessions(": a b\n\n.\n").empty());
  const auto protocols =
      parse_protocols("a BGP t up 9999-99-99\n  Routes: 99999999999999999999999 imported, 1 exported\n");
  ASSERT_EQ(protocols.size(), 1U);
  EXPECT_FALSE(protocols.front().since_seconds);
  EXPECT_EQ(protocols.front().exported, 1U);
}

}  // namespace
}  // namespace sluice::control
