// IPAM-7: which addresses the router gives its own tunnels unasked, as Calico's allocate-tunnel-addrs does. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/model.h"
#include "control/ipam.h"

namespace sluice::control {

// As Calico calls them; the node's name comes behind.
inline constexpr const char* vxlan_handle = "vxlan-tunnel-addr-";
inline constexpr const char* ipip_handle = "ipip-tunnel-addr-";
inline constexpr const char* vxlan_v6_handle = "vxlan-v6-tunnel-addr-";

// What the node of this router should have: for each encapsulation that an IPPool for it asks for, an address of such a
// pool, unless an annotation of the Node says one. Empty without autoAllocateTunnelAddresses of IPAMConfiguration.
[[nodiscard]] std::vector<ipam::Request> wanted_tunnel_addresses(const config::Config& config);

// What has to happen so that it has.
struct TunnelAddressSteps {
  std::vector<std::string> release;   // handles, first
  std::vector<ipam::Request> assign;  // then
};
// Handles that somebody asked for by the API are left alone.
[[nodiscard]] TunnelAddressSteps tunnel_address_steps(const config::Config& config, const ipam::State& state);

}  // namespace sluice::control
