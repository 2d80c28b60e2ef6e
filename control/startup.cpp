#include "control/startup.h"

#include <cstdio>
#include <filesystem>
#include <functional>
#include <sched.h>
#include <utility>

#include <fmt/format.h>

#include "config/validate.h"
#include "control/api_listener.h"
#include "control/helper_threads.h"
#include "control/memif_socket.h"
#include "control/pci_names.h"
#include "control/state_file.h"
#include "control/taken_links.h"

namespace sluice::control {
namespace {

namespace fs = std::filesystem;

// The faults of a document on stderr; empty if it can be used.
std::optional<config::ObjectSet> checked(const std::string& text, const std::string& from) {
  auto document = config::parse_document(text, {.format = config::format_of(from)});
  if (!document) {
    if (document.error().syntax) fmt::print(stderr, "{}: {}\n", from, document.error().syntax->text());
    say_findings(document.error().faults);
    return std::nullopt;
  }
  auto objects = config::ObjectSet::from_document(std::move(*document), config::validate);
  if (!objects) {
    say_findings(objects.error().faults);
    return std::nullopt;
  }
  return std::move(*objects);
}

}  // namespace

void say(std::string_view text) {
  fmt::print(stderr, "sluiced: {}\n", text);
  std::fflush(stderr);
}

void say_findings(const std::vector<config::Fault>& faults) {
  for (const config::Fault& fault : faults) fmt::print(stderr, "{}\n", fault.text());
}

int check(const std::string& path) {
  const auto text = read_file(path);
  if (!text) {
    say(text.error().message);
    return exit_bad_config;
  }
  const auto objects = checked(*text, path);
  if (!objects) return exit_bad_config;
  for (const config::Warning& warning : objects->warnings()) fmt::print("warning: {}\n", warning.text());
  fmt::print("{}: {} objects, no faults\n", path, objects->size());
  return 0;
}

int give_back(const std::string& state_folder) {
  TakenLinks taken(state_folder);
  const auto loaded = taken.load();
  if (!loaded) {
    say(loaded.error().message);
    return exit_cannot_start;
  }
  if (!*loaded) {
    say(fmt::format("the router of {} is running; it gives its interfaces back itself when it ends", state_folder));
    return exit_cannot_start;
  }
  const TakenLinks::GivenBack given = taken.give_back();
  for (const std::string& name : given.names) fmt::print("{} is the kernel's again\n", name);
  for (const std::string& problem : given.problems) say(problem);
  return given.problems.empty() ? 0 : exit_cannot_start;
}

net::Status<> give_away(const Arguments& arguments, const Identity& user) {
  if (auto given = give_folder(arguments.state_folder, user); !given) return given;
  // Where even its parent is missing nobody wants it; a pod that does is told.
  if (const fs::path pods = arguments.pod_sockets; pods.has_parent_path() && fs::is_directory(pods.parent_path())) {
    if (auto made = make_pod_folder(pods, &user); !made) return made;
  }
  const size_t slash = arguments.api.socket_path.rfind('/');
  return slash == std::string::npos ? net::Status<>(net::Done{})
                                    : make_folder(arguments.api.socket_path.substr(0, slash), user);
}

std::optional<InitialConfig> initial_config(const Arguments& arguments, StateJournal& journal) {
  InitialConfig initial;
  if (!arguments.config.empty()) {
    auto text = read_file(arguments.config);
    if (!text) {
      say(text.error().message);
      return std::nullopt;
    }
    initial.objects = checked(*text, arguments.config);
    initial.from = arguments.config;
    initial.sound = initial.objects.has_value();
  } else {
    HelperThreads helpers(arguments.cpus.helpers);
    StateJournal::Kept kept = journal.load(std::ref(helpers));
    if (!kept.refused.empty()) {
      say(kept.refused);
      return std::nullopt;
    }
    for (const std::string& message : kept.messages) say(message);
    if (!kept.objects && !kept.messages.empty()) say("starting without a configuration");
    initial.objects = std::move(kept.objects);
    initial.from = journal.path();
    initial.from_state = true;
    if (initial.objects) {
      const std::vector<config::Fault> faults = config::validate(*initial.objects);
      say_findings(faults);
      initial.sound = faults.empty();
    }
  }
  if (!initial.sound) {
    say(fmt::format("the configuration in {} has faults; mend them (sluiced --check FILE) and start again",
                    initial.from));
    return std::nullopt;
  }
  if (!initial.objects) return initial;
  const config::Gateway& gateway = initial.objects->config().gateway;
  initial.pci = names_pci(*initial.objects);
  initial.connections = gateway.conntrack.max;
  for (const TcpAddress& where : arguments.api.tcp) {
    if (initial.conflict.empty()) initial.conflict = data_port_conflict(where.address, gateway);
  }
  return initial;
}

std::future<std::optional<InitialConfig>> begin_initial_config(const Arguments& arguments, StateJournal& journal) {
  return std::async(std::launch::async, [&arguments, &journal] {
    cpu_set_t own;
    CPU_ZERO(&own);
    for (const int cpu : arguments.cpus.helpers) CPU_SET(static_cast<size_t>(cpu), &own);
    (void)sched_setaffinity(0, sizeof own, &own);  // an empty one changes nothing
    return initial_config(arguments, journal);
  });
}

}  // namespace sluice::control
