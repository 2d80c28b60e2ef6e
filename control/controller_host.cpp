// What the host's kernel says, put in place: addresses by a new plan, routes beside it, static neighbours by worker 0.
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
  if (host_.neighbors().changed()) co_await set_host_neighbors(host_.neighbors().usable());
  co_return host_.routes().changed();
}

// By what they differ in from those before. The caller holds changes_.
Awaitable<void> Controller::set_host_neighbors(HostNeighbors neighbors) {
  dataplane::Command command;
  command.kind = dataplane::Command::Kind::SetNeighbors;
  std::vector<dataplane::StaticNeighbor> all;
  // Its interface may have gone since the kernel spoke of it.
  std::erase_if(neighbors, [this](const auto& entry) { return !deployment_.index_of_interface(entry.first.first); });
  for (const auto& [place, neighbor] : neighbors) {
    const uint16_t interface = *deployment_.index_of_interface(place.first);
    all.push_back({interface, place.second, neighbor.mac});
    const auto before = host_neighbors_.find(place);
    const bool same = before != host_neighbors_.end() && before->second.mac == neighbor.mac;
    if (!same) command.other_neighbors.emplace_back(interface, place.second);
  }
  for (const auto& [place, neighbor] : host_neighbors_) {
    const auto interface = deployment_.index_of_interface(place.first);
    if (interface && !neighbors.contains(place)) command.other_neighbors.emplace_back(*interface, place.second);
  }
  host_neighbors_ = std::move(neighbors);
  if (command.other_neighbors.empty()) co_return;
  command.neighbors = std::make_shared<const dataplane::StaticNeighbors>(std::move(all));
  co_await run_command(0, command);
}

}  // namespace sluice::control
