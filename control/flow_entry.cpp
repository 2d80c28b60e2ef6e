#include "control/flow_entry.h"

#include <algorithm>
#include <array>

#include "dataplane/net/headers.h"

namespace sluice::control {
namespace {

constexpr std::array<std::string_view, nat::tcp_state_count> tcp_states{
    "NONE",       "SYN_SENT", "SYN_RECV",  "ESTABLISHED", "FIN_WAIT",
    "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",       "SYN_SENT2"};
constexpr std::array<std::string_view, nat::sctp_state_count> sctp_states{
    "NONE",          "COOKIE_WAIT",       "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT",
    "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "PICKED_UP",     "CLOSED"};

}  // namespace

std::string_view name_of(nat::TcpState state) { return tcp_states[static_cast<size_t>(state)]; }
std::string_view name_of(nat::SctpState state) { return sctp_states[static_cast<size_t>(state)]; }

std::optional<nat::TcpState> parse_tcp_state(std::string_view upper_case) {
  const auto* found = std::find(tcp_states.begin(), tcp_states.end(), upper_case);
  if (found == tcp_states.end()) return std::nullopt;
  return static_cast<nat::TcpState>(found - tcp_states.begin());
}

std::string protocol_name(uint8_t protocol) {
  switch (protocol) {
    case net::protocol::tcp:
      return "tcp";
    case net::protocol::udp:
      return "udp";
    case net::protocol::sctp:
      return "sctp";
    case net::protocol::icmp:
      return "icmp";
    case net::protocol::icmpv6:
      return "icmpv6";
    default:
      return std::to_string(protocol);
  }
}

FlowEntry entry_of(const dataplane::FlowRecord& record, std::string service) {
  FlowEntry entry;
  entry.protocol = protocol_name(record.protocol);
  if (record.protocol == net::protocol::tcp) entry.state = name_of(record.tcp_state);
  if (record.protocol == net::protocol::sctp) entry.state = name_of(record.sctp_state);
  entry.assured = (record.flags & nat::connection_flag::assured) != 0;
  entry.replied = (record.flags & nat::connection_flag::replied) != 0;
  entry.direct_return = (record.flags & nat::connection_flag::one_way) != 0;
  entry.worker = record.worker;
  entry.original = {record.src, record.dst, record.src_port, record.dst_port, record.packets, record.bytes};
  entry.reply = {record.reply_src,      record.reply_dst,     record.reply_src_port,
                 record.reply_dst_port, record.reply_packets, record.reply_bytes};
  entry.service = std::move(service);
  entry.expires_seconds = record.expires_in / 1000.0;
  return entry;
}

dataplane::FlowQuery query_of(const FlowFilter& filter) {
  dataplane::FlowQuery query;
  query.src = filter.src;
  query.dst = filter.dst;
  query.src_port = filter.src_port;
  query.dst_port = filter.dst_port;
  query.reply_src = filter.reply_src;
  query.reply_dst = filter.reply_dst;
  query.reply_src_port = filter.reply_src_port;
  query.reply_dst_port = filter.reply_dst_port;
  query.protocol = filter.protocol;
  query.tcp_state = filter.tcp_state;
  if (filter.standing == FlowStanding::Assured) query.flags_set = nat::connection_flag::assured;
  if (filter.standing == FlowStanding::Replied) query.flags_set = nat::connection_flag::replied;
  if (filter.standing == FlowStanding::Unreplied) query.flags_clear = nat::connection_flag::replied;
  return query;
}

}  // namespace sluice::control
