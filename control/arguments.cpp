#include "control/arguments.h"

#include <algorithm>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace sluice::control {
namespace {

net::Status<> set_socket_mode(Arguments& arguments) {
  const std::string& text = arguments.socket_mode;
  if (text.empty() || text.size() > 4 || text.find_first_not_of("01234567") != std::string::npos) {
    return net::Error{fmt::format("--socket-mode wants an octal mode like 0660, not \"{}\"", text)};
  }
  arguments.api.socket_mode = static_cast<mode_t>(std::stoul(text, nullptr, 8));
  if ((arguments.api.socket_mode & 07006) == 0) return net::Done{};
  return net::Error{"--socket-mode: the API is not open to everyone; a group may be let in, like 0660"};
}

net::Status<> set_tcp(Arguments& arguments) {
  const CredentialFiles& files = arguments.api.credentials;
  const bool has_files =
      !files.access.empty() || !files.tls.certificate.empty() || !files.tls.key.empty() || !files.tls.client_ca.empty();
  if (arguments.api_listen.empty() && has_files) {
    return net::Error{"--api-access and --tls-… are for the API on TCP: --api-listen ADDRESS:PORT"};
  }
  for (const std::string& text : arguments.api_listen) {
    const auto where = parse_tcp_address(text);
    if (!where) return net::Error{"--api-listen: " + where.error().message};
    arguments.api.tcp.push_back(*where);
  }
  if (arguments.api.tcp.empty()) return net::Done{};
  // The server reads them itself; mistakes are told before anything has begun.
  const auto loaded = load_credentials(arguments.api);
  return loaded ? net::Status<>(net::Done{}) : loaded.error();
}

// Either is the file of a path that BIRD's command line can quote.
std::string complaint_about_path(const std::string& path) {
  const bool plain =
      path.size() > 1 && path.front() == '/' && path.back() != '/' &&
      std::all_of(path.begin(), path.end(), [](unsigned char c) { return c > ' ' && c != 0x7f && c != '"'; });
  return plain ? "" : fmt::format("expected the absolute path of a file, without blanks and \", found '{}'", path);
}

std::string complaint_about_socket(const std::string& path) {
  static constexpr size_t longest = 107;  // sun_path without its end
  if (path.size() <= longest) return complaint_about_path(path);
  return fmt::format("the path of a socket has at most {} characters, found {}", longest, path.size());
}

}  // namespace

net::Status<> complete_api_options(Arguments& arguments) {
  if (auto tcp = set_tcp(arguments); !tcp) return tcp;
  return set_socket_mode(arguments);
}

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

Parsed parse_arguments(int argc, char** argv) {
  Parsed parsed;
  Arguments& arguments = parsed.arguments;
  CLI::App app("sluiced: a userspace gateway router for pod networks, on DPDK", "sluiced");
  app.set_version_flag("--version", SLUICE_VERSION);
  app.add_option("--config", arguments.config, "JSON document to start with (default: the last one applied)")
      ->type_name("FILE");
  app.add_option("--check", arguments.check, "check a JSON document and exit; no device is touched")->type_name("FILE");
  app.add_flag("--give-back-interfaces", arguments.give_back,
               "give the kernel its interfaces back that a router that was killed had (packet,iface=NAME), and exit");
  app.add_option("--socket", arguments.api.socket_path, "UNIX socket of the API")->capture_default_str();
  app.add_option("--socket-mode", arguments.socket_mode, "mode of the socket")
      ->type_name("OCTAL")
      ->capture_default_str();
  app.add_option("--socket-group", arguments.socket_group, "group of the socket: whose members may use it")
      ->type_name("GROUP");
  app.add_option("--user", arguments.user, "go on as this user once the ports of the first configuration are open")
      ->type_name("USER[:GROUP]");
  app.add_option("--api-listen", arguments.api_listen, "also serve the API on this address; may be given several times")
      ->type_name("ADDRESS:PORT");
  CredentialFiles& credentials = arguments.api.credentials;
  app.add_option("--api-access", credentials.access,
                 "for --api-listen: who may do what, by token or client certificate")
      ->type_name("FILE");
  app.add_option("--tls-cert", credentials.tls.certificate, "for --api-listen: certificate, and those above it, as PEM")
      ->type_name("FILE");
  app.add_option("--tls-key", credentials.tls.key, "for --api-listen: the certificate's key, as PEM")
      ->type_name("FILE");
  app.add_option("--tls-client-ca", credentials.tls.client_ca, "authority of client certificates, as PEM")
      ->type_name("FILE");
  app.add_option("--state-dir", arguments.state_folder, "where the last good configuration is kept; empty: nowhere")
      ->capture_default_str();
  app.add_option(
         "--pod-sockets", arguments.pod_sockets,
         "folder of this router alone, in which each pod with a memif gets a folder with its socket; empty: none")
      ->type_name("DIRECTORY")
      ->capture_default_str();
  app.add_option("--bird-config", arguments.bird.config_file,
                 "for spec.bgp.engine bird: BIRD's configuration, which is replaced as a whole")
      ->type_name("FILE")
      ->check(complaint_about_path)
      ->capture_default_str();
  app.add_option("--bird-socket", arguments.bird.control_socket, "for spec.bgp.engine bird: BIRD's control socket")
      ->type_name("PATH")
      ->check(complaint_about_socket)
      ->capture_default_str();
  app.add_option("--workers", arguments.workers, "number of workers")->check(CLI::Range(1, 32))->capture_default_str();
  app.add_option("--worker-cpus", arguments.cpus.workers, "CPUs of the workers, in order")->delimiter(',');
  app.add_option("--control-cpu", arguments.cpus.control, "CPU of the control thread");
  app.add_option(
         "--helper-cpus", arguments.cpus.helpers,
         "CPUs that large configurations may use, the control thread's among them (default: all but the workers', or "
         "theirs as well while they sleep)")
      ->delimiter(',');
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
  app.add_option(
         "--poll", arguments.poll,
         "idle workers: busy (always polling) or adaptive (asleep until a device wakes them, or for short naps)")
      ->check(CLI::IsMember({"busy", "adaptive"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exit_code = app.exit(error);
    return parsed;
  }
  if (arguments.cpus.workers.size() > arguments.workers)
    arguments.workers = static_cast<uint16_t>(arguments.cpus.workers.size());
  return parsed;
}

}  // namespace sluice::control
