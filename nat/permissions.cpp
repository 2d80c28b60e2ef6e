#include "nat/permissions.h"

#include <bit>
#include <new>

#include "nat/anonymous_array.h"

namespace sluice::nat {

template <class F>
PermissionTable<F>::PermissionTable(uint32_t capacity, const net::FlowHasher& hasher)
    : hasher_(hasher),
      capacity_(capacity),
      mask_(std::bit_ceil(capacity) - 1),
      entries_(allocate_array<Entry>(capacity + 1)),
      buckets_(allocate_array<uint32_t>(mask_ + 1)) {}

template <class F>
std::unique_ptr<PermissionTable<F>> PermissionTable<F>::create(uint32_t capacity, const net::FlowHasher& hasher) {
  std::unique_ptr<PermissionTable> table(new (std::nothrow) PermissionTable(capacity, hasher));
  const bool whole = table != nullptr && table->entries_ != nullptr && table->buckets_ != nullptr;
  return whole ? std::move(table) : nullptr;
}

template <class F>
PermissionTable<F>::~PermissionTable() {
  release_array(entries_, capacity_ + 1);
  release_array(buckets_, mask_ + 1);
}

template <class F>
bool PermissionTable<F>::add(const FlowKey<F>& key) {
  if (const uint32_t known = find(key); known != 0) {
    ++entries_[known].uses;
    return true;
  }
  uint32_t at = free_;
  if (at != 0) {
    free_ = entries_[at].next;
  } else if (used_ < capacity_) {
    at = ++used_;
  } else {
    return false;
  }
  uint32_t& head = bucket(key);
  entries_[at] = {key, 1, head};
  head = at;
  ++size_;
  return true;
}

template <class F>
void PermissionTable<F>::remove(const FlowKey<F>& key) {
  uint32_t* link = &bucket(key);
  while (*link != 0 && !(entries_[*link].key == key)) link = &entries_[*link].next;
  const uint32_t at = *link;
  if (at == 0 || --entries_[at].uses != 0) return;
  *link = entries_[at].next;
  entries_[at].next = free_;
  free_ = at;
  --size_;
}

template class PermissionTable<net::V4>;
template class PermissionTable<net::V6>;

}  // namespace sluice::nat
