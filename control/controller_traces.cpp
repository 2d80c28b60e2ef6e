// What the router does to packets: explained for one that nobody sent, traced for those that come.
#include <algorithm>

#include <fmt/format.h>

#include "control/controller.h"
#include "control/in_background.h"
#include "control/probe.h"
#include "control/trace_text.h"
#include "dataplane/dry_run.h"

namespace sluice::control {
namespace {

using net::V4;
using net::V6;

template <class F>
const nat::Frontend<F>* frontend_of(const dataplane::Snapshot& now, const Probe& probe) {
  return now.family<F>().services->find(F::addr_of(probe.to), net::be16::from_host(probe.to_port), probe.protocol);
}

// What the workers have to be asked: nothing if the service has no affinity.
template <class F>
std::optional<dataplane::Command::Affinity> affinity_question(const dataplane::Snapshot& now, const Probe& probe) {
  const nat::Frontend<F>* const frontend = frontend_of<F>(now, probe);
  if (frontend == nullptr || frontend->service->affinity_seconds == 0) return std::nullopt;
  return dataplane::Command::Affinity{probe.from, frontend->service->affinity_key, frontend->service->affinity_seconds,
                                      std::nullopt, 0};
}

template <class F>
void remember_endpoint(dataplane::DryRun& run, const dataplane::Snapshot& now, const Probe& probe,
                       const dataplane::Command::Affinity& found) {
  const nat::Frontend<F>* const frontend = frontend_of<F>(now, probe);
  if (frontend == nullptr || !found.endpoint) return;
  const nat::Backend<F> endpoint{F::addr_of(*found.endpoint), net::be16::from_host(found.port)};
  run.remember_endpoint<F>(F::addr_of(probe.from), *frontend->service, endpoint);
}

bool is_echo(const Probe& probe) {
  return probe.protocol == net::protocol::icmp || probe.protocol == net::protocol::icmpv6;
}

}  // namespace

std::string Controller::endpoints_text(const std::string& service_port) const {
  const std::string name = service_port.substr(0, service_port.find(':'));
  const config::Config& config = objects_.config();
  const size_t slash = name.find('/');
  const config::ObjectName service{name.substr(0, slash), slash == std::string::npos ? "" : name.substr(slash + 1)};
  if (services_.external().contains(service)) {
    const ExternalNameEntry entry = external_name_entry(service);
    return fmt::format("{}{}{}", entry.name.empty() ? name : entry.name,
                       entry.problem.empty() ? " has no address" : ": ", entry.problem);
  }
  size_t all = 0;
  size_t ready = 0;
  size_t terminating = 0;
  size_t drained = 0;
  for (const auto& [slice_name, slice] : config.slices) {
    if (slice.fqdn || slice_name.ns + "/" + slice.service != name) continue;
    for (const config::Endpoint& endpoint : slice.endpoints) {
      ++all;
      if (drains_.of({slice_name.ns, endpoint.pod}, endpoint.address, slice.ports.empty() ? 0 : slice.ports[0].port) !=
          Drain::None) {
        ++drained;
      } else if (endpoint.ready) {
        ++ready;
      } else if (endpoint.terminating) {
        ++terminating;
      }
    }
  }
  if (all == 0) return fmt::format("no EndpointSlice of {} has an endpoint", name);
  std::string rest;
  const auto add = [&](size_t count, std::string_view what) {
    if (count != 0) rest += fmt::format("{}{} {}", rest.empty() ? "" : ", ", count, what);
  };
  add(all - ready - terminating - drained, "not ready");
  add(terminating, "terminating");
  add(drained, "drained by hand");
  return fmt::format("{} of {} endpoint{} of {} {} ready{}", ready, all, all == 1 ? "" : "s", name,
                     ready == 1 ? "is" : "are", rest.empty() ? "" : " (" + rest + ")");
}

// Where matches begin is found by expressions that may have to be compiled first: then it is said once more, unless
// other interfaces, routes or services serve by then. Nobody is waited for while anything is said.
Awaitable<std::vector<Explanation>> Controller::describe_traces(std::span<const dataplane::PacketTrace> traces,
                                                                bool dry, std::string_view said) {
  std::vector<Explanation> out;
  std::vector<config::ContentExpression> missing;
  std::vector<size_t> again;
  for (size_t i = 0; i < traces.size(); ++i) {
    out.push_back(text_of_trace(traces[i], dry, said));
    bool incomplete = false;
    for (config::ContentExpression& expression : content_.take_missing_places()) {
      bool noted = std::find(missing.begin(), missing.end(), expression) != missing.end();
      if (!noted && missing.size() < PatternPlaces::most_kept) {
        missing.push_back(std::move(expression));
        noted = true;
      }
      incomplete = incomplete || noted;
    }
    if (incomplete) again.push_back(i);
  }
  if (again.empty()) co_return out;
  const uint32_t serving = deployment_.generation();
  auto make = [&] { return PatternPlaces::compile(missing); };
  std::vector<PatternPlaces::Compiled> made = co_await run_in(compiling_, make);
  content_.keep_places(std::move(made));
  if (deployment_.generation() != serving) co_return out;
  for (const size_t i : again) out[i] = text_of_trace(traces[i], dry, said);
  co_return out;
}

Explanation Controller::text_of_trace(const dataplane::PacketTrace& trace, bool dry, std::string_view said) const {
  TraceNames names;
  names.snapshot = deployment_.snapshot();
  names.plan = &deployment_.plan();
  names.service = [this](uint32_t id) { return services_.name_of(id); };
  names.rule = [this](uint32_t rule) { return services_.ingress().rule_name(rule); };
  names.endpoints = [this](const std::string& service) { return endpoints_text(service); };
  names.content = &content_;
  names.said = said;
  return describe(trace, names, dry);
}

std::string Controller::port_name(uint16_t port) const {
  for (const auto& [device, open] : deployment_.ports()) {
    if (open->id() == port) return device;
  }
  for (const dataplane::Interface& interface : deployment_.snapshot()->interfaces) {
    if (port >= dataplane::first_pod_port && interface.present && interface.port == port) return interface.name;
  }
  return fmt::format("port{}", port);
}

// The connection that such a packet belongs to, if a worker has one; in either direction.
Awaitable<std::optional<dataplane::FlowRecord>> Controller::find_flow(const Probe& probe) {
  if (!probe.from_port) co_return std::nullopt;
  FlowFilter there;
  FlowFilter back;
  there.protocol = back.protocol = probe.protocol;
  there.src = back.reply_src = net::Prefix::host(probe.from);
  there.dst = back.reply_dst = net::Prefix::host(probe.to);
  there.src_port = back.reply_src_port = *probe.from_port;  // of an echo request the identifier
  if (!is_echo(probe)) there.dst_port = back.reply_dst_port = probe.to_port;
  for (const FlowFilter& filter : {there, back}) {
    for (uint16_t i = 0; i < plane_.worker_count(); ++i) {
      const auto command = co_await ask_worker(i, dataplane::Command::Kind::ListFlows, filter, 1);
      if (!command->records.empty()) co_return command->records.front();
    }
  }
  co_return std::nullopt;
}

Awaitable<std::optional<dataplane::Command::Affinity>> Controller::find_affinity(const Probe& probe) {
  const dataplane::Snapshot& now = *deployment_.snapshot();
  auto question = probe.to.is_v4() ? affinity_question<V4>(now, probe) : affinity_question<V6>(now, probe);
  if (!question) co_return std::nullopt;
  // Workers tell each other: any of them knows.
  auto command = std::make_unique<dataplane::Command>();
  command->kind = dataplane::Command::Kind::FindAffinity;
  command->affinity = *question;
  co_await run_command(0, *command);
  co_return command->affinity;
}

Awaitable<net::Result<Explanation>> Controller::explain(Probe probe) {
  if (generation_ == 0) co_return net::Error{"there is no configuration yet"};
  if (const auto packet = make_packet(probe); !packet) co_return packet.error();
  // No change of configuration comes between the questions to the workers and the answer.
  const auto lock = co_await changes_.lock();
  const auto arrival = arrival_of(probe, *deployment_.snapshot(), deployment_.plan());
  if (!arrival) co_return arrival.error();
  const auto flow = co_await find_flow(probe);
  const auto affinity = co_await find_affinity(probe);
  std::vector<dataplane::Command::Mapping> mappings;
  for (const dataplane::Command::Mapping& question : mapping_questions(probe, *deployment_.snapshot())) {
    auto command = std::make_unique<dataplane::Command>();
    command->kind = dataplane::Command::Kind::FindMapping;
    command->mapping = question;
    co_await run_command(keeper_of(question, plane_.tables()), *command);
    if (command->mapping.found) mappings.push_back(command->mapping);
  }
  std::optional<dataplane::FlowRecord> second;
  if (const auto turned = turned_back(probe, *deployment_.snapshot(), flow, mappings)) {
    second = co_await find_flow(*turned);
  }

  const dataplane::Snapshot& now = *deployment_.snapshot();
  auto run = dataplane::DryRun::create(plane_.tables(), now,
                                       static_cast<uint64_t>(Clock::now().time_since_epoch().count()) | 1);
  if (!run) co_return run.error();
  for (const dataplane::Command::Mapping& mapping : mappings) (*run)->remember_mapping(mapping);
  if (flow) (*run)->remember_flow(*flow);
  if (second) (*run)->remember_flow(*second);
  if (affinity && probe.to.is_v4()) remember_endpoint<V4>(**run, now, probe, *affinity);
  if (affinity && !probe.to.is_v4()) remember_endpoint<V6>(**run, now, probe, *affinity);
  const auto trace = std::make_unique<dataplane::PacketTrace>();
  const std::vector<uint16_t>& tls = services_.ingress().settings().https;
  const auto ran = run_probe(**run, probe, *arrival, tls, now, plane_.pool(), *trace);
  if (!ran) co_return ran.error();
  const std::string said = said_by(probe, tls);
  std::vector<Explanation> explained = co_await describe_traces({trace.get(), 1}, true, said);
  co_return std::move(explained.front());
}

Awaitable<net::Result<std::shared_ptr<TraceWatch>>> Controller::trace(TraceRequest request) {
  auto started = traces_.start(request);
  if (!started) co_return started.error();
  if (started->watch) (void)co_await wait_for(started->token);
  co_return std::move(started->watch);
}

}  // namespace sluice::control
