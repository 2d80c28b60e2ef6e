// A run from the first trial to the last: warm-up, one trial, a ramp, or a search.
#pragma once

#include <optional>
#include <vector>

#include "tools/trafgen/measurement.h"
#include "tools/trafgen/options.h"
#include "tools/trafgen/session.h"

namespace sluice::trafgen {

struct RunResult {
  std::optional<TrialResult> warmup;
  std::optional<TrialResult> flood;  // a search's first trial, for the highest rate
  std::vector<TrialResult> trials;
  size_t shown = 0;  // of the trials: the one whose streams are the run's result
  struct Search {
    double rate = 0;
    bool found = false;
  };
  std::optional<Search> search;
  bool interrupted = false;

  // Of everything that was sent: warm-up, flood, all trials.
  [[nodiscard]] WrongPackets wrong() const;
};

[[nodiscard]] RunResult run(const Options& options, Session& session, const std::atomic<bool>& stop);

}  // namespace sluice::trafgen
