// The connection tables of one worker, one per address family.
#pragma once

#include <memory>

#include "nat/conntrack.h"

namespace sluice::dataplane {

struct Connections {
  std::unique_ptr<nat::Conntrack<net::V4>> v4;
  std::unique_ptr<nat::Conntrack<net::V6>> v6;

  template <class F>
  [[nodiscard]] nat::Conntrack<F>& of() const {
    if constexpr (F::is_v4) {
      return *v4;
    } else {
      return *v6;
    }
  }
};

}  // namespace sluice::dataplane
