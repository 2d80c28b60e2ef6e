// The window check of specification section 5.3 and the conversations of section 5.3a, as Conntrack::track sees them.
#include <array>
#include <initializer_list>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "nat/conntrack.h"

namespace sluice::nat {
namespace {

using namespace net::tcp_flag;  // NOLINT(google-build-using-namespace): the test reads like the flags field
using net::V4;

constexpr Direction client = Direction::Original;
constexpr Direction server = Direction::Reply;

constexpr uint32_t client_isn = 0xfffffc18;  // numbers wrap in most conversations
constexpr uint32_t server_isn = 5000;

constexpr std::initializer_list<uint8_t> no_options{};
constexpr std::initializer_list<uint8_t> sack_permitted{4, 2, 1, 1};
std::vector<uint8_t> scale(uint8_t shift) { return {3, 3, shift, 1}; }

// A connection whose segments have numbers relative to their initial ones, like tcpdump prints them.
class TcpWindow : public testing::Test {
 protected:
  void SetUp() override {
    table_ = Conntrack<V4>::create({4, 0}, 0);
    ASSERT_NE(table_, nullptr);
    const net::FlowKey<V4> key{net::Ipv4Addr::from_host(1), net::Ipv4Addr::from_host(2), be16::from_host(1000),
                               be16::from_host(80),         net::protocol::tcp,          {}};
    const net::FlowHasher hasher;
    flow_ = table_->open(key, hasher(key), key.reversed(), hasher(key.reversed()), 0).flow;
  }

  TrackAction send(Direction from, uint8_t flags, uint32_t seq, uint32_t ack_number, uint32_t length = 0,
                   uint16_t window = 65535, std::vector<uint8_t> options = {}) {
    TcpSegment segment;
    segment.flags = flags;
    segment.seq = seq + (from == client ? client_isn : server_isn);
    segment.ack = (flags & ack) == 0 ? 0 : ack_number + (from == client ? server_isn : client_isn);
    segment.length = length;
    segment.window = window;
    segment.options = options.data();
    segment.options_length = static_cast<uint8_t>(options.size());
    const FlowId flow = flow_id(connection_of(flow_), from);
    const TrackAction action = table_->track(flow, segment, timeouts_, now_, liberal_);
    if (action != TrackAction::Invalid) account(table_->flow(flow), length + 40, now_);
    return action;
  }
  void handshake(uint16_t client_window = 65535, uint16_t server_window = 65535,
                 const std::vector<uint8_t>& client_options = {}, const std::vector<uint8_t>& server_options = {}) {
    ASSERT_EQ(send(client, syn, 0, 0, 0, client_window, client_options), TrackAction::Pass);
    ASSERT_EQ(send(server, syn | ack, 0, 1, 0, server_window, server_options), TrackAction::Pass);
    ASSERT_EQ(send(client, ack, 1, 1, 0, client_window), TrackAction::Pass);
    ASSERT_EQ(state(), TcpState::Established);
  }
  [[nodiscard]] TcpState state() const { return table_->connection(connection_of(flow_)).tcp_state; }
  [[nodiscard]] const TcpEnd& end_of(Direction direction) const {
    return table_->flow(flow_id(connection_of(flow_), direction)).end;
  }
  // Up to which number it may send.
  [[nodiscard]] uint32_t max_end(Direction direction) const {
    return table_->windows(connection_of(flow_)).max_end(direction);
  }
  // Closes what has been idle too long at `now`.
  bool expires_by(Millis now) {
    for (now_ += 1000; millis_between(now_, now) >= 0; now_ += 1000) {
      if (table_->expire(now_, timeouts_, 10, [](ConnectionId) {}) != 0) return true;
    }
    return false;
  }

  std::unique_ptr<Conntrack<V4>> table_;
  FlowId flow_ = no_flow;
  Timeouts timeouts_;
  Millis now_ = 0;
  bool liberal_ = false;
};

TEST_F(TcpWindow, T1_BadResets) {
  handshake();
  for (uint32_t at = 1; at < 3001; at += 1000) EXPECT_EQ(send(server, ack | psh, at, 1, 1000), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 3001), TrackAction::Pass);
  for (const uint32_t seq : {0U, 1000000U, 42U}) {
    EXPECT_EQ(send(server, rst, seq, 0), TrackAction::Invalid) << seq;
    EXPECT_EQ(state(), TcpState::Established) << seq;
  }
  EXPECT_EQ(send(client, ack | psh, 1, 3001, 10), TrackAction::Pass);
}

TEST_F(TcpWindow, T3_ResetWhileClosing) {
  handshake();
  for (uint32_t at = 1; at < 3001; at += 1000) EXPECT_EQ(send(server, ack, at, 1, 1000), TrackAction::Pass);
  EXPECT_EQ(send(server, fin | ack, 3001, 1), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::FinWait);
  EXPECT_EQ(send(client, ack, 1, 3002), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::CloseWait);
  EXPECT_EQ(send(client, rst | ack, 1001, 3002), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::Close);
  EXPECT_EQ(send(server, rst, 2001, 0), TrackAction::Pass) << "inexact, but there is nothing left to protect";
}

TEST_F(TcpWindow, T6_LostAcknowledgement) {
  handshake();
  for (uint32_t i = 0; i < 46; ++i) {
    EXPECT_EQ(send(client, ack, 1 + i * 1460, 1, 1460), TrackAction::Pass);
    EXPECT_EQ(send(server, ack, 1, 1 + (i + 1) * 1460), TrackAction::Pass);
  }
  const TcpEnd before[] = {end_of(client), end_of(server)};
  EXPECT_EQ(send(client, ack, 1, 1, 1460), TrackAction::Pass) << "CT-16: sent again, as the ACKs were lost";
  EXPECT_EQ(std::memcmp(&before[0], &end_of(client), sizeof(TcpEnd)), 0);
  EXPECT_EQ(std::memcmp(&before[1], &end_of(server), sizeof(TcpEnd)), 0);
  EXPECT_EQ(send(server, ack, 1, 67161), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::Established);
}

TEST_F(TcpWindow, CT10_UpperBoundOfSequence) {
  handshake(1000, 2000);
  EXPECT_EQ(send(client, ack, 2001, 1, 1), TrackAction::Pass) << "the last byte of the window is followed by one";
  EXPECT_EQ(send(client, ack, 4001, 1, 1), TrackAction::Invalid);
  EXPECT_EQ(send(server, ack, 1001, 1, 500), TrackAction::Pass) << "any intersection is enough";
}

TEST_F(TcpWindow, CT10_NothingIsAcknowledgedThatWasNotSent) {
  handshake();
  EXPECT_EQ(send(client, ack, 1, 2), TrackAction::Invalid);
  EXPECT_EQ(send(server, ack, 1, 1, 1), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 2), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 3), TrackAction::Invalid);
}

TEST_F(TcpWindow, CT10_CT16_OldAcknowledgementPassesAndTeachesNothing) {
  handshake();
  for (uint32_t at = 1; at < 200000; at += 1000) {
    ASSERT_EQ(send(server, ack, at, 1, 1000), TrackAction::Pass);
    ASSERT_EQ(send(client, ack, 1, at + 1000, 0, 60000), TrackAction::Pass);
  }
  const uint32_t allowed = max_end(server);
  EXPECT_EQ(send(client, ack, 1, 1000), TrackAction::Pass);
  EXPECT_EQ(max_end(server), allowed);
}

TEST_F(TcpWindow, CT11_ScaleNeedsBothSyns) {
  handshake(65535, 65535, scale(7), scale(3));
  EXPECT_EQ(end_of(client).scale, 7U);
  EXPECT_EQ(end_of(server).scale, 3U);
  EXPECT_EQ(max_end(server) - server_isn, 1 + (65535U << 7)) << "what the client's last ACK allows";
  EXPECT_EQ(send(server, ack, 1, 1, 1000, 1000), TrackAction::Pass);
  EXPECT_EQ(send(server, ack, 1 + 65536 * 5, 1, 1000), TrackAction::Pass);
  EXPECT_EQ(send(server, ack, 10 + 65536 * 128, 1, 1000), TrackAction::Invalid);
}

TEST_F(TcpWindow, CT11_OneSidedScaleDoesNotCount) {
  handshake(65535, 65535, scale(7), no_options);
  EXPECT_EQ(end_of(client).scale, 0U);
  EXPECT_EQ(end_of(client).window_bytes(), 65536U);  // in units of 256 bytes, rounded up
  EXPECT_EQ(max_end(server) - server_isn, 1 + 65535U);
}

TEST_F(TcpWindow, CT11_AboveFourteenIsFourteen) {
  handshake(100, 100, scale(200), scale(15));
  EXPECT_EQ(end_of(client).scale, 14U);
  EXPECT_EQ(end_of(server).scale, 14U);
}

TEST_F(TcpWindow, CT11_WindowsOfSynsAreNotScaled) {
  ASSERT_EQ(send(client, syn, 0, 0, 0, 1000, scale(10)), TrackAction::Pass);
  ASSERT_EQ(send(server, syn | ack, 0, 1, 0, 2000, scale(10)), TrackAction::Pass);
  EXPECT_EQ(max_end(client) - client_isn, 2001U);
}

TEST_F(TcpWindow, CT11_MalformedOptionsAreNotRead) {
  handshake(65535, 65535, {3}, {2, 4, 5, 0xb4, 3, 9, 7});
  EXPECT_EQ(end_of(client).scale, 0U);
  EXPECT_EQ(end_of(server).scale, 0U);
}

TEST_F(TcpWindow, CT12_SelectiveAcknowledgementCounts) {
  handshake(65535, 65535, sack_permitted, sack_permitted);
  const auto block = [](uint32_t left, uint32_t right) {
    std::vector<uint8_t> option{1, 1, 5, 10};
    for (const uint32_t edge : {left + server_isn, right + server_isn}) {
      for (int shift = 24; shift >= 0; shift -= 8) option.push_back(static_cast<uint8_t>(edge >> shift));
    }
    return option;
  };
  EXPECT_EQ(send(server, ack, 1001, 1, 1000), TrackAction::Pass) << "the first thousand were lost before us";
  EXPECT_EQ(send(client, ack, 1, 1, 0, 65535, block(1001, 2001)), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 1, 0, 65535, block(1001, 2002)), TrackAction::Invalid) << "never sent";
}

TEST_F(TcpWindow, CT13_LiberalLetsAllPassButResets) {
  liberal_ = true;
  handshake(1000, 1000);
  EXPECT_EQ(send(client, ack, 500000, 1, 10), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 900000, 10), TrackAction::Pass);
  EXPECT_EQ(send(client, rst, 500000, 0), TrackAction::Invalid);
  EXPECT_EQ(state(), TcpState::Established);
  EXPECT_EQ(send(client, rst, 1, 0), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::Close);
}

TEST_F(TcpWindow, CT7_PickedUpConnectionsAreLiberal) {
  EXPECT_EQ(send(client, ack, 70000, 90000, 100, 500), TrackAction::Pass);
  EXPECT_EQ(send(server, ack, 90000, 70100, 1400, 500), TrackAction::Pass);
  EXPECT_EQ(send(server, ack, 90000 + 50000, 70100, 1400, 500), TrackAction::Pass)
      << "scaled windows nobody told us of";
}

TEST_F(TcpWindow, CT5_ClientThatRestartedIsFollowedWithNewNumbers) {
  handshake();
  EXPECT_EQ(send(client, syn, 7000000, 0), TrackAction::Pass);
  EXPECT_EQ(send(server, syn | ack, 9000000, 7000001), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 7000001, 9000001), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::Established);
  EXPECT_EQ(send(client, ack, 7000001, 9000001, 100), TrackAction::Pass);
  EXPECT_EQ(send(server, ack, 9000001, 7000101, 100), TrackAction::Pass);
}

TEST_F(TcpWindow, CT5_ClientThatRestartedInTheHandshakeIsFollowed) {
  for (const uint32_t answer : {9000000U, 7U}) {
    SetUp();
    ASSERT_EQ(send(client, syn, 0, 0, 0, 65535, scale(7)), TrackAction::Pass);
    ASSERT_EQ(send(server, syn | ack, 0, 1, 0, 65535, scale(7)), TrackAction::Pass);
    EXPECT_EQ(send(client, syn, 2138105992, 0, 0, 65535, scale(7)), TrackAction::Pass);
    EXPECT_EQ(send(server, syn | ack, answer, 2138105993, 0, 65535, scale(7)), TrackAction::Pass);
    EXPECT_EQ(state(), TcpState::SynRecv);
    EXPECT_EQ(send(client, ack, 2138105993, answer + 1), TrackAction::Pass) << answer;
    EXPECT_EQ(state(), TcpState::Established);
    EXPECT_EQ(send(client, ack, 2138105993, answer + 1, 100), TrackAction::Pass);
    EXPECT_EQ(send(server, ack, answer + 1, 2138106093, 100), TrackAction::Pass);
  }
}

TEST_F(TcpWindow, CT5_ServerThatForgotTheFirstSynAnswersItsRepetition) {
  ASSERT_EQ(send(client, syn, 0, 0), TrackAction::Pass);
  ASSERT_EQ(send(server, syn | ack, 0, 1), TrackAction::Pass);
  EXPECT_EQ(send(client, syn, 0, 0), TrackAction::Pass);
  EXPECT_EQ(send(server, syn | ack, 9000000, 1), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 9000001), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::Established);
}

TEST_F(TcpWindow, CT5_HandshakeThatIsRepeatedStaysAsStrict) {
  ASSERT_EQ(send(client, syn, 0, 0, 0, 65535, scale(7)), TrackAction::Pass);
  ASSERT_EQ(send(server, syn | ack, 0, 1, 0, 65535, scale(7)), TrackAction::Pass);
  EXPECT_EQ(send(client, syn, 0, 0, 0, 65535, scale(7)), TrackAction::Pass) << "the SYN+ACK was lost";
  EXPECT_EQ(send(server, syn | ack, 0, 1, 0, 65535, scale(7)), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 1), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::Established);
  EXPECT_EQ(max_end(server) - server_isn, 1 + (65535U << 7)) << "the scale is not forgotten";
  EXPECT_EQ(send(client, ack, 500000000, 1, 10), TrackAction::Invalid);
}

TEST_F(TcpWindow, CT5_ResetThatAnswersAChallenge) {
  ASSERT_EQ(send(client, syn, 0, 0), TrackAction::Pass);
  EXPECT_EQ(send(server, ack, 777, 400000000), TrackAction::Pass) << "challenge ACK of an older connection's server";
  EXPECT_EQ(send(client, rst, 400000000, 0), TrackAction::Pass) << "its number is the one the challenge asked for";
  EXPECT_EQ(send(client, syn, 0, 0), TrackAction::Reopen);
}

TEST_F(TcpWindow, CT14_ExactResetCloses) {
  handshake();
  EXPECT_EQ(send(server, ack, 1, 1, 1000), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 501), TrackAction::Pass);
  EXPECT_EQ(send(server, rst, 501, 0), TrackAction::Pass) << "what the client acknowledged last";
  EXPECT_EQ(state(), TcpState::Close);
}

TEST_F(TcpWindow, CT14_ResetBehindTheLastSegmentCloses) {
  handshake();
  EXPECT_EQ(send(server, ack, 1, 1, 1000), TrackAction::Pass);
  EXPECT_EQ(send(server, rst | ack, 1001, 1), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::Close);
}

TEST_F(TcpWindow, CT14_CT15_DoubtfulResetLeavesTenSeconds) {
  handshake();
  EXPECT_EQ(send(server, ack, 1, 1, 1000), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 501), TrackAction::Pass);
  EXPECT_EQ(send(server, rst, 700, 0), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::Established) << "the client will challenge it if it is forged";
  EXPECT_FALSE(is_quiet(table_->flow(flow_), ack));
  EXPECT_TRUE(expires_by(12'000));
}

TEST_F(TcpWindow, CT14_TheNextSegmentEndsTheDoubt) {
  handshake();
  EXPECT_EQ(send(server, ack, 1, 1, 1000), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 501), TrackAction::Pass);
  EXPECT_EQ(send(server, rst, 700, 0), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 1001), TrackAction::Pass);
  EXPECT_TRUE(is_quiet(table_->flow(flow_), ack));
  EXPECT_FALSE(expires_by(1'000'000));
}

TEST_F(TcpWindow, CT15_ClosedByResetForTenSeconds) {
  handshake();
  EXPECT_EQ(send(client, rst, 1, 0), TrackAction::Pass);
  EXPECT_EQ(state(), TcpState::Close);
  EXPECT_FALSE(expires_by(9'000));
  EXPECT_TRUE(expires_by(12'000));
}

TEST_F(TcpWindow, CT1_UnacknowledgedDataIsWaitedForFiveMinutes) {
  handshake();
  EXPECT_EQ(send(client, ack | psh, 1, 1, 100), TrackAction::Pass);
  EXPECT_EQ(send(server, ack, 1, 101), TrackAction::Pass);
  EXPECT_FALSE(expires_by(700'000)) << "all is acknowledged";
  EXPECT_EQ(send(client, ack | psh, 101, 1, 100), TrackAction::Pass);
  EXPECT_TRUE(expires_by(1'302'000));
  EXPECT_GE(now_, 1'000'000U);
}

TEST_F(TcpWindow, KeepaliveIsAnswered) {
  handshake();
  EXPECT_EQ(send(client, ack, 0, 1, 0), TrackAction::Pass) << "one before the next (RFC 9293 section 3.8.4)";
  EXPECT_EQ(send(server, ack, 1, 1), TrackAction::Pass);
}

TEST_F(TcpWindow, ZeroWindowMayBeProbed) {
  handshake();
  EXPECT_EQ(send(server, ack, 1, 1, 0, 0), TrackAction::Pass);
  EXPECT_EQ(send(client, ack, 1, 1, 1), TrackAction::Pass);
}

// The short cut decides and learns exactly as the check does, or leaves the segment to it.
TEST(TcpWindowShortCut, AgreesWithTheCheck) {
  std::mt19937 random(20261121);
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  unsigned fitted = 0;
  unsigned declined = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::array<TcpEnd, 2> ends{};
    const uint32_t base = random();
    for (TcpEnd& end : ends) {
      end.scale = below(8) & 0xf;
      end.scales = below(8) != 0;
      end.sacks = below(2) & 1;
      end.end = base + below(100'000);
      end.limit = base + below(200'000);
      end.offer(1 + below(3) * below(100'000));
      end.acknowledge(base + below(100'000));
    }
    ASSERT_TRUE(TcpWindows(ends[0], ends[1]).settle());
    std::vector<uint8_t> tcp(20, 0);
    TcpSegment segment;
    segment.flags = ack;
    segment.seq = base + below(250'000) - 20'000;
    segment.ack = base + below(120'000) - 10'000;
    segment.window = static_cast<uint16_t>(below(4) == 0 ? 0 : random());
    segment.length = below(2) * below(9000);
    if (below(2) != 0) {
      tcp.insert(tcp.end(), {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8});
      segment.options = tcp.data() + 20;
      segment.options_length = 12;
    }
    tcp[12] = static_cast<uint8_t>(tcp.size() / 4 << 4);
    tcp[13] = ack;
    net::store(tcp.data() + 4, net::be32::from_host(segment.seq).wire());
    net::store(tcp.data() + 8, net::be32::from_host(segment.ack).wire());
    net::store(tcp.data() + 14, be16::from_host(segment.window).wire());
    const auto direction = static_cast<Direction>(below(2));
    std::array<TcpEnd, 2> by_check = ends;
    std::array<TcpEnd, 2> by_short_cut = ends;
    const WindowVerdict verdict = check_window({by_check[0], by_check[1]}, direction, segment, false);
    const auto from = static_cast<size_t>(direction);
    const bool advanced = advance_window(by_short_cut[from], by_short_cut[1 - from], tcp.data(),
                                         static_cast<uint32_t>(tcp.size()) + segment.length);
    ASSERT_EQ(advanced, verdict == WindowVerdict::Fits) << "round " << round;
    const std::array<TcpEnd, 2>& expected = advanced ? by_check : ends;
    ASSERT_EQ(std::memcmp(&by_short_cut, &expected, sizeof expected), 0) << "round " << round;
    ++(advanced ? fitted : declined);
  }
  EXPECT_GT(fitted, 20'000U);
  EXPECT_GT(declined, 50'000U);
}

// CT-10 once more, in 64 bits and with nothing but the rule's words, for a whole conversation.
TEST(TcpWindowModel, RandomConversations) {
  std::mt19937 random(7);
  const auto below = [&](uint32_t limit) { return static_cast<int64_t>(random() % limit); };
  unsigned verdicts[3] = {};
  for (int conversation = 0; conversation < 300; ++conversation) {
    struct End {
      int64_t end, max_end, max_window;
    };
    const uint32_t isn[2] = {static_cast<uint32_t>(random()), static_cast<uint32_t>(random())};
    End model[2] = {};
    TcpEnd ends[2] = {};
    const TcpWindows windows(ends[0], ends[1]);
    const auto window = [&] { return static_cast<uint16_t>(256 * (4 + below(240))); };
    const uint16_t first = window();
    const uint16_t second = window();
    ASSERT_EQ(check_window(windows, client, {syn, isn[0], 0, 0, first}, true), WindowVerdict::Fits);
    ASSERT_EQ(check_window(windows, server, {syn | ack, isn[1], isn[0] + 1, 0, second}, true), WindowVerdict::Fits);
    model[0] = {1, 1 + second, first};
    model[1] = {1, 1, second};
    for (int i = 0; i < 400; ++i) {
      const auto direction = static_cast<Direction>(below(2));
      End& sender = model[static_cast<int>(direction)];
      End& receiver = model[1 - static_cast<int>(direction)];
      const bool wild = below(5) == 0;
      const int64_t seq = std::max<int64_t>(0, wild ? sender.end + below(200'000) - 100'000 : sender.end - below(3000));
      const int64_t number =
          std::max<int64_t>(0, wild ? receiver.end + below(160'000) - 150'000 : receiver.end - below(2000));
      const int64_t length = below(1461);
      const uint16_t offered = window();
      WindowVerdict expected = WindowVerdict::Fits;
      if (seq > sender.max_end) {
        expected = WindowVerdict::Invalid;
      } else if (seq + length < sender.end - receiver.max_window) {
        expected = WindowVerdict::Outside;
      } else if (number > receiver.end) {
        expected = WindowVerdict::Invalid;
      } else if (number < receiver.end - std::max<int64_t>(66'000, sender.max_window)) {
        expected = WindowVerdict::Outside;
      }
      if (expected == WindowVerdict::Fits) {
        if (seq + length > sender.max_end) {
          receiver.max_window = (receiver.max_window + seq + length - sender.max_end + 255) / 256 * 256;
        }
        sender.max_window = std::max<int64_t>(sender.max_window, offered);
        sender.end = std::max(sender.end, seq + length);
        receiver.max_end = std::max(receiver.max_end, number + offered);
      }
      const TcpSegment segment{ack, static_cast<uint32_t>(seq) + isn[static_cast<int>(direction)],
                               static_cast<uint32_t>(number) + isn[1 - static_cast<int>(direction)],
                               static_cast<uint32_t>(length), offered};
      ASSERT_EQ(check_window(windows, direction, segment, false), expected) << conversation << "/" << i;
      ++verdicts[static_cast<int>(expected)];
    }
  }
  for (const unsigned count : verdicts) EXPECT_GT(count, 1000U);
}

}  // namespace
}  // namespace sluice::nat
