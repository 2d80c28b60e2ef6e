#include "dataplane/trace_recorder.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace sluice::dataplane {

using net::V4;
using net::V6;

void TraceRecorder::begin(PacketTrace& trace, const rte_mbuf* mbuf) {
  output_.flush();
  trace_ = &trace;
  trace.traces = 0;
  trace.worker = context_.worker;
  trace.tsc = context_.tsc;
  trace.port = net::no_interface;
  trace.handed_over = trace.parsed = trace.has_flow = trace.reply = trace.icmp_error = false;
  trace.interface = net::no_interface;
  trace.decapsulations = 0;
  trace.l3 = 0;
  trace.service = {};
  trace.route = {};
  trace.drop_count = trace.sent_count = 0;
  trace.used = 0;
  trace.frame = keep(mbuf);
  drops_ = context_.counters.drops;
  events_ = context_.counters.events;
  context_.trace = &trace.service;
}

void TraceRecorder::end() {
  context_.trace = nullptr;
  look_at_counters();
  if (const auto* v4 = pipeline_.last<V4>(); v4 != nullptr) {
    look_at(*v4);
  } else if (const auto* v6 = pipeline_.last<V6>(); v6 != nullptr) {
    look_at(*v6);
  }
  look_at_sent();
}

PacketTrace::Frame TraceRecorder::keep(const rte_mbuf* mbuf) {
  PacketTrace& trace = *trace_;
  const auto room = static_cast<uint32_t>(trace.bytes.size() - trace.used);
  PacketTrace::Frame frame;
  frame.length = static_cast<uint16_t>(std::min<uint32_t>(mbuf->pkt_len, std::numeric_limits<uint16_t>::max()));
  frame.captured = static_cast<uint16_t>(std::min({mbuf->pkt_len, uint32_t{PacketTrace::most_bytes}, room}));
  frame.offset = trace.used;
  uint8_t* const to = trace.bytes.data() + trace.used;
  const void* const from = rte_pktmbuf_read(mbuf, 0, frame.captured, to);
  if (from != nullptr && from != to) std::memcpy(to, from, frame.captured);
  trace.used = static_cast<uint16_t>(trace.used + frame.captured);
  return frame;
}

void TraceRecorder::look_at_counters() {
  PacketTrace& trace = *trace_;
  for (size_t i = 0; i < drops_.size(); ++i) {
    if (context_.counters.drops[i] == drops_[i] || trace.drop_count == PacketTrace::most_drops) continue;
    trace.drops[trace.drop_count++] = static_cast<net::DropReason>(i);
  }
  for (size_t i = 0; i < events_.size(); ++i) {
    trace.events[i] = static_cast<uint8_t>(std::min<uint64_t>(context_.counters.events[i] - events_[i], 255));
  }
}

// The packet's buffer may be gone; what was read of it stands beside.
template <class F>
void TraceRecorder::look_at(const net::FlowPacket<F>& packet) {
  PacketTrace& trace = *trace_;
  trace.parsed = true;
  trace.interface = packet.ingress;
  trace.tunnel_source = packet.tunnel_source;
  trace.decapsulations = packet.decapsulations;
  trace.fragment = packet.fragment;
  trace.icmp_error = packet.icmp_error;
  trace.protocol = packet.protocol;
  trace.src = net::IpAddr(packet.key.src);
  trace.dst = net::IpAddr(packet.key.dst);
  trace.src_port = packet.key.src_port.host();
  trace.dst_port = packet.key.dst_port.host();
  trace.l3_length = packet.l3_length;
  // An error belongs to the flow that it quotes, and was translated by that.
  const uint64_t hash = context_.tables.hasher(packet.key);
  if (packet.icmp_error) return record(net::IpAddr(packet.key.dst), output_.route<F>(packet.key.dst, packet.hash));
  const nat::Conntrack<F>& table = connections_.of<F>();
  const nat::FlowId id = table.find(packet.key, hash);
  typename F::Addr destination = packet.key.dst;
  if (id != nat::no_flow && !table.is_stub(id)) {
    trace.has_flow = true;
    trace.reply = nat::direction_of(id) == nat::Direction::Reply;
    trace.flow = record_of(table, nat::connection_of(id), context_);
    const nat::Flow<F>& flow = table.flow(id);
    if ((flow.flags & nat::flow_flag::direct_return) != 0)
      return record(net::IpAddr(flow.tuple.dst), output_.tunnel_egress(flow.route, hash));
    destination = table.rewrite(id).dst;
  } else if (trace.service.asked && trace.service.outcome == nat::Outcome::Forward) {
    destination = F::addr_of(trace.service.backend);
  }
  record(net::IpAddr(destination), output_.route<F>(destination, hash));
}

void TraceRecorder::record(const net::IpAddr& destination, const Egress& egress) {
  RouteTrace& route = trace_->route;
  route.asked = true;
  route.destination = destination;
  route.kind = egress.kind;
  route.reason = egress.reason;
  if (!egress.forwards()) return;
  route.interface = egress.interface;
  route.tunnel = egress.tunnel;
  route.mtu = egress.mtu;
  route.far_end_lost = egress.far_end_lost;
  route.neighbor = route.destination;
  if (egress.neighbor == no_neighbor) return;
  const Neighbor& neighbor = (*context_.tables.neighbors)[neighbor_index(egress.neighbor)];
  const NeighborLink link = neighbor.load();
  route.neighbor = neighbor.address;
  route.neighbor_state = link.state;
  route.neighbor_mac = link.mac;
}

void TraceRecorder::look_at_sent() {
  PacketTrace& trace = *trace_;
  const auto add = [&](const rte_mbuf* mbuf) -> PacketTrace::Sent* {
    if (trace.sent_count == PacketTrace::most_sent) return nullptr;
    PacketTrace::Sent& sent = trace.sent[trace.sent_count++];
    sent = {};
    sent.frame = keep(mbuf);
    return &sent;
  };
  output_.each_waiting(
      [&](const rte_mbuf* mbuf, uint16_t port) {
        if (PacketTrace::Sent* sent = add(mbuf); sent != nullptr) sent->to = port;
      },
      [&](rte_mbuf* mbuf, uint16_t worker, HandoffNote& note) {
        PacketTrace::Sent* const sent = add(mbuf);
        if (sent == nullptr) return;
        // Whose queue a finished frame takes is nobody's business; everything else is traced where it goes.
        sent->to_worker = note.kind != HandoffKind::Transmit;
        sent->kind = note.kind;
        sent->to = sent->to_worker ? worker : note.where;
        if (sent->to_worker) note.traces = trace.traces & ((1U << TraceOrders::most) - 1);
      });
}

}  // namespace sluice::dataplane
