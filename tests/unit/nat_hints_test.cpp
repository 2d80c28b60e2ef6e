// The cache of what connections without a record were translated to.
#include <gtest/gtest.h>

#include "nat/hints.h"
#include "nat/rewrite.h"

namespace sluice::nat {
namespace {

template <class F>
typename F::Addr address(uint32_t number);
template <>
net::Ipv4Addr address<net::V4>(uint32_t number) {
  return net::Ipv4Addr::from_host(0x0a000000 + number);
}
template <>
net::Ipv6Addr address<net::V6>(uint32_t number) {
  net::Ipv6Addr out{};
  out.bytes[0] = 0xfd;
  for (unsigned i = 0; i < 4; ++i) out.bytes[12 + i] = static_cast<uint8_t>(number >> (24 - 8 * i));
  return out;
}

template <class F>
class Hints : public testing::Test {
 protected:
  // Of client `number`, to a service.
  static FlowKey<F> key(uint32_t number) {
    return {address<F>(number),  address<F>(0xffff00), be16::from_host(1000),
            be16::from_host(80), net::protocol::tcp,   {}};
  }
  static Hint<F> hint(uint32_t number) { return {key(number), address<F>(7), be16::from_host(8080)}; }

  std::unique_ptr<HintTable<F>> table = HintTable<F>::create();
};
using Families = testing::Types<net::V4, net::V6>;
TYPED_TEST_SUITE(Hints, Families);

TYPED_TEST(Hints, CT9_FindsWhatWasPlacedByItsWholeKey) {
  ASSERT_NE(this->table, nullptr);
  EXPECT_FALSE(this->table->in_use(1000));
  EXPECT_EQ(this->table->find(this->key(1), 5, 1000), nullptr);
  this->table->place(this->hint(1), 5, false, 1000);
  EXPECT_TRUE(this->table->in_use(1000));
  const auto* found = this->table->find(this->key(1), 5, 1000);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->addr, address<TypeParam>(7));
  EXPECT_EQ(found->port.host(), 8080);
  EXPECT_EQ(this->table->find(this->key(2), 5, 1000), nullptr) << "the same set, another client";
  auto other_port = this->key(1);
  other_port.src_port = be16::from_host(1001);
  EXPECT_EQ(this->table->find(other_port, 5, 1000), nullptr);
  auto udp = this->key(1);
  udp.protocol = net::protocol::udp;
  EXPECT_EQ(this->table->find(udp, 5, 1000), nullptr);
}

// However many begin in one set: what was proven stays.
TYPED_TEST(Hints, CT9_AFloodOverwritesOnlyWhatIsNotProven) {
  for (const uint32_t honest : {1, 2}) this->table->place(this->hint(honest), 5, true, 1000);
  this->table->place(this->hint(4), 5, false, 1000);
  for (uint32_t number = 100; number < 10'000; ++number) {
    this->table->place(this->hint(number), 5, false, 1000 + number);
  }
  for (const uint32_t honest : {1, 2}) EXPECT_NE(this->table->find(this->key(honest), 5, 11'000), nullptr) << honest;
  EXPECT_EQ(this->table->find(this->key(4), 5, 11'000), nullptr);
  for (const uint32_t last : {9'998, 9'999}) {
    EXPECT_NE(this->table->find(this->key(last), 5, 11'000), nullptr) << "both directions of the youngest";
  }
}

TYPED_TEST(Hints, CT9_TheProvenOneNotUsedTheLongestIsReplaced) {
  for (const uint32_t number : {1, 2}) this->table->place(this->hint(number), 5, true, 1000 + number);
  ASSERT_NE(this->table->find(this->key(1), 5, 1010), nullptr);
  this->table->place(this->hint(4), 5, true, 1011);
  EXPECT_EQ(this->table->find(this->key(2), 5, 1012), nullptr);
  for (const uint32_t number : {1, 4}) EXPECT_NE(this->table->find(this->key(number), 5, 1012), nullptr) << number;
}

TYPED_TEST(Hints, CT9_OnePlaceEach) {
  this->table->place(this->hint(1), 5, false, 1000);
  this->table->place(this->hint(1), 5, true, 1001);
  this->table->forget(this->key(1), 5);
  EXPECT_EQ(this->table->find(this->key(1), 5, 1002), nullptr) << "not twice";
  // A beginning that is sent again does not lose its place to the next one.
  this->table->place(this->hint(1), 5, true, 1003);
  this->table->place(this->hint(1), 5, false, 1004);
  for (const uint32_t number : {2, 3}) this->table->place(this->hint(number), 5, false, 1003 + number);
  EXPECT_NE(this->table->find(this->key(1), 5, 1010), nullptr);
}

TYPED_TEST(Hints, CT9_ForgottenWithTime) {
  constexpr Millis lifetime = HintTable<TypeParam>::lifetime;
  this->table->place(this->hint(1), 5, true, 1000);
  this->table->place(this->hint(2), 6, true, 1000);
  ASSERT_NE(this->table->find(this->key(1), 5, 999 + lifetime), nullptr);
  EXPECT_EQ(this->table->find(this->key(2), 6, 1000 + lifetime), nullptr) << "not used meanwhile";
  EXPECT_TRUE(this->table->in_use(1000 + lifetime)) << "by the other one";
  EXPECT_NE(this->table->find(this->key(1), 5, 998 + 2 * lifetime), nullptr);
  EXPECT_FALSE(this->table->in_use(998 + 3 * lifetime));
}

TYPED_TEST(Hints, CT9_AFlowOfEachDirection) {
  Hint<TypeParam> hint = this->hint(1);
  FlowKey<TypeParam> there = rewritten_key(hint.key, translation_of(hint).rewrite);
  EXPECT_EQ(there.src, hint.key.src);
  EXPECT_EQ(there.src_port, hint.key.src_port);
  EXPECT_EQ(there.dst, hint.addr);
  EXPECT_EQ(there.dst_port, hint.port);
  Hint<TypeParam> back{there.reversed(), hint.key.dst, hint.key.dst_port, Direction::Reply};
  EXPECT_EQ(rewritten_key(back.key, translation_of(back).rewrite), hint.key.reversed());
}

}  // namespace
}  // namespace sluice::nat
