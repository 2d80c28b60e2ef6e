#include "control/tunnel_addresses.h"

#include <algorithm>

namespace sluice::control {
namespace {

using config::IpPool;
using net::Family;

constexpr const char* asked_by = "allocatedBy";  // attribute of a handle
constexpr const char* router = "sluiced";

bool is_ours(const ipam::Handle& handle) {
  const auto found = handle.attributes.find(asked_by);
  return found != handle.attributes.end() && found->second == router;
}

bool is_answered(const config::Config& config, const ipam::Handle& handle, const ipam::Request& request) {
  return std::all_of(handle.addresses.begin(), handle.addresses.end(), [&](const net::IpAddr& address) {
    return std::any_of(request.pools.begin(), request.pools.end(),
                       [&](const std::string& name) { return config.pools.at(name).cidr.contains(address); });
  });
}

}  // namespace

std::vector<ipam::Request> wanted_tunnel_addresses(const config::Config& config) {
  std::vector<ipam::Request> out;
  const std::string& name = config.gateway.node_name;
  if (!config.ipam.auto_tunnel_addresses || name.empty()) return out;
  const auto found = config.nodes.find(name);
  const config::Node own = found == config.nodes.end() ? config::Node{.name = name} : found->second;
  const auto add = [&](const char* handle, Family family, bool known, config::TunnelMode IpPool::*mode) {
    if (known) return;
    ipam::Request request{.handle = handle + name,
                          .node = name,
                          .use = ipam::Use::Tunnel,
                          .attributes = {{asked_by, router}},
                          .families = {family}};
    for (const auto& [pool_name, pool] : config.pools) {
      const bool fits = pool.cidr.family() == family && pool.*mode != config::TunnelMode::Never && pool.for_tunnels &&
                        !pool.disabled && !pool.manual && pool.node_selector.matches(own.labels);
      if (fits) request.pools.push_back(pool_name);
    }
    if (!request.pools.empty()) out.push_back(std::move(request));
  };
  add(vxlan_handle, Family::V4, own.vxlan_tunnel_ipv4.has_value(), &IpPool::vxlan_mode);
  add(ipip_handle, Family::V4, own.ipip_tunnel_ipv4.has_value(), &IpPool::ipip_mode);
  add(vxlan_v6_handle, Family::V6, own.vxlan_tunnel_ipv6.has_value(), &IpPool::vxlan_mode);
  return out;
}

TunnelAddressSteps tunnel_address_steps(const config::Config& config, const ipam::State& state) {
  TunnelAddressSteps out;
  out.assign = wanted_tunnel_addresses(config);
  for (const auto& [name, handle] : state.handles()) {
    const auto wanted = std::find_if(out.assign.begin(), out.assign.end(),
                                     [&, &name = name](const ipam::Request& one) { return one.handle == name; });
    const bool right = wanted != out.assign.end() && handle.node == wanted->node &&
                       (!is_ours(handle) || is_answered(config, handle, *wanted));
    if (right) {
      out.assign.erase(wanted);
    } else if (is_ours(handle)) {
      out.release.push_back(name);
    }
  }
  return out;
}

}  // namespace sluice::control
