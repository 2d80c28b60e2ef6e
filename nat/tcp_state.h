// TCP connection tracking: specification section 5.2 as two tables, and the few rules a table cannot say.
//
// A segment is first reduced to one event (RST before SYN before FIN before ACK; combinations that no stack
// sends are invalid, CT-3). [direction][event][state] then gives a cell: the next state, the same state, or
//   Ignore   the segment passes, the state stays, and the segment is remembered. The router may be the one that
//            is out of step: a client that lost its memory sends a SYN into what is established here. If the
//            server acknowledges that SYN, the connection continues from there (CT-5); if it answers with a
//            challenge ACK (RFC 5961 section 4), that ACK must not be taken for the last one of a close.
//   Invalid  the segment is dropped (CT-20) and refreshes nothing.
//   NewFlow  the connection is over and its key is being used again: forget it, then treat the segment as the
//            first of a new flow, with a new choice of endpoint (CT-4). The two states with such cells are
//            reached only by FINs or a RST, which is CT-4's condition.
// Sequence numbers are looked at only for CT-5 and for RSTs; the window check of section 5.3 is a step of its own
// (tcp_window.h), in front of the change of state: Conntrack::track does both.
//
// On the way: `replied` with the first segment of the reply direction, unless it is a RST, which ends the
// connection at once (CT-8); `assured` when the handshake's ACK arrives or a connection picked up in the middle
// is answered (CT-9).
#pragma once

#include <cstdint>

#include "dataplane/net/headers.h"
#include "nat/flow.h"
#include "nat/tcp_window.h"

namespace sluice::nat {

// The rows of the tables, and Invalid for what CT-3 refuses.
enum class TcpEvent : uint8_t { Syn, SynAck, Fin, Ack, Rst, Invalid };
inline constexpr size_t tcp_event_count = 5;

// A cell of the tables; values below `Same` are those of TcpState.
enum class TcpCell : uint8_t {
  None,
  SynSent,
  SynRecv,
  Established,
  FinWait,
  CloseWait,
  LastAck,
  TimeWait,
  Close,
  SynSent2,
  Same,
  Ignore,
  Invalid,
  NewFlow,
};

[[nodiscard]] TcpEvent tcp_event(uint8_t tcp_flags);
[[nodiscard]] TcpCell tcp_transition(Direction direction, TcpEvent event, TcpState state);

enum class TrackAction : uint8_t {
  Pass,
  Invalid,  // drop; nothing was changed
  Reopen,   // close the connection, then treat the packet as the first of a new flow (CT-4)
  Close,    // forward the packet by this flow, then close the connection (CT-8)
};

struct TcpStep {
  TrackAction action;
  TcpState next;  // what connection.tcp_state is now
};

// Applies one segment to tcp_state, flags and the memory of ignored segments.
[[nodiscard]] TcpStep step(Connection& connection, Direction direction, const TcpSegment& segment);

// The same for a connection of which only the client's segments come by (connection_flag::one_way). The client's ACK
// says that its SYN was answered. No segment can be held against numbers that are not known, so nothing that a stack
// sends is refused, and what follows a RST shows that the RST was not the connection's. A connection picked up in
// the middle is not assured by that (CT-9): a single ACK is easily made up.
[[nodiscard]] TcpStep step_one_way(Connection& connection, Direction direction, const TcpSegment& segment);

// Whether a segment may open a flow: a SYN always; an ACK only with `loose` pick-up (CT-7), as the middle of
// a connection that began before this table did.
[[nodiscard]] inline bool opens_flow(uint8_t tcp_flags, bool loose) {
  const TcpEvent event = tcp_event(tcp_flags);
  return event == TcpEvent::Syn || (loose && event == TcpEvent::Ack);
}
[[nodiscard]] inline bool is_pick_up(uint8_t tcp_flags) { return tcp_event(tcp_flags) == TcpEvent::Ack; }

// An ignored segment that later ones are compared with is being remembered.
[[nodiscard]] bool has_ignored_segment(const Connection& connection);
// The RST is the answer to an ACK of the other end that was let through (CT-5, RFC 5961): wherever its number lies.
[[nodiscard]] bool answers_ignored_segment(const Connection& connection, const TcpSegment& reset);

// Data or an acknowledgement: ACK, with or without PSH, ECE, CWR.
[[nodiscard]] constexpr bool is_plain_ack(uint8_t tcp_flags) {
  return (tcp_flags & (net::tcp_flag::fin | net::tcp_flag::syn | net::tcp_flag::rst | net::tcp_flag::ack |
                       net::tcp_flag::urg)) == net::tcp_flag::ack;
}

// The packet path's question: does this packet of an existing flow change nothing but counters and last_seen?
// Then the Connection need not be touched, which saves the packet a cache line; otherwise Conntrack::track.
// `tcp_flags` is not looked at for other protocols.
template <class F>
[[nodiscard]] inline bool is_quiet(const Flow<F>& flow, uint8_t tcp_flags) {
  return (flow.flags & flow_flag::settled) != 0 && (flow.key.protocol != net::protocol::tcp || is_plain_ack(tcp_flags));
}

}  // namespace sluice::nat
