// The API's description for programs: OpenAPI 3.1, made from the table of routes (routes.h) and the schemas of
// openapi_schemas.json; and the JSON Schemas of the kinds that are sluice's own.
#pragma once

#include <string>

#include "control/api.h"

namespace sluice::control {

// `version`: of the router.
[[nodiscard]] std::string openapi_document(std::string_view version);
[[nodiscard]] std::string_view gateway_schema();  // of GatewayConfiguration
[[nodiscard]] std::string_view content_schema();  // of ContentPolicy

Awaitable<Response> get_openapi(Router& router, Request request);
Awaitable<Response> get_gateway_schema(Router& router, Request request);
Awaitable<Response> get_content_schema(Router& router, Request request);

}  // namespace sluice::control
