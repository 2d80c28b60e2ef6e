// The Internet checksum over the buffers of one packet.
#pragma once

#include <algorithm>
#include <cstdint>

#include <rte_mbuf.h>

#include "dataplane/net/checksum.h"

namespace sluice::net {

// The ones'-complement sum of `length` bytes from `offset` on, folded, in frame byte order, in however many segments
// they lie; one that begins at an odd offset adds with its bytes swapped (RFC 1071 section 2 B). All of the bytes are
// there. (rte_raw_cksum_mbuf of DPDK 22.11 loses carries behind an odd boundary.)
[[nodiscard]] inline uint16_t mbuf_sum(const rte_mbuf* segment, uint32_t offset, uint32_t length) {
  uint64_t sum = 0;
  for (bool odd = false; length != 0; segment = segment->next) {
    const uint32_t left = segment->data_len;
    if (offset >= left) {
      offset -= left;
      continue;
    }
    const uint32_t here = std::min(left - offset, length);
    const uint16_t part = checksum_fold(checksum_sum(rte_pktmbuf_mtod_offset(segment, const uint8_t*, offset), here));
    sum += odd ? __builtin_bswap16(part) : part;
    odd = odd != ((here & 1) != 0);
    length -= here;
    offset = 0;
  }
  return checksum_fold(sum);
}

}  // namespace sluice::net
