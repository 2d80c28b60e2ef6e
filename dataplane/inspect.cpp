// Connections that are looked into for what ContentPolicies name (l7/inspector.h). Such a connection takes the long way
// through forward_flow until all that is to be looked at has passed; from then on it is like any other.
#include <algorithm>
#include <array>
#include <string_view>

#include "dataplane/l7/inspector.h"
#include "dataplane/pipeline.h"
#include "dataplane/tcp_reset.h"
#include "dataplane/trace.h"
#include "nat/rewrite.h"

namespace sluice::dataplane {

using net::DropReason;
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

// Both ends: to the one that sent this packet, in answer to it; to the other one instead of it.
template <class F>
void reset_both(Context& context, Output& output, const FlowPacket<F>& packet, const nat::Flow<F>& flow,
                uint32_t length) {
  const uint8_t* const tcp = packet.l4_header();
  const uint32_t seq = net::load_be32(tcp + 4);
  const bool acks = (tcp[13] & net::tcp_flag::ack) != 0;
  send_reset(context, output, packet.key.reversed(), net::tcp_flag::rst | net::tcp_flag::ack,
             acks ? net::load_be32(tcp + 8) : 0, seq + length, packet.hash);
  send_reset(context, output, nat::rewritten_key(packet.key, flow.rewrite), net::tcp_flag::rst, seq, 0, packet.hash);
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
bool Pipeline::begin_inspection(nat::ConnectionId id, const nat::ServicePort<F>* service) {
  const nat::Conntrack<F>& table = connections_.of<F>();
  const nat::Flow<F>& original = table.flow(nat::flow_id(id, nat::Direction::Original));
  const ContentPods<F>& pods = *context_.snapshot->family<F>().content;
  const bool tcp = original.key.protocol == net::protocol::tcp;
  // A dry run changes nothing that workers have.
  if (connections_.inspector == nullptr || !(tcp || original.key.protocol == net::protocol::udp)) return true;
  l7::InspectionId chain = l7::no_inspection;
  bool complete = true;
  const auto look = [&](const ContentRuleList* list, bool selected_replies) {
    if (list == nullptr) return;
    for (const auto& rules : *list) {
      const l7::InspectionId begun = connections_.inspector->begin(*rules, tcp, selected_replies, chain);
      if (begun != l7::no_inspection) {
        chain = begun;
      } else if (rules->settings().drop_when_full) {
        complete = false;
      }
    }
  };
  if (service != nullptr) look(&service->content, true);
  if (!pods.empty()) {
    look(pods.find(original.rewrite.dst), true);
    look(pods.find(original.key.src), false);
  }
  if (!complete) {
    connections_.inspector->end(chain);
    return false;
  }
  if (chain == l7::no_inspection) return true;
  nat::Connection& connection = connections_.of<F>().connection(id);
  connection.inspection = chain;
  connection.content = nat::ContentState::LookedInto;
  context_.counters.add(Event::ContentFlows);
  return true;
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
  if (connection.content == nat::ContentState::Blocked) return drop(DropReason::ContentBlocked);
  if (packet.fragment != FragmentKind::Whole) return drop(DropReason::ContentFragment);
  const bool tcp = packet.protocol == net::protocol::tcp;
  const Payload payload(packet);
  const l7::Segment segment{.reply = nat::direction_of(id) == nat::Direction::Reply,
                            .tcp = tcp,
                            .syn = tcp && (packet.l4_header()[13] & net::tcp_flag::syn) != 0,
                            .seq = tcp ? net::load_be32(packet.l4_header() + 4) : 0,
                            .length = payload.length,
                            .parts = {payload.parts.data(), payload.count}};
  const l7::Finding finding = connections_.inspector->look(connection.inspection, segment);
  if (connection.inspection == l7::no_inspection) {
    connection.content = nat::ContentState::None;
    table.settle_again(owner);
  }
  if (context_.trace != nullptr && finding.rules != nullptr) [[unlikely]]
    note_finding(*context_.trace, finding);
  switch (finding.action) {
    case l7::ContentAction::None:
      break;
    case l7::ContentAction::Count:
      context_.counters.add(Event::ContentMatches);
      break;
    case l7::ContentAction::Reset:
      context_.counters.add(Event::ContentMatches);
      if (tcp) {
        reset_both(context_, output_, packet, table.flow(id), payload.length);
        close_connection<F>(owner);
        return drop(DropReason::ContentMatched);
      }
      icmp_.send_error<F>(packet, IcmpError::Unreachable,
                          F::is_v4 ? net::icmpv4::code_admin_prohibited : net::icmpv6::code_admin_prohibited, 0,
                          nullptr);
      [[fallthrough]];
    case l7::ContentAction::Drop:
      if (finding.action == l7::ContentAction::Drop) context_.counters.add(Event::ContentMatches);
      end_inspection<F>(owner);
      connection.content = nat::ContentState::Blocked;
      table.settle_again(owner);
      return drop(DropReason::ContentMatched);
  }
  // A bytes' gap is the sender's to fill: what is behind it waits there.
  return finding.gap ? drop(DropReason::ContentGap) : true;
}

template <class F>
void Pipeline::end_inspection(nat::ConnectionId id) {
  nat::Connection& connection = connections_.of<F>().connection(id);
  if (connection.content != nat::ContentState::LookedInto) return;
  connections_.inspector->end(connection.inspection);
  connection.inspection = l7::no_inspection;
  connection.content = nat::ContentState::None;
}

template bool Pipeline::is_looked_into<V4>(const FlowPacket<V4>&) const;
template bool Pipeline::is_looked_into<V6>(const FlowPacket<V6>&) const;
template bool Pipeline::must_be_looked_into<V4>(const FlowPacket<V4>&, const nat::ServicePort<V4>*,
                                                const net::Ipv4Addr&) const;
template bool Pipeline::must_be_looked_into<V6>(const FlowPacket<V6>&, const nat::ServicePort<V6>*,
                                                const net::Ipv6Addr&) const;
template bool Pipeline::begin_inspection<V4>(nat::ConnectionId, const nat::ServicePort<V4>*);
template bool Pipeline::begin_inspection<V6>(nat::ConnectionId, const nat::ServicePort<V6>*);
template bool Pipeline::passes_inspection<V4>(FlowPacket<V4>&, nat::FlowId);
template bool Pipeline::passes_inspection<V6>(FlowPacket<V6>&, nat::FlowId);
template void Pipeline::end_inspection<V4>(nat::ConnectionId);
template void Pipeline::end_inspection<V6>(nat::ConnectionId);

}  // namespace sluice::dataplane
