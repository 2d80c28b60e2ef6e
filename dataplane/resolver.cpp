#include "dataplane/resolver.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <rte_arp.h>
#include <rte_hash.h>
#include <rte_jhash.h>

#include "dataplane/icmp.h"
#include "dataplane/membership.h"
#include "dataplane/net/checksum.h"
#include "dataplane/output.h"
#include "dataplane/own_packet.h"
#include "dataplane/punt.h"

namespace sluice::dataplane {
namespace {

using net::DropReason;
using net::MacAddr;

constexpr nat::Millis tick_interval = 20;
constexpr unsigned timers_per_tick = 256;
constexpr unsigned scans_per_tick = 512;
constexpr uint16_t arp_frame_length = net::ethernet_header_length + sizeof(rte_arp_hdr);
constexpr uint16_t nd_message_length = 24;  // RFC 4861 sections 4.3 and 4.4, without options
constexpr uint16_t nd_option_length = 8;    // link-layer address (section 4.6.1)
constexpr uint8_t nd_option_source = 1;
constexpr uint8_t nd_option_target = 2;
constexpr uint32_t nd_router = 0x80000000;
constexpr uint32_t nd_solicited = 0x40000000;
constexpr uint32_t nd_override = 0x20000000;
constexpr net::Ipv6Addr all_nodes{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

struct PinnedKey {
  std::array<uint8_t, 16> address;
  uint16_t interface;
  uint16_t family;
};

PinnedKey pinned_key(uint16_t interface, const net::IpAddr& address) {
  return {address.bytes(), interface, static_cast<uint16_t>(address.family())};
}

MacAddr load_mac(const void* from) { return net::load<MacAddr>(from); }

net::IpAddr destination_of(const uint8_t* l3) {
  if (net::ip_version(l3) == 4) return net::IpHeader<net::V4>::destination(l3);
  return net::IpHeader<net::V6>::destination(l3);
}

// ARP-7: whether `target`, of a subnet of the wire, is the address of a pod here.
template <class F>
bool is_pod_of_subnet(const Context& context, const Output& output, const Interface& wire,
                      const typename F::Addr& target) {
  const net::IpAddr address(target);
  const bool on_link = std::any_of(wire.prefixes.begin(), wire.prefixes.end(),
                                   [&](const net::Prefix& prefix) { return prefix.contains(address); });
  if (wire.role != Role::Uplink || !on_link || address.is_link_local()) return false;
  const Egress egress = output.route<F>(target, 0);
  return egress.kind == HopKind::Gateway && context.interface(egress.interface).role == Role::Workload;
}

uint64_t fingerprint(const Interface& interface) {
  uint64_t value = 0x9e3779b97f4a7c15;
  const auto mix = [&value](const auto& bytes) {
    for (const uint8_t byte : bytes) value = (value ^ byte) * 0x100000001b3;
  };
  mix(interface.mac.bytes);
  for (const net::Prefix& prefix : interface.prefixes) mix(prefix.addr.bytes());
  return value ^ interface.port ^ static_cast<uint64_t>(interface.vlan) << 32;
}

}  // namespace

Resolver::Resolver(Context& context, Output& output, IcmpResponder& icmp)
    : context_(context),
      output_(output),
      icmp_(icmp),
      membership_(std::make_unique<MembershipListener>(context, output)),
      pending_(std::make_unique<Pending[]>(NeighborTable::capacity())),
      announced_(max_interfaces) {
  active_.reserve(NeighborTable::capacity());
  rte_hash_parameters params{};
  params.name = "sluice_pinned_neighbors";
  params.entries = NeighborTable::pinned_capacity;
  params.key_len = sizeof(PinnedKey);
  params.hash_func = rte_jhash;
  params.socket_id = SOCKET_ID_ANY;
  pinned_ = rte_hash_create(&params);
}

Resolver::~Resolver() {
  for (const uint32_t index : active_) {
    for (unsigned i = 0; i < pending_[index].count; ++i) {
      rte_pktmbuf_free(pending_[index].held[i]);
      rte_pktmbuf_free(pending_[index].originals[i]);
    }
  }
  rte_hash_free(pinned_);
}

uint32_t Resolver::find_pinned(uint16_t interface, const net::IpAddr& address) const {
  const PinnedKey key = pinned_key(interface, address);
  void* data = nullptr;
  if (pinned_ == nullptr || rte_hash_lookup_data(pinned_, &key, &data) < 0) return no_neighbor;
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(data));
}

uint32_t Resolver::find(uint16_t interface, const net::IpAddr& address) const {
  const NeighborTable& table = *context_.tables.neighbors;
  const uint32_t pinned = find_pinned(interface, address);
  // The control thread may have given it up, which is noticed later.
  if (pinned != no_neighbor && table[pinned].live.load(std::memory_order_acquire) &&
      table[pinned].load().epoch == pending_[pinned].epoch) {
    return pinned;
  }
  return table.find(interface, address);
}

uint32_t Resolver::add(uint16_t interface, const net::IpAddr& address) {
  NeighborTable& table = *context_.tables.neighbors;
  const uint32_t index = table.add_dynamic(interface, address);
  if (index == no_neighbor) return index;
  const uint32_t pinned_before = find_pinned(interface, address);
  if (pinned_before != no_neighbor && !pending_[pinned_before].mac.is_zero()) {
    activate(index);  // which asks at once whether that is still so
    if (table[index].load().state == NeighborState::Incomplete) {
      set_state(index, NeighborState::Reachable, pending_[pinned_before].mac);
    }
  }
  return index;
}

void Resolver::take_over_dynamic(uint32_t index) {
  NeighborTable& table = *context_.tables.neighbors;
  Pending& pending = pending_[index];
  const uint32_t dynamic = table.find(pending.interface, pending.address);
  if (dynamic == no_neighbor) return;
  const NeighborLink known = table[dynamic].load();
  if (known.usable() && table[index].load().state == NeighborState::Incomplete) {
    pending.mac = known.mac;
    set_state(index, NeighborState::Reachable, known.mac);
  }
  Pending& before = pending_[dynamic];
  if (before.active) {
    std::copy_n(before.held, before.count, pending.held);
    std::copy_n(before.originals, before.count, pending.originals);
    std::copy_n(before.held_l3, before.count, pending.held_l3);
    pending.count = std::exchange(before.count, uint8_t{0});
  }
  deactivate(dynamic);
  table.remove_dynamic(dynamic);
}

void Resolver::activate(uint32_t index) {
  Pending& pending = pending_[index];
  const Neighbor& neighbor = (*context_.tables.neighbors)[index];
  if (pending.active) {
    if (pending.epoch == neighbor.load().epoch) return;
    deactivate(index);
  }
  pending.epoch = neighbor.load().epoch;
  pending.count = 0;
  pending.asked = 0;
  pending.mac = {};
  pending.active = true;
  pending.due = context_.now;
  pending.last_used = context_.now;
  pending.address = neighbor.address;
  pending.interface = neighbor.interface;
  pending.position = static_cast<uint32_t>(active_.size());
  active_.push_back(index);
  if (NeighborTable::is_pinned(index)) {
    const PinnedKey key = pinned_key(pending.interface, pending.address);
    rte_hash_add_key_data(pinned_, &key, reinterpret_cast<void*>(static_cast<uintptr_t>(index)));
    take_over_dynamic(index);
  }
  settle(index);
}

void Resolver::settle(uint32_t index) {
  NeighborTable& table = *context_.tables.neighbors;
  const Neighbor& neighbor = table[index];
  if (neighbor.permanent) return;  // the configuration has the last word
  Pending& pending = pending_[index];
  const NeighborLink link = neighbor.load();
  if (const MacAddr* told = static_->find(neighbor.interface, neighbor.address); told != nullptr) {
    if (link.state == NeighborState::Permanent && link.mac == *told) return;
    pending.asked = 0;
    pending.mac = {};  // it holds as long as it is told
    set_state(index, NeighborState::Permanent, *told);
    release_held(index, *told);
  } else if (link.state == NeighborState::Permanent) {
    if (!NeighborTable::is_pinned(index)) {
      deactivate(index);
      return table.remove_dynamic(index);
    }
    pending.asked = 0;
    pending.mac = {};
    pending.due = context_.now;  // it is asked for at once
    set_state(index, NeighborState::Incomplete, MacAddr{});
  }
}

void Resolver::settle_static(uint16_t interface, const net::IpAddr& address) {
  uint32_t index = find(interface, address);
  if (index == no_neighbor && static_->find(interface, address) != nullptr) index = add(interface, address);
  if (index == no_neighbor) return;  // static no more, or no room: whoever needs it asks
  activate(index);
  settle(index);
}

void Resolver::deactivate(uint32_t index) {
  Pending& pending = pending_[index];
  if (!pending.active) return;
  for (unsigned i = 0; i < pending.count; ++i) {
    forget(pending.originals[i]);
    context_.drop(pending.held[i], DropReason::NeighborFailed);
  }
  pending.count = 0;
  pending.active = false;
  const uint32_t last = active_.back();
  active_[pending.position] = last;
  pending_[last].position = pending.position;
  active_.pop_back();
  if (NeighborTable::is_pinned(index)) {
    // Another entry may have got this one's old meaning before it.
    const PinnedKey key = pinned_key(pending.interface, pending.address);
    void* data = nullptr;
    const bool here = rte_hash_lookup_data(pinned_, &key, &data) >= 0 && reinterpret_cast<uintptr_t>(data) == index;
    if (here) rte_hash_del_key(pinned_, &key);
  }
}

void Resolver::set_state(uint32_t index, NeighborState state, const MacAddr& mac) {
  Neighbor& neighbor = (*context_.tables.neighbors)[index];
  const NeighborLink link{mac, state, neighbor.load().epoch};
  neighbor.link.store(link.pack(), std::memory_order_relaxed);
}

void Resolver::hold(rte_mbuf* mbuf, uint16_t l3, uint16_t interface, NeighborRef ref, rte_mbuf* original) {
  NeighborTable& table = *context_.tables.neighbors;
  const auto drop = [&](DropReason reason) {
    forget(original);
    context_.drop(mbuf, reason);
  };
  uint32_t index = ref == no_neighbor ? no_neighbor : neighbor_index(ref);
  if (index != no_neighbor &&
      (!table[index].live.load(std::memory_order_acquire) || table[index].load().epoch != neighbor_epoch(ref))) {
    return drop(DropReason::NeighborFailed);
  }
  if (index == no_neighbor) {
    const net::IpAddr target = destination_of(rte_pktmbuf_mtod_offset(mbuf, uint8_t*, l3));
    index = find(interface, target);
    if (index == no_neighbor) index = add(interface, target);
    if (index == no_neighbor) return drop(DropReason::NeighborQueueFull);
  }
  const bool fresh = !pending_[index].active || pending_[index].epoch != table[index].load().epoch;
  activate(index);
  const NeighborLink link = table[index].load();
  if (link.usable()) {
    forget(original);
    return output_.send_to(mbuf, l3, interface, link.mac);
  }
  if (link.state == NeighborState::Failed) return refuse(mbuf, original);
  Pending& pending = pending_[index];
  pending.last_used = context_.now;
  if (pending.count == queue_length) return drop(DropReason::NeighborQueueFull);
  pending.held[pending.count] = mbuf;
  pending.originals[pending.count] = original;
  pending.held_l3[pending.count] = l3;
  ++pending.count;
  if (fresh) look_at(index);
}

void Resolver::refuse(rte_mbuf* mbuf, rte_mbuf* original) {
  if (original != nullptr) icmp_.send_host_unreachable(original, 0);
  forget(original);
  context_.drop(mbuf, DropReason::NeighborFailed);
}

void Resolver::ask(uint32_t index, bool broadcast) {
  const Neighbor& neighbor = (*context_.tables.neighbors)[index];
  if (neighbor.interface >= context_.snapshot->interfaces.size() || !context_.interface(neighbor.interface).present) {
    return;
  }
  const MacAddr known = neighbor.load().mac;
  const Interface& interface = context_.interface(neighbor.interface);
  if (neighbor.address.is_v4()) {
    net::Ipv4Addr source = interface.source_for(neighbor.address).v4();
    // A pod's port has no address, or one that is every node's: the node's own instead (ARP-2).
    const bool nobodys = source.is_unspecified() || (interface.role == Role::Workload && source.is_link_local());
    if (nobodys) source = context_.snapshot->router_v4;
    send_arp(neighbor.interface, RTE_ARP_OP_REQUEST, broadcast ? MacAddr::broadcast() : known, source, MacAddr{},
             neighbor.address.v4());
  } else {
    send_solicit(neighbor.interface, neighbor.address.v6(), broadcast ? nullptr : &known);
  }
}

// One step of an entry's state machine, when its timer is due.
void Resolver::look_at(uint32_t index) {
  NeighborTable& table = *context_.tables.neighbors;
  Neighbor& neighbor = table[index];
  Pending& pending = pending_[index];
  if (!neighbor.live.load(std::memory_order_acquire) || !(neighbor.address == pending.address) ||
      neighbor.interface != pending.interface || neighbor.load().epoch != pending.epoch) {
    return deactivate(index);
  }
  const NeighborLink link = neighbor.load();
  const bool pinned = NeighborTable::is_pinned(index);
  if (neighbor.used.load(std::memory_order_relaxed) != 0) {
    neighbor.used.store(0, std::memory_order_relaxed);
    pending.last_used = context_.now;
  }
  switch (link.state) {
    case NeighborState::Permanent:
      return release_held(index, link.mac);
    case NeighborState::Incomplete:
      if (pending.asked == tries) return fail(index);
      ++pending.asked;
      pending.due = context_.now + retry_after;
      return ask(index, true);
    case NeighborState::Failed:
      if (!pinned && pending.count == 0) {
        deactivate(index);
        return table.remove_dynamic(index);
      }
      pending.asked = 1;
      pending.due = context_.now + retry_after;
      set_state(index, NeighborState::Incomplete, MacAddr{});
      return ask(index, true);
    case NeighborState::Reachable:
      if (!pinned && nat::millis_between(pending.last_used, context_.now) > static_cast<int32_t>(forget_after)) {
        deactivate(index);
        return table.remove_dynamic(index);
      }
      pending.asked = 1;
      pending.due = context_.now + retry_after;
      set_state(index, NeighborState::Stale, link.mac);
      return ask(index, false);
    case NeighborState::Stale:
      if (pending.asked == tries) {
        pending.asked = 0;
        pending.due = context_.now;
        return set_state(index, NeighborState::Incomplete, MacAddr{});
      }
      ++pending.asked;
      pending.due = context_.now + retry_after;
      return ask(index, false);
    case NeighborState::Unused:
      return deactivate(index);
  }
}

void Resolver::fail(uint32_t index) {
  Pending& pending = pending_[index];
  set_state(index, NeighborState::Failed, MacAddr{});
  pending.asked = 0;
  pending.due = context_.now + failed_for;
  for (unsigned i = 0; i < pending.count; ++i) refuse(pending.held[i], pending.originals[i]);
  pending.count = 0;
}

void Resolver::release_held(uint32_t index, const MacAddr& mac) {
  Pending& pending = pending_[index];
  const unsigned count = pending.count;
  pending.count = 0;
  for (unsigned i = 0; i < count; ++i) {
    forget(pending.originals[i]);
    output_.send_to(pending.held[i], pending.held_l3[i], pending.interface, mac);
  }
  // A static neighbour needs no timer.
  pending.due = context_.now + reachable_for;
}

// `override_known`: the sender answered us or announced itself; otherwise only what is unknown is filled in.
void Resolver::learn(uint32_t index, const MacAddr& mac, bool override_known) {
  const NeighborLink link = (*context_.tables.neighbors)[index].load();
  if (link.state == NeighborState::Permanent || mac.is_multicast() || mac.is_zero()) return;
  if (link.usable() && !(link.mac == mac) && !override_known) return;
  activate(index);
  Pending& pending = pending_[index];
  pending.asked = 0;
  pending.mac = mac;
  set_state(index, NeighborState::Reachable, mac);
  release_held(index, mac);
}

void Resolver::on_arp(rte_mbuf* mbuf, uint16_t l3, uint16_t interface_index) {
  context_.counters.add(Event::ArpReceived);
  const Interface& interface = context_.interface(interface_index);
  if (mbuf->data_len < l3 + sizeof(rte_arp_hdr)) return context_.drop(mbuf, DropReason::ArpMalformed);
  const auto* const arp = rte_pktmbuf_mtod_offset(mbuf, const rte_arp_hdr*, l3);
  const auto operation = net::be16::from_wire(arp->arp_opcode).host();
  if (net::be16::from_wire(arp->arp_hardware).host() != RTE_ARP_HRD_ETHER ||
      net::be16::from_wire(arp->arp_protocol).host() != net::ether_type_ipv4 || arp->arp_hlen != 6 ||
      arp->arp_plen != 4 || (operation != RTE_ARP_OP_REQUEST && operation != RTE_ARP_OP_REPLY)) {
    return context_.drop(mbuf, DropReason::ArpMalformed);
  }
  const MacAddr sender_mac = load_mac(&arp->arp_data.arp_sha);
  const auto sender = net::Ipv4Addr::from_wire(arp->arp_data.arp_sip);
  const auto target = net::Ipv4Addr::from_wire(arp->arp_data.arp_tip);
  if (interface.owns(sender)) {
    // ARP-4: somebody else uses our address; our own frame come back is none.
    return context_.drop(mbuf, sender_mac == interface.mac ? DropReason::ArpNotForUs : DropReason::ArpConflict);
  }
  if (const Announcement* vip = announced(interface_index, sender); vip != nullptr) [[unlikely]] {
    if (sender_mac == interface.mac) return context_.drop(mbuf, DropReason::ArpNotForUs);
    note_claim(interface_index, sender, sender_mac);
    if (vip->answers) return context_.drop(mbuf, DropReason::ArpConflict);
  }
  if (!sender.is_unspecified()) {
    if (!interface.may_come_from(sender)) return context_.drop(mbuf, DropReason::SpoofedSource);
    const uint32_t known = find(interface_index, sender);
    // An answer to us, or a gratuitous announcement of what we know (ARP-6).
    if (known != no_neighbor) learn(known, sender_mac, operation == RTE_ARP_OP_REPLY || sender == target);
  }
  // The host's kernel has a neighbour table of its own; requests are answered here, for both.
  if (interface.twin && (operation == RTE_ARP_OP_REPLY || sender == target)) {
    context_.punt->copy(mbuf, l3, net::ether_type_arp, interface_index, PuntClass::Neighbor);
  }
  if (operation == RTE_ARP_OP_REPLY) return context_.discard(mbuf);
  bool ours = interface.owns(target);
  if (!ours && interface.role == Role::Workload) {
    // ARP-1: a pod's port answers for everything but the pod itself.
    ours = true;
    for (const net::IpAddr& pod : interface.pod_addresses) ours = ours && !(pod == net::IpAddr(target));
    if (sender.is_unspecified()) ours = false;
  }
  // L2-3: a group address other than broadcast asks nobody.
  const auto* const to = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  const bool asks_us = (to[0] & 1) == 0 || load_mac(to) == MacAddr::broadcast();
  ours = ours || (asks_us && answers_for(interface_index, target));
  ours = ours || is_pod_of_subnet<net::V4>(context_, output_, interface, target);
  if (!ours) return context_.drop(mbuf, DropReason::ArpNotForUs);
  send_arp(interface_index, RTE_ARP_OP_REPLY, sender_mac, target, sender_mac, sender);
  context_.discard(mbuf);
}

void Resolver::send_arp(uint16_t interface_index, uint16_t operation, const MacAddr& to, net::Ipv4Addr sender,
                        const MacAddr& target_mac, net::Ipv4Addr target) {
  const Interface& interface = context_.interface(interface_index);
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(context_.tables.pool);
  if (mbuf == nullptr) return context_.counters.drop(DropReason::NoBuffer);
  const uint16_t tag = interface.vlan == 0 ? uint16_t{0} : net::vlan_tag_length;
  auto* const frame =
      reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(arp_frame_length + tag)));
  net::store(frame, to);
  net::store(frame + 6, interface.mac);
  if (tag != 0) {
    net::store_be16(frame + 12, net::ether_type_vlan);
    net::store_be16(frame + 14, interface.vlan);
  }
  net::store_be16(frame + 12 + tag, net::ether_type_arp);
  uint8_t* const arp = frame + net::ethernet_header_length + tag;
  net::store_be16(arp, RTE_ARP_HRD_ETHER);
  net::store_be16(arp + 2, net::ether_type_ipv4);
  arp[4] = 6;
  arp[5] = 4;
  net::store_be16(arp + 6, operation);
  net::store(arp + 8, interface.mac);
  net::store(arp + 14, sender.wire());
  net::store(arp + 18, target_mac);
  net::store(arp + 24, target.wire());
  context_.counters.add(operation == RTE_ARP_OP_REQUEST ? Event::ArpRequestsSent : Event::ArpRepliesSent);
  output_.send_frame(mbuf, interface_index);
}

rte_mbuf* Resolver::make_nd(uint16_t interface_index, uint8_t type, const net::Ipv6Addr& src, const net::Ipv6Addr& dst,
                            const net::Ipv6Addr& target, uint32_t flags, uint8_t option) {
  const Interface& interface = context_.interface(interface_index);
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(context_.tables.pool);
  if (mbuf == nullptr) {
    context_.counters.drop(DropReason::NoBuffer);
    return nullptr;
  }
  constexpr uint16_t payload = nd_message_length + nd_option_length;
  auto* const l3 = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, net::ipv6_header_length + payload));
  uint8_t* const icmp = l3 + net::ipv6_header_length;
  net::store_be32(l3, 0x60000000U);
  net::store_be16(l3 + 4, payload);
  l3[6] = net::protocol::icmpv6;
  l3[7] = 255;  // RFC 4861 section 7.1: nothing off-link can claim to be a neighbour
  net::store(l3 + 8, src);
  net::store(l3 + 24, dst);
  std::memset(icmp, 0, payload);
  icmp[0] = type;
  net::store_be32(icmp + 4, flags);
  net::store(icmp + 8, target);
  icmp[24] = option;
  icmp[25] = 1;  // in units of 8 bytes
  net::store(icmp + 26, interface.mac);
  const uint64_t pseudo = net::checksum_sum(l3 + 8, 32) + net::be16::from_host(payload).wire() +
                          net::be16::from_host(net::protocol::icmpv6).wire();
  net::store(icmp + 2, net::checksum(icmp, payload, pseudo));
  return mbuf;
}

void Resolver::send_solicit(uint16_t interface, const net::Ipv6Addr& target, const MacAddr* unicast_to) {
  const net::Ipv6Addr group = target.solicited_node();
  const net::IpAddr source = context_.interface(interface).source_for(target);
  rte_mbuf* const mbuf = make_nd(interface, net::icmpv6::neighbor_solicitation, source.v6(),
                                 unicast_to != nullptr ? target : group, target, 0, nd_option_source);
  if (mbuf == nullptr) return;
  context_.counters.add(Event::NdSolicitsSent);
  output_.send_to(mbuf, 0, interface, unicast_to != nullptr ? *unicast_to : MacAddr::for_multicast(group));
}

void Resolver::send_advert(uint16_t interface, const net::Ipv6Addr& target, const net::Ipv6Addr& to,
                           const MacAddr& to_mac, bool solicited) {
  const uint32_t flags = nd_router | nd_override | (solicited ? nd_solicited : 0);
  rte_mbuf* const mbuf =
      make_nd(interface, net::icmpv6::neighbor_advertisement, target, to, target, flags, nd_option_target);
  if (mbuf == nullptr) return;
  context_.counters.add(Event::NdAdvertsSent);
  output_.send_to(mbuf, 0, interface, to_mac);
}

void Resolver::on_nd(rte_mbuf* mbuf, uint16_t l3_offset, uint16_t l4_offset, uint16_t interface_index) {
  const uint8_t* const l3 = rte_pktmbuf_mtod_offset(mbuf, uint8_t*, l3_offset);
  // Handed over by another worker, it has `l4_offset` in its options.
  if (const uint8_t type = *rte_pktmbuf_mtod_offset(mbuf, const uint8_t*, l4_offset);
      l3[6] == net::protocol::hop_by_hop && (type < net::icmpv6::router_solicitation || type > net::icmpv6::redirect)) {
    return membership_->on_query(mbuf, l3_offset, interface_index);
  }
  context_.counters.add(Event::NdReceived);
  const Interface& interface = context_.interface(interface_index);
  const uint8_t* const icmp = rte_pktmbuf_mtod_offset(mbuf, uint8_t*, l4_offset);
  const auto length = static_cast<uint16_t>(mbuf->data_len - l4_offset);
  // RFC 4861 section 7.1: hop limit 255, code 0, whole message, right checksum.
  if (length < nd_message_length || l3[7] != 255 || icmp[1] != 0 || mbuf->nb_segs != 1) {
    return context_.drop(mbuf, DropReason::NdMalformed);
  }
  if (net::checksum_fold(net::checksum_sum(icmp, length, icmp_pseudo_sum<net::V6>(l3, length))) != 0xffff) {
    return context_.drop(mbuf, DropReason::IcmpBadChecksum);
  }
  const bool solicit = icmp[0] == net::icmpv6::neighbor_solicitation;
  const auto target = net::load<net::Ipv6Addr>(icmp + 8);
  const auto source = net::IpHeader<net::V6>::source(l3);
  if (target.is_multicast()) return context_.drop(mbuf, DropReason::NdMalformed);
  // A pod's link-local address is nobody's business but its link's.
  if (!source.is_unspecified() && !source.is_link_local() && !interface.may_come_from(source)) {
    return context_.drop(mbuf, DropReason::SpoofedSource);
  }
  MacAddr link_layer;
  const uint8_t wanted = solicit ? nd_option_source : nd_option_target;
  for (uint16_t at = nd_message_length; at + nd_option_length <= length;) {
    const auto size = static_cast<uint16_t>(icmp[at + 1] * 8);
    if (size == 0) return context_.drop(mbuf, DropReason::NdMalformed);
    if (icmp[at] == wanted) link_layer = load_mac(icmp + at + 2);
    at = static_cast<uint16_t>(at + size);
  }
  if (!solicit) {
    if (announced(interface_index, target) != nullptr && !link_layer.is_zero() && !(link_layer == interface.mac))
        [[unlikely]] {
      note_claim(interface_index, target, link_layer);
    }
    const uint32_t known = find(interface_index, target);
    const bool override_known = (net::load_be32(icmp + 4) & nd_override) != 0;
    if (known != no_neighbor) learn(known, link_layer, override_known);
    if (interface.twin) {
      context_.punt->copy(mbuf, l3_offset, net::ether_type_ipv6, interface_index, PuntClass::Neighbor);
    }
    return context_.discard(mbuf);
  }
  if (!source.is_unspecified()) {
    const uint32_t known = find(interface_index, source);
    if (known != no_neighbor) learn(known, link_layer, true);
  }
  bool ours = interface.owns(target);
  if (!ours && interface.role == Role::Workload && !source.is_unspecified()) {
    ours = true;
    for (const net::IpAddr& pod : interface.pod_addresses) ours = ours && !(pod == net::IpAddr(target));
  }
  ours = ours || answers_for(interface_index, target);
  ours = ours || is_pod_of_subnet<net::V6>(context_, output_, interface, target);
  if (!ours) return context_.drop(mbuf, DropReason::NdNotForUs);
  if (source.is_unspecified()) {
    // Duplicate address detection: the answer goes to all nodes (section 7.2.4).
    send_advert(interface_index, target, all_nodes, MacAddr::for_multicast(all_nodes), false);
  } else {
    const auto* const frame = rte_pktmbuf_mtod(mbuf, const uint8_t*);
    send_advert(interface_index, target, source, link_layer.is_zero() ? load_mac(frame + 6) : link_layer, true);
  }
  context_.discard(mbuf);
}

void Resolver::scan_pinned() {
  if (scanned_generation_ != context_.snapshot->generation) {
    scanned_generation_ = context_.snapshot->generation;
    scan_ = 0;
    announce();
  }
  for (unsigned looked = 0; scan_ < context_.snapshot->pinned_neighbors && looked < scans_per_tick; ++scan_, ++looked) {
    const Neighbor& neighbor = (*context_.tables.neighbors)[scan_];
    Pending& pending = pending_[scan_];
    if (pending.active && (!(neighbor.address == pending.address) || neighbor.interface != pending.interface)) {
      deactivate(scan_);
    }
    if (neighbor.live.load(std::memory_order_acquire)) activate(scan_);
  }
}

// Gratuitous ARP (RFC 5944 section 4.6) and unsolicited advertisements for addresses that are new here.
void Resolver::announce() {
  const auto& interfaces = context_.snapshot->interfaces;
  for (uint16_t i = 0; i < interfaces.size() && i < announced_.size(); ++i) {
    const uint64_t now = interfaces[i].present ? fingerprint(interfaces[i]) : 0;
    if (announced_[i] == now) continue;
    announced_[i] = now;
    if (!interfaces[i].present || interfaces[i].role == Role::Workload) continue;
    for (const net::Ipv4Addr addr : interfaces[i].addresses_v4) {
      send_arp(i, RTE_ARP_OP_REQUEST, MacAddr::broadcast(), addr, MacAddr{}, addr);
    }
    for (const net::Ipv6Addr& addr : interfaces[i].addresses_v6) {
      membership_->join(i, addr);
      send_advert(i, addr, all_nodes, MacAddr::for_multicast(all_nodes), false);
    }
  }
}

void Resolver::note_claim(uint16_t interface, const net::IpAddr& address, const MacAddr& mac) {
  context_.counters.add(Event::VipClaims);
  claims_.put({address, mac, interface});
}

void Resolver::announce(const Announcement& announcement) {
  const auto& [address, interface, wanted] = announcement;
  const Announcement* found = announced(interface, address);
  if (found == nullptr || found->answers != wanted || !context_.interface(interface).present) return;
  if (!wanted && address.is_v4()) {
    const net::Ipv4Addr own = context_.interface(interface).source_for(address).v4();
    return send_arp(interface, RTE_ARP_OP_REQUEST, MacAddr::broadcast(), own, MacAddr{}, address.v4());
  }
  if (!wanted) return send_solicit(interface, address.v6(), nullptr);
  if (address.is_v6()) {
    membership_->join(interface, address.v6());
    return send_advert(interface, address.v6(), all_nodes, MacAddr::for_multicast(all_nodes), false);
  }
  // Some hosts look at one form only (RFC 5227 section 3).
  const net::Ipv4Addr vip = address.v4();
  send_arp(interface, RTE_ARP_OP_REQUEST, MacAddr::broadcast(), vip, MacAddr{}, vip);
  send_arp(interface, RTE_ARP_OP_REPLY, MacAddr::broadcast(), vip, MacAddr::broadcast(), vip);
}

void Resolver::tick() {
  if (nat::millis_between(next_tick_, context_.now) < 0 && next_tick_ != 0) return;
  next_tick_ = context_.now + tick_interval;
  membership_->tick();
  scan_pinned();
  for (unsigned looked = 0; looked < timers_per_tick && looked < active_.size(); ++looked) {
    if (cursor_ >= active_.size()) cursor_ = 0;
    const uint32_t index = active_[cursor_];
    if (nat::millis_between(pending_[index].due, context_.now) >= 0) {
      look_at(index);
      if (!pending_[index].active) continue;  // another entry took its place
    }
    ++cursor_;
  }
}

}  // namespace sluice::dataplane
