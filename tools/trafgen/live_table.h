// What a person watches while a run goes on: a table like testpmd's "show port stats", rewritten every second, with
// progress and the time that is left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tools/trafgen/testbed.h"

namespace sluice::trafgen {

class LiveTable {
 public:
  // `shown`: whether anything is printed at all, on standard error.
  LiveTable(const Testbed& bed, bool shown) : bed_(bed), shown_(shown) {}

  // A part of the run begins: "warm-up", "trial 3 at 2.0 Mpps". Seconds of it and of what comes after it.
  void begin(std::string what, double seconds, double after);
  void update(double elapsed);
  void end();

 private:
  struct PortSeen {
    uint64_t sent = 0, sent_bytes = 0, received = 0, received_bytes = 0;
  };
  [[nodiscard]] PortSeen seen(const TestPort& port) const;

  const Testbed& bed_;
  bool shown_;
  std::string what_;
  double seconds_ = 0, after_ = 0, last_ = 0;
  size_t lines_ = 0;
  std::vector<PortSeen> before_;
};

}  // namespace sluice::trafgen
