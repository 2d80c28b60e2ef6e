// What connections without a record were translated to: the fall-back when the connection table has no room (CT-9).
//
// A connection that cannot have a record is translated by what Maglev chooses for every packet anew, which is the same
// each time. Its endpoint's answers must be translated back, though, and nothing in them says which service they are
// of. So every packet that goes without a record leaves a hint, a line of this table for each direction, where packets
// of that direction will be looked up. A hint has the whole key and fits that conversation only: what a client says to
// the endpoint directly is never translated by it (and open_flow.cpp forgets a hint that such a conversation meets).
//
// The table is a cache and may forget anything. It has a fixed size and is overwritten freely, so that no flood fills
// it; an honest client whose hint was overwritten sends again. So that floods of SYNs do not overwrite what the
// packets of living connections left, half of a set is for hints of beginnings and half for those of packets that came
// after a hint was found for their connection (`proven`). In either half the one not used the longest is replaced.
//
// One per worker and address family. Nothing is touched, and nobody asks, while no hint is younger than `lifetime`.
#pragma once

#include <cstdint>
#include <memory>

#include "dataplane/net/prefetch.h"
#include "nat/conntrack.h"
#include "nat/flow.h"

namespace sluice::nat {

// How packets with `key` go on: in the original direction to `addr`:`port`, the endpoint; in the reply direction from
// there, the service's address. Their other end stays.
template <class F>
struct alignas(F::is_v4 ? 32 : 64) Hint {
  FlowKey<F> key;  // protocol 0: free
  typename F::Addr addr;
  be16 port;
  Direction direction = Direction::Original;
  uint8_t reserved = 0;
  Millis seen = 0;
};
static_assert(sizeof(Hint<net::V4>) == 32);
static_assert(sizeof(Hint<net::V6>) == 64);

// As a record would have it, for this one packet.
template <class F>
[[nodiscard]] Translation<F> translation_of(const Hint<F>& hint);

template <class F>
class HintTable {
 public:
  static constexpr uint32_t ways = 4;
  static constexpr uint32_t sets = 32768;
  static constexpr Millis lifetime = 120'000;  // after the last packet

  // nullptr if there is no memory. What was never used touches none.
  [[nodiscard]] static std::unique_ptr<HintTable> create();
  ~HintTable();
  HintTable(const HintTable&) = delete;
  HintTable& operator=(const HintTable&) = delete;

  // Whether there can be a hint at all.
  [[nodiscard]] bool in_use(Millis now) const { return used_ && now - last_used_ < lifetime; }
  // Asks for where a hint of this hash is or will be; of a net::FlowHasher's result the low half is enough.
  void prefetch(uint64_t hash) const {
    const auto* line = reinterpret_cast<const char*>(&table_[hash % sets]);
    for (size_t offset = 0; offset < sizeof(Set); offset += 64) net::prefetch(line + offset);
  }
  // nullptr if there is none; `hash`: net::FlowHasher of the key. Good until the next call.
  [[nodiscard]] const Hint<F>* find(const FlowKey<F>& key, uint64_t hash, Millis now);
  void place(const Hint<F>& hint, uint64_t hash, bool proven, Millis now);
  void forget(const FlowKey<F>& key, uint64_t hash);

 private:
  // The proven ones are in the second half.
  struct Set {
    Hint<F> hints[ways];
  };

  HintTable() = default;
  [[nodiscard]] Hint<F>* look(const FlowKey<F>& key, uint64_t hash);

  Set* table_ = nullptr;
  bool used_ = false;
  Millis last_used_ = 0;
};

extern template Translation<net::V4> translation_of(const Hint<net::V4>&);
extern template Translation<net::V6> translation_of(const Hint<net::V6>&);
extern template class HintTable<net::V4>;
extern template class HintTable<net::V6>;

}  // namespace sluice::nat
