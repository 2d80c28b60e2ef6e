#include "dataplane/worker.h"

#include <string>
#include <sys/prctl.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ring.h>

#include "dataplane/buffers.h"
#include "dataplane/idle_wait.h"
#include "dataplane/memif_link.h"
#include "dataplane/moderation.h"
#include "dataplane/pass_clock.h"
#include "dataplane/pod_socket.h"

namespace sluice::dataplane {
namespace {

constexpr unsigned command_slots = 64;
// Of one turn, each of one pod; the wires wait meanwhile, so there are fewer beside what they bring.
constexpr unsigned pod_bursts = 8;
constexpr unsigned pod_bursts_beside_wires = 2;

Context make_context(uint16_t index, const Tables& tables, Publisher& publisher, uint64_t seed) {
  Context context;
  context.worker = index;
  context.tables = tables;
  context.snapshot = &publisher.current();
  context.random = seed;
  context.ip_id = static_cast<uint16_t>(seed >> 16);
  return context;
}

constexpr uint32_t most_inspections = 65536;
constexpr unsigned long timer_slack = 1000;  // nanoseconds by which a nap may be longer: the default doubles short ones

}  // namespace

net::Result<std::unique_ptr<Worker>> Worker::create(uint16_t index, const Tables& tables, Publisher& publisher,
                                                    const WorkerOptions& options) {
  std::unique_ptr<Worker> worker(new Worker(index, tables, publisher, options));
  const uint32_t stubs = tables.workers > 1 ? options.connections : 0;
  worker->connections_.v4 = nat::Conntrack<net::V4>::create({options.connections, stubs}, worker->context_.now);
  worker->connections_.v6 = nat::Conntrack<net::V6>::create({options.connections, stubs}, worker->context_.now);
  if (!worker->connections_.v4 || !worker->connections_.v6) {
    return net::Error{"a connection table for " + std::to_string(options.connections) +
                      " connections could not be allocated; lower conntrack.max or free memory"};
  }
  auto reassembly = Reassembly::create();
  if (!reassembly) return reassembly.error();
  worker->reassembly_ = std::move(*reassembly);
  worker->pipeline_.set_reassembly(worker->reassembly_.get());
  worker->connections_.affinity_v4 = nat::AffinityTable<net::V4>::create(tables.hasher);
  worker->connections_.affinity_v6 = nat::AffinityTable<net::V6>::create(tables.hasher);
  if (!worker->connections_.affinity_v4 || !worker->connections_.affinity_v6) {
    return net::Error{"the tables of session affinity could not be allocated; free memory"};
  }
  worker->connections_.hints_v4 = nat::HintTable<net::V4>::create();
  worker->connections_.hints_v6 = nat::HintTable<net::V6>::create();
  if (!worker->connections_.hints_v4 || !worker->connections_.hints_v6) {
    return net::Error{"the tables for connections without a record could not be allocated; free memory"};
  }
  worker->connections_.mappings_v4 = nat::MappingTable<net::V4>::create(options.connections, tables.hasher);
  worker->connections_.mappings_v6 = nat::MappingTable<net::V6>::create(options.connections, tables.hasher);
  if (!worker->connections_.mappings_v4 || !worker->connections_.mappings_v6) {
    return net::Error{"the tables of endpoint-independent mappings could not be allocated; free memory"};
  }
  worker->connections_.inspector =
      std::make_unique<l7::Inspector>(index, std::min(options.connections, most_inspections));
  worker->connections_.inspections_v4.reset(new l7::InspectionId[worker->connections_.v4->capacity()]);
  worker->connections_.inspections_v6.reset(new l7::InspectionId[worker->connections_.v6->capacity()]);
  if (!worker->pipeline_.bind_late(options.connections, options.late_buffers)) {
    return net::Error{"the tables of connections that are bound late could not be allocated; free memory"};
  }
  if (!worker->flow_events_.allocate()) {
    return net::Error{"the ring for news of connections could not be allocated; free memory"};
  }
  if (!worker->tracer_.ring().allocate()) {
    return net::Error{"the ring for traced packets could not be allocated; free memory"};
  }
  worker->commands_ = rte_ring_create(("sluice_command_" + std::to_string(index)).c_str(), command_slots, SOCKET_ID_ANY,
                                      RING_F_SP_ENQ | RING_F_SC_DEQ);
  if (worker->commands_ == nullptr) {
    return net::Error{std::string("the command ring of a worker could not be allocated: ") + rte_strerror(rte_errno)};
  }
  return worker;
}

Worker::Worker(uint16_t index, const Tables& tables, Publisher& publisher, const WorkerOptions& options)
    : publisher_(publisher),
      options_(options),
      context_(make_context(index, tables, publisher, options.seed)),
      punt_(context_),
      output_(context_),
      icmp_(context_, output_),
      resolver_(index == 0 ? std::make_unique<Resolver>(context_, output_, icmp_) : nullptr),
      tunnel_errors_(index == 0 ? std::make_unique<TunnelErrors>(context_) : nullptr),
      pipeline_(context_, output_, icmp_, resolver_.get(), tunnel_errors_.get(), connections_),
      tracer_(context_, output_, pipeline_, connections_),
      super_frames_(context_, output_, connections_) {
  context_.punt = &punt_;
  output_.set_resolver(resolver_.get());
  cycles_per_millisecond_ = rte_get_tsc_hz() / 1000;
  start_tsc_ = rte_rdtsc();
  read_clock();
}

Worker::~Worker() { rte_ring_free(commands_); }

bool Worker::submit(Command* command) {
  const int error = rte_ring_sp_enqueue(commands_, command);
  context_.tables.rings->doorbell(context_.worker).ring();
  return error == 0;
}

void Worker::read_clock() {
  context_.tsc = rte_rdtsc();
  // Starts at one second, so that 0 can mean "never".
  context_.now = static_cast<nat::Millis>((context_.tsc - start_tsc_) / cycles_per_millisecond_ + 1000) + clock_offset_;
}

void Worker::run(const std::atomic<bool>& stop) {
  publisher_.online(context_.worker);
  IdleWait idle(context_.worker, publisher_, context_.tables.rings->doorbell(context_.worker),
                options_.idle_sleep_microseconds);
  Moderation moderation(rte_get_tsc_hz());
  (void)prctl(PR_SET_TIMERSLACK, timer_slack);
  while (!stop.load(std::memory_order_relaxed)) {
    const bool busy = run_once();
    idle.after_turn(busy || more_due_ || command_ != nullptr);
    if (busy && may_moderate() && moderation.after_turn(turn_frames_, context_.tsc)) Moderation::wait();
  }
  output_.flush();
  publisher_.offline(context_.worker);
}

bool Worker::may_moderate() const {
  if (options_.idle_sleep_microseconds == 0) return false;
  const auto& workers = publisher_.current().workers;  // the turn's own may be gone
  return context_.worker < workers.size() && workers[context_.worker].through_kernel();
}

bool Worker::run_once() {
  begin_passes();
  turn_frames_ = 0;
  read_clock();
  const uint64_t begin = context_.tsc;
  context_.snapshot = &publisher_.current();
  context_.flow_events = watched_.load(std::memory_order_relaxed) ? &flow_events_ : nullptr;
  traced_ = tracer_.orders();
  bool busy = poll_ports();
  end_pass(Pass::Receive);
  if (context_.tables.workers > 1) busy = poll_workers() || busy;
  if (resolver_) {
    if (!context_.snapshot->twins.empty()) busy = poll_host() || busy;
    resolver_->tick();
  }
  if (tunnel_errors_) tunnel_errors_->tick();
  more_due_ = pipeline_.expire(expiry_budget);
  work_on_command(busy ? command_budget : idle_command_budget);
  end_pass(Pass::Timers);
  output_.flush();
  end_pass(Pass::Flush);
  publisher_.quiescent(context_.worker, context_.snapshot->generation);
  const uint64_t end = rte_rdtsc();
  const uint64_t spent = end - begin;
  WorkerCounters& counters = context_.counters;
  counters.awake_cycles += spent;
  counters.total_cycles = end - start_tsc_;
  ++counters.loops;
  if (busy) counters.busy_cycles += spent;
  counters.live_flows_v4 = connections_.v4->counters().connections;
  counters.live_flows_v6 = connections_.v6->counters().connections;
  counters.live_mappings = connections_.mappings_v4->size() + connections_.mappings_v6->size();
  return busy;
}

bool Worker::poll_ports() {
  const auto& workers = context_.snapshot->workers;
  if (context_.worker >= workers.size()) return false;
  bool busy = false;
  rte_mbuf* frames[net::burst_size];
  for (const PollQueue& queue : workers[context_.worker].receive) {
    const uint16_t count = queue.port < first_pod_port
                               ? rte_eth_rx_burst(queue.port, queue.queue, frames, net::burst_size)
                               : context_.snapshot->ports[queue.port].memif->receive(context_, frames);
    if (count == 0) continue;
    busy = true;
    end_pass(Pass::Receive);
    process(frames, count, queue.port);
  }
  PodSocket* const pods = workers[context_.worker].pods;
  return (pods != nullptr && poll_pods(*pods, busy ? pod_bursts_beside_wires : pod_bursts)) || busy;
}

bool Worker::poll_pods(PodSocket& pods, unsigned bursts) {
  bool busy = false;
  rte_mbuf* frames[net::burst_size];
  for (unsigned burst = 0; burst < bursts; ++burst) {
    if (traced_ == nullptr && forward_super_frame(pods)) {
      busy = true;
      continue;
    }
    uint32_t interface = 0;
    const uint16_t count = pods.receive(context_, frames, interface);
    if (count == 0) break;
    busy = true;
    const uint16_t port = context_.snapshot->pod_port(interface);
    if (port != no_port) [[likely]] {
      process(frames, count, port);
    } else {
      for (uint16_t i = 0; i < count; ++i) context_.drop(frames[i], net::DropReason::InterfaceGone);
    }
  }
  return busy;
}

bool Worker::forward_super_frame(PodSocket& pods) {
  SuperFrame frame;
  if (!pods.next_super_frame(frame)) return false;
  const uint16_t port = context_.snapshot->pod_port(frame.interface);
  if (port == no_port) return false;
  if (context_.tables.workers > 1) read_messages();
  if (!super_frames_.forward(frame, port)) return false;
  pods.finish_super_frame();
  ++turn_frames_;
  return true;
}

void Worker::process(rte_mbuf** frames, uint16_t count, uint16_t port) {
  turn_frames_ += count;
  if (context_.tables.workers > 1) read_messages();
  if (traced_ != nullptr) [[unlikely]] {
    tracer_.process_frames(*traced_, frames, count, port);
  } else {
    pipeline_.process_frames(frames, count, port);
  }
}

bool Worker::poll_workers() {
  bool busy = false;
  rte_mbuf* packets[net::burst_size];
  for (uint16_t from = 0; from < context_.tables.workers; ++from) {
    if (from == context_.worker) continue;
    const unsigned count = context_.tables.rings->receive(from, context_.worker, packets, net::burst_size);
    if (count == 0) continue;
    busy = true;
    turn_frames_ += count;
    read_messages();
    if (traced_ != nullptr) [[unlikely]] {
      tracer_.process_handed_over(packets, static_cast<uint16_t>(count));
    } else {
      pipeline_.process_handed_over(packets, static_cast<uint16_t>(count));
    }
  }
  if (!busy) read_messages();
  return busy;
}

// What the host sent. With worker 0, as is all that has to do with neighbours.
bool Worker::poll_host() {
  rte_mbuf* frames[net::burst_size];
  uint16_t interfaces[net::burst_size];
  uint16_t count = 0;
  const auto take = [&](uint16_t interface, const uint8_t* frame, uint32_t length) {
    rte_mbuf* const mbuf = rte_pktmbuf_alloc(context_.tables.pool);
    if (mbuf == nullptr) return context_.counters.drop(net::DropReason::NoBuffer);
    if (!append(mbuf, frame, length, context_.tables.pool)) return context_.drop(mbuf, net::DropReason::NoBuffer);
    frames[count] = mbuf;
    interfaces[count++] = interface;
  };
  if (context_.tables.punts->from_host().take(host_burst, take) == 0) return false;
  if (context_.tables.workers > 1) read_messages();
  pipeline_.process_from_host(frames, interfaces, count);
  return true;
}

// After packets were taken and before they are processed (Pipeline::place_stub says why).
void Worker::read_messages() {
  constexpr auto most = static_cast<unsigned>(std::tuple_size_v<decltype(messages_)>);
  for (uint16_t from = 0; from < context_.tables.workers; ++from) {
    if (from == context_.worker) continue;
    unsigned count = 0;
    do {
      count = context_.tables.rings->receive(from, context_.worker, messages_.data(), most);
      for (unsigned i = 0; i < count; ++i) pipeline_.on_message(messages_[i], from);
    } while (count == most);
  }
}

void Worker::work_on_command(unsigned budget) {
  if (command_ == nullptr) {
    void* next = nullptr;
    if (rte_ring_sc_dequeue(commands_, &next) != 0) return;
    command_ = static_cast<Command*>(next);
  }
  if (command_->kind == Command::Kind::FindAffinity) {
    if (command_->affinity.client.is_v4()) {
      find_affinity<net::V4>(command_->affinity);
    } else {
      find_affinity<net::V6>(command_->affinity);
    }
    command_->done.store(true, std::memory_order_release);
    command_ = nullptr;
    return;
  }
  if (command_->kind == Command::Kind::FindMapping) {
    if (command_->mapping.outside.is_v4()) {
      find_mapping<net::V4>(command_->mapping);
    } else {
      find_mapping<net::V6>(command_->mapping);
    }
    command_->done.store(true, std::memory_order_release);
    command_ = nullptr;
    return;
  }
  if (command_->kind == Command::Kind::Announce) {
    if (!announce(*command_)) return;
    command_->done.store(true, std::memory_order_release);
    command_ = nullptr;
    return;
  }
  if (command_->kind == Command::Kind::SetNeighbors) {
    if (!set_neighbors(*command_)) return;
    command_->done.store(true, std::memory_order_release);
    command_ = nullptr;
    return;
  }
  const bool finished =
      command_->second_family ? work_through<net::V6>(*command_, budget) : work_through<net::V4>(*command_, budget);
  if (!finished) return;
  if (!command_->second_family && command_->matched < command_->limit) {
    command_->second_family = true;
    command_->cursor = 0;
    return;
  }
  command_->done.store(true, std::memory_order_release);
  command_ = nullptr;
}

ClaimRing* Worker::claims() { return resolver_ ? &resolver_->claims() : nullptr; }

bool Worker::announce(Command& command) {
  if (!resolver_) return true;
  const auto& all = command.announcements;
  for (unsigned i = 0; i < announce_budget && command.matched < all.size(); ++i) {
    resolver_->announce(all[command.matched++]);
  }
  return command.matched == all.size();
}

bool Worker::set_neighbors(Command& command) {
  if (!resolver_) return true;
  const auto& others = command.other_neighbors;
  if (command.matched == 0) resolver_->swap_static(command.neighbors);
  for (unsigned i = 0; i < announce_budget && command.matched < others.size(); ++i) {
    const auto& [interface, address] = others[command.matched++];
    resolver_->settle_static(interface, address);
  }
  return command.matched == others.size();
}

template <class F>
void Worker::find_affinity(Command::Affinity& question) const {
  const auto found =
      connections_.affinity<F>().find(F::addr_of(question.client), question.key, question.seconds * 1000, context_.now);
  if (!found) return;
  question.endpoint = net::IpAddr(found->addr);
  question.port = found->port.host();
}

template <class F>
void Worker::find_mapping(Command::Mapping& question) const {
  const nat::MappingTable<F>& table = connections_.mappings<F>();
  const auto outside = F::addr_of(question.outside);
  nat::MappingId id = nat::no_mapping;
  if (question.by_inside) {
    const net::be16 port = net::be16::from_host(question.inside_port);
    id = table.find({F::addr_of(question.inside), {}, port, {}, question.protocol, {}}, outside);
  } else {
    id = table.owner(outside, net::be16::from_host(question.outside_port), question.protocol);
  }
  if (id == nat::no_mapping) return;
  const typename nat::MappingTable<F>::Mapping& mapping = table[id];
  question.found = true;
  question.inside = net::IpAddr(mapping.inside.src);
  question.inside_port = mapping.inside.src_port.host();
  question.outside_port = mapping.port.host();
  question.permitted = table.permits(id, F::addr_of(question.peer));
}

template <class F>
bool Worker::work_through(Command& command, unsigned budget) {
  nat::Conntrack<F>& table = connections_.of<F>();
  if (command.kind == Command::Kind::DeleteFlows && !pipeline_.has_room_for_ends(budget)) return false;
  command.cursor = table.visit(command.cursor, budget, [&](nat::ConnectionId id) {
    if (command.matched == command.limit) return;
    const FlowRecord record = record_of(table, id, context_);
    if (!command.query.matches(record)) return;
    ++command.matched;
    if (command.kind == Command::Kind::DeleteFlows) {
      pipeline_.close_connection<F>(id);
    } else if (command.records.size() < command.records.capacity()) {
      command.records.push_back(record);
    }
  });
  return command.cursor == nat::no_connection || command.matched == command.limit;
}

}  // namespace sluice::dataplane
