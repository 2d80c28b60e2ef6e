// Names outside of the cluster that rules of Ingresses lead to (ING-9): which ones are asked for, and their addresses
// in the running router.
#include <algorithm>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <fmt/format.h>

#include "config/external_name.h"
#include "config/rules.h"
#include "control/controller.h"

namespace sluice::control {
namespace {

constexpr std::string_view service_kind = "Service";

config::ExternalName name_of(const config::ObjectSet& objects, const config::ObjectName& service) {
  const std::string* const text = objects.text_of({std::string(service_kind), service.ns, service.name});
  return text == nullptr ? config::ExternalName() : config::external_name_of(*text);
}

}  // namespace

void Controller::follow_external_names(const config::Change& change) {
  std::set<config::ObjectName> touched = services_.take_touched_external();
  // One that only has another name is no other Service to the compiler.
  for (const config::Change::Touched& one : change.touched) {
    if (services_.external().empty()) break;
    const config::ObjectName name{one.key.ns, one.key.name};
    if (one.key.kind == service_kind && services_.external().contains(name)) touched.insert(name);
  }
  external_names_.tick(Clock::now());
  for (const config::ObjectName& service : touched) {
    const std::string name = services_.external().contains(service) ? name_of(objects_, service).name : std::string();
    if (name.empty()) {
      external_names_.forget(service);
    } else {
      external_names_.want(service, name);
    }
  }
}

// What would come back to this router, or go nowhere. Service addresses that come later are refused by the workers.
std::string Controller::objection_to(const net::IpAddr& address) const {
  if (const std::string_view why = config::never_remote(address); !why.empty()) return std::string(why);
  const auto& own = options_.api_addresses;
  if (std::find(own.begin(), own.end(), address) != own.end()) return "the API of this router is served there";
  const auto& routes = deployment_.plan().routes;
  const auto route = routes.find(net::Prefix::host(address));
  if (route == routes.end()) return {};
  const dataplane::HopKind kind = route->second.hops.front().kind;
  if (kind == dataplane::HopKind::Local) return "an address of this router";
  return kind == dataplane::HopKind::Service ? "a service address of this router: lead the rule to that Service" : "";
}

ExternalNameEntry Controller::external_name_entry(const config::ObjectName& service) const {
  ExternalNames::View view = external_names_.view_of(service);
  if (view.name.empty()) view.problem = name_of(objects_, service).problem;
  return {std::move(view.name), std::move(view.addresses), std::move(view.problem)};
}

void Controller::external_names_changed() {
  if (publishing_names_) return;
  publishing_names_ = true;
  boost::asio::co_spawn(io_, publish_external_names(), boost::asio::detached);
}

std::optional<uint64_t> Controller::put_external_names() {
  config::Change change;
  for (const config::ObjectName& name : external_names_.take_changed()) {
    // The tables of the last deployment have no address of any other.
    if (!services_.external().contains(name)) continue;
    change.touched.push_back({{std::string(service_kind), name.ns, name.name}, config::Change::Action::Replaced});
  }
  if (change.touched.empty()) return std::nullopt;
  return deployment_.publish_services(objects_.config(), services_, drains_, &change);
}

Awaitable<void> Controller::publish_external_names() {
  const auto lock = co_await changes_.lock();
  publishing_names_ = false;  // what changes from now on is for the next one
  const std::optional<uint64_t> token = put_external_names();
  if (!token) co_return;
  (void)co_await wait_for(*token);
  deployment_.finish();
}

}  // namespace sluice::control
