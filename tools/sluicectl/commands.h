// What sluicectl's subcommands do: make a call, print the answer. Each returns the program's exit code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/value.hpp>

#include "tools/sluicectl/client.h"

namespace sluice::ctl {

enum class ExitCode : int { Ok = 0, Refused = 1, Usage = 2, Unreachable = 3 };

// Parameters of a call; empty values are left out.
using Parameters = std::vector<std::pair<std::string, std::string>>;

struct ChangeOptions {
  std::string file;  // "-": standard input
  bool dry_run = false;
  bool ignore_unknown = false;
  bool lines = false;                     // newline-delimited JSON, also recognised by .ndjson and .jsonl
  std::optional<uint64_t> if_generation;  // refused if another generation serves
};

enum class Thing {
  Config,
  Status,
  Interfaces,
  Workers,
  Counters,
  Neighbors,
  Routes,
  Services,
  Flows,
  Ingress,
  LoadBalancers,
  L2,
  ContentPolicies,
  Bgp,
  Drains,
  Addresses,
  Blocks,
  Handles
};

struct GetOptions {
  Thing thing = Thing::Status;
  std::string output = "table";  // table, wide, yaml, json
  bool watch = false;            // again and again, until the user ends it
  bool all = false;              // counters: zeros too
  Parameters parameters;
};

[[nodiscard]] ExitCode apply(const Server& server, const ChangeOptions& options);
// A Delta as it is; a List or a single object is the delta that sets what it holds.
[[nodiscard]] ExitCode patch(const Server& server, const ChangeOptions& options);
[[nodiscard]] ExitCode check(const Server& server, const ChangeOptions& options);
// The same rules as the server's, without a server.
[[nodiscard]] ExitCode check_offline(const ChangeOptions& options);
[[nodiscard]] ExitCode get(const Server& server, const GetOptions& options);
[[nodiscard]] ExitCode get_object(const Server& server, std::string_view kind, std::string_view name, bool as_yaml);
[[nodiscard]] ExitCode delete_object(const Server& server, std::string_view kind, std::string_view name,
                                     const ChangeOptions& options);
[[nodiscard]] ExitCode version(const Server& server);

// traffic.cpp
[[nodiscard]] ExitCode delete_flows(const Server& server, const Parameters& parameters);
// Prints connections as they open and end, until the server or the user ends it.
[[nodiscard]] ExitCode watch_flows(const Server& server, const Parameters& parameters, bool as_json);
// `hard`: its connections end, too.
[[nodiscard]] ExitCode drain(const Server& server, std::string_view endpoint, bool hard);
[[nodiscard]] ExitCode undrain(const Server& server, std::string_view endpoint);

// router_events.cpp
// What happened to the router and is kept.
[[nodiscard]] ExitCode list_events(const Server& server, Parameters parameters, const std::string& output);
// The same, and what happens from now on, until the server or the user ends it.
[[nodiscard]] ExitCode watch_events(const Server& server, Parameters parameters, const std::string& output);

// top.cpp
// Rates of workers, interfaces and drops, again and again: every `delay` seconds, `count` times; 0: until the user ends
// it. On a terminal one takes the place of the other. `output`: table, yaml (a document each time), json (a line).
[[nodiscard]] ExitCode top(const Server& server, double delay, unsigned count, const std::string& output);
// top_services.cpp: connections and rates of services and endpoints, in the same way.
[[nodiscard]] ExitCode top_services(const Server& server, double delay, unsigned count, const std::string& output);

// trace.cpp
// `packet`: the body of POST /v1/explain.
[[nodiscard]] ExitCode explain(const Server& server, const boost::json::value& packet, const std::string& output);
// Prints what happens to the packets that match until there were enough of them.
[[nodiscard]] ExitCode trace(const Server& server, const Parameters& parameters, const std::string& output);
// Writes them to a file, "-" for standard output.
[[nodiscard]] ExitCode capture(const Server& server, const Parameters& parameters, const std::string& file);

}  // namespace sluice::ctl
