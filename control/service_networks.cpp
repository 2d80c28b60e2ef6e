#include "control/service_networks.h"

#include <set>

#include "control/bgp_metallb.h"
#include "control/bgp_services.h"

namespace sluice::control {

std::map<net::Prefix, const char*> service_networks(const config::Config& config) {
  std::map<net::Prefix, const char*> out;
  for (const ServiceRange& range : service_ranges(config)) out.emplace(range.cidr, "BGPConfiguration");
  std::set<net::Prefix> pools;
  for (const auto& [name, pool] : config.address_pools) {
    for (const config::AddressRange& range : pool.ranges) add_networks(range.first, range.last, pools);
  }
  for (const net::Prefix& network : pools) out.emplace(network, "IPAddressPool");
  return out;
}

}  // namespace sluice::control
