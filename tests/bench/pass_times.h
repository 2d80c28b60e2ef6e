// Cycles of each pass (dataplane/pass_clock.h) over many turns of a worker. Nothing in a program without the clock.
#pragma once

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include <benchmark/benchmark.h>

#include "dataplane/pass_clock.h"

namespace sluice::bench {

#ifdef SLUICE_PASS_CLOCK

class PassTimes {
 public:
  PassTimes() : turns_(most_turns) {}

  void clear() { taken_ = 0; }
  // After a turn: takes what the clock counted since the last call.
  void take() {
    turns_[taken_++ % most_turns] = dataplane::pass_clock.cycles;
    dataplane::pass_clock.cycles = {};
  }
  // Means of all turns but the slowest twentieth, which somebody else interrupted, and what a mark of the clock costs
  // taken off.
  void report(benchmark::State& state, double packets_per_turn) {
    static constexpr std::array<const char*, passes> names{"receive", "classify", "find",   "forward",
                                                           "route",   "open",     "timers", "flush"};
    std::vector<Turn> turns(turns_.begin(), turns_.begin() + static_cast<ptrdiff_t>(std::min(taken_, most_turns)));
    const auto total = [](const Turn& turn) { return std::accumulate(turn.begin(), turn.end(), uint64_t{0}); };
    std::sort(turns.begin(), turns.end(), [&](const Turn& a, const Turn& b) { return total(a) < total(b); });
    turns.resize(turns.size() - turns.size() / 20);
    if (turns.empty()) return;
    const double mark = cost_of_a_mark();
    for (size_t pass = 0; pass < passes; ++pass) {
      double sum = 0;
      uint64_t entered = 0;
      for (const Turn& turn : turns) {
        sum += static_cast<double>(turn[pass]);
        entered += turn[pass] != 0 ? 1 : 0;
      }
      const double each = (sum - mark * static_cast<double>(entered)) / static_cast<double>(turns.size());
      state.counters[names[pass]] = std::max(0.0, each / packets_per_turn);
    }
  }

 private:
  static constexpr size_t passes = static_cast<size_t>(dataplane::Pass::Count);
  static constexpr size_t most_turns = 1 << 19;
  using Turn = std::array<uint64_t, passes>;

  static double cost_of_a_mark() {
    uint64_t least = UINT64_MAX;
    for (int round = 0; round < 100; ++round) {
      dataplane::pass_clock.cycles = {};
      dataplane::begin_passes();
      for (int i = 0; i < 100; ++i) dataplane::end_pass(dataplane::Pass::Receive);
      least = std::min(least, dataplane::pass_clock.cycles[0]);
    }
    dataplane::pass_clock.cycles = {};
    return static_cast<double>(least) / 100;
  }

  std::vector<Turn> turns_;
  size_t taken_ = 0;
};

#else

class PassTimes {
 public:
  void clear() {}
  void take() {}
  void report(benchmark::State&, double) {}
};

#endif

}  // namespace sluice::bench
