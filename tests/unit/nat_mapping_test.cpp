#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/net/headers.h"
#include "nat/mapping.h"

namespace sluice::nat {
namespace {

using net::Ipv4Addr;
using net::V4;
using Table = MappingTable<V4>;

constexpr PortRange range{50000, 50999};
const Ipv4Addr outside = Ipv4Addr::from_host(0xcb007107);
const Ipv4Addr other_outside = Ipv4Addr::from_host(0xcb007108);

FlowKey<V4> packet(uint32_t host, uint16_t port, uint32_t peer = 1, uint8_t protocol = net::protocol::udp) {
  return {Ipv4Addr::from_host(0x0af60100 + host),
          Ipv4Addr::from_host(0xc6336400 + peer),
          be16::from_host(port),
          be16::from_host(53),
          protocol,
          {}};
}
be16 port(uint16_t number) { return be16::from_host(number); }

class MappingTableTest : public testing::Test {
 protected:
  std::unique_ptr<Table> table_ = Table::create(64, net::FlowHasher{});
  Table& table() { return *table_; }
};

TEST_F(MappingTableTest, MASQ13_IsFoundFromBothEndsWhateverThePeer) {
  const MappingId id = table().open(packet(5, 1000, 1), outside, port(50001), 0);
  ASSERT_NE(id, no_mapping);
  EXPECT_EQ(table().find(packet(5, 1000, 2), outside), id);
  EXPECT_EQ(table().owner(outside, port(50001), net::protocol::udp), id);
  EXPECT_EQ(table()[id].port, port(50001));
  EXPECT_EQ(table().find(packet(5, 1001), outside), no_mapping);
  EXPECT_EQ(table().find(packet(6, 1000), outside), no_mapping);
  EXPECT_EQ(table().find(packet(5, 1000), other_outside), no_mapping);
  EXPECT_EQ(table().find(packet(5, 1000, 1, net::protocol::tcp), outside), no_mapping);
  EXPECT_EQ(table().owner(outside, port(50002), net::protocol::udp), no_mapping);
  EXPECT_EQ(table().owner(other_outside, port(50001), net::protocol::udp), no_mapping);
  EXPECT_EQ(table().owner(outside, port(50001), net::protocol::tcp), no_mapping);
  table().close(id);
  EXPECT_EQ(table().find(packet(5, 1000), outside), no_mapping);
  EXPECT_EQ(table().owner(outside, port(50001), net::protocol::udp), no_mapping);
  EXPECT_EQ(table().size(), 0u);
}

// RFC 4787 REQ-8, address-dependent.
TEST_F(MappingTableTest, MASQ13_PermitsWhomItHasConnectionsTo) {
  const MappingId id = table().open(packet(5, 1000), outside, port(50001), 0);
  const MappingId other = table().open(packet(6, 1000), outside, port(50002), 0);
  const Ipv4Addr peer = packet(5, 1000, 1).dst;
  const Ipv4Addr second_peer = packet(5, 1000, 2).dst;
  EXPECT_FALSE(table().permits(id, peer));
  table().permit(id, peer);
  table().permit(id, peer);
  EXPECT_TRUE(table().permits(id, peer));
  EXPECT_FALSE(table().permits(id, second_peer));
  EXPECT_FALSE(table().permits(other, peer));
  table().revoke(id, peer);
  EXPECT_TRUE(table().permits(id, peer)) << "one of two connections is left";
  table().revoke(id, peer);
  EXPECT_FALSE(table().permits(id, peer));
  table().revoke(id, peer);
  EXPECT_FALSE(table().permits(id, peer)) << "there was none";
}

TEST(PermissionTable, MASQ13_HoldsAsManyAsItHasRoomForAndUsesItAgain) {
  constexpr uint32_t capacity = 64;
  const auto table = PermissionTable<V4>::create(capacity, net::FlowHasher{});
  ASSERT_NE(table, nullptr);
  std::mt19937 random(1);
  std::map<uint32_t, int> expected;
  const auto key = [](uint32_t peer) { return packet(5, 0, peer); };
  for (int step = 0; step < 20'000; ++step) {
    const uint32_t peer = random() % 100;
    const bool known = expected.count(peer) != 0;
    if (random() % 2 == 0) {
      const bool room = known || expected.size() < capacity;
      ASSERT_EQ(table->add(key(peer)), room) << step;
      if (room) ++expected[peer];
    } else {
      table->remove(key(peer));
      if (known && --expected[peer] == 0) expected.erase(peer);
    }
    ASSERT_EQ(table->size(), expected.size());
    const uint32_t asked = random() % 100;
    ASSERT_EQ(table->contains(key(asked)), expected.count(asked) != 0) << step;
  }
}

TEST_F(MappingTableTest, MASQ13_OneWorkerKeepsAllOfAnEndpoint) {
  const net::FlowHasher hasher;
  std::set<uint16_t> workers;
  for (uint16_t number = 1000; number < 1064; ++number) {
    const uint16_t worker = mapping_worker(packet(5, number, 1), hasher, 4);
    workers.insert(worker);
    for (uint32_t peer = 2; peer < 20; ++peer) EXPECT_EQ(mapping_worker(packet(5, number, peer), hasher, 4), worker);
  }
  EXPECT_EQ(workers.size(), 4u) << "endpoints are spread";
}

TEST_F(MappingTableTest, MASQ13_RFC4787_5_EndsWhenNobodyHeldItForAWhile) {
  const auto expired = [this](Millis now) {
    for (int turn = 0; turn < 16; ++turn) {
      if (const MappingId id = table().find_expired(now); id != no_mapping) return id;
    }
    return no_mapping;
  };
  constexpr Millis begin = 0xffffff00;  // time wraps
  const MappingId id = table().open(packet(5, 1000), outside, port(50001), begin);
  EXPECT_EQ(expired(begin + Table::hold - 1), no_mapping);
  EXPECT_EQ(expired(begin + Table::hold), id);
  table().acquire(id);
  table().acquire(id);
  EXPECT_EQ(expired(begin + 10 * Table::hold), no_mapping);
  table().release(id, begin + 1000);
  EXPECT_EQ(expired(begin + 10 * Table::hold), no_mapping) << "one connection holds it";
  table().release(id, begin + 2000);
  EXPECT_EQ(expired(begin + 1999 + Table::hold), no_mapping);
  EXPECT_EQ(expired(begin + 2000 + Table::hold), id);
}

TEST_F(MappingTableTest, MASQ13_RFC6888_8_TheOneUnusedTheLongestIsGivenUpFirst) {
  std::vector<MappingId> ids;
  for (uint16_t i = 0; i < 4; ++i) ids.push_back(table().open(packet(5, 1000 + i), outside, port(50000 + i), i));
  const auto idle = [this](PortRange within) { return table().find_idle(outside, net::protocol::udp, within); };
  EXPECT_EQ(idle(range), ids[0]);
  EXPECT_EQ(idle({50002, 50999}), ids[2]);
  EXPECT_EQ(idle({50004, 50999}), no_mapping);
  EXPECT_EQ(table().find_idle(outside, net::protocol::tcp, range), no_mapping);
  EXPECT_EQ(table().find_idle(other_outside, net::protocol::udp, range), no_mapping);
  table().acquire(ids[0]);
  table().acquire(ids[2]);
  EXPECT_EQ(idle(range), ids[1]);
  table().release(ids[0], 100);
  table().close(ids[1]);
  EXPECT_EQ(idle(range), ids[3]);
  table().close(ids[3]);
  EXPECT_EQ(idle(range), ids[0]);
  table().close(ids[0]);
  EXPECT_EQ(idle(range), no_mapping) << "one is held";
}

TEST_F(MappingTableTest, MASQ13_IsBounded) {
  for (uint16_t i = 0; i < 64; ++i) {
    ASSERT_NE(table().open(packet(5, 1000 + i), outside, port(50000 + i), 0), no_mapping);
  }
  EXPECT_EQ(table().open(packet(6, 1000), outside, port(50064), 0), no_mapping);
  table().close(table().find(packet(5, 1007), outside));
  const MappingId again = table().open(packet(6, 1000), outside, port(50064), 0);
  EXPECT_EQ(table().owner(outside, port(50064), net::protocol::udp), again);
  EXPECT_EQ(table().size(), table().capacity());
}

// Against maps that say the same.
TEST_F(MappingTableTest, MASQ13_RandomOpeningAndClosing) {
  std::mt19937 random(1);
  const auto pick = [&](unsigned end) { return std::uniform_int_distribution<unsigned>(0, end - 1)(random); };
  struct Known {
    FlowKey<V4> key;
    Ipv4Addr outside;
    uint16_t port;
    unsigned uses = 0;
  };
  std::map<MappingId, Known> known;
  Millis now = 0;
  for (int step = 0; step < 50'000; ++step) {
    now += pick(50);
    const FlowKey<V4> key = packet(pick(4), static_cast<uint16_t>(1000 + pick(20)), pick(9),
                                   pick(2) != 0 ? net::protocol::udp : net::protocol::tcp);
    const Ipv4Addr at = pick(3) != 0 ? outside : other_outside;
    const auto number = static_cast<uint16_t>(50000 + pick(64));
    const MappingId found = table().find(key, at);
    const auto same = [&](const auto& entry) {
      const FlowKey<V4>& other = entry.second.key;
      return other.src == key.src && other.src_port == key.src_port && other.protocol == key.protocol &&
             entry.second.outside == at;
    };
    const auto expected = std::find_if(known.begin(), known.end(), same);
    ASSERT_EQ(found, expected == known.end() ? no_mapping : expected->first);
    const MappingId owner = table().owner(at, port(number), key.protocol);
    for (const auto& [id, entry] : known) {
      const bool is_its = entry.outside == at && entry.port == number && entry.key.protocol == key.protocol;
      ASSERT_EQ(is_its, owner == id);
    }
    if (found == no_mapping && owner == no_mapping) {
      const MappingId id = table().open(key, at, port(number), now);
      ASSERT_EQ(id == no_mapping, known.size() == 64);
      if (id != no_mapping) known[id] = {key, at, number};
    } else if (found != no_mapping && pick(2) != 0) {
      table().acquire(found);
      ++known[found].uses;
    } else if (found != no_mapping && known[found].uses != 0) {
      table().release(found, now);
      --known[found].uses;
    } else if (found != no_mapping) {
      table().close(found);
      known.erase(found);
    }
    ASSERT_EQ(table().size(), known.size());
    if (const MappingId idle = table().find_idle(at, key.protocol, range); idle != no_mapping) {
      ASSERT_EQ(known.at(idle).uses, 0u);
      ASSERT_EQ(known.at(idle).outside, at);
    }
  }
}

}  // namespace
}  // namespace sluice::nat
