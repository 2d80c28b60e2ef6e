// Every call of the API in one table: what it takes, whether it changes anything, what it answers and what runs it. The
// server refuses by it, the OpenAPI document (openapi.h) is made from it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "control/api.h"

namespace sluice::control {

enum class Access : uint8_t { Read, Write };
enum class Body : uint8_t { None, Json, JsonOrLines };

struct Route {
  std::string_view path;
  std::string_view method;
  Access access = Access::Read;  // Write: it may change what the router does
  std::string_view parameters;   // allowed names, a space around each
  Body body = Body::None;
  // A schema of openapi_schemas.json, or a media type.
  std::string_view answer;
  std::string_view summary;
  Awaitable<Response> (*run)(Router&, Request) = nullptr;
};

// The path of a route that is about one object.
inline constexpr std::string_view object_path = "/v1/{kind}/{namespace}/{name}";

// The path of a route that is about one handle of addresses.
inline constexpr std::string_view handle_path = "/v1/ipam/handles/{handle}";

[[nodiscard]] std::span<const Route> routes();

}  // namespace sluice::control
