// How much there is of what the router serves, for its metrics: sums, so that their number does not grow with a
// cluster.
#pragma once

#include <cstddef>

namespace sluice::control {

struct Totals {
  // Services that the router is the proxy of, by spec.type.
  size_t cluster_ip_services = 0, node_port_services = 0, load_balancer_services = 0;
  // Of the EndpointSlices of these, each endpoint in one state: `terminating` are those that are not ready and serve
  // while they end (KEP-1669).
  size_t ready_endpoints = 0, terminating_endpoints = 0, unready_endpoints = 0;
  size_t drained = 0;  // endpoints and pods drained by hand, there or not
  size_t vxlan_tunnels = 0, ipip_tunnels = 0;
  size_t unreachable_tunnels = 0;  // the underlay lately did not reach the far end
};

}  // namespace sluice::control
