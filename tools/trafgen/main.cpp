// sluice-trafgen: see docs/trafgen.md.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <sched.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <rte_cycles.h>

#include "tools/trafgen/live_table.h"
#include "tools/trafgen/options.h"
#include "tools/trafgen/result.h"
#include "tools/trafgen/run.h"
#include "tools/trafgen/session.h"
#include "tools/trafgen/testbed.h"

namespace sluice::trafgen {
namespace {

enum ExitCode { Ok = 0, Usage = 1, CheckFailed = 2, CannotStart = 3 };

std::atomic<bool> stop{false};

void on_signal(int) { stop.store(true); }

// The control thread sleeps nearly always; it takes whatever CPU is free, preferably none of the packet threads'.
void release_control_thread(const cpu_set_t& allowed, const std::vector<int>& packet_cpus) {
  cpu_set_t wanted = allowed;
  for (const int cpu : packet_cpus) CPU_CLR(static_cast<unsigned>(cpu), &wanted);
  sched_setaffinity(0, sizeof wanted, CPU_COUNT(&wanted) > 0 ? &wanted : &allowed);
}

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

ExitCode fail(const std::string& message) {
  fmt::print(stderr, "sluice-trafgen: {}\n", message);
  return CannotStart;
}

ExitCode report(const Options& options, const Testbed& bed, const RunFacts& facts, const RunResult& result) {
  if (options.json != "-") std::fputs(summary(bed, result).c_str(), stdout);
  if (!options.json.empty()) {
    const std::string text = boost::json::serialize(to_json(options, bed, facts, result)) + "\n";
    if (options.json == "-") {
      std::fputs(text.c_str(), stdout);
    } else {
      std::ofstream file(options.json);
      file << text;
      file.close();
      if (!file) return fail(fmt::format("the result cannot be written to \"{}\"; check the path", options.json));
    }
  }
  std::fflush(stdout);
  if (!is_clean(result) || (options.fail_on_loss && lost_in(result) != 0)) return CheckFailed;
  return Ok;
}

ExitCode run_all(const Options& options) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  dataplane::EalOptions eal_options;
  eal_options.control_cpu = options.cpus.front();
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && std::find(options.cpus.begin(), options.cpus.end(), cpu) == options.cpus.end()) {
      eal_options.control_cpu = cpu;
      break;
    }
  }
  eal_options.worker_cpus = options.cpus;
  eal_options.memory_mib = options.memory_mib;
  eal_options.hugepages = options.hugepages;
  eal_options.extra = options.eal;
  eal_options.pci = std::any_of(options.profile.ports.begin(), options.profile.ports.end(),
                                [](const PortProfile& port) { return port.device.find(':') < port.device.find(','); });
  auto eal = dataplane::Eal::init(eal_options);
  if (!eal) return fail(eal.error().message);
  release_control_thread(allowed, options.cpus);
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);

  const RunFacts facts{now_text(), (*eal)->uses_hugepages(), rte_get_tsc_hz()};
  auto bed = Testbed::build(options.profile, {.workers = static_cast<unsigned>(options.cpus.size()),
                                              .mbufs = options.mbufs,
                                              .burst = options.burst,
                                              .fault = options.fault,
                                              .fault_every = options.fault_every,
                                              .wait_link = options.wait_link,
                                              .stop = &stop});
  if (!bed) return fail(bed.error().message);
  LiveTable table(**bed, options.live && isatty(STDERR_FILENO) != 0);
  RunResult result;
  {
    Session session(**bed, table, stop);
    if (auto started = session.start(options.wait_link); !started) return fail(started.error().message);
    result = run(options, session, stop);
  }
  return report(options, **bed, facts, result);
}

}  // namespace
}  // namespace sluice::trafgen

int main(int argc, char** argv) {
  using namespace sluice::trafgen;
  try {
    const CommandLine line = read_command_line(argc, argv);
    if (!line.options) return line.exit_code;
    if (line.options->check_only) return Ok;
    return run_all(*line.options);
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}
