// What systemd is told of this process (sd_notify(3)), where it is its service manager: that it serves, what it does,
// that it is alive. Nothing happens where nobody asked ($NOTIFY_SOCKET, $WATCHDOG_USEC).
//
// Alive means that the control thread runs and that every worker has gone around its loop since it was last said:
// a worker that hangs takes the process down, and the next one goes on with what is kept (--state-dir).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace sluice::control {

// What it tells. Asked on the control thread, several times within the watchdog's time.
struct Progress {
  std::vector<uint64_t> worker_cycles;  // of each worker: grows with every turn of its loop
  std::string status;                   // one line for `systemctl status`
};

class Supervisor {
 public:
  // `io` outlives it. `say`: for the log.
  Supervisor(boost::asio::io_context& io, std::function<Progress()> progress,
             std::function<void(std::string_view)> say);

  // The process does what it is there for. From now on the watchdog is told.
  void ready();
  void stopping();

 private:
  void tell_later();
  void tell();

  boost::asio::steady_timer timer_;
  std::function<Progress()> progress_;
  std::function<void(std::string_view)> say_;
  std::chrono::microseconds interval_{0};
  bool watched_ = false;
  bool stopping_ = false;
  bool complained_ = false;
  std::vector<uint64_t> cycles_;  // when it was last said
};

}  // namespace sluice::control
