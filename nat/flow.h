// The record of a connection: what every later packet of it needs, finished by the first.
//
// A connection has two directions. Each direction's hot state is a `Flow`: its key as the packet carries it,
// the finished rewrite with its checksum deltas, where it goes, when it was last seen. For IPv4 a Flow is one
// cache line, so a packet of an established flow costs one bucket line and one flow line. What both
// directions share and only changes of state touch is the `Connection`.
//
// TCP is checked against what both ends have said, so a segment reads the other direction's flow, too, which lies
// beside its own. There it finds what its addresses and ports become, in the key: what the answer comes with. So a Flow
// of TCP has room for its end's numbers instead, and a segment writes its own flow's line alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/flow_key.h"
#include "dataplane/net/headers.h"
#include "nat/tcp_end.h"

namespace sluice::nat {

using net::be16;
using net::FlowKey;

// Milliseconds of the worker's clock; wraps after 49 days, so compare by difference.
using Millis = uint32_t;
[[nodiscard]] constexpr int32_t millis_between(Millis from, Millis to) { return static_cast<int32_t>(to - from); }

enum class Direction : uint8_t { Original = 0, Reply = 1 };
[[nodiscard]] constexpr Direction opposite(Direction direction) {
  return direction == Direction::Original ? Direction::Reply : Direction::Original;
}

using ConnectionId = uint32_t;
inline constexpr ConnectionId no_connection = 0xffffffff;
// connection * 2 + direction.
using FlowId = uint32_t;
inline constexpr FlowId no_flow = 0xffffffff;
[[nodiscard]] constexpr ConnectionId connection_of(FlowId flow) { return flow >> 1; }
[[nodiscard]] constexpr Direction direction_of(FlowId flow) { return static_cast<Direction>(flow & 1); }
[[nodiscard]] constexpr FlowId opposite(FlowId flow) { return flow ^ 1; }
[[nodiscard]] constexpr FlowId flow_id(ConnectionId connection, Direction direction) {
  return connection << 1 | static_cast<FlowId>(direction);
}

// TCP states of specification section 5.2; other protocols stay in None (SCTP has its own: sctp.h).
enum class TcpState : uint8_t {
  None,
  SynSent,
  SynRecv,
  Established,
  FinWait,
  CloseWait,
  LastAck,
  TimeWait,
  Close,
  SynSent2
};
inline constexpr size_t tcp_state_count = 10;

// Addresses and ports of a packet when it leaves.
template <class F>
struct Tuple {
  typename F::Addr src;
  typename F::Addr dst;
  be16 src_port;
  be16 dst_port;
};

// Finished translation of one direction: the new fields and what they do to the checksums. Where nothing
// changes the fields repeat the key and the deltas are neutral.
template <class F>
struct Rewrite : Tuple<F> {
  net::ChecksumDelta l3;  // IPv4 header checksum: addresses
  net::ChecksumDelta l4;  // TCP, UDP, ICMPv6: addresses and ports; ICMPv4: identifier only (CSUM-3)
};

// Bits of Flow::flags.
namespace flow_flag {
inline constexpr uint8_t translated = 1;  // the rewrite changes something
inline constexpr uint8_t stub = 2;        // no connection here: the key belongs to worker `Flow::route`
inline constexpr uint8_t settled = 4;     // an ordinary packet changes nothing but the counters: `is_quiet`
// Goes to its endpoint as it came, in a tunnel, and is answered past this router: the rewrite says which endpoint, and
// is not applied. Set before the rewrite.
inline constexpr uint8_t direct_return = 8;
// TCP whose other end is not the one that the client began with: numbers are translated (Connection::splice_seq), or
// the router stands between.
inline constexpr uint8_t spliced = 16;
}  // namespace flow_flag

template <class F>
struct alignas(64) Flow {
  FlowKey<F> key;
  // Which of the two: keeps_numbers(). Conntrack::rewrite() knows where to find the tuple.
  union {
    Tuple<F> tuple{};
    TcpEnd end;
  };
  net::ChecksumDelta l3;  // of Rewrite
  net::ChecksumDelta l4;
  uint16_t route = 0;  // the tunnel it goes into, or none; of a stub: the owning worker
  uint8_t flags = 0;
  uint8_t reserved = 0;
  uint32_t neighbor = 0;    // neighbour index, resolved with `generation`
  uint32_t generation = 0;  // of the snapshot that route and neighbor were resolved with; 0: never
  Millis last_seen = 0;     // last packet of this direction
  uint32_t packets = 0;     // wraps
  uint64_t bytes = 0;       // IP bytes

  // TCP that is answered through this router.
  [[nodiscard]] bool keeps_numbers() const {
    return key.protocol == net::protocol::tcp && (flags & flow_flag::direct_return) == 0;
  }

  // Neighbour in the upper half, route in the lowest 16 bits: to look up by.
  [[nodiscard]] uint64_t way() const {
    uint64_t word = 0;
    std::memcpy(&word, &route, sizeof word);
    return word & 0xffffffff'0000ffff;
  }
};
static_assert(sizeof(Flow<net::V4>) == 64);
static_assert(sizeof(Flow<net::V6>) == 128);
static_assert(offsetof(Flow<net::V6>, end) + sizeof(TcpEnd) <= 64, "the other direction's segments read one line");
static_assert(offsetof(Flow<net::V4>, neighbor) == offsetof(Flow<net::V4>, route) + 4);
static_assert(offsetof(Flow<net::V6>, neighbor) == offsetof(Flow<net::V6>, route) + 4);

// Counts a packet of `ip_bytes` and keeps the connection alive. Not for packets that tracking calls invalid.
template <class F>
inline void account(Flow<F>& flow, uint32_t ip_bytes, Millis now) {
  flow.last_seen = now;
  ++flow.packets;
  flow.bytes += ip_bytes;
}

// What becomes of a packet on its way out.
template <class F>
struct Translation {
  Rewrite<F> rewrite;
  uint8_t flags = 0;      // flow_flag
  FlowId flow = no_flow;  // none: it has no record
};

inline constexpr uint32_t no_service = 0xffffffff;
inline constexpr uint16_t no_worker = 0xffff;

// Bits of Connection::flags.
namespace connection_flag {
inline constexpr uint8_t assured = 1;      // CT-9; set by tracking only
inline constexpr uint8_t replied = 2;      // a packet of the reply direction was seen
inline constexpr uint8_t masqueraded = 4;  // the original direction's source was translated
inline constexpr uint8_t liberal = 8;      // TCP numbers outside the window pass: its beginning was not seen whole
inline constexpr uint8_t doubtful = 16;    // the last segment was a RST that may not be of this connection (CT-14)
inline constexpr uint8_t one_way = 32;     // answers do not come back here; set before the first packet is tracked
inline constexpr uint8_t mapped = 64;      // holds an endpoint-independent mapping (mapping.h)
inline constexpr uint8_t live = 0x80;      // between open and close; set by Conntrack only
}  // namespace connection_flag

// What stands between a connection and eviction when the table is full (CT-9), worst standing first. One-way
// connections never get beyond Closing.
enum class Standing : uint8_t { Unassured, Closing, Assured };

inline constexpr uint16_t unarmed = 0xffff;

// Bits of Connection::content: what becomes of the bytes of a connection.
namespace content_flag {
inline constexpr uint8_t looked_into = 1;  // l7/inspector.h
inline constexpr uint8_t blocked = 2;      // nothing passes any more
inline constexpr uint8_t mirrored = 4;     // a copy of every packet goes to the collector
inline constexpr uint8_t seen = 8;         // it was looked into, and no longer is: the only one that allows short cuts
}  // namespace content_flag
// Connection::splice: the target of the rules, or the record of what is not finished yet.
namespace splice {
inline constexpr uint32_t has_record = 0x80000000;  // the number of the record, otherwise of the target
inline constexpr uint32_t busy = 0x40000000;        // the endpoint's packets concern the record, too
inline constexpr uint32_t number = 0x3fffffff;
}  // namespace splice

// One cache line, for both directions of a connection and both families.
struct alignas(64) Connection {
  // Timer wheel links (expiry.h), connection indices. A free record's wheel_next is the free list.
  uint32_t wheel_next = no_connection;
  uint32_t wheel_prev = no_connection;
  uint16_t wheel_slot = unarmed;
  TcpState tcp_state = TcpState::None;
  uint8_t flags = 0;
  uint8_t protocol = 0;
  uint8_t last_tcp_event = 0;        // memory of an ignored segment: tcp_state.cpp; of SCTP its SctpState (sctp.h)
  uint16_t stub_worker = no_worker;  // the worker that holds a stub of the reply key
  Millis created = 0;
  Millis deadline = 0;                          // when the wheel looks again
  uint32_t service = no_service;                // service port id of the snapshot, for listings
  uint16_t ingress = 0;                         // interface the first packet came in by
  Standing standing : 4 = Standing::Unassured;  // the list of Conntrack it is linked into
  uint8_t content : 4 = 0;                      // content_flag
  uint8_t endpoint_scale = 0;                   // of a spliced connection: dataplane/l7/splice.h
  uint32_t ignored_seq = 0;                     // end of the ignored SYN, acknowledgement of the ignored ACK (CT-5)
  uint32_t standing_next = no_connection;
  uint32_t standing_prev = no_connection;
  uint32_t hash_low[2] = {};  // low half of each key's hash: its bucket
  // Of a spliced connection: what is added to the endpoint's numbers for the client. Of one that waits to be confirmed:
  // the number of its first question (dataplane/flow_handoff.h), otherwise 0.
  uint32_t splice_seq = 0;
  uint32_t splice_timestamp = 0;
  uint32_t splice = 0;
};
static_assert(sizeof(Connection) == 64);

}  // namespace sluice::nat
