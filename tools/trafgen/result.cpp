#include "tools/trafgen/result.h"

#include <algorithm>

#include <boost/json/array.hpp>
#include <fmt/format.h>

namespace sluice::trafgen {
namespace {

namespace json = boost::json;

template <class T>
json::array list_of(const T& items) {
  json::array out;
  for (const auto& item : items) out.emplace_back(item);
  return out;
}

json::object latency_json(const LatencySummary& latency) {
  return {{"count", latency.count}, {"min", latency.min}, {"mean", latency.mean}, {"p50", latency.p50},
          {"p90", latency.p90},     {"p99", latency.p99}, {"p999", latency.p999}, {"max", latency.max}};
}

json::object direction_json(const DirectionResult& from) {
  json::object out{{"sent", from.sent},
                   {"received", from.received},
                   {"receivedRate", from.received_rate},
                   {"receivedBitRate", from.received_bit_rate},
                   {"lost", from.lost},
                   {"lostShare", from.lost_share()},
                   {"duplicated", from.duplicated},
                   {"reordered", from.reordered},
                   {"corrupted", from.corrupted},
                   {"misrouted", from.misrouted}};
  json::object corrupted;
  for (size_t i = 0; i < corruptions; ++i) corrupted[name_of(static_cast<Corruption>(i))] = from.corrupted_by[i];
  json::object misrouted;
  for (size_t i = 0; i < misroutes; ++i) misrouted[name_of(static_cast<Misroute>(i))] = from.misrouted_by[i];
  out["corruptedBy"] = std::move(corrupted);
  out["misroutedBy"] = std::move(misrouted);
  if (from.latency) out["latency"] = latency_json(*from.latency);
  return out;
}

json::object brief_json(const DirectionResult& from) {
  return {{"sent", from.sent},           {"received", from.received},
          {"lost", from.lost},           {"duplicated", from.duplicated},
          {"reordered", from.reordered}, {"corrupted", from.corrupted},
          {"misrouted", from.misrouted}};
}

json::object wrong_json(const WrongPackets& from) {
  return {{"duplicated", from.duplicated},
          {"corrupted", from.corrupted},
          {"misrouted", from.misrouted},
          {"unreadable", from.unreadable},
          {"damaged", from.damaged}};
}

json::object stream_json(const TestStream& stream, const StreamResult& from, const StreamResult* warmup) {
  json::object out{{"name", stream.profile->name},
                   {"mode", name_of(stream.profile->mode)},
                   {"frameBytes", list_of(stream.sender->frame_lengths())},
                   {"flows", stream.flows.count()},
                   {"offeredRate", from.offered_rate > 0 ? json::value(from.offered_rate) : json::value()},
                   {"sent", from.sent},
                   {"skipped", from.skipped},
                   {"sendRefused", from.refused},
                   {"sentRate", from.sent_rate},
                   {"sentBitRate", from.sent_bit_rate}};
  if (from.checked) out["forward"] = direction_json(from.forward);
  if (from.answers) out["answers"] = direction_json(*from.answers);
  if (from.requests) {
    out["requests"] = {
        {"completed", from.requests->completed}, {"rate", from.requests->rate}, {"failed", from.requests->failed}};
  }
  if (from.connections) {
    const auto& c = *from.connections;
    out["connections"] = {
        {"opened", c.opened}, {"completed", c.completed}, {"rate", c.rate}, {"failed", c.failed}, {"reset", c.reset}};
  }
  if (stream.replay) out["replay"] = {{"packets", stream.replay->packets()}, {"leftOut", stream.replay->left_out()}};
  if (warmup != nullptr) {
    out["warmup"] = brief_json(warmup->forward);
    out["warmup"].get_object()["sent"] = warmup->sent;
    if (warmup->answers) out["warmup"].get_object()["answers"] = brief_json(*warmup->answers);
  }
  return out;
}

json::object port_json(const TestPort& port, const PortResult& from) {
  return {{"name", port.profile->name},
          {"device", port.profile->device},
          {"mac", net::to_string(port.device->mac())},
          {"sent", from.sent},
          {"sentBytes", from.sent_bytes},
          {"sentRate", from.sent_rate},
          {"received", from.received},
          {"receivedBytes", from.received_bytes},
          {"receivedRate", from.received_rate},
          {"sendRefused", from.refused},
          {"missed", from.missed},
          {"errors", from.errors},
          {"foreign", from.foreign},
          {"damaged", from.damaged},
          {"reflected", from.reflected},
          {"unreadable", from.unreadable},
          {"neighborAnswers", from.neighbor_answers}};
}

json::array streams_json(const Testbed& bed, const TrialResult& trial, const TrialResult* warmup) {
  json::array out;
  for (size_t i = 0; i < bed.streams.size(); ++i) {
    out.push_back(stream_json(*bed.streams[i], trial.streams[i], warmup != nullptr ? &warmup->streams[i] : nullptr));
  }
  return out;
}

json::object trial_json(const Testbed& bed, const TrialResult& trial, double tolerance) {
  return {{"offeredRate", trial.offered_rate()},
          {"sentRate", trial.sent_rate()},
          {"receivedRate", trial.received_rate()},
          {"sent", trial.sent()},
          {"lost", trial.lost()},
          {"lostShare", trial.sent() == 0 ? 0 : static_cast<double>(trial.lost()) / static_cast<double>(trial.sent())},
          {"wrong", wrong_json(trial.wrong())},
          {"passed", trial.passed(tolerance)},
          {"seconds", trial.seconds},
          {"generatorLimited", trial.generator_limited},
          {"generatorLimitedWhy", trial.generator_limited_why},
          {"streams", streams_json(bed, trial, nullptr)}};
}

json::array samples_json(const TrialResult& trial) {
  json::array out;
  for (const Sample& sample : trial.samples) {
    json::array streams;
    for (const auto& s : sample.streams) {
      streams.push_back(json::object{
          {"sent", s.sent}, {"received", s.received}, {"answered", s.answered}, {"completed", s.completed}});
    }
    out.push_back(json::object{{"at", sample.at}, {"streams", std::move(streams)}});
  }
  return out;
}

std::string direction_text(std::string_view name, const DirectionResult& d) {
  std::string out = fmt::format(
      "  {:<10} received {} ({:.3f} Mpps), lost {} ({:.4f} %), duplicated {}, reordered {}, corrupted {}, misrouted "
      "{}\n",
      name, d.received, d.received_rate / 1e6, d.lost, 100 * d.lost_share(), d.duplicated, d.reordered, d.corrupted,
      d.misrouted);
  for (size_t i = 0; i < corruptions; ++i) {
    if (d.corrupted_by[i] != 0) {
      out += fmt::format("             corrupted by {}: {}\n", name_of(static_cast<Corruption>(i)), d.corrupted_by[i]);
    }
  }
  for (size_t i = 0; i < misroutes; ++i) {
    if (d.misrouted_by[i] != 0) {
      out += fmt::format("             misrouted by {}: {}\n", name_of(static_cast<Misroute>(i)), d.misrouted_by[i]);
    }
  }
  if (d.latency && d.latency->count != 0) {
    const LatencySummary& l = *d.latency;
    out += fmt::format("             latency, µs: p50 {:.2f}  p90 {:.2f}  p99 {:.2f}  p99.9 {:.2f}  max {:.2f}\n",
                       l.p50 / 1e3, l.p90 / 1e3, l.p99 / 1e3, l.p999 / 1e3, l.max / 1e3);
  }
  return out;
}

}  // namespace

bool is_clean(const RunResult& result) { return result.wrong().sum() == 0; }

uint64_t lost_in(const RunResult& result) { return result.trials.empty() ? 0 : result.trials[result.shown].lost(); }

json::object to_json(const Options& options, const Testbed& bed, const RunFacts& facts, const RunResult& result) {
  const double tolerance = options.tolerance_ppm / 1e6;
  json::object out{{"program", "sluice-trafgen"},
                   {"version", SLUICE_VERSION},
                   {"started", facts.started},
                   {"command", list_of(options.command)},
                   {"tscHz", facts.tsc_hz},
                   {"hugepages", facts.hugepages},
                   {"lcores", list_of(options.cpus)},
                   {"burst", options.burst},
                   {"interrupted", result.interrupted},
                   {"clean", is_clean(result)},
                   {"wrong", wrong_json(result.wrong())}};
  if (result.trials.empty()) return out;
  const TrialResult& trial = result.trials[result.shown];
  out["generatorLimited"] = trial.generator_limited;
  out["generatorLimitedWhy"] = trial.generator_limited_why;
  out["seconds"] = trial.seconds;
  json::array ports;
  for (size_t i = 0; i < bed.ports.size(); ++i) ports.push_back(port_json(*bed.ports[i], trial.ports[i]));
  out["ports"] = std::move(ports);
  out["streams"] = streams_json(bed, trial, result.warmup ? &*result.warmup : nullptr);
  out["samples"] = samples_json(trial);
  if (result.trials.size() > 1 || result.search) {
    json::array trials;
    for (const TrialResult& one : result.trials) trials.push_back(trial_json(bed, one, tolerance));
    out["trials"] = std::move(trials);
  }
  if (result.search) {
    out["search"] = {{"kind", "loss-free"},
                     {"tolerancePpm", options.tolerance_ppm},
                     {"resolutionPercent", options.resolution_percent},
                     {"rate", result.search->rate},
                     {"found", result.search->found}};
    if (result.flood) out["search"].get_object()["flood"] = trial_json(bed, *result.flood, tolerance);
  }
  out["generator"] = {{"cyclesPerPacket", trial.cycles_per_packet},
                      {"busyShare", trial.busy_share},
                      {"stalledShare", trial.stalled_share}};
  return out;
}

std::string summary(const Testbed& bed, const RunResult& result) {
  if (result.trials.empty()) return "nothing was measured\n";
  std::string out;
  if (result.trials.size() > 1) {
    for (const TrialResult& trial : result.trials) {
      out +=
          fmt::format("offered {:.3f} Mpps: sent {:.3f}, received {:.3f} Mpps, lost {}\n", trial.offered_rate() / 1e6,
                      trial.sent_rate() / 1e6, trial.received_rate() / 1e6, trial.lost());
    }
  }
  if (const WrongPackets wrong = result.wrong(); wrong.sum() != 0) {
    out += fmt::format(
        "WRONG, warm-up and all trials together: duplicated {}, corrupted {}, misrouted {}, unreadable {}, damaged "
        "{}\n",
        wrong.duplicated, wrong.corrupted, wrong.misrouted, wrong.unreadable, wrong.damaged);
  }
  const TrialResult& trial = result.trials[result.shown];
  for (size_t i = 0; i < bed.streams.size(); ++i) {
    const StreamResult& stream = trial.streams[i];
    out += fmt::format("{}: sent {} in {:.2f} s ({:.3f} Mpps, {:.3f} Gbit/s)\n", bed.streams[i]->profile->name,
                       stream.sent, trial.seconds, stream.sent_rate / 1e6, stream.sent_bit_rate / 1e9);
    if (stream.checked) out += direction_text("forward", stream.forward);
    if (stream.answers) out += direction_text("answers", *stream.answers);
    if (stream.requests) {
      out += fmt::format("  requests   completed {} ({:.0f} per second), failed {}\n", stream.requests->completed,
                         stream.requests->rate, stream.requests->failed);
    }
    if (stream.connections) {
      const auto& c = *stream.connections;
      out += fmt::format("  connections opened {}, completed {} ({:.0f} per second), failed {}, reset {}\n", c.opened,
                         c.completed, c.rate, c.failed, c.reset);
    }
  }
  for (size_t i = 0; i < bed.ports.size(); ++i) {
    const PortResult& port = trial.ports[i];
    if (port.foreign + port.reflected + port.unreadable + port.missed + port.errors == 0) continue;
    out +=
        fmt::format("{}: foreign {}, reflected {}, unreadable {}, missed {}, errors {}\n", bed.ports[i]->profile->name,
                    port.foreign, port.reflected, port.unreadable, port.missed, port.errors);
  }
  if (result.search) {
    out += result.search->found ? fmt::format("loss-free rate: {:.3f} Mpps\n", result.search->rate / 1e6)
                                : std::string("loss-free rate: none found\n");
  }
  out += fmt::format("packet thread busy {:.1f} %, {:.0f} TSC cycles per packet\n", 100 * trial.busy_share,
                     trial.cycles_per_packet);
  if (trial.generator_limited) out += "the generator was the limit: " + trial.generator_limited_why + "\n";
  if (!is_clean(result)) out += "NOT CLEAN: packets were duplicated, corrupted or misrouted\n";
  return out;
}

}  // namespace sluice::trafgen
