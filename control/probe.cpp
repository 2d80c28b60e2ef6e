#include "control/probe.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "control/flow_entry.h"
#include "dataplane/own_packet.h"

namespace sluice::control {
namespace {

using dataplane::HopKind;
using net::V4;
using net::V6;

uint16_t header_of(uint8_t protocol) {
  constexpr uint16_t sctp_header = 12;
  switch (protocol) {
    case net::protocol::tcp:
      return net::tcp_header_length;
    case net::protocol::sctp:
      return sctp_header + 4;  // an empty chunk
    default:
      return net::udp_header_length;  // ICMP's is as long
  }
}

template <class F>
void write_l4(const Probe& probe, const ProbeSegment& segment, uint8_t* l3, uint16_t payload) {
  uint8_t* const l4 = l3 + dataplane::own_header_length<F>;
  const uint16_t from_port = probe.from_port.value_or(probe_source_port);
  uint64_t sum = dataplane::pseudo_header_sum<F>(l3, probe.protocol, payload);
  uint16_t at = 0;  // of the checksum; 0: none
  switch (probe.protocol) {
    case net::protocol::tcp:
      net::store_be32(l4 + 4, segment.seq);
      net::store_be32(l4 + 8, segment.ack);
      std::memcpy(l4 + net::tcp_header_length, segment.data.data(), segment.data.size());
      l4[12] = net::tcp_header_length / 4 << 4;
      l4[13] = probe.tcp_flags;
      net::store_be16(l4 + 14, 65535);
      at = 16;
      break;
    case net::protocol::udp:
      net::store_be16(l4 + 4, payload);
      std::memcpy(l4 + net::udp_header_length, segment.data.data(), segment.data.size());
      at = 6;
      break;
    case net::protocol::icmp:
      l4[0] = net::icmpv4::echo_request;
      sum = 0;
      at = 2;
      break;
    case net::protocol::icmpv6:
      l4[0] = net::icmpv6::echo_request;
      at = 2;
      break;
    default:
      l4[12] = 1;  // SCTP: INIT
      net::store_be16(l4 + 14, 4);
  }
  if (probe.protocol == net::protocol::icmp || probe.protocol == net::protocol::icmpv6) {
    net::store_be16(l4 + 4, from_port);
  } else {
    net::store_be16(l4, from_port);
    net::store_be16(l4 + 2, probe.to_port);
  }
  if (at != 0) net::store(l4 + at, net::checksum(l4, payload, sum));
}

template <class F>
std::vector<uint8_t> write(const Probe& probe, const ProbeSegment& segment, size_t size) {
  std::vector<uint8_t> packet(size);
  uint8_t* const l3 = packet.data();
  const auto payload = static_cast<uint16_t>(size - dataplane::own_header_length<F>);
  dataplane::write_own_header(l3, F::addr_of(probe.from), F::addr_of(probe.to), probe.protocol, 0, payload, 1);
  if constexpr (F::is_v4) {
    l3[8] = probe.ttl;
    if (probe.dont_fragment) net::store_be16(l3 + 6, net::ipv4_dont_fragment);
    net::store(l3 + 10, uint16_t{0});
    net::store(l3 + 10, net::checksum(l3, net::ipv4_header_length));
  } else {
    l3[7] = probe.ttl;
  }
  write_l4<F>(probe, segment, l3, payload);
  return packet;
}

}  // namespace

net::Result<std::vector<uint8_t>> make_packet(const Probe& probe, const ProbeSegment& segment) {
  if (probe.from.family() != probe.to.family()) {
    return net::Error{fmt::format("{} and {} are of different families, and nothing is translated between them",
                                  net::to_string(probe.from), net::to_string(probe.to))};
  }
  const bool v4 = probe.from.is_v4();
  const uint8_t foreign = v4 ? net::protocol::icmpv6 : net::protocol::icmp;
  if (probe.protocol == foreign) {
    return net::Error{fmt::format("{} belongs to the other IP version", protocol_name(probe.protocol))};
  }
  const size_t least = (v4 ? net::ipv4_header_length : net::ipv6_header_length) + header_of(probe.protocol) +
                       std::min<size_t>(segment.data.size(), most_probe_bytes);
  const size_t size = probe.size == 0 ? least : probe.size;
  if (size < least || size > most_probe_bytes) {
    return net::Error{fmt::format("a packet of {} bytes: expected {} to {}", size, least, most_probe_bytes)};
  }
  return v4 ? write<V4>(probe, segment, size) : write<V6>(probe, segment, size);
}

net::Result<ProbeArrival> arrival_of(const Probe& probe, const dataplane::Snapshot& snapshot, const Plan& plan) {
  const auto index_of = [&](const std::string& name) -> net::Result<ProbeArrival> {
    for (size_t i = 0; i < snapshot.interfaces.size(); ++i) {
      if (snapshot.interfaces[i].present && snapshot.interfaces[i].name == name) {
        return ProbeArrival{static_cast<uint16_t>(i), net::no_tunnel_source};
      }
    }
    return net::Error{fmt::format("there is no interface \"{}\"", name)};
  };
  if (!probe.interface.empty()) return index_of(probe.interface);
  const std::string from = net::to_string(probe.from);
  const auto* route = find_route(plan.routes, probe.from);
  if (route == nullptr) {
    return net::Error{
        fmt::format("no route leads back to {}, so it is not clear where its packets come in: say which "
                    "interface",
                    from)};
  }
  const PlannedHop& hop = route->second.hops.front();
  if (hop.kind == HopKind::Connected) return index_of(hop.interface);
  if (!hop.neighbor) {
    return net::Error{
        fmt::format("{} is within {} ({}), from where no packet comes in: say which interface if one "
                    "does",
                    from, net::to_string(route->first), route->second.origin)};
  }
  auto arrival = index_of(hop.neighbor->interface);
  if (!arrival || hop.kind != HopKind::Tunnel) return arrival;
  const net::IpAddr& remote = plan.tunnels.at(hop.tunnel).spec.remote;
  arrival->tunnel_source =
      remote.is_v4() ? snapshot.terminator.sources.find(remote.v4()) : snapshot.terminator.sources.find(remote.v6());
  if (arrival->tunnel_source == net::no_tunnel_source) {
    return net::Error{
        fmt::format("{} is behind a tunnel from {}, from where no tunnel is accepted: say which interface "
                    "it comes in by",
                    from, net::to_string(remote))};
  }
  return arrival;
}

std::vector<uint8_t> make_frame(const std::vector<uint8_t>& packet, const dataplane::Interface& interface) {
  static constexpr net::MacAddr neighbor{{0x02, 0, 0, 0, 0, 0x01}};
  const size_t header = net::ethernet_header_length + (interface.vlan == 0 ? 0 : net::vlan_tag_length);
  std::vector<uint8_t> frame(header + packet.size());
  std::memcpy(frame.data(), interface.mac.bytes.data(), 6);
  std::memcpy(frame.data() + 6, neighbor.bytes.data(), 6);
  if (interface.vlan != 0) {
    net::store_be16(frame.data() + 12, net::ether_type_vlan);
    net::store_be16(frame.data() + 14, interface.vlan);
  }
  const bool v4 = net::ip_version(packet.data()) == 4;
  net::store_be16(frame.data() + header - 2, v4 ? net::ether_type_ipv4 : net::ether_type_ipv6);
  std::copy(packet.begin(), packet.end(), frame.begin() + static_cast<std::ptrdiff_t>(header));
  return frame;
}

}  // namespace sluice::control
