// A disk for the allocator of addresses that dies when the test says so: what was not synced may be lost, from any byte
// on. A sync may fail, and then what it should have written is not written by a later one either, as with Linux. And
// pools to allocate from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "control/ipam.h"

namespace sluice::control::ipam {

struct PowerCut {};

class MemoryStorage final : public Storage {
 public:
  static constexpr size_t none = SIZE_MAX;

  net::Result<Kept> load() override { return Kept{snapshot, log}; }
  net::Status<> append(std::string_view record) override {
    step();
    if (full) return net::Error{"the disk is full"};
    log += record;
    step();
    return net::Done{};
  }
  std::function<net::Status<>()> sync() override {
    return [this]() -> net::Status<> {
      step();
      if (full || std::exchange(fail_sync, false)) {
        lost_from = std::min(lost_from, durable);
        return net::Error{"the disk is broken"};
      }
      durable = std::min(log.size(), lost_from);
      step();
      return net::Done{};
    };
  }
  net::Status<> replace(std::string_view text) override {
    step();
    if (full) return net::Error{"the disk is full"};
    snapshot = text;
    step();
    log.clear();
    durable = 0;
    lost_from = none;
    step();
    return net::Done{};
  }

  // After a PowerCut: `lost` of the bytes that were not synced are gone.
  void restart(size_t lost) {
    log.resize(log.size() - std::min(lost, log.size() - durable));
    durable = log.size();
    lost_from = none;
    fail_sync = false;
    steps_left.reset();
  }
  [[nodiscard]] size_t unsynced() const { return log.size() - durable; }

  std::optional<std::string> snapshot;
  std::string log;
  size_t durable = 0;       // bytes of the log
  size_t lost_from = none;  // what is behind it was in a sync that failed
  bool full = false;
  bool fail_sync = false;            // the next one
  std::optional<size_t> steps_left;  // until the power is cut

 private:
  void step() {
    if (steps_left && (*steps_left)-- == 0) throw PowerCut{};
  }
};

inline config::IpPool pool(const std::string& name, std::string_view cidr, uint8_t block_size) {
  config::IpPool out;
  out.name = name;
  out.cidr = net::parse_prefix(cidr).value();
  out.block_size = block_size;
  return out;
}

// Nodes n1, n2, n3; this router is n1, and the only one.
inline config::Config pools_of(const std::vector<config::IpPool>& pools) {
  config::Config out;
  out.gateway.node_name = "n1";
  out.gateway.local_node_names = {"n1", "n2", "n3"};
  for (const char* name : {"n1", "n2", "n3"}) out.nodes[name] = {.name = name};
  for (const config::IpPool& one : pools) out.pools[one.name] = one;
  return out;
}

}  // namespace sluice::control::ipam
