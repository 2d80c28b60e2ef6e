// Where pods of other nodes live (SVC-63), as networks apart from each other, so that a worker needs one look for an
// address: what lies in another network is cut out of it.
#pragma once

#include <map>
#include <vector>

#include "dataplane/net/addr.h"

namespace sluice::control {

class PodNetworks {
 public:
  // The longest network that holds an address decides where it is; of the same network the first one counts.
  void add(const net::Prefix& network, bool elsewhere) { networks_.try_emplace(network.masked(), elsewhere); }

  // Sorted by family and address.
  [[nodiscard]] std::vector<net::Prefix> elsewhere() const;

 private:
  std::map<net::Prefix, bool> networks_;
};

}  // namespace sluice::control
