#include "tools/trafgen/worker.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "tools/trafgen/turn_around.h"

namespace sluice::trafgen {
namespace {

constexpr unsigned bursts_per_turn = 4;

}  // namespace

Worker::Worker(Testbed& bed, uint32_t index)
    : bed_(bed), index_(index), stray_(bed.streams.size() * 2), burst_(bed.options().burst) {
  for (const auto& port : bed.ports) {
    if (port->worker == index) ports_.push_back(port.get());
  }
  for (const auto& stream : bed.streams) {
    if (stream->send_worker == index) senders_.push_back(stream.get());
  }
}

void Worker::give(Order order, uint64_t cycles) {
  order_ = order;
  cycles_ = cycles;
  posted_.store(++given_, std::memory_order_release);
}

void Worker::run() {
  const uint64_t long_gap = rte_get_tsc_hz() / 5000;  // 200 µs, more than any turn takes
  uint64_t last = rte_rdtsc();
  while (!quit_) {
    const uint64_t now = rte_rdtsc();
    if (sending_ && now - last > long_gap) times_.stalled += now - last;
    last = now;
    const uint32_t posted = posted_.load(std::memory_order_acquire);
    if (posted != seen_) {
      seen_ = posted;
      take_order(now);
    }
    bool worked = false;
    for (TestPort* port : ports_) {
      worked |= receive(*port);
      if (!port->out->empty()) worked |= port->out->flush();
    }
    if (sending_) {
      if (now >= deadline_) {
        finish(now);
        continue;
      }
      // Each in turn is the first to find room where a port has little.
      if (++first_sender_ >= senders_.size()) first_sender_ = 0;
      for (size_t i = 0, next = first_sender_; i < senders_.size(); ++i) {
        const TestStream& stream = *senders_[next];
        if (++next == senders_.size()) next = 0;
        const uint16_t port = bed_.ports[stream.profile->send]->device->id();
        worked |= stream.sender->turn(rte_rdtsc(), port) == Sender::Turn::Worked;
      }
      if (!worked) times_.idle += rte_rdtsc() - now;
    } else if (!worked) {
      if (resolving_.load(std::memory_order_relaxed)) ask_gateways(now);
      rte_pause();
    }
  }
}

void Worker::take_order(uint64_t now) {
  switch (order_) {
    case Order::None:
      break;
    case Order::Clear:
      clear();
      break;
    case Order::Send:
      sending_ = true;
      deadline_ = now + cycles_;
      times_ = {.began = now, .packets = work_};
      for (TestStream* stream : senders_) stream->sender->start(now);
      return;  // done when it has ended
    case Order::Stop:
      if (sending_) finish(now);
      break;
    case Order::Quit:
      quit_ = true;
      break;
  }
  done_.store(seen_, std::memory_order_release);
}

void Worker::clear() {
  for (TestPort* port : ports_) port->counters.clear();
  for (Counter& counter : stray_) counter.clear();
  for (const auto& stream : bed_.streams) {
    if (stream->send_worker == index_) {
      stream->sender->clear();
      stream->answers->clear();
      if (stream->connections) stream->connections->counters().clear();
    }
    if (stream->receive_worker == index_) {
      stream->forward->clear();
      stream->answers_sent.clear();
    }
  }
}

void Worker::finish(uint64_t now) {
  sending_ = false;
  times_.ended = now;
  uint64_t sent = 0;
  for (TestPort* port : ports_) {
    port->end_received = port->counters.received.get();
    port->end_received_bytes = port->counters.received_bytes.get();
  }
  for (const auto& stream : bed_.streams) {
    EndCounts& end = stream->end;
    if (stream->send_worker == index_) {
      end.sent = stream->sender->counters().packets.get();
      end.sent_bytes = stream->sender->counters().bytes.get();
      end.answered = stream->answers->counters().received.get();
      end.answered_bytes = stream->answers->counters().bytes.get();
      if (stream->connections) end.completed = stream->connections->counters().completed.get();
      stream->sender->stop();
      sent += end.sent;
    }
    if (stream->receive_worker == index_) {
      end.received = stream->forward->counters().received.get();
      end.received_bytes = stream->forward->counters().bytes.get();
    }
  }
  times_.packets = work_ - times_.packets + sent;
  done_.store(seen_, std::memory_order_release);
}

bool Worker::receive(TestPort& port) {
  rte_mbuf* mbufs[max_burst];
  bool any = false;
  for (uint16_t queue = 0; queue < port.device->rx_queues(); ++queue) {
    for (unsigned i = 0; i < bursts_per_turn; ++i) {
      const uint16_t count = rte_eth_rx_burst(port.device->id(), queue, mbufs, static_cast<uint16_t>(burst_));
      if (count == 0) break;
      any = true;
      work_ += count;
      port.counters.bursts.add();
      process(port, mbufs, count);
      if (count < burst_) break;
      port.counters.full_bursts.add();
    }
  }
  return any;
}

void Worker::process(TestPort& port, rte_mbuf** mbufs, unsigned count) {
  const uint32_t now = stamp_of(rte_rdtsc());
  uint64_t bytes = 0;
  for (unsigned i = 0; i < count; ++i) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void*));
  for (unsigned i = 0; i < count; ++i) {
    rte_mbuf* mbuf = mbufs[i];
    bytes += mbuf->pkt_len;
    genuine_[i] = false;
    if (mbuf->nb_segs > 1 && rte_pktmbuf_linearize(mbuf) != 0) {
      views_[i].kind = FrameKind::Malformed;
      continue;
    }
    FrameView& view = views_[i];
    read_frame(rte_pktmbuf_mtod(mbuf, uint8_t*), mbuf->data_len, view);
    if (view.kind != FrameKind::Packet || view.payload_length < signature_length) continue;
    const Signature signature = Signature::read(view.data + view.payload);
    if (!signature.genuine(bed_.key()) || signature.stream() >= bed_.streams.size()) continue;
    const TestStream& stream = *bed_.streams[signature.stream()];
    if (signature.flow() >= stream.flows.count()) continue;
    if (signature.answer() && !stream.profile->answer) continue;
    signatures_[i] = signature;
    genuine_[i] = true;
    (signature.answer() ? stream.answers : stream.forward)->prefetch(signature.flow());
  }
  port.counters.received.add(count);
  port.counters.received_bytes.add(bytes);
  rte_mbuf* done[max_burst];
  unsigned done_count = 0;
  for (unsigned i = 0; i < count; ++i) {
    const FrameView& view = views_[i];
    rte_mbuf* mbuf = mbufs[i];
    if (genuine_[i]) {
      if (!stream_packet(port, mbuf, view, signatures_[i], now)) done[done_count++] = mbuf;
      continue;
    }
    if (view.kind == FrameKind::Malformed) {
      port.counters.unreadable.add();
    } else if (connection_segment(port, mbuf, view) || respond(port, mbuf, view) || reflect(port, mbuf, view)) {
      continue;
    } else {
      port.counters.foreign.add();
      if (bed_.addresses().known(view)) port.counters.damaged.add();
    }
    done[done_count++] = mbuf;
  }
  rte_pktmbuf_free_bulk(done, done_count);
}

bool Worker::stream_packet(TestPort& port, rte_mbuf* mbuf, const FrameView& view, const Signature& signature,
                           uint32_t now) {
  TestStream& stream = *bed_.streams[signature.stream()];
  if (signature.answer()) {
    if (stream.send_worker == index_) {
      stream.answers->check(view, signature, port.number == stream.profile->send, now);
    } else {
      stray_[stream.number * 2 + 1].add();
    }
    return false;
  }
  if (stream.receive_worker != index_) {
    stray_[stream.number * 2].add();
    return false;
  }
  const bool right_port = (stream.receive_ports >> port.number & 1) != 0;
  const bool good = stream.forward->check(view, signature, right_port, now);
  if (!good || !stream.profile->answer || signature.sequence % stream.profile->answer->every != 0) return false;
  const Signature answer =
      Signature::make(stream.number, signature.flow(), true, signature.sequence / stream.profile->answer->every,
                      signature.stamp, bed_.key());
  turn_around(view);
  replace_signature(view, signature, answer);
  if (port.out->push(mbuf)) stream.answers_sent.add();
  return true;
}

bool Worker::connection_segment(TestPort& port, rte_mbuf* mbuf, const FrameView& view) {
  if (view.kind != FrameKind::Packet || view.protocol != net::protocol::tcp || view.payload_length != 0) return false;
  const auto segment = identify_segment(view);
  if (!segment || segment->id.stream >= bed_.streams.size()) return false;
  TestStream& stream = *bed_.streams[segment->id.stream];
  const ConnectionId& id = segment->id;
  if (stream.profile->mode != Mode::Connections || id.flow >= stream.flows.count()) return false;
  if (segment->to_server) {
    if (stream.receive_worker != index_ || stream.receive_ports == 0) return false;
    const bool good = stream.forward->check_segment(view, id.flow, (stream.receive_ports >> port.number & 1) != 0);
    if (!good || answer_tcp(view) == TcpAnswer::None) {
      rte_pktmbuf_free(mbuf);
    } else if (port.out->push(mbuf)) {
      stream.answers_sent.add();
    }
    return true;
  }
  if (stream.send_worker != index_) return false;
  if (stream.answers->check_segment(view, id.flow, port.number == stream.profile->send)) {
    using namespace net::tcp_flag;
    const uint32_t client = id.first_sequence();
    const uint32_t server = client + server_sequence_offset;
    const auto send = [&](uint8_t flags, uint32_t seq, uint32_t ack_number) {
      if (rte_mbuf* next = stream.sender->segment(id, flags, seq, ack_number)) port.out->push(next);
    };
    switch (stream.connections->receive(id, view)) {
      case ConnectionClient::Reaction::AckAndFin:
        send(ack, client + 1, server + 1);
        send(fin | ack, client + 1, server + 1);
        break;
      case ConnectionClient::Reaction::LastAck:
        send(ack, client + 2, server + 2);
        break;
      case ConnectionClient::Reaction::None:
        break;
    }
  }
  rte_pktmbuf_free(mbuf);
  return true;
}

bool Worker::respond(TestPort& port, rte_mbuf* mbuf, const FrameView& view) {
  uint16_t length = 0;
  const auto room = static_cast<uint16_t>(mbuf->data_len + rte_pktmbuf_tailroom(mbuf));
  if (!port.responder->receive(view, room, length)) return false;
  if (length == 0) {
    rte_pktmbuf_free(mbuf);
    return true;
  }
  mbuf->data_len = length;
  mbuf->pkt_len = length;
  port.out->push(mbuf);
  return true;
}

bool Worker::reflect(TestPort& port, rte_mbuf* mbuf, const FrameView& view) {
  const Reflect how = port.profile->reflect;
  if (how == Reflect::Off || (view.kind != FrameKind::Packet && how == Reflect::Swap)) return false;
  if (how == Reflect::Swap) {
    if (answer_tcp(view) == TcpAnswer::None) {
      // The last acknowledgement of a connection has no answer.
      if (view.protocol == net::protocol::tcp && view.payload_length == 0) {
        rte_pktmbuf_free(mbuf);
        return true;
      }
      turn_around(view);
    }
  } else {
    swap_macs(view.data);
  }
  const Fault fault = view.kind == FrameKind::Packet ? port.faults.next() : Fault::None;
  port.counters.reflected.add();
  switch (fault) {
    case Fault::DropOne:
      rte_pktmbuf_free(mbuf);
      return true;
    case Fault::Reorder:
      if (port.late == nullptr) {
        port.late = mbuf;
        return true;
      }
      break;
    case Fault::Duplicate:
      if (rte_mbuf* copy = rte_pktmbuf_copy(mbuf, bed_.pool(), 0, UINT32_MAX)) port.out->push(copy);
      break;
    default:
      spoil(view, fault);
  }
  port.out->push(mbuf);
  if (port.late != nullptr) {
    port.out->push(port.late);
    port.late = nullptr;
  }
  return true;
}

void Worker::ask_gateways(uint64_t now) {
  if (now - asked_ < rte_get_tsc_hz() / 10) return;
  asked_ = now;
  for (TestPort* port : ports_) {
    if (port->responder->resolved()) continue;
    rte_mbuf* mbuf = rte_pktmbuf_alloc(bed_.pool());
    if (mbuf == nullptr) return;
    const uint16_t length = port->responder->ask(rte_pktmbuf_mtod(mbuf, uint8_t*));
    mbuf->data_len = length;
    mbuf->pkt_len = length;
    if (length == 0) {
      rte_pktmbuf_free(mbuf);
    } else {
      port->out->push(mbuf);
    }
  }
}

}  // namespace sluice::trafgen
