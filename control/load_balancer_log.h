// What services were given (load_balancer.h), kept for the next start: a snapshot and a log of changes behind it, in
// the files of ipam_storage.h. A change is on the disk before anybody is told of it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "control/ipam_storage.h"
#include "control/load_balancer.h"
#include "dataplane/net/result.h"

namespace sluice::control {

class LoadBalancerLog {
 public:
  // `storage` outlives it.
  explicit LoadBalancerLog(ipam::Storage& storage) : storage_(storage) {}

  // What was kept, as far as it is whole; what was wrong with the rest is told in `messages`.
  [[nodiscard]] net::Result<GivenAddresses> load(std::vector<std::string>& messages);
  // `changes`: services with what they have now, perhaps nothing; those of which that is known are left out. In the
  // log, not yet on the disk: sync() is a function that waits for that, in whatever thread. True: there is something to
  // sync.
  [[nodiscard]] net::Result<bool> append(GivenAddresses changes);
  [[nodiscard]] std::function<net::Status<>()> sync() { return storage_.sync(); }
  // What was appended may not be on the disk: the next append() writes everything anew.
  void failed() { broken_ = true; }
  // After that: whether it can be written now.
  [[nodiscard]] net::Status<> retry();
  // What append() could not write is true nevertheless, and will be in what it writes next.
  void owe(GivenAddresses changes);

 private:
  [[nodiscard]] net::Status<> write_snapshot(const GivenAddresses& all);

  ipam::Storage& storage_;
  GivenAddresses known_;  // what was written says
  uint64_t written_ = 0;  // number of the last record
  size_t snapshot_bytes_ = 0, log_bytes_ = 0;
  bool broken_ = false;
  std::string unusable_;  // what is there cannot be read, and must not be overwritten
};

}  // namespace sluice::control
