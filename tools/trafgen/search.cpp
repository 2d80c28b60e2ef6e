#include "tools/trafgen/search.h"

namespace sluice::trafgen {

SearchOutcome search_loss_free(const SearchSpec& spec, const std::function<bool(double)>& passes,
                               const std::function<bool()>& stopped) {
  if (passes(spec.highest)) return {spec.highest, true};
  double good = 0;
  double bad = spec.highest;
  const double width = spec.highest * spec.resolution / 100;
  while (bad - good > width && !stopped()) {
    const double middle = (good + bad) / 2;
    (passes(middle) ? good : bad) = middle;
  }
  return {good, good > 0};
}

}  // namespace sluice::trafgen
