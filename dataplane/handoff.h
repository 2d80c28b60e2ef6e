// The way from worker to worker: one single-producer single-consumer ring of packets and one of messages for
// every ordered pair, so that handing over takes no lock and no atomic read-modify-write.
//
// A packet carries what the next worker must know in a dynamic field of its mbuf; everything else the receiver
// reads from the packet again.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>

#include "dataplane/doorbell.h"
#include "dataplane/net/flow_key.h"
#include "dataplane/net/result.h"

struct rte_ring;

namespace sluice::dataplane {

enum class HandoffKind : uint8_t {
  Frame,        // an ARP or ND frame for the resolver, from layer 2
  Fragment,     // an IP fragment, to the worker that knows its datagram
  Flow,         // an IP packet, to the worker that owns its flow; goes through pass 2 there
  OwnerByStub,  // the same, but the sender found a stub: the flow is known to live there
  Mapping,      // the same, but the sender knows no flow: one would live there, with a mapping (MASQ-13)
  TunnelError,  // an ICMP error to one of our addresses, about no flow
  Resolve,      // an IP packet ready to leave, to the resolver: its neighbour has no MAC yet
  Transmit,     // a finished frame, to the worker that has a queue of the port
};

// Whether a connection's tuple is free (flow_handoff.h).
struct Question {
  uint32_t number;  // of the worker that asks, in the order it asks in; wraps
  uint16_t asker;
};

// Travels in the mbuf. Not larger: the drivers that note the time of arrival need room there too.
struct HandoffNote {
  HandoffKind kind = HandoffKind::Flow;
  uint8_t decapsulations : 3 = 0;
  uint8_t traces : 3 = 0;        // PacketTrace::traces
  bool ports_known : 1 = false;  // a later fragment, whose ports and protocol (in `neighbor`) are these
  bool plain : 1 = false;        // Packet::plain
  uint16_t l3 = 0;               // offset of the IP header
  uint16_t where = 0;            // interface it came in by; Resolve: interface it leaves by; Transmit: port
  uint16_t tunnel_source = 0;
  net::be16 src_port;
  net::be16 dst_port;
  uint32_t neighbor = 0;  // Resolve: index or no_neighbor (on-link destination)
  union {
    rte_mbuf* original = nullptr;  // Resolve: Packet::original
    Question question;             // Flow, if it asks()
  };

  // nullptr: no other buffer goes with the packet.
  [[nodiscard]] rte_mbuf* companion() const { return kind == HandoffKind::Resolve ? original : nullptr; }
};
static_assert(sizeof(HandoffNote) == 24);

// What workers tell each other. Add, Remove, Clash: of a flow that NAT made asymmetric: `key` arrives there, `owner`
// knows it. Affinity: the client `key.src` has the endpoint `key.dst` of the service `connection` (affinity.h). Hint:
// what comes with `key` answers a connection without a record that went to the service `frontend` (hints.h).
struct StubMessage {
  enum class Kind : uint8_t {
    AddV4,
    AddV6,
    RemoveV4,
    RemoveV6,
    ClashV4,
    ClashV6,
    AffinityV4,
    AffinityV6,
    HintV4,
    HintV6
  };
  Kind kind = Kind::AddV4;
  bool proven = false;  // Hint
  uint16_t owner = 0;
  uint32_t connection = 0;  // of the owner; Affinity: the service port's affinity_key; if it asks, Question::number
  uint64_t hash = 0;
  net::FlowKey<net::V4> v4;
  net::FlowKey<net::V6> v6;
  net::IpAddr frontend;
  net::be16 frontend_port;
  bool optional = false;  // Add: without the stub packets find their way as well
  bool asks = false;      // Add: a packet follows, and waits for the answer (flow_handoff.h)

  template <class F>
  [[nodiscard]] const net::FlowKey<F>& key() const {
    if constexpr (F::is_v4) {
      return v4;
    } else {
      return v6;
    }
  }
  void set_key(const net::FlowKey<net::V4>& key) { v4 = key; }
  void set_key(const net::FlowKey<net::V6>& key) { v6 = key; }
};
static_assert(sizeof(StubMessage) % 4 == 0);

class HandoffRings {
 public:
  static constexpr unsigned packet_slots = 2048;
  static constexpr unsigned message_slots = 4096;

  static net::Result<std::unique_ptr<HandoffRings>> create(uint16_t workers);
  ~HandoffRings();
  HandoffRings(const HandoffRings&) = delete;
  HandoffRings& operator=(const HandoffRings&) = delete;

  // Wakes the worker if it waits, which whoever sends does by itself.
  [[nodiscard]] Doorbell& doorbell(uint16_t worker) { return *doorbells_[worker]; }
  // Number taken; the caller keeps the rest.
  [[nodiscard]] unsigned send(uint16_t from, uint16_t to, rte_mbuf* const* packets, unsigned count);
  [[nodiscard]] unsigned receive(uint16_t from, uint16_t to, rte_mbuf** packets, unsigned count);
  [[nodiscard]] bool send(uint16_t from, uint16_t to, const StubMessage& message);
  // Unless half the ring is full: room is left for messages that must arrive.
  void tell(uint16_t from, uint16_t to, const StubMessage& message);
  // The same to every other worker.
  void tell_all(uint16_t from, const StubMessage& message);
  [[nodiscard]] unsigned receive(uint16_t from, uint16_t to, StubMessage* messages, unsigned count);
  // How many messages `from` can send to `to` now.
  [[nodiscard]] unsigned message_room(uint16_t from, uint16_t to) const;

  // Flow and OwnerByStub: FlowPacket::hash, where the port's hash of the frame was.
  static void set_hash(rte_mbuf* mbuf, uint64_t hash) {
    static_assert(sizeof mbuf->hash == sizeof hash);
    std::memcpy(&mbuf->hash, &hash, sizeof hash);
  }
  [[nodiscard]] static uint64_t hash(const rte_mbuf* mbuf) {
    uint64_t hash = 0;
    std::memcpy(&hash, &mbuf->hash, sizeof hash);
    return hash;
  }
  [[nodiscard]] HandoffNote& note(rte_mbuf* mbuf) const { return *RTE_MBUF_DYNFIELD(mbuf, note_offset_, HandoffNote*); }

 private:
  explicit HandoffRings(uint16_t workers) : workers_(workers) {}
  [[nodiscard]] size_t pair(uint16_t from, uint16_t to) const { return static_cast<size_t>(from) * workers_ + to; }

  uint16_t workers_;
  int note_offset_ = -1;
  std::vector<std::unique_ptr<Doorbell>> doorbells_;
  std::vector<rte_ring*> packets_;
  std::vector<rte_ring*> messages_;
};

}  // namespace sluice::dataplane
