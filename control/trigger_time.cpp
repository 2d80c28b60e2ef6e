#include "control/trigger_time.h"

#include <charconv>
#include <cstring>

namespace sluice::control {
namespace {

// Exactly `digits` digits at the front of `text`, which loses them.
std::optional<int> take_number(std::string_view& text, size_t digits) {
  int number = 0;
  if (text.size() < digits) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number);
  if (error != std::errc() || end != text.data() + digits || number < 0) return std::nullopt;
  text.remove_prefix(digits);
  return number;
}

bool take(std::string_view& text, char first, char second) {
  if (text.empty() || (text.front() != first && text.front() != second)) return false;
  text.remove_prefix(1);
  return true;
}

// ".25": of a second.
std::chrono::nanoseconds take_fraction(std::string_view& text) {
  std::chrono::nanoseconds fraction{0};
  int64_t unit = 100'000'000;
  for (text.remove_prefix(1); !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1)) {
    fraction += std::chrono::nanoseconds((text.front() - '0') * unit);
    unit /= 10;
  }
  return fraction;
}

}  // namespace

std::optional<std::chrono::system_clock::time_point> parse_time(std::string_view text) {
  using std::chrono::hours, std::chrono::minutes, std::chrono::seconds;
  const auto year = take_number(text, 4);
  if (!year || !take(text, '-', '-')) return std::nullopt;
  const auto month = take_number(text, 2);
  if (!month || !take(text, '-', '-')) return std::nullopt;
  const auto day = take_number(text, 2);
  if (!day || !take(text, 'T', 't')) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  const auto hour = take_number(text, 2);
  if (!hour || !take(text, ':', ':')) return std::nullopt;
  const auto minute = take_number(text, 2);
  if (!minute || !take(text, ':', ':')) return std::nullopt;
  const auto second = take_number(text, 2);
  if (!second || !date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  std::chrono::nanoseconds fraction{0};
  if (!text.empty() && text.front() == '.') fraction = take_fraction(text);
  const auto local = std::chrono::sys_days(date) + hours(*hour) + minutes(*minute) + seconds(*second) + fraction;
  if (take(text, 'Z', 'z')) return text.empty() ? std::optional(local) : std::nullopt;
  const bool ahead = !text.empty() && text.front() == '+';
  if (!take(text, '+', '-')) return std::nullopt;
  const auto offset_hours = take_number(text, 2);
  if (!offset_hours || !take(text, ':', ':')) return std::nullopt;
  const auto offset_minutes = take_number(text, 2);
  if (!offset_minutes || !text.empty()) return std::nullopt;
  const auto offset = hours(*offset_hours) + minutes(*offset_minutes);
  return ahead ? local - offset : local + offset;
}

// Canonical text has no white space, and a quote inside a string has a backslash before it: this is a name and no part
// of a text. A document of ten thousand slices is not parsed again for it.
std::string_view trigger_annotation(std::string_view slice) {
  static constexpr std::string_view name = R"("endpoints.kubernetes.io/last-change-trigger-time":")";
  const void* const found = ::memmem(slice.data(), slice.size(), name.data(), name.size());
  if (found == nullptr) return {};
  const auto at = static_cast<size_t>(static_cast<const char*>(found) - slice.data());
  const std::string_view value = slice.substr(at + name.size());
  return value.substr(0, value.find('"'));
}

}  // namespace sluice::control
