// A logical interface: a port, or one VLAN of it, with its addresses. Part of a snapshot, const.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <rte_build_config.h>

#include "dataplane/net/addr.h"

namespace sluice::dataplane {

// Ports of pods (pod_socket.h, memif_link.h) are numbered behind DPDK's.
inline constexpr uint16_t first_pod_port = RTE_MAX_ETHPORTS;
inline constexpr uint16_t max_pod_ports = 1024;
inline constexpr uint16_t max_ports = first_pod_port + max_pod_ports;
inline constexpr uint16_t no_port = 0xffff;

enum class Role : uint8_t { Uplink, Workload };
enum class ReversePathFilter : uint8_t { Off, Loose, Strict };

struct Interface {
  std::string name;
  bool present = false;  // false: a hole in the index space, left by a removed interface
  uint16_t port = 0;     // of Snapshot::ports
  uint16_t vlan = 0;     // 0: untagged
  net::MacAddr mac;
  uint16_t mtu = 1500;  // largest IP packet, bytes
  Role role = Role::Uplink;
  ReversePathFilter rpf = ReversePathFilter::Off;
  bool twin = false;        // a TAP device in the host stands for it (punt.h)
  bool clamps_mss = false;  // MTU-4: of connections that leave or come in by it
  bool local_pods = false;  // MASQ-1: what comes in is of a pod of this node, whatever its source
  std::vector<net::Ipv4Addr> addresses_v4;
  std::vector<net::Ipv6Addr> addresses_v6;   // link-local included
  std::vector<net::Prefix> prefixes;         // the addresses with their subnet lengths, both families
  std::vector<net::IpAddr> pod_addresses;    // workload: what may be its packets' source; empty: anything
  std::vector<net::Prefix> allowed_sources;  // workload: further ones
  // Source of what the router itself sends here (ICMP errors, ARP, masquerade); unspecified: none.
  net::Ipv4Addr primary_v4;
  net::Ipv6Addr primary_v6;
  net::Ipv6Addr link_local;

  template <class F>
  [[nodiscard]] const typename F::Addr& primary() const {
    if constexpr (F::is_v4) {
      return primary_v4;
    } else {
      return primary_v6;
    }
  }
  // Whether what comes in here may have any source (SPOOF-1): of a pod, only its own addresses.
  [[nodiscard]] bool any_source() const { return role != Role::Workload || pod_addresses.empty(); }
  [[nodiscard]] bool may_come_from(const net::IpAddr& source) const {
    if (any_source()) return true;
    for (const net::IpAddr& pod : pod_addresses) {
      if (pod == source) return true;
    }
    for (const net::Prefix& allowed : allowed_sources) {
      if (allowed.contains(source)) return true;
    }
    return false;
  }
  // The own address to speak to `peer` with: one of its subnet, else the primary one.
  [[nodiscard]] net::IpAddr source_for(const net::IpAddr& peer) const {
    for (const net::Prefix& prefix : prefixes) {
      if (prefix.contains(peer)) return prefix.addr;
    }
    if (peer.is_v4()) return primary_v4;
    return peer.is_link_local() || primary_v6.is_unspecified() ? link_local : primary_v6;
  }
  [[nodiscard]] bool owns(net::Ipv4Addr addr) const {
    for (const net::Ipv4Addr own : addresses_v4) {
      if (own == addr) return true;
    }
    return false;
  }
  [[nodiscard]] bool owns(const net::Ipv6Addr& addr) const {
    for (const net::Ipv6Addr& own : addresses_v6) {
      if (own == addr) return true;
    }
    return false;
  }
};

// Which interfaces a port carries.
struct PortMap {
  uint16_t untagged = 0xffff;
  struct Vlan {
    uint16_t tag;
    uint16_t interface;
  };
  std::vector<Vlan> vlans;
};

}  // namespace sluice::dataplane
