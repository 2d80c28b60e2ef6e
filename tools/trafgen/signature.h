// What the generator writes at the beginning of every payload, and by which it knows its packets again: stream,
// flow, direction, sequence, time of sending, and a guard over all of it with a key of the run.
#pragma once

#include <cstdint>
#include <nmmintrin.h>

#include "dataplane/net/headers.h"

namespace sluice::trafgen {

inline constexpr uint16_t signature_length = 16;
inline constexpr unsigned max_streams = 128;
// Timestamps are of the TSC, shifted right: 3 ns apart at 2.4 GHz, and 14 s until they begin anew.
inline constexpr unsigned stamp_shift = 3;

[[nodiscard]] inline uint32_t stamp_of(uint64_t tsc) { return static_cast<uint32_t>(tsc >> stamp_shift); }

struct Signature {
  uint32_t id = 0;  // answer 1 bit, stream 7, flow 24
  uint32_t sequence = 0;
  uint32_t stamp = 0;
  uint32_t guard = 0;

  static Signature make(uint32_t stream, uint32_t flow, bool answer, uint32_t sequence, uint32_t stamp, uint32_t key) {
    Signature out{(answer ? 1U << 31 : 0) | stream << 24 | flow, sequence, stamp, 0};
    out.guard = out.expected_guard(key);
    return out;
  }
  static Signature read(const void* from) { return net::load<Signature>(from); }
  void write(void* to) const { net::store(to, *this); }

  [[nodiscard]] uint32_t stream() const { return id >> 24 & 0x7f; }
  [[nodiscard]] uint32_t flow() const { return id & 0xffffff; }
  [[nodiscard]] bool answer() const { return id >> 31 != 0; }
  [[nodiscard]] bool genuine(uint32_t key) const { return guard == expected_guard(key); }
  // As the Internet checksum adds it up.
  [[nodiscard]] uint64_t sum() const { return uint64_t{id} + sequence + stamp + guard; }

 private:
  [[nodiscard]] uint32_t expected_guard(uint32_t key) const {
    const uint64_t first = _mm_crc32_u64(key, uint64_t{id} << 32 | sequence);
    return static_cast<uint32_t>(_mm_crc32_u32(static_cast<uint32_t>(first), stamp)) ^ 0x51c37a9e;
  }
};
static_assert(sizeof(Signature) == signature_length);

}  // namespace sluice::trafgen
