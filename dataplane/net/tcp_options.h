// TCP options (RFC 9293 section 3.1) as they lie in a header.
#pragma once

#include <cstdint>

namespace sluice::net {

// Kinds: IANA, "TCP Option Kind Numbers".
namespace tcp_option {
inline constexpr uint8_t end = 0;
inline constexpr uint8_t nop = 1;
inline constexpr uint8_t mss = 2;
inline constexpr uint8_t window_scale = 3;
inline constexpr uint8_t sack_permitted = 4;
inline constexpr uint8_t sack = 5;
inline constexpr uint8_t timestamp = 8;  // RFC 7323 section 3.2
}  // namespace tcp_option

// Calls fn(kind, value, length of value) for each option in `length` bytes; stops at the end of options or at one that
// is malformed, as receivers do. Byte may be const.
template <class Byte, class Fn>
void for_each_tcp_option(Byte* options, uint32_t length, Fn fn) {
  for (uint32_t at = 0; at < length && options[at] != tcp_option::end;) {
    const uint8_t kind = options[at];
    if (kind == tcp_option::nop) {
      ++at;
      continue;
    }
    if (at + 2 > length) return;
    const uint8_t whole = options[at + 1];
    if (whole < 2 || at + whole > length) return;
    fn(kind, options + at + 2, static_cast<uint8_t>(whole - 2));
    at += whole;
  }
}

}  // namespace sluice::net
