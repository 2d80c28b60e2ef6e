// The controller's steps (control/controller.cpp) on a data plane whose workers the caller turns.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "control/deployment.h"
#include "control/service_compiler.h"

namespace sluice::packet_test {

// Parses, validates and deploys. `wait_for` turns the workers until they have passed the token, and says whether they
// have. `content`: the library of `services`, which makes what is missing. `between` is called in the middle of a
// change of routes: workers know the new topology, routes are the old ones. Empty, or what went wrong; then everything
// is as before.
[[nodiscard]] std::string deploy(const std::string& document, control::Deployment& deployment,
                                 control::ServiceCompiler& services, const std::function<bool(uint64_t)>& wait_for,
                                 const std::function<void()>& between = nullptr, const control::DrainList& drains = {},
                                 control::ContentLibrary* content = nullptr);
// The same of a configuration that was parsed and validated before.
[[nodiscard]] std::string deploy(const config::Config& config, control::Deployment& deployment,
                                 control::ServiceCompiler& services, const std::function<bool(uint64_t)>& wait_for,
                                 const std::function<void()>& between = nullptr, const control::DrainList& drains = {},
                                 control::ContentLibrary* content = nullptr);

inline constexpr const char* no_delta = "no delta";
// From the configuration that `before` is, which is deployed, to another that differs in nodes, blocks and pods alone:
// by a delta of the plan. no_delta if there is none.
[[nodiscard]] std::string deploy_delta(const std::string& before, const std::string& document,
                                       control::Deployment& deployment, control::ServiceCompiler& services,
                                       const std::function<bool(uint64_t)>& wait_for);
// `config`: after `change`.
[[nodiscard]] std::string deploy_delta(const config::Config& config, const config::Change& change,
                                       control::Deployment& deployment, control::ServiceCompiler& services,
                                       const std::function<bool(uint64_t)>& wait_for,
                                       const control::DrainList& drains = {});

}  // namespace sluice::packet_test
