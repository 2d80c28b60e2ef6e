// Which CPUs the control thread, workers and helpers get.
#include <vector>

#include <gtest/gtest.h>

#include "control/cpu_choice.h"

namespace sluice::control {
namespace {

using Cpus = std::vector<int>;

TEST(CpuChoice, HelpersOnWhatWorkersLeave) {
  EXPECT_EQ(choose_cpus({}, 2, true, {0, 1, 2, 3, 4}), (CpuChoice{0, {1, 2}, {0, 3, 4}, false}));
  EXPECT_EQ(choose_cpus({}, 1, true, {2, 5, 9}), (CpuChoice{2, {5}, {2, 9}, false}));
  EXPECT_EQ(choose_cpus({}, 1, false, {2, 5, 9}), (CpuChoice{2, {5}, {2, 9}, false}));
}

TEST(CpuChoice, HelpersBesideWorkersThatSleep) {
  EXPECT_EQ(choose_cpus({}, 1, true, {0, 1}), (CpuChoice{0, {1}, {0, 1}, true}));
  EXPECT_EQ(choose_cpus({}, 1, false, {0, 1}), (CpuChoice{0, {1}, {0}, false})) << "busy ones leave nothing";
  EXPECT_EQ(choose_cpus({}, 3, true, {4, 5, 6, 7}), (CpuChoice{4, {5, 6, 7}, {4, 5, 6, 7}, true}));
}

TEST(CpuChoice, TooFewAreShared) {
  EXPECT_EQ(choose_cpus({}, 3, true, {0, 1}), (CpuChoice{0, {1, 0, 1}, {0, 1}, true}));
  EXPECT_EQ(choose_cpus({}, 3, false, {0, 1}), (CpuChoice{0, {1, 0, 1}, {}, false}));
  EXPECT_EQ(choose_cpus({}, 1, true, {3}), (CpuChoice{3, {3}, {3}, true})) << "one CPU makes no helper of it";
}

TEST(CpuChoice, WhatIsChosenStays) {
  EXPECT_EQ(choose_cpus({.control = 3}, 1, true, {0, 1, 2, 3}), (CpuChoice{3, {1}, {0, 2, 3}, false}));
  EXPECT_EQ(choose_cpus({.workers = {3}}, 2, true, {0, 1, 2, 3}), (CpuChoice{0, {3, 2}, {0, 1}, false}));
  EXPECT_EQ(choose_cpus({.helpers = {2}}, 1, true, {0, 1}), (CpuChoice{0, {1}, {2}, false}));
  EXPECT_EQ(choose_cpus({.workers = {0}, .helpers = {0, 1}}, 1, true, {0, 1}), (CpuChoice{0, {0}, {0, 1}, false}));
}

TEST(CpuChoice, AProcessMayRunSomewhere) { EXPECT_FALSE(allowed_cpus().empty()); }

}  // namespace
}  // namespace sluice::control
