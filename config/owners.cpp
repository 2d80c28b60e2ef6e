#include "config/owners.h"

#include <string>

#include "config/device.h"

namespace sluice::config {
namespace {

uint32_t node_port_key(Protocol protocol, uint16_t port) { return static_cast<uint32_t>(protocol) << 16 | port; }

// Look-ups only: that others have the same number costs a look at them.
size_t name_key(std::string_view node, std::string_view what, std::string_view name) {
  const std::hash<std::string_view> hash;
  return (hash(node) * 31 + hash(what)) * 31 + hash(name);
}

template <class Look>
void each_node_port(const Service& service, const Look& look) {
  for (const ServicePort& port : service.ports) {
    if (port.node_port != 0) look(node_port_key(port.protocol, port.node_port));
  }
  if (service.health_check_node_port != 0) look(node_port_key(Protocol::Tcp, service.health_check_node_port));
}

// Addresses for everybody.
template <class Look>
void each_outside(const Service& service, const Look& look) {
  if (!service.proxied) return;
  for (const IpAddr& address : service.external_ips) look(address);
  for (const IpAddr& address : service.load_balancer_ips) look(address);
}

template <class Look>
void each_name(const WorkloadEndpoint& workload, std::string_view node, const Look& look) {
  look(name_key(node, "port", workload.port_name()));
  if (!workload.device.empty()) look(name_key(node, "device", device_name(workload.device)));
}

}  // namespace

template <class Edit>
void Owners::each_key(const Service& service, const Edit& edit) {
  for (const IpAddr& address : service.cluster_ips) edit(cluster_ips_, address);
  each_node_port(service, [&](uint32_t key) { edit(node_ports_, key); });
  each_outside(service, [&](const IpAddr& address) {
    for (const ServicePort& port : service.ports) edit(frontends_, Frontend{address, port.port, port.protocol});
  });
  if (!service.proxied) return;
  for (const IpAddr& address : service.external_ips) edit(external_ips_, address);
}

template <class Edit>
void Owners::each_key(const Node& node, const Edit& edit) {
  for (const IpAddr& address : node.internal_ips) edit(nodes_, address);
  for (const IpAddr& address : node.external_ips) edit(nodes_, address);
  if (node.bgp_ipv4) edit(nodes_, node.bgp_ipv4->addr);
  if (node.bgp_ipv6) edit(nodes_, node.bgp_ipv6->addr);
  for (const Prefix& network : node.pod_cidrs) edit(pod_networks_, network);
}

template <class Edit>
void Owners::each_key(const WorkloadEndpoint& workload, const Edit& edit) {
  for (const IpAddr& address : workload.addresses) edit(pods_, address);
  each_name(workload, workload.node, [&](size_t key) { edit(ports_, key); });
}

void Owners::add(const Service& service) {
  each_key(service, [&](auto& index, const auto& key) { index.add(key, service); });
}

void Owners::remove(const Service& service) {
  each_key(service, [&](auto& index, const auto& key) { index.remove(key, service); });
}

void Owners::add(const Node& node) {
  each_key(node, [&](auto& index, const auto& key) { index.add(key, node); });
  for (const Prefix& network : node.pod_cidrs) {
    ++pod_network_lengths_[network.family() == net::Family::V6][network.length];
  }
}

void Owners::remove(const Node& node) {
  each_key(node, [&](auto& index, const auto& key) { index.remove(key, node); });
  for (const Prefix& network : node.pod_cidrs) {
    --pod_network_lengths_[network.family() == net::Family::V6][network.length];
  }
}

void Owners::add(const BlockAffinity& block) {
  if (block.confirmed) blocks_.add(block.cidr, block);
}

void Owners::remove(const BlockAffinity& block) {
  if (block.confirmed) blocks_.remove(block.cidr, block);
}

void Owners::add(const WorkloadEndpoint& workload) {
  each_key(workload, [&](auto& index, const auto& key) { index.add(key, workload); });
}

void Owners::remove(const WorkloadEndpoint& workload) {
  each_key(workload, [&](auto& index, const auto& key) { index.remove(key, workload); });
}

std::set<const Service*> Owners::rivals_of(const Service& service) const {
  std::set<const Service*> out;
  const auto take = [&](const Service& other) { out.insert(&other); };
  for (const IpAddr& address : service.cluster_ips) {
    cluster_ips_.each(address, take);
    frontends_.each_from({address}, [&](const auto& entry) {
      if (entry.first.address != address) return false;
      out.insert(entry.second);
      return true;
    });
  }
  each_node_port(service, [&](uint32_t key) { node_ports_.each(key, take); });
  each_outside(service, [&](const IpAddr& address) {
    cluster_ips_.each(address, take);
    for (const ServicePort& port : service.ports) frontends_.each({address, port.port, port.protocol}, take);
  });
  return out;
}

bool Owners::has_external_ip_in(const Prefix& network) const {
  bool found = false;
  external_ips_.each_from(network.masked().addr, [&](const auto& entry) {
    found = network.contains(entry.first);
    return false;
  });
  return found;
}

const Node* Owners::node_at(const IpAddr& address) const {
  const Node* out = nullptr;
  nodes_.each(address, [&](const Node& node) {
    if (out == nullptr || node.name < out->name) out = &node;
  });
  return out;
}

const Prefix* Owners::pod_network_of(const IpAddr& address) const {
  const auto& lengths = pod_network_lengths_[address.family() == net::Family::V6];
  const Prefix* out = nullptr;
  for (int length = address.bit_length(); length >= 0 && out == nullptr; --length) {
    if (lengths[static_cast<size_t>(length)] == 0) continue;
    const Prefix wanted = Prefix{address, static_cast<uint8_t>(length)}.masked();
    pod_networks_.each_from(wanted, [&](const auto& entry) {
      if (entry.first == wanted) out = &entry.first;
      return false;
    });
  }
  return out;
}

std::set<const WorkloadEndpoint*> Owners::rivals_of(const WorkloadEndpoint& workload,
                                                    const std::vector<std::string>& nodes) const {
  std::set<const WorkloadEndpoint*> out;
  const auto take = [&](const WorkloadEndpoint& other) { out.insert(&other); };
  for (const IpAddr& address : workload.addresses) pods_.each(address, take);
  for (const std::string& node : nodes) {
    each_name(workload, node, [&](size_t key) { ports_.each(key, take); });
  }
  return out;
}

}  // namespace sluice::config
