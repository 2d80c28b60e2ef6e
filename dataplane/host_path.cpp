// What the host behind the router sends (punt.h), and what of broadcasts and multicasts is for it.
//
// The host frames its packets itself: its kernel has routes and neighbours of its own for the interface. So they leave
// as they are, unless only the router knows the way: to services, pods, into tunnels, to other interfaces, and whatever
// belongs to a connection that is translated here. Those take the pipeline's way as if they came from a trusted port.
#include "dataplane/net/parse.h"
#include "dataplane/pipeline.h"
#include "dataplane/punt.h"
#include "dataplane/splice_flow.h"
#include "nat/rewrite.h"

namespace sluice::dataplane {

using net::DropReason;
using net::FlowPacket;
using net::V4;
using net::V6;

namespace {

constexpr uint16_t ether_type_lldp = 0x88cc;  // IEEE 802.1AB section 7.4

bool stays_on_link(const FlowPacket<V4>& packet) { return packet.key.dst.is_link_local(); }
bool stays_on_link(const FlowPacket<V6>& packet) {
  const bool discovery = packet.protocol == net::protocol::icmpv6 && packet.has_ports &&
                         packet.l4_header()[0] >= net::icmpv6::router_solicitation &&
                         packet.l4_header()[0] <= net::icmpv6::redirect;
  return discovery || packet.key.dst.is_link_local() || packet.key.src.is_link_local();
}

// Whether nothing is done to the packets of a flow but to send them on.
template <class F>
bool is_as_framed(const nat::Flow<F>& flow) {
  constexpr uint8_t others = nat::flow_flag::translated | nat::flow_flag::direct_return | nat::flow_flag::spliced;
  return (flow.flags & others) == 0;
}

// 255.255.255.255, the broadcast address of a subnet, 224.0.0.0/24 (RFC 5771 section 4: never forwarded).
bool is_for_link(const Interface& interface, net::Ipv4Addr destination) {
  if (destination.is_broadcast() || destination.host() >> 8 == 0xe00000) return true;
  for (const net::Prefix& prefix : interface.prefixes) {
    if (prefix.addr.is_v6() || prefix.length > 30 || !prefix.contains(destination)) continue;
    const uint32_t hosts = ~uint32_t{0} >> prefix.length;
    if ((destination.host() & hosts) == hosts) return true;
  }
  return false;
}

}  // namespace

void Pipeline::process_from_host(rte_mbuf** frames, const uint16_t* interfaces, uint16_t count) {
  context_.counters.add(Event::HostSent, count);
  without_flows_ = only_plain_ = plain_transit_ = false;
  burst_v4_.clear();
  burst_v6_.clear();
  for (uint16_t i = 0; i < count; ++i) take_from_host(frames[i], interfaces[i]);
  run_all();
}

void Pipeline::take_from_host(rte_mbuf* mbuf, uint16_t index) {
  const auto& known = context_.snapshot->interfaces;
  if (index >= known.size() || !known[index].present || !known[index].twin) {
    return context_.drop(mbuf, DropReason::InterfaceGone);
  }
  const auto* const frame = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  if (mbuf->data_len < net::ethernet_header_length) return context_.drop(mbuf, DropReason::EthernetTruncated);
  const bool group = (frame[0] & 1) != 0;
  const uint16_t ether_type = net::load_be16(frame + 12);
  const auto enter_family = [&]<class F>(FlowPacket<F> packet) {
    packet.mbuf = mbuf;
    packet.l3 = net::ethernet_header_length;
    packet.ingress = index;
    packet.tunnel_source = net::host_source;
    if (net::parse_ip(packet, true) != DropReason::None || stays_on_link(packet)) return send_as_framed(mbuf, index);
    enter(packet);
  };
  if (!group && ether_type == net::ether_type_ipv4) return enter_family(FlowPacket<V4>{});
  if (!group && ether_type == net::ether_type_ipv6) return enter_family(FlowPacket<V6>{});
  send_as_framed(mbuf, index);
}

// With the interface's tag, of which its twin knows nothing.
void Pipeline::send_as_framed(rte_mbuf* mbuf, uint16_t index) {
  const Interface& interface = context_.interface(index);
  if (interface.vlan != 0) {
    auto* const frame = reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(mbuf, net::vlan_tag_length));
    if (frame == nullptr) return context_.drop(mbuf, DropReason::NoBuffer);
    std::memmove(frame, frame + net::vlan_tag_length, 12);
    net::store_be16(frame + 12, net::ether_type_vlan);
    net::store_be16(frame + 14, interface.vlan);
  }
  output_.send_frame(mbuf, index);
}

// A packet of the host that belongs to no connection here: whether it leaves as it is, and if so it does.
template <class F>
bool Pipeline::leaves_as_framed(FlowPacket<F>& packet, NextHopId hop) {
  const Egress egress = output_.egress_of<F>(hop, packet.key.dst, packet.hash);
  const bool by_link =
      (egress.kind == HopKind::Connected || egress.kind == HopKind::Gateway) && egress.interface == packet.ingress;
  // A destination that only the host has a route to is its own affair.
  const bool unknown = egress.kind == HopKind::Reject && egress.reason == DropReason::NoRoute;
  if (!by_link && !unknown && egress.kind != HopKind::Local) return false;
  send_as_framed(packet.mbuf, packet.ingress);
  return true;
}

template bool Pipeline::leaves_as_framed<V4>(FlowPacket<V4>&, NextHopId);
template bool Pipeline::leaves_as_framed<V6>(FlowPacket<V6>&, NextHopId);

// A connection that is translated here has the host at its other end.
template <class F>
bool Pipeline::end_at_host(FlowPacket<F>& packet, const nat::Translation<F>& change) {
  if (context_.snapshot->twins.empty()) return false;
  const uint16_t twin = context_.punt->twin_for<F>(packet.ingress, change.rewrite.dst);
  if (twin == net::no_interface) return false;
  if ((change.flags & nat::flow_flag::translated) != 0) {
    nat::apply(change.rewrite, packet.l3_header(),
               packet.fragment == net::FragmentKind::Later ? nullptr : packet.l4_header(), packet.protocol);
  }
  if ((change.flags & nat::flow_flag::spliced) != 0 && packet.fragment != net::FragmentKind::Later) {
    translate_splice(connections_.of<F>(), change.flow, packet.l4_header());
  }
  context_.punt->give(packet.mbuf, packet.l3, twin,
                      punt_class(packet.protocol, change.rewrite.src_port, change.rewrite.dst_port));
  return true;
}

template bool Pipeline::end_at_host<V4>(FlowPacket<V4>&, const nat::Translation<V4>&);
template bool Pipeline::end_at_host<V6>(FlowPacket<V6>&, const nat::Translation<V6>&);

// A connection to a socket of the host that is a service's endpoint as well. It is tracked like those to other
// endpoints (wants_tracking), so that the host's answers to it are told from those to the service (MASQ-7). False: it
// needs no entry.
template <class F>
bool Pipeline::open_to_host(FlowPacket<F>& packet) {
  if (context_.snapshot->twins.empty() || !packet.has_ports || packet.from_host()) return false;
  const FamilyTables<F>& tables = context_.snapshot->family<F>();
  if (!tables.endpoints->contains(packet.key.dst, packet.key.dst_port, packet.protocol)) return false;
  if (context_.punt->twin_for<F>(packet.ingress, packet.key.dst) == net::no_interface) return false;
  if (packet.protocol == net::protocol::tcp && !nat::opens_flow(packet.l4_header()[13], context_.snapshot->tcp_loose))
    return false;
  open(packet, Egress{.kind = HopKind::Local}, packet.key.dst, packet.key.dst_port, Masquerade::No,
       static_cast<const nat::ServicePort<F>*>(nullptr));
  return true;
}

template bool Pipeline::open_to_host<V4>(FlowPacket<V4>&);
template bool Pipeline::open_to_host<V6>(FlowPacket<V6>&);

// What the host answers to such a connection leaves as it framed it, unless its port was replaced.
template <class F>
bool Pipeline::answers_directly(FlowPacket<F>& packet, nat::Flow<F>& flow) {
  return is_as_framed(flow) && leaves_as_framed(packet, context_.tables.fib->lookup(packet.key.dst));
}

template bool Pipeline::answers_directly<V4>(FlowPacket<V4>&, nat::Flow<V4>&);
template bool Pipeline::answers_directly<V6>(FlowPacket<V6>&, nat::Flow<V6>&);

// What cannot be part of such a connection as it was seen here: nothing of it is translated, so the host may judge it,
// whose answers perhaps leave by another of its devices. True: it has gone there, or away.
template <class F>
bool Pipeline::is_left_to_host(FlowPacket<F>& packet, nat::Flow<F>& flow) {
  return packet.from_host() ? answers_directly(packet, flow) : is_as_framed(flow) && context_.punt->take(packet);
}

template bool Pipeline::is_left_to_host<V4>(FlowPacket<V4>&, nat::Flow<V4>&);
template bool Pipeline::is_left_to_host<V6>(FlowPacket<V6>&, nat::Flow<V6>&);

// A frame that is neither for the router's own MAC address nor something to forward. `reason`: if it is not for the
// host either.
void Pipeline::to_host_or_drop(rte_mbuf* mbuf, uint16_t l3, uint16_t ether_type, uint16_t index, DropReason reason) {
  const Interface& interface = context_.interface(index);
  if (!interface.twin) return context_.drop(mbuf, reason);
  PuntClass kind = PuntClass::Multicast;
  if (ether_type == net::ether_type_ipv4) {
    if (mbuf->data_len < l3 + net::ipv4_header_length) return context_.drop(mbuf, reason);
    const auto* const header = rte_pktmbuf_mtod_offset(mbuf, const uint8_t*, l3);
    if (!is_for_link(interface, net::IpHeader<V4>::destination(header))) return context_.drop(mbuf, reason);
    if (header[9] == net::protocol::vrrp) kind = PuntClass::Routing;
  } else if (ether_type != ether_type_lldp) {
    return context_.drop(mbuf, reason);
  }
  context_.punt->copy(mbuf, l3, ether_type, index, kind);
  context_.discard(mbuf);
}

// RFC 4291 section 2.7: of multicasts, those of the link (scope 2).
bool Pipeline::take_multicast(const FlowPacket<V6>& packet) {
  if (packet.tunnel_source != net::no_tunnel_source || !context_.interface(packet.ingress).twin) return false;
  if ((packet.key.dst.bytes[1] & 0x0f) != 2) return false;
  const PuntClass kind = packet.protocol == net::protocol::vrrp ? PuntClass::Routing : PuntClass::Multicast;
  context_.punt->give(packet.mbuf, packet.l3, packet.ingress, kind);
  return true;
}

}  // namespace sluice::dataplane
