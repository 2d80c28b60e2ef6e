// The sending side of one stream: which packet comes next, when it is due, what it looks like.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tools/trafgen/checker.h"
#include "tools/trafgen/connections.h"
#include "tools/trafgen/counter.h"
#include "tools/trafgen/flows.h"
#include "tools/trafgen/frame_template.h"
#include "tools/trafgen/outstanding.h"
#include "tools/trafgen/profile.h"
#include "tools/trafgen/replay.h"

struct rte_mbuf;
struct rte_mempool;

namespace sluice::trafgen {

inline constexpr unsigned max_burst = 64;

struct SendCounters {
  Counter packets, bytes;
  Counter refused;  // times that the port took less than it was offered
  Counter skipped;  // packets that were not sent when they were due, and are not made up for
  Counter no_buffer;
  Counter failed;  // requests without answer in time
  void clear();
};

class Sender {
 public:
  struct Setup {
    uint32_t number = 0;  // of the stream
    uint32_t key = 0;     // of the run
    rte_mempool* pool = nullptr;
    const Replay* replay = nullptr;
    uint64_t tsc_hz = 1;
    unsigned burst = 32;
    const Checker* answers = nullptr;         // in mode requests
    ConnectionClient* connections = nullptr;  // in mode connections
  };
  enum class Turn : uint8_t { Idle, Refused, Worked };

  Sender(const StreamProfile& profile, const FlowSpace& flows, const Setup& setup);
  ~Sender();
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  void set_macs(const net::MacAddr& src, const net::MacAddr& dst);
  // Packets per second; 0: as fast as the port takes them.
  void set_rate(double rate) { rate_ = rate; }
  void start(uint64_t now);
  void stop();

  // Builds and sends what is due. `now`: TSC.
  Turn turn(uint64_t now, uint16_t port);
  // One more segment of a connection; the caller sends it. Null: no buffer.
  rte_mbuf* segment(const ConnectionId& id, uint8_t flags, uint32_t seq, uint32_t ack);

  [[nodiscard]] const SendCounters& counters() const { return counters_; }
  void clear() { counters_.clear(); }
  [[nodiscard]] std::vector<uint16_t> payload_lengths() const;
  [[nodiscard]] std::vector<uint16_t> frame_lengths() const;

 private:
  unsigned due(uint64_t now);
  unsigned build(uint64_t now, unsigned count);
  void build_templates();
  void settle(uint64_t now);
  bool transmit(uint16_t port);

  const StreamProfile& profile_;
  const FlowSpace& flows_;
  Setup setup_;
  net::MacAddr src_mac_, dst_mac_;
  std::vector<FrameTemplate> templates_;
  size_t next_template_ = 0;
  FlowOrder order_;
  std::vector<FlowOrder::Next> held_;  // drawn, but its connection is still open
  Outstanding outstanding_;
  uint64_t timeout_ = 0;  // TSC cycles
  double rate_ = 0;
  uint64_t started_ = 0;
  uint64_t scheduled_ = 0;
  rte_mbuf* pending_[max_burst] = {};
  unsigned pending_first_ = 0, pending_count_ = 0;
  SendCounters counters_;
};

}  // namespace sluice::trafgen
