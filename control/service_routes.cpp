#include "control/service_routes.h"

#include <algorithm>

namespace sluice::control {
namespace {

using net::IpAddr;
using net::Prefix;

// Each once.
std::vector<IpAddr> addresses_of(const config::Service& service) {
  if (!service.proxied) return {};
  std::vector<IpAddr> out = service.cluster_ips;
  out.insert(out.end(), service.external_ips.begin(), service.external_ips.end());
  out.insert(out.end(), service.load_balancer_ips.begin(), service.load_balancer_ips.end());
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace

void ServiceRoutes::reset(const config::Config& config) {
  addresses_.clear();
  uses_.clear();
  for (const auto& [name, service] : config.services) {
    std::vector<IpAddr> addresses = addresses_of(service);
    if (addresses.empty()) continue;
    for (const IpAddr& address : addresses) ++uses_[address];
    addresses_.emplace_hint(addresses_.end(), name, std::move(addresses));
  }
}

std::optional<ServiceRoutes::Moves> ServiceRoutes::moves(const config::Config& config, const config::Change& change,
                                                         const Plan& plan) const {
  Moves out;
  std::map<IpAddr, int32_t> differences;
  for (const config::Change::Touched& touched : change.touched) {
    if (touched.key.kind != "Service" || !touched.effective) continue;
    const config::ObjectName name{touched.key.ns, touched.key.name};
    const auto now = config.services.find(name);
    const bool direct = plan.direct_services.contains(name) ||
                        (now != config.services.end() && now->second.forwarding == config::Forwarding::Dsr);
    if (direct) return std::nullopt;
    std::vector<IpAddr> wanted = now == config.services.end() ? std::vector<IpAddr>{} : addresses_of(now->second);
    if (const auto before = addresses_.find(name); before != addresses_.end()) {
      for (const IpAddr& address : before->second) --differences[address];
    }
    for (const IpAddr& address : wanted) ++differences[address];
    out.addresses.insert_or_assign(name, std::move(wanted));
  }
  const std::vector<IpAddr>& ingress = config.gateway.ingress.addresses;
  for (const auto& [address, difference] : differences) {
    const auto used = uses_.find(address);
    const auto before = used == uses_.end() ? 0 : static_cast<int32_t>(used->second);
    if ((before == 0) == (before + difference == 0)) continue;
    const Prefix prefix = Prefix::host(address);
    const auto route = plan.routes.find(prefix);
    // A service's route to a tunnel's end takes the way from the tunnel.
    const bool contested = plan.contested.contains(prefix) || plan.ends.contains(address) ||
                           std::find(ingress.begin(), ingress.end(), address) != ingress.end();
    if (contested || (route == plan.routes.end()) != (before == 0)) return std::nullopt;
    (before == 0 ? out.gained : out.lost).push_back(prefix);
  }
  return out;
}

void ServiceRoutes::commit(const Moves& moves) {
  for (const auto& [name, addresses] : moves.addresses) {
    if (const auto before = addresses_.find(name); before != addresses_.end()) {
      for (const IpAddr& address : before->second) {
        if (const auto used = uses_.find(address); --used->second == 0) uses_.erase(used);
      }
      addresses_.erase(before);
    }
    if (addresses.empty()) continue;
    for (const IpAddr& address : addresses) ++uses_[address];
    addresses_.emplace(name, addresses);
  }
}

}  // namespace sluice::control
