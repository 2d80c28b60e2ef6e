// Config → everything that is wrong with it, all at once. Single values were checked when they were read
// (json.h); here are the rules within an object and between objects: the checks of the Kubernetes and Calico
// API servers that matter to a router, the consistency of GatewayConfiguration, and what would let one service
// take another's traffic. Rule ids are those of the behaviour specification (18.4 unless another is named).
//
// Two objects that want the same thing: the fault is at the one that came with the change, otherwise at the
// later in the order of names. A reference to an object that is not there is no fault.
#pragma once

#include <string>
#include <vector>

#include "config/finding.h"
#include "config/model.h"
#include "config/object_set.h"

namespace sluice::config {

// Places are relative to the object: `pointer` is "/spec/ports/0".
[[nodiscard]] std::vector<Fault> validate(const Config& config);
// Pointers are into the document or delta that came last, or empty for an object that was not in it.
[[nodiscard]] std::vector<Fault> validate(const ObjectSet& objects);
// Only the rules that `change`, applied last to a valid set, can have broken. A change of endpoints costs what
// those endpoints cost.
[[nodiscard]] std::vector<Fault> validate(const ObjectSet& objects, const Change& change);

// What is odd about load balancer addresses and refuses nothing: names of pools and interfaces that are not there.
[[nodiscard]] std::vector<std::string> load_balancer_warnings(const Config& config);

}  // namespace sluice::config
