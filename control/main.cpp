// sluiced: the only place that creates objects. Command line → environment → data plane → controller → API, and
// down again in reverse.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <malloc.h>
#include <optional>
#include <string>
#include <unistd.h>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>

#include "config/object_set.h"
#include "config/validate.h"
#include "control/api_server.h"
#include "control/arguments.h"
#include "control/controller.h"
#include "control/memif_socket.h"
#include "control/privileges.h"
#include "control/state_file.h"
#include "control/state_journal.h"
#include "control/supervisor.h"
#include "control/taken_links.h"
#include "dataplane/dataplane.h"
#include "dataplane/eal.h"

namespace sluice::control {
namespace {

namespace fs = std::filesystem;

constexpr int exit_bad_config = 1;
constexpr int exit_cannot_start = 3;
constexpr uint32_t adaptive_nap_microseconds = 50;
constexpr int heap_size = 64 << 20;  // of a thread, of which nothing is taken before it is used

void say(std::string_view text) {
  fmt::print(stderr, "sluiced: {}\n", text);
  std::fflush(stderr);
}

void say_findings(const std::vector<config::Fault>& faults) {
  for (const config::Fault& fault : faults) fmt::print(stderr, "{}\n", fault.text());
}

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

bool names_pci(const config::ObjectSet& objects) {
  const auto& interfaces = objects.config().gateway.interfaces;
  return std::any_of(interfaces.begin(), interfaces.end(), [](const config::Interface& interface) {
    return interface.device.find(':') != std::string::npos && !interface.device.starts_with("net_");
  });
}

// What the process will need as somebody else, while it still may give things away.
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

struct InitialConfig {
  std::optional<config::ObjectSet> objects;  // empty: the router waits for the first PUT
  std::string from;
  bool from_state = false;
  bool sound = true;  // no faults, which have been said
  bool pci = false;
  uint32_t connections = config::Conntrack{}.max;
  std::string conflict;  // an address that the API cannot be served at
};

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
    HelperThreads helpers(arguments.helper_cpus);
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

// With the ports of the first configuration open.
net::Status<> go_on_as(const std::optional<Identity>& user, const std::string& state_folder, ApiServer& server) {
  if (!user) return net::Done{};
  // With what was written to it since the start.
  if (auto given = give_folder(state_folder, *user); !given) return given;
  if (auto dropped = drop_privileges(*user); !dropped) {
    return net::Error{fmt::format("cannot go on as {}: {}", user->name, dropped.error().message)};
  }
  say(fmt::format("running as {}, with CAP_NET_ADMIN and CAP_NET_RAW for the ports to come", user->name));
  server.reload();  // says so if this user cannot read the credentials
  return net::Done{};
}

Awaitable<void> apply_initial(Controller& controller, InitialConfig initial, const std::optional<Identity>& user,
                              const std::string& state_folder, ApiServer& server, Supervisor& supervisor,
                              boost::asio::io_context& io, int& code) {
  ApplyOptions options;
  options.from_state = initial.from_state;
  const ApplyReply reply = co_await controller.begin_with(std::move(*initial.objects), options);
  for (const config::Warning& warning : reply.warnings) say("warning: " + warning.text());
  if (reply.code == ApplyReply::Code::Applied) {
    say(fmt::format("serving generation {} from {}", reply.generation, initial.from));
    const net::Status<> dropped = go_on_as(user, state_folder, server);
    if (dropped) {
      supervisor.ready();
      co_return;
    }
    say(dropped.error().message);
  } else {
    say_findings(reply.faults);
    say(fmt::format("the configuration in {} cannot be applied: {}", initial.from, reply.message));
  }
  code = exit_cannot_start;
  io.stop();
}

Progress progress_of(const Controller& controller) {
  const Status status = controller.status();
  Progress progress;
  for (const WorkerStatus& worker : status.workers) progress.worker_cycles.push_back(worker.total_cycles);
  progress.status = status.ready ? fmt::format("serving generation {} with {} worker(s), {} warning(s)",
                                               status.generation_applied, status.workers.size(), status.warnings.size())
                                 : "waiting for a configuration";
  return progress;
}

void reload_on_hangup(boost::asio::signal_set& hangups, ApiServer& server) {
  hangups.async_wait([&](const boost::system::error_code& error, int) {
    if (error) return;
    server.reload();
    reload_on_hangup(hangups, server);
  });
}

int serve(Arguments& arguments) {
  std::signal(SIGHUP, SIG_IGN);  // until there are credentials to read again
  choose_cpus(arguments);
  // A heap of another thread's own grows page by page, each with a system call. Without helpers one thread at a time
  // allocates much, so that they can do without; otherwise each heap is made as large as it can be at once.
  if (arguments.helper_cpus.size() < 2) {
    (void)mallopt(M_ARENA_MAX, 1);
  } else {
    (void)mallopt(M_TOP_PAD, heap_size);
  }
  if (auto complete = complete_api_options(arguments); !complete) {
    say(complete.error().message);
    return exit_cannot_start;
  }
  arguments.api.say = say;
  const auto who = ownership(arguments);
  if (!who) {
    say(who.error().message);
    return exit_cannot_start;
  }
  if (who->user) {
    if (auto given = give_away(arguments, *who->user); !given) {
      say(given.error().message);
      return exit_cannot_start;
    }
  }
  StateJournal journal(arguments.state_folder);
  auto initial = initial_config(arguments, journal);
  if (!initial) return exit_bad_config;
  if (!initial->conflict.empty()) {
    say(fmt::format("--api-listen: the API is never on a data port, but {}; give it an address of the machine's own",
                    initial->conflict));
    return exit_cannot_start;
  }

  dataplane::EalOptions eal_options;
  eal_options.control_cpu = arguments.control_cpu;
  eal_options.worker_cpus = arguments.worker_cpus;
  eal_options.memory_mib = arguments.memory_mib;
  eal_options.pci = arguments.pci || initial->pci;
  eal_options.hugepages = arguments.no_huge || arguments.hugepages == "never" ? dataplane::Hugepages::Never
                          : arguments.hugepages == "require"                  ? dataplane::Hugepages::Require
                                                                              : dataplane::Hugepages::Auto;
  auto eal = dataplane::Eal::init(eal_options);
  if (!eal) {
    say(eal.error().message);
    return exit_cannot_start;
  }
  dataplane::DataplaneOptions plane_options;
  plane_options.workers = arguments.workers;
  plane_options.mbufs = arguments.mbufs;
  plane_options.connections = initial->connections;
  plane_options.idle_sleep_microseconds = arguments.poll == "busy" ? 0 : adaptive_nap_microseconds;
  auto plane = dataplane::Dataplane::create(plane_options);
  if (!plane) {
    say(plane.error().message);
    return exit_cannot_start;
  }

  int code = 0;
  boost::asio::io_context io(1);
  ControllerOptions controller_options{.version = SLUICE_VERSION,
                                       .state_folder = arguments.state_folder,
                                       .worker_cpus = arguments.worker_cpus,
                                       .helper_cpus = arguments.helper_cpus,
                                       .helpers_yield = arguments.helpers_yield,
                                       .api_addresses = {},
                                       .bird = arguments.bird,
                                       .pod_sockets = arguments.pod_sockets};
  for (const TcpAddress& where : arguments.api.tcp) controller_options.api_addresses.push_back(where.address);
  auto controller = std::make_unique<Controller>(io, **plane, journal, controller_options);
  ApiServer server(io, *controller, arguments.api);
  if (auto started = server.start(); !started) {
    say(started.error().message);
    return exit_cannot_start;
  }
  if (who->socket && !arguments.api.socket_path.empty()) {
    if (auto given = give(arguments.api.socket_path, *who->socket); !given) {
      say(given.error().message);
      return exit_cannot_start;
    }
  }
  if (auto started = (*plane)->start(); !started) {
    say(started.error().message);
    return exit_cannot_start;
  }
  Supervisor supervisor(
      io, [&controller] { return progress_of(*controller); }, say);
  boost::asio::signal_set hangups(io, SIGHUP);
  reload_on_hangup(hangups, server);
  boost::asio::signal_set signals(io, SIGINT, SIGTERM);
  signals.async_wait([&](const boost::system::error_code& error, int signal) {
    if (error) return;
    say(fmt::format("stopping on {}", signal == SIGTERM ? "SIGTERM" : "SIGINT"));
    supervisor.stopping();
    boost::asio::co_spawn(io, controller->withdraw_bgp(),
                          [&](const std::exception_ptr&) { server.stop([&io] { io.stop(); }); });
  });
  say(fmt::format("{} {} worker(s) on CPU {}, control on CPU {}, {}", SLUICE_VERSION, arguments.workers,
                  fmt::join(arguments.worker_cpus, ","), arguments.control_cpu,
                  (*eal)->uses_hugepages() ? "hugepages" : "no hugepages"));
  if (!initial->objects) {
    if (auto dropped = go_on_as(who->user, arguments.state_folder, server); !dropped) {
      say(dropped.error().message);
      return exit_cannot_start;
    }
    controller->give_back_interfaces();
    say(fmt::format("no configuration yet: sluicectl --socket {} apply -f FILE", arguments.api.socket_path));
    supervisor.ready();
  } else {
    boost::asio::co_spawn(io,
                          apply_initial(*controller, std::move(*initial), who->user, arguments.state_folder, server,
                                        supervisor, io, code),
                          boost::asio::detached);
  }
  io.run();
  server.stop();
  // Workers first: nobody polls the ports that go down with the controller.
  (*plane)->stop();
  controller.reset();
  return code;
}

int run(int argc, char** argv) {
  Parsed parsed = parse_arguments(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  if (parsed.arguments.give_back) return give_back(parsed.arguments.state_folder);
  return parsed.arguments.check.empty() ? serve(parsed.arguments) : check(parsed.arguments.check);
}

}  // namespace
}  // namespace sluice::control

int main(int argc, char** argv) {
  try {
    return sluice::control::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluiced: %s\n", error.what());
    return 3;
  }
}
