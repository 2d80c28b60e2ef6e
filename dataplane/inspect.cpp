// Connections that are looked into for what ContentPolicies name (l7/inspector.h). Such a connection takes the long way
// through forward_flow until all that is to be looked at has passed; from then on it is like any other.
#include <algorithm>
#include <array>
#include <string_view>

#include "dataplane/l7/inspector.h"
#include "dataplane/late_binding.h"
#include "dataplane/net/checksum.h"
#include "dataplane/own_packet.h"
#include "dataplane/pipeline.h"
#include "dataplane/splice_flow.h"
#include "dataplane/tcp_reset.h"
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

constexpr size_t most_parts = 64;  // buffers of one packet

// Bytes in front of the payload, from layer 4 on. 0: of a protocol that is not looked into.
uint32_t header_length(const net::Packet& packet) {
  if (packet.protocol == net::protocol::udp) return net::udp_header_length;
  return packet.protocol == net::protocol::tcp ? static_cast<uint32_t>(packet.l4_header()[12] >> 4) * 4 : 0;
}

struct Payload {
  std::array<std::span<const uint8_t>, most_parts> parts;
  size_t count = 0;
  uint32_t length = 0;

  explicit Payload(const net::Packet& packet) {
    uint32_t skip = packet.l4 + header_length(packet);
    const uint32_t end = uint32_t{packet.l3} + packet.l3_length;
    uint32_t left = end > skip ? end - skip : 0;
    for (const rte_mbuf* part = packet.mbuf; part != nullptr && left != 0 && count < parts.size(); part = part->next) {
      if (skip >= part->data_len) {
        skip -= part->data_len;
        continue;
      }
      const uint32_t size = std::min(left, part->data_len - skip);
      parts[count++] = {rte_pktmbuf_mtod_offset(part, const uint8_t*, skip), size};
      length += size;
      left -= size;
      skip = 0;
    }
  }
};

// Both ends: to the one that sent this packet, in answer to it; to the other one instead of it, with the number behind
// all that has passed (`passed`, as its sender counts), and with the one that it has acknowledged, should it miss some
// of that.
template <class F>
void reset_both(Context& context, Output& output, const FlowPacket<F>& packet, nat::Conntrack<F>& table, nat::FlowId id,
                uint32_t length, uint32_t passed) {
  const uint8_t* const tcp = packet.l4_header();
  const bool acks = (tcp[13] & net::tcp_flag::ack) != 0;
  const nat::TcpEnd& receiver = table.flow(nat::opposite(id)).end;
  send_reset(context, output, packet.key.reversed(), net::tcp_flag::rst | net::tcp_flag::ack,
             acks ? net::load_be32(tcp + 8) : 0, net::load_be32(tcp + 4) + length, packet.hash);
  const nat::Flow<F>& flow = table.flow(id);
  const FlowKey<F> to_receiver = nat::rewritten_key(packet.key, table.rewrite(id));
  if ((flow.flags & nat::flow_flag::spliced) != 0 && nat::direction_of(id) == nat::Direction::Reply)
    passed += splice_of(table, nat::connection_of(id)).seq;
  send_reset(context, output, to_receiver, net::tcp_flag::rst, passed, 0, packet.hash);
  if (receiver.has_acked != 0 && receiver.max_ack != passed) {
    send_reset(context, output, to_receiver, net::tcp_flag::rst, receiver.max_ack, 0, packet.hash);
  }
}

// Whether the receiver will take the segment: what it drops must not count as seen.
template <class F>
bool is_as_sent(const FlowPacket<F>& packet) {
  const uint64_t known = packet.mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  if (known == RTE_MBUF_F_RX_L4_CKSUM_BAD) return false;
  if (known != RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN) return true;
  const auto length = static_cast<uint16_t>(packet.l3_length - (packet.l4 - packet.l3));
  const uint64_t pseudo = pseudo_header_sum<F>(packet.l3_header(), net::protocol::tcp, length);
  return net::checksum_fold(pseudo + net::mbuf_sum(packet.mbuf, packet.l4, length)) == 0xffff;
}

// An urgent byte is not in the stream that its receiver reads (RFC 6093 section 2.2); without the mark it is.
void take_urgency(uint8_t* tcp) {
  if ((tcp[13] & net::tcp_flag::urg) == 0) return;
  const auto flags = net::load<uint16_t>(tcp + 12);
  const auto pointer = net::load<uint16_t>(tcp + 18);
  tcp[13] &= static_cast<uint8_t>(~net::tcp_flag::urg);
  net::store(tcp + 18, uint16_t{0});
  net::ChecksumDelta delta;
  delta.replace16(flags, net::load<uint16_t>(tcp + 12)).replace16(pointer, 0);
  net::store(tcp + 16, delta.apply(net::load<uint16_t>(tcp + 16)));
}

// The handshake is not over.
bool is_opening(nat::TcpState state) {
  return state == nat::TcpState::None || state == nat::TcpState::SynSent || state == nat::TcpState::SynRecv ||
         state == nat::TcpState::SynSent2;
}

// Whether any of the rules must not be passed by.
bool insists(const ContentRuleList* list) {
  return list != nullptr &&
         std::any_of(list->begin(), list->end(), [](const auto& rules) { return rules->settings().drop_when_full; });
}

}  // namespace

void note_finding(ServiceTrace& trace, const l7::Finding& finding) {
  const l7::ContentRule& rule = finding.rules->rules()[finding.rule];
  size_t at = 0;
  for (const std::string_view part :
       {std::string_view(rule.policy), std::string_view(": "), std::string_view(rule.name)}) {
    at += part.copy(trace.content.data() + at, trace.content.size() - 1 - at);
  }
  trace.content[at] = 0;
  trace.content_end = finding.end;
  trace.content_at = finding.at;
}

template <class F>
bool Pipeline::is_looked_into(const FlowPacket<F>& packet) const {
  const ContentPods<F>& pods = *context_.snapshot->family<F>().content;
  return !pods.empty() && (pods.find(packet.key.dst) != nullptr || pods.find(packet.key.src) != nullptr);
}

template <class F>
bool Pipeline::must_be_looked_into(const FlowPacket<F>& packet, const nat::ServicePort<F>* service,
                                   const typename F::Addr& destination) const {
  const ContentPods<F>& pods = *context_.snapshot->family<F>().content;
  return (service != nullptr && insists(&service->content)) ||
         (!pods.empty() && (insists(pods.find(destination)) || insists(pods.find(packet.key.src))));
}

template <class F>
bool Pipeline::may_be_inspected(nat::ConnectionId id, const nat::ServicePort<F>* service) const {
  const nat::FlowId first = nat::flow_id(id, nat::Direction::Original);
  const nat::Flow<F>& original = connections_.of<F>().flow(first);
  const ContentPods<F>& pods = *context_.snapshot->family<F>().content;
  // A dry run changes nothing that workers have.
  const bool tcp_or_udp = original.key.protocol == net::protocol::tcp || original.key.protocol == net::protocol::udp;
  if (connections_.inspector == nullptr || !tcp_or_udp) return false;
  return (service != nullptr && !service->content.empty()) ||
         (!pods.empty() &&
          (pods.find(connections_.of<F>().rewrite(first).dst) != nullptr || pods.find(original.key.src) != nullptr));
}

// A SYN takes no room, nor does what answers it: whoever sends many of them, from wherever, takes none from others. A
// connection is looked into without an inspection until somebody says something.
template <class F>
void Pipeline::put_off_inspection(nat::ConnectionId id, const nat::ServicePort<F>* service) {
  if (!may_be_inspected(id, service)) return;
  connections_.inspection<F>(id) = l7::no_inspection;
  connections_.of<F>().connection(id).content = nat::content_flag::looked_into;
}

template <class F>
bool Pipeline::begin_put_off(nat::ConnectionId id) {
  nat::Conntrack<F>& table = connections_.of<F>();
  const FlowKey<F>& key = table.flow(nat::flow_id(id, nat::Direction::Original)).key;
  const nat::Frontend<F>* const frontend =
      context_.snapshot->family<F>().services->find(key.dst, key.dst_port, key.protocol);
  const bool same = frontend != nullptr && frontend->service->id == table.connection(id).service;
  if (!begin_inspection<F>(id, same ? frontend->service.get() : nullptr)) return false;
  const l7::InspectionId chain = connections_.inspection<F>(id);
  if (chain == l7::no_inspection) {
    // There are no such rules any more.
    end_inspection<F>(id);
    return true;
  }
  // Neither end has acknowledged more than the other's SYN yet.
  const nat::TcpWindows now = table.windows(id);
  inspect_spliced<F>(id, now.of(nat::Direction::Original).max_ack - 1, now.of(nat::Direction::Reply).max_ack);
  return true;
}

template <class F>
bool Pipeline::begin_inspection(nat::ConnectionId id, const nat::ServicePort<F>* service) {
  if (!may_be_inspected(id, service)) return true;
  const nat::FlowId first = nat::flow_id(id, nat::Direction::Original);
  const nat::Flow<F>& original = connections_.of<F>().flow(first);
  const ContentPods<F>& pods = *context_.snapshot->family<F>().content;
  l7::InspectionId chain = l7::no_inspection;
  bool complete = true;
  const auto look = [&](const ContentRuleList* list, bool selected_replies) {
    if (list == nullptr) return;
    for (const auto& rules : *list) {
      const l7::InspectionId begun = connections_.inspector->begin(*rules, selected_replies, chain);
      if (begun != l7::no_inspection) {
        chain = begun;
      } else if (rules->settings().drop_when_full) {
        complete = false;
      }
    }
  };
  if (service != nullptr) look(&service->content, true);
  if (!pods.empty()) {
    look(pods.find(connections_.of<F>().rewrite(first).dst), true);
    look(pods.find(original.key.src), false);
  }
  if (!complete) {
    connections_.inspector->end(chain);
    return false;
  }
  if (chain == l7::no_inspection) return true;
  connections_.inspection<F>(id) = chain;
  connections_.of<F>().connection(id).content = nat::content_flag::looked_into;
  context_.counters.add(Event::ContentFlows);
  return true;
}

template <class F>
void Pipeline::inspect_spliced(nat::ConnectionId id, uint32_t endpoint_isn, uint32_t client_first) {
  if ((connections_.of<F>().connection(id).content & nat::content_flag::looked_into) == 0) return;
  const l7::Segment answer{
      .reply = true, .tcp = true, .syn = true, .acks = true, .seq = endpoint_isn, .ack = client_first, .parts = {}};
  (void)connections_.inspector->look(connections_.inspection<F>(id), answer);
}

template <class F>
bool Pipeline::begins_anew(const FlowPacket<F>& packet, nat::FlowId id) const {
  return !is_opening(connections_.of<F>().connection(nat::connection_of(id)).tcp_state) &&
         nat::direction_of(id) == nat::Direction::Original &&
         nat::tcp_event(packet.l4_header()[13]) == nat::TcpEvent::Syn;
}

template <class F>
bool Pipeline::passes_inspection(FlowPacket<F>& packet, nat::FlowId id) {
  nat::Conntrack<F>& table = connections_.of<F>();
  const nat::ConnectionId owner = nat::connection_of(id);
  nat::Connection& connection = table.connection(owner);
  const auto drop = [&](DropReason reason) {
    context_.drop(packet.mbuf, reason);
    return false;
  };
  l7::Finding finding;
  const Payload payload(packet);
  const bool tcp = packet.protocol == net::protocol::tcp;
  if ((connection.content & nat::content_flag::looked_into) != 0 &&
      connections_.inspection<F>(owner) == l7::no_inspection) {
    if (packet.fragment != FragmentKind::Whole) return drop(DropReason::ContentFragment);
    if (payload.length == 0) return true;
    // Without both acknowledgements nobody knows where the directions begin.
    const nat::TcpWindows windows = table.windows(owner);
    if (is_opening(connection.tcp_state) || windows.of(nat::Direction::Original).has_acked == 0 ||
        windows.of(nat::Direction::Reply).has_acked == 0) {
      return drop(DropReason::ContentGap);
    }
    if (!is_as_sent(packet)) return drop(DropReason::L4BadChecksum);
    if (!begin_put_off<F>(owner)) return drop(DropReason::ContentOverload);
  }
  if ((connection.content & nat::content_flag::looked_into) != 0) {
    if (packet.fragment != FragmentKind::Whole) return drop(DropReason::ContentFragment);
    if (tcp && !is_as_sent(packet)) return drop(DropReason::L4BadChecksum);
    if (tcp) take_urgency(packet.l4_header());
    const l7::Segment segment{.reply = nat::direction_of(id) == nat::Direction::Reply,
                              .tcp = tcp,
                              .syn = tcp && (packet.l4_header()[13] & net::tcp_flag::syn) != 0,
                              .acks = tcp && (packet.l4_header()[13] & net::tcp_flag::ack) != 0,
                              .seq = tcp ? net::load_be32(packet.l4_header() + 4) : 0,
                              .ack = tcp ? net::load_be32(packet.l4_header() + 8) : 0,
                              .length = payload.length,
                              .parts = {payload.parts.data(), payload.count}};
    l7::InspectionId& chain = connections_.inspection<F>(owner);
    finding = connections_.inspector->look(chain, segment);
    if (chain == l7::no_inspection) end_inspection<F>(owner);
  }
  if (finding.action != l7::ContentAction::None) {
    context_.counters.add(Event::ContentMatches);
    if (context_.trace != nullptr) [[unlikely]]
      note_finding(*context_.trace, finding);
  }
  switch (finding.action) {
    case l7::ContentAction::Reset:
      if (tcp) {
        reset_both(context_, output_, packet, table, id, payload.length, finding.next);
      } else {
        icmp_.send_error<F>(packet, IcmpError::Unreachable,
                            F::is_v4 ? net::icmpv4::code_admin_prohibited : net::icmpv6::code_admin_prohibited, 0,
                            nullptr);
      }
      [[fallthrough]];
    case l7::ContentAction::Drop:
      end_inspection<F>(owner);
      connection.content = nat::content_flag::blocked;
      table.settle_again(owner);
      late_->on_blocked<F>(owner);
      return drop(DropReason::ContentMatched);
    case l7::ContentAction::Mirror:
      connection.content |= nat::content_flag::mirrored;
      table.settle_again(owner);
      break;
    case l7::ContentAction::Count:
    case l7::ContentAction::None:
      break;
  }
  // A gap is the sender's to fill: what is behind it waits there.
  if (finding.gap) return drop(DropReason::ContentGap);
  if (finding.overload) return drop(DropReason::ContentOverload);
  if ((connection.content & nat::content_flag::mirrored) != 0) mirror(packet);
  return true;
}

template <class F>
void Pipeline::end_inspection(nat::ConnectionId id) {
  nat::Connection& connection = connections_.of<F>().connection(id);
  if ((connection.content & nat::content_flag::looked_into) == 0) return;
  connections_.inspector->end(connections_.inspection<F>(id));
  connection.content ^= nat::content_flag::looked_into | nat::content_flag::seen;
  connections_.of<F>().settle_again(id);
}

template <class F>
void Pipeline::mirror(const FlowPacket<F>& packet) {
  const std::optional<net::IpAddr>& collector = context_.snapshot->collector;
  const uint8_t protocol = F::is_v4 ? net::protocol::ipip : net::protocol::ipv6;
  if (!collector) {
    context_.counters.add(Event::MirrorLost);
  } else if (collector->is_v4()) {
    mirror<V4>(packet, protocol, packet.hash);
  } else {
    mirror<V6>(packet, protocol, packet.hash);
  }
}

// The whole packet as it came, behind an IP header of ours (RFC 2003, RFC 2473): what any capture understands.
template <class Outer>
void Pipeline::mirror(const net::Packet& packet, uint8_t protocol, uint64_t hash) {
  const auto lost = [&](rte_mbuf* mbuf) {
    context_.counters.add(Event::MirrorLost);
    if (mbuf != nullptr) context_.discard(mbuf);
  };
  const auto collector = Outer::addr_of(*context_.snapshot->collector);
  const Egress egress = output_.route<Outer>(collector, hash);
  if (!egress.forwards()) return lost(nullptr);
  rte_mbuf* const mbuf = rte_pktmbuf_copy(packet.mbuf, context_.tables.pool, packet.l3, packet.l3_length);
  if (mbuf == nullptr) return lost(nullptr);
  constexpr uint16_t header = own_header_length<Outer>;
  auto* const l3 = reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(mbuf, header));
  if (l3 == nullptr) return lost(mbuf);
  write_own_header(l3, masquerade_address<Outer>(egress), collector, protocol, 0, packet.l3_length, context_.ip_id++);
  net::Packet copy;
  copy.mbuf = mbuf;
  copy.l3 = 0;
  copy.l3_length = static_cast<uint16_t>(packet.l3_length + header);
  const bool fits = copy.l3_length <= egress.mtu;
  if (!fits && !Outer::is_v4) return lost(mbuf);
  context_.counters.add(Event::Mirrored);
  if (fits) return output_.send<Outer>(copy, egress, hash);
  if constexpr (Outer::is_v4) output_.fragment_and_send(copy, egress, hash);
}

template bool Pipeline::is_looked_into<V4>(const FlowPacket<V4>&) const;
template bool Pipeline::is_looked_into<V6>(const FlowPacket<V6>&) const;
template bool Pipeline::must_be_looked_into<V4>(const FlowPacket<V4>&, const nat::ServicePort<V4>*,
                                                const net::Ipv4Addr&) const;
template bool Pipeline::must_be_looked_into<V6>(const FlowPacket<V6>&, const nat::ServicePort<V6>*,
                                                const net::Ipv6Addr&) const;
template void Pipeline::put_off_inspection<V4>(nat::ConnectionId, const nat::ServicePort<V4>*);
template void Pipeline::put_off_inspection<V6>(nat::ConnectionId, const nat::ServicePort<V6>*);
template bool Pipeline::begin_inspection<V4>(nat::ConnectionId, const nat::ServicePort<V4>*);
template bool Pipeline::begin_inspection<V6>(nat::ConnectionId, const nat::ServicePort<V6>*);
template void Pipeline::inspect_spliced<V4>(nat::ConnectionId, uint32_t, uint32_t);
template void Pipeline::inspect_spliced<V6>(nat::ConnectionId, uint32_t, uint32_t);
template bool Pipeline::begins_anew<V4>(const FlowPacket<V4>&, nat::FlowId) const;
template bool Pipeline::begins_anew<V6>(const FlowPacket<V6>&, nat::FlowId) const;
template bool Pipeline::passes_inspection<V4>(FlowPacket<V4>&, nat::FlowId);
template bool Pipeline::passes_inspection<V6>(FlowPacket<V6>&, nat::FlowId);
template void Pipeline::end_inspection<V4>(nat::ConnectionId);
template void Pipeline::end_inspection<V6>(nat::ConnectionId);

}  // namespace sluice::dataplane
