#include "control/api_ingress.h"

#include <boost/json.hpp>

#include "control/api_json.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

json::array to_value(const std::vector<net::IpAddr>& addresses) {
  json::array out;
  for (const net::IpAddr& address : addresses) out.emplace_back(net::to_string(address));
  return out;
}

json::value to_value(const ExternalNameEntry& external) {
  json::object out{{"name", external.name}, {"addresses", to_value(external.addresses)}};
  if (!external.problem.empty()) out["problem"] = external.problem;
  return out;
}

json::value to_value(const IngressRuleEntry& rule) {
  json::object out{{"endpoints", rule.endpoints}};
  if (!rule.host.empty()) out["host"] = rule.host;
  if (!rule.path.empty()) {
    out["path"] = rule.path;
    out["pathType"] = rule.path_type;
  }
  if (!rule.target.empty()) out["target"] = rule.target;
  if (rule.external) out["externalName"] = to_value(*rule.external);
  return out;
}

json::value to_value(const IngressEntry& entry) {
  json::array rules;
  for (const IngressRuleEntry& rule : entry.rules) rules.push_back(to_value(rule));
  return json::object{{"name", entry.name},
                      {"addresses", to_value(entry.addresses)},
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
