// Rules about services: each by itself, against the network around it, and who owns which address and port.
//
// Claims are collected in two rounds, untouched services first, so that of two services that want one port the
// one that came with the change is at fault.
#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "config/prefix_table.h"
#include "config/rules.h"

namespace sluice::config {
namespace {

constexpr size_t max_cluster_ips = 2;
constexpr Seconds min_affinity{1};
constexpr Seconds max_affinity{86400};

std::string_view protocol_name(Protocol protocol) {
  switch (protocol) {
    case Protocol::Tcp:
      return "TCP";
    case Protocol::Udp:
      return "UDP";
    case Protocol::Sctp:
      return "SCTP";
    case Protocol::Icmp:
      return "ICMP";
  }
  return "?";
}

// One service by itself.
class ServiceRules {
 public:
  ServiceRules(const Service& service, const PortRange& node_ports, Report& report)
      : service_(service), node_ports_(node_ports), report_(report) {}

  void check() {
    check_cluster_ips();
    check_ports();
    check_addresses("externalIPs", service_.external_ips);
    for (const IpAddr& address : service_.load_balancer_ips) {
      if (const std::string_view why = never_remote(address); !why.empty()) {
        report_.fault(Path::of("status", "loadBalancer", "ingress"),
                      fmt::format("{} is {}", net::to_string(address), why));
      }
    }
    if (service_.affinity && (*service_.affinity < min_affinity || *service_.affinity > max_affinity)) {
      fault(fmt::format("expected 1 to 86400, found {}", service_.affinity->count()), "sessionAffinityConfig",
            "clientIP", "timeoutSeconds");
    }
    check_health_port();
  }

 private:
  template <class... Steps>
  void fault(std::string message, const Steps&... steps) {
    report_.fault(Path::of("spec", steps...), std::move(message));
  }

  void check_cluster_ips() {
    const std::vector<IpAddr>& addresses = service_.cluster_ips;
    if (addresses.size() > max_cluster_ips) {
      fault(fmt::format("at most one of each family, found {}", addresses.size()), "clusterIPs");
    } else if (addresses.size() == 2 && addresses[0].family() == addresses[1].family()) {
      fault("both addresses are of the same family", "clusterIPs", 1);
    }
    check_addresses("clusterIPs", addresses);
  }

  void check_addresses(std::string_view field, const std::vector<IpAddr>& addresses) {
    for (size_t i = 0; i < addresses.size(); ++i) {
      const std::string_view why = never_remote(addresses[i]);
      if (!why.empty()) fault(fmt::format("{} is {}", net::to_string(addresses[i]), why), field, i);
    }
  }

  void check_ports() {
    if (service_.proxied && service_.ports.empty()) fault("at least one port is required", "ports");
    std::set<std::string_view> names;
    std::set<std::pair<Protocol, uint16_t>> numbers;
    for (size_t i = 0; i < service_.ports.size(); ++i) {
      const ServicePort& port = service_.ports[i];
      if (port.name.empty()) {
        if (service_.ports.size() > 1) fault("required where there is more than one port", "ports", i, "name");
      } else if (!is_dns_label(port.name)) {
        fault("expected at most 63 of a-z, 0-9 and \"-\"", "ports", i, "name");
      } else if (!names.insert(port.name).second) {
        fault(fmt::format("a second port of the name {}", port.name), "ports", i, "name");
      }
      if (!numbers.emplace(port.protocol, port.port).second) {
        fault(fmt::format("a second {} port {}", protocol_name(port.protocol), port.port), "ports", i, "port");
      }
      check_node_port(i, port);
    }
  }

  void check_node_port(size_t i, const ServicePort& port) {
    if (port.node_port == 0) return;
    if (service_.type == ServiceType::ClusterIp || service_.type == ServiceType::ExternalName) {
      fault("only for services of type NodePort and LoadBalancer", "ports", i, "nodePort");
    } else if (!node_ports_.contains(port.node_port)) {
      fault(out_of_range(port.node_port), "ports", i, "nodePort");
    }
  }

  void check_health_port() {
    const uint16_t port = service_.health_check_node_port;
    if (port == 0) return;
    if (service_.type != ServiceType::LoadBalancer || service_.external_policy != TrafficPolicy::Local) {
      fault("only for type LoadBalancer with externalTrafficPolicy Local", "healthCheckNodePort");
    } else if (!node_ports_.contains(port)) {
      fault(out_of_range(port), "healthCheckNodePort");
    }
  }

  [[nodiscard]] std::string out_of_range(uint16_t port) const {
    return fmt::format("{} is outside the node port range {}-{}", port, node_ports_.first, node_ports_.last);
  }

  const Service& service_;
  const PortRange& node_ports_;
  Report& report_;
};

// What a service's addresses must agree with: SVC-120 and the service ranges.
class Surroundings {
 public:
  // `owners`: know what nodes have; nullptr: every node is looked at.
  Surroundings(const Config& config, const Owners* owners) : owners_(owners) {
    const Cluster& cluster = config.gateway.cluster;
    for (const Prefix& network : cluster.service_cidrs) services_.insert(network, true);
    for (const Interface& interface : config.gateway.interfaces) {
      for (const Prefix& address : interface.addresses) {
        nodes_.try_emplace(address.addr, fmt::format("interface {}", quoted(interface.name)));
      }
    }
    if (owners == nullptr) {
      for (const auto& [name, node] : config.nodes) add_node(node);
    }
    for (const Prefix& network : cluster.cluster_cidrs) pods_.insert(network, true);
    for (const auto& [name, pool] : config.pools) {
      if (!pool.load_balancer_only) pods_.insert(pool.cidr, true);
    }
    for (const Prefix& network : config.gateway.proxy.allowed_external_cidrs) allowed_.insert(network, true);
  }

  void check(const Service& service, Report& report) const {
    for (size_t i = 0; i < service.cluster_ips.size(); ++i) {
      const IpAddr& address = service.cluster_ips[i];
      if (!services_.empty() && services_.find(address) == nullptr) {
        report.fault(Path::of("spec", "clusterIPs", i),
                     fmt::format("{} is in no service CIDR", net::to_string(address)));
      }
    }
    if (!service.proxied) return;
    for (size_t i = 0; i < service.external_ips.size(); ++i) {
      const std::string why = objection(service.external_ips[i]);
      if (why.empty()) continue;
      report.fault(Path::of("spec", "externalIPs", i),
                   fmt::format("{} {}", net::to_string(service.external_ips[i]), why));
    }
  }

 private:
  void add_node(const Node& node) {
    const auto add = [&](const IpAddr& address) { nodes_.try_emplace(address, fmt::format("node {}", node.name)); };
    for (const IpAddr& address : node.internal_ips) add(address);
    for (const IpAddr& address : node.external_ips) add(address);
    if (node.bgp_ipv4) add(node.bgp_ipv4->addr);
    if (node.bgp_ipv6) add(node.bgp_ipv6->addr);
    for (const Prefix& network : node.pod_cidrs) pods_.insert(network, true);
  }

  // Why an external IP would take somebody else's traffic; empty if it does not.
  [[nodiscard]] std::string objection(const IpAddr& address) const {
    if (const auto node = nodes_.find(address); node != nodes_.end()) return "belongs to " + node->second;
    if (const Node* node = owners_ == nullptr ? nullptr : owners_->node_at(address))
      return "belongs to node " + node->name;
    if (const Prefix* network = pod_network_of(address)) {
      return fmt::format("belongs to the pod network {}", net::to_string(*network));
    }
    if (const auto* network = services_.find(address)) {
      return fmt::format("belongs to the service network {}", net::to_string(network->first));
    }
    if (!allowed_.empty() && allowed_.find(address) == nullptr) return "is not in allowedExternalCIDRs";
    return {};
  }

  // The longest; nullptr: none.
  [[nodiscard]] const Prefix* pod_network_of(const IpAddr& address) const {
    const auto* known = pods_.find(address);
    const Prefix* of_node = owners_ == nullptr ? nullptr : owners_->pod_network_of(address);
    if (known == nullptr || (of_node != nullptr && of_node->length > known->first.length)) return of_node;
    return &known->first;
  }

  const Owners* owners_;
  std::unordered_map<IpAddr, std::string> nodes_;  // and whose address it is
  PrefixTable<bool> pods_;
  PrefixTable<bool> services_;
  PrefixTable<bool> allowed_;
};

// Who owns which address, node port and frontend.
class Claims {
 public:
  Claims(size_t services, bool pools) : pools_(pools) {
    cluster_ips_.reserve(services);
    node_ports_.reserve(services);
  }

  // `fresh`: it was given no load balancer address yet.
  void take(const Service& service, bool fresh, Report& report) {
    take_cluster_ips(service, report);
    for (size_t i = 0; i < service.ports.size(); ++i) {
      const ServicePort& port = service.ports[i];
      if (port.node_port == 0) continue;
      take_node_port(service, port.protocol, port.node_port, Path::of("spec", "ports", i, "nodePort"), report);
    }
    if (service.health_check_node_port != 0) {
      take_node_port(service, Protocol::Tcp, service.health_check_node_port, Path::of("spec", "healthCheckNodePort"),
                     report);
    }
    if (!service.proxied) return;
    for (const IpAddr& address : service.external_ips) take_frontends(service, address, report);
    if (only_wishes(service, fresh)) return;
    for (const IpAddr& address : service.load_balancer_ips) take_frontends(service, address, report);
  }

  // An address for everybody must not be one that a service has inside.
  void check_inside(const Service& service, bool fresh, Report& report) const {
    if (!service.proxied) return;
    const std::vector<IpAddr> none;
    for (const IpAddr& address : only_wishes(service, fresh) ? none : service.load_balancer_ips) {
      const auto owner = cluster_ips_.find(address);
      if (owner == cluster_ips_.end()) continue;
      report.fault(
          Path::of("status", "loadBalancer", "ingress"),
          fmt::format("{} is a cluster IP of service {}", net::to_string(address), owner->second->name.text()));
    }
    for (size_t i = 0; i < service.external_ips.size(); ++i) {
      const auto owner = cluster_ips_.find(service.external_ips[i]);
      if (owner == cluster_ips_.end()) continue;
      report.fault(Path::of("spec", "externalIPs", i),
                   fmt::format("{} is a cluster IP of service {}", net::to_string(service.external_ips[i]),
                               owner->second->name.text()));
    }
  }

 private:
  struct Frontend {
    IpAddr address;
    uint16_t port = 0;
    Protocol protocol = Protocol::Tcp;
    friend bool operator==(const Frontend&, const Frontend&) = default;
  };
  struct FrontendHash {
    size_t operator()(const Frontend& frontend) const {
      return std::hash<IpAddr>{}(frontend.address) * 131 + frontend.port * 257U +
             static_cast<size_t>(frontend.protocol);
    }
  };

  // LB-4: where there are pools the status of a service is what it would like to have, and it is given another address
  // if that is taken.
  [[nodiscard]] bool only_wishes(const Service& service, bool fresh) const {
    return pools_ && fresh && service.load_balancer.ours;
  }

  void take_cluster_ips(const Service& service, Report& report) {
    for (size_t i = 0; i < service.cluster_ips.size(); ++i) {
      const auto [owner, fresh] = cluster_ips_.try_emplace(service.cluster_ips[i], &service);
      if (fresh) continue;
      report.fault(
          Path::of("spec", "clusterIPs", i),
          fmt::format("{} belongs to service {}", net::to_string(service.cluster_ips[i]), owner->second->name.text()));
    }
  }

  void take_node_port(const Service& service, Protocol protocol, uint16_t port, const Path& path, Report& report) {
    const uint32_t key = static_cast<uint32_t>(protocol) << 16 | port;
    const auto [owner, fresh] = node_ports_.try_emplace(key, &service);
    if (fresh) return;
    report.fault(path, owner->second == &service
                           ? fmt::format("{} node port {} twice", protocol_name(protocol), port)
                           : fmt::format("{} node port {} belongs to service {}", protocol_name(protocol), port,
                                         owner->second->name.text()));
  }

  // LB-3: services may share an address if they differ in protocol or port.
  void take_frontends(const Service& service, const IpAddr& address, Report& report) {
    for (size_t i = 0; i < service.ports.size(); ++i) {
      const ServicePort& port = service.ports[i];
      const auto [owner, fresh] = frontends_.try_emplace({address, port.port, port.protocol}, &service);
      if (fresh || owner->second == &service) continue;
      report.fault(Path::of("spec", "ports", i, "port"),
                   fmt::format("{} port {} of {} belongs to service {}", protocol_name(port.protocol), port.port,
                               net::to_string(address), owner->second->name.text()));
    }
  }

  bool pools_;  // there are IPAddressPools
  std::unordered_map<IpAddr, const Service*> cluster_ips_;
  std::unordered_map<uint32_t, const Service*> node_ports_;  // protocol << 16 | port
  std::unordered_map<Frontend, const Service*, FrontendHash> frontends_;
};

// All of them, if everything is new.
std::unordered_set<const Service*> touched_services(const Config& config, const Scope& scope) {
  std::unordered_set<const Service*> out;
  if (scope.change == nullptr) {
    for (const auto& [name, service] : config.services) out.insert(&service);
    return out;
  }
  for (const Change::Touched& touched : scope.change->touched) {
    if (touched.key.kind != "Service") continue;
    const auto found = config.services.find({touched.key.ns, touched.key.name});
    if (found != config.services.end()) out.insert(&found->second);
  }
  return out;
}

std::unordered_set<const Service*> added_services(const Config& config, const Scope& scope,
                                                  const std::unordered_set<const Service*>& touched) {
  if (scope.change == nullptr) return touched;
  std::unordered_set<const Service*> out;
  for (const Change::Touched& one : scope.change->touched) {
    if (one.key.kind != "Service" || one.action != Change::Action::Added) continue;
    const auto found = config.services.find({one.key.ns, one.key.name});
    if (found != config.services.end()) out.insert(&found->second);
  }
  return out;
}

// In the order of names: those that are held against the rules, and those that claim with them what they have.
std::vector<const Service*> services_in_question(const Config& config, const Scope& scope, bool every,
                                                 const std::unordered_set<const Service*>& touched) {
  std::vector<const Service*> out;
  if (every) {
    for (const auto& [name, service] : config.services) out.push_back(&service);
    return out;
  }
  std::set<const Service*> found(touched.begin(), touched.end());
  for (const Service* service : touched) found.merge(scope.owners->rivals_of(*service));
  out.assign(found.begin(), found.end());
  std::sort(out.begin(), out.end(), [](const Service* a, const Service* b) { return a->name < b->name; });
  return out;
}

}  // namespace

void check_services(const Config& config, const Scope& scope, bool every, Findings& findings) {
  const std::unordered_set<const Service*> touched = touched_services(config, scope);
  std::vector<const Service*> order = services_in_question(config, scope, every, touched);
  const auto first_touched = std::stable_partition(order.begin(), order.end(),
                                                   [&](const Service* service) { return !touched.contains(service); });

  const Surroundings surroundings(config, every ? nullptr : scope.owners);
  Claims claims(order.size(), !config.address_pools.empty());
  const std::unordered_set<const Service*> fresh = added_services(config, scope, touched);
  for (auto at = order.begin(); at != order.end(); ++at) {
    const Service& service = **at;
    Report report(findings, {"Service", service.name.ns, service.name.name});
    if (every || at >= first_touched) {
      ServiceRules(service, config.gateway.cluster.node_port_range, report).check();
      surroundings.check(service, report);
    }
    claims.take(service, fresh.contains(&service), report);
  }
  for (const Service* service : order) {
    Report report(findings, {"Service", service->name.ns, service->name.name});
    claims.check_inside(*service, fresh.contains(service), report);
  }
}

}  // namespace sluice::config
