// BGP in the running router: what changed becomes a plan, and the plan BIRD's configuration.
#include <chrono>

#include "control/bgp_plan.h"
#include "control/controller.h"

namespace sluice::control {
namespace {

constexpr auto withdraw_time = std::chrono::seconds(1);

}  // namespace

void Controller::follow_bgp(const config::Change* change, bool allocated_differs) {
  const config::Config& config = objects_.config();
  if (config.gateway.bgp.engine == config::BgpEngine::None) return bird_.clear();
  bool changed = bird_.idle() || change == nullptr || allocated_differs || concerns_bgp_plan(*change, config);
  if (bird_.idle()) {
    (void)bgp_services_.rebuild(config);
  } else if (change != nullptr) {
    changed = bgp_services_.update(config, *change) || changed;
  }
  if (changed) bird_.set(make_bgp_plan(config, allocated(), bgp_services_));
}

void Controller::report_bgp(RouterEvent event) {
  event.time_seconds = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  events_.add(std::move(event));
}

Awaitable<void> Controller::withdraw_bgp() { co_await bird_.withdraw(withdraw_time); }

}  // namespace sluice::control
