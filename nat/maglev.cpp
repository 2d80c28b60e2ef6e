#include "nat/maglev.h"

#include <algorithm>
#include <array>
#include <numeric>

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
  uint32_t skip;      // 1 to size - 1, so with a prime size the steps visit every slot
  uint32_t position;  // in the caller's list
  uint8_t weight;     // 1 to full_weight
  uint8_t credit;     // below full_weight: what it has saved up for a turn
};

class SlotSet {
 public:
  explicit SlotSet(uint32_t size) : words_((size + 63) / 64) {}
  // False if it was claimed before.
  bool claim(uint32_t slot) {
    uint64_t& word = words_[slot / 64];
    const uint64_t bit = uint64_t{1} << slot % 64;
    if ((word & bit) != 0) return false;
    word |= bit;
    return true;
  }

 private:
  std::vector<uint64_t> words_;
};

// The paper's pseudocode 1, with turns as often as the weights say. The bitmap, not the table, says which slots are
// taken: it stays in the L1 cache.
template <class Entry>
void populate(std::vector<Entry>& table, std::vector<Turn>& turns) {
  const auto size = static_cast<uint32_t>(table.size());
  SlotSet claimed(size);
  for (uint32_t filled = 0; filled < size;) {
    for (Turn& turn : turns) {
      const auto credit = static_cast<uint8_t>(turn.credit + turn.weight);
      turn.credit = credit < full_weight ? credit : static_cast<uint8_t>(credit - full_weight);
      if (credit < full_weight) continue;
      uint32_t at = turn.at;
      const auto step = [&] {
        at += turn.skip;
        if (at >= size) at -= size;
      };
      while (!claimed.claim(at)) step();
      table[at] = static_cast<Entry>(turn.position);
      step();
      turn.at = at;
      if (++filled == size) break;
    }
  }
}

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
    populate(narrow_, turns);
  } else {
    wide_.resize(size_);
    populate(wide_, turns);
  }
}

}  // namespace sluice::nat
