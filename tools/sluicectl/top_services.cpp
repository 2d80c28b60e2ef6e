// sluicectl top --services: which services and endpoints have how many connections, and how much goes over them. The
// router counts per connection; they are summed here, from two listings.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <unistd.h>
#include <unordered_map>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "tools/sluicectl/calls.h"
#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"
#include "tools/sluicectl/yaml.h"

namespace sluice::ctl {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

// What one answer lists at most.
constexpr const char* most_flows = "1000000";

struct Traffic {
  uint64_t packets = 0, bytes = 0;
};

// One listing: every connection to a service by what identifies it.
struct Look {
  struct Flow {
    std::string service, endpoint;
    Traffic traffic;  // of both directions
  };
  Clock::time_point time;
  std::unordered_map<std::string, Flow> flows;
  bool truncated = false;
};

struct Sum {
  uint64_t connections = 0, opened = 0;
  Traffic traffic;  // between the looks
};
using Key = std::pair<std::string, std::string>;  // service and endpoint, which is empty for the whole service

std::string end_of(const json::value& tuple, std::string_view address, std::string_view port) {
  const std::string host = text(tuple, address);
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, number<unsigned>(tuple, port))
                                             : fmt::format("[{}]:{}", host, number<unsigned>(tuple, port));
}

Look look_at(const json::value& answer) {
  Look look;
  look.time = Clock::now();
  look.truncated = flag(answer, "truncated");
  for (const json::value& flow : list(answer, "flows")) {
    const std::string service = text(flow, "service");
    if (service.empty()) continue;
    const json::value& original = field(flow, "original");
    const json::value& reply = field(flow, "reply");
    const std::string name = fmt::format("{} {} {}", text(flow, "protocol"), end_of(original, "src", "sport"),
                                         end_of(original, "dst", "dport"));
    Traffic traffic{number<uint64_t>(original, "packets") + number<uint64_t>(reply, "packets"),
                    number<uint64_t>(original, "bytes") + number<uint64_t>(reply, "bytes")};
    look.flows[name] = {service, end_of(reply, "src", "sport"), traffic};
  }
  return look;
}

// A connection that is new counts from its beginning; one that ended meanwhile with what was seen of it before.
std::map<Key, Sum> sums_of(const Look& before, const Look& after) {
  std::map<Key, Sum> sums;
  for (const auto& [name, flow] : after.flows) {
    const auto then = before.flows.find(name);
    const bool known = then != before.flows.end() && then->second.traffic.packets <= flow.traffic.packets &&
                       then->second.traffic.bytes <= flow.traffic.bytes;
    const Traffic base = known ? then->second.traffic : Traffic{};
    for (const Key& key : {Key{flow.service, ""}, Key{flow.service, flow.endpoint}}) {
      Sum& sum = sums[key];
      ++sum.connections;
      sum.opened += known ? 0 : 1;
      sum.traffic.packets += flow.traffic.packets - base.packets;
      sum.traffic.bytes += flow.traffic.bytes - base.bytes;
    }
  }
  return sums;
}

struct Row {
  std::string service, endpoint;
  uint64_t connections = 0;
  double opened = 0, packets = 0, bytes = 0;  // per second
};

// Services by what goes over them, each with its endpoints below it.
std::vector<Row> rows_of(const Look& before, const Look& after) {
  const double seconds = std::max(1e-3, std::chrono::duration<double>(after.time - before.time).count());
  const auto sums = sums_of(before, after);
  const auto weight = [&](const Key& key) {
    const Sum& sum = sums.at(key);
    return std::pair(sum.traffic.bytes, sum.connections);
  };
  std::vector<Row> rows;
  for (const auto& [key, sum] : sums) {
    rows.push_back({key.first, key.second, sum.connections, static_cast<double>(sum.opened) / seconds,
                    static_cast<double>(sum.traffic.packets) / seconds,
                    static_cast<double>(sum.traffic.bytes) / seconds});
  }
  std::sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    if (a.service != b.service) {
      return std::pair(weight({b.service, ""}), a.service) < std::pair(weight({a.service, ""}), b.service);
    }
    if (a.endpoint.empty() || b.endpoint.empty()) return a.endpoint.empty() && !b.endpoint.empty();
    return std::pair(weight({b.service, b.endpoint}), a.endpoint) <
           std::pair(weight({a.service, a.endpoint}), b.endpoint);
  });
  return rows;
}

json::value as_json(const std::vector<Row>& rows, bool truncated) {
  json::array out;
  for (const Row& row : rows) {
    json::object entry{{"service", row.service}};
    if (!row.endpoint.empty()) entry["endpoint"] = row.endpoint;
    entry["connections"] = row.connections;
    entry["openedPerSecond"] = row.opened;
    entry["packetsPerSecond"] = row.packets;
    entry["bytesPerSecond"] = row.bytes;
    out.push_back(std::move(entry));
  }
  return json::object{{"truncated", truncated}, {"services", std::move(out)}};
}

std::string as_text(const std::vector<Row>& rows, bool truncated) {
  Table table({"SERVICE", "CONNECTIONS", "OPENED/S", "PACKETS/S", "BIT/S"});
  for (const Row& row : rows) {
    table.add({row.endpoint.empty() ? row.service : "  " + row.endpoint, std::to_string(row.connections),
               rate_text(row.opened), rate_text(row.packets), rate_text(8 * row.bytes)});
  }
  std::string out = table.empty() ? "No connections to services.\n" : table.text();
  if (truncated) out += fmt::format("There are more connections than the {} that were looked at.\n", most_flows);
  return out;
}

ExitCode take(const Server& server, Look& out) {
  const Call call{"GET", target("/v1/conntrack", {{"limit", most_flows}})};
  return with_answer(server, call, [&](const Answer& answer) { out = look_at(parsed(answer.body)); });
}

}  // namespace

ExitCode top_services(const Server& server, double delay, unsigned count, const std::string& output) {
  const bool screen = output == "table" && isatty(STDOUT_FILENO) != 0;
  Look before;
  if (const ExitCode code = take(server, before); code != ExitCode::Ok) return code;
  for (unsigned shown = 0; count == 0 || shown < count; ++shown) {
    std::this_thread::sleep_for(std::chrono::duration<double>(delay));
    Look after;
    if (const ExitCode code = take(server, after); code != ExitCode::Ok) return code;
    const auto rows = rows_of(before, after);
    if (output == "json") {
      print(json::serialize(as_json(rows, after.truncated)) + "\n");
    } else if (output == "yaml") {
      print("---\n" + yaml_text(as_json(rows, after.truncated)));
    } else {
      print(screen ? clear_screen : shown == 0 ? "" : "\n");
      print(as_text(rows, after.truncated));
    }
    std::fflush(stdout);
    before = std::move(after);
  }
  return ExitCode::Ok;
}

}  // namespace sluice::ctl
