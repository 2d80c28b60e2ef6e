#include "tools/trafgen/options.h"

#include <cstdio>
#include <fstream>
#include <iostream>
#include <sched.h>
#include <sstream>

#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "tools/trafgen/sender.h"

namespace sluice::trafgen {
namespace {

namespace json = boost::json;

// As typed; empty means not given.
struct Flags {
  std::string profile;
  std::vector<std::string> ports;
  std::string mode, rate, ramp, frame, flows, order, src, dst, src_port, dst_port, src_mac, dst_mac, protocol;
  std::string send, receive, replay, reflect, duration, warmup, search, max_rate, lcores, fault = "none";
  bool latency = false, no_huge = false, huge = false, no_live = false;
  std::string file_prefix;
};

void add_flags(CLI::App& app, Flags& flags, Options& options) {
  constexpr auto take_all = CLI::MultiOptionPolicy::TakeAll;
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--profile", flags.profile, "ports and streams in JSON; - is standard input")->type_name("FILE");
  app.add_option("--port", flags.ports, "DPDK port; several may be given")
      ->multi_option_policy(take_all)
      ->type_name("DEVICE[,ARGS]");
  app.add_option("--mode", flags.mode, "flood, rate, connections, requests, replay")->type_name("MODE");
  app.add_option("--rate", flags.rate, "packets, requests or connections per second: 500k, 1.5M")->type_name("N");
  app.add_option("--ramp", flags.ramp, "one trial at each of STEPS rates")->type_name("FROM:TO:STEPS");
  app.add_option("--frame", flags.frame, "frame sizes in bytes, or imix")->type_name("N[,N...]|imix");
  app.add_option("--flows", flags.flows, "number of flows")->type_name("N");
  app.add_option("--order", flags.order, "sequential or random")->type_name("ORDER");
  app.add_option("--src", flags.src, "source addresses: 10.0.0.0/24, 10.0.0.1-10.0.0.9, 10.0.0.1+100/256");
  app.add_option("--dst", flags.dst, "destination addresses");
  app.add_option("--src-port", flags.src_port, "source ports: 1024-65535");
  app.add_option("--dst-port", flags.dst_port, "destination ports");
  app.add_option("--src-mac", flags.src_mac, "source MAC address");
  app.add_option("--dst-mac", flags.dst_mac, "destination MAC address, or resolve");
  app.add_option("--protocol", flags.protocol, "udp, tcp, icmp");
  app.add_option("--replay", flags.replay, "send the packets of a capture; mode is replay then")->type_name("FILE");
  app.add_option("--send", flags.send, "sending port, by number or name");
  app.add_option("--receive", flags.receive, "receiving ports, by number or name, with commas");
  app.add_option("--reflect", flags.reflect, "send back what is not this process's own: mac or swap");
  app.add_option("--fault", flags.fault,
                 "for tests, what the reflecting side does wrong: wrong-checksum, corrupt, drop-one, duplicate, "
                 "reorder, swap-endpoint, signature, length");
  app.add_option("--fault-every", options.fault_every, "to every n-th packet")->capture_default_str();
  app.add_flag("--latency", flags.latency, "measure latency");
  app.add_option("--duration", flags.duration, "seconds measured, per trial")->type_name("S");
  app.add_option("--warmup", flags.warmup, "seconds sent before")->type_name("S");
  app.add_option("--search", flags.search, "loss-free: RFC 2544 binary search over the rate")->type_name("KIND");
  app.add_option("--tolerance", options.tolerance_ppm, "loss that counts as none, per million")->type_name("PPM");
  app.add_option("--resolution", options.resolution_percent, "of the search, percent of the highest rate")
      ->check(CLI::Range(0.01, 50.0))
      ->type_name("PCT");
  app.add_option("--max-rate", flags.max_rate, "highest rate of the search per stream")->type_name("N");
  app.add_option("--json", options.json, "write the result there; - is standard output")->type_name("FILE");
  app.add_option("--lcores", flags.lcores, "CPUs of the packet threads, like 1 or 1,2")->type_name("LIST");
  app.add_option("--burst", options.burst, "packets per burst")
      ->check(CLI::Range(1U, max_burst))
      ->capture_default_str();
  app.add_option("--mbufs", options.mbufs, "packet buffers")->check(CLI::Range(512U, 1U << 22))->capture_default_str();
  app.add_option("--memory", options.memory_mib, "DPDK memory")->type_name("MIB")->capture_default_str();
  app.add_flag("--no-huge", flags.no_huge, "never use hugepages");
  app.add_flag("--huge", flags.huge, "refuse to run without hugepages");
  app.add_option("--file-prefix", flags.file_prefix, "of the EAL's files");
  app.add_option("--eal", options.eal, "one more argument for the EAL")->multi_option_policy(take_all);
  app.add_option("--wait-link", options.wait_link, "seconds to wait for links and gateways")->capture_default_str();
  app.add_flag("--no-live", flags.no_live, "no live table");
  app.add_flag("--check", options.check_only, "only read profile and flags");
  app.add_flag("--fail-on-loss", options.fail_on_loss, "exit code 2 also if packets were lost");
}

// A number where it is one, else the text.
json::value number_or_text(const std::string& text) {
  if (!text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos) {
    return std::stoll(text);
  }
  return json::value(text);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, separator);) out.push_back(part);
  return out;
}

json::array list_of(const std::string& text) {
  json::array out;
  for (const std::string& part : split(text, ',')) out.push_back(number_or_text(part));
  return out;
}

// "10.0.0.1,…" becomes text, which the profile's reader takes as a range.
void put(json::object& object, std::string_view key, const std::string& text) {
  if (!text.empty()) object[key] = number_or_text(text);
}

json::object& child(json::object& object, std::string_view key) {
  json::value& value = object[key];
  if (!value.is_object()) value = json::object();
  return value.get_object();
}

json::array& list(json::object& object, std::string_view key) {
  json::value& value = object[key];
  if (!value.is_array()) value = json::array();
  return value.get_array();
}

net::Status<> override_stream(json::object& stream, const Flags& flags) {
  put(stream, "mode", flags.mode);
  if (!flags.rate.empty()) {
    stream["rate"] = json::string(flags.rate);
    // A profile's flood becomes a fixed rate when asked for one.
    if (flags.mode.empty() && stream.contains("mode") && stream["mode"] == "flood") stream.erase("mode");
  }
  if (!flags.ramp.empty()) {
    const auto parts = split(flags.ramp, ':');
    if (parts.size() != 3) return net::Error{"--ramp wants FROM:TO:STEPS, such as 100k:1M:10"};
    stream["rate"] = {{"from", parts[0]}, {"to", parts[1]}, {"steps", number_or_text(parts[2])}};
  }
  if (flags.frame == "imix") {
    stream["frame"] = "imix";
  } else if (!flags.frame.empty()) {
    stream["frame"] = list_of(flags.frame);
  }
  if (!flags.flows.empty() || !flags.order.empty() || !flags.src.empty() || !flags.dst.empty() ||
      !flags.src_port.empty() || !flags.dst_port.empty()) {
    json::object& flows = child(stream, "flows");
    if (!flags.flows.empty()) {
      const auto count = parse_rate(flags.flows);
      if (!count) return net::Error{"--flows wants a number such as 100000, 100k or 4M"};
      flows["count"] = static_cast<int64_t>(*count);
    }
    put(flows, "order", flags.order);
    put(flows, "src", flags.src);
    put(flows, "dst", flags.dst);
    put(flows, "srcPort", flags.src_port);
    put(flows, "dstPort", flags.dst_port);
  }
  if (!flags.src_mac.empty()) child(stream, "ethernet")["src"] = json::string(flags.src_mac);
  if (!flags.dst_mac.empty()) child(stream, "ethernet")["dst"] = json::string(flags.dst_mac);
  put(stream, "protocol", flags.protocol);
  put(stream, "send", flags.send);
  if (!flags.receive.empty()) stream["receive"] = list_of(flags.receive == "none" ? "" : flags.receive);
  if (!flags.replay.empty()) {
    child(stream, "replay")["file"] = json::string(flags.replay);
    if (flags.mode.empty()) stream["mode"] = "replay";
  }
  if (flags.latency) stream["latency"] = true;
  return net::Done{};
}

net::Result<json::value> profile_document(const Flags& flags) {
  json::value document = json::object();
  if (!flags.profile.empty()) {
    std::ostringstream text;
    if (flags.profile == "-") {
      text << std::cin.rdbuf();
    } else {
      std::ifstream file(flags.profile);
      if (!file) return net::Error{"it cannot be read; check the path"};
      text << file.rdbuf();
    }
    auto parsed = parse_json(text.str());
    if (!parsed) return parsed.error();
    document = std::move(parsed).value();
  }
  if (!document.is_object()) return document;  // read_profile says so
  json::object& root = document.get_object();
  json::array& ports = list(root, "ports");
  for (size_t i = 0; i < flags.ports.size(); ++i) {
    if (i == ports.size()) ports.emplace_back(json::object());
    if (ports[i].is_object()) ports[i].get_object()["device"] = flags.ports[i];
  }
  if (!flags.reflect.empty()) {
    for (json::value& port : ports) {
      if (port.is_object()) port.get_object()["reflect"] = flags.reflect;
    }
  }
  if (!flags.duration.empty()) root["duration"] = json::string(flags.duration);
  if (!flags.warmup.empty()) {
    const auto seconds = flags.warmup == "0" ? 0 : parse_rate(flags.warmup);
    if (!seconds) return net::Error{"--warmup wants seconds, 0 or more"};
    root["warmup"] = *seconds;
  }
  json::array& streams = list(root, "streams");
  if (streams.empty() && flags.profile.empty() && flags.reflect.empty()) streams.emplace_back(json::object());
  for (json::value& stream : streams) {
    if (!stream.is_object()) continue;
    if (auto done = override_stream(stream.get_object(), flags); !done) return done.error();
  }
  return document;
}

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> out;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) out.push_back(cpu);
  }
  return out;
}

net::Status<> finish(const Flags& flags, Options& options) {
  const auto fault = parse_fault(flags.fault);
  if (!fault) {
    return net::Error{
        fmt::format("--fault does not know \"{}\"; it knows wrong-checksum, corrupt, drop-one, duplicate, "
                    "reorder, swap-endpoint, signature and length",
                    flags.fault)};
  }
  options.fault = *fault;
  if (options.fault_every == 0) return net::Error{"--fault-every counts from 1"};
  if (!flags.search.empty() && flags.search != "loss-free") {
    return net::Error{fmt::format("--search does not know \"{}\"; it knows loss-free", flags.search)};
  }
  options.search = !flags.search.empty();
  if (!flags.max_rate.empty()) {
    options.max_rate = parse_rate(flags.max_rate);
    if (!options.max_rate) return net::Error{"--max-rate wants packets per second such as 2M"};
  }
  if (flags.huge && flags.no_huge) return net::Error{"--huge and --no-huge exclude each other"};
  if (flags.huge) options.hugepages = dataplane::Hugepages::Require;
  if (flags.no_huge) options.hugepages = dataplane::Hugepages::Never;
  if (!flags.file_prefix.empty()) options.eal.push_back("--file-prefix=" + flags.file_prefix);
  options.live = !flags.no_live;
  const std::vector<int> allowed = allowed_cpus();
  for (const std::string& text : split(flags.lcores, ',')) {
    const json::value cpu = number_or_text(text);
    if (!cpu.is_int64() || std::find(allowed.begin(), allowed.end(), cpu.get_int64()) == allowed.end()) {
      return net::Error{fmt::format("--lcores: \"{}\" is no CPU that this process may run on; it may run on {}", text,
                                    fmt::join(allowed, ", "))};
    }
    options.cpus.push_back(static_cast<int>(cpu.get_int64()));
  }
  if (options.cpus.empty()) options.cpus = {allowed.back()};
  if (options.search) {
    for (const StreamProfile& stream : options.profile.streams) {
      if (stream.mode == Mode::Connections || stream.mode == Mode::Requests) {
        return net::Error{
            fmt::format("--search needs streams that send at a rate; \"{}\" waits for answers", stream.name)};
      }
    }
    if (options.profile.streams.empty()) return net::Error{"--search needs a stream"};
  }
  return net::Done{};
}

}  // namespace

CommandLine read_command_line(int argc, char** argv) {
  CommandLine out;
  Options options;
  Flags flags;
  CLI::App app("sluice-trafgen: a traffic generator whose receiving side checks every packet (docs/trafgen.md)",
               "sluice-trafgen");
  app.set_version_flag("--version", SLUICE_VERSION);
  add_flags(app, flags, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    out.exit_code = app.exit(error) == 0 ? 0 : 1;
    return out;
  }
  const auto refuse = [&](const std::string& message, std::string_view where) {
    for (const std::string& line : split(message, '\n')) fmt::print(stderr, "sluice-trafgen: {}{}\n", where, line);
    out.exit_code = 1;
    return out;
  };
  const std::string where = flags.profile.empty() ? "" : flags.profile + ": ";
  auto document = profile_document(flags);
  if (!document) return refuse(document.error().message, where);
  auto profile = read_profile(*document);
  if (!profile) return refuse(profile.error().message, where);
  options.profile = std::move(profile).value();
  if (auto done = finish(flags, options); !done) return refuse(done.error().message, "");
  for (int i = 0; i < argc; ++i) options.command.emplace_back(argv[i]);
  out.options = std::move(options);
  return out;
}

}  // namespace sluice::trafgen
