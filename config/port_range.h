// Ranges of ports as documents write them.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

#include "config/model.h"

namespace sluice::config {

// "30000-32767" with '-' as the separator. Neither port is 0, and the first is not behind the last.
[[nodiscard]] inline std::optional<PortRange> parse_port_range(std::string_view text, char separator) {
  PortRange range;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, range.first);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != separator) return std::nullopt;
  const auto last = std::from_chars(first.ptr + 1, end, range.last);
  if (last.ec != std::errc{} || last.ptr != end) return std::nullopt;
  return range.first == 0 || range.first > range.last ? std::nullopt : std::optional(range);
}

}  // namespace sluice::config
