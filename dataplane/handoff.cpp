#include "dataplane/handoff.h"

#include <string>

#include <rte_errno.h>
#include <rte_mbuf_dyn.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

namespace sluice::dataplane {

net::Result<std::unique_ptr<HandoffRings>> HandoffRings::create(uint16_t workers) {
  std::unique_ptr<HandoffRings> rings(new HandoffRings(workers));
  rte_mbuf_dynfield field{};
  std::snprintf(field.name, sizeof field.name, "sluice_handoff_note");
  field.size = sizeof(HandoffNote);
  field.align = alignof(HandoffNote);
  rings->note_offset_ = rte_mbuf_dynfield_register(&field);
  if (rings->note_offset_ < 0) {
    return net::Error{std::string("no room for the hand-over note in DPDK's packet buffers: ") +
                      rte_strerror(rte_errno)};
  }
  for (uint16_t worker = 0; worker < workers; ++worker) {
    auto doorbell = Doorbell::create();
    if (!doorbell) return doorbell.error();
    rings->doorbells_.push_back(std::move(*doorbell));
  }
  rings->packets_.resize(static_cast<size_t>(workers) * workers);
  rings->messages_.resize(static_cast<size_t>(workers) * workers);
  for (uint16_t from = 0; from < workers; ++from) {
    for (uint16_t to = 0; to < workers; ++to) {
      if (from == to) continue;
      const std::string suffix = std::to_string(from) + "_" + std::to_string(to);
      rte_ring* packets = rte_ring_create(("sluice_hand_" + suffix).c_str(), packet_slots, SOCKET_ID_ANY,
                                          RING_F_SP_ENQ | RING_F_SC_DEQ);
      rte_ring* messages = rte_ring_create_elem(("sluice_stub_" + suffix).c_str(), sizeof(StubMessage), message_slots,
                                                SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
      rings->packets_[rings->pair(from, to)] = packets;
      rings->messages_[rings->pair(from, to)] = messages;
      if (packets == nullptr || messages == nullptr) {
        return net::Error{std::string("the rings between workers could not be allocated: ") + rte_strerror(rte_errno) +
                          "; give the router more memory with --memory"};
      }
    }
  }
  return rings;
}

HandoffRings::~HandoffRings() {
  for (rte_ring* ring : packets_) {
    void* packet = nullptr;
    while (ring != nullptr && rte_ring_sc_dequeue(ring, &packet) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
    rte_ring_free(ring);
  }
  for (rte_ring* ring : messages_) rte_ring_free(ring);
}

unsigned HandoffRings::send(uint16_t from, uint16_t to, rte_mbuf* const* packets, unsigned count) {
  const unsigned sent =
      rte_ring_sp_enqueue_burst(packets_[pair(from, to)], reinterpret_cast<void* const*>(packets), count, nullptr);
  doorbells_[to]->ring();
  return sent;
}

unsigned HandoffRings::receive(uint16_t from, uint16_t to, rte_mbuf** packets, unsigned count) {
  return rte_ring_sc_dequeue_burst(packets_[pair(from, to)], reinterpret_cast<void**>(packets), count, nullptr);
}

bool HandoffRings::send(uint16_t from, uint16_t to, const StubMessage& message) {
  const int error =
      rte_ring_sp_enqueue_elem(messages_[pair(from, to)], const_cast<StubMessage*>(&message), sizeof message);
  doorbells_[to]->ring();
  return error == 0;
}

void HandoffRings::tell(uint16_t from, uint16_t to, const StubMessage& message) {
  if (message_room(from, to) > message_slots / 2) (void)send(from, to, message);
}

void HandoffRings::tell_all(uint16_t from, const StubMessage& message) {
  for (uint16_t to = 0; to < workers_; ++to) {
    if (to != from) tell(from, to, message);
  }
}

unsigned HandoffRings::message_room(uint16_t from, uint16_t to) const {
  return rte_ring_free_count(messages_[pair(from, to)]);
}

unsigned HandoffRings::receive(uint16_t from, uint16_t to, StubMessage* messages, unsigned count) {
  return rte_ring_sc_dequeue_burst_elem(messages_[pair(from, to)], messages, sizeof(StubMessage), count, nullptr);
}

}  // namespace sluice::dataplane
