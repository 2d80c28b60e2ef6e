// The calls of the API that read and change the configuration. Which path leads to which is told in routes.cpp.
#pragma once

#include "control/api.h"

namespace sluice::control {

// Of /v1/{kind}/{namespace}/{name}. Empty if the path has another form, names no kind of ours, or a namespace for a
// kind that has none.
[[nodiscard]] std::optional<config::ObjectKey> object_key(std::string_view path);

Awaitable<Response> replace_config(Router& router, Request request);
Awaitable<Response> patch_config(Router& router, Request request);
Awaitable<Response> validate_config(Router& router, Request request);
Awaitable<Response> get_config(Router& router, Request request);
Awaitable<Response> get_object(Router& router, Request request);
Awaitable<Response> put_object(Router& router, Request request);
Awaitable<Response> delete_object(Router& router, Request request);

}  // namespace sluice::control
