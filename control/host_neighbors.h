// Neighbours that the host's kernel has static MAC addresses for at the twins of interfaces: permanent ones and those
// without ARP, which a person sets (ip neigh add … nud permanent), and those that a routing daemon says it has learned
// (extern_learn). From messages of the kernel to the router's static neighbours, without a socket. What the kernel has
// resolved itself is left out: the router asks for itself, and both hear the answers.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/model.h"
#include "control/netlink.h"
#include "control/plan.h"
#include "dataplane/net/addr.h"

namespace sluice::control {

struct HostNeighbor {
  net::MacAddr mac;
  bool learned = false;  // by a routing daemon; otherwise a person's

  friend bool operator==(const HostNeighbor&, const HostNeighbor&) = default;
};
// By the interface's name and the address.
using HostNeighbors = std::map<std::pair<std::string, net::IpAddr>, HostNeighbor>;

class HostNeighborTable {
 public:
  // More than that are left out, with a warning.
  static constexpr size_t most = 4096;
  // What the router calls the links of the kernel, by their index.
  using Links = std::map<int, std::string>;

  // Where they are looked for. Those of other links are forgotten.
  void set_links(Links links);
  // What decides which of them can be used: the router's addresses, and the neighbours of the configuration, which come
  // first.
  void set_network(const std::vector<PlannedInterface>& interfaces,
                   const std::vector<config::StaticNeighbor>& configured);

  void learn(const netlink::Neighbor& neighbor);
  // Between them everything there is is learned; what is not learned is gone. What a dump says of a neighbour that
  // changed meanwhile is not listened to.
  void begin_all();
  void end_all();
  // Some were left out for want of room, and there is room now: the kernel has to be asked again.
  [[nodiscard]] bool has_gaps() const { return left_out_ && known_.size() < most; }

  // Whether anything was different since usable() was last asked.
  [[nodiscard]] bool changed() const { return changed_; }
  [[nodiscard]] const HostNeighbors& usable();
  // Of what usable() returned: what was left out, and why.
  [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  struct Known {
    net::MacAddr mac;
    netlink::Neighbor::Type type = netlink::Neighbor::Type::Permanent;
    uint32_t round = 0;
  };
  using Key = std::pair<int, net::IpAddr>;  // link

  // Why it cannot be used, for a person; empty: it can.
  [[nodiscard]] std::string complaint_about(const std::string& interface, const net::IpAddr& address,
                                            const net::MacAddr& mac) const;

  Links links_;
  std::map<net::IpAddr, std::string> own_;                    // and the interface that has it
  std::vector<std::pair<net::Prefix, std::string>> subnets_;  // and their interface
  std::set<std::pair<std::string, net::IpAddr>> configured_;
  std::map<Key, Known> known_;
  std::set<Key> heard_;  // changes since begin_all()
  bool left_out_ = false;
  bool changed_ = false;
  uint32_t round_ = 0;
  bool in_round_ = false;
  HostNeighbors usable_;
  std::vector<std::string> warnings_;
};

}  // namespace sluice::control
