// Config → service tables: which endpoints each service port may use (SVC-10 to SVC-16), how new flows are shared out
// among them (the annotation sluice.dev/weights), and all its frontends (3.1); pods with host ports are services of one
// endpoint. Keeps what it built, by the object that it came from: a change looks at the services that it can affect, a
// service port whose inputs did not change is shared with the previous snapshot, Maglev table included, and the tables
// are changed by the difference, so one endpoint's change costs what one service costs (SCALE-5).
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/model.h"
#include "config/object_set.h"
#include "config/spread.h"
#include "control/content_library.h"
#include "control/drains.h"
#include "control/external_names.h"
#include "control/ingress_compiler.h"
#include "dataplane/content_pods.h"
#include "nat/endpoint_set.h"
#include "nat/service.h"

namespace sluice::control {

// What the service port of a pod's host port is called: "pod/default/web:8080-tcp".
[[nodiscard]] std::string host_port_name(const config::Pod& pod, const config::HostPort& port);

class ServiceCompiler {
 public:
  struct Tables {
    std::shared_ptr<const nat::ServiceTable<net::V4>> v4;
    std::shared_ptr<const nat::ServiceTable<net::V6>> v6;
    std::shared_ptr<const nat::EndpointSet<net::V4>> endpoints_v4;
    std::shared_ptr<const nat::EndpointSet<net::V6>> endpoints_v6;
    std::shared_ptr<const dataplane::ContentPods<net::V4>> content_v4;
    std::shared_ptr<const dataplane::ContentPods<net::V6>> content_v6;
  };

  // `spread`: how what very many services add to the tables is made, Maglev tables included. `content`: rules of
  // ContentPolicies; nullptr: there are none. `names`: what Services of type ExternalName stand for; nullptr: nobody
  // knows.
  explicit ServiceCompiler(config::Spread spread = config::one_after_the_other, const ContentLibrary* content = nullptr,
                           const ExternalNames* names = nullptr)
      : spread_(std::move(spread)), content_(content), external_names_(names) {}

  // `own_addresses`: of all interfaces; NodePorts stand on those the configuration selects (SVC-51).
  [[nodiscard]] Tables compile(const config::Config& config, const std::vector<net::IpAddr>& own_addresses,
                               const DrainList& drains = {});
  // The same, if `change` is all that `config` differs in from the one compiled last. `drains` may be others: then the
  // services and pods that they are about are looked at as well.
  [[nodiscard]] Tables update(const config::Config& config, const config::Change& change,
                              const std::vector<net::IpAddr>& own_addresses, const DrainList& drains = {});

  // Slices that name a service; nullptr: none.
  [[nodiscard]] const std::set<config::ObjectName>* slices_of(const config::ObjectName& service) const {
    const auto found = slices_of_.find(service);
    return found == slices_of_.end() ? nullptr : &found->second;
  }
  // Rules of Ingresses; what they lead to are hidden frontends (l7::target_address), and where they are listened for is
  // a service port "ingress:80".
  [[nodiscard]] const IngressCompiler& ingress() const { return ingress_; }
  // Services of type ExternalName that rules lead to. Their endpoints are the addresses that their names have now: the
  // services count as touched when those change.
  [[nodiscard]] const std::set<config::ObjectName>& external() const { return external_; }
  // Those that came, went or were looked at since this was asked last.
  [[nodiscard]] std::set<config::ObjectName> take_touched_external() { return std::exchange(touched_external_, {}); }
  // "namespace/name:port" of a ServicePort id, "pod/namespace/name:port" of a host port; empty: none.
  [[nodiscard]] std::string name_of(uint32_t id) const;
  // Ids of a service ("default/web"), of one of its ports ("default/web:http"), in both families.
  [[nodiscard]] std::vector<uint32_t> ids_of(const std::string& name) const;

 private:
  template <class F>
  struct Built {
    uint32_t table_size = 0;     // configured
    nat::ServicePort<F> inputs;  // without Maglev tables: what it was made of
    std::shared_ptr<const nat::ServicePort<F>> port;
  };
  // What one object, a service or a pod, adds to the tables.
  template <class F>
  struct Unit {
    std::map<std::string, Built<F>> ports;  // by ServicePort::name
    std::vector<nat::Frontend<F>> frontends;
  };
  template <class F>
  struct Family {
    std::map<config::ObjectName, Unit<F>> services;
    std::map<config::ObjectName, Unit<F>> pods;
    std::map<config::ObjectName, Unit<F>> listeners;  // one, without a name
    std::shared_ptr<const nat::ServiceTable<F>> table = std::make_shared<const nat::ServiceTable<F>>();
    std::shared_ptr<const nat::EndpointSet<F>> endpoints = std::make_shared<const nat::EndpointSet<F>>();
    std::shared_ptr<const dataplane::ContentPods<F>> content = std::make_shared<const dataplane::ContentPods<F>>();
  };
  // What units have more and less than before.
  template <class F>
  struct Difference {
    std::vector<nat::Frontend<F>> more, less;
    std::vector<typename nat::EndpointSet<F>::Endpoint> more_endpoints, less_endpoints;
  };
  // What a unit becomes. Nothing of the compiler changes while it is made, so several threads may make some.
  template <class F>
  struct Draft {
    Unit<F> unit;
    std::vector<std::shared_ptr<nat::ServicePort<F>>> fresh;  // of its ports; their numbers are given when it is taken
    Difference<F> difference;
  };
  // All that a unit is made of besides its own objects.
  struct Context {
    const config::Config* config = nullptr;
    std::vector<net::IpAddr> own_addresses;
    const DrainList* drains = nullptr;
  };
  // The part of a Context that is alike for all units: a change of it makes all units anew.
  struct Surroundings {
    std::vector<std::string> local_node_names;
    bool node_ports_on_primary = false;
    std::vector<net::Prefix> node_port_addresses;
    uint32_t maglev_table_size = 0;
    std::string zone;
    std::vector<net::IpAddr> own_addresses;
    friend bool operator==(const Surroundings&, const Surroundings&) = default;
  };
  using Names = std::set<config::ObjectName>;

  // nullptr: there is none.
  template <class Map>
  [[nodiscard]] static const typename Map::mapped_type* find_in(const Map& map, const typename Map::key_type& key) {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : &found->second;
  }
  [[nodiscard]] static Surroundings surroundings_of(const Context& context);
  // Takes a slice into the index, or out of it; the services it belonged to and belongs to are added to `services`.
  void index_slice(const config::Config& config, const config::ObjectName& name, Names& services);
  [[nodiscard]] Tables refresh(const Context& context, const Names& services, const Names& pods);
  // Makes the units of these objects anew; the tables are still to be changed by what comes out.
  template <class F>
  [[nodiscard]] Difference<F> refresh_family(const Context& context, const Names& services, const Names& pods,
                                             Family<F>& family);
  template <class F>
  [[nodiscard]] std::vector<Draft<F>> draft_services(const Context& context, const Names& services,
                                                     const std::map<config::ObjectName, Unit<F>>& units) const;
  // Puts a draft in the place of the unit; that goes if there is nothing to be in it. `difference` grows.
  template <class F>
  void take(std::map<config::ObjectName, Unit<F>>& units, const config::ObjectName& name, Draft<F> draft,
            Difference<F>& difference);
  template <class F>
  static void change_table(Family<F>& family, Difference<F>& difference);
  template <class F>
  static void change_endpoints(Family<F>& family, const Difference<F>& difference);

  // service_drafts.cpp
  // A service port of these inputs: the one of last time, if they are the same. It is noted in `draft`.
  template <class F>
  [[nodiscard]] static std::shared_ptr<const nat::ServicePort<F>> share(const std::string& name,
                                                                        nat::ServicePort<F> inputs, uint32_t table_size,
                                                                        const Unit<F>* before, Draft<F>& draft);
  // Notes what it differs in.
  template <class F>
  [[nodiscard]] static Draft<F> compared(Draft<F> draft, const Unit<F>* before);
  // `before`: nullptr: there was none.
  template <class F>
  [[nodiscard]] Draft<F> service_draft(const Context& context, const config::Service& service,
                                       const std::vector<net::IpAddr>& node_port_addresses,
                                       const Unit<F>* before) const;
  // Of type ExternalName: `targets` are rules that lead there.
  template <class F>
  [[nodiscard]] Draft<F> external_draft(const Context& context, const config::Service& service,
                                        const IngressCompiler::Targets& targets, const Unit<F>* before) const;
  // Host ports of a pod on this node (3.1).
  template <class F>
  [[nodiscard]] static Draft<F> pod_draft(const Context& context, const config::Pod& pod, const Unit<F>* before);
  // Where the gateway listens for what rules of Ingresses are about.
  template <class F>
  [[nodiscard]] Draft<F> listener_draft(const Context& context, const Unit<F>* before) const;
  template <class F>
  [[nodiscard]] static nat::ServicePort<F> inputs_of(const config::Config& config, const config::Service& service,
                                                     const config::ServicePort& port,
                                                     const std::vector<const config::EndpointSlice*>& slices,
                                                     const std::vector<net::IpAddr>& own_addresses,
                                                     const DrainList& drains, bool of_rules);
  [[nodiscard]] uint32_t id_of(const std::string& name);

  // Pods that policies select, of both families.
  void refresh_pods(const config::Config& config);

  config::Spread spread_;
  const ContentLibrary* content_;
  const ExternalNames* external_names_;
  Names external_;
  Names touched_external_;
  Family<net::V4> v4_;
  Family<net::V6> v6_;
  std::map<config::ObjectName, Names> slices_of_;                      // of every service that slices name
  std::map<config::ObjectName, config::ObjectName> service_of_slice_;  // those that belong to one
  IngressCompiler ingress_;
  Surroundings surroundings_;
  DrainList drains_;  // at last
  uint32_t last_affinity_key_ = 0;
  std::map<std::string, uint32_t> ids_;
  std::vector<std::string> names_;
};

}  // namespace sluice::control
