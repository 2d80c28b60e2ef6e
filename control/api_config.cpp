#include "control/api_config.h"

#include <charconv>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "config/json_memory.h"
#include "config/json_reader.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

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
  // One reason why a text cannot be read is that there is not so much memory for it.
  if (reply.code == ApplyReply::Code::SyntaxError && reply.message == config::TooLarge().what()) status = 413;
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
  options.asked_by = fmt::format("{} {}", request.method, request.path);
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

}  // namespace

Awaitable<Response> replace_config(Router& router, Request request) {
  return change_config<&Router::replace_config>(router, std::move(request));
}

Awaitable<Response> patch_config(Router& router, Request request) {
  return change_config<&Router::patch_config>(router, std::move(request));
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

namespace {

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
  auto read = config::read_within(body, std::make_shared<config::MemoryBudget>(config::memory_for(body.size())));
  if (!read || !read->is_object()) return net::Done{};
  json::value& object = *read;
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

std::optional<Response> refuse_object(Request& request) {
  try {
    const auto bound = bind_to_path(request.body, object_key(request.path).value());
    if (!bound) return error_response(400, bound.error().message);
    return std::nullopt;
  } catch (const config::TooLarge& problem) {
    return error_response(413, problem.what());
  }
}

}  // namespace

Awaitable<Response> put_object(Router& router, Request request) {
  if (auto refusal = refuse_object(request)) co_return *std::move(refusal);
  co_return co_await change_config<&Router::put_object>(router, std::move(request));
}

namespace {

Response no_such_object(const config::ObjectKey& key) {
  return error_response(404, fmt::format("there is no {} {}", key.kind, key.object_name()));
}

}  // namespace

Awaitable<Response> delete_object(Router& router, Request request) {
  Query query(request.query);
  ApplyOptions options = apply_options(query, request);
  if (!query.complaint().empty()) co_return error_response(400, query.complaint());
  if (const auto read = read_if_match(request.if_match, options); !read)
    co_return error_response(400, read.error().message);
  const config::ObjectKey key = object_key(request.path).value();
  const ApplyReply reply = co_await router.delete_object(key, options);
  if (reply.code == ApplyReply::Code::Unchanged && !reply.would_change) co_return no_such_object(key);
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

}  // namespace sluice::control
