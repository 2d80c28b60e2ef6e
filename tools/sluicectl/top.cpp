// sluicectl top: what the counters gained between two looks, per second.
#include <chrono>
#include <cstdio>
#include <thread>
#include <unistd.h>

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

struct Look {
  Clock::time_point time;
  json::value status;
  json::value counters;
};

class Difference {
 public:
  Difference(const Look& before, const Look& after)
      : before_(before), after_(after), seconds_(std::chrono::duration<double>(after.time - before.time).count()) {}

  [[nodiscard]] json::value as_json() const {
    json::object out{{"seconds", seconds_}, {"generation", number<uint64_t>(after_.status, "generationApplied")}};
    out["workers"] = workers([](json::object row, const Row&) { return row; });
    out["interfaces"] = interfaces([](json::object row, const Row&) { return row; });
    json::object drops;
    each_drop([&](std::string_view name, double rate) { drops[name] = rate; });
    out["dropsPerSecond"] = std::move(drops);
    return out;
  }

  [[nodiscard]] std::string as_text() const {
    const auto total = number<uint64_t>(after_.status, "mbufsTotal");
    std::string out =
        fmt::format("{}  generation {}  buffers {}/{}  up {}\n\n", text(after_.status, "nodeName"),
                    number<uint64_t>(after_.status, "generationApplied"), number<uint64_t>(after_.status, "mbufsInUse"),
                    total, duration_text(number<double>(after_.status, "uptimeSeconds")));
    Table workers_table({"WORKER", "CPU", "BUSY", "PACKETS/S", "HANDED-OVER/S", "FLOWS", "OPENED/S", "CLOSED/S"});
    (void)workers([&](const json::object& row, const Row& worker) {
      const uint64_t flows = number<uint64_t>(*worker.now, "flowsV4") + number<uint64_t>(*worker.now, "flowsV6");
      workers_table.add(
          {std::to_string(number<uint64_t>(row, "worker")), std::to_string(number<int64_t>(*worker.now, "cpu")),
           fmt::format("{:.1f}%", 100 * number<double>(row, "busy")),
           rate_text(number<double>(row, "packetsPerSecond")), rate_text(number<double>(row, "handedOverPerSecond")),
           std::to_string(flows), rate_text(number<double>(row, "flowsOpenedPerSecond")),
           rate_text(number<double>(row, "flowsClosedPerSecond"))});
      return row;
    });
    out += workers_table.text();
    Table interfaces_table({"INTERFACE", "LINK", "RX-PACKETS/S", "RX-BIT/S", "TX-PACKETS/S", "TX-BIT/S", "MISSED/S"});
    (void)interfaces([&](const json::object& row, const Row& interface) {
      interfaces_table.add(
          {text(row, "interface"), flag(*interface.now, "linkUp") ? "up" : "down",
           rate_text(number<double>(row, "rxPacketsPerSecond")), rate_text(8 * number<double>(row, "rxBytesPerSecond")),
           rate_text(number<double>(row, "txPacketsPerSecond")), rate_text(8 * number<double>(row, "txBytesPerSecond")),
           rate_text(number<double>(row, "rxMissedPerSecond"))});
      return row;
    });
    if (!interfaces_table.empty()) out += "\n" + interfaces_table.text();
    Table drops({"DROP", "PACKETS/S"});
    each_drop([&](std::string_view name, double rate) { drops.add({std::string(name), rate_text(rate)}); });
    if (!drops.empty()) out += "\n" + drops.text();
    return out;
  }

 private:
  // The same entry of both looks; a new one has no `then` and shows no rates yet.
  struct Row {
    const json::value* then = nullptr;
    const json::value* now = nullptr;
  };

  [[nodiscard]] double rate(const Row& row, std::string_view name) const {
    if (row.then == nullptr || seconds_ <= 0) return 0;
    const auto then = number<uint64_t>(*row.then, name);
    const auto now = number<uint64_t>(*row.now, name);
    return now < then ? 0 : static_cast<double>(now - then) / seconds_;
  }
  template <class Same>
  [[nodiscard]] Row row_of(std::string_view list_name, const json::value& now, const Same& same) const {
    for (const json::value& then : list(before_.status, list_name)) {
      if (same(then)) return {&then, &now};
    }
    return {nullptr, &now};
  }
  template <class Show>
  [[nodiscard]] json::array workers(const Show& show) const {
    json::array out;
    for (const json::value& now : list(after_.status, "workers")) {
      const auto index = number<uint64_t>(now, "index");
      const Row row =
          row_of("workers", now, [&](const json::value& then) { return number<uint64_t>(then, "index") == index; });
      const double cycles = rate(row, "totalCycles");
      out.push_back(show(json::object{{"worker", index},
                                      {"busy", cycles > 0 ? rate(row, "busyCycles") / cycles : 0.0},
                                      {"packetsPerSecond", rate(row, "packets")},
                                      {"handedOverPerSecond", rate(row, "handedOver")},
                                      {"flowsOpenedPerSecond", rate(row, "flowsOpened")},
                                      {"flowsClosedPerSecond", rate(row, "flowsClosed")}},
                         row));
    }
    return out;
  }
  template <class Show>
  [[nodiscard]] json::array interfaces(const Show& show) const {
    json::array out;
    for (const json::value& now : list(after_.status, "interfaces")) {
      const std::string name = text(now, "name");
      const Row row = row_of("interfaces", now, [&](const json::value& then) { return text(then, "name") == name; });
      out.push_back(show(json::object{{"interface", name},
                                      {"rxPacketsPerSecond", rate(row, "rxPackets")},
                                      {"rxBytesPerSecond", rate(row, "rxBytes")},
                                      {"txPacketsPerSecond", rate(row, "txPackets")},
                                      {"txBytesPerSecond", rate(row, "txBytes")},
                                      {"rxMissedPerSecond", rate(row, "rxMissed")}},
                         row));
    }
    return out;
  }
  template <class Fn>
  void each_drop(const Fn& fn) const {
    const json::object* drops = field(after_.counters, "drops").if_object();
    if (drops == nullptr) return;
    for (const auto& [name, value] : *drops) {
      const Row row{&field(before_.counters, "drops"), &field(after_.counters, "drops")};
      if (const double per_second = rate(row, name); per_second > 0) fn(std::string_view(name), per_second);
    }
  }

  const Look& before_;
  const Look& after_;
  double seconds_;
};

ExitCode look(const Server& server, Look& out) {
  const ExitCode counters =
      with_answer(server, {"GET", "/v1/counters"}, [&](const Answer& answer) { out.counters = parsed(answer.body); });
  if (counters != ExitCode::Ok) return counters;
  return with_answer(server, {"GET", "/v1/status"}, [&](const Answer& answer) {
    out.status = parsed(answer.body);
    out.time = Clock::now();
  });
}

}  // namespace

ExitCode top(const Server& server, double delay, unsigned count, const std::string& output) {
  const bool screen = output == "table" && isatty(STDOUT_FILENO) != 0;
  Look before;
  if (const ExitCode code = look(server, before); code != ExitCode::Ok) return code;
  for (unsigned shown = 0; count == 0 || shown < count; ++shown) {
    std::this_thread::sleep_for(std::chrono::duration<double>(delay));
    Look after;
    if (const ExitCode code = look(server, after); code != ExitCode::Ok) return code;
    const Difference difference(before, after);
    if (output == "json") {
      print(json::serialize(difference.as_json()) + "\n");
    } else if (output == "yaml") {
      print("---\n" + yaml_text(difference.as_json()));
    } else {
      print(screen ? clear_screen : shown == 0 ? "" : "\n");
      print(difference.as_text());
    }
    std::fflush(stdout);
    before = std::move(after);
  }
  return ExitCode::Ok;
}

}  // namespace sluice::ctl
