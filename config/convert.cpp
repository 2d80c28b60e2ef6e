#include "config/convert.h"

#include "config/upstream_fields.h"

namespace sluice::config {

Typed convert(const RawObject& raw, Findings& findings) {
  const auto read = [&](auto function, UnknownFields unknown) -> Typed {
    Report report(findings, {raw.key.kind, raw.key.ns, raw.key.name, raw.location});
    Reader object(raw.value.if_object(), report, {}, unknown);
    // The head has been read before: json.h.
    for (const std::string_view key : {"apiVersion", "kind", "metadata"}) (void)object.has(key);
    return function(raw.key, object);
  };
  warn_of_unknown_fields(raw, findings);
  switch (raw.kind->use) {
    case KindUse::Gateway:
      return read(read_gateway, UnknownFields::Warn);
    case KindUse::Node:
      return read(read_node, UnknownFields::Ignore);
    case KindUse::Service:
      return read(read_service, UnknownFields::Ignore);
    case KindUse::EndpointSlice:
      return read(read_endpoint_slice, UnknownFields::Ignore);
    case KindUse::Pod:
      return read(read_pod, UnknownFields::Ignore);
    case KindUse::IpPool:
      return read(read_ip_pool, UnknownFields::Ignore);
    case KindUse::Ipam:
      return read(read_ipam_configuration, UnknownFields::Ignore);
    case KindUse::BlockAffinity:
      return read(read_block_affinity, UnknownFields::Ignore);
    case KindUse::IpamBlock:
      return read(read_ipam_block, UnknownFields::Ignore);
    case KindUse::ServiceCidr:
      return read(read_service_cidr, UnknownFields::Ignore);
    case KindUse::WorkloadEndpoint:
      return read(read_workload_endpoint, UnknownFields::Ignore);
    case KindUse::Namespace:
      return read(read_namespace, UnknownFields::Ignore);
    case KindUse::AddressPool:
      return read(read_address_pool, UnknownFields::Ignore);
    case KindUse::L2Advertisement:
      return read(read_l2_advertisement, UnknownFields::Ignore);
    case KindUse::BgpAdvertisement:
      return read(read_bgp_advertisement, UnknownFields::Ignore);
    case KindUse::MetallbPeer:
      return read(read_metallb_peer, UnknownFields::Ignore);
    case KindUse::CommunityList:
      return read(read_community_list, UnknownFields::Ignore);
    case KindUse::BfdProfile:
      return read(read_bfd_profile, UnknownFields::Ignore);
    case KindUse::BgpConfiguration:
      return read(read_bgp_configuration, UnknownFields::Warn);
    case KindUse::BgpPeer:
      return read(read_bgp_peer, UnknownFields::Warn);
    case KindUse::BgpFilter:
      return read(read_bgp_filter, UnknownFields::Warn);
    case KindUse::Secret:
      return read(read_secret, UnknownFields::Ignore);
    case KindUse::ContentPolicy:
      return read(read_content_policy, UnknownFields::Ignore);
    case KindUse::Ingress:
      return read(read_ingress, UnknownFields::Ignore);
    case KindUse::IngressClass:
      return read(read_ingress_class, UnknownFields::Ignore);
    case KindUse::Felix:
      return read(read_felix_configuration, UnknownFields::Ignore);
    case KindUse::Kept:
      break;
  }
  return std::monostate{};
}

}  // namespace sluice::config
