#include "control/deployment.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <rte_mbuf.h>

#include "control/detect_local.h"
#include "control/snapshot_parts.h"

namespace sluice::control {
namespace {

using dataplane::HopKind;
using dataplane::NextHop;
using dataplane::NextHopId;
using net::Prefix;

uint32_t milliseconds(config::Milliseconds time) {
  return static_cast<uint32_t>(std::min<int64_t>(time.count(), nat::max_timeout));
}

nat::Timeouts timeouts_of(const config::ConntrackTimeouts& configured) {
  nat::Timeouts timeouts;
  timeouts.set(nat::TcpState::SynSent, milliseconds(configured.tcp_syn_sent));
  timeouts.set(nat::TcpState::SynSent2, milliseconds(configured.tcp_syn_sent2));
  timeouts.set(nat::TcpState::SynRecv, milliseconds(configured.tcp_syn_recv));
  timeouts.set(nat::TcpState::Established, milliseconds(configured.tcp_established));
  timeouts.set(nat::TcpState::FinWait, milliseconds(configured.tcp_fin_wait));
  timeouts.set(nat::TcpState::CloseWait, milliseconds(configured.tcp_close_wait));
  timeouts.set(nat::TcpState::LastAck, milliseconds(configured.tcp_last_ack));
  timeouts.set(nat::TcpState::TimeWait, milliseconds(configured.tcp_time_wait));
  timeouts.set(nat::TcpState::Close, milliseconds(configured.tcp_close));
  timeouts.tcp_unreplied = milliseconds(configured.tcp_unreplied);
  timeouts.tcp_unacknowledged = milliseconds(configured.tcp_unacknowledged);
  timeouts.udp = milliseconds(configured.udp);
  timeouts.udp_stream = milliseconds(configured.udp_stream);
  timeouts.icmp = milliseconds(configured.icmp);
  timeouts.gre = milliseconds(configured.gre);
  timeouts.gre_stream = milliseconds(configured.gre_stream);
  timeouts.generic = milliseconds(configured.generic);
  timeouts.set(nat::SctpState::None, milliseconds(configured.sctp_closed));
  timeouts.set(nat::SctpState::CookieWait, milliseconds(configured.sctp_cookie_wait));
  timeouts.set(nat::SctpState::CookieEchoed, milliseconds(configured.sctp_cookie_echoed));
  timeouts.set(nat::SctpState::Established, milliseconds(configured.sctp_established));
  timeouts.set(nat::SctpState::ShutdownSent, milliseconds(configured.sctp_shutdown_sent));
  timeouts.set(nat::SctpState::ShutdownReceived, milliseconds(configured.sctp_shutdown_recd));
  timeouts.set(nat::SctpState::ShutdownAckSent, milliseconds(configured.sctp_shutdown_ack_sent));
  timeouts.set(nat::SctpState::PickedUp, milliseconds(configured.sctp_unreplied));
  timeouts.set(nat::SctpState::Closed, milliseconds(configured.sctp_closed));
  return timeouts;
}

nat::Filtering filtering_of(config::Filtering configured) {
  switch (configured) {
    case config::Filtering::EndpointIndependent:
      return nat::Filtering::EndpointIndependent;
    case config::Filtering::AddressDependent:
      return nat::Filtering::AddressDependent;
    case config::Filtering::AddressAndPortDependent:
      break;
  }
  return nat::Filtering::AddressAndPortDependent;
}

// The memory is that of all workers, each with a table for each family.
dataplane::FragmentLimits fragment_limits_of(const config::Fragments& configured, unsigned workers) {
  const uint64_t buffers = (uint64_t{configured.max_memory_mib} << 20) / (RTE_MBUF_DEFAULT_BUF_SIZE + sizeof(rte_mbuf));
  return {.lifetime = milliseconds(configured.timeout),
          .pieces = configured.max_per_datagram,
          .held_buffers = static_cast<uint32_t>(std::min<uint64_t>(buffers / 2 / workers, UINT32_MAX))};
}

template <class F>
void fill_family(dataplane::FamilyTables<F>& tables, const config::Config& config,
                 const std::vector<net::IpAddr>& own_addresses) {
  const auto fill = [](std::vector<nat::Cidr<F>>& cidrs, const std::vector<Prefix>& networks) {
    for (const Prefix& cidr : networks) {
      if (cidr.family() == F::family) cidrs.push_back({F::addr_of(cidr.addr), cidr.length});
    }
  };
  fill(tables.cluster_cidrs, config.gateway.cluster.cluster_cidrs);
  fill(tables.local_cidrs, local_pod_networks(config));
  for (const auto& [name, pool] : config.pools) {
    if (pool.cidr.family() != F::family) continue;
    tables.pools.push_back({{F::addr_of(pool.cidr.addr), pool.cidr.length}, pool.nat_outgoing});
    tables.any_nat_outgoing = tables.any_nat_outgoing || pool.nat_outgoing;
  }
  fill_excluded_nodes(tables, config);
  for (const net::IpAddr& own : own_addresses) {
    if (own.family() == F::family) tables.own_addresses.push_back(F::addr_of(own));
  }
  std::sort(tables.own_addresses.begin(), tables.own_addresses.end());
}

template <class F>
void fill_direct_returns(dataplane::FamilyTables<F>& tables, const Plan& plan,
                         const std::map<std::string, uint16_t>& tunnel_index) {
  for (const auto& [endpoint, way] : plan.direct_returns) {
    if (endpoint.family() != F::family) continue;
    tables.direct_returns.push_back({F::addr_of(endpoint), tunnel_index.at(way.tunnel), way.same_port_only});
  }
  std::sort(tables.direct_returns.begin(), tables.direct_returns.end(),
            [](const auto& a, const auto& b) { return a.endpoint < b.endpoint; });
}

}  // namespace

Deployment::~Deployment() = default;

net::Status<> Deployment::check_names(const std::vector<PlannedInterface>& interfaces) const {
  size_t names = interface_index_.size();
  for (const PlannedInterface& interface : interfaces) names += interface_index_.contains(interface.name) ? 0 : 1;
  if (names <= dataplane::max_interfaces) return net::Done{};
  return net::Error{
      fmt::format("interfaces: more than {} different names since the start; use names again or start anew",
                  dataplane::max_interfaces)};
}

net::Status<> Deployment::check_tunnels(const std::map<std::string, PlannedTunnel>& tunnels) const {
  const auto fresh = std::count_if(tunnels.begin(), tunnels.end(),
                                   [&](const auto& tunnel) { return !tunnel_index_.contains(tunnel.first); });
  if (tunnels_ + static_cast<size_t>(fresh) <= dataplane::no_tunnel + free_tunnels_.size()) return net::Done{};
  return net::Error{
      fmt::format("tunnels: more than {} at once, or of services with direct server return since the start; start anew",
                  dataplane::no_tunnel)};
}

net::Status<> Deployment::open_ports(const Plan& plan) {
  opened_.clear();
  changed_.clear();
  if (auto room = check_names(plan.interfaces); !room) return room;
  if (auto room = check_tunnels(plan.tunnels); !room) return room;
  if (auto opened = pods_.open(links_of(plan.interfaces)); !opened) return opened.error();
  for (const PlannedInterface& interface : plan.interfaces) {
    if (interface.in_kernel()) continue;
    dataplane::PortSpec spec;
    spec.device = interface.device;
    spec.workers = plane_.worker_count();
    spec.interrupts = plane_.options().idle_sleep_microseconds != 0;
    spec.mtu = 0;
    for (const PlannedInterface& other : plan.interfaces) {
      if (other.device != interface.device) continue;
      spec.mtu = std::max(spec.mtu, other.mtu);
      spec.promiscuous = spec.promiscuous || other.promiscuous;
      if (other.mac) spec.mac = other.mac;
    }
    const auto fail = [&](const net::Error& error) {
      abandon_ports();
      return net::Error{fmt::format("interface {}: {}", interface.name, error.message)};
    };
    if (const auto open = ports_.find(interface.device); open != ports_.end()) {
      dataplane::Port& port = *open->second;
      if (port.spec() == spec) continue;
      changed_.push_back(port.spec());
      if (auto changed = port.change(spec); !changed) return fail(changed.error());
      continue;
    }
    auto port = dataplane::Port::open(spec, plane_.pool());
    if (!port) return fail(port.error());
    ports_.emplace(interface.device, std::move(*port));
    opened_.push_back(interface.device);
  }
  return net::Done{};
}

void Deployment::abandon_ports() {
  restore_ports();
  for (const std::string& device : opened_) ports_.erase(device);
  opened_.clear();
  pods_.abandon();
}

// Devices that were open before are again as they were.
void Deployment::restore_ports() {
  for (const dataplane::PortSpec& before : changed_) (void)ports_.at(before.device)->change(before);
  changed_.clear();
}

uint16_t Deployment::interface_index(const std::string& name, bool of_pod) {
  if (const auto found = interface_index_.find(name); found != interface_index_.end()) return found->second;
  uint16_t index = 0;
  if (!free_indices_.empty() && (of_pod || interfaces_ == dataplane::max_interfaces)) {
    index = free_indices_.front();
    free_indices_.pop_front();
  } else {
    index = static_cast<uint16_t>(interfaces_++);
  }
  dataplane::InterfaceCounters& before = counted_[index];
  before = {};
  for (uint16_t worker = 0; worker < plane_.worker_count(); ++worker) {
    const dataplane::InterfaceCounters& counted = plane_.worker(worker).counters().interfaces[index];
    before.rx_packets += counted.rx_packets;
    before.rx_bytes += counted.rx_bytes;
    before.tx_packets += counted.tx_packets;
    before.tx_bytes += counted.tx_bytes;
  }
  interface_index_.emplace(name, index);
  if (of_pod) pod_indices_.insert(index);
  return index;
}

uint16_t Deployment::tunnel_index(const std::string& name) {
  const auto [at, fresh] = tunnel_index_.try_emplace(name);
  if (!fresh) return at->second;
  if (free_tunnels_.empty()) {
    at->second = static_cast<uint16_t>(tunnels_++);
  } else {
    at->second = free_tunnels_.front();
    free_tunnels_.pop_front();
  }
  return at->second;
}

net::MacAddr Deployment::mac_of(const PlannedInterface& planned) const {
  if (planned.mac) return *planned.mac;
  return planned.in_kernel() ? pods_.link_of(planned.link).mac : ports_.at(planned.device)->mac();
}

dataplane::Interface Deployment::make_interface(const PlannedInterface& planned) const {
  dataplane::Interface interface;
  interface.name = planned.name;
  interface.present = true;
  interface.mtu = planned.mtu;
  interface.mac = mac_of(planned);
  if (planned.in_kernel()) {
    interface.port = pods_.port_of(planned.link);
    const dataplane::KernelLink link = pods_.link_of(planned.link);
    if (link.mtu != 0) interface.mtu = planned.of_pod() ? link.mtu : std::min(link.mtu, planned.mtu);
  } else {
    interface.port = ports_.at(planned.device)->id();
  }
  interface.vlan = planned.vlan;
  interface.role = planned.role;
  interface.rpf = planned.rpf;
  interface.clamps_mss = planned.clamps_mss;
  interface.local_pods = planned.local_pods;
  interface.twin = !planned.host_interface.empty();
  interface.pod_addresses = planned.pod_addresses;
  interface.allowed_sources = planned.allowed_sources;
  interface.link_local = interface.mac.link_local();
  interface.prefixes = planned.addresses;
  bool own_link_local = false;
  for (const Prefix& address : planned.addresses) {
    if (address.addr.is_v4()) {
      interface.addresses_v4.push_back(address.addr.v4());
      if (interface.primary_v4.is_unspecified()) interface.primary_v4 = address.addr.v4();
      continue;
    }
    interface.addresses_v6.push_back(address.addr.v6());
    if (address.addr.is_link_local()) {
      interface.link_local = address.addr.v6();
      own_link_local = true;
    } else if (interface.primary_v6.is_unspecified()) {
      interface.primary_v6 = address.addr.v6();
    }
  }
  if (!own_link_local) interface.addresses_v6.push_back(interface.link_local);
  return interface;
}

// Interfaces at their indices; what stands at others stays.
void Deployment::fill_interfaces(dataplane::Snapshot& snapshot, const std::vector<PlannedInterface>& interfaces) {
  for (const PlannedInterface& planned : interfaces) {
    const uint16_t index = interface_index(planned.name, planned.of_pod());
    if (snapshot.interfaces.size() <= index) snapshot.interfaces.resize(index + 1U);
    snapshot.interfaces[index] = make_interface(planned);
  }
  snapshot.twins.clear();
  for (uint16_t index = 0; index < snapshot.interfaces.size(); ++index) {
    if (snapshot.interfaces[index].present && snapshot.interfaces[index].twin) snapshot.twins.push_back(index);
  }
}

// Interfaces and tunnels of `plan` at their indices; what stands there already stays.
void Deployment::fill_topology(dataplane::Snapshot& snapshot, const Plan& plan) {
  fill_interfaces(snapshot, plan.interfaces);
  for (const auto& [name, planned] : plan.tunnels) (void)tunnel_index(name);
  snapshot.tunnels.edit([&](std::vector<dataplane::Tunnel>& tunnels) {
    if (tunnels.size() < tunnels_) tunnels.resize(tunnels_);
    for (const auto& [name, planned] : plan.tunnels) tunnels[tunnel_index(name)] = make_tunnel(planned);
  });
  snapshot.tunnel_ends.edit([&](std::vector<dataplane::TunnelEnd>& ends) {
    ends.clear();
    for (uint16_t index = 0; index < snapshot.tunnels.size(); ++index) {
      if (snapshot.tunnels[index].present) ends.push_back({snapshot.tunnels[index].spec.remote, index});
    }
    std::sort(ends.begin(), ends.end(),
              [](const dataplane::TunnelEnd& a, const dataplane::TunnelEnd& b) { return a.remote < b.remote; });
  });
  fill_ports(snapshot);
}

void Deployment::fill_ports(dataplane::Snapshot& snapshot) {
  snapshot.ports.assign(snapshot.ports.size(), {});
  snapshot.workers.assign(plane_.worker_count(), {});
  for (const auto& [device, port] : ports_) {
    if (snapshot.ports.size() <= port->id()) snapshot.ports.resize(port->id() + 1U);
    dataplane::PortView& view = snapshot.ports[port->id()];
    view.present = true;
    view.tx_queues = port->tx_queues();
    view.rx_ipv4_checksum = port->verifies_ipv4_checksum();
    for (uint16_t queue = 0; queue < port->rx_queues(); ++queue) {
      snapshot.workers[queue % plane_.worker_count()].receive.push_back(
          {port->id(), queue, port->interrupt_of(queue), port->through_kernel()});
    }
  }
  pods_.fill(snapshot);
  for (uint16_t index = 0; index < snapshot.interfaces.size(); ++index) {
    const dataplane::Interface& interface = snapshot.interfaces[index];
    if (!interface.present || interface.port >= snapshot.ports.size()) continue;
    dataplane::PortMap& map = snapshot.ports[interface.port].interfaces;
    if (interface.vlan == 0) {
      map.untagged = index;
    } else {
      map.vlans.push_back({interface.vlan, index});
    }
  }
}

bool Deployment::changes_routing(const Plan& plan) const {
  return generation_ == 0 || !(plan.routes == plan_.routes) || !(plan.interfaces == plan_.interfaces) ||
         !(plan.tunnels == plan_.tunnels) || !(plan.neighbors == plan_.neighbors);
}

uint64_t Deployment::announce(const Plan& plan) {
  auto snapshot =
      last_ == nullptr ? std::make_unique<dataplane::Snapshot>() : std::make_unique<dataplane::Snapshot>(*last_);
  snapshot->generation = ++generation_;
  fill_topology(*snapshot, plan);
  return hand_out(std::move(snapshot));
}

uint64_t Deployment::hand_out(std::unique_ptr<const dataplane::Snapshot> snapshot) {
  last_ = snapshot.get();
  last_token_ = plane_.publisher().publish(std::move(snapshot));
  return last_token_;
}

uint64_t Deployment::retreat() {
  restore_ports();
  auto snapshot = std::make_unique<dataplane::Snapshot>(*last_);
  snapshot->generation = ++generation_;
  for (dataplane::Interface& interface : snapshot->interfaces) interface.present = false;
  snapshot->tunnels.edit([](std::vector<dataplane::Tunnel>& tunnels) {
    for (dataplane::Tunnel& tunnel : tunnels) tunnel.present = false;
  });
  std::map<std::string, std::unique_ptr<dataplane::Port>> abandoned;
  for (const std::string& device : opened_) abandoned.insert(ports_.extract(device));
  fill_topology(*snapshot, plan_);
  ports_.merge(abandoned);
  // What had been made for the change.
  retire_unused(plan_);
  retire_pod_indices(plan_);
  retire_tunnel_indices(plan_);
  return hand_out(std::move(snapshot));
}

net::Result<NextHopId> Deployment::single_hop_id(const PlannedHop& planned) {
  if (planned.fixed != 0) return planned.fixed;
  if (const auto found = single_hops_.find(planned); found != single_hops_.end()) return found->second;
  NextHop hop;
  hop.kind = planned.kind;
  if (planned.neighbor) {
    hop.neighbor = pinned_.at(*planned.neighbor);
    hop.interface = interface_index(planned.neighbor->interface);
  } else {
    hop.interface = interface_index(planned.interface);
  }
  if (planned.kind == HopKind::Tunnel) hop.tunnel = tunnel_index(planned.tunnel);
  const NextHopId id = plane_.next_hops().add(hop);
  if (id == dataplane::hop::retry) {
    return net::Error{fmt::format("more than {} different next hops", dataplane::NextHopTable::capacity)};
  }
  single_hops_.emplace(planned, id);
  return id;
}

net::Result<NextHopId> Deployment::hop_id(const PlannedRoute& route) {
  if (route.hops.size() == 1) return single_hop_id(route.hops.front());
  if (const auto found = groups_.find(route.hops); found != groups_.end()) return found->second;
  NextHop group;
  group.kind = HopKind::Group;
  for (const PlannedHop& member : route.hops) {
    auto id = single_hop_id(member);
    if (!id) return id.error();
    group.group[group.group_size++] = *id;
  }
  const NextHopId id = plane_.next_hops().add(group);
  if (id == dataplane::hop::retry) {
    return net::Error{fmt::format("more than {} different next hops", dataplane::NextHopTable::capacity)};
  }
  groups_.emplace(route.hops, id);
  return id;
}

net::Status<> Deployment::pin(const PlannedNeighbor& neighbor) {
  if (pinned_.contains(neighbor)) return net::Done{};
  uint32_t index = 0;
  if (!free_pinned_.empty()) {
    index = free_pinned_.back();
    free_pinned_.pop_back();
  } else if (next_pinned_ < dataplane::NeighborTable::pinned_capacity) {
    index = next_pinned_++;
  } else {
    return net::Error{fmt::format("more than {} neighbours are named", dataplane::NeighborTable::pinned_capacity)};
  }
  plane_.neighbors().pin(index, interface_index(neighbor.interface), neighbor.address, neighbor.mac);
  pinned_.emplace(neighbor, index);
  return net::Done{};
}

net::Status<> Deployment::install_route(const Prefix& prefix, const PlannedRoute& route, Undo& undo) {
  const auto id = hop_id(route);
  if (!id) return id.error();
  const auto found = installed_.find(prefix);
  if (found != installed_.end() && found->second == *id) return net::Done{};
  if (auto added = plane_.fib().add(prefix, *id); !added) return added;
  undo.emplace_back(prefix, found == installed_.end() ? dataplane::hop::retry : found->second);
  installed_[prefix] = *id;
  return net::Done{};
}

void Deployment::put_back(const Undo& undo) {
  for (const auto& [prefix, id] : undo) {
    if (id == dataplane::hop::retry) {
      plane_.fib().remove(prefix);
      installed_.erase(prefix);
    } else {
      (void)plane_.fib().add(prefix, id);
      installed_[prefix] = id;
    }
  }
}

// What the host has for it comes to light.
void Deployment::remove_route(const Prefix& prefix) {
  if (const auto host = host_routes_.find(prefix); host != host_routes_.end()) {
    const auto installed = install_host_route(*host);
    if (installed) return;
    host_routes_left_out_.insert(prefix);
    left_out_because_ = installed.error().message;
  }
  plane_.fib().remove(prefix);
  installed_.erase(prefix);
}

net::Status<> Deployment::install_routes(const Plan& plan) {
  for (const PlannedNeighbor& neighbor : plan.neighbors) {
    if (auto pinned = pin(neighbor); !pinned) return pinned;
  }
  // Adding comes before deleting (fib.h).
  Undo undo;
  for (const auto& [prefix, route] : plan.routes) {
    if (auto installed = install_route(prefix, route, undo); !installed) {
      put_back(undo);
      return installed;
    }
  }
  for (auto at = installed_.begin(); at != installed_.end();) {
    const auto host = host_routes_.find(at->first);
    if (plan.routes.contains(at->first)) {
      ++at;
    } else if (host != host_routes_.end() && plan_.routes.contains(at->first) && install_host_route(*host)) {
      ++at;  // it comes to light
    } else if (host != host_routes_.end() && !plan_.routes.contains(at->first)) {
      ++at;
    } else {
      plane_.fib().remove(at->first);
      at = installed_.erase(at);
    }
  }
  return net::Done{};
}

void Deployment::count_uses(const Plan& plan) {
  single_uses_.clear();
  group_uses_.clear();
  for (const auto& [prefix, route] : plan.routes) use(route.hops);
}

// Next hops and neighbours that nothing names any more; finish() gives them back.
void Deployment::retire_unused(const Plan& plan) {
  std::set<PlannedHop> host_hops;
  std::set<PlannedNeighbor> host_neighbors;
  for (const auto& [hops, uses] : host_ways_) {
    host_hops.insert(hops.begin(), hops.end());
    for (const PlannedHop& hop : hops) {
      if (hop.neighbor) host_neighbors.insert(*hop.neighbor);
    }
  }
  const auto retire = [this](auto& table, const auto& used, const auto& used_by_host) {
    for (auto at = table.begin(); at != table.end();) {
      if (used.contains(at->first) || used_by_host.contains(at->first)) {
        ++at;
      } else {
        retired_hops_.push_back(at->second);
        at = table.erase(at);
      }
    }
  };
  retire(groups_, group_uses_, host_ways_);
  retire(single_hops_, single_uses_, host_hops);
  for (auto at = pinned_.begin(); at != pinned_.end();) {
    if (plan.neighbors.contains(at->first) || host_neighbors.contains(at->first)) {
      ++at;
    } else {
      retired_neighbors_.push_back(at->second);
      at = pinned_.erase(at);
    }
  }
}

void Deployment::fill_services(dataplane::Snapshot& snapshot) const {
  snapshot.v4.services = tables_.v4;
  snapshot.v6.services = tables_.v6;
  snapshot.v4.endpoints = tables_.endpoints_v4;
  snapshot.v6.endpoints = tables_.endpoints_v6;
  snapshot.v4.content = tables_.content_v4;
  snapshot.v6.content = tables_.content_v6;
}

bool Deployment::keeps_plan(const config::Config& config, const config::Change::Touched& touched) const {
  const config::ObjectKey& key = touched.key;
  if (!touched.effective || key.kind == "Pod" || key.kind == "Secret") return true;
  if (key.kind == "BGPPeer" || key.kind == "BGPFilter" || key.kind == "ContentPolicy") return true;
  if (key.kind == "Ingress" || key.kind == "IngressClass") return true;
  // What follows from these is in the services that they give addresses to, and announced apart.
  if (key.kind == "L2Advertisement" || key.kind == "Namespace") return true;
  // What is announced by BGP is said with these, not where from.
  if (key.kind == "Community" || key.kind == "BFDProfile") return true;
  if (key.kind == "Node") return !touched.moved && key.name != config.gateway.node_name;
  if (key.kind != "EndpointSlice") return false;
  if (plan_.direct_services.empty()) return true;
  // The plan has a way to each endpoint of these.
  const auto is_direct = [&](const std::string& service) { return plan_.direct_services.contains({key.ns, service}); };
  if (touched.action != config::Change::Action::Added && touched.service.empty()) return false;  // of whom it was
  const auto slice = config.slices.find({key.ns, key.name});
  return !is_direct(touched.service) && (slice == config.slices.end() || !is_direct(slice->second.service));
}

bool Deployment::only_services(const config::Config& config, const config::Change& change) const {
  return std::all_of(change.touched.begin(), change.touched.end(), [&](const config::Change::Touched& touched) {
    return touched.key.kind == "Service" ? !touched.effective || !touched.moved : keeps_plan(config, touched);
  });
}

std::optional<ServiceRoutes::Moves> Deployment::service_moves(const config::Config& config,
                                                              const config::Change& change) const {
  const bool others_keep_it =
      std::all_of(change.touched.begin(), change.touched.end(), [&](const config::Change::Touched& touched) {
        return touched.key.kind == "Service" || keeps_plan(config, touched);
      });
  if (generation_ == 0 || !others_keep_it) return std::nullopt;
  return service_routes_.moves(config, change, plan_);
}

net::Status<> Deployment::move_services(const ServiceRoutes::Moves& moves) {
  // Adding comes before deleting (fib.h).
  for (size_t i = 0; i < moves.gained.size(); ++i) {
    if (auto added = plane_.fib().add(moves.gained[i], dataplane::hop::service); !added) {
      for (size_t k = 0; k < i; ++k) take_route(moves.gained[k]);
      return added.error();
    }
    installed_[moves.gained[i]] = dataplane::hop::service;
    plan_.routes.insert_or_assign(moves.gained[i], service_route());
  }
  for (const Prefix& prefix : moves.lost) take_route(prefix);
  service_routes_.commit(moves);
  return net::Done{};
}

void Deployment::take_route(const Prefix& prefix) {
  plan_.routes.erase(prefix);
  remove_route(prefix);
}

uint64_t Deployment::publish_services(const config::Config& config, ServiceCompiler& services, const DrainList& drains,
                                      const config::Change* change) {
  const std::vector<net::IpAddr> own = own_addresses_of(plan_.interfaces);
  tables_ = change == nullptr ? services.compile(config, own, drains) : services.update(config, *change, own, drains);
  auto snapshot = std::make_unique<dataplane::Snapshot>(*last_);
  snapshot->generation = ++generation_;
  snapshot->pinned_neighbors = next_pinned_;
  fill_services(*snapshot);
  return hand_out(std::move(snapshot));
}

uint64_t Deployment::publish(const config::Config& config, Plan plan, ServiceCompiler& services,
                             const DrainList& drains, const config::Change* change,
                             std::optional<ServiceCompiler::Tables> tables) {
  const config::Gateway& gateway = config.gateway;
  auto snapshot = std::make_unique<dataplane::Snapshot>();
  snapshot->generation = ++generation_;
  snapshot->interfaces.resize(interfaces_);
  // Ports nobody names any more are polled no longer, and closed when every worker knows.
  std::set<std::string> wanted;
  for (const PlannedInterface& interface : plan.interfaces) wanted.insert(interface.device);
  pods_.keep(links_of(plan.interfaces));
  for (auto at = ports_.begin(); at != ports_.end();) {
    if (wanted.contains(at->first)) {
      ++at;
    } else {
      closing_.push_back(std::move(at->second));
      at = ports_.erase(at);
    }
  }
  opened_.clear();
  changed_.clear();
  fill_topology(*snapshot, plan);
  retire_pod_indices(plan);
  // Holes keep enough of their index to be harmless.
  snapshot->clamps_mss_tunnels = gateway.overlay.tcp_mss_clamp;
  snapshot->clamps_mss = gateway.overlay.tcp_mss_clamp ||
                         std::any_of(plan.interfaces.begin(), plan.interfaces.end(),
                                     [](const PlannedInterface& interface) { return interface.clamps_mss; });
  snapshot->terminates_tunnels = !plan.tunnel_endpoints.empty() || !plan.tunnel_endpoints_v6.empty();
  snapshot->terminator = plan.terminator;
  snapshot->reassembles_outer = gateway.overlay.reassemble_outer;
  snapshot->tunnel_endpoints = plan.tunnel_endpoints;
  snapshot->tunnel_endpoints_v6 = plan.tunnel_endpoints_v6;
  const std::vector<net::IpAddr> own = own_addresses_of(plan.interfaces);
  tables_ = tables              ? std::move(*tables)
            : change == nullptr ? services.compile(config, own, drains)
                                : services.update(config, *change, own, drains);
  fill_services(*snapshot);
  snapshot->announcements = announcements_;
  fill_family(snapshot->v4, config, own);
  fill_family(snapshot->v6, config, own);
  fill_direct_returns(snapshot->v4, plan, tunnel_index_);
  fill_direct_returns(snapshot->v6, plan, tunnel_index_);
  for (const auto& [endpoint, way] : plan.direct_returns) remembered_tunnels_.insert(tunnel_index_.at(way.tunnel));
  retire_tunnel_indices(plan);
  fill_pods_elsewhere(snapshot->v4, plan.pods_elsewhere);
  fill_pods_elsewhere(snapshot->v6, plan.pods_elsewhere);
  snapshot->every_pod_is_local = gateway.cluster.detect_local == config::DetectLocal::ClusterCidr;
  const config::Proxy& proxy = gateway.proxy;
  snapshot->proxy = {.masquerade_all = proxy.masquerade_all,
                     .allow_external_cluster_ip = proxy.allow_external_cluster_ip,
                     .source_ranges_for_in_cluster = proxy.source_ranges_for_in_cluster,
                     .no_endpoints_reject = proxy.no_endpoints == config::NoEndpoints::Reject,
                     .local_scope_cluster = proxy.external_policy_local_scope == config::LocalScope::Cluster,
                     .reset_removed = proxy.on_backend_removed == config::BackendRemoval::Reset};
  snapshot->timeouts = timeouts_of(gateway.conntrack.timeouts);
  snapshot->fragments = fragment_limits_of(gateway.fragments, plane_.worker_count());
  snapshot->tcp_loose = gateway.conntrack.tcp_loose;
  snapshot->tcp_be_liberal = gateway.conntrack.tcp_be_liberal;
  snapshot->pinned_neighbors = next_pinned_;
  snapshot->snat_first = gateway.snat.port_range.first;
  snapshot->snat_last = gateway.snat.port_range.last;
  const config::PortRange nat_ports = gateway.snat.nat_port_range.value_or(gateway.snat.port_range);
  snapshot->nat_outgoing_first = nat_ports.first;
  snapshot->nat_outgoing_last = nat_ports.last;
  snapshot->endpoint_independent = gateway.snat.mapping == config::Mapping::EndpointIndependent;
  snapshot->filtering = filtering_of(gateway.snat.filtering);
  snapshot->v4.nat_outgoing_address = gateway.snat.nat_outgoing_v4.value_or(net::Ipv4Addr{});
  snapshot->v6.nat_outgoing_address = gateway.snat.nat_outgoing_v6.value_or(net::Ipv6Addr{});
  snapshot->icmp = {.errors_per_second = gateway.icmp.error_rate_per_second,
                    .error_source_vip = gateway.icmp.error_source == config::IcmpErrorSource::Vip,
                    .vip_echo_reply = proxy.vip_echo_reply};
  const config::HostRateLimits& limits = gateway.host.rate_limits;
  snapshot->punt_limits = {limits.neighbor,   limits.icmp,      limits.routing,
                           limits.management, limits.multicast, limits.other};
  snapshot->collector = gateway.content.collector;
  snapshot->router_v4 = plan.router_v4;
  snapshot->router_v6 = plan.router_v6;

  count_uses(plan);
  retire_unused(plan);
  plan_ = std::move(plan);
  service_routes_.reset(config);
  return hand_out(std::move(snapshot));
}

std::optional<uint64_t> Deployment::publish_announcements(std::vector<dataplane::Announcement> announcements) {
  auto wanted = std::make_shared<const dataplane::Announcements>(std::move(announcements));
  if (last_ == nullptr || *wanted == *announcements_) return std::nullopt;
  announcements_ = std::move(wanted);
  auto snapshot = std::make_unique<dataplane::Snapshot>(*last_);
  snapshot->generation = ++generation_;
  snapshot->announcements = announcements_;
  return hand_out(std::move(snapshot));
}

std::optional<uint64_t> Deployment::look_for_pods() {
  if (last_ == nullptr || !pods_.look()) return std::nullopt;
  auto snapshot = std::make_unique<dataplane::Snapshot>(*last_);
  snapshot->generation = ++generation_;
  fill_interfaces(*snapshot, plan_.interfaces);
  fill_ports(*snapshot);
  return hand_out(std::move(snapshot));
}

// What pods had that are gone.
void Deployment::retire_pod_indices(const Plan& plan) {
  std::set<std::string> names;
  for (const PlannedInterface& interface : plan.interfaces) names.insert(interface.name);
  for (auto at = interface_index_.begin(); at != interface_index_.end();) {
    if (!pod_indices_.contains(at->second) || names.contains(at->first)) {
      ++at;
    } else {
      pod_indices_.erase(at->second);
      retired_indices_.push_back(at->second);
      at = interface_index_.erase(at);
    }
  }
}

// What tunnels had that are gone.
void Deployment::retire_tunnel_indices(const Plan& plan) {
  for (auto at = tunnel_index_.begin(); at != tunnel_index_.end();) {
    if (plan.tunnels.contains(at->first) || keeps_tunnel_index(*at)) {
      ++at;
    } else {
      retired_tunnels_.push_back(at->second);
      at = tunnel_index_.erase(at);
    }
  }
}

void Deployment::finish() {
  plane_.publisher().reclaim();
  if (last_ != nullptr && !plane_.publisher().passed(last_token_)) return;
  pods_.finish();
  free_indices_.insert(free_indices_.end(), retired_indices_.begin(), retired_indices_.end());
  retired_indices_.clear();
  free_tunnels_.insert(free_tunnels_.end(), retired_tunnels_.begin(), retired_tunnels_.end());
  retired_tunnels_.clear();
  for (const NextHopId id : retired_hops_) plane_.next_hops().remove(id);
  retired_hops_.clear();
  for (const uint32_t index : retired_neighbors_) {
    plane_.neighbors().unpin(index);
    free_pinned_.push_back(index);
  }
  retired_neighbors_.clear();
  closing_.clear();
}

}  // namespace sluice::control
