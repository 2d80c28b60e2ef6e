// Commands about traffic: connections, drained endpoints.
#include <algorithm>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "tools/sluicectl/calls.h"
#include "tools/sluicectl/events.h"
#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"

namespace sluice::ctl {
namespace {

namespace json = boost::json;

std::string list_text(const json::value& object, std::string_view name) {
  std::string out;
  for (const json::value& item : list(object, name)) {
    if (item.is_string()) out += (out.empty() ? "" : ", ") + std::string(item.get_string());
  }
  return out;
}

}  // namespace

ExitCode watch_flows(const Server& server, const Parameters& parameters, bool as_json) {
  EventReader reader([&](std::string_view name, std::string_view data) {
    if (as_json) {
      print(event_json(name, data));
    } else {
      print(flow_event_text(name, parsed(std::string(data))));
    }
  });
  const Call call{"GET", target("/v1/conntrack/events", parameters)};
  const auto answer = follow(server, call, [&](std::string_view piece) { reader.read(piece); });
  if (!answer) return unreachable(answer.error());
  if (answer->status != 200) return refused(*answer);
  complain("sluicectl: sluiced ended the connection");
  return ExitCode::Unreachable;
}

ExitCode delete_flows(const Server& server, const Parameters& parameters) {
  if (std::all_of(parameters.begin(), parameters.end(), [](const auto& entry) { return entry.second.empty(); })) {
    return usage_error("this would end every connection: say which (sluicectl delete flows --help), or --all");
  }
  const Call call{"DELETE", target("/v1/conntrack", parameters)};
  return with_answer(server, call, [](const Answer& answer) {
    const auto deleted = number<uint64_t>(parsed(answer.body), "deleted");
    print(fmt::format("deleted {} connection{}\n", deleted, deleted == 1 ? "" : "s"));
  });
}

ExitCode drain(const Server& server, std::string_view endpoint, bool hard) {
  const Parameters parameters{{"endpoint", std::string(endpoint)}, {"hard", hard ? "true" : ""}};
  return with_answer(server, {"PUT", target("/v1/drains", parameters)}, [](const Answer& answer) {
    const json::value body = parsed(answer.body);
    for (const json::value& warning : list(body, "warnings")) {
      if (warning.is_string()) complain(fmt::format("warning: {}", std::string_view(warning.get_string())));
    }
    const std::string services = list_text(body, "services");
    print(fmt::format("{} {}{}{}\n", text(body, "endpoint"),
                      flag(body, "changed") ? "is drained now" : "was drained before",
                      flag(body, "hard") ? ", its connections end" : "", services.empty() ? "" : ": " + services));
  });
}

ExitCode undrain(const Server& server, std::string_view endpoint) {
  const Call call{"DELETE", target("/v1/drains", {{"endpoint", std::string(endpoint)}})};
  return with_answer(server, call, [](const Answer& answer) {
    const json::value body = parsed(answer.body);
    const std::string services = list_text(body, "services");
    print(fmt::format("{} gets new connections again{}\n", text(body, "endpoint"),
                      services.empty() ? "" : ": " + services));
  });
}

}  // namespace sluice::ctl
