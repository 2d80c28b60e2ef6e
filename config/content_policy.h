// sluice.dev/v1 ContentPolicy: what must not (or only countably) pass between selected services or pods and those they
// talk to, as patterns in the first bytes of each connection.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/digest.h"
#include "config/label_selector.h"

namespace sluice::config {

// What happens to a connection in which a pattern is found, the mildest first.
enum class ContentAction : uint8_t { Count, Mirror, Reset, Drop };
// Towards the selected service or pod, or from it.
enum class ContentDirection : uint8_t { Both, Ingress, Egress };
// What happens to a connection that there is no room to look into.
enum class ContentOverload : uint8_t { Pass, Drop };

// One thing to look for: a regular expression in PCRE's syntax, or bytes.
struct ContentExpression {
  std::string text;
  bool literal = false;
  bool caseless = false;
  bool dot_all = false;     // "." is a line feed too
  bool multi_line = false;  // "^" and "$" at every line
  bool utf8 = false;        // of characters, not of bytes
  // Where a match may end, counted in bytes from the beginning of what is looked at; both belong to it.
  std::optional<uint64_t> least_end, most_end;
  friend bool operator==(const ContentExpression&, const ContentExpression&) = default;
};

struct ContentPattern {
  std::string name;
  std::vector<ContentExpression> all;  // every one must be found, in any order
  ContentAction action = ContentAction::Drop;
  ContentDirection direction = ContentDirection::Both;
  // Where it stands in the object: spec.patterns[3], spec.suricataRules[7] or the line of that text.
  std::string_view list = "patterns";
  uint32_t index = 0;
  friend bool operator==(const ContentPattern&, const ContentPattern&) = default;
};

struct ContentPolicy {
  static constexpr uint32_t default_depth = 16384;

  std::string ns;
  std::string name;
  // What it is for, in its own namespace. Absent: none.
  std::optional<LabelSelector> services;
  std::optional<LabelSelector> pods;
  uint32_t depth = default_depth;  // bytes of each direction of a connection that are looked at
  ContentOverload overload = ContentOverload::Pass;
  std::vector<ContentPattern> patterns;
  Digest digest;  // of all that it looks for, and how: depth, overload, patterns
  friend bool operator==(const ContentPolicy&, const ContentPolicy&) = default;
};

}  // namespace sluice::config
