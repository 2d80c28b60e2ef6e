// IP in IP without anything between the two headers: protocol 4 carries IPv4 (RFC 2003), 41 carries IPv6 (RFC 4213),
// over IPv4 and over IPv6 (RFC 2473). The outer header is 20 or 40 bytes, options are not copied (IPIP-1).
#pragma once

#include <cstdint>

#include "dataplane/net/packet.h"
#include "encap/tunnel.h"

namespace sluice::encap {

// The outer protocol number for an inner packet of family F.
template <class F>
inline constexpr uint8_t ipip_protocol = F::is_v4 ? net::protocol::ipip : net::protocol::ipv6;

// RFC 2003 section 3.2: a packet with the tunnel's own addresses is on its way round a loop (IPIP-2). Sender: ask it
// when a flow or route chooses the tunnel, not per packet; the receiver asks it of each packet.
template <class Address>
[[nodiscard]] constexpr bool ipip_loops(const Address& inner_source, const Address& inner_destination,
                                        const Address& outer_source, const Address& outer_destination) {
  return inner_source == outer_source && inner_destination == outer_destination;
}

// The inner packet of an outer one with protocol 4 or 41.
[[nodiscard]] constexpr InnerPacket open_ipip(const net::Packet& outer) {
  return {outer.l4, uint32_t{outer.l3} + outer.l3_length,
          outer.protocol == net::protocol::ipip ? net::Family::V4 : net::Family::V6};
}

}  // namespace sluice::encap
