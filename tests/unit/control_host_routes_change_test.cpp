// Routes of the host's kernel while what is around them changes: those that it concerns are looked at, no others, and
// in the end all lead where a table says that was made anew.
#include <map>
#include <random>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/host_routes.h"
#include "control/plan_delta.h"

namespace sluice::control {
namespace {

using net::IpAddr;
using net::Prefix;

IpAddr ip(std::string_view text) { return *net::parse_ip(text); }
Prefix prefix(std::string_view text) { return *net::parse_prefix(text); }
net::MacAddr mac(uint8_t last) { return {{2, 0, 0, 0, 0, last}}; }

const HostRouteTable::Links links{{7, "up"}, {8, "un"}};

netlink::Route route(const Prefix& destination, std::vector<netlink::Route::Hop> hops, uint32_t metric = 0) {
  netlink::Route out{.destination = destination, .table = 254, .protocol = 12};
  out.metric = metric;
  out.hops = std::move(hops);
  return out;
}

// What has been told so far, with what is told now.
using Told = std::map<Prefix, std::vector<PlannedHop>>;
void take(HostRouteTable& table, Told& told, size_t most = 1000) {
  for (const HostRouteChange& change : table.take_changes(most)) {
    if (change.route == nullptr) {
      told.erase(change.destination);
    } else {
      told[change.destination] = change.route->hops;
    }
  }
}

// How many destinations are looked at until all is told.
size_t looked_at(HostRouteTable& table) {
  size_t count = 0;
  for (; table.changed(); ++count) (void)table.take_changes(1);
  return count;
}

std::string text_of(const Told& told) {
  std::string out;
  for (const auto& [destination, hops] : told) {
    out += net::to_string(destination);
    for (const PlannedHop& hop : hops) {
      out += fmt::format(" [{} {} {} {}]", hop.tunnel, hop.interface,
                         hop.neighbor ? net::to_string(hop.neighbor->address) + "@" + hop.neighbor->interface : "",
                         hop.neighbor && hop.neighbor->mac ? net::to_string(*hop.neighbor->mac) : "");
    }
    out += "\n";
  }
  return out;
}

PlannedHop into(const std::string& tunnel, const IpAddr& outer, std::optional<net::MacAddr> known = {}) {
  return {.kind = dataplane::HopKind::Tunnel, .neighbor = PlannedNeighbor{"up", outer, known}, .tunnel = tunnel};
}

// 100 nodes behind 192.0.2.1, each with 10 routes into the pool and 10 elsewhere.
class ManyNodes : public testing::Test {
 protected:
  ManyNodes() {
    (void)table.set_wanted(config::HostRoutes{}, links);
    tunnels.pools = {{prefix("10.244.0.0/16"), config::TunnelMode::Always}};
    for (uint8_t node = 0; node < 100; ++node) {
      tunnels.nodes.emplace(end(node), into(fmt::format("ipip@n{}", node), ip("192.0.2.1")));
      for (int i = 0; i < 10; ++i) {
        table.learn(route(prefix(fmt::format("10.244.{}.{}/32", node, i)), {{7, end(node)}}));
        table.learn(route(prefix(fmt::format("10.9.{}.{}/32", node, i)), {{7, end(node)}}));
      }
    }
    table.set_tunnels(tunnels);
    EXPECT_EQ(looked_at(table), 2000u);
  }
  static IpAddr end(uint8_t node) { return ip(fmt::format("203.0.113.{}", node)); }

  HostRouteTable table;
  HostTunnels tunnels;
};

TEST_F(ManyNodes, HOST4_ANodeThatChangesConcernsItsRoutesAlone) {
  table.set_tunnels(tunnels);
  EXPECT_EQ(looked_at(table), 0u) << "nothing is different";
  tunnels.nodes.erase(end(5));
  table.set_tunnels(tunnels);
  EXPECT_LE(looked_at(table), 20u);
  tunnels.nodes.emplace(end(5), into("ipip@n5", ip("192.0.2.2")));
  tunnels.nodes.at(end(6)) = into("ipip@n6", ip("192.0.2.2"));
  table.set_tunnels(tunnels);
  EXPECT_LE(looked_at(table), 40u);
}

TEST_F(ManyNodes, HOST4_APoolConcernsTheRoutesIntoIt) {
  tunnels.pools.emplace(prefix("10.9.7.0/24"), config::TunnelMode::Always);
  table.set_tunnels(tunnels);
  EXPECT_EQ(looked_at(table), 10u);
  tunnels.pools.at(prefix("10.244.0.0/16")) = config::TunnelMode::CrossSubnet;
  table.set_tunnels(tunnels);
  EXPECT_EQ(looked_at(table), 1000u);
  tunnels.connected = {prefix("203.0.113.64/30")};
  table.set_tunnels(tunnels);
  EXPECT_EQ(looked_at(table), 80u) << "four nodes";
}

TEST_F(ManyNodes, HOST4_ANeighboursMacAddressConcernsTheRoutesThatGoByIt) {
  table.set_neighbors({{"pod", ip("10.200.0.9"), mac(9)}, {"up", ip("192.0.2.77"), mac(7)}});
  EXPECT_EQ(looked_at(table), 0u) << "nobody goes there";
  table.set_neighbors({{"up", end(9), mac(9)}});
  EXPECT_EQ(looked_at(table), 20u);
  table.set_neighbors({{"up", ip("192.0.2.1"), mac(1)}});
  EXPECT_EQ(looked_at(table), 2000u) << "all tunnels lead there";
}

// A cluster whose nodes come, move and go.
config::Config cluster() {
  config::Config config;
  config.gateway.node_name = "gw";
  config.gateway.local_node_names = {"gw"};
  config::Interface up;
  up.name = "up";
  up.device = "net_null0";
  up.addresses = {prefix("192.0.2.1/24")};
  up.gateway_v4 = ip("192.0.2.254").v4();
  config.gateway.interfaces = {up};
  config.gateway.neighbors = {{"up", ip("192.0.2.13"), mac(13)}};
  config.gateway.host.routes.emplace();
  config.pools["pods"] = {.name = "pods", .cidr = prefix("10.244.0.0/16"), .ipip_mode = config::TunnelMode::Always};
  config.nodes["gw"].name = "gw";
  config.nodes["gw"].internal_ips = {ip("192.0.2.1")};
  return config;
}

// By deltas as the controller has them, and all at once.
TEST(HostRoutesChange, HOST4_DeltasOfNodesLeadWhereTheWholePlanDoes) {
  config::Config config = cluster();
  Plan plan = make_plan(config);
  HostRouteTable table;
  Told told;
  std::vector<netlink::Route> routes;
  const std::vector<IpAddr> ends{ip("192.0.2.10"),   ip("192.0.2.11"),   ip("192.0.2.13"),
                                 ip("203.0.113.10"), ip("203.0.113.11"), ip("203.0.113.12")};
  for (size_t i = 0; i < ends.size(); ++i) {
    routes.push_back(route(prefix(fmt::format("10.244.{}.0/26", i)), {{7, ends[i]}}));
    routes.push_back(route(prefix(fmt::format("10.9.{}.0/26", i)), {{7, ends[i]}}));
  }
  const auto whole = [&](HostRouteTable& into) {
    into.set_neighbors(plan.neighbors);
    into.set_tunnels(host_tunnels(config, plan));
    (void)into.set_wanted(config.gateway.host.routes, links);
  };
  whole(table);
  for (const netlink::Route& one : routes) table.learn(one);
  std::mt19937 random(11);
  const auto below = [&](size_t limit) { return static_cast<size_t>(random()) % limit; };
  size_t deltas = 0;
  for (int step = 0; step < 2000; ++step) {
    const std::string name = fmt::format("n{}", below(4));
    config::Change change;
    change.touched.push_back({.key = {"Node", "", name}});
    if (below(4) == 0) {
      config.nodes.erase(name);
    } else {
      config.nodes[name].name = name;
      config.nodes[name].internal_ips = {ends[below(ends.size())]};
      config.nodes[name].pod_cidrs.clear();
      if (below(3) == 0) config.nodes[name].pod_cidrs = {prefix(fmt::format("10.244.{}.0/24", 100 + below(4)))};
    }
    const auto delta = plan_delta(plan, config, change);
    if (delta) {
      ++deltas;
      apply(*delta, plan);
      table.follow(config, plan, *delta);
    } else {
      plan = make_plan(config);
      whole(table);
    }
    take(table, told);
    HostRouteTable anew;
    whole(anew);
    for (const netlink::Route& one : routes) anew.learn(one);
    Told wanted;
    take(anew, wanted);
    ASSERT_EQ(text_of(told), text_of(wanted)) << "step " << step << (delta ? " by a delta" : "");
  }
  EXPECT_GT(deltas, 300u);
}

TEST(HostRoutesChange, HOST4_AnyOrderOfChangesLeadsWhereATableMadeAnewDoes) {
  std::mt19937 random(7);
  const auto below = [&](size_t limit) { return static_cast<size_t>(random()) % limit; };
  const std::vector<IpAddr> vias{ip("192.0.2.1"),   ip("192.0.2.2"),   ip("203.0.113.1"), ip("203.0.113.2"),
                                 ip("203.0.113.3"), ip("203.0.113.4"), ip("fe80::9"),     ip("2001:db8::9")};
  const std::vector<Prefix> destinations{prefix("10.244.0.0/26"),   prefix("10.244.1.0/26"), prefix("10.244.1.5/32"),
                                         prefix("10.245.0.0/24"),   prefix("10.0.0.0/8"),    prefix("198.51.100.0/24"),
                                         prefix("2001:db8:1::/48"), prefix("0.0.0.0/0")};
  const std::vector<Prefix> pools{prefix("10.244.0.0/16"), prefix("10.244.1.0/24"), prefix("10.245.0.0/16")};
  HostRouteTable table;
  Told told;
  HostRouteTable::Links now_links = links;
  std::optional<config::HostRoutes> wanted = config::HostRoutes{};
  std::map<std::pair<Prefix, uint32_t>, netlink::Route> routes;  // by metric
  std::set<PlannedNeighbor> neighbors;
  HostTunnels tunnels;
  (void)table.set_wanted(wanted, now_links);
  for (int step = 0; step < 5000; ++step) {
    switch (below(8)) {
      case 0:
        neighbors.clear();
        for (const IpAddr& via : vias) {
          if (below(3) == 0) neighbors.insert({below(2) == 0 ? "up" : "un", via, mac(static_cast<uint8_t>(below(3)))});
        }
        table.set_neighbors(neighbors);
        break;
      case 1: {
        const size_t which = below(4);
        tunnels.nodes.erase(vias[which + 2]);
        if (below(3) != 0) {
          tunnels.nodes.emplace(vias[which + 2], into(fmt::format("ipip@{}", which), vias[below(2)]));
        }
        table.set_tunnels(tunnels);
        break;
      }
      case 2: {
        const Prefix& pool = pools[below(pools.size())];
        tunnels.pools.erase(pool);
        const bool cross = below(2) == 0;
        if (below(3) != 0) {
          tunnels.pools.emplace(pool, cross ? config::TunnelMode::CrossSubnet : config::TunnelMode::Always);
        }
        tunnels.connected.clear();
        if (below(2) == 0) tunnels.connected.push_back(prefix("203.0.113.0/30"));
        table.set_tunnels(tunnels);
        break;
      }
      case 3:
        now_links = links;
        if (below(2) == 0) now_links.erase(8);
        (void)table.set_wanted(wanted, now_links);
        break;
      case 4:
        take(table, told, below(5));  // of what there is a part
        break;
      default: {
        const Prefix& destination = destinations[below(destinations.size())];
        std::vector<netlink::Route::Hop> hops;
        for (size_t i = below(3); i < 3; ++i) {
          hops.push_back({below(4) == 0 ? 8 : 7, vias[below(vias.size())]});
        }
        netlink::Route one = route(destination, std::move(hops), static_cast<uint32_t>(below(2)));
        one.gone = below(3) == 0;
        const std::pair key{destination, one.metric};
        if (one.gone) {
          one.hops.clear();
          routes.erase(key);
        } else {
          routes[key] = one;
        }
        table.learn(one);
      }
    }
    if (step % 5 != 0) continue;
    take(table, told);
    HostRouteTable anew;
    (void)anew.set_wanted(wanted, now_links);
    anew.set_neighbors(neighbors);
    anew.set_tunnels(tunnels);
    for (const auto& [key, one] : routes) anew.learn(one);
    Told all;
    take(anew, all);
    ASSERT_EQ(text_of(told), text_of(all)) << "step " << step;
  }
}

}  // namespace
}  // namespace sluice::control
