// When what an EndpointSlice says became true: the annotation that Kubernetes' endpoint slice controller writes for
// measuring how long a network takes to follow (kube-proxy's pkg/proxy/endpointschangetracker.go reads it).
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace sluice::control {

// RFC 3339 section 5.6, down to nanoseconds: "2026-01-01T00:00:00.25Z", "2026-01-01T01:00:00+01:00".
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> parse_time(std::string_view text);

// The text of the annotation in a slice's canonical JSON; empty if it has none.
[[nodiscard]] std::string_view trigger_annotation(std::string_view slice);

}  // namespace sluice::control
