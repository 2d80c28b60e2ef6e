// Rules in Suricata's language, as far as they say what a ContentPolicy can do: `content` and `pcre` over the bytes of
// a connection. The rest of the language is about other things; a rule that uses it is not taken, and said why.
//
// Source: the user guide of Suricata 6, "Payload Keywords" and "Rules Format".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "config/content_policy.h"

namespace sluice::config {

// A rule that was not taken, and why.
struct UnmappedRule {
  std::string reason;  // "http.uri has no counterpart"
};
// The line holds no rule: empty, or a comment.
struct NoRule {};

using SuricataRule = std::variant<NoRule, UnmappedRule, ContentPattern>;

// One line. `list` and `index` of the pattern are the caller's.
[[nodiscard]] SuricataRule parse_suricata_rule(std::string_view line);

}  // namespace sluice::config
