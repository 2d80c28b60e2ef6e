// Endpoint-independent mappings (MASQ-13): which port an endpoint inside has at an address outside, whatever it talks
// to (RFC 4787 REQ-1, RFC 5382 REQ-1, RFC 5508 REQ-1 for identifiers). One table per worker and address family.
//
// A mapping is found by both its ends: from inside when a connection opens, from outside when a port is looked for, so
// that no two endpoints have the same (RFC 4787 REQ-3). Connections hold it. One that nobody holds any more is kept for
// `hold`, so that an endpoint which comes back finds its port (RFC 4787 REQ-5: more than two minutes after the last
// packet) and nobody else gets it at once (RFC 6888 REQ-8). Those wait in lists by age, one for each outside address
// and protocol (a few may share one), so that the next to end, and the one to give up when ports run short, is at the
// head of a list.
//
// What a connection lets in is decided by its own keys. Who else may send to a mapping's port is a matter of filtering
// (filtering.h), for which the table knows the addresses that an endpoint inside has connections to.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "dataplane/net/flow_key.h"
#include "nat/flow.h"
#include "nat/permissions.h"
#include "nat/snat.h"

namespace sluice::nat {

using MappingId = uint32_t;
inline constexpr MappingId no_mapping = 0xffffffff;

// The worker that keeps the mappings of whoever sends packets with this key, whatever they are mapped to.
template <class F>
[[nodiscard]] uint16_t mapping_worker(const FlowKey<F>& key, const net::FlowHasher& hasher, uint16_t workers) {
  return net::owner_of(hasher(FlowKey<F>{key.src, {}, key.src_port, {}, key.protocol, {}}), workers);
}

template <class F>
class MappingTable {
 public:
  static constexpr Millis hold = 120'000;

  struct Mapping {
    FlowKey<F> inside;  // src, src_port: the endpoint; dst: its address outside; dst_port 0
    be16 port;          // outside
    uint32_t uses = 0;  // connections that hold it
    Millis idle_since = 0;
    MappingId next_inside = no_mapping;  // of the bucket; of a free one: the next free one
    MappingId next_outside = no_mapping;
    MappingId newer = no_mapping;  // of the list of those that nobody holds
    MappingId older = no_mapping;
  };

  // nullptr if there is no memory. `capacity`: mappings, at least 1. What was never used touches none.
  [[nodiscard]] static std::unique_ptr<MappingTable> create(uint32_t capacity, const net::FlowHasher& hasher);
  ~MappingTable();
  MappingTable(const MappingTable&) = delete;
  MappingTable& operator=(const MappingTable&) = delete;

  [[nodiscard]] const Mapping& operator[](MappingId id) const { return mappings_[id]; }
  // The mapping at `outside` of whoever sends packets with this key; no_mapping if there is none.
  [[nodiscard]] MappingId find(const FlowKey<F>& key, const typename F::Addr& outside) const;
  // Whose port this is; no_mapping: nobody's.
  [[nodiscard]] MappingId owner(const typename F::Addr& outside, be16 port, uint8_t protocol) const;

  // A new one, held by nobody, of an endpoint that has none at `outside`, with a port that has no owner. no_mapping if
  // the table is full.
  [[nodiscard]] MappingId open(const FlowKey<F>& key, const typename F::Addr& outside, be16 port, Millis now);
  void acquire(MappingId id);
  void release(MappingId id, Millis now);
  // Only one that nobody holds.
  void close(MappingId id);

  // One of its connections to this address begins, or ends.
  void permit(MappingId id, const typename F::Addr& peer) { (void)permissions_->add(permission(id, peer)); }
  void revoke(MappingId id, const typename F::Addr& peer) { permissions_->remove(permission(id, peer)); }
  // Whether it has one.
  [[nodiscard]] bool permits(MappingId id, const typename F::Addr& peer) const {
    return permissions_->contains(permission(id, peer));
  }

  // One that nobody held for `hold`. no_mapping: the list whose turn it is has none, and it is the next one's turn.
  [[nodiscard]] MappingId find_expired(Millis now) {
    if (size_ == 0) return no_mapping;
    const MappingId oldest = idle_[turn_ % lists].oldest;
    if (oldest != no_mapping && now - mappings_[oldest].idle_since >= hold) return oldest;
    ++turn_;
    return no_mapping;
  }
  // Of the mappings at `outside` that nobody holds the one unused the longest whose port is in the range; no_mapping if
  // there is none among the oldest few.
  [[nodiscard]] MappingId find_idle(const typename F::Addr& outside, uint8_t protocol, PortRange range) const;

  [[nodiscard]] uint32_t size() const { return size_; }
  [[nodiscard]] uint32_t capacity() const { return capacity_; }

 private:
  static constexpr unsigned lists = 16;
  static constexpr unsigned most_looks = 16;
  struct IdleList {
    MappingId oldest = no_mapping;
    MappingId newest = no_mapping;
  };

  MappingTable(uint32_t capacity, const net::FlowHasher& hasher);
  [[nodiscard]] static FlowKey<F> inside_key(const FlowKey<F>& key, const typename F::Addr& outside) {
    return {key.src, outside, key.src_port, {}, key.protocol, {}};
  }
  // Heads of the buckets hold ids plus one; 0: empty.
  [[nodiscard]] uint32_t& inside_bucket(const FlowKey<F>& inside) const { return by_inside_[hasher_(inside) & mask_]; }
  [[nodiscard]] uint32_t& outside_bucket(const typename F::Addr& outside, be16 port, uint8_t protocol) const {
    return by_outside_[hasher_(FlowKey<F>{outside, {}, port, {}, protocol, {}}) & mask_];
  }
  [[nodiscard]] unsigned list_of(const typename F::Addr& outside, uint8_t protocol) const {
    return hasher_(FlowKey<F>{outside, {}, {}, {}, protocol, {}}) % lists;
  }
  [[nodiscard]] FlowKey<F> permission(MappingId id, const typename F::Addr& peer) const {
    const Mapping& mapping = mappings_[id];
    return {peer, mapping.inside.dst, {}, mapping.port, mapping.inside.protocol, {}};
  }
  void make_idle(MappingId id, Millis now);
  void leave_idle(MappingId id);

  net::FlowHasher hasher_;
  uint32_t capacity_;
  uint32_t mask_;
  Mapping* mappings_;
  uint32_t* by_inside_;
  uint32_t* by_outside_;
  uint32_t used_ = 0;  // those below were in use at least once
  uint32_t size_ = 0;
  MappingId free_ = no_mapping;
  unsigned turn_ = 0;  // the list that find_expired() looks at next
  std::array<IdleList, lists> idle_{};
  std::unique_ptr<PermissionTable<F>> permissions_;
};

extern template class MappingTable<net::V4>;
extern template class MappingTable<net::V6>;

}  // namespace sluice::nat
