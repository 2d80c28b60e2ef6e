// Who announces which load balancer address: the election against an independent reckoning, what makes a node a
// candidate, and what happens when two routers think that an address is theirs.
#include <array>
#include <map>
#include <set>

#include <boost/json/parse.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/reader.h"
#include "control/announcer.h"

namespace sluice::control {
namespace {

using config::Change;
using config::Config;
using config::ObjectName;
using net::IpAddr;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Announced = Announcer::Announced;
using Kind = Announcer::News::Kind;

IpAddr ip(std::string_view text) { return *net::parse_ip(text); }
const net::MacAddr foreign = *net::parse_mac("02:00:00:00:00:99");

// Of these four nodes, sorted by Python's hashlib.sha256((node + "#" + address).encode()).digest().
struct Known {
  const char* address;
  std::array<const char*, 4> order;
};
constexpr std::array known{Known{"203.0.113.10", {"gw-2", "gw-1", "gw-3", "node-a"}},
                           Known{"203.0.113.11", {"node-a", "gw-2", "gw-1", "gw-3"}},
                           Known{"203.0.113.12", {"gw-2", "node-a", "gw-3", "gw-1"}},
                           Known{"2001:db8::10", {"gw-1", "node-a", "gw-2", "gw-3"}},
                           Known{"10.0.0.1", {"gw-3", "gw-2", "gw-1", "node-a"}}};

// Nodes that have a label.
std::optional<config::LabelSelector> test_selector(std::string_view label) {
  const boost::json::value value = boost::json::parse(
      fmt::format(R"({{"s": {{"matchExpressions": [{{"key": "{}", "operator": "Exists"}}]}}}})", label));
  config::Findings findings;
  config::Report report(findings, {"Test"});
  config::Reader reader(&value.as_object(), report, {}, config::UnknownFields::Ignore);
  std::optional<config::LabelSelector> out;
  config::read_label_selector(reader, "s", out);
  return out;
}

class AnnouncerTest : public testing::Test {
 protected:
  AnnouncerTest() {
    config_.gateway.node_name = "gw-1";
    config_.gateway.local_node_names = {"gw-1"};
    for (const char* name : {"up0", "up1"}) config_.gateway.interfaces.push_back({.name = name});
    config_.gateway.interfaces.push_back({.name = "pod", .role = config::InterfaceRole::Workload});
    for (const char* name : {"gw-1", "gw-2", "gw-3", "node-a"}) config_.nodes[name] = {.name = name};
    config_.l2_advertisements[{"metallb-system", "all"}] = {.ns = "metallb-system", .name = "all"};
    add("web", {"203.0.113.10"});
  }

  config::Service& add(const std::string& name, std::vector<std::string_view> addresses) {
    config::Service& service = config_.services[{"default", name}];
    service.name = {"default", name};
    service.type = config::ServiceType::LoadBalancer;
    for (const std::string_view address : addresses) service.load_balancer_ips.push_back(ip(address));
    config::EndpointSlice& slice = config_.slices[{"default", name + "-1"}];
    slice.service = name;
    slice.endpoints = {{.address = ip("10.244.0.1"), .node_name = "node-a"}};
    slices_[{"default", name}] = {{"default", name + "-1"}};
    return service;
  }
  config::Endpoint& endpoint(const std::string& name) {
    return config_.slices.at({"default", name + "-1"}).endpoints[0];
  }
  void update(const Change* change = nullptr) { announcer_.update(config_, change, sources(), now_); }
  void update(const char* kind, const std::string& ns, const std::string& name) {
    Change change;
    change.touched.push_back({{kind, ns, name}, Change::Action::Replaced, true, {}});
    update(&change);
  }
  Announcer::Sources sources() {
    return {[this](const ObjectName& name) -> const std::set<ObjectName>* {
              const auto found = slices_.find(name);
              return found == slices_.end() ? nullptr : &found->second;
            },
            [this](const IpAddr&) -> const config::AddressPool* { return &pool_; }};
  }
  L2Entry entry(std::string_view address = "203.0.113.10") {
    for (const L2Entry& one : announcer_.entries()) {
      if (one.address == ip(address)) return one;
    }
    return {.owner = "no entry"};
  }
  void pass(std::chrono::milliseconds time) {
    now_.steady += time;
    now_.wall += time;
  }
  std::vector<Kind> news() {
    std::vector<Kind> out;
    for (const Announcer::News& one : announcer_.take_news()) out.push_back(one.kind);
    return out;
  }
  void die(const std::string& node) {
    config_.nodes[node].alive = false;
    update("Node", "", node);
  }

  Config config_;
  config::AddressPool pool_{.ns = "metallb-system", .name = "public"};
  std::map<ObjectName, std::set<ObjectName>> slices_;
  Announcer announcer_;
  Announcer::Now now_{Announcer::Clock::time_point{} + std::chrono::hours(1), Announcer::WallClock::time_point{}};
};

// The hash alone: gw-2, gw-1, gw-3, node-a.
TEST_F(AnnouncerTest, L22_MoreWeightComesFirst) {
  const auto prefer = [](uint8_t weight, const char* label) {
    config::PreferredNodes out{.weight = weight, .nodes = {}};
    out.nodes = *test_selector(label);
    return out;
  };
  config::L2Advertisement& all = config_.l2_advertisements.at({"metallb-system", "all"});
  all.preferred = {prefer(60, "near"), prefer(50, "big")};
  config_.nodes["gw-3"].labels = {{"near", ""}};
  config_.nodes["node-a"].labels = {{"big", ""}};
  update();
  EXPECT_EQ(entry().owner, "gw-3") << "60";
  config_.nodes["gw-1"].labels = {{"big", ""}, {"near", ""}};
  update("Node", "", "gw-1");
  EXPECT_EQ(entry().owner, "gw-1") << "110: weights of a node add up";
  EXPECT_THAT(news(), ElementsAre(Kind::TookOver));
  die("gw-1");
  EXPECT_EQ(entry().owner, "gw-3");
  die("gw-3");
  EXPECT_EQ(entry().owner, "node-a");
  die("node-a");
  EXPECT_EQ(entry().owner, "gw-2") << "nobody is left out";
  config_.nodes["gw-3"].alive = true;
  config_.nodes["node-a"].alive = true;
  config_.nodes["node-a"].labels = {{"near", ""}};
  update("Node", "", "node-a");
  update("Node", "", "gw-3");
  EXPECT_EQ(entry().owner, "gw-3") << "of equal weight the first by the hash";
}

TEST_F(AnnouncerTest, L22_WhoIsNotSelectedIsNotPreferred) {
  config::L2Advertisement& all = config_.l2_advertisements.at({"metallb-system", "all"});
  all.node_selectors = {*test_selector("edge")};
  all.preferred = {{.weight = 100, .nodes = *test_selector("near")}};
  config_.nodes["gw-1"].labels = {{"edge", ""}};
  config_.nodes["gw-3"].labels = {{"near", ""}};
  update();
  EXPECT_EQ(entry().owner, "gw-1");
}

TEST_F(AnnouncerTest, L22_TheOrderIsThatOfSha256) {
  for (const Known& one : known) {
    for (size_t i = 0; i + 1 < one.order.size(); ++i) {
      EXPECT_LT(election_rank(one.order[i], ip(one.address)), election_rank(one.order[i + 1], ip(one.address)))
          << one.address;
    }
    add("svc", {one.address});
  }
  for (const Known& one : known) {
    Config all = config_;
    for (const char* node : one.order) {
      announcer_.update(config_, nullptr, sources(), now_);
      EXPECT_EQ(entry(one.address).owner, node) << one.address;
      die(node);
    }
    EXPECT_EQ(entry(one.address).owner, "");
    EXPECT_EQ(entry(one.address).note, "no node that may announce it is alive");
    config_ = all;
    update();
  }
}

TEST_F(AnnouncerTest, L22_WhoIsNoCandidate) {
  update();
  EXPECT_EQ(entry().owner, "gw-2");
  config_.nodes["gw-2"].labels["node.kubernetes.io/exclude-from-external-load-balancers"] = "";
  update("Node", "", "gw-2");
  EXPECT_EQ(entry().owner, "gw-1");
  EXPECT_TRUE(entry().ours);
  config_.nodes["gw-1"].network_available = false;
  update("Node", "", "gw-1");
  EXPECT_EQ(entry().owner, "gw-3");
  EXPECT_FALSE(entry().ours);
  EXPECT_THAT(announcer_.announced(), IsEmpty());
}

TEST_F(AnnouncerTest, L22_OneOwnerAndManyAddressesSpread) {
  std::map<std::string, int> owned;
  for (int i = 0; i < 200; ++i) add(fmt::format("s{}", i), {fmt::format("198.51.100.{}", i)});
  update();
  for (const L2Entry& one : announcer_.entries()) ++owned[one.owner];
  for (const char* node : {"gw-1", "gw-2", "gw-3", "node-a"}) EXPECT_GT(owned[node], 20) << node;
}

TEST_F(AnnouncerTest, L21_NothingIsAnnouncedWithoutAnEndpointThatServes) {
  config_.nodes.erase("gw-2");
  update();
  EXPECT_TRUE(entry().ours);
  endpoint("web").ready = false;
  endpoint("web").serving = true;
  update("EndpointSlice", "default", "web-1");
  EXPECT_TRUE(entry().ours) << "it serves while it terminates";
  endpoint("web").serving = false;
  update("EndpointSlice", "default", "web-1");
  EXPECT_FALSE(entry().ours);
  EXPECT_EQ(entry().note, "no endpoint is ready");
  EXPECT_THAT(announcer_.announced(), IsEmpty());
  EXPECT_THAT(news(), ElementsAre(Kind::TookOver, Kind::GaveUp));
}

TEST_F(AnnouncerTest, L21_LocalIsAnnouncedByNodesWithAnEndpoint) {
  config_.services.at({"default", "web"}).external_policy = config::TrafficPolicy::Local;
  endpoint("web").node_name = "gw-3";
  update();
  EXPECT_EQ(entry().owner, "gw-3");
  endpoint("web").node_name = "gw-1";
  update("EndpointSlice", "default", "web-1");
  EXPECT_EQ(entry().owner, "gw-1");
  config_.nodes["gw-1"].alive = false;
  update("Node", "", "gw-1");
  EXPECT_EQ(entry().note, "no node that may announce it has an endpoint");
}

TEST_F(AnnouncerTest, L23_OnTheInterfacesOfTheAdvertisement) {
  config_.nodes.erase("gw-2");
  update();
  EXPECT_THAT(announcer_.announced(),
              ElementsAre(Announced{ip("203.0.113.10"), "up0"}, Announced{ip("203.0.113.10"), "up1"}))
      << "every uplink, no pod";
  config_.l2_advertisements.begin()->second.interfaces = {"up1"};
  update("L2Advertisement", "metallb-system", "all");
  EXPECT_THAT(announcer_.announced(), ElementsAre(Announced{ip("203.0.113.10"), "up1"}));
  config_.l2_advertisements.begin()->second.interfaces = {"eth7"};
  update("L2Advertisement", "metallb-system", "all");
  EXPECT_THAT(announcer_.announced(), IsEmpty());
  EXPECT_THAT(entry().note, HasSubstr("none of the interfaces"));
  config_.l2_advertisements.begin()->second.pools = {"another"};
  update("L2Advertisement", "metallb-system", "all");
  EXPECT_EQ(entry().owner, "no entry");
}

TEST_F(AnnouncerTest, L24_TakeOverIsToldOnceAndOwnershipEndsAtOnce) {
  update();
  EXPECT_THAT(announcer_.take_fresh(), IsEmpty());
  die("gw-2");
  EXPECT_THAT(announcer_.take_fresh(),
              ElementsAre(Announced{ip("203.0.113.10"), "up0"}, Announced{ip("203.0.113.10"), "up1"}));
  update("Node", "", "gw-3");
  EXPECT_THAT(announcer_.take_fresh(), IsEmpty());
  config_.nodes["gw-2"].alive = true;
  update("Node", "", "gw-2");
  EXPECT_THAT(announcer_.announced(), IsEmpty());
  EXPECT_THAT(news(), ElementsAre(Kind::TookOver, Kind::GaveUp));
}

TEST_F(AnnouncerTest, L25_TheFirstInTheOrderStaysAndSaysSoAgain) {
  config_.nodes.erase("gw-2");
  update();
  (void)announcer_.take_fresh();
  (void)news();
  pass(std::chrono::seconds(10));
  announcer_.on_claim(ip("203.0.113.10"), foreign, now_);
  announcer_.on_claim(ip("203.0.113.10"), foreign, now_);
  EXPECT_TRUE(entry().ours);
  EXPECT_EQ(entry().conflicts, 2u);
  EXPECT_EQ(entry().claimed_by, foreign);
  EXPECT_THAT(news(), ElementsAre(Kind::Conflict)) << "not one for each frame";
  EXPECT_THAT(announcer_.take_fresh(), testing::SizeIs(2)) << "nor a defence";
  EXPECT_EQ(announcer_.conflicts(), 2u);
}

TEST_F(AnnouncerTest, L25_TheLoserByHashOrderStopsAndComesBackWhenNobodyAnswers) {
  update();
  die("gw-2");  // it is first in the order, and not dead at all
  (void)news();
  announcer_.on_claim(ip("203.0.113.10"), foreign, now_);
  EXPECT_TRUE(entry().ours) << "a change that reaches one router before the other is no conflict";
  pass(Announcer::conflict_patience + std::chrono::milliseconds(1));
  announcer_.on_claim(ip("203.0.113.10"), foreign, now_);
  EXPECT_FALSE(entry().ours);
  EXPECT_THAT(news(), ElementsAre(Kind::Conflict, Kind::GaveUp));
  EXPECT_THAT(announcer_.announced(),
              ElementsAre(Announced{ip("203.0.113.10"), "up0", false}, Announced{ip("203.0.113.10"), "up1", false}))
      << "watched";
  // Asked now and then; as long as it is answered nothing happens.
  for (int i = 0; i < 10; ++i) {
    pass(Announcer::probe_interval);
    EXPECT_THAT(announcer_.tick(config_, sources(), now_), testing::SizeIs(2));
    announcer_.on_claim(ip("203.0.113.10"), foreign, now_);
  }
  EXPECT_FALSE(entry().ours);
  for (unsigned i = 0; i < Announcer::silent_probes; ++i) {
    pass(Announcer::probe_interval);
    EXPECT_THAT(announcer_.tick(config_, sources(), now_), testing::SizeIs(2));
    EXPECT_FALSE(entry().ours);
  }
  pass(Announcer::probe_interval);
  EXPECT_THAT(announcer_.tick(config_, sources(), now_), IsEmpty());
  EXPECT_TRUE(entry().ours);
  EXPECT_THAT(news(), ElementsAre(Kind::TookOver));
}

TEST_F(AnnouncerTest, L22_WithoutNodesThereIsNobodyElse) {
  config_.nodes.clear();
  update();
  EXPECT_TRUE(entry().ours);
}

// L2-2: nothing is published where nothing changed, and a Node that is behind the owner does not matter.
TEST_F(AnnouncerTest, L22_WhatChangesNothingIsNotPublished) {
  config_.gateway.node_name = "gw-2";
  config_.gateway.local_node_names = {"gw-2"};
  update();
  EXPECT_EQ(entry().owner, "gw-2");
  EXPECT_TRUE(announcer_.take_changed());
  EXPECT_FALSE(announcer_.take_changed());
  die("gw-3");
  update("EndpointSlice", "default", "web-1");
  EXPECT_FALSE(announcer_.take_changed());
  die("gw-2");
  EXPECT_EQ(entry().owner, "gw-1");
  EXPECT_TRUE(announcer_.take_changed());
}

// L2-2: after every change of a Node the owners are those of a router that has just started.
TEST_F(AnnouncerTest, L22_AChangeOfANodeEndsAsAStartWould) {
  for (int i = 0; i < 40; ++i) add(fmt::format("s{}", i), {fmt::format("198.51.100.{}", i)});
  update();
  const std::array<const char*, 5> names{"gw-1", "gw-2", "gw-3", "node-a", "gw-9"};
  uint32_t random = 7;
  for (int step = 0; step < 200; ++step) {
    random = random * 1664525 + 1013904223;
    const std::string name = names[(random >> 8) % names.size()];
    switch ((random >> 16) % 4) {
      case 0:
        config_.nodes.erase(name);
        break;
      case 1:
        config_.nodes[name] = {.name = name};
        break;
      case 2:
        config_.nodes[name] = {.name = name, .alive = false};
        break;
      default:
        config_.nodes[name] = {.name = name, .network_available = false};
    }
    update("Node", "", name);
    Announcer fresh;
    fresh.update(config_, nullptr, sources(), now_);
    EXPECT_EQ(announcer_.announced(), fresh.announced()) << "step " << step << ": " << name;
    const auto now = announcer_.entries();
    const auto expected = fresh.entries();
    ASSERT_EQ(now.size(), expected.size());
    for (size_t i = 0; i < now.size(); ++i) {
      EXPECT_EQ(now[i].owner, expected[i].owner) << net::to_string(now[i].address);
      EXPECT_EQ(now[i].note, expected[i].note) << net::to_string(now[i].address);
    }
    if (HasFailure()) FAIL() << "step " << step;
  }
}

TEST_F(AnnouncerTest, L21_AChangeOfOneServiceIsSeen) {
  config_.nodes.erase("gw-2");
  update();
  config_.services.at({"default", "web"}).load_balancer_ips = {ip("203.0.113.10"), ip("2001:db8::10")};
  update("Service", "default", "web");
  EXPECT_TRUE(entry("2001:db8::10").ours);
  config_.services.erase({"default", "web"});
  update("Service", "default", "web");
  EXPECT_THAT(announcer_.announced(), IsEmpty());
  EXPECT_THAT(announcer_.entries(), IsEmpty());
}

// L2-2: an election looks at every Node, so it is held only if what it has of endpoints is different.
TEST_F(AnnouncerTest, L22_SCALE5_EndpointsThatDecideNothingHoldNoElection) {
  add("local", {"203.0.113.11"}).external_policy = config::TrafficPolicy::Local;
  size_t elections = 0;
  const Announcer::Sources known = sources();
  const Announcer::Sources counted{known.slices_of, [&](const IpAddr& address) {
                                     ++elections;
                                     return known.pool_of(address);
                                   }};
  const auto touch = [&](const std::string& service) {
    Change change;
    change.touched.push_back({{"EndpointSlice", "default", service + "-1"}, Change::Action::Replaced, true, {}});
    change.touched.back().service = service;
    elections = 0;
    announcer_.update(config_, &change, counted, now_);
    Announcer fresh;
    fresh.update(config_, nullptr, sources(), now_);
    EXPECT_EQ(announcer_.announced(), fresh.announced());
    return elections;
  };
  announcer_.update(config_, nullptr, counted, now_);
  EXPECT_EQ(elections, 2U);
  auto& endpoints = config_.slices.at({"default", "web-1"}).endpoints;
  endpoints.push_back({.address = ip("10.244.0.2"), .node_name = "gw-3"});
  EXPECT_EQ(touch("web"), 0U) << "another endpoint, at another node, of policy Cluster";
  auto& local = config_.slices.at({"default", "local-1"}).endpoints;
  local.push_back({.address = ip("10.244.0.3"), .node_name = "node-a"});
  EXPECT_EQ(touch("local"), 0U) << "at a node that has one";
  local.push_back({.address = ip("10.244.0.4"), .node_name = "gw-1"});
  EXPECT_EQ(touch("local"), 1U);
  for (config::Endpoint& endpoint : endpoints) endpoint.ready = endpoint.serving = false;
  EXPECT_EQ(touch("web"), 1U) << "none is ready";
  EXPECT_EQ(entry().note, "no endpoint is ready");
  endpoints[0].ready = true;
  EXPECT_EQ(touch("web"), 1U);
  // Nodes begin to count.
  config_.services.at({"default", "web"}).external_policy = config::TrafficPolicy::Local;
  update("Service", "default", "web");
  endpoints[1].ready = true;
  EXPECT_EQ(touch("web"), 1U);
  endpoints[0].ready = false;
  EXPECT_EQ(touch("web"), 1U);
}

}  // namespace
}  // namespace sluice::control
