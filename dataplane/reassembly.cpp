#define ALLOW_EXPERIMENTAL_API  // rte_ip_frag_table_del_expired_entries in DPDK 22.11
#include "dataplane/reassembly.h"

#include <string>

#include <rte_errno.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4_options.h"

namespace sluice::dataplane {
namespace {

constexpr nat::Millis expiry_interval = 100;
constexpr uint32_t buckets = 32;
constexpr uint32_t bucket_entries = 8;  // a power of two

}  // namespace

net::Result<std::unique_ptr<Reassembly>> Reassembly::create() {
  rte_ip_frag_tbl* const table =
      rte_ip_frag_table_create(buckets, bucket_entries, most_datagrams, lifetime, SOCKET_ID_ANY);
  if (table == nullptr) {
    return net::Error{std::string("the table of fragments could not be allocated: ") + rte_strerror(rte_errno)};
  }
  return std::unique_ptr<Reassembly>(new Reassembly(table));
}

uint64_t Reassembly::clock(nat::Millis now) {
  clock_ += static_cast<uint64_t>(static_cast<uint32_t>(now - read_));
  read_ = now;
  return clock_;
}

template <class F>
rte_mbuf* Reassembly::add(const net::FlowPacket<F>& packet, nat::Millis now) {
  rte_mbuf* const mbuf = packet.mbuf;
  uint8_t* const l3 = packet.l3_header();
  mbuf->l2_len = packet.l3;
  mbuf->l3_len = static_cast<uint16_t>(packet.l4 - packet.l3);
  used_ = true;
  rte_mbuf* whole = nullptr;
  if constexpr (F::is_v4) {
    whole = rte_ipv4_frag_reassemble_packet(table_, &dead_, mbuf, clock(now), reinterpret_cast<rte_ipv4_hdr*>(l3));
  } else {
    // Only a fragment header right behind the IPv6 header is known there.
    if (l3[6] != net::protocol::fragment || packet.l4 != packet.l3 + net::ipv6_header_length + 8) {
      dead_.row[dead_.cnt++] = mbuf;
      return nullptr;
    }
    whole = rte_ipv6_frag_reassemble_packet(table_, &dead_, mbuf, clock(now), reinterpret_cast<rte_ipv6_hdr*>(l3),
                                            reinterpret_cast<rte_ipv6_fragment_ext*>(l3 + net::ipv6_header_length));
  }
  if (whole == nullptr) return nullptr;
  (void)rte_pktmbuf_linearize(whole);
  if constexpr (F::is_v4) {
    auto* const header = rte_pktmbuf_mtod_offset(whole, uint8_t*, packet.l3);
    net::store(header + 10, uint16_t{0});
    net::store(header + 10, net::checksum(header, net::ipv4_length_of(header)));
  }
  return whole;
}

template rte_mbuf* Reassembly::add<net::V4>(const net::FlowPacket<net::V4>&, nat::Millis);
template rte_mbuf* Reassembly::add<net::V6>(const net::FlowPacket<net::V6>&, nat::Millis);

void Reassembly::expire(nat::Millis now) {
  if (!used_ || nat::millis_between(next_expiry_, now) < 0) return;
  next_expiry_ = now + expiry_interval;
  rte_ip_frag_table_del_expired_entries(table_, &dead_, clock(now));
}

}  // namespace sluice::dataplane
