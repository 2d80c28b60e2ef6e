// Rules about endpoint slices. They stand alone: a slice whose service is missing waits for it.
#include <fmt/format.h>

#include "config/rules.h"

namespace sluice::config {
namespace {

constexpr size_t max_endpoints = 1000;  // discovery.k8s.io/v1

void check_slice(const EndpointSlice& slice, Findings& findings) {
  Report report(findings, {"EndpointSlice", slice.name.ns, slice.name.name});
  if (slice.endpoints.size() > max_endpoints) {
    report.fault(Path::of("endpoints"), fmt::format("at most {}, found {}", max_endpoints, slice.endpoints.size()));
  }
  for (size_t i = 0; i < slice.endpoints.size(); ++i) {
    const IpAddr& address = slice.endpoints[i].address;
    if (address.family() != slice.family) {
      report.fault(Path::of("endpoints", i, "addresses", 0),
                   fmt::format("{} is not of the slice's address type", net::to_string(address)));
    } else if (const std::string_view why = never_remote(address); !why.empty()) {
      report.fault(Path::of("endpoints", i, "addresses", 0), fmt::format("{} is {}", net::to_string(address), why));
    }
  }
  for (const auto& port : slice.ports) {
    const std::string& name = port.name;
    if (!name.empty() && !is_dns_label(name)) {
      report.fault(Path::of("ports"),
                   fmt::format("\"{}\" is no port name: expected at most 63 of a-z, 0-9 and \"-\"", name));
    }
  }
}

}  // namespace

void check_slices(const Config& config, const Scope& scope, Findings& findings) {
  if (scope.change == nullptr) {
    for (const auto& [name, slice] : config.slices) check_slice(slice, findings);
    return;
  }
  for (const Change::Touched& touched : scope.change->touched) {
    if (touched.key.kind != "EndpointSlice") continue;
    const auto found = config.slices.find({touched.key.ns, touched.key.name});
    if (found != config.slices.end()) check_slice(found->second, findings);
  }
}

}  // namespace sluice::config
