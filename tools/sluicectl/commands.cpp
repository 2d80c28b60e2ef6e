#include "tools/sluicectl/commands.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <unistd.h>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "config/object_set.h"
#include "config/validate.h"
#include "tools/sluicectl/calls.h"
#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"
#include "tools/sluicectl/yaml.h"

namespace sluice::ctl {
namespace {

namespace json = boost::json;

// ---- documents ---------------------------------------------------------------------------------------

net::Result<std::string> read_document(const std::string& file) {
  const auto failure = [&] { return net::Error{fmt::format("cannot read {}: {}", file, std::strerror(errno))}; };
  std::FILE* in = file == "-" ? stdin : std::fopen(file.c_str(), "rb");
  if (in == nullptr) return failure();
  std::string text;
  std::array<char, 65536> piece;
  size_t got = 0;
  while ((got = std::fread(piece.data(), 1, piece.size(), in)) > 0) text.append(piece.data(), got);
  const bool failed = std::ferror(in) != 0;
  const net::Error error = failure();
  if (in != stdin) std::fclose(in);
  if (failed) return error;
  return text;
}

bool is_lines(const ChangeOptions& options) {
  return options.lines || config::format_of(options.file) == config::Format::NdJson;
}

Parameters change_parameters(const ChangeOptions& options) {
  return {{"dryRun", options.dry_run ? "true" : ""}, {"ignoreUnknown", options.ignore_unknown ? "true" : ""}};
}

void show_change(const Answer& answer) {
  const json::value body = parsed(answer.body);
  for (const json::value& warning : list(body, "warnings")) complain("warning: " + finding_text(warning));
  if (const auto left_out = number<uint64_t>(body, "warningsLeftOut"); left_out > 0) {
    complain(fmt::format("warning: and {} more warnings", left_out));
  }
  const auto generation = number<uint64_t>(body, "generation");
  if (flag(body, "dryRun")) {
    print(
        fmt::format("no faults, {}: generation {}\n",
                    flag(body, "wouldChange") ? "this would be a change; nothing was changed" : "nothing would change",
                    generation));
  } else if (!flag(body, "changed")) {
    print(fmt::format("unchanged: generation {}\n", generation));
  } else {
    print(fmt::format("applied in {:.1f} ms: generation {}\n", number<double>(body, "applyMillis"), generation));
  }
}

std::string if_match(const ChangeOptions& options) {
  return options.if_generation ? fmt::format("\"{}\"", *options.if_generation) : "";
}

ExitCode send_document(const Server& server, std::string_view method, std::string_view path, Parameters parameters,
                       std::string text, const ChangeOptions& options, bool lines) {
  const Call call{std::string(method), target(path, parameters), lines ? "application/x-ndjson" : "application/json",
                  std::move(text), if_match(options)};
  return with_answer(server, call, show_change);
}

// Text that is no JSON goes on as it is: the server says where.
std::string as_delta(std::string text) {
  json::error_code error;
  json::value document = json::parse(text, error);
  if (error || !document.is_object() || ctl::text(document, "kind") == "Delta") return text;
  json::object delta{{"kind", "Delta"}};
  if (ctl::text(document, "kind") == "List") {
    delta["upsert"] = list(document, "items");
  } else {
    delta["upsert"] = json::array{std::move(document)};
  }
  return json::serialize(delta);
}

// ---- one object --------------------------------------------------------------------------------------

// "default/web", or "web" of a kind without namespaces or in the namespace "default".
std::string object_path(std::string_view kind, std::string_view name) {
  const size_t slash = name.find('/');
  const std::string_view ns = slash == std::string_view::npos ? "-" : name.substr(0, slash);
  if (slash != std::string_view::npos) name.remove_prefix(slash + 1);
  return fmt::format("/v1/{}/{}/{}", percent_encoded(kind), percent_encoded(ns), percent_encoded(name));
}

std::string_view path_of(Thing thing) {
  switch (thing) {
    case Thing::Config:
      return "/v1/config";
    case Thing::Status:
    case Thing::Interfaces:
    case Thing::Workers:
      return "/v1/status";
    case Thing::Counters:
      return "/v1/counters";
    case Thing::Neighbors:
      return "/v1/neighbors";
    case Thing::Routes:
      return "/v1/routes";
    case Thing::Services:
      return "/v1/services";
    case Thing::Flows:
      return "/v1/conntrack";
    case Thing::Ingress:
      return "/v1/ingress";
    case Thing::LoadBalancers:
      return "/v1/load-balancers";
    case Thing::L2:
      return "/v1/l2";
    case Thing::ContentPolicies:
      return "/v1/content-policies";
    case Thing::Bgp:
      return "/v1/bgp";
    case Thing::Drains:
      return "/v1/drains";
    case Thing::Addresses:
      return "/v1/ipam/addresses";
    case Thing::Blocks:
      return "/v1/ipam/blocks";
    case Thing::Handles:
      return "/v1/ipam/handles";
  }
  return "";
}

std::string table_of(const GetOptions& options, const json::value& answer) {
  const bool wide = options.output == "wide";
  switch (options.thing) {
    case Thing::Config:
      return config_text(answer, wide);
    case Thing::Status:
      return status_text(answer);
    case Thing::Interfaces:
      return interfaces_text(answer, wide);
    case Thing::Workers:
      return workers_text(answer, wide);
    case Thing::Counters:
      return counters_text(answer, options.all);
    case Thing::Neighbors:
      return neighbors_text(answer);
    case Thing::Routes:
      return routes_text(answer, wide);
    case Thing::Services:
      return services_text(answer, wide);
    case Thing::Flows:
      return flows_text(answer, wide);
    case Thing::Ingress:
      return ingress_text(answer);
    case Thing::LoadBalancers:
      return load_balancers_text(answer);
    case Thing::L2:
      return l2_text(answer);
    case Thing::ContentPolicies:
      return content_policies_text(answer);
    case Thing::Bgp:
      return bgp_text(answer, wide);
    case Thing::Drains:
      return drains_text(answer);
    case Thing::Addresses:
      return addresses_text(answer);
    case Thing::Blocks:
      return blocks_text(answer);
    case Thing::Handles:
      return handles_text(answer);
  }
  return "";
}

// Interfaces and workers are parts of the status.
const json::value& part_of(const GetOptions& options, const json::value& answer) {
  if (options.thing == Thing::Interfaces) return field(answer, "interfaces");
  if (options.thing == Thing::Workers) return field(answer, "workers");
  return answer;
}

std::string text_of(const GetOptions& options, const json::value& answer) {
  if (options.output == "json") return pretty(part_of(options, answer));
  if (options.output == "yaml") return yaml_text(part_of(options, answer));
  return table_of(options, answer);
}

void show_findings(const std::vector<config::Finding>& findings, std::string_view before) {
  for (const config::Finding& finding : findings) {
    const json::object fields{{"kind", finding.kind},
                              {"name", finding.name},
                              {"path", finding.path},
                              {"pointer", finding.pointer},
                              {"message", finding.message}};
    complain(fmt::format("{}{}", before, finding_text(fields)));
  }
}

ExitCode show_failure(const config::ParseFailure& failure) {
  if (failure.syntax) complain(failure.syntax->text());
  show_findings(failure.faults, "");
  return ExitCode::Refused;
}

}  // namespace

ExitCode apply(const Server& server, const ChangeOptions& options) {
  auto text = read_document(options.file);
  if (!text) return usage_error(text.error().message);
  return send_document(server, "PUT", "/v1/config", change_parameters(options), std::move(*text), options,
                       is_lines(options));
}

ExitCode patch(const Server& server, const ChangeOptions& options) {
  auto text = read_document(options.file);
  if (!text) return usage_error(text.error().message);
  return send_document(server, "PATCH", "/v1/config", change_parameters(options), as_delta(std::move(*text)), options,
                       false);
}

ExitCode check(const Server& server, const ChangeOptions& options) {
  auto text = read_document(options.file);
  if (!text) return usage_error(text.error().message);
  const Parameters parameters{{"ignoreUnknown", options.ignore_unknown ? "true" : ""}};
  return send_document(server, "POST", "/v1/config:validate", parameters, std::move(*text), options, is_lines(options));
}

ExitCode check_offline(const ChangeOptions& options) {
  const auto text = read_document(options.file);
  if (!text) return usage_error(text.error().message);
  config::Options parse_options;
  parse_options.format = is_lines(options) ? config::Format::NdJson : config::Format::Json;
  parse_options.ignore_unknown_kinds = options.ignore_unknown;
  auto document = config::parse_document(*text, parse_options);
  if (!document) return show_failure(document.error());
  auto objects = config::ObjectSet::from_document(std::move(*document), config::validate);
  if (!objects) return show_failure(objects.error());
  show_findings(objects->warnings(), "warning: ");
  print(fmt::format("no faults in {} objects\n", objects->size()));
  return ExitCode::Ok;
}

ExitCode get(const Server& server, const GetOptions& options) {
  const Call call{"GET", target(path_of(options.thing), options.parameters)};
  const auto show = [&](const Answer& answer) { print(text_of(options, parsed(answer.body))); };
  if (!options.watch) return with_answer(server, call, show);
  const bool screen = isatty(STDOUT_FILENO) != 0;
  ExitCode code = ExitCode::Ok;
  for (bool first = true; code == ExitCode::Ok; first = false) {
    if (!first) std::this_thread::sleep_for(std::chrono::seconds(2));
    code = with_answer(server, call, [&](const Answer& answer) {
      print(screen ? clear_screen : first ? "" : "\n");
      show(answer);
    });
    std::fflush(stdout);
  }
  return code;
}

ExitCode get_object(const Server& server, std::string_view kind, std::string_view name, bool as_yaml) {
  const Call call{"GET", object_path(kind, name)};
  return with_answer(server, call, [&](const Answer& answer) {
    const json::value object = parsed(answer.body);
    print(as_yaml ? yaml_text(object) : pretty(object));
  });
}

ExitCode delete_object(const Server& server, std::string_view kind, std::string_view name,
                       const ChangeOptions& options) {
  const Call call{"DELETE", target(object_path(kind, name), {{"dryRun", options.dry_run ? "true" : ""}}), "", "",
                  if_match(options)};
  return with_answer(server, call, show_change);
}

ExitCode version(const Server& server) {
  print(fmt::format("sluicectl {}\n", SLUICE_VERSION));
  return with_answer(server, {"GET", "/v1/version"}, [](const Answer& answer) {
    print(fmt::format("sluiced   {}\n", text(parsed(answer.body), "version")));
  });
}

}  // namespace sluice::ctl
