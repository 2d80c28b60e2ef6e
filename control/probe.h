// The packet that a Probe describes, and where it would come in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/plan.h"
#include "control/router.h"
#include "dataplane/dry_run.h"
#include "dataplane/snapshot.h"

namespace sluice::control {

// Its source port if nobody names one.
inline constexpr uint16_t probe_source_port = 40000;

// Numbers of TCP, host byte order. Data of TCP and UDP.
struct ProbeSegment {
  uint32_t seq = 0;
  uint32_t ack = 0;
  std::string data;
};

// The IP packet, with right checksums. Error: its fields contradict each other.
[[nodiscard]] net::Result<std::vector<uint8_t>> make_packet(const Probe& probe, const ProbeSegment& segment = {});

// The interface's index, and where a packet of this source comes out of a tunnel the index of its node
// (net::no_tunnel_source without one).
struct ProbeArrival {
  uint16_t interface = 0;
  uint16_t tunnel_source = net::no_tunnel_source;
};
// By the interface's name, or by the route back to the source. Error: there is none, and what to do.
[[nodiscard]] net::Result<ProbeArrival> arrival_of(const Probe& probe, const dataplane::Snapshot& snapshot,
                                                   const Plan& plan);

// The Ethernet frame, with the interface's VLAN tag and MAC address, from a made-up neighbour.
[[nodiscard]] std::vector<uint8_t> make_frame(const std::vector<uint8_t>& packet,
                                              const dataplane::Interface& interface);

// Endpoint-independent mappings that matter to it: the one whose port it is for, and the one of its sender. Each is
// asked for where it is kept.
[[nodiscard]] std::vector<dataplane::Command::Mapping> mapping_questions(const Probe& probe,
                                                                         const dataplane::Snapshot& snapshot);
[[nodiscard]] uint16_t keeper_of(const dataplane::Command::Mapping& mapping, const dataplane::Tables& tables);
// What a packet between two hosts inside becomes before it is turned back, and which may be one of another connection.
// `flow`: the connection that it is of itself; `mappings`: those found. Nothing: it is none, or nobody knows yet.
[[nodiscard]] std::optional<Probe> turned_back(const Probe& probe, const dataplane::Snapshot& snapshot,
                                               const std::optional<dataplane::FlowRecord>& flow,
                                               const std::vector<dataplane::Command::Mapping>& mappings);

// What its client says first, or the datagram; `tls` as below. Empty: nothing.
[[nodiscard]] std::string said_by(const Probe& probe, const std::vector<uint16_t>& tls);

// Runs the packet, and of a probe with a host also what its client says behind the handshake; `out` is of the last one.
// `tls`: at ports of these it speaks TLS. Error: in words, why there is no such packet.
[[nodiscard]] net::Result<bool> run_probe(dataplane::DryRun& run, const Probe& probe, const ProbeArrival& arrival,
                                          const std::vector<uint16_t>& tls, const dataplane::Snapshot& snapshot,
                                          rte_mempool* pool, dataplane::PacketTrace& out);

}  // namespace sluice::control
