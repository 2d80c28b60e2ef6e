// The table of Ingresses and their rules.
#include <fmt/format.h>

#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"

namespace sluice::ctl {

namespace json = boost::json;

std::string ingress_text(const json::value& answer) {
  Table table({"INGRESS", "HOST", "PATH", "TYPE", "TARGET", "ENDPOINTS", "ADDRESSES"});
  for (const json::value& entry : list(answer, "ingresses")) {
    std::string addresses;
    for (const json::value& each : list(entry, "addresses")) {
      if (const auto* one = each.if_string()) addresses += (addresses.empty() ? "" : ",") + std::string(*one);
    }
    const bool tls = flag(entry, "tlsPassthrough");
    for (const json::value& rule : list(entry, "rules")) {
      const std::string host = text(rule, "host");
      const std::string path = text(rule, "path");
      const std::string target = text(rule, "target");
      table.add({text(entry, "name"), host.empty() ? "*" : host, path.empty() ? "(default)" : path,
                 (tls ? "TLS " : "") + text(rule, "pathType"), target.empty() ? "(none)" : target,
                 std::to_string(number<uint64_t>(rule, "endpoints")), addresses});
    }
  }
  return table.empty() ? "No Ingress is this router's.\n" : table.text();
}

}  // namespace sluice::ctl
