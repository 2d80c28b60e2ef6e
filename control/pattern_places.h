// Where in bytes a pattern of a ContentPolicy begins and ends. Workers learn of a match where it ends and no more,
// which is cheaper; for people the bytes that are at hand are looked through again, for this one pattern, by an
// expression that was compiled to tell. That takes its time, and is done by whoever can spare it, between two looks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "config/content_policy.h"
#include "dataplane/l7/content_rules.h"

namespace sluice::control {

// Both from the first byte on, `end` behind the last one.
struct PatternPlace {
  uint64_t begin = 0;
  uint64_t end = 0;
  friend bool operator==(const PatternPlace&, const PatternPlace&) = default;
};

class PatternPlaces {
 public:
  // Of each expression of the pattern the match that ends first, or that ends at `end`. Nothing of one that is not
  // there, of which Hyperscan cannot tell where it begins, or that is not compiled yet: it is missing then.
  [[nodiscard]] std::vector<PatternPlace> find(const config::ContentPattern& pattern, std::span<const uint8_t> bytes,
                                               std::optional<uint64_t> end = std::nullopt);

  // What find() has missed since this was asked last, each once and no more than are kept.
  [[nodiscard]] std::vector<config::ContentExpression> take_missing() { return std::exchange(missing_, {}); }
  struct Compiled {
    std::string key;
    l7::Database database;  // nullptr: it cannot be
  };
  // Takes milliseconds for each: for another thread than the control thread.
  [[nodiscard]] static std::vector<Compiled> compile(const std::vector<config::ContentExpression>& expressions);
  // What has not been looked for for longest makes room.
  void keep(std::vector<Compiled>&& made);

  static constexpr size_t most_kept = 64;  // expressions

 private:
  struct Kept {
    l7::Database database;
    uint64_t used = 0;  // by looks_, at last
  };

  [[nodiscard]] const hs_database_t* compiled(const config::ContentExpression& expression);

  std::map<std::string, Kept> compiled_;  // by all that went into them
  uint64_t looks_ = 0;
  std::vector<config::ContentExpression> missing_;
};

}  // namespace sluice::control
