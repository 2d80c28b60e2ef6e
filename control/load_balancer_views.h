// What the API tells of load balancer addresses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/net/addr.h"

namespace sluice::control {

// A service that gets its addresses from here.
struct LoadBalancerEntry {
  std::string service;  // "default/web"
  std::vector<net::IpAddr> addresses;
  std::string pool;     // of the addresses
  std::string pending;  // why it has none; empty: it has
};

struct LoadBalancerStatus {
  size_t served = 0;                                  // services with an address
  size_t pending = 0;                                 // services without
  size_t announced = 0;                               // addresses that this router answers for
  uint64_t conflicts = 0;                             // claims of others for one of those
  std::vector<std::pair<std::string, size_t>> pools;  // and how many of their addresses are in use
};

// An address that an L2Advertisement announces.
struct L2Entry {
  net::IpAddr address;
  std::vector<std::string> services;
  std::string owner;                       // node; empty: nobody answers
  bool ours = false;                       // this router answers
  std::string note;                        // why nobody answers, or not the one that should
  std::vector<std::string> interfaces;     // where this router answers
  double since_seconds = 0;                // since 1970: owner and note are what they are
  uint64_t conflicts = 0;                  // claims of others, while it was ours
  std::optional<net::MacAddr> claimed_by;  // the last of them
};

}  // namespace sluice::control
