// The calls of the API about Ingresses.
#pragma once

#include "control/api.h"

namespace sluice::control {

[[nodiscard]] Awaitable<Response> get_ingress(Router& router, Request request);

}  // namespace sluice::control
