#include "dataplane/eal.h"

#include <cstdio>
#include <sched.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

namespace sluice::dataplane {
namespace {

uint64_t read_number(const char* path) {
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return 0;
  unsigned long long value = 0;
  if (std::fscanf(file, "%llu", &value) != 1) value = 0;
  std::fclose(file);
  return value;
}

uint64_t free_hugepages_mib() {
  return read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") * 2 +
         read_number("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages") * 1024;
}

bool cpu_allowed(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 && cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &set);
}

}  // namespace

net::Result<std::unique_ptr<Eal>> Eal::init(const EalOptions& options) {
  std::string lcores = "0@" + std::to_string(options.control_cpu);
  std::vector<int> cpus = options.worker_cpus;
  cpus.push_back(options.control_cpu);
  for (const int cpu : cpus) {
    if (!cpu_allowed(cpu)) {
      return net::Error{"CPU " + std::to_string(cpu) +
                        " does not exist or this process may not run on it; choose others with --worker-cpus and "
                        "--control-cpu (nproc tells how many there are)"};
    }
  }
  for (size_t i = 0; i < options.worker_cpus.size(); ++i) {
    lcores += "," + std::to_string(i + 1) + "@" + std::to_string(options.worker_cpus[i]);
  }
  const uint64_t available = free_hugepages_mib();
  if (options.hugepages == Hugepages::Require && available < options.memory_mib) {
    return net::Error{"hugepages were asked for, but only " + std::to_string(available) + " MiB are free and " +
                      std::to_string(options.memory_mib) +
                      " MiB are needed; reserve more (scripts/setup --hugepages MIB) or lower --memory"};
  }
  const bool huge = options.hugepages != Hugepages::Never && available >= options.memory_mib;
  std::vector<std::string> arguments{"sluiced",
                                     "--no-telemetry",
                                     "--log-level=*:error",
                                     "--iova-mode=va",
                                     "--lcores",
                                     lcores,
                                     "-m",
                                     std::to_string(options.memory_mib)};
  if (huge) {
    // Memory in few files: a device of virtio can tell its other side of no more than eight (net_virtio_user).
    arguments.insert(arguments.end(), {"--in-memory", "--single-file-segments"});
  } else {
    // Ordinary pages exclude --in-memory; without shared files the process is as much on its own.
    arguments.insert(arguments.end(), {"--no-huge", "--no-shconf", "--file-prefix=sluice" + std::to_string(getpid())});
  }
  if (!options.pci) arguments.emplace_back("--no-pci");
  arguments.insert(arguments.end(), options.extra.begin(), options.extra.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  optind = 1;
  if (rte_eal_init(static_cast<int>(argv.size() - 1), argv.data()) < 0) {
    return net::Error{std::string("DPDK could not start: ") + rte_strerror(rte_errno) +
                      "; check memory (--memory, hugepages) and privileges (root, or CAP_NET_ADMIN, CAP_NET_RAW and "
                      "CAP_IPC_LOCK)"};
  }
  return std::unique_ptr<Eal>(new Eal(huge));
}

Eal::~Eal() {
  const std::string folder = rte_eal_get_runtime_dir();
  rte_eal_cleanup();
  // Made for this process alone when it does without hugepages.
  if (!hugepages_) rmdir(folder.c_str());
}

}  // namespace sluice::dataplane
