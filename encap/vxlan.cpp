#include "encap/vxlan.h"

#include <array>
#include <cstring>

#include <openssl/evp.h>

#include "dataplane/net/mbuf_sum.h"
#include "encap/decap.h"

namespace sluice::encap {
namespace {

constexpr uint16_t ether_type_qinq = 0x88a8;  // IEEE 802.1ad

// Whether the UDP checksum over `udp_length` bytes and the pseudo header is right (RFC 768).
template <class Outer>
bool udp_checksum_good(const net::FlowPacket<Outer>& packet, uint16_t udp_length) {
  static_assert(offsetof(net::FlowKey<Outer>, dst) == sizeof(packet.key.src));
  const uint64_t pseudo = net::checksum_sum(&packet.key, 2 * sizeof(packet.key.src)) +
                          net::be16::from_host(net::protocol::udp).wire() + net::be16::from_host(udp_length).wire();
  return net::checksum_fold(pseudo + net::mbuf_sum(packet.mbuf, packet.l4, udp_length)) == 0xffff;
}

bool flags_good(const uint8_t* header, bool strict) {
  // RFC 7348 section 5: the I flag is set, reserved bits are ignored. Strict: they are zero (VXL-1).
  if (strict) return net::load_be32(header) == uint32_t{vxlan_flag_vni} << 24 && header[7] == 0;
  return (header[0] & vxlan_flag_vni) != 0;
}

}  // namespace

net::MacAddr vtep_mac(std::string_view node_name) {
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest{};
  if (EVP_Digest(node_name.data(), node_name.size(), digest.data(), nullptr, EVP_sha1(), nullptr) != 1) return {};
  return {{'f', digest[0], digest[1], digest[2], digest[3], digest[4]}};
}

void write_vxlan(const TunnelSpec& spec, uint8_t* out) {
  std::memset(out, 0, vxlan_length);
  net::store_be16(out + 2, spec.udp_port);
  uint8_t* const header = out + net::udp_header_length;
  header[0] = vxlan_flag_vni;
  net::store_be32(header + 4, spec.vni << 8);
  uint8_t* const ethernet = header + net::vxlan_header_length;
  net::store(ethernet, spec.inner_destination);
  net::store(ethernet + 6, spec.inner_source);
  net::store_be16(ethernet + 12, net::ether_type_ipv4);
}

template <class Outer>
net::DropReason open_vxlan(const net::FlowPacket<Outer>& outer, const Terminator& terminator, InnerPacket& inner) {
  using net::DropReason;
  const uint8_t* const udp = outer.l4_header();
  const uint32_t ip_payload = uint32_t{outer.l3} + outer.l3_length - outer.l4;
  // All headers lie in the first segment, and the datagram in its IP packet (RFC 768).
  if (outer.contiguous(outer.l4) < vxlan_length) return DropReason::TunnelMalformed;
  const uint16_t udp_length = net::load_be16(udp + 4);
  if (udp_length < vxlan_length || udp_length > ip_payload) return DropReason::TunnelMalformed;

  const uint8_t* const header = udp + net::udp_header_length;
  if (!flags_good(header, terminator.strict_flags)) return DropReason::VxlanBadFlags;
  if (!terminator.knows_vni(net::load_be32(header + 4) >> 8)) return DropReason::VxlanUnknownVni;
  // RFC 7348 section 5: 0 is accepted, over IPv6 by agreement only (RFC 8200 section 8.1); any other value is verified
  // before anything inside is believed (CSUM-4).
  const bool none = net::load<uint16_t>(udp + 6) == 0;
  const bool good = none ? Outer::is_v4 || terminator.zero_checksum_v6 : udp_checksum_good(outer, udp_length);
  if (!good) return DropReason::VxlanBadChecksum;

  const uint8_t* const ethernet = header + net::vxlan_header_length;
  const net::MacAddr& own = Outer::is_v4 ? terminator.vtep_mac : terminator.vtep_mac_v6;
  if (net::load<net::MacAddr>(ethernet) != own) return DropReason::VxlanNotOurMac;
  switch (net::load_be16(ethernet + 12)) {
    case net::ether_type_ipv4:
      inner.family = net::Family::V4;
      break;
    case net::ether_type_ipv6:
      inner.family = net::Family::V6;
      break;
    case net::ether_type_vlan:
    case ether_type_qinq:
      return DropReason::VxlanVlan;  // RFC 7348 section 6.1
    default:
      return DropReason::VxlanNotIp;
  }
  inner.begin = uint32_t{outer.l4} + vxlan_length;
  inner.end = uint32_t{outer.l4} + udp_length;
  return DropReason::None;
}

template net::DropReason open_vxlan<net::V4>(const net::FlowPacket<net::V4>&, const Terminator&, InnerPacket&);
template net::DropReason open_vxlan<net::V6>(const net::FlowPacket<net::V6>&, const Terminator&, InnerPacket&);

}  // namespace sluice::encap
