// The endpoint of a connection that is bound late: its SYN, its failures, and what is owed to it.
#include <algorithm>

#include "dataplane/late_binding.h"
#include "dataplane/mss.h"
#include "dataplane/own_packet.h"
#include "dataplane/pipeline.h"
#include "dataplane/splice_flow.h"

namespace sluice::dataplane {

using nat::Direction;
using nat::seq_before;
using net::DropReason;
using net::FlowPacket;
using net::V4;
using net::V6;
namespace tcp_flag = net::tcp_flag;

namespace {

constexpr uint8_t most_endpoints = 3;

template <class F>
FlowPacket<F> packet_of(const Late<F>& late, rte_mbuf* mbuf) {
  FlowPacket<F> packet;
  packet.mbuf = mbuf;
  packet.l4 = own_header_length<F>;
  packet.l3_length = static_cast<uint16_t>(mbuf->pkt_len);
  packet.ingress = late.ingress;
  packet.decapsulations = late.from_tunnel ? 1 : 0;
  packet.tunnel_source = late.tunnel_source;
  packet.has_ports = true;
  packet.plain = true;
  packet.protocol = net::protocol::tcp;
  packet.key = late.key;
  packet.hash = late.hash;
  return packet;
}

template <class F>
uint32_t header_length(const Late<F>& late) {
  return late.proxy_header ? l7::proxy_header_length<F> : 0;
}

}  // namespace

template <class F>
nat::TcpWindows LateBinding::windows(const Late<F>& late) const {
  return pipeline_.connections_.of<F>().windows(late.connection);
}

template <class F>
bool LateBinding::is_of(LateId id, nat::ConnectionId connection) const {
  const Late<F>& late = table<F>()[id];
  return late.state == LateState::Passing && late.connection == connection;
}

// As the connection table sees it: with the client's numbers.
template <class F>
nat::TcpSegment LateBinding::as_tracked(const Late<F>& late, Direction direction, const Segment& segment) const {
  nat::TcpSegment out;
  out.flags = segment.flags;
  out.seq = segment.seq;
  out.ack = segment.ack;
  out.length = segment.length;
  out.window = segment.window;
  if (direction == Direction::Original) return out;
  const l7::Splice splice = splice_of(pipeline_.connections_.of<F>(), late.connection);
  out.seq += splice.seq;
  out.window = l7::window_to_client(splice, segment.window);
  return out;
}

template <class F>
bool LateBinding::is_tracked(const Late<F>& late, Direction direction, const Segment& segment) const {
  const nat::TcpWindows now = windows(late);
  nat::TcpEnd original = now.of(Direction::Original);
  nat::TcpEnd reply = now.of(Direction::Reply);
  return nat::check_window({original, reply}, direction, as_tracked(late, direction, segment), false) ==
         nat::WindowVerdict::Fits;
}

template <class F>
void LateBinding::as_client(nat::ConnectionId connection, const Late<F>& late, const OwnSegment& segment) {
  rte_mbuf* const mbuf = make_segment(pipeline_.context_, late.key, segment);
  if (mbuf == nullptr) return;
  FlowPacket<F> packet = packet_of(late, mbuf);
  pipeline_.forward_tracked(packet, nat::flow_id(connection, Direction::Original));
}

// ---- choice ------------------------------------------------------------------------------------------

// Of a record with a target, whose stream knows where the client's bytes begin.
template <class F>
void LateBinding::connect(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  late.state = LateState::Connecting;
  late.endpoints_tried = 0;
  late.failure = l7::Failure::Unavailable;
  lates.mark_undecided(id, false);
  if (late.proxy_header) l7::write_proxy_header(late.stream.data() - header_length(late), late.key);
  try_endpoint<F>(id);
}

// The endpoint that any first packet of this client to the target would get; later another one.
template <class F>
void LateBinding::try_endpoint(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  Context& context = pipeline_.context_;
  const nat::Frontend<F>* const front = came_to(late);
  const nat::Frontend<F>* const target =
      late.target == own_target ? front
                                : context.snapshot->template family<F>().services->find(
                                      l7::target_address<typename F::Addr>(late.target), {}, net::protocol::tcp);
  if (front == nullptr || target == nullptr) return unavailable<F>(id);
  const nat::ServicePort<F>& service = *target->service;
  // As the client sees it, without a reference that would be counted.
  nat::Frontend<F> frontend{late.key.dst, late.key.dst_port, net::protocol::tcp, front->kind, {}};
  frontend.service = std::shared_ptr<const nat::ServicePort<F>>(std::shared_ptr<void>{}, &service);
  std::optional<nat::Backend<F>> wanted;
  if (late.endpoints_tried == 0 && service.affinity_seconds != 0) {
    wanted = pipeline_.connections_.affinity<F>().find(late.key.src, service.affinity_key,
                                                       service.affinity_seconds * 1000, context.now);
  } else if (late.endpoints_tried != 0) {
    for (const nat::Backend<F>& other : service.cluster.backends) {
      if (other.addr == late.endpoint && other.port == late.endpoint_port) continue;
      wanted = other;
      if (context.next_random() % service.cluster.backends.size() == 0) break;
    }
  }
  const OwnSegment syn = make_syn(late);
  rte_mbuf* const mbuf = make_segment(context, late.key, syn);
  if (mbuf == nullptr) return reset<F>(id);
  FlowPacket<F> packet = packet_of(late, mbuf);
  nat::ServiceChoice<F> choice = pipeline_.choose(packet, frontend, wanted ? &*wanted : nullptr);
  if (choice.outcome != nat::Outcome::Forward) {
    context.discard(mbuf);
    return unavailable<F>(id);
  }
  choice.direct_return = false;  // its answers must come by here
  // Who talks to itself by the router must have its answers from there, and nobody outside of the cluster answers a
  // client by this router without being made to.
  const bool outside = target->kind == nat::FrontendKind::ExternalIp;
  if (late.preserve_client && !outside && !(choice.backend->addr == late.key.src)) choice.masquerade = false;
  late.endpoint = choice.backend->addr;
  late.endpoint_port = choice.backend->port;
  late.tries = 0;
  ++late.endpoints_tried;
  opening_ = id;
  pipeline_.open_chosen(packet, service, choice);
  opening_ = no_late;
  if (late.connection == nat::no_connection) return next_endpoint<F>(id, late.failure);
  late.asked_at = context.now;
  lates.arm(id, context.now + connect_retry);
}

template <class F>
void LateBinding::next_endpoint(LateId id, l7::Failure failure) {
  Late<F>& late = table<F>()[id];
  late.failure = failure;
  pipeline_.context_.counters.add(Event::LateEndpointFailed);
  if (late.connection != nat::no_connection) hang_up<F>(id);
  late.state = LateState::Connecting;
  if (late.endpoints_tried >= most_endpoints) return unavailable<F>(id);
  try_endpoint<F>(id);
}

template <class F>
void LateBinding::unavailable(LateId id) {
  Late<F>& late = table<F>()[id];
  late.state = LateState::Collecting;
  pipeline_.context_.counters.add(Event::LateUnavailable);
  const nat::Frontend<F>* const frontend = frontend_of(late);
  if (frontend == nullptr) return reset<F>(id);
  const l7::Bytes words = frontend->service->listener->failed(late.stream.in_order(), late.failure);
  if (words.empty()) return reset<F>(id);
  answer<F>(id, words);
}

template <class F>
void LateBinding::on_opened(nat::ConnectionId id) {
  Late<F>& late = table<F>()[opening_];
  nat::Conntrack<F>& connections = pipeline_.connections_.of<F>();
  late.connection = id;
  connections.flow(nat::flow_id(id, Direction::Original)).flags |= nat::flow_flag::spliced;
  connections.flow(nat::flow_id(id, Direction::Reply)).flags |= nat::flow_flag::spliced;
  connections.connection(id).endpoint_scale = l7::own_scale;
  mark<F>(opening_);
}

// ---- the handshake -----------------------------------------------------------------------------------

// With what the client offered, and its number, so that its own segments need no translation.
template <class F>
OwnSegment LateBinding::make_syn(const Late<F>& late) {
  l7::TcpOffer offer{late.mss, late.scale, late.sack, {}};
  if (late.timestamps) offer.timestamp = l7::Timestamp{late.timestamp, 0};
  const uint8_t length = l7::write_offer(options_.data(), offer);
  const uint32_t window = uint32_t{late.window} << (late.scale == l7::no_scale ? 0 : late.scale);
  return {.flags = tcp_flag::syn,
          .seq = late.stream.base() - header_length(late) - 1,
          .window = static_cast<uint16_t>(std::min<uint32_t>(window, 0xffff)),
          .options = {options_.data(), length}};
}

template <class F>
void LateBinding::send_syn(LateId id) {
  const Late<F>& late = table<F>()[id];
  as_client(late.connection, late, make_syn(late));
}

// A packet of the endpoint while it concerns the record. Takes ownership.
template <class F>
void LateBinding::from_endpoint(LateId id, FlowPacket<F>& packet, const Segment& segment) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  Context& context = pipeline_.context_;
  const nat::ConnectionId connection = late.connection;
  const nat::FlowId flow = nat::flow_id(connection, Direction::Reply);
  // What it acknowledges nobody can send again.
  if ((late.state == LateState::Connecting || late.owes()) && !checksum_good(packet))
    return context.drop(packet.mbuf, DropReason::L4BadChecksum);
  if (late.state == LateState::Connecting) {
    context.discard(packet.mbuf);
    if (!segment.has(tcp_flag::ack) || segment.ack != late.stream.base() - header_length(late)) return;
    if (segment.has(tcp_flag::rst)) return next_endpoint<F>(id, l7::Failure::Refused);
    if (segment.has(tcp_flag::syn)) established<F>(id, segment);
    return;
  }
  // It has not got the ACK that answered its SYN+ACK.
  if (segment.has(tcp_flag::syn)) {
    context.discard(packet.mbuf);
    as_client(connection, late, make_ack(late, late.owed));
    return;
  }
  const bool heard = late.owes() && segment.has(tcp_flag::ack) && !segment.has(tcp_flag::rst) &&
                     is_tracked(late, Direction::Reply, segment);
  if (heard) note_acknowledgement(id, late, segment);
  const bool answers = segment.length != 0 && reads(late);
  if (answers && !follow(late, packet, segment)) return context.drop(packet.mbuf, DropReason::LateOutOfOrder);
  constexpr uint8_t ends = tcp_flag::fin | tcp_flag::rst;
  if (late.owes() && segment.length == 0 && (segment.flags & ends) == 0) {
    // The client was told of more than that.
    nat::Conntrack<F>& connections = pipeline_.connections_.of<F>();
    const nat::TcpSegment unsent = as_tracked(late, Direction::Reply, segment);
    nat::account(connections.flow(flow), packet.l3_length, context.now);
    (void)connections.track(flow, unsent, context.snapshot->timeouts, context.now, context.snapshot->tcp_be_liberal);
    context.discard(packet.mbuf);
  } else {
    pipeline_.forward_tracked(packet, flow);
  }
  if (!is_of<F>(id, connection)) return;
  if (!late.owes()) {
    settle<F>(id);
  } else if (heard) {
    send_owed<F>(id);
  }
  if (answers && is_of<F>(id, connection)) followed<F>(id);
}

template <class F>
void LateBinding::established(LateId id, const Segment& segment) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  Context& context = pipeline_.context_;
  nat::Conntrack<F>& connections = pipeline_.connections_.of<F>();
  nat::Connection& connection = connections.connection(late.connection);
  const auto size = static_cast<uint32_t>(segment.options.size());
  const l7::TcpOffer offer = l7::read_offer(segment.options.data(), size);
  if (const nat::Frontend<F>* const frontend = came_to(late); frontend != nullptr) {
    learn(frontend->service->id, offer, late.timestamps,
          own_mss<F>(late.key, late.hash, limits_of(*frontend->service)));
  }
  // A client that was told of timestamps does not take segments without (RFC 7323 section 3.2).
  if (late.timestamps && !offer.timestamp) {
    context.counters.add(Event::LateMismatch);
    return reset<F>(id);
  }
  connection.splice_seq = late.next_out - (segment.seq + 1);
  if (late.timestamps) {
    late.echo = nat::later(late.echo, context.now + late.timestamp_base);
    connection.splice_timestamp = late.echo - offer.timestamp->value;
  }
  if (late.scale != l7::no_scale) connection.endpoint_scale = offer.scale;
  late.endpoint_seen = true;

  // The connection table sees what the client was told.
  const uint8_t options[] = {net::tcp_option::window_scale, 3, l7::own_scale, net::tcp_option::sack_permitted, 2, 0};
  nat::TcpSegment answer;
  answer.flags = tcp_flag::syn | tcp_flag::ack;
  answer.seq = late.next_out - 1;
  answer.ack = segment.ack;
  answer.window = segment.window;
  answer.options = late.scale == l7::no_scale ? options + 3 : options;
  answer.options_length = late.scale == l7::no_scale ? 3 : 6;
  const nat::FlowId reply = nat::flow_id(late.connection, Direction::Reply);
  if (connections.track(reply, answer, context.snapshot->timeouts, context.now, context.snapshot->tcp_be_liberal) !=
      nat::TrackAction::Pass)
    return reset<F>(id);
  pipeline_.inspect_spliced<F>(late.connection, segment.seq, late.stream.base());

  late.state = LateState::Passing;
  // RFC 6298 sections 2.2 and 5.7; of a SYN that was sent again nobody knows which one is answered.
  const nat::Millis measured = 3 * (context.now - late.asked_at);
  late.retry = late.tries != 0 ? connect_retry : std::clamp(measured, owed_retry, 3 * connect_retry);
  late.flight = initial_flight;
  late.tries = 0;
  const auto way = connections.rewrite(nat::flow_id(late.connection, Direction::Original)).dst;
  const Egress egress = pipeline_.output_.template route<F>(way, late.hash);
  const uint16_t fits = std::max(std::min(offer.mss, mss_of<F>(egress.mtu)), least_mss<F>);
  late.segment = std::min<uint16_t>(static_cast<uint16_t>(fits - (late.timestamps ? 12 : 0)), most_own_data);
  late.owed = late.sent = segment.ack;
  late.owed_end = late.stream.base();  // the PROXY header, if there is one
  late.owed_limit = segment.ack + segment.window;
  late.answers_from = late.heard = late.next_out;
  late.give_up_at = context.now + owed_time;
  lates.arm(id, context.now + late.retry);
  context.counters.add(Event::LateForwarded);
  // What came too early was never acknowledged, and comes again.
  if (late.target == own_target && late.stream.in_order().empty()) drop_buffer<F>(id);
  const nat::ConnectionId own = late.connection;
  owe<F>(id);
  // The client has said nothing that would end the handshake.
  if (is_of<F>(id, own) && !late.owes()) as_client(own, late, make_ack(late, late.owed));
}

// ---- the end -----------------------------------------------------------------------------------------

// The connection goes on without a record.
template <class F>
void LateBinding::release(LateId id) {
  Late<F>& late = table<F>()[id];
  pipeline_.connections_.of<F>().connection(late.connection).splice = late.target & nat::splice::number;
  late.connection = nat::no_connection;
  table<F>().close(id);
}

// The record goes on without its connection, whose endpoint is told.
template <class F>
void LateBinding::hang_up(LateId id) {
  Late<F>& late = table<F>()[id];
  nat::Conntrack<F>& connections = pipeline_.connections_.of<F>();
  const nat::ConnectionId connection = late.connection;
  late.next_out = next_out(late);
  const bool passing = late.state == LateState::Passing;
  // The number that is certainly the right one (RFC 5961 section 3.2).
  const uint32_t seq = passing ? windows(late).of(Direction::Reply).max_ack : late.stream.base() - header_length(late);
  connections.connection(connection).splice = late.target & nat::splice::number;
  late.connection = nat::no_connection;
  late.owed = late.owed_end = late.sent;
  late.state = LateState::Collecting;
  as_client(connection, late, {.flags = tcp_flag::rst, .seq = seq});
  if ((connections.connection(connection).flags & nat::connection_flag::live) != 0)
    pipeline_.close_connection<F>(connection);
}

template <class F>
void LateBinding::on_blocked(nat::ConnectionId id) {
  const uint32_t splice = pipeline_.connections_.of<F>().connection(id).splice;
  if ((splice & nat::splice::has_record) != 0) release<F>(splice & nat::splice::number);
}

template <class F>
void LateBinding::on_closed(nat::ConnectionId id) {
  nat::Connection& connection = pipeline_.connections_.of<F>().connection(id);
  if ((connection.splice & nat::splice::has_record) == 0) return;
  const LateId late = connection.splice & nat::splice::number;
  connection.splice = 0;
  table<F>()[late].connection = nat::no_connection;
  // Whoever opens it has a use for the record still.
  if (late != opening_) table<F>().close(late);
}

template <class F>
bool LateBinding::on_unreachable(nat::FlowId quoted) {
  const nat::Connection& connection = pipeline_.connections_.of<F>().connection(nat::connection_of(quoted));
  if ((connection.splice & nat::splice::has_record) == 0) return false;
  const LateId id = connection.splice & nat::splice::number;
  if (table<F>()[id].state != LateState::Connecting) return false;
  next_endpoint<F>(id, l7::Failure::Refused);
  return true;
}

template <class F>
void LateBinding::mark_busy(LateId id) {
  const Late<F>& late = table<F>()[id];
  // Of one that is bound at once: until the endpoint shows that the handshake is over.
  const bool busy = late.state == LateState::Connecting || late.owes() || late.buffer != no_late || reads(late) ||
                    late.target == own_target;
  pipeline_.connections_.of<F>().connection(late.connection).splice =
      nat::splice::has_record | (busy ? nat::splice::busy : 0) | id;
}

template <class F>
void LateBinding::mark(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  const bool passing = late.state == LateState::Passing;
  mark_busy<F>(id);
  const bool undecided = passing && !late.owes() && late.buffer != no_late;
  if (undecided && (!late.undecided || late.waiting != late.was_waiting)) {
    late.was_waiting = late.waiting;
    late.said = windows(late).of(Direction::Reply).end;
    const nat::Millis patience = late.waiting ? response_time : time_for_head(late);
    lates.arm(id, pipeline_.context_.now + (late.pipelined ? pipeline_pause : patience));
  }
  lates.mark_undecided(id, undecided);
}

void LateBinding::learn(uint32_t service, const l7::TcpOffer& offer, bool timestamps, uint16_t told) {
  const bool misses = timestamps && !offer.timestamp;
  if (!misses && offer.mss >= told && known_profile(service) == nullptr) return;
  Profile& known = profiles_[service % profiles_.size()];
  if (known.service != service) known = {service};
  known.mss = std::min(known.mss, std::max(offer.mss, l7::default_mss));
  if (misses) known.timestamps = false;
}

template bool LateBinding::is_of<V4>(LateId, nat::ConnectionId) const;
template bool LateBinding::is_tracked<V4>(const Late<V4>&, Direction, const Segment&) const;
template bool LateBinding::is_of<V6>(LateId, nat::ConnectionId) const;
template bool LateBinding::is_tracked<V6>(const Late<V6>&, Direction, const Segment&) const;
template void LateBinding::on_opened<V4>(nat::ConnectionId);
template void LateBinding::on_opened<V6>(nat::ConnectionId);
template void LateBinding::on_blocked<V4>(nat::ConnectionId);
template void LateBinding::on_blocked<V6>(nat::ConnectionId);
template void LateBinding::on_closed<V4>(nat::ConnectionId);
template void LateBinding::on_closed<V6>(nat::ConnectionId);
template bool LateBinding::on_unreachable<V4>(nat::FlowId);
template bool LateBinding::on_unreachable<V6>(nat::FlowId);
template void LateBinding::connect<V4>(LateId);
template void LateBinding::connect<V6>(LateId);
template void LateBinding::hang_up<V4>(LateId);
template void LateBinding::hang_up<V6>(LateId);
template void LateBinding::mark<V4>(LateId);
template void LateBinding::mark<V6>(LateId);
template void LateBinding::mark_busy<V4>(LateId);
template void LateBinding::mark_busy<V6>(LateId);
template void LateBinding::next_endpoint<V4>(LateId, l7::Failure);
template void LateBinding::next_endpoint<V6>(LateId, l7::Failure);
template void LateBinding::send_syn<V4>(LateId);
template void LateBinding::send_syn<V6>(LateId);
template void LateBinding::from_endpoint<V4>(LateId, FlowPacket<V4>&, const Segment&);
template void LateBinding::from_endpoint<V6>(LateId, FlowPacket<V6>&, const Segment&);
template nat::TcpWindows LateBinding::windows<V4>(const Late<V4>&) const;
template nat::TcpWindows LateBinding::windows<V6>(const Late<V6>&) const;
template void LateBinding::as_client<V4>(nat::ConnectionId, const Late<V4>&, const OwnSegment&);
template void LateBinding::release<V4>(LateId);
template void LateBinding::as_client<V6>(nat::ConnectionId, const Late<V6>&, const OwnSegment&);
template void LateBinding::release<V6>(LateId);

}  // namespace sluice::dataplane
