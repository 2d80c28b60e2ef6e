#include "control/drains.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "config/kinds.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

// An address with a port: "10.0.0.1:80", "[fd00::1]:80".
std::optional<DrainTarget> parse_endpoint(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = net::parse_ip(host);
  const auto port = parse_port(text.substr(colon + 1));
  if (!address || !port || address->is_v6() != bracketed) return std::nullopt;
  return DrainTarget{{}, *address, *port};
}

}  // namespace

net::Result<DrainTarget> DrainTarget::parse(std::string_view text) {
  if (const auto address = net::parse_ip(text)) return DrainTarget{{}, *address, 0};
  if (const auto endpoint = parse_endpoint(text)) return *endpoint;
  const size_t slash = text.find('/');
  // Pods are never called like half an address; people mistype addresses.
  const bool name_like = text.find_first_not_of("0123456789.") != std::string_view::npos;
  const std::string_view ns = slash == std::string_view::npos ? "default" : text.substr(0, slash);
  const std::string_view name = slash == std::string_view::npos ? text : text.substr(slash + 1);
  if (name_like && config::is_dns_label(ns) && config::is_dns_subdomain(name)) {
    return DrainTarget{{std::string(ns), std::string(name)}, {}, 0};
  }
  return net::Error{fmt::format("\"{}\" is no endpoint: expected NAMESPACE/POD, an address, or ADDRESS:PORT", text)};
}

std::string DrainTarget::text() const {
  if (!pod.name.empty()) return pod.text();
  if (port == 0) return net::to_string(address);
  return address.is_v4() ? fmt::format("{}:{}", net::to_string(address), port)
                         : fmt::format("[{}]:{}", net::to_string(address), port);
}

bool DrainTarget::covers(const config::ObjectName& endpoint_pod, const net::IpAddr& endpoint,
                         uint16_t endpoint_port) const {
  if (!pod.name.empty()) return pod == endpoint_pod;
  return address == endpoint && (port == 0 || port == endpoint_port);
}

bool DrainList::add(const DrainTarget& target, bool hard) {
  const auto [at, fresh] = targets_.try_emplace(target, hard);
  if (fresh) return true;
  return std::exchange(at->second, hard) != hard;
}

Drain DrainList::of(const config::ObjectName& pod, const net::IpAddr& address, uint16_t port) const {
  if (targets_.empty()) return Drain::None;
  Drain found = Drain::None;
  for (const DrainTarget& target : {DrainTarget{{}, address, 0}, DrainTarget{{}, address, port}, DrainTarget{pod}}) {
    const auto at = targets_.find(target);
    if (at == targets_.end()) continue;
    found = std::max(found, at->second ? Drain::Hard : Drain::Graceful);
  }
  return found;
}

std::set<DrainTarget> DrainList::difference(const DrainList& a, const DrainList& b) {
  std::set<DrainTarget> out;
  const auto take = [&out](const DrainList& from, const DrainList& other) {
    for (const auto& [target, hard] : from.targets_) {
      const auto same = other.targets_.find(target);
      if (same == other.targets_.end() || same->second != hard) out.insert(target);
    }
  };
  take(a, b);
  take(b, a);
  return out;
}

std::string DrainList::to_text() const {
  json::array list;
  for (const auto& [target, hard] : targets_) {
    list.push_back(json::object{{"endpoint", target.text()}, {"hard", hard}});
  }
  return json::serialize(json::object{{"drains", std::move(list)}}) + '\n';
}

net::Result<DrainList> DrainList::from_text(std::string_view text) {
  const net::Error wrong{"it is no list of drained endpoints"};
  json::error_code error;
  const json::value value = json::parse(text, error);
  const json::value* list = error ? nullptr : value.find_pointer("/drains", error);
  if (list == nullptr || !list->is_array()) return wrong;
  DrainList out;
  for (const json::value& item : list->get_array()) {
    const json::value* endpoint = item.find_pointer("/endpoint", error);
    const json::value* hard = item.find_pointer("/hard", error);
    if (endpoint == nullptr || !endpoint->is_string() || hard == nullptr || !hard->is_bool()) return wrong;
    const auto target = DrainTarget::parse(std::string_view(endpoint->get_string()));
    if (!target) return target.error();
    (void)out.add(*target, hard->get_bool());
  }
  return out;
}

std::set<config::ObjectName> services_with(const config::Config& config, const std::set<DrainTarget>& targets) {
  std::set<config::ObjectName> out;
  if (targets.empty()) return out;
  for (const auto& [name, slice] : config.slices) {
    if (slice.service.empty()) continue;
    const auto concerned = [&, &ns = name.ns](const config::Endpoint& endpoint) {
      return std::any_of(targets.begin(), targets.end(),
                         [&](const DrainTarget& target) { return target.may_cover(ns, endpoint); });
    };
    if (std::any_of(slice.endpoints.begin(), slice.endpoints.end(), concerned)) out.insert({name.ns, slice.service});
  }
  return out;
}

std::vector<std::string> services_of(const config::Config& config, const DrainTarget& target) {
  std::set<std::string> names;
  for (const auto& [name, slice] : config.slices) {
    const auto covered_at_all = [&, &ns = name.ns](const config::Endpoint& endpoint) {
      return target.may_cover(ns, endpoint);
    };
    if (std::none_of(slice.endpoints.begin(), slice.endpoints.end(), covered_at_all)) continue;
    const auto service = config.services.find({name.ns, slice.service});
    if (slice.service.empty() || slice.fqdn || service == config.services.end() || !service->second.proxied) continue;
    for (const config::EndpointPort& port : slice.ports) {
      const auto covered = [&, &ns = name.ns](const config::Endpoint& endpoint) {
        return target.covers({ns, endpoint.pod}, endpoint.address, port.port);
      };
      if (std::none_of(slice.endpoints.begin(), slice.endpoints.end(), covered)) continue;
      for (const config::ServicePort& service_port : service->second.ports) {
        if (service_port.name != port.name || service_port.protocol != port.protocol) continue;
        names.insert(service->first.text() + ":" +
                     (service_port.name.empty() ? std::to_string(service_port.port) : service_port.name));
      }
    }
  }
  return {names.begin(), names.end()};
}

}  // namespace sluice::control
