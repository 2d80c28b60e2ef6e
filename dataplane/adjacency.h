// A finished way out: the Ethernet header, port and MTU of one neighbour, directly or at the end of one tunnel. What
// plain packets need of interface, port, neighbour and tunnel stands in one cache line here.
//
// Each worker makes its own, when a packet first needs one, and keeps it in a small table without chains: a slot whose
// neighbour word or snapshot is not the present one is made again. Nothing tells it of changes, it compares.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/neighbor.h"
#include "dataplane/net/headers.h"
#include "dataplane/snapshot.h"

namespace sluice::dataplane {

struct alignas(64) Adjacency {
  uint64_t link = 0;                   // the neighbour's word it was made from; 0: an empty slot
  uint32_t generation = 0;             // of the snapshot
  NeighborRef neighbor = no_neighbor;  // with epoch
  uint16_t tunnel = no_tunnel;
  uint16_t interface = 0;
  uint16_t port = 0;
  uint16_t mtu = 0;            // largest IP packet, bytes (of the inner packet for a tunnel)
  uint16_t header_length = 0;  // 14, or 18 with a VLAN tag
  // Addresses and tag; the EtherType, which the packet decides, follows.
  std::array<uint8_t, net::ethernet_header_length + net::vlan_tag_length - 2> header{};
};
static_assert(sizeof(Adjacency) == 64);

class AdjacencyCache {
 public:
  // nullptr if the neighbour has no known MAC address, is not the one `neighbor` was, or its interface is not usable
  // from this worker: the general path (Output) knows what to do.
  [[nodiscard]] const Adjacency* find(NeighborRef neighbor, uint16_t tunnel, NeighborTable& neighbors,
                                      const Snapshot& snapshot, uint16_t worker) {
    Adjacency& slot = slots_[(neighbor ^ tunnel * 37U) % slots_.size()];
    Neighbor& entry = neighbors[neighbor_index(neighbor)];
    const uint64_t link = entry.link.load(std::memory_order_relaxed);
    const bool same = slot.link == link && slot.neighbor == neighbor && slot.tunnel == tunnel &&
                      slot.generation == snapshot.generation;
    if (!same && !make(slot, neighbor, tunnel, entry, snapshot, worker)) [[unlikely]] {
      return nullptr;
    }
    entry.mark_used();
    return &slot;
  }

 private:
  // False, and an empty slot, if there is no such way.
  [[gnu::noinline]] static bool make(Adjacency& slot, NeighborRef neighbor, uint16_t tunnel, const Neighbor& entry,
                                     const Snapshot& snapshot, uint16_t worker);

  std::array<Adjacency, 256> slots_{};
};

}  // namespace sluice::dataplane
