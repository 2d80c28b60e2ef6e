#include "control/bird_reply.h"

#include <charconv>
#include <ctime>
#include <utility>

namespace sluice::control {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

// The next line of `text`, which loses it.
std::string_view next_line(std::string_view& text) {
  const size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

// The next word of `text`, which loses it.
std::string_view next_word(std::string_view& text) {
  text = trimmed(text);
  const size_t end = text.find_first_of(" \t");
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end);
  return word;
}

uint64_t number_in(std::string_view text) {
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// "2026-11-22" and "03:10:11".
std::optional<double> time_of(std::string_view date, std::string_view clock) {
  std::tm time = {};
  const std::string text = std::string(date) + " " + std::string(clock);
  if (::strptime(text.c_str(), "%Y-%m-%d %H:%M:%S", &time) == nullptr) return std::nullopt;
  time.tm_isdst = -1;
  const time_t seconds = ::mktime(&time);
  return seconds < 0 ? std::nullopt : std::optional(static_cast<double>(seconds));
}

// "NAME PROTO TABLE STATE SINCE… INFO"
std::optional<BirdProtocol> parse_head(std::string_view line) {
  BirdProtocol protocol;
  protocol.name = next_word(line);
  protocol.kind = next_word(line);
  const std::string_view table = next_word(line);
  protocol.state = next_word(line);
  if (table.empty() || protocol.state.empty() || protocol.name == "Name") return std::nullopt;
  const std::string_view since = next_word(line);
  if (since.size() == 10 && since[4] == '-') protocol.since_seconds = time_of(since, next_word(line));
  protocol.info = trimmed(line);
  return protocol;
}

// "1 imported, 0 filtered, 2 exported, 1 preferred"
void read_routes(std::string_view text, BirdProtocol& protocol) {
  while (!text.empty()) {
    const size_t comma = text.find(',');
    std::string_view part = text.substr(0, comma);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    const uint64_t number = number_in(next_word(part));
    const std::string_view what = next_word(part);
    if (what == "imported") protocol.imported += number;
    if (what == "exported") protocol.exported += number;
  }
}

void read_detail(std::string_view line, BirdProtocol& protocol) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string_view key = trimmed(line.substr(0, colon));
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (key == "BGP state") protocol.bgp_state = value;
  if (key == "Neighbor address") protocol.neighbor = value;
  if (key == "Last error") protocol.last_error = value;
  if (key == "Routes") read_routes(value, protocol);
  // "Import limit: 10000 [HIT]"
  if (key == "Import limit" && value.find("[HIT]") != std::string_view::npos) protocol.limit_reached = true;
}

}  // namespace

std::string BirdReply::last_words() const {
  std::string_view rest = text;
  std::string_view last;
  while (!rest.empty()) {
    const std::string_view line = trimmed(next_line(rest));
    if (!line.empty()) last = line;
  }
  return std::string(last);
}

bool take_line(BirdReply& reply, std::string_view line) {
  if (line.empty()) return false;
  if (line.front() == ' ') {
    reply.text.append(line.substr(1)).push_back('\n');
    return false;
  }
  const bool coded = line.size() >= 5 && is_digit(line[0]) && is_digit(line[1]) && is_digit(line[2]) &&
                     is_digit(line[3]) && (line[4] == ' ' || line[4] == '-');
  if (!coded) return false;  // "+": news that nobody asked for
  reply.code = static_cast<int>(number_in(line.substr(0, 4)));
  reply.text.append(line.substr(5)).push_back('\n');
  return line[4] == ' ';
}

std::vector<BirdProtocol> parse_protocols(std::string_view text) {
  std::vector<BirdProtocol> out;
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    if (line.empty()) continue;
    if (line.front() == ' ' || line.front() == '\t') {
      if (!out.empty()) read_detail(line, out.back());
    } else if (auto protocol = parse_head(line)) {
      out.push_back(std::move(*protocol));
    }
  }
  return out;
}

std::map<std::string, std::string> parse_bfd_sessions(std::string_view text) {
  std::map<std::string, std::string> out;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    const std::string_view address = next_word(line);
    const std::string_view interface = next_word(line);
    const std::string_view state = next_word(line);
    const bool is_address = address.find_first_of(".:") != std::string_view::npos && address.back() != ':';
    if (is_address && !interface.empty() && !state.empty()) out.insert_or_assign(std::string(address), state);
  }
  return out;
}

}  // namespace sluice::control
