// What workers ask each other before a connection's first packet leaves (flow_handoff.h): whether its tuple towards the
// endpoint is free (MASQ-7). No packet leaves with a tuple of somebody else's, whatever becomes of question and answer.
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "dataplane/handoff.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

using dataplane::StubMessage;

constexpr const char* first_service = "10.96.0.10:80";
constexpr const char* second_service = "10.96.0.12:80";

class Question : public testing::Test {
 protected:
  Question() {
    const ServiceSpec first{
        .name = "first", .cluster_ips = {"10.96.0.10"}, .ports = {"TCP 80 8080"}, .endpoints = {"10.246.1.20 node3"}};
    ServiceSpec second = first;
    second.name = "second";
    second.cluster_ips = {"10.96.0.12"};
    rig_.load(list({gateway(), cluster(), service(first), service(second)}));
  }
  static std::string client(int number) {
    return "10.246.1." + std::to_string(21 + number % 40) + ":" + std::to_string(10000 + number / 40);
  }
  // The ring of messages is full: what this worker tells the other finds no room.
  void fill_messages(uint16_t from) {
    StubMessage message;  // about what nobody has
    message.kind = StubMessage::Kind::RemoveV4;
    message.owner = from;
    while (rig_.plane().tables().rings->send(from, static_cast<uint16_t>(1 - from), message)) {
    }
  }
  // Puts a frame into the queue of the worker, without a turn.
  void put(uint16_t worker, const Ip& packet) {
    const Bytes frame = ethernet(mac(0x0b), mac(0xee), packet.bytes());
    rte_mbuf* const mbuf = rte_pktmbuf_alloc(rig_.plane().pool());
    ASSERT_NE(mbuf, nullptr);
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
    rte_ring* const ring = rte_ring_lookup(("test_rx_b" + std::to_string(worker)).c_str());
    ASSERT_NE(ring, nullptr);
    ASSERT_EQ(rte_ring_enqueue(ring, mbuf), 0);
  }
  void turn(uint16_t worker) { (void)rig_.plane().worker(worker).run_once(); }
  // All connections of a worker end.
  void delete_flows(uint16_t worker) {
    dataplane::Command command;
    command.kind = dataplane::Command::Kind::DeleteFlows;
    ASSERT_TRUE(rig_.plane().worker(worker).submit(&command));
    while (!command.done.load()) turn(worker);
  }
  [[nodiscard]] uint16_t owner(const Endpoint& from, const Endpoint& to) {
    const net::FlowKey<net::V4> key{from.address.v4(),
                                    to.address.v4(),
                                    net::be16::from_host(from.port),
                                    net::be16::from_host(to.port),
                                    net::protocol::tcp,
                                    {}};
    return net::owner_of(rig_.plane().tables().hasher(key), 2);
  }
  // One packet, while one worker cannot tell the other anything. What came out.
  std::string send_while_mute(const Ip& packet, uint16_t mute) {
    put(0, packet);
    for (int turn = 0; turn < 6; ++turn) {
      for (const uint16_t worker : {uint16_t{0}, uint16_t{1}}) {
        if (worker == mute) fill_messages(mute);
        (void)rig_.plane().worker(worker).run_once();
      }
    }
    return rig_.run();
  }

  Rig rig_{RigOptions{.workers = 2}};
};

// The other worker knows that the tuple is taken, and cannot say so.
TEST_F(Question, MASQ7_WithoutAnAnswerThePacketIsDropped) {
  constexpr int clients = 48;
  unsigned dropped = 0;
  for (int i = 0; i < clients; ++i) {
    const std::string from = client(i);
    ASSERT_EQ(rig_.send("b", tcp(from, first_service, "S")), "b/13 tcp S " + from + ">10.246.1.20:8080 ttl 63");
    for (const uint16_t mute : {uint16_t{0}, uint16_t{1}}) {
      const std::string out = send_while_mute(tcp(from, second_service, "S"), mute);
      if (out.empty()) {
        ++dropped;
      } else {
        EXPECT_NE(rig_.only().ip.src.text(), from) << "that is the first connection's";
      }
    }
    ASSERT_NE(rig_.send("b", tcp(from, second_service, "S")), "") << "who sends again gets through";
    const Endpoint translated = rig_.only().ip.src;
    EXPECT_NE(translated.text(), from);
    EXPECT_EQ(rig_.send("b", tcp("10.246.1.20:8080", translated.text(), "SA")),
              "b/13 tcp SA " + std::string(second_service) + ">" + from + " ttl 63");
    EXPECT_EQ(rig_.send("b", tcp("10.246.1.20:8080", from, "SA")),
              "b/13 tcp SA " + std::string(first_service) + ">" + from + " ttl 63");
  }
  EXPECT_GT(dropped, 4U) << "where the replies arrive at another worker";
  EXPECT_EQ(rig_.drops(), "handoff_full " + std::to_string(dropped));
}

// The answer comes when the connection that was asked for has ended and another one has its key, and a third one has
// taken the tuple meanwhile.
TEST_F(Question, MASQ7_TheAnswerToAnEarlierQuestionConfirmsNothing) {
  const std::string endpoint = "10.246.1.20:8080";
  unsigned tried = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string from = client(i);
    if (owner(from, first_service) != 0 || owner(endpoint, from) != 1 || owner(from, second_service) != 1) continue;
    ++tried;
    put(0, tcp(from, first_service, "S"));
    turn(0);  // asks
    delete_flows(0);
    put(1, tcp(from, second_service, "S"));
    turn(1);  // opens one with the tuple, which is free again, and answers what was asked before
    put(0, tcp(from, first_service, "S"));
    turn(0);  // asks anew, and gets the first answer
    (void)rig_.run();
    int with_own_port = 0;
    for (const View& out : rig_.out()) with_own_port += out.ip.src.text() == from ? 1 : 0;
    EXPECT_EQ(with_own_port, 1) << "of the second service's connection alone";
    EXPECT_EQ(rig_.out().size(), 3U) << "none was lost";
    EXPECT_EQ(rig_.drops(), "");
    EXPECT_EQ(rig_.send("b", tcp(endpoint, from, "SA")),
              "b/13 tcp SA " + std::string(second_service) + ">" + from + " ttl 63");
    delete_flows(0);
    delete_flows(1);
    (void)rig_.run();
  }
  EXPECT_GT(tried, 4U);
}

// More clashes at once than are remembered: who is forgotten asks again.
TEST_F(Question, MASQ7_MoreClashesThanAreRemembered) {
  constexpr int clients = 1200;
  constexpr int burst = 200;
  const auto send_all = [&](const char* to) {
    std::map<std::string, int> sources;
    for (int begin = 0; begin < clients; begin += burst) {
      std::vector<Bytes> packets;
      for (int i = begin; i < begin + burst; ++i) packets.push_back(tcp(client(i), to, "S").bytes());
      (void)rig_.send_burst("b", packets);
      for (const View& out : rig_.out()) ++sources[out.ip.src.text()];
    }
    return sources;
  };
  const auto first = send_all(first_service);
  ASSERT_EQ(first.size(), size_t{clients});
  const auto second = send_all(second_service);
  EXPECT_EQ(second.size(), size_t{clients});
  for (const auto& [source, count] : second) EXPECT_EQ(first.count(source), 0U) << source;
  EXPECT_GT(rig_.count(dataplane::Event::StubClashes), 256U);
  EXPECT_EQ(rig_.drops(), "");
}

// CT-34: what asks is looked up twice, and counted once.
TEST_F(Question, CT34_APacketIsAHitOrAMiss) {
  constexpr int clients = 64;
  for (int i = 0; i < clients; ++i) ASSERT_NE(rig_.send("b", tcp(client(i), first_service, "S")), "");
  EXPECT_EQ(rig_.count(dataplane::Event::FlowMisses), uint64_t{clients});
  EXPECT_EQ(rig_.count(dataplane::Event::FlowHits), 0U);
  for (int i = 0; i < clients; ++i) ASSERT_NE(rig_.send("b", tcp(client(i), first_service, "S")), "");
  EXPECT_EQ(rig_.count(dataplane::Event::FlowMisses), uint64_t{clients});
  EXPECT_EQ(rig_.count(dataplane::Event::FlowHits), uint64_t{clients});
}

}  // namespace
}  // namespace sluice::packet_test
