// The table of Ingresses and their rules.
#include <set>
#include <string>

#include <fmt/format.h>

#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"

namespace sluice::ctl {

namespace json = boost::json;

std::string ingress_text(const json::value& answer) {
  Table table({"INGRESS", "HOST", "PATH", "TYPE", "TARGET", "ENDPOINTS", "ADDRESSES"});
  std::set<std::string> problems;  // with names outside of the cluster
  for (const json::value& entry : list(answer, "ingresses")) {
    std::string addresses;
    for (const json::value& each : list(entry, "addresses")) {
      if (const auto* one = each.if_string()) addresses += (addresses.empty() ? "" : ",") + std::string(*one);
    }
    const bool tls = flag(entry, "tlsPassthrough");
    for (const json::value& rule : list(entry, "rules")) {
      const std::string host = text(rule, "host");
      const std::string path = text(rule, "path");
      std::string target = text(rule, "target");
      if (const json::value& external = field(rule, "externalName"); external.is_object()) {
        const std::string name = text(external, "name");
        target += fmt::format(" ({})", name.empty() ? "no name" : name);
        const std::string problem = text(external, "problem");
        if (!problem.empty()) problems.insert(fmt::format("{}: {}\n", target, problem));
      }
      table.add({text(entry, "name"), host.empty() ? "*" : host, path.empty() ? "(default)" : path,
                 (tls ? "TLS " : "") + text(rule, "pathType"), target.empty() ? "(none)" : target,
                 std::to_string(number<uint64_t>(rule, "endpoints")), addresses});
    }
  }
  if (table.empty()) return "No Ingress is this router's.\n";
  std::string out = table.text();
  for (const std::string& problem : problems) out += problem;
  return out;
}

}  // namespace sluice::ctl
