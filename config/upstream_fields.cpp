#include "config/upstream_fields.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "config/reader.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

using Names = std::span<const std::string_view>;

// The objects in one field of an object, the one there or all of a list, and what their fields may be.
struct Part {
  std::string_view field;
  Names names;
  std::span<const Part> parts = {};
};

constexpr std::array<std::string_view, 5> head{"apiVersion", "kind", "metadata", "spec", "status"};

// ---- Kubernetes 1.33 ---------------------------------------------------------------------------------

constexpr std::array<std::string_view, 6> service_port{"appProtocol", "name",     "nodePort",
                                                       "port",        "protocol", "targetPort"};
constexpr std::array<std::string_view, 1> client_ip{"timeoutSeconds"};
constexpr std::array<std::string_view, 1> affinity_config{"clientIP"};
constexpr std::array client_ip_parts{Part{"clientIP", client_ip}};
// ipFamily and topologyKeys are of releases before 1.22.
constexpr std::array<std::string_view, 22> service_spec{"allocateLoadBalancerNodePorts",
                                                        "clusterIP",
                                                        "clusterIPs",
                                                        "externalIPs",
                                                        "externalName",
                                                        "externalTrafficPolicy",
                                                        "healthCheckNodePort",
                                                        "internalTrafficPolicy",
                                                        "ipFamilies",
                                                        "ipFamily",
                                                        "ipFamilyPolicy",
                                                        "loadBalancerClass",
                                                        "loadBalancerIP",
                                                        "loadBalancerSourceRanges",
                                                        "ports",
                                                        "publishNotReadyAddresses",
                                                        "selector",
                                                        "sessionAffinity",
                                                        "sessionAffinityConfig",
                                                        "topologyKeys",
                                                        "trafficDistribution",
                                                        "type"};
constexpr std::array service_spec_parts{Part{"ports", service_port},
                                        Part{"sessionAffinityConfig", affinity_config, client_ip_parts}};
constexpr std::array service_parts{Part{"spec", service_spec, service_spec_parts}};

constexpr std::array<std::string_view, 6> slice{"apiVersion", "kind", "metadata", "addressType", "endpoints", "ports"};
constexpr std::array<std::string_view, 4> slice_port{"appProtocol", "name", "port", "protocol"};
constexpr std::array<std::string_view, 3> conditions{"ready", "serving", "terminating"};
constexpr std::array<std::string_view, 8> endpoint{"addresses", "conditions", "nodeName", "targetRef",
                                                   "zone",      "hints",      "hostname", "deprecatedTopology"};
constexpr std::array endpoint_parts{Part{"conditions", conditions}};
constexpr std::array slice_parts{Part{"endpoints", endpoint, endpoint_parts}, Part{"ports", slice_port}};

constexpr std::array<std::string_view, 4> taint{"effect", "key", "timeAdded", "value"};
constexpr std::array<std::string_view, 7> node_spec{"configSource", "externalID", "podCIDR",      "podCIDRs",
                                                    "providerID",   "taints",     "unschedulable"};
constexpr std::array node_spec_parts{Part{"taints", taint}};
constexpr std::array node_parts{Part{"spec", node_spec, node_spec_parts}};

constexpr std::array<std::string_view, 1> cidr_spec{"cidrs"};
constexpr std::array cidr_parts{Part{"spec", cidr_spec}};

constexpr std::array<std::string_view, 5> container_port{"containerPort", "hostIP", "hostPort", "name", "protocol"};
constexpr std::array<std::string_view, 24> container{"args",
                                                     "command",
                                                     "env",
                                                     "envFrom",
                                                     "image",
                                                     "imagePullPolicy",
                                                     "lifecycle",
                                                     "livenessProbe",
                                                     "name",
                                                     "ports",
                                                     "readinessProbe",
                                                     "resizePolicy",
                                                     "resources",
                                                     "restartPolicy",
                                                     "securityContext",
                                                     "startupProbe",
                                                     "stdin",
                                                     "stdinOnce",
                                                     "terminationMessagePath",
                                                     "terminationMessagePolicy",
                                                     "tty",
                                                     "volumeDevices",
                                                     "volumeMounts",
                                                     "workingDir"};
constexpr std::array container_parts{Part{"ports", container_port}};
constexpr std::array<std::string_view, 40> pod_spec{"activeDeadlineSeconds",
                                                    "affinity",
                                                    "automountServiceAccountToken",
                                                    "containers",
                                                    "dnsConfig",
                                                    "dnsPolicy",
                                                    "enableServiceLinks",
                                                    "ephemeralContainers",
                                                    "hostAliases",
                                                    "hostIPC",
                                                    "hostNetwork",
                                                    "hostPID",
                                                    "hostUsers",
                                                    "hostname",
                                                    "imagePullSecrets",
                                                    "initContainers",
                                                    "nodeName",
                                                    "nodeSelector",
                                                    "os",
                                                    "overhead",
                                                    "preemptionPolicy",
                                                    "priority",
                                                    "priorityClassName",
                                                    "readinessGates",
                                                    "resourceClaims",
                                                    "resources",
                                                    "restartPolicy",
                                                    "runtimeClassName",
                                                    "schedulerName",
                                                    "schedulingGates",
                                                    "securityContext",
                                                    "serviceAccount",
                                                    "serviceAccountName",
                                                    "setHostnameAsFQDN",
                                                    "shareProcessNamespace",
                                                    "subdomain",
                                                    "terminationGracePeriodSeconds",
                                                    "tolerations",
                                                    "topologySpreadConstraints",
                                                    "volumes"};
constexpr std::array pod_spec_parts{Part{"containers", container, container_parts},
                                    Part{"initContainers", container, container_parts}};
constexpr std::array pod_parts{Part{"spec", pod_spec, pod_spec_parts}};

constexpr std::array<std::string_view, 1> namespace_spec{"finalizers"};
constexpr std::array namespace_parts{Part{"spec", namespace_spec}};

constexpr std::array<std::string_view, 7> secret{"apiVersion", "kind",       "metadata", "data",
                                                 "immutable",  "stringData", "type"};

// ---- Calico 3.30 -------------------------------------------------------------------------------------

// ipip and nat-outgoing are of Calico 2.
constexpr std::array<std::string_view, 13> pool_spec{
    "cidr",         "vxlanMode",         "ipipMode",    "natOutgoing",    "disabled", "disableBGPExport", "blockSize",
    "nodeSelector", "namespaceSelector", "allowedUses", "assignmentMode", "ipip",     "nat-outgoing"};
constexpr std::array pool_parts{Part{"spec", pool_spec}};

constexpr std::array<std::string_view, 5> block_spec{"state", "node", "type", "cidr", "deleted"};
constexpr std::array block_parts{Part{"spec", block_spec}};

constexpr std::array<std::string_view, 10> ipam_block_spec{
    "cidr",       "affinity",       "affinityClaimTime",           "allocations", "unallocated",
    "attributes", "sequenceNumber", "sequenceNumberForAllocation", "deleted",     "strictAffinity"};
constexpr std::array ipam_block_parts{Part{"spec", ipam_block_spec}};

// The last three are ours.
constexpr std::array<std::string_view, 7> ipam_spec{
    "strictAffinity",    "maxBlocksPerHost", "autoAllocateBlocks",         "kubeVirtVMAddressPersistence",
    "ipCooldownSeconds", "leakGraceSeconds", "autoAllocateTunnelAddresses"};
constexpr std::array ipam_parts{Part{"spec", ipam_spec}};

constexpr std::array<std::string_view, 17> workload_spec{"orchestrator",
                                                         "workload",
                                                         "node",
                                                         "containerID",
                                                         "pod",
                                                         "endpoint",
                                                         "serviceAccountName",
                                                         "ipNetworks",
                                                         "ipNATs",
                                                         "ipv4Gateway",
                                                         "ipv6Gateway",
                                                         "profiles",
                                                         "interfaceName",
                                                         "mac",
                                                         "ports",
                                                         "allowSpoofedSourcePrefixes",
                                                         "qosControls"};
constexpr std::array workload_parts{Part{"spec", workload_spec}};

// ------------------------------------------------------------------------------------------------------

Part known_fields(KindUse use) {
  switch (use) {
    case KindUse::Service:
      return {"", head, service_parts};
    case KindUse::EndpointSlice:
      return {"", slice, slice_parts};
    case KindUse::Node:
      return {"", head, node_parts};
    case KindUse::Pod:
      return {"", head, pod_parts};
    case KindUse::Namespace:
      return {"", head, namespace_parts};
    case KindUse::Secret:
      return {"", secret};
    case KindUse::ServiceCidr:
      return {"", head, cidr_parts};
    case KindUse::IpPool:
      return {"", head, pool_parts};
    case KindUse::BlockAffinity:
      return {"", head, block_parts};
    case KindUse::IpamBlock:
      return {"", head, ipam_block_parts};
    case KindUse::Ipam:
      return {"", head, ipam_parts};
    case KindUse::WorkloadEndpoint:
      return {"", head, workload_parts};
    default:
      return {};
  }
}

// Of many endpoints with one odd field, the first is told.
struct Told {
  Report& report;
  std::set<std::pair<std::string_view, std::string_view>> fields;  // and of what

  void warn(const Part& part, std::string_view key, const Path& path) {
    if (fields.emplace(part.field, key).second) report.warn(path, unknown_field_text(key, part.names));
  }
};

void check(const json::value& value, const Part& part, const Place* place, Told& told);

void check_object(const json::object& object, const Part& part, const Place* place, Told& told) {
  for (const auto& field : object) {
    const std::string_view key = field.key();
    if (std::find(part.names.begin(), part.names.end(), key) == part.names.end()) {
      told.warn(part, key, Place{place, key}.path());
      continue;
    }
    for (const Part& inner : part.parts) {
      if (inner.field != key) continue;
      const Place inner_place{place, key};
      check(field.value(), inner, &inner_place, told);
    }
  }
}

// What is neither object nor list is its reader's to refuse.
void check(const json::value& value, const Part& part, const Place* place, Told& told) {
  if (const auto* object = value.if_object()) return check_object(*object, part, place, told);
  const auto* items = value.if_array();
  if (items == nullptr) return;
  size_t index = 0;
  for (const json::value& item : *items) {
    const Place item_place{place, {}, index++, true};
    if (const auto* object = item.if_object()) check_object(*object, part, &item_place, told);
  }
}

}  // namespace

void warn_of_unknown_fields(const RawObject& raw, Findings& findings) {
  const Part whole = known_fields(raw.kind->use);
  const json::object* object = raw.value.if_object();
  if (whole.names.empty() || object == nullptr) return;
  static constexpr Place root{};
  Report report(findings, {raw.key.kind, raw.key.ns, raw.key.name, raw.location});
  Told told{report, {}};
  check_object(*object, whole, &root, told);
}

}  // namespace sluice::config
