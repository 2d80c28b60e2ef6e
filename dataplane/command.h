// Questions of the control thread about what only a worker may touch. A command travels on a ring to the worker,
// which works on it a little per loop and sets `done`; its memory stays the control thread's.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

#include "dataplane/flow_record.h"
#include "nat/flow.h"

namespace sluice::dataplane {

struct Command {
  enum class Kind : uint8_t { ListFlows, DeleteFlows };
  Kind kind = Kind::ListFlows;
  FlowQuery query;
  uint64_t limit = std::numeric_limits<uint64_t>::max();  // so many are enough
  // ListFlows: the worker fills up to the capacity reserved here.
  std::vector<FlowRecord> records;
  uint64_t matched = 0;
  std::atomic<bool> done{false};

  // Where the worker stands.
  bool second_family = false;
  nat::ConnectionId cursor = 0;
};

}  // namespace sluice::dataplane
