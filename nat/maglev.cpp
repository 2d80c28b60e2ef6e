#include "nat/maglev.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <utility>

namespace sluice::nat {
namespace {

constexpr std::array<uint32_t, 10> table_sizes{251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071};

// Finalizer of SplitMix64: every bit of the identity moves every bit of the result.
constexpr uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

// The largest if none is large enough.
uint32_t prime_at_least(size_t wanted) {
  const auto* found = std::lower_bound(table_sizes.begin(), table_sizes.end(), wanted);
  return found == table_sizes.end() ? table_sizes.back() : *found;
}

// Where a backend stands in its permutation of the slots.
struct Turn {
  uint32_t at;
  uint32_t skip;          // 1 to size - 1, so with a prime size the steps visit every slot
  uint32_t position;      // in the caller's list
  uint8_t weight;         // 1 to full_weight
  uint8_t credit;         // below full_weight: what it has saved up for a turn
  uint32_t fraction = 0;  // of 2^32, that a slot more is of the way along the permutation
};

// The compiler selects between two such values and does not branch: which one it will be cannot be predicted.
inline void select_without_branch(uint64_t& value) { asm("" : "+r"(value)); }

// x with a x = 1 modulo a prime that is larger than a.
uint32_t inverse(uint32_t a, uint32_t prime) {
  int32_t rest = static_cast<int32_t>(prime);
  auto next_rest = static_cast<int32_t>(a);
  int32_t factor = 0;
  int32_t next_factor = 1;
  while (next_rest != 0) {
    const int32_t quotient = rest / next_rest;
    rest = std::exchange(next_rest, rest - quotient * next_rest);
    factor = std::exchange(next_factor, factor - quotient * next_factor);
  }
  return static_cast<uint32_t>(factor < 0 ? factor + static_cast<int32_t>(prime) : factor);
}

// The paper's pseudocode 1, with turns as often as the weights say: who has its turn goes on along its permutation to
// the next slot that is free. Several steps are looked at together, and the last slots, which are many steps apart, are
// told by how far along the permutation each of them is.
template <class Entry>
class Filling {
 public:
  Filling(std::vector<Entry>& table, std::vector<Turn>& turns)
      : table_(table), turns_(turns), size_(static_cast<uint32_t>(table.size())) {
    std::fill(table.begin(), table.end(), free);
  }

  void run() {
    const bool worth_it = size_ >= least_for_distances && size_ < most_for_distances;
    const uint32_t last = worth_it ? std::min(most_last, size_ / 16) : 0;
    if (turns_.size() < 4) {
      step_by_step(size_ - last);
    } else {
      by_four_steps(size_ - last);
    }
    take_last(last);
  }

 private:
  static constexpr Entry free = std::numeric_limits<Entry>::max();  // more than any position
  static constexpr uint32_t most_last = 256;
  static constexpr uint32_t index_bits = most_last - 1;
  static constexpr uint32_t least_for_distances = 1000;
  // Distances of slots of larger tables do not differ enough in 32 bits.
  static constexpr uint32_t most_for_distances = 32768;

  // claim(Turn&) answers with the slot, which was free.
  template <class Claim>
  void take_turns(uint32_t count, const Claim& claim) {
    while (count != 0) {
      Turn& turn = turns_[whose_];
      whose_ = whose_ + 1 == turns_.size() ? 0 : whose_ + 1;
      const auto credit = static_cast<uint8_t>(turn.credit + turn.weight);
      turn.credit = credit < full_weight ? credit : static_cast<uint8_t>(credit - full_weight);
      if (credit < full_weight) continue;
      const uint64_t slot = claim(turn);
      table_[slot] = static_cast<Entry>(turn.position);
      turn.at = static_cast<uint32_t>(step(slot, turn.skip));
      --count;
    }
  }

  // 64 bits: with 32 the compiler would do this with vectors of one element.
  [[nodiscard]] uint64_t step(uint64_t at, uint64_t skip) const {
    const uint64_t next = at + skip;
    return next < size_ ? next : next - size_;
  }

  void step_by_step(uint32_t count) {
    take_turns(count, [this](const Turn& turn) {
      uint64_t at = turn.at;
      while (table_[at] != free) at = step(at, turn.skip);
      return at;
    });
  }

  void by_four_steps(uint32_t count) {
    take_turns(count, [this](const Turn& turn) {
      uint64_t first = turn.at;
      while (true) {
        const uint64_t second = step(first, turn.skip);
        const uint64_t third = step(second, turn.skip);
        const uint64_t fourth = step(third, turn.skip);
        uint64_t found = table_[third] == free ? third : fourth;
        select_without_branch(found);
        found = table_[second] == free ? second : found;
        select_without_branch(found);
        found = table_[first] == free ? first : found;
        select_without_branch(found);
        if (table_[found] == free) return found;
        first = step(fourth, turn.skip);
        select_without_branch(first);
      }
    });
  }

  // All slots that are free. A slot is (slot - at) / skip steps ahead, modulo the prime. As a fraction of the prime and
  // of 2^32 that is one multiplication, whose error of less than prime / 2 does not reach the next slot's 2^32 / prime;
  // the lowest bits give way to where the slot stands in the list.
  void take_last(uint32_t count) {
    if (count == 0) return;
    std::array<uint32_t, most_last> slots{};
    std::array<uint32_t, most_last> gone{};  // all bits set: nothing stands there
    for (uint32_t slot = 0, found = 0; found != count; ++slot) {
      slots[found] = slot;
      found += table_[slot] == free ? 1 : 0;
    }
    std::fill(gone.begin() + count, gone.end(), ~0U);
    for (Turn& turn : turns_) {
      const uint64_t steps = inverse(turn.skip, size_);
      turn.fraction = static_cast<uint32_t>(((steps << 32) + size_ / 2) / size_);
    }
    uint32_t left = count;
    take_turns(count, [&](const Turn& turn) {
      const uint32_t at = turn.at;
      const uint32_t fraction = turn.fraction;
      const uint32_t end = (left + 7) / 8 * 8;  // whole vectors
      uint32_t nearest = ~0U;
      for (uint32_t i = 0; i < end; ++i) {
        const uint32_t distance = (slots[i] - at) * fraction;
        nearest = std::min(nearest, (distance & ~index_bits) | i | gone[i]);
      }
      const uint32_t slot = std::exchange(slots[nearest & index_bits], slots[--left]);
      gone[left] = ~0U;
      return slot;
    });
  }

  std::vector<Entry>& table_;
  std::vector<Turn>& turns_;
  uint32_t size_;
  size_t whose_ = 0;
};

}  // namespace

uint32_t Maglev::table_size_for(size_t backends) { return prime_at_least(100 * backends); }

Maglev::Maglev(std::span<const uint64_t> ids, uint32_t table_size, std::span<const uint8_t> weights) {
  if (ids.empty()) return;
  // Only listed sizes: with one that is no prime a permutation may miss slots, and the turns would not end.
  if (table_size != 0) size_ = prime_at_least(table_size);
  if (size_ < ids.size()) size_ = table_size_for(ids.size());

  std::vector<uint32_t> order(ids.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return ids[a] < ids[b]; });
  std::vector<Turn> turns;
  turns.reserve(ids.size());
  for (const uint32_t position : order) {
    const uint64_t id = ids[position];
    turns.push_back({static_cast<uint32_t>(mix(id ^ 0x6f6666736574) % size_),
                     static_cast<uint32_t>(mix(id ^ 0x736b6970) % (size_ - 1) + 1), position,
                     weights.empty() ? full_weight : std::clamp<uint8_t>(weights[position], 1, full_weight), 0});
  }
  if (ids.size() < 65536) {
    narrow_.resize(size_);
    Filling(narrow_, turns).run();
  } else {
    wide_.resize(size_);
    Filling(wide_, turns).run();
  }
}

}  // namespace sluice::nat
