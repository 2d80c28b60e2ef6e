// What the router tells of itself: events, and how long its changes take.
#include <algorithm>
#include <map>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/controller.h"
#include "control/trigger_time.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

constexpr auto look_interval = std::chrono::seconds(1);

struct Counts {
  uint64_t added = 0, replaced = 0, removed = 0;
};

std::map<std::string_view, Counts> counts_by_kind(const config::Change& change) {
  std::map<std::string_view, Counts> kinds;
  for (const config::Change::Touched& touched : change.touched) {
    Counts& counts = kinds[touched.key.kind];
    switch (touched.action) {
      case config::Change::Action::Added:
        ++counts.added;
        break;
      case config::Change::Action::Replaced:
        ++counts.replaced;
        break;
      case config::Change::Action::Removed:
        ++counts.removed;
        break;
    }
  }
  return kinds;
}

json::object counts_value(const std::map<std::string_view, Counts>& kinds) {
  json::object out;
  for (const auto& [kind, counts] : kinds) {
    out[kind] = json::object{{"added", counts.added}, {"replaced", counts.replaced}, {"removed", counts.removed}};
  }
  return out;
}

// "1 Service added, 2 EndpointSlice replaced".
std::string counts_text(const std::map<std::string_view, Counts>& kinds) {
  std::string out;
  const auto add = [&](uint64_t count, std::string_view kind, std::string_view what) {
    if (count != 0) out += fmt::format("{}{} {} {}", out.empty() ? "" : ", ", count, kind, what);
  };
  for (const auto& [kind, counts] : kinds) {
    add(counts.added, kind, "added");
    add(counts.replaced, kind, "replaced");
    add(counts.removed, kind, "removed");
  }
  return out;
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool only_endpoints(const config::Change& change) {
  return std::all_of(change.touched.begin(), change.touched.end(),
                     [](const auto& touched) { return touched.key.kind == "EndpointSlice"; });
}

}  // namespace

void Controller::report(const config::Change& change, const ApplyOptions& options, const ApplyReply& reply,
                        uint64_t before) {
  const std::string asked_by = options.asked_by.empty() ? "the start" : options.asked_by;
  const auto kinds = counts_by_kind(change);
  RouterEvent event{.time_seconds = seconds_since_1970(), .type = EventType::Config, .object = "configuration"};
  event.before = json::object{{"generation", before}};
  event.after = json::object{{"generation", reply.generation},
                             {"askedBy", asked_by},
                             {"applyMillis", reply.apply_milliseconds},
                             {"changes", counts_value(kinds)}};
  if (reply.code != ApplyReply::Code::Applied) {
    event.warning = true;
    event.reason = "ConfigFailed";
    event.message = fmt::format("{}: {}", asked_by, reply.message);
    return events_.add(std::move(event));
  }
  event.reason = "ConfigApplied";
  event.message = fmt::format("generation {} in {:.1f} ms by {}: {}", reply.generation, reply.apply_milliseconds,
                              asked_by, counts_text(kinds));
  events_.add(std::move(event));
  if (awaited_token_) return;  // a worker is late
  const bool document = options.asked_by.empty() || options.asked_by == "PUT /v1/config";
  const char* kind = document ? "document" : only_endpoints(change) ? "endpoints" : "objects";
  measurements_.applies[kind].observe(reply.apply_milliseconds / 1000);
  // Before, everything was unknown, not late.
  if (before != 0) measure_programming(change);
}

void Controller::report_drain(const DrainReply& reply, bool drained) {
  const DrainEntry& drain = reply.drain;
  RouterEvent event{.time_seconds = seconds_since_1970(), .type = EventType::Drain, .object = drain.endpoint};
  event.reason = drained ? "EndpointDrained" : "EndpointUndrained";
  event.message =
      drained ? fmt::format("{} gets no new connections{}", drain.endpoint, drain.hard ? ", and those it has end" : "")
              : fmt::format("{} gets new connections again", drain.endpoint);
  event.after = json::object{{"drained", drained}, {"hard", drain.hard}};
  events_.add(std::move(event));
}

void Controller::measure_programming(const config::Change& change) {
  const auto now = std::chrono::system_clock::now();
  for (const config::Change::Touched& touched : change.touched) {
    if (touched.key.kind != "EndpointSlice" || !touched.effective) continue;
    const std::string* text = objects_.text_of(touched.key);
    if (text == nullptr) continue;
    const std::string_view annotation = trigger_annotation(*text);
    if (annotation.empty() || annotation == trigger_annotation(touched.before)) continue;
    const auto triggered = parse_time(annotation);
    if (!triggered || *triggered < started_at_ || *triggered > now) continue;
    measurements_.network_programming.observe(std::chrono::duration<double>(now - *triggered).count());
  }
}

Observation Controller::observe() const {
  Observation now;
  now.time_seconds = seconds_since_1970();
  now.uptime_seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  now.neighbors = neighbors();
  for (const auto& [name, index] : deployment_.tunnel_indices()) {
    const dataplane::TunnelPath path = plane_.tunnel_paths()[index];
    if (path == dataplane::TunnelPath{} && !monitor_.knows_tunnel(name)) continue;
    const auto tunnel = deployment_.plan().tunnels.find(name);
    if (tunnel == deployment_.plan().tunnels.end()) continue;
    const uint16_t full = tunnel->second.spec.mtu;
    now.tunnels.push_back(
        {name, tunnel->second.label, std::min(full, path.mtu), path.mtu < full, path.unreachable, full});
  }
  for (const auto& [device, port] : deployment_.ports()) now.links.push_back({device, port->link_up()});
  for (const PlannedInterface& interface : deployment_.plan().interfaces) {
    if (!interface.in_kernel()) continue;
    const PodPorts& pods = deployment_.pods();
    now.links.push_back({interface.name, pods.link_of(interface.link).up, pods.problem_of(interface.link)});
  }
  const uint16_t workers = plane_.worker_count();
  now.source_ports.workers = workers;
  for (uint16_t i = 0; i < workers; ++i) {
    const dataplane::WorkerCounters& counters = plane_.worker(i).counters();
    const uint64_t size = plane_.options().connections / workers;
    now.tables.push_back({fmt::format("IPv4 connections of worker {}", i), counters.live_flows_v4, size});
    now.tables.push_back({fmt::format("IPv6 connections of worker {}", i), counters.live_flows_v6, size});
    const nat::SnatCounters& snat = plane_.worker(i).snat_counters();
    now.source_ports.allocated += snat.allocated;
    now.source_ports.draws += snat.draws;
    now.odd_ecn += counters.events[static_cast<size_t>(dataplane::Event::EcnOddCombination)];
    now.source_ports.refused += snat.exhausted + snat.gave_up;
  }
  now.tables.push_back({"packet buffers", plane_.mbufs_in_use(), plane_.options().mbufs});
  now.drops = counters().drops;
  now.state_kept = !journal_.is_broken();
  return now;
}

void Controller::look_again() {
  look_timer_.expires_after(look_interval);
  look_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    const Observation now = observe();
    for (RouterEvent& event : monitor_.look(now)) events_.add(std::move(event));
    events_.drops(monitor_.drop_rates(), now.time_seconds);
    external_names_.tick(Clock::now());
    if (deployment_.snapshot() != nullptr) boost::asio::co_spawn(io_, look_for_pods(), boost::asio::detached);
    if (has_arrears()) boost::asio::co_spawn(io_, catch_up(), boost::asio::detached);
    look_again();
  });
}

// A pod's interface may come and go at any time.
Awaitable<void> Controller::look_for_pods() {
  if (looking_for_pods_) co_return;
  looking_for_pods_ = true;
  const auto lock = co_await changes_.lock();
  content_.collect(objects_.config());  // under the lock: the configuration is one that serves
  if (const auto token = deployment_.look_for_pods(); token) {
    (void)co_await wait_for(*token);
    deployment_.finish();
  }
  looking_for_pods_ = false;
}

}  // namespace sluice::control
