// How many services and endpoints there are, kept while they change: asking costs nothing, however large the cluster.
#pragma once

#include <cstddef>
#include <map>

#include "config/model.h"
#include "config/object_set.h"
#include "control/totals.h"

namespace sluice::control {

class ServiceTotals {
 public:
  // `change` is all that `config` differs in from what was seen last; at first, all of it.
  void update(const config::Config& config, const config::Change& change);
  // What Totals has of services and their endpoints; the rest is 0.
  [[nodiscard]] const Totals& totals() const { return totals_; }

 private:
  struct Endpoints {
    size_t ready = 0, terminating = 0, unready = 0;
  };
  struct Slice {
    config::ObjectName service;
    Endpoints endpoints;
  };

  void look_at_service(const config::Config& config, const config::ObjectName& name);
  void look_at_slice(const config::Config& config, const config::ObjectName& name);
  [[nodiscard]] size_t* count_of(config::ServiceType type);
  void count_in(const Endpoints& endpoints);
  void count_out(const Endpoints& endpoints);

  std::map<config::ObjectName, config::ServiceType> services_;  // that the router is the proxy of
  std::map<config::ObjectName, Slice> slices_;                  // that name a service, whose endpoints have addresses
  std::map<config::ObjectName, Endpoints> endpoints_;           // of these slices, by service
  Totals totals_;
};

}  // namespace sluice::control
