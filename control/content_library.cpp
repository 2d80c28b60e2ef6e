#include "control/content_library.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace sluice::control {
namespace {

using config::ContentPolicy;

// Of all streams of one policy, unless there are very many workers or patterns.
constexpr size_t stream_memory = size_t{64} << 20;
constexpr uint32_t least_streams = 64;
constexpr uint32_t most_streams = 8192;
constexpr size_t most_files = 1024;
constexpr size_t most_patterns = 20000;
constexpr size_t most_memory = size_t{512} << 20;  // of the streams of one policy

ContentPolicy key_of(const ContentPolicy& policy) {
  ContentPolicy key = policy;
  key.services.reset();
  key.pods.reset();
  return key;
}

// Whether `a` and `b` have the same rules.
bool same_rules(const ContentPolicy& a, const ContentPolicy& b) {
  return a.digest == b.digest && a.ns == b.ns && a.name == b.name;
}

l7::ContentAction action_of(config::ContentAction action) {
  switch (action) {
    case config::ContentAction::Count:
      return l7::ContentAction::Count;
    case config::ContentAction::Mirror:
      return l7::ContentAction::Mirror;
    case config::ContentAction::Reset:
      return l7::ContentAction::Reset;
    case config::ContentAction::Drop:
      break;
  }
  return l7::ContentAction::Drop;
}

// Whether it may match other bytes by themselves than in the stream they are of. Too often yes is right as well.
bool is_placed(const config::ContentExpression& expression) {
  if (expression.least_end || expression.most_end) return true;
  if (expression.literal) return false;
  const std::string_view text = expression.text;
  for (size_t i = 0; i < text.size(); ++i) {
    const char before = i == 0 ? '\0' : text[i - 1];
    if (text[i] == '^' && before != '[' && before != '\\') return true;
    if (text[i] == '$' && before != '\\') return true;
    if (before == '\\' && std::string_view("bBAzZG").find(text[i]) != std::string_view::npos) return true;
  }
  return false;
}

config::Fault fault_of(const ContentPolicy& policy, const PatternFault& fault) {
  const config::ContentPattern& pattern = policy.patterns[fault.pattern];
  const bool own = pattern.list == "patterns";
  const config::Path path =
      own ? config::Path::of("spec", pattern.list, pattern.index, pattern.all.front().literal ? "literal" : "regex")
          : config::Path::of("spec", pattern.list);
  return {.kind = "ContentPolicy",
          .name = policy.ns + "/" + policy.name,
          .pointer = path.pointer(),
          .path = path.dotted(),
          .message = own ? fault.message : fmt::format("{}: {}", pattern.name, fault.message)};
}

}  // namespace

ContentLibrary::ContentLibrary(const std::string& state_folder, uint16_t workers)
    : compiler_(state_folder.empty() ? std::string() : state_folder + "/patterns"), workers_(workers) {}

const ContentLibrary::Entry* ContentLibrary::find(const ContentPolicy& policy) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return same_rules(entry.key, policy); });
  return found == entries_.end() ? nullptr : &*found;
}

ContentLibrary::Rules ContentLibrary::rules_of(const ContentPolicy& policy) const {
  const Entry* const entry = find(policy);
  return entry == nullptr ? nullptr : entry->rules;
}

template <class Selected>
std::vector<ContentLibrary::Rules> ContentLibrary::selected(const config::Config& config, const std::string& ns,
                                                            const Selected& selected) const {
  std::vector<Rules> out;
  const auto& policies = config.content_policies;
  for (auto at = policies.lower_bound({ns, ""}); at != policies.end() && at->first.ns == ns; ++at) {
    if (!selected(at->second)) continue;
    if (Rules rules = rules_of(at->second)) out.push_back(std::move(rules));
  }
  return out;
}

std::vector<ContentLibrary::Rules> ContentLibrary::of_service(const config::Config& config,
                                                              const config::Service& service) const {
  return selected(config, service.name.ns, [&](const ContentPolicy& policy) {
    return policy.services && policy.services->matches(service.labels);
  });
}

std::vector<ContentLibrary::Rules> ContentLibrary::of_pod(const config::Config& config,
                                                          const config::WorkloadEndpoint& pod) const {
  return selected(config, pod.name.ns,
                  [&](const ContentPolicy& policy) { return policy.pods && policy.pods->matches(pod.labels); });
}

// Rules have the order of their policy's patterns.
const config::ContentPattern* ContentLibrary::pattern_of(const l7::ContentRules& rules, uint32_t rule) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.rules.get() == &rules; });
  return found == entries_.end() || rule >= found->key.patterns.size() ? nullptr : &found->key.patterns[rule];
}

const config::ContentPattern* ContentLibrary::pattern_of(std::string_view name) const {
  // The newest rules of a policy are the last.
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    const std::string policy = entry->key.ns + "/" + entry->key.name + ": ";
    if (!name.starts_with(policy)) continue;
    const auto find = [&](auto&& is_it) -> const config::ContentPattern* {
      const auto& patterns = entry->key.patterns;
      const auto found = std::find_if(patterns.begin(), patterns.end(), is_it);
      return found == patterns.end() ? nullptr : &*found;
    };
    if (const auto* exact = find([&](const auto& pattern) { return policy + pattern.name == name; })) return exact;
    // A trace has room for so much of it.
    if (const auto* cut = find([&](const auto& pattern) { return (policy + pattern.name).starts_with(name); }))
      return cut;
  }
  return nullptr;
}

std::vector<PatternPlace> ContentLibrary::places(const config::ContentPattern& pattern, std::span<const uint8_t> bytes,
                                                 uint64_t at, std::optional<uint64_t> end) const {
  if (at != 0 && std::any_of(pattern.all.begin(), pattern.all.end(), is_placed)) return {};
  return places_.find(pattern, bytes, end);
}

std::vector<ContentPolicy> ContentLibrary::missing(const config::Config& config) const {
  std::vector<ContentPolicy> out;
  for (const auto& [name, policy] : config.content_policies) {
    if (!policy.patterns.empty() && find(policy) == nullptr) out.push_back(policy);
  }
  return out;
}

ContentLibrary::Made ContentLibrary::make(const std::vector<ContentPolicy>& policies) const {
  Made made;
  for (const ContentPolicy& policy : policies) {
    const auto refuse = [&](std::string why) {
      made.faults.push_back({.kind = "ContentPolicy",
                             .name = policy.ns + "/" + policy.name,
                             .pointer = "/spec",
                             .path = "spec",
                             .message = std::move(why)});
    };
    if (policy.patterns.size() > most_patterns) {
      refuse(fmt::format("{} patterns are more than {}: share them out among policies", policy.patterns.size(),
                         most_patterns));
      continue;
    }
    auto compiled = compiler_.compile(policy.patterns);
    if (!compiled) {
      for (const PatternFault& fault : compiled.error()) made.faults.push_back(fault_of(policy, fault));
      continue;
    }
    std::vector<l7::ContentRule> rules;
    for (const config::ContentPattern& pattern : policy.patterns) {
      rules.push_back({.name = pattern.name,
                       .policy = policy.ns + "/" + policy.name,
                       .action = action_of(pattern.action),
                       .ingress = pattern.direction != config::ContentDirection::Egress,
                       .egress = pattern.direction != config::ContentDirection::Ingress,
                       .placed = std::any_of(pattern.all.begin(), pattern.all.end(), is_placed)});
    }
    if (compiled->stream_bytes * least_streams * workers_ > most_memory) {
      refuse(fmt::format(
          "its patterns need {} bytes for each direction of a connection, which is too much for {} workers: "
          "share them out among policies",
          compiled->stream_bytes, workers_));
      continue;
    }
    const size_t fit = stream_memory / workers_ / std::max<size_t>(compiled->stream_bytes, 64);
    const l7::ContentRules::Settings settings{
        .depth = policy.depth,
        .drop_when_full = policy.overload == config::ContentOverload::Drop,
        .streams = static_cast<uint32_t>(std::clamp<size_t>(fit, least_streams, most_streams)),
        .workers = workers_};
    auto created =
        l7::ContentRules::create(std::move(rules), std::move(compiled->parts), std::move(compiled->engines), settings);
    if (!created) {
      refuse(created.error().message);
      continue;
    }
    made.entries.push_back({key_of(policy), std::move(*created)});
  }
  compiler_.prune(most_files);
  return made;
}

void ContentLibrary::take(Made&& made) {
  for (Entry& entry : made.entries) entries_.push_back(std::move(entry));
}

void ContentLibrary::collect(const config::Config& config) {
  std::erase_if(entries_, [&](const Entry& entry) {
    const auto policy = config.content_policies.find({entry.key.ns, entry.key.name});
    const bool wanted = policy != config.content_policies.end() && same_rules(entry.key, policy->second);
    // The last owner is here: no snapshot can give them to a connection any more.
    return !wanted && entry.rules.use_count() == 1 && entry.rules->in_use() == 0;
  });
}

}  // namespace sluice::control
