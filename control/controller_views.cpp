// What the router shows of itself: status, counters, tables.
#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "control/controller.h"
#include "control/flow_entry.h"

namespace sluice::control {
namespace {

std::string source_name(const HostNeighbor& neighbor) { return neighbor.learned ? "extern_learn" : "host"; }

std::string_view state_name(dataplane::NeighborState state) {
  switch (state) {
    case dataplane::NeighborState::Unused:
      return "unused";
    case dataplane::NeighborState::Incomplete:
      return "incomplete";
    case dataplane::NeighborState::Reachable:
      return "reachable";
    case dataplane::NeighborState::Stale:
      return "stale";
    case dataplane::NeighborState::Failed:
      return "failed";
    case dataplane::NeighborState::Permanent:
      return "permanent";
  }
  return "unknown";
}

std::string_view type_of(const PlannedHop& hop) {
  switch (hop.kind) {
    case dataplane::HopKind::Local:
      return "local";
    case dataplane::HopKind::Service:
      return "service";
    case dataplane::HopKind::Connected:
      return "connected";
    case dataplane::HopKind::Tunnel:
      return "tunnel";
    case dataplane::HopKind::Gateway:
      return "unicast";
    case dataplane::HopKind::Reject:
      return hop.fixed == dataplane::hop::prohibit ? "prohibit" : "unreachable";
    default:
      return "blackhole";
  }
}

std::string_view kind_name(nat::FrontendKind kind) {
  switch (kind) {
    case nat::FrontendKind::ClusterIp:
      return "ClusterIP";
    case nat::FrontendKind::ExternalIp:
      return "ExternalIP";
    case nat::FrontendKind::LoadBalancer:
      return "LoadBalancer";
    case nat::FrontendKind::NodePort:
      return "NodePort";
  }
  return "";
}

std::string_view policy_name(config::TrafficPolicy policy) {
  return policy == config::TrafficPolicy::Local ? "Local" : "Cluster";
}

template <class F>
void add_frontends(const nat::ServiceTable<F>& table, std::map<std::string, ServiceEntry>& entries) {
  table.each([&](const nat::Frontend<F>& frontend) {
    if (frontend.port.host() == 0) return;  // l7::target_address
    ServiceEntry& entry = entries[frontend.service->name];
    entry.name = frontend.service->name;
    entry.protocol = protocol_name(frontend.protocol);
    entry.frontends.push_back(
        {std::string(kind_name(frontend.kind)), net::IpAddr(frontend.addr), frontend.port.host()});
  });
}

}  // namespace

Status Controller::status() const {
  Status status;
  status.version = options_.version;
  status.node_name = objects_.config().gateway.node_name;
  status.generation_wanted = wanted_generation_;
  status.generation_applied = generation_;
  status.ready = generation_ != 0;
  status.uptime_seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  status.last_apply_milliseconds = last_apply_milliseconds_;
  status.warnings = warnings_;
  for (const config::Warning& problem : health_server_.problems()) status.warnings.push_back(problem.text());
  for (std::string& problem : bird_.problems()) status.warnings.push_back(std::move(problem));
  if (!drain_problem_.empty()) status.warnings.push_back(drain_problem_);
  for (const std::string& problem : {host_problem_, host_.problem()}) {
    if (!problem.empty()) status.warnings.push_back(problem);
  }
  status.warnings.insert(status.warnings.end(), ipam_warnings_.begin(), ipam_warnings_.end());
  for (const auto* more : {&load_balancer_warnings_, &pool_warnings_}) {
    status.warnings.insert(status.warnings.end(), more->begin(), more->end());
  }
  const std::vector<std::string>& neighbors = host_.neighbors().warnings();
  status.warnings.insert(status.warnings.end(), neighbors.begin(), neighbors.end());
  if (!deployment_.pods().problem().empty()) status.warnings.push_back(deployment_.pods().problem());
  for (const PlannedInterface& interface : deployment_.plan().interfaces) {
    if (!interface.in_kernel()) continue;
    const std::string problem = deployment_.pods().problem_of(interface.link);
    if (!problem.empty()) status.warnings.push_back(fmt::format("memif of {}: {}", interface.name, problem));
  }
  status.mbufs_total = plane_.options().mbufs;
  status.mbufs_in_use = plane_.mbufs_in_use();
  status.conntrack_max = plane_.options().connections;
  status.load_balancers = load_balancer_status();
  status.content = content_status();
  for (uint16_t i = 0; i < plane_.worker_count(); ++i) {
    const dataplane::WorkerCounters& counters = plane_.worker(i).counters();
    const auto event = [&](dataplane::Event which) { return counters.events[static_cast<size_t>(which)]; };
    WorkerStatus worker;
    worker.index = i;
    worker.cpu = i < options_.worker_cpus.size() ? options_.worker_cpus[i] : -1;
    // A worker that has passed the last snapshot runs the last configuration.
    const bool current = plane_.publisher().generation_of(i) == deployment_.generation();
    worker.generation = current ? generation_ : generation_ - std::min<uint64_t>(generation_, 1);
    worker.busy_cycles = counters.busy_cycles;
    worker.total_cycles = counters.total_cycles;
    worker.packets = event(dataplane::Event::PacketsIn) + event(dataplane::Event::ReceivedOver);
    worker.handed_over = event(dataplane::Event::HandedOver);
    worker.received_over = event(dataplane::Event::ReceivedOver);
    worker.flows_v4 = counters.live_flows_v4;
    worker.flows_v6 = counters.live_flows_v6;
    worker.flows_opened = event(dataplane::Event::FlowsOpened);
    worker.flows_closed = event(dataplane::Event::FlowsClosed);
    const nat::SnatCounters& snat = plane_.worker(i).snat_counters();
    worker.snat_allocated = snat.allocated;
    worker.snat_draws = snat.draws;
    worker.snat_exhausted = snat.exhausted;
    worker.snat_gave_up = snat.gave_up;
    worker.snat_mappings = counters.live_mappings;
    status.workers.push_back(worker);
  }
  const dataplane::Snapshot* snapshot = deployment_.snapshot();
  if (snapshot == nullptr) return status;
  for (size_t index = 0; index < snapshot->interfaces.size(); ++index) {
    const dataplane::Interface& interface = snapshot->interfaces[index];
    if (!interface.present) continue;
    InterfaceStatus entry;
    entry.name = interface.name;
    entry.port = interface.port;
    entry.vlan = interface.vlan;
    entry.mac = interface.mac;
    entry.mtu = interface.mtu;
    entry.addresses = interface.prefixes;
    for (const auto& [device, port] : deployment_.ports()) {
      if (port->id() != interface.port) continue;
      const dataplane::PortStatistics statistics = port->statistics();
      entry.device = device;
      entry.link_up = statistics.link_up;
      entry.rx_missed = statistics.rx_missed;
      entry.rx_errors = statistics.rx_errors;
      entry.tx_errors = statistics.tx_errors;
    }
    if (interface.port >= dataplane::first_pod_port) {
      const auto& [name, link] = deployment_.pods().link_at(interface.port);
      entry.device = name;
      entry.link_up = link.up;
      entry.waiting = link.index == 0;
    }
    const dataplane::InterfaceCounters& before = deployment_.counted_before(index);
    entry.rx_packets -= before.rx_packets;
    entry.rx_bytes -= before.rx_bytes;
    entry.tx_packets -= before.tx_packets;
    entry.tx_bytes -= before.tx_bytes;
    for (uint16_t i = 0; i < plane_.worker_count(); ++i) {
      const dataplane::InterfaceCounters& counters = plane_.worker(i).counters().interfaces[index];
      entry.rx_packets += counters.rx_packets;
      entry.rx_bytes += counters.rx_bytes;
      entry.tx_packets += counters.tx_packets;
      entry.tx_bytes += counters.tx_bytes;
    }
    status.interfaces.push_back(std::move(entry));
  }
  return status;
}

Counters Controller::counters() const {
  Counters out;
  for (size_t i = 1; i < net::drop_reason_count; ++i) {
    NamedCounter counter{std::string(net::name(static_cast<net::DropReason>(i))), 0};
    for (uint16_t w = 0; w < plane_.worker_count(); ++w) counter.value += plane_.worker(w).counters().drops[i];
    if (static_cast<net::DropReason>(i) == net::DropReason::PodRingFull) counter.value += deployment_.pods().missed();
    out.drops.push_back(std::move(counter));
  }
  for (size_t i = 0; i < dataplane::event_count; ++i) {
    NamedCounter counter{std::string(dataplane::name(static_cast<dataplane::Event>(i))), 0};
    for (uint16_t w = 0; w < plane_.worker_count(); ++w) counter.value += plane_.worker(w).counters().events[i];
    out.events.push_back(std::move(counter));
  }
  return out;
}

std::vector<NeighborEntry> Controller::neighbors() const {
  std::vector<NeighborEntry> entries;
  HostNeighbors unused = host_neighbors_;  // yet: nothing was sent to them
  const dataplane::Snapshot* snapshot = deployment_.snapshot();
  for (uint32_t i = 0; snapshot != nullptr && i < dataplane::NeighborTable::capacity(); ++i) {
    const dataplane::Neighbor& neighbor = plane_.neighbors()[i];
    if (!neighbor.live.load(std::memory_order_acquire) || neighbor.interface >= snapshot->interfaces.size()) continue;
    const dataplane::NeighborLink link = neighbor.load();
    NeighborEntry entry{snapshot->interfaces[neighbor.interface].name, neighbor.address, link.mac,
                        std::string(state_name(link.state))};
    const auto of_host = unused.find({entry.interface, entry.address});
    if (neighbor.permanent) {
      entry.source = "configuration";
    } else if (link.state == dataplane::NeighborState::Permanent && of_host != unused.end()) {
      entry.source = source_name(of_host->second);
    }
    if (of_host != unused.end()) unused.erase(of_host);
    entries.push_back(std::move(entry));
  }
  for (const auto& [place, neighbor] : unused) {
    entries.push_back({place.first, place.second, neighbor.mac, "permanent", 0, source_name(neighbor)});
  }
  return entries;
}

std::vector<RouteEntry> Controller::routes() const {
  std::vector<RouteEntry> entries;
  const Plan& plan = deployment_.plan();
  std::map<std::pair<std::string, net::IpAddr>, std::string> states;
  for (const NeighborEntry& neighbor : neighbors()) states[{neighbor.interface, neighbor.address}] = neighbor.state;
  const auto add = [&](const net::Prefix& prefix, const PlannedRoute& route) {
    RouteEntry entry;
    entry.destination = prefix;
    entry.type = type_of(route.hops.front());
    entry.origin = route.origin;
    for (const PlannedHop& planned : route.hops) {
      RouteEntry::Hop hop;
      hop.interface = planned.neighbor ? planned.neighbor->interface : planned.interface;
      if (planned.neighbor) {
        hop.via = planned.neighbor->address;
        hop.neighbor_state = states[{planned.neighbor->interface, planned.neighbor->address}];
      }
      if (const auto tunnel = plan.tunnels.find(planned.tunnel); tunnel != plan.tunnels.end()) {
        const dataplane::TunnelPath path = plane_.tunnel_paths()[deployment_.index_of_tunnel(planned.tunnel)];
        hop.tunnel = tunnel->second.label;
        hop.tunnel_mtu = std::min(tunnel->second.spec.mtu, path.mtu);
        hop.mtu_from_path = path.mtu < tunnel->second.spec.mtu;
        hop.tunnel_unreachable = path.unreachable;
      }
      if (!hop.interface.empty()) entry.hops.push_back(std::move(hop));
    }
    entries.push_back(std::move(entry));
  };
  for (const auto& [prefix, route] : plan.routes) add(prefix, route);
  for (const auto& [prefix, route] : deployment_.host_routes()) {
    if (!plan.routes.contains(prefix)) add(prefix, *route);
  }
  return entries;
}

std::vector<ServiceEntry> Controller::services() const {
  std::map<std::string, ServiceEntry> entries;
  if (deployment_.service_tables().v4) add_frontends(*deployment_.service_tables().v4, entries);
  if (deployment_.service_tables().v6) add_frontends(*deployment_.service_tables().v6, entries);
  for (auto& [name, entry] : entries) {
    std::sort(entry.frontends.begin(), entry.frontends.end(), [](const auto& a, const auto& b) {
      return std::tie(a.kind, a.address, a.port) < std::tie(b.kind, b.address, b.port);
    });
  }
  const config::Config& config = objects_.config();
  const auto& local_nodes = config.gateway.local_node_names;
  for (const auto& [name, service] : config.services) {
    for (const config::ServicePort& port : service.ports) {
      const auto entry = entries.find(name.text() + ":" + (port.name.empty() ? std::to_string(port.port) : port.name));
      if (entry == entries.end()) continue;
      entry->second.internal_policy = policy_name(service.internal_policy);
      entry->second.external_policy = policy_name(service.external_policy);
      entry->second.forwarding = service.returns_directly() ? "dsr" : "snat";
    }
  }
  for (const auto& [slice_name, slice] : config.slices) {
    if (slice.service.empty() || slice.fqdn) continue;
    const auto service = config.services.find({slice_name.ns, slice.service});
    if (service == config.services.end()) continue;
    for (const config::ServicePort& port : service->second.ports) {
      const auto entry =
          entries.find(service->first.text() + ":" + (port.name.empty() ? std::to_string(port.port) : port.name));
      if (entry == entries.end()) continue;
      for (const config::EndpointPort& slice_port : slice.ports) {
        if (slice_port.name != port.name || slice_port.protocol != port.protocol) continue;
        for (const config::Endpoint& endpoint : slice.endpoints) {
          const bool local = std::find(local_nodes.begin(), local_nodes.end(), endpoint.node_name) != local_nodes.end();
          entry->second.endpoints.push_back(
              {endpoint.address, slice_port.port, endpoint.node_name, local, endpoint.ready, endpoint.serving,
               endpoint.terminating, service->second.weights.of(slice, endpoint),
               drains_.of({slice_name.ns, endpoint.pod}, endpoint.address, slice_port.port) != Drain::None});
        }
      }
    }
  }
  for (const auto& [name, pod] : config.pods) {
    for (const config::HostPort& port : pod.host_ports) {
      const auto entry = entries.find(host_port_name(pod, port));
      if (entry == entries.end()) continue;
      entry->second.external_policy = policy_name(config::TrafficPolicy::Local);
      entry->second.forwarding = "snat";
      entry->second.internal_policy = policy_name(config::TrafficPolicy::Cluster);
      for (const net::IpAddr& address : pod.addresses) {
        entry->second.endpoints.push_back({address, port.container_port, pod.node_name, true, true, true, false, 100,
                                           drains_.of(name, address, port.container_port) != Drain::None});
      }
    }
  }
  std::vector<ServiceEntry> out;
  for (auto& [name, entry] : entries) out.push_back(std::move(entry));
  return out;
}

Awaitable<std::unique_ptr<dataplane::Command>> Controller::ask_worker(uint16_t worker, dataplane::Command::Kind kind,
                                                                      const FlowFilter& filter, size_t limit) {
  auto command = std::make_unique<dataplane::Command>();
  command->kind = kind;
  command->query = query_of(filter);
  if (!filter.service.empty()) {
    command->query.by_service = true;
    command->query.services = services_.ids_of(filter.service);
  }
  command->limit = limit;
  if (kind == dataplane::Command::Kind::ListFlows) command->records.reserve(limit);
  co_await run_command(worker, *command);
  co_return command;
}

// A command's memory must outlive the worker's interest in it.
Awaitable<void> Controller::run_command(uint16_t worker, dataplane::Command& command) {
  while (!plane_.worker(worker).submit(&command)) co_await pause(std::chrono::milliseconds(1));
  while (!command.done.load(std::memory_order_acquire)) co_await pause(std::chrono::microseconds(200));
}

Awaitable<std::vector<FlowEntry>> Controller::flows(FlowFilter filter) {
  std::vector<FlowEntry> entries;
  for (uint16_t i = 0; i < plane_.worker_count() && entries.size() < filter.limit; ++i) {
    const auto command =
        co_await ask_worker(i, dataplane::Command::Kind::ListFlows, filter, filter.limit - entries.size());
    for (const dataplane::FlowRecord& record : command->records) {
      entries.push_back(entry_of(record, services_.name_of(record.service)));
    }
  }
  co_return entries;
}

Awaitable<uint64_t> Controller::delete_flows(FlowFilter filter) {
  uint64_t removed = 0;
  for (uint16_t i = 0; i < plane_.worker_count() && removed < filter.limit; ++i) {
    const auto command = co_await ask_worker(i, dataplane::Command::Kind::DeleteFlows, filter, filter.limit - removed);
    removed += command->matched;
  }
  co_return removed;
}

}  // namespace sluice::control
