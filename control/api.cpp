#include "control/api.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/api_trace.h"
#include "control/api_traffic.h"
#include "control/metrics.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

Response text_response(unsigned status, std::string text) {
  return {status, "text/plain; charset=utf-8", std::move(text), {}};
}

// The type without parameters, in lower case: "application/json" of "Application/JSON; charset=utf-8".
std::string media_type(std::string_view text) {
  text = text.substr(0, text.find_first_of("; \t"));
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

// ---- changes of configuration ------------------------------------------------------------------------

unsigned status_of(ApplyReply::Code code) {
  using Code = ApplyReply::Code;
  switch (code) {
    case Code::Applied:
    case Code::Unchanged:
      return 200;
    case Code::SyntaxError:
      return 400;
    case Code::StaleBase:
      return 409;
    case Code::Invalid:
      return 422;
    case Code::Failed:
      return 503;
  }
  return 503;
}

// The generation as an entity tag (RFC 9110 section 8.8.3).
std::string entity_tag(uint64_t generation) { return fmt::format("\"{}\"", generation); }

// `conditional`: the request named the generation that it is based on by If-Match.
Response apply_response(const ApplyReply& reply, bool dry_run, bool conditional) {
  unsigned status = status_of(reply.code);
  if (status == 200) {
    Response response = json_response(to_json(reply, dry_run));
    response.headers.emplace_back("ETag", entity_tag(reply.generation));
    return response;
  }
  if (status == 409 && conditional) status = 412;
  const bool invalid = reply.code == ApplyReply::Code::Invalid;
  const std::string faults =
      fmt::format("nothing was applied, {} fault{}", reply.faults.size(), reply.faults.size() == 1 ? "" : "s");
  json::object error{
      {"code", status}, {"reason", reason_phrase(status)}, {"message", invalid ? faults : reply.message}};
  json::object out{{"error", std::move(error)}, {"generation", reply.generation}};
  if (invalid) out["errors"] = to_json(reply.faults);
  return json_response(out, status);
}

ApplyOptions apply_options(Query& query, const Request& request) {
  ApplyOptions options;
  options.dry_run = query.flag("dryRun");
  options.ignore_unknown_kinds = query.flag("ignoreUnknown");
  options.ndjson = media_type(request.content_type) == "application/x-ndjson";
  return options;
}

// RFC 9110 section 13.1.1: one tag, or any generation at all. Weak tags never match.
net::Status<> read_if_match(std::string_view text, ApplyOptions& options) {
  if (text.empty() || text == "*") return net::Done{};
  uint64_t generation = 0;
  const bool quoted = text.size() > 2 && text.front() == '"' && text.back() == '"';
  const char* end = text.data() + text.size() - 1;
  if (quoted) {
    const auto [at, error] = std::from_chars(text.data() + 1, end, generation);
    if (at == end && error == std::errc()) {
      options.base_generation = generation;
      return net::Done{};
    }
  }
  return net::Error{"If-Match wants a generation as in ETag, like \"41\", or *"};
}

template <Awaitable<ApplyReply> (Router::*change)(std::string, ApplyOptions)>
Awaitable<Response> change_config(Router& router, Request request) {
  Query query(request.query);
  ApplyOptions options = apply_options(query, request);
  if (!query.complaint().empty()) co_return error_response(400, query.complaint());
  if (const auto read = read_if_match(request.if_match, options); !read)
    co_return error_response(400, read.error().message);
  const ApplyReply reply = co_await (router.*change)(std::move(request.body), options);
  co_return apply_response(reply, options.dry_run, options.base_generation.has_value());
}

Awaitable<Response> validate_config(Router& router, Request request) {
  request.query.emplace_back("dryRun", "true");
  co_return co_await change_config<&Router::replace_config>(router, std::move(request));
}

Awaitable<Response> get_config(Router& router, Request request) {
  Query query(request.query);
  const std::string_view kind = query.kind("kind");
  if (!query.complaint().empty()) co_return error_response(400, query.complaint());
  const std::string_view ns = query.text("namespace");
  Response response{200, "application/json", router.applied_config({.kind = kind, .ns = ns}) + '\n', {}};
  response.headers.emplace_back("ETag", entity_tag(router.generation()));
  co_return response;
}

// ---- one object --------------------------------------------------------------------------------------

// Of /v1/{kind}/{namespace}/{name}. Empty if the path has another form, names no kind of ours, or a namespace for a
// kind that has none.
std::optional<config::ObjectKey> object_key(std::string_view path) {
  static constexpr std::string_view prefix = "/v1/";
  if (!path.starts_with(prefix)) return std::nullopt;
  path.remove_prefix(prefix.size());
  const size_t first = path.find('/');
  const size_t second = first == std::string_view::npos ? first : path.find('/', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  std::string_view ns = path.substr(first + 1, second - first - 1);
  const std::string_view name = path.substr(second + 1);
  if (ns.empty() || name.empty() || name.find('/') != std::string_view::npos) return std::nullopt;
  if (ns == "-") ns = "";
  auto key = config::make_key(kind_of_word(path.substr(0, first)), ns, name);
  if (key && key->ns.empty() && !ns.empty()) return std::nullopt;
  return key;
}

const json::value* member(const json::value* value, std::string_view name) {
  const json::object* object = value == nullptr ? nullptr : value->if_object();
  return object == nullptr ? nullptr : object->if_contains(name);
}

std::string text_member(const json::value* value, std::string_view name) {
  const json::value* found = member(value, name);
  const json::string* text = found == nullptr ? nullptr : found->if_string();
  return text == nullptr ? std::string() : std::string(*text);
}

// The object in a PUT is the one that its path names; a namespace that it does not say is the path's. Text that is
// no object goes on as it is: the router's parser knows best what is wrong with it.
net::Status<> bind_to_path(std::string& body, const config::ObjectKey& key) {
  json::error_code error;
  json::value object = json::parse(body, error);
  if (error || !object.is_object()) return net::Done{};
  json::value* metadata = object.as_object().if_contains("metadata");
  if (metadata == nullptr || !metadata->is_object()) return net::Done{};
  if (!key.ns.empty() && !metadata->as_object().contains("namespace")) {
    metadata->as_object()["namespace"] = key.ns;
    body = json::serialize(object);
  }
  const config::ObjectKey found{text_member(&object, "kind"), key.ns.empty() ? "" : text_member(metadata, "namespace"),
                                text_member(metadata, "name")};
  if (found == key) return net::Done{};
  return net::Error{fmt::format("the path names {} {}, the body is {} {}", key.kind, key.object_name(), found.kind,
                                found.object_name())};
}

Awaitable<Response> put_object(Router& router, Request request) {
  const auto bound = bind_to_path(request.body, object_key(request.path).value());
  if (!bound) co_return error_response(400, bound.error().message);
  co_return co_await change_config<&Router::put_object>(router, std::move(request));
}

Response no_such_object(const config::ObjectKey& key) {
  return error_response(404, fmt::format("there is no {} {}", key.kind, key.object_name()));
}

Awaitable<Response> delete_object(Router& router, Request request) {
  Query query(request.query);
  ApplyOptions options = apply_options(query, request);
  if (!query.complaint().empty()) co_return error_response(400, query.complaint());
  if (const auto read = read_if_match(request.if_match, options); !read)
    co_return error_response(400, read.error().message);
  const config::ObjectKey key = object_key(request.path).value();
  const ApplyReply reply = co_await router.delete_object(key, options);
  if (reply.code == ApplyReply::Code::Unchanged && !options.dry_run) co_return no_such_object(key);
  co_return apply_response(reply, options.dry_run, options.base_generation.has_value());
}

Awaitable<Response> get_object(Router& router, Request request) {
  const config::ObjectKey key = object_key(request.path).value();
  const json::value applied = json::parse(router.applied_config({.kind = key.kind, .ns = key.ns, .name = key.name}));
  const json::value* items = member(&applied, "items");
  if (items != nullptr && items->is_array()) {
    for (const json::value& item : items->as_array()) {
      if (text_member(member(&item, "metadata"), "name") != key.name) continue;
      Response response{200, "application/json", json::serialize(item) + '\n', {}};
      response.headers.emplace_back("ETag", entity_tag(router.generation()));
      co_return response;
    }
  }
  co_return no_such_object(key);
}

// ---- state -------------------------------------------------------------------------------------------

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
  co_return Response{200, std::string(metrics_content_type), render_metrics(router.status(), router.counters()), {}};
}

// ---- which call is it --------------------------------------------------------------------------------

enum class Body : uint8_t { None, Json, JsonOrLines };

struct Action {
  std::string_view path;  // "": one object
  std::string_view method;
  std::string_view parameters;  // allowed names, a space around each
  Body body = Body::None;
  Awaitable<Response> (*run)(Router&, Request) = nullptr;
};

constexpr std::string_view no_parameters = " ";
constexpr std::string_view change_words = " dryRun ignoreUnknown ";
constexpr std::string_view flow_words =
    " src dst sport dport reply-src reply-dst reply-sport reply-dport proto state service limit ";
constexpr std::string_view flow_watch_words =
    " src dst sport dport reply-src reply-dst reply-sport reply-dport proto service event ";
constexpr std::string_view flow_delete_words =
    " src dst sport dport reply-src reply-dst reply-sport reply-dport proto state service limit all ";

constexpr std::string_view trace_words = " filter count seconds ";

constexpr std::array actions{
    Action{"/v1/config", "GET", " kind namespace ", Body::None, get_config},
    Action{"/v1/config", "PUT", change_words, Body::JsonOrLines, change_config<&Router::replace_config>},
    Action{"/v1/config", "PATCH", change_words, Body::Json, change_config<&Router::patch_config>},
    Action{"/v1/config:validate", "POST", " ignoreUnknown ", Body::JsonOrLines, validate_config},
    Action{"", "GET", no_parameters, Body::None, get_object},
    Action{"", "PUT", " dryRun ", Body::Json, put_object},
    Action{"", "DELETE", " dryRun ", Body::None, delete_object},
    Action{"/v1/status", "GET", no_parameters, Body::None, get_status},
    Action{"/v1/counters", "GET", no_parameters, Body::None, get_counters},
    Action{"/v1/neighbors", "GET", no_parameters, Body::None, get_neighbors},
    Action{"/v1/routes", "GET", " to ", Body::None, get_routes},
    Action{"/v1/services", "GET", no_parameters, Body::None, get_services},
    Action{"/v1/conntrack", "GET", flow_words, Body::None, get_conntrack},
    Action{"/v1/conntrack", "DELETE", flow_delete_words, Body::None, delete_conntrack},
    Action{"/v1/conntrack/events", "GET", flow_watch_words, Body::None, watch_conntrack},
    Action{"/v1/drains", "GET", no_parameters, Body::None, get_drains},
    Action{"/v1/drains", "PUT", " endpoint hard ", Body::None, put_drain},
    Action{"/v1/drains", "DELETE", " endpoint ", Body::None, delete_drain},
    Action{"/v1/explain", "POST", no_parameters, Body::Json, post_explain},
    Action{"/v1/trace", "GET", trace_words, Body::None, get_trace},
    Action{"/v1/capture", "GET", trace_words, Body::None, get_capture},
    Action{"/v1/version", "GET", no_parameters, Body::None, get_version},
    Action{"/healthz", "GET", no_parameters, Body::None, get_alive},
    Action{"/livez", "GET", no_parameters, Body::None, get_alive},
    Action{"/readyz", "GET", no_parameters, Body::None, get_ready},
    Action{"/metrics", "GET", no_parameters, Body::None, get_metrics},
};

Response method_not_allowed(std::string_view method, std::string_view path, std::string allow) {
  Response response = error_response(405, fmt::format("{} takes {}, not {}", path, allow, method));
  response.headers.emplace_back("Allow", std::move(allow));
  return response;
}

std::optional<Response> refuse_parameters(const Action& action, const FieldList& query) {
  for (auto field = query.begin(); field != query.end(); ++field) {
    const auto& name = field->first;
    if (name.empty() || name.find(' ') != std::string::npos ||
        action.parameters.find(" " + name + " ") == std::string_view::npos) {
      return error_response(400, fmt::format("unknown parameter \"{}\"; {} {} takes:{}", name, action.method,
                                             action.path, action.parameters.substr(0, action.parameters.size() - 1)));
    }
    if (std::any_of(query.begin(), field, [&](const auto& earlier) { return earlier.first == name; })) {
      return error_response(400, fmt::format("parameter {} is given twice", name));
    }
  }
  return std::nullopt;
}

std::optional<Response> refuse_content(const Action& action, const Request& head) {
  if (action.body == Body::None) return std::nullopt;
  const std::string encoding = media_type(head.content_encoding);
  if (!encoding.empty() && encoding != "identity" && !is_gzip(encoding)) {
    Response response = error_response(415, fmt::format("a body with Content-Encoding {} is not understood: send it "
                                                        "as it is or with gzip",
                                                        encoding));
    response.headers.emplace_back("Accept-Encoding", "gzip, identity");
    return response;
  }
  const std::string type = media_type(head.content_type);
  if (type.empty() || type == "application/json") return std::nullopt;
  if (type == "application/x-ndjson" && action.body == Body::JsonOrLines) return std::nullopt;
  return error_response(415, fmt::format("a body of Content-Type {} is not understood: send application/json{}", type,
                                         action.body == Body::JsonOrLines ? " or application/x-ndjson" : ""));
}

struct Choice {
  const Action* action = nullptr;
  std::optional<Response> refusal;
};

Choice choose(const Request& head) {
  const std::string_view method = head.method == "HEAD" ? "GET" : std::string_view(head.method);
  const bool is_object = object_key(head.path).has_value();
  std::string allow;
  for (const Action& action : actions) {
    if (action.path.empty() ? !is_object : action.path != head.path) continue;
    if (action.method == method) {
      auto refusal = refuse_parameters(action, head.query);
      return {&action, refusal ? std::move(refusal) : refuse_content(action, head)};
    }
    allow += allow.empty() ? "" : ", ";
    allow += action.method == "GET" ? "GET, HEAD" : action.method;
  }
  if (!allow.empty()) return {nullptr, method_not_allowed(head.method, head.path, std::move(allow))};
  return {nullptr, error_response(404, fmt::format("nothing is at {}; an object is at /v1/KIND/NAMESPACE/NAME, with - "
                                                   "as the namespace of a kind that has none",
                                                   head.path))};
}

// ---- targets -----------------------------------------------------------------------------------------

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

std::optional<std::string> decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]);
    const int low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return out;
}

}  // namespace

net::Status<> set_target(Request& request, std::string_view target) {
  if (target.starts_with("http://")) target.remove_prefix(std::min(target.find('/', 7), target.size()));
  const net::Error malformed{fmt::format("the request target \"{}\" is malformed", target)};
  const size_t mark = std::min(target.find('?'), target.size());
  auto path = decode(target.substr(0, mark));
  if (!path || !path->starts_with('/')) return malformed;
  request.path = *std::move(path);
  request.query.clear();
  std::string_view rest = target.substr(std::min(mark + 1, target.size()));
  while (!rest.empty()) {
    const std::string_view field = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(field.size() + 1, rest.size()));
    const size_t equals = std::min(field.find('='), field.size());
    auto name = decode(field.substr(0, equals));
    auto value = decode(field.substr(std::min(equals + 1, field.size())));
    if (!name || !value) return malformed;
    request.query.emplace_back(*std::move(name), *std::move(value));
  }
  return net::Done{};
}

bool is_gzip(std::string_view content_encoding) {
  const std::string encoding = media_type(content_encoding);
  return encoding == "gzip" || encoding == "x-gzip";
}

std::optional<Response> refuse(const Request& head) { return choose(head).refusal; }

Awaitable<Response> handle(Router& router, Request request) {
  Choice choice = choose(request);
  if (choice.refusal) co_return *std::move(choice.refusal);
  co_return co_await choice.action->run(router, std::move(request));
}

Response json_response(const json::value& value, unsigned status) {
  return {status, "application/json", to_text(value), {}};
}

Response error_response(unsigned status, std::string_view message) {
  // What a message quotes of a request may be no UTF-8, and then the answer were no JSON.
  std::string text(message);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  const json::object error{{"code", status}, {"reason", reason_phrase(status)}, {"message", text}};
  return json_response(json::object{{"error", error}}, status);
}

std::string_view reason_phrase(unsigned status) {
  static constexpr std::array<std::pair<unsigned, std::string_view>, 19> phrases{{
      {100, "Continue"},
      {200, "OK"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {412, "Precondition Failed"},
      {413, "Content Too Large"},
      {415, "Unsupported Media Type"},
      {417, "Expectation Failed"},
      {422, "Unprocessable Content"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
      {505, "HTTP Version Not Supported"},
  }};
  const auto* found =
      std::find_if(phrases.begin(), phrases.end(), [&](const auto& entry) { return entry.first == status; });
  return found == phrases.end() ? "Unknown" : found->second;
}

}  // namespace sluice::control
