// What BIRD 2 answers on its control socket, as text: lines of a four-digit code and "-" or " ", or of a blank for
// another line of the same code. The last line has a blank behind its code. Codes from 8000 are errors.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::control {

struct BirdReply {
  int code = 0;      // of the last line
  std::string text;  // all lines without their codes, ended by "\n"

  [[nodiscard]] bool refused() const { return code >= 8000; }
  // The last line that says something: an error, in BIRD's words.
  [[nodiscard]] std::string last_words() const;
};

// Adds a line, without its end, to a reply. True: it was the last one. Other than such lines are left out.
[[nodiscard]] bool take_line(BirdReply& reply, std::string_view line);

struct BirdProtocol {
  std::string name;
  std::string kind;  // "BGP", "Static" …
  std::string state;
  std::optional<double> since_seconds;  // since 1970; local time with "timeformat protocol iso long"
  std::string info;
  std::string bgp_state;
  std::string neighbor;
  std::string last_error;
  uint64_t imported = 0, exported = 0;
  bool limit_reached = false;
};

// Of "show protocols all". What is not understood is left out.
[[nodiscard]] std::vector<BirdProtocol> parse_protocols(std::string_view text);
// Of "show bfd sessions": states by address.
[[nodiscard]] std::map<std::string, std::string> parse_bfd_sessions(std::string_view text);

}  // namespace sluice::control
