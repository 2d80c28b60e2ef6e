// Translation of one packet: addresses, ports or ICMP identifier, and what they do to the checksums.
//
// A flow's first packet computes a `Rewrite` once: the new fields and the checksum deltas of RFC 1624. Every
// packet then is stores and additions: the addresses as one vector, the ports as one word, the IPv4 header
// checksum, the layer 4 checksum. What enters which checksum (CSUM-3):
//
//   IPv4 header    addresses
//   TCP, UDP       addresses (pseudo header) and ports; UDP's 0 is no checksum and stays 0 (CSUM-2)
//   ICMPv6         addresses (pseudo header) and identifier
//   ICMPv4         identifier only
//   SCTP           CRC32c over ports and payload: no addresses, so without a change of ports nothing happens
//                  (SVC-97)
//   anything else  nothing: only addresses are translated (CT-37)
//
// Everything is incremental, so a packet that came with a bad checksum leaves with a bad checksum.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "nat/flow.h"

namespace sluice::nat {

// The rewrite that turns packets with key `from` into packets with the given fields. For a protocol without ports
// and for ICMP other than echo the ports must repeat the key's.
template <class F>
[[nodiscard]] Rewrite<F> make_rewrite(const FlowKey<F>& from, const typename F::Addr& src, const typename F::Addr& dst,
                                      be16 src_port, be16 dst_port);

// The key of a packet after translation. Its reversed() is the key that the other direction arrives with.
template <class F>
[[nodiscard]] FlowKey<F> rewritten_key(const FlowKey<F>& from, const Rewrite<F>& rewrite) {
  return {rewrite.src, rewrite.dst, rewrite.src_port, rewrite.dst_port, from.protocol, {}};
}

// Layer 4 of everything but TCP and UDP; called by apply().
template <class F>
void apply_other(const Rewrite<F>& rewrite, const uint8_t* l3, uint8_t* l4, uint8_t protocol);

// Of the first byte of the word at offset 8 of an IPv4 header.
inline constexpr auto one_hop_less =
    net::ChecksumDelta{}.replace(net::be16::from_host(0x0100), net::be16::from_host(0));

// TTL-1, hop limit: one less.
template <class F>
inline void decrement_ttl(uint8_t* l3) {
  if constexpr (F::is_v4) {
    --l3[8];
    net::store(l3 + 10, one_hop_less.apply(net::load<uint16_t>(l3 + 10)));
  } else {
    --l3[7];
  }
}

// Addresses, without the checksum of the IPv4 header.
template <class F>
[[gnu::always_inline]] inline void write_addresses(const Tuple<F>& to, uint8_t* l3) {
  static_assert(offsetof(Tuple<F>, src) == 0 && offsetof(Tuple<F>, dst) == sizeof(typename F::Addr));
  std::memcpy(l3 + (F::is_v4 ? 12 : 8), &to, 2 * sizeof(typename F::Addr));
}

// Ports, without a checksum.
template <class F>
[[gnu::always_inline]] inline void write_ports(const Tuple<F>& to, uint8_t* l4) {
  static_assert(offsetof(Tuple<F>, dst_port) == offsetof(Tuple<F>, src_port) + 2);
  std::memcpy(l4, reinterpret_cast<const uint8_t*>(&to) + offsetof(Tuple<F>, src_port), 4);
}

// The checksum of TCP or UDP.
template <uint8_t protocol>
[[gnu::always_inline]] inline void adjust_l4(net::ChecksumDelta delta, uint8_t* l4) {
  static_assert(protocol == net::protocol::tcp || protocol == net::protocol::udp);
  constexpr bool udp = protocol == net::protocol::udp;
  uint8_t* const field = l4 + (udp ? 6 : 16);
  const auto checksum = net::load<uint16_t>(field);
  net::store(field, udp ? net::apply_udp(delta, checksum) : delta.apply(checksum));
}

// Rewrites a packet whose IP header is at `l3` and whose L4 header, complete, is at `l4`: nullptr for later
// fragments. `protocol` is that of layer 4. The lengths in the IP header are believed (SCTP needs them).
template <class F>
inline void apply(const Rewrite<F>& rewrite, uint8_t* l3, uint8_t* l4, uint8_t protocol) {
  write_addresses<F>(rewrite, l3);
  if constexpr (F::is_v4) net::store(l3 + 10, rewrite.l3.apply(net::load<uint16_t>(l3 + 10)));
  if (l4 == nullptr) return;
  if (protocol == net::protocol::udp) {
    write_ports<F>(rewrite, l4);
    adjust_l4<net::protocol::udp>(rewrite.l4, l4);
  } else if (protocol == net::protocol::tcp) {
    write_ports<F>(rewrite, l4);
    adjust_l4<net::protocol::tcp>(rewrite.l4, l4);
  } else {
    apply_other(rewrite, l3, l4, protocol);
  }
}

// decrement_ttl() and what `delta` does to the IPv4 header's checksum.
template <class F>
[[gnu::always_inline]] inline void adjust_l3_and_decrement_ttl(net::ChecksumDelta delta, uint8_t* l3) {
  if constexpr (F::is_v4) {
    --l3[8];
    net::store(l3 + 10, one_hop_less.apply(delta.apply(net::load<uint16_t>(l3 + 10))));
  } else {
    decrement_ttl<F>(l3);
  }
}

// apply() and decrement_ttl() at once, for a packet that is no later fragment and no TCP that keeps_numbers().
template <class F>
[[gnu::always_inline]] inline void apply_and_decrement_ttl(const Flow<F>& flow, uint8_t* l3, uint8_t* l4,
                                                           uint8_t protocol) {
  write_addresses<F>(flow.tuple, l3);
  adjust_l3_and_decrement_ttl<F>(flow.l3, l3);
  if (protocol == net::protocol::udp) {
    write_ports<F>(flow.tuple, l4);
    adjust_l4<net::protocol::udp>(flow.l4, l4);
  } else {
    apply_other<F>({flow.tuple, flow.l3, flow.l4}, l3, l4, protocol);
  }
}

// The same for TCP that keeps_numbers(). `answer`: the opposite direction's key.
template <class F>
[[gnu::always_inline]] inline void apply_tcp_and_decrement_ttl(const Flow<F>& flow, const FlowKey<F>& answer,
                                                               uint8_t* l3, uint8_t* l4) {
  if constexpr (F::is_v4) {
    uint64_t addresses = 0;
    std::memcpy(&addresses, &answer.src, sizeof addresses);
    net::store(l3 + 12, std::rotl(addresses, 32));
  } else {
    const typename F::Addr to[2] = {answer.dst, answer.src};
    std::memcpy(l3 + 8, to, sizeof to);
  }
  uint32_t ports = 0;
  std::memcpy(&ports, &answer.src_port, sizeof ports);
  net::store(l4, std::rotl(ports, 16));
  adjust_l3_and_decrement_ttl<F>(flow.l3, l3);
  adjust_l4<net::protocol::tcp>(flow.l4, l4);
}

}  // namespace sluice::nat
