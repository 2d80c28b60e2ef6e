// What commands have in common: a call to the API, and what is said when it is refused.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/value.hpp>

#include "tools/sluicectl/client.h"
#include "tools/sluicectl/commands.h"

namespace sluice::ctl {

void print(std::string_view text);
// For a terminal: home, and what was there is wiped.
inline constexpr std::string_view clear_screen = "\x1b[H\x1b[J";
void complain(std::string_view text);  // a line on stderr
[[nodiscard]] ExitCode usage_error(std::string_view text);

// "/v1/conntrack?src=10.0.0.1"; empty values are left out.
[[nodiscard]] std::string target(std::string_view path, const Parameters& parameters);
// null if it is no JSON.
[[nodiscard]] boost::json::value parsed(const std::string& text);
// What the server said against it, a fault a line.
[[nodiscard]] ExitCode refused(const Answer& answer);
[[nodiscard]] ExitCode unreachable(const net::Error& error);

// Makes the call and gives a good answer to `show`.
template <class Show>
[[nodiscard]] ExitCode with_answer(const Server& server, const Call& call, const Show& show) {
  const auto answer = send(server, call);
  if (!answer) return unreachable(answer.error());
  if (answer->status != 200) return refused(*answer);
  show(*answer);
  return ExitCode::Ok;
}

}  // namespace sluice::ctl
