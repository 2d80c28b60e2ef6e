// How work that falls apart into independent pieces is done, without knowing by whom.
#pragma once

#include <cstddef>
#include <functional>

namespace sluice::config {

// Does work(0) … work(count - 1), each once, in any order and maybe several at once; returns when all are done. `work`
// throws nothing.
using Spread = std::function<void(size_t count, const std::function<void(size_t)>& work)>;

inline void one_after_the_other(size_t count, const std::function<void(size_t)>& work) {
  for (size_t index = 0; index < count; ++index) work(index);
}

}  // namespace sluice::config
