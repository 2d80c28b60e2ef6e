// Fields of Kubernetes' and Calico's objects that mean nothing to a router are not looked at, but a field that those
// have no idea of either is a slip of the pen and deserves a word (18.1).
#pragma once

#include "config/finding.h"
#include "config/json.h"

namespace sluice::config {

// Warns of fields that neither their API nor this router knows, in the parts of an object where a router reads: the
// object itself, its spec, lists of ports, endpoints and taints. Metadata and status are their API's own.
void warn_of_unknown_fields(const RawObject& raw, Findings& findings);

}  // namespace sluice::config
