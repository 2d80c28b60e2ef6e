// What of a client's bytes may go to which endpoint: the first request of a connection, and every later one.
//
// A later request of the same target passes as it is when its head comes whole in one segment. Any other is collected
// like the first, and if it is for another target the connection is bound anew, once the client has all answers and has
// acknowledged them: the old endpoint is reset, the new one is connected with the number of the request's first byte.
// Where nobody can say whether an answer is whole the connection ends behind it instead.
#include <algorithm>

#include "dataplane/l7/tls_hello.h"
#include "dataplane/late_binding.h"
#include "dataplane/pipeline.h"
#include "dataplane/tcp_reset.h"
#include "dataplane/trace.h"

namespace sluice::dataplane {

using nat::Direction;
using nat::seq_before;
using net::DropReason;
using net::FlowPacket;
using net::V4;
using net::V6;
namespace tcp_flag = net::tcp_flag;

void note_decision(ServiceTrace& trace, const l7::Decision& decision, l7::Bytes start) {
  trace.read = true;
  trace.decision = decision.outcome;
  trace.target = decision.target;
  trace.rule = decision.rule;
  trace.head = decision.outcome == l7::Outcome::Forward ? decision.head : static_cast<uint32_t>(start.size());
  trace.answer = decision.reason;
  trace.hello = l7::parse_tls_hello(start);
  trace.tls = trace.hello.state == l7::HelloState::Whole;
}

// ---- decisions ---------------------------------------------------------------------------------------

// Approves what may go to the endpoint, and sees to it that it goes.
template <class F>
void LateBinding::consider(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  if (late.buffer == no_late) {
    // It closes without a word.
    if (late.fin_taken && late.state == LateState::Collecting) answer<F>(id, {});
    return;
  }
  const uint32_t before = late.approved;
  late.waiting = false;
  catch_up(late);
  for (l7::Bytes all = late.stream.in_order(); late.approved < all.size(); all = late.stream.in_order()) {
    const l7::Bytes rest = all.subspan(late.approved);
    if (late.target != l7::no_target && !late.watched) {
      late.approved = static_cast<uint32_t>(all.size());
    } else if (late.target != l7::no_target && !late.body.done()) {
      const l7::Skipped skipped = l7::skip(late.body, rest);
      if (skipped.bad) return refuse_body<F>(id);
      late.approved += skipped.bytes;
    } else if (late.reads_answers && late.answers.may_switch()) {
      late.waiting = true;
      break;
    } else if (!decide<F>(id, rest)) {
      break;
    }
  }
  if (late.state == LateState::Collecting && late.target != l7::no_target) return connect<F>(id);
  if (late.state != LateState::Passing || late.buffer == no_late) return;
  if (late.approved != before || (late.fin_taken && late.approved == late.stream.in_order().size())) return owe<F>(id);
  mark<F>(id);
}

template <class F>
bool LateBinding::decide(LateId id, l7::Bytes rest) {
  Late<F>& late = table<F>()[id];
  Context& context = pipeline_.context_;
  const nat::Frontend<F>* const frontend = frontend_of(late);
  if (frontend == nullptr) {
    reset<F>(id);
    return false;
  }
  const l7::Listener& listener = *frontend->service->listener;
  // Who has said all cannot have forgotten to answer the greeting: it had not come yet.
  l7::Decision decision = late.greeted ? listener.decide_greeted(rest) : listener.decide(rest);
  if (late.greeted && late.fin_taken && decision.outcome == l7::Outcome::More) decision = listener.decide(rest);
  if (context.trace != nullptr) [[unlikely]]
    note_decision(*context.trace, decision, rest);
  const bool first = late.target == l7::no_target;
  const bool idle = first || (response_finished(late) && (is_certain(late) || !late.pipelined));
  late.waiting = !idle;
  switch (decision.outcome) {
    case l7::Outcome::More:
      if (rest.size() >= listener.most_bytes() || late.stream.room() == 0) {
        if (!idle) {
          wait_behind_answers(late);
          return false;
        }
        context.counters.add(Event::LateTooLong);
        answer<F>(id, listener.too_long(rest));
      } else if (late.fin_taken && idle) {
        answer<F>(id, {});
      } else if (first && !late.greeted && !listener.greeting(rest).empty()) {
        table<F>().arm(id, std::min(context.now + greeting_pause, late.give_up_at));
      }
      return false;
    case l7::Outcome::Reset:
      context.counters.add(Event::LateRefused);
      reset<F>(id);
      return false;
    case l7::Outcome::Answer:
      idle ? answer<F>(id, decision.answer) : wait_behind_answers(late);
      return false;
    case l7::Outcome::Forward:
      break;
  }
  const bool elsewhere = !first && !is_same_endpoint(late, decision.target);
  // Nobody would see whether the other protocol is agreed to.
  const bool unseen = !first && decision.upgrade && decision.watched && late.reads_answers && late.answers.lost();
  if (unseen || (elsewhere && !idle)) {
    wait_behind_answers(late);
    return false;
  }
  if (elsewhere) {
    context.counters.add(Event::LateRebound);
    hang_up<F>(id);
  }
  expect_answer(late, decision, first || elsewhere);
  late.waiting = late.pipelined = false;
  late.target = decision.target;
  late.proxy_header = decision.proxy_protocol;
  late.preserve_client = decision.preserve_client;
  late.watched = decision.watched && decision.head != 0;
  late.body = decision.body;
  late.approved += std::min(decision.head, static_cast<uint32_t>(rest.size())) - decision.cut;
  if (decision.cut != 0) late.stream.cut(decision.cut_at, decision.cut);
  if (late.state == LateState::Passing) late.answers_from = windows(late).of(Direction::Reply).end;
  return true;
}

// ING-13. The endpoint has seen the beginning, but neither has it answered, nor is an answer before on its way.
template <class F>
void LateBinding::refuse_body(LateId id) {
  Late<F>& late = table<F>()[id];
  pipeline_.context_.counters.add(Event::LateRefused);
  const nat::Frontend<F>* const frontend = frontend_of(late);
  const l7::Bytes words = frontend == nullptr ? l7::Bytes{} : frontend->service->listener->bad_body();
  const bool passing = late.state == LateState::Passing;
  const uint32_t said = next_out(late);
  const bool silent = !passing || (late.acked == said && said == late.heard && is_certain(late));
  if (words.empty() || !silent || !late.answers.silent()) return reset<F>(id);
  answer<F>(id, words);
}

// A client that has asked for something elsewhere before it had all answers. It gets what still comes, and then either
// that, or the end of the connection where nobody can say when that is (RFC 9112 section 9.3.2).
template <class F>
void LateBinding::wait_behind_answers(Late<F>& late) {
  if (!late.pipelined) late.tries = 0;
  late.pipelined = late.waiting = true;
}

// Nothing of the answer is on its way any more, as far as the numbers show: the endpoint has had the whole request and
// has said something, and the client has acknowledged all of it.
template <class F>
bool LateBinding::seems_finished(const Late<F>& late) const {
  if (late.state != LateState::Passing || late.owes() || late.approved != 0 || !late.body.done()) return false;
  const nat::TcpWindows now = windows(late);
  const uint32_t said = now.of(Direction::Reply).end;
  return late.acked == said && said != late.answers_from && now.of(Direction::Reply).max_ack == late.stream.base() &&
         pipeline_.connections_.of<F>().connection(late.connection).tcp_state == nat::TcpState::Established;
}

template <class F>
bool LateBinding::response_finished(const Late<F>& late) const {
  return seems_finished(late) && (!late.reads_answers || late.answers.complete());
}

template <class F>
bool LateBinding::is_same_endpoint(const Late<F>& late, l7::TargetId target) const {
  const nat::Frontend<F>* const found = pipeline_.context_.snapshot->template family<F>().services->find(
      l7::target_address<typename F::Addr>(target), {}, net::protocol::tcp);
  if (found == nullptr) return false;
  // Before there is a connection what counts is where it will go.
  if (late.connection == nat::no_connection || late.state == LateState::Connecting) return target == late.target;
  if (found->service->id != pipeline_.connections_.of<F>().connection(late.connection).service) return false;
  // One that ends has what it has, and gets nothing new (ING-8).
  const auto& backends = found->service->cluster.backends;
  return std::any_of(backends.begin(), backends.end(), [&](const nat::Backend<F>& backend) {
    return backend.addr == late.endpoint && backend.port == late.endpoint_port;
  });
}

// ---- segments of a spliced connection ----------------------------------------------------------------

template <class F>
uint32_t LateBinding::pass_over(const Late<F>& late, Exchange& now, l7::Bytes data) const {
  const nat::Frontend<F>* const frontend = frontend_of(late);
  uint32_t passed = 0;
  while (passed < data.size()) {
    const l7::Bytes rest = data.subspan(passed);
    if (!now.body.done()) {
      const l7::Skipped skipped = l7::skip(now.body, rest);
      if (skipped.bad) return passed;
      passed += skipped.bytes;
      continue;
    }
    if (frontend == nullptr || now.answers.may_switch()) return passed;
    const l7::Decision decision = frontend->service->listener->decide(rest);
    if (pipeline_.context_.trace != nullptr) [[unlikely]]
      note_decision(*pipeline_.context_.trace, decision, rest);
    if (decision.outcome != l7::Outcome::Forward || !decision.watched || decision.head == 0 ||
        decision.head > rest.size() || decision.proxy_protocol != late.proxy_header ||
        (decision.answers != l7::AnswerKind::Unread) != late.reads_answers ||
        (decision.upgrade && now.answers.lost()) || !is_same_endpoint(late, decision.target))
      return passed;
    now.body = decision.body;
    if (late.reads_answers) now.answers.expect(decision.answers == l7::AnswerKind::Head, decision.upgrade);
    passed += decision.head;
    now.begins = true;
  }
  return passed;
}

template <class F>
bool LateBinding::watch(LateId id, FlowPacket<F>& packet, const Segment& segment) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  Context& context = pipeline_.context_;
  // Sent again: the endpoint may not have it.
  if (!seq_before(late.expected, segment.end())) return false;
  // What is read must be what the endpoint takes.
  const bool within_body =
      late.body.framing == l7::Framing::Length && segment.end() - late.expected <= late.body.remaining;
  if (!within_body && !checksum_good(packet)) {
    context.drop(packet.mbuf, DropReason::L4BadChecksum);
    return true;
  }
  // Of a body whose length is known nothing needs to be read, so what is missing may come later.
  if (const uint32_t gap = segment.seq - late.expected; seq_before(late.expected, segment.seq)) {
    const bool inside = late.body.framing == l7::Framing::Endless ||
                        (late.body.framing == l7::Framing::Length && gap <= late.body.remaining);
    if (inside) {
      if (late.body.framing == l7::Framing::Length) late.body.remaining -= gap;
      if (late.body.framing == l7::Framing::Length && late.body.remaining == 0) late.body = {};
      late.expected = segment.seq;
    }
  }
  if (seq_before(late.expected, segment.seq) || rte_pktmbuf_linearize(packet.mbuf) != 0) {
    context.drop(packet.mbuf, DropReason::LateOutOfOrder);
    return true;
  }
  // What of it was read before goes along: segments that are sent again may begin elsewhere.
  const uint32_t again = late.expected - segment.seq;
  const l7::Bytes data{packet.data() + segment.offset + again, segment.length - again};
  catch_up(late);
  Exchange now{late.body, late.answers};
  if (pass_over(late, now, data) == data.size()) {
    late.body = now.body;
    late.expected = segment.end();
    if (now.begins) {
      late.answers = now.answers;
      late.answers_from = windows(late).of(Direction::Reply).end;
      mark_busy<F>(id);
    }
    return false;
  }
  // A buffer that still holds what is owed cannot begin elsewhere. And what is collected is acknowledged, with all that
  // was before it: the endpoint must have that.
  if (late.buffer != no_late || windows(late).of(Direction::Reply).max_ack != late.expected) {
    context.drop(packet.mbuf, DropReason::LateOutOfOrder);
    return true;
  }
  collect(id, packet, segment);
  context.discard(packet.mbuf);
  return true;
}

template <class F>
bool LateBinding::on_hit(FlowPacket<F>& packet, nat::FlowId flow) {
  nat::Conntrack<F>& connections = pipeline_.connections_.of<F>();
  Context& context = pipeline_.context_;
  const nat::ConnectionId connection = nat::connection_of(flow);
  if ((connections.connection(connection).content & nat::content_flag::blocked) != 0) return false;
  const uint32_t splice = connections.connection(connection).splice;
  const std::optional<Segment> segment = read(packet);
  const bool has_record = (splice & nat::splice::has_record) != 0;
  const LateId id = splice & nat::splice::number;
  if (nat::direction_of(flow) == Direction::Reply) {
    if (!has_record || (splice & nat::splice::busy) == 0) return false;
    if (segment) {
      from_endpoint<F>(id, packet, *segment);
    } else if (Late<F>& late = table<F>()[id]; late.state == LateState::Passing && reads(late) && !late.owes()) {
      late.answers.lose();
      return false;
    } else {
      context.drop(packet.mbuf, DropReason::FragmentForUs);
    }
    return true;
  }
  if (segment && nat::tcp_event(segment->flags) == nat::TcpEvent::Syn) {
    const nat::TcpState state = connections.connection(connection).tcp_state;
    if (state == nat::TcpState::TimeWait || state == nat::TcpState::Close) {
      pipeline_.close_connection<F>(connection);
      pipeline_.forward_miss(packet, context.tables.fib->lookup(packet.key.dst));
      return true;
    }
    // RFC 5961 section 4.2: whoever has really begun anew answers with a reset.
    const nat::TcpWindows now = connections.windows(connection);
    const bool connecting = has_record && table<F>()[id].state == LateState::Connecting;
    const OwnSegment challenge{.flags = tcp_flag::ack,
                               .seq = connecting ? table<F>()[id].next_out : now.of(Direction::Reply).end,
                               .ack = connecting ? next_in(table<F>()[id]) : now.of(Direction::Reply).max_ack,
                               .window = 0xffff};
    (void)send_segment(context, pipeline_.output_, packet.key.reversed(), challenge, packet.hash);
    context.discard(packet.mbuf);
    return true;
  }
  if (!has_record) return false;
  if (!segment) {
    context.drop(packet.mbuf, DropReason::FragmentForUs);
    return true;
  }
  return from_spliced_client(id, packet, *segment);
}

// True: it was taken.
template <class F>
bool LateBinding::from_spliced_client(LateId id, FlowPacket<F>& packet, const Segment& segment) {
  Late<F>& late = table<F>()[id];
  Context& context = pipeline_.context_;
  const nat::ConnectionId connection = late.connection;
  const bool connecting = late.state == LateState::Connecting;
  const bool collecting =
      connecting || (late.buffer != no_late && late.watched &&
                     (late.approved != late.stream.in_order().size() || late.stream.has_gap() || late.fin));
  if (segment.has(tcp_flag::rst)) {
    if (!connecting && late.buffer == no_late) return false;
    // What it has sent beyond what the endpoint knows makes its number one that the endpoint does not accept.
    if (segment.seq == next_in(late) || segment.seq == late.expected) {
      hang_up<F>(id);
      table<F>().close(id);
    }
    context.discard(packet.mbuf);
    return true;
  }
  if (segment.has(tcp_flag::syn) || !segment.has(tcp_flag::ack)) return false;
  const bool fin = segment.has(tcp_flag::fin);
  const bool known = late.owes() && seq_before(segment.seq, late.owed_end) && segment.length != 0;
  const bool fits = collecting ? is_acceptable(late, segment) : is_tracked(late, Direction::Original, segment);
  if (collecting && !fits && (segment.length != 0 || fin || connecting)) {
    segment.length != 0 ? acknowledge(late) : challenge(late);
    context.discard(packet.mbuf);
    return true;
  }
  const uint32_t next =
      collecting ? next_in(late) : nat::later(next_in(late), windows(late).of(Direction::Original).end);
  const bool fresh = fits && !seq_before(next_out(late), segment.ack) && note_client(late, segment, next);
  if (segment.length == 0 && !fin && !connecting) {
    pipeline_.forward_tracked(packet, nat::flow_id(connection, Direction::Original));
    if (is_of<F>(id, connection) && late.buffer != no_late && !late.owes()) consider<F>(id);
    return true;
  }
  if (collecting || known || (!fresh && late.watched)) {
    if (!fresh || !checksum_good(packet)) {
      context.drop(packet.mbuf, fresh ? DropReason::L4BadChecksum : DropReason::ConntrackInvalid);
      return true;
    }
    if (collecting) {
      collect(id, packet, segment);
    } else {
      acknowledge(late);
    }
    context.discard(packet.mbuf);
    return true;
  }
  return late.watched && segment.length != 0 && watch(id, packet, segment);
}

template bool LateBinding::seems_finished<V4>(const Late<V4>&) const;
template bool LateBinding::seems_finished<V6>(const Late<V6>&) const;
template void LateBinding::consider<V4>(LateId);
template void LateBinding::consider<V6>(LateId);
template bool LateBinding::on_hit<V4>(FlowPacket<V4>&, nat::FlowId);
template bool LateBinding::on_hit<V6>(FlowPacket<V6>&, nat::FlowId);

}  // namespace sluice::dataplane
