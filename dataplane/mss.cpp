#include "dataplane/mss.h"

#include "dataplane/net/checksum.h"

namespace sluice::dataplane {
namespace {

constexpr uint8_t option_end = 0;
constexpr uint8_t option_nop = 1;
constexpr uint8_t option_mss = 2;
constexpr uint8_t mss_length = 4;
constexpr unsigned checksum_at = 16;

}  // namespace

void clamp_mss(uint8_t* tcp, uint16_t limit) {
  const unsigned end = (tcp[12] >> 4) * 4U;
  for (unsigned at = net::tcp_header_length; at + 1 < end && tcp[at] != option_end;) {
    if (tcp[at] == option_nop) {
      ++at;
      continue;
    }
    const unsigned length = tcp[at + 1];
    if (length < 2 || at + length > end) return;  // the receiver reads no further either
    if (tcp[at] == option_mss && length == mss_length) {
      const unsigned value_at = at + 2;
      const auto before = net::load<uint16_t>(tcp + value_at);
      if (net::be16::from_wire(before).host() <= limit) return;
      const uint16_t after = net::be16::from_host(limit).wire();
      net::store(tcp + value_at, after);
      // A value at an odd offset is the low byte of one word and the high byte of the next (RFC 1071 section 2 B).
      const bool odd = (value_at & 1) != 0;
      net::ChecksumDelta delta;
      delta.replace16(odd ? __builtin_bswap16(before) : before, odd ? __builtin_bswap16(after) : after);
      net::store(tcp + checksum_at, delta.apply(net::load<uint16_t>(tcp + checksum_at)));
      return;
    }
    at += length;
  }
}

}  // namespace sluice::dataplane
