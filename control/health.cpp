#include "control/health.h"

#include <algorithm>
#include <set>

#include <boost/json/object.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "config/rules.h"

namespace sluice::control {
namespace {

namespace json = boost::json;
using std::chrono::system_clock;

Response json_answer(bool good, const json::object& body) {
  Response response{good ? 200U : 503U, "application/json", to_text(body), {}};
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  return response;
}

std::string utc(system_clock::time_point time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(system_clock::to_time_t(time)));
}

Response service_answer(const ServiceHealth& health, const RouterHealth& router) {
  Response response =
      json_answer(health.local_endpoints != 0 && router.healthy,
                  {{"service", json::object{{"namespace", health.service.ns}, {"name", health.service.name}}},
                   {"localEndpoints", health.local_endpoints},
                   {"serviceProxyHealthy", router.healthy}});
  response.headers.emplace_back("X-Load-Balancing-Endpoint-Weight", std::to_string(health.local_endpoints));
  return response;
}

// Addresses of ready endpoints that count as local, by service.
using Endpoints = std::map<config::ObjectName, std::set<net::IpAddr>>;

Endpoints ready_endpoints(const config::Config& config, const DrainList& drains) {
  const auto& local = config.gateway.local_node_names;
  // SVC-65: then every endpoint is as good as a local one.
  const bool all = config.gateway.proxy.external_policy_local_scope == config::LocalScope::Cluster;
  Endpoints out;
  for (const auto& [name, slice] : config.slices) {
    const auto service = config.services.find({name.ns, slice.service});
    if (service == config.services.end() || service->second.health_check_node_port == 0 || slice.fqdn) continue;
    for (const config::Endpoint& endpoint : slice.endpoints) {
      // SVC-81. One that gets nothing new is as good as one that terminates.
      if (!endpoint.ready || service->second.weights.of(slice, endpoint) == 0) continue;
      const auto drained = [&, &ns = name.ns](const config::EndpointPort& port) {
        return drains.of({ns, endpoint.pod}, endpoint.address, port.port) != Drain::None;
      };
      if (!drains.empty() && std::all_of(slice.ports.begin(), slice.ports.end(), drained)) continue;
      if (all || std::find(local.begin(), local.end(), endpoint.node_name) != local.end()) {
        out[{name.ns, slice.service}].insert(endpoint.address);
      }
    }
  }
  return out;
}

// SVC-80: load balancers check the node's address, which is the router's. Who named addresses of the machine knows
// better.
void warn_of_reach(const config::Gateway& gateway, HealthPlan& plan) {
  const auto is_reached = [](const config::Interface& interface) { return !interface.host_interface.empty(); };
  const bool reached = std::any_of(gateway.interfaces.begin(), gateway.interfaces.end(), is_reached);
  if (plan.services.empty() || reached || !plan.addresses.empty()) return;
  const auto& [port, health] = *plan.services.begin();
  config::Warning warning;
  warning.kind = "Service";
  warning.name = health.service.text();
  warning.path = "spec.healthCheckNodePort";
  warning.message = fmt::format(
      "{} is not answered at the router's interfaces, only at those that the kernel has: give the uplink by which load "
      "balancers come a hostInterface, or say with proxy.healthAddresses at which addresses of the machine they check",
      port);
  if (plan.services.size() > 1)
    warning.message += fmt::format("; the same holds for {} more", plan.services.size() - 1);
  plan.warnings.push_back(std::move(warning));
}

}  // namespace

bool affects_health(const config::Config& config, const config::Change& change, const HealthPlan& served) {
  const auto had_port = [&](const config::ObjectName& name) {
    return std::any_of(served.services.begin(), served.services.end(),
                       [&](const auto& service) { return service.second.service == name; });
  };
  const auto has_port = [&](const std::string& ns, const std::string& name) {
    const auto service = config.services.find({ns, name});
    return service != config.services.end() && service->second.health_check_node_port != 0;
  };
  return std::any_of(change.touched.begin(), change.touched.end(), [&](const config::Change::Touched& touched) {
    if (!touched.effective || touched.key.kind == "Pod") return false;
    if (touched.key.kind == "Service") {
      return has_port(touched.key.ns, touched.key.name) || had_port({touched.key.ns, touched.key.name});
    }
    if (touched.key.kind == "Node") return touched.key.name == config.gateway.node_name;
    if (touched.key.kind != "EndpointSlice") return touched.key.kind == config::gateway_kind;
    const auto slice = config.slices.find({touched.key.ns, touched.key.name});
    return has_port(touched.key.ns, touched.service) ||
           (slice != config.slices.end() && has_port(touched.key.ns, slice->second.service));
  });
}

HealthPlan make_health_plan(const config::Config& config, const DrainList& drains) {
  HealthPlan plan;
  plan.healthz_port = config.gateway.proxy.healthz_port;
  plan.addresses = config.gateway.proxy.health_addresses;
  const auto own = config.nodes.find(config.gateway.node_name);
  plan.node_eligible = own == config.nodes.end() || !own->second.being_deleted;
  const Endpoints endpoints = ready_endpoints(config, drains);
  for (const auto& [name, service] : config.services) {
    if (!service.proxied || service.health_check_node_port == 0) continue;
    ServiceHealth& health = plan.services[service.health_check_node_port];
    health.service = name;
    const auto found = endpoints.find(name);
    if (found == endpoints.end()) continue;
    const auto v4 = static_cast<uint32_t>(
        std::count_if(found->second.begin(), found->second.end(), [](const auto& address) { return address.is_v4(); }));
    health.local_endpoints = std::max(v4, static_cast<uint32_t>(found->second.size()) - v4);
  }
  warn_of_reach(config.gateway, plan);
  return plan;
}

Response health_answer(const HealthPlan& plan, uint16_t port, std::string_view method, std::string_view target,
                       const RouterHealth& router, system_clock::time_point now) {
  if (method != "GET" && method != "HEAD") {
    Response response = error_response(405, "health is only told, with GET or HEAD");
    response.headers.emplace_back("Allow", "GET, HEAD");
    return response;
  }
  if (const auto service = plan.services.find(port); service != plan.services.end()) {
    return service_answer(service->second, router);
  }
  const std::string_view path = target.substr(0, target.find('?'));
  const bool ready = path == "/healthz";
  if (port != plan.healthz_port || (!ready && path != "/livez")) return error_response(404, "nothing is served here");
  json::object body{{"lastUpdated", utc(router.updated)}, {"currentTime", utc(now)}};
  if (ready) body["nodeEligible"] = plan.node_eligible;
  return json_answer(router.healthy && (!ready || plan.node_eligible), body);
}

}  // namespace sluice::control
