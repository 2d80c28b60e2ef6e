// Where pods of other nodes live (SVC-63), as networks apart from each other, so that a worker needs one look for an
// address: what lies in another network is cut out of it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "dataplane/net/addr.h"

namespace sluice::control {

class PodNetworks {
 public:
  // The longest network that holds an address decides where it is; of the same network the first one counts.
  void add(const net::Prefix& network, bool elsewhere) {
    ++networks_.try_emplace(network.masked(), Network{elsewhere, 0}).first->second.added;
  }
  // One that was added once.
  void remove(const net::Prefix& network) { networks_.erase(network.masked()); }

  // Sorted by family and address.
  [[nodiscard]] std::vector<net::Prefix> elsewhere() const;

  struct Network {
    bool elsewhere = false;
    uint32_t added = 0;  // so many times
    friend bool operator==(const Network&, const Network&) = default;
  };
  [[nodiscard]] const std::map<net::Prefix, Network>& networks() const { return networks_; }
  // Whether elsewhere() has this very network if it is there, and nothing else of it depends on that. Empty: what is
  // around it or within it matters.
  [[nodiscard]] std::optional<bool> shows(const net::Prefix& network, bool elsewhere) const;

  friend bool operator==(const PodNetworks&, const PodNetworks&) = default;

 private:
  std::map<net::Prefix, Network> networks_;
};

}  // namespace sluice::control
