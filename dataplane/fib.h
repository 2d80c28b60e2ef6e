// The forwarding tables: rte_fib (DIR24-8) for IPv4, rte_lpm6 for IPv6; two-byte next-hop indices.
//
// One table per family for the life of the router, changed in place by the control thread while workers look
// up (100 MiB would otherwise be copied per change). Both have a first level for 24 bits and groups of 256 entries
// for 8 bits more each. Between its two reads of an IPv4 address the writer may fold a group back into the first
// level; DPDK then zeroes the group, so such a reader gets index 0. Index 0 therefore means "look again" (hop::retry)
// and is never the target of a route. An IPv6 group is given back as it is: a late reader gets the old answer. A group
// is re-used only for prefixes added after the deletion; the control thread adds before it deletes and waits for a
// grace period before the next change, so no reader ever sees another prefix's group.
//
// rte_fib6 would be the natural pair, but it sets aside a group for each route on every level below its /24: 2 700
// routes to /48 or 630 to /128 fill 8 192 groups, of which they use a few dozen. rte_lpm6 counts what is used.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"
#include "dataplane/next_hop.h"

struct rte_fib;
struct rte_lpm6;

namespace sluice::dataplane {

struct FibSizing {
  uint32_t max_routes_v4 = 131072;
  uint32_t max_routes_v6 = 131072;
  uint32_t groups_v4 = 8192;   // of 512 bytes; at most 32767
  uint32_t groups_v6 = 32768;  // of 1 KiB
};

class Fib {
 public:
  static net::Result<std::unique_ptr<Fib>> create(const FibSizing& sizing);
  ~Fib();
  Fib(const Fib&) = delete;
  Fib& operator=(const Fib&) = delete;

  // Workers. `next_hops` gets one index per address; 0 never (see above).
  void lookup(const net::Ipv4Addr* addrs, NextHopId* next_hops, unsigned count) const;
  void lookup(const net::Ipv6Addr* addrs, NextHopId* next_hops, unsigned count) const;
  template <class Addr>
  [[nodiscard]] NextHopId lookup(const Addr& addr) const {
    NextHopId id = 0;
    lookup(&addr, &id, 1);
    return id;
  }

  // Control thread. Replaces an existing route. An error names the route.
  [[nodiscard]] net::Status<> add(const net::Prefix& prefix, NextHopId next_hop);
  void remove(const net::Prefix& prefix);

 private:
  Fib() = default;

  rte_fib* v4_ = nullptr;
  rte_lpm6* v6_ = nullptr;
  std::atomic<NextHopId> default_v6_{hop::no_route};  // of ::/0, which rte_lpm6 has no room for
};

}  // namespace sluice::dataplane
