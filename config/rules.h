// The rules behind validate(), by theme. Each function reports the faults of its objects.
#pragma once

#include <string_view>

#include "config/finding.h"
#include "config/model.h"
#include "config/object_set.h"

namespace sluice::config {

// Which objects a rule has to look at.
struct Scope {
  const Change* change = nullptr;  // nullptr: everything is new
  const Owners* owners = nullptr;  // where there is a change: those after it

  // Any object of the kind is new or different.
  [[nodiscard]] bool touched(std::string_view kind) const { return change == nullptr || change->touches(kind); }
};

void check_interfaces(const Config& config, Findings& findings);  // validate_interfaces.cpp
void check_routes(const Config& config, Findings& findings);      // validate_routes.cpp
void check_settings(const Config& config, Findings& findings);    // validate_settings.cpp
// `every`: the network around the services is different, so that untouched ones are in question as well.
void check_services(const Config& config, const Scope& scope, bool every, Findings& findings);  // validate_services.cpp
void check_slices(const Config& config, const Scope& scope, Findings& findings);                // validate_slices.cpp
void check_pools(const Config& config, Findings& findings);                                     // validate_pools.cpp
void check_workloads(const Config& config, const Scope& scope, Findings& findings);  // validate_workloads.cpp
void check_address_pools(const Config& config, Findings& findings);                  // validate_metallb.cpp
void check_bgp_advertisements(const Config& config, Findings& findings);             // validate_metallb_bgp.cpp
void check_metallb_peers(const Config& config, Findings& findings);

void check_bgp(const Config& config, Findings& findings);  // validate_bgp.cpp
// `every`: as of check_services().
void check_ingress(const Config& config, const Scope& scope, bool every, Findings& findings);  // validate_ingress.cpp
void check_content(const Config& config, Findings& findings);                                  // validate_content.cpp

inline constexpr std::string_view gateway_kind = "GatewayConfiguration";

// What interfaces and tunnels may be called.
[[nodiscard]] bool is_plain_name(std::string_view name);
inline constexpr std::string_view plain_name = "expected at most 63 letters, digits, \".\", \"_\" and \"-\"";

// Why an address cannot be that of one host in a network: "a loopback address". Empty if it can.
[[nodiscard]] std::string_view never_a_host(const IpAddr& address);
// The same, and link-local addresses, which mean nothing beyond one link (SVC-8).
[[nodiscard]] std::string_view never_remote(const IpAddr& address);

}  // namespace sluice::config
