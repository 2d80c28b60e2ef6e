#include "tools/sluicectl/tables.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "tools/sluicectl/fields.h"

namespace sluice::ctl {
namespace {

namespace json = boost::json;

// Characters, not bytes: the bytes that do not continue a UTF-8 sequence.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string table_or(const Table& table, std::string_view nothing) {
  return table.empty() ? fmt::format("{}\n", nothing) : table.text();
}

std::string count(const json::value& object, std::string_view name) {
  return std::to_string(number<uint64_t>(object, name));
}

std::string join(const json::array& strings, std::string_view separator) {
  std::string out;
  for (const json::value& string : strings) {
    if (!out.empty()) out += separator;
    if (string.is_string()) out += std::string_view(string.get_string());
  }
  return out;
}

// 192.0.2.1:80, [2001:db8::1]:80; without a port as it is.
std::string endpoint_text(const std::string& address, uint16_t port) {
  if (port == 0) return address;
  return address.find(':') == std::string::npos ? fmt::format("{}:{}", address, port)
                                                : fmt::format("[{}]:{}", address, port);
}

std::string percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? "" : fmt::format("{:.1f}%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string hop_text(const json::value& hop) {
  std::string out;
  const auto add = [&](std::string_view word, const std::string& value) {
    if (!value.empty()) out += fmt::format("{}{}{}", out.empty() ? "" : " ", word, value);
  };
  add("", text(hop, "tunnel"));
  add("via ", text(hop, "via"));
  add("dev ", text(hop, "interface"));
  if (const std::string state = text(hop, "neighbor"); !state.empty()) add("", fmt::format("({})", state));
  return out;
}

void write(std::string& out, const json::value& value, size_t depth) {
  const std::string inner(2 * depth + 2, ' ');
  const std::string outer(2 * depth, ' ');
  if (const auto* object = value.if_object(); object != nullptr && !object->empty()) {
    std::string_view before = "{\n";
    for (const auto& [key, member] : *object) {
      out += fmt::format("{}{}{}: ", before, inner, json::serialize(json::string_view(key)));
      write(out, member, depth + 1);
      before = ",\n";
    }
    out += fmt::format("\n{}}}", outer);
  } else if (const auto* array = value.if_array(); array != nullptr && !array->empty()) {
    std::string_view before = "[\n";
    for (const auto& element : *array) {
      out += fmt::format("{}{}", before, inner);
      write(out, element, depth + 1);
      before = ",\n";
    }
    out += fmt::format("\n{}]", outer);
  } else if (const auto* real = value.if_double()) {
    fmt::format_to(std::back_inserter(out), "{}", *real);  // Boost.JSON would write 1.25E1
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::string Table::text() const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < widths.size(); ++i) widths[i] = std::max({widths[i], width_of(row[i]), size_t{1}});
  }
  std::string out;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string cell = row[i].empty() ? "-" : row[i];
      out += cell;
      if (i + 1 < widths.size()) out += std::string(widths[i] - width_of(cell) + 2, ' ');
    }
    out += '\n';
  }
  return out;
}

std::string bytes_text(uint64_t bytes) {
  static constexpr std::array<std::string_view, 7> units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 || value >= 9.95 ? fmt::format("{:.0f}{}", value, units[unit])
                                    : fmt::format("{:.1f}{}", value, units[unit]);
}

std::string rate_text(double rate) {
  static constexpr const char* units[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (rate >= 999.5 && unit + 1 < std::size(units)) {
    rate /= 1000;
    ++unit;
  }
  return unit == 0 || rate >= 99.95 ? fmt::format("{:.0f}{}", rate, units[unit])
         : rate >= 9.995            ? fmt::format("{:.1f}{}", rate, units[unit])
                                    : fmt::format("{:.2f}{}", rate, units[unit]);
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<uint64_t>(std::max(0.0, seconds));
  const uint64_t minutes = whole / 60;
  const uint64_t hours = minutes / 60;
  if (whole < 120) return fmt::format("{}s", whole);
  if (minutes < 60) return fmt::format("{}m{:02}s", minutes, whole % 60);
  if (hours < 48) return fmt::format("{}h{:02}m", hours, minutes % 60);
  return fmt::format("{}d{:02}h", hours / 24, hours % 24);
}

std::string pretty(const json::value& value) {
  std::string out;
  write(out, value, 0);
  out += '\n';
  return out;
}

namespace {

// The rows of a table that has more columns when it is wide.
class WideTable {
 public:
  WideTable(bool wide, std::vector<std::string> header, std::vector<std::string> more)
      : wide_(wide), table_(joined(std::move(header), std::move(more))) {}

  void add(std::vector<std::string> row, std::vector<std::string> more) {
    table_.add(joined(std::move(row), std::move(more)));
  }
  [[nodiscard]] const Table& table() const { return table_; }

 private:
  [[nodiscard]] std::vector<std::string> joined(std::vector<std::string> row, std::vector<std::string> more) const {
    if (wide_) row.insert(row.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    return row;
  }

  bool wide_;
  Table table_;
};

}  // namespace

std::string config_text(const json::value& answer, bool wide) {
  WideTable table(wide, {"KIND", "NAMESPACE", "NAME"}, {"API-VERSION", "CREATED", "RESOURCE-VERSION"});
  for (const json::value& item : list(answer, "items")) {
    const json::value& metadata = field(item, "metadata");
    table.add({text(item, "kind"), text(metadata, "namespace"), text(metadata, "name")},
              {text(item, "apiVersion"), text(metadata, "creationTimestamp"), text(metadata, "resourceVersion")});
  }
  return table_or(table.table(), "No objects are applied.");
}

std::string status_text(const json::value& answer) {
  const auto wanted = number<uint64_t>(answer, "generationWanted");
  const auto applied = number<uint64_t>(answer, "generationApplied");
  const std::string generation =
      wanted == applied ? std::to_string(applied) : fmt::format("{}, on the way to {}", applied, wanted);
  uint64_t v4 = 0;
  uint64_t v6 = 0;
  for (const json::value& worker : list(answer, "workers")) {
    v4 += number<uint64_t>(worker, "flowsV4");
    v6 += number<uint64_t>(worker, "flowsV6");
  }
  size_t up = 0;
  const json::array& interfaces = list(answer, "interfaces");
  for (const json::value& interface : interfaces) up += flag(interface, "linkUp") ? 1 : 0;
  const auto max = number<uint64_t>(answer, "conntrackMax");
  const auto mbufs = number<uint64_t>(answer, "mbufsInUse");
  const auto mbufs_total = number<uint64_t>(answer, "mbufsTotal");

  std::string out;
  const auto line = [&](std::string_view name, std::string_view value) {
    out += fmt::format("{:<13}{}\n", fmt::format("{}:", name), value);
  };
  line("Version", text(answer, "version"));
  line("Node", text(answer, "nodeName"));
  line("Ready", flag(answer, "ready") ? "yes" : "no, no full configuration is applied");
  line("Generation", generation);
  line("Last apply", fmt::format("{:.1f} ms", number<double>(answer, "lastApplyMillis")));
  line("Uptime", duration_text(number<double>(answer, "uptimeSeconds")));
  line("Workers", std::to_string(list(answer, "workers").size()));
  line("Interfaces", fmt::format("{} of {} up", up, interfaces.size()));
  line("Connections", fmt::format("{} IPv4, {} IPv6, at most {} each", v4, v6, max));
  line("Buffers", fmt::format("{} of {} in use", mbufs, mbufs_total));
  for (const json::value& warning : list(answer, "warnings")) {
    if (warning.is_string()) line("Warning", std::string_view(warning.get_string()));
  }
  return out;
}

std::string interfaces_text(const json::value& status, bool wide) {
  WideTable table(wide,
                  {"NAME", "DEVICE", "VLAN", "LINK", "MTU", "MAC", "ADDRESSES", "RX-PACKETS", "RX-BYTES", "TX-PACKETS",
                   "TX-BYTES", "MISSED", "ERRORS"},
                  {"PORT", "RX-ERRORS", "TX-ERRORS"});
  for (const json::value& interface : list(status, "interfaces")) {
    const auto vlan = number<uint64_t>(interface, "vlan");
    const uint64_t errors = number<uint64_t>(interface, "rxErrors") + number<uint64_t>(interface, "txErrors");
    table.add({text(interface, "name"), text(interface, "device"), vlan == 0 ? "" : std::to_string(vlan),
               flag(interface, "waitingForDevice") ? "waiting"
               : flag(interface, "linkUp")         ? "up"
                                                   : "down",
               count(interface, "mtu"), text(interface, "mac"), join(list(interface, "addresses"), ","),
               count(interface, "rxPackets"), bytes_text(number<uint64_t>(interface, "rxBytes")),
               count(interface, "txPackets"), bytes_text(number<uint64_t>(interface, "txBytes")),
               count(interface, "rxMissed"), std::to_string(errors)},
              {count(interface, "port"), count(interface, "rxErrors"), count(interface, "txErrors")});
  }
  return table_or(table.table(), "No interfaces are configured.");
}

std::string workers_text(const json::value& status, bool wide) {
  WideTable table(wide,
                  {"WORKER", "CPU", "BUSY", "GENERATION", "PACKETS", "HANDED-OVER", "RECEIVED-OVER", "FLOWS-V4",
                   "FLOWS-V6", "OPENED", "CLOSED"},
                  {"SNAT-PORTS", "SNAT-DRAWS", "SNAT-EXHAUSTED", "SNAT-GAVE-UP", "SNAT-MAPPINGS"});
  for (const json::value& worker : list(status, "workers")) {
    table.add({count(worker, "index"), std::to_string(number<int64_t>(worker, "cpu")),
               percent(number<uint64_t>(worker, "busyCycles"), number<uint64_t>(worker, "totalCycles")),
               count(worker, "generation"), count(worker, "packets"), count(worker, "handedOver"),
               count(worker, "receivedOver"), count(worker, "flowsV4"), count(worker, "flowsV6"),
               count(worker, "flowsOpened"), count(worker, "flowsClosed")},
              {count(worker, "snatAllocated"), count(worker, "snatDraws"), count(worker, "snatExhausted"),
               count(worker, "snatGaveUp"), count(worker, "snatMappings")});
  }
  return table_or(table.table(), "No workers are running.");
}

std::string counters_text(const json::value& answer, bool zeros) {
  Table table({"COUNTER", "NAME", "VALUE"});
  for (const auto& [group, name] : {std::pair{"drops", "drop"}, std::pair{"events", "event"}}) {
    const json::object* counters = field(answer, group).if_object();
    if (counters == nullptr) continue;
    for (const auto& [key, value] : *counters) {
      json::error_code error;
      const auto events = value.to_number<uint64_t>(error);
      if (events != 0 || zeros) table.add({name, std::string(key), std::to_string(events)});
    }
  }
  return table_or(table, "Every counter is zero (--all shows them).");
}

std::string neighbors_text(const json::value& answer) {
  Table table({"INTERFACE", "ADDRESS", "MAC", "STATE", "SOURCE", "AGE"});
  for (const json::value& entry : list(answer, "neighbors")) {
    const std::string mac = text(entry, "mac");
    table.add({text(entry, "interface"), text(entry, "address"), mac == "00:00:00:00:00:00" ? "" : mac,
               text(entry, "state"), text(entry, "source"), duration_text(number<double>(entry, "ageSeconds"))});
  }
  return table_or(table, "No neighbors are known.");
}

std::string routes_text(const json::value& answer, bool wide) {
  WideTable table(wide, {"DESTINATION", "TYPE", "ORIGIN", "NEXT-HOP"}, {"TUNNEL-MTU", "MTU-FROM", "FAR-END"});
  const auto tunnel = [](const json::value& hop) -> std::vector<std::string> {
    if (text(hop, "tunnel").empty()) return {"", "", ""};
    return {count(hop, "mtu"), text(hop, "mtuFrom"), flag(hop, "unreachable") ? "unreachable" : "reachable"};
  };
  for (const json::value& route : list(answer, "routes")) {
    const json::array& hops = list(route, "hops");
    table.add(
        {text(route, "destination"), text(route, "type"), text(route, "origin"), hops.empty() ? "" : hop_text(hops[0])},
        tunnel(hops.empty() ? json::value() : hops[0]));
    for (size_t i = 1; i < hops.size(); ++i) table.add({" ", " ", " ", hop_text(hops[i])}, tunnel(hops[i]));
  }
  return table_or(table.table(), "No route.");
}

std::string services_text(const json::value& answer, bool wide) {
  Table table({"NAME", "PROTOCOL", "FRONTENDS", "ENDPOINTS", "POLICY"});
  for (const json::value& service : list(answer, "services")) {
    std::string frontends;
    for (const json::value& frontend : list(service, "frontends")) {
      if (!frontends.empty()) frontends += ',';
      frontends += fmt::format("{} {}", text(frontend, "kind"),
                               endpoint_text(text(frontend, "address"), number<uint16_t>(frontend, "port")));
    }
    size_t ready = 0;
    std::string addresses;
    const json::array& endpoints = list(service, "endpoints");
    for (const json::value& endpoint : endpoints) {
      const bool is_ready = flag(endpoint, "ready");
      ready += is_ready ? 1 : 0;
      if (!addresses.empty()) addresses += ',';
      addresses += endpoint_text(text(endpoint, "address"), number<uint16_t>(endpoint, "port"));
      if (flag(endpoint, "local")) addresses += "(local)";
      if (!is_ready) addresses += flag(endpoint, "terminating") ? "(terminating)" : "(not ready)";
      if (field(endpoint, "weight").is_number() && number<unsigned>(endpoint, "weight") != 100) {
        addresses += fmt::format("(weight {})", count(endpoint, "weight"));
      }
      if (flag(endpoint, "drained")) addresses += "(drained)";
    }
    std::string policy = text(service, "externalTrafficPolicy");
    if (const std::string inner = text(service, "internalTrafficPolicy"); inner != policy) {
      policy = fmt::format("external {}, internal {}", policy, inner);
    }
    if (text(service, "forwarding") == "dsr") policy += ", dsr";
    const std::string summary = fmt::format("{} of {} ready", ready, endpoints.size());
    table.add({text(service, "name"), text(service, "protocol"), frontends, wide ? addresses : summary, policy});
  }
  return table_or(table, "No services are configured.");
}

namespace {

struct FlowWays {
  std::string before, after;  // `after` is empty if nothing is translated
};

std::string end(const json::value& tuple, std::string_view address, std::string_view port) {
  return endpoint_text(text(tuple, address), number<uint16_t>(tuple, port));
}

std::string way_of(const json::value& tuple) { return end(tuple, "src", "sport") + " → " + end(tuple, "dst", "dport"); }

FlowWays ways_of(const json::value& flow) {
  const json::value& original = field(flow, "original");
  const json::value& reply = field(flow, "reply");
  FlowWays ways;
  ways.before = way_of(original);
  // How the same packets leave the router: the tuple of their replies, turned round.
  ways.after = end(reply, "dst", "dport") + " → " + end(reply, "src", "sport");
  if (ways.before == ways.after) ways.after.clear();
  if (flag(flow, "directReturn")) ways.after += " (dsr)";
  return ways;
}

std::string state_of(const json::value& flow) {
  std::string state = text(flow, "state");
  if (!state.empty() && state != "NONE") return state;
  return flag(flow, "assured") ? "ASSURED" : flag(flow, "replied") ? "REPLIED" : "UNREPLIED";
}

// Of both directions: original/reply.
std::string packets_of(const json::value& flow) {
  return count(field(flow, "original"), "packets") + "/" + count(field(flow, "reply"), "packets");
}
std::string bytes_of(const json::value& flow) {
  return bytes_text(number<uint64_t>(field(flow, "original"), "bytes")) + "/" +
         bytes_text(number<uint64_t>(field(flow, "reply"), "bytes"));
}

}  // namespace

std::string flows_text(const json::value& answer, bool wide) {
  WideTable table(wide,
                  {"PROTO", "STATE", "ORIGINAL", "TRANSLATED", "SERVICE", "PACKETS", "BYTES", "EXPIRES", "WORKER"},
                  {"REPLY", "ASSURED", "REPLIED"});
  for (const json::value& flow : list(answer, "flows")) {
    const FlowWays ways = ways_of(flow);
    table.add(
        {text(flow, "protocol"), state_of(flow), ways.before, ways.after.empty() ? "(the same)" : ways.after,
         text(flow, "service"), packets_of(flow), bytes_of(flow), duration_text(number<double>(flow, "expiresSeconds")),
         count(flow, "worker")},
        {way_of(field(flow, "reply")), flag(flow, "assured") ? "yes" : "no", flag(flow, "replied") ? "yes" : "no"});
  }
  std::string out = table_or(table.table(), "No connections.");
  if (flag(answer, "truncated")) out += "There are more: --limit shows them, filters choose among them.\n";
  return out;
}

std::string flow_event_text(std::string_view event, const json::value& data) {
  if (event == "lost") {
    return fmt::format("[LOST]    {} events: they came faster than they were read\n", count(data, "lost"));
  }
  const bool closed = event == "closed";
  const FlowWays ways = ways_of(data);
  std::string out = fmt::format("{:9} {:5} {}", closed ? "[DESTROY]" : "[NEW]", text(data, "protocol"), ways.before);
  if (!ways.after.empty()) out += fmt::format("  as {}", ways.after);
  if (const std::string service = text(data, "service"); !service.empty()) out += "  " + service;
  if (closed) out += fmt::format("  {} packets {} bytes {}", state_of(data), packets_of(data), bytes_of(data));
  return out + "\n";
}

std::string drains_text(const json::value& answer) {
  Table table({"ENDPOINT", "CONNECTIONS", "SERVICES"});
  for (const json::value& drain : list(answer, "drains")) {
    table.add({text(drain, "endpoint"), flag(drain, "hard") ? "end" : "go on", join(list(drain, "services"), ",")});
  }
  return table_or(table, "No endpoint is drained.");
}

std::string finding_text(const json::value& finding) {
  std::string object = text(finding, "kind");
  if (const std::string name = text(finding, "name"); !name.empty()) object += (object.empty() ? "" : " ") + name;
  const std::string path = text(finding, "path");
  const std::string place = path.empty() ? text(finding, "pointer") : path;
  if (object.empty() && place.empty()) return text(finding, "message");
  if (place.empty()) return fmt::format("{}: {}", object, text(finding, "message"));
  return fmt::format("{}{}{}: {}", object, object.empty() ? "" : "  ", place, text(finding, "message"));
}

}  // namespace sluice::ctl
