// Which address a request gets: a pure function of configuration, state and time (IPAM-2, IPAM-3, IPAM-9).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/ipam.h"

namespace sluice::control::ipam {

struct Chosen {
  net::IpAddr address;
  std::optional<Claim> claim;  // comes before it
};

// The pool that holds a block; nullptr if none does.
[[nodiscard]] const config::IpPool* pool_of(const config::Config& config, const net::Prefix& block);
// An address that was released may not be used again yet. A clock that was set back locks nothing up.
[[nodiscard]] bool cools_down(const config::Config& config, Seconds released, Seconds now);
// The node to which the configuration gives (BlockAffinity, podCIDRs) something of a block of another; or nullptr.
[[nodiscard]] const std::string* other_owner(const config::Config& config, const net::Prefix& block,
                                             const std::string& node);
// Other routers, those of Nodes that do not count as this one's, may cut blocks of the same pools, of which this one's
// store knows nothing: then blocks are cut only for nodes of this router, in what the configuration gives to them
// (IPAM-4).
[[nodiscard]] bool shares_pools(const config::Config& config);
// Why nobody can tell whose a block is that this router gave itself; empty: it is its own.
[[nodiscard]] std::string doubt_about(const config::Config& config, const net::Prefix& block);
[[nodiscard]] std::string beginning_of_doubt(const net::Prefix& block);
// It is this router, or there is a Node of that name.
[[nodiscard]] bool knows_node(const config::Config& config, const std::string& node);

class Choice {
 public:
  // All outlive it.
  Choice(const config::Config& config, const State& state, const Request& request, Seconds now)
      : config_(config), state_(state), request_(request), now_(now) {}

  // Whether what a handle has is what the request asks for.
  [[nodiscard]] bool is_answered_by(const Handle& handle) const;
  // Requested addresses first, then by family. Claims are of different blocks.
  [[nodiscard]] net::Result<std::vector<Chosen>, Refusal> choose() const;

 private:
  using Pools = std::vector<const config::IpPool*>;
  using Found = net::Result<Chosen, Refusal>;

  // Those the request may have addresses of, in the order they are looked at.
  [[nodiscard]] net::Result<Pools, Refusal> pools_for(net::Family family) const;
  // What is named for a family by the request, or by its Namespace's annotation.
  [[nodiscard]] std::vector<std::string> names_for(net::Family family) const;
  [[nodiscard]] bool selects(const config::IpPool& pool) const;
  [[nodiscard]] bool names_pools(net::Family family) const;
  [[nodiscard]] bool allows(const config::IpPool& pool) const;
  [[nodiscard]] Found requested(const net::IpAddr& address) const;
  [[nodiscard]] Found automatic(net::Family family) const;
  // The address that has been free for longest in blocks of these pools: the node's own, or other nodes'.
  [[nodiscard]] std::optional<net::IpAddr> from_blocks(const Pools& pools, bool own) const;
  [[nodiscard]] std::optional<net::Prefix> new_block(const config::IpPool& pool) const;
  // Nobody has anything there, and it is not another node's.
  [[nodiscard]] bool can_be_claimed(const net::Prefix& block) const;
  // Whether blocks may be cut where the configuration gives nothing to a node.
  [[nodiscard]] bool may_claim_anywhere() const;
  // Whether they may be where it gives something to the request's node.
  [[nodiscard]] bool may_claim_given() const;
  [[nodiscard]] bool may_claim(net::Family family) const;  // maxBlocksPerHost
  // What may be done about it that nothing can be claimed, behind "; "; empty: nothing.
  [[nodiscard]] std::string advice() const;
  // What the configuration gives to nodes.
  template <class Visit>
  void each_range(Visit visit) const;  // visit(prefix, node)

  const config::Config& config_;
  const State& state_;
  const Request& request_;
  Seconds now_;
};

}  // namespace sluice::control::ipam
