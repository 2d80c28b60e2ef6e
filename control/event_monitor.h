// Looks at the router again and again and tells what is different: the events that nobody reports by himself.
//
// It compares what it is shown with what it was shown before, so what comes and goes between two looks is not seen.
// What is shown is plain values: the monitor knows no data plane. Control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/events.h"
#include "control/router.h"

namespace sluice::control {

struct Observation {
  struct Tunnel {
    std::string key;
    std::string name;        // "vxlan 192.168.0.12"
    uint16_t mtu = 0;        // of packets in it now, bytes
    bool from_path = false;  // the MTU, told by the underlay
    bool unreachable = false;
    uint16_t full_mtu = 0;  // without what the underlay says

    [[nodiscard]] bool is_impaired() const { return from_path || unreachable; }
  };
  struct Link {
    std::string device;
    bool up = false;
    std::string problem;  // why it cannot come up; empty: nothing is known to be wrong
  };
  struct Table {
    std::string name;  // "conntrack ipv4 of worker 0"
    uint64_t used = 0, size = 0;
  };
  // Source ports, over all workers, since the start.
  struct SourcePorts {
    uint64_t allocated = 0, draws = 0;
    uint64_t refused = 0;
    uint64_t workers = 1;
  };

  double time_seconds = 0;    // since 1970
  double uptime_seconds = 0;  // by a clock that nobody sets
  std::vector<NeighborEntry> neighbors;
  std::vector<Tunnel> tunnels;  // those that are impaired, and those that were (EventMonitor::knows_tunnel)
  std::vector<Link> links;
  std::vector<Table> tables;
  SourcePorts source_ports;
  std::vector<NamedCounter> drops;  // since the start
  uint64_t odd_ecn = 0;             // packets out of tunnels with such ECN fields (ECN-2), since the start
  bool state_kept = true;           // changes are kept for the next start
};

class EventMonitor {
 public:
  static constexpr unsigned pressure_percent = 80;
  static constexpr unsigned nearly_full_percent = 95;
  static constexpr unsigned relaxed_percent = 75;  // the pressure is over
  static constexpr double odd_ecn_interval = 60;   // seconds between two events

  // Events without id, since the look before.
  [[nodiscard]] std::vector<RouterEvent> look(const Observation& now);
  // It was impaired at the last look: one that is not shown again is taken for removed.
  [[nodiscard]] bool knows_tunnel(const std::string& key) const { return tunnels_.contains(key); }
  // Between the last two looks; only reasons that had drops.
  [[nodiscard]] const std::vector<DropRate>& drop_rates() const { return rates_; }

 private:
  enum class Pressure : uint8_t { None, High, Full };
  struct Settled {  // a neighbour's last state that says something
    bool good = false;
    net::MacAddr mac;
    uint64_t look = 0;  // that has seen it last
  };
  using NeighborKey = std::pair<std::string, net::IpAddr>;
  struct NeighborHash {
    size_t operator()(const NeighborKey& key) const {
      return std::hash<std::string>{}(key.first) * 31 + std::hash<net::IpAddr>{}(key.second);
    }
  };

  void neighbors(const Observation& now);
  void tunnels(const Observation& now);
  void links(const Observation& now);
  void tables(const Observation& now);
  void source_ports(const Observation& now);
  void state(const Observation& now);
  void ecn(const Observation& now);
  void measure_drops(const Observation& now);
  RouterEvent& tell(EventType type, bool warning, std::string reason, std::string object, std::string message);

  std::optional<double> last_look_;  // uptime
  uint64_t looks_ = 0;
  std::unordered_map<NeighborKey, Settled, NeighborHash> neighbors_;
  std::map<std::string, Observation::Tunnel> tunnels_;  // by key
  std::map<std::string, bool> links_;
  std::map<std::string, std::string> link_problems_;
  std::map<std::string, std::pair<Pressure, uint64_t>> tables_;
  Observation::SourcePorts source_ports_;
  Pressure source_port_pressure_ = Pressure::None;
  unsigned quiet_looks_ = 0;            // since source ports were short
  uint64_t odd_ecn_ = 0;                // when they were told of last
  std::optional<double> odd_ecn_told_;  // uptime
  std::map<std::string, uint64_t> drops_;
  std::vector<DropRate> rates_;
  bool state_kept_ = true;
  std::vector<RouterEvent> events_;
};

}  // namespace sluice::control
