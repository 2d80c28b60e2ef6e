#include "control/api_state.h"

#include <algorithm>

#include <boost/json.hpp>

#include "control/metrics.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

Response text_response(unsigned status, std::string text) {
  return {status, "text/plain; charset=utf-8", std::move(text), {}};
}

}  // namespace

Awaitable<Response> get_status(Router& router, Request) { co_return json_response(to_json(router.status())); }
Awaitable<Response> get_counters(Router& router, Request) { co_return json_response(to_json(router.counters())); }

Awaitable<Response> get_neighbors(Router& router, Request) {
  co_return json_response(json::object{{"neighbors", to_json(router.neighbors())}});
}

Awaitable<Response> get_services(Router& router, Request) {
  co_return json_response(json::object{{"services", to_json(router.services())}});
}

Awaitable<Response> get_version(Router& router, Request) {
  co_return json_response(json::object{{"version", router.status().version}, {"api", "v1"}});
}

Awaitable<Response> get_routes(Router& router, Request request) {
  Query query(request.query);
  const auto to = query.address("to");
  if (!query.complaint().empty()) co_return error_response(400, query.complaint());
  std::vector<RouteEntry> routes = router.routes();
  if (to) {
    std::erase_if(routes, [&](const RouteEntry& route) { return !route.destination.contains(*to); });
    uint8_t longest = 0;
    for (const RouteEntry& route : routes) longest = std::max(longest, route.destination.length);
    std::erase_if(routes, [&](const RouteEntry& route) { return route.destination.length != longest; });
  }
  co_return json_response(json::object{{"routes", to_json(routes)}});
}

Awaitable<Response> get_alive(Router&, Request) { co_return text_response(200, "ok\n"); }

Awaitable<Response> get_ready(Router& router, Request) {
  if (router.status().ready) co_return text_response(200, "ok\n");
  co_return text_response(503, "not ready: no full configuration is applied\n");
}

Awaitable<Response> get_metrics(Router& router, Request) {
  co_return Response{200,
                     std::string(metrics_content_type),
                     render_metrics(router.status(), router.counters(), router.measurements(), router.events().counts(),
                                    router.bgp(), router.totals()),
                     {}};
}

}  // namespace sluice::control
