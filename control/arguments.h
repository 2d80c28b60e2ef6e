// The command line of sluiced, and what its words mean.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/api_server.h"
#include "control/bird.h"
#include "control/cpu_choice.h"
#include "control/privileges.h"
#include "dataplane/net/result.h"

namespace sluice::control {

struct Arguments {
  std::string config;
  std::string check;
  bool give_back = false;
  std::string state_folder = "/var/lib/sluice";
  std::string pod_sockets = "/run/sluice/pods";
  ApiServerOptions api;
  BirdPaths bird;
  std::string user;
  std::string socket_group;
  std::string socket_mode = "0660";
  std::vector<std::string> api_listen;
  uint16_t workers = 1;
  CpuChoice cpus;
  uint32_t memory_mib = 512;
  uint32_t mbufs = 16384;
  std::string hugepages = "auto";
  bool no_huge = false;
  bool pci = false;
  std::string poll = "adaptive";
};

// Who the process goes on as, and who may use its socket. Nothing set: as it is.
struct Ownership {
  std::optional<Identity> user;
  std::optional<Identity> socket;
};

// What is there after the command line is read, for a process that is to go on.
struct Parsed {
  Arguments arguments;
  std::optional<int> exit_code;  // there is nothing to go on for: --help, or a mistake, which was told
};
[[nodiscard]] Parsed parse_arguments(int argc, char** argv);

// Puts what belongs together into arguments.api. Error: what is wrong, for a person.
[[nodiscard]] net::Status<> complete_api_options(Arguments& arguments);

// Error: nobody has that name, or this process may not become it.
[[nodiscard]] net::Result<Ownership> ownership(const Arguments& arguments);

}  // namespace sluice::control
