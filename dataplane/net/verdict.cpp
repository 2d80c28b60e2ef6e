#include "dataplane/net/verdict.h"

#include <array>
#include <utility>

namespace sluice::net {
namespace {

constexpr std::array<std::pair<DropReason, std::string_view>, drop_reason_count> reason_names{{
    {DropReason::None, "none"},
    {DropReason::EthernetTruncated, "ethernet_truncated"},
    {DropReason::NotOurMac, "not_our_mac"},
    {DropReason::UnknownVlan, "unknown_vlan"},
    {DropReason::OffloadMalformed, "offload_malformed"},
    {DropReason::PodRingFull, "pod_ring_full"},
    {DropReason::UnknownEtherType, "unknown_ether_type"},
    {DropReason::ArpMalformed, "arp_malformed"},
    {DropReason::ArpConflict, "arp_conflict"},
    {DropReason::ArpNotForUs, "arp_not_for_us"},
    {DropReason::NdMalformed, "nd_malformed"},
    {DropReason::NdNotForUs, "nd_not_for_us"},
    {DropReason::IpTruncated, "ip_truncated"},
    {DropReason::IpBadVersion, "ip_bad_version"},
    {DropReason::IpBadHeaderLength, "ip_bad_header_length"},
    {DropReason::IpBadTotalLength, "ip_bad_total_length"},
    {DropReason::IpBadChecksum, "ip_bad_checksum"},
    {DropReason::IpOptions, "ip_options"},
    {DropReason::IpMartianSource, "ip_martian_source"},
    {DropReason::IpMartianDestination, "ip_martian_destination"},
    {DropReason::IpMulticast, "ip_multicast"},
    {DropReason::IpBroadcast, "ip_broadcast"},
    {DropReason::Ipv6ExtensionHeaders, "ipv6_extension_headers"},
    {DropReason::L4Truncated, "l4_truncated"},
    {DropReason::FragmentWithoutFirst, "fragment_without_first"},
    {DropReason::FragmentMalformed, "fragment_malformed"},
    {DropReason::FragmentHeaderMissing, "fragment_header_missing"},
    {DropReason::FragmentDuplicate, "fragment_duplicate"},
    {DropReason::FragmentOverlap, "fragment_overlap"},
    {DropReason::FragmentTooMany, "fragment_too_many"},
    {DropReason::FragmentForUs, "fragment_for_us"},
    {DropReason::L4BadChecksum, "l4_bad_checksum"},
    {DropReason::ReversePath, "reverse_path"},
    {DropReason::SpoofedSource, "spoofed_source"},
    {DropReason::PodDhcp, "pod_dhcp"},
    {DropReason::TunnelUnknownSource, "tunnel_unknown_source"},
    {DropReason::TunnelNested, "tunnel_nested"},
    {DropReason::TunnelMalformed, "tunnel_malformed"},
    {DropReason::VxlanBadFlags, "vxlan_bad_flags"},
    {DropReason::VxlanUnknownVni, "vxlan_unknown_vni"},
    {DropReason::VxlanNotOurMac, "vxlan_not_our_mac"},
    {DropReason::VxlanVlan, "vxlan_vlan"},
    {DropReason::VxlanNotIp, "vxlan_not_ip"},
    {DropReason::VxlanBadChecksum, "vxlan_bad_checksum"},
    {DropReason::TunnelEcn, "tunnel_ecn"},
    {DropReason::TunnelFragment, "tunnel_fragment"},
    {DropReason::TunnelLoop, "tunnel_loop"},
    {DropReason::NoRoute, "no_route"},
    {DropReason::Blackhole, "blackhole"},
    {DropReason::Unreachable, "unreachable"},
    {DropReason::Prohibited, "prohibited"},
    {DropReason::TtlExceeded, "ttl_exceeded"},
    {DropReason::MtuExceeded, "mtu_exceeded"},
    {DropReason::FragmentationFailed, "fragmentation_failed"},
    {DropReason::NeighborQueueFull, "neighbor_queue_full"},
    {DropReason::NeighborFailed, "neighbor_failed"},
    {DropReason::LocalNoListener, "local_no_listener"},
    {DropReason::LinkLocalScope, "link_local_scope"},
    {DropReason::EchoDisabled, "echo_disabled"},
    {DropReason::ConntrackInvalid, "conntrack_invalid"},
    {DropReason::ConntrackFull, "conntrack_full"},
    {DropReason::FlowGone, "flow_gone"},
    {DropReason::SnatExhausted, "snat_exhausted"},
    {DropReason::MappingFiltered, "mapping_filtered"},
    {DropReason::NoEndpoint, "no_endpoint"},
    {DropReason::NoEndpointRejected, "no_endpoint_rejected"},
    {DropReason::NoLocalEndpoint, "no_local_endpoint"},
    {DropReason::EndpointGone, "endpoint_gone"},
    {DropReason::ServicePortUnknown, "service_port_unknown"},
    {DropReason::ServiceUnknown, "service_unknown"},
    {DropReason::ServiceLoop, "service_loop"},
    {DropReason::SourceRange, "source_range"},
    {DropReason::ClusterIpFromOutside, "cluster_ip_from_outside"},
    {DropReason::ContentMatched, "content_matched"},
    {DropReason::ContentBlocked, "content_blocked"},
    {DropReason::ContentGap, "content_gap"},
    {DropReason::ContentFragment, "content_fragment"},
    {DropReason::ContentOverload, "content_overload"},
    {DropReason::SynCookieInvalid, "syn_cookie_invalid"},
    {DropReason::LateTableFull, "late_table_full"},
    {DropReason::LateOutOfOrder, "late_out_of_order"},
    {DropReason::IcmpMalformed, "icmp_malformed"},
    {DropReason::IcmpBadChecksum, "icmp_bad_checksum"},
    {DropReason::IcmpNoFlow, "icmp_no_flow"},
    {DropReason::HostNeighborLimit, "host_neighbor_limit"},
    {DropReason::HostIcmpLimit, "host_icmp_limit"},
    {DropReason::HostRoutingLimit, "host_routing_limit"},
    {DropReason::HostManagementLimit, "host_management_limit"},
    {DropReason::HostMulticastLimit, "host_multicast_limit"},
    {DropReason::HostOtherLimit, "host_other_limit"},
    {DropReason::HostQueueFull, "host_queue_full"},
    {DropReason::HandoffFull, "handoff_full"},
    {DropReason::TransmitFull, "transmit_full"},
    {DropReason::NoBuffer, "no_buffer"},
    {DropReason::InterfaceGone, "interface_gone"},
}};

constexpr bool in_order() {
  for (size_t i = 0; i < reason_names.size(); ++i) {
    if (reason_names[i].first != static_cast<DropReason>(i)) return false;
  }
  return true;
}
static_assert(in_order(), "reason_names lists every DropReason in the order of the enumeration");

}  // namespace

std::string_view name(DropReason reason) { return reason_names[static_cast<size_t>(reason)].second; }

}  // namespace sluice::net
