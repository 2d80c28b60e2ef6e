// TCP segments that the router makes itself: resets, and its part of connections that are bound late.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/context.h"
#include "dataplane/net/flow_key.h"

namespace sluice::dataplane {

class Output;

// Host byte order. `options`: a multiple of 4 bytes, at most 40.
struct OwnSegment {
  uint8_t flags = 0;
  uint32_t seq = 0;
  uint32_t ack = 0;
  uint16_t window = 0;
  std::span<const uint8_t> options = {};
  std::span<const uint8_t> data = {};  // at most most_own_data
};
// What has room in one packet buffer whatever headers there are.
inline constexpr uint16_t most_own_data = 1800;

// From key.src to key.dst; the IP header is the first byte. nullptr: no buffer, which is counted.
template <class F>
[[nodiscard]] rte_mbuf* make_segment(Context& context, const net::FlowKey<F>& key, const OwnSegment& segment);

// By the route to key.dst, if there is one. `hash`: of the flow, for the choice of the way. False: it did not leave.
template <class F>
bool send_segment(Context& context, Output& output, const net::FlowKey<F>& key, const OwnSegment& segment,
                  uint64_t hash);

}  // namespace sluice::dataplane
