#include "dataplane/flow_record.h"

#include <algorithm>

namespace sluice::dataplane {
namespace {

bool within(const std::optional<net::Prefix>& wanted, const net::IpAddr& found) {
  return !wanted || wanted->contains(found);
}

template <class T>
bool same(const std::optional<T>& wanted, T found) {
  return !wanted || *wanted == found;
}

}  // namespace

bool FlowQuery::matches(const FlowRecord& record) const {
  return same(protocol, record.protocol) && same(src_port, record.src_port) && same(dst_port, record.dst_port) &&
         same(reply_src_port, record.reply_src_port) && same(reply_dst_port, record.reply_dst_port) &&
         within(src, record.src) && within(dst, record.dst) && within(reply_src, record.reply_src) &&
         within(reply_dst, record.reply_dst) && (record.flags & flags_set) == flags_set &&
         (record.flags & flags_clear) == 0 &&
         (!tcp_state || (record.protocol == net::protocol::tcp && record.tcp_state == *tcp_state)) &&
         (!by_service || std::find(services.begin(), services.end(), record.service) != services.end());
}

template <class F>
FlowRecord record_of(const nat::Conntrack<F>& table, nat::ConnectionId id, const Context& context) {
  const nat::Connection& connection = table.connection(id);
  const nat::Flow<F>& original = table.flow(nat::flow_id(id, nat::Direction::Original));
  const nat::Flow<F>& reply = table.flow(nat::flow_id(id, nat::Direction::Reply));
  FlowRecord record;
  record.src = original.key.src;
  record.dst = original.key.dst;
  record.src_port = original.key.src_port.host();
  record.dst_port = original.key.dst_port.host();
  record.reply_src = reply.key.src;
  record.reply_dst = reply.key.dst;
  record.reply_src_port = reply.key.src_port.host();
  record.reply_dst_port = reply.key.dst_port.host();
  if ((connection.flags & nat::connection_flag::one_way) != 0) {
    record.reply_src = original.tuple.dst;
    record.reply_src_port = original.tuple.dst_port.host();
  }
  record.protocol = original.key.protocol;
  record.flags = connection.flags;
  record.tcp_state = connection.tcp_state;
  if (record.protocol == net::protocol::sctp) record.sctp_state = nat::sctp_state(connection);
  record.service = connection.service;
  record.worker = context.worker;
  record.packets = original.packets;
  record.reply_packets = reply.packets;
  record.bytes = original.bytes;
  record.reply_bytes = reply.bytes;
  const nat::Millis last =
      nat::millis_between(original.last_seen, reply.last_seen) > 0 ? reply.last_seen : original.last_seen;
  record.expires_in = static_cast<int32_t>(nat::timeout_of(connection, context.snapshot->timeouts)) -
                      nat::millis_between(last, context.now);
  return record;
}

template FlowRecord record_of(const nat::Conntrack<net::V4>&, nat::ConnectionId, const Context&);
template FlowRecord record_of(const nat::Conntrack<net::V6>&, nat::ConnectionId, const Context&);

}  // namespace sluice::dataplane
