#include "control/cpu_choice.h"

#include <algorithm>
#include <iterator>
#include <sched.h>

namespace sluice::control {

CpuChoice choose_cpus(CpuChoice chosen, size_t workers, bool workers_sleep, const std::vector<int>& allowed) {
  if (chosen.control < 0) chosen.control = allowed.front();
  for (size_t i = chosen.workers.size(); i < workers; ++i) {
    chosen.workers.push_back(allowed[(i + 1) % allowed.size()]);
  }
  if (!chosen.helpers.empty()) return chosen;
  const auto is_workers = [&](int cpu) {
    return std::find(chosen.workers.begin(), chosen.workers.end(), cpu) != chosen.workers.end();
  };
  std::remove_copy_if(allowed.begin(), allowed.end(), std::back_inserter(chosen.helpers), is_workers);
  if (chosen.helpers.size() > 1 || !workers_sleep) return chosen;
  chosen.helpers = allowed;
  chosen.helpers_yield = true;
  return chosen;
}

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace sluice::control
