// Where the server is and who asks: options of every command, and the environment behind them.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "tools/sluicectl/client.h"

namespace sluice::ctl {

// What is on the command line counts; then SLUICE_SERVER and what goes with it, then SLUICE_SOCKET.
class ServerOptions {
 public:
  // Both outlive it.
  ServerOptions(CLI::App& app, Server& server);

  // After the command line has been read: fills in the rest of the server. What is missing, for a person; empty if
  // nothing is.
  [[nodiscard]] std::string complete();

 private:
  Server& server_;
  std::string token_file_;
  unsigned timeout_seconds_ = 120;
};

}  // namespace sluice::ctl
