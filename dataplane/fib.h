// The forwarding tables: rte_fib (DIR24-8) for IPv4, rte_fib6 (trie) for IPv6, two-byte next-hop indices.
//
// One table per family for the life of the router, changed in place by the control thread while workers look
// up (64 MiB would otherwise be copied per change). A lookup reads two levels. Between the two reads the
// writer may fold a second-level group back into the first; DPDK then zeroes the group, so such a reader gets
// index 0. Index 0 therefore means "look again" (hop::retry) and is never the target of a route. A group is
// re-used only for prefixes added after the deletion; the control thread adds before it deletes and waits for
// a grace period before the next change, so no reader ever sees another prefix's group.
#pragma once

#include <cstdint>
#include <memory>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"
#include "dataplane/next_hop.h"

struct rte_fib;
struct rte_fib6;

namespace sluice::dataplane {

struct FibSizing {
  uint32_t max_routes_v4 = 131072;
  uint32_t max_routes_v6 = 32768;
  uint32_t groups_v4 = 8192;  // second-level groups of 256 entries (512 bytes); at most 32767
  uint32_t groups_v6 = 8192;
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
  rte_fib6* v6_ = nullptr;
};

}  // namespace sluice::dataplane
