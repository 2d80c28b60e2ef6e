// A finished outer header of an IPv4 underlay (header_template_v6.h: of IPv6): built once per remote node, put before
// each packet by one or two vector copies.
//
//   VXLAN  outer IPv4 20 | UDP 8 | VXLAN 8 | inner Ethernet 14   50 bytes, copied as 64
//   IPIP   outer IPv4 20                                         20 bytes, copied as 32
//
// The bytes stand at the end of a 64-byte block, so that whole vectors end where the inner IP header begins. What is
// copied too much lands in the room of the outer Ethernet header, which the caller writes next. The parameters that a
// packet needs stand in the same block before the bytes: a template is one cache line.
//
// Per packet change: total length, identification, TOS (ECN-1), DF (MTU-2), TTL (TTL-3), the checksum of these
// (RFC 1071: the sum of what never changes is kept), for VXLAN the UDP source port (VXL-2) and length, for IPv6 inside
// the protocol or the EtherType. "Copied or fixed" is a mask and a value, not a branch.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <rte_mbuf.h>

#include "dataplane/net/headers.h"
#include "encap/ipip.h"
#include "encap/tunnel.h"
#include "encap/vxlan.h"

namespace sluice::encap {

class alignas(64) HeaderTemplate {
 public:
  // Room that apply() leaves in front of the outer IPv4 header: Ethernet and one VLAN tag.
  static constexpr uint16_t link_headroom = net::ethernet_header_length + net::vlan_tag_length;

  // Of no use before it is assigned to.
  HeaderTemplate() = default;
  static HeaderTemplate build(const TunnelSpec& spec);

  [[nodiscard]] Kind kind() const { return kind_; }

  // Replaces what stands before the inner IP header, which is `l3_offset` bytes into the data, by the outer header:
  // afterwards the data begins with the outer IPv4 header and at least link_headroom bytes are free before it. False,
  // and the packet is unchanged, if there is not enough headroom.
  //
  // `l3_length`: of the inner IP packet, at most 65535 minus the overhead (the caller compares it with the MTU).
  // `flow_hash`: one value per inner flow; fragments of one datagram must have the same (VXL-2).
  // `ip_id`: outer identification, host byte order. The inner TTL has been decremented already (TTL-1).
  // The first segment is direct and not shared, and holds the fixed part of the inner IP header.
  template <class F>
  [[nodiscard]] bool apply(rte_mbuf* mbuf, uint16_t l3_offset, uint16_t l3_length, uint64_t flow_hash,
                           uint16_t ip_id) const;
  // The bytes alone: writes the outer header before the inner IP header at `inner`, and up to 14 bytes more before it,
  // and returns its length. Precondition: that much room and link_headroom. Otherwise as apply().
  template <class F>
  uint16_t write(uint8_t* inner, uint16_t l3_length, uint64_t flow_hash, uint16_t ip_id) const;

 private:
  static constexpr size_t longest = overhead(Kind::Vxlan);

  template <size_t Size>
  void copy_before(uint8_t* inner) const {
    std::memcpy(inner - Size, reinterpret_cast<const uint8_t*>(this) + sizeof(HeaderTemplate) - Size, Size);
  }
  template <class F, Kind K>
  uint16_t write(uint8_t* inner, uint16_t l3_length, uint64_t flow_hash, uint16_t ip_id) const;

  uint16_t ip_sum_ = 0;  // of the outer header's words that never change, host byte order
  uint16_t port_first_ = 0;
  uint16_t port_range_ = 0;  // last - first
  uint8_t tos_copied_ = 0;   // bits of the inner octet
  uint8_t tos_fixed_ = 0;
  uint8_t ttl_copied_ = 0;  // IPIP
  uint8_t ttl_fixed_ = 0;   // IPIP
  uint8_t df_copied_ = 0;   // IPIP, bits of the high byte of the field with flags and fragment offset
  uint8_t df_fixed_ = 0;    // IPIP
  uint8_t unused_ = 0;
  Kind kind_ = Kind::Ipip;
  std::array<uint8_t, longest> outer_{};  // ends where the inner IP header begins
};

static_assert(sizeof(HeaderTemplate) == 64 && std::is_trivially_copyable_v<HeaderTemplate>);
// The copies stay inside what apply() has checked to be free.
static_assert(sizeof(HeaderTemplate) <= overhead(Kind::Vxlan) + HeaderTemplate::link_headroom);
static_assert(32 <= overhead(Kind::Ipip) + HeaderTemplate::link_headroom);
// A packet just received (its own Ethernet header counts as used) can always be encapsulated.
static_assert(RTE_PKTMBUF_HEADROOM >= overhead(Kind::Vxlan) + HeaderTemplate::link_headroom);

template <class F>
inline bool HeaderTemplate::apply(rte_mbuf* mbuf, uint16_t l3_offset, uint16_t l3_length, uint64_t flow_hash,
                                  uint16_t ip_id) const {
  if (mbuf->data_off + l3_offset < overhead(kind_) + link_headroom) [[unlikely]] {
    return false;
  }
  const int growth =
      write<F>(rte_pktmbuf_mtod_offset(mbuf, uint8_t*, l3_offset), l3_length, flow_hash, ip_id) - l3_offset;
  mbuf->data_off = static_cast<uint16_t>(mbuf->data_off - growth);
  mbuf->data_len = static_cast<uint16_t>(mbuf->data_len + growth);
  mbuf->pkt_len += static_cast<uint32_t>(growth);
  return true;
}

template <class F>
inline uint16_t HeaderTemplate::write(uint8_t* inner, uint16_t l3_length, uint64_t flow_hash, uint16_t ip_id) const {
  if (kind_ == Kind::Vxlan) return write<F, Kind::Vxlan>(inner, l3_length, flow_hash, ip_id);
  return write<F, Kind::Ipip>(inner, l3_length, flow_hash, ip_id);
}

template <class F, Kind K>
inline uint16_t HeaderTemplate::write(uint8_t* inner, uint16_t l3_length, uint64_t flow_hash, uint16_t ip_id) const {
  constexpr uint16_t prepended = overhead(K);
  uint8_t* const outer = inner - prepended;
  const uint32_t tos = (net::IpHeader<F>::traffic_class(inner) & tos_copied_) | tos_fixed_;
  const uint32_t total = uint32_t{l3_length} + prepended;
  uint32_t sum = ip_sum_ + tos + total + ip_id;

  if constexpr (K == Kind::Vxlan) {
    const uint16_t source_port = vxlan_source_port(flow_hash, port_first_, port_range_);
    copy_before<64>(inner);
    patch_vxlan<F>(inner, l3_length, source_port);
  } else {
    uint32_t flags = net::ipv4_dont_fragment >> 8;  // no router fragments IPv6
    if constexpr (F::is_v4) flags = inner[6];
    flags = (flags & df_copied_) | df_fixed_;
    const uint32_t ttl = (net::IpHeader<F>::ttl(inner) & ttl_copied_) | ttl_fixed_;
    // Two words: flags with an offset of 0, TTL with the protocol.
    sum += (flags + ttl) << 8 | ipip_protocol<F>;
    copy_before<32>(inner);
    outer[6] = static_cast<uint8_t>(flags);
    outer[8] = static_cast<uint8_t>(ttl);
    outer[9] = ipip_protocol<F>;
  }
  sum = (sum & 0xffff) + (sum >> 16);
  sum += sum >> 16;
  outer[1] = static_cast<uint8_t>(tos);
  net::store_be16(outer + 2, static_cast<uint16_t>(total));
  net::store_be16(outer + 4, ip_id);
  net::store_be16(outer + 10, static_cast<uint16_t>(~sum));
  return prepended;
}

}  // namespace sluice::encap
