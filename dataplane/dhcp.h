// Leases for the host behind the router.
#pragma once

#include "dataplane/context.h"
#include "dataplane/net/packet.h"
#include "dataplane/output.h"

namespace sluice::dataplane {

// From a DHCP server or relay to a client (RFC 2131 section 4.1).
[[nodiscard]] constexpr bool is_dhcp_answer(uint8_t protocol, net::be16 src_port, net::be16 dst_port) {
  return protocol == net::protocol::udp && dst_port.host() == 68 && src_port.host() == 67;
}

// A lease for the host behind the ingress, to an address that it does not have yet: it comes to the client's MAC
// address and the address it is offered. What a server elsewhere tells a client on another link goes its way. `egress`:
// the packet's way as the forwarding table has it.
[[nodiscard]] inline bool is_lease_for_host(const Context& context, const net::FlowPacket<net::V4>& packet,
                                            const Egress& egress) {
  if (!packet.has_ports || !is_dhcp_answer(packet.protocol, packet.key.src_port, packet.key.dst_port)) return false;
  if (packet.tunnel_source != net::no_tunnel_source || packet.fragment != net::FragmentKind::Whole) return false;
  const Interface& ingress = context.interface(packet.ingress);
  const bool elsewhere = egress.forwards() && (egress.tunnel != no_tunnel || egress.interface != packet.ingress);
  return ingress.twin && (!elsewhere || ingress.addresses_v4.empty());
}

}  // namespace sluice::dataplane
