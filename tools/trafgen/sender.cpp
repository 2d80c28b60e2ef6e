#include "tools/trafgen/sender.h"

#include <algorithm>
#include <set>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

namespace sluice::trafgen {

void SendCounters::clear() {
  for (Counter* counter : {&packets, &bytes, &refused, &skipped, &no_buffer, &failed}) counter->clear();
}

Sender::Sender(const StreamProfile& profile, const FlowSpace& flows, const Setup& setup)
    : profile_(profile),
      flows_(flows),
      setup_(setup),
      order_(flows.count(), profile.flows.random),
      outstanding_(profile.outstanding),
      timeout_(static_cast<uint64_t>(profile.timeout * static_cast<double>(setup.tsc_hz))) {
  build_templates();
}

Sender::~Sender() { stop(); }

void Sender::set_macs(const net::MacAddr& src, const net::MacAddr& dst) {
  src_mac_ = src;
  dst_mac_ = dst;
  build_templates();
}

void Sender::build_templates() {
  templates_.clear();
  if (profile_.mode == Mode::Replay) return;
  for (const uint16_t size : profile_.frame) {
    templates_.emplace_back(FrameSpec{.size = size,
                                      .family = flows_.family(),
                                      .protocol = profile_.protocol,
                                      .ttl = profile_.ttl,
                                      .src_mac = src_mac_,
                                      .dst_mac = dst_mac_,
                                      .tunnel = profile_.tunnel,
                                      .bare_tcp = profile_.mode == Mode::Connections});
    if (profile_.mode == Mode::Connections) break;
  }
}

std::vector<uint16_t> Sender::payload_lengths() const {
  if (setup_.replay != nullptr) return setup_.replay->payload_lengths();
  std::set<uint16_t> lengths;
  for (const FrameTemplate& frame : templates_) lengths.insert(frame.payload_length());
  return {lengths.begin(), lengths.end()};
}

std::vector<uint16_t> Sender::frame_lengths() const {
  if (setup_.replay != nullptr) return setup_.replay->frame_lengths();
  std::set<uint16_t> lengths;
  for (const FrameTemplate& frame : templates_) lengths.insert(frame.length());
  return {lengths.begin(), lengths.end()};
}

void Sender::start(uint64_t now) {
  started_ = now;
  scheduled_ = 0;
}

void Sender::stop() {
  for (unsigned i = 0; i < pending_count_; ++i) rte_pktmbuf_free(pending_[pending_first_ + i]);
  pending_count_ = 0;
}

unsigned Sender::due(uint64_t now) {
  if (rate_ <= 0) return setup_.burst;
  const double per_cycle = rate_ / static_cast<double>(setup_.tsc_hz);
  const auto target = static_cast<uint64_t>(static_cast<double>(now - started_) * per_cycle);
  if (target <= scheduled_) return 0;
  uint64_t count = target - scheduled_;
  // What was held up longer than a millisecond is not sent in a rush afterwards.
  const uint64_t most = std::max<uint64_t>(4 * max_burst, static_cast<uint64_t>(rate_ / 1000));
  if (count > most) {
    counters_.skipped.add(count - most);
    scheduled_ += count - most;
    count = most;
  }
  return static_cast<unsigned>(std::min<uint64_t>(count, setup_.burst));
}

void Sender::settle(uint64_t now) {
  if (profile_.mode == Mode::Requests) {
    outstanding_.settle(
        now, timeout_, [&](const Outstanding::Entry& e) { return setup_.answers->has(e.flow, e.number); },
        [&](const Outstanding::Entry&) { counters_.failed.add(); });
  } else {
    outstanding_.settle(
        now, timeout_, [&](const Outstanding::Entry& e) { return setup_.connections->finished(e.flow, e.number); },
        [&](const Outstanding::Entry& e) { setup_.connections->give_up(e.flow); });
  }
}

bool Sender::transmit(uint16_t port) {
  uint64_t bytes = 0;
  for (unsigned i = 0; i < pending_count_; ++i) bytes += pending_[pending_first_ + i]->pkt_len;
  const auto wanted = static_cast<uint16_t>(pending_count_);
  rte_mbuf** const first = pending_ + pending_first_;
  const uint16_t taken = rte_eth_tx_burst(port, 0, first, wanted);
  for (unsigned i = taken; i < wanted; ++i) bytes -= first[i]->pkt_len;
  counters_.packets.add(taken);
  counters_.bytes.add(bytes);
  pending_first_ += taken;
  pending_count_ -= taken;
  if (taken == wanted) return true;
  counters_.refused.add();
  return false;
}

Sender::Turn Sender::turn(uint64_t now, uint16_t port) {
  if (pending_count_ != 0) {
    const unsigned before = pending_count_;
    if (!transmit(port)) return pending_count_ == before ? Turn::Refused : Turn::Worked;
  }
  unsigned count = due(now);
  if (count == 0) return Turn::Idle;
  if (profile_.mode == Mode::Requests || profile_.mode == Mode::Connections) {
    settle(now);
    count = std::min(count, outstanding_.room());
    if (count == 0) return Turn::Idle;
  }
  pending_first_ = 0;
  pending_count_ = build(now, count);
  if (pending_count_ == 0) return Turn::Idle;
  scheduled_ += pending_count_;
  transmit(port);
  return Turn::Worked;
}

unsigned Sender::build(uint64_t now, unsigned count) {
  if (rte_pktmbuf_alloc_bulk(setup_.pool, pending_, count) != 0) {
    counters_.no_buffer.add();
    return 0;
  }
  const uint32_t stamp = stamp_of(now);
  for (unsigned i = 0; i < count; ++i) {
    rte_mbuf* mbuf = pending_[i];
    auto* out = rte_pktmbuf_mtod(mbuf, uint8_t*);
    uint16_t length = 0;
    if (profile_.mode == Mode::Connections) {
      const FlowOrder::Next next = held_.empty() ? order_.next() : held_.back();
      held_.clear();
      if (!setup_.connections->idle(next.flow)) {
        held_.push_back(next);
        rte_pktmbuf_free_bulk(pending_ + i, count - i);
        return i;
      }
      const ConnectionId id = setup_.connections->open(next.flow);
      outstanding_.push({next.flow, id.generation, now});
      templates_[0].fill_segment(out, flows_.at(next.flow), next.flow, net::tcp_flag::syn, id.first_sequence(), 0);
      length = templates_[0].length();
    } else {
      const auto [flow, sequence] = order_.next();
      if (profile_.mode == Mode::Requests) outstanding_.push({flow, sequence, now});
      const Signature signature = Signature::make(setup_.number, flow, false, sequence, stamp, setup_.key);
      if (setup_.replay != nullptr) {
        length = setup_.replay->fill(out, flow, signature, src_mac_, dst_mac_);
      } else {
        const FrameTemplate& frame = templates_[next_template_];
        if (++next_template_ == templates_.size()) next_template_ = 0;
        frame.fill(out, flows_.at(flow), signature, sequence == 0);
        length = frame.length();
      }
    }
    mbuf->data_len = length;
    mbuf->pkt_len = length;
  }
  return count;
}

rte_mbuf* Sender::segment(const ConnectionId& id, uint8_t flags, uint32_t seq, uint32_t ack) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(setup_.pool);
  if (mbuf == nullptr) {
    counters_.no_buffer.add();
    return nullptr;
  }
  templates_[0].fill_segment(rte_pktmbuf_mtod(mbuf, uint8_t*), flows_.at(id.flow), id.flow, flags, seq, ack);
  mbuf->data_len = templates_[0].length();
  mbuf->pkt_len = mbuf->data_len;
  counters_.packets.add();
  counters_.bytes.add(mbuf->pkt_len);
  return mbuf;
}

}  // namespace sluice::trafgen
