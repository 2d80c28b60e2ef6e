#include "nat/conntrack.h"

#include <new>
#include <sys/mman.h>

namespace sluice::nat {
namespace {

constexpr size_t huge_page = size_t{2} << 20;

// Memory of a huge page or more starts at one, so that the kernel can back it with huge pages from the start.
void* map_anonymous(size_t bytes, size_t align) {
  const size_t alignment = std::max(align, bytes >= huge_page ? huge_page : size_t{4096});
  const size_t slack = alignment > 4096 ? alignment : 0;
  bytes = (bytes + 4095) & ~size_t{4095};
  void* mapped =
      mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* start = static_cast<std::byte*>(mapped);
  const size_t before = (alignment - (reinterpret_cast<uintptr_t>(mapped) & (alignment - 1))) & (alignment - 1);
  if (before != 0) munmap(start, before);
  if (slack != before) munmap(start + before + bytes, slack - before);
  if (bytes >= huge_page) madvise(start + before, bytes, MADV_HUGEPAGE);
  return start + before;
}

void unmap(void* memory, size_t bytes) { munmap(memory, (bytes + 4095) & ~size_t{4095}); }

// A new connection's timer, before `track` knows the state. Too early costs one more look.
constexpr uint32_t first_look = 30'000;

Standing standing_of(const Connection& connection) {
  if ((connection.flags & connection_flag::assured) == 0) return Standing::Unassured;
  // Nobody sees the server end it, and its next packet finds the same endpoint without an entry (direct server return).
  if ((connection.flags & connection_flag::one_way) != 0) return Standing::Closing;
  if (connection.protocol == net::protocol::sctp) {
    return is_closing(sctp_state(connection)) ? Standing::Closing : Standing::Assured;
  }
  switch (connection.tcp_state) {
    case TcpState::FinWait:
    case TcpState::CloseWait:
    case TcpState::LastAck:
    case TcpState::TimeWait:
    case TcpState::Close:
      return Standing::Closing;
    default:
      return Standing::Assured;
  }
}

bool is_echo(uint8_t protocol) { return protocol == net::protocol::icmp || protocol == net::protocol::icmpv6; }

// The rules of CT-9 for what has no state machine. A query is over with its answer and stays un-assured.
void track_stateless(Connection& connection, Direction direction, Millis now) {
  if (direction == Direction::Reply) connection.flags |= connection_flag::replied;
  if ((connection.flags & connection_flag::replied) != 0 && !is_echo(connection.protocol) &&
      now - connection.created > stream_age) {
    connection.flags |= connection_flag::assured;
  }
}

// The same of a connection that is answered past this router: it goes on, so somebody answers.
void confirm_one_way(Connection& connection, Millis now) {
  const bool sctp = connection.protocol == net::protocol::sctp;
  const bool begun = sctp ? sctp_state(connection) == SctpState::Established
                          : connection.protocol != net::protocol::tcp || connection.tcp_state == TcpState::Established;
  if (begun && !is_echo(connection.protocol) && now - connection.created > stream_age) {
    connection.flags |= connection_flag::replied | connection_flag::assured;
  }
}

}  // namespace

Memory Memory::anonymous() { return {map_anonymous, unmap}; }

template <class F>
uint64_t Conntrack<F>::primary_buckets(const Sizing& sizing) {
  const uint64_t keys = uint64_t{2} * sizing.connections + sizing.stubs;
  return std::bit_ceil((keys + 5) / 6);
}

template <class F>
uint64_t Conntrack<F>::overflow_buckets(const Sizing& sizing) {
  return (uint64_t{2} * sizing.connections + sizing.stubs) / bucket_slots;
}

template <class F>
template <class T>
T* Conntrack<F>::allocate(uint64_t count) const {
  return static_cast<T*>(memory_.allocate(count * sizeof(T), alignof(T)));
}

template <class F>
template <class T>
void Conntrack<F>::release(T* array, uint64_t count) const {
  if (array != nullptr) memory_.release(array, count * sizeof(T));
}

template <class F>
std::unique_ptr<Conntrack<F>> Conntrack<F>::create(const Sizing& sizing, Millis now, const Memory& memory) {
  constexpr uint32_t limit = uint32_t{1} << 30;
  if (sizing.connections == 0 || sizing.connections > limit || sizing.stubs > limit) return nullptr;
  std::unique_ptr<Conntrack> table(new (std::nothrow) Conntrack(sizing, now, memory));
  if (table == nullptr || table->buckets_ == nullptr || table->flows_ == nullptr || table->connections_ == nullptr) {
    return nullptr;
  }
  return table;
}

template <class F>
Conntrack<F>::Conntrack(const Sizing& sizing, Millis now, const Memory& memory)
    : sizing_(sizing),
      memory_(memory),
      bucket_mask_(primary_buckets(sizing) - 1),
      buckets_(allocate<Bucket>(primary_buckets(sizing) + overflow_buckets(sizing))),
      flows_(allocate<Flow<F>>(uint64_t{2} * sizing.connections + sizing.stubs)),
      first_stub_(2 * sizing.connections),
      connections_(allocate<Connection>(sizing.connections)),
      used_buckets_(static_cast<uint32_t>(primary_buckets(sizing))),
      used_flows_(first_stub_),
      wheel_(connections_, now) {}

template <class F>
Conntrack<F>::~Conntrack() {
  release(buckets_, primary_buckets(sizing_) + overflow_buckets(sizing_));
  release(flows_, uint64_t{2} * sizing_.connections + sizing_.stubs);
  release(connections_, sizing_.connections);
}

template <class F>
uint32_t Conntrack<F>::take_bucket() {
  if (free_bucket_ == 0) return used_buckets_++;
  const uint32_t index = free_bucket_;
  free_bucket_ = buckets_[index].next;
  buckets_[index].next = 0;
  return index;
}

template <class F>
void Conntrack<F>::insert(FlowId id, uint16_t tag, uint32_t hash_low) {
  Bucket* bucket = &buckets_[hash_low & bucket_mask_];
  while (bucket->next != 0) bucket = &buckets_[bucket->next];
  SlotMask empty = match(*bucket, 0);
  if (empty == 0) {
    bucket->next = take_bucket();
    bucket = &buckets_[bucket->next];
    empty = every_slot;
  }
  const unsigned slot = first_slot(empty);
  bucket->tags[slot] = tag;
  bucket->flows[slot] = id;
}

template <class F>
void Conntrack<F>::erase(FlowId id, uint32_t hash_low) {
  Bucket* bucket = &buckets_[hash_low & bucket_mask_];
  uint16_t* gap_tag = nullptr;
  FlowId* gap_flow = nullptr;
  Bucket* previous = nullptr;
  for (;;) {
    for (unsigned slot = 0; gap_tag == nullptr && slot < bucket_slots; ++slot) {
      if (bucket->flows[slot] == id && bucket->tags[slot] != 0) {
        gap_tag = &bucket->tags[slot];
        gap_flow = &bucket->flows[slot];
      }
    }
    if (bucket->next == 0) break;
    previous = bucket;
    bucket = &buckets_[bucket->next];
  }
  const unsigned last = static_cast<unsigned>(std::popcount(every_slot & ~match(*bucket, 0))) - 1;
  *gap_tag = bucket->tags[last];
  *gap_flow = bucket->flows[last];
  bucket->tags[last] = 0;
  if (last == 0 && previous != nullptr) {
    const uint32_t emptied = previous->next;
    previous->next = 0;
    bucket->next = free_bucket_;
    free_bucket_ = emptied;
  }
}

template <class F>
Opened Conntrack<F>::open(const Key& original, uint64_t original_hash, const Key& reply, uint64_t reply_hash,
                          Millis now) {
  if (const FlowId existing = find(original, original_hash); existing != no_flow) {
    return {OpenStatus::OriginalExists, existing};
  }
  // A packet whose two endpoints are one has no reply direction of its own.
  if (same_key(original, reply) || find(reply, reply_hash) != no_flow) {
    ++counters_.clash;
    return {OpenStatus::ReplyClash, no_flow};
  }
  ConnectionId id = free_connection_;
  if (id != no_connection) {
    free_connection_ = connections_[id].wheel_next;
    // Who opens one opens another, and what was free for long has left the caches.
    if (free_connection_ != no_connection) prefetch_unused(free_connection_);
  } else if (used_connections_ < sizing_.connections) {
    id = used_connections_++;
  } else {
    ++counters_.insert_failed;
    return {OpenStatus::Full, no_flow};
  }

  const FlowId first = flow_id(id, Direction::Original);
  for (const FlowId flow : {first, opposite(first)}) {
    flows_[flow] = Flow<F>{};
    flows_[flow].key = flow == first ? original : reply;
    flows_[flow].last_seen = now;
    if (original.protocol == net::protocol::tcp) flows_[flow].end = TcpEnd{};
  }

  Connection& connection = connections_[id];
  connection = Connection{};
  connection.protocol = original.protocol;
  connection.flags = connection_flag::live;
  connection.created = now;
  connection.hash_low[0] = static_cast<uint32_t>(original_hash);
  connection.hash_low[1] = static_cast<uint32_t>(reply_hash);
  link(id, Standing::Unassured);
  wheel_.arm(id, now + first_look);

  insert(first, tag_of(original, original_hash), connection.hash_low[0]);
  insert(first + 1, tag_of(reply, reply_hash), connection.hash_low[1]);
  ++counters_.inserted;
  ++counters_.connections;
  return {OpenStatus::Ok, first};
}

// The window check of section 5.3 and what CT-14 says of RSTs, around the change of state.
template <class F>
TrackAction Conntrack<F>::track_tcp(FlowId id, const TcpSegment& segment, bool liberal) {
  Connection& connection = connections_[connection_of(id)];
  const TcpWindows windows = this->windows(connection_of(id));
  const Direction direction = direction_of(id);
  const TcpEvent event = tcp_event(segment.flags);
  const TcpState old = connection.tcp_state;
  const TcpCell cell = tcp_transition(direction, event, old);
  const bool is_reset = event == TcpEvent::Rst;
  if (cell == TcpCell::Invalid) return TrackAction::Invalid;
  if (cell != TcpCell::NewFlow && cell != TcpCell::Ignore &&
      !(is_reset && answers_ignored_segment(connection, segment))) {
    // A connection that is closed already has nothing left to end.
    const bool can_end = is_reset && old != TcpState::Close;
    const bool opening =
        old == TcpState::None || old == TcpState::SynSent || old == TcpState::SynRecv || old == TcpState::SynSent2;
    if (can_end && !(opening && segment.seq == 0) && is_stale_reset(windows, direction, segment.seq)) {
      return TrackAction::Invalid;
    }
    liberal = liberal || (connection.flags & connection_flag::liberal) != 0;
    const bool exact = is_exact_reset(windows, direction, segment.seq);
    const WindowVerdict verdict = check_window(windows, direction, segment, opening);
    if (verdict == WindowVerdict::Invalid && (is_reset || !liberal)) return TrackAction::Invalid;
    if (verdict == WindowVerdict::Outside && !liberal) return TrackAction::Pass;
    if (can_end && old == TcpState::Established && !exact) {
      connection.flags |= connection_flag::doubtful;
      return TrackAction::Pass;
    }
  }
  const TcpStep done = step(connection, direction, segment);
  if (done.action == TrackAction::Invalid || done.action == TrackAction::Reopen) return done.action;
  connection.flags &= static_cast<uint8_t>(~connection_flag::doubtful);
  if (old == TcpState::None && done.next == TcpState::Established) connection.flags |= connection_flag::liberal;
  // The ends agreed on a younger connection (CT-5), of which the client's SYN was not kept.
  if (cell == TcpCell::Ignore && !has_ignored_segment(connection) && !is_known_syn_ack(windows, segment)) {
    windows.of(direction) = windows.of(opposite(direction)) = {};
    // Where the client's numbers begin is all that is known of it.
    if (direction == Direction::Reply) windows.of(direction).acknowledge(segment.ack);
    connection.flags |= connection_flag::liberal;
  }
  return done.action;
}

template <class F>
TrackAction Conntrack<F>::track(FlowId id, const TcpSegment& segment, const Timeouts& timeouts, Millis now,
                                bool liberal) {
  const ConnectionId connection_id = connection_of(id);
  Connection& connection = connections_[connection_id];
  TrackAction action = TrackAction::Pass;
  if (connection.protocol == net::protocol::tcp) {
    const bool one_way = (connection.flags & connection_flag::one_way) != 0;
    action = one_way ? step_one_way(connection, direction_of(id), segment).action : track_tcp(id, segment, liberal);
    if (action == TrackAction::Invalid || action == TrackAction::Reopen) return action;
  } else if (connection.protocol != net::protocol::sctp) {
    track_stateless(connection, direction_of(id), now);
  }
  note_change(connection_id, timeouts, now);
  return action;
}

template <class F>
TrackAction Conntrack<F>::track_sctp(FlowId id, SctpChunk chunk, const Timeouts& timeouts, Millis now) {
  const ConnectionId connection_id = connection_of(id);
  if (!step_sctp(connections_[connection_id], direction_of(id), chunk)) return TrackAction::Reopen;
  note_change(connection_id, timeouts, now);
  return TrackAction::Pass;
}

template <class F>
void Conntrack<F>::note_change(ConnectionId id, const Timeouts& timeouts, Millis now) {
  Connection& connection = connections_[id];
  if ((connection.flags & connection_flag::one_way) != 0) confirm_one_way(connection, now);
  if (const Standing standing = standing_of(connection); standing != connection.standing) {
    unlink(connection);
    link(id, standing);
  }
  settle(id);
  refresh_timer(id, timeouts, now);
}

template <class F>
void Conntrack<F>::refresh_timer(ConnectionId id, const Timeouts& timeouts, Millis now) {
  const Millis deadline = now + std::min(timeout(id, timeouts), next_look(id, timeouts));
  if (millis_between(deadline, connections_[id].deadline) > 0) wheel_.arm(id, deadline);
}

// Which directions' ordinary packets have nothing left to tell the connection.
template <class F>
void Conntrack<F>::settle(ConnectionId id) {
  const Connection& connection = connections_[id];
  const bool assured = (connection.flags & connection_flag::assured) != 0;
  const bool replied = (connection.flags & connection_flag::replied) != 0;
  const bool one_way = (connection.flags & connection_flag::one_way) != 0;
  bool reply = false;
  bool original = false;
  if (connection.protocol == net::protocol::tcp) {
    const bool doubtful = (connection.flags & connection_flag::doubtful) != 0;
    reply = original = assured && connection.tcp_state == TcpState::Established && !doubtful &&
                       !has_ignored_segment(connection) && (one_way || windows(id).settle());
  } else {
    reply = assured || (replied && is_echo(connection.protocol));
    original = reply || (!replied && !one_way);
  }
  if ((connection.content & ~content_flag::seen) != 0) [[unlikely]]
    original = reply = false;
  const auto set = [this](FlowId flow, bool settled) {
    uint8_t& flags = flows_[flow].flags;
    flags = static_cast<uint8_t>(settled ? flags | flow_flag::settled : flags & ~flow_flag::settled);
  };
  set(flow_id(id, Direction::Original), original);
  set(flow_id(id, Direction::Reply), reply);
}

template <class F>
void Conntrack<F>::close(ConnectionId id) {
  Connection& connection = connections_[id];
  if ((connection.flags & connection_flag::live) == 0) return;
  erase(flow_id(id, Direction::Original), connection.hash_low[0]);
  erase(flow_id(id, Direction::Reply), connection.hash_low[1]);
  wheel_.disarm(id);
  unlink(connection);
  connection.flags = 0;
  connection.wheel_next = free_connection_;
  free_connection_ = id;
  ++counters_.removed;
  --counters_.connections;
}

template <class F>
typename Conntrack<F>::StandingList* Conntrack<F>::list_of(Standing standing) {
  switch (standing) {
    case Standing::Unassured:
      return &unassured_;
    case Standing::Closing:
      return &closing_;
    default:
      return nullptr;
  }
}

template <class F>
void Conntrack<F>::link(ConnectionId id, Standing standing) {
  Connection& connection = connections_[id];
  connection.standing = standing;
  StandingList* list = list_of(standing);
  if (list == nullptr) return;
  connection.standing_next = no_connection;
  connection.standing_prev = list->tail;
  (list->tail == no_connection ? list->head : connections_[list->tail].standing_next) = id;
  list->tail = id;
}

template <class F>
void Conntrack<F>::unlink(const Connection& connection) {
  StandingList* list = list_of(connection.standing);
  if (list == nullptr) return;
  const ConnectionId next = connection.standing_next;
  const ConnectionId previous = connection.standing_prev;
  (previous == no_connection ? list->head : connections_[previous].standing_next) = next;
  (next == no_connection ? list->tail : connections_[next].standing_prev) = previous;
}

template <class F>
StubStatus Conntrack<F>::add_stub(const Key& key, uint64_t hash, uint16_t worker) {
  if (const FlowId existing = find(key, hash); existing != no_flow) {
    return is_stub(existing) && flows_[existing].route == worker ? StubStatus::Same : StubStatus::Clash;
  }
  FlowId id = free_stub_;
  if (id != no_flow) {
    free_stub_ = flows_[id].neighbor;
  } else if (used_flows_ < first_stub_ + sizing_.stubs) {
    id = used_flows_++;
  } else {
    return StubStatus::Full;
  }
  flows_[id] = Flow<F>{};
  flows_[id].key = key;
  flows_[id].flags = flow_flag::stub;
  flows_[id].route = worker;
  insert(id, tag_of(key, hash), static_cast<uint32_t>(hash));
  ++counters_.stubs;
  return StubStatus::Ok;
}

template <class F>
bool Conntrack<F>::remove_stub(const Key& key, uint64_t hash) {
  const FlowId id = find(key, hash);
  if (id == no_flow || !is_stub(id)) return false;
  erase(id, static_cast<uint32_t>(hash));
  flows_[id].neighbor = free_stub_;
  free_stub_ = id;
  --counters_.stubs;
  return true;
}

template class Conntrack<net::V4>;
template class Conntrack<net::V6>;

}  // namespace sluice::nat
