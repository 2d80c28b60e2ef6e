// The calls of the API that show what the router does to packets. Which path leads to which is told in api.cpp.
#pragma once

#include "control/api.h"

namespace sluice::control {

Awaitable<Response> post_explain(Router& router, Request request);
Awaitable<Response> get_trace(Router& router, Request request);
Awaitable<Response> get_capture(Router& router, Request request);

[[nodiscard]] boost::json::value to_json(const Explanation& explanation);
// The body of POST /v1/explain. Error: which field is wrong.
[[nodiscard]] net::Result<Probe> read_probe(const std::string& body);

}  // namespace sluice::control
