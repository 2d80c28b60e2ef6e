// Rules about a change that leaves all but what it touches as it was, and so need not be asked of everything.
#pragma once

#include <string_view>
#include <vector>

#include "config/rules.h"

namespace sluice::config {

// Objects of the kind that `change` touches; `moved`: of those only what Change::Touched calls so.
[[nodiscard]] std::vector<ObjectName> names_of(const Change& change, std::string_view kind, bool moved = false);

// Where blocks change and pools do not.
void check_touched_blocks(const Config& config, const Scope& scope, Findings& findings);  // validate_pools.cpp

// Whether nodes may have, or hold in a network of pods, an address that services or Ingress have: then check_services()
// and check_ingress() look at every one.
[[nodiscard]] bool concern_services(const Config& config, const Scope& scope);  // validate_nodes.cpp

}  // namespace sluice::config
