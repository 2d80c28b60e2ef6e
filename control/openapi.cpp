#include "control/openapi.h"

#include <array>
#include <control/embedded.h>  // made by meson

#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/routes.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

// What a parameter of a query is, by its name: it means the same wherever it is taken.
struct Parameter {
  std::string_view name;
  std::string_view schema;  // JSON
  std::string_view description;
  bool required = false;
};

constexpr std::string_view text = R"({"type": "string"})";
constexpr std::string_view flag = R"({"type": "boolean", "default": false})";
constexpr std::string_view port = R"({"type": "integer", "minimum": 0, "maximum": 65535})";

constexpr std::array parameters{
    Parameter{"kind", text, "only objects of this kind, as kubectl takes it: Service, services, svc"},
    Parameter{"namespace", text, "only objects of this namespace"},
    Parameter{"dryRun", flag, "check as for real, apply nothing"},
    Parameter{"ignoreUnknown", flag, "pass over objects of kinds that sluice does not know"},
    Parameter{"to", text, "only the route that a packet to this address takes"},
    Parameter{"src", text, "source before translation: an address or a prefix"},
    Parameter{"dst", text, "destination before translation: an address or a prefix"},
    Parameter{"sport", port, "source port before translation"},
    Parameter{"dport", port, "destination port before translation"},
    Parameter{"reply-src", text, "source of the replies: an address or a prefix"},
    Parameter{"reply-dst", text, "destination of the replies: an address or a prefix"},
    Parameter{"reply-sport", port, "source port of the replies"},
    Parameter{"reply-dport", port, "destination port of the replies"},
    Parameter{"proto", text, "tcp, udp, sctp, icmp, icmpv6 or a number"},
    Parameter{"state", text, "a state of TCP, or UNREPLIED, REPLIED, ASSURED"},
    Parameter{"service", text, "NAMESPACE/NAME or NAMESPACE/NAME:PORT"},
    Parameter{"limit", R"({"type": "integer", "minimum": 1, "maximum": 1000000})", "at most so many"},
    Parameter{"all", flag, "needed to end every connection"},
    Parameter{"event", R"({"type": "string", "enum": ["new", "closed"]})", "only these"},
    Parameter{"endpoint", text, "NAMESPACE/POD, ADDRESS or ADDRESS:PORT", true},
    Parameter{"hard", flag, "its connections end, too"},
    Parameter{"filter", text, "pcap-filter(7), over frames as they arrive"},
    Parameter{"count", R"({"type": "integer", "minimum": 1, "maximum": 100000})", "so many packets"},
    Parameter{"seconds", R"({"type": "integer", "minimum": 1, "maximum": 3600})", "for so long at most"},
    Parameter{"types", text,
              "with commas between them: config, drain, neighbor, tunnel, link, drops, table, state, bgp"},
    Parameter{"dropRate", R"({"type": "integer", "minimum": 1, "maximum": 1000000000, "default": 100})",
              "packets/s of one reason that are worth an event"},
    Parameter{"after", R"({"type": "integer", "minimum": 0})", "with what is kept of those after this id"},
    Parameter{"follow", R"({"type": "boolean", "default": true})",
              "false: an EventList of what is kept, instead of a stream"},
};

json::object reference(std::string_view schema) { return {{"$ref", fmt::format("#/components/schemas/{}", schema)}}; }

json::object content(std::string_view media_type, json::object schema) {
  return {{media_type, json::object{{"schema", std::move(schema)}}}};
}

json::array parameters_of(const Route& route) {
  json::array out;
  if (route.path == object_path) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 3> parts{
        {{"kind", "as kubectl takes it: Service, services, svc"},
         {"namespace", "- for a kind that has none, or for default"},
         {"name", "metadata.name"}}};
    for (const auto& [name, description] : parts) {
      out.push_back({{"name", name},
                     {"in", "path"},
                     {"required", true},
                     {"description", description},
                     {"schema", {{"type", "string"}}}});
    }
  }
  if (route.path == handle_path) {
    out.push_back({{"name", "handle"},
                   {"in", "path"},
                   {"required", true},
                   {"description", "as it was assigned to"},
                   {"schema", {{"type", "string"}}}});
  }
  for (const Parameter& parameter : parameters) {
    if (route.parameters.find(fmt::format(" {} ", parameter.name)) == std::string_view::npos) continue;
    json::object entry{{"name", parameter.name}, {"in", "query"}};
    if (parameter.required) entry["required"] = true;
    entry["description"] = parameter.description;
    entry["schema"] = json::parse(parameter.schema);
    out.push_back(std::move(entry));
  }
  if (route.method != "GET" && route.answer == "ChangeAnswer") {
    out.push_back({{"name", "If-Match"},
                   {"in", "header"},
                   {"description", "the generation that the change is based on, as in ETag; refused with 412"},
                   {"schema", {{"type", "string"}}}});
  }
  if (route.path == "/v1/events") {
    out.push_back({{"name", "Last-Event-ID"},
                   {"in", "header"},
                   {"description", "as the parameter after"},
                   {"schema", {{"type", "string"}}}});
  }
  return out;
}

std::string_view body_schema(const Route& route) {
  if (route.path == "/v1/explain") return "Probe";
  if (route.path == "/v1/ipam/addresses") return "AddressRequest";
  if (route.method == "PATCH") return "Delta";
  return route.path == object_path ? "Object" : "List";
}

json::object body_of(const Route& route) {
  json::object types = content("application/json", reference(body_schema(route)));
  if (route.body == Body::JsonOrLines) {
    types["application/x-ndjson"] = json::object{{"schema", {{"type", "string"}}}};
  }
  return {{"required", true}, {"content", std::move(types)}};
}

json::object operation_of(const Route& route) {
  const bool is_schema = route.answer.find('/') == std::string_view::npos;
  json::object good =
      is_schema ? content("application/json", reference(route.answer)) : content(route.answer, {{"type", "string"}});
  // The one call that answers in two ways.
  if (route.path == "/v1/events") good["application/json"] = json::object{{"schema", reference("EventList")}};
  json::object answers{{"200", {{"description", route.summary}, {"content", std::move(good)}}}};
  if (route.path == "/readyz") {
    answers["503"] = json::object{{"description", "No full configuration is applied"},
                                  {"content", content(route.answer, {{"type", "string"}})}};
  }
  answers["default"] =
      json::object{{"description", "An error"}, {"content", content("application/json", reference("Error"))}};
  json::object operation{{"summary", route.summary},
                         {"x-access", route.access == Access::Read ? "read" : "write"},
                         {"parameters", parameters_of(route)}};
  if (route.body != Body::None) operation["requestBody"] = body_of(route);
  operation["responses"] = std::move(answers);
  return operation;
}

std::string lower(std::string_view word) {
  std::string out(word);
  for (char& c : out) c = static_cast<char>(c | 0x20);
  return out;
}

}  // namespace

std::string openapi_document(std::string_view version) {
  json::object paths;
  for (const Route& route : routes()) {
    json::value& path = paths[route.path];
    if (path.is_null()) path = json::object();
    path.as_object()[lower(route.method)] = operation_of(route);
  }
  json::object schemas = json::parse(openapi_schemas_text).as_object();
  for (const std::string_view text : {gateway_schema_text, content_schema_text}) {
    json::object schema = json::parse(text).as_object();
    schema.erase("$schema");
    const std::string title(schema.at("title").as_string());
    schemas[title] = std::move(schema);
  }
  const json::object document{
      {"openapi", "3.1.0"},
      {"info",
       {{"title", "sluice"},
        {"version", version},
        {"description", "Configuration and state of sluiced, on a UNIX socket or a loopback port"},
        {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}}},
      {"servers", json::array{json::object{{"url", "http://localhost"}}}},
      {"paths", std::move(paths)},
      {"components",
       {{"schemas", std::move(schemas)},
        {"securitySchemes",
         {{"token", {{"type", "http"}, {"scheme", "bearer"}, {"description", "on TCP; not on the socket"}}}}}}}};
  return to_text(document);
}

std::string_view gateway_schema() { return gateway_schema_text; }
std::string_view content_schema() { return content_schema_text; }

Awaitable<Response> get_openapi(Router& router, Request) {
  co_return Response{200, "application/json", openapi_document(router.status().version), {}};
}

Awaitable<Response> get_gateway_schema(Router&, Request) {
  co_return Response{200, "application/schema+json", std::string(gateway_schema()), {}};
}

Awaitable<Response> get_content_schema(Router&, Request) {
  co_return Response{200, "application/schema+json", std::string(content_schema()), {}};
}

}  // namespace sluice::control
