// Why a packet went no further. One list: each reason has a counter per worker and one name that stands in
// metrics, in `sluicectl get counters` and in traces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::net {

enum class DropReason : uint8_t {
  None,  // not dropped

  // layer 2
  EthernetTruncated,
  NotOurMac,
  UnknownVlan,
  OffloadMalformed,
  PodRingFull,
  UnknownEtherType,
  ArpMalformed,
  ArpConflict,
  ArpNotForUs,
  NdMalformed,
  NdNotForUs,

  // IP input (RFC 1812 section 5.2.2, RFC 8200)
  IpTruncated,
  IpBadVersion,
  IpBadHeaderLength,
  IpBadTotalLength,
  IpBadChecksum,
  IpOptions,
  IpMartianSource,
  IpMartianDestination,
  IpMulticast,
  IpBroadcast,
  Ipv6ExtensionHeaders,
  L4Truncated,
  FragmentWithoutFirst,
  FragmentMalformed,
  FragmentHeaderMissing,
  FragmentDuplicate,
  FragmentOverlap,
  FragmentTooMany,
  FragmentForUs,
  L4BadChecksum,
  ReversePath,
  SpoofedSource,
  PodDhcp,

  // tunnels
  TunnelUnknownSource,
  TunnelNested,
  TunnelMalformed,
  VxlanBadFlags,
  VxlanUnknownVni,
  VxlanNotOurMac,
  VxlanVlan,
  VxlanNotIp,
  VxlanBadChecksum,
  TunnelEcn,
  TunnelFragment,
  TunnelLoop,

  // routing and delivery
  NoRoute,
  Blackhole,
  Unreachable,
  Prohibited,
  TtlExceeded,
  MtuExceeded,
  FragmentationFailed,
  NeighborQueueFull,
  NeighborFailed,
  LocalNoListener,
  LinkLocalScope,
  EchoDisabled,

  // connections and services
  ConntrackInvalid,
  ConntrackFull,
  FlowGone,
  SnatExhausted,
  MappingFiltered,
  NoEndpoint,
  NoEndpointRejected,
  NoLocalEndpoint,
  EndpointGone,
  ServicePortUnknown,
  ServiceUnknown,
  ServiceLoop,
  SourceRange,
  ClusterIpFromOutside,

  // content (ContentPolicy)
  ContentMatched,
  ContentBlocked,
  ContentGap,
  ContentFragment,
  ContentOverload,

  // connections that are bound late
  SynCookieInvalid,
  LateTableFull,
  LateOutOfOrder,

  // ICMP errors in transit
  IcmpMalformed,
  IcmpBadChecksum,
  IcmpNoFlow,

  // to the host (dataplane/punt.h)
  HostNeighborLimit,
  HostIcmpLimit,
  HostRoutingLimit,
  HostManagementLimit,
  HostMulticastLimit,
  HostOtherLimit,
  HostQueueFull,

  // machine
  HandoffFull,
  TransmitFull,
  NoBuffer,
  InterfaceGone,
  Count,
};

inline constexpr size_t drop_reason_count = static_cast<size_t>(DropReason::Count);

// snake_case, stable: "ip_bad_checksum".
[[nodiscard]] std::string_view name(DropReason reason);

}  // namespace sluice::net
