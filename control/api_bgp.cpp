#include "control/api_bgp.h"

#include <boost/json.hpp>

namespace sluice::control {
namespace {

namespace json = boost::json;

json::array texts(const std::vector<std::string>& values) {
  json::array out;
  for (const std::string& value : values) out.emplace_back(value);
  return out;
}

json::object to_json(const BgpSessionStatus& session) {
  json::object out{{"name", session.name},
                   {"object", session.object},
                   {"type", session.type},
                   {"peer", net::to_string(session.peer)},
                   {"port", session.peer_port},
                   {"peerAS", session.peer_as},
                   {"localAS", session.local_as},
                   {"up", session.up},
                   {"state", session.state},
                   {"bgpState", session.bgp_state},
                   {"info", session.info},
                   {"imported", session.imported},
                   {"exported", session.exported},
                   {"limitReached", session.limit_reached},
                   {"bfd", session.bfd}};
  if (session.since_seconds) out["sinceSeconds"] = *session.since_seconds;
  return out;
}

json::object to_json(const BgpStatus& bgp) {
  json::array sessions;
  for (const BgpSessionStatus& session : bgp.sessions) sessions.push_back(to_json(session));
  json::array announced;
  for (const BgpAnnouncement& one : bgp.announced) {
    announced.push_back(json::object{{"prefix", net::to_string(one.prefix)},
                                     {"communities", texts(one.communities)},
                                     {"reasons", texts(one.reasons)}});
  }
  return json::object{{"engine", bgp.enabled ? "bird" : "none"},
                      {"connected", bgp.connected},
                      {"version", bgp.version},
                      {"problem", bgp.problem},
                      {"routerID", net::to_string(bgp.router_id)},
                      {"asNumber", bgp.as_number},
                      {"sessions", std::move(sessions)},
                      {"announced", std::move(announced)},
                      {"warnings", texts(bgp.warnings)}};
}

}  // namespace

Awaitable<Response> get_bgp(Router& router, Request) { co_return json_response(to_json(router.bgp())); }

}  // namespace sluice::control
