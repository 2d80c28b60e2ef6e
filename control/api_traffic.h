// The calls of the API that are about traffic rather than configuration: tracked connections, drained endpoints. Which
// path leads to which is told in api.cpp.
#pragma once

#include "control/api.h"

namespace sluice::control {

Awaitable<Response> get_conntrack(Router& router, Request request);
Awaitable<Response> delete_conntrack(Router& router, Request request);
Awaitable<Response> watch_conntrack(Router& router, Request request);

Awaitable<Response> get_drains(Router& router, Request request);
Awaitable<Response> put_drain(Router& router, Request request);
Awaitable<Response> delete_drain(Router& router, Request request);

}  // namespace sluice::control
