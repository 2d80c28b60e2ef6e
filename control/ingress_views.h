// What the API tells of Ingresses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/net/addr.h"

namespace sluice::control {

struct IngressRuleEntry {
  std::string host;  // empty: all others
  std::string path;
  std::string path_type;
  std::string target;    // "default/web:http"; empty: no Service
  size_t endpoints = 0;  // ready for new connections, of the family that has more
};

// An Ingress whose class is this router's.
struct IngressEntry {
  std::string name;  // "default/web"
  std::vector<net::IpAddr> addresses;
  bool tls_passthrough = false;
  std::vector<IngressRuleEntry> rules;  // a default backend is a rule without host and path
};

}  // namespace sluice::control
