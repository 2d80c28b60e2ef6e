// The endpoints of all services: who talks to one of them directly is tracked, because the same client may talk to
// it through a service with the same ports at the same time, and the two must not be confused (MASQ-7).
#pragma once

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "dataplane/net/flow_key.h"
#include "nat/sharded_table.h"

namespace sluice::nat {

// A multiset: what several services have is in it until the last of them gives it back. Const once built
// (sharded_table.h).
template <class F>
class EndpointSet {
 public:
  struct Endpoint {
    typename F::Addr addr;
    net::be16 port;
    uint8_t protocol = 0;  // 0: none

    friend bool operator==(const Endpoint&, const Endpoint&) = default;
    [[nodiscard]] auto key() const { return std::tuple(addr, port.wire(), protocol); }
  };

  EndpointSet() = default;
  explicit EndpointSet(const std::vector<Endpoint>& endpoints) : EndpointSet(EndpointSet().changed(endpoints, {})) {}

  // This set with `added` and without `removed`, each as often as it is named; `removed` is in the set.
  [[nodiscard]] EndpointSet changed(const std::vector<Endpoint>& added, const std::vector<Endpoint>& removed) const {
    const auto entries_of = [](const std::vector<Endpoint>& endpoints) {
      std::vector<Entry> entries;
      entries.reserve(endpoints.size());
      for (const Endpoint& endpoint : endpoints) entries.push_back({endpoint, 1});
      return entries;
    };
    EndpointSet next;
    next.table_ = table_.changed(entries_of(added), entries_of(removed), settle);
    return next;
  }

  [[nodiscard]] bool empty() const { return table_.empty(); }
  [[nodiscard]] size_t size() const { return table_.size(); }  // different ones
  [[nodiscard]] bool contains(const typename F::Addr& addr, net::be16 port, uint8_t protocol) const {
    const Endpoint wanted{addr, port, protocol};
    return table_.find(hash(wanted), [&](const Entry& entry) { return entry.endpoint == wanted; }) != nullptr;
  }

 private:
  struct Entry {
    Endpoint endpoint;
    uint32_t count = 0;

    [[nodiscard]] bool occupied() const { return count != 0; }
    [[nodiscard]] uint64_t hash() const { return EndpointSet::hash(endpoint); }
  };

  [[nodiscard]] static uint64_t hash(const Endpoint& endpoint) {
    return net::balancing_hash(net::FlowKey<F>{endpoint.addr, {}, endpoint.port, {}, endpoint.protocol, {}});
  }

  // One entry for each endpoint, with the sum of its counts.
  static void settle(std::vector<Entry>& entries, std::vector<Entry>& added, std::vector<Entry>& removed) {
    entries.insert(entries.end(), added.begin(), added.end());
    for (Entry& entry : removed) entry.count = -entry.count;
    entries.insert(entries.end(), removed.begin(), removed.end());
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return a.endpoint.key() < b.endpoint.key(); });
    auto kept = entries.begin();
    for (auto at = entries.begin(); at != entries.end();) {
      Entry sum = *at;
      for (++at; at != entries.end() && at->endpoint == sum.endpoint; ++at) sum.count += at->count;
      if (sum.count != 0) *kept++ = sum;
    }
    entries.erase(kept, entries.end());
  }

  ShardedTable<Entry, 10> table_;
};

}  // namespace sluice::nat
