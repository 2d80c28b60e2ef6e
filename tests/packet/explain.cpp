#include "tests/packet/explain.h"

#include <optional>

namespace sluice::packet_test {

std::string text_of(const control::Explanation& explanation) {
  std::string out;
  for (const auto& [name, text] : explanation.steps) out += name + ": " + text + "\n";
  out += "=> " + explanation.verdict;
  return explanation.reason.empty() ? out : out + " (" + explanation.reason + ")";
}

control::Explanation describe(Rig& rig, const dataplane::PacketTrace& trace, bool dry, std::string_view said) {
  control::TraceNames names;
  names.snapshot = &rig.snapshot();
  names.plan = &rig.plan();
  names.service = [&](uint32_t id) { return rig.services().name_of(id); };
  names.rule = [&](uint32_t rule) { return rig.services().ingress().rule_name(rule); };
  names.endpoints = [](const std::string& service) { return "endpoints of " + service; };
  names.content = &rig.content();
  names.said = said;
  control::Explanation out = control::describe(trace, names, dry);
  // As the controller does, but for the thread.
  const std::vector<config::ContentExpression> missing = rig.content().take_missing_places();
  if (missing.empty()) return out;
  rig.content().keep_places(control::PatternPlaces::compile(missing));
  return control::describe(trace, names, dry);
}

namespace {

using Flows = std::vector<dataplane::FlowRecord>;
using Mappings = std::vector<dataplane::Command::Mapping>;

std::string explain_with(Rig& rig, const control::Probe& probe, const Flows& flows, const Mappings& mappings) {
  const auto arrival = control::arrival_of(probe, rig.snapshot(), rig.plan());
  if (const auto packet = control::make_packet(probe); !packet) return packet.error().message;
  if (!arrival) return arrival.error().message;
  auto run = dataplane::DryRun::create(rig.plane().tables(), rig.snapshot(), 1);
  if (!run) return run.error().message;
  for (const dataplane::Command::Mapping& mapping : mappings) (*run)->remember_mapping(mapping);
  for (const dataplane::FlowRecord& flow : flows) (*run)->remember_flow(flow);
  dataplane::PacketTrace trace;
  const std::vector<uint16_t>& tls = rig.services().ingress().settings().https;
  const auto ran = control::run_probe(**run, probe, *arrival, tls, rig.snapshot(), rig.plane().pool(), trace);
  if (!ran) return ran.error().message;
  return text_of(describe(rig, trace, true, control::said_by(probe, tls)));
}

void work(Rig& rig, uint16_t worker, dataplane::Command& command) {
  if (!rig.plane().worker(worker).submit(&command)) return;
  while (!command.done.load()) (void)rig.plane().worker(worker).run_once();
}

// The connection that a packet from here to there belongs to, in either direction.
std::optional<dataplane::FlowRecord> find_flow(Rig& rig, const control::Probe& probe) {
  dataplane::FlowQuery there, back;
  there.protocol = back.protocol = probe.protocol;
  there.src = back.reply_src = net::Prefix::host(probe.from);
  there.dst = back.reply_dst = net::Prefix::host(probe.to);
  there.src_port = back.reply_src_port = probe.from_port;
  there.dst_port = back.reply_dst_port = probe.to_port;
  for (const dataplane::FlowQuery& query : {there, back}) {
    for (uint16_t i = 0; i < rig.plane().worker_count(); ++i) {
      dataplane::Command command;
      command.query = query;
      command.limit = 1;
      command.records.reserve(1);
      work(rig, i, command);
      if (!command.records.empty()) return command.records.front();
    }
  }
  return std::nullopt;
}

}  // namespace

std::string explain(Rig& rig, const control::Probe& probe, const dataplane::FlowRecord* flow) {
  return explain_with(rig, probe, flow == nullptr ? Flows{} : Flows{*flow}, {});
}

std::string explain_as_known(Rig& rig, const control::Probe& probe) {
  Flows flows;
  Mappings mappings;
  const auto flow = find_flow(rig, probe);
  if (flow) flows.push_back(*flow);
  for (const dataplane::Command::Mapping& question : control::mapping_questions(probe, rig.snapshot())) {
    dataplane::Command command;
    command.kind = dataplane::Command::Kind::FindMapping;
    command.mapping = question;
    work(rig, control::keeper_of(question, rig.plane().tables()), command);
    if (command.mapping.found) mappings.push_back(command.mapping);
  }
  if (const auto turned = control::turned_back(probe, rig.snapshot(), flow, mappings)) {
    if (const auto second = find_flow(rig, *turned)) flows.push_back(*second);
  }
  return explain_with(rig, probe, flows, mappings);
}

control::Probe syn(const Endpoint& from, const Endpoint& to) {
  control::Probe probe;
  probe.from = from.address;
  probe.to = to.address;
  if (from.port != 0) probe.from_port = from.port;
  probe.to_port = to.port;
  return probe;
}

std::string step(const std::string& explanation, const std::string& name) {
  const std::string begin = "\n" + name + ": ";
  const std::string text = "\n" + explanation;
  const size_t at = text.find(begin);
  if (at == std::string::npos) return "";
  const size_t from = at + begin.size();
  return text.substr(from, text.find('\n', from) - from);
}

RigTrace::RigTrace(Rig& rig, const std::string& filter)
    : rig_(rig), filter_(std::move(control::PacketFilter::compile(filter).value())) {
  orders_.filters[1] = filter_.filter();
  for (uint16_t i = 0; i < rig.plane().worker_count(); ++i) rig.plane().worker(i).tracer().order(&orders_);
}

RigTrace::~RigTrace() {
  for (uint16_t i = 0; i < rig_.plane().worker_count(); ++i) rig_.plane().worker(i).tracer().order(nullptr);
  (void)rig_.run();
}

std::vector<dataplane::PacketTrace> RigTrace::take() {
  std::vector<dataplane::PacketTrace> out;
  for (uint16_t i = 0; i < rig_.plane().worker_count(); ++i) {
    rig_.plane().worker(i).tracer().ring().take([&](const dataplane::PacketTrace& trace) { out.push_back(trace); });
  }
  return out;
}

std::vector<std::string> RigTrace::texts() {
  std::vector<std::string> out;
  for (const dataplane::PacketTrace& trace : take()) out.push_back(text_of(describe(rig_, trace, false)));
  return out;
}

}  // namespace sluice::packet_test
