// Static neighbours beside those of the configuration: MAC addresses that the host's kernel was given for them. Made by
// the control thread, read by worker 0 alone, which gets them by Command::Kind::SetNeighbors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "dataplane/net/addr.h"

namespace sluice::dataplane {

struct StaticNeighbor {
  uint16_t interface = 0;  // index into Snapshot::interfaces
  net::IpAddr address;
  net::MacAddr mac;

  friend bool operator==(const StaticNeighbor&, const StaticNeighbor&) = default;
};

class StaticNeighbors {
 public:
  StaticNeighbors() = default;
  // One for each address of an interface.
  explicit StaticNeighbors(std::vector<StaticNeighbor> neighbors) : neighbors_(std::move(neighbors)) {
    std::sort(neighbors_.begin(), neighbors_.end(), is_before);
  }

  // nullptr: not one of them.
  [[nodiscard]] const net::MacAddr* find(uint16_t interface, const net::IpAddr& address) const {
    const StaticNeighbor wanted{interface, address, {}};
    const auto at = std::lower_bound(neighbors_.begin(), neighbors_.end(), wanted, is_before);
    return at == neighbors_.end() || at->interface != interface || !(at->address == address) ? nullptr : &at->mac;
  }

 private:
  static bool is_before(const StaticNeighbor& a, const StaticNeighbor& b) {
    return std::tie(a.interface, a.address) < std::tie(b.interface, b.address);
  }

  std::vector<StaticNeighbor> neighbors_;  // by interface and address
};

}  // namespace sluice::dataplane
