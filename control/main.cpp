// sluiced: the only place that creates objects. Command line → environment → data plane → controller → API, and
// down again in reverse.
#include <csignal>
#include <cstdio>
#include <future>
#include <malloc.h>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>

#include "control/api_server.h"
#include "control/arguments.h"
#include "control/controller.h"
#include "control/cpu_choice.h"
#include "control/pci_names.h"
#include "control/privileges.h"
#include "control/startup.h"
#include "control/state_journal.h"
#include "control/supervisor.h"
#include "dataplane/dataplane.h"
#include "dataplane/eal.h"

namespace sluice::control {
namespace {

constexpr uint32_t adaptive_nap_microseconds = 100;
constexpr int heap_size = 64 << 20;  // of a thread, of which nothing is taken before it is used

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

// A heap of another thread's own grows page by page, each with a system call. Without helpers one thread at a time
// allocates much, so that one heap does for all. Otherwise each is made as large as it can be at once (M_TOP_PAD). That
// has mallopt(3) leave M_MMAP_THRESHOLD at 128 KiB for ever, which is wanted: larger blocks, such as documents and
// tables, are mapped by themselves and go back to the system when they are freed, whatever lies behind them in a heap.
void set_up_heaps(bool helpers) {
  if (helpers) {
    (void)mallopt(M_TOP_PAD, heap_size);
  } else {
    (void)mallopt(M_ARENA_MAX, 1);
  }
}

dataplane::EalOptions eal_options_of(const Arguments& arguments, bool pci) {
  dataplane::EalOptions options;
  options.control_cpu = arguments.cpus.control;
  options.worker_cpus = arguments.cpus.workers;
  options.memory_mib = arguments.memory_mib;
  options.pci = arguments.pci || pci;
  options.hugepages = arguments.no_huge || arguments.hugepages == "never" ? dataplane::Hugepages::Never
                      : arguments.hugepages == "require"                  ? dataplane::Hugepages::Require
                                                                          : dataplane::Hugepages::Auto;
  return options;
}

dataplane::DataplaneOptions plane_options_of(const Arguments& arguments) {
  dataplane::DataplaneOptions options;
  options.workers = arguments.workers;
  options.mbufs = arguments.mbufs;
  options.idle_sleep_microseconds = arguments.poll == "busy" ? 0 : adaptive_nap_microseconds;
  return options;
}

ControllerOptions controller_options_of(const Arguments& arguments) {
  ControllerOptions options;
  options.version = SLUICE_VERSION;
  options.state_folder = arguments.state_folder;
  options.worker_cpus = arguments.cpus.workers;
  options.helper_cpus = arguments.cpus.helpers;
  options.helpers_yield = arguments.cpus.helpers_yield;
  for (const TcpAddress& where : arguments.api.tcp) options.api_addresses.push_back(where.address);
  options.bird = arguments.bird;
  options.pod_sockets = arguments.pod_sockets;
  return options;
}

int serve(Arguments& arguments) {
  std::signal(SIGHUP, SIG_IGN);  // until there are credentials to read again
  arguments.cpus = choose_cpus(std::move(arguments.cpus), arguments.workers, arguments.poll != "busy", allowed_cpus());
  set_up_heaps(arguments.cpus.helpers.size() > 1);
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
  // DPDK takes its time to start, partly asleep: what is kept is read meanwhile.
  std::future<std::optional<InitialConfig>> reading;
  std::optional<InitialConfig> initial;
  if (arguments.config.empty()) {
    reading = begin_initial_config(arguments, journal);
  } else {
    initial = initial_config(arguments, journal);
    if (!initial) return exit_bad_config;
  }
  const bool pci = initial ? initial->pci : may_name_pci(arguments.state_folder);
  auto eal = dataplane::Eal::init(eal_options_of(arguments, pci));
  auto plane = eal ? dataplane::Dataplane::prepare(plane_options_of(arguments)) : eal.error();
  if (reading.valid()) initial = reading.get();
  if (!initial) return exit_bad_config;
  if (!initial->conflict.empty()) {
    say(fmt::format("--api-listen: the API is never on a data port, but {}; give it an address of the machine's own",
                    initial->conflict));
    return exit_cannot_start;
  }
  if (!plane) {
    say(plane.error().message);
    return exit_cannot_start;
  }
  if (auto completed = (*plane)->complete(initial->connections); !completed) {
    say(completed.error().message);
    return exit_cannot_start;
  }

  int code = 0;
  boost::asio::io_context io(1);
  auto controller = std::make_unique<Controller>(io, **plane, journal, controller_options_of(arguments));
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
                  fmt::join(arguments.cpus.workers, ","), arguments.cpus.control,
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
