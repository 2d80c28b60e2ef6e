// What the plugin does: a pair of interfaces for a container, addresses and routes in it, and the router told of it.
#pragma once

#include <boost/json/object.hpp>

#include "tools/cni/cni.h"

namespace sluice::cni {

// The result, in the version of the configuration. After an error nothing of it is left.
[[nodiscard]] Result<boost::json::object> add(const NetConf& conf, const Environment& environment);
// May be called again, and for what was never made. Without the router the addresses are left for it to collect.
[[nodiscard]] Status del(const NetConf& conf, const Environment& environment);
// Error: what is not as ADD made it.
[[nodiscard]] Status check(const NetConf& conf, const Environment& environment);

}  // namespace sluice::cni
