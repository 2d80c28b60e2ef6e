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

// Both families.
template <class F>
class AffinityRoom : public testing::Test {
 protected:
  static constexpr uint32_t capacity = AffinityTable<F>::capacity;
  static typename F::Addr client(uint32_t host) {
    if constexpr (F::is_v4) {
      return addr(host);
    } else {
      net::Ipv6Addr out = net::parse_ip("2001:db8::")->v6();
      for (size_t i = 0; i < 4; ++i) out.bytes[15 - i] = static_cast<uint8_t>(host >> 8 * i);
      return out;
    }
  }
  void remember(uint32_t host, uint32_t endpoint, Millis now) {
    known_->remember(client(host), web, {client(endpoint), be16::from_host(8080), false}, 1000 * minute, now);
  }
  [[nodiscard]] bool knows(uint32_t host, Millis now) {
    return known_->find(client(host), web, 1000 * minute, now).has_value();
  }

 private:
  std::unique_ptr<AffinityTable<F>> known_ = AffinityTable<F>::create(net::FlowHasher{});
};
using Families = testing::Types<V4, V6>;
TYPED_TEST_SUITE(AffinityRoom, Families);

TYPED_TEST(AffinityRoom, SVC47_TheTableIsBoundedAndForgetsTheOldest) {
  constexpr uint32_t capacity = TestFixture::capacity;
  constexpr uint32_t clients = 4 * capacity;
  for (uint32_t i = 1; i <= clients; ++i) this->remember(i, 20, i);
  uint32_t kept = 0;
  uint32_t kept_of_the_last = 0;
  for (uint32_t i = 1; i <= clients; ++i) {
    if (!this->knows(i, clients)) continue;
    ++kept;
    if (i > clients - capacity / 4) ++kept_of_the_last;
  }
  EXPECT_LE(kept, capacity);
  EXPECT_GT(kept, capacity * 9 / 10);
  EXPECT_GT(kept_of_the_last, capacity / 4 * 98 / 100);
}

// A client that keeps coming is not pushed out by those that come once.
TYPED_TEST(AffinityRoom, SVC47_WhoComesAgainStays) {
  uint32_t lost = 0;
  for (uint32_t i = 0; i < 8 * TestFixture::capacity; ++i) {
    this->remember(1000 + i, 20, i);
    if (i % 1024 == 0) this->remember(1, 21, i);
    if (!this->knows(1, i)) ++lost;
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
