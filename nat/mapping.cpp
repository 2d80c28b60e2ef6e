#include "nat/mapping.h"

#include <bit>
#include <new>

#include "nat/anonymous_array.h"

namespace sluice::nat {

template <class F>
MappingTable<F>::MappingTable(uint32_t capacity, const net::FlowHasher& hasher)
    : hasher_(hasher),
      capacity_(capacity),
      mask_(std::bit_ceil(capacity) - 1),
      mappings_(allocate_array<Mapping>(capacity)),
      by_inside_(allocate_array<uint32_t>(mask_ + 1)),
      by_outside_(allocate_array<uint32_t>(mask_ + 1)),
      permissions_(PermissionTable<F>::create(capacity, hasher)) {}

template <class F>
std::unique_ptr<MappingTable<F>> MappingTable<F>::create(uint32_t capacity, const net::FlowHasher& hasher) {
  std::unique_ptr<MappingTable> table(new (std::nothrow) MappingTable(capacity, hasher));
  const bool whole = table != nullptr && table->mappings_ != nullptr && table->by_inside_ != nullptr &&
                     table->by_outside_ != nullptr && table->permissions_ != nullptr;
  return whole ? std::move(table) : nullptr;
}

template <class F>
MappingTable<F>::~MappingTable() {
  release_array(mappings_, capacity_);
  release_array(by_inside_, mask_ + 1);
  release_array(by_outside_, mask_ + 1);
}

template <class F>
MappingId MappingTable<F>::find(const FlowKey<F>& key, const typename F::Addr& outside) const {
  const FlowKey<F> inside = inside_key(key, outside);
  MappingId id = inside_bucket(inside) - 1;
  while (id != no_mapping && !(mappings_[id].inside == inside)) id = mappings_[id].next_inside;
  return id;
}

template <class F>
MappingId MappingTable<F>::owner(const typename F::Addr& outside, be16 port, uint8_t protocol) const {
  const auto fits = [&](const Mapping& mapping) {
    return mapping.port == port && mapping.inside.protocol == protocol && mapping.inside.dst == outside;
  };
  MappingId id = outside_bucket(outside, port, protocol) - 1;
  while (id != no_mapping && !fits(mappings_[id])) id = mappings_[id].next_outside;
  return id;
}

template <class F>
MappingId MappingTable<F>::open(const FlowKey<F>& key, const typename F::Addr& outside, be16 port, Millis now) {
  MappingId id = free_;
  if (id != no_mapping) {
    free_ = mappings_[id].next_inside;
  } else if (used_ < capacity_) {
    id = used_++;
  } else {
    return no_mapping;
  }
  Mapping& mapping = mappings_[id];
  mapping = {};
  mapping.inside = inside_key(key, outside);
  mapping.port = port;
  uint32_t& by_inside = inside_bucket(mapping.inside);
  mapping.next_inside = by_inside - 1;
  by_inside = id + 1;
  uint32_t& by_outside = outside_bucket(outside, port, key.protocol);
  mapping.next_outside = by_outside - 1;
  by_outside = id + 1;
  ++size_;
  make_idle(id, now);
  return id;
}

template <class F>
void MappingTable<F>::acquire(MappingId id) {
  if (mappings_[id].uses++ == 0) leave_idle(id);
}

template <class F>
void MappingTable<F>::release(MappingId id, Millis now) {
  if (--mappings_[id].uses == 0) make_idle(id, now);
}

template <class F>
void MappingTable<F>::close(MappingId id) {
  Mapping& mapping = mappings_[id];
  leave_idle(id);
  const auto unlink = [&](uint32_t& head, MappingId Mapping::*next) {
    if (head == id + 1) {
      head = mapping.*next + 1;
      return;
    }
    MappingId at = head - 1;
    while (mappings_[at].*next != id) at = mappings_[at].*next;
    mappings_[at].*next = mapping.*next;
  };
  unlink(inside_bucket(mapping.inside), &Mapping::next_inside);
  unlink(outside_bucket(mapping.inside.dst, mapping.port, mapping.inside.protocol), &Mapping::next_outside);
  mapping.next_inside = free_;
  free_ = id;
  --size_;
}

template <class F>
MappingId MappingTable<F>::find_idle(const typename F::Addr& outside, uint8_t protocol, PortRange range) const {
  MappingId id = idle_[list_of(outside, protocol)].oldest;
  for (unsigned looks = most_looks; id != no_mapping && looks != 0; --looks, id = mappings_[id].newer) {
    const Mapping& mapping = mappings_[id];
    const bool fits = mapping.inside.dst == outside && mapping.inside.protocol == protocol;
    if (fits && range.contains(mapping.port.host())) return id;
  }
  return no_mapping;
}

template <class F>
void MappingTable<F>::make_idle(MappingId id, Millis now) {
  Mapping& mapping = mappings_[id];
  IdleList& list = idle_[list_of(mapping.inside.dst, mapping.inside.protocol)];
  mapping.idle_since = now;
  mapping.newer = no_mapping;
  mapping.older = list.newest;
  (list.newest == no_mapping ? list.oldest : mappings_[list.newest].newer) = id;
  list.newest = id;
}

template <class F>
void MappingTable<F>::leave_idle(MappingId id) {
  const Mapping& mapping = mappings_[id];
  IdleList& list = idle_[list_of(mapping.inside.dst, mapping.inside.protocol)];
  (mapping.older == no_mapping ? list.oldest : mappings_[mapping.older].newer) = mapping.newer;
  (mapping.newer == no_mapping ? list.newest : mappings_[mapping.newer].older) = mapping.older;
}

template class MappingTable<net::V4>;
template class MappingTable<net::V6>;

}  // namespace sluice::nat
