// sluicectl: the command line of sluiced's config API. Here are its words; what they do is in commands.cpp.
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "tools/sluicectl/commands.h"
#include "tools/sluicectl/completion.h"
#include "tools/sluicectl/ipam_commands.h"
#include "tools/sluicectl/server_options.h"
#include "tools/sluicectl/trace_commands.h"

namespace sluice::ctl {
namespace {

constexpr const char* exit_codes =
    "Exit codes: 0 done, 1 refused by the server, 2 usage, 3 the server cannot be reached.\n"
    "Examples:\n"
    "  sluicectl apply -f cluster.json          replace the whole configuration\n"
    "  sluicectl patch -f service.json          add or change the objects in the file\n"
    "  sluicectl delete service default/web\n"
    "  sluicectl get flows --service default/web --proto tcp\n"
    "  sluicectl conntrack -E -p tcp --dport 80  connections as they open and end\n"
    "  sluicectl get routes --to 10.244.34.5    the route that a packet would take\n"
    "  sluicectl events -w                      what happens to the router\n"
    "  sluicectl drain default/web-0            no new connections to this pod\n"
    "  sluicectl explain --from 192.0.2.10 --to 10.96.0.10:80\n"
    "                                           why a connection fails, or where it goes\n"
    "  sluicectl trace host 192.0.2.10 and tcp  what happens to the next packets of a host";

struct Arguments {
  Server server;
  ChangeOptions change;
  bool offline = false;
  GetOptions get;
  std::string kind;
  std::string name;
  std::string ns;
  std::string to;
  std::string src, dst, sport, dport, proto, service, limit;
  std::string reply_src, reply_dst, reply_sport, reply_dport, state, event;
  bool all_flows = false;
  std::string endpoint;
  bool hard = false;
  std::string types, drop_rate;
  std::string shell;
  std::function<ExitCode()> run;
};

void add_if_generation(CLI::App& command, ChangeOptions& change) {
  command
      .add_option("--if-generation", change.if_generation, "refuse if another generation of the configuration serves")
      ->type_name("NUMBER");
}

void add_change_options(CLI::App& command, Arguments& arguments, bool dry_run) {
  ChangeOptions& change = arguments.change;
  command.add_option("-f,--file", change.file, "JSON document, - for standard input")->required()->type_name("FILE");
  command.add_flag("--ignore-unknown", change.ignore_unknown, "pass over objects of kinds that sluiced does not know");
  if (!dry_run) return;
  command.add_flag("--dry-run", change.dry_run, "only say what would be wrong, and whether it would change anything");
  add_if_generation(command, change);
}

void add_flow_filters(CLI::App& command, Arguments& arguments) {
  // Names and letters are those of conntrack(8), and shorter ones.
  const auto address = [&](const char* names, std::string& out, const char* what) {
    command.add_option(names, out, what)->type_name("ADDRESS[/LENGTH]");
  };
  const auto port = [&](const char* names, std::string& out, const char* what) {
    command.add_option(names, out, what)->type_name("PORT");
  };
  address("-s,--src,--orig-src", arguments.src, "source before translation");
  address("-d,--dst,--orig-dst", arguments.dst, "destination before translation");
  address("-r,--reply-src", arguments.reply_src, "source of the replies: the endpoint");
  address("-q,--reply-dst", arguments.reply_dst, "destination of the replies: the source after translation");
  port("--sport,--orig-port-src", arguments.sport, "source port before translation");
  port("--dport,--orig-port-dst", arguments.dport, "destination port before translation");
  port("--reply-port-src", arguments.reply_sport, "source port of the replies: the endpoint's");
  port("--reply-port-dst", arguments.reply_dport, "destination port of the replies");
  command.add_option("-p,--proto,--protonum", arguments.proto, "tcp, udp, sctp, icmp, icmpv6 or a number")
      ->type_name("PROTOCOL");
  command.add_option("--state", arguments.state, "of TCP: ESTABLISHED, TIME_WAIT …; UNREPLIED, REPLIED, ASSURED")
      ->type_name("STATE");
  command.add_option("--service", arguments.service, "service, with or without its port's name")
      ->type_name("NAMESPACE/NAME[:PORT]");
}

Parameters flow_parameters(const Arguments& arguments) {
  return {{"src", arguments.src},
          {"dst", arguments.dst},
          {"sport", arguments.sport},
          {"dport", arguments.dport},
          {"reply-src", arguments.reply_src},
          {"reply-dst", arguments.reply_dst},
          {"reply-sport", arguments.reply_sport},
          {"reply-dport", arguments.reply_dport},
          {"proto", arguments.proto},
          {"state", arguments.state},
          {"service", arguments.service},
          {"limit", arguments.limit},
          {"event", arguments.event},
          {"all", arguments.all_flows ? "true" : ""}};
}

void add_documents(CLI::App& app, Arguments& arguments) {
  CLI::App* apply_command = app.add_subcommand("apply",
                                               "Replace the whole configuration: what the document does not "
                                               "hold is removed. All or nothing");
  add_change_options(*apply_command, arguments, true);
  apply_command->add_flag("--ndjson", arguments.change.lines, "one object a line (known by .ndjson and .jsonl)");
  apply_command->callback([&] { arguments.run = [&] { return apply(arguments.server, arguments.change); }; });

  CLI::App* patch_command = app.add_subcommand("patch",
                                               "Change a part of the configuration: a Delta, or objects to be "
                                               "added or replaced. All or nothing");
  add_change_options(*patch_command, arguments, true);
  patch_command->callback([&] { arguments.run = [&] { return patch(arguments.server, arguments.change); }; });

  CLI::App* check_command = app.add_subcommand("check", "Say what is wrong with a document, without applying it");
  add_change_options(*check_command, arguments, false);
  check_command->add_flag("--ndjson", arguments.change.lines, "one object a line (known by .ndjson and .jsonl)");
  check_command->add_flag("--offline", arguments.offline, "check here, without asking sluiced");
  check_command->callback([&] {
    arguments.run = [&] {
      return arguments.offline ? check_offline(arguments.change) : check(arguments.server, arguments.change);
    };
  });
}

CLI::App* add_thing(CLI::App& command, Arguments& arguments, Thing thing, const char* name, const char* description,
                    const char* formats = "table, wide (more columns where there are some), yaml or json") {
  CLI::App* sub = command.add_subcommand(name, description);
  sub->add_option("-o,--output", arguments.get.output, formats)
      ->check(CLI::IsMember({"table", "wide", "yaml", "json"}))
      ->capture_default_str();
  sub->add_flag("-w,--watch", arguments.get.watch, "again every two seconds, until Ctrl-C");
  sub->callback([&arguments, thing] {
    arguments.get.thing = thing;
    arguments.run = [&arguments] { return get(arguments.server, arguments.get); };
  });
  return sub;
}

void add_get(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("get", "Show configuration and state");
  command->require_subcommand(1);

  CLI::App* config = add_thing(*command, arguments, Thing::Config, "config", "Applied objects; with NAME the object");
  config->add_option("KIND", arguments.kind, "only this kind: service, endpointslices, ...");
  config->add_option("NAME", arguments.name, "[NAMESPACE/]NAME of an object");
  config->add_option("-n,--namespace", arguments.ns, "only this namespace");
  config->callback([&] {
    arguments.get.thing = Thing::Config;
    arguments.get.parameters = {{"kind", arguments.kind}, {"namespace", arguments.ns}};
    arguments.run = [&] {
      return arguments.name.empty()
                 ? get(arguments.server, arguments.get)
                 : get_object(arguments.server, arguments.kind, arguments.name, arguments.get.output == "yaml");
    };
  });

  add_thing(*command, arguments, Thing::Status, "status", "Generation, readiness, totals, warnings");
  add_thing(*command, arguments, Thing::Interfaces, "interfaces", "Interfaces with their counters")->alias("if");
  add_thing(*command, arguments, Thing::Workers, "workers", "Workers: load, packets, connections");
  add_thing(*command, arguments, Thing::Neighbors, "neighbors", "ARP and neighbour discovery entries")->alias("neigh");
  add_thing(*command, arguments, Thing::Services, "services", "Services: frontends and endpoints",
            "table, wide (each endpoint), yaml or json")
      ->alias("svc");
  add_thing(*command, arguments, Thing::Ingress, "ingress", "Ingresses: rules, what they lead to, ready endpoints")
      ->alias("ing");
  add_thing(*command, arguments, Thing::LoadBalancers, "loadbalancers",
            "Services that get their addresses from here, and why one waits")
      ->alias("lb");
  add_thing(*command, arguments, Thing::L2, "l2", "Who answers ARP and ND for load balancer addresses");
  add_thing(*command, arguments, Thing::ContentPolicies, "contentpolicies",
            "What is looked for in connections, and how often it was found")
      ->alias("content");
  add_thing(*command, arguments, Thing::Bgp, "bgp", "BGP sessions, and what is announced",
            "table, wide (every announced prefix), yaml or json");
  add_thing(*command, arguments, Thing::Drains, "drains", "Endpoints that are drained by hand");
  add_thing(*command, arguments, Thing::Addresses, "ipam-addresses",
            "Addresses of pods and tunnels, and whose they are")
      ->alias("ips");
  add_thing(*command, arguments, Thing::Blocks, "ipam-blocks", "Blocks that addresses are taken from")->alias("blocks");
  add_thing(*command, arguments, Thing::Handles, "ipam-handles", "Handles by which addresses are given back");
  CLI::App* counters = add_thing(*command, arguments, Thing::Counters, "counters", "Drops by reason, other events");
  counters->add_flag("--all", arguments.get.all, "zeros too");

  CLI::App* routes = add_thing(*command, arguments, Thing::Routes, "routes", "Routes");
  routes->add_option("--to", arguments.to, "only the route to this address")->type_name("ADDRESS");
  routes->callback([&] {
    arguments.get.thing = Thing::Routes;
    arguments.get.parameters = {{"to", arguments.to}};
    arguments.run = [&] { return get(arguments.server, arguments.get); };
  });

  CLI::App* flows = add_thing(*command, arguments, Thing::Flows, "flows",
                              "Connections: addresses before and after translation; packets and bytes of both "
                              "directions");
  flows->alias("conntrack");
  add_flow_filters(*flows, arguments);
  flows->add_option("--limit", arguments.limit, "at most so many (default: 1000)")->type_name("NUMBER");
  flows->callback([&] {
    arguments.get.thing = Thing::Flows;
    arguments.get.parameters = flow_parameters(arguments);
    arguments.run = [&] { return get(arguments.server, arguments.get); };
  });
}

void add_delete(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("delete", "Delete an object, or end connections (delete flows)");
  command->add_option("KIND", arguments.kind, "service, endpointslice, node, ...");
  command->add_option("NAME", arguments.name, "[NAMESPACE/]NAME; namespaced kinds are in \"default\" without");
  command->add_flag("--dry-run", arguments.change.dry_run, "only say what would be wrong");
  add_if_generation(*command, arguments.change);
  command->callback([&, command] {
    if (!command->get_subcommands().empty()) return;
    if (arguments.kind.empty() || arguments.name.empty()) {
      throw CLI::ValidationError("delete", "wants KIND and NAME, like: sluicectl delete service default/web");
    }
    arguments.run = [&] { return delete_object(arguments.server, arguments.kind, arguments.name, arguments.change); };
  });

  CLI::App* flows = command->add_subcommand("flows", "End the connections that match all filters");
  flows->alias("conntrack");
  add_flow_filters(*flows, arguments);
  flows->add_flag("--all", arguments.all_flows, "every connection");
  flows->callback([&, command] {
    for (const char* option : {"--dry-run", "--if-generation"}) {
      if (command->count(option) != 0) {
        throw CLI::ValidationError("delete flows", std::string(option) + " is for objects, not for connections");
      }
    }
    arguments.run = [&] { return delete_flows(arguments.server, flow_parameters(arguments)); };
  });
}

// The same calls in the words of conntrack(8), for fingers that know them.
void add_conntrack(CLI::App& app, Arguments& arguments) {
  CLI::App* command =
      app.add_subcommand("conntrack", "Connections, with the options of conntrack(8): list, delete, watch");
  CLI::Option_group* what = command->add_option_group("What to do");
  const auto add = [&](const char* names, const char* description, std::function<ExitCode()> run) {
    what->add_flag_callback(
        names, [&arguments, run = std::move(run)] { arguments.run = run; }, description);
  };
  add("-L,--dump", "list them (get flows)", [&] {
    arguments.get.thing = Thing::Flows;
    arguments.get.parameters = flow_parameters(arguments);
    return get(arguments.server, arguments.get);
  });
  add("-D,--delete", "end those that match all filters (delete flows)",
      [&] { return delete_flows(arguments.server, flow_parameters(arguments)); });
  add("-F,--flush", "end all", [&] { return delete_flows(arguments.server, {{"all", "true"}}); });
  add("-E,--event", "print connections as they open and end",
      [&] { return watch_flows(arguments.server, flow_parameters(arguments), arguments.get.output == "json"); });
  what->require_option(1);
  add_flow_filters(*command, arguments);
  command->add_option("--limit", arguments.limit, "with -L and -D: at most so many")->type_name("NUMBER");
  command->add_option("-e,--event-mask", arguments.event, "with -E: only these")
      ->transform(CLI::CheckedTransformer(std::map<std::string, std::string>{{"NEW", "new"}, {"DESTROY", "closed"}},
                                          CLI::ignore_case));
  command->add_option("-o,--output", arguments.get.output, "table, json or (but for -E) wide or yaml")
      ->check(CLI::IsMember({"table", "wide", "yaml", "json"}));
}

void add_drain(CLI::App& app, Arguments& arguments) {
  constexpr const char* forms = "NAMESPACE/POD, ADDRESS or ADDRESS:PORT";
  CLI::App* command = app.add_subcommand(
      "drain",
      "Take an endpoint out of all services: nothing new comes to it. Without ENDPOINT: those that are drained");
  command->add_option("ENDPOINT", arguments.endpoint, forms);
  command->add_flag("--hard", arguments.hard, "its connections end, too: TCP with a reset at the next packet");
  command->callback([&] {
    arguments.get.thing = Thing::Drains;
    arguments.run = [&] {
      return arguments.endpoint.empty() ? get(arguments.server, arguments.get)
                                        : drain(arguments.server, arguments.endpoint, arguments.hard);
    };
  });
  CLI::App* back = app.add_subcommand("undrain", "Put a drained endpoint back");
  back->add_option("ENDPOINT", arguments.endpoint, forms)->required();
  back->callback([&] { arguments.run = [&] { return undrain(arguments.server, arguments.endpoint); }; });
}

void add_events(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand(
      "events", "What happened to the router: configuration, neighbours, tunnels, links, drops, tables");
  command->add_flag("-w,--watch", arguments.get.watch, "and what happens from now on, until Ctrl-C");
  command
      ->add_option("--types", arguments.types,
                   "only these: config,drain,neighbor,tunnel,link,drops,table,state,l2,bgp,dns")
      ->type_name("TYPE[,TYPE]");
  command->add_option("--drop-rate", arguments.drop_rate, "with -w: packets/s of one drop that are told (default: 100)")
      ->type_name("NUMBER");
  command->add_option("-o,--output", arguments.get.output, "table, yaml or json")
      ->check(CLI::IsMember({"table", "yaml", "json"}));
  command->callback([&] {
    arguments.run = [&] {
      Parameters parameters{{"types", arguments.types}, {"dropRate", arguments.drop_rate}};
      return arguments.get.watch ? watch_events(arguments.server, std::move(parameters), arguments.get.output)
                                 : list_events(arguments.server, std::move(parameters), arguments.get.output);
    };
  });
}

void add_completion(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("completion", "A script that makes a shell complete the words of sluicectl");
  command->add_option("SHELL", arguments.shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&] {
    arguments.run = [&] {
      fmt::print("{}", completion_script(arguments.shell));
      return ExitCode::Ok;
    };
  });
}

ExitCode run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("sluicectl: configure and inspect sluiced", "sluicectl");
  app.footer("Where the server is: --socket, --server and others, see sluicectl --help.");  // of the subcommands
  app.require_subcommand(1);
  app.fallthrough();
  ServerOptions server(app, arguments.server);

  add_documents(app, arguments);
  add_delete(app, arguments);
  add_get(app, arguments);
  add_conntrack(app, arguments);
  add_drain(app, arguments);
  add_events(app, arguments);
  add_completion(app, arguments);
  add_trace_commands(app, arguments.server, arguments.run);
  add_ipam_commands(app, arguments.server, arguments.run);
  app.add_subcommand("version", "Versions of sluicectl and sluiced")->callback([&] {
    arguments.run = [&] { return version(arguments.server); };
  });
  app.footer(exit_codes);

  if (argc > 1 && std::string_view(argv[1]) == "__complete") {
    fmt::print("{}", candidate_lines(candidates(app, {argv + 2, argv + argc})));
    return ExitCode::Ok;
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? ExitCode::Ok : ExitCode::Usage;
  }
  if (const std::string missing = server.complete(); !missing.empty()) {
    fmt::print(stderr, "sluicectl: {}\n", missing);
    return ExitCode::Usage;
  }
  return arguments.run();
}

}  // namespace
}  // namespace sluice::ctl

int main(int argc, char** argv) {
  try {
    return static_cast<int>(sluice::ctl::run(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluicectl: %s\n", error.what());
    return static_cast<int>(sluice::ctl::ExitCode::Unreachable);
  }
}
