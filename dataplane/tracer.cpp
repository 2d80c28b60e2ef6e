#include "dataplane/tracer.h"

namespace sluice::dataplane {

bool TraceRing::allocate() {
  records_ = static_cast<PacketTrace*>(nat::Memory::anonymous().allocate(slots * sizeof(PacketTrace), 64));
  return records_ != nullptr;
}

TraceRing::~TraceRing() {
  if (records_ != nullptr) nat::Memory::anonymous().release(records_, slots * sizeof(PacketTrace));
}

template <class Process>
void Tracer::process(rte_mbuf** packets, const uint8_t* wanted, uint16_t count, uint16_t port, const Process& process) {
  uint16_t begin = 0;
  const auto process_until = [&](uint16_t end) {
    if (end != begin) process(packets + begin, static_cast<uint16_t>(end - begin));
    begin = end;
  };
  for (uint16_t i = 0; i < count; ++i) {
    if (wanted[i] == 0) continue;
    PacketTrace* const trace = ring_.next();
    if (trace == nullptr) {
      ring_.lose();
      continue;
    }
    process_until(i);
    recorder_.begin(*trace, packets[i]);
    trace->traces = wanted[i];
    trace->port = port;
    if (port == net::no_interface) {
      trace->handed_over = true;
      const HandoffNote& note = context_.tables.rings->note(packets[i]);
      trace->came_as = note.kind;
      trace->l3 = note.l3;
    }
    process_until(static_cast<uint16_t>(i + 1));
    recorder_.end();
    ring_.publish();
  }
  process_until(count);
}

void Tracer::process_frames(const TraceOrders& orders, rte_mbuf** frames, uint16_t count, uint16_t port) {
  uint8_t wanted[net::burst_size] = {};
  for (size_t order = 0; order < TraceOrders::most; ++order) {
    const TraceFilter& filter = orders.filters[order];
    if (filter.matches == nullptr) continue;
    for (uint16_t i = 0; i < count; ++i) {
      const auto* const frame = rte_pktmbuf_mtod(frames[i], const uint8_t*);
      if (filter.matches(filter.program, frame, frames[i]->pkt_len, frames[i]->data_len)) {
        wanted[i] |= static_cast<uint8_t>(1U << order);
      }
    }
  }
  process(frames, wanted, count, port,
          [&](rte_mbuf** some, uint16_t number) { pipeline_.process_frames(some, number, port); });
}

void Tracer::process_handed_over(rte_mbuf** packets, uint16_t count) {
  uint8_t wanted[net::burst_size];
  for (uint16_t i = 0; i < count; ++i) wanted[i] = context_.tables.rings->note(packets[i]).traces;
  process(packets, wanted, count, net::no_interface,
          [&](rte_mbuf** some, uint16_t number) { pipeline_.process_handed_over(some, number); });
}

}  // namespace sluice::dataplane
