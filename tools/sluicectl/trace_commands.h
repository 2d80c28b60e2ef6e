// The words of explain, trace, capture and top.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

#include "tools/sluicectl/commands.h"

namespace sluice::ctl {

// `server` is complete when `run`, which they set, is called.
void add_trace_commands(CLI::App& app, const Server& server, std::function<ExitCode()>& run);

}  // namespace sluice::ctl
