// Commands that show what the router does to packets.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>

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

std::string verdict_text(const json::value& explanation) {
  const std::string reason = text(explanation, "reason");
  return text(explanation, "verdict") + (reason.empty() ? "" : fmt::format(" ({})", reason));
}

std::string steps_text(const json::value& explanation, std::string_view before) {
  std::string out;
  for (const json::value& step : list(explanation, "steps")) {
    out += fmt::format("{}{:<9} {}\n", before, text(step, "step"), text(step, "text"));
  }
  return out;
}

std::string packet_text(const json::value& packet) {
  const double time = number<double>(packet, "timeSeconds");
  const auto seconds = static_cast<std::time_t>(time);
  const auto microseconds = static_cast<unsigned>((time - static_cast<double>(seconds)) * 1e6);
  return fmt::format("{:%H:%M:%S}.{:06} worker {}: {}\n{}", fmt::localtime(seconds), microseconds,
                     number<unsigned>(packet, "worker"), verdict_text(packet), steps_text(packet, "  "));
}

}  // namespace

ExitCode explain(const Server& server, const json::value& packet, const std::string& output) {
  const Call call{"POST", "/v1/explain", "application/json", json::serialize(packet)};
  return with_answer(server, call, [&](const Answer& answer) {
    const json::value body = parsed(answer.body);
    if (output == "json") return print(pretty(body));
    if (output == "yaml") return print(yaml_text(body));
    print(fmt::format("{}=> {}\n", steps_text(body, ""), verdict_text(body)));
  });
}

ExitCode trace(const Server& server, const Parameters& parameters, const std::string& output) {
  bool ended = false;
  EventReader reader([&](std::string_view name, std::string_view data) {
    ended = ended || name == "end";
    if (output == "json") {
      print(event_json(name, data));
    } else if (output == "yaml") {
      print("---\n" + yaml_text(parsed(event_json(name, data))));
    } else if (name == "packet") {
      print(packet_text(parsed(std::string(data))));
    } else if (name == "lost") {
      complain(fmt::format("{} packets were too many at one time and are missing",
                           number<uint64_t>(parsed(std::string(data)), "lost")));
    }
  });
  const Call call{"GET", target("/v1/trace", parameters)};
  const auto answer = follow(server, call, [&](std::string_view piece) { reader.read(piece); });
  if (!answer) return unreachable(answer.error());
  if (answer->status != 200) return refused(*answer);
  if (ended) return ExitCode::Ok;
  complain("sluicectl: sluiced ended the connection");
  return ExitCode::Unreachable;
}

ExitCode capture(const Server& server, const Parameters& parameters, const std::string& file) {
  const bool to_file = file != "-";
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(nullptr, std::fclose);
  std::FILE* out = stdout;
  uint64_t bytes = 0;
  bool failed = false;
  const auto write = [&](std::string_view piece) {
    if (out == nullptr || failed) return;
    if (to_file && opened == nullptr) {
      opened.reset(std::fopen(file.c_str(), "wb"));
      out = opened.get();
    }
    failed = out == nullptr || std::fwrite(piece.data(), 1, piece.size(), out) != piece.size() || std::fflush(out) != 0;
    bytes += piece.size();
  };
  const auto answer = follow(server, {"GET", target("/v1/capture", parameters)}, write);
  if (failed) return usage_error(fmt::format("cannot write {}: {}", file, std::strerror(errno)));
  if (!answer) return unreachable(answer.error());
  if (answer->status != 200) return refused(*answer);
  if (to_file) complain(fmt::format("{} in {}", bytes_text(bytes), file));
  return ExitCode::Ok;
}

}  // namespace sluice::ctl
