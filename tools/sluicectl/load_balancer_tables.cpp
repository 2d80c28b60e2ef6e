// Tables of load balancer addresses.
#include <chrono>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"

namespace sluice::ctl {
namespace {

namespace json = boost::json;

std::string table_or(const Table& table, std::string_view nothing) {
  return table.empty() ? fmt::format("{}\n", nothing) : table.text();
}

std::string joined(const json::array& strings) {
  std::string out;
  for (const json::value& each : strings) {
    if (const auto* text = each.if_string()) out += (out.empty() ? "" : ",") + std::string(*text);
  }
  return out;
}

}  // namespace

std::string load_balancers_text(const json::value& answer) {
  Table table({"SERVICE", "ADDRESSES", "POOL", "PENDING"});
  for (const json::value& entry : list(answer, "loadBalancers")) {
    table.add({text(entry, "service"), joined(list(entry, "addresses")), text(entry, "pool"), text(entry, "pending")});
  }
  return table_or(table, "No service gets a load balancer address from here.");
}

std::string l2_text(const json::value& answer) {
  Table table({"VIP", "SERVICE", "OWNER", "INTERFACES", "SINCE", "CONFLICTS", "NOTE"});
  for (const json::value& entry : list(answer, "addresses")) {
    const auto since = static_cast<std::time_t>(number<double>(entry, "sinceSeconds"));
    const std::string owner = text(entry, "owner");
    std::string conflicts = std::to_string(number<uint64_t>(entry, "conflicts"));
    if (const std::string mac = text(entry, "claimedBy"); !mac.empty()) conflicts += " (" + mac + ")";
    table.add({text(entry, "address"), joined(list(entry, "services")), owner + (flag(entry, "ours") ? " (this)" : ""),
               joined(list(entry, "interfaces")), fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(since)), conflicts,
               text(entry, "note")});
  }
  return table_or(table, "No L2Advertisement announces an address.");
}

}  // namespace sluice::ctl
