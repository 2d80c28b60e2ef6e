// The router behind the API: takes documents, validates, compiles, deploys, remembers.
//
// Every change takes the same way: objects → faults? → plan → deployment → grace period → kept on disk → answer. One at
// a time; the reply comes when every worker runs the new generation. What changes nothing but service tables leaves the
// plan alone. Changes of services, and those of nodes, blocks and endpoints of pods, that came while another was under
// way are put in place together: each has its own verdict and generation, the workers get one snapshot. Nothing here
// waits for a worker: grace periods and answers from command rings are polled by a timer; large documents are read and
// files are written in a thread of their own.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "config/json_memory.h"
#include "config/object_set.h"
#include "control/announcer.h"
#include "control/async_mutex.h"
#include "control/bgp_services.h"
#include "control/bird.h"
#include "control/content_library.h"
#include "control/deployment.h"
#include "control/event_monitor.h"
#include "control/external_names.h"
#include "control/flow_events.h"
#include "control/health_server.h"
#include "control/helper_threads.h"
#include "control/host_stack.h"
#include "control/idle_workers.h"
#include "control/ipam.h"
#include "control/load_balancer_log.h"
#include "control/router.h"
#include "control/service_compiler.h"
#include "control/service_totals.h"
#include "control/state_file.h"
#include "control/state_journal.h"
#include "control/traces.h"
#include "dataplane/dataplane.h"

namespace sluice::control {

struct ControllerOptions {
  std::string version;
  std::string state_folder;                // of the drained endpoints; empty: nothing is kept
  std::vector<int> worker_cpus;            // for display
  std::vector<int> helper_cpus;            // helper_threads.h
  bool helpers_yield = false;              // those are the workers' as well, of which idle ones sleep
  std::vector<net::IpAddr> api_addresses;  // where the API is served: no configuration may make data ports of them
  BirdPaths bird;
  std::string pod_sockets;  // folder of the sockets of pods' memifs; empty: there are none
};

class Controller final : public Router {
 public:
  // `io`, `plane` and `journal` outlive it.
  Controller(boost::asio::io_context& io, dataplane::Dataplane& plane, StateJournal& journal,
             ControllerOptions options);
  ~Controller() override;

  // The first configuration, which holds what validate() asks for. Before any other is put in place.
  Awaitable<ApplyReply> begin_with(config::ObjectSet objects, ApplyOptions options);

  // Instead, if there is none: nobody needs what a router that was killed had.
  void give_back_interfaces() { deployment_.give_back_interfaces(); }

  // Router
  Awaitable<ApplyReply> replace_config(std::string text, ApplyOptions options) override;
  Awaitable<ApplyReply> patch_config(std::string text, ApplyOptions options) override;
  Awaitable<ApplyReply> put_object(std::string text, ApplyOptions options) override;
  Awaitable<ApplyReply> delete_object(config::ObjectKey key, ApplyOptions options) override;
  [[nodiscard]] std::string applied_config(const config::ObjectSet::Filter& filter) const override {
    return objects_.to_text(filter, generation_);
  }
  [[nodiscard]] uint64_t generation() const override { return generation_; }
  [[nodiscard]] Status status() const override;
  [[nodiscard]] Counters counters() const override;
  [[nodiscard]] Totals totals() const override;
  [[nodiscard]] std::vector<NeighborEntry> neighbors() const override;
  [[nodiscard]] std::vector<RouteEntry> routes() const override;
  [[nodiscard]] std::vector<ServiceEntry> services() const override;
  [[nodiscard]] std::vector<LoadBalancerEntry> load_balancers() const override;
  [[nodiscard]] std::vector<IngressEntry> ingresses() const override;
  [[nodiscard]] std::vector<L2Entry> l2() const override { return announcer_.entries(); }
  [[nodiscard]] std::vector<ContentPolicyEntry> content_policies() const override;
  [[nodiscard]] BgpStatus bgp() const override { return bird_.status(); }
  // BGP-9: before a planned end.
  [[nodiscard]] Awaitable<void> withdraw_bgp();
  [[nodiscard]] std::vector<DrainEntry> drains() const override;
  Awaitable<DrainReply> drain(DrainTarget target, bool hard) override;
  Awaitable<DrainReply> undrain(DrainTarget target) override;
  Awaitable<net::Result<std::vector<net::IpAddr>, ipam::Refusal>> assign_addresses(ipam::Request request) override;
  Awaitable<net::Result<size_t, ipam::Refusal>> release_addresses(std::string handle) override;
  [[nodiscard]] const ipam::State& assigned_addresses() const override { return ipam_.state(); }
  Awaitable<std::vector<FlowEntry>> flows(FlowFilter filter) override;
  Awaitable<uint64_t> delete_flows(FlowFilter filter) override;
  [[nodiscard]] std::shared_ptr<FlowWatch> watch_flows(const FlowFilter& filter) override {
    return flow_events_.watch(filter);
  }
  [[nodiscard]] EventLog& events() override { return events_; }
  [[nodiscard]] Measurements& measurements() override { return measurements_; }
  Awaitable<net::Result<Explanation>> explain(Probe probe) override;
  Awaitable<net::Result<std::shared_ptr<TraceWatch>>> trace(TraceRequest request) override;

 private:
  using Clock = std::chrono::steady_clock;

  // What a request is read with; nullptr: without a limit.
  using Memory = std::shared_ptr<config::MemoryBudget>;

  // A change that waits for its turn.
  struct Pending {
    config::Delta delta;
    ApplyOptions options;
    Memory memory;
    Clock::time_point begin = Clock::now();
    std::optional<ApplyReply> reply;
  };
  using Batch = std::vector<std::shared_ptr<Pending>>;

  [[nodiscard]] Awaitable<ApplyReply> apply_delta(config::Delta delta, ApplyOptions options, Memory memory);
  // The next that wait and can be put in place together; `own` is the first of them.
  [[nodiscard]] Batch take_batch(const std::shared_ptr<Pending>& own);
  // The answer to a change that is based on a generation other than the one that serves.
  [[nodiscard]] static std::optional<ApplyReply> refuse_stale(std::optional<uint64_t> base, uint64_t serving);
  // Puts it into objects_.
  [[nodiscard]] net::Result<config::Change, config::ParseFailure> apply_pending(Pending& pending);
  // Answers all of them.
  [[nodiscard]] Awaitable<void> apply_batch(const Batch& batch);
  [[nodiscard]] Awaitable<ApplyReply> replace(config::Change change, ApplyOptions options, Clock::time_point begin);
  // Puts objects_, already changed by `change`, into the data plane, as so many generations. On failure the reply says
  // why and nothing has changed.
  [[nodiscard]] Awaitable<ApplyReply> deploy(const config::Change& change, uint64_t generations);
  // The same, after load balancer addresses were given, which are announced then.
  [[nodiscard]] Awaitable<ApplyReply> give_and_deploy(const config::Change& change, uint64_t generations);
  // Steps 1 to 4 of deployment.h. The token of the last.
  // `change`: what the configuration has become different by; nullptr: nobody knows.
  [[nodiscard]] Awaitable<net::Result<uint64_t>> rewire(const config::Change* change,
                                                        std::vector<std::string>& warnings);
  // The first step. `tables`: those of services, if they were made meanwhile.
  [[nodiscard]] net::Status<> open_ports(const Plan& plan, std::optional<ServiceCompiler::Tables>& tables);
  // Instead, if delta_of() has it: the same, of what the plan changes in alone. The token of the last step.
  // `addresses` are those that it was made with.
  [[nodiscard]] Awaitable<net::Result<uint64_t>> rewire(const PlanDelta& delta, const config::Change& change,
                                                        Allocated addresses);
  [[nodiscard]] std::optional<PlanDelta> delta_of(const config::Change& change, const Allocated& addresses) const;
  // What people are told of a plan with these warnings.
  [[nodiscard]] std::vector<std::string> routing_warnings(std::vector<std::string> of_plan) const;
  [[nodiscard]] Awaitable<void> deployment_retreat();
  [[nodiscard]] Awaitable<bool> wait_for(uint64_t token);
  [[nodiscard]] Awaitable<void> pause(std::chrono::microseconds time);
  // Runs a command to its end.
  [[nodiscard]] Awaitable<std::unique_ptr<dataplane::Command>> ask_worker(uint16_t worker,
                                                                          dataplane::Command::Kind kind,
                                                                          const FlowFilter& filter, size_t limit);
  [[nodiscard]] Awaitable<void> run_command(uint16_t worker, dataplane::Command& command);
  // controller_traces.cpp
  [[nodiscard]] Awaitable<std::optional<dataplane::FlowRecord>> find_flow(const Probe& probe);
  [[nodiscard]] Awaitable<std::optional<dataplane::Command::Affinity>> find_affinity(const Probe& probe);
  // By what serves when it is called. All outlive what it returns; what they need of Hyperscan is compiled in the
  // background.
  [[nodiscard]] Awaitable<std::vector<Explanation>> describe_traces(std::span<const dataplane::PacketTrace> traces,
                                                                    bool dry, std::string_view said);
  [[nodiscard]] Explanation text_of_trace(const dataplane::PacketTrace& trace, bool dry, std::string_view said) const;
  // Of "default/web:http": how many endpoints there are, and why they are not used.
  [[nodiscard]] std::string endpoints_text(const std::string& service_port) const;
  [[nodiscard]] std::string port_name(uint16_t port) const;
  // The fault of a change that was applied and would make the API's address one of a data port.
  [[nodiscard]] std::optional<config::ParseFailure> exposes_api(const config::Change& change) const;
  // The answer to a change that was applied to objects_ and goes no further, with what its plan would warn of.
  [[nodiscard]] ApplyReply tried(const config::Change& change, std::vector<config::Warning> warnings,
                                 Clock::time_point begin) const;
  [[nodiscard]] ApplyReply applied(ApplyReply::Code code, std::vector<config::Warning> warnings,
                                   Clock::time_point begin) const;
  // What remember() will write, made by a helper while the change is put in place. Until it is gone objects_ and the
  // change stay as they are.
  struct Keeping {
    StateJournal::Prepared prepared;
    std::unique_ptr<HelperThreads::Errand> errand;  // last, so that it ends first
  };
  [[nodiscard]] std::unique_ptr<Keeping> begin_keeping(const config::Change& change);
  // Waits in the background for a helper that is at it; nullptr: for nobody.
  [[nodiscard]] Awaitable<void> end_keeping(std::unique_ptr<Keeping> keeping);
  // Keeps what `change` did for the next start. A problem becomes a warning. `keeping`: nullptr: it was not begun.
  [[nodiscard]] Awaitable<std::optional<config::Warning>> remember(const config::Change& change,
                                                                   Keeping* keeping = nullptr);
  // Writes what is kept through to the disk, and anew once it has become long.
  [[nodiscard]] Awaitable<void> tidy_journal();
  // `locked`: the caller holds changes_; otherwise other changes go on meanwhile.
  [[nodiscard]] Awaitable<net::Status<>> rewrite_document(bool locked);
  // What could not be kept, or not be given because it could not be kept, now.
  [[nodiscard]] Awaitable<void> catch_up();
  [[nodiscard]] bool has_arrears() const;
  void load_drains();
  // Puts `drains` into the data plane beside the configuration that serves, whose generation stays. What is odd goes
  // into the reply's warnings.
  [[nodiscard]] Awaitable<void> publish_drains(DrainList drains, DrainReply& reply);
  // controller_content.cpp
  // What makes a change that was applied one that is refused all the same. Compiles what ContentPolicies look for.
  [[nodiscard]] Awaitable<std::optional<config::ParseFailure>> cannot_serve(const config::Change& change);
  [[nodiscard]] std::vector<ContentStatus> content_status() const;
  // controller_external.cpp
  // Once `change` is published: which names are asked for. put_external_names() after it.
  void follow_external_names(const config::Change& change);
  // Why an answer of DNS is not used; empty: it is.
  [[nodiscard]] std::string objection_to(const net::IpAddr& address) const;
  [[nodiscard]] ExternalNameEntry external_name_entry(const config::ObjectName& service) const;
  void external_names_changed();
  // Other addresses of names into the data plane, beside the configuration that serves, whose generation stays: the
  // token of the snapshot that has them; empty: there are none.
  [[nodiscard]] std::optional<uint64_t> put_external_names();
  [[nodiscard]] Awaitable<void> publish_external_names();
  // controller_ipam.cpp
  void load_addresses();
  // What was written of addresses is on the disk.
  [[nodiscard]] Awaitable<net::Status<>> sync_addresses();
  // What of it is routed.
  [[nodiscard]] Allocated allocated() const;
  // It is, and what the workers route is what the blocks say.
  [[nodiscard]] Awaitable<net::Status<>> settle_addresses();
  // IPAM-7: a pool that a tunnel's address was of may be gone, or not for tunnels any more.
  [[nodiscard]] Awaitable<void> renew_tunnel_addresses();
  void follow_tunnel_addresses(const config::Change* change);
  [[nodiscard]] Awaitable<void> take_tunnel_addresses();
  // IPAM-8: releases what belongs to network namespaces that have been gone for long.
  [[nodiscard]] Awaitable<void> collect_leaks();
  [[nodiscard]] Awaitable<void> release_leak(std::string name);
  [[nodiscard]] Awaitable<void> keep_collecting_leaks();
  // controller_load_balancer.cpp
  void load_load_balancers();
  void take_given(const std::vector<config::ObjectName>& services);
  [[nodiscard]] GivenAddresses given_to(const std::vector<config::ObjectName>& services) const;
  // On the disk when it answers.
  [[nodiscard]] Awaitable<net::Status<>> keep_given(GivenAddresses changes);
  // Gives services addresses as objects_, changed by `change`, asks for, and takes those that are not theirs any more;
  // the change with that in it, for deploy(), or nothing if there is none of that. If that fails: take_addresses_back()
  // once objects_ is reverted.
  [[nodiscard]] Awaitable<std::optional<config::Change>> give_addresses(const config::Change& change);
  [[nodiscard]] Awaitable<void> take_addresses_back();
  // Instead, when it cannot be written down: what was kept, is in a status or wanted by its address. Others wait until
  // it can. `change`: nullptr: at the start.
  void give_what_is_known(const std::string& problem, const config::Change* change);
  // They can again.
  [[nodiscard]] Awaitable<void> give_to_those_who_wait();
  [[nodiscard]] Announcer::Sources announcer_sources() const;
  [[nodiscard]] Awaitable<void> announce_load_balancers(const config::Change* change);
  [[nodiscard]] std::vector<dataplane::Announcement> indexed(const std::vector<Announcer::Announced>& all) const;
  [[nodiscard]] Awaitable<void> publish_announcements();
  [[nodiscard]] Awaitable<void> tell_announcements(std::vector<dataplane::Announcement> fresh);
  [[nodiscard]] Awaitable<void> send_announcements(std::vector<dataplane::Announcement> announcements);
  [[nodiscard]] Awaitable<void> keep_watching_claims();
  void report_announcements();
  // Load balancer addresses that are this router's and, if said, those that it listens on for Ingresses.
  [[nodiscard]] std::vector<Announcer::Announced> announced_addresses(bool load_balancers, bool ingress) const;
  // Those at interfaces whose link has come up since the last call.
  [[nodiscard]] std::vector<Announcer::Announced> behind_new_links();
  [[nodiscard]] Awaitable<void> keep_telling();
  [[nodiscard]] LoadBalancerStatus load_balancer_status() const;
  [[nodiscard]] RouterHealth health() const;
  // controller_bgp.cpp
  // `change`: what the configuration has become different by; nullptr: nothing, but blocks of addresses or drains.
  // `allocated_differs`: blocks of addresses as well.
  void follow_bgp(const config::Change* change, bool allocated_differs = false);
  void report_bgp(RouterEvent event);
  // controller_host.cpp
  void host_changed();
  [[nodiscard]] Awaitable<void> follow_host();
  [[nodiscard]] Awaitable<bool> take_from_host();
  [[nodiscard]] Awaitable<void> set_host_neighbors(HostNeighbors neighbors);
  // controller_events.cpp
  // What became of a change; `before`: the generation that served until then.
  void report(const config::Change& change, const ApplyOptions& options, const ApplyReply& reply, uint64_t before);
  void report_drain(const DrainReply& reply, bool drained);
  // Every worker uses `change` now.
  void measure_programming(const config::Change& change);
  [[nodiscard]] Observation observe() const;
  void look_again();
  [[nodiscard]] Awaitable<void> look_for_pods();

  boost::asio::io_context& io_;
  dataplane::Dataplane& plane_;
  ControllerOptions options_;
  StateJournal& journal_;
  StateFile drain_state_;
  AsyncMutex changes_;
  std::deque<std::shared_ptr<Pending>> waiting_;
  config::ObjectSet objects_;  // changed only by who holds changes_
  bool syncing_ = false;       // tidy_journal() will soon
  bool tidying_ = false;       // the document is being written
  bool catching_up_ = false;
  Clock::time_point next_giving_;  // of load balancer addresses that could not be written down
  Clock::time_point next_rewrite_;
  DrainList drains_;
  ipam::FileStorage ipam_storage_;
  ipam::Ipam ipam_{ipam_storage_};
  AsyncMutex ipam_sync_;
  AsyncMutex tunnel_addresses_;
  std::string tunnel_problem_;                           // in ipam_warnings_
  uint64_t ipam_synced_ = 0;                             // the last record that is on the disk
  Allocated routed_;                                     // what the workers know of it, or will
  std::optional<uint64_t> routing_token_;                // they do when it has passed
  std::vector<std::string> ipam_warnings_;               // what was wrong with what was kept
  std::map<std::string, Clock::time_point> gone_since_;  // handles whose network namespace is gone
  ipam::FileStorage load_balancer_storage_;
  LoadBalancerLog load_balancer_log_{load_balancer_storage_};
  LoadBalancer load_balancer_;
  std::vector<config::ObjectName> given_services_;   // by the change under way
  std::vector<std::string> load_balancer_warnings_;  // of what was kept
  std::vector<std::string> pool_warnings_;           // of pools and announcements
  Announcer announcer_;
  std::set<Announcer::Announced> told_ingress_;  // what everybody has been told of announced_addresses(false, true)
  std::map<std::string, bool> links_;            // by device: up at the last look
  std::string drain_problem_;                    // why the file of drained endpoints could not be used
  Measurements measurements_;
  IdleWorkers idle_workers_;
  HelperThreads helpers_;
  ContentLibrary content_;
  ExternalNames external_names_;
  bool publishing_names_ = false;
  ServiceCompiler services_;
  Deployment deployment_;
  HostStack host_;
  HostAddresses host_addresses_;  // those in service
  HostNeighbors host_neighbors_;  // those that worker 0 has
  std::string host_problem_;
  bool following_host_ = false;
  BgpServices bgp_services_;
  ServiceTotals service_totals_;
  Bird bird_;
  bool beginning_ = false;   // with what was kept, or a file: begin_with()
  uint64_t generation_ = 0;  // of the configuration, as users count it
  uint64_t wanted_generation_ = 0;
  double last_apply_milliseconds_ = 0;
  std::vector<std::string> warnings_;
  Clock::time_point started_ = Clock::now();
  std::chrono::system_clock::time_point started_at_ = std::chrono::system_clock::now();
  // SVC-82: a change that is under way, and once it is published, what the workers have to pass.
  std::optional<Clock::time_point> changing_since_;
  std::optional<uint64_t> awaited_token_;
  std::chrono::system_clock::time_point updated_;
  EventLog events_;
  EventMonitor monitor_;
  boost::asio::steady_timer look_timer_;
  bool looking_for_pods_ = false;
  HealthServer health_server_;
  FlowEvents flow_events_;
  Traces traces_;
  boost::asio::thread_pool compiling_{1};   // of patterns, which can take long
  boost::asio::thread_pool background_{1};  // last, so that it ends first
};

}  // namespace sluice::control
