// The calls of the API that show the router's state. Which path leads to which is told in routes.cpp.
#pragma once

#include "control/api.h"

namespace sluice::control {

Awaitable<Response> get_status(Router& router, Request request);
Awaitable<Response> get_counters(Router& router, Request request);
Awaitable<Response> get_neighbors(Router& router, Request request);
Awaitable<Response> get_services(Router& router, Request request);
Awaitable<Response> get_version(Router& router, Request request);
Awaitable<Response> get_routes(Router& router, Request request);
Awaitable<Response> get_alive(Router& router, Request request);
Awaitable<Response> get_ready(Router& router, Request request);
Awaitable<Response> get_metrics(Router& router, Request request);

}  // namespace sluice::control
