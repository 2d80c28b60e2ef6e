// Rules about BGP: what Calico's API server refuses, and what BIRD could not be told. A reference to an object that is
// not there is no fault; the router says so in its warnings (control/bgp_plan.h).
#include <algorithm>

#include <fmt/format.h>

#include "config/rules.h"

namespace sluice::config {
namespace {

void check_gateway(const Gateway& gateway, Findings& findings) {
  Report report(findings, {gateway_kind, "", gateway.name});
  const Bgp& bgp = gateway.bgp;
  const auto path = [](std::string_view field) { return Path::of("spec", "bgp", field); };
  if (bgp.router_id && bgp.router_id->is_unspecified()) report.fault(path("routerID"), "0.0.0.0 is no router id");
  if (bgp.engine == BgpEngine::Bird && gateway.node_name.empty()) {
    report.fault(Path::of("spec", "nodeName"), "required for BGP: it says which Node this router is");
  }
}

void check_configuration(const std::string& name, const BgpConfiguration& configuration, Findings& findings) {
  Report report(findings, {"BGPConfiguration", "", name});
  const auto check_cidrs = [&](const std::vector<Prefix>& cidrs, std::string_view field) {
    for (size_t i = 0; i < cidrs.size(); ++i) {
      if (cidrs[i].length == 0) {
        report.fault(Path::of("spec", field, i, "cidr"),
                     "everything is announced by nobody: name the services' networks");
      }
    }
  };
  check_cidrs(configuration.service_cluster_ips, "serviceClusterIPs");
  check_cidrs(configuration.service_external_ips, "serviceExternalIPs");
  check_cidrs(configuration.service_load_balancer_ips, "serviceLoadBalancerIPs");
  for (size_t i = 0; i < configuration.prefix_advertisements.size(); ++i) {
    const std::vector<std::string>& communities = configuration.prefix_advertisements[i].communities;
    for (size_t k = 0; k < communities.size(); ++k) {
      if (configuration.communities.contains(communities[k]) || parse_bgp_community(communities[k])) continue;
      report.fault(Path::of("spec", "prefixAdvertisements", i, "communities", k),
                   fmt::format("{} is neither a community such as 65000:100 nor the name of one in spec.communities",
                               quoted(communities[k])));
    }
  }
}

void check_peer(const BgpPeer& peer, Findings& findings) {
  Report report(findings, {"BGPPeer", "", peer.name});
  const auto path = [](std::string_view field) { return Path::of("spec", field); };
  if (!peer.node.empty() && peer.node_selector)
    report.fault(path("nodeSelector"), "node and nodeSelector exclude each other");
  if (peer.peer_ip && peer.peer_selector)
    report.fault(path("peerSelector"), "peerIP and peerSelector exclude each other");
  if (!peer.peer_ip && !peer.peer_selector) report.fault(path("peerIP"), "required, or peerSelector");
  if (peer.peer_ip && peer.as_number == 0) report.fault(path("asNumber"), "required beside peerIP");
  if (peer.peer_selector && peer.as_number != 0) {
    report.fault(path("asNumber"), "excluded by peerSelector: nodes have their own AS numbers");
  }
  if (peer.peer_ip) {
    const std::string_view why = never_a_host(*peer.peer_ip);
    if (!why.empty()) report.fault(path("peerIP"), fmt::format("{} is {}", net::to_string(*peer.peer_ip), why));
    if (why.empty() && peer.peer_ip->is_link_local()) {
      report.fault(path("peerIP"), fmt::format("{} is a link-local address, and no interface is said with it",
                                               net::to_string(*peer.peer_ip)));
    }
  }
  if (peer.reachable_by && peer.peer_ip && peer.reachable_by->family() != peer.peer_ip->family()) {
    report.fault(path("reachableBy"), "is of another address family than peerIP");
  }
  if (peer.reachable_by && !peer.peer_ip) report.fault(path("reachableBy"), "needs peerIP");
}

void check_rules(const std::vector<BgpFilterRule>& rules, std::string_view field, bool v6, Report& report) {
  for (size_t i = 0; i < rules.size(); ++i) {
    const BgpFilterRule& rule = rules[i];
    if (!rule.cidr) continue;
    if (rule.cidr->addr.is_v6() != v6) {
      report.fault(Path::of("spec", field, i, "cidr"), fmt::format("expected an IPv{} network", v6 ? 6 : 4));
      continue;
    }
    const uint8_t bits = rule.cidr->addr.bit_length();
    const uint8_t min = rule.min_length.value_or(rule.cidr->length);
    const uint8_t max = rule.max_length.value_or(bits);
    if (min > max || max > bits || min < rule.cidr->length) {
      report.fault(Path::of("spec", field, i, "prefixLength"),
                   fmt::format("expected {} <= min <= max <= {}", rule.cidr->length, bits));
    }
  }
}

}  // namespace

void check_bgp(const Config& config, Findings& findings) {
  check_gateway(config.gateway, findings);
  for (const auto& [name, configuration] : config.bgp_configurations)
    check_configuration(name, configuration, findings);
  for (const auto& [name, peer] : config.bgp_peers) check_peer(peer, findings);
  for (const auto& [name, filter] : config.bgp_filters) {
    Report report(findings, {"BGPFilter", "", name});
    check_rules(filter.export_v4, "exportV4", false, report);
    check_rules(filter.import_v4, "importV4", false, report);
    check_rules(filter.export_v6, "exportV6", true, report);
    check_rules(filter.import_v6, "importV6", true, report);
  }
}

}  // namespace sluice::config
