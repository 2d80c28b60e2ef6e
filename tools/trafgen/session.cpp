#include "tools/trafgen/session.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>

namespace sluice::trafgen {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

int run_worker(void* worker) {
  static_cast<Worker*>(worker)->run();
  return 0;
}

double share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

Session::Session(Testbed& bed, LiveTable& table, const std::atomic<bool>& stop)
    : bed_(bed), table_(table), stop_(stop) {
  for (uint32_t i = 0; i < bed.options().workers; ++i) workers_.push_back(std::make_unique<Worker>(bed, i));
}

Session::~Session() {
  if (!running_) return;
  order_all(Worker::Order::Quit);
  rte_eal_mp_wait_lcore();
}

void Session::order_all(Worker::Order order, uint64_t cycles) {
  for (const auto& worker : workers_) worker->give(order, cycles);
}

void Session::wait_all() {
  for (const auto& worker : workers_) {
    while (!worker->done()) std::this_thread::sleep_for(milliseconds(1));
  }
}

net::Status<> Session::start(double seconds) {
  for (unsigned i = 0; i < workers_.size(); ++i) {
    if (rte_eal_remote_launch(run_worker, workers_[i].get(), i + 1) != 0) {
      return net::Error{fmt::format("packet thread {} did not start", i)};
    }
  }
  running_ = true;
  for (const auto& worker : workers_) worker->resolve(true);
  const auto begin = Clock::now();
  for (;;) {
    std::string waiting;
    for (const auto& port : bed_.ports) {
      if (!port->device->statistics().link_up) {
        waiting = fmt::format("port \"{}\" has no link; is the other side running?", port->profile->name);
      } else if (!port->responder->resolved()) {
        waiting = fmt::format("the gateway of port \"{}\" does not answer ARP or ND; check addresses and the router",
                              port->profile->name);
      }
    }
    if (waiting.empty()) break;
    if (stop_.load()) return net::Error{"interrupted"};
    if (since(begin) > seconds) return net::Error{fmt::format("after {:.0f} s {}", seconds, waiting)};
    std::this_thread::sleep_for(milliseconds(10));
  }
  for (const auto& worker : workers_) worker->resolve(false);
  bed_.set_macs();
  return net::Done{};
}

uint64_t Session::received() const {
  uint64_t sum = 0;
  for (const auto& port : bed_.ports) sum += port->counters.received.get();
  return sum;
}

void Session::drain() {
  const auto begin = Clock::now();
  auto last_change = begin;
  for (uint64_t last = received(); since(last_change) < 0.05 && since(begin) < 1;) {
    std::this_thread::sleep_for(milliseconds(5));
    const uint64_t now = received();
    if (now == last) continue;
    last = now;
    last_change = Clock::now();
  }
}

Sample Session::sample(double at) const {
  Sample out{at, {}};
  for (const auto& stream : bed_.streams) {
    const uint64_t answered = stream->answers->counters().received.get();
    out.streams.push_back({stream->sender->counters().packets.get(), stream->forward->counters().received.get(),
                           answered, stream->connections ? stream->connections->counters().completed.get() : 0});
  }
  return out;
}

TrialResult Session::trial(const std::string& what, const std::vector<double>& rates, double seconds, double after) {
  drain();
  order_all(Worker::Order::Clear);
  wait_all();
  for (size_t i = 0; i < bed_.streams.size(); ++i) bed_.streams[i]->sender->set_rate(rates[i]);
  for (const auto& port : bed_.ports) rte_eth_stats_reset(port->device->id());

  TrialResult result;
  table_.begin(what, seconds, after);
  const auto begin = Clock::now();
  order_all(Worker::Order::Send, static_cast<uint64_t>(seconds * static_cast<double>(rte_get_tsc_hz())));
  double next_sample = 1;
  while (!std::all_of(workers_.begin(), workers_.end(), [](const auto& worker) { return worker->done(); })) {
    std::this_thread::sleep_for(milliseconds(seconds < 0.5 ? 1 : 10));
    const double elapsed = since(begin);
    if (stop_.load() && !result.interrupted) {
      result.interrupted = true;
      order_all(Worker::Order::Stop);
    }
    if (elapsed < next_sample || elapsed >= seconds) continue;
    next_sample += 1;
    result.samples.push_back(sample(elapsed));
    table_.update(elapsed);
  }
  drain();

  const WorkerTimes& times = workers_.front()->times();
  result.seconds = static_cast<double>(times.ended - times.began) / static_cast<double>(rte_get_tsc_hz());
  for (size_t i = 0; i < bed_.streams.size(); ++i) {
    result.streams.push_back(read(*bed_.streams[i], rates[i], result.seconds));
  }
  for (const auto& port : bed_.ports) {
    PortResult& out = result.ports.emplace_back();
    rte_eth_stats stats{};
    rte_eth_stats_get(port->device->id(), &stats);
    out = {.sent = stats.opackets,
           .sent_bytes = stats.obytes,
           .received = port->counters.received.get(),
           .received_bytes = port->counters.received_bytes.get(),
           .refused = port->out->dropped().get(),
           .missed = stats.imissed,
           .errors = stats.ierrors + stats.oerrors,
           .foreign = port->counters.foreign.get(),
           .damaged = port->counters.damaged.get(),
           .reflected = port->counters.reflected.get(),
           .unreadable = port->counters.unreadable.get(),
           .neighbor_answers = port->responder->answered().get(),
           .sent_rate = static_cast<double>(stats.opackets) / result.seconds,
           .received_rate = static_cast<double>(port->end_received) / result.seconds};
  }
  judge(result);
  return result;
}

uint64_t Session::stray(uint32_t stream, bool answer) const {
  uint64_t sum = 0;
  for (const auto& worker : workers_) sum += worker->stray(stream, answer);
  return sum;
}

DirectionResult Session::read(const Checker& checker, uint64_t sent, uint64_t stray) const {
  const CheckCounters& counters = checker.counters();
  DirectionResult out;
  out.sent = sent;
  out.received = counters.received.get() + stray;
  const uint64_t distinct = counters.distinct.get() + stray;
  out.lost = sent > distinct ? sent - distinct : 0;
  out.duplicated = counters.duplicated.get();
  out.reordered = counters.reordered.get();
  out.corrupted = counters.corrupted.get();
  out.misrouted = counters.misrouted.get() + stray;
  for (size_t i = 0; i < corruptions; ++i) out.corrupted_by[i] = counters.corrupted_by[i].get();
  for (size_t i = 0; i < misroutes; ++i) out.misrouted_by[i] = counters.misrouted_by[i].get();
  out.misrouted_by[static_cast<size_t>(Misroute::Port)] += stray;
  return out;
}

StreamResult Session::read(const TestStream& stream, double rate, double seconds) const {
  const StreamProfile& profile = *stream.profile;
  const SendCounters& sending = stream.sender->counters();
  StreamResult out;
  out.offered_rate = rate;
  out.sent = sending.packets.get();
  out.skipped = sending.skipped.get();
  out.refused = sending.refused.get();
  out.sent_rate = static_cast<double>(stream.end.sent) / seconds;
  out.sent_bit_rate = static_cast<double>(stream.end.sent_bytes) * 8 / seconds;
  out.checked = stream.receive_ports != 0;
  out.forward = read(*stream.forward, out.checked ? out.sent : 0, stray(stream.number, false));
  out.forward.received_rate = static_cast<double>(stream.end.received) / seconds;
  out.forward.received_bit_rate = static_cast<double>(stream.end.received_bytes) * 8 / seconds;
  if (profile.latency && out.checked) out.forward.latency = summarize(stream.forward->latency(), rte_get_tsc_hz());
  if (profile.answer || stream.connections) {
    out.answers = read(*stream.answers, stream.answers_sent.get(), stray(stream.number, true));
    out.answers->received_rate = static_cast<double>(stream.end.answered) / seconds;
    out.answers->received_bit_rate = static_cast<double>(stream.end.answered_bytes) * 8 / seconds;
    if (profile.latency && profile.answer) {
      out.answers->latency = summarize(stream.answers->latency(), rte_get_tsc_hz());
    }
  }
  if (profile.mode == Mode::Requests) {
    const uint64_t completed = stream.answers->counters().distinct.get();
    out.requests = {out.sent, completed, sending.failed.get(), 0, static_cast<double>(stream.end.answered) / seconds};
  }
  if (stream.connections) {
    const ConnectionCounters& counters = stream.connections->counters();
    out.connections = {counters.opened.get(), counters.completed.get(), counters.failed.get(), counters.reset.get(),
                       static_cast<double>(stream.end.completed) / seconds};
    out.answers->duplicated += counters.duplicated.get();
    // Segments have no sequence of ours: what is lost shows as failed connections.
    out.forward.lost = 0;
    out.answers->lost = 0;
  }
  return out;
}

void Session::judge(TrialResult& result) const {
  for (const auto& worker : workers_) {
    const WorkerTimes& times = worker->times();
    const uint64_t all = times.ended - times.began;
    const double busy = 1 - share(times.idle, all);
    result.stalled_share = std::max(result.stalled_share, share(times.stalled, all));
    if (busy < result.busy_share) continue;
    result.busy_share = busy;
    result.cycles_per_packet = share(all - std::min(all, times.idle + times.stalled), times.packets);
  }
  const auto limited = [&](std::string why) {
    if (result.generator_limited) return;
    result.generator_limited = true;
    result.generator_limited_why = std::move(why);
  };
  if (result.stalled_share > 0.02) {
    limited(
        fmt::format("a packet thread had lost its CPU to other programs {:.1f} % of the time; give it one of its own",
                    100 * result.stalled_share));
  }
  uint64_t bursts = 0;
  uint64_t full = 0;
  for (const auto& port : bed_.ports) {
    bursts += port->counters.bursts.get();
    full += port->counters.full_bursts.get();
  }
  for (size_t i = 0; i < result.streams.size(); ++i) {
    const StreamResult& stream = result.streams[i];
    const StreamProfile& profile = *bed_.streams[i]->profile;
    const uint64_t bursts_sent = stream.sent / bed_.options().burst + 1;
    if (profile.mode == Mode::Connections || profile.mode == Mode::Requests) {
      if (result.busy_share > 0.98)
        limited(fmt::format("stream \"{}\": the packet thread was never idle", profile.name));
    } else if (stream.offered_rate <= 0) {
      if (share(stream.refused, bursts_sent) < 0.01) {
        limited(fmt::format("stream \"{}\": the port took every packet at once, so the link takes more than was sent",
                            profile.name));
      }
    } else if (stream.sent_rate < stream.offered_rate * 0.995 && share(stream.refused, bursts_sent) < 0.01) {
      limited(fmt::format("stream \"{}\": the rate was not reached although the port took every packet at once",
                          profile.name));
    }
  }
  if (result.lost() != 0 && share(full, bursts) > 0.9) {
    limited("nearly all receive bursts were full, so packets may have been lost waiting for the generator");
  }
}

}  // namespace sluice::trafgen
