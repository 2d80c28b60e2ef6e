// What is known of the addresses given to pods and tunnels, in the shape of Calico's IPAM: blocks cut from IPPools,
// each with an affinity to a node, and handles, under which the addresses of one container are given back together.
//
// It changes by effects only. What is written to the disk is effects: the log has them in the order they happened, and
// a snapshot is a list of effects that leads to the same state from nothing (ipam.h).
//
// The affinity of a block (IPAM-4): pending from the claim until the disk has it, confirmed as long as the node may use
// it, pending deletion from when it is given up until no route leads there any more. Only confirmed blocks are routed.
//
// Free addresses of a block are a queue: what has never been used in order, then what was given back, the latest last,
// so that an address comes back into use as late as possible (IPAM-2).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"

namespace sluice::control::ipam {

using Seconds = int64_t;  // since 1970

enum class Affinity : uint8_t { Pending, Confirmed, PendingDeletion };
[[nodiscard]] std::string_view to_text(Affinity affinity);  // as Calico writes it

// What an address is for: IPPool's allowedUses.
enum class Use : uint8_t { Workload, Tunnel };
[[nodiscard]] std::string_view to_text(Use use);

struct FreeAddress {
  uint16_t ordinal = 0;  // in its block
  Seconds released = 0;  // 0: never used since the block was claimed
  friend bool operator==(const FreeAddress&, const FreeAddress&) = default;
};

struct Block {
  net::Prefix cidr;
  std::string node;
  Affinity affinity = Affinity::Pending;
  std::map<uint16_t, std::string> used;  // ordinal → handle
  std::deque<FreeAddress> free;          // the next to be used in front

  [[nodiscard]] net::IpAddr address(uint16_t ordinal) const;
  [[nodiscard]] uint16_t ordinal(const net::IpAddr& address) const;  // of an address of the block
  [[nodiscard]] size_t size() const { return size_t{1} << (cidr.addr.bit_length() - cidr.length); }
  friend bool operator==(const Block&, const Block&) = default;
};

struct Handle {
  std::string node;
  Use use = Use::Workload;
  Seconds since = 0;
  std::map<std::string, std::string> attributes;
  std::vector<net::IpAddr> addresses;  // in the order they were assigned
  friend bool operator==(const Handle&, const Handle&) = default;
};

// A block of at most 4096 addresses (IPAM-1) is claimed for a node, as pending; all of its addresses can be used
// (IPAM-6). `pool`: the claim that comes next in it goes on behind this one; of snapshots empty.
struct Claim {
  net::Prefix cidr;
  std::string node;
  std::string pool;
};
struct SetAffinity {
  net::Prefix cidr;
  Affinity affinity = Affinity::Confirmed;
};
struct Drop {
  net::Prefix cidr;
};
// Before the first address of a handle. Of one that has addresses: others attributes from now on.
struct Open {
  std::string handle;
  std::string node;
  Use use = Use::Workload;
  Seconds since = 0;
  std::map<std::string, std::string> attributes;
};
struct Assign {
  net::IpAddr address;
  std::string handle;
};
// Of an address that is assigned: it is given back, and its handle goes with its last address. Of a free one: it was
// given back at that time, later than what came before.
struct Release {
  net::IpAddr address;
  Seconds time = 0;
};
// Where the next claim in a pool goes on; of snapshots, whose blocks need not have the last one.
struct Cursor {
  std::string pool;
  net::Prefix cidr;
};
using Effect = std::variant<Claim, SetAffinity, Drop, Open, Assign, Release, Cursor>;
using Effects = std::vector<Effect>;

[[nodiscard]] boost::json::array to_json(const Effects& effects);
// Error: what is wrong with the first that is none.
[[nodiscard]] net::Result<Effects> effects_of(const boost::json::value& value);

class State {
 public:
  // Error: it contradicts the state, which is as before then. Never of effects that were made for this state.
  [[nodiscard]] net::Status<> apply(const Effect& effect);
  // Leads from nothing to this state.
  [[nodiscard]] Effects snapshot() const;

  [[nodiscard]] const std::map<net::Prefix, Block>& blocks() const { return blocks_; }
  [[nodiscard]] const std::map<std::string, Handle>& handles() const { return handles_; }
  // The block that holds an address; nullptr if none does.
  [[nodiscard]] const Block* block_of(const net::IpAddr& address) const;
  [[nodiscard]] const Handle* handle(const std::string& name) const;
  // The block claimed last in a pool.
  [[nodiscard]] std::optional<net::Prefix> cursor(const std::string& pool) const;

  friend bool operator==(const State&, const State&) = default;

 private:
  [[nodiscard]] net::Status<> run(const Claim& claim);
  [[nodiscard]] net::Status<> run(const SetAffinity& change);
  [[nodiscard]] net::Status<> run(const Drop& drop);
  [[nodiscard]] net::Status<> run(const Open& open);
  [[nodiscard]] net::Status<> run(const Assign& assign);
  [[nodiscard]] net::Status<> run(const Release& release);
  [[nodiscard]] net::Status<> run(const Cursor& cursor);
  [[nodiscard]] Block* find(const net::IpAddr& address);

  std::map<net::Prefix, Block> blocks_;  // none overlaps another
  std::map<std::string, Handle> handles_;
  std::map<std::string, net::Prefix> cursors_;  // by pool
};

}  // namespace sluice::control::ipam
