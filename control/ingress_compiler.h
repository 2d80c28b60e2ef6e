// Config → listeners of the ingress: rules of all Ingress objects of this router, merged by host (ING-1 to ING-5), and
// the service ports that they lead to. Keeps what it made, by host: a change builds the hosts that its objects name,
// and the listeners that come of it share the rest with those before.
//
// What a rule leads to is known by a number as long as some rule does, whether or not there is such a service: it comes
// and goes, with its endpoints, in the service tables (ServiceCompiler), not here.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "config/model.h"
#include "config/object_set.h"
#include "dataplane/l7/http_listener.h"
#include "dataplane/l7/tls_listener.h"

namespace sluice::control {

class IngressCompiler {
 public:
  // Of one service: its ports, as rules name them.
  using Targets = std::map<config::BackendPort, l7::TargetId>;
  using Names = std::set<config::ObjectName>;

  void compile(const config::Config& config);
  // The same, if `change` is all that `config` differs in from the one compiled last.
  void update(const config::Config& config, const config::Change& change);
  // Services that have other targets since this was asked last.
  [[nodiscard]] Names take_changed_services() { return std::exchange(changed_services_, {}); }

  // nullptr: ingress is not enabled.
  [[nodiscard]] const std::shared_ptr<const l7::HttpListener>& http() const { return http_; }
  [[nodiscard]] const std::shared_ptr<const l7::TlsListener>& tls() const { return tls_; }
  [[nodiscard]] const config::IngressSettings& settings() const { return settings_; }
  // nullptr: no rule leads there.
  [[nodiscard]] const Targets* targets_of(const config::ObjectName& service) const;
  // "default/web www.example.com/api"; empty: there was never such a rule.
  [[nodiscard]] std::string rule_name(uint32_t rule) const;
  // "default/web:http"; empty: no rule leads there.
  [[nodiscard]] std::string target_name(l7::TargetId target) const;

 private:
  // Older objects first; those that do not say come last.
  struct Aged {
    bool unknown = false;
    std::string created;
    config::ObjectName name;
    friend auto operator<=>(const Aged&, const Aged&) = default;
  };
  using Target = std::pair<config::ObjectName, config::BackendPort>;
  struct Held {
    l7::TargetId id = l7::no_target;
    uint32_t rules = 0;  // hosts that hold it, as often as they do
  };
  // What a host's rules were made into.
  struct Built {
    std::shared_ptr<const l7::PathRules> http;
    std::shared_ptr<const l7::PathRules> tls;
    std::vector<Target> targets;
  };
  using Hosts = std::set<std::string>;

  // Takes an Ingress into the index, or out of it; hosts that it named or names are added to `hosts`.
  void index(const config::Config& config, const config::ObjectName& name, Hosts& hosts);
  void refresh(const config::Config& config, const Hosts& hosts);
  [[nodiscard]] Built build(const config::Config& config, const std::string& host);
  void add_rules(const config::Ingress& ingress, const std::string& host, std::vector<l7::PathRule>& rules,
                 Built& built);
  [[nodiscard]] std::shared_ptr<const l7::PathRules> passthrough(const config::Ingress& ingress,
                                                                 const std::string& host, Built& built);
  [[nodiscard]] std::shared_ptr<const l7::PathRules> default_passthrough(const config::Config& config, Built& built);
  [[nodiscard]] static const config::IngressBackend* tls_backend(const config::Ingress& ingress,
                                                                 const std::string& host);
  [[nodiscard]] l7::Route rest_of(const config::Ingress& ingress, const std::string& host, Built& built);
  void refresh_default(const config::Config& config);
  void release(const std::vector<Target>& targets);
  [[nodiscard]] l7::Route route_to(const config::Ingress& ingress, const config::IngressBackend& backend,
                                   const std::string& rule, std::vector<Target>& held);
  [[nodiscard]] l7::TargetId hold(const Target& target, std::vector<Target>& held);
  [[nodiscard]] l7::TargetId new_target();
  [[nodiscard]] uint32_t rule_number(const std::string& name);
  [[nodiscard]] bool redirects(const config::Ingress& ingress) const;

  config::IngressSettings settings_;
  std::map<config::ObjectName, std::pair<Aged, Hosts>> indexed_;  // of this router's class
  std::map<std::string, std::set<Aged>> by_host_;
  std::set<std::pair<bool, Aged>> defaults_;  // with a default backend; false, which is first: it has nothing else
  std::map<std::string, Built> built_;
  l7::Route default_;
  std::vector<Target> default_targets_;
  std::map<config::ObjectName, std::map<config::BackendPort, Held>> held_;
  std::map<config::ObjectName, Targets> targets_;
  std::map<l7::TargetId, Target> names_;
  l7::TargetId next_target_ = 0;
  std::map<std::string, uint32_t> rule_numbers_;
  std::vector<std::string> rule_names_;
  l7::HostRules http_rules_;
  l7::HostRules tls_rules_;
  std::shared_ptr<const l7::HttpListener> http_;
  std::shared_ptr<const l7::TlsListener> tls_;
  Names changed_services_;
};

}  // namespace sluice::control
