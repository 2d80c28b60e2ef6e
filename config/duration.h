// Lengths of time as Go's time.ParseDuration writes them, which is how Kubernetes people write them: "1h30m".
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace sluice::config {

// One or more decimal numbers, each with a unit of ns, us, ms, s, m, h; a lone "0" needs none. Empty on anything
// else, negative ones included, and on more than 290 years.
[[nodiscard]] std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

}  // namespace sluice::config
