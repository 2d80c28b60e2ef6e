// The calls of the API that are about addresses of pods and tunnels (ipam.h). Which path leads to which is told in
// routes.cpp.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/api.h"

namespace sluice::control {

Awaitable<Response> get_ipam_addresses(Router& router, Request request);
Awaitable<Response> post_ipam_addresses(Router& router, Request request);
Awaitable<Response> get_ipam_blocks(Router& router, Request request);
Awaitable<Response> get_ipam_handles(Router& router, Request request);
Awaitable<Response> get_ipam_handle(Router& router, Request request);
Awaitable<Response> delete_ipam_handle(Router& router, Request request);

// The handle in a decoded path "/v1/ipam/handles/HANDLE"; empty if it is no such path.
[[nodiscard]] std::optional<std::string> handle_of(std::string_view path);

// The body of POST /v1/ipam/addresses. Error: what is wrong with it, where.
[[nodiscard]] net::Result<ipam::Request> read_address_request(const std::string& body);

}  // namespace sluice::control
