#include "nat/snat.h"

#include <algorithm>
#include <numeric>

namespace sluice::nat {

PortRange in_class_of(be16 port, PortRange range) {
  constexpr uint16_t last_well_known = 1023;
  PortRange part = range;
  if (port.host() <= last_well_known) {
    part.last = std::min(part.last, last_well_known);
  } else {
    part.first = std::max(part.first, static_cast<uint16_t>(last_well_known + 1));
  }
  return part.size() == 0 ? range : part;
}

PortAllocator::PortAllocator(uint64_t seed, uint16_t workers)
    // The generator below never leaves zero.
    : state_(net::multiply_fold(seed ^ 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93) | 1),
      draws_(std::min(draws_per_worker * workers, most_draws)) {}

// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
uint64_t PortAllocator::random() {
  state_ ^= state_ >> 12;
  state_ ^= state_ << 25;
  state_ ^= state_ >> 27;
  return state_ * 0x2545f4914f6cdd1d;
}

PortAllocator::Walk PortAllocator::start(uint32_t size) {
  return {static_cast<uint16_t>((random() >> 32) * size >> 32), 0, size};
}

void PortAllocator::advance(Walk& walk, uint32_t size) {
  --walk.left;
  if (walk.left == 0) return;
  while (walk.stride == 0) {
    const uint32_t stride = 1 + static_cast<uint32_t>((random() >> 32) * (size - 1) >> 32);
    if (std::gcd(stride, size) == 1) walk.stride = static_cast<uint16_t>(stride);
  }
  walk.position = static_cast<uint16_t>((uint32_t{walk.position} + walk.stride) % size);
}

PortAllocator::Shortage* PortAllocator::find_shortage(PortRange range, uint64_t destination, Millis now) {
  Shortage& shortage = shortage_of(destination);
  if (shortage.range != range || shortage.destination != destination) return nullptr;
  if (now - shortage.since <= shortage_memory) return &shortage;
  shortage = {};
  return nullptr;
}

void PortAllocator::remember(PortRange range, uint64_t destination, const Walk& walk, Millis now) {
  shortage_of(destination) = {destination, range, walk, now, 0, {}};
}

void PortAllocator::release(uint64_t destination, be16 port) {
  Shortage& shortage = shortage_of(destination);
  if (shortage.destination != destination || !shortage.range.contains(port.host())) return;
  if (shortage.released_count == shortage.released.size()) {
    shortage = {};
    return;
  }
  shortage.released[shortage.released_count++] = port.host();
}

}  // namespace sluice::nat
