// The calls of the API about what is looked for in connections.
#pragma once

#include "control/api.h"

namespace sluice::control {

[[nodiscard]] Awaitable<Response> get_content_policies(Router& router, Request request);

}  // namespace sluice::control
