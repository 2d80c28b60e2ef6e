// The allocator of load balancer addresses: rules by name, and under random changes with the log cut anywhere no
// address is ever with two services that may not share it.
#include <algorithm>
#include <array>
#include <chrono>
#include <random>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/convert.h"
#include "control/load_balancer_log.h"
#include "tests/unit/ipam_memory.h"

namespace sluice::control {
namespace {

using config::AddressPool;
using config::Change;
using config::Config;
using config::ObjectName;
using config::Service;
using net::IpAddr;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

IpAddr ip(std::string_view text) { return *net::parse_ip(text); }

ObjectName named(const std::string& name) { return {"default", name}; }

// Objects as they come, with the change that a test has made of them.
struct World {
  Config config;
  LoadBalancer allocator;
  Change change;
  bool fresh = true;

  AddressPool& pool(const std::string& name, std::vector<std::string_view> ranges) {
    AddressPool pool{.ns = "metallb-system", .name = name};
    for (const std::string_view range : ranges) pool.ranges.push_back(*config::parse_address_range(range));
    touch("IPAddressPool", "metallb-system", name);
    return config.address_pools[{pool.ns, name}] = pool;
  }
  Service& service(const std::string& name, uint16_t port = 80) {
    touch("Service", "default", name);
    Service& out = config.services[named(name)];
    out.name = named(name);
    out.type = config::ServiceType::LoadBalancer;
    out.ports = {{.port = port}};
    out.load_balancer.ours = true;
    if (out.load_balancer.families.empty()) out.load_balancer.families = {net::Family::V4};
    return out;
  }
  void remove(const std::string& name) {
    touch("Service", "default", name);
    config.services.erase(named(name));
  }
  void touch(const std::string& kind, const std::string& ns, const std::string& name) {
    if (fresh) return;
    for (const Change::Touched& touched : change.touched) {
      if (touched.key == config::ObjectKey{kind, ns, name}) return;
    }
    change.touched.push_back({{kind, ns, name}, Change::Action::Replaced, true, {}});
    std::sort(change.touched.begin(), change.touched.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  }
  std::vector<ObjectName> settle() {
    auto changed = allocator.update(config, std::exchange(fresh, false) ? nullptr : &change);
    change = {};
    return changed;
  }
  // "203.0.113.1,2001:db8::1", "pending", or "not ours".
  std::string has(const std::string& name) const {
    const auto given = allocator.given(named(name));
    if (!given) return "not ours";
    EXPECT_EQ(given->empty(), !allocator.pending(named(name)).empty()) << name;
    std::string out;
    for (const IpAddr& address : *given) out += (out.empty() ? "" : ",") + net::to_string(address);
    return out.empty() ? "pending" : out;
  }
  std::string why(const std::string& name) const { return allocator.pending(named(name)); }
};

TEST(LoadBalancer, LB1_PinnedPoolsByPriorityThenThoseForEverybody) {
  World world;
  world.pool("a-open", {"203.0.113.1/32"});
  world.pool("b-pinned-last", {"203.0.113.2/32"}).allocation.emplace().namespaces = {"default"};
  world.pool("c-pinned-second", {"203.0.113.3/32"}).allocation.emplace() = {.priority = 20, .namespaces = {"default"}};
  world.pool("d-pinned-first", {"203.0.113.4/32"}).allocation.emplace() = {.priority = 10, .namespaces = {"default"}};
  world.pool("e-of-others", {"203.0.113.5/32"}).allocation.emplace().namespaces = {"other"};
  world.pool("f-by-hand", {"203.0.113.6/32"}).auto_assign = false;
  for (const char* name : {"s1", "s2", "s3", "s4", "s5"}) world.service(name);
  (void)world.settle();
  EXPECT_EQ(world.has("s1"), "203.0.113.4");
  EXPECT_EQ(world.has("s2"), "203.0.113.3");
  EXPECT_EQ(world.has("s3"), "203.0.113.2");
  EXPECT_EQ(world.has("s4"), "203.0.113.1");
  EXPECT_EQ(world.has("s5"), "pending");
  EXPECT_EQ(world.why("s5"), "pool a-open has no free IPv4 address");
}

TEST(LoadBalancer, LB1_NamespacesAreSelectedByTheirLabels) {
  World world;
  auto& allocation = world.pool("a", {"203.0.113.1/32"}).allocation.emplace();
  boost::json::object spec{{"s", boost::json::array{boost::json::object{{"matchLabels", {{"team", "x"}}}}}}};
  config::Findings findings;
  config::Report report(findings, {"IPAddressPool"});
  config::Reader reader(&spec, report, {}, config::UnknownFields::Ignore);
  read_label_selectors(reader, "s", allocation.namespace_selectors);
  world.service("web");
  (void)world.settle();
  EXPECT_EQ(world.has("web"), "pending");
  world.config.namespaces["default"] = {"default", {{"team", "x"}}};
  world.touch("Namespace", "", "default");
  EXPECT_THAT(world.settle(), ElementsAre(named("web")));
  EXPECT_EQ(world.has("web"), "203.0.113.1");
}

TEST(LoadBalancer, LB1_AvoidedAddressesAreNotGiven) {
  World world;
  world.pool("a", {"203.0.113.254-203.0.114.1"}).avoid_buggy = true;
  for (const char* name : {"s1", "s2", "s3"}) world.service(name);
  (void)world.settle();
  EXPECT_EQ(world.has("s1"), "203.0.113.254");
  EXPECT_EQ(world.has("s2"), "203.0.114.1");
  EXPECT_EQ(world.has("s3"), "pending");
}

TEST(LoadBalancer, LB2_AWantedAddressOrNone) {
  World world;
  world.pool("a", {"203.0.113.0/29"});
  world.pool("b", {"198.51.100.0/29"});
  world.service("first").load_balancer.wanted = {ip("203.0.113.3")};
  world.service("second").load_balancer.wanted = {ip("203.0.113.3")};
  world.service("outside").load_balancer.wanted = {ip("192.0.2.1")};
  world.service("elsewhere").load_balancer.pool = "b";
  world.service("nowhere").load_balancer.pool = "c";
  Service& both = world.service("both");
  both.load_balancer.pool = "b";
  both.load_balancer.wanted = {ip("203.0.113.5")};
  (void)world.settle();
  EXPECT_EQ(world.has("first"), "203.0.113.3");
  EXPECT_EQ(world.has("second"), "pending");
  EXPECT_THAT(world.why("second"), HasSubstr("203.0.113.3 is in use by service default/first"));
  EXPECT_THAT(world.why("outside"), HasSubstr("is in no IPAddressPool"));
  EXPECT_EQ(world.has("elsewhere"), "198.51.100.0");
  EXPECT_THAT(world.why("nowhere"), HasSubstr("there is no IPAddressPool \"c\""));
  EXPECT_THAT(world.why("both"), HasSubstr("it is of pool a and not of pool b"));
  // Who waits for it gets it.
  world.remove("first");
  EXPECT_THAT(world.settle(), ElementsAre(named("first"), named("second")));
  EXPECT_EQ(world.has("second"), "203.0.113.3");
}

TEST(LoadBalancer, LB3_SharingNeedsOneKeyDifferentPortsAndTheSameNodes) {
  World world;
  world.pool("a", {"203.0.113.1/32"});
  const auto share = [&](const std::string& name, uint16_t port, const std::string& key) -> Service& {
    Service& service = world.service(name, port);
    service.load_balancer.share_key = key;
    return service;
  };
  share("http", 80, "k");
  share("https", 443, "k");
  share("same-port", 80, "k");
  share("other-key", 8080, "j");
  share("no-key", 8081, "");
  share("local", 8082, "k").external_policy = config::TrafficPolicy::Local;
  (void)world.settle();
  EXPECT_EQ(world.has("http"), "203.0.113.1");
  EXPECT_EQ(world.has("https"), "203.0.113.1");
  for (const char* name : {"same-port", "other-key", "no-key", "local"}) EXPECT_EQ(world.has(name), "pending") << name;
  world.remove("http");
  (void)world.settle();
  EXPECT_EQ(world.has("same-port"), "203.0.113.1") << "port 80 is free now";
}

TEST(LoadBalancer, LB3_LocalServicesShareIfTheySelectTheSamePods) {
  World world;
  world.pool("a", {"203.0.113.1/32"});
  for (const auto& [name, app] : {std::pair("a1", "x"), std::pair("a2", "x"), std::pair("b", "y")}) {
    Service& service = world.service(name, static_cast<uint16_t>(80 + name[1]));
    service.external_policy = config::TrafficPolicy::Local;
    service.load_balancer.share_key = "k";
    service.load_balancer.selector = {{"app", app}};
  }
  (void)world.settle();
  EXPECT_EQ(world.has("a1"), "203.0.113.1");
  EXPECT_EQ(world.has("a2"), "203.0.113.1");
  EXPECT_EQ(world.has("b"), "pending");
}

TEST(LoadBalancer, LB4_TheStatusAndWhatWasKeptCount) {
  World world;
  world.pool("a", {"203.0.113.0/29"});
  world.service("a-new");
  world.service("kept");
  world.service("told").load_balancer.status_ips = {ip("203.0.113.0")};
  world.allocator.restore({{named("kept"), {ip("203.0.113.1")}}, {named("gone"), {ip("203.0.113.2")}}});
  EXPECT_THAT(world.allocator.all(), testing::SizeIs(2)) << "until the first document";
  (void)world.settle();
  EXPECT_EQ(world.has("told"), "203.0.113.0");
  EXPECT_EQ(world.has("kept"), "203.0.113.1");
  EXPECT_EQ(world.has("a-new"), "203.0.113.3") << "who was first in the alphabet comes after who had something";
}

TEST(LoadBalancer, LB4_APoolThatLosesTheAddressUnassigns) {
  World world;
  world.pool("a", {"203.0.113.0/30"});
  world.service("web").load_balancer.wanted = {ip("203.0.113.2")};
  world.service("api");
  (void)world.settle();
  world.pool("a", {"198.51.100.0/30"});
  EXPECT_THAT(world.settle(), ElementsAre(named("api"), named("web")));
  EXPECT_EQ(world.has("web"), "pending") << "only what is wanted";
  EXPECT_EQ(world.has("api"), "198.51.100.0");
  world.config.address_pools.clear();
  world.touch("IPAddressPool", "metallb-system", "a");
  EXPECT_THAT(world.settle(), ElementsAre(named("api"), named("web")));
  EXPECT_EQ(world.has("api"), "not ours") << "without a pool the status counts";
}

TEST(LoadBalancer, LB4_OtherClassesAndOtherAddressesAreNotTouched) {
  World world;
  world.pool("a", {"203.0.113.0/30"});
  Service& foreign = world.service("foreign");
  foreign.load_balancer.ours = false;
  foreign.load_balancer.status_ips = {ip("203.0.113.0")};
  world.service("external").external_ips = {ip("203.0.113.1")};
  config::Node node{.name = "n", .internal_ips = {ip("203.0.113.2")}};
  world.config.nodes["n"] = node;
  (void)world.settle();
  EXPECT_EQ(world.has("foreign"), "not ours");
  EXPECT_EQ(world.has("external"), "203.0.113.3");
}

TEST(LoadBalancer, LB5_BothFamiliesFromOnePool) {
  World world;
  world.pool("a-v4-only", {"203.0.113.0/30"});
  world.pool("b-both", {"198.51.100.0/31", "2001:db8::/127"});
  const auto dual = [&](const std::string& name, config::FamilyPolicy policy) {
    Service& service = world.service(name);
    service.load_balancer.families = {net::Family::V4, net::Family::V6};
    service.load_balancer.policy = policy;
  };
  dual("require", config::FamilyPolicy::RequireDualStack);
  dual("prefer", config::FamilyPolicy::PreferDualStack);
  dual("require2", config::FamilyPolicy::RequireDualStack);
  dual("z-prefer2", config::FamilyPolicy::PreferDualStack);
  (void)world.settle();
  EXPECT_EQ(world.has("prefer"), "198.51.100.0,2001:db8::");
  EXPECT_EQ(world.has("require"), "198.51.100.1,2001:db8::1");
  EXPECT_EQ(world.has("require2"), "pending");
  EXPECT_EQ(world.has("z-prefer2"), "203.0.113.0") << "one is better than none";
}

TEST(LoadBalancer, LB2_AFailedChangeLeavesEverythingAsItWas) {
  World world;
  world.pool("a", {"203.0.113.0/30"});
  world.service("web");
  world.service("api");
  (void)world.settle();
  const GivenAddresses before = world.allocator.all();
  const Config config = world.config;
  world.remove("api");
  world.service("new").load_balancer.wanted = {ip("203.0.113.0")};
  world.pool("a", {"203.0.113.0/31"});
  EXPECT_THAT(world.settle(), testing::Not(IsEmpty()));
  EXPECT_EQ(world.has("new"), "203.0.113.0");
  world.config = config;
  world.allocator.undo(world.config);
  EXPECT_EQ(world.allocator.all(), before);
  EXPECT_EQ(world.has("new"), "not ours");
  world.service("next");
  (void)world.settle();
  EXPECT_EQ(world.has("next"), "203.0.113.2");
}

// A first document that cannot be deployed must not cost the services what they had.
TEST(LoadBalancer, LB4_AFailedFirstChangeLeavesTheRecordAsItWas) {
  ipam::MemoryStorage storage;
  std::vector<std::string> messages;
  const GivenAddresses kept{{named("web"), {ip("203.0.113.2")}}};
  {
    LoadBalancerLog log(storage);
    ASSERT_TRUE(log.load(messages));
    ASSERT_TRUE(log.append(kept));
    ASSERT_TRUE(log.sync()());
  }
  LoadBalancerLog log(storage);
  World world;
  world.allocator.restore(*log.load(messages));
  world.pool("a", {"203.0.113.0/29"});
  world.service("web");
  world.service("new");
  const auto append = [&](const std::vector<ObjectName>& names) {
    GivenAddresses changes;
    for (const ObjectName& name : names) changes[name] = world.allocator.recorded(name);
    return log.append(changes);
  };
  const std::vector<ObjectName> changed = world.settle();
  ASSERT_TRUE(append(changed));
  world.allocator.undo({});
  ASSERT_TRUE(append(changed));
  EXPECT_EQ(*LoadBalancerLog(storage).load(messages), kept);
  world.fresh = true;
  (void)world.settle();
  EXPECT_EQ(world.has("web"), "203.0.113.2");
}

TEST(LoadBalancer, LB4_WhatIsKnownIsNotWrittenAgain) {
  ipam::MemoryStorage storage;
  std::vector<std::string> messages;
  LoadBalancerLog log(storage);
  ASSERT_TRUE(log.load(messages));
  const GivenAddresses web{{named("web"), {ip("203.0.113.2")}}};
  EXPECT_TRUE(*log.append(web));
  storage.full = true;
  const auto again = log.append({{named("web"), {ip("203.0.113.2")}}, {named("none"), {}}});
  ASSERT_TRUE(again) << "a disk that is full does not matter where nothing is to be written";
  EXPECT_FALSE(*again);
  EXPECT_FALSE(log.append({{named("web"), {}}}));
  log.owe({{named("web"), {ip("203.0.113.3")}}});
  EXPECT_FALSE(log.retry());
  storage.full = false;
  EXPECT_TRUE(log.retry());
  EXPECT_EQ(*LoadBalancerLog(storage).load(messages), (GivenAddresses{{named("web"), {ip("203.0.113.3")}}}));
}

TEST(LoadBalancer, LB4_WhereNothingCanBeWrittenWhatIsKnownServes) {
  World world;
  world.pool("a", {"203.0.113.0/29"});
  world.service("kept");
  world.service("told").load_balancer.status_ips = {ip("203.0.113.0")};
  world.service("wants").load_balancer.wanted = {ip("203.0.113.4")};
  world.service("new");
  world.allocator.restore({{named("kept"), {ip("203.0.113.1")}}});
  world.allocator.freeze("the disk is full");
  (void)world.settle();
  EXPECT_EQ(world.has("kept"), "203.0.113.1");
  EXPECT_EQ(world.has("told"), "203.0.113.0");
  EXPECT_EQ(world.has("wants"), "203.0.113.4");
  EXPECT_EQ(world.has("new"), "pending");
  EXPECT_EQ(world.why("new"), "the disk is full");
  world.allocator.freeze({});
  EXPECT_THAT(world.settle(), ElementsAre(named("new")));
  EXPECT_EQ(world.has("new"), "203.0.113.2");
}

TEST(LoadBalancer, LB4_AChangeThatCannotBeWrittenDownGivesOnlyWhatIsKnown) {
  World world;
  world.pool("a", {"203.0.113.0/29"});
  world.service("old");
  world.service("leaves");
  world.allocator.restore({{named("absent"), {ip("203.0.113.7")}}, {named("deleted"), {ip("203.0.113.6")}}});
  (void)world.settle();
  const std::string had = world.has("leaves");
  const std::string old = world.has("old");

  world.remove("leaves");
  world.service("new");
  world.service("wants").load_balancer.wanted = {ip("203.0.113.4")};
  world.allocator.drop_kept({named("deleted")});
  (void)world.allocator.update(world.config, &world.change);
  EXPECT_EQ(world.has("new"), had) << "what became free";
  EXPECT_THAT(world.allocator.update_frozen(world.config, &world.change, "the disk is full"),
              UnorderedElementsAre(named("deleted"), named("leaves"), named("new"), named("wants")));
  EXPECT_EQ(world.has("new"), "pending");
  EXPECT_EQ(world.why("new"), "the disk is full");
  EXPECT_EQ(world.has("wants"), "203.0.113.4");
  EXPECT_EQ(world.has("old"), old);
  EXPECT_FALSE(world.allocator.all().contains(named("deleted")));
  EXPECT_TRUE(world.allocator.all().contains(named("absent")));
  world.change = {};

  world.allocator.freeze({});
  EXPECT_THAT(world.settle(), ElementsAre(named("new")));
  EXPECT_EQ(world.has("new"), had);
}

// The change fails after all: everything is as it was.
TEST(LoadBalancer, LB4_WhatWasGivenFrozenIsTakenBack) {
  World world;
  world.pool("a", {"203.0.113.0/29"});
  world.service("old");
  world.allocator.restore({{named("deleted"), {ip("203.0.113.6")}}});
  (void)world.settle();
  const GivenAddresses before = world.allocator.all();
  const Config config = world.config;
  world.remove("old");
  world.service("new");
  world.allocator.drop_kept({named("deleted")});
  (void)world.allocator.update(world.config, &world.change);
  (void)world.allocator.update_frozen(world.config, &world.change, "the disk is full");
  world.allocator.undo(config);
  EXPECT_EQ(world.allocator.all(), before);
}

TEST(LoadBalancer, LB4_AServiceThatComesLaterHasWhatItHad) {
  World world;
  world.pool("a", {"203.0.113.0/30"});
  world.service("early");
  world.allocator.restore({{named("late"), {ip("203.0.113.0")}},
                           {named("deleted"), {ip("203.0.113.1")}},
                           {named("foreign"), {ip("203.0.113.3")}}});
  (void)world.settle();
  EXPECT_EQ(world.has("early"), "203.0.113.2");
  EXPECT_THAT(world.allocator.all(), testing::SizeIs(4));
  world.service("foreign").load_balancer.ours = false;
  EXPECT_THAT(world.settle(), ElementsAre(named("foreign"))) << "to be written down";
  world.service("next");
  (void)world.settle();
  EXPECT_EQ(world.has("next"), "203.0.113.3");
  world.service("waits");
  (void)world.settle();
  EXPECT_EQ(world.has("waits"), "pending");
  world.allocator.drop_kept({named("deleted")});
  EXPECT_THAT(world.settle(), ElementsAre(named("deleted"), named("waits")));
  EXPECT_EQ(world.has("waits"), "203.0.113.1");
  world.service("late");
  (void)world.settle();
  EXPECT_EQ(world.has("late"), "203.0.113.0");
}

TEST(LoadBalancer, LB4_ALaterDocumentThatLacksAServiceFreesWhatItHad) {
  World world;
  world.pool("a", {"203.0.113.0/32"});
  world.service("web");
  world.allocator.restore({{named("absent"), {ip("203.0.113.0")}}});
  (void)world.settle();
  EXPECT_EQ(world.has("web"), "pending");
  world.allocator.drop_absent();
  const Config config = world.config;
  EXPECT_THAT(world.settle(), ElementsAre(named("absent"), named("web")));
  EXPECT_EQ(world.has("web"), "203.0.113.0");
  world.allocator.undo(config);
  EXPECT_EQ(world.has("web"), "pending");
  EXPECT_THAT(world.allocator.recorded(named("absent")), ElementsAre(ip("203.0.113.0")));
}

TEST(LoadBalancer, LB4_ThePoolMayComeAfterTheServices) {
  World world;
  world.service("kept");
  for (const char* name : {"x", "y"}) {
    Service& service = world.service(name, name[0] == 'x' ? 80 : 81);
    service.load_balancer.share_key = "k";
    service.load_balancer.status_ips = {ip("203.0.113.1")};
  }
  world.allocator.restore({{named("kept"), {ip("203.0.113.2")}}});
  (void)world.settle();
  EXPECT_EQ(world.has("kept"), "not ours");
  world.pool("a", {"203.0.113.0/29"});
  (void)world.settle();
  EXPECT_EQ(world.has("x"), "203.0.113.1");
  EXPECT_EQ(world.has("y"), "203.0.113.1") << "LB-3: they share what their status says";
  EXPECT_EQ(world.has("kept"), "203.0.113.2");
}

TEST(LoadBalancer, LB4_AStatusThatChangesComesBeforeWhatTheServiceHas) {
  World world;
  world.pool("a", {"203.0.113.0/29"});
  world.service("web");
  world.service("other");
  (void)world.settle();
  ASSERT_EQ(world.has("other"), "203.0.113.0");
  ASSERT_EQ(world.has("web"), "203.0.113.1");
  world.service("web").load_balancer.status_ips = {ip("203.0.113.5")};
  EXPECT_THAT(world.settle(), ElementsAre(named("web")));
  EXPECT_EQ(world.has("web"), "203.0.113.5") << "as another gateway has given it";
  world.service("web").load_balancer.status_ips = {ip("203.0.113.0")};
  (void)world.settle();
  EXPECT_EQ(world.has("web"), "203.0.113.5") << "it is not free";
  world.service("web").load_balancer.status_ips = {ip("198.51.100.1")};
  (void)world.settle();
  EXPECT_EQ(world.has("web"), "203.0.113.5") << "it is of no pool";
}

TEST(LoadBalancer, LB4_ExternalIpsDoNotMoveTheHolder) {
  World world;
  world.pool("a", {"203.0.113.0/30"});
  world.service("web").external_ips = {ip("203.0.113.1")};
  world.service("web").load_balancer.wanted = {ip("203.0.113.1")};
  world.service("api");
  (void)world.settle();
  EXPECT_EQ(world.has("web"), "203.0.113.1") << "its own";
  ASSERT_EQ(world.has("api"), "203.0.113.0");
  world.service("later", 81).external_ips = {ip("203.0.113.0")};
  (void)world.settle();
  world.service("api", 82);
  (void)world.settle();
  EXPECT_EQ(world.has("api"), "203.0.113.0");
  world.service("new").load_balancer.wanted = {ip("203.0.113.0")};
  (void)world.settle();
  EXPECT_EQ(world.has("new"), "pending");
}

TEST(LoadBalancer, LB5_WantedAddressesAreOfTheServicesFamiliesAndOfOnePool) {
  World world;
  world.pool("a", {"203.0.113.0/29", "2001:db8::/120"});
  world.pool("b", {"2001:db8:1::/120"});
  world.service("single").load_balancer.wanted = {ip("2001:db8::1")};
  Service& dual = world.service("dual");
  dual.load_balancer.families = {net::Family::V4, net::Family::V6};
  dual.load_balancer.policy = config::FamilyPolicy::RequireDualStack;
  dual.load_balancer.wanted = {ip("203.0.113.1"), ip("2001:db8:1::1")};
  (void)world.settle();
  EXPECT_EQ(world.has("single"), "pending");
  EXPECT_THAT(world.why("single"), HasSubstr("IPv6 is not of the service's ipFamilies"));
  EXPECT_EQ(world.has("dual"), "pending");
  EXPECT_THAT(world.why("dual"), HasSubstr("two pools, a and b"));
  world.service("dual").load_balancer.wanted = {ip("203.0.113.1"), ip("2001:db8::1")};
  (void)world.settle();
  EXPECT_EQ(world.has("dual"), "203.0.113.1,2001:db8::1");
}

// ---- at random -----------------------------------------------------------------------------------------

class RandomWorld : public testing::TestWithParam<uint32_t> {
 protected:
  size_t pick(size_t below) { return std::uniform_int_distribution<size_t>(0, below - 1)(random_); }

  void change_something() {
    const std::string name = fmt::format("s{}", pick(24));
    if (pick(20) == 0) {
      static const std::array<std::vector<std::string_view>, 3> ranges{
          {{"203.0.113.0/29"}, {"203.0.113.4-203.0.113.20"}, {"203.0.113.0/29", "198.51.100.0/30"}}};
      world_.pool("a", ranges[pick(ranges.size())]);
    } else if (pick(5) == 0) {
      world_.remove(name);
    } else {
      Service& service = world_.service(name, static_cast<uint16_t>(80 + pick(3)));
      service.load_balancer.share_key = pick(2) == 0 ? "" : fmt::format("k{}", pick(2));
      service.load_balancer.wanted.clear();
      if (pick(4) == 0) service.load_balancer.wanted = {ip(fmt::format("203.0.113.{}", pick(12)))};
      service.external_policy = pick(5) == 0 ? config::TrafficPolicy::Local : config::TrafficPolicy::Cluster;
      service.load_balancer.ours = pick(10) != 0;
    }
  }

  // Of two services with one address: the same key, different ports, the same nodes. And all of it is in a pool.
  void check() {
    std::map<IpAddr, std::vector<const Service*>> users;
    for (const auto& [name, service] : world_.config.services) {
      const auto given = world_.allocator.given(name);
      if (!given) continue;
      EXPECT_TRUE(service.load_balancer.ours);
      for (const IpAddr& address : *given) {
        EXPECT_TRUE(std::any_of(world_.config.address_pools.begin(), world_.config.address_pools.end(),
                                [&](const auto& pool) { return pool.second.has(address); }));
        users[address].push_back(&service);
      }
    }
    for (const auto& [address, services] : users) {
      for (size_t i = 0; i < services.size(); ++i) {
        for (size_t j = 0; j < i; ++j) {
          const Service& a = *services[i];
          const Service& b = *services[j];
          EXPECT_TRUE(!a.load_balancer.share_key.empty() && a.load_balancer.share_key == b.load_balancer.share_key &&
                      a.ports[0].port != b.ports[0].port && a.external_policy == b.external_policy)
              << net::to_string(address) << ": " << a.name.text() << " and " << b.name.text();
        }
      }
    }
  }

  std::mt19937 random_{GetParam()};
  World world_;
};

TEST_P(RandomWorld, LB3_NoAddressIsWithTwoThatMayNotShare) {
  world_.pool("a", {"203.0.113.0/29"});
  GivenAddresses before;
  for (int step = 0; step < 400; ++step) {
    const size_t changes = 1 + pick(3);
    for (size_t i = 0; i < changes; ++i) change_something();
    const Change change = world_.change;
    const std::vector<ObjectName> changed = world_.settle();
    check();
    const GivenAddresses now = world_.allocator.all();
    for (const auto& [name, addresses] : now) {
      const auto was = before.find(name);
      if (was == before.end() || was->second != addresses) {
        EXPECT_NE(std::find(changed.begin(), changed.end(), name), changed.end()) << name.text();
      }
      // LB-4: untouched services keep what they have, unless the pools changed.
      if (was == before.end() || change.touches("IPAddressPool")) continue;
      if (!change.touches(config::ObjectKey{"Service", name.ns, name.name})) {
        EXPECT_EQ(addresses, was->second) << name.text();
      }
    }
    before = now;
    if (HasFailure()) FAIL() << "step " << step;
  }
}

TEST_P(RandomWorld, LB3_UndoneChangesLeaveNoTrace) {
  world_.pool("a", {"203.0.113.0/29"});
  (void)world_.settle();
  for (int step = 0; step < 200; ++step) {
    const Config config = world_.config;
    const GivenAddresses before = world_.allocator.all();
    change_something();
    change_something();
    (void)world_.settle();
    check();
    if (pick(2) == 0) continue;
    world_.config = config;
    world_.allocator.undo(world_.config);
    EXPECT_EQ(world_.allocator.all(), before);
    check();
    if (HasFailure()) FAIL() << "step " << step;
  }
}

// LB-4: whatever of the log reaches the disk, the next start knows what was synced, and of the rest a part from the
// beginning.
TEST_P(RandomWorld, LB4_WhatWasToldIsKeptWhereverTheLogIsCut) {
  ipam::MemoryStorage storage;
  std::vector<std::string> messages;
  auto log = std::make_unique<LoadBalancerLog>(storage);
  ASSERT_TRUE(log->load(messages));
  world_.pool("a", {"203.0.113.0/28"});
  std::vector<GivenAddresses> history{{}};  // behind the last one that was synced
  for (int step = 0; step < 200; ++step) {
    change_something();
    GivenAddresses changes;
    for (const ObjectName& name : world_.settle()) {
      changes[name] = world_.allocator.recorded(name);
    }
    if (changes.empty()) continue;
    ASSERT_TRUE(log->append(changes));
    history.push_back(world_.allocator.all());
    if (pick(3) != 0) continue;
    if (pick(3) != 0) {
      ASSERT_TRUE(log->sync()());
      history = {world_.allocator.all()};
      continue;
    }
    storage.restart(pick(storage.unsynced() + 1));
    log = std::make_unique<LoadBalancerLog>(storage);
    const auto kept = log->load(messages);
    ASSERT_TRUE(kept);
    EXPECT_NE(std::find(history.begin(), history.end(), *kept), history.end()) << "step " << step;
    // The next run begins with what was kept, and gives it to the same services as far as they may still have it.
    world_.allocator = LoadBalancer();
    world_.allocator.restore(*kept);
    world_.change = {};
    world_.fresh = true;
    GivenAddresses news;
    for (const ObjectName& name : world_.settle()) {
      news[name] = world_.allocator.recorded(name);
    }
    check();
    for (const auto& [name, addresses] : *kept) {
      const auto service = world_.config.services.find(name);
      if (history.size() != 1 || service == world_.config.services.end()) continue;
      EXPECT_EQ(world_.allocator.given(name), addresses) << name.text();
    }
    ASSERT_TRUE(log->append(news));
    ASSERT_TRUE(log->sync()());
    history = {world_.allocator.all()};
    if (HasFailure()) FAIL() << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomWorld, testing::Range(1u, 21u));

// SCALE: ten thousand services; one more must not look at the others. In operations that a slow machine has time for.
TEST(LoadBalancer, LB1_TheNextFreeAddressIsFoundWithoutScanning) {
  World world;
  world.pool("a", {"10.0.0.0/8", "2001:db8::/32"});
  for (int i = 0; i < 10000; ++i) world.service(fmt::format("s{:05}", i));
  (void)world.settle();
  EXPECT_EQ(world.has("s09999"), "10.0.39.15");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 2000; ++i) {
    world.remove(fmt::format("s{:05}", i * 5));
    (void)world.settle();
    world.service(fmt::format("n{}", i));
    (void)world.settle();
    EXPECT_EQ(world.has(fmt::format("n{}", i)), fmt::format("10.0.{}.{}", i * 5 / 256, i * 5 % 256));
  }
  // A pass over all services for each would take a minute.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace sluice::control
