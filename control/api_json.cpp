#include "control/api_json.h"

#include <cmath>
#include <iterator>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::control {
namespace {

namespace json = boost::json;

// A document with a wrong field in each of its objects must not answer with a hundred thousand sentences.
constexpr size_t max_warnings = 1000;

template <class Items, class Write>
json::array list(const Items& items, const Write& write) {
  json::array out;
  out.reserve(items.size());
  for (const auto& item : items) out.push_back(write(item));
  return out;
}

json::value to_text_value(const net::Prefix& prefix) { return json::string(net::to_string(prefix)); }

json::value finding(const config::Finding& finding) {
  return json::object{{"kind", finding.kind},
                      {"name", finding.name},
                      {"path", finding.path},
                      {"pointer", finding.pointer},
                      {"message", finding.message}};
}

json::value worker(const WorkerStatus& worker) {
  return json::object{{"index", worker.index},
                      {"cpu", worker.cpu},
                      {"generation", worker.generation},
                      {"busyCycles", worker.busy_cycles},
                      {"totalCycles", worker.total_cycles},
                      {"packets", worker.packets},
                      {"handedOver", worker.handed_over},
                      {"receivedOver", worker.received_over},
                      {"flowsV4", worker.flows_v4},
                      {"flowsV6", worker.flows_v6},
                      {"flowsOpened", worker.flows_opened},
                      {"flowsClosed", worker.flows_closed},
                      {"snatAllocated", worker.snat_allocated},
                      {"snatDraws", worker.snat_draws},
                      {"snatExhausted", worker.snat_exhausted},
                      {"snatGaveUp", worker.snat_gave_up},
                      {"snatMappings", worker.snat_mappings}};
}

json::value interface(const InterfaceStatus& interface) {
  json::object out{{"name", interface.name},
                   {"device", interface.device},
                   {"port", interface.port},
                   {"vlan", interface.vlan},
                   {"mac", net::to_string(interface.mac)},
                   {"mtu", interface.mtu},
                   {"linkUp", interface.link_up},
                   {"addresses", list(interface.addresses, to_text_value)},
                   {"rxPackets", interface.rx_packets},
                   {"rxBytes", interface.rx_bytes},
                   {"txPackets", interface.tx_packets},
                   {"txBytes", interface.tx_bytes},
                   {"rxMissed", interface.rx_missed},
                   {"rxErrors", interface.rx_errors},
                   {"txErrors", interface.tx_errors}};
  if (interface.waiting) out["waitingForDevice"] = true;
  return out;
}

json::object named(const std::vector<NamedCounter>& counters) {
  json::object out;
  out.reserve(counters.size());
  for (const NamedCounter& counter : counters) out[counter.name] = counter.value;
  return out;
}

json::value hop(const RouteEntry::Hop& hop) {
  json::object out;
  if (!hop.interface.empty()) out["interface"] = hop.interface;
  if (hop.via) out["via"] = net::to_string(*hop.via);
  if (!hop.tunnel.empty()) {
    out["tunnel"] = hop.tunnel;
    out["mtu"] = hop.tunnel_mtu;
    out["mtuFrom"] = hop.mtu_from_path ? "path" : "configuration";
    if (hop.tunnel_unreachable) out["unreachable"] = true;
  }
  if (!hop.neighbor_state.empty()) out["neighbor"] = hop.neighbor_state;
  return out;
}

json::value frontend(const ServiceEntry::Frontend& frontend) {
  return json::object{{"kind", frontend.kind}, {"address", net::to_string(frontend.address)}, {"port", frontend.port}};
}

json::value endpoint(const ServiceEntry::Endpoint& endpoint) {
  return json::object{{"address", net::to_string(endpoint.address)},
                      {"port", endpoint.port},
                      {"node", endpoint.node},
                      {"local", endpoint.local},
                      {"ready", endpoint.ready},
                      {"serving", endpoint.serving},
                      {"terminating", endpoint.terminating},
                      {"weight", endpoint.weight},
                      {"drained", endpoint.drained}};
}

json::object drain(const DrainEntry& drain) {
  return json::object{{"endpoint", drain.endpoint},
                      {"hard", drain.hard},
                      {"services", list(drain.services, [](const std::string& name) { return json::value(name); })}};
}

json::value tuple(const FlowEntry::Tuple& tuple) {
  return json::object{{"src", net::to_string(tuple.src)}, {"dst", net::to_string(tuple.dst)}, {"sport", tuple.src_port},
                      {"dport", tuple.dst_port},          {"packets", tuple.packets},         {"bytes", tuple.bytes}};
}

json::object flow(const FlowEntry& flow) {
  return json::object{{"protocol", flow.protocol},
                      {"state", flow.state},
                      {"assured", flow.assured},
                      {"replied", flow.replied},
                      {"directReturn", flow.direct_return},
                      {"worker", flow.worker},
                      {"service", flow.service},
                      {"expiresSeconds", flow.expires_seconds},
                      {"original", tuple(flow.original)},
                      {"reply", tuple(flow.reply)}};
}

// Boost.JSON 1.81 writes 12.5 as 1.25E1. That is JSON, but nobody wants to read it.
void write(std::string& out, const json::value& value) {
  if (const auto* object = value.if_object()) {
    out += '{';
    for (const auto& [key, member] : *object) {
      if (out.back() != '{') out += ',';
      out += json::serialize(json::string_view(key));
      out += ':';
      write(out, member);
    }
    out += '}';
  } else if (const auto* array = value.if_array()) {
    out += '[';
    for (const auto& element : *array) {
      if (&element != array->data()) out += ',';
      write(out, element);
    }
    out += ']';
  } else if (const auto* number = value.if_double(); number != nullptr && std::isfinite(*number)) {
    fmt::format_to(std::back_inserter(out), "{}", *number);
  } else if (number != nullptr) {
    out += "null";
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

json::value to_json(const ApplyReply& reply, bool dry_run) {
  const bool good = reply.code == ApplyReply::Code::Applied || reply.code == ApplyReply::Code::Unchanged;
  json::object out{{"generation", reply.generation},
                   {"applied", good && !dry_run},
                   {"changed", reply.code == ApplyReply::Code::Applied && !dry_run},
                   {"applyMillis", reply.apply_milliseconds}};
  if (dry_run) {
    out["dryRun"] = true;
    out["wouldChange"] = reply.would_change;
  }
  json::array warnings;
  for (const config::Warning& warning : reply.warnings) {
    if (warnings.size() == max_warnings) break;
    warnings.push_back(finding(warning));
  }
  if (warnings.size() < reply.warnings.size()) out["warningsLeftOut"] = reply.warnings.size() - warnings.size();
  out["warnings"] = std::move(warnings);
  return out;
}

json::value to_json(const Status& status) {
  return json::object{{"version", status.version},
                      {"nodeName", status.node_name},
                      {"ready", status.ready},
                      {"generationWanted", status.generation_wanted},
                      {"generationApplied", status.generation_applied},
                      {"lastApplyMillis", status.last_apply_milliseconds},
                      {"uptimeSeconds", status.uptime_seconds},
                      {"warnings", list(status.warnings, [](const std::string& text) { return json::value(text); })},
                      {"mbufsTotal", status.mbufs_total},
                      {"mbufsInUse", status.mbufs_in_use},
                      {"conntrackMax", status.conntrack_max},
                      {"loadBalancers", json::object{{"served", status.load_balancers.served},
                                                     {"pending", status.load_balancers.pending},
                                                     {"announced", status.load_balancers.announced}}},
                      {"workers", list(status.workers, worker)},
                      {"interfaces", list(status.interfaces, interface)}};
}

json::value to_json(const Counters& counters) {
  return json::object{{"drops", named(counters.drops)}, {"events", named(counters.events)}};
}

json::value to_json(const std::vector<NeighborEntry>& neighbors) {
  return list(neighbors, [](const NeighborEntry& entry) {
    return json::object{{"interface", entry.interface},     {"address", net::to_string(entry.address)},
                        {"mac", net::to_string(entry.mac)}, {"state", entry.state},
                        {"source", entry.source},           {"ageSeconds", entry.age_seconds}};
  });
}

json::value to_json(const std::vector<RouteEntry>& routes) {
  return list(routes, [](const RouteEntry& route) {
    return json::object{{"destination", net::to_string(route.destination)},
                        {"type", route.type},
                        {"origin", route.origin},
                        {"hops", list(route.hops, hop)}};
  });
}

json::value to_json(const std::vector<ServiceEntry>& services) {
  return list(services, [](const ServiceEntry& service) {
    return json::object{{"name", service.name},
                        {"protocol", service.protocol},
                        {"internalTrafficPolicy", service.internal_policy},
                        {"externalTrafficPolicy", service.external_policy},
                        {"forwarding", service.forwarding},
                        {"frontends", list(service.frontends, frontend)},
                        {"endpoints", list(service.endpoints, endpoint)}};
  });
}

json::value to_json(const std::vector<FlowEntry>& flows) { return list(flows, flow); }

json::value to_json(const FlowEventEntry& event) {
  json::object out{{"timeSeconds", event.time_seconds}};
  const json::object fields = flow(event.flow);
  for (const auto& field : fields) out[field.key()] = field.value();
  return out;
}

json::value to_json(const std::vector<DrainEntry>& drains) { return list(drains, drain); }

json::value to_json(const DrainReply& reply) {
  json::object out = drain(reply.drain);
  out["changed"] = reply.changed;
  out["warnings"] = list(reply.warnings, [](const std::string& text) { return json::value(text); });
  return out;
}

json::value to_json(const std::vector<config::Fault>& faults) { return list(faults, finding); }

json::value to_json(const RouterEvent& event) {
  json::object out{{"timeSeconds", event.time_seconds},
                   {"type", name(event.type)},
                   {"severity", event.warning ? "Warning" : "Normal"},
                   {"reason", event.reason},
                   {"object", event.object},
                   {"message", event.message},
                   {"before", event.before},
                   {"after", event.after}};
  if (event.id != 0) out["id"] = event.id;
  return out;
}

std::string server_sent(std::string_view name, const json::value& data, uint64_t id) {
  const std::string line = id == 0 ? "" : fmt::format("id: {}\n", id);
  return fmt::format("{}event: {}\ndata: {}\n", line, name, to_text(data));
}

std::string to_text(const json::value& value) {
  std::string out;
  write(out, value);
  out += '\n';
  return out;
}

}  // namespace sluice::control
