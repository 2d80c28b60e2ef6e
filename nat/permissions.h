// Whom endpoints with a mapping have connections to, by address: who may send to the mapping's port where filtering is
// address-dependent (RFC 4787 REQ-8, RFC 5382 REQ-3). Part of a MappingTable; one worker's.
#pragma once

#include <cstdint>
#include <memory>

#include "dataplane/net/flow_key.h"

namespace sluice::nat {

using net::FlowKey;

template <class F>
class PermissionTable {
 public:
  // nullptr if there is no memory. `capacity`: pairs of a mapping and an address at a time, at least 1. What was never
  // used touches none.
  [[nodiscard]] static std::unique_ptr<PermissionTable> create(uint32_t capacity, const net::FlowHasher& hasher);
  ~PermissionTable();
  PermissionTable(const PermissionTable&) = delete;
  PermissionTable& operator=(const PermissionTable&) = delete;

  // `key`: src the address, dst and dst_port the mapping's ends outside, src_port 0. Each add() wants a remove().
  // False: the table is full.
  bool add(const FlowKey<F>& key);
  void remove(const FlowKey<F>& key);
  [[nodiscard]] bool contains(const FlowKey<F>& key) const { return entries_[find(key)].uses != 0; }
  [[nodiscard]] uint32_t size() const { return size_; }

 private:
  struct Entry {
    FlowKey<F> key;
    uint32_t uses = 0;
    uint32_t next = 0;  // of the bucket; of a free one: the next free one; 0: none
  };

  PermissionTable(uint32_t capacity, const net::FlowHasher& hasher);
  [[nodiscard]] uint32_t& bucket(const FlowKey<F>& key) const { return buckets_[hasher_(key) & mask_]; }
  // 0, which is nobody's, if it is not there.
  [[nodiscard]] uint32_t find(const FlowKey<F>& key) const {
    uint32_t at = bucket(key);
    while (at != 0 && !(entries_[at].key == key)) at = entries_[at].next;
    return at;
  }

  net::FlowHasher hasher_;
  uint32_t capacity_;
  uint32_t mask_;
  Entry* entries_;  // from 1 on
  uint32_t* buckets_;
  uint32_t used_ = 0;  // those up to here were in use at least once
  uint32_t size_ = 0;
  uint32_t free_ = 0;
};

extern template class PermissionTable<net::V4>;
extern template class PermissionTable<net::V6>;

}  // namespace sluice::nat
