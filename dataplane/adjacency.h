// A finished way out: the Ethernet header, port and MTU of one neighbour, directly or at the end of one tunnel. What
// plain packets need of next hop, interface, port, neighbour and tunnel stands in one cache line here.
//
// Each worker makes its own, when a packet first needs one, and keeps it in a small table without chains. Nothing
// tells it of changes: it compares a slot with the tables once per turn of the loop, then believes it for that turn.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/context.h"
#include "dataplane/neighbor.h"
#include "dataplane/net/headers.h"
#include "dataplane/next_hop.h"

namespace sluice::dataplane {

// Frames for one port, collected until there are many.
struct alignas(64) PortBuffer {
  uint16_t count = 0;
  uint16_t port = 0;
  std::array<rte_mbuf*, net::burst_size> packets;
};

struct alignas(64) Adjacency {
  uint64_t key = 0;              // what it was asked by; 0: an empty slot
  uint64_t checked = 0;          // Context::tsc of the turn in which it was right
  PortBuffer* buffer = nullptr;  // of the port
  uint32_t generation = 0;       // of the snapshot it was made from
  uint32_t neighbor = 0;         // index
  uint16_t neighbor_state = 0;   // upper bits of the neighbour's word, the lower ones being the MAC in `header`
  uint16_t interface = 0;
  uint16_t tunnel = no_tunnel;
  uint16_t mtu = 0;  // largest IP packet, bytes (of the inner packet for a tunnel)
  // Where the IP packet begins in a frame whose two MAC addresses are all that has to change: 14, or `nowhere` if a
  // tunnel or a tag has to be written.
  uint16_t in_place = nowhere;
  uint8_t header_length = 0;  // 14, or 18 with a VLAN tag
  uint8_t room = 0;           // bytes free before the IP packet: what is written, and what a copy overruns
  bool by_hash = false;       // a tunnel that shows the underlay a packet's flow (VXL-2)
  bool over_v6 = false;       // a tunnel over IPv6
  // Addresses and tag; the EtherType, which the packet decides, follows.
  std::array<uint8_t, net::ethernet_header_length + net::vlan_tag_length - 2> header{};

  static constexpr uint16_t nowhere = 0xffff;
};
static_assert(sizeof(Adjacency) == 64);

class AdjacencyCache {
 public:
  // `buffers`: one per DPDK port.
  AdjacencyCache(Context& context, PortBuffer* buffers) : context_(context), buffers_(buffers) {}

  // By what a flow remembers. nullptr if the neighbour has no known MAC address, is not the one it was, or its
  // interface is not usable from this worker: the general path (Output) knows what to do.
  // `way`: the neighbour (NeighborRef) in the upper half, the tunnel or no_tunnel in the lowest 16 bits.
  [[nodiscard]] const Adjacency* find_way(uint64_t way) { return find(way | by_neighbor, (way >> 32) ^ way); }
  // By a route's next hop. nullptr also if that is neither a gateway nor a tunnel.
  [[nodiscard]] const Adjacency* find_hop(NextHopId hop) { return find(hop | by_hop, hop + slots / 2); }

 private:
  static constexpr size_t slots = 256;
  static constexpr uint64_t by_neighbor = 1U << 16;
  static constexpr uint64_t by_hop = uint64_t{1} << 63;

  [[nodiscard, gnu::always_inline]] const Adjacency* find(uint64_t key, size_t place) {
    // Packets of a burst often go the same way.
    if (last_->key == key && last_->checked == context_.tsc) [[likely]]
      return last_;
    last_ = &slots_[place % slots];
    if (last_->key == key && last_->checked == context_.tsc) [[likely]]
      return last_;
    return renew(*last_, key);
  }
  [[gnu::noinline]] const Adjacency* renew(Adjacency& slot, uint64_t key);
  // False if there is no such way; the slot stays what it was.
  bool make(Adjacency& slot, uint64_t key) const;

  Context& context_;
  PortBuffer* buffers_;
  std::array<Adjacency, slots> slots_{};
  Adjacency* last_ = slots_.data();  // that was asked for
};

}  // namespace sluice::dataplane
