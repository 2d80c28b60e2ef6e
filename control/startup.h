// What sluiced does before there is a data plane: it says what is wrong, checks documents, gives away what it may not
// touch later, and finds what it begins with.
#pragma once

#include <cstdint>
#include <future>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/finding.h"
#include "config/object_set.h"
#include "control/arguments.h"
#include "control/privileges.h"
#include "control/state_journal.h"
#include "dataplane/net/result.h"

namespace sluice::control {

constexpr int exit_bad_config = 1;
constexpr int exit_cannot_start = 3;

// On stderr.
void say(std::string_view text);
void say_findings(const std::vector<config::Fault>& faults);

// sluiced --check, sluiced --give-back-interfaces: the exit code.
[[nodiscard]] int check(const std::string& path);
[[nodiscard]] int give_back(const std::string& state_folder);

// What the process will need as somebody else, while it still may give things away.
[[nodiscard]] net::Status<> give_away(const Arguments& arguments, const Identity& user);

struct InitialConfig {
  std::optional<config::ObjectSet> objects;  // empty: the router waits for the first PUT
  std::string from;
  bool from_state = false;
  bool sound = true;  // no faults, which have been said
  bool pci = false;
  uint32_t connections = config::Conntrack{}.max;
  std::string conflict;  // an address that the API cannot be served at
};

// Empty: there is one, and it cannot be used, which has been said.
[[nodiscard]] std::optional<InitialConfig> initial_config(const Arguments& arguments, StateJournal& journal);

// The same in a thread of its own, on the helpers' CPUs; `journal` is that thread's meanwhile.
[[nodiscard]] std::future<std::optional<InitialConfig>> begin_initial_config(const Arguments& arguments,
                                                                             StateJournal& journal);

}  // namespace sluice::control
