// What one trial found, as plain numbers.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/trafgen/checker.h"
#include "tools/trafgen/histogram.h"

namespace sluice::trafgen {

struct LatencySummary {
  uint64_t count = 0, min = 0, p50 = 0, p90 = 0, p99 = 0, p999 = 0, max = 0;  // nanoseconds
  double mean = 0;
};

struct DirectionResult {
  uint64_t sent = 0, received = 0, lost = 0, duplicated = 0, reordered = 0, corrupted = 0, misrouted = 0;
  std::array<uint64_t, corruptions> corrupted_by{};
  std::array<uint64_t, misroutes> misrouted_by{};
  double received_rate = 0, received_bit_rate = 0;  // per second, while sending
  std::optional<LatencySummary> latency;

  [[nodiscard]] double lost_share() const {
    return sent == 0 ? 0 : static_cast<double>(lost) / static_cast<double>(sent);
  }
};

// What should not have happened to any packet, loss and order aside.
struct WrongPackets {
  uint64_t duplicated = 0, corrupted = 0, misrouted = 0;
  uint64_t unreadable = 0;  // frames whose lengths contradict each other
  uint64_t damaged = 0;     // the streams' packets whose signature cannot be read any more

  [[nodiscard]] uint64_t sum() const { return duplicated + corrupted + misrouted + unreadable + damaged; }
  WrongPackets& operator+=(const WrongPackets& other);
};

struct StreamResult {
  double offered_rate = 0;  // 0: unlimited
  uint64_t sent = 0, skipped = 0, refused = 0;
  double sent_rate = 0, sent_bit_rate = 0;
  DirectionResult forward;
  bool checked = true;  // there is a port to receive on
  std::optional<DirectionResult> answers;
  struct Exchange {
    uint64_t opened = 0, completed = 0, failed = 0, reset = 0;
    double rate = 0;
  };
  std::optional<Exchange> requests, connections;
};

struct PortResult {
  uint64_t sent = 0, sent_bytes = 0, received = 0, received_bytes = 0, refused = 0, missed = 0, errors = 0;
  uint64_t foreign = 0, damaged = 0, reflected = 0, unreadable = 0, neighbor_answers = 0;
  double sent_rate = 0, received_rate = 0;
};

struct Sample {
  struct Counts {
    uint64_t sent = 0, received = 0, answered = 0, completed = 0;
  };
  double at = 0;  // seconds since sending began
  std::vector<Counts> streams;
};

struct TrialResult {
  double seconds = 0;
  bool interrupted = false;
  std::vector<StreamResult> streams;
  std::vector<PortResult> ports;
  std::vector<Sample> samples;
  bool generator_limited = false;
  std::string generator_limited_why;
  double stalled_share = 0;      // of the time, in which a packet thread had lost its CPU to somebody else
  double busy_share = 0;         // of the busiest packet thread's time
  double cycles_per_packet = 0;  // TSC, of its work, per packet sent or received

  [[nodiscard]] double offered_rate() const;
  [[nodiscard]] double sent_rate() const;
  [[nodiscard]] double received_rate() const;
  [[nodiscard]] uint64_t sent() const;
  [[nodiscard]] uint64_t lost() const;  // both directions
  [[nodiscard]] WrongPackets wrong() const;
  // RFC 2544 section 26.1: all was sent as offered, and no more than `tolerance` (a share) was lost or wrong.
  [[nodiscard]] bool passed(double tolerance) const;
};

[[nodiscard]] LatencySummary summarize(const Histogram& histogram, uint64_t tsc_hz);

}  // namespace sluice::trafgen
