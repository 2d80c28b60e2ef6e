// Addresses from another plugin, such as host-local (CNI specification, section 4: plugin delegation).
#pragma once

#include <string>

#include <boost/json/object.hpp>

#include "tools/cni/cni.h"

namespace sluice::cni {

// Runs the plugin conf.ipam_type, found in CNI_PATH, with our environment and configuration and the command ("ADD",
// "DEL", "CHECK"). Its answer; empty if it says nothing. Its error becomes ours.
[[nodiscard]] Result<boost::json::object> delegate(const NetConf& conf, const Environment& environment,
                                                   const std::string& command);

}  // namespace sluice::cni
