// The tables below are those of the specification, section 5.2, as text; the test reads them like a person.
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "nat/tcp_state.h"
#include "nat/timeouts.h"

namespace sluice::nat {
namespace {

using namespace net::tcp_flag;  // NOLINT(google-build-using-namespace): the test reads like the flags field

constexpr uint8_t ece = 0x40;
constexpr uint8_t cwr = 0x80;

constexpr const char* original_direction = R"(
| event | none | SYN_SENT | SYN_RECV | EST | FIN_WAIT | CLOSE_WAIT | LAST_ACK | TIME_WAIT | CLOSE | SYN_SENT2 |
|---|---|---|---|---|---|---|---|---|---|---|
| SYN | SYN_SENT | same | ignore | ignore | ignore | ignore | ignore | **new flow** | **new flow** | same |
| SYN+ACK | invalid | invalid | same | invalid | invalid | invalid | invalid | invalid | invalid | SYN_RECV |
| FIN | invalid | invalid | FIN_WAIT | FIN_WAIT | LAST_ACK | LAST_ACK | same | same | same | invalid |
| ACK | EST (loose pick-up) | invalid | EST | same | CLOSE_WAIT | same | TIME_WAIT | same | same | invalid |
| RST | invalid | CLOSE | CLOSE | CLOSE | CLOSE | CLOSE | CLOSE | CLOSE | CLOSE | CLOSE |
)";

constexpr const char* reply_direction = R"(
| event | SYN_SENT | SYN_RECV | EST | FIN_WAIT | CLOSE_WAIT | LAST_ACK | TIME_WAIT | CLOSE | SYN_SENT2 |
|---|---|---|---|---|---|---|---|---|---|
| SYN | SYN_SENT2 | invalid | invalid | invalid | invalid | invalid | new flow (role switch) | invalid | same |
| SYN+ACK | SYN_RECV | ignore | ignore | ignore | ignore | ignore | ignore | ignore | SYN_RECV |
| FIN | invalid | FIN_WAIT | FIN_WAIT | LAST_ACK | LAST_ACK | same | same | same | invalid |
| ACK | ignore | same | same | CLOSE_WAIT | same | TIME_WAIT | same | same | ignore |
| RST | CLOSE everywhere | | | | | | | | |
)";

const std::map<std::string, TcpState> states{
    {"none", TcpState::None},          {"SYN_SENT", TcpState::SynSent},   {"SYN_RECV", TcpState::SynRecv},
    {"EST", TcpState::Established},    {"FIN_WAIT", TcpState::FinWait},   {"CLOSE_WAIT", TcpState::CloseWait},
    {"LAST_ACK", TcpState::LastAck},   {"TIME_WAIT", TcpState::TimeWait}, {"CLOSE", TcpState::Close},
    {"SYN_SENT2", TcpState::SynSent2},
};
const std::map<std::string, TcpEvent> events{
    {"SYN", TcpEvent::Syn}, {"SYN+ACK", TcpEvent::SynAck}, {"FIN", TcpEvent::Fin},
    {"ACK", TcpEvent::Ack}, {"RST", TcpEvent::Rst},
};
constexpr uint8_t flags_of_event[] = {syn, syn | ack, fin | ack, ack, rst};

// Cells of a markdown row without decoration.
std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> result;
  std::istringstream row(line.substr(1));
  for (std::string cell; std::getline(row, cell, '|');) {
    std::erase(cell, '*');
    if (const size_t remark = cell.find(" ("); remark != std::string::npos) cell.resize(remark);
    const size_t first = cell.find_first_not_of(' ');
    const size_t last = cell.find_last_not_of(' ');
    result.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
  }
  return result;
}

struct Expectation {
  Direction direction;
  TcpEvent event;
  TcpState state;
  std::string cell;
};

std::vector<Expectation> parse(Direction direction, const std::string& markdown) {
  std::vector<Expectation> result;
  std::istringstream lines(markdown);
  std::vector<std::string> head;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with("|--")) continue;
    std::vector<std::string> row = cells(line);
    if (head.empty()) {
      head = row;
      continue;
    }
    const std::string everywhere = " everywhere";
    for (size_t i = 1; i < head.size(); ++i) {
      std::string cell = row.at(i);
      if (row.at(1).ends_with(everywhere)) cell = row.at(1).substr(0, row.at(1).size() - everywhere.size());
      result.push_back({direction, events.at(row.at(0)), states.at(head.at(i)), cell});
    }
  }
  return result;
}

std::vector<Expectation> specification() {
  std::vector<Expectation> all = parse(Direction::Original, original_direction);
  const std::vector<Expectation> reply = parse(Direction::Reply, reply_direction);
  all.insert(all.end(), reply.begin(), reply.end());
  return all;
}

TcpCell as_cell(const std::string& cell) {
  if (cell == "same") return TcpCell::Same;
  if (cell == "ignore") return TcpCell::Ignore;
  if (cell == "invalid") return TcpCell::Invalid;
  if (cell == "new flow") return TcpCell::NewFlow;
  return static_cast<TcpCell>(states.at(cell));
}

Connection tcp_connection(TcpState state = TcpState::None, uint8_t flags = 0) {
  Connection connection;
  connection.protocol = net::protocol::tcp;
  connection.tcp_state = state;
  connection.flags = flags;
  return connection;
}

constexpr Direction client = Direction::Original;
constexpr Direction server = Direction::Reply;

// A connection and what happens to it.
struct Conversation {
  Connection connection = tcp_connection();

  TrackAction send(Direction direction, uint8_t flags, uint32_t seq = 0, uint32_t ack_number = 0, uint32_t length = 0) {
    return step(connection, direction, {flags, seq, ack_number, length}).action;
  }
  void handshake() {
    EXPECT_EQ(send(client, syn, 1000), TrackAction::Pass);
    EXPECT_EQ(send(server, syn | ack, 5000, 1001), TrackAction::Pass);
    EXPECT_EQ(send(client, ack, 1001, 5001), TrackAction::Pass);
  }
  [[nodiscard]] TcpState state() const { return connection.tcp_state; }
  [[nodiscard]] bool assured() const { return (connection.flags & connection_flag::assured) != 0; }
  [[nodiscard]] bool replied() const { return (connection.flags & connection_flag::replied) != 0; }
};

TEST(TcpTable, EveryCellOfSection52) {
  const std::vector<Expectation> cells_of_both = specification();
  ASSERT_EQ(cells_of_both.size(), 5U * 10 + 5U * 9);
  for (const Expectation& e : cells_of_both) {
    SCOPED_TRACE(testing::Message() << "direction " << int(e.direction) << " event " << int(e.event) << " state "
                                    << int(e.state) << ": " << e.cell);
    EXPECT_EQ(tcp_transition(e.direction, e.event, e.state), as_cell(e.cell));
  }
}

TEST(TcpTable, TheServerNeverOpens) {
  for (const auto& [name, event] : events)
    EXPECT_EQ(tcp_transition(server, event, TcpState::None), TcpCell::Invalid) << name;
}

// The same cells through step(), in a connection that was answered and remembers nothing.
TEST(TcpTable, StepDoesWhatTheCellSays) {
  for (const Expectation& e : specification()) {
    SCOPED_TRACE(testing::Message() << "direction " << int(e.direction) << " event " << int(e.event) << " state "
                                    << int(e.state) << ": " << e.cell);
    Connection connection = tcp_connection(e.state, connection_flag::replied);
    const Connection before = connection;
    const TcpStep result = step(connection, e.direction, {flags_of_event[int(e.event)], 0, 0, 0});
    const TcpCell cell = as_cell(e.cell);
    if (cell == TcpCell::Invalid || cell == TcpCell::NewFlow) {
      EXPECT_EQ(result.action, cell == TcpCell::Invalid ? TrackAction::Invalid : TrackAction::Reopen);
      EXPECT_EQ(std::memcmp(&connection, &before, sizeof before), 0);
    } else {
      EXPECT_EQ(result.action, TrackAction::Pass);
      EXPECT_EQ(result.next, connection.tcp_state);
      EXPECT_EQ(connection.tcp_state, cell < TcpCell::Same ? static_cast<TcpState>(cell) : e.state);
      EXPECT_EQ(has_ignored_segment(connection), cell == TcpCell::Ignore);
    }
  }
}

TEST(TcpEvents, OnlyTheCombinationsOfCt3AreValid) {
  const std::map<uint8_t, TcpEvent> valid{
      {syn, TcpEvent::Syn}, {syn | urg, TcpEvent::Syn},       {syn | ack, TcpEvent::SynAck},
      {rst, TcpEvent::Rst}, {rst | ack, TcpEvent::Rst},       {fin | ack, TcpEvent::Fin},
      {ack, TcpEvent::Ack}, {fin | ack | urg, TcpEvent::Fin}, {ack | urg, TcpEvent::Ack},
  };
  for (unsigned flags = 0; flags < 256; ++flags) {
    const auto counting = static_cast<uint8_t>(flags & ~unsigned{psh | ece | cwr});
    const auto found = valid.find(counting);
    EXPECT_EQ(tcp_event(static_cast<uint8_t>(flags)), found == valid.end() ? TcpEvent::Invalid : found->second)
        << flags;
  }
}

TEST(TcpEvents, InvalidFlagsChangeNothingInAnyState) {
  for (const auto& [name, state] : states) {
    for (const Direction direction : {client, server}) {
      for (const uint8_t flags : {uint8_t{0}, uint8_t{syn | fin}, uint8_t{syn | rst}, uint8_t{fin}, uint8_t{psh},
                                  uint8_t{fin | psh | urg}, uint8_t{fin | rst | ack}}) {
        Connection connection = tcp_connection(state);
        EXPECT_EQ(step(connection, direction, {flags, 1, 2, 0}).action, TrackAction::Invalid) << name;
        EXPECT_EQ(connection.tcp_state, state);
        EXPECT_EQ(connection.flags, 0);
      }
    }
  }
}

TEST(TcpConversation, HandshakeDataAndOrderlyClose) {
  Conversation c;
  EXPECT_EQ(c.send(client, syn, 1000), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::SynSent);
  EXPECT_FALSE(c.replied());
  EXPECT_EQ(c.send(server, syn | ack | ece, 5000, 1001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::SynRecv);
  EXPECT_TRUE(c.replied());
  EXPECT_FALSE(c.assured());
  EXPECT_EQ(c.send(client, ack, 1001, 5001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::Established);
  EXPECT_TRUE(c.assured());
  EXPECT_EQ(c.send(client, ack | psh, 1001, 5001, 100), TrackAction::Pass);
  EXPECT_EQ(c.send(server, ack, 5001, 1101), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::Established);
  EXPECT_EQ(c.send(server, fin | ack, 5001, 1101), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::FinWait);
  EXPECT_EQ(c.send(client, ack, 1101, 5002), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::CloseWait);
  EXPECT_EQ(c.send(client, fin | ack, 1101, 5002), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::LastAck);
  EXPECT_EQ(c.send(server, ack, 5002, 1102), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::TimeWait);
}

TEST(TcpConversation, Ct4SynReopensAClosedConnection) {
  for (const TcpState closed : {TcpState::TimeWait, TcpState::Close}) {
    Connection connection = tcp_connection(closed, connection_flag::replied | connection_flag::assured);
    EXPECT_EQ(step(connection, client, {syn, 9000, 0, 0}).action, TrackAction::Reopen);
    EXPECT_EQ(connection.tcp_state, closed);
  }
  // Role switch, in TIME_WAIT only.
  Connection connection = tcp_connection(TcpState::TimeWait, connection_flag::replied);
  EXPECT_EQ(step(connection, server, {syn, 9000, 0, 0}).action, TrackAction::Reopen);
  connection = tcp_connection(TcpState::Close, connection_flag::replied);
  EXPECT_EQ(step(connection, server, {syn, 9000, 0, 0}).action, TrackAction::Invalid);
}

TEST(TcpConversation, Ct5ClientThatRestartedIsFollowed) {
  Conversation c;
  c.handshake();
  // The same port, a new sequence number: established here, unknown to the client.
  EXPECT_EQ(c.send(client, syn, 70000), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::Established);
  EXPECT_EQ(c.send(server, syn | ack, 90000, 70001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::SynRecv);
  EXPECT_EQ(c.send(client, ack, 70001, 90001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::Established);
}

TEST(TcpConversation, Ct5DataInTheIgnoredSynCounts) {
  Conversation c;
  c.handshake();
  EXPECT_EQ(c.send(client, syn, 0xfffffff0, 0, 32), TrackAction::Pass);
  EXPECT_EQ(c.send(server, syn | ack, 90000, 0x11), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::SynRecv);
}

TEST(TcpConversation, Ct5OtherSynAcksDoNotResynchronise) {
  Conversation c;
  c.handshake();
  EXPECT_EQ(c.send(server, syn | ack, 5000, 1001), TrackAction::Pass) << "a retransmission";
  EXPECT_EQ(c.state(), TcpState::Established);
  EXPECT_EQ(c.send(client, syn, 70000), TrackAction::Pass);
  EXPECT_EQ(c.send(server, syn | ack, 5000, 1001), TrackAction::Pass) << "acknowledges an older SYN";
  EXPECT_EQ(c.state(), TcpState::Established);
  EXPECT_EQ(c.send(server, syn | ack, 5000, 70001), TrackAction::Pass) << "the SYN is no longer the last one ignored";
  EXPECT_EQ(c.state(), TcpState::Established);
}

TEST(TcpConversation, Ct5OrdinarySegmentEndsTheMemory) {
  Conversation c;
  c.handshake();
  EXPECT_EQ(c.send(client, syn, 70000), TrackAction::Pass);
  EXPECT_TRUE(has_ignored_segment(c.connection));
  EXPECT_EQ(c.send(server, ack, 5001, 1001), TrackAction::Pass) << "the server's challenge";
  EXPECT_FALSE(has_ignored_segment(c.connection));
  EXPECT_EQ(c.send(client, rst, 1001), TrackAction::Pass) << "the client's answer to it";
  EXPECT_EQ(c.state(), TcpState::Close);
  EXPECT_EQ(c.send(client, syn, 70000), TrackAction::Reopen);
}

TEST(TcpConversation, Ct5ChallengeAckIsNotTheLastAck) {
  Conversation c;
  c.handshake();
  EXPECT_EQ(c.send(client, fin | ack, 1001, 5001), TrackAction::Pass);
  EXPECT_EQ(c.send(server, fin | ack, 5001, 1002), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::LastAck);
  EXPECT_EQ(c.send(client, syn, 70000), TrackAction::Pass);
  EXPECT_EQ(c.send(server, ack, 5002, 1002), TrackAction::Pass) << "challenge";
  EXPECT_EQ(c.state(), TcpState::LastAck);
  EXPECT_EQ(c.send(server, ack, 5002, 1002), TrackAction::Pass) << "only one is excused";
  EXPECT_EQ(c.state(), TcpState::TimeWait);
}

TEST(TcpConversation, Ct5LastAckWithoutASynBeforeIsTheLastAck) {
  Conversation c;
  c.handshake();
  EXPECT_EQ(c.send(client, syn, 70000), TrackAction::Pass) << "ignored in EST: expects no challenge in LAST_ACK";
  EXPECT_EQ(c.send(client, fin | ack, 1001, 5001), TrackAction::Pass);
  EXPECT_EQ(c.send(server, fin | ack, 5001, 1002), TrackAction::Pass);
  EXPECT_EQ(c.send(server, ack, 5002, 1002), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::TimeWait);
}

TEST(TcpConversation, Ct5ChallengeInSynSentAndTheFlowOpensAfterwards) {
  Conversation c;
  EXPECT_EQ(c.send(client, syn, 1000), TrackAction::Pass);
  EXPECT_EQ(c.send(server, ack, 5000, 400), TrackAction::Pass) << "challenge of a half-open server";
  EXPECT_EQ(c.state(), TcpState::SynSent);
  EXPECT_EQ(c.send(client, rst, 400), TrackAction::Pass);
  EXPECT_EQ(c.send(client, syn, 1000), TrackAction::Reopen);
}

TEST(TcpConversation, Ct6SimultaneousOpen) {
  Conversation c;
  EXPECT_EQ(c.send(client, syn, 1000), TrackAction::Pass);
  EXPECT_EQ(c.send(server, syn, 5000), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::SynSent2);
  EXPECT_EQ(c.send(client, syn | ack, 1000, 5001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::SynRecv);
  EXPECT_EQ(c.send(server, syn | ack, 5000, 1001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::SynRecv);
  // Both handshakes are complete; either end may speak first.
  Conversation by_client = c;
  EXPECT_EQ(by_client.send(client, ack | psh, 1001, 5001, 5), TrackAction::Pass);
  EXPECT_EQ(by_client.state(), TcpState::Established);
  EXPECT_TRUE(by_client.assured());
  EXPECT_EQ(c.send(server, ack | psh, 5001, 1001, 5), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::Established);
  EXPECT_TRUE(c.assured());
}

TEST(TcpConversation, Ct5TheYoungerConnectionIsNoSimultaneousOpen) {
  Conversation c;
  c.send(client, syn, 1000);
  c.send(server, syn, 5000);
  c.send(client, syn | ack, 1000, 5001);
  c.send(server, syn | ack, 5000, 1001);
  c.send(client, ack, 1001, 5001);
  ASSERT_EQ(c.state(), TcpState::Established);
  EXPECT_EQ(c.send(client, syn, 70000), TrackAction::Pass);
  EXPECT_EQ(c.send(server, syn | ack, 90000, 70001), TrackAction::Pass);
  ASSERT_EQ(c.state(), TcpState::SynRecv);
  EXPECT_EQ(c.send(server, ack, 90001, 70001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::SynRecv) << "its client has not answered yet";
  EXPECT_EQ(c.send(client, ack, 70001, 90001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::Established);
}

TEST(TcpConversation, AckOfTheServerDoesNotCompleteAnOrdinaryHandshake) {
  Conversation c;
  EXPECT_EQ(c.send(client, syn, 1000), TrackAction::Pass);
  EXPECT_EQ(c.send(server, syn | ack, 5000, 1001), TrackAction::Pass);
  EXPECT_EQ(c.send(server, ack, 5001, 1001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::SynRecv);
  EXPECT_FALSE(c.assured());
}

TEST(TcpConversation, Ct7PickUp) {
  EXPECT_TRUE(opens_flow(syn, false));
  EXPECT_TRUE(opens_flow(syn | ece | cwr, false));
  EXPECT_TRUE(opens_flow(ack | psh, true));
  EXPECT_FALSE(opens_flow(ack | psh, false));
  for (const uint8_t flags : {uint8_t{syn | ack}, uint8_t{fin | ack}, uint8_t{rst}, uint8_t{rst | ack}, uint8_t{0}}) {
    EXPECT_FALSE(opens_flow(flags, true)) << int(flags);
  }
  EXPECT_TRUE(is_pick_up(ack));
  EXPECT_FALSE(is_pick_up(syn));

  Conversation c;
  EXPECT_EQ(c.send(client, ack, 1000, 5000), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::Established);
  EXPECT_EQ(c.send(client, ack, 1000, 5000), TrackAction::Pass);
  EXPECT_FALSE(c.assured()) << "until a reply is seen";
  EXPECT_EQ(timeout_of(c.connection, Timeouts{}), 300'000U);
  EXPECT_EQ(c.send(server, ack, 5000, 1000), TrackAction::Pass);
  EXPECT_TRUE(c.assured());
  EXPECT_EQ(timeout_of(c.connection, Timeouts{}), 86'400'000U);
}

TEST(TcpConversation, Ct8OnlyReplyIsRst) {
  Conversation c;
  EXPECT_EQ(c.send(client, syn, 1000), TrackAction::Pass);
  EXPECT_EQ(c.send(server, rst | ack, 0, 1001), TrackAction::Close);

  Conversation picked_up;
  EXPECT_EQ(picked_up.send(client, ack, 1000, 5000), TrackAction::Pass);
  EXPECT_EQ(picked_up.send(server, rst, 5000), TrackAction::Close);

  Conversation answered;
  answered.handshake();
  EXPECT_EQ(answered.send(server, rst, 5001), TrackAction::Pass);
  EXPECT_EQ(answered.state(), TcpState::Close);

  Conversation by_client;
  EXPECT_EQ(by_client.send(client, syn, 1000), TrackAction::Pass);
  EXPECT_EQ(by_client.send(client, rst, 1001), TrackAction::Pass) << "no reply at all";
  EXPECT_EQ(by_client.state(), TcpState::Close);
}

TEST(TcpConversation, T3RstWhileClosing) {
  Conversation c;
  c.handshake();
  EXPECT_EQ(c.send(server, fin | ack, 3001, 1001), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::FinWait);
  EXPECT_EQ(c.send(client, ack, 1001, 3002), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::CloseWait);
  EXPECT_EQ(c.send(client, rst | ack, 1001, 3002), TrackAction::Pass);
  EXPECT_EQ(c.state(), TcpState::Close);
  EXPECT_EQ(c.send(server, rst, 2001), TrackAction::Pass) << "late and inexact, but not invalid";
}

// Direct server return: only the client's segments come by.
TEST(TcpOneWay, TheClientsHalfOfAConversation) {
  struct Step {
    uint8_t flags;
    TrackAction action;
    TcpState next;
  };
  const auto run = [](TcpState from, std::initializer_list<Step> steps) {
    Connection connection = tcp_connection(from, connection_flag::one_way);
    for (const Step& wanted : steps) {
      const TcpStep done = step_one_way(connection, client, {wanted.flags, 1000, 2000, 0});
      EXPECT_EQ(done.action, wanted.action) << int{wanted.flags};
      EXPECT_EQ(done.next, wanted.next) << int{wanted.flags};
      EXPECT_EQ(connection.tcp_state, wanted.next);
    }
    return (connection.flags & connection_flag::assured) != 0;
  };
  using enum TcpState;
  constexpr TrackAction pass = TrackAction::Pass;
  EXPECT_TRUE(run(None, {{syn, pass, SynSent},
                         {syn, pass, SynSent},
                         {ack, pass, Established},
                         {ack | psh, pass, Established},
                         {fin | ack, pass, FinWait},
                         {ack, pass, FinWait}}));
  EXPECT_FALSE(run(None, {{syn, pass, SynSent}, {rst, pass, Close}}));
  EXPECT_TRUE(run(None, {{syn, pass, SynSent}, {fin | ack, pass, FinWait}})) << "its ACK was lost before us";
  EXPECT_FALSE(run(None, {{ack, pass, Established}})) << "CT-7, CT-9: a single segment in the middle";
  EXPECT_FALSE(run(None, {{fin | ack, TrackAction::Invalid, None},
                          {rst, TrackAction::Invalid, None},
                          {syn | ack, TrackAction::Invalid, None},
                          {syn | fin, TrackAction::Invalid, None}}));
  (void)run(Established, {{syn, pass, Established}, {syn | fin, TrackAction::Invalid, Established}});
  (void)run(Established, {{rst | ack, pass, Close}, {ack, pass, Established}});
  // CT-4
  (void)run(FinWait, {{syn, TrackAction::Reopen, FinWait}});
  (void)run(Close, {{syn, TrackAction::Reopen, Close}});
}

TEST(TcpOneWay, AnswersChangeNothing) {
  for (const TcpState state : {TcpState::SynSent, TcpState::Established, TcpState::FinWait, TcpState::Close}) {
    for (const uint8_t flags : flags_of_event) {
      Connection connection = tcp_connection(state, connection_flag::one_way);
      EXPECT_EQ(step_one_way(connection, server, {flags, 1, 1, 0}).action, TrackAction::Pass);
      EXPECT_EQ(connection.tcp_state, state);
      EXPECT_EQ(connection.flags & connection_flag::assured, 0);
    }
  }
}

TEST(TcpQuiet, PlainAckOfASettledFlowOnly) {
  Flow<net::V4> flow{};
  flow.key.protocol = net::protocol::tcp;
  EXPECT_FALSE(is_quiet(flow, ack));
  flow.flags = flow_flag::settled;
  for (unsigned flags = 0; flags < 256; ++flags) {
    const auto counting = static_cast<uint8_t>(flags & ~unsigned{psh | ece | cwr});
    EXPECT_EQ(is_quiet(flow, static_cast<uint8_t>(flags)), counting == ack) << flags;
  }
  flow.key.protocol = net::protocol::udp;
  EXPECT_TRUE(is_quiet(flow, 0));
}

// Section 5.1 with the two values of CT-1.
TEST(TcpTimeouts, EveryState) {
  const std::map<std::string, uint32_t> seconds{
      {"none", 120},        {"SYN_SENT", 120}, {"SYN_RECV", 60},   {"EST", 86400}, {"FIN_WAIT", 120},
      {"CLOSE_WAIT", 3600}, {"LAST_ACK", 30},  {"TIME_WAIT", 120}, {"CLOSE", 10},  {"SYN_SENT2", 120},
  };
  for (const auto& [name, state] : states) {
    EXPECT_EQ(timeout_of(tcp_connection(state, connection_flag::replied), Timeouts{}), seconds.at(name) * 1000) << name;
  }
}

// The rows of SCTP in section 5.1; "heartbeat sent" is of associations that are picked up in the middle.
TEST(SctpTimeouts, CT1_DefaultsAreThoseOfTheTable) {
  const std::pair<SctpState, uint32_t> table[] = {
      {SctpState::Closed, 10'000},           {SctpState::CookieWait, 3'000}, {SctpState::CookieEchoed, 3'000},
      {SctpState::Established, 432'000'000}, {SctpState::ShutdownSent, 300}, {SctpState::ShutdownReceived, 300},
      {SctpState::ShutdownAckSent, 3'000},   {SctpState::PickedUp, 30'000},
  };
  for (const auto& [state, milliseconds] : table) {
    Connection connection;
    connection.protocol = net::protocol::sctp;
    connection.last_tcp_event = static_cast<uint8_t>(state);
    EXPECT_EQ(timeout_of(connection, Timeouts{}), milliseconds) << static_cast<int>(state);
    EXPECT_LE(milliseconds, max_timeout);
  }
}

TEST(OtherTimeouts, ByProtocolAndStanding) {
  const auto timeout = [](uint8_t protocol, uint8_t flags, const Timeouts& timeouts) {
    Connection connection;
    connection.protocol = protocol;
    connection.flags = flags;
    return timeout_of(connection, timeouts);
  };
  using connection_flag::assured;
  using connection_flag::replied;
  const Timeouts linux;
  EXPECT_EQ(timeout(net::protocol::udp, 0, linux), 30'000U);
  EXPECT_EQ(timeout(net::protocol::udp, replied, linux), 30'000U) << "less than 2 s old";
  EXPECT_EQ(timeout(net::protocol::udp, replied | assured, linux), 120'000U);
  EXPECT_EQ(timeout(net::protocol::icmp, replied, linux), 30'000U);
  EXPECT_EQ(timeout(net::protocol::icmpv6, 0, linux), 30'000U);
  EXPECT_EQ(timeout(gre_protocol, replied, linux), 30'000U);
  EXPECT_EQ(timeout(gre_protocol, replied | assured, linux), 180'000U);
  EXPECT_EQ(timeout(99, replied, linux), 600'000U);

  Timeouts configured;
  configured.set(TcpState::Established, 7'440'000);
  configured.udp = 5'000;
  EXPECT_EQ(timeout(net::protocol::udp, 0, configured), 5'000U);
  EXPECT_EQ(timeout_of(tcp_connection(TcpState::Established, replied), configured), 7'440'000U);
}

}  // namespace
}  // namespace sluice::nat
