#include "control/helper_threads.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <sched.h>

#include <boost/asio/post.hpp>

namespace sluice::control {
namespace {

// Pieces of one call. Helpers that come when it is over find nothing left to do.
struct Job {
  Job(size_t pieces, const std::function<void(size_t)>& todo) : count(pieces), work(&todo) {}

  void take_part() {
    for (size_t piece = next++; piece < count; piece = next++) {
      (*work)(piece);
      if (++done == count) done.notify_all();
    }
  }
  void wait() {
    for (size_t seen = done; seen != count; seen = done) done.wait(seen);
  }

  size_t count;
  const std::function<void(size_t)>* work;  // only looked at by who took a piece, so it is there
  std::atomic<size_t> next{0};
  std::atomic<size_t> done{0};
};

}  // namespace

HelperThreads::HelperThreads(const std::vector<int>& cpus)
    : helpers_(cpus.size() > 1 ? std::min(cpus.size() - 1, most_helpers) : 0) {
  if (helpers_ == 0) return;
  cpu_set_t before;
  cpu_set_t own;
  CPU_ZERO(&own);
  for (const int cpu : cpus) CPU_SET(static_cast<size_t>(cpu), &own);
  // Threads begin where their maker may run.
  const bool known = sched_getaffinity(0, sizeof before, &before) == 0;
  const bool moved = known && sched_setaffinity(0, sizeof own, &own) == 0;
  pool_.emplace(helpers_);
  if (moved) (void)sched_setaffinity(0, sizeof before, &before);
}

HelperThreads::~HelperThreads() = default;

void HelperThreads::operator()(size_t count, const std::function<void(size_t)>& work) {
  if (count == 0) return;
  const auto job = std::make_shared<Job>(count, work);
  for (size_t helper = 0; helper < std::min(helpers_, count - 1); ++helper) {
    boost::asio::post(*pool_, [job] { job->take_part(); });
  }
  job->take_part();
  job->wait();
}

}  // namespace sluice::control
