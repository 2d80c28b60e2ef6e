// A tunnel to one remote node, as the packet path sees it: const, built by control::compile.
#pragma once

#include <cstdint>

#include "dataplane/net/addr.h"

namespace sluice::encap {

enum class Kind : uint8_t { Vxlan, Ipip };

// Don't Fragment of the outer header. Inherit: IPIP copies the inner bit (an inner IPv6 packet counts as set),
// VXLAN leaves it clear as Linux does (VXL-7). Clear: clear, except that IPIP still shows a set inner bit, which
// RFC 2003 section 3.1 makes a MUST.
enum class OuterDf : uint8_t { Inherit, Set, Clear };

// What is configured about one tunnel. The outer family is that of `local` and `remote`.
struct TunnelSpec {
  Kind kind = Kind::Vxlan;
  net::IpAddr local{};                 // outer source
  net::IpAddr remote{};                // outer destination, of the same family
  uint32_t vni = 0;                    // 24 bits, VXLAN
  uint16_t udp_port = 4789;            // outer destination port, host byte order, VXLAN
  uint16_t source_port_first = 49152;  // VXL-2, host byte order; first <= last
  uint16_t source_port_last = 65535;
  net::MacAddr inner_source{};       // own VTEP MAC (VXL-3)
  net::MacAddr inner_destination{};  // remote VTEP MAC
  uint16_t mtu = 1450;               // largest inner IP packet, bytes (MTU-1)
  OuterDf outer_df = OuterDf::Inherit;
  bool copy_dscp = true;       // ECN-1: uniform; otherwise `dscp`
  uint8_t dscp = 0;            // 6 bits
  bool copy_ecn = true;        // normal mode; otherwise compatibility: outer Not-ECT
  uint8_t ipip_ttl = 0;        // 0: inherit the inner TTL (TTL-3)
  bool zero_checksum = false;  // VXLAN over IPv6 without UDP checksum (VXL-9); over IPv4 there never is one

  friend bool operator==(const TunnelSpec&, const TunnelSpec&) = default;
};

// Bytes in front of the inner IP packet, outer Ethernet header not counted.
[[nodiscard]] constexpr uint16_t overhead(Kind kind, net::Family outer = net::Family::V4) {
  const uint16_t ip = outer == net::Family::V4 ? 20 : 40;
  return kind == Kind::Vxlan ? ip + 8 + 8 + 14 : ip;
}
[[nodiscard]] constexpr uint16_t overhead(const TunnelSpec& spec) { return overhead(spec.kind, spec.remote.family()); }

// Where the inner IP packet lies in a received tunnel packet, as the encapsulation's own header tells it.
// Offsets count from the start of the mbuf's data.
struct InnerPacket {
  uint32_t begin = 0;
  uint32_t end = 0;
  net::Family family = net::Family::V4;
};

}  // namespace sluice::encap
