// sluicectl events: what happened to the router itself.
#include <ctime>

#include <boost/json.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "tools/sluicectl/calls.h"
#include "tools/sluicectl/events.h"
#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"
#include "tools/sluicectl/yaml.h"

namespace sluice::ctl {
namespace {

namespace json = boost::json;

std::string time_text(const json::value& event) {
  const auto seconds = static_cast<std::time_t>(number<double>(event, "timeSeconds"));
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(seconds));
}

// As wide as most, so that lines that come one by one stand below each other.
std::string line_of(std::string_view time, std::string_view severity, std::string_view reason, std::string_view object,
                    std::string_view message) {
  return fmt::format("{:<19}  {:<8}  {:<20}  {:<26}  {}\n", time, severity, reason, object, message);
}

std::string header() { return line_of("TIME", "TYPE", "REASON", "OBJECT", "MESSAGE"); }

std::string event_line(const json::value& event) {
  return line_of(time_text(event), text(event, "severity"), text(event, "reason"), text(event, "object"),
                 text(event, "message"));
}

std::string lost_line(uint64_t lost) { return fmt::format("[LOST] {} events are not kept any more\n", lost); }

}  // namespace

ExitCode list_events(const Server& server, Parameters parameters, const std::string& output) {
  parameters.emplace_back("follow", "false");
  return with_answer(server, {"GET", target("/v1/events", parameters)}, [&](const Answer& answer) {
    const json::value body = parsed(answer.body);
    if (output == "json") return print(pretty(body));
    if (output == "yaml") return print(yaml_text(body));
    const json::array& events = list(body, "events");
    if (events.empty()) return print("Nothing happened that is kept.\n");
    std::string out = header();
    for (const json::value& event : events) out += event_line(event);
    print(out);
  });
}

ExitCode watch_events(const Server& server, Parameters parameters, const std::string& output) {
  const bool as_json = output == "json";
  const bool as_yaml = output == "yaml";
  // What is kept first.
  parameters.emplace_back("after", "0");
  if (!as_json && !as_yaml) print(header());
  EventReader reader([&](std::string_view name, std::string_view data) {
    if (as_json) return print(event_json(name, data));
    const json::value event = parsed(std::string(data));
    // A document each.
    if (as_yaml) return print("---\n" + yaml_text(json::object{{"event", name}, {"data", event}}));
    print(name == "lost" ? lost_line(number<uint64_t>(event, "lost")) : event_line(event));
  });
  const auto answer =
      follow(server, {"GET", target("/v1/events", parameters)}, [&](std::string_view piece) { reader.read(piece); });
  if (!answer) return unreachable(answer.error());
  if (answer->status != 200) return refused(*answer);
  complain("sluicectl: sluiced ended the connection");
  return ExitCode::Unreachable;
}

}  // namespace sluice::ctl
