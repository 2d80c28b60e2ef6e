// Who has what others must not have as well: by it a rule finds those that a changed object can be in conflict with,
// without a look at all others. Kept by ObjectSet beside its Config, whose objects it points to.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "config/model.h"

namespace sluice::config {

// Objects by a value of theirs; each may have several, and several may have the same one.
template <class Key, class Object>
class OwnerIndex {
 public:
  using Entry = std::pair<Key, const Object*>;

  void add(const Key& key, const Object& object) { entries_.emplace(key, &object); }
  void remove(const Key& key, const Object& object) { entries_.erase({key, &object}); }
  // Visits the entries from the first of `key` on, in the order of keys, until visit(entry) says false.
  template <class Visit>
  void each_from(const Key& key, const Visit& visit) const {
    for (auto at = entries_.lower_bound({key, nullptr}); at != entries_.end() && visit(*at); ++at) {
    }
  }
  // Those that have it.
  template <class Visit>
  void each(const Key& key, const Visit& visit) const {
    each_from(key, [&](const Entry& entry) {
      if (entry.first != key) return false;
      visit(*entry.second);
      return true;
    });
  }
  [[nodiscard]] bool contains(const Key& key) const {
    const auto at = entries_.lower_bound({key, nullptr});
    return at != entries_.end() && at->first == key;
  }

 private:
  struct Less {
    bool operator()(const Entry& a, const Entry& b) const {
      if (const auto order = a.first <=> b.first; order != 0) return order < 0;
      return std::less<const Object*>()(a.second, b.second);
    }
  };
  std::set<Entry, Less> entries_;
};

class Owners {
 public:
  // The object stays where it is until it is removed, and is removed before it changes.
  void add(const Service& service);
  void add(const Node& node);
  void add(const BlockAffinity& block);
  void add(const WorkloadEndpoint& workload);
  void remove(const Service& service);
  void remove(const Node& node);
  void remove(const BlockAffinity& block);
  void remove(const WorkloadEndpoint& workload);

  // Services with a cluster IP, a node port or a frontend that this one has as well, or with an address inside that it
  // has outside or the other way round; itself, too.
  [[nodiscard]] std::set<const Service*> rivals_of(const Service& service) const;
  // Whether a service that is proxied has such an external IP.
  [[nodiscard]] bool has_external_ip(const IpAddr& address) const { return external_ips_.contains(address); }
  [[nodiscard]] bool has_external_ip_in(const Prefix& network) const;
  // The node with such an address, its own or Calico's for it, the first by name; nullptr: none.
  [[nodiscard]] const Node* node_at(const IpAddr& address) const;
  // The longest podCIDR of a node that contains it; nullptr: none.
  [[nodiscard]] const Prefix* pod_network_of(const IpAddr& address) const;
  // Confirmed ones.
  [[nodiscard]] const OwnerIndex<Prefix, BlockAffinity>& blocks() const { return blocks_; }
  // WorkloadEndpoints that have one of its addresses, and those that `nodes` may not have beside it because of what
  // their port or device is called; itself, too.
  [[nodiscard]] std::set<const WorkloadEndpoint*> rivals_of(const WorkloadEndpoint& workload,
                                                            const std::vector<std::string>& nodes) const;

 private:
  struct Frontend {
    IpAddr address;
    uint16_t port = 0;
    Protocol protocol = Protocol::Icmp;
    friend auto operator<=>(const Frontend&, const Frontend&) = default;
  };

  // edit(index, key) for all that an object is to be found by.
  template <class Edit>
  void each_key(const Service& service, const Edit& edit);
  template <class Edit>
  void each_key(const Node& node, const Edit& edit);
  template <class Edit>
  void each_key(const WorkloadEndpoint& workload, const Edit& edit);

  OwnerIndex<IpAddr, Service> cluster_ips_;
  OwnerIndex<uint32_t, Service> node_ports_;  // protocol << 16 | port
  OwnerIndex<IpAddr, Service> external_ips_;  // of those that are proxied
  OwnerIndex<Frontend, Service> frontends_;   // of those that are proxied, for everybody
  OwnerIndex<IpAddr, Node> nodes_;
  OwnerIndex<Prefix, Node> pod_networks_;
  std::array<std::array<size_t, 129>, 2> pod_network_lengths_{};  // how many there are, IPv4 and IPv6
  OwnerIndex<Prefix, BlockAffinity> blocks_;
  OwnerIndex<IpAddr, WorkloadEndpoint> pods_;
  OwnerIndex<size_t, WorkloadEndpoint> ports_;  // hash of the node and what its port or device is called
};

}  // namespace sluice::config
