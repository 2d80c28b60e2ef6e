// Config → service tables: which endpoints each service port may use (SVC-10 to SVC-16), how new flows are shared out
// among them (the annotation sluice.dev/weights), and all its frontends (3.1); pods with host ports are services of one
// endpoint. Keeps what it built: a service port whose inputs did not change is shared with the previous snapshot,
// Maglev table included, so one endpoint's change builds one service (SCALE-5).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/model.h"
#include "control/drains.h"
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
  };

  // `own_addresses`: of all interfaces; NodePorts stand on those the configuration selects (SVC-51).
  [[nodiscard]] Tables compile(const config::Config& config, const std::vector<net::IpAddr>& own_addresses,
                               const DrainList& drains = {});

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
  template <class F>
  using Cache = std::map<std::string, Built<F>>;
  using SliceIndex = std::map<config::ObjectName, std::vector<const config::EndpointSlice*>>;

  // A service port of these inputs: the one of last time, if they are the same. It is noted in `next`.
  template <class F>
  [[nodiscard]] std::shared_ptr<const nat::ServicePort<F>> share(const std::string& name, nat::ServicePort<F> inputs,
                                                                 uint32_t table_size, const Cache<F>& cache,
                                                                 Cache<F>& next);
  // Host ports of pods on this node (3.1).
  template <class F>
  void add_host_ports(const config::Config& config, const std::vector<net::IpAddr>& own_addresses,
                      const DrainList& drains, const Cache<F>& cache, Cache<F>& next,
                      std::vector<nat::Frontend<F>>& frontends);
  template <class F>
  [[nodiscard]] std::shared_ptr<const nat::ServiceTable<F>> compile_family(
      const config::Config& config, const SliceIndex& slices, const std::vector<net::IpAddr>& own_addresses,
      const DrainList& drains, Cache<F>& cache);
  template <class F>
  [[nodiscard]] nat::ServicePort<F> inputs_of(const config::Config& config, const config::Service& service,
                                              const config::ServicePort& port,
                                              const std::vector<const config::EndpointSlice*>& slices,
                                              const std::vector<net::IpAddr>& own_addresses, const DrainList& drains);
  template <class F>
  [[nodiscard]] static std::shared_ptr<const nat::EndpointSet<F>> endpoints_of(const Cache<F>& cache);
  [[nodiscard]] uint32_t id_of(const std::string& name);

  Cache<net::V4> cache_v4_;
  Cache<net::V6> cache_v6_;
  uint32_t last_affinity_key_ = 0;
  std::map<std::string, uint32_t> ids_;
  std::vector<std::string> names_;
};

}  // namespace sluice::control
