// The wheel against a std::multimap of deadlines.
#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "nat/expiry.h"

namespace sluice::nat {
namespace {

constexpr Millis slot = TimerWheel::slot_width;
constexpr unsigned unlimited = 0xffffffff;

struct Wheel {
  explicit Wheel(size_t connections, Millis now = 0) : records(connections), wheel(records.data(), now) {}

  std::vector<ConnectionId> advance(Millis now, unsigned budget = unlimited) {
    std::vector<ConnectionId> due;
    wheel.advance(now, budget, [&](ConnectionId id) { due.push_back(id); });
    return due;
  }

  std::vector<Connection> records;
  TimerWheel wheel;
};

TEST(TimerWheel, NeverEarlyAtMostOneSlotLate) {
  for (const Millis deadline : {Millis{0}, Millis{1}, slot - 1, slot, slot + 1, 1000 * slot, 1023 * slot, 1024 * slot,
                                1025 * slot, Millis{1'000'000}, Millis{86'400'000}}) {
    Wheel w(1);
    w.wheel.arm(0, deadline);
    Millis fired = 0;
    for (Millis now = 0;; now += deadline < 10'000 ? 1 : 64) {
      if (!w.advance(now).empty()) {
        fired = now;
        break;
      }
      ASSERT_LE(now, deadline + 2 * slot);
    }
    EXPECT_GE(fired, deadline);
    EXPECT_LE(fired, deadline + slot + 64);
    EXPECT_FALSE(w.wheel.armed(0));
    EXPECT_EQ(w.wheel.size(), 0U);
  }
}

TEST(TimerWheel, ArmingAgainMovesAndDisarmingForgets) {
  Wheel w(3);
  w.wheel.arm(0, 10'000);
  w.wheel.arm(1, 10'000);
  w.wheel.arm(2, 10'000);
  w.wheel.arm(1, 20'000);
  w.wheel.disarm(2);
  w.wheel.disarm(2);
  EXPECT_EQ(w.wheel.size(), 2U);
  EXPECT_EQ(w.advance(15'000), std::vector<ConnectionId>{0});
  EXPECT_EQ(w.advance(25'000), std::vector<ConnectionId>{1});
  EXPECT_TRUE(w.advance(1'000'000).empty());
}

TEST(TimerWheel, DeadlineInThePastIsDueNext) {
  Wheel w(1, 50'000);
  w.advance(50'000);
  w.wheel.arm(0, 40'000);
  EXPECT_EQ(w.advance(50'000 + slot), std::vector<ConnectionId>{0});
}

TEST(TimerWheel, BudgetBoundsACallAndNothingIsLost) {
  Wheel w(1000);
  for (ConnectionId id = 0; id < 1000; ++id) w.wheel.arm(id, 1000 + id % 7 * slot);
  std::vector<ConnectionId> due;
  unsigned calls = 0;
  while (due.size() < 1000) {
    const std::vector<ConnectionId> part = w.advance(100'000, 64);
    ASSERT_FALSE(part.empty());
    ASSERT_LE(part.size(), 64U);
    due.insert(due.end(), part.begin(), part.end());
    ++calls;
  }
  EXPECT_EQ(calls, 16U);
  std::sort(due.begin(), due.end());
  for (ConnectionId id = 0; id < 1000; ++id) EXPECT_EQ(due[id], id);
}

TEST(TimerWheel, CallbackMayArmAndDisarm) {
  Wheel w(4);
  for (ConnectionId id = 0; id < 4; ++id) w.wheel.arm(id, 1000);
  std::vector<ConnectionId> due;
  w.wheel.advance(5000, unlimited, [&](ConnectionId id) {
    due.push_back(id);
    if (due.size() == 1) {
      // Whichever came first: the others of its slot go away, it comes back.
      for (ConnectionId other = 0; other < 4; ++other) w.wheel.disarm(other);
      w.wheel.arm(id, 9000);
    }
  });
  ASSERT_EQ(due.size(), 1U);
  EXPECT_EQ(w.advance(10'000), due);
}

TEST(TimerWheel, LongStopAndIdleWheel) {
  Wheel w(2);
  w.wheel.arm(0, 1000);
  w.wheel.arm(1, 5'000'000);
  EXPECT_EQ(w.advance(4'000'000), std::vector<ConnectionId>{0}) << "more than one turn late";
  EXPECT_EQ(w.advance(5'000'000 + slot), std::vector<ConnectionId>{1});
  // Nothing armed for longer than half of the clock's range.
  w.advance(2'000'000'000);
  w.advance(4'000'000'000);
  w.wheel.arm(0, 4'000'001'000);
  EXPECT_TRUE(w.advance(4'000'000'900).empty());
  EXPECT_EQ(w.advance(4'000'002'000), std::vector<ConnectionId>{0});
}

TEST(TimerWheel, ClockMayStandStillOrStepBack) {
  Wheel w(1, 100'000);
  w.wheel.arm(0, 101'000);
  EXPECT_TRUE(w.advance(100'000).empty());
  EXPECT_TRUE(w.advance(99'000).empty());
  EXPECT_TRUE(w.advance(100'000).empty());
  EXPECT_EQ(w.advance(101'000 + slot), std::vector<ConnectionId>{0});
}

// Random arms, moves and disarms; time starts shortly before the wrap of Millis.
TEST(TimerWheel, AgreesWithASortedListThroughTheWrap) {
  constexpr size_t connections = 500;
  constexpr Millis begin = 0xffffffff - 400'000;
  std::mt19937 random(7);
  Wheel w(connections, begin);
  // Deadlines as 64-bit time since `begin`, which does not wrap.
  std::vector<uint64_t> deadline_of(connections, 0);
  std::multimap<uint64_t, ConnectionId> oracle;
  const auto forget = [&](ConnectionId id) {
    const auto [first, last] = oracle.equal_range(deadline_of[id]);
    for (auto it = first; it != last; ++it) {
      if (it->second == id) {
        oracle.erase(it);
        return;
      }
    }
  };
  uint64_t fired = 0;
  uint64_t elapsed = 0;
  while (elapsed < 20'000'000) {
    for (unsigned i = 0; i < 4; ++i) {
      const auto id = static_cast<ConnectionId>(random() % connections);
      forget(id);
      if (random() % 4 == 0) {
        w.wheel.disarm(id);
        continue;
      }
      // Mostly within the span of 262 s, some far beyond.
      const uint64_t wait = random() % 8 == 0 ? random() % 1'500'000 : random() % 200'000;
      deadline_of[id] = elapsed + wait;
      oracle.emplace(deadline_of[id], id);
      w.wheel.arm(id, static_cast<Millis>(begin + deadline_of[id]));
    }
    elapsed += random() % 400;
    for (const ConnectionId id : w.advance(static_cast<Millis>(begin + elapsed), 1 + random() % 50)) {
      ASSERT_LE(deadline_of[id], elapsed) << "early";
      forget(id);
      ++fired;
    }
    ASSERT_EQ(w.wheel.size(), oracle.size());
    if (random() % 64 == 0) {
      while (!oracle.empty()) {
        const std::vector<ConnectionId> due = w.advance(static_cast<Millis>(begin + elapsed));
        for (const ConnectionId id : due) forget(id);
        fired += due.size();
        if (due.empty()) break;
      }
      const uint64_t earliest = oracle.empty() ? elapsed : oracle.begin()->first;
      ASSERT_GT(earliest + slot, elapsed) << "late by more than a slot";
    }
  }
  EXPECT_GT(fired, 20'000U);
}

}  // namespace
}  // namespace sluice::nat
