// Rules about static routes, neighbours and tunnels: that every next hop leads somewhere.
#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "config/prefix_table.h"
#include "config/rules.h"

namespace sluice::config {
namespace {

// What the interfaces are connected to.
struct Links {
  std::unordered_map<std::string_view, const Interface*> by_name;
  std::unordered_set<IpAddr> own;                // the router's addresses
  PrefixTable<const Interface*> connected;       // subnets and pods, masked
  PrefixTable<const Interface*> default_routes;  // the gateways of interfaces
  bool any_v4_uplink = false;
  bool any_v6_uplink = false;  // link-local addresses do not count

  explicit Links(const Gateway& gateway) {
    const Prefix everything_v4{Ipv4Addr{}, 0};
    const Prefix everything_v6{net::Ipv6Addr{}, 0};
    for (const Interface& interface : gateway.interfaces) {
      by_name.try_emplace(interface.name, &interface);
      for (const Prefix& address : interface.addresses) {
        own.insert(address.addr);
        connected.insert(address.masked(), &interface);
        if (interface.role != InterfaceRole::Uplink) continue;
        any_v4_uplink |= address.addr.is_v4();
        any_v6_uplink |= address.addr.is_v6() && !address.addr.is_link_local();
      }
      for (const Prefix& pod : interface.pod_addresses) connected.insert(pod, &interface);
      if (interface.gateway_v4) default_routes.insert(everything_v4, &interface);
      if (interface.gateway_v6) default_routes.insert(everything_v6, &interface);
    }
  }
};

class RouteRules {
 public:
  RouteRules(const Gateway& gateway, Findings& findings)
      : gateway_(gateway), links_(gateway), report_(findings, {gateway_kind, "", gateway.name}) {}

  void check() {
    for (const Tunnel& tunnel : gateway_.tunnels) tunnels_.insert(tunnel.name);
    for (size_t i = 0; i < gateway_.routes.size(); ++i) check_route(i);
    for (size_t i = 0; i < gateway_.neighbors.size(); ++i) check_neighbor(i);
    for (size_t i = 0; i < gateway_.tunnels.size(); ++i) check_tunnel(i);
  }

 private:
  template <class... Steps>
  void fault(std::string message, const Steps&... steps) {
    report_.fault(Path::of("spec", steps...), std::move(message));
  }

  void check_route(size_t i) {
    const StaticRoute& route = gateway_.routes[i];
    check_destination(i, route);
    if (route.type != RouteType::Unicast) {
      if (!route.hops.empty()) fault("only a unicast route has next hops", "routes", i, "nextHops");
      return;
    }
    if (route.hops.empty()) fault("a unicast route needs at least one next hop", "routes", i, "nextHops");
    using HopKey = std::tuple<std::optional<IpAddr>, std::string_view, std::string_view>;
    std::set<HopKey> seen;
    for (size_t j = 0; j < route.hops.size(); ++j) {
      const RouteHop& hop = route.hops[j];
      if (!seen.insert(HopKey{hop.via, hop.interface, hop.tunnel}).second) {
        fault("the same next hop twice", "routes", i, "nextHops", j);
      }
      check_hop(i, j, route, hop);
    }
  }

  void check_destination(size_t i, const StaticRoute& route) {
    const Prefix& destination = route.destination;
    const std::string text = net::to_string(destination);
    if (const auto* first = routes_.find_exact(destination)) {
      fault(fmt::format("a second route to {}; the first is routes[{}]", text, first->second), "routes", i,
            "destination");
    } else if (const auto* interface = links_.default_routes.find_exact(destination)) {
      fault(fmt::format("interface {} has a gateway, which is a route to {}", quoted(interface->second->name), text),
            "routes", i, "destination");
    } else if (const auto* owner = links_.connected.find_exact(destination)) {
      fault(fmt::format("{} is connected to interface {}", text, quoted(owner->second->name)), "routes", i,
            "destination");
    } else if (destination.length > 0 && (destination.addr.is_loopback() || destination.addr.is_multicast())) {
      fault(fmt::format("{} is never forwarded", text), "routes", i, "destination");
    }
    routes_.insert(destination, i);
  }

  void check_hop(size_t i, size_t j, const StaticRoute& route, const RouteHop& hop) {
    const auto at = [&](std::string message, std::string_view field) {
      fault(std::move(message), "routes", i, "nextHops", j, field);
    };
    if (!hop.tunnel.empty()) {
      if (!tunnels_.contains(hop.tunnel)) at(fmt::format("there is no tunnel {}", quoted(hop.tunnel)), "tunnel");
      if (hop.via) at("a tunnel is the whole next hop", "via");
      if (!hop.interface.empty()) at("a tunnel is the whole next hop", "interface");
      return;
    }
    if (!hop.interface.empty() && !links_.by_name.contains(hop.interface)) {
      at(fmt::format("there is no interface {}", quoted(hop.interface)), "interface");
    }
    if (!hop.via) {
      if (hop.interface.empty()) fault("expected via, interface or tunnel", "routes", i, "nextHops", j);
      return;
    }
    const std::string text = net::to_string(*hop.via);
    if (hop.via->family() != route.destination.family()) {
      at(fmt::format("{} and {} are of different families", text, net::to_string(route.destination)), "via");
    } else if (const std::string_view why = never_a_host(*hop.via); !why.empty()) {
      at(fmt::format("{} is {}", text, why), "via");
    } else if (links_.own.contains(*hop.via)) {
      at(fmt::format("{} is an address of this router", text), "via");
    } else if (hop.interface.empty() && hop.via->is_link_local()) {
      at(fmt::format("{} is link-local: say at which interface", text), "via");
    } else if (hop.interface.empty() && links_.connected.find(*hop.via) == nullptr) {
      at(fmt::format("{} is in no connected subnet; to reach it all the same, say at which interface", text), "via");
    }
  }

  void check_neighbor(size_t i) {
    const StaticNeighbor& neighbor = gateway_.neighbors[i];
    if (!links_.by_name.contains(neighbor.interface)) {
      fault(fmt::format("there is no interface {}", quoted(neighbor.interface)), "neighbors", i, "interface");
    }
    const std::string text = net::to_string(neighbor.address);
    if (const std::string_view why = never_a_host(neighbor.address); !why.empty()) {
      fault(fmt::format("{} is {}", text, why), "neighbors", i, "address");
    } else if (links_.own.contains(neighbor.address)) {
      fault(fmt::format("{} is an address of this router", text), "neighbors", i, "address");
    } else if (!neighbors_.insert({neighbor.interface, neighbor.address}).second) {
      fault(fmt::format("a second neighbor {} at this interface", text), "neighbors", i, "address");
    }
    check_mac(neighbor.mac, "neighbors", i, "mac");
  }

  void check_tunnel(size_t i) {
    const Tunnel& tunnel = gateway_.tunnels[i];
    if (!is_plain_name(tunnel.name)) fault(std::string(plain_name), "tunnels", i, "name");
    if (!tunnel_names_.insert(tunnel.name).second) {
      fault(fmt::format("a second tunnel {}", quoted(tunnel.name)), "tunnels", i, "name");
    }
    check_remote(i, tunnel);
    if (tunnel.local && !links_.own.contains(*tunnel.local)) {
      fault(fmt::format("{} is no address of this router", net::to_string(*tunnel.local)), "tunnels", i, "local");
    } else if (tunnel.local && tunnel.local->family() != tunnel.remote.family()) {
      fault(fmt::format("{} and {} are of different families", net::to_string(*tunnel.local),
                        net::to_string(tunnel.remote)),
            "tunnels", i, "local");
    } else if (!tunnel.local && !(tunnel.remote.is_v4() ? links_.any_v4_uplink : links_.any_v6_uplink)) {
      fault(fmt::format("required, because no uplink has an {} address", tunnel.remote.is_v4() ? "IPv4" : "IPv6"),
            "tunnels", i, "local");
    }
    if (tunnel.mtu && (*tunnel.mtu < 576 || *tunnel.mtu > 9600)) {
      fault(fmt::format("expected 576 to 9600, found {}", *tunnel.mtu), "tunnels", i, "mtu");
    }
    if (tunnel.type == TunnelType::Vxlan) {
      if (!tunnel.remote_mac) fault("required for a VXLAN tunnel", "tunnels", i, "remoteMAC");
    } else {
      if (tunnel.vni) fault("only for a VXLAN tunnel", "tunnels", i, "vni");
      if (tunnel.remote_mac) fault("only for a VXLAN tunnel", "tunnels", i, "remoteMAC");
    }
    if (tunnel.remote_mac) check_mac(*tunnel.remote_mac, "tunnels", i, "remoteMAC");
    check_distinct(i, tunnel);
  }

  void check_remote(size_t i, const Tunnel& tunnel) {
    const std::string text = net::to_string(tunnel.remote);
    if (const std::string_view why = never_remote(tunnel.remote); !why.empty()) {
      fault(fmt::format("{} is {}", text, why), "tunnels", i, "remote");
    } else if (links_.own.contains(tunnel.remote)) {
      fault(fmt::format("{} is an address of this router", text), "tunnels", i, "remote");
    } else {
      // IPIP-2: a packet that leaves by a tunnel must not come back to it as its own outer packet.
      const auto* route = routes_.find(tunnel.remote);
      const auto* connected = links_.connected.find(tunnel.remote);
      if (route == nullptr || (connected != nullptr && connected->first.length >= route->first.length)) return;
      const std::vector<RouteHop>& hops = gateway_.routes[route->second].hops;
      if (std::any_of(hops.begin(), hops.end(), [](const RouteHop& hop) { return !hop.tunnel.empty(); })) {
        fault(fmt::format("the route to {} (routes[{}]) goes through a tunnel itself", text, route->second), "tunnels",
              i, "remote");
      }
    }
  }

  // Two tunnels that look the same from outside.
  void check_distinct(size_t i, const Tunnel& tunnel) {
    const uint32_t vni = tunnel.type == TunnelType::Vxlan ? tunnel.vni.value_or(gateway_.overlay.vxlan_vni) : 0;
    const std::array<uint8_t, 6> mac = tunnel.remote_mac.value_or(MacAddr{}).bytes;
    const auto [first, fresh] = ends_.try_emplace({tunnel.type, tunnel.remote, tunnel.local, vni, mac}, i);
    if (!fresh) {
      fault(fmt::format("the same tunnel as {}", quoted(gateway_.tunnels[first->second].name)), "tunnels", i);
    }
  }

  template <class... Steps>
  void check_mac(const MacAddr& mac, const Steps&... steps) {
    if (mac.is_multicast() || mac.is_zero()) {
      fault(fmt::format("{} is not the address of a station", net::to_string(mac)), steps...);
    }
  }

  const Gateway& gateway_;
  Links links_;
  Report report_;
  PrefixTable<size_t> routes_;  // index of the first route to it
  std::unordered_set<std::string_view> tunnels_;
  std::unordered_set<std::string_view> tunnel_names_;  // of those checked so far
  std::set<std::pair<std::string_view, IpAddr>> neighbors_;
  std::map<std::tuple<TunnelType, IpAddr, std::optional<IpAddr>, uint32_t, std::array<uint8_t, 6>>, size_t> ends_;
};

}  // namespace

void check_routes(const Config& config, Findings& findings) { RouteRules(config.gateway, findings).check(); }

}  // namespace sluice::config
