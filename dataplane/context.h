// What the parts of one worker share: its number, its clock, the snapshot of this loop, its counters, and the
// tables of the router. One per worker; nothing in it is touched by another worker.
#pragma once

#include <algorithm>
#include <cstdint>

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "dataplane/counters.h"
#include "dataplane/fib.h"
#include "dataplane/handoff.h"
#include "dataplane/l7/siphash.h"
#include "dataplane/neighbor.h"
#include "dataplane/net/burst.h"
#include "dataplane/next_hop.h"
#include "dataplane/snapshot.h"
#include "dataplane/tunnel_path.h"
#include "nat/flow.h"

namespace sluice::dataplane {

class FlowEventRing;
class Punt;
class PuntRings;
struct ServiceTrace;

// Shared by all workers, changed in place by one writer each.
struct Tables {
  Fib* fib = nullptr;
  NextHopTable* next_hops = nullptr;
  NeighborTable* neighbors = nullptr;
  TunnelPathTable* tunnel_paths = nullptr;
  HandoffRings* rings = nullptr;
  PuntRings* punts = nullptr;  // nullptr: what would go to the host is only counted
  rte_mempool* pool = nullptr;
  net::FlowHasher hasher;
  l7::SipKey cookie_key;  // of SYN cookies; the same for all workers
  uint16_t workers = 1;
};

struct Context {
  uint16_t worker = 0;
  Tables tables;
  const Snapshot* snapshot = nullptr;
  uint64_t tsc = 0;
  nat::Millis now = 0;  // milliseconds, from tsc
  uint16_t ip_id = 0;   // of the next packet the router itself makes
  uint64_t random = 1;  // xorshift state
  WorkerCounters counters;
  FlowEventRing* flow_events = nullptr;  // of this loop; nullptr: nobody watches
  Punt* punt = nullptr;                  // of this worker
  ServiceTrace* trace = nullptr;         // of this packet; nullptr: it is not traced
  net::Burst<rte_mbuf*, 256> dropped;    // freed together at the end of the loop

  [[nodiscard]] const Interface& interface(uint16_t index) const { return snapshot->interfaces[index]; }

  // What may go into a tunnel now: what is configured, or less if the underlay said so (MTU-3).
  [[nodiscard]] TunnelPath tunnel_path(uint16_t tunnel) const {
    TunnelPath path = (*tables.tunnel_paths)[tunnel];
    path.mtu = std::min(path.mtu, snapshot->tunnels[tunnel].spec.mtu);
    return path;
  }

  void drop(rte_mbuf* mbuf, net::DropReason reason) {
    counters.drop(reason);
    discard(mbuf);
  }
  // Frees without counting: the packet was answered or copied.
  void discard(rte_mbuf* mbuf) {
    if (dropped.full()) free_dropped();
    dropped.push(mbuf);
  }
  void free_dropped() {
    if (dropped.empty()) return;
    rte_pktmbuf_free_bulk(dropped.data(), static_cast<unsigned>(dropped.size()));
    dropped.clear();
  }
  // xorshift64*: for ports and identifiers, not for secrets.
  uint64_t next_random() {
    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    return random * 0x2545f4914f6cdd1d;
  }
};

}  // namespace sluice::dataplane
