#include "dataplane/l7/syn_cookie.h"

#include <array>
#include <cstring>

namespace sluice::l7 {
namespace {

// Ethernet, PPPoE, IPv6 over Ethernet, tunnels, jumbo frames.
constexpr std::array<uint16_t, 8> segment_sizes{536, 1220, 1300, 1360, 1400, 1440, 1460, 8900};

uint32_t index_of(uint16_t mss) {
  uint32_t index = 0;
  while (index + 1 < segment_sizes.size() && segment_sizes[index + 1] <= mss) ++index;
  return index;
}

}  // namespace

template <class F>
uint32_t SynCookies::hash(const net::FlowKey<F>& key, uint32_t client_isn, uint32_t bits, uint32_t count) const {
  struct {
    net::FlowKey<F> key;
    uint32_t isn, bits, count, zero;
  } input{key, client_isn, bits, count, 0};
  static_assert(sizeof input == sizeof(net::FlowKey<F>) + 16);
  return static_cast<uint32_t>(siphash(key_, &input, sizeof input)) & 0xffffff00;
}

template <class F>
uint32_t SynCookies::make(const net::FlowKey<F>& key, uint32_t client_isn, const TcpOffer& offer, uint32_t now) const {
  const uint32_t bits = index_of(offer.mss) << 5 | uint32_t{offer.scale} << 1 | uint32_t{offer.sack};
  return hash(key, client_isn, bits, now / period) | bits;
}

template <class F>
std::optional<TcpOffer> SynCookies::check(const net::FlowKey<F>& key, uint32_t client_isn, uint32_t cookie,
                                          uint32_t now) const {
  const uint32_t bits = cookie & 0xff;
  const uint32_t count = now / period;
  // Periods are counted modulo 2^16, as the clock is.
  const uint32_t previous = (count - 1) & (0xffffffff / period);
  const uint32_t shown = cookie & 0xffffff00;
  if (shown != hash(key, client_isn, bits, count) && shown != hash(key, client_isn, bits, previous))
    return std::nullopt;
  TcpOffer offer;
  offer.mss = segment_sizes[bits >> 5];
  offer.scale = bits >> 1 & 0xf;
  offer.sack = (bits & 1) != 0;
  return offer;
}

template <class F>
uint32_t SynCookies::timestamp_offset(const net::FlowKey<F>& key) const {
  constexpr uint32_t purpose = 0x74696d65;
  return hash(key, purpose, purpose, purpose);
}

template uint32_t SynCookies::make(const net::FlowKey<net::V4>&, uint32_t, const TcpOffer&, uint32_t) const;
template uint32_t SynCookies::make(const net::FlowKey<net::V6>&, uint32_t, const TcpOffer&, uint32_t) const;
template std::optional<TcpOffer> SynCookies::check(const net::FlowKey<net::V4>&, uint32_t, uint32_t, uint32_t) const;
template std::optional<TcpOffer> SynCookies::check(const net::FlowKey<net::V6>&, uint32_t, uint32_t, uint32_t) const;
template uint32_t SynCookies::timestamp_offset(const net::FlowKey<net::V4>&) const;
template uint32_t SynCookies::timestamp_offset(const net::FlowKey<net::V6>&) const;

}  // namespace sluice::l7
