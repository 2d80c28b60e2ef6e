// The call of the API that tells what happened to the router itself. Which path leads to it is told in api.cpp.
#pragma once

#include "control/api.h"

namespace sluice::control {

Awaitable<Response> get_events(Router& router, Request request);

}  // namespace sluice::control
