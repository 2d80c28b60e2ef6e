#include "dataplane/tunnel_errors.h"

#include <algorithm>

#include "dataplane/net/parse.h"
#include "dataplane/own_packet.h"
#include "dataplane/punt.h"
#include "encap/vxlan.h"

namespace sluice::dataplane {
namespace {

using net::DropReason;

enum class Meaning : uint8_t { Nothing, TooBig, Unreachable };

struct Reading {
  Meaning meaning = Meaning::Nothing;
  uint32_t mtu = 0;  // of TooBig: of the outer packet, bytes
};

template <class F>
Reading read_error(const uint8_t* icmp) {
  const uint8_t type = icmp[0];
  const uint8_t code = icmp[1];
  if constexpr (F::is_v4) {
    // RFC 1191 section 4.
    if (type == net::icmpv4::unreachable && code == net::icmpv4::code_fragmentation_needed) {
      return {Meaning::TooBig, net::load_be16(icmp + 6)};
    }
    // RFC 2003 section 4. Code 1 of "time exceeded" is about reassembly.
    if (type == net::icmpv4::unreachable) return {Meaning::Unreachable};
    if (type == net::icmpv4::time_exceeded && code == 0) return {Meaning::Unreachable};
  } else {
    if (type == net::icmpv6::packet_too_big) return {Meaning::TooBig, net::load_be32(icmp + 4)};
    if (type == net::icmpv6::unreachable) return {Meaning::Unreachable};
    if (type == net::icmpv6::time_exceeded && code == 0) return {Meaning::Unreachable};
  }
  return {};
}

// The quoted packet is one of this tunnel. `l4`: what follows its IP header, `length` bytes of at least 8.
template <class F>
bool is_of(const encap::TunnelSpec& spec, const net::FlowKey<F>& quoted, const uint8_t* l4, uint16_t length) {
  if (net::IpAddr(quoted.src) != spec.local) return false;
  if (spec.kind == encap::Kind::Ipip) {
    return quoted.protocol == net::protocol::ipip || quoted.protocol == net::protocol::ipv6;
  }
  if (quoted.protocol != net::protocol::udp || quoted.dst_port.host() != spec.udp_port) return false;
  const uint8_t* const vxlan = l4 + net::udp_header_length;
  return length < net::udp_header_length + net::vxlan_header_length || net::load_be32(vxlan + 4) >> 8 == spec.vni;
}

}  // namespace

TunnelErrors::TunnelErrors(Context& context)
    : context_(context), position_(std::make_unique<uint16_t[]>(TunnelPathTable::capacity)) {
  known_.reserve(TunnelPathTable::capacity);
  std::fill_n(position_.get(), TunnelPathTable::capacity, nowhere);
}

template <class F>
void TunnelErrors::on_error(net::FlowPacket<F>& packet) {
  const auto at = static_cast<uint16_t>(packet.l4 + net::icmp_header_length);
  const uint16_t length = packet.contiguous(at);
  net::FlowKey<F> quoted;
  uint16_t l4 = 0;
  if (!net::parse_quoted(packet.data() + at, length, quoted, l4)) {
    if (!context_.punt->take(packet)) context_.drop(packet.mbuf, DropReason::IcmpNoFlow);
    return;
  }
  if (!icmp_checksum_good(packet)) return context_.drop(packet.mbuf, DropReason::IcmpBadChecksum);
  const Snapshot& now = *context_.snapshot;
  const Reading reading = read_error<F>(packet.l4_header());
  const auto [first, last] =
      std::equal_range(now.tunnel_ends.begin(), now.tunnel_ends.end(), TunnelEnd{net::IpAddr(quoted.dst), 0},
                       [](const TunnelEnd& a, const TunnelEnd& b) { return a.remote < b.remote; });
  bool ours = false;
  for (auto end = first; end != last; ++end) {
    const encap::TunnelSpec& spec = now.tunnels[end->tunnel].spec;
    if (end->tunnel >= TunnelPathTable::capacity) continue;
    if (!is_of(spec, quoted, packet.data() + at + l4, static_cast<uint16_t>(length - l4))) continue;
    ours = true;
    if (reading.meaning == Meaning::TooBig) lower(end->tunnel, reading.mtu);
    if (reading.meaning == Meaning::Unreachable) mark_unreachable(end->tunnel);
  }
  if (!ours) {
    // About something that the host sent.
    if (!context_.punt->take(packet)) context_.drop(packet.mbuf, DropReason::IcmpNoFlow);
    return;
  }
  context_.counters.add(Event::TunnelErrors);
  context_.discard(packet.mbuf);
}

template void TunnelErrors::on_error<net::V4>(net::FlowPacket<net::V4>&);
template void TunnelErrors::on_error<net::V6>(net::FlowPacket<net::V6>&);

TunnelErrors::Known& TunnelErrors::known(uint16_t tunnel) {
  if (position_[tunnel] == nowhere) {
    position_[tunnel] = static_cast<uint16_t>(known_.size());
    known_.push_back({.tunnel = tunnel, .remote = context_.snapshot->tunnels[tunnel].spec.remote});
  }
  return known_[position_[tunnel]];
}

void TunnelErrors::lower(uint16_t tunnel, uint32_t outer_mtu) {
  const encap::TunnelSpec& spec = context_.snapshot->tunnels[tunnel].spec;
  const uint16_t overhead = encap::overhead(spec);
  const uint16_t least = spec.remote.is_v4() ? 576 : 1280;  // RFC 791 section 3.1, RFC 8200 section 5
  const uint16_t current = std::min(spec.mtu, (*context_.tables.tunnel_paths)[tunnel].mtu);
  if (outer_mtu < least || outer_mtu >= uint32_t{current} + overhead) return;
  Known& entry = known(tunnel);
  entry.path.mtu = static_cast<uint16_t>(outer_mtu - overhead);
  entry.mtu_learned = context_.now;
  context_.tables.tunnel_paths->set(tunnel, entry.path);
  context_.counters.add(Event::TunnelMtuLowered);
}

void TunnelErrors::mark_unreachable(uint16_t tunnel) {
  Known& entry = known(tunnel);
  entry.path.unreachable = true;
  entry.unreachable_seen = context_.now;
  context_.tables.tunnel_paths->set(tunnel, entry.path);
}

bool TunnelErrors::age(size_t at) {
  Known& entry = known_[at];
  const TunnelPath before = entry.path;
  const auto older = [&](nat::Millis since, nat::Millis lifetime) {
    return nat::millis_between(since, context_.now) >= static_cast<int32_t>(lifetime);
  };
  const auto& tunnels = context_.snapshot->tunnels;
  const bool gone = entry.tunnel >= tunnels.size() || !tunnels[entry.tunnel].present ||
                    tunnels[entry.tunnel].spec.remote != entry.remote;
  if (gone || older(entry.mtu_learned, mtu_lifetime)) entry.path.mtu = TunnelPath::unlimited;
  if (gone || older(entry.unreachable_seen, unreachable_lifetime)) entry.path.unreachable = false;
  if (!(entry.path == before)) context_.tables.tunnel_paths->set(entry.tunnel, entry.path);
  if (!(entry.path == TunnelPath{})) return true;
  position_[entry.tunnel] = nowhere;
  if (at + 1 != known_.size()) {
    entry = known_.back();
    position_[entry.tunnel] = static_cast<uint16_t>(at);
  }
  known_.pop_back();
  return false;
}

void TunnelErrors::tick() {
  if (known_.empty()) return;
  if (generation_ != context_.snapshot->generation) {
    generation_ = context_.snapshot->generation;
    for (size_t at = 0; at < known_.size();) at += age(at) ? 1 : 0;
    return;
  }
  if (cursor_ >= known_.size()) cursor_ = 0;
  if (age(cursor_)) ++cursor_;
}

}  // namespace sluice::dataplane
