// Maglev: the properties that the paper promises, measured on the table.
#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "nat/maglev.h"

namespace sluice::nat {
namespace {

std::vector<uint64_t> random_ids(size_t count, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::vector<uint64_t> ids(count);
  for (uint64_t& id : ids) id = random();
  return ids;
}

// Slots per position.
std::vector<uint32_t> shares(const Maglev& maglev, size_t backends) {
  std::vector<uint32_t> counts(backends);
  for (uint32_t slot = 0; slot < maglev.size(); ++slot) ++counts.at(maglev.owner(slot));
  return counts;
}

// The share of other backends' slots that change hands when ids[gone] leaves and the size stays.
double disruption(const std::vector<uint64_t>& ids, size_t gone, uint32_t size) {
  std::vector<uint64_t> rest = ids;
  rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(gone));
  const Maglev before(ids, size);
  const Maglev after(rest, size);
  uint32_t kept = 0;
  uint32_t moved = 0;
  for (uint32_t slot = 0; slot < size; ++slot) {
    if (before.owner(slot) == gone) continue;
    ++(ids[before.owner(slot)] == rest[after.owner(slot)] ? kept : moved);
  }
  return static_cast<double>(moved) / (kept + moved);
}

TEST(Maglev, SVC21_TableSizeIsTheSmallestListedPrimeOfHundredTimesTheBackends) {
  const std::map<size_t, uint32_t> expected{{0, 251},     {1, 251},     {2, 251},      {3, 509},      {5, 509},
                                            {6, 1021},    {20, 2039},   {21, 4093},    {81, 8191},    {82, 16381},
                                            {250, 32749}, {328, 65521}, {656, 131071}, {5000, 131071}};
  for (const auto& [backends, size] : expected) EXPECT_EQ(Maglev::table_size_for(backends), size) << backends;
}

TEST(Maglev, SVC21_ConfiguredSizeIsKept) {
  EXPECT_EQ(Maglev(random_ids(3), 16381).size(), 16381u);
  EXPECT_EQ(Maglev(random_ids(3), 0).size(), 509u);
  // Not of the list: the next one. Too small for the backends: derived.
  EXPECT_EQ(Maglev(random_ids(3), 16384).size(), 32749u);
  EXPECT_EQ(Maglev(random_ids(3), 1'000'000).size(), 131071u);
  EXPECT_EQ(Maglev(random_ids(300), 251).size(), 32749u);
}

TEST(Maglev, SVC20_EmptyTableChoosesNothing) {
  EXPECT_TRUE(Maglev().empty());
  EXPECT_TRUE(Maglev(std::vector<uint64_t>{}).empty());
  EXPECT_FALSE(Maglev(random_ids(1)).empty());
}

TEST(Maglev, SVC20_EveryBackendGetsItsShareOfSlots) {
  for (const size_t backends : {1, 2, 3, 7, 10, 50, 100, 250, 1000}) {
    const Maglev maglev(random_ids(backends));
    const auto counts = shares(maglev, backends);
    const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
    EXPECT_GE(*least, 100u) << backends;
    EXPECT_LE(*most - *least, 1u) << backends;
  }
}

TEST(Maglev, SVC20_FlowsSpreadEvenly) {
  constexpr size_t backends = 10;
  constexpr uint32_t flows = 200'000;
  constexpr double share = double{flows} / backends;
  const Maglev maglev(random_ids(backends));
  std::mt19937_64 random(2);
  std::vector<uint32_t> counts(backends);
  for (uint32_t i = 0; i < flows; ++i) ++counts.at(maglev.pick(random()));
  for (const uint32_t count : counts) EXPECT_NEAR(count, share, share * 0.03);
}

TEST(Maglev, SVC21_PickCoversTheWholeTable) {
  const Maglev maglev(random_ids(4));
  // The slot is the high half of the hash as a fraction of the table.
  EXPECT_EQ(maglev.pick(0), maglev.owner(0));
  EXPECT_EQ(maglev.pick(~uint64_t{0}), maglev.owner(maglev.size() - 1));
  EXPECT_EQ(maglev.pick(uint64_t{1} << 63), maglev.owner(maglev.size() / 2));
}

// Removes each of the first 20 backends in turn.
struct Disruption {
  double average = 0;
  double worst = 0;
};
Disruption disruption_of(size_t backends, uint32_t size) {
  const auto ids = random_ids(backends, backends);
  const size_t rounds = std::min<size_t>(backends, 20);
  Disruption result;
  for (size_t gone = 0; gone < rounds; ++gone) {
    const double moved = disruption(ids, gone, size);
    result.average += moved / static_cast<double>(rounds);
    result.worst = std::max(result.worst, moved);
  }
  return result;
}

TEST(Maglev, SVC21_RemovingOneBackendMovesFewOtherFlows) {
  for (const size_t backends : {2, 3, 10, 20, 50, 100, 160}) {
    EXPECT_LE(disruption_of(backends, 16381).worst, 0.02) << backends;
  }
  // The paper's algorithm needs some hundred slots per backend to stay below one per cent.
  for (const size_t backends : {2, 3, 10, 20}) EXPECT_LE(disruption_of(backends, 16381).average, 0.01) << backends;
  EXPECT_LE(disruption_of(100, 65521).average, 0.01);
}

TEST(Maglev, SVC21_DerivedSizesStillMoveFewPerCent) {
  for (const size_t backends : {5, 10, 20, 40, 81, 160, 327}) {
    EXPECT_LE(disruption_of(backends, Maglev::table_size_for(backends)).average, 0.05) << backends;
  }
}

TEST(Maglev, SVC21_OrderOfTheListDoesNotMatter) {
  auto ids = random_ids(40);
  const Maglev first(ids);
  const auto listed = ids;
  std::mt19937 random(3);
  for (int round = 0; round < 5; ++round) {
    std::shuffle(ids.begin(), ids.end(), random);
    const Maglev again(ids);
    ASSERT_EQ(again.size(), first.size());
    for (uint32_t slot = 0; slot < first.size(); ++slot) ASSERT_EQ(ids[again.owner(slot)], listed[first.owner(slot)]);
  }
}

// Pseudocode 1 of the paper, as it is printed: permutations in full, then turns, each backend's as often in a hundred
// rounds as its weight says. `ids` in ascending order.
std::vector<uint32_t> paper_table(const std::vector<uint64_t>& ids, uint32_t m, const std::vector<uint8_t>& weights) {
  const auto mix = [](uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
  };
  const size_t n = ids.size();
  std::vector<std::vector<uint32_t>> permutation(n, std::vector<uint32_t>(m));
  for (size_t i = 0; i < n; ++i) {
    const uint64_t offset = mix(ids[i] ^ 0x6f6666736574) % m;
    const uint64_t skip = mix(ids[i] ^ 0x736b6970) % (m - 1) + 1;
    for (uint64_t j = 0; j < m; ++j) permutation[i][j] = static_cast<uint32_t>((offset + j * skip) % m);
  }
  constexpr uint32_t none = ~0u;
  std::vector<uint32_t> next(n);
  std::vector<uint32_t> credit(n);
  std::vector<uint32_t> entry(m, none);
  for (uint32_t filled = 0;;) {
    for (size_t i = 0; i < n; ++i) {
      if ((credit[i] += weights[i]) < full_weight) continue;
      credit[i] -= full_weight;
      uint32_t c = permutation[i][next[i]];
      while (entry[c] != none) c = permutation[i][++next[i]];
      entry[c] = static_cast<uint32_t>(i);
      ++next[i];
      if (++filled == m) return entry;
    }
  }
}

void expect_paper_table(size_t backends, uint32_t size, const std::vector<uint8_t>& weights) {
  auto ids = random_ids(backends, 7 + backends);
  std::sort(ids.begin(), ids.end());
  const Maglev maglev(ids, size, weights);
  const auto expected = paper_table(ids, maglev.size(), weights);
  for (uint32_t slot = 0; slot < maglev.size(); ++slot) {
    ASSERT_EQ(maglev.owner(slot), expected[slot]) << backends << " backends, slot " << slot << " of " << maglev.size();
  }
}

TEST(Maglev, SVC21_TableIsThePapers) {
  for (const size_t backends : {1, 2, 3, 4, 5, 9, 10, 20, 33, 90}) {
    expect_paper_table(backends, 0, std::vector<uint8_t>(backends, full_weight));
  }
  for (const uint32_t size : {251, 1021, 2039, 4093, 16381, 32749, 65521, 131071}) {
    expect_paper_table(7, size, std::vector<uint8_t>(7, full_weight));
  }
}

TEST(Maglev, SVC22_TableIsThePapers) {
  std::mt19937 random(11);
  for (const size_t backends : {2, 3, 9, 25}) {
    std::vector<uint8_t> weights(backends);
    for (uint8_t& weight : weights) weight = static_cast<uint8_t>(1 + random() % full_weight);
    for (const uint32_t size : {0, 251, 4093, 32749, 65521}) expect_paper_table(backends, size, weights);
  }
}

TEST(Maglev, SVC21_MoreBackendsThanSixteenBitsHold) {
  constexpr size_t backends = 70'000;
  const Maglev maglev(random_ids(backends));
  EXPECT_EQ(maglev.size(), 131071u);
  const auto counts = shares(maglev, backends);
  const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
  EXPECT_EQ(*least, 1u);
  EXPECT_EQ(*most, 2u);
  EXPECT_EQ(maglev.pick(0), maglev.owner(0));
}

TEST(Maglev, SVC21_EqualIdentitiesDoNotStopIt) {
  const Maglev maglev(std::vector<uint64_t>(5, 42));
  for (const uint32_t count : shares(maglev, 5)) EXPECT_GE(count, 101u);
}

// ---- weights -----------------------------------------------------------------------------------------

TEST(Maglev, SVC22_SharesFollowTheWeights) {
  for (const uint32_t size : {0U, 16381U, 65521U}) {
    const std::vector<uint8_t> weights{100, 100, 50, 25, 10, 5, 1};
    const auto ids = random_ids(weights.size(), 5);
    const Maglev maglev(ids, size, weights);
    const auto counts = shares(maglev, ids.size());
    double sum = 0;
    for (const uint8_t weight : weights) sum += weight;
    for (size_t i = 0; i < weights.size(); ++i) {
      EXPECT_NEAR(counts[i], maglev.size() * weights[i] / sum, 1.5) << "weight " << int{weights[i]};
    }
  }
}

TEST(Maglev, SVC22_EqualWeightsAreAsNone) {
  const auto ids = random_ids(9);
  const Maglev plain(ids);
  for (const uint8_t weight : {100, 37, 1}) {
    const Maglev weighted(ids, 0, std::vector<uint8_t>(ids.size(), weight));
    ASSERT_EQ(weighted.size(), plain.size());
    for (uint32_t slot = 0; slot < plain.size(); ++slot) ASSERT_EQ(weighted.owner(slot), plain.owner(slot)) << slot;
  }
}

// The share of slots that change hands although the backend whose weight changes neither had nor has them.
double reweighting(size_t backends, uint8_t before, uint8_t after, uint32_t size) {
  const auto ids = random_ids(backends, backends);
  std::vector<uint8_t> weights(backends, full_weight);
  weights[0] = before;
  const Maglev old_table(ids, size, weights);
  weights[0] = after;
  const Maglev new_table(ids, size, weights);
  uint32_t moved = 0;
  for (uint32_t slot = 0; slot < size; ++slot) {
    const uint32_t from = old_table.owner(slot);
    const uint32_t to = new_table.owner(slot);
    if (from != to && from != 0 && to != 0) ++moved;
  }
  return static_cast<double>(moved) / size;
}

TEST(Maglev, SVC22_AChangeOfWeightMovesFewOtherFlows) {
  for (const size_t backends : {2, 3, 10, 20}) {
    for (const auto& [before, after] : {std::pair(100, 50), std::pair(10, 20), std::pair(100, 1), std::pair(5, 100)}) {
      EXPECT_LE(reweighting(backends, static_cast<uint8_t>(before), static_cast<uint8_t>(after), 65521), 0.02)
          << backends << " backends, " << before << " to " << after;
    }
  }
  EXPECT_EQ(reweighting(2, 100, 1, 65521), 0) << "of two, what one loses the other has";
}

TEST(Maglev, SVC22_ASmallWeightAloneIsEverything) {
  const Maglev maglev(random_ids(1), 0, std::vector<uint8_t>{1});
  EXPECT_EQ(shares(maglev, 1), std::vector<uint32_t>{251});
}

}  // namespace
}  // namespace sluice::nat
