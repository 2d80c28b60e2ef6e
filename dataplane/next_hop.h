// Where a route leads. The FIB maps a destination to the index of a NextHop; the table of next hops is one
// fixed array, changed in place by the control thread. An entry is complete before the FIB first names it and
// keeps its meaning until a grace period after the FIB stopped naming it (fib.h), so workers read it plainly.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/net/addr.h"
#include "dataplane/net/verdict.h"

namespace sluice::dataplane {

using NextHopId = uint16_t;

enum class HopKind : uint8_t {
  Retry,      // the FIB was changed under the reader's feet: look again (fib.h)
  Drop,       // silently, with NextHop::reason
  Reject,     // with an ICMP unreachable
  Local,      // one of our own addresses
  Service,    // a service address: only the service table knows more
  Connected,  // on-link at an interface: the destination is its own neighbour
  Gateway,    // a neighbour
  Tunnel,     // into a tunnel; the neighbour is the outer next hop's
  Group,      // ECMP
};

inline constexpr size_t max_group_members = 16;
inline constexpr uint32_t no_neighbor = 0xffffffff;
inline constexpr uint16_t no_tunnel = 0xffff;

struct alignas(64) NextHop {
  HopKind kind = HopKind::Drop;
  net::DropReason reason = net::DropReason::NoRoute;  // Drop, Reject
  uint8_t icmp_code = 0;                              // Reject: icmpv4:: or icmpv6:: code of unreachable
  uint8_t group_size = 0;                             // Group
  uint16_t interface = 0;                             // Connected, Gateway, Tunnel: the outgoing one
  uint16_t tunnel = no_tunnel;                        // Tunnel: index into Snapshot::tunnels
  uint32_t neighbor = no_neighbor;                    // Gateway, Tunnel
  std::array<NextHopId, max_group_members> group{};   // Group: members, never groups themselves

  // Of a group: the member that this flow takes.
  [[nodiscard]] NextHopId member(uint64_t flow_hash) const { return group[(flow_hash >> 32) * group_size >> 32]; }
  friend bool operator==(const NextHop&, const NextHop&) = default;
};

// Indices with a fixed meaning.
namespace hop {
inline constexpr NextHopId retry = 0;
inline constexpr NextHopId no_route = 1;  // the FIB's default
inline constexpr NextHopId local = 2;
inline constexpr NextHopId service = 3;
inline constexpr NextHopId service_unknown = 4;  // inside a service CIDR, no such service (SVC-3)
inline constexpr NextHopId blackhole = 5;
inline constexpr NextHopId unreachable = 6;
inline constexpr NextHopId prohibit = 7;
inline constexpr NextHopId broadcast = 8;
inline constexpr NextHopId first_dynamic = 16;
}  // namespace hop

class NextHopTable {
 public:
  // 2-byte entries of the FIB leave 15 bits.
  static constexpr size_t capacity = 1 << 15;

  NextHopTable();

  [[nodiscard]] const NextHop& operator[](NextHopId id) const { return hops_[id]; }

  // What stands there; of a group the member that this flow takes.
  [[nodiscard]] const NextHop& at(NextHopId id, uint64_t flow_hash) const {
    const NextHop& hop = hops_[id];
    return hop.kind == HopKind::Group ? hops_[hop.member(flow_hash)] : hop;
  }

  // Control thread only. The id of a new entry, 0 (retry) when the table is full.
  [[nodiscard]] NextHopId add(const NextHop& hop);
  // No route names `id` any more, and a grace period has passed since.
  void remove(NextHopId id) { free_.push_back(id); }
  [[nodiscard]] size_t used() const { return next_ - hop::first_dynamic - free_.size(); }

 private:
  std::vector<NextHop> hops_;
  std::vector<NextHopId> free_;
  NextHopId next_ = hop::first_dynamic;
};

}  // namespace sluice::dataplane
