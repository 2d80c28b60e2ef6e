#include "control/service_totals.h"

namespace sluice::control {

using config::ObjectName;

size_t* ServiceTotals::count_of(config::ServiceType type) {
  switch (type) {
    case config::ServiceType::ClusterIp:
      return &totals_.cluster_ip_services;
    case config::ServiceType::NodePort:
      return &totals_.node_port_services;
    case config::ServiceType::LoadBalancer:
      return &totals_.load_balancer_services;
    case config::ServiceType::ExternalName:
      break;
  }
  return nullptr;
}

void ServiceTotals::count_in(const Endpoints& endpoints) {
  totals_.ready_endpoints += endpoints.ready;
  totals_.terminating_endpoints += endpoints.terminating;
  totals_.unready_endpoints += endpoints.unready;
}

void ServiceTotals::count_out(const Endpoints& endpoints) {
  totals_.ready_endpoints -= endpoints.ready;
  totals_.terminating_endpoints -= endpoints.terminating;
  totals_.unready_endpoints -= endpoints.unready;
}

void ServiceTotals::look_at_service(const config::Config& config, const ObjectName& name) {
  const auto endpoints = endpoints_.find(name);
  if (const auto before = services_.find(name); before != services_.end()) {
    if (size_t* count = count_of(before->second); count != nullptr) --*count;
    if (endpoints != endpoints_.end()) count_out(endpoints->second);
    services_.erase(before);
  }
  const auto service = config.services.find(name);
  if (service == config.services.end() || !service->second.proxied) return;
  services_.emplace(name, service->second.type);
  if (size_t* count = count_of(service->second.type); count != nullptr) ++*count;
  if (endpoints != endpoints_.end()) count_in(endpoints->second);
}

void ServiceTotals::look_at_slice(const config::Config& config, const ObjectName& name) {
  if (const auto before = slices_.find(name); before != slices_.end()) {
    const auto& [service, gone] = before->second;
    const auto sum = endpoints_.find(service);
    sum->second.ready -= gone.ready;
    sum->second.terminating -= gone.terminating;
    sum->second.unready -= gone.unready;
    if (services_.contains(service)) count_out(gone);
    if (sum->second.ready + sum->second.terminating + sum->second.unready == 0) endpoints_.erase(sum);
    slices_.erase(before);
  }
  const auto found = config.slices.find(name);
  if (found == config.slices.end()) return;
  const config::EndpointSlice& slice = found->second;
  if (slice.service.empty() || slice.fqdn || slice.endpoints.empty()) return;
  Slice now{{name.ns, slice.service}, {}};
  for (const config::Endpoint& endpoint : slice.endpoints) {
    if (endpoint.ready) {
      ++now.endpoints.ready;
    } else if (endpoint.serving && endpoint.terminating) {
      ++now.endpoints.terminating;
    } else {
      ++now.endpoints.unready;
    }
  }
  Endpoints& sum = endpoints_[now.service];
  sum.ready += now.endpoints.ready;
  sum.terminating += now.endpoints.terminating;
  sum.unready += now.endpoints.unready;
  if (services_.contains(now.service)) count_in(now.endpoints);
  slices_.emplace(name, std::move(now));
}

void ServiceTotals::update(const config::Config& config, const config::Change& change) {
  for (const config::Change::Touched& touched : change.touched) {
    if (!touched.effective) continue;
    const ObjectName name{touched.key.ns, touched.key.name};
    if (touched.key.kind == "Service") look_at_service(config, name);
    if (touched.key.kind == "EndpointSlice") look_at_slice(config, name);
  }
}

}  // namespace sluice::control
