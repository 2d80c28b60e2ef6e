// On which CPUs sluiced does what.
#pragma once

#include <cstddef>
#include <vector>

namespace sluice::control {

struct CpuChoice {
  int control = -1;            // of the control thread; -1: not chosen yet
  std::vector<int> workers;    // in order
  std::vector<int> helpers;    // helper_threads.h, the control thread's among them
  bool helpers_yield = false;  // to workers, whose CPUs they share
  friend bool operator==(const CpuChoice&, const CpuChoice&) = default;
};

// What is not chosen yet, of those that this process may run on (`allowed`, not empty): the control thread on the
// first, workers on the following ones; on a machine with too few they share. Helpers on all but the workers'; if that
// is not one beside the control thread's and idle workers sleep, on theirs, too.
[[nodiscard]] CpuChoice choose_cpus(CpuChoice chosen, size_t workers, bool workers_sleep,
                                    const std::vector<int>& allowed);

[[nodiscard]] std::vector<int> allowed_cpus();

}  // namespace sluice::control
