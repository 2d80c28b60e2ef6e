// How much there is of what the router serves.
#include "control/controller.h"

namespace sluice::control {

Totals Controller::totals() const {
  Totals totals = service_totals_.totals();
  totals.drained = drains_.targets().size();
  for (const auto& [name, tunnel] : deployment_.plan().tunnels) {
    ++(tunnel.spec.kind == encap::Kind::Vxlan ? totals.vxlan_tunnels : totals.ipip_tunnels);
    if (plane_.tunnel_paths()[deployment_.index_of_tunnel(name)].unreachable) ++totals.unreachable_tunnels;
  }
  return totals;
}

}  // namespace sluice::control
