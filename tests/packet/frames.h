// Frames of tests: built from their fields with right checksums, and read back as one line of text, so that a case
// is "send this, expect that line". Every checksum is computed and verified by DPDK's functions, not by the router's.
//
// Endpoints are written "10.0.0.1:53" and "[2001:db8::1]:53". The text of a packet:
//   udp 10.0.0.1:53>10.0.0.2:1000 ttl 63            tcp SA 10.0.0.1:80>10.0.0.2:1000 ttl 63 df
//   echo 10.0.0.1>10.0.0.2 id 7 ttl 63              icmp 3/4 mtu 1400 10.0.0.1>10.0.0.2 ttl 64 [ quoted packet ]
//   sctp 10.0.0.1:80>10.0.0.2:1000 ttl 63           udp [2001:db8::1]:53>[2001:db8::2]:1000 ttl 63 no checksum
//   udp 10.0.0.1>10.0.0.2 ttl 63 frag 1480 len 200  arp request 192.0.2.1? from 192.0.2.10
// in front of it "vxlan A>B vni 4096 | " or "ipip A>B | " for each tunnel.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/net/addr.h"
#include "dataplane/net/headers.h"

namespace sluice::packet_test {

using Bytes = std::vector<uint8_t>;

struct Endpoint {
  net::IpAddr address;
  uint16_t port = 0;

  Endpoint() = default;
  Endpoint(const char* text);         // NOLINT(google-explicit-constructor): a literal
  Endpoint(const std::string& text);  // NOLINT(google-explicit-constructor)
  [[nodiscard]] std::string text() const;
};

// An IP packet by its fields. Of the L4 fields those of its protocol count.
struct Ip {
  Endpoint src, dst;
  uint8_t protocol = net::protocol::udp;
  uint8_t ttl = 64;
  uint8_t tos = 0;
  uint16_t id = 0x1234;
  bool df = false;
  bool mf = false;
  uint16_t offset = 0;  // bytes
  uint8_t flags = 0;    // TCP; of SCTP the type of the chunk
  uint32_t seq = 0;     // TCP; of SCTP the verification tag
  uint32_t ack = 0;
  uint8_t type = 0;  // ICMP
  uint8_t code = 0;
  uint32_t rest = 0;         // bytes 4 to 7 of ICMP: identifier and sequence number, MTU
  bool no_checksum = false;  // UDP
  Bytes payload;

  // Changes on the way to bytes().
  [[nodiscard]] Ip with_ttl(uint8_t value) const;
  [[nodiscard]] Ip with_tos(uint8_t value) const;
  [[nodiscard]] Ip with_df() const;
  [[nodiscard]] Ip with_payload(size_t size) const;
  [[nodiscard]] Ip with_id(uint16_t value) const;
  [[nodiscard]] Ip with_seq(uint32_t seq_value, uint32_t ack_value) const;

  [[nodiscard]] Bytes bytes() const;
};

[[nodiscard]] Ip udp(const Endpoint& src, const Endpoint& dst);
[[nodiscard]] Ip tcp(const Endpoint& src, const Endpoint& dst, std::string_view flags);  // letters of "SAFRPU"
[[nodiscard]] Ip echo(const Endpoint& src, const Endpoint& dst, uint16_t id);
[[nodiscard]] Ip echo_reply(const Endpoint& src, const Endpoint& dst, uint16_t id);
// One chunk of `payload`; the 12 bytes of the common header with `vtag` and the CRC32c are in front of it.
[[nodiscard]] Ip sctp(const Endpoint& src, const Endpoint& dst, uint8_t chunk, uint32_t vtag = 0x01020304);
[[nodiscard]] Ip icmp_error(const Endpoint& src, const Endpoint& dst, uint8_t type, uint8_t code, const Bytes& quoted,
                            uint32_t rest = 0);
// The error cut to the IP header and 8 bytes of its quoted packet (RFC 792).
[[nodiscard]] Bytes shortest_quote(const Bytes& packet);

struct VxlanOptions {
  uint32_t vni = 4096;
  uint8_t flags = 0x08;
  uint8_t tos = 0;
  uint16_t source_port = 50000;
  net::MacAddr inner_destination;
  uint16_t ether_type = 0;         // 0: by the version of the inner packet
  std::optional<bool> checksum{};  // of UDP; otherwise over IPv6 only
};
[[nodiscard]] Bytes vxlan(const Endpoint& src, const Endpoint& dst, const Bytes& inner, const VxlanOptions& options);
[[nodiscard]] Bytes ipip(const Endpoint& src, const Endpoint& dst, const Bytes& inner, uint8_t tos = 0);

// A packet cut so that the first fragment carries `first` bytes behind the IP header (a multiple of 8). `id` is the
// identification of an IPv6 datagram; an IPv4 packet has one.
[[nodiscard]] std::vector<Bytes> fragments(const Bytes& packet, size_t first, uint32_t id = 0x12345678);
// Cut at each of these offsets.
[[nodiscard]] std::vector<Bytes> fragments(const Bytes& packet, const std::vector<size_t>& cuts,
                                           uint32_t id = 0x12345678);
// The datagram again, of the IP packets of its two fragments.
[[nodiscard]] Bytes reassembled(const Bytes& head, const Bytes& tail);
// Writes the IPv4 header checksum again after somebody changed the header.
void finish_ipv4(Bytes& packet);

[[nodiscard]] Bytes ethernet(const net::MacAddr& dst, const net::MacAddr& src, const Bytes& l3, uint16_t vlan = 0);
[[nodiscard]] Bytes arp(uint16_t operation, const net::MacAddr& sender_mac, const char* sender, const char* target,
                        const net::MacAddr& to = net::MacAddr::broadcast(), uint16_t vlan = 0);
// An ICMPv6 neighbour advertisement for `target` to `to`.
[[nodiscard]] Bytes nd_advert(const char* target, const char* to, const net::MacAddr& mac);
[[nodiscard]] Bytes nd_solicit(const char* source, const char* target, const net::MacAddr& mac);

// A frame as it was received. Wrong lengths and checksums are failures of the running test.
struct View {
  std::string port;
  Bytes frame;
  net::MacAddr to, from;
  uint16_t vlan = 0;
  std::string text;  // "b/0d " (port and last byte of the destination MAC) and the packet's text
  Bytes outer;       // the IP packet in the frame; with a tunnel the outer one
  Bytes l3;          // the innermost IP packet; empty for ARP
  Ip ip;             // its fields
};
[[nodiscard]] View view(const std::string& port, const Bytes& frame);
[[nodiscard]] std::string text_of(const Bytes& l3);

}  // namespace sluice::packet_test
