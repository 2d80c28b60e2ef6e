// Where the gateway listens for HTTP and TLS: no node, network or service may have these addresses and ports. Pods may:
// a host port of one is hidden by what is listened for here.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "config/change_rules.h"

namespace sluice::config {
namespace {

using Ports = std::vector<uint16_t>;

bool contains(const Ports& ports, uint16_t port) { return std::find(ports.begin(), ports.end(), port) != ports.end(); }

// Whose an address is that the router would answer for; empty: nobody's, or an interface's own.
std::string owner_of(const IpAddr& address, const Config& config) {
  const Gateway& gateway = config.gateway;
  for (const Interface& interface : gateway.interfaces) {
    for (const Prefix& own : interface.addresses) {
      if (own.addr == address) return {};
    }
  }
  for (const Interface& interface : gateway.interfaces) {
    const bool v4 = interface.gateway_v4 && IpAddr(*interface.gateway_v4) == address;
    const bool v6 = interface.gateway_v6 && IpAddr(*interface.gateway_v6) == address;
    if (v4 || v6) return fmt::format("the gateway of interface {}", quoted(interface.name));
  }
  for (const StaticNeighbor& neighbor : gateway.neighbors) {
    if (neighbor.address == address) return "a static neighbor";
  }
  for (const Tunnel& tunnel : gateway.tunnels) {
    if (tunnel.remote == address) return fmt::format("the far end of tunnel {}", quoted(tunnel.name));
  }
  const auto is = [&](const auto& other) { return other && IpAddr(*other) == address; };
  const auto has = [&](const std::vector<IpAddr>& list) {
    return std::find(list.begin(), list.end(), address) != list.end();
  };
  const auto covered = [&](const std::vector<Prefix>& networks) {
    return std::any_of(networks.begin(), networks.end(),
                       [&](const Prefix& one) { return one.masked().contains(address); });
  };
  bool pods = covered(gateway.cluster.cluster_cidrs);
  for (const auto& [name, node] : config.nodes) {
    const bool own = std::find(gateway.local_node_names.begin(), gateway.local_node_names.end(), name) !=
                     gateway.local_node_names.end();
    if (own) continue;
    const bool bgp =
        (node.bgp_ipv4 && node.bgp_ipv4->addr == address) || (node.bgp_ipv6 && node.bgp_ipv6->addr == address);
    if (bgp || has(node.internal_ips) || has(node.external_ips) || is(node.vxlan_tunnel_ipv4) ||
        is(node.ipip_tunnel_ipv4) || is(node.vxlan_tunnel_ipv6)) {
      return fmt::format("node {}", name);
    }
    pods = pods || covered(node.pod_cidrs);
  }
  for (const auto& [name, pool] : config.pools) {
    pods = pods || (!pool.load_balancer_only && pool.cidr.contains(address));
  }
  if (pods) return "the pod network";
  return covered(gateway.cluster.service_cidrs) ? "the service network" : "";
}

void check_own(const Config& config, Report& report) {
  const IngressSettings& ingress = config.gateway.ingress;
  if (ingress.addresses.empty()) {
    report.fault(Path::of("spec", "ingress", "addresses"), "at least one is required where ingress is enabled");
  }
  if (ingress.http.empty() && ingress.https.empty()) {
    report.fault(Path::of("spec", "ingress", "http"), "at least one port, of http or https, is required");
  }
  for (size_t i = 0; i < ingress.addresses.size(); ++i) {
    const IpAddr& address = ingress.addresses[i];
    const std::string_view why = never_remote(address);
    if (!why.empty()) {
      report.fault(Path::of("spec", "ingress", "addresses", i), fmt::format("{} is {}", net::to_string(address), why));
    } else if (std::find(ingress.addresses.begin(), ingress.addresses.begin() + static_cast<ptrdiff_t>(i), address) !=
               ingress.addresses.begin() + static_cast<ptrdiff_t>(i)) {
      report.fault(Path::of("spec", "ingress", "addresses", i),
                   fmt::format("{} is there twice", net::to_string(address)));
    } else if (const std::string owner = owner_of(address, config); !owner.empty()) {
      report.fault(Path::of("spec", "ingress", "addresses", i),
                   fmt::format("{} belongs to {}", net::to_string(address), owner));
    }
  }
  const auto check_ports = [&](const Ports& ports, std::string_view key) {
    for (size_t i = 0; i < ports.size(); ++i) {
      const bool before = std::find(ports.begin(), ports.begin() + static_cast<ptrdiff_t>(i), ports[i]) !=
                          ports.begin() + static_cast<ptrdiff_t>(i);
      if (before) report.fault(Path::of("spec", "ingress", key, i), fmt::format("{} is there twice", ports[i]));
    }
  };
  check_ports(ingress.http, "http");
  check_ports(ingress.https, "https");
  for (size_t i = 0; i < ingress.https.size(); ++i) {
    if (!contains(ingress.http, ingress.https[i])) continue;
    report.fault(Path::of("spec", "ingress", "https", i),
                 fmt::format("{} is a port of http; each port is either for HTTP or for TLS", ingress.https[i]));
  }
  if (ingress.header_timeout.count() == 0) {
    report.fault(Path::of("spec", "ingress", "timeouts", "headers"), "must be at least one second");
  }
}

// Either the gateway is told, or the service that came later.
class Collisions {
 public:
  Collisions(const Config& config, bool tell_gateway, Findings& findings)
      : config_(config), ingress_(config.gateway.ingress), tell_gateway_(tell_gateway), findings_(findings) {
    for (size_t i = 0; i < ingress_.addresses.size(); ++i) index_.emplace(ingress_.addresses[i], i);
    for (const Interface& interface : config.gateway.interfaces) {
      for (const Prefix& own : interface.addresses) own_ = own_ || index_.contains(own.addr);
    }
  }

  void check(const Service& service) {
    if (!service.proxied) return;
    for (size_t i = 0; i < service.cluster_ips.size(); ++i) {
      const auto found = index_.find(service.cluster_ips[i]);
      if (found == index_.end()) continue;
      tell(service, Path::of("spec", "ingress", "addresses", found->second), Path::of("spec", "clusterIPs", i),
           net::to_string(service.cluster_ips[i]));
    }
    for (const IpAddr& address : service.external_ips) check_ports(service, &address);
    // LB-4: where there are pools the status is a wish.
    if (config_.address_pools.empty() || !service.load_balancer.ours) {
      for (const IpAddr& address : service.load_balancer_ips) check_ports(service, &address);
    }
    if (own_) check_ports(service, nullptr);
  }

 private:
  // `address`: nullptr for node ports.
  void check_ports(const Service& service, const IpAddr* address) {
    if (address != nullptr && !index_.contains(*address)) return;
    for (size_t i = 0; i < service.ports.size(); ++i) {
      const ServicePort& port = service.ports[i];
      const uint16_t number = address != nullptr ? port.port : port.node_port;
      if (port.protocol != Protocol::Tcp || number == 0) continue;
      const std::string what = address != nullptr ? fmt::format("TCP port {} of {}", number, net::to_string(*address))
                                                  : fmt::format("TCP node port {}", number);
      for (const auto& [key, ports] : {std::pair("http", &ingress_.http), std::pair("https", &ingress_.https)}) {
        const auto found = std::find(ports->begin(), ports->end(), number);
        if (found == ports->end()) continue;
        tell(service, Path::of("spec", "ingress", key, found - ports->begin()),
             Path::of("spec", "ports", i, address != nullptr ? "port" : "nodePort"), what);
      }
    }
  }

  void tell(const Service& service, const Path& in_gateway, const Path& in_service, const std::string& what) {
    if (tell_gateway_) {
      Report(findings_, {gateway_kind, "", config_.gateway.name})
          .fault(in_gateway, fmt::format("{} belongs to service {}", what, service.name.text()));
    } else {
      Report(findings_, {"Service", service.name.ns, service.name.name})
          .fault(in_service, fmt::format("{} belongs to spec.ingress of the GatewayConfiguration", what));
    }
  }

  const Config& config_;
  const IngressSettings& ingress_;
  bool tell_gateway_;
  Findings& findings_;
  std::unordered_map<IpAddr, size_t> index_;
  bool own_ = false;  // one of them is an interface's, where node ports are as well
};

}  // namespace

void check_ingress(const Config& config, const Scope& scope, bool every, Findings& findings) {
  if (!config.gateway.ingress.enabled) return;
  Report report(findings, {gateway_kind, "", config.gateway.name});
  if (every) check_own(config, report);
  Collisions collisions(config, scope.touched(gateway_kind), findings);
  if (every) {
    for (const auto& [name, service] : config.services) collisions.check(service);
    return;
  }
  for (const ObjectName& name : names_of(*scope.change, "Service")) {
    if (const auto found = config.services.find(name); found != config.services.end()) collisions.check(found->second);
  }
}

}  // namespace sluice::config
