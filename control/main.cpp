// sluiced: the only place that creates objects. Command line → environment → data plane → controller → API, and
// down again in reverse.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <optional>
#include <sched.h>
#include <string>
#include <unistd.h>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>

#include "config/object_set.h"
#include "config/validate.h"
#include "control/api_server.h"
#include "control/controller.h"
#include "control/privileges.h"
#include "control/state_file.h"
#include "control/state_journal.h"
#include "dataplane/dataplane.h"
#include "dataplane/eal.h"

namespace sluice::control {
namespace {

constexpr int exit_bad_config = 1;
constexpr int exit_cannot_start = 3;
constexpr uint32_t adaptive_nap_microseconds = 50;

struct Arguments {
  std::string config;
  std::string check;
  std::string state_folder = "/var/lib/sluice";
  ApiServerOptions api;
  std::string user;
  std::string socket_group;
  std::string socket_mode = "0660";
  std::string tcp;
  std::string token_file;
  uint16_t workers = 1;
  std::vector<int> worker_cpus;
  int control_cpu = -1;
  uint32_t memory_mib = 512;
  uint32_t mbufs = 16384;
  std::string hugepages = "auto";
  bool no_huge = false;
  bool pci = false;
  std::string poll = "adaptive";
};

void say(std::string_view text) {
  fmt::print(stderr, "sluiced: {}\n", text);
  std::fflush(stderr);
}

void say_findings(const std::vector<config::Fault>& faults) {
  for (const config::Fault& fault : faults) fmt::print(stderr, "{}\n", fault.text());
}

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// The control thread on the first CPU, workers on the following ones; on a machine with too few they share.
void choose_cpus(Arguments& arguments) {
  const std::vector<int> cpus = allowed_cpus();
  if (arguments.control_cpu < 0) arguments.control_cpu = cpus.front();
  for (size_t i = arguments.worker_cpus.size(); i < arguments.workers; ++i) {
    arguments.worker_cpus.push_back(cpus[(i + 1) % cpus.size()]);
  }
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

bool names_pci(const config::ObjectSet& objects) {
  const auto& interfaces = objects.config().gateway.interfaces;
  return std::any_of(interfaces.begin(), interfaces.end(), [](const config::Interface& interface) {
    return interface.device.find(':') != std::string::npos && !interface.device.starts_with("net_");
  });
}

net::Status<> set_tcp(Arguments& arguments) {
  if (arguments.tcp.empty()) return net::Done{};
  const size_t colon = arguments.tcp.rfind(':');
  const std::string host = colon == std::string::npos ? arguments.tcp : arguments.tcp.substr(0, colon);
  const auto address = net::parse_ip(host.starts_with('[') ? host.substr(1, host.size() - 2) : host);
  unsigned port = 0;
  if (colon != std::string::npos)
    port = static_cast<unsigned>(std::strtoul(arguments.tcp.c_str() + colon + 1, nullptr, 10));
  if (!address || port == 0 || port > 65535) {
    return net::Error{fmt::format("--tcp wants ADDRESS:PORT, like 127.0.0.1:9080, not \"{}\"", arguments.tcp)};
  }
  if (arguments.token_file.empty()) return net::Error{"--tcp needs --token-file: the API is not open to everyone"};
  auto token = read_token(arguments.token_file);
  if (!token) return token.error();
  arguments.api.tcp = {*address, static_cast<uint16_t>(port), *token};
  return net::Done{};
}

net::Status<> set_socket_mode(Arguments& arguments) {
  const std::string& text = arguments.socket_mode;
  if (text.empty() || text.size() > 4 || text.find_first_not_of("01234567") != std::string::npos) {
    return net::Error{fmt::format("--socket-mode wants an octal mode like 0660, not \"{}\"", text)};
  }
  arguments.api.socket_mode = static_cast<mode_t>(std::stoul(text, nullptr, 8));
  if ((arguments.api.socket_mode & 07006) == 0) return net::Done{};
  return net::Error{"--socket-mode: the API is not open to everyone; a group may be let in, like 0660"};
}

// Who the process goes on as, and who may use its socket. Nothing set: as it is.
struct Ownership {
  std::optional<Identity> user;
  std::optional<Identity> socket;
};

net::Result<Ownership> ownership(const Arguments& arguments) {
  Ownership who;
  const Identity own{"this user", geteuid(), getegid()};
  if (!arguments.user.empty()) {
    auto user = find_identity(arguments.user);
    if (!user) return net::Error{"--user: " + user.error().message};
    if (auto possible = can_become(*user); !possible) return net::Error{"--user: " + possible.error().message};
    who.user = who.socket = *user;
  }
  if (!arguments.socket_group.empty()) {
    auto group = find_identity(std::to_string(who.user.value_or(own).uid) + ":" + arguments.socket_group);
    if (!group) return net::Error{"--socket-group: " + group.error().message};
    who.socket = *group;
  }
  return who;
}

// What the process will need as somebody else, while it still may give things away.
net::Status<> give_away(const Arguments& arguments, const Identity& user) {
  if (auto given = give_folder(arguments.state_folder, user); !given) return given;
  const size_t slash = arguments.api.socket_path.rfind('/');
  return slash == std::string::npos ? net::Status<>(net::Done{})
                                    : make_folder(arguments.api.socket_path.substr(0, slash), user);
}

struct InitialConfig {
  std::string text;  // empty: the router waits for the first PUT
  std::string from;
  bool from_state = false;
  bool pci = false;
  uint32_t connections = config::Conntrack{}.max;
};

std::optional<InitialConfig> initial_config(const Arguments& arguments, StateJournal& journal) {
  InitialConfig initial;
  if (!arguments.config.empty()) {
    auto text = read_file(arguments.config);
    if (!text) {
      say(text.error().message);
      return std::nullopt;
    }
    initial.text = std::move(*text);
    initial.from = arguments.config;
  } else {
    StateJournal::Kept kept = journal.load();
    for (const std::string& message : kept.messages) say(message);
    if (kept.document.empty() && !kept.messages.empty()) say("starting without a configuration");
    initial.text = std::move(kept.document);
    initial.from = journal.path();
    initial.from_state = true;
  }
  if (initial.text.empty()) return initial;
  const auto objects = checked(initial.text, initial.from);
  if (!objects) {
    say(fmt::format("the configuration in {} has faults; mend them (sluiced --check FILE) and start again",
                    initial.from));
    return std::nullopt;
  }
  initial.pci = names_pci(*objects);
  initial.connections = objects->config().gateway.conntrack.max;
  return initial;
}

// With the ports of the first configuration open.
net::Status<> go_on_as(const std::optional<Identity>& user, const std::string& state_folder) {
  if (!user) return net::Done{};
  // With what was written to it since the start.
  if (auto given = give_folder(state_folder, *user); !given) return given;
  if (auto dropped = drop_privileges(*user); !dropped) {
    return net::Error{fmt::format("cannot go on as {}: {}", user->name, dropped.error().message)};
  }
  say(fmt::format("running as {}, with CAP_NET_ADMIN and CAP_NET_RAW for the ports to come", user->name));
  return net::Done{};
}

Awaitable<void> apply_initial(Controller& controller, InitialConfig initial, const std::optional<Identity>& user,
                              const std::string& state_folder, boost::asio::io_context& io, int& code) {
  ApplyOptions options;
  options.from_state = initial.from_state;
  options.ndjson = config::format_of(initial.from) == config::Format::NdJson;
  const ApplyReply reply = co_await controller.replace_config(std::move(initial.text), options);
  for (const config::Warning& warning : reply.warnings) say("warning: " + warning.text());
  if (reply.code == ApplyReply::Code::Applied) {
    say(fmt::format("serving generation {} from {}", reply.generation, initial.from));
    const net::Status<> dropped = go_on_as(user, state_folder);
    if (dropped) co_return;
    say(dropped.error().message);
  } else {
    say_findings(reply.faults);
    say(fmt::format("the configuration in {} cannot be applied: {}", initial.from, reply.message));
  }
  code = exit_cannot_start;
  io.stop();
}

int serve(Arguments& arguments) {
  choose_cpus(arguments);
  if (auto tcp = set_tcp(arguments); !tcp) {
    say(tcp.error().message);
    return exit_cannot_start;
  }
  if (auto mode = set_socket_mode(arguments); !mode) {
    say(mode.error().message);
    return exit_cannot_start;
  }
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
  ControllerOptions controller_options{SLUICE_VERSION, arguments.state_folder, arguments.worker_cpus};
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
  boost::asio::signal_set signals(io, SIGINT, SIGTERM);
  signals.async_wait([&](const boost::system::error_code& error, int signal) {
    if (error) return;
    say(fmt::format("stopping on {}", signal == SIGTERM ? "SIGTERM" : "SIGINT"));
    server.stop([&io] { io.stop(); });
  });
  say(fmt::format("{} {} worker(s) on CPU {}, control on CPU {}, {}", SLUICE_VERSION, arguments.workers,
                  fmt::join(arguments.worker_cpus, ","), arguments.control_cpu,
                  (*eal)->uses_hugepages() ? "hugepages" : "no hugepages"));
  if (initial->text.empty()) {
    if (auto dropped = go_on_as(who->user, arguments.state_folder); !dropped) {
      say(dropped.error().message);
      return exit_cannot_start;
    }
    say(fmt::format("no configuration yet: sluicectl --socket {} apply -f FILE", arguments.api.socket_path));
  } else {
    boost::asio::co_spawn(io,
                          apply_initial(*controller, std::move(*initial), who->user, arguments.state_folder, io, code),
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
  Arguments arguments;
  CLI::App app("sluiced: a userspace gateway router for pod networks, on DPDK", "sluiced");
  app.set_version_flag("--version", SLUICE_VERSION);
  app.add_option("--config", arguments.config, "JSON document to start with (default: the last one applied)")
      ->type_name("FILE");
  app.add_option("--check", arguments.check, "check a JSON document and exit; no device is touched")->type_name("FILE");
  app.add_option("--socket", arguments.api.socket_path, "UNIX socket of the API")->capture_default_str();
  app.add_option("--socket-mode", arguments.socket_mode, "mode of the socket")
      ->type_name("OCTAL")
      ->capture_default_str();
  app.add_option("--socket-group", arguments.socket_group, "group of the socket: whose members may use it")
      ->type_name("GROUP");
  app.add_option("--user", arguments.user, "go on as this user once the ports of the first configuration are open")
      ->type_name("USER[:GROUP]");
  app.add_option("--tcp", arguments.tcp, "also serve the API on a loopback address")->type_name("ADDRESS:PORT");
  app.add_option("--token-file", arguments.token_file, "bearer token for --tcp")->type_name("FILE");
  app.add_option("--state-dir", arguments.state_folder, "where the last good configuration is kept; empty: nowhere")
      ->capture_default_str();
  app.add_option("--workers", arguments.workers, "number of workers")->check(CLI::Range(1, 32))->capture_default_str();
  app.add_option("--worker-cpus", arguments.worker_cpus, "CPUs of the workers, in order")->delimiter(',');
  app.add_option("--control-cpu", arguments.control_cpu, "CPU of the control thread");
  app.add_option("--memory", arguments.memory_mib, "MiB for packet buffers, forwarding tables and rings")
      ->check(CLI::Range(192, 1048576))
      ->capture_default_str();
  app.add_option("--mbufs", arguments.mbufs, "packet buffers of 2 KiB")
      ->check(CLI::Range(2048, 16777216))
      ->capture_default_str();
  app.add_option("--hugepages", arguments.hugepages, "use hugepages: auto, never, require")
      ->check(CLI::IsMember({"auto", "never", "require"}))
      ->capture_default_str();
  app.add_flag("--no-huge", arguments.no_huge, "the same as --hugepages never");
  app.add_flag("--pci", arguments.pci, "look for PCI devices (needed if the first document with one comes later)");
  app.add_option("--poll", arguments.poll, "idle workers: busy (always polling) or adaptive (short naps)")
      ->check(CLI::IsMember({"busy", "adaptive"}))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (!arguments.check.empty()) return check(arguments.check);
  if (arguments.worker_cpus.size() > arguments.workers)
    arguments.workers = static_cast<uint16_t>(arguments.worker_cpus.size());
  return serve(arguments);
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
