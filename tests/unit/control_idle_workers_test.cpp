// When helper threads may use the processors of workers.
#include <cstdint>

#include <gtest/gtest.h>

#include "control/idle_workers.h"

namespace sluice::control {
namespace {

TEST(IdleWorkers, EachSleepsMoreThanHalfOfTheTime) {
  IdleWorkers::Look look{1000, {500, 500}};
  IdleWorkers idle([&] { return look; }, 100);
  const auto after = [&](uint64_t cycles, uint64_t first, uint64_t second) {
    look.now += cycles;
    look.spent[0] += first;
    look.spent[1] += second;
    return idle();
  };
  EXPECT_FALSE(idle()) << "nothing is known yet";
  EXPECT_TRUE(after(100, 49, 10));
  EXPECT_TRUE(after(99, 80, 10)) << "it has just looked";
  EXPECT_FALSE(after(1, 0, 0));
  EXPECT_FALSE(after(100, 0, 50));
  EXPECT_TRUE(after(1000, 499, 499));
  EXPECT_FALSE(after(1'000'000, 400, 400)) << "they may be busy since";
  EXPECT_FALSE(after(99, 0, 0)) << "nobody knows yet";
  EXPECT_TRUE(after(1, 0, 0));
  look.spent.push_back(0);
  EXPECT_FALSE(after(100, 0, 0)) << "another worker";
}

}  // namespace
}  // namespace sluice::control
