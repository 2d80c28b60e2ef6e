#include "control/helper_threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <sched.h>
#include <sys/resource.h>
#include <thread>
#include <utility>

#include <boost/asio/post.hpp>

namespace sluice::control {
namespace {

// Of helpers that give way: a tenth of what a thread of nice value 0 gets, so that who waits for the last piece does
// not wait long where many others run.
constexpr int yielding_nice = 10;
constexpr auto yielding_pause = std::chrono::milliseconds(1);

}  // namespace

// Pieces of one call. Helpers that come when it is over find nothing left to do.
struct HelperThreads::Job {
  Job(size_t pieces, const std::function<void(size_t)>& todo) : count(pieces), work(&todo) {}
  explicit Job(std::function<void()> todo) : count(1), own([task = std::move(todo)](size_t) { task(); }), work(&own) {}
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // False: there is none left.
  bool take_piece() {
    const size_t piece = next++;
    if (piece >= count) return false;
    (*work)(piece);
    if (++done == count) done.notify_all();
    return true;
  }
  void take_part() {
    while (take_piece()) {
    }
  }
  void take_part(const MayHelp& may_help) {
    bool more = true;
    while (more && next < count) {
      if (may_help()) {
        more = take_piece();
      } else {
        std::this_thread::sleep_for(yielding_pause);
      }
    }
  }
  void wait() {
    for (size_t seen = done; seen != count; seen = done) done.wait(seen);
  }

  size_t count;
  std::function<void(size_t)> own;
  const std::function<void(size_t)>* work;  // only looked at by who took a piece, so it is there
  std::atomic<size_t> next{0};
  std::atomic<size_t> done{0};
};

HelperThreads::HelperThreads(const std::vector<int>& cpus, MayHelp may_help)
    : helpers_(cpus.size() > 1 ? std::min(cpus.size() - 1, most_helpers) : 0), may_help_(std::move(may_help)) {
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

void HelperThreads::share(const std::shared_ptr<Job>& job, size_t helpers) {
  for (size_t helper = 0; helper < std::min(helpers_, helpers); ++helper) {
    boost::asio::post(*pool_, [this, job] {
      if (!may_help_) return job->take_part();
      (void)setpriority(PRIO_PROCESS, 0, yielding_nice);  // of this thread
      job->take_part(may_help_);
    });
  }
}

void HelperThreads::operator()(size_t count, const std::function<void(size_t)>& work) {
  if (count == 0) return;
  const auto job = std::make_shared<Job>(count, work);
  share(job, count - 1);
  job->take_part();
  job->wait();
}

std::unique_ptr<HelperThreads::Errand> HelperThreads::begin(std::function<void()> work) {
  const auto job = std::make_shared<Job>(std::move(work));
  share(job, 1);
  return std::make_unique<Errand>(job);
}

HelperThreads::Errand::~Errand() {
  if (job_->next++ == 0) return;
  job_->wait();
}

void HelperThreads::Errand::finish() {
  job_->take_part();
  job_->wait();
}

}  // namespace sluice::control
