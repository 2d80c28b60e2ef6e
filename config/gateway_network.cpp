// The network part of GatewayConfiguration: interfaces, routes, neighbours, tunnels.
#include <array>

#include "config/convert.h"

namespace sluice::config {
namespace {

constexpr std::array roles{Choice<InterfaceRole>{"uplink", InterfaceRole::Uplink},
                           Choice<InterfaceRole>{"workload", InterfaceRole::Workload}};
constexpr std::array rpf_modes{Choice<ReversePathFilter>{"off", ReversePathFilter::Off},
                               Choice<ReversePathFilter>{"loose", ReversePathFilter::Loose},
                               Choice<ReversePathFilter>{"strict", ReversePathFilter::Strict}};
constexpr std::array route_types{
    Choice<RouteType>{"unicast", RouteType::Unicast}, Choice<RouteType>{"blackhole", RouteType::Blackhole},
    Choice<RouteType>{"unreachable", RouteType::Unreachable}, Choice<RouteType>{"prohibit", RouteType::Prohibit}};
constexpr std::array tunnel_types{Choice<TunnelType>{"vxlan", TunnelType::Vxlan},
                                  Choice<TunnelType>{"ipip", TunnelType::Ipip}};

void read_interface(Reader& item, Interface& interface) {
  item.need_text("name", interface.name);
  item.need_text("device", interface.device);
  item.number("vlan", interface.vlan, 0, 4094);
  item.choice("role", interface.role, roles);
  item.parsed_list("addresses", interface.addresses, net::parse_prefix, "an address with its subnet's length");
  item.mac("mac", interface.mac);
  item.number("mtu", interface.mtu, 0, 65535);
  {
    Reader gateway = item.object("gateway");
    gateway.parsed("v4", interface.gateway_v4, net::parse_ipv4, "an IPv4 address");
    gateway.parsed("v6", interface.gateway_v6, net::parse_ipv6, "an IPv6 address");
  }
  item.choice("rpf", interface.rpf, rpf_modes);
  item.flag("promiscuous", interface.promiscuous);
  item.flag("tcpMssClamp", interface.tcp_mss_clamp);
  item.text("hostInterface", interface.host_interface);
  item.parsed_list("podAddresses", interface.pod_addresses, parse_host, "the address of a single host");
  item.mac("podMAC", interface.pod_mac);
}

// The fields of a hop stand in nextHops[] or, when there is one hop, in the route itself. False: there are none.
bool read_hop(Reader& fields, RouteHop& hop) {
  fields.parsed("via", hop.via, net::parse_ip, "an IPv4 or IPv6 address");
  fields.text("interface", hop.interface);
  fields.text("tunnel", hop.tunnel);
  return fields.has("via") || fields.has("interface") || fields.has("tunnel");
}

void read_route(Reader& item, StaticRoute& route) {
  item.require("destination");
  item.network("destination", route.destination, HostBits::Refuse);
  item.choice("type", route.type, route_types);
  item.each("nextHops", [&](Reader& hop, size_t) { read_hop(hop, route.hops.emplace_back()); });
  RouteHop single;
  if (!read_hop(item, single)) return;
  if (item.has("nextHops")) {
    item.fault("nextHops", "stands beside a next hop written in the route itself; write it here as well");
  } else {
    route.hops.push_back(std::move(single));
  }
}

void read_neighbor(Reader& item, StaticNeighbor& neighbor) {
  item.need_text("interface", neighbor.interface);
  item.require("address");
  item.parsed("address", neighbor.address, net::parse_ip, "an IPv4 or IPv6 address");
  item.require("mac");
  item.mac("mac", neighbor.mac);
}

void read_tunnel(Reader& item, Tunnel& tunnel) {
  item.need_text("name", tunnel.name);
  item.require("type");
  item.choice("type", tunnel.type, tunnel_types);
  item.require("remote");
  item.parsed("remote", tunnel.remote, net::parse_ip, "an IPv4 or IPv6 address");
  item.parsed("local", tunnel.local, net::parse_ip, "an IPv4 or IPv6 address");
  item.number("vni", tunnel.vni, 0, 0xffffff);
  item.mac("remoteMAC", tunnel.remote_mac);
  item.number("mtu", tunnel.mtu, 0, 65535);
}

}  // namespace

std::optional<Prefix> parse_host(std::string_view text) {
  if (const auto address = net::parse_ip(text)) return Prefix::host(*address);
  const auto prefix = net::parse_prefix(text);
  return prefix && prefix->is_host() ? prefix : std::nullopt;
}

void read_network(Reader& spec, Gateway& gateway) {
  spec.each("interfaces", [&](Reader& item, size_t) { read_interface(item, gateway.interfaces.emplace_back()); });
  spec.each("routes", [&](Reader& item, size_t) { read_route(item, gateway.routes.emplace_back()); });
  spec.each("neighbors", [&](Reader& item, size_t) { read_neighbor(item, gateway.neighbors.emplace_back()); });
  spec.each("tunnels", [&](Reader& item, size_t) { read_tunnel(item, gateway.tunnels.emplace_back()); });
}

}  // namespace sluice::config
