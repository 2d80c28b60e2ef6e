// How much there is of what the router serves.
#include "control/controller.h"

namespace sluice::control {
namespace {

void count_services(const config::Config& config, Totals& totals) {
  for (const auto& [name, service] : config.services) {
    if (!service.proxied) continue;
    switch (service.type) {
      case config::ServiceType::ClusterIp:
        ++totals.cluster_ip_services;
        break;
      case config::ServiceType::NodePort:
        ++totals.node_port_services;
        break;
      case config::ServiceType::LoadBalancer:
        ++totals.load_balancer_services;
        break;
      case config::ServiceType::ExternalName:
        break;
    }
  }
}

void count_endpoints(const config::Config& config, Totals& totals) {
  for (const auto& [name, slice] : config.slices) {
    if (slice.service.empty() || slice.fqdn) continue;
    const auto service = config.services.find({name.ns, slice.service});
    if (service == config.services.end() || !service->second.proxied) continue;
    for (const config::Endpoint& endpoint : slice.endpoints) {
      if (endpoint.ready) {
        ++totals.ready_endpoints;
      } else if (endpoint.serving && endpoint.terminating) {
        ++totals.terminating_endpoints;
      } else {
        ++totals.unready_endpoints;
      }
    }
  }
}

}  // namespace

Totals Controller::totals() const {
  Totals totals;
  count_services(objects_.config(), totals);
  count_endpoints(objects_.config(), totals);
  totals.drained = drains_.targets().size();
  for (const auto& [name, tunnel] : deployment_.plan().tunnels) {
    ++(tunnel.spec.kind == encap::Kind::Vxlan ? totals.vxlan_tunnels : totals.ipip_tunnels);
    if (plane_.tunnel_paths()[deployment_.index_of_tunnel(name)].unreachable) ++totals.unreachable_tunnels;
  }
  return totals;
}

}  // namespace sluice::control
