// IP input checks and the flow key. Each check names its clause; each failure has a reason of its own.
#pragma once

#include "dataplane/net/packet.h"
#include "dataplane/net/verdict.h"

namespace sluice::net {

// Most IPv6 extension headers looked through before the packet is refused.
inline constexpr unsigned max_extension_headers = 8;

// Checks the IP header at packet.l3 and everything up to the L4 header, fills l4, l3_length, protocol,
// fragment, has_ports, icmp_error and the key. Bytes behind the IP packet (Ethernet padding) are cut off the
// mbuf. `checksum_known_good` skips the IPv4 header checksum when the port verified it.
template <class F>
[[nodiscard]] DropReason parse_ip(FlowPacket<F>& packet, bool checksum_known_good);

template <>
DropReason parse_ip<V4>(FlowPacket<V4>& packet, bool checksum_known_good);
template <>
DropReason parse_ip<V6>(FlowPacket<V6>& packet, bool checksum_known_good);

// The offset of the fragment header from the IPv6 header `l3`, of which `length` bytes are in one piece; 0 if none is
// found there. For packets that parse_ip refused.
[[nodiscard]] uint16_t find_fragment_header(const uint8_t* l3, uint16_t length);

// Reads the key of the packet quoted inside an ICMP error (RFC 792: IP header and at least 8 bytes).
// `quoted` points at `length` contiguous bytes. On success `l4_offset` is the offset of its L4 header.
// False if it is too short or no IP packet of family F; a later fragment has no ports and is refused too.
template <class F>
[[nodiscard]] bool parse_quoted(const uint8_t* quoted, uint16_t length, FlowKey<F>& key, uint16_t& l4_offset);

template <>
bool parse_quoted<V4>(const uint8_t* quoted, uint16_t length, FlowKey<V4>& key, uint16_t& l4_offset);
template <>
bool parse_quoted<V6>(const uint8_t* quoted, uint16_t length, FlowKey<V6>& key, uint16_t& l4_offset);

}  // namespace sluice::net
