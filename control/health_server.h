// Listens where health.h is asked: on the healthCheckNodePorts of services and on healthzPort.
//
// These are sockets of the machine's kernel, on addresses that the kernel has; what comes in by the router's own
// interfaces never gets here. One short request per connection, few at a time, a deadline for each: whoever asks may be
// anybody. A port that cannot be listened on is tried again every few seconds and told of in problems().
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "config/finding.h"
#include "control/health.h"

namespace sluice::control {

class HealthServer {
 public:
  // `io` outlives the server and is run by the thread that calls the members. `router` is asked at every request.
  HealthServer(boost::asio::io_context& io, std::function<RouterHealth()> router);
  ~HealthServer();
  HealthServer(const HealthServer&) = delete;
  HealthServer& operator=(const HealthServer&) = delete;

  // From now on this is told. Closes listeners that are not named any more, then opens new ones.
  void update(HealthPlan plan);
  [[nodiscard]] const HealthPlan& plan() const;
  // Where it cannot listen, and why.
  [[nodiscard]] std::vector<config::Warning> problems() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sluice::control
