// The command line. Flags that describe traffic are written into the profile's JSON before it is read, so that a
// value is checked the same way wherever it came from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/eal.h"
#include "dataplane/net/result.h"
#include "tools/trafgen/fault.h"
#include "tools/trafgen/profile.h"

namespace sluice::trafgen {

struct Options {
  Profile profile;
  std::vector<std::string> command;
  // Seconds.
  double wait_link = 10;
  bool search = false;
  double tolerance_ppm = 0;
  double resolution_percent = 1;
  std::optional<double> max_rate;
  std::string json;  // file; "-": standard output; empty: none
  std::vector<int> cpus;
  unsigned burst = 32;
  uint32_t mbufs = 16384;
  uint32_t memory_mib = 128;
  dataplane::Hugepages hugepages = dataplane::Hugepages::Auto;
  std::vector<std::string> eal;
  Fault fault = Fault::None;
  uint64_t fault_every = 1000;
  bool live = true;
  bool check_only = false;
  bool fail_on_loss = false;
};

struct CommandLine {
  std::optional<Options> options;
  int exit_code = 0;  // if there are none: 0 after --help, 1 after a fault, which has been printed
};

[[nodiscard]] CommandLine read_command_line(int argc, char** argv);

}  // namespace sluice::trafgen
