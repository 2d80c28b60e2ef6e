// CRC32c, the checksum of SCTP (RFC 9260 appendix A), by the processor's instructions.
#pragma once

#include <cstdint>

#include <rte_hash_crc.h>

#include "dataplane/net/headers.h"

namespace sluice::dataplane {

// As rte_hash_crc(), which reads whole words where they are not aligned.
inline uint32_t crc32c(const uint8_t* data, uint32_t length, uint32_t crc) {
  for (; length >= sizeof(uint64_t); length -= sizeof(uint64_t), data += sizeof(uint64_t)) {
    crc = rte_hash_crc_8byte(net::load<uint64_t>(data), crc);
  }
  for (; length != 0; --length) crc = rte_hash_crc_1byte(*data++, crc);
  return crc;
}

}  // namespace sluice::dataplane
