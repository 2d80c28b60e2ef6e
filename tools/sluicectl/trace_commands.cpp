#include "tools/sluicectl/trace_commands.h"

#include <memory>
#include <string>
#include <vector>

#include <boost/json.hpp>

namespace sluice::ctl {
namespace {

namespace json = boost::json;

struct ProbeWords {
  std::string from, to, protocol, flags, interface, host, path, alpn, data;
  unsigned size = 0;
  unsigned ttl = 0;
  bool may_fragment = false;
  std::string output = "table";
};

json::value packet_of(const ProbeWords& words) {
  json::object packet{{"from", words.from}, {"to", words.to}};
  if (!words.protocol.empty()) packet["protocol"] = words.protocol;
  if (!words.flags.empty()) packet["flags"] = words.flags;
  if (!words.interface.empty()) packet["interface"] = words.interface;
  if (!words.host.empty()) packet["host"] = words.host;
  if (!words.path.empty()) packet["path"] = words.path;
  if (!words.alpn.empty()) packet["alpn"] = words.alpn;
  if (!words.data.empty()) packet["data"] = words.data;
  if (words.size != 0) packet["size"] = words.size;
  if (words.ttl != 0) packet["ttl"] = words.ttl;
  if (words.may_fragment) packet["dontFragment"] = false;
  return packet;
}

void add_explain(CLI::App& app, const Server& server, std::function<ExitCode()>& run) {
  CLI::App* command = app.add_subcommand(
      "explain", "What the router would do to a packet, decision by decision, and why. Nothing is sent");
  const auto words = std::make_shared<ProbeWords>();
  command->add_option("--from", words->from, "source; without a port: some port")
      ->required()
      ->type_name("ADDRESS[:PORT]");
  command->add_option("--to", words->to, "destination; IPv6 with a port: [ADDRESS]:PORT")
      ->required()
      ->type_name("ADDRESS[:PORT]");
  command->add_option("-p,--proto", words->protocol, "tcp (default), udp, sctp or icmp (an echo request)")
      ->type_name("PROTOCOL");
  command->add_option("--flags", words->flags, "of TCP, with commas between them (default: SYN)")->type_name("FLAGS");
  command->add_option("--size", words->size, "bytes of the IP packet (default: headers only)")->type_name("BYTES");
  command->add_flag("--may-fragment", words->may_fragment, "without the Don't Fragment bit of IPv4");
  command->add_option("--ttl", words->ttl, "TTL or hop limit (default: 64)")->type_name("NUMBER");
  command->add_option("-i,--interface", words->interface, "it comes in by (default: where the route to --from leads)")
      ->type_name("NAME");
  command->add_option("--host", words->host, "of an Ingress: what the client asks for first, or its TLS server name")
      ->type_name("NAME");
  command->add_option("--path", words->path, "of that request (default: /)")->type_name("PATH");
  command->add_option("--alpn", words->alpn, "of its TLS ClientHello: h2,http/1.1 (default: none)")->type_name("NAMES");
  command
      ->add_option("--data", words->data,
                   "what the client says first, or what is in the datagram: text, whose bytes are looked into")
      ->type_name("TEXT");
  command->add_option("-o,--output", words->output, "table, yaml or json")
      ->check(CLI::IsMember({"table", "yaml", "json"}));
  command->callback(
      [&server, &run, words] { run = [&server, words] { return explain(server, packet_of(*words), words->output); }; });
}

struct TraceWords {
  std::vector<std::string> filter;
  std::string count, seconds;
  std::string output = "table";
  std::string file;
};

Parameters parameters_of(const TraceWords& words) {
  std::string filter;
  for (const std::string& word : words.filter) filter += (filter.empty() ? "" : " ") + word;
  return {{"filter", filter}, {"count", words.count}, {"seconds", words.seconds}};
}

void add_bounds(CLI::App& command, TraceWords& words, const char* count) {
  command.add_option("FILTER", words.filter, "as tcpdump takes it, over frames as they arrive (default: every frame)");
  command.add_option("-c,--count", words.count, count)->type_name("NUMBER");
  command.add_option("--seconds", words.seconds, "for so long at most (default: 60)")->type_name("NUMBER");
}

void add_trace(CLI::App& app, const Server& server, std::function<ExitCode()>& run) {
  CLI::App* command =
      app.add_subcommand("trace", "Follow the next packets that match a filter through every decision of the router");
  const auto words = std::make_shared<TraceWords>();
  add_bounds(*command, *words, "so many packets (default: 10)");
  command->add_option("-o,--output", words->output, "table, yaml (a document each) or json (a line each)")
      ->check(CLI::IsMember({"table", "yaml", "json"}));
  command->callback([&server, &run, words] {
    run = [&server, words] { return trace(server, parameters_of(*words), words->output); };
  });
}

void add_capture(CLI::App& app, const Server& server, std::function<ExitCode()>& run) {
  CLI::App* command = app.add_subcommand(
      "capture", "Packets as they came and what became of them, as pcapng with comments that name the decisions");
  const auto words = std::make_shared<TraceWords>();
  add_bounds(*command, *words, "so many packets (default: 1000)");
  command->add_option("-w,--write", words->file, "- for standard output")->required()->type_name("FILE");
  command->callback([&server, &run, words] {
    run = [&server, words] { return capture(server, parameters_of(*words), words->file); };
  });
}

struct TopWords {
  double delay = 1;
  unsigned count = 0;
  bool services = false;
  std::string output = "table";
};

void add_top(CLI::App& app, const Server& server, std::function<ExitCode()>& run) {
  CLI::App* command = app.add_subcommand("top", "Rates of workers, interfaces and drops, live");
  const auto words = std::make_shared<TopWords>();
  command->add_option("-d,--delay", words->delay, "seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  command->add_option("-c,--count", words->count, "so many times (default: until Ctrl-C)")->type_name("NUMBER");
  command->add_flag("--services", words->services, "of services and endpoints instead: what goes over connections");
  command->add_option("-o,--output", words->output, "table, yaml (a document each time) or json (a line)")
      ->check(CLI::IsMember({"table", "yaml", "json"}));
  command->callback([&server, &run, words] {
    run = [&server, words] {
      return (words->services ? top_services : top)(server, words->delay, words->count, words->output);
    };
  });
}

}  // namespace

void add_trace_commands(CLI::App& app, const Server& server, std::function<ExitCode()>& run) {
  add_explain(app, server, run);
  add_trace(app, server, run);
  add_capture(app, server, run);
  add_top(app, server, run);
}

}  // namespace sluice::ctl
