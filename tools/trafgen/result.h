// A run's result: as JSON for programs (docs/trafgen.md has every key), as a summary for people.
#pragma once

#include <string>

#include <boost/json/object.hpp>

#include "tools/trafgen/options.h"
#include "tools/trafgen/run.h"
#include "tools/trafgen/testbed.h"

namespace sluice::trafgen {

struct RunFacts {
  std::string started;  // ISO 8601
  bool hugepages = false;
  uint64_t tsc_hz = 0;
};

// No packet was duplicated, corrupted, misrouted, unreadable or damaged in any part of the run.
[[nodiscard]] bool is_clean(const RunResult& result);
[[nodiscard]] uint64_t lost_in(const RunResult& result);
[[nodiscard]] boost::json::object to_json(const Options& options, const Testbed& bed, const RunFacts& facts,
                                          const RunResult& result);
[[nodiscard]] std::string summary(const Testbed& bed, const RunResult& result);

}  // namespace sluice::trafgen
