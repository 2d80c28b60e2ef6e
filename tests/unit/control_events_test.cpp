// Events of the router: what is kept, what a client gets that comes back, what the monitor makes of what it sees, and
// the call that tells it.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api.h"
#include "control/event_monitor.h"
#include "tests/unit/fake_router.h"

namespace sluice::control {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

RouterEvent event(EventType type, std::string object) {
  return {.time_seconds = 7, .type = type, .reason = "Tested", .object = std::move(object)};
}

EventFilter of(EventType type, std::optional<uint64_t> after = std::nullopt) {
  EventFilter filter{.after = after};
  filter.types.reset();
  filter.types.set(static_cast<size_t>(type));
  return filter;
}

std::vector<uint64_t> ids(const std::vector<RouterEvent>& events) {
  std::vector<uint64_t> out;
  for (const RouterEvent& one : events) out.push_back(one.id);
  return out;
}

std::vector<std::string> reasons(const std::vector<RouterEvent>& events) {
  std::vector<std::string> out;
  for (const RouterEvent& one : events) out.push_back(one.reason);
  return out;
}

// ---- the log -----------------------------------------------------------------------------------------

class Log : public testing::Test {
 protected:
  EventBatch next(EventWatch& watch, std::chrono::milliseconds patience = std::chrono::milliseconds(1)) {
    EventBatch out;
    asio::co_spawn(io, watch.next(patience), [&](const std::exception_ptr& error, EventBatch batch) {
      EXPECT_FALSE(error);
      out = std::move(batch);
    });
    io.restart();
    io.run();
    return out;
  }

  asio::io_context io;
  EventLog log{io, 100};
};

TEST_F(Log, TypesHaveTheirNames) {
  for (size_t i = 0; i < event_type_count; ++i) {
    const auto type = static_cast<EventType>(i);
    EXPECT_EQ(event_type_of(name(type)), type);
  }
  EXPECT_EQ(event_type_of("weather"), std::nullopt);
}

TEST_F(Log, WhatHappensOftenDoesNotWashAwayWhatIsRare) {
  log.add(event(EventType::Link, "eth0"));
  for (size_t i = 0; i < 2 * EventLog::kept_of_a_type; ++i) log.add(event(EventType::Config, "configuration"));
  EXPECT_EQ(ids(log.kept(of(EventType::Link))), std::vector<uint64_t>{100});
  EXPECT_EQ(log.kept(of(EventType::Config)).size(), EventLog::kept_of_a_type);
  const auto all = log.kept({});
  EXPECT_EQ(all.front().id, 100U);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; }));
  EXPECT_EQ(log.counts()[static_cast<size_t>(EventType::Config)], 2 * EventLog::kept_of_a_type);
}

TEST_F(Log, AWatchGetsWhatComes) {
  log.add(event(EventType::Link, "before"));
  const auto watch = log.watch({});
  EXPECT_THAT(next(*watch).events, IsEmpty());
  log.add(event(EventType::Link, "after"));
  const EventBatch batch = next(*watch);
  ASSERT_EQ(batch.events.size(), 1U);
  EXPECT_EQ(batch.events[0].object, "after");
  EXPECT_EQ(batch.events[0].id, 101U);
}

TEST_F(Log, AWatchWakesWhoWaits) {
  const auto watch = log.watch({});
  asio::post(io, [&] { log.add(event(EventType::Link, "eth0")); });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(next(*watch, std::chrono::seconds(20)).events.size(), 1U);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(Log, AWatchGetsOnlyItsTypes) {
  const auto watch = log.watch(of(EventType::Tunnel));
  log.add(event(EventType::Link, "eth0"));
  log.add(event(EventType::Tunnel, "vxlan 192.0.2.1"));
  EXPECT_EQ(ids(next(*watch).events), std::vector<uint64_t>{101});
}

TEST_F(Log, WhoComesBackGetsWhatItMissed) {
  for (int i = 0; i < 5; ++i) log.add(event(EventType::Link, std::to_string(i)));
  const auto watch = log.watch({.after = 102});
  log.add(event(EventType::Link, "new"));
  EXPECT_THAT(ids(next(*watch).events), ElementsAre(103, 104, 105));
}

TEST_F(Log, WhoComesBackTooLateIsToldHowMuchItMissed) {
  for (size_t i = 0; i < EventLog::kept_of_a_type + 10; ++i) log.add(event(EventType::Link, std::to_string(i)));
  const auto watch = log.watch({.after = 103});
  EventBatch batch = next(*watch);
  EXPECT_EQ(batch.events.size(), EventLog::kept_of_a_type);
  EXPECT_EQ(batch.lost, 6U);  // 104 to 109
  EXPECT_EQ(next(*log.watch({.after = 109})).lost, 0U);
  EXPECT_EQ(next(*log.watch({.after = 0})).lost, 0U) << "it did not know any";
}

// The identifiers of the run before are all below those of this one.
TEST_F(Log, IdentifiersGrowOverARestart) {
  const auto now = std::chrono::system_clock::now();
  EXPECT_GT(first_event_id(now + std::chrono::seconds(1)), first_event_id(now) + 900'000);
  EXPECT_LT(first_event_id(now + std::chrono::hours(24 * 365 * 100)), uint64_t{1} << 53);
}

TEST_F(Log, ASlowClientLosesEventsAndIsTold) {
  const auto watch = log.watch({});
  for (size_t i = 0; i < EventLog::queue_limit + 7; ++i) log.add(event(EventType::Config, "configuration"));
  size_t got = 0;
  uint64_t lost = 0;
  for (EventBatch batch = next(*watch); !batch.events.empty(); batch = next(*watch)) {
    got += batch.events.size();
    lost += batch.lost;
  }
  EXPECT_EQ(got, EventLog::queue_limit);
  EXPECT_EQ(lost, 7U);
}

TEST_F(Log, WatchesAreBounded) {
  std::vector<std::shared_ptr<EventWatch>> watches;
  for (size_t i = 0; i < EventLog::most_watches; ++i) watches.push_back(log.watch({}));
  EXPECT_EQ(log.watch({}), nullptr);
  watches.pop_back();
  EXPECT_NE(log.watch({}), nullptr);
}

TEST_F(Log, DropsAboveARate) {
  const auto standard = log.watch(of(EventType::Drops));
  EventFilter filter = of(EventType::Drops);
  filter.drop_rate = 10;
  const auto own = log.watch(filter);
  log.drops({{"no_route", 50}, {"ttl_expired", 5}}, 1);
  EXPECT_THAT(next(*standard).events, IsEmpty());
  const EventBatch batch = next(*own);
  ASSERT_EQ(batch.events.size(), 1U);
  EXPECT_EQ(batch.events[0].reason, "DropRateHigh");
  EXPECT_EQ(batch.events[0].object, "no_route");
  EXPECT_EQ(batch.events[0].id, 0U) << "nobody else can ask for it";
  EXPECT_EQ(batch.events[0].after.at("perSecond").as_double(), 50);

  log.drops({{"no_route", 200}}, 2);
  EXPECT_THAT(reasons(next(*standard).events), ElementsAre("DropRateHigh"));
  EXPECT_THAT(next(*own).events, IsEmpty()) << "it was told";
  log.drops({{"no_route", 60}}, 3);
  EXPECT_THAT(next(*standard).events, IsEmpty()) << "not below half of it yet";
  log.drops({}, 4);
  EXPECT_THAT(reasons(next(*standard).events), ElementsAre("DropRateLow"));
  EXPECT_THAT(reasons(next(*own).events), ElementsAre("DropRateLow"));
  EXPECT_THAT(reasons(log.kept(of(EventType::Drops))), ElementsAre("DropRateHigh", "DropRateLow"));
}

// ---- the monitor -------------------------------------------------------------------------------------

class Monitor : public testing::Test {
 protected:
  std::vector<RouterEvent> look() {
    now.uptime_seconds += 1;
    now.time_seconds += 1;
    return monitor.look(now);
  }
  void neighbor(std::string state, std::string_view mac = "02:00:00:00:00:01") {
    now.neighbors = {{"uplink0", ip("192.0.2.1"), net::parse_mac(mac).value(), std::move(state), 0}};
  }

  Observation now{.time_seconds = 1000};
  EventMonitor monitor;
};

TEST_F(Monitor, NeighborsComeFailAndMove) {
  neighbor("incomplete");
  EXPECT_THAT(look(), IsEmpty());
  neighbor("reachable");
  auto events = look();
  ASSERT_THAT(reasons(events), ElementsAre("NeighborReachable"));
  EXPECT_TRUE(events[0].before.is_null());
  EXPECT_EQ(events[0].after.at("mac").as_string(), "02:00:00:00:00:01");
  EXPECT_FALSE(events[0].warning);
  EXPECT_EQ(events[0].time_seconds, 1002);
  neighbor("stale");
  EXPECT_THAT(look(), IsEmpty());
  neighbor("reachable", "02:00:00:00:00:02");
  EXPECT_THAT(reasons(look()), ElementsAre("NeighborMoved"));
  neighbor("failed", "00:00:00:00:00:00");
  events = look();
  ASSERT_THAT(reasons(events), ElementsAre("NeighborFailed"));
  EXPECT_TRUE(events[0].warning);
  EXPECT_EQ(events[0].object, "uplink0 192.0.2.1");
  EXPECT_EQ(events[0].before.at("state").as_string(), "reachable");
  EXPECT_EQ(events[0].after.at("state").as_string(), "failed");
  EXPECT_THAT(look(), IsEmpty());
  neighbor("incomplete");
  EXPECT_THAT(look(), IsEmpty());
  neighbor("reachable");
  EXPECT_THAT(reasons(look()), ElementsAre("NeighborReachable"));
  now.neighbors.clear();
  EXPECT_THAT(look(), IsEmpty());
}

TEST_F(Monitor, StaticNeighborsSayNothing) {
  neighbor("permanent");
  EXPECT_THAT(look(), IsEmpty());
}

TEST_F(Monitor, TunnelsAreLostAndComeBack) {
  now.tunnels = {{"a", "vxlan 192.0.2.9", 1450, false, false}};
  EXPECT_THAT(look(), IsEmpty());
  now.tunnels[0].unreachable = true;
  auto events = look();
  ASSERT_THAT(reasons(events), ElementsAre("TunnelUnreachable"));
  EXPECT_FALSE(events[0].before.at("unreachable").as_bool());
  EXPECT_TRUE(events[0].after.at("unreachable").as_bool());
  now.tunnels[0] = {"a", "vxlan 192.0.2.9", 1350, true, false};
  events = look();
  ASSERT_THAT(reasons(events), ElementsAre("TunnelReachable", "TunnelMtuLowered"));
  EXPECT_EQ(events[1].before.at("mtu").to_number<int>(), 1450);
  EXPECT_EQ(events[1].after.at("mtu").to_number<int>(), 1350);
  now.tunnels[0] = {"a", "vxlan 192.0.2.9", 1450, false, false};
  EXPECT_THAT(reasons(look()), ElementsAre("TunnelMtuRestored"));
}

TEST_F(Monitor, ECN2_OddCombinationsAreToldOfOnceAMinute) {
  EXPECT_THAT(look(), IsEmpty());
  now.odd_ecn = 3;
  const auto first = look();
  ASSERT_THAT(reasons(first), ElementsAre("EcnOddCombination"));
  EXPECT_TRUE(first[0].warning);
  EXPECT_EQ(first[0].after.at("packets").to_number<int>(), 3);
  for (int second = 1; second < 60; ++second) {
    ++now.odd_ecn;
    EXPECT_THAT(look(), IsEmpty()) << second;
  }
  const auto next = look();
  ASSERT_THAT(reasons(next), ElementsAre("EcnOddCombination"));
  EXPECT_EQ(next[0].after.at("packets").to_number<int>(), 59) << "those since";
  now.uptime_seconds += 120;
  EXPECT_THAT(look(), IsEmpty()) << "nothing new";
  ++now.odd_ecn;
  EXPECT_THAT(reasons(look()), ElementsAre("EcnOddCombination"));
}

TEST_F(Monitor, LinksGoUpAndDown) {
  now.links = {{"net_tap0", true}, {"net_tap1", false}};
  EXPECT_THAT(reasons(look()), ElementsAre("LinkUp", "LinkDown"));
  EXPECT_THAT(look(), IsEmpty());
  now.links[0].up = false;
  const auto events = look();
  ASSERT_THAT(reasons(events), ElementsAre("LinkDown"));
  EXPECT_TRUE(events[0].before.at("linkUp").as_bool());
  EXPECT_TRUE(events[0].warning);
}

TEST_F(Monitor, WhyALinkCannotComeUpIsToldOnce) {
  now.links = {{"default/a", false, "somebody else listens"}};
  const auto events = look();
  ASSERT_THAT(reasons(events), ElementsAre("AttachFailed", "LinkDown"));
  EXPECT_EQ(events[0].object, "default/a");
  EXPECT_EQ(events[0].message, "somebody else listens");
  EXPECT_TRUE(events[0].warning);
  EXPECT_THAT(look(), IsEmpty());
  now.links[0].problem = "another reason";
  EXPECT_THAT(reasons(look()), ElementsAre("AttachFailed"));
  now.links[0] = {"default/a", true, ""};
  EXPECT_THAT(reasons(look()), ElementsAre("LinkUp"));
}

TEST_F(Monitor, TablesFillAndRelax) {
  const auto used = [&](uint64_t connections) {
    now.tables = {{"IPv4 connections of worker 0", connections, 1000}};
    return reasons(look());
  };
  EXPECT_THAT(used(799), IsEmpty());
  EXPECT_THAT(used(800), ElementsAre("TablePressure"));
  EXPECT_THAT(used(790), IsEmpty());
  EXPECT_THAT(used(949), IsEmpty());
  EXPECT_THAT(used(950), ElementsAre("TableNearlyFull"));
  EXPECT_THAT(used(800), IsEmpty());
  EXPECT_THAT(used(960), IsEmpty()) << "it never relaxed";
  EXPECT_THAT(used(749), ElementsAre("TableRelaxed"));
  EXPECT_THAT(used(1000), ElementsAre("TableNearlyFull"));
}

TEST_F(Monitor, SourcePortsGetScarceAndRunOut) {
  now.source_ports = {.allocated = 1000, .draws = 50'000, .refused = 3, .workers = 2};
  EXPECT_THAT(look(), IsEmpty()) << "of the time before the first look nothing is known";
  now.source_ports.allocated += 100;
  now.source_ports.draws += 250;
  EXPECT_THAT(look(), IsEmpty());
  now.source_ports.allocated += 100;
  now.source_ports.draws += 1000;
  EXPECT_THAT(reasons(look()), ElementsAre("SourcePortsScarce"));
  now.source_ports.refused += 4;
  const auto events = look();
  ASSERT_THAT(reasons(events), ElementsAre("SourcePortsExhausted"));
  EXPECT_EQ(events[0].after.at("refused").to_number<int>(), 4);
  for (int i = 0; i < 9; ++i) EXPECT_THAT(look(), IsEmpty());
  EXPECT_THAT(reasons(look()), ElementsAre("SourcePortsSufficient"));
}

TEST_F(Monitor, TheStateFolderFailsAndIsMended) {
  EXPECT_THAT(look(), IsEmpty());
  now.state_kept = false;
  EXPECT_THAT(reasons(look()), ElementsAre("StateNotKept"));
  EXPECT_THAT(look(), IsEmpty());
  now.state_kept = true;
  EXPECT_THAT(reasons(look()), ElementsAre("StateKept"));
}

TEST_F(Monitor, DropRatesAreOfTheTimeBetween) {
  now.drops = {{"no_route", 1000}, {"ttl_expired", 5}};
  (void)look();
  EXPECT_TRUE(monitor.drop_rates().empty()) << "since when they are, nobody knows";
  now.drops[0].value += 300;
  now.uptime_seconds += 2;
  (void)look();
  ASSERT_EQ(monitor.drop_rates().size(), 1U);
  EXPECT_EQ(monitor.drop_rates()[0].reason, "no_route");
  EXPECT_EQ(monitor.drop_rates()[0].per_second, 100);
}

// ---- the call ----------------------------------------------------------------------------------------

class ApiEvents : public testing::Test {
 protected:
  template <class T>
  T wait(Awaitable<T> call) {
    asio::io_context io;
    T out{};
    asio::co_spawn(io, std::move(call), [&](const std::exception_ptr& error, T value) {
      EXPECT_FALSE(error);
      out = std::move(value);
    });
    io.run();
    return out;
  }
  Response ask(std::string_view target, std::string last_event_id = "") {
    Request request{.method = "GET", .last_event_id = std::move(last_event_id)};
    EXPECT_TRUE(set_target(request, target));
    return wait(handle(router, std::move(request)));
  }
  std::string read(const Response& response) { return wait(response.stream->next(std::chrono::milliseconds(1))); }

  FakeRouter router;
};

TEST_F(ApiEvents, AStreamTellsThemWithTheirIdentifiers) {
  const Response response = ask("/v1/events");
  EXPECT_EQ(response.content_type, "text/event-stream");
  EXPECT_EQ(response.body, ": watching\n\n");
  ASSERT_NE(response.stream, nullptr);
  RouterEvent down = event(EventType::Link, "eth0");
  down.warning = true;
  down.message = "the link of eth0 is down";
  down.after = json::object{{"linkUp", false}};
  router.log.add(down);
  EXPECT_EQ(read(response),
            "id: 1\nevent: link\ndata: {\"timeSeconds\":7,\"type\":\"link\",\"severity\":\"Warning\",\"reason\":"
            "\"Tested\",\"object\":\"eth0\",\"message\":\"the link of eth0 is down\",\"before\":null,"
            "\"after\":{\"linkUp\":false},\"id\":1}\n\n");
}

TEST_F(ApiEvents, AClientGoesOnWhereItWas) {
  for (int i = 0; i < 4; ++i) router.log.add(event(EventType::Link, fmt::format("eth{}", i)));
  const std::string by_header = read(ask("/v1/events", "2"));
  EXPECT_THAT(by_header, HasSubstr("id: 3\n"));
  EXPECT_THAT(by_header, HasSubstr("id: 4\n"));
  EXPECT_THAT(by_header, testing::Not(HasSubstr("id: 2\n")));
  EXPECT_EQ(read(ask("/v1/events?after=2")), by_header);
  EXPECT_EQ(read(ask("/v1/events?after=4", "2")), by_header) << "the header is newer";
  EXPECT_THAT(read(ask("/v1/events", "of another server")), HasSubstr("id: 1\n"));
}

TEST_F(ApiEvents, AListIsWhatIsKept) {
  router.log.add(event(EventType::Link, "eth0"));
  router.log.add(event(EventType::Drain, "prod/web-0"));
  const auto objects = [&](std::string_view target) {
    std::vector<std::string> out;
    const json::value answer = json::parse(ask(target).body);
    for (const json::value& one : answer.at("events").as_array()) out.emplace_back(one.at("object").as_string());
    return out;
  };
  EXPECT_THAT(objects("/v1/events?follow=false"), ElementsAre("eth0", "prod/web-0"));
  EXPECT_THAT(objects("/v1/events?follow=false&types=drain"), ElementsAre("prod/web-0"));
  EXPECT_THAT(objects("/v1/events?follow=false&types=drain,link"), ElementsAre("eth0", "prod/web-0"));
  EXPECT_THAT(objects("/v1/events?follow=false&after=1"), ElementsAre("prod/web-0"));
}

TEST_F(ApiEvents, WrongParametersAreNamed) {
  for (const auto& [target, name] : {std::pair{"/v1/events?types=weather", "weather"},
                                     {"/v1/events?types=link,", "types"},
                                     {"/v1/events?dropRate=0", "dropRate"},
                                     {"/v1/events?follow=perhaps", "follow"},
                                     {"/v1/events?follow=false&dropRate=5", "dropRate"},
                                     {"/v1/events?after=-1", "after"}}) {
    const Response response = ask(target);
    EXPECT_EQ(response.status, 400) << target;
    EXPECT_THAT(response.body, HasSubstr(name)) << target;
  }
}

TEST_F(ApiEvents, StreamsAreBounded) {
  std::vector<Response> streams;
  for (size_t i = 0; i < EventLog::most_watches; ++i) streams.push_back(ask("/v1/events"));
  EXPECT_EQ(ask("/v1/events").status, 503);
  EXPECT_EQ(ask("/v1/events?follow=false").status, 200);
  streams.clear();
  EXPECT_EQ(ask("/v1/events").status, 200);
}

}  // namespace
}  // namespace sluice::control
