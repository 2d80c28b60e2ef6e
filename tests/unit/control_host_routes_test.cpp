// The kernel's routes as they come and go, and what of them the router is told.
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/host_routes.h"

namespace sluice::control {
namespace {

using Hop = netlink::Route::Hop;

net::IpAddr ip(std::string_view text) { return *net::parse_ip(text); }

netlink::Route route(std::string_view destination, std::vector<Hop> hops, uint32_t metric = 0, uint32_t table = 254,
                     uint8_t protocol = 12) {
  netlink::Route out{.destination = *net::parse_prefix(destination), .table = table, .protocol = protocol};
  out.metric = metric;
  out.hops = std::move(hops);
  return out;
}
netlink::Route gone(netlink::Route route) {
  route.gone = true;
  return route;
}
Hop via(std::string_view address, int link = 7) { return {link, ip(address)}; }

std::string text_of(const PlannedHop& hop) {
  if (hop.fixed == dataplane::hop::blackhole) return "blackhole";
  if (hop.fixed == dataplane::hop::unreachable) return "unreachable";
  if (hop.fixed == dataplane::hop::prohibit) return "prohibit";
  if (!hop.neighbor) return "dev " + hop.interface;
  if (hop.kind == dataplane::HopKind::Tunnel) {
    return fmt::format("{} by {} dev {}{}", hop.tunnel, net::to_string(hop.neighbor->address), hop.neighbor->interface,
                       hop.neighbor->mac ? " known" : "");
  }
  return fmt::format("{} dev {}{}", net::to_string(hop.neighbor->address), hop.neighbor->interface,
                     hop.neighbor->mac ? " known" : "");
}

class HostRoutes : public testing::Test {
 protected:
  HostRoutes() { want({}); }
  bool want(config::HostRoutes wanted, HostRouteTable::Links links = {{7, "up"}, {8, "un"}}) {
    return table.set_wanted(wanted, std::move(links));
  }
  // "10.0.0.0/8 via …, …; 10.1.0.0/16 gone"
  std::string changes(size_t most = 100) {
    std::string out;
    for (const HostRouteChange& change : table.take_changes(most)) {
      out += (out.empty() ? "" : "; ") + net::to_string(change.destination);
      if (change.route == nullptr) out += " gone";
      for (size_t i = 0; change.route != nullptr && i < change.route->hops.size(); ++i) {
        out += (i == 0 ? " " : ", ") + text_of(change.route->hops[i]);
      }
    }
    return out;
  }

  HostRouteTable table;
};

TEST_F(HostRoutes, HOST4_ComeChangeAndGo) {
  table.learn(route("198.51.100.0/24", {via("192.0.2.9")}));
  table.learn(route("203.0.113.0/24", {{8, std::nullopt}}));
  EXPECT_EQ(changes(), "198.51.100.0/24 192.0.2.9 dev up; 203.0.113.0/24 dev un");
  EXPECT_EQ(changes(), "");
  table.learn(route("198.51.100.0/24", {via("192.0.2.9"), via("192.168.0.9", 8)}));
  table.learn(route("203.0.113.0/24", {{8, std::nullopt}}));
  EXPECT_EQ(changes(), "198.51.100.0/24 192.0.2.9 dev up, 192.168.0.9 dev un") << "ECMP; the other is the same";
  table.learn(gone(route("198.51.100.0/24", {})));
  EXPECT_EQ(changes(), "198.51.100.0/24 gone");
  table.learn(gone(route("198.51.100.0/24", {})));
  table.learn(route("10.0.0.0/8", {via("192.0.2.9")}));
  table.learn(gone(route("10.0.0.0/8", {})));
  EXPECT_EQ(changes(), "") << "nobody saw it";
}

TEST_F(HostRoutes, HOST4_TypesWithoutNextHop) {
  netlink::Route one = route("10.1.0.0/16", {});
  one.type = netlink::RouteType::Blackhole;
  table.learn(one);
  one.destination = *net::parse_prefix("10.2.0.0/16");
  one.type = netlink::RouteType::Unreachable;
  table.learn(one);
  one.destination = *net::parse_prefix("10.3.0.0/16");
  one.type = netlink::RouteType::Prohibit;
  table.learn(one);
  EXPECT_EQ(changes(), "10.1.0.0/16 blackhole; 10.2.0.0/16 unreachable; 10.3.0.0/16 prohibit");
}

// RFC 8950: as BIRD and FRR have them of sessions over link-local addresses.
TEST_F(HostRoutes, HOST4_NextHopsOfIpv6ForIpv4) {
  table.learn(route("203.0.113.0/24", {via("fe80::9")}));
  table.learn(route("198.51.100.0/24", {via("fe80::9"), via("192.168.0.9", 8)}));
  EXPECT_EQ(changes(), "198.51.100.0/24 fe80::9 dev up, 192.168.0.9 dev un; 203.0.113.0/24 fe80::9 dev up");
  table.learn(gone(route("203.0.113.0/24", {via("fe80::9")})));
  EXPECT_EQ(changes(), "203.0.113.0/24 gone");
}

TEST_F(HostRoutes, HOST4_OnlyWantedTablesProtocolsAndLinks) {
  (void)want({.tables = {254, 1000}, .protocols = {12, 4}});
  table.learn(route("10.1.0.0/16", {via("192.0.2.9")}, 0, 254, 12));
  table.learn(route("10.2.0.0/16", {via("192.0.2.9")}, 0, 1000, 4));
  table.learn(route("10.3.0.0/16", {via("192.0.2.9")}, 0, 255, 12));
  table.learn(route("10.4.0.0/16", {via("192.0.2.9")}, 0, 254, 2));
  table.learn(route("10.5.0.0/16", {via("172.16.0.9", 3)}));
  table.learn(route("10.6.0.0/16", {via("172.16.0.9", 3), via("192.0.2.9")}));
  table.learn(route("fe80::/64", {{7, std::nullopt}}));
  table.learn(route("169.254.0.0/16", {{7, std::nullopt}}));
  table.learn(route("ff00::/8", {{7, std::nullopt}}));
  EXPECT_EQ(changes(), "10.1.0.0/16 192.0.2.9 dev up; 10.2.0.0/16 192.0.2.9 dev up; 10.6.0.0/16 192.0.2.9 dev up");
}

// "ip route replace": the kernel tells of the new one only.
TEST_F(HostRoutes, HOST4_ReplacedByOneThatIsNotWanted) {
  (void)want({.protocols = {12}});
  const auto replacing = [](netlink::Route by) {
    by.replaces = true;
    return by;
  };
  table.learn(route("10.1.0.0/16", {via("192.0.2.9")}));
  table.learn(route("10.2.0.0/16", {via("192.0.2.9")}));
  table.learn(route("10.2.0.0/16", {via("192.0.2.8")}, 5));
  table.learn(route("2001:db8::/32", {via("fd00::1"), via("fd00::2")}));
  (void)changes();
  table.learn(route("10.1.0.0/16", {via("192.0.2.7")}, 0, 254, 4));
  EXPECT_EQ(changes(), "") << "beside it, not in its place";
  table.learn(replacing(route("10.1.0.0/16", {via("192.0.2.7")}, 0, 254, 4)));
  table.learn(replacing(route("10.2.0.0/16", {via("192.0.2.7")}, 0, 254, 4)));
  table.learn(replacing(route("2001:db8::/32", {via("fd00::1")}, 0, 254, 4)));
  EXPECT_EQ(changes(), "10.1.0.0/16 gone; 10.2.0.0/16 192.0.2.8 dev up; 2001:db8::/32 gone");
  table.learn(replacing(gone(route("10.2.0.0/16", {}, 5))));
  EXPECT_EQ(changes(), "10.2.0.0/16 gone") << "by one of a type that means nothing here";
  table.learn(replacing(route("10.1.0.0/16", {via("192.0.2.6")})));
  table.learn(replacing(route("10.1.0.0/16", {via("192.0.2.5")})));
  EXPECT_EQ(changes(), "10.1.0.0/16 192.0.2.5 dev up");
}

TEST_F(HostRoutes, HOST4_TheLeastMetricThenTheNext) {
  table.learn(route("10.0.0.0/8", {via("192.0.2.20")}, 20));
  table.learn(route("10.0.0.0/8", {via("192.0.2.10")}, 10));
  table.learn(route("10.0.0.0/8", {via("172.16.0.1", 3)}, 1));
  EXPECT_EQ(changes(), "10.0.0.0/8 192.0.2.10 dev up") << "the best does not leave by a twin";
  table.learn(gone(route("10.0.0.0/8", {}, 10)));
  EXPECT_EQ(changes(), "10.0.0.0/8 192.0.2.20 dev up");
  table.learn(gone(route("10.0.0.0/8", {}, 20)));
  EXPECT_EQ(changes(), "10.0.0.0/8 gone");
}

TEST_F(HostRoutes, HOST4_TablesInTheOrderOfTheConfiguration) {
  (void)want({.tables = {1000, 254}});
  table.learn(route("10.0.0.0/8", {via("192.0.2.1")}, 1, 254));
  table.learn(route("10.0.0.0/8", {via("192.0.2.2")}, 50, 1000));
  EXPECT_EQ(changes(), "10.0.0.0/8 192.0.2.2 dev up");
}

// IPv6 tells of one next hop of several that goes.
TEST_F(HostRoutes, HOST4_NextHopsOfIpv6LeaveOneByOne) {
  table.learn(route("2001:db8::/32", {via("fd00::1"), via("fd00::2")}));
  EXPECT_EQ(changes(), "2001:db8::/32 fd00::1 dev up, fd00::2 dev up");
  table.learn(gone(route("2001:db8::/32", {via("fd00::1")})));
  EXPECT_EQ(changes(), "2001:db8::/32 fd00::2 dev up");
  table.learn(gone(route("2001:db8::/32", {via("fd00::2")})));
  EXPECT_EQ(changes(), "2001:db8::/32 gone");
}

// After lost messages everything is asked for again.
TEST_F(HostRoutes, HOST4_WhatIsNotToldAgainIsGone) {
  for (const char* destination : {"10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"}) {
    table.learn(route(destination, {via("192.0.2.9")}));
  }
  (void)changes();
  table.begin_all();
  table.learn(route("10.1.0.0/16", {via("192.0.2.9")}));
  table.learn(route("10.3.0.0/16", {via("192.0.2.8")}));
  EXPECT_EQ(changes(), "10.3.0.0/16 192.0.2.8 dev up") << "the answer is not complete yet";
  table.end_all();
  EXPECT_EQ(changes(), "10.2.0.0/16 gone");
}

TEST_F(HostRoutes, HOST4_LinksAndWishesThatChange) {
  table.learn(route("10.1.0.0/16", {via("192.0.2.9")}));
  table.learn(route("10.2.0.0/16", {via("192.168.0.9", 8)}));
  (void)changes();
  EXPECT_FALSE(want({}, {{8, "other"}})) << "nothing to ask the kernel for";
  EXPECT_EQ(changes(), "10.1.0.0/16 gone; 10.2.0.0/16 192.168.0.9 dev other");
  EXPECT_FALSE(want({}));
  EXPECT_EQ(changes(), "10.1.0.0/16 192.0.2.9 dev up; 10.2.0.0/16 192.168.0.9 dev un");
  EXPECT_TRUE(want({.protocols = {4}}));
  EXPECT_EQ(changes(), "10.1.0.0/16 gone; 10.2.0.0/16 gone");
  EXPECT_FALSE(table.set_wanted(std::nullopt, {{7, "up"}}));
  table.learn(route("10.3.0.0/16", {via("192.0.2.9")}));
  EXPECT_EQ(changes(), "");
}

TEST_F(HostRoutes, HOST4_NeighboursThatTheConfigurationKnows) {
  table.learn(route("10.1.0.0/16", {via("192.0.2.9")}));
  EXPECT_EQ(changes(), "10.1.0.0/16 192.0.2.9 dev up");
  table.set_neighbors(
      {{"up", ip("192.0.2.9"), net::MacAddr{{2, 0, 0, 0, 0, 9}}}, {"un", ip("192.0.2.8"), std::nullopt}});
  EXPECT_EQ(changes(), "10.1.0.0/16 192.0.2.9 dev up known");
}

// 192.0.2.9 is a node in our subnet, 192.0.2.1 the way to one that is not.
HostTunnels tunnels(config::TunnelMode mode) {
  const auto hop = [](const char* tunnel, std::string_view outer) {
    return PlannedHop{.kind = dataplane::HopKind::Tunnel,
                      .neighbor = PlannedNeighbor{"up", ip(outer), std::nullopt},
                      .tunnel = tunnel};
  };
  return {.pools = {{*net::parse_prefix("10.244.0.0/16"), mode}},
          .nodes = {{ip("192.0.2.9"), hop("ipip@a", "192.0.2.9")}, {ip("203.0.113.9"), hop("ipip@b", "192.0.2.1")}},
          .connected = {*net::parse_prefix("192.0.2.0/24")}};
}

TEST_F(HostRoutes, BGP8_IntoAPoolWithIpipByTheTunnelToTheNode) {
  table.set_tunnels(tunnels(config::TunnelMode::Always));
  table.learn(route("10.244.1.0/26", {via("192.0.2.9")}));
  table.learn(route("10.244.2.0/26", {via("203.0.113.9")}));
  table.learn(route("10.244.3.0/26", {via("192.0.2.7")}));
  table.learn(route("198.51.100.0/24", {via("192.0.2.9")}));
  table.learn(route("10.0.0.0/8", {via("192.0.2.9")}));
  EXPECT_EQ(
      changes(),
      "10.0.0.0/8 192.0.2.9 dev up; 10.244.1.0/26 ipip@a by 192.0.2.9 dev up; "
      "10.244.2.0/26 ipip@b by 192.0.2.1 dev up; 10.244.3.0/26 192.0.2.7 dev up; 198.51.100.0/24 192.0.2.9 dev up")
      << "bare what is no node's, and what is not inside the pool";
  table.set_neighbors({{"up", ip("192.0.2.1"), net::MacAddr{{2, 0, 0, 0, 0, 1}}}});
  EXPECT_EQ(changes(), "10.244.2.0/26 ipip@b by 192.0.2.1 dev up known");
}

TEST_F(HostRoutes, BGP8_AcrossSubnetsOnlyAndAgainWhenPoolsAndNodesChange) {
  table.learn(route("10.244.1.0/26", {via("192.0.2.9")}));
  table.learn(route("10.244.2.0/26", {via("203.0.113.9")}));
  table.learn(route("198.51.100.0/24", {via("192.0.2.9")}));
  (void)changes();
  table.set_tunnels(tunnels(config::TunnelMode::CrossSubnet));
  EXPECT_EQ(changes(), "10.244.2.0/26 ipip@b by 192.0.2.1 dev up");
  table.set_tunnels(tunnels(config::TunnelMode::Always));
  EXPECT_EQ(changes(), "10.244.1.0/26 ipip@a by 192.0.2.9 dev up");
  HostTunnels fewer = tunnels(config::TunnelMode::Always);
  fewer.nodes.erase(ip("192.0.2.9"));
  table.set_tunnels(fewer);
  EXPECT_EQ(changes(), "10.244.1.0/26 192.0.2.9 dev up");
  table.set_tunnels({});
  EXPECT_EQ(changes(), "10.244.2.0/26 203.0.113.9 dev up") << "the pool is gone";
}

TEST_F(HostRoutes, BGP8_WhatNeedsATunnelOfTheConfiguration) {
  config::Config config;
  config.gateway.node_name = "gw";
  config::Interface up;
  up.name = "up";
  up.device = "net_null0";
  up.addresses = {*net::parse_prefix("192.0.2.1/24")};
  up.gateway_v4 = ip("192.0.2.254").v4();
  config.gateway.interfaces = {up};
  for (const auto& [name, address] : {std::pair("gw", "192.0.2.1"), {"a", "192.0.2.9"}, {"b", "203.0.113.9"}}) {
    config.nodes[name].name = name;
    config.nodes[name].internal_ips = {ip(address)};
  }
  config.pools["pods"] = {
      .name = "pods", .cidr = *net::parse_prefix("10.244.0.0/16"), .ipip_mode = config::TunnelMode::CrossSubnet};
  config.pools["bare"] = {.name = "bare", .cidr = *net::parse_prefix("10.245.0.0/16")};
  EXPECT_EQ(host_tunnels(config, make_plan(config)), HostTunnels{}) << "no routes of the host are wanted";
  EXPECT_TRUE(make_plan(config).tunnels.empty());

  config.gateway.host.routes.emplace();
  const Plan plan = make_plan(config);
  const HostTunnels made = host_tunnels(config, plan);
  EXPECT_EQ(made.pools.size(), 1u);
  EXPECT_EQ(made.pools.count(*net::parse_prefix("10.244.0.0/16")), 1u);
  EXPECT_EQ(made.connected, std::vector{*net::parse_prefix("192.0.2.0/24")});
  ASSERT_EQ(made.nodes.size(), 2u) << "not the router itself";
  EXPECT_EQ(text_of(made.nodes.at(ip("192.0.2.9"))), "ipip@a by 192.0.2.9 dev up");
  EXPECT_EQ(text_of(made.nodes.at(ip("203.0.113.9"))), "ipip@b by 192.0.2.254 dev up");
  EXPECT_EQ(plan.tunnels.at("ipip@b").spec.remote, ip("203.0.113.9"));

  config.pools.erase("pods");
  const HostTunnels without = host_tunnels(config, make_plan(config));
  EXPECT_TRUE(without.nodes.empty() && without.pools.empty());
}

TEST_F(HostRoutes, HOST4_ManyAreTakenInPartsAndShareTheirWay) {
  for (int i = 0; i < 1000; ++i) table.learn(route(fmt::format("10.{}.{}.0/24", i / 250, i % 250), {via("192.0.2.9")}));
  const auto first = table.take_changes(600);
  ASSERT_EQ(first.size(), 600u);
  EXPECT_TRUE(table.changed());
  const auto second = table.take_changes(600);
  ASSERT_EQ(second.size(), 400u);
  EXPECT_FALSE(table.changed());
  EXPECT_EQ(first.front().route, second.back().route) << "one object for all of them";
}

}  // namespace
}  // namespace sluice::control
