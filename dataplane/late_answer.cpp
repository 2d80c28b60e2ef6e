// What the router itself says to a client whose connection it holds: the greeting that some wait for, and answers that
// end the connection.
#include <algorithm>
#include <cstring>

#include "dataplane/late_binding.h"
#include "dataplane/pipeline.h"
#include "dataplane/tcp_reset.h"

namespace sluice::dataplane {

using nat::seq_before;
using net::V4;
using net::V6;
namespace tcp_flag = net::tcp_flag;

namespace {

// Milliseconds.
constexpr nat::Millis linger_time = 5'000;
constexpr nat::Millis answer_time = 60'000;  // for all of it
constexpr uint32_t answer_burst = 10;        // segments in flight, RFC 6928

template <class F>
uint32_t window_limit(const Late<F>& late) {
  const uint8_t scale = late.scale == l7::no_scale ? uint8_t{0} : late.scale;
  return late.acked + (uint32_t{late.window} << scale);
}

}  // namespace

// ---- what a client waits for -------------------------------------------------------------------------

template <class F>
l7::Bytes LateBinding::greeting_of(const Late<F>& late) const {
  const nat::Frontend<F>* const frontend = frontend_of(late);
  return frontend == nullptr || late.buffer == no_late ? l7::Bytes{}
                                                       : frontend->service->listener->greeting(late.stream.in_order());
}

template <class F>
bool LateBinding::is_greeting_owed(const Late<F>& late) {
  return late.greeted && late.state == LateState::Collecting && late.connection == nat::no_connection &&
         late.acked != late.next_out;
}

template <class F>
bool LateBinding::greet(LateId id) {
  Late<F>& late = table<F>()[id];
  const nat::Millis now = pipeline_.context_.now;
  if (late.buffer == no_late || late.target != l7::no_target || !seq_before(now, late.give_up_at)) return false;
  const bool lost = late.greeted && late.acked != late.next_out;
  // Who has said more that was lost does not wait for anything.
  if (!late.greeted && late.stream.has_gap()) {
    table<F>().arm(id, std::min(now + greeting_pause, late.give_up_at));
    return true;
  }
  const l7::Bytes words = greeting_of(late);
  if (words.empty() || (late.greeted && !lost)) {
    table<F>().arm(id, late.give_up_at);
    return true;
  }
  if (!lost) late.next_out += static_cast<uint32_t>(words.size());
  late.greeted = true;
  to_client(late, tcp_flag::ack | tcp_flag::psh, late.next_out - static_cast<uint32_t>(words.size()), words);
  table<F>().arm(id, std::min(now + answer_retry, late.give_up_at));
  return true;
}

// ---- the router's own answers ------------------------------------------------------------------------

template <class F>
void LateBinding::answer(LateId id, l7::Bytes bytes) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  if (late.connection != nat::no_connection) hang_up<F>(id);
  late.expected = next_in(late);
  // Whoever cannot take it all takes nothing that looks whole.
  if (!bytes.empty() && !need_buffer<F>(id)) return reset<F>(id);
  // With what it has not acknowledged of the greeting in front.
  const uint32_t greeted = is_greeting_owed(late) ? late.next_out - late.acked : 0;
  const l7::Bytes greeting = greeted != 0 ? greeting_of(late) : l7::Bytes{};
  if (greeting.size() < greeted || greeted + bytes.size() > late_buffer_size) return reset<F>(id);
  late.next_out -= greeted;
  uint8_t* const buffer = lates.buffer_of(late);
  if (greeted != 0) std::memcpy(buffer, greeting.data() + (greeting.size() - greeted), greeted);
  if (!bytes.empty()) std::memcpy(buffer + greeted, bytes.data(), bytes.size());
  late.state = LateState::Answering;
  late.answer_size = static_cast<uint16_t>(greeted + bytes.size());
  late.owed = late.sent = late.next_out;
  late.owed_end = late.next_out + late.answer_size + 1;
  late.segment = std::min<uint16_t>(late.mss - (late.timestamps ? 12 : 0), most_own_data);
  late.tries = 0;
  late.give_up_at = pipeline_.context_.now + answer_time;
  // Behind all others, but who does not take its answer does not keep its buffer from them either.
  lates.mark_undecided(id, false);
  lates.mark_undecided(id, true);
  pipeline_.context_.counters.add(Event::LateAnswered);
  send_answer(late, false);
  lates.arm(id, pipeline_.context_.now + answer_retry);
}

// `probe`: what was sent is given up for lost, and at least a byte of it goes (RFC 9293 section 3.8.6.1).
template <class F>
void LateBinding::send_answer(Late<F>& late, bool probe) {
  const uint8_t* const data = table<F>().buffer_of(late);
  const uint32_t fin_at = late.owed_end - 1;
  const uint32_t limit = std::min(window_limit(late) - late.owed, answer_burst * late.segment) + late.owed;
  if (probe) late.sent = late.owed;
  while (seq_before(late.sent, late.owed_end)) {
    uint32_t size = std::min<uint32_t>(late.segment, fin_at - late.sent);
    if (const uint32_t room = limit - late.sent; seq_before(limit, late.sent + size)) {
      // Small segments only to who takes no others.
      if (late.sent != late.owed || (room == 0 && !probe)) return;
      size = std::max(room, uint32_t{1});
    }
    const bool last = late.sent + size == fin_at;
    const auto flags = static_cast<uint8_t>(tcp_flag::ack | tcp_flag::psh | (last ? tcp_flag::fin : 0));
    const uint32_t seq = late.sent;
    late.sent += size + (last ? 1 : 0);
    to_client(late, flags, seq, size == 0 ? l7::Bytes{} : l7::Bytes{data + (seq - late.next_out), size});
  }
}

template <class F>
void LateBinding::collect_answer_ack(LateId id, const Segment& segment) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  const nat::Millis now = pipeline_.context_.now;
  if (seq_before(late.owed, segment.ack)) {
    late.owed = segment.ack;
    if (seq_before(late.sent, late.owed)) late.sent = late.owed;
    late.tries = 0;
    lates.arm(id, now + (late.owes() ? answer_retry : linger_time));
  } else if (segment.ack == late.owed && segment.window == 0) {
    late.tries = 0;  // it is there
  }
  const uint32_t taken = segment.length + (segment.has(tcp_flag::fin) ? 1 : 0);
  if (taken != 0) {
    // What it still has to say is heard and forgotten, so that it reads the answer.
    if (segment.seq == late.expected) {
      late.expected += taken;
      late.fin_taken = late.fin_taken || segment.has(tcp_flag::fin);
    }
    acknowledge(late);
  }
  if (!late.owes() && late.fin_taken) return lates.close(id);
  if (!late.owes()) return lates.give_buffer(id);
  send_answer(late, false);
}

// Both ends learn that there is nothing any more.
template <class F>
void LateBinding::reset(LateId id) {
  Late<F>& late = table<F>()[id];
  const uint32_t next = is_greeting_owed(late) ? late.acked : next_out(late);
  const uint32_t seq = late.state == LateState::Answering ? late.sent : next;
  Context& context = pipeline_.context_;
  send_reset(context, pipeline_.output_, late.key.reversed(), tcp_flag::rst | tcp_flag::ack, seq, next_in(late),
             late.hash);
  if (late.connection != nat::no_connection) hang_up<F>(id);
  table<F>().close(id);
}

template void LateBinding::answer<V4>(LateId, l7::Bytes);
template void LateBinding::answer<V6>(LateId, l7::Bytes);
template void LateBinding::reset<V4>(LateId);
template void LateBinding::reset<V6>(LateId);
template bool LateBinding::greet<V4>(LateId);
template void LateBinding::send_answer<V4>(Late<V4>&, bool);
template void LateBinding::collect_answer_ack<V4>(LateId, const Segment&);
template bool LateBinding::greet<V6>(LateId);
template void LateBinding::send_answer<V6>(Late<V6>&, bool);
template void LateBinding::collect_answer_ack<V6>(LateId, const Segment&);

}  // namespace sluice::dataplane
