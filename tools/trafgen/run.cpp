#include "tools/trafgen/run.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "tools/trafgen/search.h"

namespace sluice::trafgen {
namespace {

std::vector<double> rates_of_step(const Profile& profile, size_t step) {
  std::vector<double> out;
  for (const StreamProfile& stream : profile.streams) {
    out.push_back(stream.rates.empty() ? 0 : stream.rates[std::min(step, stream.rates.size() - 1)]);
  }
  return out;
}

// What each stream gets of the search's rate: in proportion to the profile's rates, else to what a flood gave it.
std::vector<double> shares(const Profile& profile, const std::vector<double>& weights) {
  std::vector<double> out = rates_of_step(profile, 0);
  if (std::any_of(out.begin(), out.end(), [](double rate) { return rate <= 0; })) out = weights;
  double sum = 0;
  for (const double weight : out) sum += weight;
  for (double& weight : out) weight = sum > 0 ? weight / sum : 1.0 / static_cast<double>(out.size());
  return out;
}

void search(const Options& options, Session& session, const std::atomic<bool>& stop, RunResult& result) {
  const Profile& profile = options.profile;
  const size_t streams = profile.streams.size();
  const double seconds = profile.duration;
  const double steps = std::ceil(std::log2(100 / options.resolution_percent));
  std::vector<double> weights(streams, 1);
  SearchSpec spec{.highest = 0, .resolution = options.resolution_percent};
  if (options.max_rate) {
    spec.highest = *options.max_rate * static_cast<double>(streams);
  } else {
    result.flood = session.trial("flood, for the highest rate", std::vector<double>(streams, 0), std::min(seconds, 3.0),
                                 seconds * (steps + 1));
    for (size_t i = 0; i < streams; ++i) weights[i] = result.flood->streams[i].sent_rate;
    spec.highest = result.flood->sent_rate();
  }
  const std::vector<double> share = shares(profile, weights);
  double best = -1;
  double tried = 0;
  const auto passes = [&](double rate) {
    std::vector<double> rates;
    for (const double part : share) rates.push_back(rate * part);
    const double left = std::max(0.0, steps - tried++) * seconds;
    const std::string what = fmt::format("search at {:.3f} Mpps", rate / 1e6);
    bool good = false;
    // A trial in which this program had no CPU tells nothing about the system under test.
    for (int attempt = 0; attempt < 3; ++attempt) {
      result.trials.push_back(session.trial(what, rates, seconds, left));
      const TrialResult& trial = result.trials.back();
      good = !trial.interrupted && trial.passed(options.tolerance_ppm / 1e6);
      if (good || trial.interrupted || trial.stalled_share < 0.002) break;
    }
    if (good && rate > best) {
      best = rate;
      result.shown = result.trials.size() - 1;
    }
    return good;
  };
  const SearchOutcome outcome = search_loss_free(spec, passes, [&] { return stop.load(); });
  result.search = {outcome.rate, outcome.found};
}

}  // namespace

WrongPackets RunResult::wrong() const {
  WrongPackets out;
  if (warmup) out += warmup->wrong();
  if (flood) out += flood->wrong();
  for (const TrialResult& trial : trials) out += trial.wrong();
  return out;
}

RunResult run(const Options& options, Session& session, const std::atomic<bool>& stop) {
  RunResult result;
  const Profile& profile = options.profile;
  size_t steps = 1;
  for (const StreamProfile& stream : profile.streams) steps = std::max(steps, stream.rates.size());
  if (profile.warmup > 0 && !profile.streams.empty()) {
    const double after = profile.duration * static_cast<double>(steps);
    result.warmup = session.trial("warm-up", rates_of_step(profile, 0), profile.warmup, after);
  }
  if (options.search && !stop.load()) {
    search(options, session, stop, result);
  } else {
    for (size_t step = 0; step < steps && (!stop.load() || step == 0); ++step) {
      const std::string what = steps == 1 ? "measuring" : fmt::format("step {} of {}", step + 1, steps);
      const double after = profile.duration * static_cast<double>(steps - 1 - step);
      result.trials.push_back(session.trial(what, rates_of_step(profile, step), profile.duration, after));
      result.shown = step;
    }
  }
  result.interrupted = stop.load();
  return result;
}

}  // namespace sluice::trafgen
