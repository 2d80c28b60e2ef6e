// Where addresses of services come from, besides the service CIDRs: what is given to no service there must not follow
// the default route, because the neighbour that it leads to may send it back (SVC-70).
#pragma once

#include <map>

#include "config/model.h"
#include "dataplane/net/addr.h"

namespace sluice::control {

// Every network of BGPConfiguration "default" and every IPAddressPool, whoever announces them and how, and the kind of
// object that named it. Without those of length 0, which say "any".
[[nodiscard]] std::map<net::Prefix, const char*> service_networks(const config::Config& config);

}  // namespace sluice::control
