#include "control/api_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/flow_entry.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

// A document with a wrong field in each of its objects must not answer with a hundred thousand sentences.
constexpr size_t max_warnings = 1000;
// What one answer lists of a table that may hold millions.
constexpr uint64_t max_flow_limit = 1'000'000;

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
                      {"snatGaveUp", worker.snat_gave_up}};
}

json::value interface(const InterfaceStatus& interface) {
  return json::object{{"name", interface.name},
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

// Every kind that configuration may hold (config/kinds.h).
constexpr std::array<std::string_view, 25> kind_names{"GatewayConfiguration",
                                                      "Node",
                                                      "Service",
                                                      "EndpointSlice",
                                                      "IPPool",
                                                      "BlockAffinity",
                                                      "ServiceCIDR",
                                                      "Namespace",
                                                      "Pod",
                                                      "Secret",
                                                      "NetworkPolicy",
                                                      "Ingress",
                                                      "IngressClass",
                                                      "IPAMConfiguration",
                                                      "BGPConfiguration",
                                                      "BGPPeer",
                                                      "BGPFilter",
                                                      "IPAMBlock",
                                                      "WorkloadEndpoint",
                                                      "FelixConfiguration",
                                                      "IPAddressPool",
                                                      "L2Advertisement",
                                                      "BGPAdvertisement",
                                                      "Community",
                                                      "BFDProfile"};

// kubectl's short names, and the one kind whose short form people will type most.
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> short_names{{
    {"gateway", "GatewayConfiguration"},
    {"ing", "Ingress"},
    {"netpol", "NetworkPolicy"},
    {"no", "Node"},
    {"ns", "Namespace"},
    {"po", "Pod"},
    {"svc", "Service"},
}};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::optional<uint64_t> parse_number(std::string_view word, uint64_t max) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc{} || end != word.data() + word.size() || number > max) return std::nullopt;
  return number;
}

std::string plural(const std::string& singular) {
  if (singular.ends_with('s')) return singular + "es";
  if (singular.ends_with('y')) return singular.substr(0, singular.size() - 1) + "ies";
  return singular + 's';
}

}  // namespace

json::value to_json(const ApplyReply& reply, bool dry_run) {
  const bool good = reply.code == ApplyReply::Code::Applied || reply.code == ApplyReply::Code::Unchanged;
  json::object out{{"generation", reply.generation},
                   {"applied", good && !dry_run},
                   {"changed", reply.code == ApplyReply::Code::Applied && !dry_run},
                   {"applyMillis", reply.apply_milliseconds}};
  if (dry_run) out["dryRun"] = true;
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
                      {"workers", list(status.workers, worker)},
                      {"interfaces", list(status.interfaces, interface)}};
}

json::value to_json(const Counters& counters) {
  return json::object{{"drops", named(counters.drops)}, {"events", named(counters.events)}};
}

json::value to_json(const std::vector<NeighborEntry>& neighbors) {
  return list(neighbors, [](const NeighborEntry& entry) {
    return json::object{{"interface", entry.interface},
                        {"address", net::to_string(entry.address)},
                        {"mac", net::to_string(entry.mac)},
                        {"state", entry.state},
                        {"ageSeconds", entry.age_seconds}};
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

std::string to_text(const json::value& value) {
  std::string out;
  write(out, value);
  out += '\n';
  return out;
}

std::string_view kind_of_word(std::string_view word) {
  const std::string wanted = lower(word);
  const auto* found = std::find_if(kind_names.begin(), kind_names.end(), [&](std::string_view name) {
    const std::string singular = lower(name);
    return wanted == singular || wanted == plural(singular);
  });
  if (found != kind_names.end()) return *found;
  const auto* alias =
      std::find_if(short_names.begin(), short_names.end(), [&](const auto& entry) { return entry.first == wanted; });
  return alias == short_names.end() ? std::string_view{} : alias->second;
}

// ---- parameters --------------------------------------------------------------------------------------

std::optional<std::string_view> Query::find(std::string_view name) const {
  const auto found =
      std::find_if(fields_.begin(), fields_.end(), [&](const auto& field) { return field.first == name; });
  return found == fields_.end() ? std::nullopt : std::optional<std::string_view>(found->second);
}

void Query::complain(std::string_view name, std::string_view expected, std::string_view found) {
  if (complaint_.empty()) complaint_ = fmt::format("parameter {}: expected {}, found \"{}\"", name, expected, found);
}

std::string_view Query::text(std::string_view name) const { return find(name).value_or(""); }

bool Query::flag(std::string_view name) {
  const auto word = find(name);
  if (!word || word == "false") return false;
  if (word != "true") complain(name, "true or false", *word);
  return true;
}

std::optional<uint64_t> Query::number(std::string_view name, uint64_t min, uint64_t max) {
  const auto word = find(name);
  if (!word) return std::nullopt;
  const auto number = parse_number(*word, max);
  if (number && *number >= min) return number;
  complain(name, fmt::format("a number from {} to {}", min, max), *word);
  return std::nullopt;
}

std::optional<net::IpAddr> Query::address(std::string_view name) {
  const auto word = find(name);
  if (!word) return std::nullopt;
  const auto address = net::parse_ip(*word);
  if (!address) complain(name, "an address", *word);
  return address;
}

std::optional<net::Prefix> Query::prefix(std::string_view name) {
  const auto word = find(name);
  if (!word) return std::nullopt;
  if (const auto address = net::parse_ip(*word)) return net::Prefix::host(*address);
  if (const auto prefix = net::parse_prefix(*word)) return prefix->masked();
  complain(name, "an address or a prefix", *word);
  return std::nullopt;
}

std::optional<uint8_t> Query::protocol(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, uint8_t>, 6> names{
      {{"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"icmpv6", 58}, {"ipv6-icmp", 58}, {"sctp", 132}}};
  const auto word = find(name);
  if (!word) return std::nullopt;
  const std::string wanted = lower(*word);
  for (const auto& [text, number] : names) {
    if (wanted == text) return number;
  }
  const auto number = parse_number(*word, 255);
  if (!number) complain(name, "tcp, udp, sctp, icmp, icmpv6 or a protocol number", *word);
  return number ? std::optional(static_cast<uint8_t>(*number)) : std::nullopt;
}

std::string_view Query::kind(std::string_view name) {
  const auto word = find(name);
  if (!word) return "";
  const std::string_view kind = kind_of_word(*word);
  if (kind.empty()) complain(name, "a kind, like Service or services", *word);
  return kind;
}

void Query::state(FlowFilter& filter) {
  static constexpr std::array<std::pair<std::string_view, FlowStanding>, 3> standings{
      {{"UNREPLIED", FlowStanding::Unreplied}, {"REPLIED", FlowStanding::Replied}, {"ASSURED", FlowStanding::Assured}}};
  const auto word = find("state");
  if (!word) return;
  std::string wanted(*word);
  for (char& c : wanted) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  filter.tcp_state = parse_tcp_state(wanted);
  for (const auto& [text, standing] : standings) {
    if (wanted == text) filter.standing = standing;
  }
  if (filter.tcp_state || filter.standing) return;
  complain("state", "a state of TCP like ESTABLISHED, or UNREPLIED, REPLIED, ASSURED", *word);
}

std::optional<uint16_t> Query::port(std::string_view name) {
  const auto port = number(name, 0, 65535);
  return port ? std::optional(static_cast<uint16_t>(*port)) : std::nullopt;
}

FlowFilter Query::flow_filter(size_t default_limit) {
  FlowFilter filter;
  filter.src = prefix("src");
  filter.dst = prefix("dst");
  filter.src_port = port("sport");
  filter.dst_port = port("dport");
  filter.reply_src = prefix("reply-src");
  filter.reply_dst = prefix("reply-dst");
  filter.reply_src_port = port("reply-sport");
  filter.reply_dst_port = port("reply-dport");
  filter.protocol = protocol("proto");
  state(filter);
  filter.service = text("service");
  filter.limit = number("limit", 1, max_flow_limit).value_or(default_limit);
  return filter;
}

}  // namespace sluice::control
