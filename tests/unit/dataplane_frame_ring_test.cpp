// The ring of frames between a worker and the host, against a queue that has no end.
#include <deque>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/punt.h"

namespace sluice::dataplane {
namespace {

struct Frame {
  uint16_t interface;
  std::vector<uint8_t> bytes;
};

std::vector<uint8_t> pattern(size_t length, uint32_t seed) {
  std::vector<uint8_t> out(length);
  for (size_t i = 0; i < length; ++i) out[i] = static_cast<uint8_t>(seed * 31 + i * 7);
  return out;
}

bool put(FrameRing& ring, uint16_t interface, const std::vector<uint8_t>& bytes) {
  uint8_t* const to = ring.reserve(interface, static_cast<uint32_t>(bytes.size()));
  if (to == nullptr) return false;
  std::copy(bytes.begin(), bytes.end(), to);
  ring.commit();
  return true;
}

TEST(FrameRing, HOST1_FramesComeOutAsTheyWentInAcrossTheEnd) {
  FrameRing ring;
  ASSERT_TRUE(ring.allocate());
  std::mt19937 random(7);
  std::deque<Frame> expected;
  size_t compared = 0;
  size_t full = 0;
  for (uint32_t step = 0; step < 40000; ++step) {
    // Phases in which it fills and in which it empties.
    const bool filling = step / 1000 % 2 == 0;
    if (random() % 4 < (filling ? 3U : 1U)) {
      const uint32_t length = random() % 3 == 0 ? random() % FrameRing::longest : random() % 1514;
      Frame frame{static_cast<uint16_t>(random() % 1024), pattern(length, step)};
      if (put(ring, frame.interface, frame.bytes)) {
        expected.push_back(std::move(frame));
      } else {
        EXPECT_FALSE(ring.has_room());
        ++full;
      }
    } else {
      (void)ring.take(random() % 3, [&](uint16_t interface, const uint8_t* bytes, uint32_t length) {
        ASSERT_FALSE(expected.empty());
        const Frame& front = expected.front();
        EXPECT_EQ(interface, front.interface);
        EXPECT_EQ(std::vector<uint8_t>(bytes, bytes + length), front.bytes);
        expected.pop_front();
        ++compared;
      });
    }
  }
  EXPECT_GT(compared, 10000u);
  EXPECT_GT(full, 0u) << "the test never filled it";
}

TEST(FrameRing, HOST1_NothingIsLongerThanTheLongest) {
  FrameRing ring;
  ASSERT_TRUE(ring.allocate());
  EXPECT_FALSE(put(ring, 1, pattern(FrameRing::longest + 1, 1)));
  EXPECT_TRUE(put(ring, 1, pattern(FrameRing::longest, 1)));
  EXPECT_EQ(ring.take(5, [](uint16_t, const uint8_t*, uint32_t length) { EXPECT_EQ(length, FrameRing::longest); }), 1u);
}

TEST(PuntClass, HOST2_ByProtocolAndPortInEitherDirection) {
  const auto of = [](uint8_t protocol, uint16_t src, uint16_t dst) {
    return punt_class(protocol, net::be16::from_host(src), net::be16::from_host(dst));
  };
  EXPECT_EQ(of(net::protocol::icmp, 0, 0), PuntClass::Icmp);
  EXPECT_EQ(of(net::protocol::icmpv6, 0, 0), PuntClass::Icmp);
  EXPECT_EQ(of(net::protocol::tcp, 40000, 179), PuntClass::Routing);
  EXPECT_EQ(of(net::protocol::tcp, 179, 40000), PuntClass::Routing);
  EXPECT_EQ(of(net::protocol::udp, 40000, 3784), PuntClass::Routing);
  EXPECT_EQ(of(net::protocol::udp, 40000, 3785), PuntClass::Routing);
  EXPECT_EQ(of(net::protocol::udp, 40000, 4784), PuntClass::Routing);
  EXPECT_EQ(of(net::protocol::udp, 40000, 179), PuntClass::Other);
  EXPECT_EQ(of(net::protocol::vrrp, 0, 0), PuntClass::Routing);
  EXPECT_EQ(of(net::protocol::tcp, 22, 40000), PuntClass::Management);
  EXPECT_EQ(of(net::protocol::tcp, 40000, 22), PuntClass::Management);
  EXPECT_EQ(of(net::protocol::udp, 40000, 22), PuntClass::Other);
  EXPECT_EQ(of(net::protocol::tcp, 40000, 443), PuntClass::Other);
  EXPECT_EQ(of(47, 0, 0), PuntClass::Other);
}

}  // namespace
}  // namespace sluice::dataplane
