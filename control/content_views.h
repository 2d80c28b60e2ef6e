// What the router shows of ContentPolicies.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::control {

struct ContentPatternEntry {
  std::string name;
  std::string action;     // Drop, Reset, Count
  std::string direction;  // Both, Ingress, Egress
  uint64_t matches = 0;   // at most one for each direction of a TCP connection, one for each datagram
};

struct ContentPolicyEntry {
  std::string name;                   // "namespace/name"
  std::vector<std::string> services;  // "namespace/name", that it selects
  std::vector<std::string> pods;      // of this router
  uint32_t depth = 0;                 // bytes
  uint32_t connections = 0;           // that are being looked into
  uint64_t overloads = 0;             // connections that there was no room to look into
  std::vector<ContentPatternEntry> patterns;
};

// For metrics.
struct ContentStatus {
  std::string policy;
  uint64_t matches = 0;
  uint32_t connections = 0;
  uint64_t overloads = 0;
};

}  // namespace sluice::control
