// What the API asks the controller of Ingresses (ING-16).
#include <algorithm>

#include "control/controller.h"

namespace sluice::control {
namespace {

std::string_view type_name(config::PathType type) {
  switch (type) {
    case config::PathType::Exact:
      return "Exact";
    case config::PathType::Prefix:
      return "Prefix";
    case config::PathType::ImplementationSpecific:
      break;
  }
  return "ImplementationSpecific";
}

template <class F>
size_t endpoints_of(const nat::ServiceTable<F>* table, l7::TargetId target) {
  const auto* frontend = table == nullptr ? nullptr
                                          : table->find(l7::target_address<typename F::Addr>(target), net::be16{},
                                                        static_cast<uint8_t>(config::Protocol::Tcp));
  return frontend == nullptr ? 0 : frontend->service->cluster.backends.size();
}

}  // namespace

std::vector<IngressEntry> Controller::ingresses() const {
  const config::Config& config = objects_.config();
  const IngressCompiler& compiler = services_.ingress();
  const ServiceCompiler::Tables& tables = deployment_.service_tables();
  std::vector<IngressEntry> out;
  if (!config.gateway.ingress.enabled) return out;
  for (const auto& named : config.ingresses) {
    const config::Ingress& ingress = named.second;
    if (!config::is_ours(config, ingress)) continue;
    IngressEntry entry{named.first.text(), config.gateway.ingress.addresses, ingress.tls_passthrough, {}};
    const auto add = [&](std::string host, std::string path, std::string_view type,
                         const config::IngressBackend& backend) {
      IngressRuleEntry rule{.host = std::move(host), .path = std::move(path), .path_type = std::string(type)};
      const config::ObjectName service{ingress.ns, backend.service};
      if (!backend.service.empty()) rule.target = service.text() + ":" + backend.port.text();
      if (services_.external().contains(service)) rule.external = external_name_entry(service);
      const IngressCompiler::Targets* targets = compiler.targets_of(service);
      if (targets != nullptr) {
        if (const auto target = targets->find(backend.port); target != targets->end()) {
          rule.endpoints =
              std::max(endpoints_of(tables.v4.get(), target->second), endpoints_of(tables.v6.get(), target->second));
        }
      }
      entry.rules.push_back(std::move(rule));
    };
    for (const config::IngressRule& rule : ingress.rules) {
      for (const config::IngressPath& path : rule.paths) add(rule.host, path.path, type_name(path.type), path.backend);
    }
    if (ingress.default_backend) add({}, {}, {}, *ingress.default_backend);
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace sluice::control
