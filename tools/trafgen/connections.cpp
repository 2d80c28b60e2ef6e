#include "tools/trafgen/connections.h"

namespace sluice::trafgen {

using namespace net::tcp_flag;

void ConnectionCounters::clear() {
  for (Counter* counter : {&opened, &completed, &failed, &reset, &duplicated}) counter->clear();
}

std::optional<Segment> identify_segment(const FrameView& view) {
  if (view.protocol != net::protocol::tcp || view.payload_length != 0) return std::nullopt;
  const uint8_t* l4 = view.data + view.l4;
  const uint8_t flags = view.tcp_flags();
  const uint32_t seq_number = net::load_be32(l4 + 4);
  const uint32_t ack_number = net::load_be32(l4 + 8);
  const auto first = [](uint32_t number) { return number & ~3U; };
  if ((flags & (syn | ack)) == syn) {
    if ((seq_number & 3) != 0) return std::nullopt;
    return Segment{ConnectionId::of(seq_number), true};
  }
  if ((flags & ack) == 0) return std::nullopt;
  // A refusal carries no sequence number of the server's.
  if ((flags & rst) != 0 && seq_number == 0) return Segment{ConnectionId::of(first(ack_number)), false};
  if (first(ack_number) - first(seq_number) == server_sequence_offset) {
    return Segment{ConnectionId::of(first(seq_number)), true};
  }
  if (first(seq_number) - first(ack_number) == server_sequence_offset) {
    return Segment{ConnectionId::of(first(ack_number)), false};
  }
  return std::nullopt;
}

ConnectionId ConnectionClient::open(uint32_t flow) {
  const auto generation = static_cast<uint8_t>(((states_[flow] >> 2) + 1) & 7);
  states_[flow] = static_cast<uint8_t>(generation << 2 | syn_sent);
  counters_.opened.add();
  return {generation, stream_, flow};
}

ConnectionClient::Reaction ConnectionClient::receive(const ConnectionId& id, const FrameView& view) {
  const uint8_t flags = view.tcp_flags();
  uint8_t& state = states_[id.flow];
  const bool current = static_cast<uint32_t>(state >> 2 & 7) == id.generation;
  if (!current || (state & state_mask) == given_up) return Reaction::None;
  const auto enter = [&](uint8_t next) { state = static_cast<uint8_t>((state & ~state_mask) | next); };
  if ((flags & rst) != 0) {
    if (idle(id.flow)) return Reaction::None;
    enter(given_up);
    counters_.reset.add();
    return Reaction::None;
  }
  const uint32_t acknowledged = net::load_be32(view.data + view.l4 + 8) - id.first_sequence();
  if ((state & state_mask) == syn_sent && (flags & syn) != 0 && acknowledged == 1) {
    enter(fin_sent);
    return Reaction::AckAndFin;
  }
  if ((state & state_mask) == fin_sent && (flags & fin) != 0 && acknowledged == 2) {
    enter(closed);
    counters_.completed.add();
    return Reaction::LastAck;
  }
  const bool opening = (flags & syn) != 0 && acknowledged == 1;
  const bool closing = (flags & fin) != 0 && acknowledged == 2;
  if ((opening && (state & state_mask) != syn_sent) || (closing && (state & state_mask) == closed)) {
    counters_.duplicated.add();
  }
  return Reaction::None;
}

void ConnectionClient::give_up(uint32_t flow) {
  states_[flow] |= given_up;
  counters_.failed.add();
}

}  // namespace sluice::trafgen
