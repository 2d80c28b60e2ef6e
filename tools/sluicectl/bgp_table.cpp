// Sessions of BGP, in the columns of `calicoctl node status`, and what is announced.
#include <chrono>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"

namespace sluice::ctl {
namespace {

namespace json = boost::json;

std::string time_text(const json::value& session) {
  if (!session.as_object().contains("sinceSeconds")) return "";
  return fmt::format("{:%Y-%m-%d %H:%M:%S}",
                     fmt::localtime(static_cast<time_t>(number<double>(session, "sinceSeconds"))));
}

std::string info_text(const json::value& session) {
  const std::string state = text(session, "bgpState");
  std::string info = text(session, "info");
  if (info.find(state) == std::string::npos) info = info.empty() ? state : state + " " + info;
  return flag(session, "limitReached") ? info + " (too many prefixes)" : info;
}

std::string joined(const json::array& values) {
  std::string out;
  for (const json::value& value : values) {
    if (value.is_string()) out += (out.empty() ? "" : ", ") + std::string(value.get_string());
  }
  return out;
}

}  // namespace

std::string bgp_text(const json::value& answer, bool wide) {
  if (text(answer, "engine") == "none") return "BGP is off (spec.bgp.engine of GatewayConfiguration is none).\n";
  std::string out =
      fmt::format("AS {}, router id {}, {}\n", number<uint64_t>(answer, "asNumber"), text(answer, "routerID"),
                  flag(answer, "connected") ? text(answer, "version") : "BIRD does not answer");
  if (const std::string problem = text(answer, "problem"); !problem.empty())
    out += fmt::format("problem: {}\n", problem);
  for (const json::value& warning : list(answer, "warnings")) {
    if (warning.is_string()) out += fmt::format("warning: {}\n", std::string_view(warning.get_string()));
  }
  Table sessions({"PEER", "TYPE", "AS", "STATE", "SINCE", "INFO", "IMPORTED", "EXPORTED", "BFD", "OBJECT"});
  for (const json::value& session : list(answer, "sessions")) {
    sessions.add({text(session, "peer"), text(session, "type"), std::to_string(number<uint64_t>(session, "peerAS")),
                  text(session, "state"), time_text(session), info_text(session),
                  std::to_string(number<uint64_t>(session, "imported")),
                  std::to_string(number<uint64_t>(session, "exported")), text(session, "bfd"),
                  text(session, "object")});
  }
  out += "\n" + (sessions.empty() ? "No session is configured.\n" : sessions.text());
  const json::array& announced = list(answer, "announced");
  if (!wide) return out + fmt::format("\n{} prefixes are announced (-o wide shows them).\n", announced.size());
  Table prefixes({"ANNOUNCED", "COMMUNITIES", "BECAUSE OF"});
  for (const json::value& one : announced) {
    prefixes.add({text(one, "prefix"), joined(list(one, "communities")), joined(list(one, "reasons"))});
  }
  return out + "\n" + (prefixes.empty() ? "Nothing is announced.\n" : prefixes.text());
}

}  // namespace sluice::ctl
