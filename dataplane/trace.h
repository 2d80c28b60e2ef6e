// What became of one packet, for people who ask why: every decision about it, the frame as it came and what left.
//
// Nothing here is on the path of a packet that nobody traces. A traced packet is a burst of its own: what happened to
// it is seen from outside (trace_recorder.h), as differences of counters, in the connection table, in the buffers of
// frames that wait to leave. Only the choice of an endpoint has reasons that nobody can see afterwards: open_flow.cpp
// writes them down where Context::trace says so.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "dataplane/counters.h"
#include "dataplane/flow_record.h"
#include "dataplane/handoff.h"
#include "dataplane/l7/decision.h"
#include "dataplane/l7/inspector.h"
#include "dataplane/l7/tls_hello.h"
#include "dataplane/net/packet.h"
#include "dataplane/next_hop.h"
#include "nat/new_flow.h"

namespace sluice::dataplane {

// What came to the port of an endpoint-independent mapping (mapped_port.cpp). Ports in host byte order.
struct MappingTrace {
  // A host inside sent it to another one: its source, and what that became before it was turned back.
  bool turned_back = false;
  net::IpAddr source, outside;
  uint16_t source_port = 0, outside_port = 0;
  // It belongs to no connection; the port is this endpoint's.
  bool found = false;
  bool begins = false;  // of TCP, a SYN
  bool admitted = false;
  net::IpAddr inside;
  uint16_t inside_port = 0;
};

// What nat::choose_backend was asked and what it said.
struct ServiceTrace {
  bool asked = false;
  uint32_t service = nat::no_service;  // ServicePort::id
  nat::FrontendKind frontend = nat::FrontendKind::ClusterIp;
  nat::ClientKind client = nat::ClientKind::Outside;
  nat::Outcome outcome = nat::Outcome::Drop;
  net::DropReason reason = net::DropReason::None;
  // Of Forward:
  net::IpAddr backend;
  uint16_t backend_port = 0;  // host byte order
  uint32_t candidates = 0;    // endpoints that this client may have
  bool local_only = false;    // of this node only, by traffic policy
  bool by_affinity = false;   // the one it had before
  bool masquerade = false;    // because of the service; natOutgoing comes on top
  // What the listener at the address that it came to said last (l7/decision.h).
  bool read = false;
  l7::Outcome decision = l7::Outcome::More;
  l7::TargetId target = l7::no_target;
  uint32_t rule = l7::no_rule;
  uint32_t head = 0;        // bytes that decided, or decide nothing yet
  std::string_view answer;  // why the router answers itself or resets; lives as long as the program
  // What was found in its bytes.
  std::array<char, 96> content{};  // "namespace/policy: pattern", cut to fit; empty: nothing
  uint64_t content_end = 0;        // of the match, from the first byte that was looked at
  int64_t content_at = 0;          // so counted the first byte of this packet
  // The ClientHello that was decided by, from whatever segments it came in.
  bool tls = false;
  l7::TlsHello hello;
  MappingTrace mapping;
};

void note_finding(ServiceTrace& trace, const l7::Finding& finding);
// `start`: what it was shown.
void note_decision(ServiceTrace& trace, const l7::Decision& decision, l7::Bytes start);

template <class F>
void note_choice(ServiceTrace& trace, const nat::Frontend<F>& frontend, nat::ClientKind client,
                 const nat::Backend<F>* kept, const nat::ServiceChoice<F>& choice) {
  const nat::ServicePort<F>& service = *frontend.service;
  trace.asked = true;
  trace.service = service.id;
  trace.frontend = frontend.kind;
  trace.client = client;
  trace.outcome = choice.outcome;
  trace.reason = choice.reason;
  trace.masquerade = choice.masquerade;
  if (choice.backend == nullptr) return;
  trace.backend = net::IpAddr(choice.backend->addr);
  trace.backend_port = choice.backend->port.host();
  const auto& local = service.local.backends;
  trace.local_only = choice.backend >= local.data() && choice.backend < local.data() + local.size();
  trace.candidates = static_cast<uint32_t>(trace.local_only ? local.size() : service.cluster.backends.size());
  trace.by_affinity = kept != nullptr && kept->addr == choice.backend->addr && kept->port == choice.backend->port;
}

// Where the packet's route leads, as Egress has it.
struct RouteTrace {
  bool asked = false;
  net::IpAddr destination;  // after translation
  HopKind kind = HopKind::Drop;
  net::DropReason reason = net::DropReason::None;  // of kinds that do not forward
  uint16_t interface = 0;                          // outgoing
  uint16_t tunnel = no_tunnel;                     // index into Snapshot::tunnels
  uint16_t mtu = 0;                                // bytes, of the inner packet for a tunnel
  bool far_end_lost = false;                       // IPIP-4
  net::IpAddr neighbor;
  NeighborState neighbor_state = NeighborState::Unused;
  net::MacAddr neighbor_mac;
};

struct PacketTrace {
  static constexpr uint16_t most_bytes = 2048;  // kept of one frame
  static constexpr size_t most_sent = 4;
  static constexpr size_t most_drops = 4;

  // Whose it is: a bit for each of TraceOrders::filters.
  uint8_t traces = 0;
  uint16_t worker = 0;
  uint64_t tsc = 0;
  uint16_t port = net::no_interface;  // DPDK port; not of packets that another worker handed over
  bool handed_over = false;
  HandoffKind came_as = HandoffKind::Flow;  // of those
  uint16_t l3 = 0;  // of those: offset of the IP header in `frame`, in front of which may be anything

  // What the pipeline read, of the innermost packet; `parsed` false: it did not get as far as a flow key.
  bool parsed = false;
  uint16_t interface = net::no_interface;  // it came in by
  uint16_t tunnel_source = net::no_tunnel_source;
  uint8_t decapsulations = 0;
  net::FragmentKind fragment = net::FragmentKind::Whole;
  bool icmp_error = false;
  uint8_t protocol = 0;
  net::IpAddr src, dst;
  uint16_t src_port = 0, dst_port = 0;  // host byte order
  uint16_t l3_length = 0;

  // Its connection afterwards.
  bool has_flow = false;
  bool reply = false;  // the packet is of the reply direction
  FlowRecord flow;

  ServiceTrace service;
  RouteTrace route;

  // What the worker's counters gained.
  uint8_t drop_count = 0;
  std::array<net::DropReason, most_drops> drops{};
  std::array<uint8_t, event_count> events{};

  // What left: frames and packets for other workers. Bytes of frames follow those of `frame` in `bytes`.
  struct Frame {
    uint16_t length = 0;    // of the whole frame
    uint16_t captured = 0;  // bytes of it in `bytes`
    uint16_t offset = 0;
  };
  struct Sent {
    bool to_worker = false;                // a packet on its way through the router, not a frame
    HandoffKind kind = HandoffKind::Flow;  // of those
    uint16_t to = 0;                       // worker, or DPDK port
    Frame frame;
  };
  Frame frame;  // as it came
  uint8_t sent_count = 0;
  std::array<Sent, most_sent> sent{};
  uint16_t used = 0;
  std::array<uint8_t, 2 * most_bytes> bytes;

  [[nodiscard]] uint8_t count(Event event) const { return events[static_cast<size_t>(event)]; }
  [[nodiscard]] bool dropped() const { return drop_count != 0; }
};
static_assert(std::is_trivially_destructible_v<PacketTrace>);

// Which frames one trace wants. `frame`: the first segment's bytes, `contiguous` of them; `length`: of the whole frame.
struct TraceFilter {
  bool (*matches)(const void* program, const uint8_t* frame, uint32_t length, uint32_t contiguous) = nullptr;
  const void* program = nullptr;
};

// Which packets are wanted, for all workers. Const while a worker may read it (QSBR).
struct TraceOrders {
  // As many as HandoffNote has bits for.
  static constexpr size_t most = 3;

  // Over the frame as it arrives. Without a function: nobody asks.
  std::array<TraceFilter, most> filters{};
};

// Single producer, single consumer; a record is written where it is read. One per worker.
class TraceRing {
 public:
  static constexpr uint32_t slots = 256;  // a power of two

  // False if there is no memory. What was never used touches none.
  [[nodiscard]] bool allocate();
  TraceRing() = default;
  ~TraceRing();
  TraceRing(const TraceRing&) = delete;
  TraceRing& operator=(const TraceRing&) = delete;

  // Worker: the next record to be filled, of any content; nullptr if the ring is full.
  [[nodiscard]] PacketTrace* next() {
    const uint32_t at = written_.load(std::memory_order_relaxed);
    return at - read_.load(std::memory_order_acquire) == slots ? nullptr : &records_[at % slots];
  }
  void publish() { written_.store(written_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
  // A packet that was wanted, and no room.
  void lose() { lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

  // Control thread. Calls fn(const PacketTrace&) for what is there, in order.
  template <class Fn>
  void take(Fn&& fn) {
    uint32_t at = read_.load(std::memory_order_relaxed);
    const uint32_t end = written_.load(std::memory_order_acquire);
    for (; at != end; ++at) {
      fn(records_[at % slots]);
      read_.store(at + 1, std::memory_order_release);
    }
  }
  // Since the start.
  [[nodiscard]] uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  PacketTrace* records_ = nullptr;
  alignas(64) std::atomic<uint32_t> written_{0};
  std::atomic<uint64_t> lost_{0};
  alignas(64) std::atomic<uint32_t> read_{0};
};

}  // namespace sluice::dataplane
