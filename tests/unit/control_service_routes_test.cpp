// ServiceRoutes: routes to services that come and go are what a plan made anew would have.
#include <array>
#include <map>
#include <random>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "control/service_routes.h"

namespace sluice::control {
namespace {

using net::IpAddr;
using net::Prefix;

IpAddr ip(const char* text) { return *net::parse_ip(text); }
Prefix prefix(const char* text) { return *net::parse_prefix(text); }

// A gateway at 192.0.2.1/24 with a node behind a tunnel whose end is not on-link, and others who want single addresses.
config::Config base() {
  config::Config config;
  config.gateway.node_name = "gw";
  config.gateway.local_node_names = {"gw"};
  config::Interface up;
  up.name = "up";
  up.device = "net_null0";
  up.addresses = {prefix("192.0.2.1/24"), prefix("2001:db8::1/64")};
  up.gateway_v4 = ip("192.0.2.254").v4();
  config.gateway.interfaces = {up};
  config.gateway.cluster.service_cidrs = {prefix("10.96.0.0/16"), prefix("198.51.100.6/32")};
  config.gateway.ingress.enabled = true;
  config.gateway.ingress.addresses = {ip("198.51.100.80")};
  config::Node node;
  node.name = "node1";
  node.internal_ips = {ip("203.0.113.9")};
  config.nodes[node.name] = node;
  config::IpPool pool;
  pool.name = "pods";
  pool.cidr = prefix("10.244.0.0/16");
  pool.vxlan_mode = config::TunnelMode::Always;
  config.pools[pool.name] = pool;
  pool = {};
  pool.name = "one";
  pool.cidr = prefix("198.51.100.7/32");
  pool.load_balancer_only = true;
  config.pools[pool.name] = pool;
  config.blocks["b"] = {.name = "b", .node = "node1", .cidr = prefix("10.244.1.0/26"), .confirmed = true};
  return config;
}

config::Change::Touched touched(const std::string& name) { return {.key = {"Service", "ns", name}}; }

// The routes of `plan` after the moves.
std::map<Prefix, PlannedRoute> moved(Plan plan, const ServiceRoutes::Moves& moves) {
  for (const Prefix& one : moves.gained) plan.routes.insert_or_assign(one, service_route());
  for (const Prefix& one : moves.lost) plan.routes.erase(one);
  return std::move(plan.routes);
}

std::string text_of(const Plan& plan) {
  std::string out;
  for (const auto& [to, route] : plan.routes) out += net::to_string(to) + " " + route.origin + "\n";
  return out;
}

class Services : public testing::Test {
 protected:
  void SetUp() override { make(); }
  void make() {
    plan = make_plan(config);
    routes.reset(config);
  }
  void set(const std::string& name, std::vector<IpAddr> addresses) {
    config::Service service;
    service.name = {"ns", name};
    service.cluster_ips = std::move(addresses);
    config.services[service.name] = service;
  }
  std::optional<ServiceRoutes::Moves> moves_of(const std::string& name) {
    config::Change change;
    change.touched = {touched(name)};
    return routes.moves(config, change, plan);
  }

  config::Config config = base();
  Plan plan;
  ServiceRoutes routes;
};

TEST_F(Services, SCALE5_AServiceGainsAndLosesRoutesOfItsOwn) {
  set("a", {ip("10.96.0.1"), ip("fd00::1")});
  const auto gained = moves_of("a");
  ASSERT_TRUE(gained);
  EXPECT_EQ(gained->gained, (std::vector{prefix("10.96.0.1/32"), prefix("fd00::1/128")}));
  EXPECT_TRUE(gained->lost.empty());
  EXPECT_EQ(moved(plan, *gained), make_plan(config).routes);
  plan.routes = moved(plan, *gained);
  routes.commit(*gained);
  set("a", {ip("10.96.0.2")});
  const auto other = moves_of("a");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->gained, std::vector{prefix("10.96.0.2/32")});
  EXPECT_EQ(other->lost.size(), 2u);
}

TEST_F(Services, SCALE5_WhatSomebodyElseWantsIsPlannedAnew) {
  for (const char* address : {"198.51.100.6", "198.51.100.7", "198.51.100.80", "203.0.113.9", "192.0.2.1"}) {
    config = base();
    make();
    set("a", {ip(address)});
    EXPECT_FALSE(moves_of("a")) << address;
    make();
    config.services.clear();
    EXPECT_FALSE(moves_of("a")) << "to lose " << address;
  }
}

TEST_F(Services, SCALE5_WhatAnotherServiceHasStays) {
  set("a", {ip("10.96.0.1")});
  set("b", {ip("10.96.0.1")});
  make();
  config.services.erase({"ns", "a"});
  const auto moves = moves_of("a");
  ASSERT_TRUE(moves);
  EXPECT_TRUE(moves->lost.empty());
  routes.commit(*moves);
  config.services.clear();
  EXPECT_EQ(moves_of("b")->lost, std::vector{prefix("10.96.0.1/32")});
}

TEST_F(Services, SCALE5_AnyOrderOfChangesLeadsToTheRoutesOfAPlanMadeAnew) {
  const std::array<IpAddr, 12> addresses{ip("10.96.0.1"),    ip("10.96.0.2"),    ip("10.96.0.3"),     ip("10.96.0.4"),
                                         ip("198.51.100.5"), ip("198.51.100.6"), ip("198.51.100.7"),  ip("fd00::1"),
                                         ip("fd00::2"),      ip("203.0.113.9"),  ip("198.51.100.80"), ip("192.0.2.1")};
  std::mt19937 random(1);
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  unsigned planned = 0;
  constexpr unsigned steps = 3000;
  for (unsigned step = 0; step < steps; ++step) {
    config::Change change;
    std::set<std::string> names;
    for (uint32_t i = 0, count = 1 + below(3); i < count; ++i) names.emplace(1, static_cast<char>('a' + below(8)));
    for (const std::string& name : names) {
      change.touched.push_back(touched(name));
      if (below(4) == 0) {
        config.services.erase({"ns", name});
        continue;
      }
      // The rarer ones are those that others want.
      set(name, {addresses[below(below(8) == 0 ? 12 : 5)]});
      config::Service& service = config.services[{"ns", name}];
      if (below(3) == 0) service.external_ips = {addresses[below(9)]};
      service.proxied = below(8) != 0;
    }
    const Plan wanted = make_plan(config);
    const auto moves = routes.moves(config, change, plan);
    if (moves) {
      plan.routes = moved(plan, *moves);
      routes.commit(*moves);
    } else {
      ++planned;
      make();
    }
    ASSERT_EQ(text_of(plan), text_of(wanted)) << "step " << step;
    ASSERT_EQ(plan.routes, wanted.routes) << "step " << step;
    ASSERT_EQ(plan.tunnels, wanted.tunnels) << "step " << step;
  }
  EXPECT_GT(planned, steps / 50);
  EXPECT_LT(planned, steps / 2);
}

}  // namespace
}  // namespace sluice::control
