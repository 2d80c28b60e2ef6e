// ContentPolicies → rules that workers run. What a policy looks for is compiled once, in the background, before the
// change that brings it is deployed; a policy that only selects something else keeps its rules, and connections go on
// with the rules that they began with.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/finding.h"
#include "config/model.h"
#include "control/pattern_compiler.h"
#include "control/pattern_places.h"
#include "dataplane/l7/content_rules.h"

namespace sluice::control {

class ContentLibrary {
 public:
  using Rules = std::shared_ptr<const l7::ContentRules>;

  // `state_folder` as in PatternCompiler, which gets a folder in it.
  ContentLibrary(const std::string& state_folder, uint16_t workers);

  // nullptr: the policy looks for nothing, or its rules were not made.
  [[nodiscard]] Rules rules_of(const config::ContentPolicy& policy) const;
  // Rules of the policies of `config` that select such labels, in the order of their names.
  [[nodiscard]] std::vector<Rules> of_service(const config::Config& config, const config::Service& service) const;
  [[nodiscard]] std::vector<Rules> of_pod(const config::Config& config, const config::WorkloadEndpoint& pod) const;

  // What a rule was made of; nullptr: these rules are not known any more. By name: "namespace/policy: pattern", which
  // may be cut.
  [[nodiscard]] const config::ContentPattern* pattern_of(const l7::ContentRules& rules, uint32_t rule) const;
  [[nodiscard]] const config::ContentPattern* pattern_of(std::string_view name) const;
  // Control thread: as PatternPlaces::find, in bytes of which the first is the one of number `at` of its direction.
  // Nothing if the pattern's place matters and that is not the first.
  [[nodiscard]] std::vector<PatternPlace> places(const config::ContentPattern& pattern, std::span<const uint8_t> bytes,
                                                 uint64_t at, std::optional<uint64_t> end) const;
  // What places() has missed, to be compiled by PatternPlaces::compile and kept here before it is asked again.
  [[nodiscard]] std::vector<config::ContentExpression> take_missing_places() const { return places_.take_missing(); }
  void keep_places(std::vector<PatternPlaces::Compiled>&& made) const { places_.keep(std::move(made)); }

  // Policies of `config` whose rules are still to be made.
  [[nodiscard]] std::vector<config::ContentPolicy> missing(const config::Config& config) const;
  struct Entry {
    config::ContentPolicy key;  // the policy without its selectors
    Rules rules;
  };
  struct Made {
    std::vector<Entry> entries;
    std::vector<config::Fault> faults;  // places within the objects
  };
  // Takes its time, changes nothing here: for a thread in the background.
  [[nodiscard]] Made make(const std::vector<config::ContentPolicy>& policies) const;
  void take(Made&& made);
  // Frees the rules that no policy of `config` has, no snapshot and no connection.
  void collect(const config::Config& config);

 private:
  [[nodiscard]] const Entry* find(const config::ContentPolicy& policy) const;
  template <class Selected>
  [[nodiscard]] std::vector<Rules> selected(const config::Config& config, const std::string& ns,
                                            const Selected& selected) const;

  PatternCompiler compiler_;
  uint16_t workers_;
  std::vector<Entry> entries_;
  mutable PatternPlaces places_;  // a cache
};

}  // namespace sluice::control
