// Takes tunnels off. The caller has parsed the outer IP header and found that the destination is one of our
// tunnel endpoint addresses; here it is decided whether the packet is a tunnel packet at all, whether it may be
// one, and where the inner packet begins.
//
// Order: recognise, known sender, whole, not nested, the encapsulation's own checks (vxlan.h, ipip.h), inner header
// present, no loop, ECN. A refused packet is unchanged, an accepted one has its mbuf begin at the inner IP header.
// The inner packet is not believed in anything: parse_ip checks it next, as if it had come by a cable.
//
// To add an encapsulation: a file pair like vxlan.h and vxlan.cpp, a value of Kind, one line in `recognise` and one in
// `open` of decap.cpp, one branch in header_template.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "dataplane/net/headers.h"
#include "dataplane/net/packet.h"
#include "dataplane/net/verdict.h"
#include "encap/ecn.h"
#include "encap/known_sources.h"
#include "encap/tunnel.h"
#include "encap/vxlan.h"

namespace sluice::encap {

// What this router accepts as a tunnel endpoint. Const, built off-path.
struct Terminator {
  bool accept_vxlan = false;
  bool accept_ipip = false;             // protocols 4 and 41
  bool strict_flags = false;            // VXL-1: reserved bits must be zero
  uint16_t udp_port = 4789;             // host byte order
  uint32_t vni = 0;                     // 24 bits, of the overlay
  std::vector<uint32_t> tunnel_vnis{};  // sorted: others, of tunnels that have their own
  net::MacAddr vtep_mac{};              // own, over IPv4
  net::MacAddr vtep_mac_v6{};
  bool zero_checksum_v6 = false;  // VXL-9: accept VXLAN over IPv6 without UDP checksum
  KnownSources sources{};

  [[nodiscard]] bool knows_vni(uint32_t wanted) const {
    return wanted == vni || std::binary_search(tunnel_vnis.begin(), tunnel_vnis.end(), wanted);
  }
};

enum class Decap : uint8_t {
  NotTunnel,  // of no kind that is accepted here: ordinary traffic to this address
  Stripped,
  Dropped,
};

struct DecapResult {
  Decap what = Decap::NotTunnel;
  net::DropReason reason = net::DropReason::None;  // of Dropped
  net::Family inner = net::Family::V4;             // of Stripped: parse_ip of this family comes next
  bool odd_ecn = false;                            // ECN-2: count it; never set for NotTunnel
};

// `outer` is as parse_ip left it. After Stripped its mbuf begins at the inner IP header, l3 is 0, tunnel_source
// and decapsulations are set, flags about received checksums are cleared (they spoke of the outer packet), and the
// other fields still describe the outer header until parse_ip has run again.
//
// A later fragment of a UDP datagram shows no port and is NotTunnel; reassemble before, or let it wait for its first
// fragment, which is dropped here (VXL-8).
template <class Outer>
[[nodiscard]] DecapResult decapsulate(net::FlowPacket<Outer>& outer, const Terminator& terminator);

// The short cut for tunnel packets over IPv4 in which there is nothing to decide.
struct PlainInner {
  uint16_t offset = 0;  // of the inner IP header, from the outer one's begin; 0: not plain, ask decapsulate()
  uint16_t source = net::no_tunnel_source;  // index of the node that sent it
  net::Family family = net::Family::V4;
};
// `l3`: an outer header that net::plain_length called plain, to one of our tunnel endpoints, with all its `total` bytes
// in one piece; the packet has not been in a tunnel before. Says yes to nothing that decapsulate() drops, counts as
// odd, trims or changes.
[[nodiscard]] inline PlainInner find_plain_inner(const uint8_t* l3, uint32_t total, const Terminator& terminator) {
  PlainInner inner;
  uint32_t offset = net::ipv4_header_length;
  const uint8_t* const l4 = l3 + offset;
  switch (l3[9]) {
    case net::protocol::udp: {
      offset += vxlan_length;
      const uint8_t* const vxlan = l4 + net::udp_header_length;
      const uint8_t* const ethernet = vxlan + net::vxlan_header_length;
      if (!terminator.accept_vxlan || total < offset + net::ipv4_header_length) return {};
      if (net::load_be16(l4 + 2) != terminator.udp_port) return {};
      // The datagram fills its packet and has no checksum; the VXLAN header is the one that we would write.
      if (net::load_be16(l4 + 4) != total - net::ipv4_header_length || net::load<uint16_t>(l4 + 6) != 0) return {};
      if (net::load_be32(vxlan) != uint32_t{vxlan_flag_vni} << 24) return {};
      if (const uint32_t field = net::load_be32(vxlan + 4); field != terminator.vni << 8) [[unlikely]] {
        if ((field & 0xff) != 0 || !terminator.knows_vni(field >> 8)) return {};
      }
      if (std::memcmp(ethernet, terminator.vtep_mac.bytes.data(), 6) != 0) return {};
      const uint16_t type = net::load_be16(ethernet + 12);
      if (type != net::ether_type_ipv4) {
        if (type != net::ether_type_ipv6) return {};
        inner.family = net::Family::V6;
      }
      break;
    }
    case net::protocol::ipv6:
      inner.family = net::Family::V6;
      [[fallthrough]];
    case net::protocol::ipip:
      if (!terminator.accept_ipip || total < offset + net::ipv4_header_length) return {};
      break;
    default:
      return {};
  }
  const uint8_t* const header = l3 + offset;
  const bool v4 = inner.family == net::Family::V4;
  if (net::ip_version(header) != static_cast<uint8_t>(inner.family)) return {};
  if (!v4 && total < offset + net::ipv6_header_length) return {};
  // Source and destination at once: RFC 2003 section 3.2.
  if (v4 && net::load<uint64_t>(header + 12) == net::load<uint64_t>(l3 + 12)) return {};
  // RFC 6040 figure 4: without a mark outside, or with the same, the inner field stays.
  const uint8_t mark = net::IpHeader<net::V4>::traffic_class(l3) & ecn_mask;
  const uint8_t inside =
      v4 ? net::IpHeader<net::V4>::traffic_class(header) : net::IpHeader<net::V6>::traffic_class(header);
  if (mark != 0 && mark != (inside & ecn_mask)) return {};
  inner.source = terminator.sources.find(net::IpHeader<net::V4>::source(l3));
  if (inner.source != net::no_tunnel_source) inner.offset = static_cast<uint16_t>(offset);
  return inner;
}

}  // namespace sluice::encap
