// Who answers ARP and neighbour discovery for a load balancer address (L2-1 to L2-5): every router reckons by itself
// from the same objects, so that they need not talk to each other. Pure: no packet, no clock.
//
// Candidates of an address are the Nodes that an L2Advertisement of its pool selects, that are alive and have a
// network, and with externalTrafficPolicy Local have an endpoint. The one with the smallest SHA-256 of "node#address"
// owns it, so addresses spread over the nodes and few move when one goes.
//
// Who is alive is what the Node objects say, and two routers may have heard different things. Then both answer. Whoever
// hears the other (L2-5) looks at the order as if everybody lived: the one who is behind a node that counts as dead
// gives way, asks every `probe_interval` who has the address, and takes it back when nobody answered
// `silent_probes` times. The one who is first says so again and stays.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/model.h"
#include "config/object_set.h"
#include "control/load_balancer_views.h"

namespace sluice::control {

// The smaller comes first: SHA-256 of node + "#" + address (L2-2).
[[nodiscard]] std::string election_rank(const std::string& node, const net::IpAddr& address);

class Announcer {
 public:
  using Clock = std::chrono::steady_clock;
  using WallClock = std::chrono::system_clock;
  static constexpr auto conflict_patience = std::chrono::seconds(2);
  static constexpr auto probe_interval = std::chrono::seconds(2);
  static constexpr unsigned silent_probes = 3;
  static constexpr auto warning_interval = std::chrono::seconds(30);

  // What it asks of others: the slices of a service, the pool of an address (nullptr: of none).
  struct Sources {
    std::function<const std::set<config::ObjectName>*(const config::ObjectName&)> slices_of;
    std::function<const config::AddressPool*(const net::IpAddr&)> pool_of;
  };

  struct Announced {
    net::IpAddr address;
    std::string interface;
    bool answers = true;  // false: given way to another, watched
    friend bool operator==(const Announced&, const Announced&) = default;
    friend auto operator<=>(const Announced&, const Announced&) = default;
  };
  struct News {
    enum class Kind : uint8_t { TookOver, GaveUp, Conflict };
    Kind kind = Kind::TookOver;
    net::IpAddr address;
    std::string text;
  };
  struct Now {
    Clock::time_point steady;
    WallClock::time_point wall;
  };

  // Looks at what `change` led to; nullptr: at everything.
  void update(const config::Config& config, const config::Change* change, const Sources& sources, Now now);
  // Another MAC address says that it has the address.
  void on_claim(const net::IpAddr& address, const net::MacAddr& mac, Now now);
  // Time has passed: addresses to ask for.
  [[nodiscard]] std::vector<Announced> tick(const config::Config& config, const Sources& sources, Now now);

  // Whether announced() may be another than at the last call.
  [[nodiscard]] bool take_changed() { return std::exchange(changed_, false); }
  // What the workers have to know.
  [[nodiscard]] std::vector<Announced> announced() const;
  // Those that have to be told to everybody on the wire: taken over, or defended.
  [[nodiscard]] std::vector<Announced> take_fresh() { return std::exchange(fresh_, {}); }
  [[nodiscard]] std::vector<News> take_news() { return std::exchange(news_, {}); }
  [[nodiscard]] std::vector<L2Entry> entries() const;
  // Whether tick() may have something to do.
  [[nodiscard]] bool watches() const { return !given_way_.empty(); }
  [[nodiscard]] size_t owned() const { return owned_; }
  [[nodiscard]] uint64_t conflicts() const { return conflicts_; }

 private:
  struct Vip {
    std::set<config::ObjectName> services;
    std::string owner;
    std::string note;
    bool ours = false;
    bool gave_way = false;
    bool behind_dead = false;  // a node that counts as dead is before us in the order
    std::string rank;          // of the owner
    std::vector<std::string> interfaces;
    WallClock::time_point since{};
    Clock::time_point owned_since{}, last_claim{}, last_probe{}, warned{}, defended{};
    unsigned unanswered = 0;
    uint64_t conflicts = 0;
    std::optional<net::MacAddr> claimed_by;
  };
  // What an election has of a service's endpoints.
  struct Serving {
    bool any = false;             // is ready or serving
    std::set<std::string> nodes;  // that have such a one, if that counts
    friend bool operator==(const Serving&, const Serving&) = default;
  };
  struct OfService {
    std::vector<net::IpAddr> addresses;
    Serving serving;  // at the last look
  };
  struct Election {
    std::string owner;
    std::string note;
    bool behind_dead = false;
    std::string rank;
    std::vector<std::string> interfaces;
  };

  void index_service(const config::Config& config, const config::ObjectName& name, const Sources& sources,
                     std::set<net::IpAddr>& dirty);
  [[nodiscard]] Election elect(const config::Config& config, const net::IpAddr& address, const Vip& vip,
                               const Sources& sources) const;
  [[nodiscard]] static Serving serving(const config::Config& config, const config::ObjectName& service,
                                       const Sources& sources);
  // Its endpoints may be others: the addresses are added to `dirty` if an election may end otherwise.
  void look_at_endpoints(const config::Config& config, const config::ObjectName& service, const Sources& sources,
                         std::set<net::IpAddr>& dirty);
  // Those whose election may end otherwise after a change of Nodes: nobody behind the owner matters.
  void mark_nodes(const config::Config& config, const config::Change& change, std::set<net::IpAddr>& dirty);
  void decide(const config::Config& config, const net::IpAddr& address, Vip& vip, const Sources& sources, Now now);
  void take_over(const net::IpAddr& address, Vip& vip, Now now);
  void give_up(const net::IpAddr& address, Vip& vip, const std::string& why, Now now);
  void announce(const net::IpAddr& address, const Vip& vip);

  std::map<net::IpAddr, Vip> vips_;
  std::map<config::ObjectName, OfService> of_service_;
  std::set<net::IpAddr> given_way_;
  std::vector<Announced> fresh_;
  std::vector<News> news_;
  bool changed_ = false;
  bool any_node_ = false;  // at the last update()
  size_t owned_ = 0;
  uint64_t conflicts_ = 0;
};

}  // namespace sluice::control
