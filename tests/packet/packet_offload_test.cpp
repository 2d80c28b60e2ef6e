// What pods leave to their network card: segments are cut and checksums finished on the way in, and packets are merged
// on the way out. DPDK's functions say whether checksums are right.
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/offload.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

using dataplane::Merger;
using dataplane::Segmenter;
using dataplane::VnetHeader;
using net::DropReason;
using testing::ElementsAre;
using Lines = std::vector<std::string>;

constexpr uint16_t l3 = 14;
constexpr uint8_t fin = 1, push = 8, ack = 0x10, cwr = 0x80;

class Offload : public testing::Test {
 protected:
  Rig rig_;

  [[nodiscard]] rte_mempool* pool() { return rig_.plane().pool(); }
  static Bytes frame_of(const Ip& packet) { return ethernet(mac(1), mac(2), packet.bytes()); }
  static Bytes bytes_of(const rte_mbuf* mbuf) {
    Bytes out;
    for (; mbuf != nullptr; mbuf = mbuf->next) {
      const auto* const data = rte_pktmbuf_mtod(mbuf, const uint8_t*);
      out.insert(out.end(), data, data + mbuf->data_len);
    }
    return out;
  }
  // All packets of a frame. What they look like is checked by view().
  std::vector<View> segments(const Bytes& frame, const VnetHeader& about) {
    std::vector<View> out;
    Segmenter segmenter;
    EXPECT_EQ(segmenter.begin(frame.data(), static_cast<uint32_t>(frame.size()), about), DropReason::None);
    while (!segmenter.done()) {
      rte_mbuf* const mbuf = segmenter.next(pool());
      if (mbuf == nullptr) break;
      EXPECT_NE(mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_GOOD, 0U);
      out.push_back(view("x", bytes_of(mbuf)));
      rte_pktmbuf_free(mbuf);
    }
    return out;
  }
  static DropReason refusal(const Bytes& frame, const VnetHeader& about) {
    return Segmenter().begin(frame.data(), static_cast<uint32_t>(frame.size()), about);
  }
  static Ip numbered(Ip packet, size_t size) {
    packet.payload.resize(size);
    for (size_t i = 0; i < size; ++i) packet.payload[i] = static_cast<uint8_t>(i * 7 + i / 251);
    return packet;
  }
  static VnetHeader gso(const Ip& packet, uint16_t size) {
    const bool v4 = packet.src.address.is_v4();
    VnetHeader about;
    about.flags = VnetHeader::needs_checksum;
    about.gso_size = size;
    about.checksum_start = static_cast<uint16_t>(l3 + (v4 ? 20 : 40));
    if (packet.protocol == net::protocol::udp) {
      about.gso_type = VnetHeader::gso_udp;
      about.checksum_offset = 6;
    } else {
      about.gso_type = v4 ? VnetHeader::gso_tcp_v4 : VnetHeader::gso_tcp_v6;
      about.checksum_offset = 16;
    }
    return about;
  }
  // As the kernel leaves it: the field holds the sum of the pseudo header.
  static void begin_checksum(Bytes& frame, const VnetHeader& about, uint8_t protocol) {
    const bool v4 = frame[12] == 0x08;
    uint32_t sum = protocol + static_cast<uint32_t>(frame.size() - about.checksum_start);
    for (size_t at = v4 ? l3 + 12U : l3 + 8U; at < l3 + (v4 ? 20U : 40U); at += 2)
      sum += frame[at] * 256U + frame[at + 1];
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    const size_t field = about.checksum_start + about.checksum_offset;
    frame[field] = static_cast<uint8_t>(sum >> 8);
    frame[field + 1] = static_cast<uint8_t>(sum);
  }
};

TEST_F(Offload, CSUM_ABegunChecksumIsFinished) {
  for (const Ip& packet :
       {numbered(tcp("10.244.0.5:1000", "10.244.0.6:80", "PA"), 333),
        numbered(udp("10.244.0.5:1000", "10.244.0.6:53"), 334), numbered(tcp("[fd00::5]:1000", "[fd00::6]:80", "S"), 0),
        numbered(udp("[fd00::5]:1000", "[fd00::6]:53"), 1)}) {
    Bytes frame = frame_of(packet);
    VnetHeader about = gso(packet, 0);
    about.gso_type = VnetHeader::no_gso;
    begin_checksum(frame, about, packet.protocol);
    const std::vector<View> out = segments(frame, about);
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(out[0].l3, packet.bytes());
  }
}

// view() checks the CRC with DPDK's function over the whole packet, zeroed field and all.
TEST_F(Offload, CSUM_TheCrcOfSctpIsComputed) {
  for (const size_t size : {0, 1, 7, 8, 500, 1399, 9000}) {
    for (const bool v4 : {true, false}) {
      const Ip packet =
          numbered(v4 ? sctp("10.244.0.5:1000", "10.244.0.6:80", 0) : sctp("[fd00::5]:1", "[fd00::6]:2", 0), size);
      Bytes frame = frame_of(packet);
      VnetHeader about;
      about.flags = VnetHeader::needs_checksum;
      about.checksum_start = v4 ? l3 + 20 : l3 + 40;
      about.checksum_offset = 8;
      for (size_t i = 0; i < 4; ++i) frame[about.checksum_start + 8U + i] = 0x5a;
      const std::vector<View> out = segments(frame, about);
      ASSERT_EQ(out.size(), 1U);
      EXPECT_EQ(out[0].l3, packet.bytes());
    }
  }
}

// VXLAN and IPIP that a pod makes itself: the kernel points at the checksum of the inner packet.
TEST_F(Offload, CSUM_InsideATunnelOfThePod) {
  const Ip inner = numbered(tcp("10.0.0.5:1000", "10.0.0.6:80", "PA"), 2000);
  Ip outer = udp("10.244.0.5:1000", "10.244.0.6:4789");
  outer.payload = Bytes(8);
  const Bytes inner_frame = frame_of(inner);
  outer.payload.insert(outer.payload.end(), inner_frame.begin(), inner_frame.end());
  Bytes frame = frame_of(outer);
  VnetHeader about = gso(inner, 1000);
  about.checksum_start = static_cast<uint16_t>(about.checksum_start + l3 + 20 + 8 + 8);
  EXPECT_EQ(refusal(frame, about), DropReason::OffloadMalformed);
  about.gso_type = VnetHeader::no_gso;
  const Bytes whole = frame;
  // The sum of the pseudo header, of the inner packet.
  Bytes begun = inner_frame;
  begin_checksum(begun, gso(inner, 0), net::protocol::tcp);
  std::copy(begun.begin(), begun.end(), frame.end() - static_cast<std::ptrdiff_t>(begun.size()));
  Segmenter segmenter;
  ASSERT_EQ(segmenter.begin(frame.data(), static_cast<uint32_t>(frame.size()), about), DropReason::None);
  rte_mbuf* const mbuf = segmenter.next(pool());
  ASSERT_NE(mbuf, nullptr);
  EXPECT_EQ(bytes_of(mbuf), whole);
  EXPECT_EQ(mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, 0U) << "the outer one has not been looked at";
  rte_pktmbuf_free(mbuf);
}

TEST_F(Offload, CSUM_AFinishedFrameStaysAsItIs) {
  Segmenter segmenter;
  const Bytes frame = frame_of(numbered(udp("10.244.0.5:1000", "10.244.0.6:53"), 100));
  ASSERT_EQ(segmenter.begin(frame.data(), static_cast<uint32_t>(frame.size()), {}), DropReason::None);
  rte_mbuf* const mbuf = segmenter.next(pool());
  ASSERT_NE(mbuf, nullptr);
  EXPECT_TRUE(segmenter.done());
  EXPECT_EQ(bytes_of(mbuf), frame);
  EXPECT_EQ(mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, 0U) << "nobody has looked at it";
  rte_pktmbuf_free(mbuf);
}

TEST_F(Offload, MTU_TcpSegmentsCarryTheWholeStream) {
  for (const bool v4 : {true, false}) {
    Ip packet =
        numbered(v4 ? tcp("10.244.0.5:1000", "10.244.0.6:80", "PA") : tcp("[fd00::5]:1000", "[fd00::6]:80", "PA"),
                 1448 * 3 + 101);
    packet.flags |= fin | cwr;
    packet.seq = 0xfffff000;  // wraps around
    packet.id = 0xffff;
    const std::vector<View> out = segments(frame_of(packet), gso(packet, 1448));
    ASSERT_EQ(out.size(), 4U);
    Bytes stream;
    for (size_t i = 0; i < out.size(); ++i) {
      EXPECT_EQ(out[i].ip.seq, packet.seq + static_cast<uint32_t>(stream.size()));
      EXPECT_EQ(out[i].ip.flags & (fin | push), i == 3 ? fin | push : 0) << i;
      EXPECT_EQ(out[i].ip.flags & cwr, i == 0 ? cwr : 0) << i;
      EXPECT_NE(out[i].ip.flags & ack, 0) << i;
      if (v4) {
        EXPECT_EQ(out[i].ip.id, static_cast<uint16_t>(packet.id + i));
      }
      stream.insert(stream.end(), out[i].ip.payload.begin(), out[i].ip.payload.end());
    }
    EXPECT_EQ(stream, packet.payload);
  }
}

TEST_F(Offload, MTU_UdpSegments) {
  const Ip packet = numbered(udp("10.244.0.5:1000", "10.244.0.6:53"), 2500);
  const std::vector<View> out = segments(frame_of(packet), gso(packet, 1200));
  ASSERT_EQ(out.size(), 3U);
  EXPECT_EQ(out[0].ip.payload.size(), 1200U);
  EXPECT_EQ(out[2].ip.payload.size(), 100U);
  EXPECT_EQ(out[2].ip.payload, Bytes(packet.payload.begin() + 2400, packet.payload.end()));
}

// What lies about its own frame is refused, and never read beyond its end.
TEST_F(Offload, CSUM_DescriptionsThatDoNotFitTheFrame) {
  const Ip packet = numbered(tcp("10.244.0.5:1000", "10.244.0.6:80", "A"), 3000);
  const Bytes frame = frame_of(packet);
  const auto changed = [&](auto change) {
    VnetHeader about = gso(packet, 1448);
    change(about);
    return refusal(frame, about);
  };
  ASSERT_EQ(changed([](VnetHeader&) {}), DropReason::None);
  EXPECT_EQ(changed([](VnetHeader& about) { about.flags = 0; }), DropReason::OffloadMalformed);
  EXPECT_EQ(changed([](VnetHeader& about) { about.gso_size = 0; }), DropReason::OffloadMalformed);
  EXPECT_EQ(changed([](VnetHeader& about) { about.gso_type = VnetHeader::gso_tcp_v6; }), DropReason::OffloadMalformed);
  EXPECT_EQ(changed([](VnetHeader& about) { about.gso_size = 12; }), DropReason::None) << "250 packets";
  EXPECT_EQ(changed([](VnetHeader& about) { about.gso_size = 11; }), DropReason::OffloadMalformed) << "273 packets";
  EXPECT_EQ(changed([](VnetHeader& about) { about.checksum_start += 4; }), DropReason::OffloadMalformed)
      << "not where the IP header ends";
  EXPECT_EQ(changed([](VnetHeader& about) { about.gso_type = 3; }), DropReason::OffloadMalformed);
  EXPECT_EQ(changed([](VnetHeader& about) { about.checksum_start = 13; }), DropReason::OffloadMalformed);
  EXPECT_EQ(changed([](VnetHeader& about) { about.checksum_start = 20; }), DropReason::OffloadMalformed);
  EXPECT_EQ(changed([](VnetHeader& about) { about.checksum_start = 65535; }), DropReason::OffloadMalformed);
  EXPECT_EQ(changed([&](VnetHeader& about) { about.checksum_start = static_cast<uint16_t>(frame.size() - 18); }),
            DropReason::OffloadMalformed);
  EXPECT_EQ(changed([](VnetHeader& about) { about.checksum_offset = 65535; }), DropReason::OffloadMalformed);
  EXPECT_EQ(refusal(Bytes(13), {}), DropReason::EthernetTruncated);
}

// ---- merging -------------------------------------------------------------------------------------------

class Merge : public Offload {
 protected:
  void TearDown() override {
    for (rte_mbuf* mbuf : mbufs_) rte_pktmbuf_free(mbuf);
  }
  void add(const Bytes& frame, uint64_t flags = 0) {
    rte_mbuf* const mbuf = rte_pktmbuf_alloc(pool());
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
    mbuf->ol_flags |= flags;
    mbufs_.push_back(mbuf);
    ASSERT_TRUE(merger_.add(mbuf));
  }
  // "3 tcp A …": how many packets each message has.
  std::vector<uint16_t> sizes() {
    merger_.finish();
    std::vector<uint16_t> out;
    for (uint16_t i = 0; i < merger_.size(); ++i) out.push_back(merger_[i].frames);
    return out;
  }
  // The bytes of a message behind its description.
  Bytes bytes(uint16_t index) {
    Bytes out;
    for (uint16_t i = 1; i < merger_[index].count; ++i) {
      const iovec& part = merger_.iovecs(index)[i];
      const auto* const from = static_cast<const uint8_t*>(part.iov_base);
      out.insert(out.end(), from, from + part.iov_len);
    }
    return out;
  }
  static Ip segment(uint32_t seq, size_t size, const char* flags = "A") {
    Ip packet = numbered(tcp("10.244.0.5:1000", "10.244.0.6:80", flags), size);
    packet.df = true;
    packet.payload[0] = static_cast<uint8_t>(seq);
    return packet.with_seq(seq, 77);
  }

  Merger merger_;
  std::vector<rte_mbuf*> mbufs_;
};

// Segmenting what was merged gives what was merged.
TEST_F(Merge, MTU_PacketsInARowBecomeOneFrame) {
  for (const bool v4 : {true, false}) {
    merger_.clear();
    std::vector<Bytes> sent;
    for (uint32_t i = 0; i < 5; ++i) {
      Ip packet = segment(1000 + i * 1000, i == 4 ? 10 : 1000, i == 4 ? "PA" : "A");
      packet.id = static_cast<uint16_t>(packet.id + i);
      if (!v4) {
        packet.src = "[fd00::5]:1000";
        packet.dst = "[fd00::6]:80";
      }
      sent.push_back(frame_of(packet));
      add(sent.back());
    }
    ASSERT_THAT(sizes(), ElementsAre(5));
    const VnetHeader about = merger_[0].about;
    EXPECT_EQ(about.gso_size, 1000);
    EXPECT_EQ(about.header_length, v4 ? 54 : 74);
    const std::vector<View> again = segments(bytes(0), about);
    ASSERT_EQ(again.size(), 5U);
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(again[i].frame, sent[i]) << i;
  }
}

TEST_F(Merge, MTU_WhatDiffersStaysApart) {
  const auto second = [&](auto change) {
    merger_.clear();
    add(frame_of(segment(1000, 100)));
    Ip packet = segment(1100, 100);
    change(packet);
    add(frame_of(packet));
    return sizes().size();
  };
  ASSERT_EQ(second([](Ip&) {}), 1U);
  EXPECT_EQ(second([](Ip& packet) { packet.seq = 1101; }), 2U);
  EXPECT_EQ(second([](Ip& packet) { packet.ack = 78; }), 2U);
  EXPECT_EQ(second([](Ip& packet) { packet.tos = 3; }), 2U);
  EXPECT_EQ(second([](Ip& packet) { packet.ttl = 63; }), 2U);
  EXPECT_EQ(second([](Ip& packet) { packet.df = false; }), 2U);
  EXPECT_EQ(second([](Ip& packet) { packet.flags |= fin; }), 2U);
  EXPECT_EQ(second([](Ip& packet) { packet.src = "10.244.0.7:1000"; }), 2U);
  EXPECT_EQ(second([](Ip& packet) { packet.dst = "10.244.0.6:81"; }), 2U);
  EXPECT_EQ(second([](Ip& packet) { packet.payload.resize(101); }), 2U) << "longer than the first";
  EXPECT_EQ(second([](Ip& packet) { packet.payload.clear(); }), 2U) << "an acknowledgment";
}

TEST_F(Merge, MTU_PushAndAShortOneEndAFrame) {
  add(frame_of(segment(1000, 100)));
  add(frame_of(segment(1100, 100, "PA")));
  add(frame_of(segment(1200, 100)));
  add(frame_of(segment(1300, 50)));
  add(frame_of(segment(1350, 50)));
  EXPECT_THAT(sizes(), ElementsAre(2, 2, 1));
}

TEST_F(Merge, MTU_NoFrameIsLargerThanAnIpPacket) {
  for (uint32_t i = 0; i < 60; ++i) add(frame_of(segment(i * 1400, 1400)));
  const std::vector<uint16_t> out = sizes();
  ASSERT_EQ(out.size(), 2U);
  EXPECT_EQ(out[0] + out[1], 60);
  EXPECT_LE(bytes(0).size(), 65535U + l3);
}

// A damaged packet must not become right by being merged.
TEST_F(Merge, CSUM_ADamagedPacketIsLeftToTheReceiver) {
  const Bytes good = frame_of(segment(1000, 100));
  Bytes damaged = frame_of(segment(1100, 100));
  damaged.back() ^= 1;
  add(good);
  add(damaged);
  EXPECT_THAT(sizes(), ElementsAre(1, 1));
  EXPECT_EQ(bytes(1), damaged);
  merger_.clear();
  Bytes first = good;
  first.back() ^= 1;
  add(first);
  add(frame_of(segment(1100, 100)));
  EXPECT_THAT(sizes(), ElementsAre(1, 1)) << "the first as well";
}

TEST_F(Merge, CSUM_OtherFramesAreSentAsTheyAre) {
  const std::vector<Bytes> frames{frame_of(numbered(udp("10.244.0.5:1", "10.244.0.6:2"), 60)),
                                  frame_of(tcp("10.244.0.5:1", "10.244.0.6:2", "S")),
                                  arp(1, mac(2), "10.244.0.5", "10.244.0.6")};
  for (const Bytes& frame : frames) add(frame);
  ASSERT_THAT(sizes(), ElementsAre(1, 1, 1));
  for (uint16_t i = 0; i < 3; ++i) {
    EXPECT_EQ(bytes(i), frames[i]);
    EXPECT_EQ(merger_[i].about.flags, 0);
    EXPECT_EQ(merger_[i].about.gso_type, VnetHeader::no_gso);
  }
}

TEST_F(Merge, MTU_AFrameInManyBuffersIsSentWholeOrNotAtAll) {
  for (const uint16_t parts : {33, 40, 41}) {
    merger_.clear();
    rte_mbuf* const head = rte_pktmbuf_alloc(pool());
    mbufs_.push_back(head);
    for (uint16_t i = 0; i < parts; ++i) {
      rte_mbuf* const part = i == 0 ? head : rte_pktmbuf_alloc(pool());
      ASSERT_NE(part, nullptr);
      std::memset(rte_pktmbuf_append(part, 1500), i, 1500);
      ASSERT_TRUE(i == 0 || rte_pktmbuf_chain(head, part) == 0);
    }
    EXPECT_EQ(merger_.add(head), parts <= 40);
    merger_.finish();
    ASSERT_EQ(merger_.size(), parts <= 40 ? 1 : 0);
    EXPECT_TRUE(parts > 40 || bytes(0) == bytes_of(head));
  }
}

}  // namespace
}  // namespace sluice::packet_test
