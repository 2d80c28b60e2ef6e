// What fragments may take while they wait for the first one of their datagram (FRAG-2), of one worker and one family.
#pragma once

#include <cstdint>

namespace sluice::dataplane {

struct FragmentLimits {
  uint32_t lifetime = 5000;            // milliseconds: of what waits, and of what is known of a datagram
  uint32_t pieces = 45;                // of a datagram; FragmentTable::most_pieces at most
  uint32_t held_buffers = UINT32_MAX;  // packet buffers of what waits; FragmentTable::most_held packets in any case

  friend bool operator==(const FragmentLimits&, const FragmentLimits&) = default;
};

}  // namespace sluice::dataplane
