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
// Everything is incremental, so a packet that came with a bad checksum leaves with a bad checksum. TTL is not
// touched here.
#pragma once

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

// Rewrites a packet whose IP header is at `l3` and whose L4 header, complete, is at `l4`: nullptr for later
// fragments. `protocol` is that of layer 4. The lengths in the IP header are believed (SCTP needs them).
template <class F>
inline void apply(const Rewrite<F>& rewrite, uint8_t* l3, uint8_t* l4, uint8_t protocol) {
  static_assert(offsetof(Rewrite<F>, src) == 0 && offsetof(Rewrite<F>, dst) == sizeof(typename F::Addr));
  static_assert(offsetof(Rewrite<F>, dst_port) == offsetof(Rewrite<F>, src_port) + 2);
  const auto* const fields = reinterpret_cast<const uint8_t*>(&rewrite);
  if constexpr (F::is_v4) {
    std::memcpy(l3 + 12, fields, 8);
    net::store(l3 + 10, rewrite.l3.apply(net::load<uint16_t>(l3 + 10)));
  } else {
    std::memcpy(l3 + 8, fields, 32);
  }
  if (l4 == nullptr) return;
  const bool udp = protocol == net::protocol::udp;
  if (!udp && protocol != net::protocol::tcp) {
    apply_other(rewrite, l3, l4, protocol);
    return;
  }
  std::memcpy(l4, fields + offsetof(Rewrite<F>, src_port), 4);
  uint8_t* const field = l4 + (udp ? 6 : 16);
  const auto checksum = net::load<uint16_t>(field);
  net::store(field, udp ? net::apply_udp(rewrite.l4, checksum) : rewrite.l4.apply(checksum));
}

}  // namespace sluice::nat
