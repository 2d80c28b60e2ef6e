// Connections that the router itself holds while it is not decided where they go, and those of which later requests may
// go elsewhere. One table per worker and family: bounded, allocated once, single writer.
//
// A record is found by the client's tuple on the way of packets that have no flow, and by Connection::splice of those
// that have one. The bytes of a client lie in a buffer of their own, which few records need at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "dataplane/l7/answers.h"
#include "dataplane/l7/decision.h"
#include "dataplane/l7/proxy_header.h"
#include "dataplane/l7/stream.h"
#include "dataplane/l7/tcp_offer.h"
#include "dataplane/net/packet.h"
#include "nat/conntrack.h"

namespace sluice::dataplane {

using LateId = uint32_t;
inline constexpr LateId no_late = nat::no_connection;

// Late::target of those that no rule leads anywhere: the service that the client came to. No target has this number.
inline constexpr l7::TargetId own_target = nat::splice::number;

enum class LateState : uint8_t {
  Free,
  Collecting,  // the client's bytes decide nothing yet
  Connecting,  // a SYN is on its way to an endpoint
  Passing,     // spliced; watched, or something is owed to the endpoint
  Answering,   // the router answers itself
};

// Sequence numbers and timestamps are the client's view of the connection, in host byte order: its own in both
// directions, and the router's for the endpoint.
template <class F>
struct Late {
  // Links of nat::TimerWheelOf and of the table. A free record's wheel_next is the free list.
  uint32_t wheel_next = no_late;
  uint32_t wheel_prev = no_late;
  uint16_t wheel_slot = nat::unarmed;
  nat::Millis deadline = 0;
  LateId bucket_next = no_late;
  LateId older = no_late;  // of those undecided that have a buffer, or have none
  LateId younger = no_late;
  bool undecided = false;

  LateState state = LateState::Free;
  uint16_t ingress = 0;  // interface the client's packets come in by
  bool from_tunnel = false;
  uint16_t tunnel_source = net::no_tunnel_source;  // as of its packets
  net::FlowKey<F> key;                             // of the client's packets
  uint64_t hash = 0;
  nat::ConnectionId connection = nat::no_connection;  // its flow
  uint32_t buffer = no_late;

  uint32_t first_in = 0;  // number of the first byte of the client, and of the router
  uint32_t first_out = 0;
  bool greeted = false;  // next_out is behind the greeting
  bool challenged = false;
  nat::Millis challenged_at = 0;

  // What the client is and said last.
  uint16_t mss = 0;
  uint8_t scale = l7::no_scale;
  bool sack = false;
  bool timestamps = false;
  bool fin = false;             // it has sent all; fin_seq is the number of its FIN
  bool fin_taken = false;       // and it was acknowledged
  uint16_t window = 0;          // as in its segments
  uint32_t acked = 0;           // by it
  uint32_t timestamp = 0;       // its latest
  uint32_t timestamp_base = 0;  // what is added to the clock for the router's
  bool endpoint_seen = false;   // of this connection, now or before
  uint32_t echo = 0;            // the latest of the other direction that it has seen
  uint32_t fin_seq = 0;

  // What it gets: number of the next byte, from the router or an endpoint to come.
  uint32_t next_out = 0;

  l7::Stream stream;      // once there is a buffer
  uint32_t expected = 0;  // number of the client's next byte while there is none
  uint32_t approved = 0;  // bytes in order that may go to the endpoint

  // Of the endpoint.
  l7::TargetId target = l7::no_target;
  bool watched = false;
  bool proxy_header = false;
  bool preserve_client = false;
  uint8_t endpoints_tried = 0;
  l7::Failure failure = l7::Failure::Unavailable;  // of the last one
  typename F::Addr endpoint{};
  net::be16 endpoint_port;
  bool waiting = false;       // what it has sent next waits for the end of an answer
  bool pipelined = false;     // and leads elsewhere
  bool was_waiting = false;   // when its timer was armed
  uint32_t said = 0;          // by the endpoint when it was looked last
  l7::Body body;              // of the request the client is in, behind what is approved
  uint32_t answers_from = 0;  // what the endpoint had sent when it got its last request
  bool reads_answers = false;
  l7::Answers answers;  // if they are read
  uint32_t heard = 0;   // of them: number of the next byte that was not read

  // Of what is sent by the router and not acknowledged yet: to the endpoint [owed, owed_end), to the client an answer.
  uint32_t owed = 0;
  uint32_t owed_end = 0;
  uint32_t sent = 0;        // up to here
  uint32_t owed_limit = 0;  // what the other end's window allows
  uint16_t segment = 0;     // bytes of data in one
  uint16_t answer_size = 0;
  nat::Millis give_up_at = 0;  // if what is sent is not acknowledged until then, or the head has not come
  uint8_t tries = 0;           // since something was acknowledged
  // Of what is owed to the endpoint.
  uint8_t flight = 0;        // segments that may be on their way (RFC 5681 section 3.1)
  nat::Millis asked_at = 0;  // its SYN
  nat::Millis retry = 0;     // until it is sent again (RFC 6298)

  [[nodiscard]] bool owes() const { return owed != owed_end; }
};

// Bytes of one client, behind room for a PROXY header.
inline constexpr uint32_t late_buffer_size = 32 * 1024;
inline constexpr uint32_t late_buffer_front = 64;
static_assert(late_buffer_front >= l7::most_proxy_header);

template <class F>
class LateTable {
 public:
  struct Sizing {
    uint32_t records = 0;
    uint32_t buffers = 0;
  };
  // nullptr if there is no memory. Touches none of the tables' memory.
  [[nodiscard]] static std::unique_ptr<LateTable> create(const Sizing& sizing, nat::Millis now);
  ~LateTable();
  LateTable(const LateTable&) = delete;
  LateTable& operator=(const LateTable&) = delete;

  [[nodiscard]] Late<F>& operator[](LateId id) { return records_[id]; }
  // no_late if there is none.
  [[nodiscard]] LateId find(const net::FlowKey<F>& key, uint64_t hash) const;
  // A fresh record with this key; no_late if there is no room. The key is not in the table.
  [[nodiscard]] LateId open(const net::FlowKey<F>& key, uint64_t hash);
  // With its buffer and timer.
  void close(LateId id);

  // False if none is free. `seq`: of the first byte to come.
  [[nodiscard]] bool take_buffer(LateId id, uint32_t seq, uint32_t capacity);
  void give_buffer(LateId id);
  // nullptr: it has none.
  [[nodiscard]] uint8_t* buffer_of(const Late<F>& late) {
    return late.buffer == no_late ? nullptr : buffer_at(late.buffer);
  }

  // Those that may be given up: `buffered` those that have a buffer, in the order in which they were marked or took it;
  // or those that have none.
  void mark_undecided(LateId id, bool undecided);
  [[nodiscard]] LateId oldest_undecided(bool buffered) const { return undecided_[buffered ? 1 : 0].oldest; }

  void arm(LateId id, nat::Millis deadline) { wheel_.arm(id, deadline); }
  void disarm(LateId id) { wheel_.disarm(id); }
  template <class Fn>
  void expire(nat::Millis now, unsigned budget, const Fn& on_due) {
    if (wheel_.size() != 0) wheel_.advance(now, budget, on_due);
  }

  [[nodiscard]] uint32_t size() const { return size_; }
  [[nodiscard]] uint32_t buffers_in_use() const { return buffers_used_; }

 private:
  LateTable(const Sizing& sizing, nat::Millis now, const nat::Memory& memory);
  [[nodiscard]] uint8_t* buffer_at(uint32_t index) {
    return buffers_ + size_t{index} * (late_buffer_front + late_buffer_size) + late_buffer_front;
  }
  struct Line {
    LateId oldest = no_late;
    LateId youngest = no_late;
  };
  [[nodiscard]] Line& line_of(const Late<F>& late) { return undecided_[late.buffer != no_late ? 1 : 0]; }
  [[nodiscard]] LateId& bucket(uint64_t hash) const { return buckets_[hash & bucket_mask_]; }

  Sizing sizing_;
  nat::Memory memory_;
  Late<F>* records_;
  LateId* buckets_;  // 0: empty, else one more than the id
  uint64_t bucket_mask_;
  uint8_t* buffers_;
  LateId free_ = no_late;
  LateId touched_ = 0;  // records from here on were never used
  uint32_t size_ = 0;
  uint32_t free_buffer_ = no_late;
  uint32_t touched_buffers_ = 0;
  uint32_t buffers_used_ = 0;
  std::array<Line, 2> undecided_;  // by whether they have a buffer
  nat::TimerWheelOf<Late<F>> wheel_;
};

}  // namespace sluice::dataplane
