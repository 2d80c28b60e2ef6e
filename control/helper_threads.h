// Threads that share large pieces of the control plane's work: reading a document of a whole cluster, building the
// tables of all its services. They sleep otherwise.
//
// They run on processors of their own, beside those of the workers: what helps the control plane must not take time
// from the data plane. Where there are none but the control thread's, they share the workers' while those sleep
// (idle_workers.h). With one processor everything is done by who asks.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <boost/asio/thread_pool.hpp>

namespace sluice::control {

class HelperThreads {
  struct Job;

 public:
  // Whether a helper may take another piece; asked by several threads at once.
  using MayHelp = std::function<bool()>;

  // One for each of `cpus` but the first few that would only wait for memory (most_helpers); with one or none: none.
  // `may_help`: of processors that others need more, which helpers give way to between two pieces, and by their nice
  // value within one; empty: always.
  explicit HelperThreads(const std::vector<int>& cpus, MayHelp may_help = {});
  ~HelperThreads();
  HelperThreads(const HelperThreads&) = delete;
  HelperThreads& operator=(const HelperThreads&) = delete;

  // config::Spread. The caller works as well, and waits for no helper that has not begun. Several may call at once.
  void operator()(size_t count, const std::function<void(size_t)>& work);

  // Work that a helper may do while its owner does something else.
  class Errand {
   public:
    explicit Errand(std::shared_ptr<Job> job) : job_(std::move(job)) {}
    // If nobody has begun it, nobody will; otherwise waits until it is done.
    ~Errand();
    Errand(const Errand&) = delete;
    Errand& operator=(const Errand&) = delete;

    // Does it, unless somebody has begun it: then waits until it is done.
    void finish();

   private:
    std::shared_ptr<Job> job_;
  };
  // `work` throws nothing.
  [[nodiscard]] std::unique_ptr<Errand> begin(std::function<void()> work);

 private:
  // Asks so many helpers to take part.
  void share(const std::shared_ptr<Job>& job, size_t helpers);

  static constexpr size_t most_helpers = 3;

  size_t helpers_ = 0;
  MayHelp may_help_;
  std::optional<boost::asio::thread_pool> pool_;
};

}  // namespace sluice::control
