// A pod on memif (dataplane/memif_link.h): pod 0 of the rig, which is moved from its packet socket to shared memory.
// Its worker reads what a pod wrote, whatever that is.
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/packet/memif_peer.h"
#include "tests/packet/pod_rig.h"

namespace sluice::packet_test {
namespace {

using testing::HasSubstr;

constexpr uint16_t port = dataplane::first_pod_port;

class Memif : public testing::TestWithParam<uint16_t> {
 protected:
  void SetUp() override { connect(std::make_unique<MemifPeer>()); }
  void TearDown() override {
    // No worker may hold the link any more.
    rig_.republish([](dataplane::Snapshot& next) { leave(next); }, 1);
  }
  static void leave(dataplane::Snapshot& next) {
    next.ports[port].present = false;
    next.ports[port].memif = nullptr;
    for (dataplane::WorkerPorts& worker : next.workers)
      std::erase_if(worker.receive, [](const auto& queue) { return queue.port == port; });
  }
  // The last worker receives, the first one sends: as PodPorts does it, and different ones where there are two.
  void connect(std::unique_ptr<MemifPeer> peer) {
    auto link = peer->link();
    ASSERT_NE(link, nullptr);
    const auto change = [&](dataplane::Snapshot& next) {
      leave(next);
      dataplane::PortView& view = next.ports[port];
      view.present = true;
      view.kernel_index = 0;
      view.memif = link.get();
      view.tx_queues = 1;
      next.workers[GetParam() - 1U].receive.push_back({port, 0});
    };
    rig_.republish(change, 1);
    peer_ = std::move(peer);
    link_ = std::move(link);
  }
  std::string from_memif(const Ip& packet) {
    EXPECT_TRUE(peer_->put(PodRig::frame_of(0, packet)));
    const std::vector<Got> got = rig_.run();
    return got.empty() ? "" : rig_.only(got).text;
  }
  std::vector<std::string> at_memif() {
    std::vector<std::string> out;
    for (const auto& frame : peer_->take()) out.push_back(view("memif", frame).text);
    return out;
  }
  std::vector<std::string> to_memif(const Ip& packet) {
    rig_.put(1, PodRig::frame_of(1, packet));
    (void)rig_.run();
    return at_memif();
  }

  PodRig rig_{GetParam()};
  std::unique_ptr<MemifPeer> peer_;
  std::unique_ptr<dataplane::MemifLink> link_;
};

TEST_P(Memif, PacketsComeAndGo) {
  const auto before = rig_.counters(0);
  EXPECT_EQ(from_memif(udp("10.244.0.5:7", "10.244.0.6:9")), "pod/51 udp 10.244.0.5:7>10.244.0.6:9 ttl 63");
  EXPECT_THAT(to_memif(udp("10.244.0.6:9", "10.244.0.5:7")),
              testing::ElementsAre("memif/50 udp 10.244.0.6:9>10.244.0.5:7 ttl 63"));
  EXPECT_THAT(to_memif(udp("[fd00:10:246:1::6]:9", "[fd00:10:246:1::5]:7")),
              testing::ElementsAre("memif/50 udp [fd00:10:246:1::6]:9>[fd00:10:246:1::5]:7 ttl 63"));
  EXPECT_EQ(rig_.counters(0).rx_packets, before.rx_packets + 1);
  EXPECT_EQ(rig_.counters(0).tx_packets, before.tx_packets + 2);
}

TEST_P(Memif, ARP1_TheGatewayAnswers) {
  ASSERT_TRUE(peer_->put(arp(1, PodRig::mac_of(0), "10.244.0.5", "169.254.1.1")));
  (void)rig_.run();
  EXPECT_THAT(at_memif(), testing::ElementsAre("memif/50 arp reply 169.254.1.1 is ee:ee:ee:ee:ee:ee to 10.244.0.5"));
}

TEST_P(Memif, SPOOF1_ForeignSources) {
  EXPECT_EQ(from_memif(udp("10.244.0.77:7", "10.244.0.6:9")), "");
  EXPECT_THAT(rig_.rig().drops(), HasSubstr("spoofed_source 1"));
}

TEST_P(Memif, ManyMoreThanTheRingHolds) {
  for (unsigned round = 0; round < 40; ++round) {
    unsigned sent = 0;
    while (peer_->put(PodRig::frame_of(0, udp("10.244.0.5:7", "10.244.0.6:9")))) ++sent;
    EXPECT_EQ(sent, peer_->slots());
    size_t arrived = 0;
    for (unsigned turn = 0; turn < 8; ++turn) arrived += rig_.run().size();
    EXPECT_EQ(arrived, sent);
    for (unsigned i = 0; i < sent; ++i) rig_.put(1, PodRig::frame_of(1, udp("10.244.0.6:9", "10.244.0.5:7")));
    for (unsigned turn = 0; turn < 8; ++turn) (void)rig_.run();
    EXPECT_EQ(peer_->take().size(), sent);
  }
}

TEST_P(Memif, WhatFindsNoRoomIsDropped) {
  const auto packets = static_cast<size_t>(peer_->slots()) + 5;
  for (size_t i = 0; i < packets; ++i) rig_.put(1, PodRig::frame_of(1, udp("10.244.0.6:9", "10.244.0.5:7")));
  for (unsigned turn = 0; turn < 8; ++turn) (void)rig_.run();
  EXPECT_EQ(peer_->take().size(), peer_->slots());
  EXPECT_THAT(rig_.rig().drops(), HasSubstr("transmit_full 5"));
  EXPECT_EQ(to_memif(udp("10.244.0.6:9", "10.244.0.5:7")).size(), 1U);
}

TEST_P(Memif, FramesInSeveralBuffers) {
  connect(std::make_unique<MemifPeer>(uint8_t{6}, 200));
  EXPECT_EQ(from_memif(udp("10.244.0.5:7", "10.244.0.6:9").with_payload(1400)),
            "pod/51 udp 10.244.0.5:7>10.244.0.6:9 ttl 63");
  rig_.put(1, PodRig::frame_of(1, udp("10.244.0.6:9", "10.244.0.5:7").with_payload(1400)));
  (void)rig_.run();
  const auto frames = peer_->take();
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].size(), 14U + 20 + 8 + 1400);
  EXPECT_EQ(view("memif", frames[0]).ip.payload, udp("10.244.0.6:9", "10.244.0.5:7").with_payload(1400).payload);
}

TEST_P(Memif, AFrameWhoseRestIsStillToCome) {
  connect(std::make_unique<MemifPeer>(uint8_t{6}, 200));
  const auto frame = PodRig::frame_of(0, udp("10.244.0.5:7", "10.244.0.6:9").with_payload(500));
  ASSERT_TRUE(peer_->put(frame));
  const uint16_t whole = peer_->head(true);
  peer_->set_head(true, static_cast<uint16_t>(whole - 1));
  EXPECT_TRUE(rig_.run().empty());
  peer_->set_head(true, whole);
  EXPECT_EQ(rig_.run().size(), 1U);
}

TEST_P(Memif, FramesWithoutEnd) {
  connect(std::make_unique<MemifPeer>(uint8_t{6}, 200));
  for (uint16_t i = 0; i < peer_->slots(); ++i) {
    peer_->slot(true, i).flags = MemifPeer::next_flag;
    peer_->slot(true, i).length = 10;
  }
  peer_->set_head(true, peer_->slots());
  for (unsigned turn = 0; turn < 4; ++turn) EXPECT_TRUE(rig_.run().empty());
  EXPECT_EQ(peer_->tail(true), peer_->slots()) << "they are read, and no more is thought of them";
  EXPECT_THAT(rig_.rig().drops(), HasSubstr("offload_malformed 4"));
  EXPECT_FALSE(link_->is_broken());
}

// A super-frame of a pod's kernel is cut before it goes to a pod on memif.
TEST_P(Memif, SuperFramesArriveInPackets) {
  rig_.republish(
      [&](dataplane::Snapshot& next) {
        leave(next);
        next.ports[port].present = true;
        next.ports[port].kernel_index = 101;
        next.ports[port].tx_queues = GetParam();
      },
      1);
  PodConnection connection = rig_.connect("10.244.0.5:1000", "10.244.0.6:8080", 1);
  connect(std::make_unique<MemifPeer>());
  for (unsigned round = 0; round < 3; ++round) {  // the first resolves the route again
    Bytes frame = PodRig::frame_of(1, PodRig::data(connection, 1, 4000));
    const dataplane::VnetHeader about = leave_unfinished(frame, 1000);
    rig_.put(1, frame, about);
    for (unsigned turn = 0; turn < 4; ++turn) (void)rig_.run();
    const auto frames = peer_->take();
    ASSERT_EQ(frames.size(), 4U) << rig_.rig().drops();
    for (const auto& one : frames) EXPECT_EQ(view("memif", one).ip.payload.size(), 1000U);
    connection.sides[1].seq += 4000;
  }
}

TEST_P(Memif, NonsenseBreaksTheLinkAndNothingElse) {
  struct Case {
    const char* what;
    void (*write)(MemifPeer&);
  };
  static constexpr Case cases[] = {
      {"a head too far", [](MemifPeer& peer) { peer.set_head(true, static_cast<uint16_t>(peer.slots() + 1)); }},
      {"a head behind the tail", [](MemifPeer& peer) { peer.set_head(true, 0xffff); }},
      {"a region that is none",
       [](MemifPeer& peer) {
         peer.slot(true, 0).region = 1;
         peer.set_head(true, 1);
       }},
      {"a place outside",
       [](MemifPeer& peer) {
         peer.slot(true, 0).offset = static_cast<uint32_t>(peer.size());
         peer.slot(true, 0).length = 1;
         peer.set_head(true, 1);
       }},
      {"a length that wraps",
       [](MemifPeer& peer) {
         peer.slot(true, 0).offset = 0xffffff00;
         peer.slot(true, 0).length = 0x200;
         peer.set_head(true, 1);
       }},
      {"room that is not there", [](MemifPeer& peer) { peer.set_head(false, 0x8000); }},
      {"room outside", [](MemifPeer& peer) { peer.slot(false, 0).offset = 0xfffffff0; }},
  };
  for (const Case& one : cases) {
    connect(std::make_unique<MemifPeer>());
    one.write(*peer_);
    rig_.put(1, PodRig::frame_of(1, udp("10.244.0.6:9", "10.244.0.5:7")));
    for (unsigned turn = 0; turn < 4; ++turn) EXPECT_TRUE(rig_.run().empty()) << one.what;
    EXPECT_TRUE(link_->is_broken()) << one.what;
    (void)peer_->put(PodRig::frame_of(0, udp("10.244.0.5:7", "10.244.0.6:9")));
    EXPECT_TRUE(rig_.run().empty()) << one.what;
  }
}

TEST_P(Memif, RandomBytesInTheSharedMemory) {
  std::mt19937 random(7);
  const auto byte = [&] { return static_cast<uint8_t>(random()); };
  const unsigned buffers = rig_.rig().plane().mbufs_in_use();
  for (unsigned round = 0; round < 400; ++round) {
    if (round % 4 == 0) connect(std::make_unique<MemifPeer>(uint8_t{5}, 256));
    for (unsigned i = 0; i < 40; ++i) {
      const bool to_router = (random() & 1) != 0;
      auto* const slot =
          reinterpret_cast<uint8_t*>(&peer_->slot(to_router, static_cast<uint16_t>(random() % peer_->slots())));
      switch (random() % 4) {
        case 0:
          slot[random() % sizeof(MemifPeer::Slot)] = byte();
          break;
        case 1:
          slot[random() % 2] = byte();
          break;
        case 2:
          slot[4] = byte();
          break;
        default:
          peer_->memory()[random() % peer_->size()] = byte();
      }
    }
    peer_->set_head(true, static_cast<uint16_t>(peer_->tail(true) + random() % (peer_->slots() + 2U)));
    rig_.put(1, PodRig::frame_of(1, udp("10.244.0.6:9", "10.244.0.5:7").with_payload(random() % 1400)));
    for (unsigned turn = 0; turn < 3; ++turn) (void)rig_.run();
    peer_->set_head(false, static_cast<uint16_t>(peer_->tail(false) + random() % (peer_->slots() + 1U)));
  }
  for (unsigned turn = 0; turn < 8; ++turn) (void)rig_.run();
  EXPECT_LE(rig_.rig().plane().mbufs_in_use(), buffers + 64) << "what waits for a neighbour";
}

TEST(MemifLink, RingsThatAreNone) {
  const auto message = [](const dataplane::MemifPlace& to_router, const MemifPeer& peer) {
    auto link = dataplane::MemifLink::open(peer.map(), to_router, peer.place(false));
    return link ? "" : link.error().message;
  };
  MemifPeer peer;
  EXPECT_EQ(message(peer.place(true), peer), "");
  EXPECT_EQ(message({0, 0, 15}, peer), "a ring of 2^15 slots, where 2^14 are the most");
  EXPECT_EQ(message({1, 0, 6}, peer), "a ring lies outside of its region");
  EXPECT_EQ(message({0, static_cast<uint32_t>(peer.size() - 100), 6}, peer), "a ring lies outside of its region");
  EXPECT_EQ(message({0, 4096, 14}, peer), "a ring lies outside of its region");
  EXPECT_EQ(message({0, 3, 6}, peer), "a ring is not aligned");
  EXPECT_EQ(message({0, 128, 6}, peer), "a ring without its cookie");
}

INSTANTIATE_TEST_SUITE_P(Workers, Memif, testing::Values(1, 2));

}  // namespace
}  // namespace sluice::packet_test
