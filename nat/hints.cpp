#include "nat/hints.h"

#include "nat/anonymous_array.h"
#include "nat/rewrite.h"

namespace sluice::nat {

template <class F>
Translation<F> translation_of(const Hint<F>& hint) {
  const FlowKey<F>& key = hint.key;
  return {hint.direction == Direction::Original ? make_rewrite(key, key.src, hint.addr, key.src_port, hint.port)
                                                : make_rewrite(key, hint.addr, key.dst, hint.port, key.dst_port),
          flow_flag::translated};
}

template <class F>
std::unique_ptr<HintTable<F>> HintTable<F>::create() {
  std::unique_ptr<HintTable> table(new HintTable);
  table->table_ = allocate_array<Set>(sets);
  return table->table_ == nullptr ? nullptr : std::move(table);
}

template <class F>
HintTable<F>::~HintTable() {
  release_array(table_, sets);
}

template <class F>
Hint<F>* HintTable<F>::look(const FlowKey<F>& key, uint64_t hash) {
  for (Hint<F>& hint : table_[hash % sets].hints) {
    if (hint.key == key) return &hint;
  }
  return nullptr;
}

template <class F>
const Hint<F>* HintTable<F>::find(const FlowKey<F>& key, uint64_t hash, Millis now) {
  if (!in_use(now)) return nullptr;
  Hint<F>* const hint = look(key, hash);
  if (hint == nullptr || now - hint->seen >= lifetime) return nullptr;
  hint->seen = last_used_ = now;
  return hint;
}

template <class F>
void HintTable<F>::place(const Hint<F>& hint, uint64_t hash, bool proven, Millis now) {
  Hint<F>* const places = table_[hash % sets].hints;
  Hint<F>* place = look(hint.key, hash);
  if (place == nullptr || (proven && place < places + ways / 2)) {
    if (place != nullptr) *place = {};
    // A place that was never used counts as used longest ago.
    const auto idle = [now](const Hint<F>& old) { return old.key.protocol == 0 ? ~Millis{0} : now - old.seen; };
    const Hint<F>* const end = places + (proven ? ways : ways / 2);
    place = places + (proven ? ways / 2 : 0);
    for (Hint<F>* other = place + 1; other < end; ++other) {
      if (idle(*other) > idle(*place)) place = other;
    }
  }
  *place = hint;
  place->seen = last_used_ = now;
  used_ = true;
}

template <class F>
void HintTable<F>::forget(const FlowKey<F>& key, uint64_t hash) {
  if (Hint<F>* const hint = look(key, hash); hint != nullptr) *hint = {};
}

template Translation<net::V4> translation_of(const Hint<net::V4>&);
template Translation<net::V6> translation_of(const Hint<net::V6>&);
template class HintTable<net::V4>;
template class HintTable<net::V6>;

}  // namespace sluice::nat
