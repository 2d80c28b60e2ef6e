// What the API tells of Ingresses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/addr.h"

namespace sluice::control {

// What a Service of type ExternalName stands for.
struct ExternalNameEntry {
  std::string name;  // empty: it cannot be asked for
  std::vector<net::IpAddr> addresses;
  std::string problem;  // empty: none
};

struct IngressRuleEntry {
  std::string host;  // empty: all others
  std::string path;
  std::string path_type;
  std::string target;    // "default/web:http"; empty: no Service
  size_t endpoints = 0;  // ready for new connections, of the family that has more
  std::optional<ExternalNameEntry> external;
};

// An Ingress whose class is this router's.
struct IngressEntry {
  std::string name;  // "default/web"
  std::vector<net::IpAddr> addresses;
  bool tls_passthrough = false;
  std::vector<IngressRuleEntry> rules;  // a default backend is a rule without host and path
};

}  // namespace sluice::control
