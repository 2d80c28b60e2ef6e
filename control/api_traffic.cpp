#include "control/api_traffic.h"

#include <limits>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::control {
namespace {

namespace json = boost::json;

constexpr size_t default_flow_limit = 1000;

}  // namespace

// ---- connections -------------------------------------------------------------------------------------

Awaitable<Response> get_conntrack(Router& router, Request request) {
  Query query(request.query);
  FlowFilter filter = query.flow_filter(default_flow_limit);
  if (!query.complaint().empty()) co_return error_response(400, query.complaint());
  const size_t limit = filter.limit++;  // one more tells whether there are more
  std::vector<FlowEntry> flows = co_await router.flows(std::move(filter));
  const bool truncated = flows.size() > limit;
  if (truncated) flows.resize(limit);
  co_return json_response(json::object{{"truncated", truncated}, {"flows", to_json(flows)}});
}

Awaitable<Response> delete_conntrack(Router& router, Request request) {
  Query query(request.query);
  FlowFilter filter = query.flow_filter(std::numeric_limits<size_t>::max());
  const bool all = query.flag("all");
  if (!query.complaint().empty()) co_return error_response(400, query.complaint());
  const bool narrow =
      filter.src || filter.dst || filter.src_port || filter.dst_port || filter.protocol || !filter.service.empty();
  if (!narrow && !all) co_return error_response(400, "this would end every connection: say which, or all=true");
  const uint64_t deleted = co_await router.delete_flows(std::move(filter));
  co_return json_response(json::object{{"deleted", deleted}});
}

// ---- drained endpoints -------------------------------------------------------------------------------

Awaitable<Response> get_drains(Router& router, Request) {
  co_return json_response(json::object{{"drains", to_json(router.drains())}});
}

Awaitable<Response> put_drain(Router& router, Request request) {
  Query query(request.query);
  const bool hard = query.flag("hard");
  const auto target = DrainTarget::parse(query.text("endpoint"));
  if (!query.complaint().empty()) co_return error_response(400, query.complaint());
  if (!target) co_return error_response(400, "parameter endpoint: " + target.error().message);
  const DrainReply reply = co_await router.drain(*target, hard);
  co_return json_response(to_json(reply));
}

Awaitable<Response> delete_drain(Router& router, Request request) {
  const auto target = DrainTarget::parse(Query(request.query).text("endpoint"));
  if (!target) co_return error_response(400, "parameter endpoint: " + target.error().message);
  const DrainReply reply = co_await router.undrain(*target);
  if (!reply.changed) co_return error_response(404, fmt::format("{} is not drained", target->text()));
  co_return json_response(to_json(reply));
}

}  // namespace sluice::control
