// Passes 4 and 5 in full: a packet of a known flow, or of none, with everything that can be the matter with it. Plain
// packets of settled flows take the short cut in pipeline.cpp, which does the same for them.
#include <algorithm>
#include <limits>

#include "dataplane/dhcp.h"
#include "dataplane/flow_handoff.h"
#include "dataplane/late_binding.h"
#include "dataplane/mss.h"
#include "dataplane/net/l4_checksum.h"
#include "dataplane/pipeline.h"
#include "dataplane/punt.h"
#include "dataplane/sctp_abort.h"
#include "dataplane/splice_flow.h"
#include "dataplane/tcp_reset.h"
#include "dataplane/turned.h"
#include "nat/rewrite.h"

namespace sluice::dataplane {

using net::DropReason;
using net::FlowPacket;
using net::FragmentKind;
using net::V4;
using net::V6;

namespace {

template <class F>
bool dont_fragment(const uint8_t* l3) {
  if constexpr (F::is_v4) {
    return (net::load_be16(l3 + 6) & net::ipv4_dont_fragment) != 0;
  } else {
    return true;
  }
}

template <class F>
bool is_too_big(const FlowPacket<F>& packet, const Egress& egress) {
  constexpr uint16_t always_fits = F::is_v4 ? 0 : 1280;  // RFC 8200 section 5
  return packet.l3_length > egress.mtu && packet.l3_length > always_fits;
}

nat::TcpSegment segment_of(const net::Packet& packet) {
  const uint8_t* const tcp = packet.l4_header();
  const auto header = static_cast<uint32_t>(tcp[12] >> 4) * 4;
  const uint32_t carried = static_cast<uint32_t>(packet.l3 + packet.l3_length - packet.l4);
  nat::TcpSegment segment;
  segment.flags = tcp[13];
  segment.seq = net::load_be32(tcp + 4);
  segment.ack = net::load_be32(tcp + 8);
  segment.length = carried > header ? carried - header : 0;
  segment.window = net::load_be16(tcp + 14);
  if (header > net::tcp_header_length && packet.contiguous(packet.l4) >= header) {
    segment.options = tcp + net::tcp_header_length;
    segment.options_length = static_cast<uint8_t>(header - net::tcp_header_length);
  }
  return segment;
}

// The service that this original direction came to, if its address is still one.
template <class F>
const nat::Frontend<F>* frontend_of(const nat::Flow<F>& original, const Snapshot& now) {
  return now.family<F>().services->find(original.key.dst, original.key.dst_port, original.key.protocol);
}

// The same of a connection that rules led on from there; nullptr if it is not known where.
template <class F>
const nat::Frontend<F>* frontend_of(const nat::Conntrack<F>& table, nat::ConnectionId id, const Snapshot& now) {
  const nat::Flow<F>& original = table.flow(nat::flow_id(id, nat::Direction::Original));
  if ((original.flags & nat::flow_flag::spliced) == 0) return frontend_of(original, now);
  const nat::Connection& connection = table.connection(id);
  if ((connection.splice & nat::splice::has_record) != 0) return nullptr;
  if ((connection.splice & nat::splice::number) == own_target) return frontend_of(original, now);
  const nat::Frontend<F>* const target = now.family<F>().services->find(
      l7::target_address<typename F::Addr>(connection.splice & nat::splice::number), {}, net::protocol::tcp);
  return target != nullptr && target->service->id == connection.service ? target : nullptr;
}

// The segment as its connection is tracked: as the client sees it.
template <class F>
void see_as_client(const nat::Conntrack<F>& table, nat::FlowId id, nat::TcpSegment& segment) {
  if (nat::direction_of(id) != nat::Direction::Reply) return;
  const l7::Splice splice = splice_of(table, nat::connection_of(id));
  segment.seq += splice.seq;
  segment.window = l7::window_to_client(splice, segment.window);
}

template <class F>
bool leads_to_any(const nat::Rewrite<F>& original, const std::vector<nat::Backend<F>>& backends) {
  for (const nat::Backend<F>& backend : backends) {
    if (backend.addr == original.dst && backend.port == original.dst_port) return true;
  }
  return false;
}

// Of a connection to a service: whether its endpoint no longer serves the address it came to (SVC-92, SVC-94).
template <class F>
bool lost_endpoint(const nat::Conntrack<F>& table, nat::ConnectionId id, const Snapshot& now) {
  if (table.connection(id).service == nat::no_service) return false;
  const nat::FlowId original = nat::flow_id(id, nat::Direction::Original);
  const nat::Frontend<F>* const frontend = frontend_of(table, id, now);
  const bool spliced = (table.flow(original).flags & nat::flow_flag::spliced) != 0;
  return frontend == nullptr ? !spliced : !leads_to_any(table.rewrite(original), frontend->service->serving);
}

// Whether it ends with a reset now: onBackendRemoved, or its endpoint was drained hard.
template <class F>
bool is_cut_off(const nat::Conntrack<F>& table, nat::ConnectionId id, const Snapshot& now) {
  if (!now.proxy.reset_removed && !now.family<F>().services->cuts_off()) return false;
  if (!lost_endpoint(table, id, now)) return false;
  if (now.proxy.reset_removed) return true;
  const nat::Rewrite<F> original = table.rewrite(nat::flow_id(id, nat::Direction::Original));
  const nat::Frontend<F>* const frontend = frontend_of(table, id, now);
  return frontend != nullptr && leads_to_any(original, frontend->service->cut_off);
}

// The client is told, whoever sent the packet: in answer to its own, or instead of what the endpoint sent.
template <class F>
void reset_client(Context& context, Output& output, const FlowPacket<F>& packet, const nat::TcpSegment& segment,
                  const nat::Rewrite<F>& rewrite, nat::Direction direction) {
  if (direction == nat::Direction::Original) {
    const uint32_t seq = (segment.flags & net::tcp_flag::ack) != 0 ? segment.ack : 0;
    send_reset(context, output, packet.key.reversed(), net::tcp_flag::rst, seq, 0, packet.hash);
  } else {
    send_reset(context, output, nat::rewritten_key(packet.key, rewrite), net::tcp_flag::rst | net::tcp_flag::ack,
               segment.seq, segment.ack, packet.hash);
  }
}

// The same of an association. In answer to its own packet the client's peer is known by the tag in it.
template <class F>
void abort_client(Context& context, Output& output, const FlowPacket<F>& packet, const nat::Rewrite<F>& rewrite,
                  nat::Direction direction) {
  const uint32_t tag = net::load_be32(packet.l4_header() + 4);
  if (direction == nat::Direction::Original) {
    send_abort(context, output, packet.key.reversed(), tag, TagOf::Sender, packet.hash);
  } else {
    send_abort(context, output, nat::rewritten_key(packet.key, rewrite), tag, TagOf::Receiver, packet.hash);
  }
}

nat::SctpChunk chunk_of(const net::Packet& packet) {
  const auto carried = static_cast<uint16_t>(packet.l3 + packet.l3_length - packet.l4);
  return nat::sctp_chunk(packet.l4_header(), std::min(carried, packet.contiguous(packet.l4)));
}

// What ends it anyway is not answered (RFC 9260 section 8.4).
bool ends_association(nat::SctpChunk chunk) {
  return chunk == nat::SctpChunk::Abort || chunk == nat::SctpChunk::ShutdownComplete;
}

// IPIP-3, with a strict reverse path filter: whether a node may have sent a packet with this source through a tunnel. A
// pod's address is its node's, an own one and that of a pod of ours nobody's. Any other may be a client's for whom a
// gateway speaks (direct_return.cpp), and a service's that of an answer.
template <class F>
bool may_come_from_node(const Context& context, const Output& output, const FlowPacket<F>& packet) {
  const NextHopId hop = context.tables.fib->lookup(packet.key.src);
  if ((*context.tables.next_hops)[hop].kind == HopKind::Group) return true;
  const Egress back = output.egress_of<F>(hop, packet.key.src, packet.hash);
  if (!back.forwards()) return back.kind == HopKind::Service;
  if (back.tunnel == no_tunnel && context.interface(back.interface).role == Role::Workload) return false;
  if (back.kind == HopKind::Connected || !context.snapshot->family<F>().is_pod_elsewhere(packet.key.src)) return true;
  const net::IpAddr& node = back.tunnel != no_tunnel
                                ? context.snapshot->tunnels[back.tunnel].spec.remote
                                : (*context.tables.neighbors)[neighbor_index(back.neighbor)].address;
  const encap::KnownSources& sources = context.snapshot->terminator.sources;
  const uint16_t index = node.is_v4() ? sources.find(node.v4()) : sources.find(node.v6());
  return index == net::no_tunnel_source || index == packet.tunnel_source;
}

}  // namespace

// ---- passes 4 and 5: a packet of a known flow --------------------------------------------------------

template <class F>
void Pipeline::forward_flow(FlowPacket<F>& packet, nat::FlowId id) {
  const nat::Conntrack<F>& table = connections_.of<F>();
  if ((table.flow(id).flags & nat::flow_flag::spliced) != 0) {
    if (!net::is_l4_damaged(packet.mbuf)) {
      if (late_->on_hit(packet, id)) return;
    } else if ((table.connection(nat::connection_of(id)).splice & nat::splice::has_record) != 0) {
      return context_.drop(packet.mbuf, DropReason::L4BadChecksum);  // CT-21
    }
  }
  forward_tracked(packet, id);
}

template <class F>
void Pipeline::forward_tracked(FlowPacket<F>& packet, nat::FlowId id) {
  nat::Conntrack<F>& table = connections_.of<F>();
  nat::Flow<F>& flow = table.flow(id);
  const bool spliced = (flow.flags & nat::flow_flag::spliced) != 0;
  const bool tcp = packet.protocol == net::protocol::tcp && packet.fragment != FragmentKind::Later;
  const uint8_t tcp_flags = tcp ? packet.l4_header()[13] : net::tcp_flag::ack;
  const bool sctp = packet.protocol == net::protocol::sctp && packet.fragment != FragmentKind::Later;
  const nat::SctpChunk chunk = sctp ? chunk_of(packet) : nat::SctpChunk::Other;
  bool close_after = false;
  if ((flow.flags & unconfirmed) != 0) [[unlikely]] {
    return ask(packet, nat::connection_of(id));
  }
  if (net::is_l4_damaged(packet.mbuf)) [[unlikely]] {
    // CT-21: its receiver will refuse it, so its record learns nothing of it.
    const uint8_t content = table.connection(nat::connection_of(id)).content;
    if ((content & nat::content_flag::blocked) != 0) return context_.drop(packet.mbuf, DropReason::ContentBlocked);
    if ((content & ~nat::content_flag::seen) != 0) return context_.drop(packet.mbuf, DropReason::L4BadChecksum);
    const Egress egress = find_egress<F>(id, packet.hash);
    if (!egress.forwards()) return context_.drop(packet.mbuf, DropReason::L4BadChecksum);
    const nat::Translation<F> change = table.translation(id);
    return forward(packet, egress, &change);
  }
  // What another gateway relayed to us is for our own endpoints (new_flow.h), whatever the client sent us before.
  if ((flow.flags & nat::flow_flag::direct_return) != 0 && packet.from_tunnel()) [[unlikely]] {
    close_connection<F>(nat::connection_of(id));
    return forward_miss(packet, context_.tables.fib->lookup(packet.key.dst));
  }
  // Before it is tracked: nobody who is cut off ends that by what he sends.
  if (const uint8_t content = table.connection(nat::connection_of(id)).content; content != 0) [[unlikely]] {
    if ((content & nat::content_flag::blocked) != 0) {
      flow.last_seen = context_.now;
      return context_.drop(packet.mbuf, DropReason::ContentBlocked);
    }
    if (tcp && begins_anew(packet, id)) {
      close_connection<F>(nat::connection_of(id));
      return forward_miss(packet, context_.tables.fib->lookup(packet.key.dst));
    }
  }
  if (sctp) {
    // SVC-92: also who begins another association where one is about to end.
    const bool anew = chunk == nat::SctpChunk::Init && nat::direction_of(id) == nat::Direction::Original &&
                      lost_endpoint(table, nat::connection_of(id), *context_.snapshot);
    if (anew || table.track_sctp(id, chunk, context_.snapshot->timeouts, context_.now) == nat::TrackAction::Reopen) {
      close_connection<F>(nat::connection_of(id));
      return forward_miss(packet, context_.tables.fib->lookup(packet.key.dst));
    }
  } else if (tcp || !nat::is_quiet(flow, tcp_flags)) {
    // SVC-92: who begins anew is not sent to an endpoint that is gone.
    if (tcp && !spliced && nat::tcp_event(tcp_flags) == nat::TcpEvent::Syn &&
        nat::direction_of(id) == nat::Direction::Original &&
        lost_endpoint(table, nat::connection_of(id), *context_.snapshot)) {
      close_connection<F>(nat::connection_of(id));
      return forward_miss(packet, context_.tables.fib->lookup(packet.key.dst));
    }
    nat::TcpSegment segment = tcp ? segment_of(packet) : nat::TcpSegment{};
    if (spliced && tcp) see_as_client(table, id, segment);
    if (tcp || packet.protocol != net::protocol::tcp) {
      // How long a segment in fragments is nobody knows yet.
      if (tcp && packet.fragment == FragmentKind::First) table.be_liberal(nat::connection_of(id));
      switch (table.track(id, segment, context_.snapshot->timeouts, context_.now, context_.snapshot->tcp_be_liberal)) {
        case nat::TrackAction::Pass:
          break;
        case nat::TrackAction::Invalid:
          if (table.connection(nat::connection_of(id)).service == nat::no_service && is_left_to_host(packet, flow))
            return;
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
  if ((table.connection(nat::connection_of(id)).content & ~nat::content_flag::seen) != 0) [[unlikely]] {
    if (!passes_inspection(packet, id)) return;
  }
  const uint16_t length = packet.l3_length;
  if (packet.from_host() && answers_directly(packet, flow)) {
    nat::account(flow, length, context_.now);
    if (close_after) close_connection<F>(nat::connection_of(id));
    return;
  }
  Egress egress;
  if (flow.generation == context_.snapshot->generation && flow.neighbor == no_neighbor) {
    egress.kind = HopKind::Local;
  } else if (flow.generation == context_.snapshot->generation) [[likely]] {
    egress = output_.remembered(flow.route, flow.neighbor);
    const NeighborLink link = (*context_.tables.neighbors)[neighbor_index(flow.neighbor)].load();
    if (link.epoch != neighbor_epoch(flow.neighbor)) [[unlikely]]
      egress = flow_egress<F>(id, packet.hash);
  } else {
    connections_.of<F>().refresh_timer(nat::connection_of(id), context_.snapshot->timeouts, context_.now);
    if (!still_valid<F>(id)) {
      close_connection<F>(nat::connection_of(id));
      return forward_miss(packet, context_.tables.fib->lookup(packet.key.dst));
    }
    const bool may_be_cut_off = tcp ? (tcp_flags & net::tcp_flag::rst) == 0 : sctp && !ends_association(chunk);
    if (may_be_cut_off && is_cut_off(table, nat::connection_of(id), *context_.snapshot)) {
      if (tcp) {
        nat::TcpSegment segment = segment_of(packet);
        if (spliced) see_as_client(table, id, segment);
        reset_client(context_, output_, packet, segment, table.rewrite(id), nat::direction_of(id));
      } else {
        abort_client(context_, output_, packet, table.rewrite(id), nat::direction_of(id));
      }
      close_connection<F>(nat::connection_of(id));
      return context_.drop(packet.mbuf, DropReason::EndpointGone);
    }
    egress = flow_egress<F>(id, packet.hash);
  }
  nat::account(flow, packet.l3_length, context_.now);
  if (egress.kind == HopKind::Local && goes_outside(table.connection(nat::connection_of(id)), nat::direction_of(id)))
      [[unlikely]] {
    // The record may serve another connection when the packet has gone.
    const nat::Rewrite<F> rewrite = table.rewrite(id);
    if (close_after) close_connection<F>(nat::connection_of(id));
    return turn_back(packet, rewrite);
  }
  const nat::Translation<F> change = table.translation(id);
  if (egress.forwards()) [[likely]] {
    forward(packet, egress, &change);
  } else if (egress.kind != HopKind::Local || !end_at_host(packet, change)) {
    // After translation, a service address is a loop (SVC-70).
    if (egress.kind == HopKind::Service || egress.kind == HopKind::Local) egress.reason = DropReason::ServiceLoop;
    refuse(packet, egress);
  }
  if (close_after) close_connection<F>(nat::connection_of(id));
}

template <class F>
Egress Pipeline::find_egress(nat::FlowId id, uint64_t hash) const {
  const nat::Conntrack<F>& table = connections_.of<F>();
  const bool direct = (table.flow(id).flags & nat::flow_flag::direct_return) != 0;
  return direct ? direct_egress(table.flow(id), hash) : output_.template route<F>(table.rewrite(id).dst, hash);
}

// The route of a flow's packets after a change of configuration, remembered in the flow.
template <class F>
Egress Pipeline::flow_egress(nat::FlowId id, uint64_t hash) {
  const Egress egress = find_egress<F>(id, hash);
  nat::Flow<F>& flow = connections_.of<F>().flow(id);
  flow.generation = 0;
  if (egress.forwards() && egress.neighbor != no_neighbor) {
    flow.route = egress.tunnel;
    flow.neighbor = egress.neighbor;
    flow.generation = context_.snapshot->generation;
  } else if (egress.kind == HopKind::Local) {
    // Which is all there is to know: nothing is looked up for the packets that follow.
    flow.neighbor = no_neighbor;
    flow.generation = context_.snapshot->generation;
  }
  return egress;
}

// A change of configuration ends UDP flows whose endpoint no longer serves (SVC-94) and those to an address that has
// become a service's (SVC-95); TCP and SCTP are left alone (SVC-92).
template <class F>
bool Pipeline::still_valid(nat::FlowId id) {
  const nat::Conntrack<F>& table = connections_.of<F>();
  const nat::ConnectionId owner = nat::connection_of(id);
  const nat::Connection& connection = table.connection(owner);
  if ((connection.flags & nat::connection_flag::one_way) != 0) {
    // Without a tunnel, or the service being answered through this router from now on, there is no going on.
    const nat::Flow<F>& original = table.flow(nat::flow_id(owner, nat::Direction::Original));
    const nat::Frontend<F>* const frontend = frontend_of(original, *context_.snapshot);
    const bool translates = frontend != nullptr && !frontend->service->direct_return;
    if (translates || !direct_egress(original, 0).forwards()) return false;
  }
  if (connection.protocol != net::protocol::udp) return true;
  if (connection.service != nat::no_service) return !lost_endpoint(table, owner, *context_.snapshot);
  return frontend_of(table.flow(nat::flow_id(owner, nat::Direction::Original)), *context_.snapshot) == nullptr;
}

template <class F>
void Pipeline::forward(FlowPacket<F>& packet, const Egress& egress, const nat::Translation<F>* change) {
  uint8_t* const l3 = packet.l3_header();
  if (net::IpHeader<F>::ttl(l3) <= 1) [[unlikely]] {  // TTL-2
    icmp_.send_error<F>(packet, IcmpError::TtlExceeded, 0, 0, nullptr);
    return context_.drop(packet.mbuf, DropReason::TtlExceeded);
  }
  const bool too_big = is_too_big(packet, egress);
  if (too_big && dont_fragment<F>(l3)) [[unlikely]] {  // MTU-2
    constexpr uint16_t least_mtu = F::is_v4 ? 0 : 1280;
    icmp_.send_error<F>(packet, IcmpError::TooBig, 0, std::max(egress.mtu, least_mtu), nullptr);
    return context_.drop(packet.mbuf, DropReason::MtuExceeded);
  }
  if (egress.far_end_lost) [[unlikely]] {  // IPIP-4; the packet goes all the same (tunnel_errors.h)
    icmp_.send_error<F>(packet, IcmpError::Unreachable, F::is_v4 ? net::icmpv4::code_host : net::icmpv6::code_address,
                        0, nullptr);
  }
  if (const NeighborState state = output_.reachability(egress);
      state != NeighborState::Reachable && state != NeighborState::Permanent && state != NeighborState::Stale)
      [[unlikely]] {
    // Should the neighbour never answer, the sender is told about the packet as it sent it (ICMP-5).
    if (state == NeighborState::Failed) return refuse_failed(packet);
    packet.original = rte_pktmbuf_copy(packet.mbuf, context_.tables.pool, packet.l3, UINT32_MAX);
  }
  if (change != nullptr && (change->flags & nat::flow_flag::translated) != 0) {
    nat::apply(change->rewrite, l3, packet.fragment == FragmentKind::Later ? nullptr : packet.l4_header(),
               packet.protocol);
  }
  if (change != nullptr && (change->flags & nat::flow_flag::spliced) != 0 && packet.fragment != FragmentKind::Later) {
    translate_splice(connections_.of<F>(), change->flow, packet.l4_header());
  }
  // The answers to what is answered directly go another way.
  const bool direct = change != nullptr && (change->flags & nat::flow_flag::direct_return) != 0;
  if (context_.snapshot->clamps_mss && !direct) [[unlikely]]
    clamp_segments(packet, egress);
  nat::decrement_ttl<F>(l3);
  if constexpr (F::is_v4) {
    if (too_big) [[unlikely]] {
      return output_.fragment_and_send(packet, egress, packet.hash);
    }
  }
  output_.send<F>(packet, egress, packet.hash);
}

template <class F>
void Pipeline::refuse_failed(FlowPacket<F>& packet) {
  icmp_.send_error<F>(packet, IcmpError::Unreachable, F::is_v4 ? net::icmpv4::code_host : net::icmpv6::code_address, 0,
                      nullptr);
  context_.drop(packet.mbuf, DropReason::NeighborFailed);
}

// Whether forward() would drop the packet as it is: such a one opens no flow. True: it has.
template <class F>
bool Pipeline::ends_before_it_opens(FlowPacket<F>& packet, const Egress& egress) {
  if (egress.kind == HopKind::Local) return false;
  const uint8_t* const l3 = packet.l3_header();
  if (net::IpHeader<F>::ttl(l3) <= 1 || (is_too_big(packet, egress) && dont_fragment<F>(l3))) {
    forward<F>(packet, egress, nullptr);
    return true;
  }
  if (output_.reachability(egress) != NeighborState::Failed) return false;
  refuse_failed(packet);
  return true;
}

// MTU-4: the peers of a new TCP connection agree on segments that fit the way there and the way back, whichever is the
// smaller, if clamping is asked for at one of them. Between two hosts inside there are two connections, each of which
// knows the way of one peer alone: there it is enough that clamping is asked for anywhere.
template <class F>
void Pipeline::clamp_segments(FlowPacket<F>& packet, const Egress& egress) {
  if (!is_syn(packet)) return;
  const Snapshot& now = *context_.snapshot;
  const Egress back = output_.route<F>(packet.key.src, packet.hash);
  bool asked = packet.turned_back() || egress.kind == HopKind::Local;
  uint16_t mtu = std::numeric_limits<uint16_t>::max();
  for (const Egress* way : {&egress, &back}) {
    if (!way->forwards()) continue;
    asked |= way->tunnel != no_tunnel ? now.clamps_mss_tunnels : context_.interface(way->interface).clamps_mss;
    mtu = std::min(mtu, way->mtu);
  }
  uint8_t* const tcp = packet.l4_header();
  if (!asked || packet.contiguous(packet.l4) < (tcp[12] >> 4) * 4) return;
  clamp_mss(tcp, mss_of<F>(mtu));
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
void Pipeline::forward_miss(FlowPacket<F>& packet, NextHopId hop) {
  const HopKind kind = (*context_.tables.next_hops)[hop].kind;
  const auto opens_mapped = [&] {
    if (kind == HopKind::Local) return may_be_mapped(packet) && mapped_port_worker(packet) == context_.worker;
    return kind != HopKind::Service && keeps_mapping(packet);
  };
  if (packet.handed_over && context_.tables.workers > 1 &&
      net::owner_of(packet.hash, context_.tables.workers) != context_.worker && !opens_mapped()) {
    // Its sender had a stub of a flow that is gone: it is told so first, and then has the packet as if it came now.
    StubMessage message;
    message.kind = F::is_v4 ? StubMessage::Kind::RemoveV4 : StubMessage::Kind::RemoveV6;
    message.owner = context_.worker;
    message.hash = packet.hash;
    if constexpr (F::is_v4) {
      message.v4 = packet.key;
    } else {
      message.v6 = packet.key;
    }
    const uint16_t sender = net::owner_of(packet.hash, context_.tables.workers);
    if (context_.tables.rings->send(context_.worker, sender, message))
      return hand_over(packet, sender, HandoffKind::Flow);
    return context_.drop(packet.mbuf, DropReason::FlowGone);
  }
  if constexpr (F::is_v4) {
    const bool routed = kind != HopKind::Service && kind != HopKind::Local;
    if (routed && is_dhcp_answer(packet.protocol, packet.key.src_port, packet.key.dst_port) &&
        is_lease_for_host(context_, packet, output_.egress_of<F>(hop, packet.key.dst, packet.hash))) {
      return context_.punt->give(packet.mbuf, packet.l3, packet.ingress,
                                 punt_class(packet.protocol, packet.key.src_port, packet.key.dst_port));
    }
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
  } else if (packet.from_host()) {
    if (leaves_as_framed(packet, hop)) return;
  } else if (packet.from_tunnel() && context_.interface(packet.ingress).rpf == ReversePathFilter::Strict &&
             !may_come_from_node(context_, output_, packet)) {
    return context_.drop(packet.mbuf, DropReason::ReversePath);
  }
  const Snapshot& now = *context_.snapshot;
  if (kind == HopKind::Service || kind == HopKind::Local) {
    if (packet.protocol != net::protocol::icmp && packet.protocol != net::protocol::icmpv6) {
      const nat::Frontend<F>* frontend =
          now.family<F>().services->find(packet.key.dst, packet.key.dst_port, packet.protocol);
      if (frontend != nullptr && (frontend->service->listener != nullptr ||
                                  (!frontend->service->content.empty() && late_->stands_in(packet, *frontend)))) {
        return late_->on_miss(packet, *frontend);
      }
      if (frontend != nullptr) return open_to_service(packet, *frontend);
      if (kind == HopKind::Local && (take_mapped(packet) || open_to_host(packet))) return;
    }
    return kind == HopKind::Service ? to_service_address(packet) : to_local_address(packet);
  }
  const Egress egress = output_.egress_of<F>(hop, packet.key.dst, packet.hash);
  if (!egress.forwards()) return refuse(packet, egress);
  if (connections_.hints<F>().in_use(context_.now) && forward_reply_by_hint(packet, egress)) return;
  if (now.family<F>().any_nat_outgoing &&
      nat::nat_outgoing<F>(packet.key.src, packet.key.dst, now.family<F>().pool_view())) {
    return open_outgoing(packet, egress);
  }
  if (wants_tracking(packet)) return open_untranslated(packet, egress);
  context_.counters.add(Event::Transit);
  forward<F>(packet, egress, nullptr);
}

// The short cut of a spliced connection: of its packets that concern no record.
template <class F>
bool Pipeline::forward_plain_spliced(FlowPacket<F>& packet, nat::FlowId id, const Adjacency& way) {
  nat::Conntrack<F>& table = connections_.of<F>();
  const nat::ConnectionId owner = nat::connection_of(id);
  const nat::Direction direction = nat::direction_of(id);
  const uint32_t record = direction == nat::Direction::Original ? nat::splice::has_record : nat::splice::busy;
  uint8_t* const l4 = packet.l4_header();
  constexpr uint32_t most_header = net::tcp_header_length + 12;  // what advance_window takes
  const uint32_t header = (l4[12] >> 4) * 4U;
  if ((table.connection(owner).splice & record) != 0 || !nat::is_plain_ack(l4[13]) || header > most_header)
    return false;
  const l7::Splice splice = splice_of(table, owner);
  constexpr uint32_t ip_header = F::is_v4 ? net::ipv4_header_length : net::ipv6_header_length;
  std::array<uint8_t, most_header> seen;
  const uint8_t* tcp = l4;
  if (direction == nat::Direction::Reply) {
    std::memcpy(seen.data(), l4, header);
    l7::renumber(splice, seen.data());
    tcp = seen.data();
  }
  const uint32_t length = packet.l3_length;
  nat::Flow<F>& flow = table.flow(id);
  if (!nat::advance_window(flow.end, table.flow(nat::opposite(id)).end, tcp, length - ip_header)) return false;
  uint8_t* const l3 = packet.l3_header();
  nat::account(flow, length, context_.now);
  nat::apply_tcp_and_decrement_ttl(flow, table.flow(nat::opposite(id)).key, l3, l4);
  if (direction == nat::Direction::Reply) {
    l7::to_client(splice, l4, header);
  } else {
    l7::to_endpoint(splice, l4, header);
  }
  output_.send_plain<F>(packet, l3, way);
  return true;
}

template bool Pipeline::forward_plain_spliced<V4>(FlowPacket<V4>&, nat::FlowId, const Adjacency&);
template bool Pipeline::forward_plain_spliced<V6>(FlowPacket<V6>&, nat::FlowId, const Adjacency&);
template void Pipeline::forward_tracked<V4>(FlowPacket<V4>&, nat::FlowId);
template void Pipeline::forward_tracked<V6>(FlowPacket<V6>&, nat::FlowId);
template void Pipeline::forward_flow<V4>(FlowPacket<V4>&, nat::FlowId);
template void Pipeline::forward_flow<V6>(FlowPacket<V6>&, nat::FlowId);
template void Pipeline::forward<V4>(FlowPacket<V4>&, const Egress&, const nat::Translation<V4>*);
template void Pipeline::forward<V6>(FlowPacket<V6>&, const Egress&, const nat::Translation<V6>*);
template bool Pipeline::ends_before_it_opens<V4>(FlowPacket<V4>&, const Egress&);
template bool Pipeline::ends_before_it_opens<V6>(FlowPacket<V6>&, const Egress&);
template void Pipeline::clamp_segments<V4>(FlowPacket<V4>&, const Egress&);
template void Pipeline::clamp_segments<V6>(FlowPacket<V6>&, const Egress&);
template void Pipeline::refuse<V4>(FlowPacket<V4>&, const Egress&);
template void Pipeline::refuse<V6>(FlowPacket<V6>&, const Egress&);
template void Pipeline::forward_miss<V4>(FlowPacket<V4>&, NextHopId);
template void Pipeline::forward_miss<V6>(FlowPacket<V6>&, NextHopId);

}  // namespace sluice::dataplane
