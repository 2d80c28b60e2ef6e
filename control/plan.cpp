#include "control/plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "config/device.h"
#include "control/bgp_plan.h"
#include "control/detect_local.h"
#include "control/ipam_choice.h"
#include "control/planner.h"
#include "control/service_networks.h"
#include "encap/vxlan.h"

namespace sluice::control {
namespace {

using config::Config;
using config::TunnelMode;
using dataplane::HopKind;
using net::IpAddr;
using net::Ipv4Addr;
using net::MacAddr;
using net::Prefix;

// Of every port of a pod, so that its neighbour table holds on every node (ARP-1); fe80::ecee:eeff:feee:eeee is the
// link-local address of it (ARP-3).
constexpr MacAddr pod_gateway_mac{{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}};

PlannedHop fixed_hop(dataplane::NextHopId id, HopKind kind) { return {.kind = kind, .fixed = id}; }

bool same_subnet(const config::Interface& interface, const IpAddr& address) {
  return std::any_of(interface.addresses.begin(), interface.addresses.end(),
                     [&](const Prefix& own) { return !own.is_host() && own.contains(address); });
}

}  // namespace

Plan Planner::make() {
  add_interfaces();
  find_own_node();
  add_tunnel_addresses();
  add_static_tunnels();
  add_static_routes();
  add_static_neighbors();
  add_pods();
  add_default_gateways();
  add_connected();
  add_blocks();
  add_services();
  add_direct_returns();
  resolve_tunnels();  // whatever network of services an underlay address lies in
  prevent_loops();
  add_pools();
  collect_neighbors();
  add_neighbor_routes();
  make_terminator();
  if (auto warning = detect_local_warning(config_, plan_.interfaces)) plan_.warnings.push_back(std::move(*warning));
  return std::move(plan_);
}

std::optional<Plan> Planner::make_part(const Plan& whole, const Nodes& nodes,
                                       const std::set<config::ObjectName>& pods) {
  whole_ = &whole;
  find_own_node();
  for (const config::ObjectName& name : pods) {
    const auto workload = config_.workloads.find(name);
    if (workload == config_.workloads.end() || !gateway_.is_local(workload->second.node)) continue;
    add_interface(workload->second);
    add_pod(workload->second);
  }
  for (const auto& [name, blocks] : nodes) {
    plan_.nodes[name].blocks = blocks;
    for (const std::string& block : blocks) add_block(config_.blocks.at(block));
    for (const config::BlockAffinity& block : allocated_.blocks) {
      if (block.node == name) add_allocated(block);
    }
    const auto node = config_.nodes.find(name);
    if (node != config_.nodes.end()) add_node(node->second);
  }
  resolve_tunnels();
  collect_neighbors();
  if (!certain_ || !plan_.contested.empty()) return std::nullopt;
  return std::move(plan_);
}

void Planner::look_at(const PlannedRoute& route) {
  if (whole_ != nullptr && route.origin != "interface" && route.origin != "static") certain_ = false;
}

void Planner::warn(const std::string& node, std::string text) {
  plan_.nodes[node].warnings.push_back(text);
  plan_.warnings.push_back(std::move(text));
}

const config::Interface* Planner::interface_named(const std::string& name) const {
  const auto found = std::find_if(gateway_.interfaces.begin(), gateway_.interfaces.end(),
                                  [&](const config::Interface& interface) { return interface.name == name; });
  return found == gateway_.interfaces.end() ? nullptr : &*found;
}

const config::Interface* Planner::connected_to(const IpAddr& address) const {
  const auto found = std::find_if(gateway_.interfaces.begin(), gateway_.interfaces.end(),
                                  [&](const config::Interface& interface) { return same_subnet(interface, address); });
  return found == gateway_.interfaces.end() ? nullptr : &*found;
}

bool Planner::in_connected(const Prefix& network) const {
  return std::any_of(gateway_.interfaces.begin(), gateway_.interfaces.end(), [&](const config::Interface& interface) {
    return std::any_of(interface.addresses.begin(), interface.addresses.end(),
                       [&](const Prefix& own) { return !own.is_host() && own.masked().contains(network); });
  });
}

void Planner::add_interfaces() {
  for (const config::Interface& interface : gateway_.interfaces) {
    PlannedInterface planned;
    planned.name = interface.name;
    planned.device = interface.device;
    planned.link = config::packet_link(interface.device);
    planned.use = LinkUse::Own;
    planned.mac = interface.mac;
    planned.promiscuous = interface.promiscuous;
    planned.clamps_mss = interface.tcp_mss_clamp;
    planned.local_pods = holds_local_pods(gateway_.cluster, interface.name);
    planned.host_interface = interface.host_interface;
    planned.vlan = interface.vlan;
    planned.mtu = interface.mtu;
    planned.role =
        interface.role == config::InterfaceRole::Uplink ? dataplane::Role::Uplink : dataplane::Role::Workload;
    planned.rpf = static_cast<dataplane::ReversePathFilter>(interface.rpf);
    planned.addresses = interface.addresses;
    for (const Prefix& pod : interface.pod_addresses) planned.pod_addresses.push_back(pod.addr);
    plan_.interfaces.push_back(std::move(planned));
    for (const Prefix& address : interface.addresses) {
      add_fixed(Prefix::host(address.addr), dataplane::hop::local, HopKind::Local, "interface");
      const bool shared = interface.role == config::InterfaceRole::Uplink && !address.addr.is_link_local();
      if (!shared) continue;
      if (address.addr.is_v4() && plan_.router_v4.is_unspecified()) plan_.router_v4 = address.addr.v4();
      if (address.addr.is_v6() && plan_.router_v6.is_unspecified()) plan_.router_v6 = address.addr.v6();
    }
  }
  for (const auto& [name, workload] : config_.workloads) {
    if (gateway_.is_local(workload.node)) add_interface(workload);
  }
  // SPOOF-3: link-local addresses are never forwarded.
  add_fixed({Ipv4Addr::from_host(0xa9fe0000), 16}, dataplane::hop::blackhole, HopKind::Drop, "link-local");
}

void Planner::add_interface(const config::WorkloadEndpoint& workload) {
  PlannedInterface planned;
  planned.name = workload.port_name();
  if (config::is_memif(workload.device)) {
    planned.link = workload.device;
    planned.use = LinkUse::Memif;
  } else if (workload.device.empty()) {
    planned.link = planned.name;
  } else {
    planned.device = workload.device;
  }
  planned.local_pods = holds_local_pods(gateway_.cluster, planned.name);
  planned.mac = pod_gateway_mac;
  planned.role = dataplane::Role::Workload;
  planned.pod_addresses = workload.addresses;
  planned.allowed_sources = workload.allowed_sources;
  plan_.pods[workload.name] = {workload.addresses, planned.in_kernel()};
  plan_.interfaces.push_back(std::move(planned));
}

void Planner::find_own_node() {
  if (const auto found = config_.nodes.find(gateway_.node_name); found != config_.nodes.end()) own_ = &found->second;
  if (own_ != nullptr) {
    if (own_->vxlan_tunnel_ipv4) own_tunnels_.vxlan_v4 = own_->vxlan_tunnel_ipv4;
    if (own_->ipip_tunnel_ipv4) own_tunnels_.ipip_v4 = own_->ipip_tunnel_ipv4;
    if (own_->vxlan_tunnel_ipv6) own_tunnels_.vxlan_v6 = own_->vxlan_tunnel_ipv6;
  }
}

void Planner::add_tunnel_addresses() {
  // Masqueraded flows and what the router itself sends into tunnels come back to these (MASQ-5, MASQ-10).
  for (const auto& address : {own_tunnels_.vxlan_v4, own_tunnels_.ipip_v4}) {
    if (address) add_fixed(Prefix::host(*address), dataplane::hop::local, HopKind::Local, "tunnel address");
  }
  if (own_tunnels_.vxlan_v6) {
    add_fixed(Prefix::host(*own_tunnels_.vxlan_v6), dataplane::hop::local, HopKind::Local, "tunnel address");
  }
}

std::optional<PlannedHop> Planner::via(const IpAddr& address, const std::string& interface_name) const {
  const config::Interface* interface = interface_name.empty() ? connected_to(address) : interface_named(interface_name);
  if (interface == nullptr) return std::nullopt;
  return PlannedHop{.kind = HopKind::Gateway, .neighbor = PlannedNeighbor{interface->name, address, std::nullopt}};
}

// The way to an underlay address: on-link, or as its route says.
std::vector<PlannedHop> Planner::hops_to(const IpAddr& address) {
  if (const config::Interface* interface = connected_to(address); interface != nullptr) {
    return {*via(address, interface->name)};
  }
  const auto* route = find_route(routes(), address);
  if (route == nullptr) return {};
  look_at(route->second);
  std::vector<PlannedHop> hops;
  for (const PlannedHop& hop : route->second.hops) {
    if (hop.kind == HopKind::Gateway) hops.push_back(hop);
    if (hop.kind == HopKind::Connected) hops.push_back(*via(address, hop.interface));
  }
  return hops;
}

// VXL-4
static MacAddr vtep_mac_of(const std::string& node_name, net::Family outer) {
  return encap::vtep_mac(outer == net::Family::V4 ? node_name : node_name + "-v6");
}

MacAddr Planner::own_vtep_mac(net::Family outer) const {
  return gateway_.overlay.vtep_mac.value_or(vtep_mac_of(gateway_.node_name, outer));
}

encap::TunnelSpec Planner::overlay_spec(encap::Kind kind, const IpAddr& remote) const {
  const config::Overlay& overlay = gateway_.overlay;
  encap::TunnelSpec spec;
  spec.kind = kind;
  spec.remote = remote;
  if (remote.is_v6()) spec.local = net::Ipv6Addr{};
  spec.vni = overlay.vxlan_vni;
  spec.udp_port = overlay.vxlan_port;
  spec.source_port_first = overlay.vxlan_source_ports.first;
  spec.source_port_last = overlay.vxlan_source_ports.last;
  spec.inner_source = own_vtep_mac(remote.family());
  spec.zero_checksum = overlay.zero_checksum_v6;
  spec.outer_df = static_cast<encap::OuterDf>(overlay.outer_df);
  spec.copy_dscp = overlay.dscp == config::DscpMode::Copy;
  spec.dscp = overlay.dscp_value;
  spec.copy_ecn = overlay.ecn == config::EcnMode::Normal;
  return spec;
}

void Planner::add_static_tunnels() {
  for (const config::Tunnel& tunnel : gateway_.tunnels) {
    const encap::Kind kind = tunnel.type == config::TunnelType::Vxlan ? encap::Kind::Vxlan : encap::Kind::Ipip;
    PlannedTunnel planned;
    planned.spec = overlay_spec(kind, tunnel.remote);
    if (tunnel.local) planned.spec.local = *tunnel.local;
    if (tunnel.vni) planned.spec.vni = *tunnel.vni;
    if (tunnel.remote_mac) planned.spec.inner_destination = *tunnel.remote_mac;
    planned.label = fmt::format("{} {}", kind == encap::Kind::Vxlan ? "vxlan" : "ipip", net::to_string(tunnel.remote));
    plan_.tunnels.emplace(tunnel.name, std::move(planned));
    tunnel_mtu_[tunnel.name] = tunnel.mtu;
  }
}

void Planner::add_static_routes() {
  for (const config::StaticRoute& route : gateway_.routes) {
    switch (route.type) {
      case config::RouteType::Blackhole:
        add_fixed(route.destination, dataplane::hop::blackhole, HopKind::Drop, "static");
        continue;
      case config::RouteType::Unreachable:
        add_fixed(route.destination, dataplane::hop::unreachable, HopKind::Reject, "static");
        continue;
      case config::RouteType::Prohibit:
        add_fixed(route.destination, dataplane::hop::prohibit, HopKind::Reject, "static");
        continue;
      case config::RouteType::Unicast:
        break;
    }
    std::vector<PlannedHop> hops;
    for (const config::RouteHop& hop : route.hops) {
      if (!hop.tunnel.empty()) {
        hops.push_back({.kind = HopKind::Tunnel, .tunnel = hop.tunnel});
      } else if (hop.via) {
        if (auto found = via(*hop.via, hop.interface)) hops.push_back(*found);
      } else {
        hops.push_back({.kind = HopKind::Connected, .interface = hop.interface});
      }
    }
    if (hops.size() > dataplane::max_group_members) hops.resize(dataplane::max_group_members);
    if (!hops.empty()) add(route.destination, std::move(hops), "static");
  }
}

void Planner::add_static_neighbors() {
  for (const config::StaticNeighbor& neighbor : gateway_.neighbors) {
    if (neighbor.address.is_link_local() && neighbor.address.is_v6()) continue;
    add(Prefix::host(neighbor.address),
        {{.kind = HopKind::Gateway, .neighbor = PlannedNeighbor{neighbor.interface, neighbor.address, neighbor.mac}}},
        neighbor_origin);
  }
}

void Planner::add_pods() {
  for (const config::Interface& interface : gateway_.interfaces) {
    for (const Prefix& pod : interface.pod_addresses) {
      plan_.pod_networks.add(pod, false);
      add(pod, {{.kind = HopKind::Gateway, .neighbor = PlannedNeighbor{interface.name, pod.addr, interface.pod_mac}}},
          "pod");
    }
  }
  for (const auto& [name, workload] : config_.workloads) {
    if (gateway_.is_local(workload.node)) add_pod(workload);
  }
}

void Planner::add_pod(const config::WorkloadEndpoint& workload) {
  for (const IpAddr& pod : workload.addresses) {
    plan_.pod_networks.add(Prefix::host(pod), false);
    add(Prefix::host(pod),
        {{.kind = HopKind::Gateway, .neighbor = PlannedNeighbor{workload.port_name(), pod, workload.mac}}}, "pod");
  }
}

void Planner::add_default_gateways() {
  for (const config::Interface& interface : gateway_.interfaces) {
    if (interface.gateway_v4) add({Ipv4Addr{}, 0}, {*via(*interface.gateway_v4, interface.name)}, "interface");
    if (interface.gateway_v6) add({net::Ipv6Addr{}, 0}, {*via(*interface.gateway_v6, interface.name)}, "interface");
  }
}

void Planner::add_connected() {
  for (const config::Interface& interface : gateway_.interfaces) {
    for (const Prefix& address : interface.addresses) {
      if (address.is_host() || (address.addr.is_v6() && address.addr.is_link_local())) continue;
      const Prefix subnet = address.masked();
      add(subnet, {{.kind = HopKind::Connected, .interface = interface.name}}, "interface");
      // RFC 1812 section 5.3.5: directed broadcasts are not forwarded. RFC 3021: a /31 has none.
      if (subnet.addr.is_v6() || subnet.length > 30) continue;
      const uint32_t host_bits = ~uint32_t{0} >> subnet.length;
      add_fixed(Prefix::host(subnet.addr), dataplane::hop::broadcast, HopKind::Drop, "broadcast");
      add_fixed(Prefix::host(Ipv4Addr::from_host(subnet.addr.v4().host() | host_bits)), dataplane::hop::broadcast,
                HopKind::Drop, "broadcast");
    }
  }
}

const config::IpPool* Planner::pool_of(const Prefix& block) const {
  for (const auto& [name, pool] : config_.pools) {
    if (pool.cidr.contains(block)) return &pool;
  }
  return nullptr;
}

// The far end of a tunnel for packets of a family: an address of that family if both nodes have one, as Calico does,
// otherwise of the other.
std::optional<IpAddr> Planner::tunnel_end(const config::Node& node, net::Family inner) const {
  const auto v4 = node.underlay(net::Family::V4);
  const auto v6 = node.underlay(net::Family::V6);
  const auto has_own = [&](net::Family family) { return own_ != nullptr && own_->underlay(family); };
  if (inner == net::Family::V4) return v4 ? v4 : v6;
  return v6 && (has_own(net::Family::V6) || !v4) ? v6 : v4;
}

std::string Planner::tunnel_to(const config::Node& node, encap::Kind kind, const IpAddr& remote) {
  std::string name =
      fmt::format("{}{}@{}", kind == encap::Kind::Vxlan ? "vxlan" : "ipip", remote.is_v6() ? "6" : "", node.name);
  if (plan_.tunnels.contains(name)) return name;
  PlannedTunnel planned;
  planned.spec = overlay_spec(kind, remote);
  const auto& mac = remote.is_v4() ? node.vxlan_mac : node.vxlan_mac_v6;
  planned.spec.inner_destination = mac.value_or(vtep_mac_of(node.name, remote.family()));
  planned.label = fmt::format("{} {}", kind == encap::Kind::Vxlan ? "vxlan" : "ipip", net::to_string(remote));
  const auto& address = kind == encap::Kind::Vxlan ? own_tunnels_.vxlan_v4 : own_tunnels_.ipip_v4;
  if (address) planned.masquerade_v4 = *address;
  if (own_tunnels_.vxlan_v6 && kind == encap::Kind::Vxlan) planned.masquerade_v6 = *own_tunnels_.vxlan_v6;
  plan_.tunnels.emplace(name, std::move(planned));
  plan_.nodes[node.name].tunnels.push_back(name);
  return name;
}

// One block of one node: blackhole if it is ours (IPAM-5), else by the mode of its pool (ENC-1, ENC-2).
void Planner::add_block(const Prefix& block, const config::Node& node) {
  const std::vector<std::string>& local = gateway_.local_node_names;
  const bool counts_as_own = is_own(node) || std::find(local.begin(), local.end(), node.name) != local.end();
  plan_.pod_networks.add(block, !counts_as_own);
  plan_.nodes[node.name].networks.push_back(block);
  if (is_own(node)) {
    if (!block.is_host()) add_unknown_pods(block, "block");
    return;
  }
  TunnelMode vxlan = TunnelMode::Never;
  TunnelMode ipip = TunnelMode::Never;
  if (const config::IpPool* pool = pool_of(block); pool != nullptr) {
    vxlan = pool->vxlan_mode;
    ipip = pool->ipip_mode;
  }
  const auto underlay = node.underlay(block.family());
  const auto far_end = tunnel_end(node, block.family());
  const auto tunnelled = [&](TunnelMode mode) {
    return far_end && (mode == TunnelMode::Always ||
                       (mode == TunnelMode::CrossSubnet && (!underlay || connected_to(*underlay) == nullptr)));
  };
  if (tunnelled(vxlan) || (tunnelled(ipip) && block.addr.is_v4())) {
    const encap::Kind kind = tunnelled(vxlan) ? encap::Kind::Vxlan : encap::Kind::Ipip;
    add(block, {{.kind = HopKind::Tunnel, .tunnel = tunnel_to(node, kind, *far_end)}}, "node " + node.name);
    return;
  }
  if (!underlay) {
    warn(node.name, fmt::format("block {} of node {} has no route: the node has no {} address", net::to_string(block),
                                node.name, block.addr.is_v4() ? "IPv4" : "IPv6"));
    return;
  }
  std::vector<PlannedHop> hops = hops_to(*underlay);
  if (hops.empty()) {
    warn(node.name, fmt::format("block {} of node {} has no route: {} is not reachable", net::to_string(block),
                                node.name, net::to_string(*underlay)));
    return;
  }
  add(block, std::move(hops), "node " + node.name);
}

void Planner::add_block(const config::BlockAffinity& block) {
  const auto node = config_.nodes.find(block.node);
  if (node != config_.nodes.end()) {
    add_block(block.cidr, node->second);
  } else if (block.node == gateway_.node_name) {
    add_block(block.cidr, config::Node{.name = block.node});
  } else {
    warn(block.node, fmt::format("block {} has no route: there is no Node {}", net::to_string(block.cidr), block.node));
  }
}

void Planner::add_blocks() {
  for (const auto& [name, block] : config_.blocks) {
    plan_.blocks.emplace_hint(plan_.blocks.end(), name, PlannedBlock{block.node, block.cidr, block.confirmed});
    if (!block.confirmed) continue;  // IPAM-4
    plan_.nodes[block.node].blocks.insert(name);
    add_block(block);
  }
  for (const config::BlockAffinity& block : allocated_.blocks) add_allocated(block);
  for (const auto& [name, node] : config_.nodes) add_node(node);
  for (const auto& [name, node] : plan_.nodes) {
    for (const IpAddr& end : node.ends) ++plan_.ends[end];
  }
  for (const config::Tunnel& tunnel : gateway_.tunnels) ++plan_.ends[tunnel.remote];
  plan_.pods_elsewhere = plan_.pod_networks.elsewhere();
}

void Planner::add_allocated(const config::BlockAffinity& block) {
  // A part is asked for where nothing is different around those that had a route.
  const auto before = whole().nodes.find(block.node);
  const bool had_route = whole_ != nullptr && before != whole().nodes.end() &&
                         std::find(before->second.networks.begin(), before->second.networks.end(), block.cidr) !=
                             before->second.networks.end();
  const std::string* owner = had_route ? nullptr : ipam::other_owner(config_, block.cidr, block.node);
  if (owner == nullptr) return add_block(block);
  if (whole_ != nullptr) certain_ = false;
  plan_.warnings.push_back(fmt::format("block {} of node {} has no route: the configuration gives it to node {}",
                                       net::to_string(block.cidr), block.node, *owner));
}

// What it has beside its BlockAffinities.
void Planner::add_node(const config::Node& node) {
  PlannedNode& planned = plan_.nodes[node.name];
  planned.own = is_own(node);
  planned.pod_cidrs = node.pod_cidrs;
  for (const net::Family family : {net::Family::V4, net::Family::V6}) {
    if (const auto address = node.underlay(family)) planned.ends.push_back(*address);
  }
  if (const auto end = node.underlay(net::Family::V4); end && !planned.own && learns_into_ipip()) {
    (void)tunnel_to(node, encap::Kind::Ipip, *end);
  }
  if (!planned.blocks.empty()) return;
  for (const Prefix& cidr : node.pod_cidrs) add_block(cidr, node);
}

bool Planner::learns_into_ipip() const {
  return gateway_.host.routes && std::any_of(config_.pools.begin(), config_.pools.end(), [](const auto& entry) {
           return entry.second.ipip_mode != TunnelMode::Never && entry.second.cidr.addr.is_v4();
         });
}

void Planner::add_services() {
  const auto add_address = [&](const IpAddr& address) {
    add(Prefix::host(address), service_route().hops, service_origin);
  };
  for (const auto& [name, service] : config_.services) {
    if (!service.proxied) continue;
    for (const IpAddr& address : service.cluster_ips) add_address(address);
    for (const IpAddr& address : service.external_ips) add_address(address);
    for (const IpAddr& address : service.load_balancer_ips) add_address(address);
  }
  if (gateway_.ingress.enabled) {
    for (const IpAddr& address : gateway_.ingress.addresses) add_address(address);
  }
}

// Of networks that services have addresses in, as a whole.
void Planner::prevent_loops() {
  for (const Prefix& cidr : gateway_.cluster.service_cidrs) prevent_loop(cidr, "service CIDR");
  for (const Prefix& cidr : announced_service_networks(config_)) prevent_loop(cidr, "BGP");
  for (const auto& [cidr, kind] : service_networks(config_)) {
    if (!in_connected(cidr)) prevent_loop(cidr, kind);
  }
}

void Planner::add_direct_returns() {
  std::map<config::ObjectName, const config::Service*> direct;
  for (const auto& [name, service] : config_.services) {
    // Also one that has no address for it now: connections to those it had go on (SVC-92).
    if (!service.proxied || service.forwarding != config::Forwarding::Dsr) continue;
    direct.emplace(name, &service);
    plan_.direct_services.insert(name);
  }
  if (direct.empty()) return;
  for (const auto& [name, slice] : config_.slices) {
    const auto service = direct.find({name.ns, slice.service});
    if (service == direct.end() || slice.fqdn) continue;
    for (const config::Endpoint& endpoint : slice.endpoints) add_direct_return(*service->second, slice, endpoint);
  }
}

// To the endpoint's node, whose router finds the endpoint; if that is no node we know, to the endpoint itself, a server
// that takes the tunnel off and has the service's address.
void Planner::add_direct_return(const config::Service& service, const config::EndpointSlice& slice,
                                const config::Endpoint& endpoint) {
  if (plan_.direct_returns.contains(endpoint.address)) return;
  const auto& local = gateway_.local_node_names;
  if (std::find(local.begin(), local.end(), endpoint.node_name) != local.end()) return;
  const auto node = config_.nodes.find(endpoint.node_name);
  if (node != config_.nodes.end()) {
    const auto far_end = tunnel_end(node->second, slice.family);
    if (far_end && !is_own(node->second)) {
      plan_.direct_returns[endpoint.address] = {tunnel_to(node->second, encap::Kind::Ipip, *far_end), false};
    }
    return;
  }
  const std::string address = net::to_string(endpoint.address);
  const std::string tunnel = "dsr@" + address;
  PlannedTunnel planned;
  planned.spec = overlay_spec(encap::Kind::Ipip, endpoint.address);
  planned.label = "ipip " + address;
  planned.to_endpoint = true;
  plan_.tunnels.emplace(tunnel, std::move(planned));
  plan_.direct_returns[endpoint.address] = {tunnel, true};
  for (const config::EndpointPort& at : slice.ports) {
    for (const config::ServicePort& port : service.ports) {
      if (port.name != at.name || port.protocol != at.protocol || port.port == at.port) continue;
      plan_.warnings.push_back(fmt::format(
          "service {}: port {} of endpoint {} is not the service's {}, so it is translated, not answered directly",
          service.name.text(), at.port, address, port.port));
    }
  }
}

// SVC-3, SVC-70: what no service owns must not follow the default route.
void Planner::prevent_loop(const Prefix& services, const char* origin) {
  switch (gateway_.proxy.service_loop_prevention) {
    case config::ServiceLoopPrevention::Drop:
      return add_fixed(services, dataplane::hop::service_unknown, HopKind::Drop, origin);
    case config::ServiceLoopPrevention::Reject:
      return add_fixed(services, dataplane::hop::unreachable, HopKind::Reject, origin);
    case config::ServiceLoopPrevention::Disabled:
      return;
  }
}

// ENC-4: an address of a pool that is in no block leads nowhere, nor does one of an own block that no pod has.
void Planner::add_unknown_pods(const Prefix& network, const char* origin) {
  if (gateway_.cluster.unknown_pods == config::UnknownPods::Reject) {
    add_fixed(network, dataplane::hop::unreachable, HopKind::Reject, origin);
  } else {
    add_fixed(network, dataplane::hop::blackhole, HopKind::Drop, origin);
  }
}

void Planner::add_pools() {
  for (const auto& [name, pool] : config_.pools) {
    if (pool.load_balancer_only) {
      prevent_loop(pool.cidr, "pool");
    } else {
      add_unknown_pods(pool.cidr, "pool");
    }
  }
}

// The way of the outer packet, the own end and the MTU of every tunnel.
void Planner::resolve_tunnels() {
  std::map<std::string, PlannedHop> outer;
  // MTU-1: one value for all tunnels, whichever uplink the outer packets take now.
  uint16_t uplink_mtu = UINT16_MAX;
  for (const config::Interface& interface : gateway_.interfaces) {
    if (interface.role == config::InterfaceRole::Uplink) uplink_mtu = std::min(uplink_mtu, interface.mtu);
  }
  for (auto& [name, tunnel] : plan_.tunnels) {
    const std::vector<PlannedHop> hops = hops_to(tunnel.spec.remote);
    if (hops.empty()) {
      std::string text = fmt::format("tunnel {} ({}) has no way to its remote end", name, tunnel.label);
      const size_t at = name.find('@');  // of a tunnel to a node
      const auto node = at == std::string::npos ? plan_.nodes.end() : plan_.nodes.find(name.substr(at + 1));
      if (node != plan_.nodes.end()) node->second.warnings.push_back(text);
      plan_.warnings.push_back(std::move(text));
      continue;
    }
    outer.emplace(name, hops.front());
    const config::Interface* interface = interface_named(hops.front().neighbor->interface);
    if (tunnel.spec.local.is_unspecified()) {
      const net::Family family = tunnel.spec.remote.family();
      if (own_ != nullptr && own_->underlay(family)) {
        const IpAddr own = *own_->underlay(family);
        if (const auto route = routes().find(Prefix::host(own)); route != routes().end()) {
          look_at(route->second);
          tunnel.spec.local = own;
        }
      }
      for (const Prefix& address : interface->addresses) {
        const bool usable = address.addr.family() == family && !(address.addr.is_v6() && address.addr.is_link_local());
        if (tunnel.spec.local.is_unspecified() && usable) tunnel.spec.local = address.addr;
      }
      if (tunnel.spec.local.is_unspecified()) {
        tunnel.spec.local = family == net::Family::V4 ? IpAddr(whole().router_v4) : IpAddr(whole().router_v6);
      }
    }
    if (tunnel.masquerade_v4.is_unspecified() && tunnel.spec.local.is_v4()) {
      tunnel.masquerade_v4 = tunnel.spec.local.v4();
    }
    if (tunnel.masquerade_v6.is_unspecified() && tunnel.spec.local.is_v6()) {
      tunnel.masquerade_v6 = tunnel.spec.local.v6();
    }
    const auto configured = tunnel_mtu_.contains(name) ? tunnel_mtu_[name] : std::nullopt;
    const auto automatic = static_cast<uint16_t>(uplink_mtu - encap::overhead(tunnel.spec));
    tunnel.spec.mtu = configured ? *configured : gateway_.overlay.mtu.value_or(automatic);
  }
  for (auto& [prefix, route] : plan_.routes) {
    std::erase_if(route.hops, [&](PlannedHop& hop) {
      if (hop.kind != HopKind::Tunnel) return false;
      const auto found = outer.find(hop.tunnel);
      if (found == outer.end()) return true;
      hop.neighbor = found->second.neighbor;
      return false;
    });
    if (route.hops.empty()) route.hops = {fixed_hop(dataplane::hop::unreachable, HopKind::Reject)};
  }
  std::erase_if(plan_.tunnels, [&](const auto& tunnel) { return !outer.contains(tunnel.first); });
  std::erase_if(plan_.direct_returns, [&](const auto& way) {
    const auto found = outer.find(way.second.tunnel);
    if (found != outer.end()) outer_neighbors_.insert(*found->second.neighbor);
    return found == outer.end();
  });
}

// A neighbour is known by one MAC: where one hop knows it statically, all do.
void Planner::collect_neighbors() {
  std::map<std::pair<std::string, IpAddr>, MacAddr> known;
  for (const config::StaticNeighbor& neighbor : gateway_.neighbors) {
    known[{neighbor.interface, neighbor.address}] = neighbor.mac;
  }
  const auto collect = [&](PlannedNeighbor& neighbor) {
    const auto found = known.find({neighbor.interface, neighbor.address});
    if (found != known.end() && !neighbor.mac) neighbor.mac = found->second;
    plan_.neighbors.insert(neighbor);
    ++plan_.neighbor_uses[neighbor];
  };
  for (auto& [prefix, route] : plan_.routes) {
    for (PlannedHop& hop : route.hops) {
      if (hop.neighbor) collect(*hop.neighbor);
    }
  }
  for (PlannedNeighbor neighbor : outer_neighbors_) collect(neighbor);
}

std::optional<PlannedRoute> Planner::route_to(const PlannedNeighbor& neighbor) const {
  if (neighbor.address.is_v6() && neighbor.address.is_link_local()) return std::nullopt;
  if (connected_to(neighbor.address) == nullptr) return std::nullopt;
  return PlannedRoute{{{.kind = HopKind::Gateway, .neighbor = neighbor}}, neighbor_origin};
}

// A host route to every neighbour of a connected subnet makes direct traffic to it use the same entry.
void Planner::add_neighbor_routes() {
  for (const PlannedNeighbor& neighbor : plan_.neighbors) {
    if (auto route = route_to(neighbor)) add(Prefix::host(neighbor.address), std::move(route->hops), route->origin);
  }
}

// Sorted: those of tunnels that are not the overlay's.
std::vector<uint32_t> Planner::tunnel_vnis() const {
  std::set<uint32_t> vnis;
  for (const auto& [name, tunnel] : plan_.tunnels) {
    if (tunnel.spec.kind == encap::Kind::Vxlan && !tunnel.to_endpoint) vnis.insert(tunnel.spec.vni);
  }
  vnis.erase(gateway_.overlay.vxlan_vni);
  return {vnis.begin(), vnis.end()};
}

void Planner::make_terminator() {
  encap::Terminator& terminator = plan_.terminator;
  terminator.udp_port = gateway_.overlay.vxlan_port;
  terminator.vni = gateway_.overlay.vxlan_vni;
  terminator.tunnel_vnis = tunnel_vnis();
  terminator.strict_flags = gateway_.overlay.strict_vxlan_flags;
  terminator.vtep_mac = own_vtep_mac(net::Family::V4);
  terminator.vtep_mac_v6 = own_vtep_mac(net::Family::V6);
  terminator.zero_checksum_v6 = gateway_.overlay.zero_checksum_v6;
  std::vector<encap::KnownSources::Node> sources;
  uint16_t index = 0;
  for (const auto& [name, pool] : config_.pools) {
    terminator.accept_vxlan = terminator.accept_vxlan || pool.vxlan_mode != TunnelMode::Never;
    terminator.accept_ipip = terminator.accept_ipip || pool.ipip_mode != TunnelMode::Never;
  }
  // Another gateway may send us what our endpoints are to answer directly.
  terminator.accept_ipip = terminator.accept_ipip || !plan_.direct_services.empty();
  for (const auto& [name, node] : config_.nodes) {
    if (is_own(node)) continue;
    for (const auto& underlay : {node.underlay(net::Family::V4), node.underlay(net::Family::V6)}) {
      if (underlay) sources.push_back({*underlay, index++});
    }
  }
  std::set<IpAddr> endpoints;
  for (const auto& [name, tunnel] : plan_.tunnels) {
    if (tunnel.to_endpoint) continue;
    (tunnel.spec.kind == encap::Kind::Vxlan ? terminator.accept_vxlan : terminator.accept_ipip) = true;
    sources.push_back({tunnel.spec.remote, index++});
    endpoints.insert(tunnel.spec.local);
  }
  // A tunnel may bring packets before there is a block to send any back to.
  if (terminator.accept_vxlan || terminator.accept_ipip) {
    for (const net::Family family : {net::Family::V4, net::Family::V6}) {
      if (own_ != nullptr && own_->underlay(family)) endpoints.insert(*own_->underlay(family));
    }
    if (endpoints.empty() && !plan_.router_v4.is_unspecified()) endpoints.insert(plan_.router_v4);
    if (endpoints.empty() && !plan_.router_v6.is_unspecified()) endpoints.insert(plan_.router_v6);
  }
  terminator.sources = encap::KnownSources(sources, gateway_.overlay.external_nodes, index);
  for (const IpAddr& own : endpoints) {
    if (own.is_v4()) {
      plan_.tunnel_endpoints.push_back(own.v4());
    } else {
      plan_.tunnel_endpoints_v6.push_back(own.v6());
    }
  }
}

// The rules of validate(): an address at one interface, a subnet at one interface.
config::Gateway with_host_addresses(config::Gateway gateway, const HostAddresses& host) {
  for (config::Interface& interface : gateway.interfaces) {
    const auto found = host.find(interface.name);
    if (found == host.end() || interface.host_interface.empty()) continue;
    for (const Prefix& address : found->second) {
      const bool taken =
          std::any_of(gateway.interfaces.begin(), gateway.interfaces.end(), [&](const config::Interface& other) {
            return std::any_of(other.addresses.begin(), other.addresses.end(), [&](const Prefix& own) {
              const bool same_subnet = &other != &interface && !own.is_host() && own.masked() == address.masked();
              return own.addr == address.addr || same_subnet;
            });
          });
      if (!taken) interface.addresses.push_back(address);
    }
  }
  return gateway;
}

PlannedRoute service_route() { return {{fixed_hop(dataplane::hop::service, HopKind::Service)}, service_origin}; }

Plan make_plan(const Config& config, const Allocated& allocated, const HostAddresses& host) {
  if (host.empty()) return Planner(config, config.gateway, allocated).make();
  const config::Gateway gateway = with_host_addresses(config.gateway, host);
  return Planner(config, gateway, allocated).make();
}

const std::pair<const Prefix, PlannedRoute>* find_route(const std::map<Prefix, PlannedRoute>& routes,
                                                        const IpAddr& address) {
  for (int length = address.bit_length(); length >= 0; --length) {
    const auto found = routes.find(Prefix{address, static_cast<uint8_t>(length)}.masked());
    if (found != routes.end()) return &*found;
  }
  return nullptr;
}

}  // namespace sluice::control
