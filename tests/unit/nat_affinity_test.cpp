// The affinity table by itself: time, room, who is forgotten first, what other workers are told.
#include <optional>

#include <gtest/gtest.h>

#include "nat/affinity.h"

namespace sluice::nat {
namespace {

using net::Ipv4Addr;
using net::V4;
using net::V6;

constexpr uint32_t web = 1;
constexpr uint32_t dns = 2;
constexpr Millis minute = 60'000;

Ipv4Addr addr(uint32_t host) { return Ipv4Addr::from_host(host); }
Backend<V4> backend(uint32_t host, uint16_t port = 8080) { return {addr(host), be16::from_host(port), false}; }
std::unique_ptr<AffinityTable<V4>> table() { return AffinityTable<V4>::create(net::FlowHasher{}); }

TEST(Affinity, SVC41_KeyIsClientAndServicePort) {
  const auto known = table();
  EXPECT_EQ(known->find(addr(1), web, minute, 0), std::nullopt);
  known->remember(addr(1), web, backend(20), minute, 0);
  known->remember(addr(2), web, backend(21), minute, 0);
  known->remember(addr(1), dns, backend(22, 53), minute, 0);
  EXPECT_EQ(known->find(addr(1), web, minute, 0), backend(20));
  EXPECT_EQ(known->find(addr(2), web, minute, 0), backend(21));
  EXPECT_EQ(known->find(addr(1), dns, minute, 0), backend(22, 53));
  EXPECT_EQ(known->find(addr(2), dns, minute, 0), std::nullopt);
  known->remember(addr(1), web, backend(23), minute, 0);
  EXPECT_EQ(known->find(addr(1), web, minute, 0), backend(23)) << "SVC-44: overwritten";
}

TEST(Affinity, SVC40_SVC43_TimeRunsFromTheLastConnection) {
  const auto known = table();
  for (const Millis begin : {Millis{1000}, Millis{0xffffffff - 30'000}}) {  // over the wrap of the clock, too
    known->remember(addr(1), web, backend(20), minute, begin);
    EXPECT_NE(known->find(addr(1), web, minute, begin + minute - 1), std::nullopt);
    EXPECT_EQ(known->find(addr(1), web, minute, begin + minute), std::nullopt);
    EXPECT_EQ(known->find(addr(1), web, minute / 2, begin + minute / 2), std::nullopt) << "today's timeout counts";
    known->remember(addr(1), web, backend(20), minute, begin + minute / 2);
    EXPECT_NE(known->find(addr(1), web, minute, begin + minute), std::nullopt);
    EXPECT_EQ(known->find(addr(1), web, minute, begin + 3000 * minute), std::nullopt);
  }
}

TEST(Affinity, SVC47_TheTableIsBoundedAndForgetsTheOldest) {
  const auto known = table();
  constexpr uint32_t clients = 4 * AffinityTable<V4>::capacity;
  for (uint32_t i = 1; i <= clients; ++i) known->remember(addr(i), web, backend(20), 1000 * minute, i);
  uint32_t kept = 0;
  uint32_t kept_of_the_last = 0;
  for (uint32_t i = 1; i <= clients; ++i) {
    if (!known->find(addr(i), web, 1000 * minute, clients)) continue;
    ++kept;
    if (i > clients - AffinityTable<V4>::capacity / 4) ++kept_of_the_last;
  }
  EXPECT_LE(kept, AffinityTable<V4>::capacity);
  EXPECT_GT(kept, AffinityTable<V4>::capacity * 9 / 10);
  EXPECT_GT(kept_of_the_last, AffinityTable<V4>::capacity / 4 * 98 / 100);
}

// A client that keeps coming is not pushed out by those that come once.
TEST(Affinity, SVC47_WhoComesAgainStays) {
  const auto known = table();
  uint32_t lost = 0;
  for (uint32_t i = 0; i < 8 * AffinityTable<V4>::capacity; ++i) {
    known->remember(addr(1000 + i), web, backend(20), 1000 * minute, i);
    if (i % 1024 == 0) known->remember(addr(1), web, backend(21), 1000 * minute, i);
    if (!known->find(addr(1), web, 1000 * minute, i)) ++lost;
  }
  EXPECT_EQ(lost, 0u);
}

TEST(Affinity, OtherWorkersAreToldOfWhatIsNewAndNowAndThenOfTheRest) {
  const auto known = table();
  EXPECT_TRUE(known->remember(addr(1), web, backend(20), minute, 0)) << "new";
  EXPECT_FALSE(known->remember(addr(1), web, backend(20), minute, 1));
  EXPECT_TRUE(known->remember(addr(1), web, backend(21), minute, 2)) << "changed";
  EXPECT_FALSE(known->remember(addr(1), web, backend(21), minute, minute / 16));
  EXPECT_TRUE(known->remember(addr(1), web, backend(21), minute, minute / 4)) << "they must not forget it";
  EXPECT_FALSE(known->remember(addr(1), web, backend(21), minute, minute / 4 + 1));
  EXPECT_TRUE(known->remember(addr(1), web, backend(21), minute, 3 * minute)) << "was forgotten";
}

TEST(Affinity, IPv6) {
  const auto known = AffinityTable<V6>::create(net::FlowHasher{});
  const net::Ipv6Addr client = net::parse_ip("2001:db8::1")->v6();
  const Backend<V6> endpoint{net::parse_ip("fd00::20")->v6(), be16::from_host(80), false};
  known->remember(client, web, endpoint, minute, 0);
  EXPECT_EQ(known->find(client, web, minute, 0), endpoint);
  EXPECT_EQ(known->find(net::parse_ip("2001:db8::2")->v6(), web, minute, 0), std::nullopt);
}

}  // namespace
}  // namespace sluice::nat
