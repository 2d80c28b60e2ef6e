// The calls of the API about load balancer addresses.
#pragma once

#include "control/api.h"

namespace sluice::control {

[[nodiscard]] Awaitable<Response> get_load_balancers(Router& router, Request request);
[[nodiscard]] Awaitable<Response> get_l2(Router& router, Request request);

}  // namespace sluice::control
