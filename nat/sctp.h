// SCTP associations: what a packet says about one, and for how long one is remembered (specification section 5.1).
//
// RFC 9260 section 3.2: a packet is a common header and chunks, those that control the association in front of DATA. Of
// each packet only one thing counts: the first chunk that changes the association, or that it changes nothing. The
// router keeps no verification tags: an ABORT that is nobody's shortens the time of an association until either end
// sends something else, a SHUTDOWN that is nobody's for good, and an INIT behind either of them begins another
// association.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nat/flow.h"

namespace sluice::nat {

inline constexpr uint16_t sctp_header_length = 12;

// Values of the chunk types of RFC 9260 section 3.2 that matter here. Other: DATA, SACK, HEARTBEAT, ERROR and the rest.
enum class SctpChunk : uint8_t {
  Other = 0,
  Init = 1,
  InitAck = 2,
  Abort = 6,
  Shutdown = 7,
  ShutdownAck = 8,
  CookieEcho = 10,
  CookieAck = 11,
  ShutdownComplete = 14,
};

// `sctp`: `length` bytes from the common header on, those that lie in one piece. An INIT counts as one only with the
// verification tag 0 (RFC 9260 section 8.5.1).
[[nodiscard]] SctpChunk sctp_chunk(const uint8_t* sctp, uint16_t length);

// PickedUp: begun before the table knew it, and seen in one direction so far.
enum class SctpState : uint8_t {
  None,
  CookieWait,
  CookieEchoed,
  Established,
  ShutdownSent,      // by the client
  ShutdownReceived,  // by it
  ShutdownAckSent,
  PickedUp,
  Closed,
};
inline constexpr size_t sctp_state_count = 9;

// The same byte of the Connection is TCP's memory of ignored segments.
[[nodiscard]] constexpr SctpState sctp_state(const Connection& connection) {
  return static_cast<SctpState>(connection.last_tcp_event);
}

// It is over or about to be: an INIT of its client begins another (SVC-92).
[[nodiscard]] constexpr bool is_closing(SctpState state) {
  return (state >= SctpState::ShutdownSent && state <= SctpState::ShutdownAckSent) || state == SctpState::Closed;
}

// Applies one packet to the state and to `replied` and `assured`. False: the association is over and its client begins
// another; nothing was changed.
[[nodiscard]] bool step_sctp(Connection& connection, Direction direction, SctpChunk chunk);

}  // namespace sluice::nat
