// The connection table of one worker and one address family. Bounded, allocated once, single writer.
//
// A connection is found by two keys, one per direction. A key's hash selects a bucket, one cache line:
//   10 tags of 16 bits | 10 flow ids of 32 bits | number of the next bucket of the chain
// One vector compare finds the slots whose tag fits; the flow's record confirms the whole key, so a lookup that
// hits reads one bucket line and one flow line, and one that misses reads the bucket line alone. Both
// directions of an untranslated connection have the same hash (net::FlowHasher is symmetric) and share a
// bucket; the tag also depends on which endpoint is the lower one, so they do not share a tag.
//
// Slots of a chain are filled without holes: inserting appends, erasing moves the chain's last entry into the
// gap and frees a bucket that became empty. So n keys need fewer than n/10 overflow buckets wherever they fall,
// that many are set aside, and an insertion never fails but for want of a connection record.
//
// Looking up a burst is staged (find_bulk): all bucket lines are asked for while the burst is classified, then
// all flow lines while tags are compared, then keys are compared in lines that have arrived.
//
// Records are handed out from the start of their arrays first and recycled last in, first out, so that memory
// never used is never touched. Whatever is not yet assured, and TCP connections that are closing, hang in two
// lists by age: with the table full, the victim of CT-9 is the head of a list, never a search.
//
// Timers are lazy (expiry.h): packets write last_seen, `expire` looks at what the wheel brings up.
//
// A closed record is the next one to be used again, so a FlowId is good only until something is closed: whoever
// keeps ids over `close`, `evict` or `expire` compares counters().removed and looks up again if it moved.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <immintrin.h>
#include <memory>

#include "dataplane/net/flow_key.h"
#include "dataplane/net/prefetch.h"
#include "nat/expiry.h"
#include "nat/flow.h"
#include "nat/sctp.h"
#include "nat/tcp_state.h"
#include "nat/timeouts.h"

namespace sluice::nat {

// Where tables get their memory. `allocate` returns zeroed memory or nullptr; `release` gets the same size back.
struct Memory {
  void* (*allocate)(size_t bytes, size_t align);
  void (*release)(void* memory, size_t bytes);

  // Anonymous pages, huge ones where the kernel has them; a page never touched costs nothing.
  [[nodiscard]] static Memory anonymous();
};

enum class OpenStatus : uint8_t {
  Ok,
  Full,            // no connection record left: evict, or drop and count (CT-9)
  ReplyClash,      // another flow owns the reply key: take another source port (MASQ-7)
  OriginalExists,  // the flow is there already
};

struct Opened {
  OpenStatus status;
  FlowId flow;  // Ok: original direction of the new connection. OriginalExists: what is there. Else no_flow.
};

enum class StubStatus : uint8_t {
  Ok,
  Full,
  Clash,  // the key belongs to a connection here or to another worker
  Same,   // there already
};

// Plain adds by the worker; `connections` and `stubs` are levels, the rest counts (CT-34).
struct ConntrackCounters {
  uint64_t connections = 0;
  uint64_t stubs = 0;
  uint64_t inserted = 0;
  uint64_t removed = 0;
  uint64_t insert_failed = 0;  // Full
  uint64_t early_drop = 0;     // evicted to make room
  uint64_t clash = 0;          // ReplyClash
};

template <class F>
class Conntrack {
 public:
  using Key = FlowKey<F>;

  struct Sizing {
    uint32_t connections = 0;  // 1 to 2^30
    uint32_t stubs = 0;        // at most 2^30
  };

  // nullptr if `memory` refuses or the sizing is out of range. Touches no table memory.
  [[nodiscard]] static std::unique_ptr<Conntrack> create(const Sizing& sizing, Millis now,
                                                         const Memory& memory = Memory::anonymous());
  ~Conntrack();
  Conntrack(const Conntrack&) = delete;
  Conntrack& operator=(const Conntrack&) = delete;

  // --- lookup; `hash` is the worker's net::FlowHasher of the key ---

  // Asks for the bucket line.
  void prefetch(uint64_t hash) const { net::prefetch(&buckets_[hash & bucket_mask_]); }

  // no_flow if absent. The flow may be a stub.
  [[nodiscard]] FlowId find(const Key& key, uint64_t hash) const;

  // Looks up packets[i].key and packets[i].hash, with the bucket lines prefetched by the caller. Best with
  // 16 to 64 packets: fewer leave misses unhidden, more overrun the cache's queues.
  template <class P>
  void find_bulk(const P* packets, size_t count, FlowId* out) const;

  [[nodiscard]] bool is_stub(FlowId id) const { return id >= first_stub_; }
  // A flow with its record here: neither a stub nor no_flow.
  [[nodiscard]] bool is_connection(FlowId id) const { return id < first_stub_; }
  [[nodiscard]] Flow<F>& flow(FlowId id) { return flows_[id]; }
  [[nodiscard]] const Flow<F>& flow(FlowId id) const { return flows_[id]; }
  [[nodiscard]] FlowId id_of(const Flow<F>& flow) const { return static_cast<FlowId>(&flow - flows_); }
  // What becomes of the packets of a flow that is no stub.
  [[nodiscard]] Rewrite<F> rewrite(FlowId id) const;
  [[nodiscard]] Translation<F> translation(FlowId id) const { return {rewrite(id), flows_[id].flags, id}; }
  void set_rewrite(FlowId id, const Rewrite<F>& rewrite);
  // What track() looks at before it lets a segment pass. Of a flow that keeps_numbers().
  [[nodiscard]] TcpWindows windows(ConnectionId id) {
    return {flows_[flow_id(id, Direction::Original)].end, flows_[flow_id(id, Direction::Reply)].end};
  }
  // The connection of a flow that is no stub: connection_of(id).
  [[nodiscard]] Connection& connection(ConnectionId id) { return connections_[id]; }
  [[nodiscard]] const Connection& connection(ConnectionId id) const { return connections_[id]; }

  // --- life of a connection ---

  // Inserts both keys or, on failure, nothing. Both flows have their key, last_seen = now and no rewrite; the
  // connection is zeroed but for created, protocol and its timer. The caller completes rewrites, route, ingress
  // and service, adds to `flags` by |=, and passes the first packet through `track` like any other.
  [[nodiscard]] Opened open(const Key& original, uint64_t original_hash, const Key& reply, uint64_t reply_hash,
                            Millis now);

  // What a packet that is not quiet (tcp_state.h) does to its connection: state, replied, assured, timers and
  // `settled`. `segment` is read for TCP only; with `liberal` only its RSTs must lie within the window (CT-13). Call
  // account() afterwards unless the answer is Invalid or Reopen.
  [[nodiscard]] TrackAction track(FlowId id, const TcpSegment& segment, const Timeouts& timeouts, Millis now,
                                  bool liberal = false);
  // The same of an SCTP packet, which is never quiet; later fragments show no chunk and go to track(). Pass or Reopen.
  [[nodiscard]] TrackAction track_sctp(FlowId id, SctpChunk chunk, const Timeouts& timeouts, Millis now);
  // From now on numbers outside the window pass: part of what this connection sends is not seen, or cannot be read.
  void be_liberal(ConnectionId id) { connections_[id].flags |= connection_flag::liberal; }
  // After a change of Connection::content.
  void settle_again(ConnectionId id) { settle(id); }
  // Brings the timer forward if the timeouts are shorter than when it was set (CT-2).
  void refresh_timer(ConnectionId id, const Timeouts& timeouts, Millis now);
  // Removes both keys and frees the record. Ports and stubs were given back by the caller before. Does nothing to
  // a record that is free already.
  void close(ConnectionId id);

  // Looks at no more than `budget` due timers; for each connection that was idle too long calls
  // before_close(ConnectionId), which gives back ports and stubs, and closes it. Returns how many it closed.
  template <class Fn>
  unsigned expire(Millis now, const Timeouts& timeouts, unsigned budget, Fn&& before_close);

  // What the next segment of this flow is checked against; a name that may be none's is no harm.
  void prefetch_opposite(FlowId id) const { net::prefetch(&flows_[opposite(id)]); }

  // The connection to give up when the table is full (CT-9): the oldest that is not assured, else the one that
  // is closing the longest, else no_connection. O(1).
  [[nodiscard]] ConnectionId find_victim() const {
    return unassured_.head != no_connection ? unassured_.head : closing_.head;
  }
  // Closes that victim like `expire` does. False if every connection is assured and open.
  template <class Fn>
  bool evict(Fn&& before_close);

  // --- stubs: keys whose flow belongs to another worker ---

  [[nodiscard]] StubStatus add_stub(const Key& key, uint64_t hash, uint16_t worker);
  // False if there is no such stub.
  bool remove_stub(const Key& key, uint64_t hash);

  // --- listings ---

  // Calls fn(ConnectionId) for live connections among the next `budget` records from `cursor` (first 0). Returns
  // where to go on, no_connection at the end. fn may close the connection.
  template <class Fn>
  [[nodiscard]] ConnectionId visit(ConnectionId cursor, unsigned budget, Fn&& fn);

  // Neither connections nor stubs.
  [[nodiscard]] bool empty() const { return counters_.connections + counters_.stubs == 0; }
  [[nodiscard]] const ConntrackCounters& counters() const { return counters_; }
  [[nodiscard]] uint32_t capacity() const { return first_stub_ / 2; }

 private:
  static constexpr unsigned bucket_slots = 10;

  struct alignas(64) Bucket {
    uint16_t tags[bucket_slots];  // 0: empty; no hole before a tag that is not
    FlowId flows[bucket_slots];
    uint32_t next;  // bucket index; 0: end of the chain
  };
  static_assert(sizeof(Bucket) == 64);

  // A list through Connection::standing_next/prev, oldest first.
  struct StandingList {
    ConnectionId head = no_connection;
    ConnectionId tail = no_connection;
  };

  // Bit 2i: slot i.
  using SlotMask = uint32_t;
  static constexpr SlotMask every_slot = 0x55555;
  [[nodiscard]] static unsigned first_slot(SlotMask slots) {
    return static_cast<unsigned>(std::countr_zero(slots)) / 2;
  }

  Conntrack(const Sizing& sizing, Millis now, const Memory& memory);

  // Smallest power of two with at most 6 of 10 slots taken on average when everything is in use.
  [[nodiscard]] static uint64_t primary_buckets(const Sizing& sizing);
  [[nodiscard]] static uint64_t overflow_buckets(const Sizing& sizing);
  template <class T>
  [[nodiscard]] T* allocate(uint64_t count) const;
  template <class T>
  void release(T* array, uint64_t count) const;

  [[nodiscard]] static bool lower_first(const Key& key);
  [[nodiscard]] static uint16_t tag_of(const Key& key, uint64_t hash);
  [[nodiscard]] static SlotMask match(const Bucket& bucket, uint16_t tag);
  [[nodiscard]] static bool same_key(const Key& a, const Key& b);
  void prefetch_flow(FlowId id) const;
  // Everything closing it touches, and the one behind it in its standing. Reads the Connection.
  void prefetch_record(ConnectionId id) const;
  // What opening a connection in this record writes.
  void prefetch_unused(ConnectionId id) const;

  void insert(FlowId id, uint16_t tag, uint32_t hash_low);
  void erase(FlowId id, uint32_t hash_low);
  [[nodiscard]] uint32_t take_bucket();

  [[nodiscard]] StandingList* list_of(Standing standing);
  void link(ConnectionId id, Standing standing);
  void unlink(const Connection& connection);
  void settle(ConnectionId id);

  [[nodiscard]] TrackAction track_tcp(FlowId id, const TcpSegment& segment, bool liberal);
  // What follows any change of state.
  void note_change(ConnectionId id, const Timeouts& timeouts, Millis now);

  // Since the later of the two directions' last packets.
  [[nodiscard]] uint32_t idle_time(ConnectionId id, Millis now) const;
  // After how much of it the connection is forgotten.
  [[nodiscard]] uint32_t timeout(ConnectionId id, const Timeouts& timeouts) const;
  // In at most how much time to look again: segments of established connections come and go without a word, so what
  // is unacknowledged is found by looking.
  [[nodiscard]] uint32_t next_look(ConnectionId id, const Timeouts& timeouts) const;

  Sizing sizing_;
  Memory memory_;
  uint64_t bucket_mask_;
  Bucket* buckets_;  // primary buckets, then overflow buckets
  Flow<F>* flows_;   // two per connection, then stubs
  FlowId first_stub_;
  Connection* connections_;

  // Records below these numbers were in use at least once; the free ones among them form the free lists.
  ConnectionId used_connections_ = 0;
  uint32_t used_buckets_;
  FlowId used_flows_;  // of stubs
  ConnectionId free_connection_ = no_connection;
  FlowId free_stub_ = no_flow;
  uint32_t free_bucket_ = 0;

  StandingList unassured_;
  StandingList closing_;
  ConntrackCounters counters_;
  TimerWheel wheel_;
};

// The steps of a lookup are a few instructions each, but there are enough of them that the compiler would rather
// call than repeat them; a call per packet and step costs more than the step.

// Which of the two endpoints is lower; any order will do that both directions disagree about.
template <>
[[gnu::always_inline]] inline bool Conntrack<net::V4>::lower_first(const Key& key) {
  return (uint64_t{key.src.wire()} << 16 | key.src_port.wire()) <
         (uint64_t{key.dst.wire()} << 16 | key.dst_port.wire());
}
template <>
[[gnu::always_inline]] inline bool Conntrack<net::V6>::lower_first(const Key& key) {
  const auto src = std::bit_cast<std::array<uint64_t, 2>>(key.src);
  const auto dst = std::bit_cast<std::array<uint64_t, 2>>(key.dst);
  if (src[1] != dst[1]) return src[1] < dst[1];
  if (src[0] != dst[0]) return src[0] < dst[0];
  return key.src_port.wire() < key.dst_port.wire();
}

// The bucket comes from the hash's low bits and the owner from its high ones, so the tag is between.
template <class F>
[[gnu::always_inline]] inline uint16_t Conntrack<F>::tag_of(const Key& key, uint64_t hash) {
  return static_cast<uint16_t>((hash >> 32 ^ uint64_t{lower_first(key)} << 15) | 1);
}

template <class F>
[[gnu::always_inline]] inline typename Conntrack<F>::SlotMask Conntrack<F>::match(const Bucket& bucket, uint16_t tag) {
  const __m256i line = _mm256_load_si256(reinterpret_cast<const __m256i*>(&bucket));
  const __m256i equal = _mm256_cmpeq_epi16(line, _mm256_set1_epi16(static_cast<int16_t>(tag)));
  return static_cast<uint32_t>(_mm256_movemask_epi8(equal)) & every_slot;
}

template <>
[[gnu::always_inline]] inline bool Conntrack<net::V4>::same_key(const Key& a, const Key& b) {
  const __m128i differ = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(&a)),
                                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(&b)));
  return _mm_testz_si128(differ, differ) != 0;
}
template <>
[[gnu::always_inline]] inline bool Conntrack<net::V6>::same_key(const Key& a, const Key& b) {
  const __m256i differ = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(&a)),
                                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(&b)));
  const auto* rest_a = reinterpret_cast<const uint8_t*>(&a) + 32;
  const auto* rest_b = reinterpret_cast<const uint8_t*>(&b) + 32;
  return (_mm256_testz_si256(differ, differ) != 0) & (net::load<uint64_t>(rest_a) == net::load<uint64_t>(rest_b));
}

template <class F>
[[gnu::always_inline]] inline void Conntrack<F>::prefetch_flow(FlowId id) const {
  const auto* line = reinterpret_cast<const char*>(&flows_[id]);
  for (size_t offset = 0; offset < sizeof(Flow<F>); offset += 64) net::prefetch(line + offset);
}

template <class F>
inline void Conntrack<F>::prefetch_record(ConnectionId id) const {
  const Connection& connection = connections_[id];
  for (const uint32_t hash : connection.hash_low) prefetch(hash);
  prefetch_flow(flow_id(id, Direction::Original));
  prefetch_flow(flow_id(id, Direction::Reply));
  if (connection.standing_next != no_connection) net::prefetch(&connections_[connection.standing_next]);
}

template <class F>
inline void Conntrack<F>::prefetch_unused(ConnectionId id) const {
  net::prefetch(&connections_[id]);
  prefetch_flow(flow_id(id, Direction::Original));
  prefetch_flow(flow_id(id, Direction::Reply));
}

template <class F>
inline Rewrite<F> Conntrack<F>::rewrite(FlowId id) const {
  const Flow<F>& flow = flows_[id];
  if (flow.keeps_numbers()) {
    const Key& answer = flows_[opposite(id)].key;
    return {{answer.dst, answer.src, answer.dst_port, answer.src_port}, flow.l3, flow.l4};
  }
  return {flow.tuple, flow.l3, flow.l4};
}

template <class F>
inline void Conntrack<F>::set_rewrite(FlowId id, const Rewrite<F>& rewrite) {
  Flow<F>& flow = flows_[id];
  if (!flow.keeps_numbers()) flow.tuple = rewrite;
  flow.l3 = rewrite.l3;
  flow.l4 = rewrite.l4;
}

template <class F>
inline FlowId Conntrack<F>::find(const Key& key, uint64_t hash) const {
  const uint16_t tag = tag_of(key, hash);
  for (const Bucket* bucket = &buckets_[hash & bucket_mask_];; bucket = &buckets_[bucket->next]) {
    for (SlotMask slots = match(*bucket, tag); slots != 0; slots &= slots - 1) {
      const FlowId id = bucket->flows[first_slot(slots)];
      if (same_key(flows_[id].key, key)) return id;
    }
    if (bucket->next == 0) return no_flow;
  }
}

template <class F>
template <class P>
void Conntrack<F>::find_bulk(const P* packets, size_t count, FlowId* out) const {
  // A chain whose first bucket has no such tag: looked at again when its second line has come.
  constexpr FlowId in_chain = no_flow - 1;
  const Bucket* const buckets = buckets_;
  const uint64_t bucket_mask = bucket_mask_;
  for (size_t i = 0; i < count; ++i) {
    const Bucket& bucket = buckets[packets[i].hash & bucket_mask];
    const SlotMask slots = match(bucket, tag_of(packets[i].key, packets[i].hash));
    if (slots != 0) [[likely]] {
      const FlowId id = bucket.flows[first_slot(slots)];
      prefetch_flow(id);
      out[i] = id;
    } else if (bucket.next == 0) {
      out[i] = no_flow;
    } else {
      net::prefetch(&buckets[bucket.next]);
      out[i] = in_chain;
    }
  }
  const Flow<F>* const flows = flows_;
  for (size_t i = 0; i < count; ++i) {
    const FlowId id = out[i];
    if (id == no_flow) continue;
    if (id != in_chain && same_key(flows[id].key, packets[i].key)) [[likely]]
      continue;
    out[i] = find(packets[i].key, packets[i].hash);
  }
}

template <class F>
inline uint32_t Conntrack<F>::idle_time(ConnectionId id, Millis now) const {
  // Unsigned, so that a direction silent for weeks stays the older one. A packet stamped a little after `now`
  // was read is not idle at all.
  constexpr uint32_t just_ahead = 0xffff0000;
  const uint32_t original = now - flows_[flow_id(id, Direction::Original)].last_seen;
  const uint32_t reply = now - flows_[flow_id(id, Direction::Reply)].last_seen;
  return original >= just_ahead || reply >= just_ahead ? 0 : std::min(original, reply);
}

template <class F>
inline uint32_t Conntrack<F>::timeout(ConnectionId id, const Timeouts& timeouts) const {
  const Connection& connection = connections_[id];
  const uint32_t keep = std::min(timeout_of(connection, timeouts), max_timeout);
  const bool one_way = (connection.flags & connection_flag::one_way) != 0;
  const bool waits =
      connection.tcp_state == TcpState::Established && keep > timeouts.tcp_unacknowledged && !one_way &&
      has_unacknowledged(flows_[flow_id(id, Direction::Original)].end, flows_[flow_id(id, Direction::Reply)].end);
  return waits ? timeouts.tcp_unacknowledged : keep;
}

template <class F>
inline uint32_t Conntrack<F>::next_look(ConnectionId id, const Timeouts& timeouts) const {
  return connections_[id].tcp_state == TcpState::Established ? std::min(timeouts.tcp_unacknowledged, max_timeout)
                                                             : max_timeout;
}

template <class F>
template <class Fn>
unsigned Conntrack<F>::expire(Millis now, const Timeouts& timeouts, unsigned budget, Fn&& before_close) {
  unsigned closed = 0;
  // The wheel gives a batch of names first, so that their lines come from memory side by side.
  ConnectionId due[32];
  unsigned count = 0;
  const auto look = [&] {
    for (unsigned i = 0; i < count; ++i) {
      const ConnectionId id = due[i];
      const uint32_t keep = timeout(id, timeouts);
      const uint32_t idle = idle_time(id, now);
      if (idle < keep) {
        wheel_.arm(id, now + std::min(keep - idle, next_look(id, timeouts)));
        continue;
      }
      before_close(id);
      close(id);
      ++closed;
    }
    count = 0;
  };
  wheel_.advance(now, budget, [&](ConnectionId id) {
    prefetch_record(id);
    due[count++] = id;
    if (count == std::size(due)) look();
  });
  look();
  return closed;
}

template <class F>
template <class Fn>
bool Conntrack<F>::evict(Fn&& before_close) {
  const ConnectionId victim = find_victim();
  if (victim == no_connection) return false;
  before_close(victim);
  close(victim);
  ++counters_.early_drop;
  // Who evicts once will do it again.
  if (const ConnectionId next = find_victim(); next != no_connection) prefetch_record(next);
  return true;
}

template <class F>
template <class Fn>
ConnectionId Conntrack<F>::visit(ConnectionId cursor, unsigned budget, Fn&& fn) {
  for (; budget != 0 && cursor < used_connections_; --budget, ++cursor) {
    if ((connections_[cursor].flags & connection_flag::live) != 0) fn(cursor);
  }
  return cursor < used_connections_ ? cursor : no_connection;
}

// The rest is instantiated for V4 and V6 in conntrack.cpp. No `extern template` here: it would keep the compiler
// from inlining what is defined above.

}  // namespace sluice::nat
