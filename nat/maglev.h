// Consistent hashing after Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer"
// (NSDI 2016), section 3.4 (SVC-20, SVC-21).
//
// Every backend has its own permutation of the table's slots: offset, offset + skip, offset + 2 skip ... modulo
// the prime table size. Backends take turns, each claims the next free slot of its permutation, until the table
// is full. So all get the same number of slots to within one, and a backend that leaves disturbs few slots
// of the others: measured 1 to 4 % with 100 slots per backend, below 1 % from some 500 on. Offset and skip come from a
// stable 64-bit identity of the backend (its address and port) and the turns are taken in the order of identities,
// never in the order of a list: two gateways, two builds and two restarts that know the same backends have the same
// table, so an ECMP re-hash in front of them does not move a connection (BGP-11).
//
// Weights are frequencies of turns (the end of the paper's section 3.4): in a hundred rounds a backend takes as many
// turns as its weight says. Shares are right to within one slot, equal weights give the table of none, and a backend
// whose weight changes takes slots from all others in proportion, or gives them back.
//
// Tables of different size have nothing in common. With the size derived from the number of backends, a service
// that grows past a step of the list below re-hashes its new flows; a fixed size avoids that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice::nat {

// Of a backend that nothing is said of: every round is its turn.
inline constexpr uint8_t full_weight = 100;

class Maglev {
 public:
  // An empty table.
  Maglev() = default;

  // `ids`: stable 64-bit identities, in any order; pick() answers with positions in this list. `table_size`: 0 derives
  // it from the number of backends, as does one that would leave a backend without a slot; another is raised to
  // the next prime of table_size_for's list. Every backend gets a slot as long as there are at most 131071.
  // `weights`: of each, 1 to full_weight; empty: all alike. One with a small weight may get no slot where there are
  // fewer than full_weight slots per backend.
  explicit Maglev(std::span<const uint64_t> ids, uint32_t table_size = 0, std::span<const uint8_t> weights = {});

  // Smallest of 251, 509, 1021, ... 131071 that is at least 100 times the number of backends; the largest if
  // none is.
  [[nodiscard]] static uint32_t table_size_for(size_t backends);

  // Position of the chosen backend in the list. Precondition: !empty().
  [[nodiscard]] uint32_t pick(uint64_t hash) const {
    // Multiply and shift instead of a division: the high half of the hash as a fraction of the table.
    const uint64_t slot = (hash >> 32) * size_ >> 32;
    return narrow_.empty() ? wide_[slot] : narrow_[slot];
  }

  [[nodiscard]] bool empty() const { return size_ == 0; }
  // Number of slots.
  [[nodiscard]] uint32_t size() const { return size_; }
  // Position of the backend that owns a slot. Precondition: slot < size().
  [[nodiscard]] uint32_t owner(uint32_t slot) const { return narrow_.empty() ? wide_[slot] : narrow_[slot]; }

 private:
  // One of them is in use: 2 bytes per slot for fewer than 65 536 backends.
  std::vector<uint16_t> narrow_;
  std::vector<uint32_t> wide_;
  uint32_t size_ = 0;
};

}  // namespace sluice::nat
