#include "dataplane/neighbor.h"

#include <cstring>

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_jhash.h>
#include <rte_rcu_qsbr.h>

namespace sluice::dataplane {
namespace {

struct HashKey {
  std::array<uint8_t, 16> address;
  uint16_t interface;
  uint16_t family;
};
static_assert(sizeof(HashKey) == 20);

HashKey key_of(uint16_t interface, const net::IpAddr& address) {
  return {address.bytes(), interface, static_cast<uint16_t>(address.family())};
}

}  // namespace

uint64_t NeighborLink::pack() const {
  uint64_t word = 0;
  std::memcpy(&word, mac.bytes.data(), mac.bytes.size());
  return word | static_cast<uint64_t>(state) << 48 | static_cast<uint64_t>(epoch) << 56;
}

net::Result<std::unique_ptr<NeighborTable>> NeighborTable::create(rte_rcu_qsbr* qsbr) {
  std::unique_ptr<NeighborTable> table(new NeighborTable);
  table->entries_ = std::make_unique<Neighbor[]>(capacity());
  rte_hash_parameters params{};
  params.name = "sluice_neighbors";
  params.entries = dynamic_capacity;
  params.key_len = sizeof(HashKey);
  params.hash_func = rte_jhash;
  params.socket_id = SOCKET_ID_ANY;
  params.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF;
  table->hash_ = rte_hash_create(&params);
  if (table->hash_ == nullptr) {
    return net::Error{std::string("the neighbour table could not be allocated: ") + rte_strerror(rte_errno)};
  }
  rte_hash_rcu_config rcu{};
  rcu.v = qsbr;
  rcu.mode = RTE_HASH_QSBR_MODE_DQ;
  if (qsbr != nullptr && rte_hash_rcu_qsbr_add(table->hash_, &rcu) != 0) {
    return net::Error{std::string("the neighbour table could not join the grace periods: ") + rte_strerror(rte_errno)};
  }
  return table;
}

NeighborTable::~NeighborTable() {
  if (hash_ != nullptr) rte_hash_free(hash_);
}

uint32_t NeighborTable::find(uint16_t interface, const net::IpAddr& address) const {
  const HashKey key = key_of(interface, address);
  const int32_t position = rte_hash_lookup(hash_, &key);
  // Positions start at 0 and stay below the number of entries.
  return position < 0 ? no_neighbor : pinned_capacity + static_cast<uint32_t>(position);
}

uint32_t NeighborTable::add_dynamic(uint16_t interface, const net::IpAddr& address) {
  const HashKey key = key_of(interface, address);
  const int32_t position = rte_hash_add_key(hash_, &key);
  if (position < 0 || static_cast<uint32_t>(position) >= dynamic_capacity) return no_neighbor;
  const uint32_t index = pinned_capacity + static_cast<uint32_t>(position);
  begin(index, interface, address, std::nullopt);
  return index;
}

void NeighborTable::remove_dynamic(uint32_t index) {
  const HashKey key = key_of(entries_[index].interface, entries_[index].address);
  unpin(index);
  rte_hash_del_key(hash_, &key);
}

void NeighborTable::pin(uint32_t index, uint16_t interface, const net::IpAddr& address,
                        std::optional<net::MacAddr> permanent) {
  begin(index, interface, address, permanent);
}

void NeighborTable::unpin(uint32_t index) {
  Neighbor& entry = entries_[index];
  entry.live.store(false, std::memory_order_release);
  const NeighborLink gone{{}, NeighborState::Unused, static_cast<uint8_t>(entry.load().epoch + 1)};
  entry.link.store(gone.pack(), std::memory_order_relaxed);
}

void NeighborTable::begin(uint32_t index, uint16_t interface, const net::IpAddr& address,
                          std::optional<net::MacAddr> permanent) {
  Neighbor& entry = entries_[index];
  entry.interface = interface;
  entry.address = address;
  entry.permanent = permanent;
  entry.used.store(0, std::memory_order_relaxed);
  const auto epoch = static_cast<uint8_t>(entry.load().epoch + 1);
  const NeighborLink link = permanent ? NeighborLink{*permanent, NeighborState::Permanent, epoch}
                                      : NeighborLink{{}, NeighborState::Incomplete, epoch};
  entry.link.store(link.pack(), std::memory_order_relaxed);
  entry.live.store(true, std::memory_order_release);
}

}  // namespace sluice::dataplane
