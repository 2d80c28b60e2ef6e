// News of connections for the clients of the API: takes what the workers noted and gives each client what it asked for.
//
// The workers note nothing while there is no client. Rings are emptied every few milliseconds; a client's events wait
// in a queue of its own until its connection takes them. Both are bounded: what does not fit is counted, and the client
// is told how much it missed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "control/router.h"
#include "dataplane/dataplane.h"

namespace sluice::control {

class FlowEvents {
 public:
  static constexpr size_t most_watches = 16;
  static constexpr size_t queue_limit = 8192;  // events that wait for one client

  // `service_name`: of a service port's id; empty for none. All outlive the object; its watches may outlive it, but are
  // not asked any more then.
  FlowEvents(boost::asio::io_context& io, dataplane::Dataplane& plane,
             std::function<std::string(uint32_t)> service_name);
  ~FlowEvents();
  FlowEvents(const FlowEvents&) = delete;
  FlowEvents& operator=(const FlowEvents&) = delete;

  // Ends when nobody holds it. nullptr: there are too many.
  [[nodiscard]] std::shared_ptr<FlowWatch> watch(const FlowFilter& filter);

 private:
  class Watch;

  void arm();
  void poll();

  boost::asio::io_context& io_;
  dataplane::Dataplane& plane_;
  std::function<std::string(uint32_t)> service_name_;
  std::vector<std::weak_ptr<Watch>> watches_;
  std::vector<uint64_t> lost_;  // by worker: what its ring had lost at the last look
  boost::asio::steady_timer timer_;
  bool polling_ = false;
};

}  // namespace sluice::control
