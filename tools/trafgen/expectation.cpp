#include "tools/trafgen/expectation.h"

#include <algorithm>

namespace sluice::trafgen {
namespace {

bool one_holds(const std::vector<AddrRange>& ranges, const WideAddr& addr) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const AddrRange& range) { return range.contains(addr); });
}
bool one_holds(const std::vector<PortRange>& ranges, uint16_t port) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const PortRange& range) { return range.contains(port); });
}

}  // namespace

std::string_view name_of(Misroute what) {
  static constexpr std::string_view names[] = {"port", "source", "destination", "tunnel", "affinity", "ttl", "mac", ""};
  return names[static_cast<size_t>(what)];
}

Expectation::Expectation(const ExpectProfile& profile, const FlowSpace* flows, bool answers)
    : flows_(flows), profile_(profile), swapped_(answers != profile.reversed) {
  const TunnelExpectation& tunnel = profile.tunnel;
  simple_ = profile.unchanged() && !profile.ttl && !profile.dst_mac && !tunnel.any && tunnel.kind == TunnelKind::None;
}

bool Expectation::right_destination(const WideAddr& addr, uint32_t flow, const WideAddr& sent) const {
  if (profile_.dst.empty()) return addr == sent;
  if (profile_.per_destination == 0) return one_holds(profile_.dst, addr);
  const auto index = profile_.dst.front().index_of(addr);
  if (!index) return false;
  const uint64_t blocks = std::max<uint64_t>(1, profile_.dst.front().count / profile_.per_destination);
  return *index / profile_.per_destination == flows_->destination_index(flow) % blocks;
}

bool Expectation::right_tunnel(const FrameView& view) const {
  const TunnelExpectation& tunnel = profile_.tunnel;
  if (tunnel.any) return true;
  if (view.tunnel != tunnel.kind) return false;
  if (view.tunnel == TunnelKind::None) return true;
  if (tunnel.src && !tunnel.src->contains({0, view.outer_src()})) return false;
  if (tunnel.dst && !tunnel.dst->contains({0, view.outer_dst()})) return false;
  return view.tunnel != TunnelKind::Vxlan || !tunnel.vni || *tunnel.vni == view.vni;
}

Misroute Expectation::check_all(const FrameView& view, uint32_t flow) const {
  const bool no_ports = view.icmp();
  const Tuple sent = flows_->at(flow);
  const Tuple want =
      swapped_ ? Tuple{sent.dst, sent.src, no_ports ? sent.src_port : sent.dst_port, sent.src_port} : sent;
  if (profile_.src.empty() ? view.src() != want.src : !one_holds(profile_.src, view.src())) return Misroute::Source;
  if (profile_.src_port.empty() ? view.src_port() != want.src_port : !one_holds(profile_.src_port, view.src_port())) {
    return Misroute::Source;
  }
  if (!right_destination(view.dst(), flow, want.dst)) return Misroute::Destination;
  if (!no_ports &&
      (profile_.dst_port.empty() ? view.dst_port() != want.dst_port : !one_holds(profile_.dst_port, view.dst_port()))) {
    return Misroute::Destination;
  }
  if (!right_tunnel(view)) return Misroute::Tunnel;
  if (profile_.ttl && view.ttl() != *profile_.ttl) return Misroute::Ttl;
  if (profile_.dst_mac && net::load<net::MacAddr>(view.data) != *profile_.dst_mac) return Misroute::Mac;
  return Misroute::None;
}

}  // namespace sluice::trafgen
