#include "dataplane/mss.h"

#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_options.h"

namespace sluice::dataplane {

void clamp_mss(uint8_t* tcp, uint16_t limit) {
  constexpr unsigned checksum_at = 16;
  const unsigned header = (tcp[12] >> 4) * 4U;
  if (header <= net::tcp_header_length) return;
  uint8_t* const options = tcp + net::tcp_header_length;
  net::for_each_tcp_option(options, header - net::tcp_header_length, [&](uint8_t kind, uint8_t* value, uint8_t length) {
    if (kind != net::tcp_option::mss || length != sizeof(uint16_t)) return;
    const auto before = net::load<uint16_t>(value);
    if (net::be16::from_wire(before).host() <= limit) return;
    const uint16_t after = net::be16::from_host(limit).wire();
    net::store(value, after);
    // A value at an odd offset is the low byte of one word and the high byte of the next (RFC 1071 section 2 B).
    const bool odd = ((value - tcp) & 1) != 0;
    net::ChecksumDelta delta;
    delta.replace16(odd ? __builtin_bswap16(before) : before, odd ? __builtin_bswap16(after) : after);
    net::store(tcp + checksum_at, delta.apply(net::load<uint16_t>(tcp + checksum_at)));
  });
}

}  // namespace sluice::dataplane
