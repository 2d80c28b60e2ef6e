// Which addresses of services are announced from this router one by one, and for which services (BGP-4, LB-10).
//
// Every service adds what it has to say; an address is announced as long as one service wants it. A change looks at the
// services that it names alone, so one slice's endpoints cost what one service costs, however many there are.
//
// A network of BGPConfiguration that is announced as a whole is not here: BgpPlan has it (bgp_plan.h). An address in it
// is, if its service has the policy Local.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/model.h"
#include "config/object_set.h"
#include "control/drains.h"

namespace sluice::control {

// The networks of BGPConfiguration "default" whose addresses are announced.
struct ServiceRange {
  enum class Kind : uint8_t { ClusterIp, ExternalIp, LoadBalancerIp };
  Kind kind = Kind::ClusterIp;
  net::Prefix cidr;
  bool aggregated = true;  // as a whole, for services with the policy Cluster

  friend bool operator==(const ServiceRange&, const ServiceRange&) = default;
};
[[nodiscard]] std::vector<ServiceRange> service_ranges(const config::Config& config);

// Whether the router's Node has the label that keeps load balancers away from it: it announces no services then.
[[nodiscard]] bool excluded_from_load_balancers(const config::Config& config);

// The BGPAdvertisements that the router's Node makes.
[[nodiscard]] std::map<config::ObjectName, config::BgpAdvertisement> bgp_advertisements_of(
    const config::Config& config);

class BgpServices {
 public:
  using Names = std::set<config::ObjectName>;
  // BGPAdvertisements, and the services because of which.
  using Advertisements = std::map<config::ObjectName, Names>;

  // Endpoints that are drained count as not ready, from the next call on.
  void set_drains(DrainList drains) { drains_ = std::move(drains); }

  // Everything anew. True: prefixes() is different from before.
  bool rebuild(const config::Config& config);
  // The same, if `change` is all that `config` differs in from the one seen last.
  bool update(const config::Config& config, const config::Change& change);

  // The same, if these are the endpoints that are drained now and nothing else is different.
  bool update(const config::Config& config, const DrainList& drains);

  // Host prefixes, and the services they are of.
  [[nodiscard]] const std::map<net::Prefix, Names>& prefixes() const { return prefixes_; }
  // Prefixes of addresses of MetalLB's pools, as long as their BGPAdvertisements say (LB-10).
  [[nodiscard]] const std::map<net::Prefix, Advertisements>& advertised() const { return advertised_; }

 private:
  struct Contribution {
    std::set<net::Prefix> prefixes;
    std::set<std::pair<net::Prefix, config::ObjectName>> advertised;
    [[nodiscard]] bool empty() const { return prefixes.empty() && advertised.empty(); }
    friend bool operator==(const Contribution&, const Contribution&) = default;
  };
  struct Endpoints;
  struct Surroundings {
    std::vector<ServiceRange> ranges;
    std::vector<std::string> local_node_names;
    bool any_node_is_local = false;
    bool excluded = false;
    std::map<config::ObjectName, config::BgpAdvertisement> advertisements;  // of this node
    std::map<config::ObjectName, config::AddressPool> pools;                // if there are any
    friend bool operator==(const Surroundings&, const Surroundings&) = default;
  };

  [[nodiscard]] static Surroundings surroundings_of(const config::Config& config);
  // The services that a slice belonged to and belongs to are added to `services`.
  void index_slice(const config::Config& config, const config::ObjectName& name, Names& services);
  [[nodiscard]] bool is_drained(const config::EndpointSlice& slice, const config::Endpoint& endpoint) const;
  [[nodiscard]] Endpoints endpoints_of(const config::Config& config, const config::ObjectName& service) const;
  [[nodiscard]] Contribution contribution(const config::Config& config, const config::Service& service) const;
  void add_advertised(const config::Service& service, const Endpoints& endpoints, Contribution& out) const;
  // True: an address came or went.
  bool refresh(const config::Config& config, const config::ObjectName& name);

  Surroundings surroundings_;
  std::map<config::ObjectName, Names> slices_of_;
  std::map<config::ObjectName, config::ObjectName> service_of_slice_;
  std::map<config::ObjectName, Contribution> contributions_;  // those that are not empty
  std::map<net::Prefix, Names> prefixes_;
  std::map<net::Prefix, Advertisements> advertised_;
  DrainList drains_;
};

}  // namespace sluice::control
