#include "tools/trafgen/measurement.h"

#include "tools/trafgen/signature.h"

namespace sluice::trafgen {

namespace {

// The sum of `part` over all streams.
template <class Part>
auto total(const std::vector<StreamResult>& streams, Part part) {
  decltype(part(streams.front())) sum = 0;
  for (const StreamResult& stream : streams) sum += part(stream);
  return sum;
}

}  // namespace

double TrialResult::offered_rate() const {
  return total(streams, [](const StreamResult& stream) { return stream.offered_rate; });
}

double TrialResult::sent_rate() const {
  return total(streams, [](const StreamResult& stream) { return stream.sent_rate; });
}

double TrialResult::received_rate() const {
  return total(streams, [](const StreamResult& stream) { return stream.forward.received_rate; });
}

uint64_t TrialResult::sent() const {
  return total(streams, [](const StreamResult& stream) { return stream.sent; });
}

uint64_t TrialResult::lost() const {
  return total(streams, [](const StreamResult& stream) {
    return (stream.checked ? stream.forward.lost : 0) + (stream.answers ? stream.answers->lost : 0);
  });
}

WrongPackets& WrongPackets::operator+=(const WrongPackets& other) {
  duplicated += other.duplicated;
  corrupted += other.corrupted;
  misrouted += other.misrouted;
  unreadable += other.unreadable;
  damaged += other.damaged;
  return *this;
}

WrongPackets TrialResult::wrong() const {
  WrongPackets out;
  const auto add = [&out](const DirectionResult& from) {
    out += {.duplicated = from.duplicated, .corrupted = from.corrupted, .misrouted = from.misrouted};
  };
  for (const StreamResult& stream : streams) {
    add(stream.forward);
    if (stream.answers) add(*stream.answers);
  }
  for (const PortResult& port : ports) out += {.unreadable = port.unreadable, .damaged = port.damaged};
  return out;
}

bool TrialResult::passed(double tolerance) const {
  for (const StreamResult& stream : streams) {
    if (stream.offered_rate > 0 && stream.sent_rate < stream.offered_rate * 0.995) return false;
  }
  return static_cast<double>(lost() + wrong().sum()) <= tolerance * static_cast<double>(sent());
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
