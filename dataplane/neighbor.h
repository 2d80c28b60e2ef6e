// Neighbours: which MAC address a next hop has (ARP, RFC 826; ND, RFC 4861).
//
// One table for all workers. What every packet needs of an entry, the MAC and whether it is known, is one
// 64-bit word, so workers read it with one plain load. Its only writer is the resolver, run by worker 0: the
// state machine, the queue of held packets, the answers of the wire all live there (resolver.h), so that
// address resolution never waits for the control thread.
//
// Entries come in two ranges. Pinned ones (gateways, tunnel ends, static neighbours) are placed by the control
// thread before a route names them and are reached by index. Dynamic ones (hosts of a connected subnet) are
// created by the resolver when a packet for them turns up and are found by hash.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"
#include "dataplane/next_hop.h"

struct rte_hash;
struct rte_rcu_qsbr;

namespace sluice::dataplane {

enum class NeighborState : uint8_t { Unused, Incomplete, Reachable, Stale, Failed, Permanent };

// The word workers read. The epoch changes whenever the entry gets a new meaning, so that a flow which
// remembers the entry notices.
struct NeighborLink {
  net::MacAddr mac;
  NeighborState state = NeighborState::Unused;
  uint8_t epoch = 0;

  [[nodiscard]] bool usable() const {
    return state == NeighborState::Reachable || state == NeighborState::Stale || state == NeighborState::Permanent;
  }
  [[nodiscard]] uint64_t pack() const;
  static NeighborLink unpack(uint64_t word) {
    NeighborLink link;
    std::memcpy(link.mac.bytes.data(), &word, link.mac.bytes.size());
    link.state = static_cast<NeighborState>(word >> 48 & 0xff);
    link.epoch = static_cast<uint8_t>(word >> 56);
    return link;
  }
};

// An entry and the epoch it was seen with: index | epoch << 24.
using NeighborRef = uint32_t;
[[nodiscard]] constexpr uint32_t neighbor_index(NeighborRef ref) { return ref & 0xffffff; }
[[nodiscard]] constexpr uint8_t neighbor_epoch(NeighborRef ref) { return static_cast<uint8_t>(ref >> 24); }

struct alignas(64) Neighbor {
  std::atomic<uint64_t> link{0};  // NeighborLink, written by the resolver only
  std::atomic<uint8_t> used{0};   // set by workers when they send to it, cleared by the resolver
  std::atomic<bool> live{false};  // the entry has a meaning; set after the fields below
  uint16_t interface = 0;
  net::IpAddr address;
  std::optional<net::MacAddr> permanent;  // static neighbour

  [[nodiscard]] NeighborRef ref(uint32_t index) const { return index | static_cast<uint32_t>(load().epoch) << 24; }
  [[nodiscard]] NeighborLink load() const { return NeighborLink::unpack(link.load(std::memory_order_relaxed)); }
  void mark_used() {
    if (used.load(std::memory_order_relaxed) == 0) used.store(1, std::memory_order_relaxed);
  }
};

class NeighborTable {
 public:
  static constexpr uint32_t pinned_capacity = 16384;
  static constexpr uint32_t dynamic_capacity = 16384;

  // `qsbr` guards the hash of dynamic entries against readers; it must outlive the table.
  static net::Result<std::unique_ptr<NeighborTable>> create(rte_rcu_qsbr* qsbr);
  ~NeighborTable();
  NeighborTable(const NeighborTable&) = delete;
  NeighborTable& operator=(const NeighborTable&) = delete;

  [[nodiscard]] Neighbor& operator[](uint32_t index) { return entries_[index]; }
  [[nodiscard]] const Neighbor& operator[](uint32_t index) const { return entries_[index]; }
  [[nodiscard]] static constexpr uint32_t capacity() { return pinned_capacity + dynamic_capacity; }
  [[nodiscard]] static constexpr bool is_pinned(uint32_t index) { return index < pinned_capacity; }

  // Any worker: a dynamic entry, or no_neighbor.
  [[nodiscard]] NeighborRef ref(uint32_t index) const { return entries_[index].ref(index); }
  [[nodiscard]] uint32_t find(uint16_t interface, const net::IpAddr& address) const;

  // Resolver only. no_neighbor when the table is full.
  [[nodiscard]] uint32_t add_dynamic(uint16_t interface, const net::IpAddr& address);
  void remove_dynamic(uint32_t index);

  // Control thread only: pinned entries. A removed one may be placed again after a grace period.
  void pin(uint32_t index, uint16_t interface, const net::IpAddr& address, std::optional<net::MacAddr> permanent);
  void unpin(uint32_t index);

 private:
  NeighborTable() = default;

  void begin(uint32_t index, uint16_t interface, const net::IpAddr& address, std::optional<net::MacAddr> permanent);

  std::unique_ptr<Neighbor[]> entries_;
  rte_hash* hash_ = nullptr;
};

}  // namespace sluice::dataplane
