// What a port has found out about the checksum behind the IP header.
#pragma once

#include <rte_mbuf.h>

namespace sluice::net {

// It is wrong: the receiver will refuse the packet (CT-21).
[[nodiscard]] inline bool is_l4_damaged(const rte_mbuf* mbuf) {
  return (mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD;
}

}  // namespace sluice::net
