// Connections with an endpoint-independent mapping, and packets that are turned back between two of them
// (mapped_port.cpp).
#pragma once

#include "nat/flow.h"

namespace sluice::dataplane {

// Whether packets of this direction go to the connection's end outside: of one that the endpoint inside opened the
// original direction, of one that came to the mapping's port the reply. The other direction ends inside, which may be
// the host behind the router.
[[nodiscard]] inline bool goes_outside(const nat::Connection& connection, nat::Direction direction) {
  if ((connection.flags & nat::connection_flag::mapped) == 0) return false;
  const bool from_inside = (connection.flags & nat::connection_flag::masqueraded) != 0;
  return from_inside == (direction == nat::Direction::Original);
}

}  // namespace sluice::dataplane
