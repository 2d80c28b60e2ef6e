// Drained endpoints in the running router: kept over restarts, put into the data plane without a new generation of the
// configuration, so that nobody's delta becomes stale by them.
#include <algorithm>

#include <fmt/format.h>

#include "control/controller.h"

namespace sluice::control {
namespace {

DrainEntry entry_for(const config::Config& config, const DrainTarget& target, bool hard) {
  return {target.text(), hard, services_of(config, target)};
}

template <class F>
void find_empty(const nat::ServiceTable<F>* table, const std::vector<std::string>& names,
                std::vector<std::string>& warnings) {
  if (table == nullptr) return;
  table->each([&](const nat::Frontend<F>& frontend) {
    const nat::ServicePort<F>& service = *frontend.service;
    if (service.has_endpoint || std::find(names.begin(), names.end(), service.name) == names.end()) return;
    std::string warning = fmt::format("{} has no endpoint left for new flows", service.name);
    if (std::find(warnings.begin(), warnings.end(), warning) == warnings.end()) warnings.push_back(std::move(warning));
  });
}

}  // namespace

void Controller::load_drains() {
  const auto text = drain_state_.load();
  if (text && !*text) return;
  auto drains = text ? DrainList::from_text(**text) : net::Result<DrainList>(text.error());
  if (drains) {
    drains_ = std::move(*drains);
    bgp_services_.set_drains(drains_);
  } else {
    drain_problem_ = fmt::format("no endpoint is drained: {}: {}", drain_state_.path(), drains.error().message);
  }
}

std::vector<DrainEntry> Controller::drains() const {
  std::vector<DrainEntry> entries;
  for (const auto& [target, hard] : drains_.targets()) {
    entries.push_back(entry_for(objects_.config(), target, hard));
  }
  return entries;
}

Awaitable<void> Controller::publish_drains(DrainList drains, DrainReply& reply) {
  drains_ = std::move(drains);
  drain_problem_.clear();
  if (auto saved = drain_state_.save(drains_.to_text()); !saved) {
    reply.warnings.push_back("not kept for the next start: " + saved.error().message);
  }
  if (generation_ == 0) {
    bgp_services_.set_drains(drains_);
    co_return;
  }
  const config::Config& config = objects_.config();
  const config::Change nothing;
  const uint64_t token = deployment_.publish_services(config, services_, drains_, &nothing);
  const bool taken_over = co_await wait_for(token);
  if (!taken_over) reply.warnings.emplace_back("a worker has not taken it over yet");
  deployment_.finish();
  health_server_.update(make_health_plan(config, drains_));
  if (bird_.idle()) {
    bgp_services_.set_drains(drains_);
  } else if (bgp_services_.update(config, drains_)) {
    follow_bgp(nullptr);
  }
  find_empty(deployment_.service_tables().v4.get(), reply.drain.services, reply.warnings);
  find_empty(deployment_.service_tables().v6.get(), reply.drain.services, reply.warnings);
}

Awaitable<DrainReply> Controller::drain(DrainTarget target, bool hard) {
  const auto lock = co_await changes_.lock();
  DrainReply reply;
  reply.drain = entry_for(objects_.config(), target, hard);
  if (reply.drain.services.empty()) {
    reply.warnings.emplace_back("no service has such an endpoint now; it will be drained when it comes");
  }
  DrainList drains = drains_;
  reply.changed = drains.add(target, hard);
  if (reply.changed) {
    co_await publish_drains(std::move(drains), reply);
    report_drain(reply, true);
  }
  co_return reply;
}

Awaitable<DrainReply> Controller::undrain(DrainTarget target) {
  const auto lock = co_await changes_.lock();
  DrainReply reply;
  reply.drain = entry_for(objects_.config(), target, false);
  DrainList drains = drains_;
  reply.changed = drains.remove(target);
  if (reply.changed) {
    co_await publish_drains(std::move(drains), reply);
    report_drain(reply, false);
  }
  co_return reply;
}

}  // namespace sluice::control
