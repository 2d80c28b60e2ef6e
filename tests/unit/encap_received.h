// A frame that a tunnel endpoint has received: parsed, then given to decapsulate(). And the frames for it.
#pragma once

#include <memory>
#include <ostream>
#include <string_view>

#include <gtest/gtest.h>

#include "encap/decap.h"
#include "encap/vxlan.h"
#include "tests/unit/net_parsed.h"

namespace sluice::encap {

inline std::ostream& operator<<(std::ostream& out, Decap what) {
  return out << (what == Decap::NotTunnel ? "NotTunnel" : what == Decap::Stripped ? "Stripped" : "Dropped");
}

}  // namespace sluice::encap

namespace sluice::test {

using encap::Decap;
using encap::DecapResult;
using encap::Terminator;
using net::DropReason;

inline constexpr std::string_view node = "192.168.100.101";  // known as 3
inline constexpr std::string_view self = "192.168.100.102";
inline constexpr uint32_t vni = 4096;
inline const net::MacAddr our_mac = encap::vtep_mac("node2");
inline const net::MacAddr their_mac = encap::vtep_mac("node1");

inline Terminator terminator() {
  return {.accept_vxlan = true,
          .accept_ipip = true,
          .vni = vni,
          .vtep_mac = our_mac,
          .sources = encap::KnownSources({{v4(node), 3}}, {net::parse_prefix("172.18.0.0/16").value()}, 77)};
}

// A received frame: parsed as the pipeline does, then decapsulated.
struct Received {
  explicit Received(const Bytes& frame, const Terminator& with = terminator(), uint8_t decapsulations = 0)
      : mbuf(Bytes(14, 0xee) + frame) {
    run(with, decapsulations);
  }
  // The frame in two segments, the first `cut` bytes long (Ethernet not counted).
  Received(const Bytes& frame, size_t cut) : mbuf(Bytes(14, 0xee) + take(frame, cut)) {
    tail = std::make_unique<FakeMbuf>(skip(frame, cut));
    mbuf.chain(*tail);
    run(terminator(), 0);
  }
  void run(const Terminator& with, uint8_t decapsulations) {
    mbuf->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_RSS_HASH;
    packet.mbuf = mbuf.get();
    packet.l3 = 14;
    packet.decapsulations = decapsulations;
    parsed = net::parse_ip(packet, false);
    if (parsed != DropReason::None) return;
    before = mbuf.bytes();
    result = decapsulate(packet, with);
    if (result.what != Decap::Stripped) {
      EXPECT_EQ(mbuf.bytes(), before);
      EXPECT_EQ(packet.l3, 14);
      EXPECT_EQ(packet.decapsulations, decapsulations);
      EXPECT_EQ(packet.tunnel_source, net::no_tunnel_source);
    }
    EXPECT_EQ(result.what == Decap::Dropped, result.reason != DropReason::None);
  }
  FakeMbuf mbuf;
  std::unique_ptr<FakeMbuf> tail;
  net::FlowPacket<net::V4> packet;
  DropReason parsed = DropReason::None;
  Bytes before;
  DecapResult result;
};

inline DropReason reason(const Bytes& frame) {
  const Received received(frame);
  EXPECT_EQ(received.parsed, DropReason::None);
  return received.result.reason;
}
inline Decap what(const Bytes& frame, const Terminator& with = terminator()) {
  return Received(frame, with).result.what;
}

inline const Bytes inner4 = ipv4({.src = "172.16.228.84", .dst = "172.16.46.12"}, udp(40000, 53, counting(21)));
inline const Bytes inner6 = ipv6({}, udp(40000, 53, counting(20)));

inline Bytes vxlan_payload(const Bytes& inner, uint16_t type = net::ether_type_ipv4) {
  return vxlan(vni, ethernet(our_mac, their_mac, type, inner));
}
inline Bytes vxlan_frame(const Bytes& payload, uint8_t tos = 0) {
  return ipv4({.src = node, .dst = self, .tos = tos}, udp(50000, 4789, payload));
}
inline Bytes ipip_frame(const Bytes& inner, uint8_t protocol = net::protocol::ipip, uint8_t tos = 0) {
  return ipv4({.src = node, .dst = self, .protocol = protocol, .tos = tos}, inner);
}
// With the UDP checksum that DPDK computes.
inline Bytes with_udp_checksum(Bytes frame) {
  const auto* ip = reinterpret_cast<const rte_ipv4_hdr*>(frame.data());
  net::store(frame.data() + 26, rte_ipv4_udptcp_cksum(ip, frame.data() + 20));
  return frame;
}

}  // namespace sluice::test
