#include "dataplane/net/parse.h"

#include <algorithm>

#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4_options.h"

namespace sluice::net {
namespace {

// The ICMP of the family; the other family's number is a protocol like any other.
template <class F>
inline constexpr uint8_t icmp_protocol = F::is_v4 ? protocol::icmp : protocol::icmpv6;

// Bytes of an L4 header that must be there before its ports mean anything.
template <class F>
uint16_t minimum_l4_length(uint8_t proto) {
  switch (proto) {
    case protocol::tcp:
      return tcp_header_length;
    case protocol::udp:
    case icmp_protocol<F>:
      return 8;
    case protocol::sctp:
      return 12;
    default:
      return 0;
  }
}

// Fills the key's ports from the first 8 bytes of L4 (flow_key.h says how). True for an ICMP error.
template <class F>
bool read_ports(uint8_t proto, const uint8_t* l4, FlowKey<F>& key) {
  if (proto == protocol::tcp || proto == protocol::udp || proto == protocol::sctp) {
    key.src_port = be16::from_wire(load<uint16_t>(l4));
    key.dst_port = be16::from_wire(load<uint16_t>(l4 + 2));
    return false;
  }
  if (proto != icmp_protocol<F>) return false;
  const uint8_t type = l4[0];
  constexpr bool v4 = F::is_v4;
  if (type == (v4 ? icmpv4::echo_request : icmpv6::echo_request)) {
    key.src_port = be16::from_wire(load<uint16_t>(l4 + 4));
  } else if (type == (v4 ? icmpv4::echo_reply : icmpv6::echo_reply)) {
    key.dst_port = be16::from_wire(load<uint16_t>(l4 + 4));
  } else {
    key.dst_port = be16::from_wire(load<uint16_t>(l4));
    return v4 ? icmpv4::is_error(type) : icmpv6::is_error(type);
  }
  return false;
}

// The L4 part that both families share, once packet.l4, protocol and fragment are known.
template <class F>
DropReason finish(FlowPacket<F>& packet) {
  packet.key.protocol = packet.protocol;
  packet.has_ports = false;
  packet.icmp_error = false;
  if (packet.fragment == FragmentKind::Later) return DropReason::None;
  const uint16_t wanted = minimum_l4_length<F>(packet.protocol);
  const uint16_t present = static_cast<uint16_t>(packet.l3 + packet.l3_length - packet.l4);
  if (!F::is_v4 && present < wanted && packet.fragment == FragmentKind::First) return DropReason::FragmentHeaderMissing;
  if (present < wanted || packet.contiguous(packet.l4) < wanted) return DropReason::L4Truncated;
  if (wanted == 0) return DropReason::None;
  if (packet.protocol == protocol::tcp) {
    // RFC 9293 section 3.1: the data offset counts 32-bit words and is at least 5; options lie inside the segment.
    const auto header = static_cast<uint16_t>((packet.l4_header()[12] >> 4) * 4);
    if (header < tcp_header_length || header > present) return DropReason::L4Truncated;
  }
  packet.has_ports = true;
  packet.icmp_error = read_ports(packet.protocol, packet.l4_header(), packet.key);
  return DropReason::None;
}

// Keeps the first `wanted` bytes (at least one) and frees the segments behind them.
[[gnu::cold, gnu::noinline]] void cut_segments(rte_mbuf* mbuf, uint32_t wanted) {
  rte_mbuf* segment = mbuf;
  uint16_t segments = 1;
  uint32_t left = wanted;
  for (; left > segment->data_len; segment = segment->next, ++segments) left -= segment->data_len;
  segment->data_len = static_cast<uint16_t>(left);
  rte_pktmbuf_free(segment->next);
  segment->next = nullptr;
  mbuf->nb_segs = segments;
  mbuf->pkt_len = wanted;
}

void cut_padding(Packet& packet, uint32_t bytes) {
  const uint32_t wanted = packet.l3 + bytes;
  if (packet.mbuf->pkt_len <= wanted) return;
  // A sender may pad with more than the last segment holds.
  if (packet.mbuf->nb_segs > 1) return cut_segments(packet.mbuf, wanted);
  packet.mbuf->data_len = static_cast<uint16_t>(wanted);
  packet.mbuf->pkt_len = wanted;
}

struct Extensions {
  uint16_t offset;  // of the upper-layer header, from the IPv6 header
  uint8_t protocol;
  FragmentKind fragment;
  bool more_fragments;
  uint16_t fragment_offset;  // bytes
  uint32_t datagram;         // identification
  uint16_t fragment_header;  // offset; 0: none
};

// Steps over the extension headers (RFC 8200 section 4); `length` contiguous bytes start at the IPv6 header.
DropReason walk_extensions(const uint8_t* l3, uint16_t length, Extensions& out) {
  out = {ipv6_header_length, l3[6], FragmentKind::Whole, false, 0, 0, 0};
  for (unsigned i = 0; i <= max_extension_headers; ++i) {
    uint16_t size = 0;
    switch (out.protocol) {
      case protocol::hop_by_hop:
        // Hop-by-hop options stand only right behind the IPv6 header (RFC 8200 section 4.1).
        if (i != 0) return DropReason::Ipv6ExtensionHeaders;
        [[fallthrough]];
      case protocol::routing:
      case protocol::destination_options:
        if (length < out.offset + 8) return DropReason::IpTruncated;
        // Routing type 0 is dead (RFC 5095 section 3).
        if (out.protocol == protocol::routing && l3[out.offset + 2] == 0) return DropReason::Ipv6ExtensionHeaders;
        size = static_cast<uint16_t>((l3[out.offset + 1] + 1) * 8);
        break;
      case protocol::fragment: {
        if (length < out.offset + 8) return DropReason::IpTruncated;
        out.fragment_header = out.offset;
        const uint16_t field = load_be16(l3 + out.offset + 2);
        if ((field & 0xfff8) != 0) {
          out.fragment = FragmentKind::Later;
          out.fragment_offset = field & 0xfff8;
        } else if ((field & 1) != 0) {
          out.fragment = FragmentKind::First;
        }
        out.more_fragments = (field & 1) != 0;
        out.datagram = load<uint32_t>(l3 + out.offset + 4);
        // RFC 8200 section 4.5: all but the last carry a multiple of 8 bytes.
        if (out.more_fragments && (ipv6_header_length + load_be16(l3 + 4) - out.offset) % 8 != 0) {
          return DropReason::FragmentMalformed;
        }
        size = 8;
        break;
      }
      default:
        return length < out.offset ? DropReason::IpTruncated : DropReason::None;
    }
    if (length < out.offset + size) return DropReason::IpTruncated;
    out.protocol = l3[out.offset];
    out.offset = static_cast<uint16_t>(out.offset + size);
    if (out.fragment == FragmentKind::Later) return DropReason::None;
  }
  return DropReason::Ipv6ExtensionHeaders;
}

}  // namespace

template <>
DropReason parse_ip<V4>(FlowPacket<V4>& packet, bool checksum_known_good) {
  const uint16_t available = packet.contiguous(packet.l3);
  const uint8_t* const l3 = packet.l3_header();
  // RFC 1812 section 5.2.2 (1): long enough for a header.
  if (available < ipv4_header_length) return DropReason::IpTruncated;
  // (3) version 4.
  if (ip_version(l3) != 4) return DropReason::IpBadVersion;
  // (4) header length at least 20 bytes.
  const uint16_t header = ipv4_length_of(l3);
  if (header < ipv4_header_length) return DropReason::IpBadHeaderLength;
  if (available < header) return DropReason::IpTruncated;
  // (5) total length holds the header, and the frame holds the total length.
  const uint16_t total = load_be16(l3 + 2);
  if (total < header || total > packet.mbuf->pkt_len - packet.l3) return DropReason::IpBadTotalLength;
  // (2) header checksum.
  if (!checksum_known_good && checksum_fold(checksum_sum(l3, header)) != 0xffff) return DropReason::IpBadChecksum;
  if (header != ipv4_header_length && !may_be_forwarded(l3, header)) return DropReason::IpOptions;

  packet.key.src = IpHeader<V4>::source(l3);
  packet.key.dst = IpHeader<V4>::destination(l3);
  packet.key.src_port = {};
  packet.key.dst_port = {};
  const Ipv4Addr src = packet.key.src;
  const Ipv4Addr dst = packet.key.dst;
  // RFC 1812 section 5.3.7: martian addresses.
  if (src.is_this_network() || src.is_loopback() || src.host() >> 28 >= 0xe) return DropReason::IpMartianSource;
  if (dst.is_this_network() || dst.is_loopback()) return DropReason::IpMartianDestination;
  if (dst.is_multicast()) return DropReason::IpMulticast;
  if (dst.is_broadcast()) return DropReason::IpBroadcast;
  if (dst.host() >> 28 == 0xf) return DropReason::IpMartianDestination;

  const uint16_t fragment = load_be16(l3 + 6);
  const uint16_t offset = fragment & ipv4_offset_mask;
  if (offset != 0) {
    packet.fragment = FragmentKind::Later;
    // RFC 791: no datagram, its header included, is longer than 65 535 bytes (the ping of death).
    if (static_cast<uint32_t>(offset) * 8 + total > 65535) return DropReason::FragmentMalformed;
  } else {
    packet.fragment = (fragment & ipv4_more_fragments) != 0 ? FragmentKind::First : FragmentKind::Whole;
  }
  if (packet.fragment != FragmentKind::Whole) {
    packet.more_fragments = (fragment & ipv4_more_fragments) != 0;
    packet.fragment_offset = static_cast<uint16_t>(offset * 8);
    packet.datagram = load<uint16_t>(l3 + 4);
    // RFC 791 section 3.1: all but the last carry a multiple of 8 bytes.
    if (packet.more_fragments && (total - header) % 8 != 0) return DropReason::FragmentMalformed;
  }
  packet.l3_length = total;
  packet.protocol = l3[9];
  packet.l4 = static_cast<uint16_t>(packet.l3 + header);
  cut_padding(packet, total);
  return finish(packet);
}

// ::/96, where the unspecified and the loopback address are as well: deprecated (RFC 4291 section 2.5.5.1), and names
// of services that no packet may use.
static bool is_v4_compatible(const Ipv6Addr& address) {
  return std::all_of(address.bytes.begin(), address.bytes.begin() + 12, [](uint8_t byte) { return byte == 0; });
}

template <>
DropReason parse_ip<V6>(FlowPacket<V6>& packet, bool /*checksum_known_good*/) {
  const uint16_t available = packet.contiguous(packet.l3);
  const uint8_t* const l3 = packet.l3_header();
  if (available < ipv6_header_length) return DropReason::IpTruncated;
  if (ip_version(l3) != 6) return DropReason::IpBadVersion;
  const uint32_t total = ipv6_header_length + static_cast<uint32_t>(load_be16(l3 + 4));
  if (total > packet.mbuf->pkt_len - packet.l3 || total > 65535) return DropReason::IpBadTotalLength;

  packet.key.src = IpHeader<V6>::source(l3);
  packet.key.dst = IpHeader<V6>::destination(l3);
  packet.key.src_port = {};
  packet.key.dst_port = {};
  const Ipv6Addr& src = packet.key.src;
  const Ipv6Addr& dst = packet.key.dst;
  // RFC 4291 sections 2.5.2, 2.5.3, 2.7; the unspecified source is for duplicate address detection only.
  if (src.is_multicast() || src.is_loopback() || src.is_v4_mapped()) return DropReason::IpMartianSource;
  if (src.is_unspecified() && !dst.is_multicast()) return DropReason::IpMartianSource;
  if (is_v4_compatible(dst) || dst.is_v4_mapped()) return DropReason::IpMartianDestination;

  Extensions extensions{};
  const uint16_t visible = available < total ? available : static_cast<uint16_t>(total);
  const DropReason reason = walk_extensions(l3, visible, extensions);
  packet.fragment = extensions.fragment;
  packet.l3_length = static_cast<uint16_t>(total);
  packet.protocol = extensions.protocol;
  if (reason != DropReason::None) {
    // RFC 8200 section 4.5: the first fragment holds all headers.
    const bool missing =
        reason == DropReason::IpTruncated && packet.fragment == FragmentKind::First && available >= total;
    return missing ? DropReason::FragmentHeaderMissing : reason;
  }
  packet.more_fragments = extensions.more_fragments;
  packet.fragment_offset = extensions.fragment_offset;
  packet.datagram = extensions.datagram;
  // RFC 8200 section 4.5: no reassembled payload is longer than 65 535 bytes.
  if (packet.fragment == FragmentKind::Later && extensions.fragment_offset + (total - ipv6_header_length - 8) > 65535) {
    return DropReason::FragmentMalformed;
  }
  packet.l4 = static_cast<uint16_t>(packet.l3 + extensions.offset);
  cut_padding(packet, total);
  return finish(packet);
}

uint16_t find_fragment_header(const uint8_t* l3, uint16_t length) {
  if (length < ipv6_header_length) return 0;
  Extensions extensions{};
  (void)walk_extensions(l3, length, extensions);
  return extensions.fragment_header;
}

template <>
bool parse_quoted<V4>(const uint8_t* quoted, uint16_t length, FlowKey<V4>& key, uint16_t& l4_offset) {
  if (length < ipv4_header_length + 8 || ip_version(quoted) != 4) return false;
  const uint16_t header = static_cast<uint16_t>((quoted[0] & 0xf) * 4);
  if (header < ipv4_header_length || length < header + 8) return false;
  if ((load_be16(quoted + 6) & ipv4_offset_mask) != 0) return false;
  key = {IpHeader<V4>::source(quoted), IpHeader<V4>::destination(quoted), {}, {}, quoted[9], {}};
  l4_offset = header;
  // An error about an error belongs to no flow (ICMP-7).
  return !read_ports(key.protocol, quoted + header, key);
}

template <>
bool parse_quoted<V6>(const uint8_t* quoted, uint16_t length, FlowKey<V6>& key, uint16_t& l4_offset) {
  if (length < ipv6_header_length + 8 || ip_version(quoted) != 6) return false;
  Extensions extensions{};
  if (walk_extensions(quoted, length, extensions) != DropReason::None) return false;
  if (extensions.fragment == FragmentKind::Later || length < extensions.offset + 8) return false;
  key = {IpHeader<V6>::source(quoted), IpHeader<V6>::destination(quoted), {}, {}, extensions.protocol, {}};
  l4_offset = extensions.offset;
  return !read_ports(key.protocol, quoted + extensions.offset, key);
}

}  // namespace sluice::net
