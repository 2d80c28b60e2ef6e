// What the host's kernel says, put in place: addresses by a new plan, routes beside it.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <fmt/format.h>

#include "control/controller.h"

namespace sluice::control {
namespace {

// Routing daemons change many routes at once.
constexpr auto gather_time = std::chrono::milliseconds(20);
constexpr size_t routes_per_turn = 8192;

}  // namespace

void Controller::host_changed() {
  if (following_host_) return;
  following_host_ = true;
  boost::asio::co_spawn(io_, follow_host(), boost::asio::detached);
}

Awaitable<void> Controller::follow_host() {
  co_await pause(gather_time);
  following_host_ = false;  // what changes from now on is for the next one
  bool more = true;
  while (more) more = co_await take_from_host();
}

// A part of it; whether there is more.
Awaitable<bool> Controller::take_from_host() {
  const auto lock = co_await changes_.lock();
  if (generation_ == 0) co_return false;
  if (host_.addresses() != host_addresses_) {
    std::vector<std::string> warnings;
    const auto wired = co_await rewire(nullptr, warnings);
    if (!wired) {
      host_problem_ = fmt::format("the host's addresses cannot be taken over: {}", wired.error().message);
      host_addresses_ = host_.addresses();
      co_return true;
    }
    (void)co_await wait_for(*wired);
    deployment_.finish();
    warnings_ = std::move(warnings);
    host_problem_.clear();
    co_return true;
  }
  const std::vector<HostRouteChange> changes = host_.routes().take_changes(routes_per_turn);
  if (!changes.empty()) {
    const uint64_t token = deployment_.change_host_routes(changes);
    (void)co_await wait_for(token);
    deployment_.finish();
    host_problem_ = deployment_.host_routes_problem();
  }
  co_return host_.routes().changed();
}

}  // namespace sluice::control
