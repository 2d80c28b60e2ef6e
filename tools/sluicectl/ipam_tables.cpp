// Tables of addresses of pods and tunnels.
#include <fmt/format.h>

#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"

namespace sluice::ctl {
namespace {

namespace json = boost::json;

std::string table_or(const Table& table, std::string_view nothing) {
  return table.empty() ? fmt::format("{}\n", nothing) : table.text();
}

// NAMESPACE/POD of what a container runtime asked for.
std::string pod_of(const json::value& entry) {
  const json::value& attributes = field(entry, "attributes");
  const std::string pod = text(attributes, "pod");
  return pod.empty() ? pod : fmt::format("{}/{}", text(attributes, "namespace"), pod);
}

}  // namespace

std::string addresses_text(const json::value& answer) {
  Table table({"ADDRESS", "NODE", "BLOCK", "BORROWED", "USE", "POD", "HANDLE"});
  for (const json::value& entry : list(answer, "addresses")) {
    table.add({text(entry, "address"), text(entry, "node"), text(entry, "block"), flag(entry, "borrowed") ? "yes" : "",
               text(entry, "use"), pod_of(entry), text(entry, "handle")});
  }
  return table_or(table, "no address is assigned");
}

std::string blocks_text(const json::value& answer) {
  Table table({"BLOCK", "NODE", "STATE", "USED", "FREE"});
  for (const json::value& entry : list(answer, "blocks")) {
    table.add({text(entry, "cidr"), text(entry, "node"), text(entry, "state"),
               std::to_string(number<uint64_t>(entry, "used")), std::to_string(number<uint64_t>(entry, "free"))});
  }
  return table_or(table, "no block is claimed");
}

std::string handles_text(const json::value& answer) {
  Table table({"HANDLE", "NODE", "USE", "POD", "ADDRESSES"});
  for (const json::value& entry : list(answer, "handles")) {
    std::string addresses;
    for (const json::value& address : list(entry, "addresses")) {
      if (!addresses.empty()) addresses += ", ";
      if (address.is_string()) addresses += std::string_view(address.get_string());
    }
    table.add({text(entry, "handle"), text(entry, "node"), text(entry, "use"), pod_of(entry), addresses});
  }
  return table_or(table, "no address is assigned");
}

}  // namespace sluice::ctl
