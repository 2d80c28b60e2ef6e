// What comes to the port of an endpoint-independent mapping (mapping.cpp, MASQ-13) and belongs to no connection.
//
// From outside: filtering (nat/filtering.h) says whether it opens one, whose other end is the endpoint inside. It holds
// the mapping as the endpoint's own connections do, and lives with it: the worker that keeps a mapping is its port's
// number modulo the workers.
//
// From another host inside (RFC 4787 REQ-9, RFC 5382 REQ-8): it gets the address and port outside of its own mapping,
// as it would towards anybody, and is turned back: it goes through the pipeline once more, as a packet of that address
// and port which has come from outside. So there are two connections, each with its own mapping and worker, and each is
// as any other. What the second one refuses is not answered, since who is refused may be making way for the other end.
//
//   10.0.0.5:1000 > X:50007        to the worker of port 50007, which has the mapping of 10.0.0.6:2000
//                                  to the worker that keeps the mapping of 10.0.0.5:1000 (X:50003), and opens there
//   X:50003 > X:50007              turned back, to the worker of port 50007, and opens there
//   X:50003 > 10.0.0.6:2000        on its way; the answer comes back by both
#include <algorithm>

#include "dataplane/net/parse.h"
#include "dataplane/pipeline.h"
#include "dataplane/punt.h"
#include "dataplane/trace.h"
#include "nat/rewrite.h"

namespace sluice::dataplane {

using net::DropReason;
using net::FlowKey;
using net::FlowPacket;
using net::FragmentKind;
using net::V4;
using net::V6;

namespace {

template <class F>
bool is_masqueraded_outside(const typename F::Addr& source, const FamilyTables<F>& tables) {
  return std::any_of(tables.pools.begin(), tables.pools.end(),
                     [&](const nat::Pool<F>& pool) { return pool.nat_outgoing && pool.cidr.contains(source); });
}

template <class F>
void note_mapping(MappingTrace& trace, const FlowKey<F>& inside, bool begins, bool admitted) {
  trace.found = true;
  trace.begins = begins;
  trace.admitted = admitted;
  trace.inside = net::IpAddr(inside.src);
  trace.inside_port = inside.src_port.host();
}

template <class F>
void note_turned(MappingTrace& trace, const FlowKey<F>& sent, const FlowKey<F>& outside) {
  trace.turned_back = true;
  trace.source = net::IpAddr(sent.src);
  trace.source_port = sent.src_port.host();
  trace.outside = net::IpAddr(outside.src);
  trace.outside_port = outside.src_port.host();
}

}  // namespace

// Whether a packet to one of our addresses is for a port that mappings may have.
template <class F>
bool Pipeline::may_be_mapped(const FlowPacket<F>& packet) const {
  const Snapshot& now = *context_.snapshot;
  const uint16_t port = packet.key.dst_port.host();
  const bool has_ports = packet.protocol == net::protocol::tcp || packet.protocol == net::protocol::udp ||
                         packet.protocol == net::protocol::sctp;
  // What is an endpoint of a service is a socket of the host.
  return now.endpoint_independent && has_ports && port >= now.nat_outgoing_first && port <= now.nat_outgoing_last &&
         !packet.from_host() &&
         !now.family<F>().endpoints->contains(packet.key.dst, packet.key.dst_port, packet.protocol);
}

// Whether a packet is to be turned back, and has not got its address outside yet.
template <class F>
bool Pipeline::is_to_turn_back(const FlowPacket<F>& packet) const {
  return packet.turned_back() &&
         (*context_.tables.next_hops)[context_.tables.fib->lookup(packet.key.src)].kind != HopKind::Local;
}

// The worker where such a packet opens what it opens.
template <class F>
uint16_t Pipeline::mapped_port_worker(const FlowPacket<F>& packet) const {
  return is_to_turn_back(packet) ? nat::mapping_worker(packet.key, context_.tables.hasher, context_.tables.workers)
                                 : static_cast<uint16_t>(packet.key.dst_port.host() % context_.tables.workers);
}

// False: it concerns no mapping, or none that it may come to from outside, and was left as it is.
template <class F>
bool Pipeline::take_mapped(FlowPacket<F>& packet) {
  if (!may_be_mapped(packet)) return false;
  if (const uint16_t worker = mapped_port_worker(packet); worker != context_.worker) {
    hand_over(packet, worker, HandoffKind::Mapping);
    return true;
  }
  if (is_to_turn_back(packet)) {
    open(packet, Egress{.kind = HopKind::Local}, packet.key.dst, packet.key.dst_port, Masquerade::Mapped,
         static_cast<const nat::ServicePort<F>*>(nullptr));
    return true;
  }
  const nat::MappingTable<F>& mappings = connections_.mappings<F>();
  const nat::MappingId id = mappings.owner(packet.key.dst, packet.key.dst_port, packet.protocol);
  const auto drop = [&](DropReason reason) {
    context_.drop(packet.mbuf, reason);
    return true;
  };
  if (id == nat::no_mapping) return packet.turned_back() && drop(DropReason::MappingFiltered);
  const bool begins = packet.protocol != net::protocol::tcp || packet.fragment == FragmentKind::Later ||
                      nat::opens_flow(packet.l4_header()[13], false);
  const bool admitted = begins && admits(id, packet);
  const FlowKey<F> inside = mappings[id].inside;
  if (context_.trace != nullptr) [[unlikely]]
    note_mapping(context_.trace->mapping, inside, begins, admitted);
  // A socket of the host may have the port as well, and be sent an answer.
  const bool may_be_hosts = context_.punt->twin_for<F>(packet.ingress, packet.key.dst) != net::no_interface;
  if (packet.turned_back()) {
    if (!admitted) return drop(DropReason::MappingFiltered);
  } else if (is_masqueraded_outside<F>(packet.key.src, context_.snapshot->family<F>())) {
    if (!begins) return !may_be_hosts && drop(DropReason::ConntrackInvalid);
    packet.tunnel_source = net::turned_source;
    return take_mapped(packet);
  } else if (!admitted) {
    if (!begins || may_be_hosts || packet.fragment != FragmentKind::Whole) return false;
    reject(packet, DropReason::MappingFiltered);
    return true;
  }
  const Egress egress = output_.route<F>(inside.src, packet.hash);
  // The endpoint may be a socket of the host, which has an address of a pool.
  const bool at_host =
      egress.kind == HopKind::Local && context_.punt->twin_for<F>(packet.ingress, inside.src) != net::no_interface;
  // The host takes no IPv4 packet from an address that it has itself (RFC 1812 section 5.3.8).
  if (F::is_v4 && at_host && packet.turned_back() &&
      context_.punt->twin_for<F>(packet.ingress, packet.key.src) != net::no_interface) {
    return drop(DropReason::MappingFiltered);
  }
  if (egress.forwards() || at_host) {
    open(packet, egress, inside.src, inside.src_port, Masquerade::Inbound,
         static_cast<const nat::ServicePort<F>*>(nullptr));
  } else {
    refuse(packet, egress);
  }
  return true;
}

// RFC 4787 REQ-8
template <class F>
bool Pipeline::admits(nat::MappingId id, const FlowPacket<F>& packet) const {
  switch (context_.snapshot->filtering) {
    case nat::Filtering::EndpointIndependent:
      return true;
    case nat::Filtering::AddressDependent:
      return connections_.mappings<F>().permits(id, packet.key.src);
    case nat::Filtering::AddressAndPortDependent:
      break;
  }
  return false;
}

// A packet of a connection with a mapping, whose translated destination is an address of ours.
template <class F>
void Pipeline::turn_back(FlowPacket<F>& packet, const nat::Rewrite<F>& rewrite) {
  uint8_t* const l3 = packet.l3_header();
  if (net::IpHeader<F>::ttl(l3) <= 1) {  // TTL-2
    icmp_.send_error<F>(packet, IcmpError::TtlExceeded, 0, 0, nullptr);
    return context_.drop(packet.mbuf, DropReason::TtlExceeded);
  }
  if (context_.snapshot->clamps_mss) [[unlikely]]
    clamp_segments(packet, Egress{.kind = HopKind::Local});
  nat::apply(rewrite, l3, packet.fragment == FragmentKind::Later ? nullptr : packet.l4_header(), packet.protocol);
  nat::decrement_ttl<F>(l3);
  const FlowKey<F> sent = packet.key;
  packet.key = nat::rewritten_key(packet.key, rewrite);
  if (context_.trace != nullptr) [[unlikely]]
    note_turned(context_.trace->mapping, sent, packet.key);
  packet.hash = context_.tables.hasher(packet.key);
  packet.tunnel_source = net::turned_source;
  if (const uint16_t owner = net::owner_of(packet.hash, context_.tables.workers); owner != context_.worker) {
    return hand_over(packet, owner, HandoffKind::Flow);
  }
  const nat::Conntrack<F>& table = connections_.of<F>();
  const nat::FlowId id = table.find(packet.key, packet.hash);
  if (id == nat::no_flow) return forward_miss(packet, context_.tables.fib->lookup(packet.key.dst));
  if (table.is_stub(id)) return hand_over(packet, table.flow(id).route, HandoffKind::OwnerByStub);
  forward_flow(packet, id);
}

// An ICMP error that was translated for such a connection, and is now about a packet of the other one (RFC 5508 REQ-7).
template <class F>
void Pipeline::turn_back_error(FlowPacket<F>& packet) {
  FlowKey<F> quoted;
  if (!quoted_key(packet, quoted)) return context_.drop(packet.mbuf, DropReason::IcmpMalformed);
  packet.hash = context_.tables.hasher(quoted);
  packet.tunnel_source = net::turned_source;
  const uint16_t owner = net::owner_of(packet.hash, context_.tables.workers);
  if (owner != context_.worker) return hand_over(packet, owner, HandoffKind::Flow);
  forward_icmp_error(packet);
}

// What the router itself says about packets that were turned back.
void Pipeline::turn_back_errors() {
  icmp_.take_turned([this](rte_mbuf* mbuf, uint16_t interface) {
    const auto turn = [&](auto packet) {
      packet.mbuf = mbuf;
      packet.ingress = interface;
      const DropReason reason = net::parse_ip(packet, true);
      if (reason != DropReason::None) return context_.drop(mbuf, reason);
      turn_back_error(packet);
    };
    if (net::ip_version(rte_pktmbuf_mtod(mbuf, const uint8_t*)) == 4) {
      turn(FlowPacket<V4>{});
    } else {
      turn(FlowPacket<V6>{});
    }
  });
}

template bool Pipeline::may_be_mapped<V4>(const FlowPacket<V4>&) const;
template bool Pipeline::may_be_mapped<V6>(const FlowPacket<V6>&) const;
template uint16_t Pipeline::mapped_port_worker<V4>(const FlowPacket<V4>&) const;
template uint16_t Pipeline::mapped_port_worker<V6>(const FlowPacket<V6>&) const;
template bool Pipeline::take_mapped<V4>(FlowPacket<V4>&);
template bool Pipeline::take_mapped<V6>(FlowPacket<V6>&);
template void Pipeline::turn_back<V4>(FlowPacket<V4>&, const nat::Rewrite<V4>&);
template void Pipeline::turn_back<V6>(FlowPacket<V6>&, const nat::Rewrite<V6>&);
template void Pipeline::turn_back_error<V4>(FlowPacket<V4>&);
template void Pipeline::turn_back_error<V6>(FlowPacket<V6>&);

}  // namespace sluice::dataplane
