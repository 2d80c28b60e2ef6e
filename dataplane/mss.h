// The MSS option of TCP (RFC 9293 section 3.7.1), lowered so that whole segments fit the way (MTU-4): for paths on
// which "too big" does not arrive.
#pragma once

#include <cstdint>

#include "dataplane/net/headers.h"

namespace sluice::dataplane {

// The largest segment, in bytes of data, of a packet of at most `mtu` bytes without IP and TCP options.
template <class F>
[[nodiscard]] constexpr uint16_t mss_of(uint16_t mtu) {
  constexpr uint16_t headers = (F::is_v4 ? net::ipv4_header_length : net::ipv6_header_length) + net::tcp_header_length;
  return mtu > headers ? static_cast<uint16_t>(mtu - headers) : uint16_t{0};
}

// What every link takes (RFC 9293 section 3.7.1, RFC 8200 section 5).
template <class F>
inline constexpr uint16_t least_mss = F::is_v4 ? uint16_t{536} : mss_of<F>(1280);

// Lowers the option in the TCP header at `tcp` to `limit` and corrects the checksum. One that is lower or is not there
// stays as it is. The header with its options is in one piece and as long as it says (parse.h). Host byte order.
void clamp_mss(uint8_t* tcp, uint16_t limit);

}  // namespace sluice::dataplane
