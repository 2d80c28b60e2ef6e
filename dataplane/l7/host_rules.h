// Which rule a host and a path lead to (ING-1 to ING-5): a table of hosts whose versions share what did not change, and
// for each host its paths.
//
// A host is found by one probe, a wildcard by a second one. Within a host the longest path wins: it is sought from the
// whole path upwards, element by element, and no further than its rules are long.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/l7/decision.h"
#include "nat/sharded_table.h"

namespace sluice::l7 {

// Where a rule leads.
struct Route {
  TargetId target = no_target;  // none: there is no such backend
  uint32_t rule = no_rule;
  bool proxy_protocol = false;
  bool redirect = false;  // to https, and to no target
  // False: the router has nothing but an error for it.
  [[nodiscard]] bool leads() const { return redirect || target != no_target; }
  friend bool operator==(const Route&, const Route&) = default;
};

enum class PathMatch : uint8_t { Exact, Prefix };

struct PathRule {
  std::string path;  // as normalised_path() has it
  PathMatch match = PathMatch::Prefix;
  Route route;
  friend bool operator==(const PathRule&, const PathRule&) = default;
};

// The paths of one host; const.
class PathRules {
 public:
  // Of two that match the same the first counts, but of two prefixes that differ only in the slash at the end the one
  // that has it (ING-3, ING-4). `otherwise`: for paths that none matches; without a target: what is for all hosts.
  explicit PathRules(std::vector<PathRule> rules, Route otherwise = {});

  // `path` as normalised_path() has it; nullptr: no rule.
  [[nodiscard]] const Route* find(std::string_view path) const;
  [[nodiscard]] const Route& otherwise() const { return otherwise_; }
  // Whether every path leads to one place, given that `common` is where those go that no rule matches.
  [[nodiscard]] bool leads_to_one(const Route& common) const { return only_place(common) != nullptr; }
  // That place, of the first rule that leads there; nullptr: there are several. Lives as long as this and `common`.
  [[nodiscard]] const Route* only_place(const Route& common) const;
  [[nodiscard]] size_t size() const { return rules_.size(); }
  friend bool operator==(const PathRules& a, const PathRules& b) {
    return a.rules_ == b.rules_ && a.otherwise_ == b.otherwise_;
  }

 private:
  [[nodiscard]] const Route* find(std::string_view path, PathMatch match) const;

  std::vector<PathRule> rules_;  // by path and match, prefixes without the slash at their end
  Route otherwise_;
  size_t longest_prefix_ = 0;
  bool any_prefix_ = false;
  bool one_target_ = false;  // of all rules
};

// Hosts and their paths; copies share what they hold.
class HostRules {
 public:
  // "foo.com", "*.foo.com" or "" for all others; in lower case, without a dot at the end.
  struct Host {
    std::string name;
    std::shared_ptr<const PathRules> paths;  // nullptr: none any more

    [[nodiscard]] bool occupied() const { return paths != nullptr; }
    [[nodiscard]] uint64_t hash() const { return hash_of(name); }
  };

  // This table with these hosts as they are here, each at most once.
  [[nodiscard]] HostRules changed(std::vector<Host> hosts) const;

  // The rules of the host that is closest: itself, its wildcard, all. nullptr: none. `host` as HostName has it.
  [[nodiscard]] const PathRules* find(std::string_view host) const;
  // Of an exact host or a wildcard only: connections whose host is all there is to decide by.
  [[nodiscard]] const PathRules* find_named(std::string_view host) const;
  // Where all hosts, known or not, and all their paths lead; nullptr: there are several places, or some have none.
  [[nodiscard]] const Route* only_place(const Route& common) const;
  [[nodiscard]] size_t size() const { return table_.size() + (all_ == nullptr ? 0 : 1); }

  [[nodiscard]] static uint64_t hash_of(std::string_view name);

 private:
  static constexpr unsigned shard_bits = 10;

  [[nodiscard]] const PathRules* probe(std::string_view name) const;

  nat::ShardedTable<Host, shard_bits> table_;  // wildcards as ".foo.com"
  std::shared_ptr<const PathRules> all_;
};

}  // namespace sluice::l7
