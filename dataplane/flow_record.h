// A connection as an answer, and the question which connections are meant: for listings, deletions and events.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/context.h"
#include "dataplane/net/addr.h"
#include "nat/conntrack.h"
#include "nat/flow.h"
#include "nat/sctp.h"

namespace sluice::dataplane {

// One connection. Ports in host byte order.
struct FlowRecord {
  net::IpAddr src, dst;  // original direction as it arrives
  uint16_t src_port = 0, dst_port = 0;
  // Reply direction as it arrives. If it does not (one_way): with the endpoint in the place of the service's address.
  net::IpAddr reply_src, reply_dst;
  uint16_t reply_src_port = 0, reply_dst_port = 0;
  uint8_t protocol = 0;
  uint8_t flags = 0;  // nat::connection_flag
  nat::TcpState tcp_state = nat::TcpState::None;
  nat::SctpState sctp_state = nat::SctpState::None;
  uint32_t service = nat::no_service;
  uint16_t worker = 0;
  uint32_t packets = 0, reply_packets = 0;
  uint64_t bytes = 0, reply_bytes = 0;
  int32_t expires_in = 0;  // milliseconds
};

// Empty fields match everything.
struct FlowQuery {
  std::optional<net::Prefix> src, dst;  // of the original direction
  std::optional<uint16_t> src_port, dst_port;
  std::optional<net::Prefix> reply_src, reply_dst;  // of the reply direction
  std::optional<uint16_t> reply_src_port, reply_dst_port;
  std::optional<uint8_t> protocol;
  std::optional<nat::TcpState> tcp_state;  // of TCP connections
  uint8_t flags_set = 0, flags_clear = 0;  // nat::connection_flag
  std::vector<uint32_t> services;          // ids; empty: any, unless `by_service`
  bool by_service = false;

  [[nodiscard]] bool matches(const FlowRecord& record) const;
};

// Of a live connection.
template <class F>
[[nodiscard]] FlowRecord record_of(const nat::Conntrack<F>& table, nat::ConnectionId id, const Context& context);

}  // namespace sluice::dataplane
