// A hash table that is const once built, and whose next version shares with it whatever did not change: entries stand
// in a fixed number of shards by the high bits of their hash, each an open-addressed table of its own, at most half
// full. A change builds the shards that it touches, so it costs what it changes and not what the table holds, and
// readers see all of it or nothing (PIPE-3). A look-up is one probe sequence: what it reads besides the slots is one
// small array of shard addresses, whatever the number of entries.
//
// An Entry is copyable; Entry{} is a free slot, occupied() tells; hash() of an occupied one is what it is found by.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::nat {

template <class Entry, unsigned ShardBits>
class ShardedTable {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] size_t size() const { return size_; }

  // The first entry of this hash that matches; nullptr: none. Of several it is the first in the order of settle().
  template <class Matches>
  [[nodiscard]] const Entry* find(uint64_t hash, const Matches& matches) const {
    if (size_ == 0) return nullptr;
    const View& shard = views_[hash >> (64 - ShardBits)];
    // Ends at a free slot: there is one in every shard.
    for (uint64_t at = hash & shard.mask;; at = (at + 1) & shard.mask) {
      const Entry& entry = shard.slots[at];
      if (!entry.occupied()) return nullptr;
      if (matches(entry)) return &entry;
    }
  }

  template <class Visit>
  void each(const Visit& visit) const {
    for (const Shard& shard : shards_) {
      if (shard == nullptr) continue;
      for (const Entry& entry : *shard) {
        if (entry.occupied()) visit(entry);
      }
    }
  }

  // This table with more entries and less. settle(std::vector<Entry>& entries, std::vector<Entry>& added,
  // std::vector<Entry>& removed) makes of a shard's entries what they are to be, in the order of preference among those
  // that one key finds.
  template <class Settle>
  [[nodiscard]] ShardedTable changed(std::vector<Entry> added, std::vector<Entry> removed, const Settle& settle) const {
    ShardedTable next = *this;
    if (next.shards_.empty()) {
      next.shards_.resize(shard_count);
      next.views_.assign(shard_count, View{});
    }
    const std::vector<Place> more = by_shard(added);
    const std::vector<Place> less = by_shard(removed);
    size_t more_at = 0;
    size_t less_at = 0;
    while (more_at != more.size() || less_at != less.size()) {
      const size_t shard = std::min(more_at == more.size() ? shard_count : more[more_at].shard,
                                    less_at == less.size() ? shard_count : less[less_at].shard);
      std::vector<Entry> entries;
      if (next.shards_[shard] != nullptr) {
        std::copy_if(next.shards_[shard]->begin(), next.shards_[shard]->end(), std::back_inserter(entries),
                     [](const Entry& entry) { return entry.occupied(); });
      }
      next.size_ -= entries.size();
      std::vector<Entry> here_more = take(added, more, more_at, shard);
      std::vector<Entry> here_less = take(removed, less, less_at, shard);
      settle(entries, here_more, here_less);
      next.size_ += entries.size();
      next.build(shard, std::move(entries));
    }
    return next;
  }

 private:
  static constexpr size_t shard_count = size_t{1} << ShardBits;
  static inline const Entry free_slot{};

  using Shard = std::shared_ptr<const std::vector<Entry>>;  // slots, a power of two of them; nullptr: no entries
  struct View {
    const Entry* slots = &free_slot;
    uint64_t mask = 0;
  };

  static size_t shard_of(const Entry& entry) { return entry.hash() >> (64 - ShardBits); }

  // Where the entry at `index` of a list belongs.
  struct Place {
    size_t shard;
    size_t index;
    friend auto operator<=>(const Place&, const Place&) = default;
  };

  // Of all entries, in the order of shards and within one in that of the list. Each is hashed once.
  static std::vector<Place> by_shard(const std::vector<Entry>& entries) {
    std::vector<Place> places;
    places.reserve(entries.size());
    for (const Entry& entry : entries) places.push_back({shard_of(entry), places.size()});
    std::sort(places.begin(), places.end());
    return places;
  }

  // Those of the shard, which begin at `at`.
  static std::vector<Entry> take(std::vector<Entry>& entries, const std::vector<Place>& places, size_t& at,
                                 size_t shard) {
    std::vector<Entry> taken;
    for (; at != places.size() && places[at].shard == shard; ++at)
      taken.push_back(std::move(entries[places[at].index]));
    return taken;
  }

  void build(size_t shard, std::vector<Entry> entries) {
    if (entries.empty()) {
      shards_[shard] = nullptr;
      views_[shard] = View{};
      return;
    }
    std::vector<Entry> slots(std::bit_ceil(2 * entries.size()));
    const uint64_t mask = slots.size() - 1;
    for (Entry& entry : entries) {
      uint64_t at = entry.hash() & mask;
      while (slots[at].occupied()) at = (at + 1) & mask;
      slots[at] = std::move(entry);
    }
    auto built = std::make_shared<const std::vector<Entry>>(std::move(slots));
    views_[shard] = {built->data(), mask};
    shards_[shard] = std::move(built);
  }

  std::vector<Shard> shards_;  // none as long as the table never held anything
  std::vector<View> views_;    // of shards_, for readers
  size_t size_ = 0;
};

}  // namespace sluice::nat
