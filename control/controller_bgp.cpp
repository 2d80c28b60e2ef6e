// BGP in the running router: what changed becomes a plan, and the plan BIRD's configuration.
#include <algorithm>
#include <chrono>

#include "control/bgp_plan.h"
#include "control/controller.h"

namespace sluice::control {
namespace {

constexpr auto withdraw_time = std::chrono::seconds(1);

// Kinds that a plan is made of beside services, which BgpServices looks at.
bool concerns_plan(const config::Change& change) {
  return std::any_of(change.touched.begin(), change.touched.end(), [](const config::Change::Touched& touched) {
    const std::string& kind = touched.key.kind;
    return touched.effective && kind != "EndpointSlice" && kind != "Service" && kind != "Pod";
  });
}

}  // namespace

void Controller::follow_bgp(const config::Change* change) {
  const config::Config& config = objects_.config();
  if (config.gateway.bgp.engine == config::BgpEngine::None) return bird_.clear();
  bool changed = bird_.idle() || change == nullptr || concerns_plan(*change);
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
