// The BIRD beside the router: is given its configuration, is asked how its sessions do.
//
// The file is written beside the one in use, BIRD looks it through (`configure check`), it takes the other's place, and
// BIRD reads it again (`configure`), which leaves sessions that are the same alone. What BIRD refuses does not become
// the file. Where BIRD does not run the file is written all the same, for BIRD to start with; it may come, go and come
// again at any time. Changes are gathered for some milliseconds. Every answer has its time and size. Control thread
// only; nothing waits for a disk but the page cache.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "control/bgp_plan.h"
#include "control/bgp_status.h"
#include "control/events.h"

namespace sluice::control {

// Where BIRD is. Of the command line, not of a document: who may change the routes may not have any file replaced.
struct BirdPaths {
  std::string config_file = "/etc/bird/bird.conf";
  std::string control_socket = "/run/bird/bird.ctl";
};

class Bird {
 public:
  // `io` outlives it and is run by the thread that calls the members. `report` gets events without id and time.
  Bird(boost::asio::io_context& io, BirdPaths paths, std::function<void(RouterEvent)> report);
  ~Bird();
  Bird(const Bird&) = delete;
  Bird& operator=(const Bird&) = delete;

  // From now on this is what BIRD shall do.
  void set(BgpPlan plan);
  // From now on BIRD is left alone; it announces nothing of the router any more if it can be told so.
  void clear();
  // BGP-9: announces nothing any more, and waits until the sessions have been told so, at most so long. It stays so:
  // what is set afterwards is not done.
  boost::asio::awaitable<void> withdraw(std::chrono::milliseconds patience);

  [[nodiscard]] BgpStatus status() const;
  // What people should know: that of the plan as well.
  [[nodiscard]] std::vector<std::string> problems() const;
  // Not enabled.
  [[nodiscard]] bool idle() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sluice::control
