#include "control/api_ingress.h"

#include <boost/json.hpp>

#include "control/api_json.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

json::value to_value(const IngressRuleEntry& rule) {
  json::object out{{"endpoints", rule.endpoints}};
  if (!rule.host.empty()) out["host"] = rule.host;
  if (!rule.path.empty()) {
    out["path"] = rule.path;
    out["pathType"] = rule.path_type;
  }
  if (!rule.target.empty()) out["target"] = rule.target;
  return out;
}

json::value to_value(const IngressEntry& entry) {
  json::array addresses;
  for (const net::IpAddr& address : entry.addresses) addresses.emplace_back(net::to_string(address));
  json::array rules;
  for (const IngressRuleEntry& rule : entry.rules) rules.push_back(to_value(rule));
  return json::object{{"name", entry.name},
                      {"addresses", std::move(addresses)},
                      {"tlsPassthrough", entry.tls_passthrough},
                      {"rules", std::move(rules)}};
}

}  // namespace

Awaitable<Response> get_ingress(Router& router, Request) {
  json::array out;
  for (const IngressEntry& entry : router.ingresses()) out.push_back(to_value(entry));
  co_return json_response(json::object{{"ingresses", std::move(out)}});
}

}  // namespace sluice::control
