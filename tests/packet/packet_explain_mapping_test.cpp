// What is said of packets to the ports of endpoint-independent mappings (MASQ-13): between two hosts inside, and from
// outside, let in or not; of packets that nobody sends and of those that come. What is said is what then happens.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/explain.h"

namespace sluice::packet_test {
namespace {

constexpr const char* anybody = "EndpointIndependent";
constexpr const char* by_address = "AddressDependent";
constexpr const char* by_address_and_port = "AddressAndPortDependent";
constexpr const char* stun = "198.51.100.1:3478";
constexpr const char* hairpin =
    "203.0.113.7 is an address of the router itself: turned back, like a packet that comes from outside";

class ExplainMapping : public RigTest {
 protected:
  void load(const std::string& filtering) {
    Gateway gateway;
    gateway.interfaces = R"({"name":"up","device":"net_ring_a","mac":"02:00:00:00:00:0a","role":"uplink",
      "addresses":["192.0.2.1/24","2001:db8:2::1/64","203.0.113.7/32"],
      "gateway":{"v4":"192.0.2.254","v6":"2001:db8:2::fe"}},)" +
                         std::string(interface_b);
    gateway.more = R"("snat":{"portRange":"40000-40999","natPortRange":"50000-50999","mapping":"EndpointIndependent",
      "filtering":")" +
                   filtering + R"(","natOutgoingAddress":{"v4":"203.0.113.7"}})";
    rig().load(list({gateway.text(), cluster(R"("natOutgoing":true)")}));
  }
  std::string outside_of(const std::string& inside) {
    EXPECT_TRUE(like(rig().send("b", udp(inside, stun)), "a/fe udp 203.0.113.7:50*"));
    return rig().only().ip.src.text();
  }
  std::string ask(const std::string& from, const std::string& to) {
    control::Probe probe = syn(from, to);
    probe.protocol = net::protocol::udp;
    const uint64_t flows = rig().flows();
    const std::string text = explain_as_known(rig(), probe);
    EXPECT_EQ(rig().flows(), flows) << "nothing stays behind";
    EXPECT_EQ(rig().drops(), "");
    return text;
  }
  static std::string at(int host, int port) { return "10.246.1." + std::to_string(host) + ":" + std::to_string(port); }
};

TEST_P(ExplainMapping, EXP1_MASQ13_BetweenTwoHostsInside) {
  load(anybody);
  for (int port = 5000; port < 5006; ++port) {
    const std::string first = at(5, port);
    const std::string second = at(6, port);
    const std::string outside = outside_of(second);
    std::string text = ask(first, outside);
    EXPECT_EQ(step(text, "flow"), "none yet: this packet opens one for each of the two hosts inside");
    EXPECT_EQ(step(text, "nat"),
              "source " + first + " to 203.0.113.7 and the port of its mapping (masqueraded: natOutgoing of the pool)");
    EXPECT_EQ(step(text, "hairpin"), hairpin);
    EXPECT_EQ(step(text, "mapping"),
              outside + " is the port of " + second + "; snat.filtering EndpointIndependent lets everybody in");
    EXPECT_NE(text.find("\nnat: destination " + outside + " to " + second + "\n"), std::string::npos) << text;
    EXPECT_TRUE(like(step(text, "out"), "udp 203.0.113.7:50* > " + second + ", 28 bytes by un")) << text;
    EXPECT_TRUE(text.ends_with("=> forwarded")) << text;
    // Now there are two connections, and it is the same in both directions.
    ASSERT_TRUE(like(rig().send("b", udp(first, outside)), "b/13 udp 203.0.113.7:50*>" + second + " ttl 62"));
    const std::string first_outside = rig().only().ip.src.text();
    text = ask(first, outside);
    EXPECT_TRUE(like(step(text, "flow"), "known, original direction*")) << text;
    EXPECT_EQ(step(text, "nat"), "source " + first + " to " + first_outside);
    EXPECT_EQ(step(text, "hairpin"), hairpin);
    EXPECT_EQ(step(text, "out"), "udp " + first_outside + " > " + second + ", 28 bytes by un");
    EXPECT_TRUE(text.ends_with("=> forwarded")) << text;
    text = ask(second, first_outside);
    EXPECT_TRUE(like(step(text, "flow"), "known, reply direction*")) << text;
    EXPECT_EQ(step(text, "nat"), "source " + second + " to " + outside);
    EXPECT_EQ(step(text, "out"), "udp " + outside + " > " + first + ", 28 bytes by un");
    EXPECT_TRUE(text.ends_with("=> forwarded")) << text;
  }
}

TEST_P(ExplainMapping, EXP1_MASQ13_OneThatIsFilteredAndMakesAWay) {
  load(by_address_and_port);
  for (int port = 5000; port < 5006; ++port) {
    const std::string first = at(5, port);
    const std::string second = at(6, port);
    const std::string first_outside = outside_of(first);
    const std::string second_outside = outside_of(second);
    std::string text = ask(first, second_outside);
    EXPECT_EQ(step(text, "flow"), "none yet: this packet opens one");
    EXPECT_EQ(step(text, "hairpin"), hairpin);
    EXPECT_EQ(step(text, "mapping"),
              second_outside + " is the port of " + second +
                  "; snat.filtering AddressAndPortDependent lets in nothing but answers to its connections");
    EXPECT_EQ(step(text, "route"), "");
    EXPECT_TRUE(like(step(text, "dropped"), "mapping_filtered: *snat.filtering*")) << text;
    EXPECT_TRUE(text.ends_with("=> dropped (mapping_filtered)")) << text;
    EXPECT_EQ(rig().send("b", udp(first, second_outside)), "");
    EXPECT_EQ(rig().drops(), "mapping_filtered 1");
    // Which opens the way for the other one, who has no connection yet but the port that it is answered at.
    text = ask(second, first_outside);
    EXPECT_EQ(step(text, "out"), "udp " + second_outside + " > " + first + ", 28 bytes by un") << text;
    EXPECT_TRUE(text.ends_with("=> forwarded")) << text;
    EXPECT_EQ(rig().send("b", udp(second, first_outside)), "b/13 udp " + second_outside + ">" + first + " ttl 62");
  }
}

TEST_P(ExplainMapping, EXP1_MASQ13_FromOutside) {
  for (const char* filtering : {anybody, by_address, by_address_and_port}) {
    start({});
    load(filtering);
    const std::string inside = at(5, 5000);
    const std::string outside = outside_of(inside);
    for (const char* from : {"198.51.100.1:9", "198.51.100.2:9"}) {
      const bool has_connection = std::string(from) == "198.51.100.1:9";
      const bool enters = filtering == anybody || (filtering == by_address && has_connection);
      const std::string text = ask(from, outside);
      const std::string mapping = outside + " is the port of " + inside + "; snat.filtering " + filtering;
      EXPECT_EQ(
          step(text, "mapping"),
          mapping + (filtering == anybody ? " lets everybody in"
                     : filtering == by_address_and_port
                         ? " lets in nothing but answers to its connections"
                         : " lets in whom it has a connection to, " +
                               std::string(has_connection ? "as to 198.51.100.1" : "but it has none to 198.51.100.2")));
      EXPECT_TRUE(text.ends_with(enters ? "=> forwarded" : "=> dropped (mapping_filtered)")) << text;
      EXPECT_EQ(step(text, "nat"), enters ? "destination " + outside + " to " + inside : "");
      EXPECT_TRUE(like(rig().send("a", udp(from, outside)), enters ? "b/13 udp *" : "a/fe icmp 3/3 *"));
      EXPECT_EQ(rig().drops(), enters ? "" : "mapping_filtered 1");
      (void)rig().advance(200);
    }
  }
}

// Nobody holds it any more, and nobody else has it yet.
TEST_P(ExplainMapping, EXP1_MASQ13_AMappingWithoutConnections) {
  load(anybody);
  const std::string inside = at(5, 5000);
  const std::string outside = outside_of(inside);
  (void)rig().advance(31'000);
  ASSERT_EQ(rig().flows(), 0u);
  EXPECT_EQ(step(ask("198.51.100.2:9", outside), "nat"), "destination " + outside + " to " + inside);
  (void)rig().advance(121'000);
  const std::string text = ask("198.51.100.2:9", outside);
  EXPECT_EQ(step(text, "mapping"), "");
  EXPECT_TRUE(text.ends_with("=> dropped (local_no_listener)")) << text;
}

// The router's own words of packets that came, each worker's.
TEST_P(ExplainMapping, EXP2_MASQ13_TracesOfThePacketsThemselves) {
  load(by_address_and_port);
  const std::string outside = outside_of(at(6, 5000));
  RigTrace trace(rig(), "udp and host 10.246.1.5");
  EXPECT_EQ(rig().send("b", udp(at(5, 5000), outside)), "");
  std::string all;
  for (const std::string& text : trace.texts()) all += text + "\n";
  EXPECT_NE(all.find("\nhairpin: " + std::string(hairpin) + "\n"), std::string::npos) << all;
  EXPECT_NE(all.find("\nmapping: " + outside + " is the port of " + at(6, 5000) + "; "), std::string::npos) << all;
  EXPECT_NE(all.find("=> dropped (mapping_filtered)"), std::string::npos) << all;
}

SLUICE_WITH_WORKERS(ExplainMapping);

}  // namespace
}  // namespace sluice::packet_test
