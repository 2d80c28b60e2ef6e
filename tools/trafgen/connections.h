// Complete TCP openings and closings:
//
//   client  SYN ───────▶  server          the client remembers one byte a flow; the server nothing:
//           ◀─── SYN ACK                  stream and flow travel in the client's sequence number,
//           ACK, FIN ACK ▶                and come back in the server's acknowledgements
//           ◀─── FIN ACK
//           ACK ───────▶  complete
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tools/trafgen/counter.h"
#include "tools/trafgen/frame_view.h"
#include "tools/trafgen/turn_around.h"

namespace sluice::trafgen {

inline constexpr unsigned max_connection_streams = 8;

// What the sequence numbers of a segment say. Two low bits count SYN and FIN.
struct ConnectionId {
  uint32_t generation = 0;  // 0 to 7
  uint32_t stream = 0;      // 0 to 7
  uint32_t flow = 0;

  [[nodiscard]] uint32_t first_sequence() const { return generation << 29 | stream << 26 | flow << 2; }
  static ConnectionId of(uint32_t client_sequence) {
    return {client_sequence >> 29, client_sequence >> 26 & 7, client_sequence >> 2 & 0xffffff};
  }
};

struct Segment {
  ConnectionId id;
  bool to_server = false;
};

// Whose segment this is, if it can be one of ours: TCP without payload whose numbers agree with each other.
[[nodiscard]] std::optional<Segment> identify_segment(const FrameView& view);

struct ConnectionCounters {
  Counter opened, completed, failed, reset;
  Counter duplicated;  // answers that had come already
  void clear();
};

class ConnectionClient {
 public:
  enum class Reaction : uint8_t { None, AckAndFin, LastAck };

  explicit ConnectionClient(uint32_t stream, uint32_t flows) : stream_(stream), states_(flows) {}

  [[nodiscard]] bool idle(uint32_t flow) const {
    const unsigned state = states_[flow] & state_mask;
    return state == closed || state == given_up;
  }
  // Begins a new connection of an idle flow.
  ConnectionId open(uint32_t flow);
  // A segment from the server, checked already.
  Reaction receive(const ConnectionId& id, const FrameView& view);
  [[nodiscard]] bool finished(uint32_t flow, uint32_t generation) const {
    return idle(flow) || static_cast<uint32_t>(states_[flow] >> 2 & 7) != generation;
  }
  void give_up(uint32_t flow);

  ConnectionCounters& counters() { return counters_; }
  [[nodiscard]] const ConnectionCounters& counters() const { return counters_; }

 private:
  // Given up: failed or refused, so that what comes late comes for the first time.
  static constexpr uint8_t closed = 0, syn_sent = 1, fin_sent = 2, given_up = 3, state_mask = 3;

  uint32_t stream_;
  std::vector<uint8_t> states_;  // state 2 bits, generation 3 bits
  ConnectionCounters counters_;
};

}  // namespace sluice::trafgen
