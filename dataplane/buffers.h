// Bytes from elsewhere into packet buffers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <rte_mbuf.h>

namespace sluice::dataplane {

// Appends bytes to the last buffer of a chain, and further buffers as they are needed. False: there are not enough;
// what was appended stays.
[[nodiscard]] inline bool append(rte_mbuf* head, const uint8_t* from, uint32_t length, rte_mempool* pool) {
  rte_mbuf* last = rte_pktmbuf_lastseg(head);
  while (length != 0) {
    const uint32_t piece = std::min<uint32_t>(length, rte_pktmbuf_tailroom(last));
    std::memcpy(rte_pktmbuf_mtod_offset(last, uint8_t*, last->data_len), from, piece);
    last->data_len = static_cast<uint16_t>(last->data_len + piece);
    head->pkt_len += piece;
    from += piece;
    length -= piece;
    if (length == 0) break;
    rte_mbuf* const further = rte_pktmbuf_alloc(pool);
    if (further == nullptr) return false;
    further->data_off = 0;
    last->next = further;
    last = further;
    ++head->nb_segs;
  }
  return true;
}

}  // namespace sluice::dataplane
