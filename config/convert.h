// JSON objects → values of the model, one function per kind. What is wrong inside one value (its type, its
// spelling, a number its field cannot hold) is found here; rules between values are validate's.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/felix.h"
#include "config/json.h"
#include "config/model.h"
#include "config/reader.h"

namespace sluice::config {

// networking.k8s.io ServiceCIDR: ends up in Cluster::service_cidrs.
struct ServiceCidr {
  std::string name;
  std::vector<Prefix> cidrs;
  friend bool operator==(const ServiceCidr&, const ServiceCidr&) = default;
};

// Calico's IPAMBlock, as far as it is about nodes: ends up in Config::blocks (ipam_blocks.h).
struct IpamBlock {
  std::string name;
  Prefix cidr;                             // masked
  std::string node;                        // whose affinity it has; empty: no node's
  std::map<IpAddr, std::string> borrowed;  // addresses that another node's pods have: the node
  friend bool operator==(const IpamBlock&, const IpamBlock&) = default;
};

// kubernetes.cpp
[[nodiscard]] Node read_node(const ObjectKey& key, Reader& object);
[[nodiscard]] Service read_service(const ObjectKey& key, Reader& object);
[[nodiscard]] EndpointSlice read_endpoint_slice(const ObjectKey& key, Reader& object);
[[nodiscard]] Pod read_pod(const ObjectKey& key, Reader& object);
[[nodiscard]] ServiceCidr read_service_cidr(const ObjectKey& key, Reader& object);
// weights.cpp
void read_weights(Reader& annotations, EndpointWeights& out);
// calico.cpp
[[nodiscard]] IpPool read_ip_pool(const ObjectKey& key, Reader& object);
[[nodiscard]] Ipam read_ipam_configuration(const ObjectKey& key, Reader& object);
[[nodiscard]] BlockAffinity read_block_affinity(const ObjectKey& key, Reader& object);
[[nodiscard]] WorkloadEndpoint read_workload_endpoint(const ObjectKey& key, Reader& object);
// ipam_blocks.cpp
[[nodiscard]] IpamBlock read_ipam_block(const ObjectKey& key, Reader& object);
// metallb.cpp
[[nodiscard]] AddressPool read_address_pool(const ObjectKey& key, Reader& object);
[[nodiscard]] L2Advertisement read_l2_advertisement(const ObjectKey& key, Reader& object);
[[nodiscard]] Namespace read_namespace(const ObjectKey& key, Reader& object);
// What stands in spec is all ours, so fields that nobody knows deserve a word.
[[nodiscard]] Reader metallb_spec(Reader& object);
// metallb_bgp.cpp
[[nodiscard]] BgpAdvertisement read_bgp_advertisement(const ObjectKey& key, Reader& object);
[[nodiscard]] MetallbPeer read_metallb_peer(const ObjectKey& key, Reader& object);
[[nodiscard]] CommunityList read_community_list(const ObjectKey& key, Reader& object);
[[nodiscard]] BfdProfile read_bfd_profile(const ObjectKey& key, Reader& object);
// metallb.cpp. After everything else of the service.
void read_load_balancer_request(Reader& object, Service& service);
// calico_bgp.cpp
[[nodiscard]] BgpConfiguration read_bgp_configuration(const ObjectKey& key, Reader& object);
[[nodiscard]] BgpPeer read_bgp_peer(const ObjectKey& key, Reader& object);
[[nodiscard]] BgpFilter read_bgp_filter(const ObjectKey& key, Reader& object);
// secret.cpp
[[nodiscard]] Secret read_secret(const ObjectKey& key, Reader& object);
// content_policy.cpp
[[nodiscard]] ContentPolicy read_content_policy(const ObjectKey& key, Reader& object);
// ingress.cpp
[[nodiscard]] Ingress read_ingress(const ObjectKey& key, Reader& object);
[[nodiscard]] IngressClass read_ingress_class(const ObjectKey& key, Reader& object);
// gateway_ingress.cpp
void read_ingress_settings(Reader& spec, IngressSettings& out);
// gateway_bgp.cpp
void read_bgp(Reader& spec, Bgp& bgp);
// gateway.cpp; interfaces, routes, neighbours and tunnels are in gateway_network.cpp
[[nodiscard]] Gateway read_gateway(const ObjectKey& key, Reader& object);
void read_network(Reader& spec, Gateway& gateway);
// A pod has an address of its own, not a subnet: "10.244.34.5" or "10.244.34.5/32".
[[nodiscard]] std::optional<Prefix> parse_host(std::string_view text);

// std::monostate: a kind that is kept and not used.
using Typed = std::variant<std::monostate, Gateway, Node, Service, EndpointSlice, Pod, IpPool, Ipam, BlockAffinity,
                           ServiceCidr, WorkloadEndpoint, Namespace, AddressPool, L2Advertisement, BgpConfiguration,
                           BgpPeer, BgpFilter, Secret, ContentPolicy, Ingress, IngressClass, BgpAdvertisement,
                           MetallbPeer, CommunityList, BfdProfile, IpamBlock, Felix>;
[[nodiscard]] Typed convert(const RawObject& raw, Findings& findings);

}  // namespace sluice::config
