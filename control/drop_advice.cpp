#include "control/drop_advice.h"

#include <array>
#include <utility>

namespace sluice::control {
namespace {

using net::DropReason;

constexpr std::array<std::pair<DropReason, std::string_view>, net::drop_reason_count> texts{{
    {DropReason::None, "not dropped"},
    {DropReason::EthernetTruncated, "the frame is shorter than its Ethernet header: look for a broken sender"},
    {DropReason::NotOurMac,
     "the frame is for another MAC address: compare the sender's neighbour table with `sluicectl get interfaces`"},
    {DropReason::UnknownVlan,
     "no interface has this VLAN, or the port has none for untagged frames: see spec.interfaces"},
    {DropReason::OffloadMalformed,
     "a pod's frame does not fit what its kernel says of it: a checksum or segments that cannot be finished; on memif "
     "a "
     "frame of more than 9728 bytes or 16 buffers"},
    {DropReason::PodRingFull,
     "pods send more than the workers take: give sluiced another worker (--worker-cpus), or the pods less CPU"},
    {DropReason::UnknownEtherType, "neither IP nor ARP: nothing that is routed"},
    {DropReason::ArpMalformed, "no ARP message for IPv4 over Ethernet"},
    {DropReason::ArpConflict,
     "somebody else uses an address of this router: find the owner of the MAC address in the frame"},
    {DropReason::ArpNotForUs, "ARP about an address that is not answered here"},
    {DropReason::NdMalformed, "no valid neighbour discovery message (RFC 4861)"},
    {DropReason::NdNotForUs, "neighbour discovery about an address that is not answered here"},
    {DropReason::IpTruncated, "the frame is shorter than its IP header"},
    {DropReason::IpBadVersion, "the IP version does not fit the EtherType"},
    {DropReason::IpBadHeaderLength, "the IPv4 header length is below 20 bytes"},
    {DropReason::IpBadTotalLength,
     "the IP length is longer than the frame: look for a link with a smaller MTU, or for segmentation offloads on a "
     "software device"},
    {DropReason::IpBadChecksum, "the IPv4 header was damaged on its way"},
    {DropReason::IpOptions,
     "IPv4 source routes are not forwarded (RFC 7126), nor options that do not fit into the header"},
    {DropReason::IpMartianSource, "nobody may send from this source address"},
    {DropReason::IpMartianDestination, "nothing is forwarded to this destination address"},
    {DropReason::IpMulticast, "multicast is not forwarded"},
    {DropReason::IpBroadcast, "broadcasts are not forwarded"},
    {DropReason::Ipv6ExtensionHeaders, "too many or odd IPv6 extension headers"},
    {DropReason::L4Truncated, "the packet ends before its TCP, UDP, SCTP or ICMP header"},
    {DropReason::FragmentWithoutFirst, "the first fragment, which has the ports, did not come in time"},
    {DropReason::FragmentMalformed, "a fragment that can be part of no packet"},
    {DropReason::FragmentHeaderMissing, "the first fragment does not hold all headers"},
    {DropReason::FragmentDuplicate, "this fragment came before"},
    {DropReason::FragmentOverlap, "fragments of the datagram overlap"},
    {DropReason::FragmentTooMany, "more fragments than are kept"},
    {DropReason::FragmentForUs, "the router's own addresses take no fragments"},
    {DropReason::L4BadChecksum, "the port found the TCP or UDP checksum wrong: nothing is opened for a damaged packet"},
    {DropReason::ReversePath,
     "the route back to this source does not lead to the interface, or to the node, that it came from: check routes "
     "and blocks, or rpf of the interface"},
    {DropReason::SpoofedSource,
     "a pod may send from its own addresses only: see podAddresses of the workload interface, or ipNetworks and "
     "allowSpoofedSourcePrefixes of the WorkloadEndpoint"},
    {DropReason::PodDhcp, "pods neither ask for addresses by DHCP nor give any"},
    {DropReason::TunnelUnknownSource, "the outer packet comes from no known node: add the node to the configuration"},
    {DropReason::TunnelNested, "a tunnel inside a tunnel is not opened"},
    {DropReason::TunnelMalformed, "the tunnel's header and lengths do not fit together"},
    {DropReason::VxlanBadFlags, "the VXLAN header has flags that nobody should set"},
    {DropReason::VxlanUnknownVni,
     "another VNI than those of the overlay and of the tunnels: compare with the other end"},
    {DropReason::VxlanNotOurMac,
     "the inner frame is for another VTEP's MAC address: compare the other end's forwarding database"},
    {DropReason::VxlanVlan, "the inner frame has a VLAN tag"},
    {DropReason::VxlanNotIp, "the inner frame is no IP packet"},
    {DropReason::VxlanBadChecksum, "the outer UDP checksum is wrong or missing where it must be there"},
    {DropReason::TunnelEcn,
     "the outer packet was marked as congested and the inner one cannot carry the mark (RFC 6040)"},
    {DropReason::TunnelFragment,
     "fragments of an outer packet did not all come: raise the MTU of the underlay or lower that of the tunnel"},
    {DropReason::TunnelLoop, "the packet would go back into the tunnel it came from"},
    {DropReason::NoRoute,
     "no route leads to the destination: add a route, node or block for it; `sluicectl get routes` shows those there "
     "are"},
    {DropReason::Blackhole,
     "a blackhole route covers the destination: the address belongs to a block of this cluster that no node or pod has "
     "claimed"},
    {DropReason::Unreachable, "an unreachable route covers the destination"},
    {DropReason::Prohibited, "a prohibit route covers the destination"},
    {DropReason::TtlExceeded, "the TTL is used up: a traceroute, or a loop on the way"},
    {DropReason::MtuExceeded,
     "the packet is larger than its way carries and must not be fragmented: lower the sender's MTU, let ICMP through "
     "so that it learns the size, or clamp the MSS (tcpMssClamp)"},
    {DropReason::FragmentationFailed, "the packet could not be cut to the size of its way"},
    {DropReason::NeighborQueueFull,
     "too many packets wait for this neighbour's MAC address, or too many neighbours are being asked for"},
    {DropReason::NeighborFailed,
     "the next hop does not answer ARP or neighbour discovery: is it up, on this link and in this VLAN? `sluicectl get "
     "neighbors` shows its state"},
    {DropReason::LocalNoListener, "the router itself listens to nothing at this address and port"},
    {DropReason::LinkLocalScope, "link-local addresses are not forwarded"},
    {DropReason::EchoDisabled, "service addresses do not answer ping: icmp.vipEchoReply turns it on"},
    {DropReason::ConntrackInvalid,
     "the segment belongs to no connection that is open, or lies outside its window: only a SYN opens one anew"},
    {DropReason::ConntrackFull, "the connection table is full: raise conntrack.max, or end connections"},
    {DropReason::FlowGone,
     "the connection ended a moment ago, and workers cannot keep up with telling each other: the sender tries again"},
    {DropReason::SnatExhausted,
     "no source port is free towards this destination: widen the port range, or spread the clients"},
    {DropReason::MappingFiltered,
     "for the port of a mapping (snat.mapping), from somebody whom its endpoint has not sent to: snat.filtering says "
     "who may send there without being asked"},
    {DropReason::NoEndpoint, "the service has no usable endpoint: check that its pods are ready"},
    {DropReason::NoEndpointRejected,
     "the service has no usable endpoint: check that its selector matches pods and that they are ready"},
    {DropReason::NoLocalEndpoint,
     "the traffic policy is Local and no usable endpoint is on this node: use another node's address, or the policy "
     "Cluster"},
    {DropReason::EndpointGone, "the connection's endpoint was removed: the client has to connect anew"},
    {DropReason::ServicePortUnknown,
     "the address is a service's, but it has no such port and protocol: compare with `sluicectl get services`"},
    {DropReason::ServiceUnknown,
     "the address is in the service range, but no service has it: was the service deleted, or is the DNS answer old?"},
    {DropReason::ServiceLoop,
     "the endpoint or destination is itself a service address or the router's own: that would go round for ever"},
    {DropReason::SourceRange, "the client is in none of the service's loadBalancerSourceRanges"},
    {DropReason::ClusterIpFromOutside,
     "a ClusterIP is for clients of the cluster only: proxy.allowExternalClusterIP opens it, a LoadBalancer or "
     "NodePort is the usual way in"},
    {DropReason::ContentMatched,
     "a ContentPolicy's pattern was found in it: `sluicectl trace` says which, `sluicectl get contentpolicies` counts"},
    {DropReason::ContentBlocked, "a ContentPolicy's pattern was found in this connection before: it is over"},
    {DropReason::ContentGap,
     "bytes before these are missing, and a ContentPolicy looks at them in order: the sender sends both again"},
    {DropReason::ContentFragment, "a ContentPolicy looks into this connection, which fragments do not allow"},
    {DropReason::ContentOverload,
     "more connections than a ContentPolicy has room to look into, and its overload is Drop: Pass lets them through"},
    {DropReason::SynCookieInvalid,
     "the segment belongs to no connection, and answers no SYN of the last two minutes: the router has forgotten it, "
     "or "
     "somebody guesses"},
    {DropReason::LateTableFull,
     "all room for clients whose request is not complete is taken: a flood of slow clients; the segment will come "
     "again"},
    {DropReason::LateOutOfOrder,
     "the beginning of a later request came out of order or too early: the client sends it again"},
    {DropReason::IcmpMalformed, "the ICMP error does not hold together"},
    {DropReason::IcmpBadChecksum, "the ICMP checksum is wrong"},
    {DropReason::IcmpNoFlow, "an ICMP error about a connection that nobody knows"},
    {DropReason::HostNeighborLimit,
     "more ARP and neighbour discovery for the host than host.rateLimits.neighbor: look for a storm on the link"},
    {DropReason::HostIcmpLimit, "more ICMP for the host than host.rateLimits.icmp: somebody pings a lot"},
    {DropReason::HostRoutingLimit, "more BGP, BFD and VRRP for the host than host.rateLimits.routing: raise it"},
    {DropReason::HostManagementLimit,
     "more SSH for the host than host.rateLimits.management: a flood, or a large copy"},
    {DropReason::HostMulticastLimit, "more broadcasts and multicasts for the host than host.rateLimits.multicast"},
    {DropReason::HostOtherLimit,
     "more packets for the host than host.rateLimits.other: a flood, or the host serves more than the limit allows"},
    {DropReason::HostQueueFull, "packets for the host come faster than its TAP device takes them"},
    {DropReason::HandoffFull,
     "a worker gets more packets from the others than it can do: add workers, or spread the traffic over queues"},
    {DropReason::TransmitFull, "the device takes no more frames: the link is slower than the traffic"},
    {DropReason::NoBuffer, "packet buffers have run out: raise --mbufs"},
    {DropReason::InterfaceGone, "the interface was removed, or its device is not there"},
}};

constexpr bool in_order() {
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].first != static_cast<DropReason>(i)) return false;
  }
  return true;
}
static_assert(in_order(), "texts lists every DropReason in the order of the enumeration");

}  // namespace

std::string_view advice(DropReason reason) { return texts[static_cast<size_t>(reason)].second; }

}  // namespace sluice::control
