// What goes to the host, by kind, so that a flood of one never takes the room of another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "dataplane/net/endian.h"
#include "dataplane/net/headers.h"

namespace sluice::dataplane {

enum class PuntClass : uint8_t {
  Neighbor,    // ARP and neighbour discovery
  Icmp,        // ICMP and ICMPv6 to an address of the host
  Routing,     // BGP (TCP 179), BFD (UDP 3784, 3785, 4784), VRRP
  Management,  // SSH (TCP 22)
  Multicast,   // broadcasts, and multicasts that stay on their link
  Other,
};
inline constexpr size_t punt_class_count = 6;

// Packets per second of the whole router, in the order of PuntClass. Each worker has its equal share of them.
using PuntLimits = std::array<uint32_t, punt_class_count>;
inline constexpr PuntLimits default_punt_limits{1000, 1000, 5000, 10000, 1000, 20000};

// Of a unicast packet. Ports in either direction: what the host began comes back from such a port.
[[nodiscard]] constexpr PuntClass punt_class(uint8_t protocol, net::be16 src_port, net::be16 dst_port) {
  const auto either = [&](uint16_t port) { return src_port.host() == port || dst_port.host() == port; };
  switch (protocol) {
    case net::protocol::icmp:
    case net::protocol::icmpv6:
      return PuntClass::Icmp;
    case net::protocol::vrrp:
      return PuntClass::Routing;
    case net::protocol::tcp:
      if (either(179)) return PuntClass::Routing;
      return either(22) ? PuntClass::Management : PuntClass::Other;
    case net::protocol::udp:
      // RFC 5881 section 4, RFC 5883 section 5.
      return either(3784) || either(3785) || either(4784) ? PuntClass::Routing : PuntClass::Other;
    default:
      return PuntClass::Other;
  }
}

}  // namespace sluice::dataplane
