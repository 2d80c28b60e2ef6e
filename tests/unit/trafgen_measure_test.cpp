// Latency histogram, RFC 2544 search, what is outstanding.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tools/trafgen/histogram.h"
#include "tools/trafgen/outstanding.h"
#include "tools/trafgen/search.h"

namespace sluice::trafgen {
namespace {

TEST(TrafgenHistogram, QuantilesAreWithinOnePercentOfSorting) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> latency(9, 2);
  Histogram histogram;
  std::vector<uint64_t> values;
  for (int i = 0; i < 200000; ++i) {
    values.push_back(static_cast<uint64_t>(latency(random)));
    histogram.record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double share : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999}) {
    const uint64_t exact = values[static_cast<size_t>(std::ceil(share * 200000)) - 1];
    EXPECT_NEAR(static_cast<double>(histogram.quantile(share)), static_cast<double>(exact),
                static_cast<double>(exact) * 0.01 + 1)
        << share;
  }
  EXPECT_EQ(histogram.min(), values.front());
  EXPECT_EQ(histogram.max(), values.back());
  EXPECT_EQ(histogram.quantile(1), values.back());
}

TEST(TrafgenHistogram, SmallValuesAreExact) {
  Histogram histogram;
  for (uint64_t value = 0; value < 256; ++value) histogram.record(value);
  EXPECT_EQ(histogram.quantile(0.5), 127);
  EXPECT_EQ(histogram.quantile(0), 0);
  EXPECT_EQ(histogram.quantile(1), 255);
}

TEST(TrafgenHistogram, TakesEveryValueAndAddsUp) {
  Histogram a;
  Histogram b;
  EXPECT_EQ(a.quantile(0.5), 0);
  a.record(0);
  b.record(~uint64_t{0});
  a.add(b);
  EXPECT_EQ(a.count(), 2);
  EXPECT_EQ(a.min(), 0);
  EXPECT_EQ(a.max(), ~uint64_t{0});
  a.clear();
  EXPECT_EQ(a.count(), 0);
}

TEST(TrafgenSearch, FindsTheRateToItsResolution) {
  for (const double truth : {0.03e6, 1.234e6, 7.77e6, 9.99e6}) {
    int trials = 0;
    const auto passes = [&](double rate) {
      ++trials;
      return rate <= truth;
    };
    const SearchOutcome outcome = search_loss_free({10e6, 1}, passes, [] { return false; });
    EXPECT_LE(outcome.rate, truth);
    EXPECT_TRUE(truth < 0.1e6 || outcome.rate > truth - 0.1e6) << truth;
    EXPECT_LE(trials, 9);
  }
}

TEST(TrafgenSearch, TakesTheHighestIfItPassesAndSaysIfNothingDoes) {
  const auto never = [] { return false; };
  const SearchOutcome all = search_loss_free(
      {5e6, 1}, [](double) { return true; }, never);
  EXPECT_TRUE(all.found);
  EXPECT_DOUBLE_EQ(all.rate, 5e6);
  EXPECT_FALSE(search_loss_free(
                   {5e6, 1}, [](double) { return false; }, never)
                   .found);
}

TEST(TrafgenOutstanding, LetsGoOfTheAnsweredAndTheOld) {
  Outstanding outstanding(3);
  std::vector<uint32_t> failed;
  std::vector<bool> answered(10);
  const auto settle = [&](uint64_t now) {
    outstanding.settle(
        now, 100, [&](const Outstanding::Entry& e) { return answered[e.flow]; },
        [&](const Outstanding::Entry& e) { failed.push_back(e.flow); });
  };
  for (uint32_t i = 0; i < 3; ++i) outstanding.push({i, 0, i});
  EXPECT_EQ(outstanding.room(), 0);
  answered[1] = true;
  settle(50);
  EXPECT_EQ(outstanding.room(), 0) << "the oldest holds the others";
  settle(100);
  EXPECT_EQ(failed, std::vector<uint32_t>{0});
  EXPECT_EQ(outstanding.room(), 2);
  answered[2] = true;
  settle(100);
  EXPECT_EQ(outstanding.room(), 3);
}

}  // namespace
}  // namespace sluice::trafgen
