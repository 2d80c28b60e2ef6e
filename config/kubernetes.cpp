// Kubernetes' own objects: Node, Service, EndpointSlice, ServiceCIDR. Read as kube-proxy reads them; fields that
// do not concern a router are not looked at.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "config/convert.h"
#include "config/external_name.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

constexpr std::array protocols{Choice<Protocol>{"TCP", Protocol::Tcp}, Choice<Protocol>{"UDP", Protocol::Udp},
                               Choice<Protocol>{"SCTP", Protocol::Sctp}};
constexpr std::array service_types{Choice<ServiceType>{"ClusterIP", ServiceType::ClusterIp},
                                   Choice<ServiceType>{"NodePort", ServiceType::NodePort},
                                   Choice<ServiceType>{"LoadBalancer", ServiceType::LoadBalancer},
                                   Choice<ServiceType>{"ExternalName", ServiceType::ExternalName}};
constexpr std::array traffic_policies{Choice<TrafficPolicy>{"Cluster", TrafficPolicy::Cluster},
                                      Choice<TrafficPolicy>{"Local", TrafficPolicy::Local}};

constexpr std::array forwardings{Choice<Forwarding>{"snat", Forwarding::Snat},
                                 Choice<Forwarding>{"dsr", Forwarding::Dsr}, Choice<Forwarding>{"", Forwarding::Snat}};
constexpr std::string_view forwarding_annotation = "sluice.dev/forwarding";

enum class Affinity : uint8_t { None, ClientIp };
constexpr std::array affinities{Choice<Affinity>{"None", Affinity::None},
                                Choice<Affinity>{"ClientIP", Affinity::ClientIp}};
enum class IpMode : uint8_t { Vip, Proxy };
constexpr std::array ip_modes{Choice<IpMode>{"VIP", IpMode::Vip}, Choice<IpMode>{"Proxy", IpMode::Proxy}};

enum class AddressType : uint8_t { Ipv4, Ipv6, Fqdn };
constexpr std::array address_types{Choice<AddressType>{"IPv4", AddressType::Ipv4},
                                   Choice<AddressType>{"IPv6", AddressType::Ipv6},
                                   Choice<AddressType>{"FQDN", AddressType::Fqdn}};

constexpr Seconds default_affinity{10800};  // SVC-40
constexpr std::string_view deletion_taint = "ToBeDeletedByClusterAutoscaler";
constexpr std::string_view unreachable_taint = "node.kubernetes.io/unreachable";
constexpr size_t max_endpoint_addresses = 100;  // discovery.k8s.io/v1

// ---- Node --------------------------------------------------------------------------------------------

// "192.168.0.11/24", or the address alone.
template <class F>
std::optional<Prefix> parse_interface_address(std::string_view text) {
  std::optional<Prefix> prefix = net::parse_prefix(text);
  if (!prefix) {
    if (const auto address = net::parse_ip(text)) prefix = Prefix::host(*address);
  }
  return prefix && prefix->family() == F::family ? prefix : std::nullopt;
}

// Calico clears an annotation by writing an empty text.
template <class Out, class Parse>
void read_annotation(Reader& annotations, std::string_view key, Out& out, Parse parse, std::string_view what) {
  const json::value* value = annotations.find(key);
  if (value == nullptr || (value->is_string() && value->get_string().empty())) return;
  annotations.parsed(key, out, parse, what);
}

void read_node_addresses(Reader& status, Node& node) {
  status.each("addresses", [&](Reader& item, size_t) {
    std::string type;
    item.text("type", type);
    if ((type == "InternalIP" || type == "ExternalIP") && item.require("address")) {
      std::optional<IpAddr> parsed;
      item.parsed("address", parsed, net::parse_ip, "an IPv4 or IPv6 address");
      if (parsed) (type == "InternalIP" ? node.internal_ips : node.external_ips).push_back(*parsed);
    }
  });
}

// ---- Service -----------------------------------------------------------------------------------------

void read_service_ports(Reader& spec, Service& service) {
  spec.each("ports", [&](Reader& item, size_t) {
    ServicePort port;
    item.text("name", port.name);
    item.choice("protocol", port.protocol, protocols);
    item.number("port", port.port, 1, 65535);
    item.number("nodePort", port.node_port, 0, 65535);
    item.require("port");
    service.ports.push_back(std::move(port));
  });
}

// clusterIPs, or the older clusterIP alone. "None" is a headless service, "" one that has got no address yet.
// True: headless.
bool read_cluster_ips(Reader& spec, Service& service) {
  std::string single;
  spec.text("clusterIP", single);
  bool headless = single == "None";
  std::vector<std::string> listed;
  const auto read = [&](std::string_view text, const Place& place, const json::value& value) {
    if (text == "None") {
      headless = true;
    } else if (!text.empty()) {
      const auto parsed = spec.parse_value(value, place, net::parse_ip, "an IPv4 or IPv6 address or \"None\"");
      if (parsed) service.cluster_ips.push_back(*parsed);
    }
    listed.emplace_back(text);
  };
  spec.each_value("clusterIPs", [&](const json::value& value, const Place& place) {
    if (const auto text = spec.to_text(value, place)) read(*text, place, value);
  });
  if (!listed.empty()) {
    if (!single.empty() && single != listed.front()) {
      spec.fault("clusterIP", fmt::format("must be the same as clusterIPs[0], {}", listed.front()));
    }
  } else if (!single.empty() && single != "None") {
    std::optional<IpAddr> address;
    spec.parsed("clusterIP", address, net::parse_ip, "an IPv4 or IPv6 address or \"None\"");
    if (address) service.cluster_ips.push_back(*address);
  }
  return headless;
}

void read_affinity(Reader& spec, Service& service) {
  Affinity affinity = Affinity::None;
  spec.choice("sessionAffinity", affinity, affinities);
  if (affinity == Affinity::None) return;
  uint32_t timeout = default_affinity.count();
  Reader config = spec.object("sessionAffinityConfig");
  Reader client_ip = config.object("clientIP");
  client_ip.number("timeoutSeconds", timeout, 0, std::numeric_limits<int32_t>::max());
  service.affinity = Seconds(timeout);
}

// Nothing is refused that a service may become while its annotations stay: it waits for an address, or has none now.
void warn_of_forwarding(Reader& object, const Service& service) {
  const bool may_have_address = service.type == ServiceType::LoadBalancer || !service.external_ips.empty();
  if (service.forwarding != Forwarding::Dsr || (service.proxied && may_have_address)) return;
  Reader metadata = object.object("metadata");
  Reader annotations = metadata.object("annotations");
  annotations.warn(forwarding_annotation,
                   "dsr is of no use here: only load balancer addresses and external IPs are answered directly");
}

// SVC-66: white space around a range is allowed; a family without ranges is unrestricted, which deserves a word.
void read_source_ranges(Reader& spec, Service& service) {
  spec.each_value("loadBalancerSourceRanges", [&](const json::value& value, const Place& place) {
    auto text = spec.to_text(value, place);
    if (!text) return;
    const size_t first = text->find_first_not_of(" \t\r\n");
    const size_t last = text->find_last_not_of(" \t\r\n");
    if (first != std::string_view::npos) *text = text->substr(first, last - first + 1);
    if (const auto range = spec.to_network(*text, place, HostBits::Warn)) service.source_ranges.push_back(*range);
  });
  if (service.source_ranges.empty()) return;
  for (const net::Family family : {net::Family::V4, net::Family::V6}) {
    const auto of_family = [&](const auto& value) { return value.family() == family; };
    if (std::any_of(service.load_balancer_ips.begin(), service.load_balancer_ips.end(), of_family) &&
        std::none_of(service.source_ranges.begin(), service.source_ranges.end(), of_family)) {
      spec.warn("loadBalancerSourceRanges", fmt::format("no range is IPv{0}: the IPv{0} load balancer address is open "
                                                        "to every client",
                                                        static_cast<int>(family)));
    }
  }
}

// status.loadBalancer.ingress[]: addresses whose traffic comes to us as it is; ipMode Proxy means that the load
// balancer delivers to a node port instead (KEP-1860).
void read_load_balancer_ips(Reader& status, Service& service) {
  Reader load_balancer = status.object("loadBalancer");
  load_balancer.each("ingress", [&](Reader& item, size_t) {
    IpMode mode = IpMode::Vip;
    std::optional<IpAddr> address;
    item.choice("ipMode", mode, ip_modes);
    item.parsed("ip", address, net::parse_ip, "an IPv4 or IPv6 address");
    if (address && mode == IpMode::Vip) service.load_balancer_ips.push_back(*address);
  });
}

// ---- EndpointSlice -----------------------------------------------------------------------------------

void read_slice_ports(Reader& object, EndpointSlice& slice) {
  std::vector<std::string> names;
  object.each("ports", [&](Reader& item, size_t) {
    EndpointPort port;
    item.text("name", port.name);
    item.choice("protocol", port.protocol, protocols);
    item.number("port", port.port, 1, 65535);
    if (std::find(names.begin(), names.end(), port.name) != names.end()) {
      item.fault("name", port.name.empty() ? "a second port without a name"
                                           : fmt::format("a second port of the name {}", port.name));
    }
    names.push_back(port.name);
    if (item.has("port")) slice.ports.push_back(std::move(port));  // SVC-6
  });
}

void read_hint_names(Reader& hints, std::string_view key, std::vector<std::string>& out) {
  hints.each(key, [&](Reader& item, size_t) {
    std::string name;
    item.text("name", name);
    if (!name.empty()) out.push_back(std::move(name));
  });
}

// `parse`: of the slice's family.
template <class Parse>
void read_endpoint(Reader& item, EndpointSlice& slice, Parse parse, std::string_view what) {
  std::vector<IpAddr> addresses;
  item.parsed_list("addresses", addresses, parse, what);
  const json::value* listed = item.find("addresses");
  const size_t count = listed != nullptr && listed->is_array() ? listed->get_array().size() : 0;
  if (listed == nullptr || (listed->is_array() && count == 0)) item.fault("addresses", "at least one is required");
  if (count > max_endpoint_addresses) item.fault("addresses", fmt::format("at most 100, found {}", count));

  Endpoint endpoint;
  if (!addresses.empty()) endpoint.address = addresses.front();
  {
    Reader conditions = item.object("conditions");
    conditions.flag("ready", endpoint.ready);
    endpoint.serving = endpoint.ready;  // KEP-1669: null means as ready
    conditions.flag("serving", endpoint.serving);
    conditions.flag("terminating", endpoint.terminating);
  }
  item.text("nodeName", endpoint.node_name);
  {
    Reader target = item.object("targetRef");
    std::string kind;
    target.text("kind", kind);
    if (kind == "Pod") target.text("name", endpoint.pod);
  }
  Reader hints = item.object("hints");
  read_hint_names(hints, "forZones", endpoint.zone_hints);
  read_hint_names(hints, "forNodes", endpoint.node_hints);
  slice.endpoints.push_back(std::move(endpoint));
}

}  // namespace

Node read_node(const ObjectKey& key, Reader& object) {
  Node node;
  node.name = key.name;
  Reader metadata = object.object("metadata");
  metadata.labels("labels", node.labels);
  Reader annotations = metadata.object("annotations");
  const std::string_view v4 = "an IPv4 address";
  const std::string_view v6 = "an IPv6 address";
  read_annotation(annotations, "projectcalico.org/IPv4Address", node.bgp_ipv4, parse_interface_address<net::V4>, v4);
  read_annotation(annotations, "projectcalico.org/IPv6Address", node.bgp_ipv6, parse_interface_address<net::V6>, v6);
  read_annotation(annotations, "projectcalico.org/IPv4VXLANTunnelAddr", node.vxlan_tunnel_ipv4, net::parse_ipv4, v4);
  read_annotation(annotations, "projectcalico.org/IPv4IPIPTunnelAddr", node.ipip_tunnel_ipv4, net::parse_ipv4, v4);
  read_annotation(annotations, "projectcalico.org/VXLANTunnelMACAddr", node.vxlan_mac, net::parse_mac, "a MAC address");
  read_annotation(annotations, "projectcalico.org/IPv6VXLANTunnelAddr", node.vxlan_tunnel_ipv6, net::parse_ipv6, v6);
  read_annotation(annotations, "projectcalico.org/VXLANTunnelMACAddrV6", node.vxlan_mac_v6, net::parse_mac,
                  "a MAC address");
  read_annotation(annotations, "projectcalico.org/ASNumber", node.as_number, parse_as_number, "an AS number");
  read_annotation(annotations, "projectcalico.org/RouteReflectorClusterID", node.cluster_id, net::parse_ipv4,
                  "a cluster id, which is written as an IPv4 address");

  Reader spec = object.object("spec");
  spec.networks("podCIDRs", node.pod_cidrs, HostBits::Warn);
  if (node.pod_cidrs.empty() && spec.has("podCIDR")) {
    spec.network("podCIDR", node.pod_cidrs.emplace_back(), HostBits::Warn);
  }
  spec.each("taints", [&](Reader& taint, size_t) {
    std::string key;
    taint.text("key", key);
    node.being_deleted = node.being_deleted || key == deletion_taint;
    node.alive = node.alive && key != unreachable_taint;
  });
  Reader status = object.object("status");
  read_node_addresses(status, node);
  status.each("conditions", [&](Reader& condition, size_t) {
    std::string type;
    std::string value;
    condition.text("type", type);
    condition.text("status", value);
    if (type == "Ready") node.alive = node.alive && value == "True";
    if (type == "NetworkUnavailable") node.network_available = value != "True";
  });
  return node;
}

Service read_service(const ObjectKey& key, Reader& object) {
  Service service;
  service.name = {key.ns, key.name};
  {
    Reader metadata = object.object("metadata");
    metadata.labels("labels", service.labels);
    Reader annotations = metadata.object("annotations");
    read_weights(annotations, service.weights);
    annotations.choice(forwarding_annotation, service.forwarding, forwardings);
  }
  Reader spec = object.object("spec");
  object.require("spec");
  spec.choice("type", service.type, service_types);
  const bool headless = read_cluster_ips(spec, service);
  if (headless) service.cluster_ips.clear();
  service.proxied = service.type != ServiceType::ExternalName && !headless &&
                    !service.labels.contains("service.kubernetes.io/service-proxy-name") &&
                    !service.labels.contains("service.kubernetes.io/headless");
  if (service.type == ServiceType::ExternalName) {
    std::string name;
    spec.text("externalName", name);
    const std::string problem = parse_external_name(name).problem;
    if (!problem.empty()) {
      spec.warn("externalName", fmt::format("{}: rules of Ingresses that lead here are answered with 503", problem));
    }
  }
  read_service_ports(spec, service);
  read_affinity(spec, service);
  spec.addresses("externalIPs", service.external_ips);
  spec.choice("externalTrafficPolicy", service.external_policy, traffic_policies);
  spec.choice("internalTrafficPolicy", service.internal_policy, traffic_policies);
  spec.number("healthCheckNodePort", service.health_check_node_port, 0, 65535);
  if (service.type == ServiceType::LoadBalancer) {
    Reader status = object.object("status");
    read_load_balancer_ips(status, service);
  }
  read_source_ranges(spec, service);
  read_load_balancer_request(object, service);
  warn_of_forwarding(object, service);
  return service;
}

EndpointSlice read_endpoint_slice(const ObjectKey& key, Reader& object) {
  EndpointSlice slice;
  slice.name = {key.ns, key.name};
  {
    Reader metadata = object.object("metadata");
    metadata.labels("labels", slice.labels);
  }
  if (const auto service = slice.labels.find("kubernetes.io/service-name"); service != slice.labels.end()) {
    slice.service = service->second;
  }
  AddressType type = AddressType::Ipv4;
  object.require("addressType");
  object.choice("addressType", type, address_types);
  slice.fqdn = type == AddressType::Fqdn;
  slice.family = type == AddressType::Ipv6 ? net::Family::V6 : net::Family::V4;
  read_slice_ports(object, slice);
  if (slice.fqdn) return slice;  // SVC-5
  const json::value* endpoints = object.find("endpoints");
  if (endpoints != nullptr && endpoints->is_array()) slice.endpoints.reserve(endpoints->get_array().size());
  object.each("endpoints", [&](Reader& item, size_t) {
    if (type == AddressType::Ipv6) {
      read_endpoint(item, slice, net::parse_ipv6, "an IPv6 address");
    } else {
      read_endpoint(item, slice, net::parse_ipv4, "an IPv4 address");
    }
  });
  return slice;
}

// hostPort makes a pod reachable at its node's addresses (3.1), whatever services there are.
Pod read_pod(const ObjectKey& key, Reader& object) {
  Pod pod;
  pod.name = {key.ns, key.name};
  Reader spec = object.object("spec");
  bool host_network = false;
  spec.flag("hostNetwork", host_network);
  spec.text("nodeName", pod.node_name);
  spec.each("containers", [&](Reader& container, size_t) {
    container.each("ports", [&](Reader& item, size_t) {
      HostPort port;
      item.number("hostPort", port.host_port, 0, 65535);
      item.number("containerPort", port.container_port, 1, 65535);
      item.choice("protocol", port.protocol, protocols);
      if (const json::value* ip = item.find("hostIP");
          ip != nullptr && !(ip->is_string() && ip->get_string().empty())) {
        item.parsed("hostIP", port.host_ip, net::parse_ip, "an IPv4 or IPv6 address");
      }
      if (port.host_ip && port.host_ip->is_unspecified()) port.host_ip.reset();
      if (port.host_port != 0 && item.require("containerPort")) pod.host_ports.push_back(port);
    });
  });
  Reader status = object.object("status");
  std::string phase;
  status.text("phase", phase);
  const auto read_address = [&](Reader& from, std::string_view field) {
    std::optional<IpAddr> address;
    from.parsed(field, address, net::parse_ip, "an IPv4 or IPv6 address");
    if (address) pod.addresses.push_back(*address);
  };
  status.each("podIPs", [&](Reader& item, size_t) { read_address(item, "ip"); });
  if (pod.addresses.empty()) read_address(status, "podIP");
  if (host_network || phase == "Succeeded" || phase == "Failed") pod.host_ports.clear();
  return pod;
}

ServiceCidr read_service_cidr(const ObjectKey& key, Reader& object) {
  ServiceCidr out;
  out.name = key.name;
  Reader spec = object.object("spec");
  spec.networks("cidrs", out.cidrs, HostBits::Refuse);
  return out;
}

}  // namespace sluice::config
