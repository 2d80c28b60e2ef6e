// A packet's life, from top to bottom. Two or three touches per packet: its header, the flow bucket, the flow.
//
//   1 classify       L2, IP checks, tunnel off, flow key and hash, owner, bucket prefetched     process_frames
//   2 find flows     bulk lookup; hits and misses                                               run
//   3 open flows     cold: the first packet of a flow decides everything                        open_flow.cpp
//   4 inspect        TCP state of packets that change it                                        forward_flow
//   5 forward        stored route and rewrite, TTL, MTU, tunnel on, Ethernet                    forward
//   6 flush          transmit, hand over, free drops                                            Output::flush
//
// Traffic without state is a FIB lookup: forward_misses. ARP, ND, fragments, ICMP errors and packets to the
// router itself leave the path to the side.
#include "dataplane/pipeline.h"

#include "dataplane/net/parse.h"
#include "encap/decap.h"
#include "nat/icmp_error.h"
#include "nat/rewrite.h"

namespace sluice::dataplane {

using net::DropReason;
using net::FlowKey;
using net::FlowPacket;
using net::FragmentKind;
using net::V4;
using net::V6;

namespace {

constexpr unsigned prefetch_ahead = 3;
constexpr unsigned most_decapsulations = 4;  // encap refuses the second; this only ends the loop

// RFC 1624 for a decrement of the first byte of the word at offset 8.
inline void decrement_ttl_v4(uint8_t* l3) {
  --l3[8];
  const uint32_t sum = net::load<uint16_t>(l3 + 10) + uint32_t{net::be16::from_host(0x0100).wire()};
  net::store(l3 + 10, static_cast<uint16_t>(sum + (sum >= 0xffff ? 1 : 0)));
}

template <class F>
inline void decrement_ttl(uint8_t* l3) {
  if constexpr (F::is_v4) {
    decrement_ttl_v4(l3);
  } else {
    --l3[7];
  }
}

template <class F>
bool dont_fragment(const uint8_t* l3) {
  if constexpr (F::is_v4) {
    return (net::load_be16(l3 + 6) & net::ipv4_dont_fragment) != 0;
  } else {
    return true;
  }
}

bool is_neighbor_discovery(const FlowPacket<V6>& packet) {
  if (packet.protocol != net::protocol::icmpv6 || !packet.has_ports) return false;
  const uint8_t type = packet.l4_header()[0];
  return type >= net::icmpv6::router_solicitation && type <= net::icmpv6::redirect;
}

nat::TcpSegment segment_of(const net::Packet& packet) {
  const uint8_t* const tcp = packet.l4_header();
  const auto header = static_cast<uint32_t>(tcp[12] >> 4) * 4;
  const uint32_t carried = static_cast<uint32_t>(packet.l3 + packet.l3_length - packet.l4);
  return {tcp[13], net::load_be32(tcp + 4), net::load_be32(tcp + 8), carried > header ? carried - header : 0};
}

uint32_t datagram_id(const FlowPacket<V4>& packet) { return net::load<uint16_t>(packet.l3_header() + 4); }
// The fragment header is the last one before what is fragmented (RFC 8200 section 4.5).
uint32_t datagram_id(const FlowPacket<V6>& packet) { return net::load<uint32_t>(packet.l4_header() - 4); }

}  // namespace

Pipeline::Pipeline(Context& context, Output& output, IcmpResponder& icmp, Resolver* resolver, Connections& connections)
    : context_(context),
      output_(output),
      icmp_(icmp),
      resolver_(resolver),
      connections_(connections),
      ports_(context.random, context.tables.workers) {}

// ---- pass 1: classify --------------------------------------------------------------------------------

void Pipeline::process_frames(rte_mbuf** frames, uint16_t count, uint16_t port) {
  context_.counters.add(Event::PacketsIn, count);
  burst_v4_.clear();
  burst_v6_.clear();
  for (unsigned i = 0; i < prefetch_ahead && i < count; ++i) rte_prefetch0(rte_pktmbuf_mtod(frames[i], void*));
  for (unsigned i = 0; i < count; ++i) {
    if (i + prefetch_ahead < count) rte_prefetch0(rte_pktmbuf_mtod(frames[i + prefetch_ahead], void*));
    classify(frames[i], port);
  }
  run(burst_v4_);
  run(burst_v6_);
}

void Pipeline::classify(rte_mbuf* mbuf, uint16_t port) {
  const auto* const frame = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  if (mbuf->data_len < net::ethernet_header_length) return context_.drop(mbuf, DropReason::EthernetTruncated);
  const PortMap& map = context_.snapshot->ports[port].interfaces;
  uint16_t ether_type = net::load_be16(frame + 12);
  uint16_t l3 = net::ethernet_header_length;
  uint16_t index = map.untagged;
  if (ether_type == net::ether_type_vlan) {
    l3 += net::vlan_tag_length;
    if (mbuf->data_len < l3) return context_.drop(mbuf, DropReason::EthernetTruncated);
    // A priority tag (VLAN 0) is no VLAN (IEEE 802.1Q section 9.6).
    if (const uint16_t tag = net::load_be16(frame + 14) & 0xfff; tag != 0) {
      index = net::no_interface;
      for (const PortMap::Vlan& vlan : map.vlans) {
        if (vlan.tag == tag) index = vlan.interface;
      }
    }
    ether_type = net::load_be16(frame + 16);
  }
  if (index == net::no_interface) return context_.drop(mbuf, DropReason::UnknownVlan);
  InterfaceCounters& counters = context_.counters.interfaces[index];
  ++counters.rx_packets;
  counters.rx_bytes += mbuf->pkt_len;

  const bool group = (frame[0] & 1) != 0;
  if (!group && std::memcmp(frame, context_.interface(index).mac.bytes.data(), 6) != 0) {
    return context_.drop(mbuf, DropReason::NotOurMac);
  }
  if (ether_type == net::ether_type_ipv4) {
    // RFC 1812 section 5.3.4: what came as a link-layer broadcast is not forwarded.
    if (group) return context_.drop(mbuf, DropReason::IpBroadcast);
    FlowPacket<V4> packet;
    packet.mbuf = mbuf;
    packet.l3 = l3;
    packet.ingress = index;
    const bool known_good = (mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    return enter_v4(packet, known_good);
  }
  if (ether_type == net::ether_type_ipv6) {
    FlowPacket<V6> packet;
    packet.mbuf = mbuf;
    packet.l3 = l3;
    packet.ingress = index;
    return enter_v6(packet);
  }
  if (ether_type != net::ether_type_arp) return context_.drop(mbuf, DropReason::UnknownEtherType);
  if (resolver_ != nullptr) return resolver_->on_arp(mbuf, l3, index);
  HandoffNote note;
  note.kind = HandoffKind::Frame;
  note.l3 = l3;
  note.ingress = index;
  output_.hand_over(mbuf, 0, note);
}

void Pipeline::enter_v4(FlowPacket<V4>& packet, bool checksum_known_good) {
  const Snapshot& now = *context_.snapshot;
  if (const DropReason reason = net::parse_ip(packet, checksum_known_good); reason != DropReason::None) {
    return context_.drop(packet.mbuf, reason);
  }
  const bool maybe_tunnel = packet.protocol == net::protocol::udp || packet.protocol == net::protocol::ipip ||
                            packet.protocol == net::protocol::ipv6;
  if (maybe_tunnel && now.terminates_tunnels && packet.decapsulations < most_decapsulations) {
    for (const net::Ipv4Addr endpoint : now.tunnel_endpoints) {
      if (packet.key.dst != endpoint) continue;
      // A pod is no end of a tunnel, whatever address it writes.
      if (packet.tunnel_source == net::no_tunnel_source &&
          !context_.interface(packet.ingress).may_come_from(packet.key.src)) {
        return context_.drop(packet.mbuf, DropReason::SpoofedSource);
      }
      const encap::DecapResult result = encap::decapsulate(packet, now.terminator);
      if (result.odd_ecn) context_.counters.add(Event::EcnOddCombination);
      if (result.what == encap::Decap::Dropped) return context_.drop(packet.mbuf, result.reason);
      if (result.what == encap::Decap::NotTunnel) break;
      context_.counters.add(Event::Decapsulated);
      if (result.inner == net::Family::V4) return enter_v4(packet, false);
      FlowPacket<V6> inner;
      static_cast<net::Packet&>(inner) = packet;
      return enter_v6(inner);
    }
  }
  enter(packet);
}

void Pipeline::enter_v6(FlowPacket<V6>& packet) {
  if (const DropReason reason = net::parse_ip(packet, false); reason != DropReason::None) {
    return context_.drop(packet.mbuf, reason);
  }
  const bool from_tunnel = packet.tunnel_source != net::no_tunnel_source;
  if (is_neighbor_discovery(packet)) {
    if (from_tunnel) return context_.drop(packet.mbuf, DropReason::NdMalformed);
    const uint8_t type = packet.l4_header()[0];
    if (type != net::icmpv6::neighbor_solicitation && type != net::icmpv6::neighbor_advertisement) {
      return context_.drop(packet.mbuf, DropReason::NdNotForUs);
    }
    if (resolver_ != nullptr) return resolver_->on_nd(packet.mbuf, packet.l3, packet.l4, packet.ingress);
    HandoffNote note;
    note.kind = HandoffKind::Frame;
    note.l3 = packet.l3;
    note.ingress = packet.ingress;
    return output_.hand_over(packet.mbuf, 0, note);
  }
  if (packet.key.dst.is_multicast()) return context_.drop(packet.mbuf, DropReason::IpMulticast);
  if (packet.key.dst.is_link_local() || packet.key.src.is_link_local()) {
    // RFC 4291 section 2.5.6: never forwarded. Echo to our own link-local address is answered.
    const Interface& ingress = context_.interface(packet.ingress);
    if (!from_tunnel && !packet.key.src.is_link_local() && !ingress.may_come_from(packet.key.src)) {
      return context_.drop(packet.mbuf, DropReason::SpoofedSource);
    }
    if (!from_tunnel && ingress.owns(packet.key.dst)) return to_local_address(packet);
    return context_.drop(packet.mbuf, DropReason::LinkLocalScope);
  }
  enter(packet);
}

// The last part of pass 1, for both families: whose flow is it?
template <class F>
void Pipeline::enter(FlowPacket<F>& packet) {
  if (packet.tunnel_source == net::no_tunnel_source) {
    if (!context_.interface(packet.ingress).may_come_from(packet.key.src)) {
      return context_.drop(packet.mbuf, DropReason::SpoofedSource);
    }
  }
  if (packet.fragment != FragmentKind::Whole && !settle_fragment(packet)) return;
  if (packet.icmp_error) {
    // It belongs to the flow it quotes (ICMP-3); the hash is the same in both directions.
    FlowKey<F> quoted;
    packet.hash = context_.tables.hasher(quoted_key(packet, quoted) ? quoted : packet.key);
  } else {
    packet.hash = context_.tables.hasher(packet.key);
  }
  if (context_.tables.workers > 1) {
    const uint16_t owner = net::owner_of(packet.hash, context_.tables.workers);
    if (owner != context_.worker) return hand_over(packet, owner, HandoffKind::Flow);
  }
  connections_.of<F>().prefetch(packet.hash);
  if constexpr (F::is_v4) {
    burst_v4_.push(packet);
  } else {
    burst_v6_.push(packet);
  }
}

// Gives a fragment the ports of its datagram (FRAG-1). False if the packet was dropped or handed over.
template <class F>
bool Pipeline::settle_fragment(FlowPacket<F>& packet) {
  const DatagramKey<F> datagram{packet.key.src, packet.key.dst, datagram_id(packet), packet.protocol};
  FlowKey<F> key = packet.key;
  key.src_port = key.dst_port = {};
  const uint64_t hash = context_.tables.hasher(key) ^ net::multiply_fold(datagram.id, 0x9fb21c651e98df25);
  if (context_.tables.workers > 1 && !packet.handed_over) {
    const uint16_t knows = net::owner_of(hash, context_.tables.workers);
    if (knows != context_.worker) {
      hand_over(packet, knows, HandoffKind::Fragment);
      return false;
    }
  }
  auto& table = [this]() -> FragmentTable<F>& {
    if constexpr (F::is_v4) {
      return fragments_v4_;
    } else {
      return fragments_v6_;
    }
  }();
  if (packet.fragment == FragmentKind::First) {
    table.remember(datagram, hash, packet.key.src_port, packet.key.dst_port, context_.now);
    return true;
  }
  if (table.find(datagram, hash, packet.key.src_port, packet.key.dst_port, context_.now)) return true;
  context_.drop(packet.mbuf, DropReason::FragmentWithoutFirst);
  return false;
}

template <class F>
bool Pipeline::quoted_key(const FlowPacket<F>& packet, FlowKey<F>& key) const {
  const auto at = static_cast<uint16_t>(packet.l4 + net::icmp_header_length);
  uint16_t l4_offset = 0;
  return net::parse_quoted(packet.data() + at, packet.contiguous(at), key, l4_offset);
}

// ---- between workers ---------------------------------------------------------------------------------

template <class F>
void Pipeline::hand_over(const FlowPacket<F>& packet, uint16_t worker, HandoffKind kind) {
  HandoffNote note;
  note.kind = kind;
  note.l3 = packet.l3;
  note.ingress = packet.ingress;
  note.tunnel_source = packet.tunnel_source;
  note.decapsulations = packet.decapsulations;
  note.ports_known = packet.fragment == FragmentKind::Later && kind != HandoffKind::Fragment ? 1 : 0;
  note.src_port = packet.key.src_port;
  note.dst_port = packet.key.dst_port;
  output_.hand_over(packet.mbuf, worker, note);
}

void Pipeline::process_handed_over(rte_mbuf** packets, uint16_t count) {
  context_.counters.add(Event::ReceivedOver, count);
  burst_v4_.clear();
  burst_v6_.clear();
  for (unsigned i = 0; i < prefetch_ahead && i < count; ++i) rte_prefetch0(rte_pktmbuf_mtod(packets[i], void*));
  for (unsigned i = 0; i < count; ++i) {
    if (i + prefetch_ahead < count) rte_prefetch0(rte_pktmbuf_mtod(packets[i + prefetch_ahead], void*));
    take_handed_over(packets[i]);
  }
  run(burst_v4_);
  run(burst_v6_);
}

void Pipeline::take_handed_over(rte_mbuf* mbuf) {
  const HandoffNote note = context_.tables.rings->note(mbuf);
  const auto* const l3 = rte_pktmbuf_mtod_offset(mbuf, const uint8_t*, note.l3);
  const bool v4 = net::ip_version(l3) == 4;
  switch (note.kind) {
    case HandoffKind::Frame:
      if (net::load_be16(l3 - 2) == net::ether_type_arp) return resolver_->on_arp(mbuf, note.l3, note.ingress);
      return resolver_->on_nd(mbuf, note.l3, static_cast<uint16_t>(note.l3 + net::ipv6_header_length), note.ingress);
    case HandoffKind::Resolve:
      return resolver_->hold(mbuf, note.l3, note.egress, note.neighbor, note.original);
    case HandoffKind::Transmit:
      return output_.transmit(mbuf, note.egress);
    default:
      break;
  }
  const auto take = [&](auto packet) {
    using F = std::conditional_t<std::is_same_v<decltype(packet), FlowPacket<V4>>, V4, V6>;
    packet.mbuf = mbuf;
    packet.l3 = note.l3;
    packet.ingress = note.ingress;
    packet.tunnel_source = note.tunnel_source;
    packet.decapsulations = note.decapsulations;
    packet.handed_over = true;
    // It was checked where it came in.
    if (const DropReason reason = net::parse_ip(packet, true); reason != DropReason::None) {
      return context_.drop(mbuf, reason);
    }
    if (note.kind == HandoffKind::Fragment) return enter(packet);
    if (note.ports_known != 0) {
      packet.key.src_port = note.src_port;
      packet.key.dst_port = note.dst_port;
    }
    FlowKey<F> quoted;
    const bool by_quote = packet.icmp_error && quoted_key(packet, quoted);
    packet.hash = context_.tables.hasher(by_quote ? quoted : packet.key);
    connections_.of<F>().prefetch(packet.hash);
    if constexpr (F::is_v4) {
      burst_v4_.push(packet);
    } else {
      burst_v6_.push(packet);
    }
  };
  if (v4) {
    take(FlowPacket<V4>{});
  } else {
    take(FlowPacket<V6>{});
  }
}

// ---- pass 2: find flows ------------------------------------------------------------------------------

template <class F>
void Pipeline::run(FlowBurst<F>& burst) {
  if (burst.empty()) return;
  nat::Conntrack<F>& table = connections_.of<F>();
  nat::FlowId ids[net::burst_size];
  table.find_bulk(burst.data(), burst.size(), ids);
  const uint64_t removed = table.counters().removed;
  FlowBurst<F> misses;
  uint64_t hits = 0;
  for (size_t i = 0; i < burst.size(); ++i) {
    FlowPacket<F>& packet = burst[i];
    // An earlier packet of the burst ended a connection: its record may serve another one by now.
    if (table.counters().removed != removed) [[unlikely]] {
      ids[i] = table.find(packet.key, packet.hash);
    }
    if (packet.icmp_error) [[unlikely]] {
      forward_icmp_error(packet);
    } else if (ids[i] == nat::no_flow) {
      misses.push(packet);
    } else if (table.is_stub(ids[i])) [[unlikely]] {
      hand_over(packet, table.flow(ids[i]).route, HandoffKind::OwnerByStub);
    } else {
      ++hits;
      forward_flow(packet, ids[i]);
    }
  }
  context_.counters.add(Event::FlowHits, hits);
  if (!misses.empty()) forward_misses(misses);
}

// ---- passes 4 and 5: a packet of a known flow --------------------------------------------------------

template <class F>
void Pipeline::forward_flow(FlowPacket<F>& packet, nat::FlowId id) {
  nat::Conntrack<F>& table = connections_.of<F>();
  nat::Flow<F>& flow = table.flow(id);
  const bool tcp = packet.protocol == net::protocol::tcp && packet.fragment != FragmentKind::Later;
  const uint8_t tcp_flags = tcp ? packet.l4_header()[13] : net::tcp_flag::ack;
  bool close_after = false;
  if (!nat::is_quiet(flow, tcp_flags)) [[unlikely]] {
    const nat::TcpSegment segment = tcp ? segment_of(packet) : nat::TcpSegment{};
    if (tcp || packet.protocol != net::protocol::tcp) {
      switch (table.track(id, segment, context_.snapshot->timeouts, context_.now)) {
        case nat::TrackAction::Pass:
          break;
        case nat::TrackAction::Invalid:
          return context_.drop(packet.mbuf, DropReason::ConntrackInvalid);  // CT-20
        case nat::TrackAction::Reopen:
          close_connection<F>(nat::connection_of(id));
          return forward_miss(packet, context_.tables.fib->lookup(packet.key.dst));
        case nat::TrackAction::Close:
          close_after = true;
          break;
      }
    }
  }
  Egress egress;
  if (flow.generation == context_.snapshot->generation) [[likely]] {
    egress = output_.remembered(flow.route, flow.neighbor);
    const NeighborLink link = (*context_.tables.neighbors)[neighbor_index(flow.neighbor)].load();
    if (link.epoch != neighbor_epoch(flow.neighbor)) [[unlikely]]
      egress = flow_egress(flow, packet.hash);
  } else {
    connections_.of<F>().refresh_timer(nat::connection_of(id), context_.snapshot->timeouts, context_.now);
    if (!still_valid<F>(id)) {
      close_connection<F>(nat::connection_of(id));
      return forward_miss(packet, context_.tables.fib->lookup(packet.key.dst));
    }
    egress = flow_egress(flow, packet.hash);
  }
  flow.last_seen = context_.now;
  ++flow.packets;
  flow.bytes += packet.l3_length;
  if (egress.forwards()) [[likely]] {
    forward(packet, egress, &flow);
  } else {
    // After translation, a service address is a loop (SVC-70).
    if (egress.kind == HopKind::Service || egress.kind == HopKind::Local) egress.reason = DropReason::ServiceLoop;
    refuse(packet, egress);
  }
  if (close_after) close_connection<F>(nat::connection_of(id));
}

// The route of a flow's packets after a change of configuration, remembered in the flow.
template <class F>
Egress Pipeline::flow_egress(nat::Flow<F>& flow, uint64_t hash) {
  const Egress egress = output_.template route<F>(flow.rewrite.dst, hash);
  flow.generation = 0;
  if (egress.forwards() && egress.neighbor != no_neighbor) {
    flow.route = egress.tunnel;
    flow.neighbor = egress.neighbor;
    flow.generation = context_.snapshot->generation;
  }
  return egress;
}

// A change of configuration ends UDP flows whose endpoint no longer serves (SVC-94) and those to an address that has
// become a service's (SVC-95); TCP is left alone (SVC-92).
template <class F>
bool Pipeline::still_valid(nat::FlowId id) {
  const nat::Conntrack<F>& table = connections_.of<F>();
  const nat::Connection& connection = table.connection(nat::connection_of(id));
  if (connection.protocol != net::protocol::udp) return true;
  const nat::Flow<F>& original = table.flow(nat::flow_id(nat::connection_of(id), nat::Direction::Original));
  const nat::Frontend<F>* frontend =
      context_.snapshot->family<F>().services->find(original.key.dst, original.key.dst_port, original.key.protocol);
  if (connection.service == nat::no_service) return frontend == nullptr;
  if (frontend == nullptr) return false;
  for (const nat::Backend<F>& backend : frontend->service->serving) {
    if (backend.addr == original.rewrite.dst && backend.port == original.rewrite.dst_port) return true;
  }
  return false;
}

template <class F>
void Pipeline::forward(FlowPacket<F>& packet, const Egress& egress, nat::Flow<F>* flow) {
  uint8_t* const l3 = packet.l3_header();
  if (net::IpHeader<F>::ttl(l3) <= 1) [[unlikely]] {  // TTL-2
    icmp_.send_error<F>(packet, IcmpError::TtlExceeded, 0, 0, nullptr);
    return context_.drop(packet.mbuf, DropReason::TtlExceeded);
  }
  const bool too_big = packet.l3_length > egress.mtu;
  if (too_big && dont_fragment<F>(l3)) [[unlikely]] {  // MTU-2
    icmp_.send_error<F>(packet, IcmpError::TooBig, 0, egress.mtu, nullptr);
    return context_.drop(packet.mbuf, DropReason::MtuExceeded);
  }
  if (const NeighborState state = output_.reachability(egress);
      state != NeighborState::Reachable && state != NeighborState::Permanent && state != NeighborState::Stale)
      [[unlikely]] {
    // Should the neighbour never answer, the sender is told about the packet as it sent it (ICMP-5).
    if (state == NeighborState::Failed) {
      icmp_.send_error<F>(packet, IcmpError::Unreachable, F::is_v4 ? net::icmpv4::code_host : net::icmpv6::code_address,
                          0, nullptr);
      return context_.drop(packet.mbuf, DropReason::NeighborFailed);
    }
    packet.original = rte_pktmbuf_copy(packet.mbuf, context_.tables.pool, packet.l3, UINT32_MAX);
  }
  if (flow != nullptr && (flow->flags & nat::flow_flag::translated) != 0) {
    nat::apply(flow->rewrite, l3, packet.fragment == FragmentKind::Later ? nullptr : packet.l4_header(),
               packet.protocol);
  }
  decrement_ttl<F>(l3);
  if constexpr (F::is_v4) {
    if (too_big) [[unlikely]] {
      return output_.fragment_and_send(packet, egress, packet.hash);
    }
  }
  output_.send<F>(packet, egress, packet.hash);
}

// A packet whose route leads nowhere.
template <class F>
void Pipeline::refuse(FlowPacket<F>& packet, const Egress& egress) {
  if (egress.kind == HopKind::Reject) {
    icmp_.send_error<F>(packet, IcmpError::Unreachable, egress.icmp_code, 0, nullptr);
  }
  context_.drop(packet.mbuf, egress.reason);
}

// ---- packets without a flow --------------------------------------------------------------------------

template <class F>
void Pipeline::forward_misses(FlowBurst<F>& misses) {
  context_.counters.add(Event::FlowMisses, misses.size());
  typename F::Addr destinations[net::burst_size];
  NextHopId hops[net::burst_size];
  for (size_t i = 0; i < misses.size(); ++i) destinations[i] = misses[i].key.dst;
  context_.tables.fib->lookup(destinations, hops, static_cast<unsigned>(misses.size()));
  const nat::Conntrack<F>& table = connections_.of<F>();
  const uint64_t inserted = table.counters().inserted;
  for (size_t i = 0; i < misses.size(); ++i) {
    if (table.counters().inserted != inserted) [[unlikely]] {
      // Another packet of this burst may have opened this flow.
      const nat::FlowId id = table.find(misses[i].key, misses[i].hash);
      if (id != nat::no_flow && !table.is_stub(id)) {
        forward_flow(misses[i], id);
        continue;
      }
    }
    forward_miss(misses[i], hops[i]);
  }
}

template <class F>
void Pipeline::forward_miss(FlowPacket<F>& packet, NextHopId hop) {
  if (packet.handed_over && context_.tables.workers > 1 &&
      net::owner_of(packet.hash, context_.tables.workers) != context_.worker) {
    // Its sender had a stub of a flow that is gone: tell it, and let the packet be sent again.
    StubMessage message;
    message.kind = F::is_v4 ? StubMessage::Kind::RemoveV4 : StubMessage::Kind::RemoveV6;
    message.owner = context_.worker;
    message.hash = packet.hash;
    if constexpr (F::is_v4) {
      message.v4 = packet.key;
    } else {
      message.v6 = packet.key;
    }
    (void)context_.tables.rings->send(context_.worker, net::owner_of(packet.hash, context_.tables.workers), message);
    return context_.drop(packet.mbuf, DropReason::FlowGone);
  }
  // Before services: who may not have this source gets no endpoint either.
  if (packet.tunnel_source == net::no_tunnel_source) {
    const Interface& ingress = context_.interface(packet.ingress);
    if (ingress.rpf != ReversePathFilter::Off) {
      const Egress back = output_.route<F>(packet.key.src, packet.hash);
      const bool wrong = !back.forwards() || (ingress.rpf == ReversePathFilter::Strict &&
                                              (back.interface != packet.ingress || back.tunnel != no_tunnel));
      if (wrong) return context_.drop(packet.mbuf, DropReason::ReversePath);
    }
  }
  const Snapshot& now = *context_.snapshot;
  const HopKind kind = (*context_.tables.next_hops)[hop].kind;
  if (kind == HopKind::Service || kind == HopKind::Local) {
    if (packet.protocol != net::protocol::icmp && packet.protocol != net::protocol::icmpv6) {
      const nat::Frontend<F>* frontend =
          now.family<F>().services->find(packet.key.dst, packet.key.dst_port, packet.protocol);
      if (frontend != nullptr) return open_to_service(packet, *frontend);
    }
    return kind == HopKind::Service ? to_service_address(packet) : to_local_address(packet);
  }
  const Egress egress = output_.egress_of<F>(hop, packet.key.dst, packet.hash);
  if (!egress.forwards()) return refuse(packet, egress);
  if (now.family<F>().any_nat_outgoing &&
      nat::nat_outgoing<F>(packet.key.src, packet.key.dst, now.family<F>().pool_view())) {
    return open_outgoing(packet, egress);
  }
  if (wants_tracking(packet)) return open_untranslated(packet, egress);
  context_.counters.add(Event::Transit);
  forward<F>(packet, egress, nullptr);
}

template void Pipeline::enter<V4>(FlowPacket<V4>&);
template void Pipeline::enter<V6>(FlowPacket<V6>&);
template void Pipeline::hand_over<V4>(const FlowPacket<V4>&, uint16_t, HandoffKind);
template void Pipeline::hand_over<V6>(const FlowPacket<V6>&, uint16_t, HandoffKind);
template bool Pipeline::quoted_key<V4>(const FlowPacket<V4>&, FlowKey<V4>&) const;
template bool Pipeline::quoted_key<V6>(const FlowPacket<V6>&, FlowKey<V6>&) const;
template void Pipeline::forward_flow<V4>(FlowPacket<V4>&, nat::FlowId);
template void Pipeline::forward_flow<V6>(FlowPacket<V6>&, nat::FlowId);
template void Pipeline::forward<V4>(FlowPacket<V4>&, const Egress&, nat::Flow<V4>*);
template void Pipeline::forward<V6>(FlowPacket<V6>&, const Egress&, nat::Flow<V6>*);
template void Pipeline::refuse<V4>(FlowPacket<V4>&, const Egress&);
template void Pipeline::refuse<V6>(FlowPacket<V6>&, const Egress&);
template void Pipeline::forward_miss<V4>(FlowPacket<V4>&, NextHopId);
template void Pipeline::forward_miss<V6>(FlowPacket<V6>&, NextHopId);

}  // namespace sluice::dataplane
