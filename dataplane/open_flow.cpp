// Pass 3: the first packet of a flow. Every decision is taken here and stored in the flow; later packets only
// apply it. Also what becomes of packets to our own addresses, and of ICMP errors of a flow.
#include <algorithm>
#include <optional>

#include "dataplane/flow_handoff.h"
#include "dataplane/late_binding.h"
#include "dataplane/net/l4_checksum.h"
#include "dataplane/net/parse.h"
#include "dataplane/pipeline.h"
#include "dataplane/punt.h"
#include "dataplane/trace.h"
#include "dataplane/turned.h"
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

constexpr nat::Millis affinity_time(uint32_t seconds) { return seconds * 1000; }

}  // namespace

// The client's next connection may be another worker's, so all are told.
template <class F>
void Pipeline::keep_affinity(const typename F::Addr& client, const nat::ServicePort<F>& service,
                             const nat::Backend<F>& backend) {
  if (service.affinity_seconds == 0 ||
      !connections_.affinity<F>().remember(client, service.affinity_key, backend,
                                           affinity_time(service.affinity_seconds), context_.now)) {
    return;
  }
  StubMessage message;
  message.kind = F::is_v4 ? StubMessage::Kind::AffinityV4 : StubMessage::Kind::AffinityV6;
  message.owner = context_.worker;
  message.connection = service.affinity_key;
  message.set_key(FlowKey<F>{client, backend.addr, {}, backend.port, 0, {}});
  if (context_.tables.workers > 1) context_.tables.rings->tell_all(context_.worker, message);
}

// MASQ-1: a tunnel and the host are not the port by which their packets came in.
template <class F>
nat::ClientKind Pipeline::client_kind(const FlowPacket<F>& packet) const {
  const Snapshot& now = *context_.snapshot;
  const FamilyTables<F>& tables = now.family<F>();
  const typename F::Addr& source = packet.key.src;
  const auto is_in = [&source](const std::vector<nat::Cidr<F>>& networks) {
    return std::any_of(networks.begin(), networks.end(), [&](const auto& cidr) { return cidr.contains(source); });
  };
  if (tables.owns(source)) return nat::ClientKind::Node;
  if (is_in(tables.local_cidrs)) return nat::ClientKind::Pod;
  if (!now.every_pod_is_local) {
    const bool by_port = packet.decapsulations == 0 && packet.tunnel_source == net::no_tunnel_source;
    if (by_port && context_.interface(packet.ingress).local_pods) return nat::ClientKind::Pod;
    if (is_in(tables.cluster_cidrs) || tables.is_pod_elsewhere(source)) return nat::ClientKind::RemotePod;
  }
  return packet.from_tunnel() ? nat::ClientKind::Relayed : nat::ClientKind::Outside;
}

// MASQ-5: the tunnel address if the route goes into a tunnel, else the interface's.
template <class F>
const typename F::Addr& Pipeline::masquerade_address(const Egress& egress) const {
  const Snapshot& now = *context_.snapshot;
  if (egress.tunnel != no_tunnel) {
    const auto& ours = now.tunnels[egress.tunnel].template masquerade<F>();
    if (!(ours == typename F::Addr{})) return ours;
  }
  const auto& primary = now.interfaces[egress.interface].template primary<F>();
  if (!(primary == typename F::Addr{}) && !primary.is_link_local()) return primary;
  return now.template router_address<F>();
}

// SVC-30: the client sees the address it used.
template <class F>
void Pipeline::reject(FlowPacket<F>& packet, DropReason reason) {
  icmp_.send_error<F>(packet, IcmpError::Unreachable, F::is_v4 ? net::icmpv4::code_port : net::icmpv6::code_port, 0,
                      &packet.key.dst);
  context_.drop(packet.mbuf, reason);
}

// What opens flows to services waits for memory in many places: what decides, and where the answers will be looked up.
// All of a burst's is asked for here, so that the packets wait side by side and not one after the other.
template <class F>
void Pipeline::expect_openings(FlowBurst<F>& burst, const net::Burst<uint8_t>& misses, const NextHopId* hops) {
  const nat::ServiceTable<F>& services = *context_.snapshot->family<F>().services;
  const nat::Conntrack<F>& table = connections_.of<F>();
  const nat::HintTable<F>& hints = connections_.hints<F>();
  const bool may_have_hints = hints.in_use(context_.now);
  const nat::Frontend<F>* frontends[net::burst_size];
  for (size_t i = 0; i < misses.size(); ++i) {
    FlowPacket<F>& packet = burst[misses[i]];
    frontends[i] = nullptr;
    if (hops[i] != hop::service && hops[i] != hop::local) continue;
    ensure_hash(packet);
    if (may_have_hints) hints.prefetch(packet.hash);
    frontends[i] = services.find(packet.key.dst, packet.key.dst_port, packet.protocol);
  }
  for (size_t i = 0; i < misses.size(); ++i) {
    if (frontends[i] == nullptr || frontends[i]->service->affinity_seconds != 0) continue;
    const FlowPacket<F>& packet = burst[misses[i]];
    const nat::ServiceChoice<F> choice = choose<F>(packet, *frontends[i], nullptr);
    if (choice.outcome != nat::Outcome::Forward || choice.masquerade) continue;
    const nat::Backend<F>& backend = *choice.backend;
    const FlowKey<F> reply{backend.addr, packet.key.src, backend.port, packet.key.src_port, packet.protocol, {}};
    table.prefetch(context_.tables.hasher(reply));
  }
}

template <class F>
void Pipeline::open_to_service(FlowPacket<F>& packet, const nat::Frontend<F>& frontend) {
  // CT-20: what cannot begin a connection is not sent to an endpoint, unless one began that has no record.
  const nat::Hint<F>* const hint = find_hint(packet);
  const bool loose = context_.snapshot->tcp_loose || hint != nullptr;
  const bool opens = packet.protocol != net::protocol::tcp || packet.fragment == FragmentKind::Later ||
                     nat::opens_flow(packet.l4_header()[13], loose);
  if (!opens && !(loose && may_end_stateless(packet))) {
    return context_.drop(packet.mbuf, DropReason::ConntrackInvalid);
  }
  const nat::ServicePort<F>& service = *frontend.service;
  const nat::Millis stays = affinity_time(service.affinity_seconds);
  std::optional<nat::Backend<F>> kept;
  if (hint != nullptr) {
    kept = nat::Backend<F>{hint->addr, hint->port};
  } else if (stays != 0) {
    kept = connections_.affinity<F>().find(packet.key.src, service.affinity_key, stays, context_.now);
  }
  const nat::ServiceChoice<F> choice = choose(packet, frontend, kept ? &*kept : nullptr);
  if (choice.outcome == nat::Outcome::Drop) return context_.drop(packet.mbuf, choice.reason);
  if (choice.outcome == nat::Outcome::Reject) return reject(packet, choice.reason);
  // What is looked into must come back here to be cut off.
  if (choice.direct_return && service.content.empty()) {
    if (const Egress way = direct_egress(*choice.backend, packet.key.dst_port, packet.hash); way.forwards()) {
      return open_direct(packet, way, *choice.backend, service);
    }
  }
  open_chosen(packet, service, choice);
}

template <class F>
nat::ServiceChoice<F> Pipeline::choose(const FlowPacket<F>& packet, const nat::Frontend<F>& frontend,
                                       const nat::Backend<F>* kept) const {
  const nat::ClientKind client = client_kind(packet);
  // SVC-63: who uses a node's port expects what others see there, so pods of other nodes are no better than outside.
  const bool as_outside = client == nat::ClientKind::Pod && frontend.kind == nat::FrontendKind::NodePort &&
                          frontend.service->external_policy == nat::TrafficPolicy::Local &&
                          context_.snapshot->family<F>().is_pod_elsewhere(packet.key.src);
  const nat::ServiceChoice<F> choice =
      nat::choose_backend(frontend, packet.key, as_outside ? nat::ClientKind::Outside : client,
                          context_.snapshot->proxy, packet.key.src == frontend.addr, kept);
  if (context_.trace != nullptr) [[unlikely]] {
    note_choice(*context_.trace, frontend, client, kept, choice);
  }
  return choice;
}

// Whether an endpoint is a socket of the host behind the router (a pod in the host's network): one of its addresses,
// and nothing that would come back as a service's. The host's own kernel takes no packet from an address of its own.
template <class F>
bool Pipeline::is_of_host(const FlowPacket<F>& packet, const nat::Backend<F>& backend) const {
  return context_.punt != nullptr && !packet.from_host() &&
         context_.punt->twin_for<F>(packet.ingress, backend.addr) != net::no_interface &&
         context_.snapshot->family<F>().services->find(backend.addr, backend.port, packet.protocol) == nullptr;
}

template <class F>
void Pipeline::open_chosen(FlowPacket<F>& packet, const nat::ServicePort<F>& service,
                           const nat::ServiceChoice<F>& choice) {
  Egress egress = output_.route<F>(choice.backend->addr, packet.hash);
  const bool at_host = egress.kind == HopKind::Local && is_of_host(packet, *choice.backend);
  if (!egress.forwards() && !at_host) {
    if (egress.kind == HopKind::Service || egress.kind == HopKind::Local) egress.reason = DropReason::ServiceLoop;
    return refuse(packet, egress);
  }
  // MASQ-8, MASQ-9: natOutgoing looks at the real destination.
  const FamilyTables<F>& tables = context_.snapshot->family<F>();
  const bool outgoing = tables.any_nat_outgoing && !choice.masquerade && !at_host &&
                        nat::nat_outgoing<F>(packet.key.src, choice.backend->addr, tables.pool_view());
  const bool opens =
      packet.protocol != net::protocol::tcp || packet.fragment == FragmentKind::Later ||
      nat::opens_flow(packet.l4_header()[13], context_.snapshot->tcp_loose || find_hint(packet) != nullptr);
  if (!opens) {
    if (choice.masquerade || outgoing || at_host) return context_.drop(packet.mbuf, DropReason::ConntrackInvalid);
    return forward_stateless(packet, egress, choice.backend->addr, choice.backend->port);
  }
  // What the host answers comes through here, whoever asked.
  const Masquerade masquerade = at_host             ? Masquerade::No
                                : choice.masquerade ? Masquerade::Service
                                : outgoing          ? Masquerade::Outgoing
                                                    : Masquerade::No;
  open(packet, egress, choice.backend->addr, choice.backend->port, masquerade, &service);
}

template <class F>
void Pipeline::open_outgoing(FlowPacket<F>& packet, const Egress& egress) {
  const bool mapped = context_.snapshot->endpoint_independent && has_port(packet);
  if (mapped && context_.tables.workers > 1) {
    const uint16_t keeper = nat::mapping_worker(packet.key, context_.tables.hasher, context_.tables.workers);
    if (keeper != context_.worker) return hand_over(packet, keeper, HandoffKind::Mapping);
  }
  if (packet.protocol == net::protocol::tcp && packet.fragment != FragmentKind::Later &&
      !nat::opens_flow(packet.l4_header()[13], context_.snapshot->tcp_loose)) {
    return context_.drop(packet.mbuf, DropReason::ConntrackInvalid);
  }
  open(packet, egress, packet.key.dst, packet.key.dst_port, mapped ? Masquerade::Mapped : Masquerade::Outgoing,
       static_cast<const nat::ServicePort<F>*>(nullptr));
}

// Transit that needs an entry although nothing is translated: who talks to an endpoint directly may talk to it
// through a service too, with the same ports (MASQ-7); and a pod's answer to the outside is not a new connection to
// be masqueraded (MASQ-8).
template <class F>
bool Pipeline::wants_tracking(const FlowPacket<F>& packet) const {
  const FamilyTables<F>& tables = context_.snapshot->family<F>();
  if (is_looked_into(packet)) return true;
  // From an endpoint to itself: no other direction to know, and none that an entry could tell from this one.
  if (packet.key.src == packet.key.dst && packet.key.src_port == packet.key.dst_port) return false;
  if (packet.has_ports && tables.endpoints->contains(packet.key.dst, packet.key.dst_port, packet.protocol)) return true;
  return tables.any_nat_outgoing && nat::nat_outgoing<F>(packet.key.dst, packet.key.src, tables.pool_view());
}

template <class F>
void Pipeline::open_untranslated(FlowPacket<F>& packet, const Egress& egress) {
  // What cannot begin a connection is not ours to judge.
  const bool tcp = packet.protocol == net::protocol::tcp && packet.fragment != FragmentKind::Later;
  if (tcp && !nat::opens_flow(packet.l4_header()[13], context_.snapshot->tcp_loose)) {
    return forward<F>(packet, egress, nullptr);
  }
  open(packet, egress, packet.key.dst, packet.key.dst_port, Masquerade::No,
       static_cast<const nat::ServicePort<F>*>(nullptr));
}

// In the place of another connection if there is no room and one may be given up (CT-9).
template <class F>
nat::Opened Pipeline::make_entry(const FlowPacket<F>& packet, const FlowKey<F>& reply, uint64_t reply_hash) {
  nat::Conntrack<F>& table = connections_.of<F>();
  const nat::Opened first = table.open(packet.key, packet.hash, reply, reply_hash, context_.now);
  if (first.status != nat::OpenStatus::Full) return first;
  const auto give_up = [this](nat::ConnectionId id) {
    leave_hints<F>(id);
    forget<F>(id);
  };
  if (!has_room_for_ends(1) || !table.evict(give_up)) return first;
  context_.counters.add(Event::FlowsEvicted);
  // Who evicts once will do it again, and leaves hints again.
  if (const nat::ConnectionId next = table.find_victim(); next != nat::no_connection) {
    for (const uint32_t hash : table.connection(next).hash_low) connections_.hints<F>().prefetch(hash);
  }
  return table.open(packet.key, packet.hash, reply, reply_hash, context_.now);
}

template <class F>
void Pipeline::open(FlowPacket<F>& packet, const Egress& egress, const typename F::Addr& destination,
                    net::be16 destination_port, Masquerade kind, const nat::ServicePort<F>* service) {
  // CT-21: what the port found damaged opens nothing.
  if (net::is_l4_damaged(packet.mbuf)) {
    return context_.drop(packet.mbuf, DropReason::L4BadChecksum);
  }
  if (ends_before_it_opens(packet, egress)) return;
  nat::Conntrack<F>& table = connections_.of<F>();
  const net::FlowHasher& hasher = context_.tables.hasher;
  const uint16_t workers = context_.tables.workers;
  const Snapshot& now = *context_.snapshot;
  const bool mapped = kind == Masquerade::Mapped;
  const bool inbound = kind == Masquerade::Inbound;
  const bool masquerade = kind != Masquerade::No && !inbound;
  const bool outgoing = kind == Masquerade::Outgoing || mapped;
  const bool turns_back = mapped && egress.kind == HopKind::Local;
  const typename F::Addr& fixed = now.family<F>().nat_outgoing_address;
  const typename F::Addr& source = !masquerade                                  ? packet.key.src
                                   : outgoing && !(fixed == typename F::Addr{}) ? fixed
                                   : turns_back                                 ? packet.key.dst
                                                                                : masquerade_address<F>(egress);
  net::be16 source_port = packet.key.src_port;

  FlowKey<F> reply{destination, source, destination_port, source_port, packet.protocol, {}};
  uint64_t reply_hash = hasher(reply);
  const bool may_choose = has_port(packet) && !mapped && !inbound;
  const auto here_and_free = [&](net::be16 port) {
    reply.dst_port = port;
    reply_hash = hasher(reply);
    return net::owner_of(reply_hash, workers) == context_.worker && table.find(reply, reply_hash) == nat::no_flow;
  };
  const auto take_port = [&](nat::PortRange range) {
    const auto port = ports_.allocate(nat::in_class_of(packet.key.src_port, range),
                                      nat::snat_destination(reply, hasher), context_.now, here_and_free);
    if (!port) return false;
    source_port = *port;
    return true;
  };
  const nat::PortRange range = !masquerade ? nat::every_port
                               : outgoing  ? nat::PortRange{now.nat_outgoing_first, now.nat_outgoing_last}
                                           : nat::PortRange{now.snat_first, now.snat_last};
  nat::MappingId mapping = nat::no_mapping;
  const auto use = [&](nat::MappingId id) {
    mapping = id;
    if (id == nat::no_mapping) return false;
    source_port = reply.dst_port = connections_.mappings<F>()[id].port;
    reply_hash = hasher(reply);
    return true;
  };
  if (mapped && !use(map_endpoint(packet.key, source))) return reject_exhausted(packet, false);
  if (inbound) mapping = connections_.mappings<F>().owner(packet.key.dst, packet.key.dst_port, packet.protocol);
  const auto is_taken_elsewhere = [&] {
    return workers > 1 && net::owner_of(reply_hash, workers) != context_.worker &&
           clashes_.recent(reply_hash, context_.now);
  };
  // A connection without a mapping has the port towards this destination: a mapping that nobody holds takes another.
  const auto move = [&] {
    return mapped && connections_.mappings<F>()[mapping].uses == 0 && use(move_mapping(mapping, packet.key, reply));
  };
  const bool clashed = is_taken_elsewhere();
  const bool taken_elsewhere = clashed && !move();
  const bool to_service = service != nullptr;
  // What waits for the answer needs it once: another time the tuple may be free.
  if (taken_elsewhere && !masquerade && !late_->opening()) clashes_.forget(reply_hash);
  if ((masquerade || taken_elsewhere) && may_choose && !take_port(range)) return reject_exhausted(packet, to_service);
  if ((masquerade || inbound) && taken_elsewhere && !may_choose) return reject_exhausted(packet, to_service);

  // Whose record is not in the table yet, and may have been told otherwise before.
  if (!masquerade && !to_service && connections_.hints<F>().in_use(context_.now)) [[unlikely]]
    connections_.hints<F>().forget(reply, reply_hash);
  nat::Opened opened = make_entry(packet, reply, reply_hash);
  if (opened.status == nat::OpenStatus::ReplyClash && move()) opened = make_entry(packet, reply, reply_hash);
  // MASQ-7: another connection of the client has this tuple towards the endpoint.
  if (opened.status == nat::OpenStatus::ReplyClash && (may_choose || masquerade)) {
    if (!may_choose || !take_port(range)) return reject_exhausted(packet, to_service);
    opened = make_entry(packet, reply, reply_hash);
  }
  if (opened.status == nat::OpenStatus::OriginalExists) return forward_flow(packet, opened.flow);
  if (opened.status != nat::OpenStatus::Ok) {
    if (must_be_looked_into(packet, service, destination)) {
      return context_.drop(packet.mbuf, DropReason::ContentOverload);
    }
    // Without a translation of the source the packet needs no entry to be forwarded.
    const bool at_host = egress.kind == HopKind::Local;
    if (late_->opening() || masquerade || inbound || source_port != packet.key.src_port || (at_host && to_service))
      return context_.drop(packet.mbuf, DropReason::ConntrackFull);
    if (at_host) return to_local_address(packet);
    if (!to_service) return forward<F>(packet, egress, nullptr);
    keep_affinity<F>(packet.key.src, *service, {destination, destination_port, false});
    return forward_stateless(packet, egress, destination, destination_port);
  }

  const nat::ConnectionId id = nat::connection_of(opened.flow);
  nat::Flow<F>& original = table.flow(opened.flow);
  nat::Flow<F>& back = table.flow(nat::flow_id(id, nat::Direction::Reply));
  const FlowKey<F>& key = packet.key;
  table.set_rewrite(opened.flow, nat::make_rewrite(key, source, destination, source_port, destination_port));
  table.set_rewrite(nat::opposite(opened.flow), nat::make_rewrite(reply, key.dst, key.src, key.dst_port, key.src_port));
  if (!(reply.reversed() == key)) {
    original.flags |= nat::flow_flag::translated;
    back.flags |= nat::flow_flag::translated;
  }
  if (egress.neighbor != no_neighbor) {
    original.route = egress.tunnel;
    original.neighbor = egress.neighbor;
    original.generation = context_.snapshot->generation;
  }
  nat::Connection& connection = table.connection(id);
  connection.ingress = packet.ingress;
  if (to_service) connection.service = service->id;
  if (late_->opening()) [[unlikely]]
    late_->on_opened<F>(id);
  if (to_service) context_.counters.add(Event::ServiceFlows);
  if (masquerade) {
    connection.flags |= nat::connection_flag::masqueraded;
    context_.counters.add(Event::Masqueraded);
  }
  if (mapped || inbound) {
    connections_.mappings<F>().acquire(mapping);
    connection.flags |= nat::connection_flag::mapped;
  }
  if (mapped) connections_.mappings<F>().permit(mapping, packet.key.dst);
  context_.counters.add(Event::FlowsOpened);
  note<F>(FlowEvent::Kind::Opened, id);
  const uint16_t answered_at = net::owner_of(reply_hash, workers);
  const bool replies_elsewhere = workers > 1 && answered_at != context_.worker;
  // A port that was chosen is nobody else's; where none can be, nothing follows from a clash.
  // Whose record went to another while it was on the way does not ask again: with more of them than records none would
  // ever find its own. Unless what is missing may be the clash.
  const bool returned = packet.handed_over && asks(context_.tables.rings->note(packet.mbuf)) && !clashed &&
                        !clashes_.may_have_forgotten(context_.now);
  const bool must_ask =
      replies_elsewhere && (mapped || inbound || (!masquerade && may_choose)) && !late_->opening() && !returned;
  if (must_ask) {
    original.flags |= unconfirmed;
    connection.stub_worker = answered_at;
    connection.splice_seq = questions_ + 1;
  } else if (replies_elsewhere && !place_stub(id, reply, reply_hash)) {
    close_connection<F>(id);
    return context_.drop(packet.mbuf, DropReason::HandoffFull);
  }
  // A mapped connection may live apart from where its packets arrive, which come here by their mapping without it.
  if (const uint16_t owner = net::owner_of(packet.hash, workers); (mapped || inbound) && owner != context_.worker) {
    (void)send_stub<F>(F::is_v4 ? StubMessage::Kind::AddV4 : StubMessage::Kind::AddV6, id, packet.key, owner, true);
  }
  const bool syn = packet.protocol == net::protocol::tcp && packet.fragment == FragmentKind::Whole &&
                   nat::tcp_event(packet.l4_header()[13]) == nat::TcpEvent::Syn;
  if (syn && !late_->opening()) {
    put_off_inspection(id, service);
  } else if (!begin_inspection(id, service)) {
    close_connection<F>(id);
    return context_.drop(packet.mbuf, DropReason::ContentOverload);
  }
  if (to_service) keep_affinity<F>(packet.key.src, *service, {destination, destination_port, false});
  forward_tracked(packet, opened.flow);
}

// MASQ-6: no port is left towards this destination (RFC 5508 REQ-8: administratively prohibited). Only a service's
// address is ours to answer from (ICMP-8).
template <class F>
void Pipeline::reject_exhausted(FlowPacket<F>& packet, bool to_service) {
  icmp_.send_error<F>(packet, IcmpError::Unreachable,
                      F::is_v4 ? net::icmpv4::code_admin_prohibited : net::icmpv6::code_admin_prohibited, 0,
                      to_service ? &packet.key.dst : nullptr);
  context_.drop(packet.mbuf, DropReason::SnatExhausted);
}

// ---- packets to addresses of ours --------------------------------------------------------------------

// A service address, but no such port (SVC-2), or no port at all (SVC-71).
template <class F>
void Pipeline::to_service_address(FlowPacket<F>& packet) {
  if (packet.fragment != FragmentKind::Whole) return context_.drop(packet.mbuf, DropReason::FragmentForUs);
  if (packet.protocol == net::protocol::icmp || packet.protocol == net::protocol::icmpv6) {
    const uint8_t request = F::is_v4 ? net::icmpv4::echo_request : net::icmpv6::echo_request;
    if (context_.snapshot->icmp.vip_echo_reply && packet.l4_header()[0] == request) return icmp_.answer_echo(packet);
    return context_.drop(packet.mbuf, DropReason::EchoDisabled);
  }
  reject(packet, DropReason::ServicePortUnknown);
}

template <class F>
void Pipeline::to_local_address(FlowPacket<F>& packet) {
  if (context_.punt->take(packet)) return;
  if (packet.fragment != FragmentKind::Whole) return context_.drop(packet.mbuf, DropReason::FragmentForUs);
  switch (packet.protocol) {
    case net::protocol::icmp:
    case net::protocol::icmpv6: {
      const uint8_t request = F::is_v4 ? net::icmpv4::echo_request : net::icmpv6::echo_request;
      if (packet.l4_header()[0] == request) return icmp_.answer_echo(packet);
      return context_.drop(packet.mbuf, DropReason::LocalNoListener);
    }
    case net::protocol::tcp:
    case net::protocol::udp:
    case net::protocol::sctp:
      return reject(packet, DropReason::LocalNoListener);
    default:
      // RFC 1122 section 3.2.2.1: protocol unreachable.
      if constexpr (F::is_v4) {
        icmp_.send_error<F>(packet, IcmpError::Unreachable, net::icmpv4::code_protocol, 0, &packet.key.dst);
      }
      return context_.drop(packet.mbuf, DropReason::LocalNoListener);
  }
}

// ---- ICMP errors in transit --------------------------------------------------------------------------

namespace {

struct TooBig {
  uint32_t mtu, seq;
};
// What an error says of a TCP segment that is too big; nothing if it says something else.
template <class F>
std::optional<TooBig> too_big_segment(const FlowPacket<F>& error) {
  const uint8_t* const icmp = error.l4_header();
  const uint32_t quote = error.l4 + net::icmp_header_length;
  FlowKey<F> key;
  uint16_t offset = 0;
  const bool too_big = F::is_v4
                           ? icmp[0] == net::icmpv4::unreachable && icmp[1] == net::icmpv4::code_fragmentation_needed
                           : icmp[0] == net::icmpv6::packet_too_big;
  if (!too_big ||
      !net::parse_quoted(error.data() + quote, error.contiguous(static_cast<uint16_t>(quote)), key, offset) ||
      error.contiguous(static_cast<uint16_t>(quote + offset)) < 8)
    return std::nullopt;
  const uint32_t mtu = F::is_v4 ? uint32_t{net::load_be16(icmp + 6)} : net::load_be32(icmp + 4);
  return TooBig{mtu, net::load_be32(icmp + net::icmp_header_length + offset + 4)};
}

// The numbers of a quoted segment of a spliced connection. `direction`: opposite to the segment's.
template <class F>
void translate_quoted_splice(const FlowPacket<F>& error, const nat::Connection& connection, nat::Direction direction) {
  uint8_t* const icmp = error.l4_header();
  const uint32_t quote = error.l4 + net::icmp_header_length;
  FlowKey<F> key;
  uint16_t offset = 0;
  if (!net::parse_quoted(error.data() + quote, error.contiguous(static_cast<uint16_t>(quote)), key, offset)) return;
  uint8_t* const tcp = icmp + net::icmp_header_length + offset;
  const uint32_t present = error.contiguous(static_cast<uint16_t>(quote + offset));
  // What the client got goes back to the endpoint with the endpoint's number, what the endpoint got is acknowledged as
  // the client did.
  const bool to_endpoint = direction == nat::Direction::Original;
  uint8_t* const field = tcp + (to_endpoint ? 4 : 8);
  if (present < (to_endpoint ? 8U : 12U)) return;
  const uint32_t change = to_endpoint ? 0 - connection.splice_seq : connection.splice_seq;
  const auto before = net::load<uint32_t>(field);
  net::store_be32(field, net::load_be32(field) + change);
  net::ChecksumDelta segment;
  segment.replace32(before, net::load<uint32_t>(field));
  net::ChecksumDelta message = segment;
  if (present >= 18) {
    const auto checksum = net::load<uint16_t>(tcp + 16);
    net::store(tcp + 16, segment.apply(checksum));
    message.replace16(checksum, net::load<uint16_t>(tcp + 16));
  }
  net::store(icmp + 2, message.apply(net::load<uint16_t>(icmp + 2)));
}

}  // namespace

template <class F>
void Pipeline::forward_icmp_error(FlowPacket<F>& packet) {
  FlowKey<F> quoted;
  nat::Conntrack<F>& table = connections_.of<F>();
  nat::FlowId id = nat::no_flow;
  std::optional<nat::Translation<F>> without_record;
  if (quoted_key(packet, quoted)) {
    id = table.find(quoted.reversed(), packet.hash);
    if (id == nat::no_flow) {
      const nat::Hint<F>* const hint = connections_.hints<F>().find(quoted.reversed(), packet.hash, context_.now);
      if (hint != nullptr) without_record = nat::translation_of(*hint);
    }
  }
  if (id == nat::no_flow && !without_record) {
    // About a packet that was not translated: plain transit. To us: about an outer packet, or what we never sent.
    const NextHopId hop = context_.tables.fib->lookup(packet.key.dst);
    if (packet.from_host() && leaves_as_framed(packet, hop)) return;
    const Egress egress = output_.egress_of<F>(hop, packet.key.dst, packet.hash);
    if (egress.kind == HopKind::Local) {
      return tunnel_errors_ != nullptr ? tunnel_errors_->on_error(packet)
                                       : hand_over(packet, 0, HandoffKind::TunnelError);
    }
    if (egress.kind == HopKind::Service) return context_.drop(packet.mbuf, DropReason::IcmpNoFlow);
    return egress.forwards() ? forward<F>(packet, egress, nullptr) : refuse(packet, egress);
  }
  if (!without_record) {
    if (table.is_stub(id)) return hand_over(packet, table.flow(id).route, HandoffKind::OwnerByStub);
    if ((table.connection(nat::connection_of(id)).flags & nat::connection_flag::one_way) != 0) {
      return relay_error(packet, id);
    }
    const uint8_t* const icmp = packet.l4_header();
    const bool unreachable =
        F::is_v4 ? icmp[0] == net::icmpv4::unreachable && icmp[1] != net::icmpv4::code_fragmentation_needed
                 : icmp[0] == net::icmpv6::unreachable;
    if ((table.flow(id).flags & nat::flow_flag::spliced) != 0) [[unlikely]] {
      if (unreachable && late_->on_unreachable<F>(id)) return context_.discard(packet.mbuf);
      if (const auto found = too_big_segment(packet)) late_->on_too_big<F>(id, found->mtu, found->seq);
    }
  }
  if (id != nat::no_flow && packet.from_host() && (table.flow(id).flags & nat::flow_flag::translated) == 0 &&
      leaves_as_framed(packet, context_.tables.fib->lookup(packet.key.dst))) {
    return;
  }
  if (rte_pktmbuf_linearize(packet.mbuf) != 0) return context_.drop(packet.mbuf, DropReason::IcmpMalformed);
  const nat::Translation<F> back = without_record ? *without_record : table.translation(id);
  const DropReason reason =
      nat::translate_error(packet.l3_header(), packet.l3_length, static_cast<uint16_t>(packet.l4 - packet.l3),
                           quoted.reversed(), back.rewrite, context_.snapshot->icmp.error_source_vip);
  if (reason != DropReason::None) return context_.drop(packet.mbuf, reason);
  if ((back.flags & nat::flow_flag::spliced) != 0) [[unlikely]]
    translate_quoted_splice<F>(packet, table.connection(nat::connection_of(id)), nat::direction_of(id));
  context_.counters.add(Event::IcmpErrorsTranslated);
  packet.key.src = net::IpHeader<F>::source(packet.l3_header());
  packet.key.dst = net::IpHeader<F>::destination(packet.l3_header());
  const Egress egress = output_.route<F>(packet.key.dst, packet.hash);
  const bool outwards =
      !without_record && goes_outside(table.connection(nat::connection_of(id)), nat::direction_of(id));
  if (egress.kind == HopKind::Local && outwards && !packet.turned_back()) return turn_back_error(packet);
  if (egress.kind == HopKind::Local && context_.punt->take(packet)) return;
  if (!egress.forwards()) return refuse(packet, egress);
  forward<F>(packet, egress, nullptr);
}

// ---- end of a connection -----------------------------------------------------------------------------

// Gives back what hangs on a connection; the table removes it afterwards.
template <class F>
void Pipeline::forget(nat::ConnectionId id) {
  const nat::Conntrack<F>& table = connections_.of<F>();
  const nat::Connection& connection = table.connection(id);
  const nat::Flow<F>& reply = table.flow(nat::flow_id(id, nat::Direction::Reply));
  end_inspection<F>(id);
  context_.counters.add(Event::FlowsClosed);
  note<F>(FlowEvent::Kind::Closed, id);
  if (connection.splice != 0) [[unlikely]]
    late_->on_closed<F>(id);
  if ((connection.flags & nat::connection_flag::mapped) != 0) {
    release_mapping<F>(id);
  } else if ((connection.flags & nat::connection_flag::masqueraded) != 0) {
    ports_.release(nat::snat_destination(reply.key, context_.tables.hasher), reply.key.dst_port);
  }
  if (connection.stub_worker != nat::no_worker) {
    // If the ring is full (has_room_for_ends) the stub stays until a packet meets it: forward_miss tells its worker.
    (void)send_stub<F>(F::is_v4 ? StubMessage::Kind::RemoveV4 : StubMessage::Kind::RemoveV6, id, reply.key,
                       connection.stub_worker);
  }
}

template <class F>
void Pipeline::close_connection(nat::ConnectionId id) {
  forget<F>(id);
  connections_.of<F>().close(id);
}

bool Pipeline::has_room_for_ends(unsigned connections) const {
  for (uint16_t other = 0; other < context_.tables.workers; ++other) {
    if (other != context_.worker && context_.tables.rings->message_room(context_.worker, other) < 2 * connections)
      return false;
  }
  return true;
}

bool Pipeline::expire(unsigned budget) {
  if (icmp_.any_turned()) [[unlikely]]
    turn_back_errors();  // of the resolver
  const auto no_first = [this](const auto& packet) { context_.drop(packet.mbuf, DropReason::FragmentWithoutFirst); };
  fragments_v4_.expire(context_.now, context_.snapshot->fragments, no_first);
  fragments_v6_.expire(context_.now, context_.snapshot->fragments, no_first);
  reassembly_->expire(context_.now);
  reassembly_->take_dead([this](rte_mbuf* mbuf) { context_.drop(mbuf, DropReason::TunnelFragment); });
  if (!has_room_for_ends(2 * budget)) return true;
  const nat::Timeouts& timeouts = context_.snapshot->timeouts;
  const unsigned closed = connections_.v4->expire(context_.now, timeouts, budget, [this](nat::ConnectionId id) {
    forget<V4>(id);
  }) + connections_.v6->expire(context_.now, timeouts, budget, [this](nat::ConnectionId id) { forget<V6>(id); });
  late_->tick(budget);
  expire_mappings<V4>(budget);
  expire_mappings<V6>(budget);
  return closed != 0;
}

template nat::ClientKind Pipeline::client_kind<V4>(const FlowPacket<V4>&) const;
template nat::ClientKind Pipeline::client_kind<V6>(const FlowPacket<V6>&) const;
template void Pipeline::keep_affinity<V4>(const net::Ipv4Addr&, const nat::ServicePort<V4>&, const nat::Backend<V4>&);
template void Pipeline::keep_affinity<V6>(const net::Ipv6Addr&, const nat::ServicePort<V6>&, const nat::Backend<V6>&);
template nat::ServiceChoice<V4> Pipeline::choose<V4>(const FlowPacket<V4>&, const nat::Frontend<V4>&,
                                                     const nat::Backend<V4>*) const;
template nat::ServiceChoice<V6> Pipeline::choose<V6>(const FlowPacket<V6>&, const nat::Frontend<V6>&,
                                                     const nat::Backend<V6>*) const;
template void Pipeline::open_chosen<V4>(FlowPacket<V4>&, const nat::ServicePort<V4>&, const nat::ServiceChoice<V4>&);
template void Pipeline::open_chosen<V6>(FlowPacket<V6>&, const nat::ServicePort<V6>&, const nat::ServiceChoice<V6>&);
template void Pipeline::expect_openings<V4>(FlowBurst<V4>&, const net::Burst<uint8_t>&, const NextHopId*);
template void Pipeline::expect_openings<V6>(FlowBurst<V6>&, const net::Burst<uint8_t>&, const NextHopId*);
template void Pipeline::open_to_service<V4>(FlowPacket<V4>&, const nat::Frontend<V4>&);
template void Pipeline::open_to_service<V6>(FlowPacket<V6>&, const nat::Frontend<V6>&);
template void Pipeline::open<V4>(FlowPacket<V4>&, const Egress&, const net::Ipv4Addr&, net::be16, Masquerade,
                                 const nat::ServicePort<V4>*);
template void Pipeline::open<V6>(FlowPacket<V6>&, const Egress&, const net::Ipv6Addr&, net::be16, Masquerade,
                                 const nat::ServicePort<V6>*);
template void Pipeline::open_outgoing<V4>(FlowPacket<V4>&, const Egress&);
template void Pipeline::open_outgoing<V6>(FlowPacket<V6>&, const Egress&);
template bool Pipeline::wants_tracking<V4>(const FlowPacket<V4>&) const;
template bool Pipeline::wants_tracking<V6>(const FlowPacket<V6>&) const;
template void Pipeline::open_untranslated<V4>(FlowPacket<V4>&, const Egress&);
template void Pipeline::open_untranslated<V6>(FlowPacket<V6>&, const Egress&);
template nat::Opened Pipeline::make_entry<V4>(const FlowPacket<V4>&, const FlowKey<V4>&, uint64_t);
template nat::Opened Pipeline::make_entry<V6>(const FlowPacket<V6>&, const FlowKey<V6>&, uint64_t);
template const net::Ipv4Addr& Pipeline::masquerade_address<V4>(const Egress&) const;
template const net::Ipv6Addr& Pipeline::masquerade_address<V6>(const Egress&) const;
template void Pipeline::reject<V4>(FlowPacket<V4>&, DropReason);
template void Pipeline::reject<V6>(FlowPacket<V6>&, DropReason);
template void Pipeline::to_service_address<V4>(FlowPacket<V4>&);
template void Pipeline::to_service_address<V6>(FlowPacket<V6>&);
template void Pipeline::to_local_address<V4>(FlowPacket<V4>&);
template void Pipeline::to_local_address<V6>(FlowPacket<V6>&);
template void Pipeline::forward_icmp_error<V4>(FlowPacket<V4>&);
template void Pipeline::forward_icmp_error<V6>(FlowPacket<V6>&);
template void Pipeline::close_connection<V4>(nat::ConnectionId);
template void Pipeline::close_connection<V6>(nat::ConnectionId);

}  // namespace sluice::dataplane
