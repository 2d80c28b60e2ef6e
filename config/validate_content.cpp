// Rules about what ContentPolicies need of the gateway.
#include <algorithm>

#include <fmt/format.h>

#include "config/rules.h"

namespace sluice::config {

void check_content(const Config& config, Findings& findings) {
  const Gateway& gateway = config.gateway;
  const std::optional<IpAddr>& collector = gateway.content.collector;
  if (collector) {
    const std::string_view why = never_remote(*collector);
    if (!why.empty()) {
      Report(findings, {gateway_kind, {}, gateway.name})
          .fault(Path::of("spec", "content", "collector"), fmt::format("{} is {}", net::to_string(*collector), why));
    }
    return;
  }
  for (const auto& [name, policy] : config.content_policies) {
    const auto mirrors =
        std::find_if(policy.patterns.begin(), policy.patterns.end(),
                     [](const ContentPattern& pattern) { return pattern.action == ContentAction::Mirror; });
    if (mirrors == policy.patterns.end()) continue;
    Report(findings, {"ContentPolicy", policy.ns, policy.name})
        .fault(Path::of("spec"), fmt::format("pattern {} mirrors, but GatewayConfiguration {} has no "
                                             "spec.content.collector to send copies to",
                                             quoted(mirrors->name), gateway.name));
  }
}

}  // namespace sluice::config
