#include "nat/sctp.h"

#include "dataplane/net/endian.h"
#include "dataplane/net/headers.h"

namespace sluice::nat {
namespace {

// More control chunks in front of the one that matters than any stack bundles.
constexpr unsigned most_chunks = 8;
constexpr uint8_t data_chunk = 0;

SctpState next_state(SctpState state, Direction direction, SctpChunk chunk, bool one_way) {
  const bool begins = state == SctpState::None || state == SctpState::PickedUp || state == SctpState::Closed;
  switch (chunk) {
    case SctpChunk::Init:
    case SctpChunk::InitAck:
      return begins ? SctpState::CookieWait : state;
    case SctpChunk::CookieEcho:
      if (!begins && state != SctpState::CookieWait) return state;
      // Who is answered past this router has been answered.
      return one_way ? SctpState::Established : SctpState::CookieEchoed;
    case SctpChunk::CookieAck:
      return begins || state < SctpState::Established ? SctpState::Established : state;
    case SctpChunk::Shutdown:
      if (is_closing(state)) return state;
      return direction == Direction::Original ? SctpState::ShutdownSent : SctpState::ShutdownReceived;
    case SctpChunk::ShutdownAck:
      return state == SctpState::Closed ? state : SctpState::ShutdownAckSent;
    case SctpChunk::Abort:
    case SctpChunk::ShutdownComplete:
      return SctpState::Closed;
    case SctpChunk::Other:
      break;
  }
  const bool answered = one_way || direction == Direction::Reply;
  if (state == SctpState::None || state == SctpState::Closed) return SctpState::PickedUp;
  const bool waits = state == SctpState::PickedUp || state == SctpState::CookieEchoed;
  return waits && answered ? SctpState::Established : state;
}

}  // namespace

SctpChunk sctp_chunk(const uint8_t* sctp, uint16_t length) {
  uint32_t at = sctp_header_length;
  for (unsigned i = 0; i < most_chunks && at + 4 <= length; ++i) {
    const uint8_t type = sctp[at];
    switch (type) {
      case static_cast<uint8_t>(SctpChunk::Init):
        if (net::load_be32(sctp + 4) != 0) return SctpChunk::Other;
        [[fallthrough]];
      case static_cast<uint8_t>(SctpChunk::InitAck):
      case static_cast<uint8_t>(SctpChunk::Abort):
      case static_cast<uint8_t>(SctpChunk::Shutdown):
      case static_cast<uint8_t>(SctpChunk::ShutdownAck):
      case static_cast<uint8_t>(SctpChunk::CookieEcho):
      case static_cast<uint8_t>(SctpChunk::CookieAck):
      case static_cast<uint8_t>(SctpChunk::ShutdownComplete):
        return static_cast<SctpChunk>(type);
      case data_chunk:
        return SctpChunk::Other;
      default:
        break;
    }
    const uint32_t size = net::load_be16(sctp + at + 2);
    if (size < 4) break;
    at += (size + 3) & ~3U;  // padded to words, the length without
  }
  return SctpChunk::Other;
}

bool step_sctp(Connection& connection, Direction direction, SctpChunk chunk) {
  const SctpState old = sctp_state(connection);
  if (chunk == SctpChunk::Init && direction == Direction::Original && is_closing(old)) return false;
  const bool one_way = (connection.flags & connection_flag::one_way) != 0;
  const SctpState next = next_state(old, direction, chunk, one_way);
  connection.last_tcp_event = static_cast<uint8_t>(next);
  if (direction == Direction::Reply) connection.flags |= connection_flag::replied;
  if (next == SctpState::Established && !one_way && (connection.flags & connection_flag::replied) != 0) {
    connection.flags |= connection_flag::assured;  // CT-9
  }
  return true;
}

}  // namespace sluice::nat
