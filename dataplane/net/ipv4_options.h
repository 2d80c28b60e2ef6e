// Options of IPv4 headers (RFC 791 section 3.1), as far as a router that forwards them has to know them.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "dataplane/net/headers.h"

namespace sluice::net {

inline constexpr uint16_t most_ipv4_header = 60;

namespace ipv4_option {
inline constexpr uint8_t end = 0;
inline constexpr uint8_t no_operation = 1;
inline constexpr uint8_t loose_source_route = 131;
inline constexpr uint8_t strict_source_route = 137;
inline constexpr uint8_t copied = 0x80;  // of an option's type: it is in every fragment, not in the first alone
}  // namespace ipv4_option

// The length in bytes of the IPv4 header at `l3`.
[[nodiscard]] inline uint16_t ipv4_length_of(const uint8_t* l3) { return static_cast<uint16_t>((l3[0] & 0xf) * 4); }

// Bytes of the option at `at`, which is not the end, in a header of `header` bytes. 0: it does not end there.
[[nodiscard]] inline uint16_t option_size(const uint8_t* l3, uint16_t at, uint16_t header) {
  if (l3[at] == ipv4_option::no_operation) return 1;
  const uint16_t size = at + 1 < header ? l3[at + 1] : 0;
  return size >= 2 && at + size <= header ? size : uint16_t{0};
}

// Source routes lead around every filter (RFC 7126 sections 4.3 and 4.4), and options that do not add up could hide
// one. Any other option is carried as it is, as by a router that does not know it.
[[nodiscard]] inline bool may_be_forwarded(const uint8_t* l3, uint16_t header) {
  for (uint16_t at = ipv4_header_length; at < header && l3[at] != ipv4_option::end;) {
    if (l3[at] == ipv4_option::loose_source_route || l3[at] == ipv4_option::strict_source_route) return false;
    const uint16_t size = option_size(l3, at, header);
    if (size == 0) return false;
    at = static_cast<uint16_t>(at + size);
  }
  return true;
}

// The header of all fragments but the first, of a packet that may be forwarded: only some options are copied. Writes
// it to `out`, returns its length.
[[nodiscard]] inline uint16_t later_header(const uint8_t* l3, std::array<uint8_t, most_ipv4_header>& out) {
  const uint16_t header = ipv4_length_of(l3);
  out = {};  // what is left of the last word: the end
  std::memcpy(out.data(), l3, ipv4_header_length);
  uint16_t length = ipv4_header_length;
  for (uint16_t at = ipv4_header_length; at < header && l3[at] != ipv4_option::end;) {
    const uint16_t size = option_size(l3, at, header);
    if (size == 0) break;
    if ((l3[at] & ipv4_option::copied) != 0) {
      std::memcpy(&out[length], l3 + at, size);
      length = static_cast<uint16_t>(length + size);
    }
    at = static_cast<uint16_t>(at + size);
  }
  length = static_cast<uint16_t>((length + 3) & ~3);
  out[0] = static_cast<uint8_t>(0x40 | length / 4);
  return length;
}

}  // namespace sluice::net
