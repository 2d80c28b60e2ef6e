#include "control/snapshot_parts.h"

namespace sluice::control {

KernelLinks links_of(const std::vector<PlannedInterface>& interfaces) {
  KernelLinks links;
  for (const PlannedInterface& interface : interfaces) {
    if (interface.in_kernel()) links.emplace(interface.link, interface.use);
  }
  return links;
}

std::vector<net::IpAddr> own_addresses_of(const std::vector<PlannedInterface>& interfaces) {
  std::vector<net::IpAddr> own;
  // Uplinks first: NodePorts stand on the first address (SVC-51).
  for (const dataplane::Role role : {dataplane::Role::Uplink, dataplane::Role::Workload}) {
    for (const PlannedInterface& interface : interfaces) {
      if (interface.role != role) continue;
      for (const net::Prefix& address : interface.addresses) own.push_back(address.addr);
    }
  }
  return own;
}

dataplane::Tunnel make_tunnel(const PlannedTunnel& planned) {
  dataplane::Tunnel tunnel{.present = true,
                           .over_v6 = planned.spec.remote.is_v6(),
                           .spec = planned.spec,
                           .masquerade_v4 = planned.masquerade_v4,
                           .masquerade_v6 = planned.masquerade_v6};
  if (tunnel.over_v6) {
    tunnel.header_v6 = encap::HeaderTemplateV6::build(planned.spec);
  } else {
    tunnel.header = encap::HeaderTemplate::build(planned.spec);
  }
  return tunnel;
}

}  // namespace sluice::control
