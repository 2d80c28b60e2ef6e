// Which service addresses there are, and what a change of services makes of their routes. Services come and go all the
// time: their routes lead all to one next hop, so the plan need not be made anew for them. Control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "config/model.h"
#include "config/object_set.h"
#include "control/plan.h"
#include "dataplane/net/addr.h"

namespace sluice::control {

class ServiceRoutes {
 public:
  struct Moves {
    std::vector<net::Prefix> gained;
    std::vector<net::Prefix> lost;
    std::map<config::ObjectName, std::vector<net::IpAddr>> addresses;  // of the services that changed, from now on
  };

  // As `config` has them, of which `plan` was made.
  void reset(const config::Config& config);
  // What the services that `change` touches, which led to `config`, make of it; other objects are not looked at. Empty:
  // `plan` has to be made anew, since somebody else wants one of these routes as well, or a tunnel ends there, or the
  // endpoints of a service have routes.
  [[nodiscard]] std::optional<Moves> moves(const config::Config& config, const config::Change& change,
                                           const Plan& plan) const;
  // They are in place.
  void commit(const Moves& moves);

 private:
  std::map<config::ObjectName, std::vector<net::IpAddr>> addresses_;  // sorted
  std::unordered_map<net::IpAddr, uint32_t> uses_;                    // services that have it
};

}  // namespace sluice::control
