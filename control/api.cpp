#include "control/api.h"

#include <algorithm>
#include <array>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/api_config.h"
#include "control/api_ipam.h"
#include "control/routes.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

Response method_not_allowed(std::string_view method, std::string_view path, std::string allow) {
  Response response = error_response(405, fmt::format("{} takes {}, not {}", path, allow, method));
  response.headers.emplace_back("Allow", std::move(allow));
  return response;
}

std::optional<Response> refuse_parameters(const Route& route, const FieldList& query) {
  for (auto field = query.begin(); field != query.end(); ++field) {
    const auto& name = field->first;
    if (name.empty() || name.find(' ') != std::string::npos ||
        route.parameters.find(" " + name + " ") == std::string_view::npos) {
      return error_response(400, fmt::format("unknown parameter \"{}\"; {} {} takes:{}", name, route.method, route.path,
                                             route.parameters.substr(0, route.parameters.size() - 1)));
    }
    if (std::any_of(query.begin(), field, [&](const auto& earlier) { return earlier.first == name; })) {
      return error_response(400, fmt::format("parameter {} is given twice", name));
    }
  }
  return std::nullopt;
}

std::optional<Response> refuse_content(const Route& route, const Request& head) {
  if (route.body == Body::None) {
    if (!head.has_body) return std::nullopt;
    return error_response(400, fmt::format("{} {} takes no body", head.method, head.path));
  }
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
  if (type == "application/x-ndjson" && route.body == Body::JsonOrLines) return std::nullopt;
  return error_response(415, fmt::format("a body of Content-Type {} is not understood: send application/json{}", type,
                                         route.body == Body::JsonOrLines ? " or application/x-ndjson" : ""));
}

struct Choice {
  const Route* route = nullptr;
  std::optional<Response> refusal;
};

Choice choose(const Request& head) {
  const std::string_view method = head.method == "HEAD" ? "GET" : std::string_view(head.method);
  const bool is_object = object_key(head.path).has_value();
  std::string allow;
  for (const Route& route : routes()) {
    const bool fits = route.path == object_path   ? is_object
                      : route.path == handle_path ? handle_of(head.path).has_value()
                                                  : route.path == head.path;
    if (!fits) continue;
    if (route.method == method) {
      auto refusal = refuse_parameters(route, head.query);
      return {&route, refusal ? std::move(refusal) : refuse_content(route, head)};
    }
    allow += allow.empty() ? "" : ", ";
    allow += route.method == "GET" ? "GET, HEAD" : route.method;
  }
  if (!allow.empty()) return {nullptr, method_not_allowed(head.method, head.path, std::move(allow))};
  return {nullptr, error_response(404, fmt::format("nothing is at {}; an object is at /v1/KIND/NAMESPACE/NAME, with - "
                                                   "as the namespace of a kind that has none",
                                                   head.path))};
}

// ---- targets -----------------------------------------------------------------------------------------

constexpr size_t question_limit = size_t{1} << 20;  // bytes of a body that is no configuration

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

std::string media_type(std::string_view text) {
  text = text.substr(0, text.find_first_of("; \t"));
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

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

void count_request(Router& router, const Request& request, unsigned status) {
  const Route* const route = choose(request).route;
  const std::string_view path = route == nullptr ? "other" : route->path;
  const std::string_view method = route == nullptr ? "other" : route->method;
  ++router.measurements().requests[{path, method, status}];
}

Awaitable<Response> handle(Router& router, Request request) {
  const auto begin = std::chrono::steady_clock::now();
  Choice choice = choose(request);
  if (choice.refusal) {
    count_request(router, request, choice.refusal->status);
    co_return *std::move(choice.refusal);
  }
  // Read on the control thread, and not of the size of a configuration.
  if (choice.route->answer != "ChangeAnswer" && request.body.size() > question_limit) {
    count_request(router, request, 413);
    co_return error_response(413, fmt::format("the body is larger than {} bytes", question_limit));
  }
  Response response = co_await choice.route->run(router, std::move(request));
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  Measurements& measured = router.measurements();
  ++measured.requests[{choice.route->path, choice.route->method, response.status}];
  measured.request_durations[choice.route->path].observe(time.count());
  co_return response;
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
