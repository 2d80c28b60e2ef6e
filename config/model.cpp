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

ConntrackTimeouts ConntrackTimeouts::rfc() {
  constexpr Seconds transitory{240};
  ConntrackTimeouts out;
  for (Seconds* timeout : {&out.tcp_syn_sent, &out.tcp_syn_sent2, &out.tcp_syn_recv, &out.tcp_fin_wait,
                           &out.tcp_close_wait, &out.tcp_last_ack, &out.tcp_time_wait, &out.tcp_close}) {
    *timeout = std::max(*timeout, transitory);
  }
  out.udp = out.udp_stream = Seconds(300);
  out.icmp = Seconds(60);
  return out;
}

}  // namespace sluice::config
