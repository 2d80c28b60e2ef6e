// Calico's IPAMBlocks: whose the addresses of a block really are (IPAM-4). A pod may have an address of another node's
// block, a borrowed one; only the IPAMBlock knows that (ENC-5).
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "config/convert.h"

namespace sluice::config {

class Owners;

// What IPAMBlocks say, as entries of Config::blocks: the block, of the node it is affine to, and every borrowed address
// as a block of one address. Entries are named "IPAMBlock/network"; no object can have such a name. A BlockAffinity of
// the same network waits here, and comes back when no IPAMBlock speaks of the network any more.
class IpamBlocks {
 public:
  using Blocks = std::map<std::string, BlockAffinity>;

  // Each puts in the place of what was there of that name. `blocks`: Config::blocks; `owners`: of them, nullptr: there
  // are none.
  void set(IpamBlock block, Blocks& blocks, Owners* owners = nullptr);
  void set(BlockAffinity block, Blocks& blocks, Owners* owners = nullptr);
  // Which is there.
  void erase_block(const std::string& name, Blocks& blocks, Owners* owners = nullptr);
  void erase_affinity(const std::string& name, Blocks& blocks, Owners* owners = nullptr);
  [[nodiscard]] const IpamBlock& block(const std::string& name) const { return all_.at(name); }
  [[nodiscard]] const BlockAffinity& affinity(const std::string& name, const Blocks& blocks) const;

  // After a change of several: whose BlockAffinities wait is settled. The names of entries that are other ones than at
  // the last call, but for those of BlockAffinities that were set and wait as little, or as long, as before.
  [[nodiscard]] std::set<std::string> settle(Blocks& blocks, Owners* owners = nullptr);

 private:
  void replace(const Blocks& before, const Blocks& now, Blocks& blocks, Owners* owners);

  std::map<std::string, IpamBlock> all_;
  std::map<Prefix, unsigned> said_;  // networks of their entries: how many say them
  Blocks waiting_;                   // BlockAffinities
  std::set<Prefix> unsettled_;
  std::set<std::string> changed_;
};

// The IPAMBlock that an entry of Config::blocks is of; empty: it is a BlockAffinity.
[[nodiscard]] std::string_view ipam_block_of(const BlockAffinity& entry);

}  // namespace sluice::config
