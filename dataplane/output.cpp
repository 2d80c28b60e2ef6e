#include "dataplane/output.h"

#include <algorithm>
#include <array>
#include <bit>

#include <rte_ethdev.h>

#include "dataplane/memif_link.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4_options.h"
#include "dataplane/pod_socket.h"
#include "dataplane/resolver.h"

namespace sluice::dataplane {

using net::DropReason;

namespace {

void enter_tunnel(Egress& egress, const Context& context) {
  const TunnelPath path = context.tunnel_path(egress.tunnel);
  egress.mtu = path.mtu;
  egress.far_end_lost = path.unreachable;
}

}  // namespace

void allow_fragments(uint8_t* outer) {
  const auto before = net::load<uint16_t>(outer + 6);
  const uint16_t after = before & ~net::be16::from_host(net::ipv4_dont_fragment).wire();
  net::store(outer + 6, after);
  net::store(outer + 10, net::ChecksumDelta{}.replace16(before, after).apply(net::load<uint16_t>(outer + 10)));
}

Output::Output(Context& context)
    : context_(context),
      ports_(std::make_unique<PortBuffer[]>(max_ports)),
      rings_(std::make_unique<RingBuffer[]>(context.tables.workers)),
      adjacencies_(context, ports_.get()) {
  static_assert(std::tuple_size_v<decltype(pending_ports_)> <= 64);
  for (uint16_t port = 0; port < max_ports; ++port) ports_[port].port = port;
}

template <class F>
Egress Output::egress_of(NextHopId id, const typename F::Addr& destination, uint64_t flow_hash) const {
  const NextHop& hop = context_.tables.next_hops->at(id, flow_hash);
  Egress egress{.kind = hop.kind, .reason = hop.reason, .icmp_code = hop.icmp_code, .interface = hop.interface};
  switch (hop.kind) {
    case HopKind::Gateway:
      egress.neighbor = context_.tables.neighbors->ref(hop.neighbor);
      egress.mtu = context_.interface(hop.interface).mtu;
      break;
    case HopKind::Tunnel:
      egress.tunnel = hop.tunnel;
      egress.neighbor = context_.tables.neighbors->ref(hop.neighbor);
      enter_tunnel(egress, context_);
      break;
    case HopKind::Connected: {
      const uint32_t index = context_.tables.neighbors->find(hop.interface, destination);
      egress.neighbor = index == no_neighbor ? no_neighbor : context_.tables.neighbors->ref(index);
      egress.mtu = context_.interface(hop.interface).mtu;
      break;
    }
    default:
      break;
  }
  if (egress.forwards() && !context_.interface(egress.interface).present) {
    return {.kind = HopKind::Drop, .reason = DropReason::InterfaceGone};
  }
  if constexpr (!F::is_v4) {
    // RFC 4443 section 3.1: 0 no route, 1 administratively prohibited, 3 address unreachable.
    if (egress.kind == HopKind::Reject) {
      egress.icmp_code = egress.reason == DropReason::NoRoute      ? net::icmpv6::code_no_route
                         : egress.reason == DropReason::Prohibited ? net::icmpv6::code_admin_prohibited
                                                                   : net::icmpv6::code_address;
    }
  }
  return egress;
}

Egress Output::tunnel_egress(uint16_t tunnel, uint64_t flow_hash) const {
  const Snapshot& now = *context_.snapshot;
  if (tunnel >= now.tunnels.size() || !now.tunnels[tunnel].present) return {};
  const net::IpAddr& remote = now.tunnels[tunnel].spec.remote;
  Egress egress = remote.is_v4() ? route<net::V4>(remote.v4(), flow_hash) : route<net::V6>(remote.v6(), flow_hash);
  if (egress.kind != HopKind::Connected && egress.kind != HopKind::Gateway) return {};
  egress.kind = HopKind::Tunnel;
  egress.tunnel = tunnel;
  enter_tunnel(egress, context_);
  return egress;
}

template Egress Output::egress_of<net::V4>(NextHopId, const net::Ipv4Addr&, uint64_t) const;
template Egress Output::egress_of<net::V6>(NextHopId, const net::Ipv6Addr&, uint64_t) const;

Egress Output::remembered(uint16_t tunnel, NeighborRef neighbor) const {
  const uint16_t interface = (*context_.tables.neighbors)[neighbor_index(neighbor)].interface;
  Egress egress{.kind = HopKind::Gateway,
                .interface = interface,
                .tunnel = tunnel,
                .mtu = context_.interface(interface).mtu,
                .neighbor = neighbor};
  if (tunnel != no_tunnel) {
    egress.kind = HopKind::Tunnel;
    enter_tunnel(egress, context_);
  }
  return egress;
}

void Output::resolve(rte_mbuf* mbuf, uint16_t l3, uint16_t interface, NeighborRef neighbor, rte_mbuf* original) {
  if (resolver_ != nullptr) return resolver_->hold(mbuf, l3, interface, neighbor, original);
  HandoffNote note;
  note.kind = HandoffKind::Resolve;
  note.l3 = l3;
  note.where = interface;
  note.neighbor = neighbor;
  note.original = original;
  hand_over(mbuf, 0, note);
}

// RFC 791 section 3.2. Copies: the pieces get a header of their own in front, and not every software device sends
// chained buffers.
void Output::fragment_and_send(net::Packet& packet, const Egress& egress, uint64_t flow_hash) {
  if (packet.original != nullptr) context_.discard(packet.original);  // no piece can be answered with it
  const uint8_t* const whole = packet.l3_header();
  const uint16_t field = net::load_be16(whole + 6);
  const uint16_t first_header = net::ipv4_length_of(whole);
  const auto payload = static_cast<uint16_t>(packet.l3_length - first_header);
  // A piece lies in one buffer, also where the way out takes larger ones.
  const auto room = static_cast<uint16_t>(rte_pktmbuf_data_room_size(context_.tables.pool) - RTE_PKTMBUF_HEADROOM);
  if (egress.mtu < first_header + 8) return context_.drop(packet.mbuf, DropReason::FragmentationFailed);
  const auto step = static_cast<uint16_t>((std::min(egress.mtu, room) - first_header) & ~7);
  std::array<uint8_t, net::most_ipv4_header> later;
  const uint16_t later_header = net::later_header(whole, later);
  context_.counters.add(Event::Fragmented);
  for (uint32_t offset = 0; offset < payload; offset += step) {
    const auto size = static_cast<uint16_t>(std::min<uint32_t>(step, payload - offset));
    const uint16_t header = offset == 0 ? first_header : later_header;
    rte_mbuf* const mbuf = rte_pktmbuf_alloc(context_.tables.pool);
    if (mbuf == nullptr) return context_.drop(packet.mbuf, DropReason::NoBuffer);
    auto* const l3 = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(header + size)));
    if (l3 == nullptr) {
      context_.discard(mbuf);
      return context_.drop(packet.mbuf, DropReason::FragmentationFailed);
    }
    std::memcpy(l3, offset == 0 ? whole : later.data(), header);
    uint8_t* const body = l3 + header;
    const void* const from = rte_pktmbuf_read(packet.mbuf, packet.l3 + uint32_t{first_header} + offset, size, body);
    if (from != body) std::memcpy(body, from, size);
    const bool last = offset + size == payload;
    const uint32_t flags = last ? field & net::ipv4_more_fragments : uint32_t{net::ipv4_more_fragments};
    net::store_be16(l3 + 2, static_cast<uint16_t>(header + size));
    net::store_be16(l3 + 6, static_cast<uint16_t>(flags | ((field & net::ipv4_offset_mask) + offset / 8)));
    net::store(l3 + 10, uint16_t{0});
    net::store(l3 + 10, net::checksum(l3, header));
    net::Packet part;
    part.mbuf = mbuf;
    part.l3 = 0;
    part.l3_length = static_cast<uint16_t>(header + size);
    context_.counters.add(Event::FragmentsSent);
    send<net::V4>(part, egress, flow_hash);
  }
  context_.discard(packet.mbuf);
}

void Output::transmit(rte_mbuf* mbuf, uint16_t port) {
  const auto& ports = context_.snapshot->ports;
  if (port >= ports.size() || !ports[port].present) [[unlikely]] {
    return context_.drop(mbuf, DropReason::InterfaceGone);
  }
  const uint16_t queues = ports[port].tx_queues;
  if (context_.worker >= queues) [[unlikely]] {
    HandoffNote note;
    note.kind = HandoffKind::Transmit;
    note.where = port;
    return hand_over(mbuf, static_cast<uint16_t>(context_.worker % queues), note);
  }
  put(mbuf, ports_[port]);
}

void Output::flush_port(PortBuffer& buffer) {
  if (buffer.count == 0) return;
  const uint16_t port = buffer.port;
  if (!transmits_) [[unlikely]] {
    for (uint16_t i = 0; i < buffer.count; ++i) context_.discard(buffer.packets[i]);
    buffer.count = 0;
    return;
  }
  if (port >= first_pod_port) return flush_pod(buffer);
  uint16_t sent = rte_eth_tx_burst(port, context_.worker, buffer.packets.data(), buffer.count);
  // A software device's queue may be full for a moment only.
  if (sent < buffer.count) {
    sent = static_cast<uint16_t>(sent + rte_eth_tx_burst(port, context_.worker, buffer.packets.data() + sent,
                                                         static_cast<uint16_t>(buffer.count - sent)));
  }
  for (uint16_t i = sent; i < buffer.count; ++i) context_.drop(buffer.packets[i], DropReason::TransmitFull);
  buffer.count = 0;
}

void Output::flush_pod(PortBuffer& buffer) {
  const PortView& port = context_.snapshot->ports[buffer.port];
  if (port.memif != nullptr) {
    port.memif->send(context_, buffer.packets.data(), buffer.count);
  } else {
    PodSocket* const pods = context_.snapshot->workers[context_.worker].pods;
    pods->send(context_, buffer.packets.data(), buffer.count, port.kernel_index);
  }
  buffer.count = 0;
}

void Output::hand_over(rte_mbuf* mbuf, uint16_t worker, const HandoffNote& note) {
  context_.tables.rings->note(mbuf) = note;
  RingBuffer& buffer = rings_[worker];
  buffer.packets[buffer.count++] = mbuf;
  if (buffer.count == buffer.packets.size()) flush_ring(worker);
}

void Output::flush_ring(uint16_t worker) {
  RingBuffer& buffer = rings_[worker];
  if (buffer.count == 0) return;
  if (!transmits_) [[unlikely]] {
    for (uint16_t i = 0; i < buffer.count; ++i) {
      rte_mbuf* const original = context_.tables.rings->note(buffer.packets[i]).companion();
      if (original != nullptr) context_.discard(original);
      context_.discard(buffer.packets[i]);
    }
    buffer.count = 0;
    return;
  }
  const unsigned sent = context_.tables.rings->send(context_.worker, worker, buffer.packets.data(), buffer.count);
  context_.counters.add(Event::HandedOver, sent);
  for (unsigned i = sent; i < buffer.count; ++i) {
    rte_mbuf* const original = context_.tables.rings->note(buffer.packets[i]).companion();
    if (original != nullptr) context_.discard(original);
    context_.drop(buffer.packets[i], DropReason::HandoffFull);
  }
  buffer.count = 0;
}

void Output::flush() {
  each_pending([this](PortBuffer& buffer) { flush_port(buffer); });
  for (; pending_words_ != 0; pending_words_ &= pending_words_ - 1)
    pending_ports_[std::countr_zero(pending_words_)] = 0;
  for (uint16_t worker = 0; worker < context_.tables.workers; ++worker) flush_ring(worker);
  context_.free_dropped();
}

}  // namespace sluice::dataplane
