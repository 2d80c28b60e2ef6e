// Puts a Plan into the running data plane, all or nothing, without stopping it.
//
//   begin   what can fail: devices are opened, next hops and neighbours placed, routes added. On failure all of
//           it is undone and the old generation serves on.
//   commit  the snapshot is published; begin() already published an intermediate one if routes name interfaces or
//           tunnels that the workers did not know.
//   finish  after every worker has passed the new generation: what it no longer names is given back.
//
// Interfaces, tunnels, neighbours and next hops have stable indices: workers and flows remember them.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/model.h"
#include "control/plan.h"
#include "control/plan_delta.h"
#include "control/pod_ports.h"
#include "control/service_compiler.h"
#include "control/service_routes.h"
#include "dataplane/dataplane.h"
#include "dataplane/port.h"

namespace sluice::control {

// A route that the host's kernel has, and a change of them; nullptr: it is gone. Equal ones share what they say.
using HostRoute = std::shared_ptr<const PlannedRoute>;
struct HostRouteChange {
  net::Prefix destination;
  HostRoute route;
};

class Deployment {
 public:
  explicit Deployment(dataplane::Dataplane& plane, const PodPortsOptions& pods = {})
      : plane_(plane), pods_(plane.worker_count(), pods) {}
  ~Deployment();
  Deployment(const Deployment&) = delete;
  Deployment& operator=(const Deployment&) = delete;

  // 1. Ports. New devices are opened, invisible to the workers yet; open ones take their new MTU, MAC and promiscuity.
  // An error leaves all as they were.
  [[nodiscard]] net::Status<> open_ports(const Plan& plan);
  void abandon_ports();
  // 2. A snapshot that knows the old and the new interfaces and tunnels. Its token (Publisher::passed).
  [[nodiscard]] uint64_t announce(const Plan& plan);
  // After a failure: the workers forget what announce() told them of. Its token; abandon_ports() after it.
  [[nodiscard]] uint64_t retreat();
  // 3. Neighbours, next hops, routes. An error names the route; everything is as before then.
  [[nodiscard]] net::Status<> install_routes(const Plan& plan);
  // 4. The snapshot of the new generation. Its token.
  // `change`: all that `config` differs in from the one published before; nullptr: anything may. `tables`: what
  // `services` has made of `config` and the plan's addresses already.
  [[nodiscard]] uint64_t publish(const config::Config& config, Plan plan, ServiceCompiler& services,
                                 const DrainList& drains = {}, const config::Change* change = nullptr,
                                 std::optional<ServiceCompiler::Tables> tables = std::nullopt);
  // Instead of steps 1 to 4 if only_services(): everything but the service tables stays. Cannot fail.
  [[nodiscard]] uint64_t publish_services(const config::Config& config, ServiceCompiler& services,
                                          const DrainList& drains, const config::Change* change);
  // Before publish_services(), instead of steps 1 to 3, if the plan differs in routes to services at most: moves is
  // what service_moves() says. An error names the route; everything is as before then.
  [[nodiscard]] net::Status<> move_services(const ServiceRoutes::Moves& moves);
  // Routes of the host, which those of the plan hide. Does not look at the plan as a whole: what it costs is in
  // proportion to `changes`. Every worker has them when the token is passed; then finish(). Between changes of the
  // configuration only. What finds no room is left out, and tried again when others have gone.
  [[nodiscard]] uint64_t change_host_routes(const std::vector<HostRouteChange>& changes);
  // How many of them are left out, and why; empty if none is.
  [[nodiscard]] std::string host_routes_problem() const;
  [[nodiscard]] const std::map<net::Prefix, HostRoute>& host_routes() const { return host_routes_; }
  // The index of an interface in the snapshot; empty: there is none of that name.
  [[nodiscard]] std::optional<uint16_t> index_of_interface(const std::string& name) const {
    const auto found = interface_index_.find(name);
    return found == interface_index_.end() ? std::nullopt : std::optional(found->second);
  }
  // Whether plan and settings are the same after `change`, which led to `config`.
  [[nodiscard]] bool only_services(const config::Config& config, const config::Change& change) const;
  // What becomes of routes to services if that is all that differs in the plan. Empty: it is not, or may not be.
  [[nodiscard]] std::optional<ServiceRoutes::Moves> service_moves(const config::Config& config,
                                                                  const config::Change& change) const;
  // What becomes of plan() if only nodes, their blocks and pods of this node change: then steps 1 to 4 are those of
  // the delta, 2 only if announces(). Empty: the plan has to be made anew. plan() has `before` and `host`.
  [[nodiscard]] std::optional<PlanDelta> plan_delta(const config::Config& config, const config::Change& change,
                                                    const Allocated& allocated, const Allocated& before,
                                                    const HostAddresses& host) const;
  [[nodiscard]] net::Status<> open_ports(const PlanDelta& delta);
  [[nodiscard]] static bool announces(const PlanDelta& delta) { return !delta.tunnels.empty() || delta.interfaces; }
  [[nodiscard]] uint64_t announce(const PlanDelta& delta);
  [[nodiscard]] net::Status<> install_routes(const PlanDelta& delta);
  [[nodiscard]] uint64_t publish(const config::Config& config, const PlanDelta& delta, ServiceCompiler& services,
                                 const DrainList& drains, const config::Change& change);
  // Load balancer addresses to answer for, from now on. A snapshot that has them: its token; empty: they are the same.
  [[nodiscard]] std::optional<uint64_t> publish_announcements(std::vector<dataplane::Announcement> announcements);
  // Looks for the interfaces of pods. If some came, went or changed, a snapshot that knows: its token. finish() after
  // it.
  [[nodiscard]] std::optional<uint64_t> look_for_pods();
  // 5. After the grace period. What a late worker may still use is kept until the next time.
  void finish();

  [[nodiscard]] uint32_t generation() const { return generation_; }
  [[nodiscard]] const Plan& plan() const { return plan_; }
  [[nodiscard]] const dataplane::Snapshot* snapshot() const { return last_; }
  [[nodiscard]] const std::map<std::string, std::unique_ptr<dataplane::Port>>& ports() const { return ports_; }
  [[nodiscard]] const PodPorts& pods() const { return pods_; }
  // Those of the machine that a router which was killed had. Before the first configuration, if there is none yet.
  void give_back_interfaces() { pods_.keep({}); }
  // Of an interface whose port is open.
  [[nodiscard]] net::MacAddr mac_of(const PlannedInterface& planned) const;
  // What an interface's counters were when its index got this meaning, over all workers.
  [[nodiscard]] const dataplane::InterfaceCounters& counted_before(size_t index) const { return counted_[index]; }
  // The index of a tunnel of plan() in the snapshot.
  [[nodiscard]] uint16_t index_of_tunnel(const std::string& name) const { return tunnel_index_.at(name); }
  // Of the tunnels of plan(), and of some that were, by name.
  [[nodiscard]] const std::map<std::string, uint16_t>& tunnel_indices() const { return tunnel_index_; }
  [[nodiscard]] const ServiceCompiler::Tables& service_tables() const { return tables_; }
  // Whether step 2 and 3 are needed.
  [[nodiscard]] bool changes_routing(const Plan& plan) const;

 private:
  // An object other than a Service with other addresses.
  [[nodiscard]] bool keeps_plan(const config::Config& config, const config::Change::Touched& touched) const;
  // Routes that were installed and what they were before; dataplane::hop::retry: there was none.
  using Undo = std::vector<std::pair<net::Prefix, dataplane::NextHopId>>;
  [[nodiscard]] net::Status<> install_route(const net::Prefix& prefix, const PlannedRoute& route, Undo& undo);
  void put_back(const Undo& undo);
  // One of plan() that will be in it no more.
  void remove_route(const net::Prefix& prefix);
  [[nodiscard]] net::Status<> check_names(const std::vector<PlannedInterface>& interfaces) const;
  [[nodiscard]] net::Status<> check_tunnels(const std::map<std::string, PlannedTunnel>& tunnels) const;
  void restore_ports();
  [[nodiscard]] uint64_t hand_out(std::unique_ptr<const dataplane::Snapshot> snapshot);
  void retire_pod_indices(const Plan& plan);
  void retire_tunnel_indices(const Plan& plan);
  [[nodiscard]] bool keeps_tunnel_index(const std::pair<const std::string, uint16_t>& tunnel) const;
  [[nodiscard]] uint16_t interface_index(const std::string& name, bool of_pod = false);
  [[nodiscard]] uint16_t tunnel_index(const std::string& name);
  [[nodiscard]] net::Status<> pin(const PlannedNeighbor& neighbor);
  [[nodiscard]] net::Status<> install_host_route(const std::pair<const net::Prefix, HostRoute>& entry);
  void take_route(const net::Prefix& prefix);
  void retire_unused(const Plan& plan);
  void retire(const PlanDelta& delta);
  // Routes that go by these hops: one more, one less.
  void use(const std::vector<PlannedHop>& hops);
  void drop(const std::vector<PlannedHop>& hops);
  void count_uses(const Plan& plan);
  // Whether routes of the host do.
  [[nodiscard]] bool host_names(const PlannedHop& hop) const;
  [[nodiscard]] bool host_names(const PlannedNeighbor& neighbor) const;
  [[nodiscard]] net::Result<dataplane::NextHopId> hop_id(const PlannedRoute& route);
  [[nodiscard]] net::Result<dataplane::NextHopId> single_hop_id(const PlannedHop& planned);
  [[nodiscard]] dataplane::Interface make_interface(const PlannedInterface& planned) const;
  void fill_services(dataplane::Snapshot& snapshot) const;
  void fill_interfaces(dataplane::Snapshot& snapshot, const std::vector<PlannedInterface>& interfaces);
  void fill_topology(dataplane::Snapshot& snapshot, const Plan& plan);
  void change_tunnels(dataplane::Snapshot& snapshot, const std::map<std::string, PlannedTunnel>& set,
                      const std::vector<std::string>& lost);
  void fill_ports(dataplane::Snapshot& snapshot);

  dataplane::Dataplane& plane_;
  uint32_t generation_ = 0;
  Plan plan_;
  ServiceRoutes service_routes_;  // of plan_
  const dataplane::Snapshot* last_ = nullptr;
  uint64_t last_token_ = 0;  // of last_
  ServiceCompiler::Tables tables_;
  std::shared_ptr<const dataplane::Announcements> announcements_ = std::make_shared<const dataplane::Announcements>();

  std::map<std::string, std::unique_ptr<dataplane::Port>> ports_;  // by device
  std::vector<std::string> opened_;                                // by the change in progress
  std::vector<dataplane::PortSpec> changed_;                       // by the change in progress: what they were
  std::vector<std::unique_ptr<dataplane::Port>> closing_;
  PodPorts pods_;
  std::map<std::string, uint16_t> interface_index_;
  size_t interfaces_ = 0;           // indices ever used
  std::set<uint16_t> pod_indices_;  // of those in interface_index_: may be used again for another pod
  std::vector<uint16_t> retired_indices_;
  std::deque<uint16_t> free_indices_;
  std::vector<dataplane::InterfaceCounters> counted_ =
      std::vector<dataplane::InterfaceCounters>(dataplane::max_interfaces);
  std::map<std::string, uint16_t> tunnel_index_;
  size_t tunnels_ = 0;                     // indices ever used
  std::vector<uint16_t> retired_tunnels_;  // finish() makes them free
  std::deque<uint16_t> free_tunnels_;
  // Of direct return, whose flows go on when nothing names them any more: these are not used again.
  std::set<uint16_t> remembered_tunnels_;
  std::map<PlannedNeighbor, uint32_t> pinned_;
  std::vector<uint32_t> free_pinned_;
  uint32_t next_pinned_ = 0;
  std::map<PlannedHop, dataplane::NextHopId> single_hops_;
  std::map<std::vector<PlannedHop>, dataplane::NextHopId> groups_;
  std::map<PlannedHop, uint32_t> single_uses_;  // hops of routes of plan_ that go so
  std::map<std::vector<PlannedHop>, uint32_t> group_uses_;
  std::map<net::Prefix, dataplane::NextHopId> installed_;  // what the FIB holds
  std::map<net::Prefix, HostRoute> host_routes_;           // hidden ones too
  std::map<std::vector<PlannedHop>, size_t> host_ways_;    // how many of them go so
  std::set<net::Prefix> host_routes_left_out_;
  std::string left_out_because_;
  // Given back by finish().
  std::vector<dataplane::NextHopId> retired_hops_;
  std::vector<uint32_t> retired_neighbors_;
};

}  // namespace sluice::control
