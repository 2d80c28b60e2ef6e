// What the underlay said about the ways of our tunnels: soft state as in RFC 2003 section 5.1. One word for each
// tunnel, which every worker reads with one plain load; its only writer is TunnelErrors, run by worker 0.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/next_hop.h"

namespace sluice::dataplane {

struct TunnelPath {
  static constexpr uint16_t unlimited = 0xffff;

  uint16_t mtu = unlimited;  // largest inner IP packet that the underlay let through, bytes (MTU-3)
  bool unreachable = false;  // the far end could not be reached lately (IPIP-4)

  friend bool operator==(const TunnelPath&, const TunnelPath&) = default;
};

class TunnelPathTable {
 public:
  // Each tunnel in use has a next hop. One with a higher index has no state.
  static constexpr size_t capacity = NextHopTable::capacity;

  TunnelPathTable() : words_(std::make_unique<std::atomic<uint32_t>[]>(capacity)) {}

  // `tunnel`: index into Snapshot::tunnels.
  [[nodiscard]] TunnelPath operator[](uint16_t tunnel) const {
    if (tunnel >= capacity) return {};
    const uint32_t word = words_[tunnel].load(std::memory_order_relaxed);
    return {static_cast<uint16_t>(~word), (word >> 16) != 0};
  }
  // Worker 0 only; `tunnel` < capacity.
  void set(uint16_t tunnel, TunnelPath path) {
    const uint32_t word = static_cast<uint16_t>(~path.mtu) | uint32_t{path.unreachable} << 16;
    words_[tunnel].store(word, std::memory_order_relaxed);
  }

 private:
  std::unique_ptr<std::atomic<uint32_t>[]> words_;  // 0: nothing is known
};

}  // namespace sluice::dataplane
