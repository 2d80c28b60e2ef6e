// The ports of pods that are no DPDK devices.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/plan.h"

namespace sluice::control {

// By name: what annotation sluice.dev/device says of it; empty: the kernel's interface of that name.
using PodLinks = std::map<std::string, std::string>;

[[nodiscard]] inline PodLinks links_of(const std::vector<PlannedInterface>& interfaces) {
  PodLinks links;
  for (const PlannedInterface& interface : interfaces) {
    if (interface.pod_port) links.emplace(interface.name, interface.device);
  }
  return links;
}

}  // namespace sluice::control
