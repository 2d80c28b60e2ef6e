// The routes of the host's kernel that are to be the router's: of wanted tables and protocols, by the twins of its
// interfaces (or by none: blackholes). From messages of the kernel to changes of the forwarding table, without a
// socket.
//
// What changes around them costs in proportion to the routes that it concerns: they are found by their next hops.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "config/model.h"
#include "control/deployment.h"
#include "control/netlink.h"
#include "control/plan_delta.h"

namespace sluice::control {

// Routes into the IPPools with IPIP lead to a node through its tunnel, where the kernel names the node as next hop.
struct HostTunnels {
  std::map<net::Prefix, config::TunnelMode> pools;  // of IPv4, not Never
  std::map<net::IpAddr, PlannedHop> nodes;          // by the underlay address; kind: Tunnel
  std::vector<net::Prefix> connected;               // subnets of the router: CrossSubnet goes bare there

  friend bool operator==(const HostTunnels&, const HostTunnels&) = default;
};
[[nodiscard]] HostTunnels host_tunnels(const config::Config& config, const Plan& plan);

class HostRouteTable {
 public:
  // What the router calls the links of the kernel, by their index.
  using Links = std::map<int, std::string>;

  // Which routes are wanted (nullopt: none), and by which links. Routes that came before are looked at again; those
  // that were not wanted then are not there: the kernel has to be asked again if this says so.
  [[nodiscard]] bool set_wanted(const std::optional<config::HostRoutes>& wanted, Links links);
  // MAC addresses that the configuration knows: a neighbour is known by one.
  void set_neighbors(const std::set<PlannedNeighbor>& neighbors);

  // What needs a tunnel: networks, and the way to nodes by their addresses (BGP-8).
  void set_tunnels(HostTunnels tunnels);
  // Instead of both: `delta` led to `plan`, which is of `config`.
  void follow(const config::Config& config, const Plan& plan, const PlanDelta& delta);

  void learn(const netlink::Route& route);
  // Between them everything there is is learned; what is not learned is gone.
  void begin_all() { ++round_; }
  void end_all();

  // Whether take_changes() would return any.
  [[nodiscard]] bool changed() const { return !changed_.empty(); }
  // What is different from what was taken before, about at most `most` destinations.
  [[nodiscard]] std::vector<HostRouteChange> take_changes(size_t most);

 private:
  struct Known {
    netlink::Route route;
    uint32_t round = 0;
  };
  struct Entry {
    std::vector<Known> known;  // one for each table and metric
    HostRoute told;
  };
  using Entries = std::map<net::Prefix, Entry>;
  using Place = std::pair<std::string, net::IpAddr>;  // of a neighbour: interface and address

  [[nodiscard]] bool wants(const netlink::Route& route) const;
  // Of tables, the first in the configuration; of one table's, the least metric.
  [[nodiscard]] bool is_better(const netlink::Route& a, const netlink::Route& b) const;
  [[nodiscard]] HostRoute resolve(const Entry& entry);
  [[nodiscard]] std::vector<PlannedHop> hops_of(const netlink::Route& route) const;
  // The tunnel for packets to `destination` whose next hop is `via`; nullptr: they need none.
  [[nodiscard]] const PlannedHop* tunnel_for(const net::Prefix& destination, const net::IpAddr& via) const;
  // With the MAC address that the configuration knows.
  [[nodiscard]] PlannedNeighbor known(PlannedNeighbor neighbor) const;
  [[nodiscard]] HostRoute shared(std::vector<PlannedHop> hops);
  void look_again();
  // Sorted, each once.
  [[nodiscard]] static std::vector<net::IpAddr> vias_of(const std::vector<Known>& known);
  // At those with this next hop.
  void look_at(const net::IpAddr& via);
  // At those with this neighbour as their next hop, or before the tunnel to it.
  void look_at(const Place& neighbor);
  void look_into(const net::Prefix& pool);
  // `before`: next hops of what was known of it; the index has those that are known now.
  void index(const Entries::value_type& entry, const std::vector<net::IpAddr>& before);
  void index_nodes();
  void set_mac(const Place& neighbor, const std::optional<net::MacAddr>& mac);
  // nullopt: there is no way to the node by this tunnel.
  void set_node(const std::string& tunnel, const std::optional<std::pair<net::IpAddr, PlannedHop>>& way);
  void forget_node(const std::string& tunnel);
  [[nodiscard]] static bool is_in(const std::vector<net::Prefix>& subnets, const net::IpAddr& address);

  std::optional<config::HostRoutes> wanted_;
  Links links_;
  std::map<Place, net::MacAddr> macs_;
  HostTunnels tunnels_;
  std::map<std::string, net::IpAddr> node_of_;     // of tunnels_, by the tunnel
  std::map<Place, std::set<net::IpAddr>> behind_;  // nodes of tunnels_, by the neighbour before the tunnel
  Entries entries_;
  std::map<net::IpAddr, std::unordered_set<const Entries::value_type*>> by_via_;
  std::set<net::Prefix> changed_;
  std::map<std::vector<PlannedHop>, HostRoute> ways_;
  size_t ways_in_use_ = 0;  // when it was last looked
  uint32_t round_ = 0;
};

}  // namespace sluice::control
