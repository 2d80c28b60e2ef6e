#include "control/supervisor.h"

#include <cstdlib>
#include <systemd/sd-daemon.h>

#include <fmt/format.h>

namespace sluice::control {
namespace {

// Of the watchdog's time (sd_watchdog_enabled(3) advises half of it): two may be late.
constexpr unsigned tells_per_timeout = 3;
// How often the status is told where there is no watchdog.
constexpr auto status_interval = std::chrono::seconds(10);

// Status lines are one line.
void notify(std::string_view state, const std::string& status) {
  (void)sd_notifyf(0, "%.*s\nSTATUS=%s", static_cast<int>(state.size()), state.data(), status.c_str());
}

}  // namespace

Supervisor::Supervisor(boost::asio::io_context& io, std::function<Progress()> progress,
                       std::function<void(std::string_view)> say)
    : timer_(io), progress_(std::move(progress)), say_(std::move(say)) {}

void Supervisor::ready() {
  uint64_t timeout = 0;  // microseconds
  watched_ = sd_watchdog_enabled(0, &timeout) > 0;
  interval_ =
      watched_ ? std::chrono::microseconds(timeout / tells_per_timeout) : std::chrono::microseconds(status_interval);
  const Progress progress = progress_();
  cycles_ = progress.worker_cycles;
  notify("READY=1", progress.status);
  if (std::getenv("NOTIFY_SOCKET") != nullptr) tell_later();
}

void Supervisor::stopping() {
  stopping_ = true;
  timer_.cancel();
  (void)sd_notify(0, "STOPPING=1");
}

void Supervisor::tell_later() {
  timer_.expires_after(interval_);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error || stopping_) return;
    tell();
    tell_later();
  });
}

void Supervisor::tell() {
  Progress progress = progress_();
  for (size_t worker = 0; worker < progress.worker_cycles.size(); ++worker) {
    if (worker >= cycles_.size() || progress.worker_cycles[worker] != cycles_[worker]) continue;
    if (watched_ && !complained_) {
      say_(fmt::format("worker {} stands still: the watchdog is not told that this process is alive", worker));
    }
    complained_ = true;
    return;
  }
  complained_ = false;
  cycles_ = std::move(progress.worker_cycles);
  notify(watched_ ? "WATCHDOG=1" : "", progress.status);
}

}  // namespace sluice::control
