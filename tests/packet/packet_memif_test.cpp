// A pod that shares its memory (memif) beside one with a veth pair: what a pod's link does (section 9), and that
// nothing the pod writes into its memory does harm.
#include <functional>
#include <memory>
#include <random>

#include <gtest/gtest.h>

#include "dataplane/pod_socket.h"
#include "tests/packet/memif_memory.h"
#include "tests/packet/pod_rig.h"

namespace sluice::packet_test {
namespace {

constexpr uint16_t request = 1;
constexpr int neighbour = 1;  // the pod with a veth pair
constexpr uint32_t interface = dataplane::first_memif_interface + 7;
constexpr uint16_t port = dataplane::first_pod_port;

class Memif : public testing::TestWithParam<uint16_t> {
 protected:
  void SetUp() override {
    rig_ = std::make_unique<PodRig>(GetParam());
    connect(2048);
  }
  void TearDown() override {
    if (rig_ != nullptr) share(nullptr);
    rig_.reset();
  }

  // Pod 0 has memory from now on, with buffers of so many bytes.
  void connect(uint32_t buffer) {
    memory_ = std::make_unique<MemifMemory>(buffer);
    auto link = std::make_shared<dataplane::MemifLink>();
    ASSERT_TRUE(link->add_region(memory_->descriptor(), memory_->size()));
    ASSERT_TRUE(link->open({MemifMemory::place(0)}, {MemifMemory::place(1)}));
    auto next = std::make_unique<dataplane::MemifPods>();
    next->receive.push_back({interface, 0, link});
    next->transmit.push_back({interface, 0, link});
    share(next.get());
    shared_ = std::move(next);
    rig_->republish(
        [](dataplane::Snapshot& snapshot) {
          snapshot.ports[port].kernel_index = interface;
          snapshot.ports[port].tx_queues = 1;
          std::erase_if(snapshot.pod_ports, [](const dataplane::PodPort& pod) { return pod.port == port; });
          snapshot.pod_ports.push_back({interface, port});
        },
        1);
  }
  void share(const dataplane::MemifPods* pods) {
    rig_->republish([&](dataplane::Snapshot& snapshot) { snapshot.workers[0].pods->share(pods); }, 1);
  }

  [[nodiscard]] Bytes from_pod(const Ip& packet) const { return PodRig::frame_of(0, packet); }
  // What the pod gets of what it sends.
  std::string ask(const Bytes& frame) {
    memory_->put(frame);
    (void)rig_->run();
    return next();
  }
  std::string next() {
    const Bytes frame = memory_->take();
    return frame.empty() ? "" : view("pod", frame).text;
  }
  std::string drops() { return rig_->rig().drops(); }

  std::unique_ptr<PodRig> rig_;
  std::unique_ptr<MemifMemory> memory_;
  std::unique_ptr<const dataplane::MemifPods> shared_;
};

TEST_P(Memif, ARP1_ARP3_TheGatewayAnswers) {
  EXPECT_EQ(ask(arp(request, mac(0x50), "10.244.0.5", "169.254.1.1")),
            "pod/50 arp reply 169.254.1.1 is ee:ee:ee:ee:ee:ee to 10.244.0.5");
  EXPECT_EQ(ask(arp(request, mac(0x50), "0.0.0.0", "10.244.0.5")), "");
  EXPECT_EQ(drops(), "arp_not_for_us 1");
  const char* const gateway = "fe80::ecee:eeff:feee:eeee";
  const net::MacAddr group = net::MacAddr::for_multicast(Endpoint(gateway).address.v6().solicited_node());
  EXPECT_TRUE(like(ask(ethernet(group, mac(0x50), nd_solicit("fd00:10:246:1::5", gateway, mac(0x50)))),
                   "pod/50 nd advert fe80::ecee:eeff:feee:eeee*"));
}

TEST_P(Memif, ARP2_PacketsGoBothWaysBesideAPodWithAVethPair) {
  for (int round = 0; round < 3 * MemifMemory::ring_size; ++round) {
    memory_->put(from_pod(udp("10.244.0.5:1000", "10.244.0.6:53")));
    ASSERT_EQ(rig_->only(rig_->run()).text, "pod/51 udp 10.244.0.5:1000>10.244.0.6:53 ttl 63") << round;
    rig_->put(neighbour, PodRig::frame_of(neighbour, udp("10.244.0.6:53", "10.244.0.5:1000")));
    (void)rig_->run();
    ASSERT_EQ(next(), "pod/50 udp 10.244.0.6:53>10.244.0.5:1000 ttl 63") << round;
  }
  EXPECT_EQ(drops(), "");
}

TEST_P(Memif, SPOOF1_ForeignSourcesAreDropped) {
  memory_->put(from_pod(udp("10.244.0.9:1000", "10.244.0.6:53")));
  memory_->put(from_pod(udp("[fd00:10:246:1::9]:1000", "[fd00:10:246:1::6]:53")));
  memory_->put(arp(request, mac(0x50), "10.244.0.9", "169.254.1.1"));
  EXPECT_TRUE(rig_->run().empty());
  EXPECT_EQ(next(), "");
  EXPECT_EQ(drops(), "spoofed_source 3");
}

TEST_P(Memif, FramesLargerThanABufferGoInSeveral) {
  connect(256);
  const Ip large = udp("10.244.0.5:1000", "10.244.0.6:53").with_payload(1200);
  memory_->put(from_pod(large));
  const View got = rig_->only(rig_->run());
  EXPECT_EQ(got.ip.payload, large.payload);
  const Ip back = udp("10.244.0.6:53", "10.244.0.5:1000").with_payload(1200);
  rig_->put(neighbour, PodRig::frame_of(neighbour, back));
  (void)rig_->run();
  EXPECT_EQ(view("pod", memory_->take()).ip.payload, back.payload);
}

TEST_P(Memif, WhatFindsNoRoomIsDropped) {
  memory_->header(1).head = 2;  // two buffers
  for (int i = 0; i < 5; ++i) rig_->put(neighbour, PodRig::frame_of(neighbour, udp("10.244.0.6:1", "10.244.0.5:2")));
  (void)rig_->run();
  EXPECT_EQ(drops(), "transmit_full 3");
  EXPECT_NE(next(), "");
  EXPECT_NE(next(), "");
  EXPECT_EQ(next(), "");
}

TEST_P(Memif, ADescriptorThatNamesNoMemoryOfThePodIsDropped) {
  const Bytes frame = from_pod(udp("10.244.0.5:1000", "10.244.0.6:53"));
  using Descriptor = dataplane::memif::Descriptor;
  const auto spoil = [&](const std::function<void(Descriptor&)>& change) {
    Descriptor& entry = memory_->at(0, memory_->header(0).head);
    const Descriptor before = entry;
    memory_->put(frame);
    change(entry);
    EXPECT_TRUE(rig_->run().empty());
    EXPECT_EQ(drops(), "offload_malformed 1");
    entry = before;
  };
  spoil([](Descriptor& entry) { entry.region = 1; });
  spoil([&](Descriptor& entry) { entry.offset = static_cast<uint32_t>(memory_->size()); });
  spoil([](Descriptor& entry) { entry.offset = 0xfffffff0; });
  spoil([](Descriptor& entry) { entry.length = 0xffffffff; });
  spoil([](Descriptor& entry) { entry.length = 13; });
  spoil([](Descriptor& entry) { entry.flags = dataplane::memif::descriptor_next; });
  // It goes on behind it.
  memory_->put(frame);
  EXPECT_EQ(rig_->only(rig_->run()).text, "pod/51 udp 10.244.0.5:1000>10.244.0.6:53 ttl 63");
}

TEST_P(Memif, ABufferThatIsNotThePodsGetsNothing) {
  memory_->at(1, 0).offset = 0xfffffff0;
  rig_->put(neighbour, PodRig::frame_of(neighbour, udp("10.244.0.6:1", "10.244.0.5:2")));
  (void)rig_->run();
  EXPECT_EQ(drops(), "transmit_full 1");
}

TEST_P(Memif, ARingThatSaysWhatCannotBeIsReadFromItsHeadOn) {
  memory_->header(0).head = 1000;
  EXPECT_TRUE(rig_->run().empty());
  EXPECT_EQ(drops(), "offload_malformed 1");
  memory_->put(from_pod(udp("10.244.0.5:1000", "10.244.0.6:53")));
  EXPECT_EQ(rig_->only(rig_->run()).text, "pod/51 udp 10.244.0.5:1000>10.244.0.6:53 ttl 63");
}

TEST_P(Memif, NothingThatThePodWritesDoesHarm) {
  std::mt19937 random(7);
  auto* const rings = reinterpret_cast<uint8_t*>(&memory_->header(0));
  for (int round = 0; round < 1000; ++round) {
    for (int i = 0; i < 8; ++i) rings[random() % (2 * MemifMemory::ring_bytes)] = static_cast<uint8_t>(random());
    memory_->header(0).head = static_cast<uint16_t>(memory_->header(0).tail + random() % 20);
    rig_->put(neighbour, PodRig::frame_of(neighbour, udp("10.244.0.6:1", "10.244.0.5:2")));
    (void)rig_->run();
  }
  const uint32_t used = rig_->rig().plane().mbufs_in_use();
  connect(2048);
  (void)drops();
  EXPECT_EQ(ask(arp(request, mac(0x50), "10.244.0.5", "169.254.1.1")),
            "pod/50 arp reply 169.254.1.1 is ee:ee:ee:ee:ee:ee to 10.244.0.5");
  EXPECT_EQ(drops(), "");
  EXPECT_LE(used, 64U) << "no packet buffer is lost";
}

// A frame that stands for many packets cannot go on whole: nobody would finish it.
TEST_P(Memif, CSUM4_SuperFramesOfAnotherPodAreCut) {
  memory_->put(from_pod(tcp("10.244.0.5:4000", "10.244.0.6:80", "S").with_seq(100, 0)));
  (void)rig_->run();
  rig_->put(neighbour, PodRig::frame_of(neighbour, tcp("10.244.0.6:80", "10.244.0.5:4000", "SA").with_seq(500, 101)));
  (void)rig_->run();
  EXPECT_NE(next(), "");
  memory_->put(from_pod(tcp("10.244.0.5:4000", "10.244.0.6:80", "A").with_seq(101, 501)));
  (void)rig_->run();
  Ip large = tcp("10.244.0.6:80", "10.244.0.5:4000", "A").with_seq(501, 101).with_payload(4000);
  large.df = true;
  Bytes frame = PodRig::frame_of(neighbour, large);
  const dataplane::VnetHeader about = leave_unfinished(frame, 1400);
  rig_->put(neighbour, frame, about);
  (void)rig_->run();
  EXPECT_EQ(view("pod", memory_->take()).ip.payload.size(), 1400U);
  EXPECT_EQ(view("pod", memory_->take()).ip.payload.size(), 1400U);
  EXPECT_EQ(view("pod", memory_->take()).ip.payload.size(), 1200U);
  EXPECT_EQ(next(), "");
}

INSTANTIATE_TEST_SUITE_P(Workers, Memif, testing::Values(uint16_t{1}, uint16_t{2}),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace sluice::packet_test
