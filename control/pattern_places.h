// Where in bytes a pattern of a ContentPolicy begins and ends. Workers learn of a match where it ends and no more,
// which is cheaper; for people the bytes that are at hand are looked through again, for this one pattern, by an
// expression that was compiled to tell.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
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
  // there, or of which Hyperscan cannot tell where it begins. Takes milliseconds the first time.
  [[nodiscard]] std::vector<PatternPlace> find(const config::ContentPattern& pattern, std::span<const uint8_t> bytes,
                                               std::optional<uint64_t> end = std::nullopt);

 private:
  static constexpr size_t most_kept = 64;

  [[nodiscard]] const hs_database_t* compiled(const config::ContentExpression& expression);

  std::map<std::string, l7::Database> compiled_;  // by all that went into them; nullptr: it cannot be
};

}  // namespace sluice::control
