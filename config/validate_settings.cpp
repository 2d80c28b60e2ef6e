// Rules about the settings of GatewayConfiguration that are no network: ranges that must not meet, sizes, times.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "config/prefix_table.h"
#include "config/rules.h"
#include "config/timeouts.h"

namespace sluice::config {
namespace {

// SVC-21: primes, each about twice the one before; 0 lets the router choose.
constexpr std::array<uint32_t, 11> maglev_sizes{0, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071};
constexpr uint32_t min_connections = 1024;
constexpr Seconds max_timeout = std::chrono::hours(24 * 30);
constexpr Milliseconds min_sctp_timeout{100};
constexpr Seconds max_fragment_timeout{60};

bool overlap(const PortRange& a, const PortRange& b) { return a.first <= b.last && b.first <= a.last; }
std::string to_string(const PortRange& range) { return fmt::format("{}-{}", range.first, range.last); }

class SettingRules {
 public:
  SettingRules(const Config& config, Findings& findings)
      : config_(config), gateway_(config.gateway), report_(findings, {gateway_kind, "", config.gateway.name}) {}

  void check() {
    check_names();
    check_cluster();
    check_detect_local();
    check_ports();
    check_nat_outgoing();
    check_overlay();
    check_conntrack();
    check_fragments();
    check_health();
    check_host();
    const uint32_t size = gateway_.proxy.maglev_table_size;
    if (std::find(maglev_sizes.begin(), maglev_sizes.end(), size) == maglev_sizes.end()) {
      fault(fmt::format("{} is not one of {}", size, fmt::join(maglev_sizes, ", ")), "proxy", "maglevTableSize");
    }
  }

 private:
  template <class... Steps>
  void fault(std::string message, const Steps&... steps) {
    report_.fault(Path::of("spec", steps...), std::move(message));
  }

  void check_names() {
    static constexpr std::string_view expected = "expected a node's name: a-z, 0-9, \"-\" and \".\"";
    if (!gateway_.node_name.empty() && !is_dns_subdomain(gateway_.node_name)) {
      fault(std::string(expected), "nodeName");
    }
    for (size_t i = 0; i < gateway_.local_node_names.size(); ++i) {
      const std::string& name = gateway_.local_node_names[i];
      if (name != gateway_.node_name && !is_dns_subdomain(name)) {
        fault(std::string(expected), "localNodeNames", i);
      }
    }
  }

  void check_host() {
    const bool any = std::any_of(gateway_.interfaces.begin(), gateway_.interfaces.end(),
                                 [](const Interface& interface) { return !interface.host_interface.empty(); });
    if (gateway_.host.routes && !any)
      fault("no interface has a hostInterface that routes could lead by", "host", "routes");
  }

  // A pod's address is never a service's.
  void check_cluster() {
    const Cluster& cluster = gateway_.cluster;
    for (size_t i = 0; i < cluster.cluster_cidrs.size(); ++i) {
      for (const Prefix& services : cluster.service_cidrs) {
        if (!cluster.cluster_cidrs[i].overlaps(services)) continue;
        fault(fmt::format("{} overlaps the service range {}", net::to_string(cluster.cluster_cidrs[i]),
                          net::to_string(services)),
              "cluster", "clusterCIDRs", i);
      }
    }
  }

  // A name that no interface has is no fault: its port may come later (control/detect_local.h warns).
  void check_detect_local() {
    const Cluster& cluster = gateway_.cluster;
    const auto check_name = [this](std::string_view name, std::string_view field, std::string_view mode) {
      if (name.empty()) {
        fault(fmt::format("required with detectLocalMode {}", mode), "cluster", "detectLocal", field);
      } else if (name.find_first_of("/: \t\n\r") != std::string_view::npos) {
        fault(fmt::format("{} cannot be the name of an interface", quoted(name)), "cluster", "detectLocal", field);
      }
    };
    switch (cluster.detect_local) {
      case DetectLocal::ClusterCidr:
        return;
      case DetectLocal::NodeCidr:
        if (!gateway_.local_node_names.empty()) return;
        return fault("required with detectLocalMode NodeCIDR: local pods are in the podCIDRs of this Node", "nodeName");
      case DetectLocal::BridgeInterface:
        return check_name(cluster.bridge_interface, "bridgeInterface", "BridgeInterface");
      case DetectLocal::InterfaceNamePrefix:
        return check_name(cluster.interface_name_prefix, "interfaceNamePrefix", "InterfaceNamePrefix");
    }
  }

  // SVC-56: a reply to a masqueraded flow must not look like traffic to a node port or to the tunnel.
  void check_ports() {
    const PortRange& node_ports = gateway_.cluster.node_port_range;
    const uint16_t vxlan = gateway_.overlay.vxlan_port;
    check_snat_ports(gateway_.snat.port_range, "portRange");
    if (gateway_.snat.nat_port_range) check_snat_ports(*gateway_.snat.nat_port_range, "natPortRange");
    if (node_ports.contains(vxlan)) {
      fault(fmt::format("{} contains the VXLAN port {}", to_string(node_ports), vxlan), "cluster", "nodePortRange");
    }
  }

  void check_snat_ports(const PortRange& snat, std::string_view name) {
    const PortRange& node_ports = gateway_.cluster.node_port_range;
    const uint16_t vxlan = gateway_.overlay.vxlan_port;
    if (overlap(snat, node_ports)) {
      fault(fmt::format("{} overlaps the node ports {}", to_string(snat), to_string(node_ports)), "snat", name);
    }
    if (snat.contains(vxlan)) {
      fault(fmt::format("{} contains the VXLAN port {}", to_string(snat), vxlan), "snat", name);
    }
  }

  // MASQ-8: answers come back only to an address that the router has, and which its neighbours are told of.
  void check_nat_outgoing() {
    const auto check = [this](const auto& address, std::string_view family) {
      if (!address) return;
      const IpAddr wanted(*address);
      for (const Interface& interface : gateway_.interfaces) {
        for (const Prefix& own : interface.addresses) {
          if (own.addr == wanted && !wanted.is_link_local()) return;
        }
      }
      fault(fmt::format("{} is no address of an interface of this router", net::to_string(wanted)), "snat",
            "natOutgoingAddress", family);
    };
    check(gateway_.snat.nat_outgoing_v4, "v4");
    check(gateway_.snat.nat_outgoing_v6, "v6");
  }

  // SVC-80, SVC-82: kernel sockets, so any address that a socket can be bound to.
  void check_health() {
    const Proxy& proxy = gateway_.proxy;
    if (gateway_.cluster.node_port_range.contains(proxy.healthz_port)) {
      fault(fmt::format("{} is one of the node ports {}", proxy.healthz_port,
                        to_string(gateway_.cluster.node_port_range)),
            "proxy", "healthzPort");
    }
    for (size_t i = 0; i < proxy.health_addresses.size(); ++i) {
      const IpAddr& address = proxy.health_addresses[i];
      const bool bindable = address.is_unspecified() || address.is_loopback() || never_remote(address).empty();
      if (!bindable) {
        fault(fmt::format("{} is {}", net::to_string(address), never_remote(address)), "proxy", "healthAddresses", i);
      } else if (std::find(proxy.health_addresses.begin(), proxy.health_addresses.begin() + static_cast<ptrdiff_t>(i),
                           address) != proxy.health_addresses.begin() + static_cast<ptrdiff_t>(i)) {
        fault(fmt::format("{} twice", net::to_string(address)), "proxy", "healthAddresses", i);
      }
    }
  }

  void check_overlay() {
    const Overlay& overlay = gateway_.overlay;
    if (overlay.mtu && (*overlay.mtu < 576 || *overlay.mtu > 9600)) {
      fault(fmt::format("expected 576 to 9600, found {}", *overlay.mtu), "overlay", "mtu");
    } else if (overlay.mtu && *overlay.mtu < 1280 && has_v6_pods()) {
      fault(fmt::format("IPv6 needs at least 1280, found {}", *overlay.mtu), "overlay", "mtu");
    }
    if (overlay.vtep_mac && (overlay.vtep_mac->is_multicast() || overlay.vtep_mac->is_zero())) {
      fault(fmt::format("{} is not the address of a station", net::to_string(*overlay.vtep_mac)), "overlay", "vtepMac");
    }
    if (!overlay.vtep_mac && gateway_.node_name.empty() && uses_vxlan()) {
      fault("required for VXLAN, because the tunnel's MAC address is made of it; or set overlay.vtepMac", "nodeName");
    }
  }

  [[nodiscard]] bool has_v6_pods() const {
    const std::vector<Prefix>& cidrs = gateway_.cluster.cluster_cidrs;
    return std::any_of(cidrs.begin(), cidrs.end(), [](const Prefix& cidr) { return cidr.addr.is_v6(); }) ||
           std::any_of(config_.pools.begin(), config_.pools.end(),
                       [](const auto& entry) { return entry.second.cidr.addr.is_v6(); });
  }

  [[nodiscard]] bool uses_vxlan() const {
    return std::any_of(gateway_.tunnels.begin(), gateway_.tunnels.end(),
                       [](const Tunnel& tunnel) { return tunnel.type == TunnelType::Vxlan; }) ||
           std::any_of(config_.pools.begin(), config_.pools.end(),
                       [](const auto& entry) { return entry.second.vxlan_mode != TunnelMode::Never; });
  }

  void check_conntrack() {
    const Conntrack& conntrack = gateway_.conntrack;
    if (conntrack.max < min_connections) {
      fault(fmt::format("expected at least {}, found {}", min_connections, conntrack.max), "conntrack", "max");
    }
    for (const NamedTimeout& timeout : named_timeouts) {
      const Seconds value = conntrack.timeouts.*timeout.field;
      if (value >= Seconds(1) && value <= max_timeout) continue;
      fault(fmt::format("expected 1s to 720h, found {}s", value.count()), "conntrack", "timeouts", timeout.name);
    }
    for (const NamedSctpTimeout& timeout : named_sctp_timeouts) {
      const Milliseconds value = conntrack.timeouts.*timeout.field;
      if (value >= min_sctp_timeout && value <= max_timeout) continue;
      fault(fmt::format("expected 100ms to 720h, found {}ms", value.count()), "conntrack", "timeouts", timeout.name);
    }
  }

  void check_fragments() {
    const Seconds timeout = gateway_.fragments.timeout;
    if (timeout < Seconds(1) || timeout > max_fragment_timeout) {
      fault(fmt::format("expected 1s to 60s, found {}s", timeout.count()), "fragments", "timeout");
    }
  }

  const Config& config_;
  const Gateway& gateway_;
  Report report_;
};

}  // namespace

void check_settings(const Config& config, Findings& findings) { SettingRules(config, findings).check(); }

}  // namespace sluice::config
