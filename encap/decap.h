// Takes tunnels off. The caller has parsed the outer IPv4 header and found that the destination is one of our
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

#include <cstdint>

#include "dataplane/net/packet.h"
#include "dataplane/net/verdict.h"
#include "encap/known_sources.h"
#include "encap/tunnel.h"

namespace sluice::encap {

// What this router accepts as a tunnel endpoint. Const, built off-path.
struct Terminator {
  bool accept_vxlan = false;
  bool accept_ipip = false;   // protocols 4 and 41
  bool strict_flags = false;  // VXL-1: reserved bits must be zero
  uint16_t udp_port = 4789;   // host byte order
  uint32_t vni = 0;           // 24 bits
  net::MacAddr vtep_mac{};    // own
  KnownSources sources{};
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

// `outer` is as parse_ip<V4> left it. After Stripped its mbuf begins at the inner IP header, l3 is 0, tunnel_source
// and decapsulations are set, flags about received checksums are cleared (they spoke of the outer packet), and the
// other fields still describe the outer header until parse_ip has run again.
//
// A later fragment of a UDP datagram shows no port and is NotTunnel; reassemble before, or let it wait for its first
// fragment, which is dropped here (VXL-8).
[[nodiscard]] DecapResult decapsulate(net::FlowPacket<net::V4>& outer, const Terminator& terminator);

}  // namespace sluice::encap
