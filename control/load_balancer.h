// Which service of type LoadBalancer has which address of the IPAddressPools (LB-1 to LB-5): pure, without clock or
// disk. A service keeps what it has as long as its own wishes and the pools allow it; one that can have none waits, and
// it is known for what. Changes cost what they touch: free addresses are found in gaps (address_gaps.h), who waits is
// looked at when an address became free.
//
// Without any IPAddressPool nothing is given out, and what the status of a service says is served.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "config/model.h"
#include "config/object_set.h"
#include "control/address_gaps.h"

namespace sluice::control {

using GivenAddresses = std::map<config::ObjectName, std::vector<net::IpAddr>>;

class LoadBalancer {
 public:
  // What services had at the end of the last run; before the first update(). Until they come nobody else is given it.
  void restore(GivenAddresses kept) { kept_ = std::move(kept); }
  // These will not come any more, as from the next update() on.
  void drop_kept(std::vector<config::ObjectName> services) {
    gone_.insert(gone_.end(), std::make_move_iterator(services.begin()), std::make_move_iterator(services.end()));
  }
  void drop_absent() { drop_absent_ = true; }  // all that update() does not find then
  // From the next update() on services get only what they had, what their status says or what they want by its address;
  // others wait, and this is why. Empty: they get new ones again.
  void freeze(std::string why);
  [[nodiscard]] const std::string& frozen() const { return frozen_; }

  // Looks at what `change` led to; nullptr: at everything. The services whose addresses (given(), recorded()) are
  // others now.
  [[nodiscard]] std::vector<config::ObjectName> update(const config::Config& config, const config::Change* change);
  // Instead of what the last update() did, which was of the same change: the same with what freeze() allows.
  [[nodiscard]] std::vector<config::ObjectName> update_frozen(const config::Config& config,
                                                              const config::Change* change, std::string why);
  // The last update() did not come to pass, and `config` is what it was before again.
  void undo(const config::Config& config);

  // The addresses of a service, perhaps none; no value: not ours to give, its status counts.
  [[nodiscard]] std::optional<std::vector<net::IpAddr>> given(const config::ObjectName& service) const;
  // What the next start has to know of a service, as in all(): what it was given, or had and has not come yet.
  [[nodiscard]] std::vector<net::IpAddr> recorded(const config::ObjectName& service) const;
  // Why a service has no address, or not all that it wants; empty: it is content, or none of ours.
  [[nodiscard]] std::string pending(const config::ObjectName& service) const;
  // The pool of an address that was given; empty: none.
  [[nodiscard]] std::string pool_of(const net::IpAddr& address) const;
  // nullptr: of none.
  [[nodiscard]] const config::AddressPool* pool_with_address(const net::IpAddr& address) const {
    const Pool* pool = pool_with(address);
    return pool == nullptr ? nullptr : pool->pool;
  }
  // Services that were given something, now or at the last run.
  [[nodiscard]] GivenAddresses all() const;
  [[nodiscard]] size_t waiting() const { return waiting_.size(); }
  [[nodiscard]] size_t served() const { return services_.size() - waiting_.size(); }

  struct PoolUse {
    std::string name;
    size_t in_use = 0;  // addresses
  };
  [[nodiscard]] std::vector<PoolUse> pools() const;

 private:
  using Name = config::ObjectName;
  using Port = std::pair<config::Protocol, uint16_t>;

  // What one service has and takes.
  struct Holding {
    std::vector<net::IpAddr> addresses;
    std::string share_key;
    std::string backend;  // who may share: those with the same (LB-3)
    std::vector<Port> ports;
    std::vector<net::IpAddr> external;  // its external IPs, which do not stand in its way
    std::vector<net::IpAddr> held;      // had before: external IPs of others that came later do not take them
    std::vector<net::IpAddr> status;    // what its status said
    std::string pending;
    friend bool operator==(const Holding&, const Holding&) = default;
  };
  struct Use {
    std::string share_key, backend;
    std::map<Port, Name> ports;
    std::set<Name> services;
  };
  struct Pool {
    const config::AddressPool* pool = nullptr;
    AddressGaps free;
    size_t in_use = 0;
  };
  struct Choice {
    std::vector<net::IpAddr> addresses;
    std::string problem;  // why there are none, or not enough
  };

  void rebuild_pools(const config::Config& config);
  void reserve_services(const config::Config& config);
  void reserve_network(const config::Config& config);
  // Of the nodes that `change` touches; nullptr: of all.
  void reserve_nodes(const config::Config& config, const config::Change* change);
  void reserve_node(const config::Config& config, const std::string& name);
  void reserve_absent(const config::Config& config);
  // What a service has of its own that nobody else may be given.
  void reserve(const Name& name, std::vector<net::IpAddr> addresses);
  void block(const net::IpAddr& address);
  void unblock(const net::IpAddr& address);
  [[nodiscard]] bool is_blocked(const net::IpAddr& address) const;
  [[nodiscard]] Pool* pool_with(const net::IpAddr& address);
  [[nodiscard]] const Pool* pool_with(const net::IpAddr& address) const;

  // Gives the service what it should have now.
  void settle(const Name& name);
  void forget(const Name& name);
  void hold(const Name& name, Holding holding);
  void release(const Name& name);
  void remember(const Name& name);
  void serve_waiting();
  void settle_everything(const config::Config& config);
  void settle_touched(const config::Config& config, const config::Change& change);
  // After an update: what was kept is held, or not to be had any more, or its service has not come yet.
  void sort_kept(const config::Config& config, const config::Change* change);
  [[nodiscard]] std::vector<Name> changed_services() const;
  // In the order in which the service would like to have them.
  [[nodiscard]] std::vector<net::IpAddr> preferred(const config::Service& service, Holding& as) const;

  [[nodiscard]] Choice choose(const config::Service& service, const Holding& as, const std::vector<net::IpAddr>& had);
  [[nodiscard]] Choice choose_wanted(const config::Service& service, const Holding& as);
  [[nodiscard]] Choice choose_from(Pool& pool, const config::Service& service, const Holding& as,
                                   const std::vector<net::IpAddr>& had);
  [[nodiscard]] std::optional<net::IpAddr> pick(Pool& pool, net::Family family, const Holding& as);
  [[nodiscard]] std::string allocation_problem(const config::AddressPool& pool, const config::Service& service) const;
  [[nodiscard]] bool is_pinned_to(const config::AddressPool& pool, const config::Service& service) const;
  [[nodiscard]] bool is_reserved(const net::IpAddr& address, const Holding& as) const;
  // Why the service cannot have the address; empty: it can.
  [[nodiscard]] std::string objection(const net::IpAddr& address, const Holding& as) const;
  [[nodiscard]] std::vector<Pool*> pools_for(const config::Service& service);

  const config::Config* config_ = nullptr;  // during a call
  std::map<std::string, Pool> pools_;
  std::vector<config::AddressPool> pool_values_;                       // what pools_ points to
  std::map<net::IpAddr, std::pair<net::IpAddr, std::string>> ranges_;  // first → last, pool
  std::unordered_map<net::IpAddr, Use> in_use_;
  std::unordered_map<net::IpAddr, size_t> reserved_;  // by how many
  // By service; by {} for the router itself, and by {reserved_for_node, name}.
  std::map<Name, std::vector<net::IpAddr>> reserved_by_;
  static constexpr const char* reserved_for_node = "/Node";  // no namespace is called so
  std::map<std::string, std::set<net::IpAddr>> shared_;      // by key
  std::map<Name, Holding> services_;                         // those that are ours
  std::set<Name> waiting_;
  GivenAddresses kept_;
  std::vector<Name> gone_;  // of kept_
  bool drop_absent_ = false;
  std::string frozen_;                           // why nothing new is given
  bool thawed_ = false;                          // who waits may get something
  std::set<net::IpAddr> freed_;                  // by the update under way, and free
  std::set<std::string> freed_shares_;           // keys of addresses that others go on using
  std::map<Name, std::optional<Holding>> undo_;  // what the last update changed
  GivenAddresses undo_kept_;
  std::set<std::string> undo_nodes_;
  std::vector<Name> undo_gone_;
  bool undo_drop_absent_ = false;
  bool managing_ = false;  // there is a pool
  bool selects_namespaces_ = false;
};

}  // namespace sluice::control
