// Threads that share large pieces of the control plane's work: reading a document of a whole cluster, building the
// tables of all its services. They sleep otherwise.
//
// They run on processors of their own, beside those of the workers: what helps the control plane must not take time
// from the data plane. With no processor but the control thread's there are none, and everything is done by who asks.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include <boost/asio/thread_pool.hpp>

namespace sluice::control {

class HelperThreads {
 public:
  // One for each of `cpus` but the first few that would only wait for memory (most_helpers); with one or none: none.
  explicit HelperThreads(const std::vector<int>& cpus);
  ~HelperThreads();
  HelperThreads(const HelperThreads&) = delete;
  HelperThreads& operator=(const HelperThreads&) = delete;

  // config::Spread. The caller works as well, and waits for no helper that has not begun. Several may call at once.
  void operator()(size_t count, const std::function<void(size_t)>& work);

 private:
  static constexpr size_t most_helpers = 3;

  size_t helpers_ = 0;
  std::optional<boost::asio::thread_pool> pool_;
};

}  // namespace sluice::control
