// The allocator of addresses under random requests, with syncs that fail and the power cut at any step of any write: no
// address is ever given twice, nothing that was answered is lost, and nothing stays behind that no one asked for.
#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "tests/unit/ipam_memory.h"

namespace sluice::control::ipam {
namespace {

using net::Family;

// What a client was told, and what it does not know because the power went before the answer.
struct Client {
  std::map<std::string, std::vector<net::IpAddr>> held;
  std::set<std::string> asked;     // without an answer
  std::set<std::string> released;  // without an answer
};

class World {
 public:
  explicit World(uint32_t seed) : random_(seed) {
    config_.ipam.max_blocks_per_host = 3;
    config_.ipam.cooldown_seconds = seed % 3 == 0 ? 5 : 0;
    config_.ipam.strict_affinity = seed % 4 == 1;
    start();
  }

  void step() {
    now_ += pick(2);
    if (pick(12) == 0) storage_.steps_left = pick(9);
    if (pick(15) == 0) storage_.fail_sync = true;
    try {
      act();
    } catch (const PowerCut&) {
      storage_.restart(pick(storage_.unsynced() + 1));
      ++cuts;
      start();
    }
    check();
  }

  void end() {
    storage_.steps_left.reset();
    storage_.fail_sync = false;
    for (const std::string& handle : handles()) ASSERT_TRUE(ipam_->release(handle, now_));
    now_ += 100;
    EXPECT_TRUE(settle());
    EXPECT_TRUE(ipam_->tidy(config_, now_));
    EXPECT_TRUE(ipam_->drop(ipam_->given_up()));
    EXPECT_TRUE(ipam_->state().handles().empty());
    std::map<std::pair<std::string, Family>, int> left;
    for (const auto& [cidr, block] : ipam_->state().blocks()) {
      EXPECT_TRUE(block.used.empty());
      EXPECT_EQ(block.free.size(), block.size());
      EXPECT_EQ(++(left[{block.node, cidr.family()}]), 1) << "a node keeps one empty block of a family";
    }
  }

  int cuts = 0, answered = 0, refused = 0, failed_syncs = 0;

 private:
  size_t pick(size_t below) { return std::uniform_int_distribution<size_t>(0, below - 1)(random_); }

  std::vector<std::string> handles() const {
    std::vector<std::string> out;
    for (const auto& [name, handle] : ipam_->state().handles()) out.push_back(name);
    return out;
  }

  void start() {
    ipam_.emplace(storage_);
    const auto loaded = ipam_->load();
    ASSERT_TRUE(loaded) << loaded.error().message;
  }

  // As the controller does it: the disk, the routes, then the blocks that nobody routes any more.
  // False: it is not on the disk.
  bool settle() {
    if (!ipam_->repair()) return false;
    const uint64_t written = ipam_->written();
    if (!ipam_->sync()()) {
      ++failed_syncs;
      ipam_->sync_failed();
      return false;
    }
    EXPECT_TRUE(ipam_->synced(written));
    if (pick(2) == 0) {
      EXPECT_TRUE(ipam_->drop(ipam_->given_up()));
    }
    return true;
  }

  void act() {
    const size_t kind = pick(20);
    if (kind < 10) return assign();
    if (kind < 17) return release();
    if (kind == 17) return start();  // a restart in order
    if (kind == 18) {
      EXPECT_TRUE(ipam_->tidy(config_, now_));
      (void)settle();
      return;
    }
    // GC: what was asked for and never answered is not wanted.
    const std::set<std::string> asked = client_.asked;
    for (const std::string& handle : asked) {
      ASSERT_TRUE(ipam_->release(handle, now_));
      if (settle()) client_.asked.erase(handle);
    }
  }

  void assign() {
    Request request{.handle = "h" + std::to_string(next_++), .node = "n" + std::to_string(1 + pick(3))};
    if (pick(3) != 0) request.families.push_back(Family::V4);
    if (pick(3) != 0 || request.families.empty()) request.families.push_back(Family::V6);
    if (pick(6) == 0) request.addresses = {net::Ipv4Addr::from_host(0x0a000000 + static_cast<uint32_t>(pick(64)))};
    client_.asked.insert(request.handle);
    const auto got = ipam_->assign(config_, request, now_);
    if (!got) {
      ++refused;
      ASSERT_NE(got.error().kind, Refusal::Kind::NotKept) << got.error().message;
      client_.asked.erase(request.handle);
      return;
    }
    // Whose answer is an error asks again, or is not there any more.
    if (!settle()) {
      if (pick(2) == 0) return;
      const auto again = ipam_->assign(config_, request, now_);
      ASSERT_TRUE(again);
      ASSERT_EQ(*again, *got);
      if (!settle()) return;
    }
    client_.asked.erase(request.handle);
    client_.held[request.handle] = *got;
    ++answered;
  }

  void release() {
    if (client_.held.empty()) return;
    const auto chosen = std::next(client_.held.begin(), static_cast<std::ptrdiff_t>(pick(client_.held.size())));
    const std::string handle = chosen->first;
    // From here on the client does not count on it, whatever becomes of the call.
    client_.held.erase(chosen);
    client_.released.insert(handle);
    ASSERT_TRUE(ipam_->release(handle, now_));
    EXPECT_TRUE(ipam_->tidy(config_, now_));
    (void)settle();
  }

  void check() {
    const State& state = ipam_->state();
    std::set<net::IpAddr> seen;
    for (const auto& [handle, addresses] : client_.held) {
      const Handle* held = state.handle(handle);
      ASSERT_NE(held, nullptr) << handle << " was answered and is lost";
      ASSERT_EQ(held->addresses, addresses) << handle;
      for (const net::IpAddr& address : addresses) {
        ASSERT_TRUE(seen.insert(address).second) << net::to_string(address) << " is given twice";
        const Block* block = state.block_of(address);
        ASSERT_NE(block, nullptr);
        ASSERT_EQ(block->used.at(block->ordinal(address)), handle);
        if (config_.ipam.strict_affinity) {
          ASSERT_EQ(block->node, held->node);
        }
      }
    }
    size_t used = 0;
    for (const auto& [cidr, block] : state.blocks()) {
      ASSERT_EQ(block.used.size() + block.free.size(), block.size());
      used += block.used.size();
    }
    size_t held = 0;
    for (const auto& [name, handle] : state.handles()) {
      held += handle.addresses.size();
      ASSERT_TRUE(client_.held.contains(name) || client_.asked.contains(name) || client_.released.contains(name))
          << name << " is nobody's";
      // A release without an answer is repeated.
      if (client_.released.contains(name)) repeat_.push_back(name);
    }
    ASSERT_EQ(used, held);
    if (!repeat_.empty()) storage_.steps_left.reset();
    for (const std::string& name : repeat_) {
      ASSERT_TRUE(ipam_->release(name, now_));
    }
    repeat_.clear();
    // The memory and what a restart finds are the same.
    if (pick(50) == 0) {
      MemoryStorage copy;
      copy.snapshot = storage_.snapshot;
      copy.log = storage_.log;
      Ipam other(copy);
      ASSERT_TRUE(other.load());
      ASSERT_EQ(other.state(), state);
    }
  }

  std::mt19937 random_;
  config::Config config_ =
      pools_of({pool("a", "10.0.0.0/26", 30), pool("b", "10.0.1.0/27", 29), pool("six", "fd00::/122", 125)});
  MemoryStorage storage_;
  std::optional<Ipam> ipam_;
  Client client_;
  std::vector<std::string> repeat_;
  Seconds now_ = 1;
  int next_ = 0;
};

TEST(IpamCrash, IPAM8_NeverTwiceNeverLostNeverLeaked) {
  int cuts = 0, answered = 0, refused = 0, failed_syncs = 0;
  for (uint32_t seed = 0; seed < 24; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    for (int i = 0; i < 1500 && !testing::Test::HasFatalFailure(); ++i) world.step();
    world.end();
    cuts += world.cuts;
    answered += world.answered;
    refused += world.refused;
    failed_syncs += world.failed_syncs;
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(cuts, 1000);
  EXPECT_GT(answered, 5000);
  EXPECT_GT(failed_syncs, 500);
  EXPECT_GT(refused, 100) << "the pools are small";
}

// Two routers, each with a store of its own, and one configuration but for their names: no address is ever given by
// both, whatever ranges the configuration gives to whom, for whomever they are asked.
TEST(IpamCrash, IPAM4_TwoStoresOfOneConfigurationNeverGiveTheSameAddress) {
  int answered = 0, refused = 0;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](size_t below) { return std::uniform_int_distribution<size_t>(0, below - 1)(random); };
    config::Config config =
        pools_of({pool("a", "10.0.0.0/26", 30), pool("b", "10.0.1.0/27", 29), pool("six", "fd00::/122", 125)});
    config.ipam.max_blocks_per_host = pick(2) == 0 ? 0 : 3;
    config.ipam.strict_affinity = pick(3) == 0;
    std::array<config::Config, 2> of{config, config};
    std::array<MemoryStorage, 2> disks;
    std::array<Ipam, 2> stores{Ipam(disks[0]), Ipam(disks[1])};
    const auto say = [&](const auto& change) {
      for (config::Config& one : of) change(one);
    };
    const std::array<const char*, 2> names{"n1", "n2"};
    for (size_t i = 0; i < 2; ++i) {
      of[i].gateway.node_name = names[i];
      of[i].gateway.local_node_names = {names[i]};
      ASSERT_TRUE(stores[i].load());
    }
    // Ranges of the pools in quarters, each a node's for ever; some come later.
    const std::array<const char*, 12> ranges{"10.0.0.0/28", "10.0.0.16/28", "10.0.0.32/28", "10.0.0.48/28",
                                             "10.0.1.0/29", "10.0.1.8/29",  "10.0.1.16/29", "10.0.1.24/29",
                                             "fd00::/124",  "fd00::10/124", "fd00::20/124", "fd00::30/124"};
    std::map<net::IpAddr, std::pair<size_t, std::string>> given;
    for (int step = 0; step < 300; ++step) {
      if (pick(30) == 0) {
        const size_t range = pick(ranges.size());
        const std::string node = "n" + std::to_string(1 + range % 3);
        const std::string name = "range-" + std::to_string(range);
        say([&](config::Config& one) {
          one.blocks[name] = {.name = name, .node = node, .cidr = *net::parse_prefix(ranges[range])};
        });
      }
      const size_t at = pick(2);
      if (pick(4) == 0 && !given.empty()) {
        const auto held = std::next(given.begin(), static_cast<std::ptrdiff_t>(pick(given.size())));
        const auto holder = held->second;
        const auto& [store, handle] = holder;
        ASSERT_TRUE(stores[store].release(handle, step));
        std::erase_if(given, [&](const auto& one) { return one.second == holder; });
        ASSERT_TRUE(stores[store].tidy(of[store], step));
        ASSERT_TRUE(stores[store].sync()());
        ASSERT_TRUE(stores[store].synced(stores[store].written()));
        ASSERT_TRUE(stores[store].drop(stores[store].given_up()));
        continue;
      }
      Request request{.handle = "h" + std::to_string(step),
                      .node = pick(4) == 0 ? "n" + std::to_string(1 + pick(3)) : names[at],
                      .families = {pick(2) == 0 ? Family::V4 : Family::V6}};
      if (pick(6) == 0) request.addresses = {net::Ipv4Addr::from_host(0x0a000000 + static_cast<uint32_t>(pick(64)))};
      const auto got = stores[at].assign(of[at], request, step);
      if (!got) {
        ++refused;
        continue;
      }
      ++answered;
      ASSERT_TRUE(stores[at].sync()());
      ASSERT_TRUE(stores[at].synced(stores[at].written()));
      for (const net::IpAddr& address : *got) {
        const auto [before, fresh] = given.try_emplace(address, at, request.handle);
        ASSERT_TRUE(fresh) << net::to_string(address) << " is given by both, " << names[before->second.first] << " and "
                           << names[at];
      }
    }
  }
  EXPECT_GT(answered, 3000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace sluice::control::ipam
