// Questions of the control thread about what only a worker may touch. A command travels on a ring to the worker,
// which works on it a little per loop and sets `done`; its memory stays the control thread's.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/net/addr.h"
#include "nat/flow.h"

namespace sluice::dataplane {

// One connection, as an answer. Ports in host byte order.
struct FlowRecord {
  net::IpAddr src, dst;  // original direction as it arrives
  uint16_t src_port = 0, dst_port = 0;
  net::IpAddr reply_src, reply_dst;  // reply direction as it arrives
  uint16_t reply_src_port = 0, reply_dst_port = 0;
  uint8_t protocol = 0;
  uint8_t flags = 0;  // nat::connection_flag
  nat::TcpState tcp_state = nat::TcpState::None;
  uint32_t service = nat::no_service;
  uint16_t worker = 0;
  uint32_t packets = 0, reply_packets = 0;
  uint64_t bytes = 0, reply_bytes = 0;
  int32_t expires_in = 0;  // milliseconds
};

// Empty fields match everything; addresses and ports of the original direction.
struct FlowQuery {
  std::optional<net::Prefix> src, dst;
  std::optional<uint16_t> src_port, dst_port;
  std::optional<uint8_t> protocol;
  std::vector<uint32_t> services;  // ids; empty: any, unless `by_service`
  bool by_service = false;
};

struct Command {
  enum class Kind : uint8_t { ListFlows, DeleteFlows };
  Kind kind = Kind::ListFlows;
  FlowQuery query;
  // ListFlows: the worker fills up to the capacity reserved here.
  std::vector<FlowRecord> records;
  uint64_t matched = 0;  // also beyond that capacity
  std::atomic<bool> done{false};

  // Where the worker stands.
  bool second_family = false;
  nat::ConnectionId cursor = 0;
};

}  // namespace sluice::dataplane
