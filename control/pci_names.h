// Whether a router needs DPDK to look for NICs, which it does when it starts or never.
#pragma once

#include <string>

#include "config/object_set.h"

namespace sluice::control {

// An interface is a PCI device.
[[nodiscard]] bool names_pci(const config::ObjectSet& objects);

// What the state journal keeps in `folder` may name one: found out in a fraction of the time that reading it takes.
// False: certainly not.
[[nodiscard]] bool may_name_pci(const std::string& folder);

}  // namespace sluice::control
