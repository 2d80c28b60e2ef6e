#include "control/api_load_balancer.h"

#include <boost/json.hpp>

#include "control/api_json.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

json::array texts(const std::vector<net::IpAddr>& addresses) {
  json::array out;
  for (const net::IpAddr& address : addresses) out.emplace_back(net::to_string(address));
  return out;
}

json::value to_value(const LoadBalancerEntry& entry) {
  json::object out{{"service", entry.service}, {"addresses", texts(entry.addresses)}};
  if (!entry.pool.empty()) out["pool"] = entry.pool;
  if (!entry.pending.empty()) out["pending"] = entry.pending;
  return out;
}

json::value to_value(const L2Entry& entry) {
  json::object out{{"address", net::to_string(entry.address)},
                   {"owner", entry.owner},
                   {"ours", entry.ours},
                   {"sinceSeconds", entry.since_seconds},
                   {"conflicts", entry.conflicts}};
  out["services"] = json::array(entry.services.begin(), entry.services.end());
  out["interfaces"] = json::array(entry.interfaces.begin(), entry.interfaces.end());
  if (!entry.note.empty()) out["note"] = entry.note;
  if (entry.claimed_by) out["claimedBy"] = net::to_string(*entry.claimed_by);
  return out;
}

template <class Entry>
json::array list_of(const std::vector<Entry>& entries) {
  json::array out;
  for (const Entry& entry : entries) out.push_back(to_value(entry));
  return out;
}

}  // namespace

Awaitable<Response> get_load_balancers(Router& router, Request) {
  co_return json_response(json::object{{"loadBalancers", list_of(router.load_balancers())}});
}

Awaitable<Response> get_l2(Router& router, Request) {
  co_return json_response(json::object{{"addresses", list_of(router.l2())}});
}

}  // namespace sluice::control
