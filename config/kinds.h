// The kinds of objects that a document may hold, and their names.
//
// What `kubectl get … -o json` prints for a Kubernetes cluster with Calico and MetalLB goes in as it is: kinds
// that the router has no use for yet are kept, so that the same document works with a version that has.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sluice::config {

// What makes an object unique. Kinds of different API groups with one name (BGPPeer of Calico and of MetalLB)
// differ in being namespaced.
struct ObjectKey {
  std::string kind;
  std::string ns;  // empty for cluster-scoped kinds
  std::string name;

  [[nodiscard]] std::string object_name() const { return ns.empty() ? name : ns + "/" + name; }
  friend bool operator==(const ObjectKey&, const ObjectKey&) = default;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

enum class KindUse : uint8_t {
  Gateway,
  Node,
  Service,
  EndpointSlice,
  Pod,
  IpPool,
  Ipam,
  BlockAffinity,
  ServiceCidr,
  WorkloadEndpoint,
  Namespace,
  AddressPool,
  L2Advertisement,
  BgpAdvertisement,
  MetallbPeer,
  CommunityList,
  BfdProfile,
  BgpConfiguration,
  BgpPeer,
  BgpFilter,
  Secret,
  ContentPolicy,
  Ingress,
  IngressClass,
  IpamBlock,
  Felix,
  Kept
};

struct Kind {
  std::string_view name;         // "EndpointSlice"
  std::string_view api_version;  // "discovery.k8s.io/v1"
  bool namespaced = false;
  KindUse use = KindUse::Kept;
};

// Every one, with the same name once for each version of its API.
[[nodiscard]] std::span<const Kind> all_kinds();
// The kind of an object; nullptr if it is none of ours.
[[nodiscard]] const Kind* find_kind(std::string_view name, std::string_view api_version);
// A kind by its name alone, as in a URL or in the list of deletions: the namespaced or the cluster-scoped one
// where a name means both. nullptr if there is none of that name.
[[nodiscard]] const Kind* find_kind_by_name(std::string_view name, bool prefer_namespaced);

// RFC 1123: up to 253 characters of lower-case labels with dots between; what Kubernetes calls a subdomain.
[[nodiscard]] bool is_dns_subdomain(std::string_view name);
// RFC 1123: up to 63 of a-z, 0-9 and "-", beginning and ending with a letter or digit.
[[nodiscard]] bool is_dns_label(std::string_view name);
// RFC 1035: the same, beginning with a letter.
[[nodiscard]] bool is_dns_1035_label(std::string_view name);

}  // namespace sluice::config
