// What a person makes of a drop: what it means and what to do about it.
#pragma once

#include <string_view>

#include "dataplane/net/verdict.h"

namespace sluice::control {

// One or two sentences without a full stop at the end.
[[nodiscard]] std::string_view advice(net::DropReason reason);

}  // namespace sluice::control
