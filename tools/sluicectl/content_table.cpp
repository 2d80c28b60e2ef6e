// What is looked for in connections, and how often it was found.
#include <fmt/format.h>

#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"

namespace sluice::ctl {

namespace json = boost::json;

std::string content_policies_text(const json::value& answer) {
  const json::array& policies = list(answer, "contentPolicies");
  if (policies.empty()) return "No ContentPolicy looks into connections.\n";
  std::string out;
  for (const json::value& policy : policies) {
    out += fmt::format(
        "{}{}: {} services, {} pods; the first {} bytes; {} connections being looked into, {} without room for it\n",
        out.empty() ? "" : "\n", text(policy, "name"), list(policy, "services").size(), list(policy, "pods").size(),
        number<uint64_t>(policy, "depth"), number<uint64_t>(policy, "connections"),
        number<uint64_t>(policy, "overloads"));
    Table table({"PATTERN", "ACTION", "DIRECTION", "MATCHES"});
    for (const json::value& pattern : list(policy, "patterns")) {
      table.add({text(pattern, "name"), text(pattern, "action"), text(pattern, "direction"),
                 std::to_string(number<uint64_t>(pattern, "matches"))});
    }
    if (!table.empty()) out += table.text();
  }
  return out;
}

}  // namespace sluice::ctl
