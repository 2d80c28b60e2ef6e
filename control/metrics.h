// Prometheus metrics in the text exposition format 0.0.4, for GET /metrics.
//
// Names follow the Prometheus conventions: the unit in the name, _total for counters. Labels are only what is
// bounded by the gateway's own shape: workers, ports, interfaces, drop reasons; never an address, a service or a
// flow. Interfaces past `max_labelled_interfaces` (workload ports come and go with pods) are summed under
// interface="(others)".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "control/router.h"

namespace sluice::control {

inline constexpr std::string_view metrics_content_type = "text/plain; version=0.0.4; charset=utf-8";
inline constexpr size_t max_labelled_interfaces = 512;
inline constexpr size_t max_labelled_sessions = 1000;

[[nodiscard]] std::string render_metrics(const Status& status, const Counters& counters,
                                         const Measurements& measurements = {},
                                         const std::array<uint64_t, event_type_count>& events = {},
                                         const BgpStatus& bgp = {}, const Totals& totals = {});

}  // namespace sluice::control
