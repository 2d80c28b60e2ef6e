// Asks the processor for memory before it is needed.
#pragma once

namespace sluice::net {

// The cache line at `address`, which need not be memory of ours. Not by __builtin_prefetch: g++ 12 takes a function
// that does nothing else for one without effect, and drops the calls to it.
[[gnu::always_inline]] inline void prefetch(const void* address) {
  asm volatile("prefetcht0 %0" : : "m"(*static_cast<const char*>(address)));
}

}  // namespace sluice::net
