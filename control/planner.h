// Builds a Plan in the order of precedence that plan.h names, or the part of it that some nodes and pods have: for
// plan.cpp and plan_delta.cpp only.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/plan.h"

namespace sluice::control {

class Planner {
 public:
  Planner(const config::Config& config, const config::Gateway& gateway, const Allocated& allocated)
      : config_(config), gateway_(gateway), allocated_(allocated), own_tunnels_(allocated.tunnels) {}

  Plan make();

  // The confirmed BlockAffinities of nodes, by the node's name.
  using Nodes = std::map<std::string, std::set<std::string>>;
  // What these nodes, with what is allocated for them, and these WorkloadEndpoints have in the plan, of which `whole`
  // is the rest. Its tunnels are resolved; neighbours are in its routes only. Empty: what is not looked at has a part
  // in it.
  [[nodiscard]] std::optional<Plan> make_part(const Plan& whole, const Nodes& nodes,
                                              const std::set<config::ObjectName>& pods);
  // The host route that a neighbour is given; empty: none.
  [[nodiscard]] std::optional<PlannedRoute> route_to(const PlannedNeighbor& neighbor) const;
  [[nodiscard]] bool is_connected(const net::IpAddr& address) const { return connected_to(address) != nullptr; }

 private:
  void add(const net::Prefix& prefix, std::vector<PlannedHop> hops, std::string origin) {
    const auto [at, added] = plan_.routes.try_emplace(prefix, PlannedRoute{std::move(hops), origin});
    const bool both_services = at->second.origin == service_origin && origin == service_origin;
    if (!added && !both_services) plan_.contested.insert(prefix);
  }
  void add_fixed(const net::Prefix& prefix, dataplane::NextHopId id, dataplane::HopKind kind, std::string origin) {
    add(prefix, {{.kind = kind, .fixed = id}}, std::move(origin));
  }

  void add_interfaces();
  void add_interface(const config::WorkloadEndpoint& workload);
  void find_own_node();
  void add_tunnel_addresses();
  void add_static_tunnels();
  void add_static_routes();
  void add_static_neighbors();
  void add_pods();
  void add_pod(const config::WorkloadEndpoint& workload);
  void add_default_gateways();
  void add_connected();
  void add_blocks();
  void add_node(const config::Node& node);
  // A route leads nowhere, to what a node has.
  void warn(const std::string& node, std::string text);
  // Whether routes of the host may lead into IPPools with IPIP.
  [[nodiscard]] bool learns_into_ipip() const;
  void add_block(const config::BlockAffinity& block);
  void add_allocated(const config::BlockAffinity& block);
  void add_block(const net::Prefix& block, const config::Node& node);
  void add_services();
  void add_direct_returns();
  void add_direct_return(const config::Service& service, const config::EndpointSlice& slice,
                         const config::Endpoint& endpoint);
  void prevent_loops();
  void prevent_loop(const net::Prefix& services, const char* origin);
  void add_unknown_pods(const net::Prefix& network, const char* origin);
  void add_pools();
  void resolve_tunnels();
  void collect_neighbors();
  void add_neighbor_routes();
  [[nodiscard]] std::vector<uint32_t> tunnel_vnis() const;
  void make_terminator();

  [[nodiscard]] const config::Interface* interface_named(const std::string& name) const;
  // The interface whose subnet holds `address`.
  [[nodiscard]] const config::Interface* connected_to(const net::IpAddr& address) const;
  // Whether a connected subnet holds all of `network`: its addresses are asked for there.
  [[nodiscard]] bool in_connected(const net::Prefix& network) const;
  [[nodiscard]] std::optional<PlannedHop> via(const net::IpAddr& address, const std::string& interface) const;
  [[nodiscard]] std::vector<PlannedHop> hops_to(const net::IpAddr& address);
  [[nodiscard]] std::string tunnel_to(const config::Node& node, encap::Kind kind, const net::IpAddr& remote);
  [[nodiscard]] encap::TunnelSpec overlay_spec(encap::Kind kind, const net::IpAddr& remote) const;
  [[nodiscard]] net::MacAddr own_vtep_mac(net::Family outer) const;
  [[nodiscard]] std::optional<net::IpAddr> tunnel_end(const config::Node& node, net::Family inner) const;
  // The router itself. localNodeNames is about endpoints of services (SVC-65); whoever else it names is reached as
  // ever.
  [[nodiscard]] bool is_own(const config::Node& node) const {
    const auto owned = [&](const std::optional<net::IpAddr>& underlay) { return underlay && owns(*underlay); };
    return node.name == gateway_.node_name || owned(node.underlay(net::Family::V4)) ||
           owned(node.underlay(net::Family::V6));
  }
  [[nodiscard]] bool owns(const net::IpAddr& address) const {
    const auto route = routes().find(net::Prefix::host(address));
    return route != routes().end() && route->second.hops.front().kind == dataplane::HopKind::Local;
  }
  // Those of the whole plan, when a part is made.
  [[nodiscard]] const Plan& whole() const { return whole_ == nullptr ? plan_ : *whole_; }
  [[nodiscard]] const std::map<net::Prefix, PlannedRoute>& routes() const { return whole().routes; }
  // Notes a route that others may have looked at while it was another one: a part cannot be told then.
  void look_at(const PlannedRoute& route);
  [[nodiscard]] const config::IpPool* pool_of(const net::Prefix& block) const;

  const config::Config& config_;
  const config::Gateway& gateway_;
  const Allocated& allocated_;
  TunnelAddresses own_tunnels_;
  const config::Node* own_ = nullptr;
  Plan plan_;
  const Plan* whole_ = nullptr;  // of which a part is made
  bool certain_ = true;
  std::map<std::string, std::optional<uint16_t>> tunnel_mtu_;  // configured, by tunnel
  std::set<PlannedNeighbor> outer_neighbors_;                  // of tunnels that no route names
};

// The gateway with addresses of HostAddresses.
[[nodiscard]] config::Gateway with_host_addresses(config::Gateway gateway, const HostAddresses& host);

}  // namespace sluice::control
