#include "dataplane/l7/host_rules.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "dataplane/net/flow_key.h"

namespace sluice::l7 {

namespace {

constexpr std::string_view wildcard = "*.";

auto key_of(const PathRule& rule) { return std::tuple(std::string_view(rule.path), rule.match); }

bool same_place(const Route& a, const Route& b) {
  return a.target == b.target && a.redirect == b.redirect && a.proxy_protocol == b.proxy_protocol;
}

}  // namespace

PathRules::PathRules(std::vector<PathRule> rules, Route otherwise)
    : rules_(std::move(rules)), otherwise_(std::move(otherwise)) {
  // ING-2: a prefix is made of elements, so the slash at its end means nothing but that it is longer.
  std::stable_sort(rules_.begin(), rules_.end(),
                   [](const PathRule& a, const PathRule& b) { return a.path.size() > b.path.size(); });
  for (PathRule& rule : rules_) {
    if (rule.match == PathMatch::Prefix && rule.path.ends_with('/')) rule.path.pop_back();
  }
  std::stable_sort(rules_.begin(), rules_.end(),
                   [](const PathRule& a, const PathRule& b) { return key_of(a) < key_of(b); });
  rules_.erase(std::unique(rules_.begin(), rules_.end(),
                           [](const PathRule& a, const PathRule& b) { return key_of(a) == key_of(b); }),
               rules_.end());
  for (const PathRule& rule : rules_) {
    if (rule.match != PathMatch::Prefix) continue;
    any_prefix_ = true;
    longest_prefix_ = std::max(longest_prefix_, rule.path.size());
  }
  one_target_ = std::all_of(rules_.begin(), rules_.end(),
                            [&](const PathRule& rule) { return same_place(rule.route, rules_.front().route); });
}

const Route* PathRules::find(std::string_view path, PathMatch match) const {
  const auto at = std::lower_bound(rules_.begin(), rules_.end(), std::tuple(path, match),
                                   [](const PathRule& rule, const auto& wanted) { return key_of(rule) < wanted; });
  return at != rules_.end() && key_of(*at) == std::tuple(path, match) ? &at->route : nullptr;
}

const Route* PathRules::find(std::string_view path) const {
  if (const Route* route = find(path, PathMatch::Exact)) return route;
  if (!any_prefix_) return nullptr;
  if (path.ends_with('/')) path.remove_suffix(1);
  if (path.size() > longest_prefix_) {
    // What is longer than any rule is cut at the last slash that can be the end of one.
    path = path.substr(0, path.rfind('/', longest_prefix_));
  }
  while (true) {
    if (const Route* route = find(path, PathMatch::Prefix)) return route;
    if (path.empty()) return nullptr;
    path = path.substr(0, path.rfind('/'));
  }
}

const Route* PathRules::only_place(const Route& common) const {
  const Route& rest = otherwise_.leads() ? otherwise_ : common;
  if (rules_.empty()) return &rest;
  if (!one_target_) return nullptr;
  const bool matches_all = std::any_of(rules_.begin(), rules_.end(), [](const PathRule& rule) {
    return rule.match == PathMatch::Prefix && rule.path.empty();
  });
  const Route& first = rules_.front().route;
  return matches_all || same_place(first, rest) ? &first : nullptr;
}

uint64_t HostRules::hash_of(std::string_view name) {
  // Fixed keys: who may choose hosts of rules writes the configuration.
  uint64_t hash = 0x2d358dccaa6c78a5 ^ name.size();
  for (size_t at = 0; at < name.size(); at += sizeof hash) {
    uint64_t word = 0;
    std::memcpy(&word, name.data() + at, std::min(sizeof word, name.size() - at));
    hash = net::multiply_fold(hash ^ word, 0x8bb84b93962eacc9);
  }
  return net::multiply_fold(hash, 0x4b33a62ed433d4a3);
}

HostRules HostRules::changed(std::vector<Host> hosts) const {
  HostRules next = *this;
  std::vector<Host> named;
  for (Host& host : hosts) {
    if (host.name.empty()) {
      next.all_ = std::move(host.paths);
    } else {
      if (host.name.starts_with(wildcard)) host.name.erase(0, 1);
      named.push_back(std::move(host));
    }
  }
  next.table_ = table_.changed(
      std::move(named), {}, [](std::vector<Host>& entries, std::vector<Host>& added, std::vector<Host>&) {
        for (Host& host : added) {
          const auto at =
              std::find_if(entries.begin(), entries.end(), [&](const Host& one) { return one.name == host.name; });
          if (at != entries.end()) entries.erase(at);
          if (host.paths != nullptr) entries.push_back(std::move(host));
        }
      });
  return next;
}

const PathRules* HostRules::probe(std::string_view name) const {
  const Host* found = table_.find(hash_of(name), [&](const Host& host) { return host.name == name; });
  return found == nullptr ? nullptr : found->paths.get();
}

const PathRules* HostRules::find_named(std::string_view host) const {
  // No host begins with a dot, and so are wildcards kept.
  if (host.empty() || host.front() == '.') return nullptr;
  if (const PathRules* exact = probe(host)) return exact;
  const size_t dot = host.find('.');
  return dot == std::string_view::npos ? nullptr : probe(host.substr(dot));
}

const Route* HostRules::only_place(const Route& common) const {
  const Route* place = all_ != nullptr ? all_->only_place(common) : &common;
  if (place == nullptr || !place->leads()) return nullptr;
  bool one = true;
  table_.each([&](const Host& host) {
    const Route* other = one ? host.paths->only_place(common) : nullptr;
    one = other != nullptr && same_place(*other, *place);
  });
  return one ? place : nullptr;
}

const PathRules* HostRules::find(std::string_view host) const {
  const PathRules* named = find_named(host);
  return named != nullptr ? named : all_.get();
}

}  // namespace sluice::l7
