// The header of the PROXY protocol, version 2: it tells an endpoint, before the first byte of the connection, which
// client it has (HAProxy, "The PROXY protocol", section 2.2).
#pragma once

#include <cstdint>
#include <cstring>

#include "dataplane/net/flow_key.h"
#include "dataplane/net/headers.h"

namespace sluice::l7 {

template <class F>
inline constexpr uint32_t proxy_header_length = 16 + 2 * sizeof(typename F::Addr) + 4;
inline constexpr uint32_t most_proxy_header = 16 + 32 + 4;

// `key`: of the client's packets, before translation. `out` has room for proxy_header_length<F>.
template <class F>
inline void write_proxy_header(uint8_t* out, const net::FlowKey<F>& key) {
  constexpr uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
  constexpr uint8_t version_2_proxy = 0x21;
  constexpr uint8_t tcp_over_v4 = 0x11;
  constexpr uint8_t tcp_over_v6 = 0x21;
  constexpr size_t address = sizeof(typename F::Addr);
  std::memcpy(out, signature, sizeof signature);
  out[12] = version_2_proxy;
  out[13] = F::is_v4 ? tcp_over_v4 : tcp_over_v6;
  net::store_be16(out + 14, 2 * address + 4);
  std::memcpy(out + 16, &key.src, address);
  std::memcpy(out + 16 + address, &key.dst, address);
  net::store(out + 16 + 2 * address, key.src_port.wire());
  net::store(out + 18 + 2 * address, key.dst_port.wire());
}

}  // namespace sluice::l7
