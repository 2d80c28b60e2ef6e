// The connection table against std::unordered_map and std::list, with hashes bad enough to fill chains.
#include <cstring>
#include <list>
#include <random>
#include <string>
#include <sys/mman.h>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "nat/conntrack.h"

namespace sluice::nat {
namespace {

using net::V4;
using net::V6;
using namespace net::tcp_flag;  // NOLINT(google-build-using-namespace): the test reads like the flags field

constexpr auto ignore_close = [](ConnectionId) {};
constexpr unsigned unlimited = 0xffffffff;

template <class F>
typename F::Addr address(uint32_t number);
template <>
net::Ipv4Addr address<V4>(uint32_t number) {
  return net::Ipv4Addr::from_host(0x0a000000 + number);
}
template <>
net::Ipv6Addr address<V6>(uint32_t number) {
  // Differ in the low half, in the high half, or in both.
  net::Ipv6Addr addr{{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}};
  addr.bytes[number % 2 == 0 ? 15 : 7] = static_cast<uint8_t>(number);
  addr.bytes[10] = static_cast<uint8_t>(number >> 8);
  return addr;
}

template <class F>
FlowKey<F> key(uint32_t src, uint16_t src_port, uint32_t dst, uint16_t dst_port,
               uint8_t protocol = net::protocol::tcp) {
  return {address<F>(src), address<F>(dst), be16::from_host(src_port), be16::from_host(dst_port), protocol, {}};
}

template <class F>
std::string bytes(const FlowKey<F>& key) {
  return {reinterpret_cast<const char*>(&key), sizeof key};
}

template <class F>
struct TestPacket {
  FlowKey<F> key;
  uint64_t hash;
};

template <class F>
class ConntrackTest : public testing::Test {
 protected:
  using Key = FlowKey<F>;
  using Table = Conntrack<F>;

  void make(uint32_t connections, uint32_t stubs = 0, Millis now = 0) {
    table = Table::create({connections, stubs}, now);
    ASSERT_NE(table, nullptr);
  }
  Opened open(const Key& original, const Key& reply, Millis now = 0) {
    return table->open(original, hasher(original), reply, hasher(reply), now);
  }
  Opened open(const Key& original, Millis now = 0) { return open(original, original.reversed(), now); }
  FlowId find(const Key& key) { return table->find(key, hasher(key)); }
  // Nothing but SYNs was sent unless `seq` says so.
  TrackAction track(FlowId flow, uint8_t flags, Millis now) {
    return track(flow, flags, now, (flags & syn) == 0 ? 1 : 0);
  }
  TrackAction track(FlowId flow, uint8_t flags, Millis now, uint32_t seq, uint32_t ack_number = 1) {
    const TrackAction action = table->track(flow, {flags, seq, ack_number, 0}, timeouts, now);
    if (action != TrackAction::Invalid) account(table->flow(flow), 100, now);
    return action;
  }
  // A connection after its handshake.
  FlowId establish(const Key& key, Millis now = 0) {
    const FlowId flow = open(key, now).flow;
    EXPECT_EQ(track(flow, syn, now), TrackAction::Pass);
    EXPECT_EQ(track(flow + 1, syn | ack, now), TrackAction::Pass);
    EXPECT_EQ(track(flow, ack, now), TrackAction::Pass);
    return flow;
  }
  bool settled(FlowId flow) { return (table->flow(flow).flags & flow_flag::settled) != 0; }
  bool assured(FlowId flow) { return (table->connection(connection_of(flow)).flags & connection_flag::assured) != 0; }

  net::FlowHasher hasher;
  Timeouts timeouts;
  std::unique_ptr<Table> table;
};

using Families = testing::Types<V4, V6>;
TYPED_TEST_SUITE(ConntrackTest, Families);

TYPED_TEST(ConntrackTest, UntranslatedConnectionIsFoundBothWays) {
  using F = TypeParam;
  this->make(100);
  const auto original = key<F>(1, 1000, 2, 80);
  const Opened opened = this->open(original, 777);
  ASSERT_EQ(opened.status, OpenStatus::Ok);
  EXPECT_EQ(direction_of(opened.flow), Direction::Original);
  EXPECT_EQ(this->find(original), opened.flow);
  EXPECT_EQ(this->find(original.reversed()), opened.flow + 1);
  EXPECT_EQ(this->find(key<F>(1, 1001, 2, 80)), no_flow);
  EXPECT_FALSE(this->table->is_stub(opened.flow));

  const Flow<F>& flow = this->table->flow(opened.flow);
  EXPECT_EQ(flow.key, original);
  EXPECT_EQ(this->table->flow(opened.flow + 1).key, original.reversed());
  EXPECT_EQ(flow.last_seen, 777U);
  const Connection& connection = this->table->connection(connection_of(opened.flow));
  EXPECT_EQ(connection.created, 777U);
  EXPECT_EQ(connection.protocol, net::protocol::tcp);
  EXPECT_EQ(connection.service, no_service);

  this->table->close(connection_of(opened.flow));
  EXPECT_EQ(this->find(original), no_flow);
  EXPECT_EQ(this->find(original.reversed()), no_flow);
  EXPECT_EQ(this->table->counters().connections, 0U);
  EXPECT_EQ(this->table->counters().inserted, 1U);
  EXPECT_EQ(this->table->counters().removed, 1U);
}

TYPED_TEST(ConntrackTest, TranslatedConnectionIsFoundByTheTranslatedReply) {
  using F = TypeParam;
  this->make(100);
  const auto original = key<F>(1, 1000, 2, 80);
  const auto reply = key<F>(9, 8080, 3, 40000);
  const FlowId flow = this->open(original, reply).flow;
  EXPECT_EQ(this->find(original), flow);
  EXPECT_EQ(this->find(reply), flow + 1);
  EXPECT_EQ(this->find(original.reversed()), no_flow);
}

// MASQ-7: one source port, two VIPs, one backend.
TYPED_TEST(ConntrackTest, ReplyClashInsertsNothing) {
  using F = TypeParam;
  this->make(100);
  ASSERT_EQ(this->open(key<F>(2, 10000, 1, 5201)).status, OpenStatus::Ok);
  const auto to_vip = key<F>(2, 10000, 50, 443);
  EXPECT_EQ(this->open(to_vip, key<F>(1, 5201, 2, 10000)).status, OpenStatus::ReplyClash);
  EXPECT_EQ(this->find(to_vip), no_flow);
  EXPECT_EQ(this->table->counters().clash, 1U);
  EXPECT_EQ(this->table->counters().connections, 1U);
  EXPECT_EQ(this->open(to_vip, key<F>(1, 5201, 2, 10001)).status, OpenStatus::Ok);
  // A key that is its own reversal.
  EXPECT_EQ(this->open(key<F>(5, 7, 5, 7)).status, OpenStatus::ReplyClash);
  EXPECT_EQ(this->find(key<F>(5, 7, 5, 7)), no_flow);
}

TYPED_TEST(ConntrackTest, OriginalExistsSaysWhatIsThere) {
  using F = TypeParam;
  this->make(100, 10);
  const auto original = key<F>(1, 1000, 2, 80);
  const FlowId flow = this->open(original).flow;
  Opened again = this->open(original, key<F>(9, 9, 9, 10));
  EXPECT_EQ(again.status, OpenStatus::OriginalExists);
  EXPECT_EQ(again.flow, flow);
  again = this->open(original.reversed(), key<F>(9, 9, 9, 10));
  EXPECT_EQ(again.status, OpenStatus::OriginalExists);
  EXPECT_EQ(again.flow, flow + 1);
  EXPECT_EQ(this->find(key<F>(9, 9, 9, 10)), no_flow);
}

TYPED_TEST(ConntrackTest, FullTableRefusesUntilSomethingCloses) {
  using F = TypeParam;
  this->make(50);
  for (uint16_t i = 0; i < 50; ++i) ASSERT_EQ(this->open(key<F>(1, i, 2, 80)).status, OpenStatus::Ok);
  const auto one_more = key<F>(1, 50, 2, 80);
  EXPECT_EQ(this->open(one_more).status, OpenStatus::Full);
  EXPECT_EQ(this->find(one_more), no_flow);
  EXPECT_EQ(this->table->counters().insert_failed, 1U);
  EXPECT_EQ(this->table->counters().connections, 50U);
  this->table->close(17);
  EXPECT_EQ(this->open(one_more).status, OpenStatus::Ok);
}

TYPED_TEST(ConntrackTest, Stubs) {
  using F = TypeParam;
  this->make(100, 2);
  const auto add = [&](const FlowKey<F>& k, uint16_t worker) {
    return this->table->add_stub(k, this->hasher(k), worker);
  };
  const auto remove = [&](const FlowKey<F>& k) { return this->table->remove_stub(k, this->hasher(k)); };
  const auto reply = key<F>(9, 8080, 3, 40000);
  EXPECT_EQ(add(reply, 3), StubStatus::Ok);
  EXPECT_EQ(add(reply, 3), StubStatus::Same);
  EXPECT_EQ(add(reply, 4), StubStatus::Clash);
  const FlowId stub = this->find(reply);
  ASSERT_TRUE(this->table->is_stub(stub));
  EXPECT_EQ(this->table->flow(stub).route, 3);
  EXPECT_EQ(this->table->flow(stub).flags, flow_flag::stub);
  // A stub's key is taken, as an original and as a reply.
  EXPECT_EQ(this->open(reply).status, OpenStatus::OriginalExists);
  EXPECT_EQ(this->open(key<F>(1, 1, 2, 2), reply).status, OpenStatus::ReplyClash);
  // And the key of a connection is no place for a stub.
  const auto original = key<F>(1, 1000, 2, 80);
  this->open(original);
  EXPECT_EQ(add(original, 3), StubStatus::Clash);
  EXPECT_FALSE(remove(original));

  EXPECT_EQ(add(key<F>(9, 1, 3, 2), 1), StubStatus::Ok);
  EXPECT_EQ(add(key<F>(9, 1, 3, 3), 1), StubStatus::Full);
  EXPECT_EQ(this->table->counters().stubs, 2U);
  EXPECT_TRUE(remove(reply));
  EXPECT_FALSE(remove(reply));
  EXPECT_EQ(this->find(reply), no_flow);
  EXPECT_EQ(add(key<F>(9, 1, 3, 3), 1), StubStatus::Ok);
}

// Random operations on a small table. The hash has few values, so that chains, equal tags and moved entries are
// the rule; `hash_bits` 64 is the real thing.
template <class F>
void compare_with_map(unsigned hash_bits, uint32_t connections, uint32_t stubs, unsigned operations) {
  const net::FlowHasher real;
  const auto hash = [&](const FlowKey<F>& k) {
    const uint64_t full = real(k);
    return hash_bits == 64 ? full : full & ((uint64_t{1} << hash_bits) - 1);
  };
  const auto table = Conntrack<F>::create({connections, stubs}, 0);
  ASSERT_NE(table, nullptr);
  std::mt19937 random(hash_bits + connections);
  const auto random_key = [&] {
    return key<F>(random() % 8, static_cast<uint16_t>(random() % (connections / 4 + 1)), random() % 8,
                  static_cast<uint16_t>(random() % 4));
  };
  std::unordered_map<std::string, FlowId> model;
  std::vector<ConnectionId> open_connections;
  std::unordered_map<std::string, FlowKey<F>> stub_keys;
  uint64_t full = 0;
  for (unsigned operation = 0; operation < operations; ++operation) {
    // Phases of growth and of decline.
    const bool growing = operation / (connections * 8) % 2 == 0;
    const unsigned dice = random() % 10;
    if (dice < (growing ? 5 : 2)) {
      const FlowKey<F> original = random_key();
      const FlowKey<F> reply = random() % 2 == 0 ? original.reversed() : random_key();
      const Opened opened = table->open(original, hash(original), reply, hash(reply), operation);
      const auto existing = model.find(bytes(original));
      if (existing != model.end()) {
        ASSERT_EQ(opened.status, OpenStatus::OriginalExists);
        ASSERT_EQ(opened.flow, existing->second);
      } else if (original == reply || model.contains(bytes(reply))) {
        ASSERT_EQ(opened.status, OpenStatus::ReplyClash);
      } else if (open_connections.size() == connections) {
        ASSERT_EQ(opened.status, OpenStatus::Full);
        ++full;
      } else {
        ASSERT_EQ(opened.status, OpenStatus::Ok);
        model[bytes(original)] = opened.flow;
        model[bytes(reply)] = opened.flow + 1;
        open_connections.push_back(connection_of(opened.flow));
      }
    } else if (dice < 7) {
      if (open_connections.empty()) continue;
      std::swap(open_connections[random() % open_connections.size()], open_connections.back());
      const ConnectionId id = open_connections.back();
      open_connections.pop_back();
      for (const Direction direction : {Direction::Original, Direction::Reply}) {
        ASSERT_EQ(model.erase(bytes(table->flow(flow_id(id, direction)).key)), 1U);
      }
      table->close(id);
    } else if (dice == 7 && stubs != 0) {
      const FlowKey<F> k = random_key();
      const StubStatus status = table->add_stub(k, hash(k), static_cast<uint16_t>(random() % 2));
      const auto existing = model.find(bytes(k));
      if (existing != model.end()) {
        ASSERT_TRUE(status == StubStatus::Clash || (status == StubStatus::Same && table->is_stub(existing->second)));
      } else if (stub_keys.size() == stubs) {
        ASSERT_EQ(status, StubStatus::Full);
      } else {
        ASSERT_EQ(status, StubStatus::Ok);
        const FlowId id = table->find(k, hash(k));
        ASSERT_TRUE(table->is_stub(id));
        model[bytes(k)] = id;
        stub_keys.emplace(bytes(k), k);
      }
    } else if (dice == 8 && !stub_keys.empty()) {
      const FlowKey<F> k = stub_keys.begin()->second;
      ASSERT_TRUE(table->remove_stub(k, hash(k)));
      model.erase(bytes(k));
      stub_keys.erase(stub_keys.begin());
    }
    TestPacket<F> burst[8];
    FlowId found[8];
    for (auto& packet : burst) {
      packet.key = random_key();
      packet.hash = hash(packet.key);
    }
    table->find_bulk(burst, 8, found);
    for (unsigned i = 0; i < 8; ++i) {
      const auto expected = model.find(bytes(burst[i].key));
      ASSERT_EQ(found[i], expected == model.end() ? no_flow : expected->second);
      ASSERT_EQ(table->find(burst[i].key, burst[i].hash), found[i]);
    }
    ASSERT_EQ(table->counters().connections, open_connections.size());
    ASSERT_EQ(table->counters().stubs, stub_keys.size());
    if (operation % 4096 != 0) continue;
    // Everything is where the model says, through a lookup of its own and through a listing.
    for (const auto& [text, id] : model) {
      FlowKey<F> k;
      std::memcpy(&k, text.data(), sizeof k);
      ASSERT_EQ(table->find(k, hash(k)), id);
    }
    size_t listed = 0;
    for (ConnectionId cursor = 0; cursor != no_connection;) {
      cursor = table->visit(cursor, 7, [&](ConnectionId) { ++listed; });
    }
    ASSERT_EQ(listed, open_connections.size());
  }
  EXPECT_GT(full, 0U) << "the table was never full";
}

TYPED_TEST(ConntrackTest, AgreesWithAMap) { compare_with_map<TypeParam>(64, 500, 60, 500'000); }
TYPED_TEST(ConntrackTest, AgreesWithAMapInLongChains) { compare_with_map<TypeParam>(3, 100, 12, 200'000); }
TYPED_TEST(ConntrackTest, AgreesWithAMapInOneChain) { compare_with_map<TypeParam>(0, 40, 7, 100'000); }
TYPED_TEST(ConntrackTest, AgreesWithAMapInATinyTable) { compare_with_map<TypeParam>(64, 1, 1, 20'000); }

// The guarantee of the overflow pool: with every key in one bucket the table still takes all it promised.
TYPED_TEST(ConntrackTest, EveryKeyInOneBucketStillFits) {
  using F = TypeParam;
  constexpr uint32_t connections = 333;
  constexpr uint32_t stubs = 29;
  this->make(connections, stubs);
  for (unsigned round = 0; round < 2; ++round) {
    for (uint16_t i = 0; i < connections; ++i) {
      const auto original = key<F>(1, i, 2, 80);
      ASSERT_EQ(this->table->open(original, 5, original.reversed(), 5, 0).status, OpenStatus::Ok);
      if (i >= stubs) continue;
      ASSERT_EQ(this->table->add_stub(key<F>(3, i, 4, 80), 5, 1), StubStatus::Ok);
    }
    for (uint16_t i = 0; i < connections; ++i) {
      const FlowId reply = this->table->find(key<F>(2, 80, 1, i), 5);
      ASSERT_NE(reply, no_flow);
      ASSERT_EQ(this->table->flow(reply).key, key<F>(2, 80, 1, i));
    }
    for (uint16_t i = 0; i < stubs; ++i) ASSERT_TRUE(this->table->remove_stub(key<F>(3, i, 4, 80), 5));
    for (uint16_t i = 0; i < connections; ++i) {
      this->table->close(connection_of(this->table->find(key<F>(1, i, 2, 80), 5)));
    }
  }
}

TYPED_TEST(ConntrackTest, ClosedRecordIsTheNextOneUsed) {
  using F = TypeParam;
  this->make(100);
  for (uint16_t i = 0; i < 10; ++i) this->open(key<F>(1, i, 2, 80));
  const uint64_t removed = this->table->counters().removed;
  this->table->close(4);
  EXPECT_EQ(this->table->counters().removed, removed + 1) << "how holders of ids learn of it";
  this->table->close(4);
  EXPECT_EQ(this->table->counters().removed, removed + 1) << "closing twice is closing once";
  EXPECT_EQ(this->table->counters().connections, 9U);
  EXPECT_EQ(this->open(key<F>(1, 99, 2, 80)).flow, flow_id(4, Direction::Original));
  EXPECT_EQ(this->open(key<F>(1, 98, 2, 80)).flow, flow_id(10, Direction::Original));
  EXPECT_EQ(this->table->flow(flow_id(4, Direction::Original)).packets, 0U);
}

TYPED_TEST(ConntrackTest, VisitIsBoundedAndMayClose) {
  using F = TypeParam;
  this->make(100);
  for (uint16_t i = 0; i < 100; ++i) this->open(key<F>(1, i, 2, 80));
  unsigned calls = 0;
  ConnectionId cursor = 0;
  while (cursor != no_connection) {
    unsigned in_this_call = 0;
    cursor = this->table->visit(cursor, 16, [&](ConnectionId id) {
      ++in_this_call;
      this->table->close(id);
    });
    EXPECT_LE(in_this_call, 16U);
    ++calls;
  }
  EXPECT_EQ(calls, 7U);
  EXPECT_EQ(this->table->counters().connections, 0U);
}

TYPED_TEST(ConntrackTest, SizingOutOfRangeIsRefused) {
  using Table = Conntrack<TypeParam>;
  EXPECT_EQ(Table::create({0, 0}, 0), nullptr);
  EXPECT_EQ(Table::create({(1U << 30) + 1, 0}, 0), nullptr);
  EXPECT_EQ(Table::create({1, 0xffffffff}, 0), nullptr);
}

// --- memory ---

struct Allocation {
  std::byte* start;
  size_t bytes;
};
std::vector<Allocation> allocations;
size_t allocation_limit;

// Pages of 4 KiB, so that residency says what was touched.
void* small_pages(size_t bytes, size_t) {
  if (allocations.size() == allocation_limit) return nullptr;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  allocations.push_back({static_cast<std::byte*>(memory), bytes});
  return memory;
}
void forget(void* memory, size_t bytes) {
  const auto found = std::find_if(allocations.begin(), allocations.end(),
                                  [&](const Allocation& a) { return a.start == memory && a.bytes == bytes; });
  ASSERT_NE(found, allocations.end());
  allocations.erase(found);
  munmap(memory, bytes);
}
size_t resident_pages() {
  size_t resident = 0;
  for (const Allocation& allocation : allocations) {
    std::vector<unsigned char> pages((allocation.bytes + 4095) / 4096);
    EXPECT_EQ(mincore(allocation.start, allocation.bytes, pages.data()), 0);
    for (const unsigned char page : pages) resident += page & 1;
  }
  return resident;
}

TYPED_TEST(ConntrackTest, UnusedMemoryIsNotTouched) {
  using F = TypeParam;
  allocation_limit = 100;
  this->table = Conntrack<F>::create({1'000'000, 10'000}, 0, Memory{small_pages, forget});
  ASSERT_NE(this->table, nullptr);
  EXPECT_EQ(resident_pages(), 0U);
  for (uint16_t i = 0; i < 10; ++i) this->open(key<F>(1, i, 2, 80));
  EXPECT_LE(resident_pages(), 10U + 3U);
  // Recycled records stay where they are.
  for (unsigned i = 0; i < 10'000; ++i) {
    this->table->close(i % 10);
    this->open(key<F>(1, static_cast<uint16_t>(i % 10), 2, 80));
  }
  EXPECT_LE(resident_pages(), 10U + 3U);
  EXPECT_EQ(this->table->counters().connections, 10U);
  this->table.reset();
  EXPECT_TRUE(allocations.empty());
}

TYPED_TEST(ConntrackTest, CT35_MemoryOfAFullTable) {
  using F = TypeParam;
  constexpr uint32_t connections = 1U << 20;
  allocation_limit = 100;
  this->table = Conntrack<F>::create({connections, 0}, 0, Memory{small_pages, forget});
  ASSERT_NE(this->table, nullptr);
  for (uint32_t i = 0; i < connections; ++i) {
    const FlowId flow = this->open(key<F>(1 + i / 50'000, static_cast<uint16_t>(i % 50'000), 100, 80)).flow;
    ASSERT_NE(flow, no_flow);
    this->track(flow, syn, 0);
  }
  // An IPv6 flow record is twice as large.
  const size_t each = resident_pages() * 4096 / connections;
  EXPECT_LE(each, sizeof(Flow<F>) == 64 ? 224U : 352U);
  this->table.reset();
}

TYPED_TEST(ConntrackTest, RefusedMemoryIsAnAnswer) {
  for (size_t limit = 0; limit < 3; ++limit) {
    allocation_limit = limit;
    EXPECT_EQ(Conntrack<TypeParam>::create({1000, 10}, 0, Memory{small_pages, forget}), nullptr);
    EXPECT_TRUE(allocations.empty()) << "what was granted is given back";
  }
}

TEST(Memory, AnonymousIsZeroedAlignedAndReleasable) {
  const Memory memory = Memory::anonymous();
  for (const size_t bytes : {size_t{64}, size_t{4096}, size_t{5000}, size_t{2} << 20, (size_t{6} << 20) + 64}) {
    auto* start = static_cast<unsigned char*>(memory.allocate(bytes, 64));
    ASSERT_NE(start, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(start) % (bytes >= size_t{2} << 20 ? size_t{2} << 20 : 64), 0U);
    EXPECT_EQ(start[0] | start[bytes - 1], 0);
    start[0] = start[bytes - 1] = 1;
    memory.release(start, bytes);
  }
  EXPECT_EQ(memory.allocate(size_t{1} << 60, 64), nullptr);
}

// --- tracking, expiry, eviction ---

TYPED_TEST(ConntrackTest, TcpSettlesWhenAssured) {
  using F = TypeParam;
  this->make(10);
  const FlowId flow = this->open(key<F>(1, 1, 2, 80)).flow;
  for (const uint8_t flags : {uint8_t{syn}, uint8_t{syn | ack}}) {
    this->track(flags == syn ? flow : flow + 1, flags, 0);
    EXPECT_FALSE(this->settled(flow));
    EXPECT_FALSE(this->settled(flow + 1));
  }
  this->track(flow, ack, 0);
  EXPECT_TRUE(this->assured(flow));
  EXPECT_TRUE(this->settled(flow));
  EXPECT_TRUE(this->settled(flow + 1));
  // A remembered SYN must see the next segment.
  this->track(flow, syn, 0, 500);
  EXPECT_FALSE(this->settled(flow + 1));
  this->track(flow + 1, ack, 0);
  EXPECT_TRUE(this->settled(flow));
  this->track(flow + 1, fin | ack, 0);
  EXPECT_FALSE(this->settled(flow));
  EXPECT_FALSE(this->settled(flow + 1));
  // The caller's own flags survive.
  this->table->flow(flow).flags |= flow_flag::translated;
  this->track(flow, fin | ack, 0);
  EXPECT_EQ(this->table->flow(flow).flags, flow_flag::translated);
}

TYPED_TEST(ConntrackTest, InvalidSegmentRefreshesNothing) {
  using F = TypeParam;
  this->make(10);
  const FlowId flow = this->establish(key<F>(1, 1, 2, 80), 100);
  const Connection before = this->table->connection(connection_of(flow));
  EXPECT_EQ(this->track(flow, syn | fin, 5000), TrackAction::Invalid);
  EXPECT_EQ(std::memcmp(&before, &this->table->connection(connection_of(flow)), sizeof before), 0);
  EXPECT_EQ(this->table->flow(flow).last_seen, 100U);
}

TYPED_TEST(ConntrackTest, Ct9UdpIsAssuredWhenAnsweredAndOlderThanTwoSeconds) {
  using F = TypeParam;
  this->make(10);
  const Millis start = 0xfffffe00;  // wraps on the way
  const FlowId flow = this->open(key<F>(1, 1, 2, 53, net::protocol::udp), start).flow;
  this->track(flow, 0, start);
  EXPECT_TRUE(this->settled(flow)) << "more questions change nothing";
  EXPECT_FALSE(this->settled(flow + 1));
  this->track(flow + 1, 0, start + 10);
  EXPECT_FALSE(this->settled(flow));
  EXPECT_FALSE(this->settled(flow + 1));
  this->track(flow, 0, start + 2000);
  EXPECT_FALSE(this->assured(flow));
  this->track(flow, 0, start + 2001);
  EXPECT_TRUE(this->assured(flow));
  EXPECT_TRUE(this->settled(flow));
  EXPECT_TRUE(this->settled(flow + 1));
}

TYPED_TEST(ConntrackTest, EchoSettlesWithItsAnswerAndIsNeverAssured) {
  using F = TypeParam;
  this->make(10);
  const FlowId flow = this->open(key<F>(1, 77, 2, 0, net::protocol::icmpv6)).flow;
  this->track(flow, 0, 0);
  this->track(flow + 1, 0, 1);
  EXPECT_TRUE(this->settled(flow));
  EXPECT_TRUE(this->settled(flow + 1));
  this->track(flow, 0, 10'000);
  EXPECT_FALSE(this->assured(flow));
}

// Every timeout of section 5.1 as a connection meets it: alive one slot before, gone one slot after.
TYPED_TEST(ConntrackTest, IdleConnectionsExpireByState) {
  using F = TypeParam;
  struct Case {
    const char* name;
    uint8_t protocol;
    std::vector<std::pair<Direction, uint8_t>> packets;
    uint32_t seconds;
  };
  constexpr Direction c = Direction::Original;
  constexpr Direction s = Direction::Reply;
  const uint8_t finack = fin | ack;
  const uint8_t synack = syn | ack;
  using net::protocol::tcp;
  const std::vector<Case> cases{
      {"SYN_SENT", tcp, {{c, syn}}, 120},
      {"SYN_RECV", tcp, {{c, syn}, {s, synack}}, 60},
      {"ESTABLISHED", tcp, {{c, syn}, {s, synack}, {c, ack}}, 86400},
      {"picked up", tcp, {{c, ack}}, 300},
      {"picked up, answered", tcp, {{c, ack}, {s, ack}}, 86400},
      {"FIN_WAIT", tcp, {{c, syn}, {s, synack}, {c, ack}, {s, finack}}, 120},
      {"CLOSE_WAIT", tcp, {{c, syn}, {s, synack}, {c, ack}, {s, finack}, {c, ack}}, 3600},
      {"LAST_ACK", tcp, {{c, syn}, {s, synack}, {c, ack}, {s, finack}, {c, finack}}, 30},
      {"TIME_WAIT", tcp, {{c, syn}, {s, synack}, {c, ack}, {s, finack}, {c, finack}, {s, ack}}, 120},
      {"CLOSE", tcp, {{c, syn}, {s, synack}, {c, ack}, {s, rst}}, 10},
      {"SYN_SENT2", tcp, {{c, syn}, {s, syn}}, 120},
      {"UDP", net::protocol::udp, {{c, 0}}, 30},
      {"UDP, answered", net::protocol::udp, {{c, 0}, {s, 0}}, 30},
      {"ICMP", net::protocol::icmp, {{c, 0}, {s, 0}}, 30},
      {"GRE", gre_protocol, {{c, 0}, {s, 0}}, 30},
      {"generic", 99, {{c, 0}}, 600},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    const Millis start = 0xffffffff - 20'000;  // the wrap comes 20 s later
    this->make(4, 0, start);
    const FlowId flow = this->open(key<F>(1, 1, 2, 2, test.protocol), start).flow;
    for (const auto& [direction, flags] : test.packets) {
      ASSERT_EQ(this->track(flow_id(connection_of(flow), direction), flags, start), TrackAction::Pass);
    }
    const uint32_t lifetime = test.seconds * 1000;
    unsigned closed = 0;
    uint32_t elapsed = 0;
    for (; closed == 0 && elapsed<lifetime + 60'000; elapsed += test.seconds> 1000 ? 100 : 20) {
      closed = this->table->expire(start + elapsed, this->timeouts, unlimited, ignore_close);
    }
    EXPECT_EQ(closed, 1U);
    EXPECT_GE(elapsed, lifetime);
    EXPECT_LE(elapsed, lifetime + 2 * TimerWheel::slot_width);
  }
}

TYPED_TEST(ConntrackTest, EitherDirectionKeepsAConnectionAlive) {
  using F = TypeParam;
  this->make(4);
  const FlowId flow = this->open(key<F>(1, 1, 2, 53, net::protocol::udp)).flow;
  this->track(flow, 0, 0);
  Millis now = 0;
  for (; now < 600'000; now += 1000) {
    if (now % 20'000 == 0) account(this->table->flow(now % 40'000 == 0 ? flow : flow + 1), 100, now);
    ASSERT_EQ(this->table->expire(now, this->timeouts, unlimited, ignore_close), 0U) << now;
  }
  unsigned closed = 0;
  for (; closed == 0 && now < 700'000; now += 100) {
    closed = this->table->expire(now, this->timeouts, unlimited, ignore_close);
  }
  EXPECT_NEAR(now, 580'000 + 30'000, 1000);
}

// The clock was read for `expire` a moment before it was read for a packet.
TYPED_TEST(ConntrackTest, PacketFromAMomentAheadIsNotIdle) {
  using F = TypeParam;
  this->make(4);
  const FlowId flow = this->open(key<F>(1, 1, 2, 53, net::protocol::udp)).flow;
  for (Millis now = 0; now < 100'000; now += 10) {
    account(this->table->flow(flow), 100, now + 5);
    ASSERT_EQ(this->table->expire(now, this->timeouts, unlimited, ignore_close), 0U) << now;
  }
}

// A direction silent for more than half of the clock's range is not taken for the younger one.
TYPED_TEST(ConntrackTest, OneWayTrafficSurvivesForMonths) {
  using F = TypeParam;
  this->make(4);
  const FlowId flow = this->open(key<F>(1, 1, 2, 53, net::protocol::udp)).flow;
  this->track(flow, 0, 0);
  uint64_t now = 0;
  for (; now < uint64_t{90} * 86'400'000; now += 29'000) {
    account(this->table->flow(flow), 100, static_cast<Millis>(now));
    ASSERT_EQ(this->table->expire(static_cast<Millis>(now), this->timeouts, unlimited, ignore_close), 0U) << now;
  }
}

TYPED_TEST(ConntrackTest, Ct2NewTimeoutsReachOldConnections) {
  using F = TypeParam;
  this->make(4);
  this->establish(key<F>(1, 1, 2, 80));
  this->timeouts.set(TcpState::Established, 400'000);
  unsigned closed = 0;
  Millis now = 0;
  for (; closed == 0 && now < 1'000'000; now += 100) {
    closed = this->table->expire(now, this->timeouts, unlimited, ignore_close);
  }
  EXPECT_EQ(closed, 1U);
  EXPECT_GE(now, 400'000U);
}

TYPED_TEST(ConntrackTest, ExpiryIsBoundedAndReportsBeforeClosing) {
  using F = TypeParam;
  this->make(1000);
  for (uint16_t i = 0; i < 1000; ++i) {
    const FlowId flow = this->open(key<F>(1, i, 2, 53, net::protocol::udp)).flow;
    this->track(flow, 0, 0);
  }
  unsigned reported = 0;
  unsigned calls = 0;
  while (this->table->counters().connections != 0) {
    const unsigned closed = this->table->expire(100'000, this->timeouts, 50, [&](ConnectionId id) {
      ++reported;
      EXPECT_EQ(this->find(this->table->flow(flow_id(id, Direction::Original)).key), flow_id(id, Direction::Original));
    });
    ASSERT_EQ(closed, 50U);
    ++calls;
  }
  EXPECT_EQ(reported, 1000U);
  EXPECT_EQ(calls, 20U);
}

TYPED_TEST(ConntrackTest, Ct9VictimsUnassuredThenClosingThenNone) {
  using F = TypeParam;
  this->make(4);
  EXPECT_EQ(this->table->find_victim(), no_connection);
  const FlowId established = this->establish(key<F>(1, 1, 2, 80));
  const FlowId closing = this->establish(key<F>(1, 2, 2, 80));
  const FlowId closing_first = this->establish(key<F>(1, 3, 2, 80));
  this->track(closing_first, fin | ack, 0);
  this->track(closing, fin | ack, 0);
  const FlowId half_open = this->open(key<F>(1, 4, 2, 80)).flow;
  this->track(half_open, syn, 0);
  ASSERT_EQ(this->open(key<F>(1, 5, 2, 80)).status, OpenStatus::Full);

  std::vector<ConnectionId> victims;
  const auto record = [&](ConnectionId id) { victims.push_back(id); };
  while (this->table->evict(record)) {
  }
  EXPECT_EQ(victims, (std::vector<ConnectionId>{connection_of(half_open), connection_of(closing_first),
                                                connection_of(closing)}));
  EXPECT_EQ(this->table->find_victim(), no_connection);
  EXPECT_NE(this->find(key<F>(1, 1, 2, 80)), no_flow);
  EXPECT_EQ(this->table->counters().early_drop, 3U);
  EXPECT_EQ(this->table->counters().connections, 1U);
  EXPECT_TRUE(this->assured(established));
}

// A table full of half-open connections always has room for the next; the established ones stay.
TYPED_TEST(ConntrackTest, SynFloodDoesNotReachEstablishedConnections) {
  using F = TypeParam;
  this->make(100);
  for (uint16_t i = 0; i < 50; ++i) this->establish(key<F>(1, i, 2, 80));
  for (uint16_t i = 0; i < 5000; ++i) {
    const auto flood = key<F>(7, i, 2, 80);
    Opened opened = this->open(flood);
    if (opened.status == OpenStatus::Full) {
      ASSERT_TRUE(this->table->evict(ignore_close));
      opened = this->open(flood);
    }
    ASSERT_EQ(opened.status, OpenStatus::Ok);
    this->track(opened.flow, syn, 0);
  }
  for (uint16_t i = 0; i < 50; ++i) EXPECT_NE(this->find(key<F>(1, i, 2, 80)), no_flow);
  EXPECT_EQ(this->table->counters().early_drop, 4950U);
}

// The two lists against std::list through random lives, so that every kind of relinking happens.
TYPED_TEST(ConntrackTest, VictimIsTheOldestOfTheWorstStanding) {
  using F = TypeParam;
  this->make(64);
  std::mt19937 random(3);
  std::list<ConnectionId> unassured;
  std::list<ConnectionId> closing;
  const auto relist = [&](ConnectionId id) {
    const Connection& connection = this->table->connection(id);
    const bool is_assured = (connection.flags & connection_flag::assured) != 0;
    const bool is_closing =
        is_assured && connection.tcp_state != TcpState::Established && connection.tcp_state != TcpState::SynRecv;
    const auto keep = [id](std::list<ConnectionId>& list, bool belongs) {
      const auto found = std::find(list.begin(), list.end(), id);
      if (belongs && found == list.end()) list.push_back(id);
      if (!belongs && found != list.end()) list.erase(found);
    };
    keep(unassured, !is_assured);
    keep(closing, is_closing);
  };
  for (unsigned i = 0; i < 200'000; ++i) {
    const auto original = key<F>(1, static_cast<uint16_t>(random() % 80), 2, 80);
    FlowId flow = this->find(original);
    if (flow == no_flow) {
      const Opened opened = this->open(original);
      if (opened.status == OpenStatus::Full) {
        const ConnectionId victim = this->table->find_victim();
        ASSERT_EQ(victim, !unassured.empty() ? unassured.front() : !closing.empty() ? closing.front() : no_connection);
        const bool evicted = this->table->evict([&](ConnectionId id) {
          unassured.remove(id);
          closing.remove(id);
        });
        if (!evicted) {
          unassured.remove(0);
          closing.remove(0);
          this->table->close(0);
        }
        continue;
      }
      flow = opened.flow;
      relist(connection_of(flow));
    }
    constexpr uint8_t kinds[] = {syn, syn | ack, ack, ack, fin | ack, rst};
    const auto direction = static_cast<Direction>(random() % 2);
    const TrackAction action = this->track(flow_id(connection_of(flow), direction), kinds[random() % 6], 0);
    if (action == TrackAction::Reopen || action == TrackAction::Close) {
      unassured.remove(connection_of(flow));
      closing.remove(connection_of(flow));
      this->table->close(connection_of(flow));
    } else {
      relist(connection_of(flow));
    }
  }
}

}  // namespace
}  // namespace sluice::nat
