#include "control/ingress_compiler.h"

#include <algorithm>
#include <array>
#include <span>

#include <fmt/format.h>

#include "dataplane/l7/request_path.h"

namespace sluice::control {
namespace {

using config::Config;
using config::Ingress;
using config::ObjectName;
using l7::PathMatch;
using l7::PathRule;
using l7::PathRules;
using l7::Route;

constexpr l7::TargetId most_targets = 1U << 24;  // target_address()

}  // namespace

void IngressCompiler::compile(const Config& config) {
  settings_ = config.gateway.ingress;
  Hosts hosts;
  for (const auto& [host, built] : built_) hosts.insert(host);
  std::set<ObjectName> names;
  for (const auto& [name, entry] : indexed_) names.insert(name);
  for (const auto& [name, ingress] : config.ingresses) names.insert(name);
  for (const ObjectName& name : names) index(config, name, hosts);
  refresh(config, hosts);
}

void IngressCompiler::update(const Config& config, const config::Change& change) {
  if (!(settings_ == config.gateway.ingress) || change.touches("IngressClass")) return compile(config);
  Hosts hosts;
  bool any = false;
  for (const config::Change::Touched& touched : change.touched) {
    if (touched.key.kind != "Ingress") continue;
    index(config, {touched.key.ns, touched.key.name}, hosts);
    any = true;
  }
  if (any) refresh(config, hosts);
}

void IngressCompiler::index(const Config& config, const ObjectName& name, Hosts& hosts) {
  if (const auto known = indexed_.find(name); known != indexed_.end()) {
    const auto& [aged, named] = known->second;
    for (const std::string& host : named) {
      hosts.insert(host);
      const auto entry = by_host_.find(host);
      entry->second.erase(aged);
      if (entry->second.empty()) by_host_.erase(entry);
    }
    for (const bool with_rules : {false, true}) {
      if (defaults_.erase({with_rules, aged}) != 0) hosts.insert(std::string());
    }
    indexed_.erase(known);
  }
  const auto found = config.ingresses.find(name);
  if (!settings_.enabled || found == config.ingresses.end() || !config::is_ours(config, found->second)) return;
  const Ingress& ingress = found->second;
  const Aged aged{ingress.created.empty(), ingress.created, name};
  Hosts named;
  for (const config::IngressRule& rule : ingress.rules) named.insert(rule.host);
  for (const std::string& host : named) by_host_[host].insert(aged);
  hosts.insert(named.begin(), named.end());
  if (ingress.default_backend) {
    defaults_.insert({!ingress.rules.empty(), aged});
    hosts.insert(std::string());  // of TLS connections: it is for those that have no host
  }
  indexed_.emplace(name, std::pair(aged, std::move(named)));
}

void IngressCompiler::refresh(const Config& config, const Hosts& hosts) {
  std::vector<l7::HostRules::Host> http;
  std::vector<l7::HostRules::Host> tls;
  const auto differ = [](const std::shared_ptr<const PathRules>& a, const std::shared_ptr<const PathRules>& b) {
    return a == nullptr || b == nullptr ? a != b : !(*a == *b);
  };
  for (const std::string& host : hosts) {
    Built now = build(config, host);
    Built& before = built_[host];
    if (differ(before.http, now.http)) http.push_back({host, now.http});
    if (differ(before.tls, now.tls)) tls.push_back({host, now.tls});
    release(before.targets);
    before = std::move(now);
    if (before.http == nullptr && before.tls == nullptr) built_.erase(host);
  }
  refresh_default(config);
  if (!settings_.enabled) {
    http_rules_ = {};
    tls_rules_ = {};
    http_ = nullptr;
    tls_ = nullptr;
    return;
  }
  const l7::HttpSettings settings{.otherwise = default_,
                                  .https_port = settings_.https.empty() ? uint16_t{443} : settings_.https.front(),
                                  .head_seconds = static_cast<uint32_t>(settings_.header_timeout.count()),
                                  .preserve_client = settings_.preserve_client_address,
                                  .tcp = {.mss = settings_.tcp.mss == 0 ? uint16_t{0xffff} : settings_.tcp.mss,
                                          .timestamps = settings_.tcp.timestamps,
                                          .sack = settings_.tcp.sack}};
  const l7::TlsSettings tls_settings{settings.head_seconds, settings.preserve_client, settings.tcp};
  if (http_ == nullptr || !http.empty() || !(http_->settings() == settings)) {
    http_rules_ = http_rules_.changed(std::move(http));
    http_ = std::make_shared<const l7::HttpListener>(http_rules_, settings);
  }
  if (tls_ == nullptr || !tls.empty() || !(tls_->settings() == tls_settings)) {
    tls_rules_ = tls_rules_.changed(std::move(tls));
    tls_ = std::make_shared<const l7::TlsListener>(tls_rules_, tls_settings);
  }
}

IngressCompiler::Built IngressCompiler::build(const Config& config, const std::string& host) {
  Built built;
  const auto found = by_host_.find(host);
  if (found == by_host_.end()) {
    if (host.empty()) built.tls = default_passthrough(config, built);
    return built;
  }
  std::vector<PathRule> rules;
  Route otherwise;
  for (const Aged& aged : found->second) {
    const Ingress& ingress = config.ingresses.at(aged.name);
    add_rules(ingress, host, rules, built);
    // ING-5: the default backend of an Ingress is first of all one for its own hosts.
    if (!otherwise.leads()) otherwise = rest_of(ingress, host, built);
    if (ingress.tls_passthrough && built.tls == nullptr) built.tls = passthrough(ingress, host, built);
  }
  if (host.empty() && built.tls == nullptr) built.tls = default_passthrough(config, built);
  built.http = std::make_shared<const PathRules>(std::move(rules), otherwise);
  return built;
}

void IngressCompiler::add_rules(const Ingress& ingress, const std::string& host, std::vector<PathRule>& rules,
                                Built& built) {
  std::string buffer;
  for (const config::IngressRule& rule : ingress.rules) {
    if (rule.host != host) continue;
    for (const config::IngressPath& path : rule.paths) {
      buffer.resize(path.path.size());
      const auto normal = l7::normalised_path(path.path, buffer);
      if (!normal || path.path.find_first_of("?#") != std::string::npos) continue;  // config warns of them
      const bool exact = path.type == config::PathType::Exact;
      const std::string name =
          fmt::format("{} {}{}{}", ingress.text(), host.empty() ? "*" : host, path.path, exact ? " (Exact)" : "");
      Route route;
      if (redirects(ingress)) {
        route = {.rule = rule_number(name), .redirect = true};
      } else {
        route = route_to(ingress, path.backend, name, built.targets);
      }
      rules.push_back({std::string(*normal), exact ? PathMatch::Exact : PathMatch::Prefix, route});
    }
  }
}

// Where an Ingress leads what none of its paths matches.
Route IngressCompiler::rest_of(const Ingress& ingress, const std::string& host, Built& built) {
  const bool all_by_tls = ingress.tls_passthrough && tls_backend(ingress, host) != nullptr;
  if (redirects(ingress) && (ingress.default_backend || all_by_tls)) {
    return {.rule = rule_number(fmt::format("{} {}", ingress.text(), host.empty() ? "*" : host)), .redirect = true};
  }
  if (!ingress.default_backend) return {};
  return route_to(ingress, *ingress.default_backend, ingress.text() + " defaultBackend", built.targets);
}

// Of a connection that nobody looks into only the host is known: it goes where the path "/" does, or the first one.
// nullptr: there is neither that nor a default backend.
const config::IngressBackend* IngressCompiler::tls_backend(const Ingress& ingress, const std::string& host) {
  const config::IngressBackend* backend = ingress.default_backend ? &*ingress.default_backend : nullptr;
  bool root = false;
  bool any = false;
  for (const config::IngressRule& rule : ingress.rules) {
    if (rule.host != host) continue;
    for (const config::IngressPath& path : rule.paths) {
      const bool is_root = path.path == "/" && path.type != config::PathType::Exact;
      if (!any || (is_root && !root)) backend = &path.backend;
      any = true;
      root = root || is_root;
    }
  }
  return backend;
}

std::shared_ptr<const PathRules> IngressCompiler::passthrough(const Ingress& ingress, const std::string& host,
                                                              Built& built) {
  const config::IngressBackend* backend = tls_backend(ingress, host);
  if (backend == nullptr) return nullptr;
  const std::string name = fmt::format("{} {} (TLS)", ingress.text(), host.empty() ? "*" : host);
  std::vector<PathRule> rules{{"/", PathMatch::Prefix, route_to(ingress, *backend, name, built.targets)}};
  return std::make_shared<const PathRules>(std::move(rules));
}

// What no Ingress has a host for: the default backend of the first that passes TLS on, in the order of HTTP's.
std::shared_ptr<const PathRules> IngressCompiler::default_passthrough(const Config& config, Built& built) {
  for (const auto& [with_rules, aged] : defaults_) {
    const Ingress& ingress = config.ingresses.at(aged.name);
    if (ingress.tls_passthrough) return passthrough(ingress, std::string(), built);
  }
  return nullptr;
}

bool IngressCompiler::redirects(const Ingress& ingress) const {
  return ingress.ssl_redirect.value_or(settings_.ssl_redirect && ingress.tls_passthrough && !settings_.https.empty());
}

void IngressCompiler::refresh_default(const Config& config) {
  std::vector<Target> held;
  Route route;
  if (settings_.enabled && !defaults_.empty()) {
    const Ingress& ingress = config.ingresses.at(defaults_.begin()->second.name);
    const std::string name = ingress.text() + " defaultBackend";
    if (redirects(ingress)) {
      route = {.rule = rule_number(name), .redirect = true};
    } else {
      route = route_to(ingress, *ingress.default_backend, name, held);
    }
  } else if (settings_.enabled && settings_.default_backend) {
    const config::DefaultBackend& backend = *settings_.default_backend;
    route.target = hold({{backend.ns, backend.service}, backend.port}, held);
    route.rule = rule_number("spec.ingress.defaultBackend");
  }
  release(default_targets_);
  default_targets_ = std::move(held);
  default_ = route;
}

Route IngressCompiler::route_to(const Ingress& ingress, const config::IngressBackend& backend, const std::string& rule,
                                std::vector<Target>& held) {
  return {.target = hold({{ingress.ns, backend.service}, backend.port}, held),
          .rule = rule_number(rule),
          .proxy_protocol = ingress.proxy_protocol};
}

l7::TargetId IngressCompiler::hold(const Target& target, std::vector<Target>& held) {
  Held& entry = held_[target.first][target.second];
  if (entry.rules++ == 0) {
    entry.id = new_target();
    if (entry.id != l7::no_target) {
      targets_[target.first].emplace(target.second, entry.id);
      names_.emplace(entry.id, target);
    }
    changed_services_.insert(target.first);
  }
  held.push_back(target);
  return entry.id;
}

void IngressCompiler::release(const std::vector<Target>& targets) {
  for (const Target& target : targets) {
    const auto service = held_.find(target.first);
    const auto port = service->second.find(target.second);
    if (--port->second.rules != 0) continue;
    names_.erase(port->second.id);
    service->second.erase(port);
    if (service->second.empty()) held_.erase(service);
    const auto known = targets_.find(target.first);
    known->second.erase(target.second);
    if (known->second.empty()) targets_.erase(known);
    changed_services_.insert(target.first);
  }
}

// Numbers come again only when all others have been used: workers may still know an older listener.
l7::TargetId IngressCompiler::new_target() {
  for (l7::TargetId tried = 0; tried < most_targets; ++tried) {
    const l7::TargetId id = next_target_;
    next_target_ = (next_target_ + 1) % most_targets;
    if (!names_.contains(id)) return id;
  }
  return l7::no_target;
}

uint32_t IngressCompiler::rule_number(const std::string& name) {
  const auto [at, fresh] = rule_numbers_.try_emplace(name, static_cast<uint32_t>(rule_names_.size()));
  if (fresh) rule_names_.push_back(name);
  return at->second;
}

const IngressCompiler::Targets* IngressCompiler::targets_of(const ObjectName& service) const {
  const auto found = targets_.find(service);
  return found == targets_.end() ? nullptr : &found->second;
}

std::string IngressCompiler::rule_name(uint32_t rule) const {
  return rule < rule_names_.size() ? rule_names_[rule] : std::string();
}

std::string IngressCompiler::target_name(l7::TargetId target) const {
  const auto found = names_.find(target);
  return found == names_.end() ? std::string()
                               : fmt::format("{}:{}", found->second.first.text(), found->second.second.text());
}

}  // namespace sluice::control
