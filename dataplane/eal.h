// DPDK's environment: memory, cores, buses. Once per process, before anything else of DPDK.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/net/result.h"

namespace sluice::dataplane {

enum class Hugepages : uint8_t { Auto, Never, Require };

struct EalOptions {
  int control_cpu = 0;
  std::vector<int> worker_cpus;  // one per worker; the same CPU may stand twice
  uint32_t memory_mib = 512;     // packet buffers, forwarding tables, rings
  Hugepages hugepages = Hugepages::Auto;
  bool pci = false;                // look for NICs
  std::vector<std::string> extra;  // further EAL arguments
};

class Eal {
 public:
  // lcore 0 is the calling thread, lcore i + 1 is worker i. The error says what to do.
  static net::Result<std::unique_ptr<Eal>> init(const EalOptions& options);
  ~Eal();
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

  [[nodiscard]] bool uses_hugepages() const { return hugepages_; }

 private:
  explicit Eal(bool hugepages) : hugepages_(hugepages) {}
  bool hugepages_;
};

}  // namespace sluice::dataplane
