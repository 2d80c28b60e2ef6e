// The receiving side of one stream and one direction: every packet is checked for damage, for the way it took and for
// its place in its flow.
//
// A packet is one of its stream by its signature, whatever else is wrong with it. Memory: 8 bytes a flow for the
// sequence, 4 more where a flow may arrive in several right ways and must stay with one.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include <rte_prefetch.h>

#include "tools/trafgen/counter.h"
#include "tools/trafgen/expectation.h"
#include "tools/trafgen/histogram.h"
#include "tools/trafgen/sequence_window.h"
#include "tools/trafgen/signature.h"

namespace sluice::trafgen {

enum class Corruption : uint8_t { IpChecksum, Length, L4Checksum, Payload, None };
inline constexpr size_t corruptions = static_cast<size_t>(Corruption::None);
[[nodiscard]] std::string_view name_of(Corruption what);

struct CheckCounters {
  Counter received;  // all of the stream's packets, good or bad
  Counter bytes;
  Counter distinct;  // received, second copies not counted
  Counter duplicated, reordered, corrupted, misrouted;
  std::array<Counter, corruptions> corrupted_by;
  std::array<Counter, misroutes> misrouted_by;

  void clear();
};

struct CheckSpec {
  uint32_t flows = 1;
  Expectation expectation;
  std::vector<uint16_t> payload_lengths;  // those that the stream sends
  bool latency = false;
};

class Checker {
 public:
  explicit Checker(const CheckSpec& spec);

  void prefetch(uint32_t flow) const { rte_prefetch0(&windows_[flow]); }

  // `now`: stamp_of the time at which the burst came. True: nothing is wrong with it and it is no second copy.
  bool check(const FrameView& view, const Signature& signature, bool right_port, uint32_t now);
  // A packet without payload, known by other means than its signature; damage and way only.
  bool check_segment(const FrameView& view, uint32_t flow, bool right_port);

  // Whether packet `sequence` of the flow has come.
  [[nodiscard]] bool has(uint32_t flow, uint32_t sequence) const { return windows_[flow].has(sequence); }

  [[nodiscard]] const CheckCounters& counters() const { return counters_; }
  // Nanoseconds are the reader's business: units of 2^stamp_shift TSC cycles.
  [[nodiscard]] const Histogram& latency() const { return *latency_; }
  void clear();

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  template <class T>
  using Array = std::unique_ptr<T[], Free>;

  [[nodiscard]] Corruption damage(const FrameView& view, const Signature& signature) const;
  [[nodiscard]] Misroute way(const FrameView& view, uint32_t flow, bool right_port);
  bool report(Corruption damaged, Misroute way);

  CheckSpec spec_;
  std::bitset<65536> right_length_;  // of payloads
  Array<SequenceWindow> windows_;
  Array<uint32_t> endpoints_;  // fingerprint of addresses and ports, 0: not seen yet
  CheckCounters counters_;
  std::unique_ptr<Histogram> latency_;
};

}  // namespace sluice::trafgen
