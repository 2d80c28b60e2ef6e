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
//
// Plain packets (net/plain.h), nearly all there are, take a short cut in pass 1 (enter_plain) and in passes 4 and 5
// (forward_plain). A short cut does the whole pass for the packet or touches nothing and leaves it to the general
// function, so that whatever is odd is handled in one place: classify here, the rest in forward.cpp.
#include "dataplane/pipeline.h"

#include <algorithm>
#include <utility>

#include "dataplane/dhcp.h"
#include "dataplane/flow_handoff.h"
#include "dataplane/late_binding.h"
#include "dataplane/membership.h"
#include "dataplane/net/l4_checksum.h"
#include "dataplane/net/parse.h"
#include "dataplane/net/plain.h"
#include "dataplane/pass_clock.h"
#include "dataplane/punt.h"
#include "encap/decap.h"
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
constexpr unsigned numbers_ahead = 16;  // packets; of TCP, whose checks read a line more
constexpr uint16_t least_plain = net::ethernet_header_length + net::ipv4_header_length + net::udp_header_length;
constexpr unsigned most_decapsulations = 4;  // encap refuses the second; this only ends the loop

template <class F>
DatagramKey<F> datagram_of(const FlowPacket<F>& fragment) {
  return {fragment.key.src, fragment.key.dst, fragment.datagram, fragment.tunnel_source,
          F::is_v4 ? fragment.protocol : uint8_t{0}};
}

bool is_neighbor_discovery(const FlowPacket<V6>& packet) {
  if (packet.protocol != net::protocol::icmpv6 || !packet.has_ports) return false;
  const uint8_t type = packet.l4_header()[0];
  return type >= net::icmpv6::router_solicitation && type <= net::icmpv6::redirect;
}

// MLD; it always has a router alert.
bool is_membership_query(const FlowPacket<V6>& packet) {
  return packet.protocol == net::protocol::icmpv6 && packet.has_ports && packet.key.dst.is_multicast() &&
         packet.l3_header()[6] == net::protocol::hop_by_hop && packet.l4_header()[0] == multicast_listener_query;
}

}  // namespace

Pipeline::Pipeline(Context& context, Output& output, IcmpResponder& icmp, Resolver* resolver,
                   TunnelErrors* tunnel_errors, Connections& connections)
    : context_(context),
      output_(output),
      icmp_(icmp),
      resolver_(resolver),
      tunnel_errors_(tunnel_errors),
      connections_(connections),
      ports_(context.random, context.tables.workers),
      unanswered_(context.tables.workers) {}

Pipeline::~Pipeline() = default;

bool Pipeline::bind_late(uint32_t connections, uint32_t buffers) {
  late_ = LateBinding::create(*this, connections, buffers);
  return late_ != nullptr;
}

// ---- pass 1: classify --------------------------------------------------------------------------------

void Pipeline::process_frames(rte_mbuf** frames, uint16_t count, uint16_t port) {
  context_.counters.add(Event::PacketsIn, count);
  burst_v4_.clear();
  burst_v6_.clear();
  // Then there is nothing to look up, and nobody to hand over to: hashes wait until somebody needs one.
  without_flows_ = context_.tables.workers == 1 && connections_.v4->empty() && connections_.v6->empty();
  only_plain_ = true;
  vxlan_port_ = net::be16::from_host(context_.snapshot->terminator.udp_port);
  Arrival arrival;
  arrival.interface = context_.snapshot->ports[port].interfaces.untagged;
  if (arrival.interface == net::no_interface) [[unlikely]] {
    // The short cut is for frames without a tag.
    plain_transit_ = false;
    for (unsigned i = 0; i < count; ++i) classify(frames[i], port);
    return run_all();
  }
  const Interface& interface = context_.interface(arrival.interface);
  std::memcpy(&arrival.mac, interface.mac.bytes.data(), interface.mac.bytes.size());
  arrival.from_pod = !interface.any_source();
  plain_transit_ = interface.rpf == ReversePathFilter::Off;
  for (unsigned i = 0; i < prefetch_ahead && i < count; ++i) rte_prefetch0(rte_pktmbuf_mtod(frames[i], void*));
  for (unsigned i = 0; i < count; ++i) {
    if (i + prefetch_ahead < count) rte_prefetch0(rte_pktmbuf_mtod(frames[i + prefetch_ahead], void*));
    if (!enter_plain(frames[i], arrival)) [[unlikely]] {
      ++arrival.others;
      classify(frames[i], port);
    }
  }
  if (arrival.others != count) {
    InterfaceCounters& counters = context_.counters.interfaces[arrival.interface];
    counters.rx_packets += count - arrival.others;
    counters.rx_bytes += arrival.bytes;
  }
  run_all();
}

// The short cut of pass 1: a plain packet in an untagged frame to us. False: nothing has happened.
inline bool Pipeline::enter_plain(rte_mbuf* mbuf, Arrival& arrival) {
  const auto* const frame = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  // Shorter than the headers of UDP over IPv4 is no plain packet.
  if (mbuf->data_len < least_plain) return false;
  constexpr uint64_t address_bits = 0xffffffffffff;
  const uint64_t not_to_us = (net::load<uint64_t>(frame) ^ arrival.mac) & address_bits;
  const uint64_t damaged = net::is_l4_damaged(mbuf) ? 1 : 0;
  if ((not_to_us | damaged) != 0) return false;
  const auto ether_type = net::load<uint16_t>(frame + 12);
  const uint32_t length = mbuf->pkt_len;
  bool entered = false;
  if (ether_type == net::be16::from_host(net::ether_type_ipv4).wire()) {
    entered = enter_plain<V4>(mbuf, arrival);
  } else if (ether_type == net::be16::from_host(net::ether_type_ipv6).wire()) {
    entered = enter_plain<V6>(mbuf, arrival);
  }
  if (entered) arrival.bytes += length;
  return entered;
}

template <class F>
inline bool Pipeline::enter_plain(rte_mbuf* mbuf, const Arrival& arrival) {
  net::Packet frame;
  frame.mbuf = mbuf;
  frame.l3 = net::ethernet_header_length;
  frame.ingress = arrival.interface;
  FlowPacket<F>& packet = burst<F>().place();
  const bool known_good = (mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
  bool plain = false;
  if constexpr (F::is_v4) {
    const uint8_t protocol = frame.l3_header()[9];
    if (protocol == net::protocol::ipip || protocol == net::protocol::ipv6) {
      if (!arrival.from_pod && leave_plain_tunnel(mbuf, arrival.interface, known_good, packet)) return true;
    } else {
      plain = net::parse_plain(frame, known_good, packet);
      if (plain && may_be_vxlan(packet)) {
        if (!arrival.from_pod && leave_plain_tunnel(mbuf, arrival.interface, true, packet)) return true;
        plain = false;
      }
    }
  } else {
    plain = net::parse_plain(frame, known_good, packet) && !may_be_vxlan(packet);
  }
  if (plain && arrival.from_pod) {
    plain = refusal_of_pod(packet, context_.interface(arrival.interface)) == DropReason::None;
  }
  if (!plain) [[unlikely]]
    return false;
  settle_plain(packet);
  return true;
}

// Whether a pod may send this: its own addresses only (SPOOF-1), and nothing that asks for addresses or gives any
// (SPOOF-2; RFC 2131 section 4.1, RFC 8415 section 7.2). Router advertisements are refused with all of neighbour
// discovery that is not answered.
template <class F>
DropReason Pipeline::refusal_of_pod(const FlowPacket<F>& packet, const Interface& interface) {
  if (!interface.may_come_from(packet.key.src)) return DropReason::SpoofedSource;
  if (packet.protocol != net::protocol::udp || !packet.has_ports || interface.any_source()) return DropReason::None;
  constexpr uint16_t server = F::is_v4 ? 67 : 547;
  return packet.key.dst_port.host() == server || packet.key.src_port.host() == server ? DropReason::PodDhcp
                                                                                      : DropReason::None;
}

// The short cut of leaving a tunnel, of an untagged frame. `packet` is the next place of its burst and becomes what was
// inside.
inline bool Pipeline::leave_plain_tunnel(rte_mbuf* mbuf, uint16_t interface, bool checksum_known_good,
                                         FlowPacket<V4>& packet) {
  constexpr uint16_t l3_offset = net::ethernet_header_length;
  const uint8_t* const l3 = rte_pktmbuf_mtod_offset(mbuf, const uint8_t*, l3_offset);
  if (!context_.snapshot->terminates_tunnels || !is_tunnel_endpoint<V4>(net::IpHeader<V4>::destination(l3)))
    return false;
  const uint32_t total = net::plain_length<V4>(l3, checksum_known_good);
  if (total == 0 || total > mbuf->data_len - uint32_t{l3_offset} || mbuf->nb_segs != 1) return false;
  const encap::PlainInner inner = encap::find_plain_inner(l3, total, context_.snapshot->terminator);
  if (inner.offset == 0) return false;
  context_.counters.add(Event::Decapsulated);
  mbuf->data_off = static_cast<uint16_t>(mbuf->data_off + l3_offset + inner.offset);
  mbuf->data_len = static_cast<uint16_t>(total - inner.offset);
  mbuf->pkt_len = total - inner.offset;
  mbuf->ol_flags &= ~(RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK);  // they spoke of the outer packet
  const auto carried = [&] {
    net::Packet frame;
    frame.mbuf = mbuf;
    frame.ingress = interface;
    frame.tunnel_source = inner.source;
    frame.decapsulations = 1;
    return frame;
  };
  if (inner.family == net::Family::V4 && net::parse_plain(carried(), false, packet) && !may_be_vxlan(packet))
      [[likely]] {
    settle_plain(packet);
    return true;
  }
  if (inner.family == net::Family::V4) {
    enter_inner<V4>(carried());
  } else {
    enter_inner<V6>(carried());
  }
  return true;
}

template <class F>
inline bool Pipeline::is_tunnel_endpoint(const typename F::Addr& addr) const {
  for (const typename F::Addr& endpoint : context_.snapshot->template own_ends<F>()) {
    if (addr == endpoint) return true;
  }
  return false;
}

// Of plain packets only these can be a tunnel's.
template <class F>
inline bool Pipeline::may_be_vxlan(const FlowPacket<F>& packet) const {
  return packet.key.dst_port == vxlan_port_ && packet.protocol == net::protocol::udp &&
         context_.snapshot->terminates_tunnels && is_tunnel_endpoint<F>(packet.key.dst);
}

// The end of pass 1 for a plain packet in the next place of its burst, which it takes if it is this worker's.
template <class F>
inline void Pipeline::settle_plain(FlowPacket<F>& packet) {
  if (without_flows_) {
    packet.hash = 0;
    return burst<F>().take();
  }
  packet.hash = context_.tables.hasher(packet.key);
  if (context_.tables.workers > 1) {
    const uint16_t owner = net::owner_of(packet.hash, context_.tables.workers);
    if (owner != context_.worker) return hand_over(packet, owner, HandoffKind::Flow);
  }
  connections_.of<F>().prefetch(packet.hash);
  burst<F>().take();
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
  // MTU-5: the port takes what the widest of its VLANs does.
  if (l3 != net::ethernet_header_length && mbuf->pkt_len > l3 + uint32_t{context_.interface(index).mtu}) {
    return context_.drop(mbuf, DropReason::MtuExceeded);
  }

  const bool group = (frame[0] & 1) != 0;
  if (!group && std::memcmp(frame, context_.interface(index).mac.bytes.data(), 6) != 0) {
    return context_.drop(mbuf, DropReason::NotOurMac);
  }
  if (ether_type == net::ether_type_ipv4) {
    // RFC 1812 section 5.3.4: what came as a link-layer broadcast is not forwarded.
    if (group) return to_host_or_drop(mbuf, l3, ether_type, index, DropReason::IpBroadcast);
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
    // The same for IPv6, where a multicast address is the only one that belongs into such a frame (RFC 2464 section 7).
    constexpr uint16_t destination = 24;
    if (group && mbuf->data_len > l3 + destination && frame[l3 + destination] != 0xff) {
      return context_.drop(mbuf, DropReason::IpBroadcast);
    }
    return enter_v6(packet);
  }
  if (ether_type != net::ether_type_arp) {
    return to_host_or_drop(mbuf, l3, ether_type, index, DropReason::UnknownEtherType);
  }
  if (resolver_ != nullptr) return resolver_->on_arp(mbuf, l3, index);
  HandoffNote note;
  note.kind = HandoffKind::Frame;
  note.l3 = l3;
  note.where = index;
  output_.hand_over(mbuf, 0, note);
}

void Pipeline::enter_v4(FlowPacket<V4>& packet, bool checksum_known_good) {
  if (const DropReason reason = net::parse_ip(packet, checksum_known_good); reason != DropReason::None) {
    return context_.drop(packet.mbuf, reason);
  }
  if (!ends_here(packet)) enter(packet);
}

// True if the packet was one of a tunnel that ends here.
template <class F>
bool Pipeline::ends_here(FlowPacket<F>& packet) {
  const bool maybe_tunnel = packet.protocol == net::protocol::udp || packet.protocol == net::protocol::ipip ||
                            packet.protocol == net::protocol::ipv6;
  if (!maybe_tunnel || !context_.snapshot->terminates_tunnels || !is_tunnel_endpoint<F>(packet.key.dst) ||
      packet.decapsulations >= most_decapsulations) {
    return false;
  }
  // A pod is no end of a tunnel, whatever address it writes.
  if (packet.tunnel_source == net::no_tunnel_source &&
      !context_.interface(packet.ingress).may_come_from(packet.key.src)) {
    context_.drop(packet.mbuf, DropReason::SpoofedSource);
    return true;
  }
  if (packet.fragment != FragmentKind::Whole && may_gather(packet)) [[unlikely]] {
    gather(packet);
    return true;
  }
  return leave_tunnel(packet);
}

// Fragments that are worth keeping: outer packets of a known end, which the first one alone shows to be so (FRAG-6).
template <class F>
bool Pipeline::may_gather(const FlowPacket<F>& fragment) const {
  const encap::Terminator& terminator = context_.snapshot->terminator;
  const bool accepted = fragment.protocol == net::protocol::udp ? terminator.accept_vxlan : terminator.accept_ipip;
  return accepted && context_.snapshot->reassembles_outer && fragment.decapsulations == 0 &&
         terminator.sources.find(fragment.key.src) != net::no_tunnel_source;
}

template <class F>
void Pipeline::gather(FlowPacket<F>& fragment) {
  uint64_t hash = 0;
  if (is_elsewhere(fragment, datagram_of(fragment), hash)) return;
  rte_mbuf* const whole = reassembly_->add(fragment, context_.now);
  reassembly_->take_dead([this](rte_mbuf* mbuf) { context_.drop(mbuf, DropReason::TunnelFragment); });
  if (whole == nullptr) return;
  context_.counters.add(Event::Reassembled);
  FlowPacket<F> packet;
  packet.mbuf = whole;
  packet.l3 = fragment.l3;
  packet.ingress = fragment.ingress;
  if (const DropReason reason = net::parse_ip(packet, true); reason != DropReason::None) {
    return context_.drop(whole, reason);
  }
  if (!leave_tunnel(packet)) enter(packet);
}

// True if the packet, to a tunnel endpoint of ours, was one of a tunnel: what was inside goes on, or it was dropped.
template <class F>
bool Pipeline::leave_tunnel(FlowPacket<F>& packet) {
  const encap::DecapResult result = encap::decapsulate(packet, context_.snapshot->terminator);
  if (result.odd_ecn) context_.counters.add(Event::EcnOddCombination);
  if (result.what == encap::Decap::NotTunnel) return false;
  if (result.what == encap::Decap::Dropped) {
    context_.drop(packet.mbuf, result.reason);
    return true;
  }
  context_.counters.add(Event::Decapsulated);
  if (result.inner == net::Family::V4) {
    enter_inner<V4>(packet);
  } else {
    enter_inner<V6>(packet);
  }
  return true;
}

// What a tunnel carried; `outer` has its buffer and where it came from.
template <class F>
void Pipeline::enter_inner(const net::Packet& outer) {
  FlowPacket<F>& packet = burst<F>().place();
  if (net::parse_plain(outer, false, packet)) [[likely]] {
    if (!may_be_vxlan(packet)) return settle_plain(packet);
  }
  FlowPacket<F> inner;
  static_cast<net::Packet&>(inner) = outer;
  inner.plain = false;
  if constexpr (F::is_v4) {
    enter_v4(inner, false);
  } else {
    enter_v6(inner);
  }
}

// FRAG-3: who sends a fragment that can never be part of a whole is told (RFC 8200 section 4.5).
void Pipeline::refuse_fragment(const FlowPacket<V6>& packet, DropReason reason) {
  const uint8_t* const l3 = packet.l3_header();
  const uint16_t visible = std::min(packet.l3_length, packet.contiguous(packet.l3));
  const uint16_t extension = net::find_fragment_header(l3, visible);
  if (extension == 0 || packet.key.dst.is_multicast()) return;
  if (packet.tunnel_source == net::no_tunnel_source &&
      !context_.interface(packet.ingress).may_come_from(packet.key.src)) {
    return;
  }
  const bool later = (net::load_be16(l3 + extension + 2) & 0xfff8) != 0;
  const bool type_shown = !later && visible > extension + 8;
  if (l3[extension] == net::protocol::icmpv6 && !(type_shown && !net::icmpv6::is_error(l3[extension + 8]))) return;
  FlowPacket<V6> about = packet;
  about.fragment = FragmentKind::Whole;
  if (reason == DropReason::FragmentHeaderMissing) {
    return icmp_.send_error<V6>(about, IcmpError::ParameterProblem, net::icmpv6::code_incomplete_headers, 0, nullptr);
  }
  // The field that is wrong: the payload length, or the offset of a fragment that ends beyond 65 535.
  const auto pointer = static_cast<uint16_t>(packet.fragment_offset == 0 ? 4 : extension + 2);
  icmp_.send_error<V6>(about, IcmpError::ParameterProblem, net::icmpv6::code_erroneous_field, pointer, nullptr);
}

void Pipeline::enter_v6(FlowPacket<V6>& packet) {
  if (const DropReason reason = net::parse_ip(packet, false); reason != DropReason::None) {
    if (reason == DropReason::FragmentMalformed || reason == DropReason::FragmentHeaderMissing) [[unlikely]]
      refuse_fragment(packet, reason);
    return context_.drop(packet.mbuf, reason);
  }
  const bool from_tunnel = packet.tunnel_source != net::no_tunnel_source;
  const bool query =
      !from_tunnel && is_membership_query(packet) && context_.interface(packet.ingress).role != Role::Workload;
  if (query || is_neighbor_discovery(packet)) {
    if (from_tunnel) return context_.drop(packet.mbuf, DropReason::NdMalformed);
    const uint8_t type = packet.l4_header()[0];
    if (query) {
      // The host has groups of its own.
      if (context_.interface(packet.ingress).twin) {
        context_.punt->copy(packet.mbuf, packet.l3, net::ether_type_ipv6, packet.ingress, PuntClass::Multicast);
      }
    } else if (type != net::icmpv6::neighbor_solicitation && type != net::icmpv6::neighbor_advertisement) {
      // Routers that announce themselves.
      if (context_.interface(packet.ingress).twin) {
        return context_.punt->give(packet.mbuf, packet.l3, packet.ingress, PuntClass::Neighbor);
      }
      return context_.drop(packet.mbuf, DropReason::NdNotForUs);
    }
    if (resolver_ != nullptr) return resolver_->on_nd(packet.mbuf, packet.l3, packet.l4, packet.ingress);
    HandoffNote note;
    note.kind = HandoffKind::Frame;
    note.l3 = packet.l3;
    note.where = packet.ingress;
    return output_.hand_over(packet.mbuf, 0, note);
  }
  if (packet.key.dst.is_multicast()) {
    if (!take_multicast(packet)) context_.drop(packet.mbuf, DropReason::IpMulticast);
    return;
  }
  if (packet.key.dst.is_link_local() || packet.key.src.is_link_local()) {
    // RFC 4291 section 2.5.6: never forwarded. Echo to our own link-local address is answered.
    const Interface& ingress = context_.interface(packet.ingress);
    if (!from_tunnel && !packet.key.src.is_link_local() && !ingress.may_come_from(packet.key.src)) {
      return context_.drop(packet.mbuf, DropReason::SpoofedSource);
    }
    if (!from_tunnel && ingress.owns(packet.key.dst)) return to_local_address(packet);
    return context_.drop(packet.mbuf, DropReason::LinkLocalScope);
  }
  if (!ends_here(packet)) enter(packet);
}

// The last part of pass 1, for both families: whose flow is it?
template <class F>
void Pipeline::enter(FlowPacket<F>& packet) {
  if (packet.tunnel_source == net::no_tunnel_source) {
    const DropReason reason = refusal_of_pod(packet, context_.interface(packet.ingress));
    if (reason != DropReason::None) return context_.drop(packet.mbuf, reason);
  }
  if (packet.fragment != FragmentKind::Whole && !settle_fragment(packet)) return;
  enter_flow(packet);
}

template <class F>
void Pipeline::enter_flow(FlowPacket<F>& packet) {
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
  only_plain_ = false;
  burst<F>().push(packet);
}

// Hands a fragment over if another worker knows its datagram (FRAG-4). `hash`: of the datagram.
template <class F>
bool Pipeline::is_elsewhere(FlowPacket<F>& fragment, const DatagramKey<F>& datagram, uint64_t& hash) {
  const FlowKey<F> key{datagram.src, datagram.dst, {}, {}, datagram.protocol, {}};
  hash = context_.tables.hasher(key) ^ net::multiply_fold(datagram.id, 0x9fb21c651e98df25);
  if (context_.tables.workers == 1 || fragment.handed_over) return false;
  const uint16_t knows = net::owner_of(hash, context_.tables.workers);
  if (knows == context_.worker) return false;
  hand_over(fragment, knows, HandoffKind::Fragment);
  return true;
}

// Gives a fragment the ports of its datagram (FRAG-1). False if the packet was dropped, held or handed over: all
// fragments of a datagram are one worker's (FRAG-4).
template <class F>
bool Pipeline::settle_fragment(FlowPacket<F>& packet) {
  const DatagramKey<F> datagram = datagram_of(packet);
  uint64_t hash = 0;
  if (is_elsewhere(packet, datagram, hash)) return false;
  FragmentTable<F>& table = fragments<F>();
  const FragmentLimits& limits = context_.snapshot->fragments;
  switch (table.settle(packet, datagram, hash, context_.now, limits)) {
    case FragmentVerdict::Forward:
      break;
    case FragmentVerdict::Hold:
      table.hold(packet, datagram, context_.now, limits,
                 [this](const FlowPacket<F>& oldest) { context_.drop(oldest.mbuf, DropReason::FragmentWithoutFirst); });
      return false;
    case FragmentVerdict::Duplicate:
      context_.drop(packet.mbuf, DropReason::FragmentDuplicate);
      return false;
    case FragmentVerdict::Overlap:
      context_.drop(packet.mbuf, DropReason::FragmentOverlap);
      return false;
    case FragmentVerdict::TooMany:
      context_.drop(packet.mbuf, DropReason::FragmentTooMany);
      return false;
  }
  if (packet.fragment == FragmentKind::First && table.holds_any()) {
    table.release(datagram, [&](FlowPacket<F>& held) {
      held.key.src_port = packet.key.src_port;
      held.key.dst_port = packet.key.dst_port;
      held.protocol = held.key.protocol = packet.protocol;
      released<F>().push(held);
    });
  }
  return true;
}

// What waited for a first fragment goes behind it, when it has been forwarded.
template <class F>
void Pipeline::run_released() {
  auto& waiting = released<F>();
  without_flows_ = false;
  for (size_t next = 0; next < waiting.size();) {
    burst<F>().clear();
    for (; next < waiting.size() && !burst<F>().full(); ++next) {
      FlowPacket<F>& packet = waiting[next];
      if (packet.ingress < context_.snapshot->interfaces.size()) {
        enter_flow(packet);
      } else {
        context_.drop(packet.mbuf, DropReason::InterfaceGone);
      }
    }
    run(burst<F>());
  }
  waiting.clear();
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
  HandoffRings::set_hash(packet.mbuf, packet.hash);
  output_.hand_over(packet.mbuf, worker, note_of(packet, kind));
}

void Pipeline::process_handed_over(rte_mbuf** packets, uint16_t count) {
  context_.counters.add(Event::ReceivedOver, count);
  without_flows_ = only_plain_ = false;
  plain_transit_ = true;
  burst_v4_.clear();
  burst_v6_.clear();
  for (unsigned i = 0; i < prefetch_ahead && i < count; ++i) rte_prefetch0(rte_pktmbuf_mtod(packets[i], void*));
  for (unsigned i = 0; i < count; ++i) {
    if (i + prefetch_ahead < count) rte_prefetch0(rte_pktmbuf_mtod(packets[i + prefetch_ahead], void*));
    take_handed_over(packets[i]);
  }
  run_all();
}

void Pipeline::take_handed_over(rte_mbuf* mbuf) {
  const HandoffNote note = context_.tables.rings->note(mbuf);
  const auto* const l3 = rte_pktmbuf_mtod_offset(mbuf, const uint8_t*, note.l3);
  const bool v4 = net::ip_version(l3) == 4;
  switch (note.kind) {
    case HandoffKind::Frame:
      if (net::load_be16(l3 - 2) == net::ether_type_arp) return resolver_->on_arp(mbuf, note.l3, note.where);
      return resolver_->on_nd(mbuf, note.l3, static_cast<uint16_t>(note.l3 + net::ipv6_header_length), note.where);
    case HandoffKind::Resolve:
      return resolver_->hold(mbuf, note.l3, note.where, note.neighbor, note.original);
    case HandoffKind::Transmit:
      return output_.transmit(mbuf, note.where);
    default:
      break;
  }
  if (asks(note)) [[unlikely]] {
    if (note.question.asker != context_.worker) return answer_question(mbuf, note);
  }
  if (v4) {
    take_flow<V4>(mbuf, note);
  } else {
    take_flow<V6>(mbuf, note);
  }
}

template <class F>
void Pipeline::take_flow(rte_mbuf* mbuf, const HandoffNote& note) {
  net::Packet frame;
  frame.mbuf = mbuf;
  frame.l3 = note.l3;
  frame.ingress = note.where;
  frame.tunnel_source = note.tunnel_source;
  frame.decapsulations = note.decapsulations;
  frame.handed_over = true;
  FlowPacket<F>& packet = burst<F>().place();
  // It was checked where it came in.
  if (note.plain) [[likely]] {
    net::reread_plain(frame, packet);
  } else {
    packet = {};
    static_cast<net::Packet&>(packet) = frame;
    if (const DropReason reason = net::parse_ip(packet, true); reason != DropReason::None) {
      return context_.drop(mbuf, reason);
    }
    if (note.ports_known) {
      packet.key.src_port = note.src_port;
      packet.key.dst_port = note.dst_port;
      packet.protocol = packet.key.protocol = static_cast<uint8_t>(note.neighbor);
    }
    if (note.kind == HandoffKind::Fragment) {
      FlowPacket<F> fragment = packet;
      if (!ends_here(fragment)) enter(fragment);
      return;
    }
    if (note.kind == HandoffKind::TunnelError) {
      return tunnel_errors_->on_error(packet);
    }
  }
  // Without a flow, one that was sent here by a stub is not ours.
  if (note.kind != HandoffKind::Flow || asks(note) || context_.interface(note.where).rpf != ReversePathFilter::Off) {
    plain_transit_ = false;
  }
  packet.hash = HandoffRings::hash(mbuf);
  if (asks(note)) [[unlikely]] {
    take_answer<F>(connections_.of<F>().find(packet.key, packet.hash), note.question);
  }
  connections_.of<F>().prefetch(packet.hash);
  burst<F>().take();
}

// ---- pass 2: find flows ------------------------------------------------------------------------------

void Pipeline::run_all() {
  end_pass(Pass::Classify);
  run(burst_v4_);
  run(burst_v6_);
  if (!released_v4_.empty()) [[unlikely]]
    run_released<V4>();
  if (!released_v6_.empty()) [[unlikely]]
    run_released<V6>();
  if (icmp_.any_turned()) [[unlikely]]
    turn_back_errors();
}

template <class F>
void Pipeline::run(FlowBurst<F>& burst) {
  if (burst.empty()) return;
  net::Burst<uint8_t> misses;
  if (without_flows_ && only_plain_) {
    for (size_t i = 0; i < burst.size(); ++i) misses.push(static_cast<uint8_t>(i));
    return forward_misses(burst, misses);
  }
  nat::Conntrack<F>& table = connections_.of<F>();
  nat::FlowId ids[net::burst_size];
  if (without_flows_) {
    std::fill_n(ids, burst.size(), nat::no_flow);
  } else {
    table.find_bulk(burst.data(), burst.size(), ids);
  }
  end_pass(Pass::Find);
  const uint32_t generation = context_.snapshot->generation;
  const uint64_t removed = table.counters().removed;
  bool found_stale = false;
  uint64_t hits = 0;
  const auto ask_for_numbers = [&](size_t i) {
    if (burst[i].protocol == net::protocol::tcp) table.prefetch_opposite(ids[i]);
  };
  for (size_t i = 0; i < numbers_ahead && i < burst.size(); ++i) ask_for_numbers(i);
  for (size_t i = 0; i < burst.size(); ++i) {
    if (i + numbers_ahead < burst.size()) ask_for_numbers(i + numbers_ahead);
    FlowPacket<F>& packet = burst[i];
    if (found_stale) [[unlikely]]
      ids[i] = table.find(packet.key, packet.hash);
    const bool hit = table.is_connection(ids[i]);
    if (hit && forward_plain_flow(table, packet, ids[i], generation)) [[likely]] {
      ++hits;
      continue;
    }
    if (packet.icmp_error) [[unlikely]] {
      forward_icmp_error(packet);
    } else if (hit) {
      ++hits;
      forward_flow(packet, ids[i]);
    } else if (ids[i] == nat::no_flow) {
      misses.push(static_cast<uint8_t>(i));
    } else {
      hand_over(packet, table.flow(ids[i]).route, HandoffKind::OwnerByStub);
    }
    // A packet of the burst ended a connection: its record may serve another one by now.
    found_stale = table.counters().removed != removed;
  }
  // What comes back with an answer was counted before it asked.
  const uint64_t returned = std::exchange(returned_[F::is_v4 ? 0 : 1], 0U);
  context_.counters.add(Event::FlowHits, hits - std::min(hits, returned));
  end_pass(Pass::Forward);
  if (!misses.empty()) forward_misses(burst, misses);
}

template <class F>
inline void Pipeline::look_up_routes(const FlowBurst<F>& burst, const net::Burst<uint8_t>& misses, NextHopId* hops) {
  typename F::Addr* const to = destinations<F>();
  for (size_t i = 0; i < misses.size(); ++i) to[i] = burst[misses[i]].key.dst;
  context_.tables.fib->lookup(to, hops, static_cast<unsigned>(misses.size()));
}

template <class F>
void Pipeline::forward_misses(FlowBurst<F>& burst, const net::Burst<uint8_t>& misses) {
  context_.counters.add(Event::FlowMisses, misses.size());
  NextHopId hops[net::burst_size];
  look_up_routes(burst, misses, hops);
  end_pass(Pass::Route);
  const nat::Conntrack<F>& table = connections_.of<F>();
  const uint64_t inserted = table.counters().inserted;
  const FamilyTables<F>& tables = context_.snapshot->family<F>();
  const bool may_be_transit = plain_transit_ && !tables.any_nat_outgoing;
  const bool may_have_hints = connections_.hints<F>().in_use(context_.now);
  const bool clamps_mss = context_.snapshot->clamps_mss;
  const bool may_be_lease = F::is_v4 && !context_.snapshot->twins.empty();
  uint64_t transit = 0;
  const bool transit_only = may_be_transit && !clamps_mss && tables.endpoints->empty() && tables.content->empty();
  if (!transit_only && misses.size() > 1 && context_.trace == nullptr) expect_openings(burst, misses, hops);
  for (size_t i = 0; i < misses.size(); ++i) {
    FlowPacket<F>& packet = burst[misses[i]];
    // Another packet of this burst may have opened its flow; what an endpoint says may be known by a hint.
    const auto needs_no_flow = [&] {
      return may_be_transit && !(clamps_mss && is_syn(packet)) && table.counters().inserted == inserted &&
             !wants_tracking(packet) &&
             !(may_have_hints && tables.endpoints->contains(packet.key.src, packet.key.src_port, packet.protocol));
    };
    // What may be for the host has no short cut.
    const auto is_lease = [&] {
      return may_be_lease && is_dhcp_answer(packet.protocol, packet.key.src_port, packet.key.dst_port);
    };
    if ((transit_only || needs_no_flow()) && !is_lease() && forward_plain(packet, hops[i])) [[likely]] {
      ++transit;
      continue;
    }
    ensure_hash(packet);
    if (table.counters().inserted != inserted) [[unlikely]] {
      const nat::FlowId id = table.find(packet.key, packet.hash);
      if (id != nat::no_flow && !table.is_stub(id)) {
        forward_flow(packet, id);
        continue;
      }
    }
    forward_miss(packet, hops[i]);
  }
  context_.counters.add(Event::Transit, transit);
  end_pass(Pass::Open);
}

// ---- passes 4 and 5, short ---------------------------------------------------------------------------

// A packet that changes nothing about its flow, whose route and neighbour are the ones of last time.
template <class F>
[[gnu::always_inline]] inline bool Pipeline::forward_plain_flow(nat::Conntrack<F>& table, FlowPacket<F>& packet,
                                                                nat::FlowId id, uint32_t generation) {
  if (!packet.plain) [[unlikely]]
    return false;
  nat::Flow<F>& flow = table.flow(id);
  uint8_t* const l3 = packet.l3_header();
  if ((flow.flags & nat::flow_flag::settled) == 0 || flow.generation != generation) [[unlikely]]
    return false;
  const Adjacency* const way = output_.flow_adjacency(flow.way());
  // Copies, because a store to the flow or the frame could change the originals for all the compiler knows.
  const uint32_t length = packet.l3_length;
  if (way == nullptr || net::IpHeader<F>::ttl(l3) <= 1 || length > way->mtu) [[unlikely]]
    return false;
  constexpr uint32_t header = F::is_v4 ? net::ipv4_header_length : net::ipv6_header_length;
  uint8_t* const l4 = l3 + header;
  const uint8_t protocol = packet.protocol;
  constexpr uint8_t special = nat::flow_flag::direct_return | nat::flow_flag::spliced;
  if ((flow.flags & special) != 0) [[unlikely]] {
    if ((flow.flags & nat::flow_flag::spliced) != 0) return forward_plain_spliced(packet, id, *way);
    if (!nat::is_quiet(flow, l4[13]) || packet.tunnel_source != net::no_tunnel_source) return false;
  } else if (protocol == net::protocol::tcp) {
    if (!nat::is_plain_ack(l4[13]) ||
        !nat::advance_window(flow.end, table.flow(nat::opposite(id)).end, l4, length - header)) [[unlikely]]
      return false;
  }
  nat::account(flow, length, context_.now);
  if ((flow.flags & nat::flow_flag::translated) == 0) {
    nat::decrement_ttl<F>(l3);
  } else if (protocol == net::protocol::tcp) {
    nat::apply_tcp_and_decrement_ttl(flow, table.flow(nat::opposite(id)).key, l3, l4);
  } else {
    nat::apply_and_decrement_ttl(flow, l3, l4, protocol);
  }
  output_.send_plain<F>(packet, l3, *way);
  return true;
}

// A packet without a flow that needs none: to a gateway or into a tunnel, between addresses that are nobody's service.
template <class F>
inline bool Pipeline::forward_plain(FlowPacket<F>& packet, NextHopId id) {
  if (!packet.plain) return false;
  const Adjacency* way = output_.hop_adjacency(id);
  if (way == nullptr || way->by_hash) [[unlikely]] {
    ensure_hash(packet);
    if (way == nullptr) way = group_member(id, packet.hash);
  }
  uint8_t* const l3 = packet.l3_header();
  if (way == nullptr || net::IpHeader<F>::ttl(l3) <= 1 || packet.l3_length > way->mtu) return false;
  nat::decrement_ttl<F>(l3);
  output_.send_plain<F>(packet, l3, *way);
  return true;
}

// The way of this flow if the next hop is a group. The router's own kinds and unreachable neighbours have none.
const Adjacency* Pipeline::group_member(NextHopId id, uint64_t hash) {
  const NextHop& hop = (*context_.tables.next_hops)[id];
  return hop.kind == HopKind::Group ? output_.hop_adjacency(hop.member(hash)) : nullptr;
}

template void Pipeline::enter<V4>(FlowPacket<V4>&);
template void Pipeline::enter<V6>(FlowPacket<V6>&);
template void Pipeline::hand_over<V4>(const FlowPacket<V4>&, uint16_t, HandoffKind);
template void Pipeline::hand_over<V6>(const FlowPacket<V6>&, uint16_t, HandoffKind);
template bool Pipeline::quoted_key<V4>(const FlowPacket<V4>&, FlowKey<V4>&) const;
template bool Pipeline::quoted_key<V6>(const FlowPacket<V6>&, FlowKey<V6>&) const;

}  // namespace sluice::dataplane
