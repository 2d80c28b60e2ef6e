// Services whose connections are looked into (ContentPolicy), while SYNs come so fast that an entry of the connection
// table would be gone before the client's ACK is there: without its entry nobody could look into a connection, so it
// could not go on. The router answers such SYNs with cookies. What brings a cookie back is bound at once to the
// endpoint that the SYN would have got: the server may be the one that speaks first.
//
// The pressure begins with a SYN for which something would have to give way that is not assured and younger than
// `least_stay`. It ends when the SYNs of such a time would take no more than a part of the table.
#include "dataplane/late_binding.h"
#include "dataplane/pipeline.h"

namespace sluice::dataplane {

using net::FlowPacket;
using net::V4;
using net::V6;

namespace {

constexpr nat::Millis least_stay = 5'000;  // milliseconds: long enough for any handshake
constexpr uint32_t part = 4;

// Only what is not assured is asked for its age: what is closing ends anyway.
template <class F>
bool is_turned_over(const nat::Conntrack<F>& table, nat::Millis now) {
  if (table.counters().connections < table.capacity()) return false;
  const nat::ConnectionId victim = table.find_victim();
  if (victim == nat::no_connection) return false;
  const nat::Connection& oldest = table.connection(victim);
  return oldest.standing == nat::Standing::Unassured && now - oldest.created < least_stay;
}

}  // namespace

template <class F>
bool LateBinding::is_pressed() {
  Pressure& state = pressure<F>();
  const nat::Conntrack<F>& table = pipeline_.connections_.of<F>();
  const nat::Millis now = pipeline_.context_.now;
  if (state.on && now - state.since >= least_stay) {
    // Nobody has asked for longer: in the time before this one there were none.
    state.on = now - state.since < 2 * least_stay && state.syns >= table.capacity() / part;
    state.since = now;
    state.syns = 0;
  }
  if (!state.on && is_turned_over(table, now)) {
    state.on = true;
    state.since = now;
    state.syns = 0;
  }
  return state.on;
}

template <class F>
bool LateBinding::stands_in(const FlowPacket<F>& packet, const nat::Frontend<F>& frontend) {
  if (packet.protocol != net::protocol::tcp || packet.fragment != net::FragmentKind::Whole) return false;
  const std::optional<Segment> segment = read(packet);
  if (!segment) return false;
  switch (nat::tcp_event(segment->flags)) {
    case nat::TcpEvent::Syn: {
      // Who gets no endpoint is told so as ever.
      if (!is_pressed<F>() || pipeline_.choose<F>(packet, frontend, nullptr).outcome != nat::Outcome::Forward)
        return false;
      Pressure& state = pressure<F>();
      ++state.syns;
      state.used = true;
      state.last = pipeline_.context_.now;
      return true;
    }
    case nat::TcpEvent::Ack:
    case nat::TcpEvent::Fin:
      return may_answer_cookie(packet, *segment);
    default:
      return false;
  }
}

// The first segment behind a cookie, or one that has overtaken it: that one must not open a connection of which the
// endpoint knows nothing. Where no timestamp says so, whatever nobody knows is taken for such a one.
template <class F>
bool LateBinding::may_answer_cookie(const FlowPacket<F>& packet, const Segment& segment) {
  const Pressure& state = pressure<F>();
  const nat::Millis now = pipeline_.context_.now;
  if (!state.used || now - state.last >= 2 * l7::SynCookies::period) return false;
  if (cookies_.check(packet.key, segment.seq - 1, segment.ack - 1, now)) return true;
  if (segment.timestamp) return is_recent(packet.key, *segment.timestamp);
  return now - state.last < moment && pipeline_.find_hint<F>(packet) == nullptr;
}

template <class F>
const nat::Frontend<F>* LateBinding::came_to(const Late<F>& late) const {
  if (late.target != own_target) return frontend_of(late);
  const nat::Frontend<F>* const frontend = pipeline_.context_.snapshot->template family<F>().services->find(
      late.key.dst, late.key.dst_port, net::protocol::tcp);
  return frontend == nullptr || frontend->service->listener != nullptr ? nullptr : frontend;
}

template <class F>
l7::TcpLimits LateBinding::limits_of(const nat::ServicePort<F>& service) {
  return service.listener == nullptr ? l7::TcpLimits{} : service.listener->tcp();
}

template <class F>
bool LateBinding::bind_at_once(LateId id) {
  Late<F>& late = table<F>()[id];
  late.target = own_target;
  late.stream.begin(nullptr, 0, late.expected);
  connect<F>(id);
  return late.state == LateState::Connecting;
}

template <class F>
void LateBinding::drop_buffer(LateId id) {
  LateTable<F>& lates = table<F>();
  Late<F>& late = lates[id];
  const uint32_t base = late.stream.base();
  lates.give_buffer(id);
  late.stream.begin(nullptr, 0, base);
}

template bool LateBinding::stands_in<V4>(const FlowPacket<V4>&, const nat::Frontend<V4>&);
template bool LateBinding::stands_in<V6>(const FlowPacket<V6>&, const nat::Frontend<V6>&);
template bool LateBinding::bind_at_once<V4>(LateId);
template bool LateBinding::bind_at_once<V6>(LateId);
template void LateBinding::drop_buffer<V4>(LateId);
template void LateBinding::drop_buffer<V6>(LateId);
template const nat::Frontend<V4>* LateBinding::came_to<V4>(const Late<V4>&) const;
template const nat::Frontend<V6>* LateBinding::came_to<V6>(const Late<V6>&) const;
template l7::TcpLimits LateBinding::limits_of<V4>(const nat::ServicePort<V4>&);
template l7::TcpLimits LateBinding::limits_of<V6>(const nat::ServicePort<V6>&);

}  // namespace sluice::dataplane
