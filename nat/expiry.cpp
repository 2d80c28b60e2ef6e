#include "nat/expiry.h"

namespace sluice::nat {

void TimerWheel::arm(ConnectionId id, Millis deadline) {
  Connection& connection = connections_[id];
  if (connection.wheel_slot != unarmed) unlink(connection);
  // A deadline in the past goes to the slot that is emptied next, one beyond the span to the farthest.
  uint32_t distance = ahead(deadline >> slot_shift);
  distance = distance >= past ? 0 : std::min(distance, slot_count - 1);
  const uint32_t slot = (cursor_ + distance) & slot_mask;

  const ConnectionId head = heads_[slot];
  connection.deadline = deadline;
  connection.wheel_slot = static_cast<uint16_t>(slot);
  connection.wheel_prev = no_connection;
  connection.wheel_next = head;
  if (head != no_connection) connections_[head].wheel_prev = id;
  heads_[slot] = id;
  ++size_;
}

void TimerWheel::disarm(ConnectionId id) {
  if (armed(id)) unlink(connections_[id]);
}

void TimerWheel::unlink(Connection& connection) {
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
