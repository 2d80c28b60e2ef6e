// What one worker counts. Plain additions by its owner, read and summed by the control thread; a torn or late
// read shows in the next scrape. Bursts add once.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dataplane/net/verdict.h"

namespace sluice::dataplane {

inline constexpr size_t max_interfaces = 1024;

enum class Event : uint8_t {
  PacketsIn,     // from ports
  HandedOver,    // to other workers
  ReceivedOver,  // from other workers
  FlowHits,
  FlowMisses,
  FlowsOpened,
  FlowsClosed,
  FlowsEvicted,
  StatelessForwards,  // to and from services, translated without a flow: the table was full
  Transit,            // forwarded without a flow
  ServiceFlows,
  Masqueraded,
  DirectReturnFlows,  // sent on as they came, to endpoints that answer past this router
  Decapsulated,
  Encapsulated,
  Fragmented,  // packets cut into fragments
  FragmentsSent,
  Reassembled,  // outer packets of tunnels
  IcmpErrorsSent,
  IcmpErrorsLimited,  // not sent: rate limit
  IcmpErrorsTranslated,
  EchoReplies,
  ResetsSent,  // TCP's, and ABORTs of SCTP, because the endpoint is gone
  ArpRequestsSent,
  ArpRepliesSent,
  ArpReceived,
  NdSolicitsSent,
  NdAdvertsSent,
  NdReceived,
  VipClaims,          // load balancer addresses that another MAC address claimed (L2-5)
  EcnOddCombination,  // RFC 6040 section 4.2
  TunnelErrors,       // ICMP errors about our outer packets
  TunnelMtuLowered,
  StubClashes,
  ContentFlows,    // that are looked into (ContentPolicy)
  ContentMatches,  // packets in which a pattern was found
  Mirrored,        // copies sent to the collector
  MirrorLost,      // copies that could not be: no buffer, no way, too large
  // Connections that are bound late (late_binding.h)
  SynCookiesSent,
  LateOpened,          // clients that answered a cookie
  LateForwarded,       // requests that opened a connection to an endpoint
  LateRebound,         // of those, later requests for another endpoint
  LateAnswered,        // by the router itself
  LateRefused,         // reset, because nothing could be answered
  LateTooLong,         // heads
  LateTimedOut,        // heads
  LateGivenUp,         // undecided, for want of room
  LateEndpointFailed,  // refused or did not answer
  LateUnavailable,     // no endpoint, or none that answered
  LateMismatch,        // the endpoint does not do what the client was told
  // Given to the host, by PuntClass and in its order; taken from the host.
  HostNeighbor,
  HostIcmp,
  HostRouting,
  HostManagement,
  HostMulticast,
  HostOther,
  HostSent,
  Count,
};
inline constexpr size_t event_count = static_cast<size_t>(Event::Count);

// snake_case, stable.
[[nodiscard]] std::string_view name(Event event);

struct InterfaceCounters {
  uint64_t rx_packets = 0;
  uint64_t rx_bytes = 0;
  uint64_t tx_packets = 0;
  uint64_t tx_bytes = 0;
};

struct alignas(64) WorkerCounters {
  std::array<uint64_t, net::drop_reason_count> drops{};
  std::array<uint64_t, event_count> events{};
  uint64_t busy_cycles = 0;   // TSC of loops that moved a packet
  uint64_t awake_cycles = 0;  // TSC of all loops
  uint64_t total_cycles = 0;  // since the worker was made, asleep or not
  uint64_t loops = 0;
  uint64_t live_flows_v4 = 0;
  uint64_t live_flows_v6 = 0;
  uint64_t live_mappings = 0;  // of both families
  std::array<InterfaceCounters, max_interfaces> interfaces{};

  void drop(net::DropReason reason, uint64_t count = 1) { drops[static_cast<size_t>(reason)] += count; }
  void add(Event event, uint64_t count = 1) { events[static_cast<size_t>(event)] += count; }
};

}  // namespace sluice::dataplane
