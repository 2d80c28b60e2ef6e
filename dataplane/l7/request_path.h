// Paths of requests as rules compare them (ING-10).
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace sluice::l7 {

// The path without "." and ".." and with one slash where several are; %XX becomes the byte it stands for. What stays
// encoded, with upper-case digits: %2F, which is no separator, %5C, %25, so that nothing is decoded twice, and control
// characters. Empty: no path at all, or none that two readers would take for the same: a % without two digits, %00, a
// way out of the root. `path` begins with a slash and has no query; `out` is at least as large as `path`.
[[nodiscard]] std::optional<std::string_view> normalised_path(std::string_view path, std::span<char> out);

}  // namespace sluice::l7
