#include "tools/trafgen/measurement.h"

#include "tools/trafgen/signature.h"

namespace sluice::trafgen {

double TrialResult::offered_rate() const {
  double sum = 0;
  for (const StreamResult& stream : streams) sum += stream.offered_rate;
  return sum;
}

double TrialResult::sent_rate() const {
  double sum = 0;
  for (const StreamResult& stream : streams) sum += stream.sent_rate;
  return sum;
}

double TrialResult::received_rate() const {
  double sum = 0;
  for (const StreamResult& stream : streams) sum += stream.forward.received_rate;
  return sum;
}

uint64_t TrialResult::sent() const {
  uint64_t sum = 0;
  for (const StreamResult& stream : streams) sum += stream.sent;
  return sum;
}

uint64_t TrialResult::lost() const {
  uint64_t sum = 0;
  for (const StreamResult& stream : streams) {
    if (stream.checked) sum += stream.forward.lost;
    if (stream.answers) sum += stream.answers->lost;
  }
  return sum;
}

uint64_t TrialResult::wrong() const {
  uint64_t sum = 0;
  for (const StreamResult& stream : streams)
    sum += stream.forward.wrong() + (stream.answers ? stream.answers->wrong() : 0);
  return sum;
}

bool TrialResult::passed(double tolerance) const {
  for (const StreamResult& stream : streams) {
    if (stream.offered_rate > 0 && stream.sent_rate < stream.offered_rate * 0.995) return false;
  }
  return static_cast<double>(lost() + wrong()) <= tolerance * static_cast<double>(sent());
}

LatencySummary summarize(const Histogram& histogram, uint64_t tsc_hz) {
  const double scale = 1e9 * (1U << stamp_shift) / static_cast<double>(tsc_hz);
  const auto ns = [scale](uint64_t ticks) { return static_cast<uint64_t>(static_cast<double>(ticks) * scale + 0.5); };
  return {.count = histogram.count(),
          .min = ns(histogram.min()),
          .p50 = ns(histogram.quantile(0.5)),
          .p90 = ns(histogram.quantile(0.9)),
          .p99 = ns(histogram.quantile(0.99)),
          .p999 = ns(histogram.quantile(0.999)),
          .max = ns(histogram.max()),
          .mean = histogram.mean() * scale};
}

}  // namespace sluice::trafgen
