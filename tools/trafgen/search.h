// RFC 2544 section 26.1: the highest rate without loss, by binary search.
#pragma once

#include <functional>
#include <vector>

namespace sluice::trafgen {

struct SearchSpec {
  double highest = 0;     // packets per second, all streams together
  double resolution = 1;  // percent of `highest`
};

struct SearchOutcome {
  double rate = 0;  // 0: even the lowest rate tried lost packets
  bool found = false;
};

// `passes(rate)` runs one trial; it may return false to say no, and is not called again once `stopped()`.
[[nodiscard]] SearchOutcome search_loss_free(const SearchSpec& spec, const std::function<bool(double)>& passes,
                                             const std::function<bool()>& stopped);

}  // namespace sluice::trafgen
