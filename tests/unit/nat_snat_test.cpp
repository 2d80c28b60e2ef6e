#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/net/headers.h"
#include "nat/snat.h"

namespace sluice::nat {
namespace {

constexpr uint64_t destination = 42;

// Ports in use towards one destination, and how often each was asked for.
struct Ports {
  std::vector<bool> used = std::vector<bool>(65536, false);
  std::vector<unsigned> asked = std::vector<unsigned>(65536, 0);
  unsigned calls = 0;

  auto usable() {
    return [this](be16 port) {
      ++calls;
      ++asked[port.host()];
      return !used[port.host()];
    };
  }
  std::optional<uint16_t> take(PortAllocator& allocator, PortRange range, Millis now = 0) {
    const std::optional<be16> port = allocator.allocate(range, destination, now, usable());
    if (!port) return std::nullopt;
    EXPECT_FALSE(used[port->host()]) << "never over a live mapping";
    EXPECT_TRUE(range.contains(port->host()));
    used[port->host()] = true;
    return port->host();
  }
};

TEST(PortRange, ClassesOfRfc4787Req3a) {
  const be16 well_known = be16::from_host(443);
  const be16 other = be16::from_host(40000);
  EXPECT_EQ(in_class_of(well_known, every_port), (PortRange{1, 1023}));
  EXPECT_EQ(in_class_of(other, every_port), (PortRange{1024, 65535}));
  EXPECT_EQ(in_class_of(be16::from_host(1023), every_port), (PortRange{1, 1023}));
  EXPECT_EQ(in_class_of(be16::from_host(1024), every_port), (PortRange{1024, 65535}));
  EXPECT_EQ(in_class_of(other, {32768, 60999}), (PortRange{32768, 60999}));
  EXPECT_EQ(in_class_of(well_known, {512, 2000}), (PortRange{512, 1023}));
  EXPECT_EQ(in_class_of(other, {512, 2000}), (PortRange{1024, 2000}));
  // A configured range without a port of the class wins over the class.
  EXPECT_EQ(in_class_of(well_known, {32768, 60999}), (PortRange{32768, 60999}));
  EXPECT_EQ(in_class_of(other, {600, 700}), (PortRange{600, 700}));
}

TEST(PortAllocator, RandomPortsCoverTheRangeEvenly) {
  PortAllocator allocator(1, 1);
  std::vector<unsigned> hits(16, 0);
  constexpr unsigned total = 64000;
  for (unsigned i = 0; i < total; ++i) {
    const std::optional<be16> port = allocator.allocate({1024, 65535}, i, 0, [](be16) { return true; });
    ASSERT_TRUE(port && port->host() >= 1024);
    ++hits[(port->host() - 1024) * 16 / 64512];
  }
  for (const unsigned count : hits) EXPECT_NEAR(count, total / 16, total / 16 / 10);
  EXPECT_EQ(allocator.counters().allocated, total);
  EXPECT_EQ(allocator.counters().draws, total);
}

TEST(PortAllocator, SeedsDecideAndNeighboursAreUnrelated) {
  const auto sequence = [](uint64_t seed) {
    PortAllocator allocator(seed, 1);
    std::vector<uint16_t> ports;
    for (unsigned i = 0; i < 8; ++i) {
      ports.push_back(allocator.allocate({1024, 65535}, 0, 0, [](be16) { return true; })->host());
    }
    return ports;
  };
  EXPECT_EQ(sequence(5), sequence(5));
  EXPECT_NE(sequence(5), sequence(6));
  EXPECT_NE(sequence(0), sequence(1));
}

TEST(PortAllocator, SmallRangeIsUsedToTheLastPort) {
  for (const uint32_t size : {1U, 2U, 3U, 7U, 60U, 128U}) {
    PortAllocator allocator(size, 1);
    Ports ports;
    const PortRange range{2000, static_cast<uint16_t>(1999 + size)};
    for (uint32_t i = 0; i < size; ++i) ASSERT_TRUE(ports.take(allocator, range)) << size << " " << i;
    EXPECT_FALSE(ports.take(allocator, range));
    EXPECT_EQ(allocator.counters().exhausted, 1U);
    EXPECT_EQ(allocator.counters().gave_up, 0U);
    // Known from here on: no further question.
    const unsigned calls = ports.calls;
    EXPECT_FALSE(ports.take(allocator, range));
    EXPECT_EQ(ports.calls, calls);
    EXPECT_EQ(allocator.counters().exhausted, 2U);
  }
}

TEST(PortAllocator, EmptyRangeIsExhausted) {
  PortAllocator allocator(1, 1);
  EXPECT_FALSE(allocator.allocate({2000, 1999}, destination, 0, [](be16) { return true; }));
  EXPECT_EQ(allocator.counters().exhausted, 1U);
}

// The whole range of a destination: every port is found, each request has a bounded number of draws, and the
// refusals before the last port is taken are honest about having given up.
TEST(PortAllocator, WholeRangeIsFoundWithBoundedDraws) {
  PortAllocator allocator(3, 1);
  Ports ports;
  const PortRange range{1024, 65535};
  uint32_t taken = 0;
  uint64_t refused = 0;
  while (taken < range.size()) {
    const unsigned calls = ports.calls;
    if (ports.take(allocator, range)) {
      ++taken;
    } else {
      ++refused;
    }
    ASSERT_LE(ports.calls - calls, 128U);
    ASSERT_LT(refused, 10'000U);
  }
  EXPECT_EQ(allocator.counters().gave_up, refused);
  EXPECT_EQ(allocator.counters().exhausted, 0U);
  while (allocator.counters().exhausted == 0) ASSERT_FALSE(ports.take(allocator, range));
  const unsigned calls = ports.calls;
  for (unsigned i = 0; i < 1000; ++i) ASSERT_FALSE(ports.take(allocator, range));
  EXPECT_EQ(ports.calls, calls) << "refused without a search";
}

TEST(PortAllocator, WalkNeverAsksTwice) {
  PortAllocator allocator(11, 1);
  Ports ports;
  ports.used.assign(65536, true);
  const PortRange range{1024, 65535};
  while (allocator.counters().exhausted == 0) ASSERT_FALSE(ports.take(allocator, range));
  for (uint32_t port = 1024; port <= 65535; ++port) ASSERT_EQ(ports.asked[port], 1U) << port;
}

TEST(PortAllocator, ReleasedPortsAreFoundAtOnce) {
  PortAllocator allocator(4, 1);
  Ports ports;
  const PortRange range{5000, 5099};
  while (ports.take(allocator, range)) {
  }
  for (uint16_t released = 5000; released < 5100; released = static_cast<uint16_t>(released + 9)) {
    ports.used[released] = false;
    allocator.release(destination, be16::from_host(released));
    EXPECT_EQ(ports.take(allocator, range), released);
    EXPECT_FALSE(ports.take(allocator, range));
  }
  // More than the shortage remembers: it is over.
  for (uint16_t released = 5000; released < 5050; ++released) {
    ports.used[released] = false;
    allocator.release(destination, be16::from_host(released));
  }
  for (unsigned i = 0; i < 50; ++i) EXPECT_TRUE(ports.take(allocator, range));
  EXPECT_FALSE(ports.take(allocator, range));
}

TEST(PortAllocator, ReleaseNobodyReportedIsFoundAfterASecond) {
  PortAllocator allocator(4, 1);
  Ports ports;
  const PortRange range{5000, 5099};
  const Millis start = 0xffffff00;
  while (ports.take(allocator, range, start)) {
  }
  ports.used[5042] = false;
  EXPECT_FALSE(ports.take(allocator, range, start + 1000));
  EXPECT_EQ(ports.take(allocator, range, start + 1001), uint16_t{5042});
}

TEST(PortAllocator, ShortageConcernsOneDestinationAndRange) {
  PortAllocator allocator(4, 1);
  Ports ports;
  while (ports.take(allocator, {5000, 5009})) {
  }
  EXPECT_TRUE(allocator.allocate({5000, 5009}, destination + 64, 0, [](be16) { return true; }))
      << "another destination in the same place of the table";
  EXPECT_TRUE(ports.take(allocator, {5000, 5010})) << "the range was changed";
}

// Two workers: each takes only ports whose reply it owns, so their choices are disjoint, and together they can
// use the whole range.
TEST(PortAllocator, WorkersShareARangeByOwnership) {
  constexpr uint16_t workers = 2;
  const net::FlowHasher hasher;
  FlowKey<net::V4> reply{net::Ipv4Addr::from_host(0x0a000001),
                         net::Ipv4Addr::from_host(0x0a000002),
                         be16::from_host(80),
                         {},
                         net::protocol::tcp,
                         {}};
  const PortRange range{1024, 3071};
  std::vector<int> owner(65536, -1);
  unsigned taken = 0;
  for (uint16_t self = 0; self < workers; ++self) {
    PortAllocator allocator(self, workers);
    const auto usable = [&](be16 port) {
      reply.dst_port = port;
      return net::owner_of(hasher(reply), workers) == self && owner[port.host()] == -1;
    };
    reply.dst_port = {};
    const uint64_t to = snat_destination(reply, hasher);
    while (allocator.counters().exhausted == 0) {
      const std::optional<be16> port = allocator.allocate(range, to, 0, usable);
      if (!port) continue;
      ASSERT_EQ(owner[port->host()], -1);
      owner[port->host()] = self;
      ++taken;
    }
    EXPECT_NEAR(std::count(owner.begin(), owner.end(), int{self}), 1024, 150);
  }
  EXPECT_EQ(taken, range.size());
}

TEST(SnatDestination, LeavesTheSoughtPortOut) {
  const net::FlowHasher hasher;
  FlowKey<net::V6> reply{};
  reply.src_port = be16::from_host(443);
  reply.protocol = net::protocol::tcp;
  const uint64_t without = snat_destination(reply, hasher);
  reply.dst_port = be16::from_host(4711);
  EXPECT_EQ(snat_destination(reply, hasher), without);
  reply.src_port = be16::from_host(444);
  EXPECT_NE(snat_destination(reply, hasher), without);
}

}  // namespace
}  // namespace sluice::nat
