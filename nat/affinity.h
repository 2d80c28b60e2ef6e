// Which endpoint a client was given by a service with session affinity ClientIP (SVC-40 to SVC-47). One per worker and
// address family; touched by first packets only.
//
// Bounded: sets of eight entries, and a new entry takes the place of the one of its set that was used longest ago,
// which costs that client nothing but its endpoint (SVC-47). The set is chosen by the process's secret hash, so nobody
// can aim at one. Nothing runs in the background: an entry that is too old counts as none.
//
// Each worker must know what the others decided, since a client's connections are spread over all of them. They tell
// each other by message, when an entry is new or changed and from then on every eighth of the timeout, so that one may
// forget a client by that much too early. Two workers that decide before the message came decide alike, because the
// hash behind the choice is of the client's address alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "dataplane/net/flow_key.h"
#include "nat/flow.h"
#include "nat/service.h"

namespace sluice::nat {

template <class F>
class AffinityTable {
 public:
  static constexpr uint32_t ways = 8;
  static constexpr uint32_t sets = 8192;
  static constexpr uint32_t capacity = ways * sets;

  // nullptr if there is no memory. What was never used touches none.
  [[nodiscard]] static std::unique_ptr<AffinityTable> create(const net::FlowHasher& hasher);
  ~AffinityTable();
  AffinityTable(const AffinityTable&) = delete;
  AffinityTable& operator=(const AffinityTable&) = delete;

  // The endpoint of the client's last connection to the service port, if that was less than `timeout` ago; its
  // `local` means nothing. `service`: ServicePort::affinity_key.
  [[nodiscard]] std::optional<Backend<F>> find(const typename F::Addr& client, uint32_t service, Millis timeout,
                                               Millis now) const;
  // A new connection begins the time anew (SVC-43). True: the other workers should be told.
  bool remember(const typename F::Addr& client, uint32_t service, const Backend<F>& backend, Millis timeout,
                Millis now);

 private:
  struct Entry {
    typename F::Addr client;
    typename F::Addr backend;
    be16 port;
    uint32_t service;  // 0: free
    Millis last_used;
    Millis told;
  };
  struct Set {
    Entry entries[ways];
  };

  explicit AffinityTable(const net::FlowHasher& hasher) : hasher_(hasher) {}
  [[nodiscard]] Set& set_of(const typename F::Addr& client, uint32_t service) const {
    const uint64_t hash = hasher_(net::FlowKey<F>{client, {}, {}, {}, 0, {}});
    return table_[net::multiply_fold(hash ^ service, 0x9fb21c651e98df25) % sets];
  }

  net::FlowHasher hasher_;
  Set* table_ = nullptr;
};

extern template class AffinityTable<net::V4>;
extern template class AffinityTable<net::V6>;

}  // namespace sluice::nat
