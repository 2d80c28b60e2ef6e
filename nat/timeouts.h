// How long an idle connection is kept (specification section 5.1, CT-1, CT-2). The values belong to a snapshot
// and are read when a connection's timer is due or its state changes, so a new configuration reaches an
// existing connection at its next look.
#pragma once

#include <algorithm>
#include <array>

#include "dataplane/net/headers.h"
#include "nat/flow.h"
#include "nat/sctp.h"

namespace sluice::nat {

// Milliseconds; at most `max_timeout`, because deadlines compare by signed difference.
struct Timeouts {
  // By TcpState. None: a TCP connection before its first packet was tracked.
  std::array<uint32_t, tcp_state_count> tcp{120'000,   120'000, 60'000,  86'400'000, 120'000,
                                            3'600'000, 30'000,  120'000, 10'000,     120'000};
  uint32_t tcp_unreplied = 300'000;       // cap for an established connection without a reply (CT-7)
  uint32_t tcp_unacknowledged = 300'000;  // cap for one in which something sent was not acknowledged
  uint32_t udp = 30'000;
  uint32_t udp_stream = 120'000;  // reply seen and older than 2 s
  uint32_t icmp = 30'000;         // ICMP and ICMPv6 queries
  uint32_t gre = 30'000;
  uint32_t gre_stream = 180'000;
  uint32_t generic = 600'000;
  // By SctpState; PickedUp is Linux's heartbeat_sent. None: an association before its first packet was tracked.
  std::array<uint32_t, sctp_state_count> sctp{10'000, 3'000, 3'000, 432'000'000, 300, 300, 3'000, 30'000, 10'000};

  [[nodiscard]] constexpr uint32_t of(SctpState state) const { return sctp[static_cast<size_t>(state)]; }
  constexpr void set(SctpState state, uint32_t milliseconds) { sctp[static_cast<size_t>(state)] = milliseconds; }
  [[nodiscard]] constexpr uint32_t of(TcpState state) const { return tcp[static_cast<size_t>(state)]; }
  constexpr void set(TcpState state, uint32_t milliseconds) { tcp[static_cast<size_t>(state)] = milliseconds; }
};

inline constexpr uint8_t gre_protocol = 47;  // RFC 2784

inline constexpr uint32_t max_timeout = 24U * 86'400'000;  // 24 days

// Age from which a connection without a state machine that was answered counts as a stream (CT-9).
inline constexpr uint32_t stream_age = 2'000;

// The idle time after which `connection` is forgotten, by protocol and state.
[[nodiscard]] constexpr uint32_t timeout_of(const Connection& connection, const Timeouts& timeouts) {
  const bool assured = (connection.flags & connection_flag::assured) != 0;
  switch (connection.protocol) {
    case net::protocol::tcp: {
      const uint32_t by_state = timeouts.of(connection.tcp_state);
      if ((connection.flags & connection_flag::doubtful) != 0) return std::min(by_state, timeouts.of(TcpState::Close));
      const bool replied = (connection.flags & connection_flag::replied) != 0;
      return connection.tcp_state == TcpState::Established && !replied ? std::min(by_state, timeouts.tcp_unreplied)
                                                                       : by_state;
    }
    case net::protocol::udp:
      return assured ? timeouts.udp_stream : timeouts.udp;
    case net::protocol::sctp:
      return timeouts.of(sctp_state(connection));
    case net::protocol::icmp:
    case net::protocol::icmpv6:
      return timeouts.icmp;
    case gre_protocol:
      return assured ? timeouts.gre_stream : timeouts.gre;
    default:
      return timeouts.generic;
  }
}

}  // namespace sluice::nat
