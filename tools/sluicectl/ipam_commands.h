// Addresses of pools, taken and given back by hand.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

#include "tools/sluicectl/commands.h"

namespace sluice::ctl {

// `server` is complete when `run`, which they set, is called.
void add_ipam_commands(CLI::App& app, const Server& server, std::function<ExitCode()>& run);

}  // namespace sluice::ctl
