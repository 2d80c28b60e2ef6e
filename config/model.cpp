#include "config/model.h"

#include <algorithm>

namespace sluice::config {

std::optional<IpAddr> Node::underlay(net::Family family) const {
  const std::optional<Prefix>& annotated = family == net::Family::V4 ? bgp_ipv4 : bgp_ipv6;
  if (annotated) return annotated->addr;
  const auto internal = std::find_if(internal_ips.begin(), internal_ips.end(),
                                     [&](const IpAddr& addr) { return addr.family() == family; });
  return internal == internal_ips.end() ? std::nullopt : std::optional<IpAddr>(*internal);
}

bool Gateway::is_local(const std::string& node) const {
  return std::find(local_node_names.begin(), local_node_names.end(), node) != local_node_names.end();
}

}  // namespace sluice::config
