#include "control/event_monitor.h"

#include <algorithm>
#include <set>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::control {
namespace {

namespace json = boost::json;

constexpr unsigned quiet_enough = 10;  // looks

json::object neighbor_value(std::string_view state, const net::MacAddr& mac) {
  return {{"state", state}, {"mac", net::to_string(mac)}};
}

json::object tunnel_value(const Observation::Tunnel& tunnel) {
  return {{"unreachable", tunnel.unreachable}, {"mtu", tunnel.mtu}};
}

json::object link_value(bool up) { return {{"linkUp", up}}; }

uint64_t percent_of(uint64_t used, uint64_t size) { return size == 0 ? 0 : used * 100 / size; }

// Forgets what is not there any more.
template <class Map, class Present>
void keep(Map& known, const Present& present) {
  std::erase_if(known, [&](const auto& entry) { return !present.contains(entry.first); });
}

}  // namespace

std::vector<RouterEvent> EventMonitor::look(const Observation& now) {
  events_.clear();
  state(now);
  ecn(now);
  links(now);
  tables(now);
  source_ports(now);
  tunnels(now);
  neighbors(now);
  measure_drops(now);
  for (RouterEvent& event : events_) event.time_seconds = now.time_seconds;
  last_look_ = now.uptime_seconds;
  return std::move(events_);
}

RouterEvent& EventMonitor::tell(EventType type, bool warning, std::string reason, std::string object,
                                std::string message) {
  return events_.emplace_back(RouterEvent{.type = type,
                                          .warning = warning,
                                          .reason = std::move(reason),
                                          .object = std::move(object),
                                          .message = std::move(message)});
}

// Reachable and stale are both good; incomplete says nothing yet.
void EventMonitor::neighbors(const Observation& now) {
  ++looks_;
  for (const NeighborEntry& entry : now.neighbors) {
    const bool good = entry.state == "reachable" || entry.state == "stale";
    const NeighborKey key{entry.interface, entry.address};
    const auto found = neighbors_.find(key);
    const bool known = found != neighbors_.end();
    if (known) found->second.look = looks_;
    if (!good && entry.state != "failed") continue;
    if (known && found->second.good == good && (!good || found->second.mac == entry.mac)) continue;
    const std::string object = fmt::format("{} {}", entry.interface, net::to_string(entry.address));
    const std::string mac = net::to_string(entry.mac);
    RouterEvent& event =
        !good ? tell(EventType::Neighbor, true, "NeighborFailed", object,
                     fmt::format("{} does not answer on {}", net::to_string(entry.address), entry.interface))
        : known && found->second.good
            ? tell(EventType::Neighbor, false, "NeighborMoved", object,
                   fmt::format("{} is at {} now, was at {}", object, mac, net::to_string(found->second.mac)))
            : tell(EventType::Neighbor, false, "NeighborReachable", object, fmt::format("{} is at {}", object, mac));
    if (known) event.before = neighbor_value(found->second.good ? "reachable" : "failed", found->second.mac);
    event.after = neighbor_value(good ? "reachable" : "failed", entry.mac);
    neighbors_[key] = {good, entry.mac, looks_};
  }
  std::erase_if(neighbors_, [this](const auto& known) { return known.second.look != looks_; });
}

void EventMonitor::tunnels(const Observation& now) {
  std::map<std::string, Observation::Tunnel> impaired;
  for (const Observation::Tunnel& tunnel : now.tunnels) {
    const auto known = tunnels_.find(tunnel.key);
    const Observation::Tunnel before =
        known != tunnels_.end() ? known->second : Observation::Tunnel{tunnel.key, tunnel.name, tunnel.full_mtu};
    if (tunnel.is_impaired()) impaired.emplace(tunnel.key, tunnel);
    const auto changed = [&](bool warning, std::string reason, std::string message) {
      RouterEvent& event = tell(EventType::Tunnel, warning, std::move(reason), tunnel.name, std::move(message));
      event.before = tunnel_value(before);
      event.after = tunnel_value(tunnel);
    };
    if (tunnel.unreachable && !before.unreachable) {
      changed(true, "TunnelUnreachable", fmt::format("the underlay does not reach the far end of {}", tunnel.name));
    } else if (!tunnel.unreachable && before.unreachable) {
      changed(false, "TunnelReachable",
              fmt::format("the underlay does not say any more that it cannot reach the far end of {}", tunnel.name));
    }
    if (tunnel.from_path && (!before.from_path || tunnel.mtu < before.mtu)) {
      changed(true, "TunnelMtuLowered", fmt::format("{} takes packets of {} bytes at most", tunnel.name, tunnel.mtu));
    } else if (!tunnel.from_path && before.from_path) {
      changed(false, "TunnelMtuRestored", fmt::format("{} takes packets of {} bytes again", tunnel.name, tunnel.mtu));
    }
  }
  tunnels_ = std::move(impaired);
}

void EventMonitor::links(const Observation& now) {
  std::set<std::string> present;
  for (const Observation::Link& link : now.links) {
    present.insert(link.device);
    if (std::string& told = link_problems_[link.device]; told != link.problem) {
      told = link.problem;
      if (!told.empty()) (void)tell(EventType::Link, true, "AttachFailed", link.device, link.problem);
    }
    const auto [found, is_new] = links_.try_emplace(link.device, link.up);
    const bool before = std::exchange(found->second, link.up);
    if (!is_new && before == link.up) continue;
    RouterEvent& event = tell(EventType::Link, !link.up, link.up ? "LinkUp" : "LinkDown", link.device,
                              fmt::format("the link of {} is {}", link.device, link.up ? "up" : "down"));
    if (!is_new) event.before = link_value(before);
    event.after = link_value(link.up);
  }
  keep(links_, present);
  keep(link_problems_, present);
}

void EventMonitor::tables(const Observation& now) {
  for (const Observation::Table& table : now.tables) {
    auto& [pressure, used_before] = tables_[table.name];
    const uint64_t percent = percent_of(table.used, table.size);
    Pressure level = pressure;
    if (percent >= nearly_full_percent) {
      level = Pressure::Full;
    } else if (percent >= pressure_percent) {
      level = std::max(pressure, Pressure::High);
    } else if (percent < relaxed_percent) {
      level = Pressure::None;
    }
    const uint64_t before = std::exchange(used_before, table.used);
    if (level == std::exchange(pressure, level)) continue;
    const bool warning = level != Pressure::None;
    RouterEvent& event =
        tell(EventType::Table, warning,
             level == Pressure::Full   ? "TableNearlyFull"
             : level == Pressure::High ? "TablePressure"
                                       : "TableRelaxed",
             table.name, fmt::format("{}: {} of {} in use, {} %", table.name, table.used, table.size, percent));
    event.before = json::object{{"used", before}, {"size", table.size}};
    event.after = json::object{{"used", table.used}, {"size", table.size}};
  }
}

// A free port is found at the first draw while few are in use; with a fraction f in use it takes 1/(1-f) draws, times
// the number of workers (nat/snat.h). Five times that is 80 % in use, on the average of the destinations.
void EventMonitor::source_ports(const Observation& now) {
  const Observation::SourcePorts before = std::exchange(source_ports_, now.source_ports);
  if (!last_look_) return;
  constexpr uint64_t enough_to_tell = 20;
  const uint64_t allocated = now.source_ports.allocated - before.allocated;
  const uint64_t draws = now.source_ports.draws - before.draws;
  const uint64_t refused = now.source_ports.refused - before.refused;
  const bool scarce = allocated >= enough_to_tell && draws >= 5 * now.source_ports.workers * allocated;
  const json::object after{{"allocated", allocated}, {"draws", draws}, {"refused", refused}};
  if (refused > 0 || scarce) {
    quiet_looks_ = 0;
  } else {
    ++quiet_looks_;
  }
  if (refused > 0 && source_port_pressure_ != Pressure::Full) {
    source_port_pressure_ = Pressure::Full;
    tell(EventType::Table, true, "SourcePortsExhausted", "source ports",
         fmt::format("{} connections were refused: no source port towards their destination was free", refused))
        .after = after;
  } else if (scarce && source_port_pressure_ == Pressure::None) {
    source_port_pressure_ = Pressure::High;
    tell(EventType::Table, true, "SourcePortsScarce", "source ports",
         fmt::format("it takes {:.1f} tries to find a free source port",
                     static_cast<double>(draws) / static_cast<double>(allocated)))
        .after = after;
  } else if (quiet_looks_ == quiet_enough && source_port_pressure_ != Pressure::None) {
    source_port_pressure_ = Pressure::None;
    tell(EventType::Table, false, "SourcePortsSufficient", "source ports", "source ports are found at once again")
        .after = after;
  }
}

void EventMonitor::state(const Observation& now) {
  if (now.state_kept == state_kept_) return;
  const bool before = std::exchange(state_kept_, now.state_kept);
  RouterEvent& event =
      tell(EventType::State, !now.state_kept, now.state_kept ? "StateKept" : "StateNotKept", "configuration",
           now.state_kept ? "the configuration is kept for the next start again"
                          : "changes are applied, but not kept for the next start");
  event.before = json::object{{"kept", before}};
  event.after = json::object{{"kept", now.state_kept}};
}

// RFC 6040 section 4.2: combinations that no right tunnel makes are worth a message, but not each packet.
void EventMonitor::ecn(const Observation& now) {
  const uint64_t since = now.odd_ecn - std::min(odd_ecn_, now.odd_ecn);
  if (since == 0) return;
  if (odd_ecn_told_ && now.uptime_seconds - *odd_ecn_told_ < odd_ecn_interval) return;
  odd_ecn_ = now.odd_ecn;
  odd_ecn_told_ = now.uptime_seconds;
  tell(EventType::Tunnel, true, "EcnOddCombination", "tunnels",
       fmt::format(
           "{} packets came out of tunnels with an inner and an outer ECN field that do not belong together: some "
           "device on the way, or the other end, changes them",
           since))
      .after = json::object{{"packets", since}};
}

void EventMonitor::measure_drops(const Observation& now) {
  rates_.clear();
  const double seconds = last_look_ ? now.uptime_seconds - *last_look_ : 0;
  for (const NamedCounter& counter : now.drops) {
    uint64_t& before = drops_[counter.name];
    const uint64_t dropped = counter.value - std::min(before, counter.value);
    before = counter.value;
    if (dropped > 0 && seconds > 0) rates_.push_back({counter.name, static_cast<double>(dropped) / seconds});
  }
}

}  // namespace sluice::control
