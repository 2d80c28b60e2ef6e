#include "dataplane/late_binding.h"

#include <algorithm>

#include "dataplane/l7/splice.h"
#include "dataplane/mss.h"
#include "dataplane/own_packet.h"
#include "dataplane/pipeline.h"
#include "dataplane/tcp_reset.h"

namespace sluice::dataplane {

using nat::seq_before;
using net::DropReason;
using net::FlowPacket;
using net::V4;
using net::V6;
namespace tcp_flag = net::tcp_flag;

namespace {

// Milliseconds.
constexpr nat::Millis first_byte_time = 60'000;
constexpr uint8_t answer_tries = 6;

}  // namespace

LateBinding::LateBinding(Pipeline& pipeline) : pipeline_(pipeline), cookies_(pipeline.context_.tables.cookie_key) {}

std::unique_ptr<LateBinding> LateBinding::create(Pipeline& pipeline, uint32_t connections, uint32_t buffers) {
  std::unique_ptr<LateBinding> late(new LateBinding(pipeline));
  late->v4_ = LateTable<V4>::create({connections, buffers}, pipeline.context_.now);
  late->v6_ = LateTable<V6>::create({connections, buffers}, pipeline.context_.now);
  if (!late->v4_ || !late->v6_) return nullptr;
  return late;
}

template <class F>
std::optional<LateBinding::Segment> LateBinding::read(const FlowPacket<F>& packet) {
  const uint8_t* const tcp = packet.l4_header();
  const uint32_t header = (tcp[12] >> 4) * 4U;
  if (packet.fragment != net::FragmentKind::Whole || packet.contiguous(packet.l4) < header) return std::nullopt;
  Segment segment;
  segment.flags = tcp[13];
  segment.seq = net::load_be32(tcp + 4);
  segment.ack = net::load_be32(tcp + 8);
  segment.window = net::load_be16(tcp + 14);
  segment.offset = packet.l4 + header;
  segment.length = static_cast<uint32_t>(packet.l3 + packet.l3_length) - segment.offset;
  segment.options = {tcp + net::tcp_header_length, header - net::tcp_header_length};
  segment.timestamp = l7::read_timestamp(segment.options.data(), static_cast<uint32_t>(segment.options.size()));
  return segment;
}

// What is taken for the endpoint must have come whole: nobody behind the router can see any more that it did not.
template <class F>
bool LateBinding::checksum_good(const FlowPacket<F>& packet) {
  const uint64_t flags = packet.mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  if (flags == RTE_MBUF_F_RX_L4_CKSUM_GOOD || flags == RTE_MBUF_F_RX_L4_CKSUM_BAD)
    return flags == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  const auto length = static_cast<uint16_t>(packet.l3_length - (packet.l4 - packet.l3));
  return net::checksum_fold(pseudo_header_sum<F>(packet.l3_header(), net::protocol::tcp, length) +
                            net::mbuf_sum(packet.mbuf, packet.l4, length)) == 0xffff;
}

template <class F>
nat::Millis LateBinding::time_for_head(const Late<F>& late) const {
  const nat::Frontend<F>* const frontend = frontend_of(late);
  const uint32_t seconds = frontend == nullptr ? 0 : frontend->service->listener->head_seconds();
  return seconds == 0 ? head_time : seconds * 1000;
}

template <class F>
const nat::Frontend<F>* LateBinding::frontend_of(const Late<F>& late) const {
  const nat::Frontend<F>* const frontend = pipeline_.context_.snapshot->template family<F>().services->find(
      late.key.dst, late.key.dst_port, net::protocol::tcp);
  return frontend == nullptr || frontend->service->listener == nullptr ? nullptr : frontend;
}

// ---- a connection begins -----------------------------------------------------------------------------

template <class F>
void LateBinding::on_miss(FlowPacket<F>& packet, const nat::Frontend<F>& frontend) {
  Context& context = pipeline_.context_;
  if (packet.fragment != net::FragmentKind::Whole) return context.drop(packet.mbuf, DropReason::FragmentForUs);
  const std::optional<Segment> segment = read(packet);
  const nat::TcpEvent event = segment ? nat::tcp_event(segment->flags) : nat::TcpEvent::Invalid;
  if (event == nat::TcpEvent::Invalid || event == nat::TcpEvent::SynAck)
    return context.drop(packet.mbuf, DropReason::ConntrackInvalid);
  if (!checksum_good(packet)) return context.drop(packet.mbuf, DropReason::L4BadChecksum);
  const bool listens = frontend.service->listener != nullptr;
  if (event == nat::TcpEvent::Syn) {
    // Where none listens an endpoint was chosen already.
    const DropReason reason =
        listens ? nat::refusal(frontend, packet.key.src, pipeline_.client_kind(packet), context.snapshot->proxy)
                : DropReason::None;
    if (reason != DropReason::None) return context.drop(packet.mbuf, reason);
    answer_syn(packet, *segment, frontend);
    return context.discard(packet.mbuf);
  }
  LateId id = table<F>().find(packet.key, packet.hash);
  if (id != no_late && !is_acceptable(table<F>()[id], *segment) && is_begun_anew(table<F>()[id], *segment)) {
    table<F>().close(id);
    id = no_late;
  }
  if (id == no_late) {
    if (event == nat::TcpEvent::Rst) return context.drop(packet.mbuf, DropReason::ConntrackInvalid);
    id = begin(packet, *segment, listens);
    if (id == no_late) return;
    if (!listens && !bind_at_once<F>(id)) return context.discard(packet.mbuf);
  }
  from_client(id, packet, *segment);
  context.discard(packet.mbuf);
}

template <class F>
void LateBinding::answer_syn(const FlowPacket<F>& packet, const Segment& segment, const nat::Frontend<F>& frontend) {
  Context& context = pipeline_.context_;
  l7::TcpOffer offer = l7::read_offer(segment.options.data(), static_cast<uint32_t>(segment.options.size()));
  const Profile* const known = known_profile(frontend.service->id);
  const l7::TcpLimits limits = limits_of(*frontend.service);
  if ((known != nullptr && !known->timestamps) || !limits.timestamps) offer.timestamp.reset();
  offer.sack = offer.sack && limits.sack;
  const uint32_t isn = cookies_.make(packet.key, segment.seq, offer, context.now);
  l7::TcpOffer ours;
  ours.mss = std::min(own_mss<F>(packet.key, packet.hash, limits), known != nullptr ? known->mss : uint16_t{0xffff});
  ours.scale = offer.scale == l7::no_scale ? l7::no_scale : l7::own_scale;
  ours.sack = offer.sack;
  if (offer.timestamp)
    ours.timestamp = l7::Timestamp{context.now + cookies_.timestamp_offset(packet.key), offer.timestamp->value};
  uint8_t options[l7::most_options];
  const uint8_t length = l7::write_offer(options, ours);
  const OwnSegment answer{.flags = tcp_flag::syn | tcp_flag::ack,
                          .seq = isn,
                          .ack = segment.seq + 1,
                          .window = static_cast<uint16_t>(std::min<uint32_t>(late_buffer_size, 0xffff)),
                          .options = {options, length}};
  if (send_segment(context, pipeline_.output_, packet.key.reversed(), answer, packet.hash))
    context.counters.add(Event::SynCookiesSent);
}

template <class F>
uint16_t LateBinding::own_mss(const net::FlowKey<F>& key, uint64_t hash, const l7::TcpLimits& limits) const {
  return std::min(mss_of<F>(pipeline_.output_.template route<F>(key.src, hash).mtu), limits.mss);
}

// no_late: the packet was dropped.
template <class F>
LateId LateBinding::begin(const FlowPacket<F>& packet, const Segment& segment, bool listens) {
  Context& context = pipeline_.context_;
  const std::optional<l7::TcpOffer> offer = cookies_.check(packet.key, segment.seq - 1, segment.ack - 1, context.now);
  if (!offer) {
    refuse_ack(packet, segment, listens);
    return no_late;
  }
  LateTable<F>& lates = table<F>();
  LateId id = lates.open(packet.key, packet.hash);
  if (id == no_late && (give_up<F>(lates.oldest_undecided(false)) || give_up<F>(lates.oldest_undecided(true))))
    id = lates.open(packet.key, packet.hash);
  if (id == no_late) {
    context.drop(packet.mbuf, DropReason::LateTableFull);
    return no_late;
  }
  Late<F>& late = lates[id];
  late.state = LateState::Collecting;
  late.ingress = packet.ingress;
  late.from_tunnel = packet.decapsulations != 0;
  late.tunnel_source = packet.tunnel_source;
  late.mss = offer->mss;
  late.scale = offer->scale;
  late.sack = offer->sack;
  late.expected = late.first_in = segment.seq;
  late.next_out = late.acked = late.first_out = segment.ack;
  late.timestamps = segment.timestamp.has_value();
  late.timestamp_base = cookies_.timestamp_offset(packet.key);
  if (late.timestamps) {
    late.timestamp = segment.timestamp->value;
    late.echo = segment.timestamp->echo;
  }
  late.window = segment.window;
  lates.mark_undecided(id, true);
  lates.arm(id, context.now + first_byte_time);
  context.counters.add(Event::LateOpened);
  return id;
}

// No cookie of ours. A connection that the router has forgotten is reset. The first segments of a new one may have
// overtaken the ACK, which its timestamp shows: it was told the time a moment ago. Those are silently dropped, to come
// again. Where no listener is, nothing else is taken.
template <class F>
void LateBinding::refuse_ack(const FlowPacket<F>& packet, const Segment& segment, bool listens) {
  Context& context = pipeline_.context_;
  const bool recent = !listens || (segment.timestamp && is_recent(packet.key, *segment.timestamp));
  if (!recent && segment.has(tcp_flag::ack))
    send_reset(context, pipeline_.output_, packet.key.reversed(), tcp_flag::rst, segment.ack, 0, packet.hash);
  context.drop(packet.mbuf, DropReason::SynCookieInvalid);
}

template <class F>
bool LateBinding::is_recent(const net::FlowKey<F>& key, const l7::Timestamp& timestamp) const {
  return pipeline_.context_.now + cookies_.timestamp_offset(key) - timestamp.echo < moment;
}

// ---- what the client sends ---------------------------------------------------------------------------

template <class F>
uint32_t LateBinding::room(const Late<F>& late) {
  return late.buffer == no_late || late.state == LateState::Answering ? late_buffer_size : late.stream.room();
}

// RFC 9293 section 3.10.7.4, first step.
template <class F>
bool LateBinding::is_acceptable(const Late<F>& late, const Segment& segment) {
  const uint32_t next = next_in(late);
  const uint32_t behind = next + room(late);
  const uint32_t length = segment.length + (segment.has(tcp_flag::fin) ? 1 : 0);
  if (length == 0) return segment.seq == next || (!seq_before(segment.seq, next) && seq_before(segment.seq, behind));
  return seq_before(segment.seq, behind) && seq_before(next, segment.seq + length);
}

// Of a segment within the window, `next` being what is expected. False: an old duplicate (RFC 7323 section 5.3).
template <class F>
bool LateBinding::note_client(Late<F>& late, const Segment& segment, uint32_t next) {
  if (late.timestamps && segment.timestamp && !segment.has(tcp_flag::rst)) {
    if (seq_before(segment.timestamp->value, late.timestamp)) return false;
    // What has overtaken another must not make an old duplicate of it (RFC 7323 section 4.3).
    if (!seq_before(next, segment.seq)) late.timestamp = segment.timestamp->value;
    late.echo = nat::later(late.echo, segment.timestamp->echo);
  }
  if (!segment.has(tcp_flag::ack) || seq_before(segment.ack, late.acked)) return true;
  late.acked = segment.ack;
  late.window = segment.window;
  return true;
}

// The ACK that a segment outside of the window is answered with. Two ends that both send them do not stop by
// themselves (RFC 5961 section 7).
template <class F>
void LateBinding::challenge(Late<F>& late) {
  const nat::Millis now = pipeline_.context_.now;
  if (late.challenged && now - late.challenged_at < challenge_pause) return;
  late.challenged = true;
  late.challenged_at = now;
  acknowledge(late);
}

// The client has begun anew, with the router's answer to its SYN as the proof, and the record is of the time before.
template <class F>
bool LateBinding::is_begun_anew(const Late<F>& late, const Segment& segment) const {
  if (segment.has(tcp_flag::rst) || !segment.has(tcp_flag::ack)) return false;
  if (segment.seq == late.first_in && segment.ack == late.first_out) return false;
  return cookies_.check(late.key, segment.seq - 1, segment.ack - 1, pipeline_.context_.now).has_value();
}

template <class F>
void LateBinding::from_client(LateId id, const FlowPacket<F>& packet, const Segment& segment) {
  Late<F>& late = table<F>()[id];
  if (segment.has(tcp_flag::rst)) {
    // RFC 5961 section 3.2.
    if (segment.seq == next_in(late)) return table<F>().close(id);
    if (is_acceptable(late, segment)) challenge(late);
    return;
  }
  const uint32_t sent = late.state == LateState::Answering ? late.owed_end : next_out(late);
  if (!segment.has(tcp_flag::ack)) return;
  if (!is_acceptable(late, segment)) return segment.length == 0 ? challenge(late) : acknowledge(late);
  if (seq_before(sent, segment.ack)) return challenge(late);
  if (!note_client(late, segment, next_in(late))) return acknowledge(late);
  if (late.state == LateState::Answering) return collect_answer_ack<F>(id, segment);
  collect(id, packet, segment);
}

template <class F>
void LateBinding::collect(LateId id, const FlowPacket<F>& packet, const Segment& segment) {
  Late<F>& late = table<F>()[id];
  Context& context = pipeline_.context_;
  const bool fin = segment.has(tcp_flag::fin);
  if (segment.length == 0 && !fin) return;
  if (segment.length != 0) {
    if (!need_buffer<F>(id)) return context.counters.drop(DropReason::LateTableFull);
    if (late.stream.in_order().empty() && late.state == LateState::Collecting) {
      late.give_up_at = context.now + time_for_head(late);
      table<F>().arm(id, late.give_up_at);
    }
    (void)late.stream.put(segment.seq, segment.length, [&](uint8_t* to, uint32_t from, uint32_t bytes) {
      const void* const data = rte_pktmbuf_read(packet.mbuf, segment.offset + from, bytes, to);
      if (data != to) std::memcpy(to, data, bytes);
    });
  }
  if (fin && !late.fin && !seq_before(segment.end(), next_in(late)) &&
      !seq_before(next_in(late) + room(late), segment.end())) {
    late.fin = true;
    late.fin_seq = segment.end();
  }
  if (late.fin && !late.fin_taken && next_in(late) == late.fin_seq) late.fin_taken = true;
  acknowledge(late);
  consider<F>(id);
}

template <class F>
bool LateBinding::need_buffer(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  if (late.buffer != no_late) return true;
  if (lates.take_buffer(id, late.expected, late_buffer_size)) return true;
  return give_up<F>(lates.oldest_undecided(true)) && lates.take_buffer(id, late.expected, late_buffer_size);
}

template <class F>
bool LateBinding::give_up(LateId oldest) {
  if (oldest == no_late) return false;
  pipeline_.context_.counters.add(Event::LateGivenUp);
  reset<F>(oldest);
  return true;
}

template <class F>
uint32_t LateBinding::next_in(const Late<F>& late) {
  const uint32_t bytes =
      late.buffer != no_late && late.state != LateState::Answering ? late.stream.next() : late.expected;
  return bytes + (late.fin_taken && late.state != LateState::Answering ? 1 : 0);
}

template <class F>
uint32_t LateBinding::next_out(const Late<F>& late) const {
  return late.state == LateState::Passing ? windows(late).of(nat::Direction::Reply).end : late.next_out;
}

// The router's own time before there is an endpoint; then never later than what the endpoint says next.
template <class F>
uint32_t LateBinding::clock(const Late<F>& late) const {
  return late.endpoint_seen ? late.echo : pipeline_.context_.now + late.timestamp_base;
}

template <class F>
void LateBinding::to_client(const Late<F>& late, uint8_t flags, uint32_t seq, std::span<const uint8_t> data) {
  uint8_t options[l7::most_options];
  std::optional<l7::Timestamp> timestamp;
  if (late.timestamps) timestamp = l7::Timestamp{clock(late), late.timestamp};
  const uint8_t length = l7::write_timestamp(options, timestamp);
  const uint32_t window = late.scale == l7::no_scale ? room(late) : room(late) >> l7::own_scale;
  const OwnSegment segment{.flags = flags,
                           .seq = seq,
                           .ack = next_in(late),
                           .window = static_cast<uint16_t>(std::min<uint32_t>(window, 0xffff)),
                           .options = {options, length},
                           .data = data};
  (void)send_segment(pipeline_.context_, pipeline_.output_, late.key.reversed(), segment, late.hash);
}

template <class F>
void LateBinding::acknowledge(const Late<F>& late) {
  to_client(late, tcp_flag::ack, late.state == LateState::Answering ? late.sent : next_out(late), {});
}

// ---- time --------------------------------------------------------------------------------------------

template <class F>
void LateBinding::on_timer(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  Context& context = pipeline_.context_;
  switch (late.state) {
    case LateState::Free:
      return;
    case LateState::Collecting: {
      if (greet<F>(id)) return;
      context.counters.add(Event::LateTimedOut);
      const nat::Frontend<F>* const frontend = frontend_of(late);
      const bool silent = late.buffer == no_late;
      if (frontend == nullptr) return reset<F>(id);
      return answer<F>(id, silent ? l7::Bytes{} : frontend->service->listener->timed_out(late.stream.in_order()));
    }
    case LateState::Connecting:
      if (++late.tries > connect_tries) return next_endpoint<F>(id, l7::Failure::Unanswered);
      send_syn<F>(id);
      if (lates[id].state == LateState::Connecting) lates.arm(id, context.now + (connect_retry << late.tries));
      return;
    case LateState::Passing:
      if (!late.owes()) {
        if (!late.undecided) return;
        if (const uint32_t said = next_out(late); late.waiting && said != late.said) {
          late.said = said;
          late.tries = 0;
          return lates.arm(id, context.now + (late.pipelined ? pipeline_pause : response_time));
        }
        if (late.pipelined && !is_certain(late) && seems_finished(late)) return answer<F>(id, {});
        if (late.pipelined && ++late.tries < response_time / pipeline_pause)
          return lates.arm(id, context.now + pipeline_pause);
        context.counters.add(Event::LateTimedOut);
        return reset<F>(id);
      }
      if (++late.tries > owed_tries || !seq_before(context.now, late.give_up_at)) return reset<F>(id);
      late.sent = late.owed;
      late.flight = 1;
      late.owed_limit = nat::later(late.owed_limit, late.owed + 1);
      send_owed<F>(id);
      if (lates[id].state == LateState::Passing)
        lates.arm(id, context.now + (late.retry << std::min<uint8_t>(late.tries, 5)));
      return;
    case LateState::Answering:
      if (!late.owes()) return lates.close(id);
      if (++late.tries > answer_tries || !seq_before(context.now, late.give_up_at)) return reset<F>(id);
      send_answer(late, true);
      lates.arm(id, context.now + (answer_retry << late.tries));
      return;
  }
}

void LateBinding::tick(unsigned budget) {
  const nat::Millis now = pipeline_.context_.now;
  table<V4>().expire(now, budget, [this](LateId id) { on_timer<V4>(id); });
  table<V6>().expire(now, budget, [this](LateId id) { on_timer<V6>(id); });
}

template void LateBinding::on_miss<V4>(FlowPacket<V4>&, const nat::Frontend<V4>&);
template void LateBinding::on_miss<V6>(FlowPacket<V6>&, const nat::Frontend<V6>&);
template std::optional<LateBinding::Segment> LateBinding::read<V4>(const FlowPacket<V4>&);
template bool LateBinding::checksum_good<V4>(const FlowPacket<V4>&);
template uint16_t LateBinding::own_mss<V4>(const net::FlowKey<V4>&, uint64_t, const l7::TcpLimits&) const;
template uint16_t LateBinding::own_mss<V6>(const net::FlowKey<V6>&, uint64_t, const l7::TcpLimits&) const;
template nat::Millis LateBinding::time_for_head<V4>(const Late<V4>&) const;
template nat::Millis LateBinding::time_for_head<V6>(const Late<V6>&) const;
template const nat::Frontend<V4>* LateBinding::frontend_of<V4>(const Late<V4>&) const;
template bool LateBinding::is_recent<V4>(const net::FlowKey<V4>&, const l7::Timestamp&) const;
template bool LateBinding::note_client<V4>(Late<V4>&, const Segment&, uint32_t);
template bool LateBinding::is_acceptable<V4>(const Late<V4>&, const Segment&);
template void LateBinding::challenge<V4>(Late<V4>&);
template void LateBinding::collect<V4>(LateId, const FlowPacket<V4>&, const Segment&);
template void LateBinding::acknowledge<V4>(const Late<V4>&);
template uint32_t LateBinding::next_in<V4>(const Late<V4>&);
template uint32_t LateBinding::next_out<V4>(const Late<V4>&) const;
template std::optional<LateBinding::Segment> LateBinding::read<V6>(const FlowPacket<V6>&);
template bool LateBinding::checksum_good<V6>(const FlowPacket<V6>&);
template const nat::Frontend<V6>* LateBinding::frontend_of<V6>(const Late<V6>&) const;
template bool LateBinding::is_recent<V6>(const net::FlowKey<V6>&, const l7::Timestamp&) const;
template bool LateBinding::note_client<V6>(Late<V6>&, const Segment&, uint32_t);
template bool LateBinding::is_acceptable<V6>(const Late<V6>&, const Segment&);
template void LateBinding::challenge<V6>(Late<V6>&);
template void LateBinding::collect<V6>(LateId, const FlowPacket<V6>&, const Segment&);
template void LateBinding::acknowledge<V6>(const Late<V6>&);
template uint32_t LateBinding::next_in<V6>(const Late<V6>&);
template uint32_t LateBinding::next_out<V6>(const Late<V6>&) const;
template bool LateBinding::need_buffer<V4>(LateId);
template void LateBinding::to_client<V4>(const Late<V4>&, uint8_t, uint32_t, std::span<const uint8_t>);
template bool LateBinding::need_buffer<V6>(LateId);
template void LateBinding::to_client<V6>(const Late<V6>&, uint8_t, uint32_t, std::span<const uint8_t>);

}  // namespace sluice::dataplane
