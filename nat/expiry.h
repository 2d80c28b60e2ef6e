// A timer wheel over connections, or over other records with such links: 1024 slots of 256 ms, each of several lists,
// doubly linked through the records by index. `advance` takes from the lists of a slot in turns, so that their next
// records come from memory side by side.
//
// A slot is emptied when its 256 ms have passed, so a timer is due at most one slot late and never early.
// A deadline beyond the wheel's span (262 s) waits in the farthest slot and is hung up again from there; the
// callback does not see that. `advance` takes a budget and stops in the middle of a slot when it is used up;
// the next call goes on where it stopped, so a burst of expiries costs latency of expiry, never of packets.
//
// Packets do not touch the wheel: they only write Flow::last_seen, and the callback finds out whether the
// connection is really idle (Conntrack::expire). Only a change to a state with a shorter timeout moves a timer.
//
// Time is Millis and wraps; the number of ticks in 2^32 ms is a multiple of the number of slots, so the wheel
// turns through the wrap without noticing.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "dataplane/net/prefetch.h"
#include "nat/flow.h"

namespace sluice::nat {

// `Record` has wheel_next, wheel_prev, wheel_slot and deadline as Connection has them.
template <class Record>
class TimerWheelOf {
 public:
  static constexpr uint32_t slot_count = 1024;
  static constexpr uint32_t slot_shift = 8;  // 256 ms
  static constexpr uint32_t slot_width = 1U << slot_shift;

  // `connections` outlives the wheel and stays where it is.
  TimerWheelOf(Record* connections, Millis now) : connections_(connections), cursor_(now >> slot_shift) {
    heads_.fill(no_connection);
  }

  // Hangs up a timer, or moves it if it is armed. `deadline` at most `max_timeout` ahead (timeouts.h).
  void arm(ConnectionId id, Millis deadline);
  void disarm(ConnectionId id);
  [[nodiscard]] bool armed(ConnectionId id) const { return connections_[id].wheel_slot != unarmed; }
  [[nodiscard]] uint32_t size() const { return size_; }

  // Calls on_due(ConnectionId) for timers whose deadline has passed, disarmed already; the callback may arm and
  // disarm any timer. Looks at no more than `budget` timers. Returns how many it looked at; `budget` means that
  // there may be more.
  template <class Fn>
  unsigned advance(Millis now, unsigned budget, Fn&& on_due);

 private:
  static constexpr uint32_t tick_mask = 0xffffffffU >> slot_shift;  // ticks wrap with Millis
  static constexpr uint32_t slot_mask = slot_count - 1;
  static constexpr uint32_t lists = 8;  // of a slot

  // Ticks from the wheel's position to `tick`; beyond half the circle is the past.
  [[nodiscard]] uint32_t ahead(uint32_t tick) const { return (tick - cursor_) & tick_mask; }
  static constexpr uint32_t past = (tick_mask >> 1) + 1;

  void unlink(Record& connection);
  void prefetch(ConnectionId id) const {
    if (id != no_connection) net::prefetch(&connections_[id]);
  }

  Record* connections_;
  uint32_t cursor_;  // tick whose slot is emptied next
  uint32_t size_ = 0;
  std::array<ConnectionId, slot_count * lists> heads_;  // Record::wheel_slot is an index of it
  static_assert(slot_count * lists <= unarmed);
};

using TimerWheel = TimerWheelOf<Connection>;

template <class Record>
template <class Fn>
unsigned TimerWheelOf<Record>::advance(Millis now, unsigned budget, Fn&& on_due) {
  const uint32_t current = now >> slot_shift;
  if (size_ == 0) cursor_ = current;
  const uint32_t lag = ahead(current);
  if (lag >= past) return 0;
  // After a long stop one turn meets every slot.
  if (lag > slot_count) cursor_ = (current - slot_count) & tick_mask;

  unsigned looked_at = 0;
  for (; cursor_ != current; cursor_ = (cursor_ + 1) & tick_mask) {
    ConnectionId* const heads = &heads_[(cursor_ & slot_mask) * lists];
    for (uint32_t list = 0; list < lists; ++list) prefetch(heads[list]);
    unsigned empty = 0;  // lists in a row
    for (uint32_t list = 0; empty != lists; list = (list + 1) % lists) {
      const ConnectionId id = heads[list];
      if (id == no_connection) {
        ++empty;
        continue;
      }
      empty = 0;
      if (looked_at == budget) return looked_at;
      ++looked_at;
      Record& connection = connections_[id];
      prefetch(connection.wheel_next);
      unlink(connection);
      if (millis_between(now, connection.deadline) > 0) {
        arm(id, connection.deadline);
      } else {
        on_due(id);
      }
    }
  }
  return looked_at;
}

template <class Record>
void TimerWheelOf<Record>::arm(ConnectionId id, Millis deadline) {
  Record& connection = connections_[id];
  if (connection.wheel_slot != unarmed) unlink(connection);
  // A deadline in the past goes to the slot that is emptied next, one beyond the span to the farthest.
  uint32_t distance = ahead(deadline >> slot_shift);
  distance = distance >= past ? 0 : std::min(distance, slot_count - 1);
  const uint32_t slot = ((cursor_ + distance) & slot_mask) * lists + id % lists;

  const ConnectionId head = heads_[slot];
  connection.deadline = deadline;
  connection.wheel_slot = static_cast<uint16_t>(slot);
  connection.wheel_prev = no_connection;
  connection.wheel_next = head;
  if (head != no_connection) connections_[head].wheel_prev = id;
  heads_[slot] = id;
  ++size_;
}

template <class Record>
void TimerWheelOf<Record>::disarm(ConnectionId id) {
  if (armed(id)) unlink(connections_[id]);
}

template <class Record>
void TimerWheelOf<Record>::unlink(Record& connection) {
  if (connection.wheel_prev == no_connection) {
    heads_[connection.wheel_slot] = connection.wheel_next;
  } else {
    connections_[connection.wheel_prev].wheel_next = connection.wheel_next;
  }
  if (connection.wheel_next != no_connection) connections_[connection.wheel_next].wheel_prev = connection.wheel_prev;
  connection.wheel_slot = unarmed;
  --size_;
}

}  // namespace sluice::nat
