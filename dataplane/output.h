// The way out: from a destination to an Egress (route, ECMP member, neighbour, tunnel), and from a packet and
// an Egress to a frame in a transmit buffer. Used by the hot path and by everything the router sends itself.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/adjacency.h"
#include "dataplane/context.h"
#include "dataplane/net/packet.h"

namespace sluice::dataplane {

class Resolver;

// Where a packet goes. Of a kind that does not forward, only kind, reason and icmp_code mean something.
struct Egress {
  HopKind kind = HopKind::Drop;
  net::DropReason reason = net::DropReason::NoRoute;
  uint8_t icmp_code = 0;
  uint16_t interface = 0;
  uint16_t tunnel = no_tunnel;
  uint16_t mtu = 0;                    // largest IP packet, bytes (of the inner packet for a tunnel)
  NeighborRef neighbor = no_neighbor;  // no_neighbor: on-link destination not known yet

  [[nodiscard]] bool forwards() const {
    return kind == HopKind::Connected || kind == HopKind::Gateway || kind == HopKind::Tunnel;
  }
};

class Output {
 public:
  explicit Output(Context& context);

  // The resolver lives with worker 0; the others reach it by ring.
  void set_resolver(Resolver* resolver) { resolver_ = resolver; }

  template <class F>
  [[nodiscard]] Egress route(const typename F::Addr& destination, uint64_t flow_hash) const {
    return egress_of<F>(context_.tables.fib->lookup(destination), destination, flow_hash);
  }
  template <class F>
  [[nodiscard]] Egress egress_of(NextHopId id, const typename F::Addr& destination, uint64_t flow_hash) const;
  // An egress again from what a flow remembers of it.
  [[nodiscard]] Egress remembered(uint16_t tunnel, NeighborRef neighbor) const;

  // What is known of the egress's neighbour.
  [[nodiscard]] NeighborState reachability(const Egress& egress) const {
    if (egress.neighbor == no_neighbor) return NeighborState::Unused;
    const NeighborLink link = (*context_.tables.neighbors)[neighbor_index(egress.neighbor)].load();
    return link.epoch == neighbor_epoch(egress.neighbor) ? link.state : NeighborState::Unused;
  }

  // Sends the IP packet that starts at packet.l3; egress.forwards(). The packet is finished but for its
  // encapsulation and its Ethernet header. Takes ownership.
  template <class F>
  void send(net::Packet& packet, const Egress& egress, uint64_t flow_hash);
  // The short way of plain packets: what stands in one cache line instead of an Egress; nullptr if that will not do.
  [[nodiscard]] const Adjacency* adjacency(NeighborRef neighbor, uint16_t tunnel) {
    return adjacencies_.find(neighbor, tunnel, *context_.tables.neighbors, *context_.snapshot, context_.worker);
  }
  // As send(); the packet fits way.mtu.
  template <class F>
  void send_plain(net::FlowPacket<F>& packet, const Adjacency& way);
  // Cuts an IPv4 packet into fragments of at most egress.mtu and sends them (MTU-2). Takes ownership.
  void fragment_and_send(net::Packet& packet, const Egress& egress, uint64_t flow_hash);
  // Puts the Ethernet header before the IP packet at `l3` and sends it. `link` is usable.
  void send_to(rte_mbuf* mbuf, uint16_t l3, uint16_t interface, const net::MacAddr& destination);
  // A finished frame without an IP packet (ARP).
  void send_frame(rte_mbuf* mbuf, uint16_t interface);
  // Hands a packet to another worker; counts and frees it if the ring is full.
  void hand_over(rte_mbuf* mbuf, uint16_t worker, const HandoffNote& note);
  // Takes a finished frame for `port` (HandoffKind::Transmit).
  void transmit(rte_mbuf* mbuf, uint16_t port);
  void flush();

 private:
  struct PortBuffer {
    uint16_t count = 0;
    std::array<rte_mbuf*, net::burst_size> packets;
  };
  struct RingBuffer {
    uint16_t count = 0;
    std::array<rte_mbuf*, net::burst_size> packets;
  };

  void put(rte_mbuf* mbuf, uint16_t port);
  void flush_port(uint16_t port);
  void flush_ring(uint16_t worker);
  void resolve(rte_mbuf* mbuf, uint16_t l3, uint16_t interface, NeighborRef neighbor, rte_mbuf* original);

  Context& context_;
  Resolver* resolver_ = nullptr;
  std::unique_ptr<PortBuffer[]> ports_;
  std::vector<uint16_t> pending_ports_;  // with a non-empty buffer; capacity for all, never grows
  std::unique_ptr<RingBuffer[]> rings_;
  AdjacencyCache adjacencies_;
};

// ---- hot path ----------------------------------------------------------------------------------------

// Moves the beginning of the data, into the headroom if `by` is negative. False if that has no room.
[[nodiscard]] inline bool move_start(rte_mbuf* mbuf, int by) {
  if (mbuf->data_off + by < 0) return false;
  mbuf->data_off = static_cast<uint16_t>(mbuf->data_off + by);
  mbuf->data_len = static_cast<uint16_t>(mbuf->data_len - by);
  mbuf->pkt_len = static_cast<uint32_t>(static_cast<int>(mbuf->pkt_len) - by);
  return true;
}

template <class F>
inline void Output::send(net::Packet& packet, const Egress& egress, uint64_t flow_hash) {
  rte_mbuf* const mbuf = packet.mbuf;
  uint16_t l3 = packet.l3;
  if (egress.tunnel != no_tunnel) {
    const Tunnel& tunnel = context_.snapshot->tunnels[egress.tunnel];
    if (!tunnel.header.apply<F>(mbuf, l3, packet.l3_length, flow_hash, context_.ip_id++)) [[unlikely]] {
      if (packet.original != nullptr) context_.discard(packet.original);
      return context_.drop(mbuf, net::DropReason::NoBuffer);
    }
    l3 = 0;
    context_.counters.add(Event::Encapsulated);
  }
  if (egress.neighbor == no_neighbor) [[unlikely]] {
    return resolve(mbuf, l3, egress.interface, no_neighbor, packet.original);
  }
  Neighbor& neighbor = (*context_.tables.neighbors)[neighbor_index(egress.neighbor)];
  const NeighborLink link = neighbor.load();
  if (!link.usable() || link.epoch != neighbor_epoch(egress.neighbor)) [[unlikely]] {
    return resolve(mbuf, l3, egress.interface, egress.neighbor, packet.original);
  }
  neighbor.mark_used();
  if (packet.original != nullptr) [[unlikely]]
    context_.discard(packet.original);
  send_to(mbuf, l3, egress.interface, link.mac);
}

template <class F>
[[gnu::always_inline]] inline void Output::send_plain(net::FlowPacket<F>& packet, const Adjacency& way) {
  rte_mbuf* const mbuf = packet.mbuf;
  uint16_t l3 = packet.l3;
  uint16_t ether_type = F::is_v4 ? net::ether_type_ipv4 : net::ether_type_ipv6;
  if (way.tunnel != no_tunnel) {
    const Tunnel& tunnel = context_.snapshot->tunnels[way.tunnel];
    if (!tunnel.header.apply<F>(mbuf, l3, packet.l3_length, packet.hash, context_.ip_id++)) [[unlikely]] {
      return context_.drop(mbuf, net::DropReason::NoBuffer);
    }
    l3 = 0;
    ether_type = net::ether_type_ipv4;
    context_.counters.add(Event::Encapsulated);
  }
  if (l3 != way.header_length && !move_start(mbuf, l3 - way.header_length)) [[unlikely]] {
    return context_.drop(mbuf, net::DropReason::NoBuffer);
  }
  auto* const frame = rte_pktmbuf_mtod(mbuf, uint8_t*);
  std::memcpy(frame, way.header.data(), 12);
  if (way.header_length != net::ethernet_header_length) [[unlikely]] {
    std::memcpy(frame + 12, way.header.data() + 12, net::vlan_tag_length);
  }
  net::store_be16(frame + way.header_length - 2, ether_type);
  InterfaceCounters& counters = context_.counters.interfaces[way.interface];
  ++counters.tx_packets;
  counters.tx_bytes += mbuf->pkt_len;
  put(mbuf, way.port);
}

// This worker has a queue of the port.
inline void Output::put(rte_mbuf* mbuf, uint16_t port) {
  PortBuffer& buffer = ports_[port];
  if (buffer.count == 0) pending_ports_.push_back(port);
  buffer.packets[buffer.count++] = mbuf;
  if (buffer.count == buffer.packets.size()) flush_port(port);
}

inline void Output::send_to(rte_mbuf* mbuf, uint16_t l3, uint16_t interface, const net::MacAddr& destination) {
  const Interface& out = context_.interface(interface);
  const uint16_t length =
      out.vlan == 0 ? net::ethernet_header_length : net::ethernet_header_length + net::vlan_tag_length;
  if (!move_start(mbuf, l3 - length)) [[unlikely]] {
    return context_.drop(mbuf, net::DropReason::NoBuffer);
  }
  auto* const frame = rte_pktmbuf_mtod(mbuf, uint8_t*);
  const uint16_t ether_type = net::ip_version(frame + length) == 4 ? net::ether_type_ipv4 : net::ether_type_ipv6;
  std::memcpy(frame, destination.bytes.data(), 6);
  std::memcpy(frame + 6, out.mac.bytes.data(), 6);
  if (out.vlan != 0) {
    net::store_be16(frame + 12, net::ether_type_vlan);
    net::store_be16(frame + 14, out.vlan);
  }
  net::store_be16(frame + length - 2, ether_type);
  send_frame(mbuf, interface);
}

inline void Output::send_frame(rte_mbuf* mbuf, uint16_t interface) {
  InterfaceCounters& counters = context_.counters.interfaces[interface];
  ++counters.tx_packets;
  counters.tx_bytes += mbuf->pkt_len;
  transmit(mbuf, context_.interface(interface).port);
}

}  // namespace sluice::dataplane
