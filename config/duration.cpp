#include "config/duration.h"

#include <array>
#include <cstdint>
#include <limits>

namespace sluice::config {
namespace {

struct Unit {
  std::string_view name;
  int64_t nanoseconds;
};
// Two-letter names first: "ms" is not "m" and an "s".
constexpr std::array<Unit, 7> units{{{"ns", 1},
                                     {"us", 1'000},
                                     {"\u00b5s", 1'000},  // the micro sign
                                     {"ms", 1'000'000},
                                     {"s", 1'000'000'000},
                                     {"m", 60'000'000'000},
                                     {"h", 3'600'000'000'000}}};

constexpr int64_t limit = std::numeric_limits<int64_t>::max();

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes the digits at the front of `text`.
std::string_view take_digits(std::string_view& text) {
  size_t n = 0;
  while (n < text.size() && is_digit(text[n])) ++n;
  const std::string_view digits = text.substr(0, n);
  text.remove_prefix(n);
  return digits;
}

// Takes one number with its unit. Digits after the point that are worth less than a nanosecond are dropped.
std::optional<int64_t> take_term(std::string_view& text) {
  const std::string_view whole = take_digits(text);
  std::string_view fraction;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    fraction = take_digits(text);
  }
  if (whole.empty() && fraction.empty()) return std::nullopt;
  for (const Unit& unit : units) {
    if (!text.starts_with(unit.name)) continue;
    text.remove_prefix(unit.name.size());
    int64_t number = 0;
    for (const char c : whole) {
      if (number > (limit / unit.nanoseconds - 19) / 10) return std::nullopt;  // room for this digit and a fraction
      number = number * 10 + (c - '0');
    }
    int64_t total = number * unit.nanoseconds;
    int64_t scale = unit.nanoseconds;
    for (const char c : fraction) {
      scale /= 10;
      total += (c - '0') * scale;
    }
    return total;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  if (text == "0") return std::chrono::nanoseconds{0};
  if (text.empty()) return std::nullopt;
  int64_t total = 0;
  while (!text.empty()) {
    const auto term = take_term(text);
    if (!term || *term > limit - total) return std::nullopt;
    total += *term;
  }
  return std::chrono::nanoseconds{total};
}

}  // namespace sluice::config
