#include "encap/decap.h"

#include <optional>

#include "dataplane/net/checksum.h"
#include "encap/ecn.h"
#include "encap/ipip.h"
#include "encap/vxlan.h"

namespace sluice::encap {
namespace {

using net::DropReason;

template <class Outer>
std::optional<Kind> recognise(const net::FlowPacket<Outer>& outer, const Terminator& terminator) {
  switch (outer.protocol) {
    case net::protocol::udp:
      if (!terminator.accept_vxlan || !outer.has_ports) return std::nullopt;
      if (outer.key.dst_port.host() != terminator.udp_port) return std::nullopt;
      return Kind::Vxlan;
    case net::protocol::ipip:
    case net::protocol::ipv6:
      if (!terminator.accept_ipip) return std::nullopt;
      return Kind::Ipip;
    default:
      return std::nullopt;
  }
}

// The encapsulation's own checks, then those that hold for all.
template <class Outer>
DropReason open(const net::FlowPacket<Outer>& outer, const Terminator& terminator, Kind kind, InnerPacket& inner) {
  switch (kind) {
    case Kind::Vxlan:
      if (const DropReason reason = open_vxlan(outer, terminator, inner); reason != DropReason::None) return reason;
      break;
    case Kind::Ipip:
      inner = open_ipip(outer);
      break;
  }
  // The fixed part of the inner header is there, in one piece, and of the family that was announced.
  const bool v4 = inner.family == net::Family::V4;
  const uint32_t wanted = v4 ? net::ipv4_header_length : net::ipv6_header_length;
  if (inner.end - inner.begin < wanted || outer.mbuf->data_len < inner.begin + wanted) {
    return DropReason::TunnelMalformed;
  }
  const uint8_t* const l3 = outer.data() + inner.begin;
  if (net::ip_version(l3) != static_cast<uint8_t>(inner.family)) return DropReason::TunnelMalformed;
  if (kind == Kind::Ipip && inner.family == Outer::family &&
      ipip_loops(net::IpHeader<Outer>::source(l3), net::IpHeader<Outer>::destination(l3), outer.key.src,
                 outer.key.dst)) {
    return DropReason::TunnelLoop;
  }
  return DropReason::None;
}

// Writes the ECN field and leaves the DSCP alone (ECN-3). RFC 1624 keeps a wrong IPv4 checksum wrong.
void set_ecn(uint8_t* l3, net::Family family, Ecn ecn) {
  const uint16_t before = net::load<uint16_t>(l3);
  if (family == net::Family::V6) {
    l3[1] = static_cast<uint8_t>((l3[1] & ~(ecn_mask << 4)) | static_cast<uint8_t>(ecn) << 4);
    return;
  }
  l3[1] = static_cast<uint8_t>((l3[1] & ~ecn_mask) | static_cast<uint8_t>(ecn));
  const uint16_t checksum = net::load<uint16_t>(l3 + 10);
  net::store(l3 + 10, net::ChecksumDelta{}.replace16(before, net::load<uint16_t>(l3)).apply(checksum));
}

uint8_t traffic_class(const uint8_t* l3, net::Family family) {
  return family == net::Family::V4 ? net::IpHeader<net::V4>::traffic_class(l3)
                                   : net::IpHeader<net::V6>::traffic_class(l3);
}

}  // namespace

template <class Outer>
DecapResult decapsulate(net::FlowPacket<Outer>& outer, const Terminator& terminator) {
  const auto dropped = [](DropReason reason) { return DecapResult{.what = Decap::Dropped, .reason = reason}; };
  const std::optional<Kind> kind = recognise(outer, terminator);
  if (!kind) return {};
  // VXL-6, IPIP-3: an unknown sender is not told anything by what follows.
  const uint16_t source = terminator.sources.find(outer.key.src);
  if (source == net::no_tunnel_source) return dropped(DropReason::TunnelUnknownSource);
  if (outer.fragment != net::FragmentKind::Whole) return dropped(DropReason::TunnelFragment);
  // RFC 2473 section 4.1: nesting is bounded. Nobody builds a tunnel to us inside a tunnel to us.
  if (outer.decapsulations != 0) return dropped(DropReason::TunnelNested);
  InnerPacket inner;
  if (const DropReason reason = open(outer, terminator, *kind, inner); reason != DropReason::None) {
    return dropped(reason);
  }

  rte_mbuf* const mbuf = outer.mbuf;
  uint8_t* const l3 = outer.data() + inner.begin;
  const uint8_t before = traffic_class(l3, inner.family);
  const EcnOutcome ecn = decapsulate_ecn(before, net::IpHeader<Outer>::traffic_class(outer.l3_header()));
  DecapResult result{.what = Decap::Stripped, .inner = inner.family, .odd_ecn = ecn.odd};
  if (ecn.drop) {
    result.what = Decap::Dropped;
    result.reason = DropReason::TunnelEcn;
    return result;
  }
  // Bytes behind the UDP datagram are no part of the inner packet. They end with the last segment or are refused.
  if (mbuf->pkt_len > inner.end && rte_pktmbuf_trim(mbuf, static_cast<uint16_t>(mbuf->pkt_len - inner.end)) != 0) {
    return dropped(DropReason::TunnelMalformed);
  }
  if (static_cast<Ecn>(before & ecn_mask) != ecn.ecn) set_ecn(l3, inner.family, ecn.ecn);
  rte_pktmbuf_adj(mbuf, static_cast<uint16_t>(inner.begin));
  mbuf->ol_flags &= ~(RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK);
  outer.l3 = 0;
  outer.tunnel_source = source;
  ++outer.decapsulations;
  return result;
}

template DecapResult decapsulate<net::V4>(net::FlowPacket<net::V4>&, const Terminator&);
template DecapResult decapsulate<net::V6>(net::FlowPacket<net::V6>&, const Terminator&);

}  // namespace sluice::encap
