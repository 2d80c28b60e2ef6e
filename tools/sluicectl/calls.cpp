#include "tools/sluicectl/calls.h"

#include <cstdio>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"

namespace sluice::ctl {

namespace json = boost::json;

void print(std::string_view text) { fmt::print("{}", text); }
void complain(std::string_view text) { fmt::print(stderr, "{}\n", text); }

ExitCode usage_error(std::string_view text) {
  complain(fmt::format("sluicectl: {}", text));
  return ExitCode::Usage;
}

std::string target(std::string_view path, const Parameters& parameters) {
  std::string out(path);
  char separator = '?';
  for (const auto& [name, value] : parameters) {
    if (value.empty()) continue;
    out += fmt::format("{}{}={}", separator, name, percent_encoded(value));
    separator = '&';
  }
  return out;
}

json::value parsed(const std::string& text) {
  json::error_code error;
  json::value value = json::parse(text, error);
  return error ? json::value() : value;
}

ExitCode refused(const Answer& answer) {
  const json::value body = parsed(answer.body);
  for (const json::value& fault : list(body, "errors")) complain(finding_text(fault));
  std::string message = text(field(body, "error"), "message");
  if (message.empty()) message = answer.body.substr(0, 200);
  complain(fmt::format("sluicectl: refused: {} ({})", message, answer.status));
  return ExitCode::Refused;
}

ExitCode unreachable(const net::Error& error) {
  complain(fmt::format("sluicectl: {}", error.message));
  return ExitCode::Unreachable;
}

}  // namespace sluice::ctl
