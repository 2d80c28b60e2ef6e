// The way out: from a destination to an Egress (route, ECMP member, neighbour, tunnel), and from a packet and
// an Egress to a frame in a transmit buffer. Used by the hot path and by everything the router sends itself.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <memory>

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
  bool far_end_lost = false;           // a tunnel whose other end the underlay does not reach (IPIP-4)

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

  // Into a tunnel, whether a route leads into it or not: by its far end's route.
  [[nodiscard]] Egress tunnel_egress(uint16_t tunnel, uint64_t flow_hash) const;
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
  // Of a flow by its way(), of a route by its next hop.
  [[nodiscard]] const Adjacency* flow_adjacency(uint64_t way) { return adjacencies_.find_way(way); }
  [[nodiscard]] const Adjacency* hop_adjacency(NextHopId hop) { return adjacencies_.find_hop(hop); }
  // As send(); the packet, with its IP header at `l3`, fits way.mtu, and if it comes in an untagged frame that has its
  // family's EtherType.
  template <class F>
  void send_plain(net::FlowPacket<F>& packet, uint8_t* l3, const Adjacency& way);
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
  // What waits for flush(): frames as on_frame(rte_mbuf*, uint16_t port), packets for other workers as
  // on_packet(rte_mbuf*, uint16_t worker, HandoffNote&).
  template <class OnFrame, class OnPacket>
  void each_waiting(const OnFrame& on_frame, const OnPacket& on_packet);
  // From now on nothing leaves: what would is freed (dry_run.h).
  void keep_everything() { transmits_ = false; }

 private:
  struct RingBuffer {
    uint16_t count = 0;
    std::array<rte_mbuf*, net::burst_size> packets;
  };

  void put(rte_mbuf* mbuf, PortBuffer& buffer);
  // Those that may hold frames.
  template <class Visit>
  void each_pending(const Visit& visit);
  void flush_port(PortBuffer& buffer);
  void flush_pod(PortBuffer& buffer);
  void flush_ring(uint16_t worker);
  void resolve(rte_mbuf* mbuf, uint16_t l3, uint16_t interface, NeighborRef neighbor, rte_mbuf* original);

  Context& context_;
  Resolver* resolver_ = nullptr;
  std::unique_ptr<PortBuffer[]> ports_;
  // A bit for each port with a non-empty buffer, and one for each word of those that is not 0.
  std::array<uint64_t, (max_ports + 63) / 64> pending_ports_{};
  uint64_t pending_words_ = 0;
  std::unique_ptr<RingBuffer[]> rings_;
  AdjacencyCache adjacencies_;
  bool transmits_ = true;
};

template <class Visit>
void Output::each_pending(const Visit& visit) {
  for (uint64_t words = pending_words_; words != 0; words &= words - 1) {
    const auto word = static_cast<size_t>(std::countr_zero(words));
    for (uint64_t ports = pending_ports_[word]; ports != 0; ports &= ports - 1) {
      visit(ports_[word * 64 + static_cast<size_t>(std::countr_zero(ports))]);
    }
  }
}

template <class OnFrame, class OnPacket>
void Output::each_waiting(const OnFrame& on_frame, const OnPacket& on_packet) {
  each_pending([&](PortBuffer& buffer) {
    for (uint16_t i = 0; i < buffer.count; ++i) on_frame(buffer.packets[i], buffer.port);
  });
  for (uint16_t worker = 0; worker < context_.tables.workers; ++worker) {
    RingBuffer& buffer = rings_[worker];
    for (uint16_t i = 0; i < buffer.count; ++i) {
      on_packet(buffer.packets[i], worker, context_.tables.rings->note(buffer.packets[i]));
    }
  }
}

// RFC 4213 section 3.2.2: every link carries 1280 bytes of IPv6, so what does not fit the underlay with a tunnel's
// header may be fragmented there. `outer`: the IPv4 header.
void allow_fragments(uint8_t* outer);

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
    const bool done = tunnel.over_v6 ? tunnel.header_v6.apply<F>(mbuf, l3, packet.l3_length, flow_hash)
                                     : tunnel.header.apply<F>(mbuf, l3, packet.l3_length, flow_hash, context_.ip_id++);
    if (!done) [[unlikely]] {
      if (packet.original != nullptr) context_.discard(packet.original);
      return context_.drop(mbuf, net::DropReason::NoBuffer);
    }
    l3 = 0;
    if (!F::is_v4 && packet.l3_length > egress.mtu && !tunnel.over_v6) [[unlikely]]
      allow_fragments(rte_pktmbuf_mtod(mbuf, uint8_t*));
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

// Out of line, so that the way of an IPv4 underlay stays short.
template <class F>
[[gnu::noinline]] uint16_t write_over_v6(const encap::HeaderTemplateV6& header, const net::FlowPacket<F>& packet,
                                         uint8_t* inner) {
  const uint16_t sum = header.wants_sum() ? net::mbuf_sum(packet.mbuf, packet.l3, packet.l3_length) : uint16_t{0};
  return header.write<F>(inner, packet.l3_length, packet.hash, sum);
}

template <class F>
[[gnu::always_inline]] inline void Output::send_plain(net::FlowPacket<F>& packet, uint8_t* l3, const Adjacency& way) {
  rte_mbuf* const mbuf = packet.mbuf;
  InterfaceCounters& counters = context_.counters.interfaces[way.interface];
  ++counters.tx_packets;
  if (packet.l3 == way.in_place) [[likely]] {
    std::memcpy(l3 - net::ethernet_header_length, way.header.data(), 12);
    counters.tx_bytes += uint32_t{packet.l3_length} + net::ethernet_header_length;
    return put(mbuf, *way.buffer);
  }
  // The header of a tunnel, if there is one, and the Ethernet header go where they belong before `inner`.
  int start = mbuf->data_off + packet.l3;
  auto* const inner = static_cast<uint8_t*>(mbuf->buf_addr) + start;
  start -= way.room;
  if (start < 0) [[unlikely]] {
    --counters.tx_packets;
    return context_.drop(mbuf, net::DropReason::NoBuffer);
  }
  uint32_t l3_length = packet.l3_length;
  uint16_t ether_type = F::is_v4 ? net::ether_type_ipv4 : net::ether_type_ipv6;
  if (way.tunnel != no_tunnel) {
    const Tunnel& tunnel = context_.snapshot->tunnels[way.tunnel];
    if (!way.over_v6) [[likely]] {
      l3_length += tunnel.header.write<F>(inner, packet.l3_length, packet.hash, context_.ip_id++);
      ether_type = net::ether_type_ipv4;
    } else {
      l3_length += write_over_v6<F>(tunnel.header_v6, packet, inner);
      ether_type = net::ether_type_ipv6;
    }
    context_.counters.add(Event::Encapsulated);
  }
  uint8_t* const frame = inner + packet.l3_length - l3_length - way.header_length;
  std::memcpy(frame, way.header.data(), 12);
  if (way.header_length != net::ethernet_header_length) [[unlikely]] {
    std::memcpy(frame + 12, way.header.data() + 12, net::vlan_tag_length);
  }
  net::store_be16(frame + way.header_length - 2, ether_type);
  const uint32_t length = l3_length + way.header_length;
  mbuf->data_off = static_cast<uint16_t>(frame - static_cast<uint8_t*>(mbuf->buf_addr));
  mbuf->data_len = static_cast<uint16_t>(length);
  mbuf->pkt_len = length;
  counters.tx_bytes += length;
  put(mbuf, *way.buffer);
}

// This worker has a queue of the port.
inline void Output::put(rte_mbuf* mbuf, PortBuffer& buffer) {
  const uint16_t count = buffer.count;
  if (count == 0) [[unlikely]] {
    pending_ports_[buffer.port / 64] |= uint64_t{1} << buffer.port % 64;
    pending_words_ |= uint64_t{1} << buffer.port / 64;
  }
  buffer.packets[count] = mbuf;
  buffer.count = static_cast<uint16_t>(count + 1);
  if (buffer.count == net::burst_size) [[unlikely]]
    flush_port(buffer);
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
