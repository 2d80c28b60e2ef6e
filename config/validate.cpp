#include "config/validate.h"

#include <algorithm>

#include "config/change_rules.h"

namespace sluice::config {
namespace {

std::vector<Fault> check(const Config& config, const Scope& scope) {
  Findings findings;
  // Endpoint slices stand alone; everything else hangs together with the gateway or with other services.
  const bool network = scope.touched(gateway_kind) || scope.touched("ServiceCIDR") ||
                       scope.touched("FelixConfiguration") || scope.touched("IPPool");
  if (network) {
    check_interfaces(config, findings);
    check_routes(config, findings);
    check_settings(config, findings);
    check_pools(config, findings);
  } else if (scope.touched("BlockAffinity") || scope.touched("IPAMBlock")) {
    check_touched_blocks(config, scope, findings);
  }
  const bool every = network || concern_services(config, scope);
  if (every || scope.touched("Service")) check_services(config, scope, every, findings);
  if (every || scope.touched("Service")) check_ingress(config, scope, every, findings);
  if (scope.touched("EndpointSlice")) check_slices(config, scope, findings);
  if (scope.touched("IPAddressPool")) check_address_pools(config, findings);
  if (scope.touched("IPAddressPool") || scope.touched("BGPAdvertisement")) check_bgp_advertisements(config, findings);
  if (scope.touched("BGPPeer")) check_metallb_peers(config, findings);
  if (network || scope.touched("WorkloadEndpoint")) check_workloads(config, scope, findings);
  if (network || scope.touched("BGPConfiguration") || scope.touched("BGPPeer") || scope.touched("BGPFilter")) {
    check_bgp(config, findings);
  }
  if (scope.touched(gateway_kind) || scope.touched("ContentPolicy")) check_content(config, findings);
  return findings.take_faults();
}

}  // namespace

bool is_plain_name(std::string_view name) {
  return name.size() <= 63 && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                  c == '-';
         });
}

std::string_view never_a_host(const IpAddr& address) {
  if (address.is_unspecified()) return "the unspecified address";
  if (address.is_loopback()) return "a loopback address";
  if (address.is_multicast()) return "a multicast address";
  if (address.is_v4() && address.v4().is_this_network()) return "an address of 0.0.0.0/8";
  if (address.is_v4() && address.v4().is_broadcast()) return "the broadcast address";
  if (address.is_v6() && address.v6().is_v4_mapped()) return "an IPv4 address written as IPv6";
  return {};
}

std::string_view never_remote(const IpAddr& address) {
  return address.is_link_local() ? "a link-local address" : never_a_host(address);
}

std::vector<Fault> validate(const Config& config) { return check(config, {}); }

std::vector<Fault> validate(const ObjectSet& objects) {
  std::vector<Fault> faults = check(objects.config(), {});
  objects.locate(faults);
  return faults;
}

std::vector<Fault> validate(const ObjectSet& objects, const Change& change) {
  std::vector<Fault> faults = check(objects.config(), {&change, &objects.owners()});
  objects.locate(faults);
  return faults;
}

}  // namespace sluice::config
