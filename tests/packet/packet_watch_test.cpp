// Who looks at the connections of a running router: listings and deletions by any part of the tuple, and news of those
// that open and end (CT-34).
#include <set>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "control/flow_entry.h"
#include "control/flow_events.h"
#include "dataplane/command.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

using dataplane::Command;
using dataplane::FlowEvent;
using dataplane::FlowQuery;
using dataplane::FlowRecord;

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                      .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                      .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};

net::Prefix prefix(const char* text) {
  const auto address = net::parse_ip(text);
  return address ? net::Prefix::host(*address) : *net::parse_prefix(text);
}

class Watch : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster(), service(web)}));
  }
  // Gives the command to a worker and turns all of them until it is done.
  void work(uint16_t worker, Command& command) {
    ASSERT_TRUE(rig().plane().worker(worker).submit(&command));
    for (int i = 0; i < 1000 && !command.done.load(); ++i) {
      for (uint16_t each = 0; each < GetParam(); ++each) (void)rig().plane().worker(each).run_once();
    }
    ASSERT_TRUE(command.done.load());
  }
  std::vector<FlowRecord> find(const FlowQuery& query, size_t limit = 1000) {
    std::vector<FlowRecord> out;
    for (uint16_t worker = 0; worker < GetParam(); ++worker) {
      Command command;
      command.query = query;
      command.records.reserve(limit);
      command.limit = limit;
      work(worker, command);
      out.insert(out.end(), command.records.begin(), command.records.end());
    }
    return out;
  }
  uint64_t remove(const FlowQuery& query, uint64_t limit = 1000) {
    uint64_t removed = 0;
    for (uint16_t worker = 0; worker < GetParam(); ++worker) {
      Command command;
      command.kind = Command::Kind::DeleteFlows;
      command.query = query;
      command.limit = limit - removed;
      work(worker, command);
      removed += command.matched;
    }
    (void)rig().run();
    return removed;
  }
  // Four connections: TCP and UDP to the cluster IP, UDP to the node port, UDP over IPv6.
  void open_four() {
    (void)rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S").with_seq(100, 0));
    (void)rig().send("b", tcp("10.246.1.20:8080", "10.246.1.5:1000", "SA").with_seq(500, 101));
    (void)rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "A").with_seq(101, 501));
    (void)rig().send("b", udp("10.246.1.6:1001", "10.96.0.10:53"));
    (void)rig().send("a", udp("198.51.100.9:1002", "192.0.2.1:30053"));
    translated_ = rig().only().ip.src;
    (void)rig().send("b", udp("[fd00:10:246::5]:1003", "[fd00:10:96::10]:53"));
    ASSERT_EQ(rig().flows(), 4u);
  }
  // The client ports of what a query finds.
  std::set<int> ports(const FlowQuery& query) {
    std::set<int> out;
    for (const FlowRecord& record : find(query)) out.insert(record.src_port);
    return out;
  }

  Endpoint translated_;  // of the connection from 198.51.100.9
};

using Ports = std::set<int>;

TEST_P(Watch, CT34_EveryPartOfTheTupleSelects) {
  open_four();
  EXPECT_EQ(ports({}), (Ports{1000, 1001, 1002, 1003}));
  EXPECT_EQ(ports({.src = prefix("10.246.1.0/24")}), (Ports{1000, 1001}));
  EXPECT_EQ(ports({.dst = prefix("10.96.0.10")}), (Ports{1000, 1001}));
  EXPECT_EQ(ports({.src = prefix("fd00:10:246::/64")}), Ports{1003});
  EXPECT_EQ(ports({.src_port = 1002}), Ports{1002});
  EXPECT_EQ(ports({.dst_port = 53}), (Ports{1001, 1003}));
  EXPECT_EQ(ports({.reply_src = prefix("10.246.1.20")}), (Ports{1000, 1001, 1002}));
  EXPECT_EQ(ports({.reply_dst = prefix("192.168.0.1")}), Ports{1002}) << "the masqueraded one";
  EXPECT_EQ(ports({.reply_src_port = 5353}), (Ports{1001, 1002, 1003}));
  EXPECT_EQ(ports({.reply_dst_port = translated_.port}), Ports{1002});
  EXPECT_EQ(ports({.protocol = net::protocol::tcp}), Ports{1000});
  EXPECT_EQ(ports({.tcp_state = nat::TcpState::Established}), Ports{1000});
  EXPECT_EQ(ports({.tcp_state = nat::TcpState::None}), Ports{}) << "is about TCP";
  EXPECT_EQ(ports({.flags_set = nat::connection_flag::replied}), Ports{1000});
  EXPECT_EQ(ports({.flags_clear = nat::connection_flag::replied}), (Ports{1001, 1002, 1003}));
  EXPECT_EQ(ports({.src = prefix("10.246.1.0/24"), .reply_src_port = 5353}), Ports{1001}) << "all of them";
}

TEST_P(Watch, CT34_AnAssociationShowsItsState) {
  const ServiceSpec diameter{.name = "diameter",
                             .cluster_ips = {"10.96.0.20"},
                             .ports = {"SCTP 3868 3868"},
                             .endpoints = {"10.246.1.20 node3"}};
  for (uint16_t i = 0; i < GetParam(); ++i) rig().plane().worker(i).stop_clock();  // 300 ms after a SHUTDOWN it ends
  rig().load(list({gateway(), cluster(), service(diameter)}));
  const auto state = [&] {
    const std::vector<FlowRecord> found = find({.protocol = net::protocol::sctp});
    return found.size() == 1 ? control::entry_of(found[0], "").state : std::to_string(found.size()) + " of them";
  };
  const auto client = [&](uint8_t chunk, uint32_t tag = 1) {
    EXPECT_NE(rig().send("b", sctp("10.246.1.5:1000", "10.96.0.20:3868", chunk, tag)), "");
    return state();
  };
  const auto endpoint = [&](uint8_t chunk) {
    EXPECT_NE(rig().send("b", sctp("10.246.1.20:3868", "10.246.1.5:1000", chunk, 2)), "");
    return state();
  };
  // Chunk types of RFC 9260 section 3.2.
  EXPECT_EQ(client(1, 0), "COOKIE_WAIT") << "INIT";
  EXPECT_EQ(endpoint(2), "COOKIE_WAIT") << "INIT ACK";
  EXPECT_EQ(client(10), "COOKIE_ECHOED") << "COOKIE ECHO";
  EXPECT_EQ(endpoint(11), "ESTABLISHED") << "COOKIE ACK";
  EXPECT_EQ(client(0), "ESTABLISHED") << "DATA";
  EXPECT_EQ(client(7), "SHUTDOWN_SENT") << "SHUTDOWN";
  EXPECT_EQ(endpoint(8), "SHUTDOWN_ACK_SENT") << "SHUTDOWN ACK";
  EXPECT_EQ(client(14), "CLOSED") << "SHUTDOWN COMPLETE";
}

TEST_P(Watch, CT34_DeletedByTheEndpointsAddressTheyBeginAnew) {
  open_four();
  EXPECT_EQ(remove({.reply_src = prefix("10.246.1.20"), .protocol = net::protocol::udp}), 2u);
  EXPECT_EQ(ports({}), (Ports{1000, 1003}));
  EXPECT_EQ(rig().send("b", udp("10.246.1.6:1001", "10.96.0.10:53")),
            "b/13 udp 10.246.1.6:1001>10.246.1.20:5353 ttl 63");
  EXPECT_EQ(rig().flows(), 3u);
}

TEST_P(Watch, CT34_NoMoreThanTheLimit) {
  for (int port = 2000; port < 2040; ++port) {
    (void)rig().send("b", udp("10.246.1.6:" + std::to_string(port), "10.96.0.10:53"));
  }
  EXPECT_EQ(find({}, 5).size(), size_t{5} * GetParam()) << "of each worker";
  EXPECT_EQ(remove({.dst_port = 53}, 7), 7u);
  EXPECT_EQ(rig().flows(), 33u);
}

// More records than a turn looks at, while packets go on.
TEST_P(Watch, CT34_AListingTakesManyTurns) {
  for (int port = 2000; port < 3500; ++port) {
    (void)rig().send("b", udp("10.246.1.6:" + std::to_string(port), "10.96.0.10:53"));
  }
  EXPECT_EQ(find({.dst_port = 53}, 10000).size(), 1500u);
}

// ---- events --------------------------------------------------------------------------------------------

class WatchEvents : public Watch {
 protected:
  void SetUp() override {
    Watch::SetUp();
    watch(true);
  }
  void watch(bool on) {
    for (uint16_t worker = 0; worker < GetParam(); ++worker) rig().plane().worker(worker).watch_flows(on);
    (void)rig().run();
  }
  std::vector<FlowEvent> take() {
    std::vector<FlowEvent> out;
    for (uint16_t worker = 0; worker < GetParam(); ++worker) {
      rig().plane().worker(worker).flow_events().take([&](const FlowEvent& event) { out.push_back(event); });
    }
    return out;
  }
  uint64_t lost() {
    uint64_t sum = 0;
    for (uint16_t worker = 0; worker < GetParam(); ++worker) sum += rig().plane().worker(worker).flow_events().lost();
    return sum;
  }
  // "+1000 -1000": opened and closed client ports.
  std::string story() {
    std::string out;
    for (const FlowEvent& event : take()) {
      out += (out.empty() ? "" : " ") + std::string(event.kind == FlowEvent::Kind::Opened ? "+" : "-") +
             std::to_string(event.record.src_port);
    }
    return out;
  }
};

TEST_P(WatchEvents, CT34_OpenedAndClosedWithWhatTheyWere) {
  (void)rig().send("a", udp("198.51.100.9:1002", "192.0.2.1:30053"));
  const Endpoint translated = rig().only().ip.src;
  std::vector<FlowEvent> events = take();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, FlowEvent::Kind::Opened);
  const FlowRecord opened = events[0].record;
  EXPECT_EQ(net::to_string(opened.src), "198.51.100.9");
  EXPECT_EQ(net::to_string(opened.dst), "192.0.2.1");
  EXPECT_EQ(opened.dst_port, 30053);
  EXPECT_EQ(net::to_string(opened.reply_src), "10.246.1.20");
  EXPECT_EQ(opened.reply_dst_port, translated.port);
  EXPECT_NE(opened.service, nat::no_service);
  (void)rig().send("b", udp("10.246.1.20:5353", translated.text()).with_payload(100));
  (void)rig().send("a", udp("198.51.100.9:1002", "192.0.2.1:30053"));
  EXPECT_EQ(story(), "") << "packets of a connection are no news";
  (void)rig().advance(200000);
  events = take();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, FlowEvent::Kind::Closed);
  EXPECT_EQ(events[0].record.packets, 2u);
  EXPECT_EQ(events[0].record.reply_packets, 1u);
  EXPECT_EQ(events[0].record.bytes, 2 * 48u);
  EXPECT_EQ(events[0].record.reply_bytes, 128u);
}

TEST_P(WatchEvents, CT34_HoweverAConnectionEnds) {
  const std::string client = "10.246.1.5:1000";
  (void)rig().send("b", tcp(client, "10.96.0.10:80", "S").with_seq(100, 0));
  (void)rig().send("b", tcp("10.246.1.20:8080", client, "RA").with_seq(0, 101));
  EXPECT_EQ(story(), "+1000 -1000") << "CT-8";
  (void)rig().send("b", udp("10.246.1.5:1001", "10.96.0.10:53"));
  EXPECT_EQ(remove({.src_port = 1001}), 1u);
  EXPECT_EQ(story(), "+1001 -1001") << "deleted";
  (void)rig().send("b", udp("10.246.1.5:1002", "10.96.0.10:53"));
  ServiceSpec moved = web;
  moved.ports[1] = "UDP 53 5454 30053";
  rig().load(list({gateway(), cluster(), service(moved)}));
  (void)rig().send("b", udp("10.246.1.5:1002", "10.96.0.10:53"));
  EXPECT_EQ(story(), "+1002 -1002 +1002") << "SVC-94";
}

TEST_P(WatchEvents, CT34_NothingIsNotedWhileNobodyWatches) {
  watch(false);
  (void)rig().send("b", udp("10.246.1.5:1000", "10.96.0.10:53"));
  EXPECT_EQ(story(), "");
  watch(true);
  (void)rig().send("b", udp("10.246.1.5:1001", "10.96.0.10:53"));
  EXPECT_EQ(story(), "+1001");
}

TEST_P(WatchEvents, CT34_WhatDoesNotFitIsCountedAndTheRestIsInOrder) {
  constexpr uint32_t more = 100;
  dataplane::FlowEventRing& ring = rig().plane().worker(0).flow_events();
  FlowEvent event;
  for (uint32_t i = 0; i < dataplane::FlowEventRing::slots + more; ++i) {
    event.record.packets = i;
    ring.put(event);
  }
  EXPECT_EQ(lost(), more);
  uint32_t expected = 0;
  ring.take([&](const FlowEvent& one) { EXPECT_EQ(one.record.packets, expected++); });
  EXPECT_EQ(expected, dataplane::FlowEventRing::slots);
  ring.put(event);
  EXPECT_EQ(take().size(), 1u);
  EXPECT_EQ(lost(), more);
}

// ---- clients -------------------------------------------------------------------------------------------

class WatchClients : public Watch {
 protected:
  void SetUp() override {
    Watch::SetUp();
    news_.emplace(io_, rig().plane(), [](uint32_t service) {
      return service == nat::no_service ? std::string() : "default/web:p" + std::to_string(service);
    });
  }
  void TearDown() override {
    news_.reset();
    Watch::TearDown();
  }
  // What a worker notes, without packets: the client port tells events apart.
  void note(uint16_t port, uint32_t service = nat::no_service, uint8_t protocol = net::protocol::udp) {
    FlowEvent event;
    event.record.src_port = port;
    event.record.service = service;
    event.record.protocol = protocol;
    rig().plane().worker(0).flow_events().put(event);
  }
  control::FlowBatch next(control::FlowWatch& watch, int milliseconds = 30) {
    control::FlowBatch out;
    boost::asio::co_spawn(io_, watch.next(std::chrono::milliseconds(milliseconds)),
                          [&](const std::exception_ptr& error, control::FlowBatch batch) {
                            EXPECT_FALSE(error);
                            out = std::move(batch);
                            io_.stop();
                          });
    io_.restart();
    io_.run();
    return out;
  }
  std::vector<int> ports_of(const control::FlowBatch& batch) {
    std::vector<int> out;
    for (const control::FlowEventEntry& event : batch.events) out.push_back(event.flow.original.src_port);
    return out;
  }
  // Lets the rings be emptied.
  void poll() {
    io_.restart();
    io_.run_for(std::chrono::milliseconds(30));
  }

  boost::asio::io_context io_;
  std::optional<control::FlowEvents> news_;
};

TEST_P(WatchClients, CT34_EachGetsWhatItAskedFor) {
  const auto all = news_->watch({});
  const auto tcp_only = news_->watch({.protocol = net::protocol::tcp});
  const auto of_service = news_->watch({.service = "default/web"});
  const auto of_port = news_->watch({.service = "default/web:p7"});
  note(1, nat::no_service, net::protocol::tcp);
  note(2, 7);
  note(3, 71);
  using Ports = std::vector<int>;
  EXPECT_EQ(ports_of(next(*all)), (Ports{1, 2, 3}));
  EXPECT_EQ(ports_of(next(*tcp_only)), Ports{1});
  EXPECT_EQ(ports_of(next(*of_service)), (Ports{2, 3}));
  EXPECT_EQ(ports_of(next(*of_port)), Ports{2});
  EXPECT_EQ(ports_of(next(*all)), Ports{}) << "once";
}

TEST_P(WatchClients, CT34_AClientThatDoesNotReadIsBoundedAndTold) {
  const auto slow = news_->watch({});
  constexpr size_t more = 300;
  for (size_t sent = 0; sent < control::FlowEvents::queue_limit + more; ++sent) {
    note(static_cast<uint16_t>(sent));
    if (sent % 1000 == 0) poll();
  }
  poll();
  size_t got = 0;
  control::FlowBatch batch = next(*slow);
  while (batch.lost == 0 && !batch.events.empty()) {
    EXPECT_EQ(batch.events.front().flow.original.src_port, static_cast<uint16_t>(got)) << "the oldest ones are kept";
    got += batch.events.size();
    batch = next(*slow);
  }
  got += batch.events.size();
  EXPECT_EQ(got, control::FlowEvents::queue_limit);
  EXPECT_EQ(batch.lost, more) << "after them";
  note(7);
  batch = next(*slow);
  EXPECT_EQ(ports_of(batch), std::vector<int>{7});
  EXPECT_EQ(batch.lost, 0u);
}

TEST_P(WatchClients, CT34_WhatTheRingLostIsToldToAll) {
  const auto one = news_->watch({});
  const auto other = news_->watch({.protocol = net::protocol::tcp});
  for (uint32_t i = 0; i < dataplane::FlowEventRing::slots + 5; ++i) note(1);
  poll();
  EXPECT_EQ(next(*other).lost, 5u);
  size_t got = 0;
  control::FlowBatch batch;
  do {
    batch = next(*one);
    got += batch.events.size() + batch.lost;
  } while (!batch.events.empty() || batch.lost != 0);
  EXPECT_EQ(got, dataplane::FlowEventRing::slots + 5u) << "told or counted";
}

TEST_P(WatchClients, CT34_NotedOnlyWhileSomebodyWatches) {
  const auto open = [&](int port) {
    (void)rig().send("b", udp("10.246.1.5:" + std::to_string(port), "10.96.0.10:53"));
  };
  auto watch = news_->watch({});
  open(1000);
  EXPECT_EQ(ports_of(next(*watch)), std::vector<int>{1000});
  watch.reset();
  poll();
  open(1001);
  watch = news_->watch({});
  EXPECT_TRUE(next(*watch).events.empty()) << "of before";
  open(1002);
  EXPECT_EQ(ports_of(next(*watch)), std::vector<int>{1002});
}

TEST_P(WatchClients, CT34_SixteenAreEnough) {
  std::vector<std::shared_ptr<control::FlowWatch>> watches;
  for (size_t i = 0; i < control::FlowEvents::most_watches; ++i) watches.push_back(news_->watch({}));
  EXPECT_EQ(news_->watch({}), nullptr);
  watches.pop_back();
  EXPECT_NE(news_->watch({}), nullptr);
}

SLUICE_WITH_WORKERS(WatchClients);
SLUICE_WITH_WORKERS(Watch);
SLUICE_WITH_WORKERS(WatchEvents);

}  // namespace
}  // namespace sluice::packet_test
