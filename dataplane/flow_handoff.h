// A packet of a flow on its way to another worker, and the question whether a flow may be what it is.
//
// Who opens a connection with the client's own port, or with that of its mapping, whose replies arrive at another
// worker (MASQ-7), cannot know that no other connection has that tuple towards the endpoint: the other worker does. So
// the first packet goes there and back, behind the message that asks for the stub. When it comes back with no message
// of a clash before it, the tuple is the connection's. Until then the connection's other packets take the same way,
// each with a question of its own, as none of them may leave with a tuple of somebody else.
//
// Full rings drop, counted; the packet that is sent again asks again. Where the message of a clash finds no room, the
// packet that asked does not go back either: questions have numbers, in the order in which they and their packets go,
// and those up to the last one without an answer are not confirmed. The asker knows by the number which of its
// connections was asked for, should another one have the same tuple by now. Whose connection was given up for another
// (CT-9) on the way opens it again, and leaves if there was no clash.
#pragma once

#include <cstdint>

#include "dataplane/handoff.h"
#include "dataplane/net/packet.h"
#include "nat/flow.h"

namespace sluice::dataplane {

// One of nat::flow_flag, of the original direction: nobody has said yet that the replies' tuple is free.
inline constexpr uint8_t unconfirmed = 32;
static_assert((unconfirmed & (nat::flow_flag::translated | nat::flow_flag::stub | nat::flow_flag::settled |
                              nat::flow_flag::direct_return | nat::flow_flag::spliced)) == 0);

// In HandoffNote::neighbor of HandoffKind::Flow, beside the protocol: a worker that is not the asker sends the packet
// to it, as it is.
inline constexpr uint32_t asks_for_confirmation = 0x100;

// Whether a question was asked before another one, or is that one.
[[nodiscard]] inline bool no_later(uint32_t number, uint32_t than) { return static_cast<int32_t>(number - than) <= 0; }

[[nodiscard]] inline bool asks(const HandoffNote& note) {
  return (note.neighbor & asks_for_confirmation) != 0 && note.kind == HandoffKind::Flow;
}

template <class F>
[[nodiscard]] inline HandoffNote note_of(const net::FlowPacket<F>& packet, HandoffKind kind) {
  HandoffNote note;
  note.kind = kind;
  note.l3 = packet.l3;
  note.where = packet.ingress;
  note.tunnel_source = packet.tunnel_source;
  note.decapsulations = packet.decapsulations & 0x7;
  note.plain = packet.plain;
  note.ports_known = packet.fragment == net::FragmentKind::Later && kind != HandoffKind::Fragment;
  note.src_port = packet.key.src_port;
  note.dst_port = packet.key.dst_port;
  note.neighbor = packet.protocol;
  return note;
}

}  // namespace sluice::dataplane
