// As HeaderTemplate, for an IPv6 underlay:
//
//   VXLAN  outer IPv6 40 | UDP 8 | VXLAN 8 | inner Ethernet 14   70 bytes, copied as 80
//   IPIP   outer IPv6 40                                         40 bytes, copied as 48
//
// Per packet change: payload length, traffic class (ECN-1), hop limit (TTL-3), the flow label, which shows the underlay
// an inner flow (RFC 6438), for VXLAN the UDP source port (VXL-2), length and checksum. Without options in the way of a
// tunnel encapsulation limit (RFC 2473 section 4.1.1): what comes out of a tunnel into another is seen by
// decapsulate().
//
// The UDP checksum is there unless both ends agreed on none (VXL-9, RFC 6935): Linux sends and expects it. It covers
// the whole inner packet, so the caller brings the sum of that.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <rte_mbuf.h>

#include "dataplane/net/headers.h"
#include "dataplane/net/mbuf_sum.h"
#include "encap/header_template.h"
#include "encap/ipip.h"
#include "encap/tunnel.h"
#include "encap/vxlan.h"

namespace sluice::encap {

class alignas(64) HeaderTemplateV6 {
 public:
  // Of no use before it is assigned to.
  HeaderTemplateV6() = default;
  static HeaderTemplateV6 build(const TunnelSpec& spec);

  // As HeaderTemplate::apply; there is no identification.
  template <class F>
  [[nodiscard]] bool apply(rte_mbuf* mbuf, uint16_t l3_offset, uint16_t l3_length, uint64_t flow_hash) const;
  // As HeaderTemplate::write. `inner_sum`: net::mbuf_sum of the inner packet, if wants_sum().
  template <class F>
  uint16_t write(uint8_t* inner, uint16_t l3_length, uint64_t flow_hash, uint16_t inner_sum) const;
  [[nodiscard]] bool wants_sum() const { return checksum_; }

 private:
  static constexpr size_t longest = overhead(Kind::Vxlan, net::Family::V6);
  static constexpr size_t longest_copy = 80;

  template <size_t Size>
  void copy_before(uint8_t* inner) const {
    std::memcpy(inner - Size, outer_.data() + longest_copy - Size, Size);
  }

  uint32_t pseudo_sum_ = 0;  // of the UDP pseudo header's addresses and protocol
  uint16_t port_first_ = 0;
  uint16_t port_range_ = 0;   // last - first
  uint8_t class_copied_ = 0;  // bits of the inner octet
  uint8_t class_fixed_ = 0;
  uint8_t hops_copied_ = 0;  // IPIP
  uint8_t hops_fixed_ = 0;   // IPIP
  Kind kind_ = Kind::Ipip;
  bool checksum_ = false;                      // VXLAN
  std::array<uint8_t, longest_copy> outer_{};  // ends where the inner IP header begins
};

static_assert(std::is_trivially_copyable_v<HeaderTemplateV6>);
// The copies stay inside what apply() has checked to be free.
static_assert(80 <= overhead(Kind::Vxlan, net::Family::V6) + HeaderTemplate::link_headroom);
static_assert(48 <= overhead(Kind::Ipip, net::Family::V6) + HeaderTemplate::link_headroom);
static_assert(RTE_PKTMBUF_HEADROOM >= overhead(Kind::Vxlan, net::Family::V6) + HeaderTemplate::link_headroom);

template <class F>
inline bool HeaderTemplateV6::apply(rte_mbuf* mbuf, uint16_t l3_offset, uint16_t l3_length, uint64_t flow_hash) const {
  if (mbuf->data_off + l3_offset < overhead(kind_, net::Family::V6) + HeaderTemplate::link_headroom) [[unlikely]] {
    return false;
  }
  const uint16_t inner_sum = checksum_ ? net::mbuf_sum(mbuf, l3_offset, l3_length) : uint16_t{0};
  const int growth =
      write<F>(rte_pktmbuf_mtod_offset(mbuf, uint8_t*, l3_offset), l3_length, flow_hash, inner_sum) - l3_offset;
  mbuf->data_off = static_cast<uint16_t>(mbuf->data_off - growth);
  mbuf->data_len = static_cast<uint16_t>(mbuf->data_len + growth);
  mbuf->pkt_len += static_cast<uint32_t>(growth);
  return true;
}

template <class F>
inline uint16_t HeaderTemplateV6::write(uint8_t* inner, uint16_t l3_length, uint64_t flow_hash,
                                        uint16_t inner_sum) const {
  const uint16_t prepended = overhead(kind_, net::Family::V6);
  uint8_t* const outer = inner - prepended;
  const uint32_t traffic_class = (net::IpHeader<F>::traffic_class(inner) & class_copied_) | class_fixed_;
  const uint32_t hops = (net::IpHeader<F>::ttl(inner) & hops_copied_) | hops_fixed_;
  constexpr uint32_t label_bits = 0xfffff;
  if (kind_ == Kind::Vxlan) {
    copy_before<longest_copy>(inner);
    patch_vxlan<F>(inner, l3_length, vxlan_source_port(flow_hash, port_first_, port_range_));
    if (checksum_) {
      const uint8_t* const udp = outer + net::ipv6_header_length;
      const uint16_t length = net::be16::from_host(static_cast<uint16_t>(l3_length + vxlan_length)).wire();
      const auto sum = static_cast<uint16_t>(
          ~net::checksum_fold(net::checksum_sum(udp, vxlan_length, uint64_t{pseudo_sum_} + length + inner_sum)));
      net::store(outer + net::ipv6_header_length + 6, sum == 0 ? uint16_t{0xffff} : sum);  // RFC 8200 section 8.1
    }
  } else {
    copy_before<48>(inner);
    outer[6] = ipip_protocol<F>;
  }
  net::store_be32(outer,
                  uint32_t{6} << 28 | traffic_class << 20 | (static_cast<uint32_t>(flow_hash >> 12) & label_bits));
  net::store_be16(outer + 4, static_cast<uint16_t>(l3_length + prepended - net::ipv6_header_length));
  outer[7] = static_cast<uint8_t>(hops);
  return prepended;
}

}  // namespace sluice::encap
