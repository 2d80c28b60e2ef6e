#include "nat/tcp_state.h"

#include <array>

namespace sluice::nat {
namespace {

using net::tcp_flag::ack;
using net::tcp_flag::fin;
using net::tcp_flag::rst;
using net::tcp_flag::syn;
using net::tcp_flag::urg;

// CT-3 by the five flags that count.
constexpr TcpEvent classify(uint8_t flags) {
  switch (flags) {
    case syn:
    case syn | urg:
      return TcpEvent::Syn;
    case syn | ack:
      return TcpEvent::SynAck;
    case fin | ack:
    case fin | ack | urg:
      return TcpEvent::Fin;
    case ack:
    case ack | urg:
      return TcpEvent::Ack;
    case rst:
    case rst | ack:
      return TcpEvent::Rst;
    default:
      return TcpEvent::Invalid;
  }
}

constexpr uint8_t counting_flags = fin | syn | rst | ack | urg;
constexpr auto event_by_flags = [] {
  std::array<TcpEvent, 64> events{};
  for (size_t flags = 0; flags < events.size(); ++flags) events[flags] = classify(flags & counting_flags);
  return events;
}();

using Row = std::array<TcpCell, tcp_state_count>;
using Table = std::array<Row, tcp_event_count>;

constexpr TcpCell ss = TcpCell::SynSent;
constexpr TcpCell sr = TcpCell::SynRecv;
constexpr TcpCell es = TcpCell::Established;
constexpr TcpCell fw = TcpCell::FinWait;
constexpr TcpCell cw = TcpCell::CloseWait;
constexpr TcpCell la = TcpCell::LastAck;
constexpr TcpCell tw = TcpCell::TimeWait;
constexpr TcpCell cl = TcpCell::Close;
constexpr TcpCell s2 = TcpCell::SynSent2;
constexpr TcpCell same = TcpCell::Same;
constexpr TcpCell ig = TcpCell::Ignore;
constexpr TcpCell iv = TcpCell::Invalid;
constexpr TcpCell nf = TcpCell::NewFlow;

// clang-format off
constexpr Table original_table{{
    //            none SynSent SynRecv Estab FinWait CloseWait LastAck TimeWait Close SynSent2
    /* SYN     */ {ss, same,   ig,     ig,   ig,     ig,       ig,     nf,      nf,   same},
    /* SYN+ACK */ {iv, iv,     same,   iv,   iv,     iv,       iv,     iv,      iv,   sr},
    /* FIN     */ {iv, iv,     fw,     fw,   la,     la,       same,   same,    same, iv},
    /* ACK     */ {es, iv,     es,     same, cw,     same,     tw,     same,    same, iv},
    /* RST     */ {iv, cl,     cl,     cl,   cl,     cl,       cl,     cl,      cl,   cl},
}};
constexpr Table reply_table{{
    /* SYN     */ {iv, s2,     iv,     iv,   iv,     iv,       iv,     nf,      iv,   same},
    /* SYN+ACK */ {iv, sr,     ig,     ig,   ig,     ig,       ig,     ig,      ig,   sr},
    /* FIN     */ {iv, iv,     fw,     fw,   la,     la,       same,   same,    same, iv},
    /* ACK     */ {iv, ig,     same,   same, cw,     same,     tw,     same,    same, ig},
    /* RST     */ {iv, cl,     cl,     cl,   cl,     cl,       cl,     cl,      cl,   cl},
}};
// clang-format on

// By event; of a one-way connection, which has no other states than these. A SYN behind a FIN uses the port again: the
// other end may have closed first, which nobody saw.
struct OneWayRow {
  TcpCell none, syn_sent, established, fin_wait, close;
};
constexpr std::array<OneWayRow, tcp_event_count> one_way_table{{
    /* SYN     */ {ss, same, same, nf, nf},
    /* SYN+ACK */ {iv, same, same, same, same},
    /* FIN     */ {iv, fw, fw, same, fw},
    /* ACK     */ {es, es, same, same, es},
    /* RST     */ {iv, cl, cl, cl, same},
}};

TcpCell one_way_transition(TcpEvent event, TcpState state) {
  if (event == TcpEvent::Invalid) return TcpCell::Invalid;
  const OneWayRow& row = one_way_table[static_cast<size_t>(event)];
  switch (state) {
    case TcpState::None:
      return row.none;
    case TcpState::SynSent:
      return row.syn_sent;
    case TcpState::Established:
      return row.established;
    case TcpState::FinWait:
      return row.fin_wait;
    default:
      return row.close;
  }
}

// Connection::last_tcp_event: which segment was ignored last, if no other came since.
constexpr uint8_t ignored_syn = 1;  // of the original direction; ignored_seq is its end
constexpr uint8_t ignored_other = 2;
constexpr uint8_t ignored_mask = 3;
constexpr uint8_t expect_challenge = 4;  // the SYN came in LastAck: the next ACK may be a challenge
constexpr uint8_t simultaneous = 8;      // both ends sent a SYN (CT-6); for the whole life

void remember(Connection& connection, Direction direction, TcpEvent event, const TcpSegment& segment) {
  uint8_t memory = connection.last_tcp_event & simultaneous;
  if (direction == Direction::Original && event == TcpEvent::Syn) {
    memory |= ignored_syn;
    if (connection.tcp_state == TcpState::LastAck) memory |= expect_challenge;
    connection.ignored_seq = segment.seq + segment.length + 1;
  } else {
    memory |= ignored_other;
    connection.ignored_seq = segment.ack;
  }
  connection.last_tcp_event = memory;
}

bool remembers_syn(const Connection& connection) { return (connection.last_tcp_event & ignored_mask) == ignored_syn; }

}  // namespace

TcpEvent tcp_event(uint8_t tcp_flags) { return event_by_flags[tcp_flags & 0x3f]; }

TcpCell tcp_transition(Direction direction, TcpEvent event, TcpState state) {
  if (event == TcpEvent::Invalid) return TcpCell::Invalid;
  const Table& table = direction == Direction::Original ? original_table : reply_table;
  return table[static_cast<size_t>(event)][static_cast<size_t>(state)];
}

bool has_ignored_segment(const Connection& connection) { return (connection.last_tcp_event & ignored_mask) != 0; }

bool answers_ignored_segment(const Connection& connection, const TcpSegment& reset) {
  return (connection.last_tcp_event & ignored_mask) == ignored_other && reset.seq == connection.ignored_seq;
}

TcpStep step(Connection& connection, Direction direction, const TcpSegment& segment) {
  const TcpEvent event = tcp_event(segment.flags);
  const TcpState old = connection.tcp_state;
  const bool is_reply = direction == Direction::Reply;
  TcpState next = old;
  switch (const TcpCell cell = tcp_transition(direction, event, old)) {
    case TcpCell::Invalid:
      return {TrackAction::Invalid, old};
    case TcpCell::NewFlow:
      return {TrackAction::Reopen, old};
    case TcpCell::Ignore:
      if (is_reply) connection.flags |= connection_flag::replied;
      // Both ends agree on a connection that is younger than this entry: follow them (CT-5).
      if (is_reply && event == TcpEvent::SynAck && remembers_syn(connection) && segment.ack == connection.ignored_seq) {
        next = TcpState::SynRecv;
        connection.last_tcp_event = 0;  // its opening is its own, whatever the former one's was
        break;
      }
      remember(connection, direction, event, segment);
      return {TrackAction::Pass, old};
    case TcpCell::Same:
      // After a simultaneous open both SYN+ACKs are on their way and either end's ACK completes it.
      if (is_reply && event == TcpEvent::Ack && old == TcpState::SynRecv &&
          (connection.last_tcp_event & simultaneous) != 0) {
        next = TcpState::Established;
      }
      break;
    default:
      next = static_cast<TcpState>(cell);
  }

  if (old == TcpState::LastAck && is_reply && event == TcpEvent::Ack && remembers_syn(connection) &&
      (connection.last_tcp_event & expect_challenge) != 0) {
    connection.last_tcp_event &= simultaneous;
    return {TrackAction::Pass, old};
  }
  connection.last_tcp_event &= simultaneous;
  if (next == TcpState::SynSent2) connection.last_tcp_event |= simultaneous;
  connection.tcp_state = next;

  if (is_reply && (connection.flags & connection_flag::replied) == 0) {
    if (event == TcpEvent::Rst) return {TrackAction::Close, next};
    connection.flags |= connection_flag::replied;
  }
  // The handshake's ACK, or the answer to a connection that was picked up.
  if (next == TcpState::Established && (old == TcpState::SynRecv || old == TcpState::Established) &&
      (connection.flags & connection_flag::replied) != 0) {
    connection.flags |= connection_flag::assured;
  }
  return {TrackAction::Pass, next};
}

TcpStep step_one_way(Connection& connection, Direction direction, const TcpSegment& segment) {
  const TcpState old = connection.tcp_state;
  // An answer that came this way all the same says nothing that a later one will.
  if (direction == Direction::Reply) return {TrackAction::Pass, old};
  const TcpCell cell = one_way_transition(tcp_event(segment.flags), old);
  if (cell == TcpCell::Invalid) return {TrackAction::Invalid, old};
  if (cell == TcpCell::NewFlow) return {TrackAction::Reopen, old};
  if (cell == TcpCell::Same) return {TrackAction::Pass, old};
  connection.tcp_state = static_cast<TcpState>(cell);
  if (old == TcpState::SynSent && connection.tcp_state != TcpState::Close) {
    connection.flags |= connection_flag::replied | connection_flag::assured;
  }
  return {TrackAction::Pass, connection.tcp_state};
}

}  // namespace sluice::nat
