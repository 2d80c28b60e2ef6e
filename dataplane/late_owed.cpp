// What was acknowledged to a client, and its endpoint does not have yet: it is sent, and sent again, until the endpoint
// has acknowledged it.
#include <algorithm>

#include "dataplane/late_binding.h"
#include "dataplane/mss.h"
#include "dataplane/pipeline.h"

namespace sluice::dataplane {

using nat::Direction;
using nat::seq_before;
using net::V4;
using net::V6;
namespace tcp_flag = net::tcp_flag;

// What is approved now is owed.
template <class F>
void LateBinding::owe(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  const bool all = late.approved == late.stream.in_order().size();
  const bool owed = late.owes();
  late.expected = nat::later(late.expected, late.stream.next());
  if (!owed) {
    // Much may have passed since something was owed last.
    late.owed = late.sent = late.stream.base();
    late.owed_limit = windows(late).max_end(Direction::Original);
  }
  late.owed_end = late.stream.base() + late.approved + (late.fin_taken && all ? 1 : 0);
  if (!owed) {
    late.tries = 0;
    late.give_up_at = pipeline_.context_.now + owed_time;
    lates.arm(id, pipeline_.context_.now + late.retry);
  }
  mark<F>(id);
  send_owed<F>(id);
}

// As the client would acknowledge what it has; its options are options_.
template <class F>
OwnSegment LateBinding::make_ack(const Late<F>& late, uint32_t seq) {
  std::optional<l7::Timestamp> timestamp;
  if (late.timestamps) timestamp = l7::Timestamp{late.timestamp, late.echo};
  const uint8_t length = l7::write_timestamp(options_.data(), timestamp);
  return {.flags = tcp_flag::ack,
          .seq = seq,
          .ack = late.acked,
          .window = late.window,
          .options = {options_.data(), length}};
}

template <class F>
void LateBinding::send_owed(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  const nat::ConnectionId connection = late.connection;
  const uint32_t data_end = late.stream.base() + late.approved;
  while (seq_before(late.sent, late.owed_end)) {
    if (late.sent - late.owed >= uint32_t{late.flight} * late.segment) return;
    const uint32_t size =
        seq_before(late.sent, data_end) ? std::min<uint32_t>(late.segment, data_end - late.sent) : uint32_t{0};
    const uint32_t room = seq_before(late.sent, late.owed_limit) ? late.owed_limit - late.sent : uint32_t{0};
    const uint32_t now = std::min(size, room);
    if (now == 0 && size != 0) return;
    const bool last = late.sent + now == data_end && late.owed_end != data_end;
    OwnSegment segment = make_ack(late, late.sent);
    if (now != 0) segment.flags |= tcp_flag::psh;
    if (last) segment.flags |= tcp_flag::fin;
    const auto from = static_cast<int32_t>(late.sent - late.stream.base());
    if (now != 0) segment.data = {late.stream.data() + from, now};
    late.sent += now + (last ? 1 : 0);
    as_client(connection, late, segment);
    if (!is_of<F>(id, connection)) return;
  }
}

template <class F>
void LateBinding::note_acknowledgement(LateId id, Late<F>& late, const Segment& segment) {
  const uint8_t told = pipeline_.connections_.of<F>().connection(late.connection).endpoint_scale;
  const uint8_t scale = late.scale == l7::no_scale || told == l7::no_scale ? uint8_t{0} : told;
  if (seq_before(segment.ack, late.owed)) return;
  if (segment.ack != late.owed) {
    late.owed = seq_before(late.owed_end, segment.ack) ? late.owed_end : segment.ack;
    if (seq_before(late.sent, late.owed)) late.sent = late.owed;
    late.tries = 0;
    late.give_up_at = pipeline_.context_.now + owed_time;
    late.flight = static_cast<uint8_t>(std::min(late.flight + 1, 0xff));
    table<F>().arm(id, pipeline_.context_.now + late.retry);
  } else if (segment.window == 0) {
    late.tries = std::min(late.tries, probe_tries);  // it is there
  }
  late.owed_limit = segment.ack + (uint32_t{segment.window} << scale);
}

// RFC 8201, RFC 1191; what was never sent nobody can find too big (RFC 5927 section 4.1). What passes from end to end
// is the client's matter, to whom the message goes as well.
template <class F>
void LateBinding::on_too_big(nat::FlowId quoted, uint32_t mtu, uint32_t seq) {
  if (nat::direction_of(quoted) != Direction::Reply) return;
  const nat::Connection& connection = pipeline_.connections_.of<F>().connection(nat::connection_of(quoted));
  if ((connection.splice & nat::splice::has_record) == 0) return;
  const LateId id = connection.splice & nat::splice::number;
  Late<F>& late = table<F>()[id];
  if (late.state != LateState::Passing || !late.owes() || seq_before(seq, late.owed) || !seq_before(seq, late.sent))
    return;
  const uint16_t mss = std::max(mss_of<F>(static_cast<uint16_t>(std::min(mtu, 0xffffU))), least_mss<F>);
  const auto fits = static_cast<uint16_t>(mss - (late.timestamps ? 12 : 0));
  if (fits >= late.segment) return;
  late.segment = fits;
  table<F>().arm(id, pipeline_.context_.now);
}

// The endpoint has all that it was owed.
template <class F>
void LateBinding::settle(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  if (late.buffer == no_late) {
    if (late.target == own_target) release<F>(id);
    return;
  }
  if (late.approved == 0 && !(late.fin_taken && late.stream.in_order().empty())) return consider<F>(id);
  lates.disarm(id);
  late.stream.drop_front(late.approved);
  late.approved = 0;
  const bool ended = late.fin_taken && late.stream.in_order().empty();
  if (ended || (!late.watched && late.stream.in_order().empty())) return release<F>(id);
  if (late.stream.in_order().empty()) {
    late.expected = nat::later(late.expected, late.stream.next());
    lates.give_buffer(id);
    return mark<F>(id);
  }
  consider<F>(id);
}

template void LateBinding::on_too_big<V4>(nat::FlowId, uint32_t, uint32_t);
template void LateBinding::on_too_big<V6>(nat::FlowId, uint32_t, uint32_t);
template void LateBinding::owe<V4>(LateId);
template void LateBinding::owe<V6>(LateId);
template void LateBinding::send_owed<V4>(LateId);
template void LateBinding::send_owed<V6>(LateId);
template OwnSegment LateBinding::make_ack<V4>(const Late<V4>&, uint32_t);
template void LateBinding::note_acknowledgement<V4>(LateId, Late<V4>&, const Segment&);
template void LateBinding::settle<V4>(LateId);
template OwnSegment LateBinding::make_ack<V6>(const Late<V6>&, uint32_t);
template void LateBinding::note_acknowledgement<V6>(LateId, Late<V6>&, const Segment&);
template void LateBinding::settle<V6>(LateId);

}  // namespace sluice::dataplane
