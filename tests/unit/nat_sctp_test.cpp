// What a packet says about an SCTP association, and what the association is after it.
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/net/headers.h"
#include "nat/sctp.h"

namespace sluice::nat {
namespace {

constexpr auto original = Direction::Original;
constexpr auto reply = Direction::Reply;

// The common header with `tag` and chunks of these types and data lengths.
std::vector<uint8_t> packet(std::initializer_list<std::pair<uint8_t, uint16_t>> chunks, uint32_t tag = 0x01020304) {
  std::vector<uint8_t> bytes{0x0b, 0x59, 0x32, 0x69, 0, 0, 0, 0, 1, 2, 3, 4};
  for (int i = 0; i < 4; ++i) bytes[static_cast<size_t>(4 + i)] = static_cast<uint8_t>(tag >> (24 - 8 * i));
  for (const auto& [type, length] : chunks) {
    const auto whole = static_cast<uint16_t>(4 + length);
    bytes.insert(bytes.end(), {type, 0, static_cast<uint8_t>(whole >> 8), static_cast<uint8_t>(whole)});
    bytes.resize(bytes.size() + (length + 3U) / 4 * 4, 0x06);  // what would be an ABORT if it were a type
  }
  return bytes;
}

SctpChunk chunk_of(const std::vector<uint8_t>& bytes) {
  return sctp_chunk(bytes.data(), static_cast<uint16_t>(bytes.size()));
}

constexpr uint8_t data = 0;
constexpr uint8_t sack = 3;
constexpr uint8_t heartbeat = 4;
constexpr uint8_t error = 9;
constexpr uint8_t asconf = 0xc1;

TEST(SctpChunk, SVC92_TypesOfRfc9260) {
  EXPECT_EQ(chunk_of(packet({{1, 16}}, 0)), SctpChunk::Init);
  EXPECT_EQ(chunk_of(packet({{2, 16}})), SctpChunk::InitAck);
  EXPECT_EQ(chunk_of(packet({{6, 0}})), SctpChunk::Abort);
  EXPECT_EQ(chunk_of(packet({{7, 4}})), SctpChunk::Shutdown);
  EXPECT_EQ(chunk_of(packet({{8, 0}})), SctpChunk::ShutdownAck);
  EXPECT_EQ(chunk_of(packet({{10, 33}})), SctpChunk::CookieEcho);
  EXPECT_EQ(chunk_of(packet({{11, 0}})), SctpChunk::CookieAck);
  EXPECT_EQ(chunk_of(packet({{14, 0}})), SctpChunk::ShutdownComplete);
  for (const uint8_t type : {data, sack, heartbeat, error, asconf})
    EXPECT_EQ(chunk_of(packet({{type, 20}})), SctpChunk::Other);
}

TEST(SctpChunk, SVC92_AnInitHasNoTag) { EXPECT_EQ(chunk_of(packet({{1, 16}}, 7)), SctpChunk::Other); }

TEST(SctpChunk, CT1_BundledBehindOthers) {
  EXPECT_EQ(chunk_of(packet({{sack, 12}, {7, 4}})), SctpChunk::Shutdown);
  EXPECT_EQ(chunk_of(packet({{error, 5}, {sack, 13}, {6, 0}})), SctpChunk::Abort) << "padded to words";
  EXPECT_EQ(chunk_of(packet({{10, 33}, {data, 100}})), SctpChunk::CookieEcho);
  EXPECT_EQ(chunk_of(packet({{data, 100}, {6, 0}})), SctpChunk::Other) << "RFC 9260 section 6.10: DATA comes last";
}

TEST(SctpChunk, CT1_WhatIsCutOrWrong) {
  std::vector<uint8_t> bytes = packet({{6, 0}});
  for (size_t length = 12; length < 16; ++length)
    EXPECT_EQ(sctp_chunk(bytes.data(), static_cast<uint16_t>(length)), SctpChunk::Other);
  bytes = packet({{sack, 12}, {6, 0}});
  for (const uint8_t size : std::initializer_list<uint8_t>{0, 3, 255}) {
    bytes[15] = size;
    EXPECT_EQ(chunk_of(bytes), SctpChunk::Other) << +size;
  }
}

Connection connection() {
  Connection made;
  made.protocol = net::protocol::sctp;
  return made;
}

TEST(SctpState, CT9_AssuredWhenBothEndsAreThere) {
  Connection association = connection();
  EXPECT_TRUE(step_sctp(association, original, SctpChunk::Init));
  EXPECT_TRUE(step_sctp(association, reply, SctpChunk::InitAck));
  EXPECT_TRUE(step_sctp(association, original, SctpChunk::CookieEcho));
  EXPECT_EQ(sctp_state(association), SctpState::CookieEchoed);
  EXPECT_EQ(association.flags & connection_flag::assured, 0);
  EXPECT_TRUE(step_sctp(association, reply, SctpChunk::CookieAck));
  EXPECT_EQ(sctp_state(association), SctpState::Established);
  EXPECT_EQ(association.flags & connection_flag::assured, connection_flag::assured);
}

// RFC 9260 section 5.2: what comes twice, late or from an end that began again does not set an association back.
TEST(SctpState, CT1_NothingSetsAnOpenAssociationBack) {
  Connection association = connection();
  for (const SctpChunk chunk : {SctpChunk::Init, SctpChunk::CookieEcho})
    EXPECT_TRUE(step_sctp(association, original, chunk));
  EXPECT_TRUE(step_sctp(association, reply, SctpChunk::CookieAck));
  for (const Direction direction : {original, reply}) {
    for (const SctpChunk chunk :
         {SctpChunk::Init, SctpChunk::InitAck, SctpChunk::CookieEcho, SctpChunk::CookieAck, SctpChunk::Other}) {
      EXPECT_TRUE(step_sctp(association, direction, chunk));
      EXPECT_EQ(sctp_state(association), SctpState::Established);
    }
  }
}

// Each state with the client's INIT: another association, or the same.
TEST(SctpState, SVC92_AnInitBeginsAnotherWhereOneEnds) {
  for (size_t state = 0; state < sctp_state_count; ++state) {
    const auto before = static_cast<SctpState>(state);
    const bool ends = before == SctpState::ShutdownSent || before == SctpState::ShutdownReceived ||
                      before == SctpState::ShutdownAckSent || before == SctpState::Closed;
    for (const Direction direction : {original, reply}) {
      Connection association = connection();
      association.last_tcp_event = static_cast<uint8_t>(state);
      EXPECT_EQ(step_sctp(association, direction, SctpChunk::Init), !ends || direction == reply) << state;
    }
  }
}

// Direct server return: only the client is seen.
TEST(SctpState, CT1_OneWay) {
  Connection association = connection();
  association.flags = connection_flag::one_way;
  EXPECT_TRUE(step_sctp(association, original, SctpChunk::Init));
  EXPECT_EQ(sctp_state(association), SctpState::CookieWait);
  EXPECT_TRUE(step_sctp(association, original, SctpChunk::CookieEcho));
  EXPECT_EQ(sctp_state(association), SctpState::Established);
  EXPECT_EQ(association.flags, connection_flag::one_way) << "CT-9: nobody has answered here";
  association = connection();
  association.flags = connection_flag::one_way;
  EXPECT_TRUE(step_sctp(association, original, SctpChunk::Other));
  EXPECT_EQ(sctp_state(association), SctpState::PickedUp);
  EXPECT_TRUE(step_sctp(association, original, SctpChunk::Other));
  EXPECT_EQ(sctp_state(association), SctpState::Established);
}

}  // namespace
}  // namespace sluice::nat
