// Services as the packet path sees them: frontends (address, port, protocol) that lead to a service port with
// its endpoints. Everything here is built off-path by control::compile, const afterwards, and shared
// between snapshots: a change of one service builds one ServicePort.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/net/flow_key.h"
#include "nat/endpoint_set.h"
#include "nat/maglev.h"
#include "nat/sharded_table.h"

namespace sluice::l7 {
class ContentRules;
class Listener;
}  // namespace sluice::l7

namespace sluice::nat {

using net::be16;

// A network of one family. Bits behind `length` are ignored.
template <class F>
struct Cidr {
  typename F::Addr network;
  uint8_t length = 0;

  [[nodiscard]] bool contains(const typename F::Addr& addr) const {
    if constexpr (F::is_v4) {
      // A shift by 32 is undefined, hence the 64 bits.
      return static_cast<uint64_t>(addr.host() ^ network.host()) >> (32 - length) == 0;
    } else {
      const size_t whole = length / 8;
      if (std::memcmp(addr.bytes.data(), network.bytes.data(), whole) != 0) return false;
      const unsigned rest = length % 8;
      return rest == 0 || (addr.bytes[whole] ^ network.bytes[whole]) >> (8 - rest) == 0;
    }
  }
};

template <class F>
struct Backend {
  typename F::Addr addr;
  be16 port;
  bool local = false;            // on one of the nodes that count as this one (SVC-65)
  uint8_t weight = full_weight;  // its share of new flows, 1 to full_weight; 0 only in ServicePort::serving

  friend bool operator==(const Backend&, const Backend&) = default;
};

// What Maglev knows a backend by: a hash of the bytes of its address and port, the same in every build.
template <class F>
[[nodiscard]] uint64_t identity(const Backend<F>& backend);

// Endpoints that new flows may get and the Maglev table over them, by weight. An empty set chooses nothing.
template <class F>
struct BackendSet {
  std::vector<Backend<F>> backends;
  Maglev maglev;  // index into backends

  // nullptr if empty. `hash`: net::balancing_hash of the flow.
  [[nodiscard]] const Backend<F>* pick(uint64_t hash) const {
    return backends.empty() ? nullptr : &backends[maglev.pick(hash)];
  }
  // The one with this address and port; nullptr: it is not in the set.
  [[nodiscard]] const Backend<F>* find(const typename F::Addr& addr, be16 port) const;
};

// Sorted by address and port, duplicates of (address, port) merged (SVC-5; `local` if any of them is, the smallest
// weight). No weight is 0.
// `table_size` as in Maglev: 0 derives it from the number of backends.
template <class F>
[[nodiscard]] BackendSet<F> make_backend_set(std::vector<Backend<F>> backends, uint32_t table_size = 0);

enum class FrontendKind : uint8_t { ClusterIp, ExternalIp, LoadBalancer, NodePort };
enum class TrafficPolicy : uint8_t { Cluster, Local };

// One port of one Service, one family. Usable endpoints by SVC-10 to SVC-14, already filtered.
template <class F>
struct ServicePort {
  uint32_t id = 0;   // stable while the service port exists; index of counters
  std::string name;  // "namespace/name:port", for people
  uint8_t protocol = 0;
  TrafficPolicy external_policy = TrafficPolicy::Cluster;
  TrafficPolicy internal_policy = TrafficPolicy::Cluster;
  bool has_endpoint = false;      // any usable endpoint in the cluster (SVC-14)
  bool direct_return = false;     // endpoints elsewhere answer clients from outside themselves (new_flow.h)
  uint32_t affinity_seconds = 0;  // 0: none (SVC-40)
  uint32_t affinity_key = 0;      // of its entries in the affinity table; another one whenever affinity begins (SVC-45)
  BackendSet<F> cluster;          // SVC-11, SVC-12
  BackendSet<F> local;
  bool restricted = false;         // loadBalancerSourceRanges has entries of this family (SVC-66)
  bool ranges_admit_node = false;  // one of them holds an address of this node (SVC-67)
  using Range = Cidr<F>;
  std::vector<Range> source_ranges;
  std::vector<Backend<F>> serving;  // every serving endpoint, whatever policy or topology (SVC-94)
  // Decides by the first bytes of a connection which service port it goes to; this one has no endpoints then.
  std::shared_ptr<const l7::Listener> listener;
  // What its connections are looked into for.
  std::vector<std::shared_ptr<const l7::ContentRules>> content;
  std::vector<Backend<F>> cut_off;  // taken out by hand, whose connections end: TCP with a reset. Not in `serving`
};

template <class F>
struct Frontend {
  typename F::Addr addr;
  be16 port;
  uint8_t protocol = 0;
  FrontendKind kind = FrontendKind::ClusterIp;
  std::shared_ptr<const ServicePort<F>> service;
  bool yields = false;  // to any other of the same address, port and protocol: a host port to a node port

  friend bool operator==(const Frontend&, const Frontend&) = default;
  // As an entry of the table.
  [[nodiscard]] bool occupied() const { return service != nullptr; }
  [[nodiscard]] uint64_t hash() const { return hash_of(addr, port, protocol); }
  [[nodiscard]] static uint64_t hash_of(const typename F::Addr& addr, be16 port, uint8_t protocol) {
    // Fixed keys: who may choose frontends writes the configuration.
    const uint64_t low = static_cast<uint64_t>(port.wire()) << 8 | protocol;
    uint64_t words[2] = {};
    std::memcpy(words, &addr, sizeof addr);
    return net::multiply_fold(net::multiply_fold(words[0] ^ 0x2d358dccaa6c78a5, words[1] ^ 0x8bb84b93962eacc9) ^ low,
                              0x4b33a62ed433d4a3);
  }
};

// All frontends of one family. Lookup is one probe sequence in a table of shards (sharded_table.h), O(1) in the number
// of services (BASE-10); a change of some services costs what those services have.
template <class F>
class ServiceTable {
 public:
  ServiceTable() = default;
  explicit ServiceTable(std::vector<Frontend<F>> frontends);

  // This table with `added` and without `removed`, which are in it. Of several with one address, port and protocol the
  // first that does not yield is found, by the name of its service port; config::validate refuses most such.
  [[nodiscard]] ServiceTable changed(std::vector<Frontend<F>> added, std::vector<Frontend<F>> removed) const;

  // nullptr: no such frontend.
  [[nodiscard]] const Frontend<F>* find(const typename F::Addr& addr, be16 port, uint8_t protocol) const {
    return table_.find(Frontend<F>::hash_of(addr, port, protocol), [&](const Frontend<F>& frontend) {
      return frontend.addr == addr && frontend.port == port && frontend.protocol == protocol;
    });
  }
  // Whether some service has this ClusterIP: a port of it that find() does not know is refused, not routed (SVC-2).
  [[nodiscard]] bool is_cluster_ip(const typename F::Addr& addr) const {
    return cluster_ips_.contains(addr, {}, any_protocol);
  }
  // visit(const Frontend<F>&) for every frontend, in no order.
  template <class Visit>
  void each(const Visit& visit) const {
    table_.each(visit);
  }
  [[nodiscard]] size_t size() const { return table_.size(); }
  // Whether any service has endpoints whose connections end (ServicePort::cut_off).
  [[nodiscard]] bool cuts_off() const { return cutting_ != 0; }

 private:
  static constexpr uint8_t any_protocol = 0xff;

  ShardedTable<Frontend<F>, 8> table_;
  EndpointSet<F> cluster_ips_;  // (address, no port, any_protocol), once for each frontend
  size_t cutting_ = 0;          // frontends of service ports that cut off
};

extern template struct BackendSet<net::V4>;
extern template struct BackendSet<net::V6>;
extern template class ServiceTable<net::V4>;
extern template class ServiceTable<net::V6>;

}  // namespace sluice::nat
