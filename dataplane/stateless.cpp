// Connections to services for which the connection table has no room (CT-9): they are translated all the same, packet
// by packet, as long as only the destination changes. A flood of connections, whose table would otherwise hold nothing
// but what was opened last, so costs established connections nothing and new ones only what a record is good for.
//
// Which endpoint: the one of the connection's hint (nat/hints.h), else Maglev's, which is the same for each packet.
// The answers are known by a hint at the worker they arrive at, which is told by message if it is another one, before
// the packet leaves. Without a hint they go untranslated; a client resets that, and sends its SYN again.
//
// What has no record or loses it to another one in the flood (leave_hints) gets one as soon as there is room: every
// packet in the original direction tries, and one with a hint may begin in the middle of a connection (CT-7), also
// where `tcpLoose` is off. The TCP state and window of such packets are not checked. Masqueraded connections are not
// forwarded like this: nothing but a record keeps others from their port.
#include "dataplane/pipeline.h"
#include "nat/rewrite.h"

namespace sluice::dataplane {

using net::FlowKey;
using net::FlowPacket;
using net::V4;
using net::V6;

// Of a packet in the original direction that belongs to something begun before; nullptr if there is none.
template <class F>
const nat::Hint<F>* Pipeline::find_hint(const FlowPacket<F>& packet) {
  const nat::Hint<F>* const hint = connections_.hints<F>().find(packet.key, packet.hash, context_.now);
  return hint == nullptr || hint->direction != nat::Direction::Original || is_syn(packet) ? nullptr : hint;
}

// A FIN or RST of a connection that began without a record, as far as anybody can tell (CT-20): only while there are
// such connections.
template <class F>
bool Pipeline::may_end_stateless(const FlowPacket<F>& packet) const {
  if (!connections_.hints<F>().in_use(context_.now)) return false;
  const nat::TcpEvent event = nat::tcp_event(packet.l4_header()[13]);
  return event == nat::TcpEvent::Fin || event == nat::TcpEvent::Rst;
}

template <class F>
void Pipeline::forward_stateless(FlowPacket<F>& packet, const Egress& egress, const typename F::Addr& endpoint,
                                 net::be16 endpoint_port) {
  place_hints(packet.key, packet.hash, endpoint, endpoint_port, find_hint(packet) != nullptr);
  context_.counters.add(Event::StatelessForwards);
  const nat::Translation<F> change = nat::translation_of(nat::Hint<F>{packet.key, endpoint, endpoint_port});
  forward(packet, egress, &change);
}

// False: it is no such answer, and as it was.
template <class F>
bool Pipeline::forward_reply_by_hint(FlowPacket<F>& packet, const Egress& egress) {
  const nat::Hint<F>* const hint = connections_.hints<F>().find(packet.key, packet.hash, context_.now);
  if (hint == nullptr || hint->direction != nat::Direction::Reply) return false;
  // What is no endpoint any more is not known to be asked by open() for every direct conversation.
  const FlowKey<F>& key = packet.key;
  if (!context_.snapshot->family<F>().endpoints->contains(key.src, key.src_port, key.protocol)) return false;
  context_.counters.add(Event::StatelessForwards);
  const nat::Translation<F> change = nat::translation_of(*hint);
  forward(packet, egress, &change);
  return true;
}

// `original`: of the first packet, before translation, with its hash.
template <class F>
void Pipeline::place_hints(const FlowKey<F>& original, uint64_t hash, const typename F::Addr& endpoint,
                           net::be16 endpoint_port, bool proven) {
  connections_.hints<F>().place({original, endpoint, endpoint_port}, hash, proven, context_.now);
  const FlowKey<F> reply{endpoint, original.src, endpoint_port, original.src_port, original.protocol, {}};
  StubMessage message;
  message.kind = F::is_v4 ? StubMessage::Kind::HintV4 : StubMessage::Kind::HintV6;
  message.owner = context_.worker;
  message.proven = proven;
  message.hash = context_.tables.hasher(reply);
  message.set_key(reply);
  message.frontend = original.dst;
  message.frontend_port = original.dst_port;
  const uint16_t arrives_at = net::owner_of(message.hash, context_.tables.workers);
  if (arrives_at == context_.worker) return take_hint<F>(message);
  context_.tables.rings->tell(context_.worker, arrives_at, message);
}

template <class F>
void Pipeline::take_hint(const StubMessage& message) {
  typename F::Addr frontend;
  if constexpr (F::is_v4) {
    frontend = message.frontend.v4();
  } else {
    frontend = message.frontend.v6();
  }
  connections_.hints<F>().place({message.key<F>(), frontend, message.frontend_port, nat::Direction::Reply},
                                message.hash, message.proven, context_.now);
}

// A connection that gives its place to another goes on without.
template <class F>
void Pipeline::leave_hints(nat::ConnectionId id) {
  const nat::Conntrack<F>& table = connections_.of<F>();
  const nat::Connection& connection = table.connection(id);
  const nat::Flow<F>& original = table.flow(nat::flow_id(id, nat::Direction::Original));
  const nat::Rewrite<F> rewrite = table.rewrite(nat::flow_id(id, nat::Direction::Original));
  const bool same_source = rewrite.src == original.key.src && rewrite.src_port == original.key.src_port;
  const bool one_way = (connection.flags & nat::connection_flag::one_way) != 0;  // is not translated
  const bool spliced = (original.flags & nat::flow_flag::spliced) != 0;  // nothing but its record knows the numbers
  if (connection.service == nat::no_service || !same_source || one_way || spliced) return;
  const bool begins = connection.tcp_state == nat::TcpState::None || connection.tcp_state == nat::TcpState::SynSent ||
                      connection.tcp_state == nat::TcpState::SynRecv || connection.tcp_state == nat::TcpState::SynSent2;
  place_hints(original.key, context_.tables.hasher(original.key), rewrite.dst, rewrite.dst_port, !begins);
}

template const nat::Hint<V4>* Pipeline::find_hint<V4>(const FlowPacket<V4>&);
template const nat::Hint<V6>* Pipeline::find_hint<V6>(const FlowPacket<V6>&);
template bool Pipeline::may_end_stateless<V4>(const FlowPacket<V4>&) const;
template bool Pipeline::may_end_stateless<V6>(const FlowPacket<V6>&) const;
template void Pipeline::forward_stateless<V4>(FlowPacket<V4>&, const Egress&, const net::Ipv4Addr&, net::be16);
template void Pipeline::forward_stateless<V6>(FlowPacket<V6>&, const Egress&, const net::Ipv6Addr&, net::be16);
template bool Pipeline::forward_reply_by_hint<V4>(FlowPacket<V4>&, const Egress&);
template bool Pipeline::forward_reply_by_hint<V6>(FlowPacket<V6>&, const Egress&);
template void Pipeline::take_hint<V4>(const StubMessage&);
template void Pipeline::take_hint<V6>(const StubMessage&);
template void Pipeline::leave_hints<V4>(nat::ConnectionId);
template void Pipeline::leave_hints<V6>(nat::ConnectionId);

}  // namespace sluice::dataplane
