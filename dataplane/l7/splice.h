// Two connections made one: the client's with the router and the router's with the endpoint. The client's sequence
// numbers are the same in both; the endpoint's differ by a constant, as do its timestamps (RFC 7323), and its windows
// may be scaled otherwise than the client was told.
#pragma once

#include <algorithm>
#include <cstdint>

#include "dataplane/l7/tcp_offer.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice::l7 {

// What every client is told that scales its windows.
inline constexpr uint8_t own_scale = 7;

// Host byte order. `seq` and `timestamp` are added to the endpoint's numbers for the client.
struct Splice {
  uint32_t seq = 0;
  uint32_t timestamp = 0;
  uint8_t client_scale = no_scale;  // no_scale: neither end scales
  uint8_t endpoint_scale = no_scale;
};

// A window of the endpoint as the client must read it, rounded down.
[[nodiscard]] inline uint16_t window_to_client(const Splice& splice, uint16_t window) {
  if (splice.client_scale == no_scale || splice.endpoint_scale == own_scale) return window;
  const uint8_t scale = splice.endpoint_scale == no_scale ? uint8_t{0} : splice.endpoint_scale;
  return static_cast<uint16_t>(std::min<uint32_t>((uint32_t{window} << scale) >> own_scale, 0xffff));
}
// A window of the client as an endpoint must read it that does not scale.
[[nodiscard]] inline uint16_t window_to_endpoint(const Splice& splice, uint16_t window) {
  if (splice.client_scale == no_scale || splice.endpoint_scale != no_scale) return window;
  return static_cast<uint16_t>(std::min<uint32_t>(uint32_t{window} << splice.client_scale, 0xffff));
}

// Sequence number and window of what an endpoint says, as the client is told. The checksum stays.
inline void renumber(const Splice& splice, uint8_t* tcp) {
  net::store_be32(tcp + 4, net::load_be32(tcp + 4) + splice.seq);
  net::store_be16(tcp + 14, window_to_client(splice, net::load_be16(tcp + 14)));
}

// Changes the numbers in a TCP header of `length` bytes, options included, and its checksum by the difference.
void to_client(const Splice& splice, uint8_t* tcp, uint32_t length);
void to_endpoint(const Splice& splice, uint8_t* tcp, uint32_t length);

}  // namespace sluice::l7
