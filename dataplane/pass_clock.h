// What each pass of a worker's turn costs, in TSC cycles. tests/bench/pass_bench compiles the packet's path with
// SLUICE_PASS_CLOCK; everywhere else end_pass() is nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef SLUICE_PASS_CLOCK
#include <array>

#include <rte_cycles.h>
#endif

namespace sluice::dataplane {

// In the order of pipeline.cpp. What one pass does for another, as sending when a buffer is full, counts for the first.
enum class Pass : uint8_t {
  Receive,   // clock, snapshot, the driver's receive
  Classify,  // pass 1: checks, tunnel off, key, hash
  Find,      // pass 2: flows
  Forward,   // passes 4 and 5 of packets that have a flow
  Route,     // FIB lookup of those without
  Open,      // pass 3, and forwarding without a flow
  Timers,    // expiry, neighbours, commands
  Flush,     // pass 6: the driver's transmit, drops
  Count
};

#ifdef SLUICE_PASS_CLOCK

struct PassClock {
  std::array<uint64_t, static_cast<size_t>(Pass::Count)> cycles{};
  uint64_t last = 0;
};
inline thread_local PassClock pass_clock;

inline void begin_passes() { pass_clock.last = rte_rdtsc(); }
// What has passed since the end of the pass before counts for this one.
inline void end_pass(Pass pass) {
  const uint64_t now = rte_rdtsc();
  pass_clock.cycles[static_cast<size_t>(pass)] += now - pass_clock.last;
  pass_clock.last = now;
}

#else

inline void begin_passes() {}
inline void end_pass(Pass) {}

#endif

}  // namespace sluice::dataplane
