// The free addresses of a pool as gaps between those that are taken: finding the first, taking one and giving one back
// cost the logarithm of the number of gaps, however large the pool.
#pragma once

#include <map>
#include <optional>

#include "config/metallb.h"
#include "dataplane/net/addr.h"

namespace sluice::control {

// The address behind or before one, of the same family; wraps around.
[[nodiscard]] net::IpAddr next_address(const net::IpAddr& address);
[[nodiscard]] net::IpAddr previous_address(const net::IpAddr& address);

class AddressGaps {
 public:
  // A range that overlaps none before.
  void add(const config::AddressRange& range) { gaps_.emplace(range.first, range.last); }
  // Of an address in a range. Taking one that is taken, or giving one back that is free, changes nothing.
  void take(const net::IpAddr& address);
  void give_back(const net::IpAddr& address);

  // The lowest free address of a family that `usable(address)` says yes to. It may say no to few in a row only.
  template <class Usable>
  [[nodiscard]] std::optional<net::IpAddr> first(net::Family family, const Usable& usable) const {
    for (auto gap = gaps_.lower_bound(lowest(family)); gap != gaps_.end() && gap->first.family() == family; ++gap) {
      for (net::IpAddr address = gap->first; address <= gap->second; address = next_address(address)) {
        if (usable(address)) return address;
        if (address == gap->second) break;
      }
    }
    return std::nullopt;
  }

 private:
  [[nodiscard]] static net::IpAddr lowest(net::Family family) {
    return family == net::Family::V4 ? net::IpAddr(net::Ipv4Addr{}) : net::IpAddr(net::Ipv6Addr{});
  }
  // The gap that holds the address; end() if none does.
  [[nodiscard]] std::map<net::IpAddr, net::IpAddr>::iterator gap_of(const net::IpAddr& address);

  std::map<net::IpAddr, net::IpAddr> gaps_;  // first → last
};

}  // namespace sluice::control
