#include "dataplane/counters.h"

#include <utility>

namespace sluice::dataplane {
namespace {

constexpr std::array<std::pair<Event, std::string_view>, event_count> event_names{{
    {Event::PacketsIn, "packets_in"},
    {Event::HandedOver, "handed_over"},
    {Event::ReceivedOver, "received_over"},
    {Event::FlowHits, "flow_hits"},
    {Event::FlowMisses, "flow_misses"},
    {Event::FlowsOpened, "flows_opened"},
    {Event::FlowsClosed, "flows_closed"},
    {Event::FlowsEvicted, "flows_evicted"},
    {Event::StatelessForwards, "stateless_forwards"},
    {Event::Transit, "transit"},
    {Event::ServiceFlows, "service_flows"},
    {Event::Masqueraded, "masqueraded"},
    {Event::DirectReturnFlows, "direct_return_flows"},
    {Event::Decapsulated, "decapsulated"},
    {Event::Encapsulated, "encapsulated"},
    {Event::Fragmented, "fragmented"},
    {Event::FragmentsSent, "fragments_sent"},
    {Event::Reassembled, "reassembled"},
    {Event::IcmpErrorsSent, "icmp_errors_sent"},
    {Event::IcmpErrorsLimited, "icmp_errors_limited"},
    {Event::IcmpErrorsTranslated, "icmp_errors_translated"},
    {Event::EchoReplies, "echo_replies"},
    {Event::ResetsSent, "resets_sent"},
    {Event::ArpRequestsSent, "arp_requests_sent"},
    {Event::ArpRepliesSent, "arp_replies_sent"},
    {Event::ArpReceived, "arp_received"},
    {Event::NdSolicitsSent, "nd_solicits_sent"},
    {Event::NdAdvertsSent, "nd_adverts_sent"},
    {Event::NdReceived, "nd_received"},
    {Event::VipClaims, "vip_claims"},
    {Event::EcnOddCombination, "ecn_odd_combination"},
    {Event::TunnelErrors, "tunnel_errors"},
    {Event::TunnelMtuLowered, "tunnel_mtu_lowered"},
    {Event::StubClashes, "stub_clashes"},
    {Event::ContentFlows, "content_flows"},
    {Event::ContentMatches, "content_matches"},
    {Event::Mirrored, "mirrored"},
    {Event::MirrorLost, "mirror_lost"},
    {Event::SynCookiesSent, "syn_cookies_sent"},
    {Event::LateOpened, "late_opened"},
    {Event::LateForwarded, "late_forwarded"},
    {Event::LateRebound, "late_rebound"},
    {Event::LateAnswered, "late_answered"},
    {Event::LateRefused, "late_refused"},
    {Event::LateTooLong, "late_too_long"},
    {Event::LateTimedOut, "late_timed_out"},
    {Event::LateGivenUp, "late_given_up"},
    {Event::LateEndpointFailed, "late_endpoint_failed"},
    {Event::LateUnavailable, "late_unavailable"},
    {Event::LateMismatch, "late_mismatch"},
    {Event::HostNeighbor, "host_neighbor"},
    {Event::HostIcmp, "host_icmp"},
    {Event::HostRouting, "host_routing"},
    {Event::HostManagement, "host_management"},
    {Event::HostMulticast, "host_multicast"},
    {Event::HostOther, "host_other"},
    {Event::HostSent, "host_sent"},
}};

constexpr bool in_order() {
  for (size_t i = 0; i < event_names.size(); ++i) {
    if (event_names[i].first != static_cast<Event>(i)) return false;
  }
  return true;
}
static_assert(in_order(), "event_names lists every Event in the order of the enumeration");

}  // namespace

std::string_view name(Event event) { return event_names[static_cast<size_t>(event)].second; }

}  // namespace sluice::dataplane
