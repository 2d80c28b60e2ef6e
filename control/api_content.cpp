#include "control/api_content.h"

#include <boost/json.hpp>

#include "control/api_json.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

json::value to_value(const ContentPolicyEntry& entry) {
  json::array patterns;
  for (const ContentPatternEntry& pattern : entry.patterns) {
    patterns.push_back({{"name", pattern.name},
                        {"action", pattern.action},
                        {"direction", pattern.direction},
                        {"matches", pattern.matches}});
  }
  return {{"name", entry.name},
          {"services", json::array(entry.services.begin(), entry.services.end())},
          {"pods", json::array(entry.pods.begin(), entry.pods.end())},
          {"depth", entry.depth},
          {"connections", entry.connections},
          {"overloads", entry.overloads},
          {"patterns", std::move(patterns)}};
}

}  // namespace

Awaitable<Response> get_content_policies(Router& router, Request) {
  json::array policies;
  for (const ContentPolicyEntry& entry : router.content_policies()) policies.push_back(to_value(entry));
  co_return json_response(json::object{{"contentPolicies", std::move(policies)}});
}

}  // namespace sluice::control
