// The call of the API that shows BGP. Which path leads to it is told in routes.cpp.
#pragma once

#include "control/api.h"

namespace sluice::control {

Awaitable<Response> get_bgp(Router& router, Request request);

}  // namespace sluice::control
