// What the controller does about ContentPolicies.
#include "control/controller.h"
#include "control/in_background.h"

namespace sluice::control {
namespace {

std::string_view name(l7::ContentAction action) {
  switch (action) {
    case l7::ContentAction::Count:
      return "Count";
    case l7::ContentAction::Mirror:
      return "Mirror";
    case l7::ContentAction::Reset:
      return "Reset";
    default:
      return "Drop";
  }
}

}  // namespace

Awaitable<std::optional<config::ParseFailure>> Controller::cannot_serve(const config::Change& change) {
  auto exposed = exposes_api(change);
  if (exposed) co_return exposed;
  if (generation_ != 0 && !change.touches("ContentPolicy")) co_return std::nullopt;
  const std::vector<config::ContentPolicy> missing = content_.missing(objects_.config());
  if (missing.empty()) co_return std::nullopt;
  auto make = [&] { return content_.make(missing); };
  ContentLibrary::Made made = co_await run_in(compiling_, make);
  if (made.faults.empty()) {
    content_.take(std::move(made));
    co_return std::nullopt;
  }
  objects_.locate(made.faults);
  co_return config::ParseFailure{{}, std::move(made.faults)};
}

std::vector<ContentPolicyEntry> Controller::content_policies() const {
  const config::Config& config = objects_.config();
  std::vector<ContentPolicyEntry> out;
  for (const auto& [key, policy] : config.content_policies) {
    ContentPolicyEntry entry{.name = key.text(), .depth = policy.depth};
    const auto& services = config.services;
    for (auto at = services.lower_bound({key.ns, ""}); at != services.end() && at->first.ns == key.ns; ++at) {
      if (policy.services && policy.services->matches(at->second.labels)) entry.services.push_back(at->first.text());
    }
    for (const auto& [name, pod] : config.workloads) {
      if (name.ns == key.ns && config.gateway.is_local(pod.node) && policy.pods && policy.pods->matches(pod.labels)) {
        entry.pods.push_back(name.text());
      }
    }
    if (const auto rules = content_.rules_of(policy)) {
      entry.connections = rules->in_use();
      entry.overloads = rules->overloads();
      for (uint32_t i = 0; i < rules->rules().size(); ++i) {
        const l7::ContentRule& rule = rules->rules()[i];
        entry.patterns.push_back({.name = rule.name,
                                  .action = std::string(name(rule.action)),
                                  .direction = !rule.egress    ? "Ingress"
                                               : !rule.ingress ? "Egress"
                                                               : "Both",
                                  .matches = rules->hits(i)});
      }
    }
    out.push_back(std::move(entry));
  }
  return out;
}

std::vector<ContentStatus> Controller::content_status() const {
  std::vector<ContentStatus> out;
  for (const auto& [key, policy] : objects_.config().content_policies) {
    const auto rules = content_.rules_of(policy);
    if (rules == nullptr) continue;
    ContentStatus status{.policy = key.text(), .connections = rules->in_use(), .overloads = rules->overloads()};
    for (uint32_t i = 0; i < rules->rules().size(); ++i) status.matches += rules->hits(i);
    out.push_back(std::move(status));
  }
  return out;
}

}  // namespace sluice::control
