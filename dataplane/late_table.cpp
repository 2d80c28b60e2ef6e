#include "dataplane/late_table.h"

#include <bit>
#include <cstring>
#include <new>

namespace sluice::dataplane {

template <class F>
std::unique_ptr<LateTable<F>> LateTable<F>::create(const Sizing& sizing, nat::Millis now) {
  std::unique_ptr<LateTable> table(new LateTable(sizing, now, nat::Memory::anonymous()));
  if (table->records_ == nullptr || table->buckets_ == nullptr || table->buffers_ == nullptr) return nullptr;
  return table;
}

template <class F>
LateTable<F>::LateTable(const Sizing& sizing, nat::Millis now, const nat::Memory& memory)
    : sizing_(sizing),
      memory_(memory),
      records_(static_cast<Late<F>*>(memory.allocate(sizing.records * sizeof(Late<F>), alignof(Late<F>)))),
      buckets_(static_cast<LateId*>(memory.allocate(std::bit_ceil(uint64_t{sizing.records}) * sizeof(LateId), 64))),
      bucket_mask_(std::bit_ceil(uint64_t{sizing.records}) - 1),
      buffers_(
          static_cast<uint8_t*>(memory.allocate(size_t{sizing.buffers} * (late_buffer_front + late_buffer_size), 64))),
      wheel_(records_, now) {}

template <class F>
LateTable<F>::~LateTable() {
  if (records_ != nullptr) memory_.release(records_, sizing_.records * sizeof(Late<F>));
  if (buckets_ != nullptr) memory_.release(buckets_, (bucket_mask_ + 1) * sizeof(LateId));
  if (buffers_ != nullptr) {
    memory_.release(buffers_, size_t{sizing_.buffers} * (late_buffer_front + late_buffer_size));
  }
}

template <class F>
LateId LateTable<F>::find(const net::FlowKey<F>& key, uint64_t hash) const {
  for (LateId id = bucket(hash) - 1; id != no_late; id = records_[id].bucket_next) {
    if (records_[id].key == key) return id;
  }
  return no_late;
}

template <class F>
LateId LateTable<F>::open(const net::FlowKey<F>& key, uint64_t hash) {
  LateId id = free_;
  if (id != no_late) {
    free_ = records_[id].wheel_next;
  } else if (touched_ < sizing_.records) {
    id = touched_++;
  } else {
    return no_late;
  }
  Late<F>& late = *new (&records_[id]) Late<F>;
  late.key = key;
  late.hash = hash;
  late.bucket_next = bucket(hash) - 1;
  bucket(hash) = id + 1;
  ++size_;
  return id;
}

template <class F>
void LateTable<F>::close(LateId id) {
  Late<F>& late = records_[id];
  give_buffer(id);
  mark_undecided(id, false);
  wheel_.disarm(id);
  if (bucket(late.hash) == id + 1) {
    bucket(late.hash) = late.bucket_next + 1;
  } else {
    LateId before = bucket(late.hash) - 1;
    while (records_[before].bucket_next != id) before = records_[before].bucket_next;
    records_[before].bucket_next = late.bucket_next;
  }
  late.state = LateState::Free;
  late.wheel_next = free_;
  free_ = id;
  --size_;
}

template <class F>
bool LateTable<F>::take_buffer(LateId id, uint32_t seq, uint32_t capacity) {
  Late<F>& late = records_[id];
  if (late.buffer == no_late) {
    if (free_buffer_ == no_late && touched_buffers_ == sizing_.buffers) return false;
    const bool undecided = late.undecided;
    mark_undecided(id, false);
    if (free_buffer_ != no_late) {
      late.buffer = free_buffer_;
      std::memcpy(&free_buffer_, buffer_at(late.buffer), sizeof free_buffer_);
    } else {
      late.buffer = touched_buffers_++;
    }
    mark_undecided(id, undecided);
    ++buffers_used_;
  }
  late.stream.begin(buffer_at(late.buffer), std::min(capacity, late_buffer_size), seq);
  return true;
}

template <class F>
void LateTable<F>::give_buffer(LateId id) {
  Late<F>& late = records_[id];
  if (late.buffer == no_late) return;
  std::memcpy(buffer_at(late.buffer), &free_buffer_, sizeof free_buffer_);
  free_buffer_ = late.buffer;
  const bool undecided = late.undecided;
  mark_undecided(id, false);
  late.buffer = no_late;
  mark_undecided(id, undecided);
  late.stream = {};
  --buffers_used_;
}

template <class F>
void LateTable<F>::mark_undecided(LateId id, bool undecided) {
  Late<F>& late = records_[id];
  if (late.undecided == undecided) return;
  late.undecided = undecided;
  auto& [oldest, youngest] = line_of(late);
  if (undecided) {
    late.older = youngest;
    late.younger = no_late;
    (youngest == no_late ? oldest : records_[youngest].younger) = id;
    youngest = id;
    return;
  }
  (late.older == no_late ? oldest : records_[late.older].younger) = late.younger;
  (late.younger == no_late ? youngest : records_[late.younger].older) = late.older;
}

template class LateTable<net::V4>;
template class LateTable<net::V6>;

}  // namespace sluice::dataplane
