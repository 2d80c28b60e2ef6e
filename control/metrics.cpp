#include "control/metrics.h"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <initializer_list>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace sluice::control {
namespace {

using Label = std::pair<std::string_view, std::string>;

// Prometheus text exposition: all samples of a metric stand together, after its HELP and TYPE.
class Exposition {
 public:
  void counter(std::string_view name, std::string_view help) { begin(name, help, "counter"); }
  void gauge(std::string_view name, std::string_view help) { begin(name, help, "gauge"); }
  void histogram(std::string_view name, std::string_view help) { begin(name, help, "histogram"); }

  // A sample of the metric that began last.
  template <class Number>
  void sample(Number value, std::initializer_list<Label> labels = {}) {
    write("", value, std::vector<Label>(labels));
  }

  // Of a histogram: its buckets, sum and count.
  void buckets(const Histogram& histogram, const std::vector<Label>& labels = {}) {
    uint64_t below = 0;
    for (size_t i = 0; i <= Histogram::bounds.size(); ++i) {
      below += histogram.counts()[i];
      std::vector<Label> with_bound = labels;
      with_bound.emplace_back("le", i == Histogram::bounds.size() ? "+Inf" : fmt::format("{}", Histogram::bounds[i]));
      write("_bucket", below, with_bound);
    }
    write("_sum", histogram.sum(), labels);
    write("_count", histogram.count(), labels);
  }

  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  template <class Number>
  void write(std::string_view suffix, Number value, const std::vector<Label>& labels) {
    out_ += name_;
    out_ += suffix;
    char separator = '{';
    for (const auto& [label, text] : labels) {
      fmt::format_to(std::back_inserter(out_), "{}{}=\"{}\"", separator, label, escaped(text));
      separator = ',';
    }
    if (separator == ',') out_ += '}';
    if constexpr (std::floating_point<Number>) {
      if (std::isnan(value)) {
        out_ += " NaN\n";
        return;
      }
      if (std::isinf(value)) {
        out_ += value > 0 ? " +Inf\n" : " -Inf\n";
        return;
      }
    }
    fmt::format_to(std::back_inserter(out_), " {}\n", value);
  }

  void begin(std::string_view name, std::string_view help, std::string_view type) {
    name_ = name;
    fmt::format_to(std::back_inserter(out_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }

  static std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (c == '\\' || c == '"') out += '\\';
      out += c == '\n' ? std::string_view("\\n") : std::string_view(&c, 1);
    }
    return out;
  }

  std::string out_;
  std::string_view name_;
};

void router_metrics(Exposition& out, const Status& status) {
  out.gauge("sluice_build_info", "The version of the router, as a label; the value is always 1.");
  out.sample(1, {{"version", status.version}});
  out.gauge("sluice_ready", "1 when a full configuration is applied.");
  out.sample(status.ready ? 1 : 0);
  out.gauge("sluice_uptime_seconds", "Time since the router started.");
  out.sample(status.uptime_seconds);
  out.gauge("sluice_config_generation", "The generation of configuration that every worker has passed.");
  out.sample(status.generation_applied);
  out.gauge("sluice_config_generation_wanted", "The generation of configuration that was last accepted.");
  out.sample(status.generation_wanted);
  out.gauge("sluice_config_last_apply_seconds", "How long the last change took until every worker had passed it.");
  out.sample(status.last_apply_milliseconds / 1000);
  out.gauge("sluice_config_warnings", "Warnings about the configuration that is applied.");
  out.sample(status.warnings.size());
  out.gauge("sluice_mbufs", "Packet buffers in the pool.");
  out.sample(status.mbufs_total);
  out.gauge("sluice_mbufs_in_use", "Packet buffers that are out of the pool.");
  out.sample(status.mbufs_in_use);
}

void load_balancer_metrics(Exposition& out, const LoadBalancerStatus& status) {
  out.gauge("sluice_load_balancer_services", "Services of type LoadBalancer that get their addresses from here.");
  out.sample(status.served, {{"state", "served"}});
  out.sample(status.pending, {{"state", "pending"}});
  out.gauge("sluice_load_balancer_pool_addresses_in_use", "Addresses of an IPAddressPool that services have.");
  for (size_t i = 0; i < status.pools.size() && i < max_labelled_interfaces; ++i) {
    out.sample(status.pools[i].second, {{"pool", status.pools[i].first}});
  }
  out.gauge("sluice_l2_announced_addresses", "Load balancer addresses that this router answers ARP and ND for.");
  out.sample(status.announced);
  out.counter("sluice_l2_conflicts_total", "Claims of others for an address that this router answers for.");
  out.sample(status.conflicts);
}

void service_metrics(Exposition& out, const Totals& totals) {
  out.gauge("sluice_services", "Services that the router is the proxy of, by type.");
  out.sample(totals.cluster_ip_services, {{"type", "ClusterIP"}});
  out.sample(totals.node_port_services, {{"type", "NodePort"}});
  out.sample(totals.load_balancer_services, {{"type", "LoadBalancer"}});
  out.gauge("sluice_service_endpoints", "Endpoints of these services, by state; terminating ones still serve.");
  out.sample(totals.ready_endpoints, {{"state", "ready"}});
  out.sample(totals.terminating_endpoints, {{"state", "terminating"}});
  out.sample(totals.unready_endpoints, {{"state", "unready"}});
  out.gauge("sluice_drained_endpoints", "Pods and addresses that are drained by hand.");
  out.sample(totals.drained);
}

void tunnel_metrics(Exposition& out, const Totals& totals) {
  out.gauge("sluice_tunnels", "Tunnels to other nodes, by encapsulation.");
  out.sample(totals.vxlan_tunnels, {{"kind", "vxlan"}});
  out.sample(totals.ipip_tunnels, {{"kind", "ipip"}});
  out.gauge("sluice_tunnels_unreachable", "Tunnels whose far end the underlay lately did not reach.");
  out.sample(totals.unreachable_tunnels);
}

void content_metrics(Exposition& out, const std::vector<ContentStatus>& policies) {
  const auto each = [&](auto value) {
    for (size_t i = 0; i < policies.size() && i < max_labelled_interfaces; ++i) {
      out.sample(value(policies[i]), {{"policy", policies[i].policy}});
    }
  };
  out.counter("sluice_content_matches_total", "Patterns of a ContentPolicy that were found.");
  each([](const ContentStatus& status) { return status.matches; });
  out.gauge("sluice_content_connections", "Connections that are being looked into for a ContentPolicy.");
  each([](const ContentStatus& status) { return status.connections; });
  out.counter("sluice_content_overloads_total", "Connections that there was no room to look into.");
  each([](const ContentStatus& status) { return status.overloads; });
}

void worker_metrics(Exposition& out, const std::vector<WorkerStatus>& workers) {
  const auto each = [&](auto WorkerStatus::*field) {
    for (const WorkerStatus& worker : workers) out.sample(worker.*field, {{"worker", std::to_string(worker.index)}});
  };
  out.counter("sluice_worker_packets_total", "Packets taken from ports and from other workers.");
  each(&WorkerStatus::packets);
  out.counter("sluice_worker_handed_over_packets_total", "Packets given to the worker that owns their connection.");
  each(&WorkerStatus::handed_over);
  out.counter("sluice_worker_received_over_packets_total", "Packets taken from other workers.");
  each(&WorkerStatus::received_over);
  out.counter("sluice_worker_busy_cycles_total", "TSC cycles of loops that moved at least one packet.");
  each(&WorkerStatus::busy_cycles);
  out.counter("sluice_worker_cycles_total", "TSC cycles since the worker was made, those of its sleep among them.");
  each(&WorkerStatus::total_cycles);
  out.gauge("sluice_worker_config_generation", "The generation of configuration that the worker has passed.");
  each(&WorkerStatus::generation);
}

void conntrack_metrics(Exposition& out, const Status& status) {
  uint64_t v4 = 0;
  uint64_t v6 = 0;
  for (const WorkerStatus& worker : status.workers) {
    v4 += worker.flows_v4;
    v6 += worker.flows_v6;
  }
  out.gauge("sluice_conntrack_entries", "Connections tracked, over all workers.");
  out.sample(v4, {{"family", "ipv4"}});
  out.sample(v6, {{"family", "ipv6"}});
  out.gauge("sluice_conntrack_entries_limit", "Connections that can be tracked in each family, over all workers.");
  out.sample(status.conntrack_max);
  out.gauge("sluice_worker_conntrack_entries", "Connections tracked by a worker.");
  for (const WorkerStatus& worker : status.workers) {
    out.sample(worker.flows_v4, {{"worker", std::to_string(worker.index)}, {"family", "ipv4"}});
    out.sample(worker.flows_v6, {{"worker", std::to_string(worker.index)}, {"family", "ipv6"}});
  }
  out.counter("sluice_conntrack_opened_total", "Connections opened.");
  for (const WorkerStatus& worker : status.workers) {
    out.sample(worker.flows_opened, {{"worker", std::to_string(worker.index)}});
  }
  out.counter("sluice_conntrack_closed_total", "Connections closed, expired or removed.");
  for (const WorkerStatus& worker : status.workers) {
    out.sample(worker.flows_closed, {{"worker", std::to_string(worker.index)}});
  }
}

void snat_metrics(Exposition& out, const std::vector<WorkerStatus>& workers) {
  const auto each = [&](uint64_t WorkerStatus::*field) {
    for (const WorkerStatus& worker : workers) out.sample(worker.*field, {{"worker", std::to_string(worker.index)}});
  };
  out.counter("sluice_snat_ports_allocated_total", "Source ports given to translated connections.");
  each(&WorkerStatus::snat_allocated);
  out.counter("sluice_snat_port_draws_total", "Source ports that were looked at for them.");
  each(&WorkerStatus::snat_draws);
  out.counter("sluice_snat_exhausted_total", "Connections refused because every port to their destination is in use.");
  each(&WorkerStatus::snat_exhausted);
  out.counter("sluice_snat_gave_up_total", "Connections refused because no port among those looked at was free.");
  each(&WorkerStatus::snat_gave_up);
  out.gauge("sluice_snat_mappings", "Sources that have an endpoint-independent port.");
  each(&WorkerStatus::snat_mappings);
}

void interface_metrics(Exposition& out, const std::vector<InterfaceStatus>& interfaces) {
  const size_t labelled = std::min(interfaces.size(), max_labelled_interfaces);
  const auto each = [&](uint64_t InterfaceStatus::*field) {
    uint64_t others = 0;
    for (size_t i = 0; i < interfaces.size(); ++i) {
      const InterfaceStatus& interface = interfaces[i];
      if (i < labelled) {
        out.sample(interface.*field, {{"interface", interface.name}});
      } else {
        others += interface.*field;
      }
    }
    if (labelled < interfaces.size()) out.sample(others, {{"interface", "(others)"}});
  };
  out.counter("sluice_interface_receive_packets_total", "Packets received.");
  each(&InterfaceStatus::rx_packets);
  out.counter("sluice_interface_receive_bytes_total", "Bytes received.");
  each(&InterfaceStatus::rx_bytes);
  out.counter("sluice_interface_transmit_packets_total", "Packets sent.");
  each(&InterfaceStatus::tx_packets);
  out.counter("sluice_interface_transmit_bytes_total", "Bytes sent.");
  each(&InterfaceStatus::tx_bytes);
  out.gauge("sluice_interface_up", "1 when the link is up.");
  for (size_t i = 0; i < labelled; ++i) {
    out.sample(interfaces[i].link_up ? 1 : 0, {{"interface", interfaces[i].name}});
  }
  out.gauge("sluice_interface_mtu_bytes", "The largest IP packet.");
  for (size_t i = 0; i < labelled; ++i) out.sample(interfaces[i].mtu, {{"interface", interfaces[i].name}});
}

// The device's own counters belong to its port; interfaces with different VLAN tags share one.
void port_metrics(Exposition& out, const std::vector<InterfaceStatus>& interfaces) {
  std::vector<const InterfaceStatus*> ports;
  std::set<uint16_t> seen;
  for (const InterfaceStatus& interface : interfaces) {
    if (ports.size() < max_labelled_interfaces && seen.insert(interface.port).second) ports.push_back(&interface);
  }
  const auto each = [&](uint64_t InterfaceStatus::*field) {
    for (const InterfaceStatus* port : ports) {
      out.sample(port->*field, {{"port", std::to_string(port->port)}, {"device", port->device}});
    }
  };
  out.counter("sluice_port_receive_missed_total",
              "Packets that the device dropped because no worker took them in time.");
  each(&InterfaceStatus::rx_missed);
  out.counter("sluice_port_receive_errors_total", "Packets that the device received with an error.");
  each(&InterfaceStatus::rx_errors);
  out.counter("sluice_port_transmit_errors_total", "Packets that the device could not send.");
  each(&InterfaceStatus::tx_errors);
}

void counter_metrics(Exposition& out, const Counters& counters) {
  out.counter("sluice_drops_total", "Packets that went no further, by reason.");
  for (const NamedCounter& drop : counters.drops) {
    if (drop.name != "none") out.sample(drop.value, {{"reason", drop.name}});
  }
  out.counter("sluice_events_total", "What else the router counts, by name.");
  for (const NamedCounter& event : counters.events) out.sample(event.value, {{"event", event.name}});
}

void measured_metrics(Exposition& out, const Measurements& measured) {
  out.histogram("sluice_network_programming_duration_seconds",
                "From the time that an EndpointSlice says it was triggered until every worker used it.");
  out.buckets(measured.network_programming);
  out.histogram("sluice_config_apply_duration_seconds",
                "From a request until every worker used its change, by what it changed.");
  for (const auto& [kind, durations] : measured.applies) out.buckets(durations, {{"change", kind}});
  out.counter("sluice_api_requests_total", "Requests to the API, by path, method and status code.");
  for (const auto& [key, count] : measured.requests) {
    const auto& [path, method, code] = key;
    out.sample(count, {{"path", std::string(path)}, {"method", std::string(method)}, {"code", std::to_string(code)}});
  }
  out.histogram("sluice_api_request_duration_seconds",
                "From a request's last byte until its answer was made, by path; of a stream, until it began.");
  for (const auto& [path, durations] : measured.request_durations) {
    out.buckets(durations, {{"path", std::string(path)}});
  }
  out.gauge("sluice_api_connections", "Connections to the API that are open.");
  out.sample(measured.connections);
  out.counter("sluice_api_connections_accepted_total", "Connections to the API that were accepted.");
  out.sample(measured.connections_accepted);
}

void name_metrics(Exposition& out, const ExternalNameCounts& names) {
  out.gauge("sluice_external_names", "Names that Services of type ExternalName behind Ingress rules have, by state.");
  out.sample(names.known, {{"state", "known"}});
  out.sample(names.unknown, {{"state", "unknown"}});
  out.counter("sluice_external_name_lookups_total", "Look-ups of one family of such a name, by result.");
  out.sample(names.answered, {{"result", "answered"}});
  out.sample(names.none, {{"result", "none"}});
  out.sample(names.failed, {{"result", "failed"}});
}

void event_metrics(Exposition& out, const std::array<uint64_t, event_type_count>& events) {
  out.counter("sluice_router_events_total", "Events that GET /v1/events told or could have told, by type.");
  for (size_t i = 0; i < events.size(); ++i) {
    out.sample(events[i], {{"type", std::string(name(static_cast<EventType>(i)))}});
  }
}

void bgp_metrics(Exposition& out, const BgpStatus& bgp) {
  const size_t shown = std::min(bgp.sessions.size(), max_labelled_sessions);
  const auto each = [&](auto value) {
    for (size_t i = 0; i < shown; ++i) {
      const BgpSessionStatus& session = bgp.sessions[i];
      out.sample(value(session), {{"session", session.name}, {"peer", net::to_string(session.peer)}});
    }
  };
  out.gauge("sluice_bgp_connected", "1 when the BGP daemon answers and does what is configured.");
  out.sample(bgp.connected && bgp.problem.empty() ? 1 : 0);
  out.gauge("sluice_bgp_sessions", "BGP sessions that are configured.");
  out.sample(bgp.sessions.size());
  out.gauge("sluice_bgp_announced_prefixes", "Prefixes that the router announces of its own.");
  out.sample(bgp.announced.size());
  out.gauge("sluice_bgp_session_up", "1 when the BGP session is established.");
  each([](const BgpSessionStatus& session) { return session.up ? 1 : 0; });
  out.gauge("sluice_bgp_session_imported_prefixes", "Routes taken from the peer.");
  each([](const BgpSessionStatus& session) { return session.imported; });
  out.gauge("sluice_bgp_session_exported_prefixes", "Routes sent to the peer.");
  each([](const BgpSessionStatus& session) { return session.exported; });
}

}  // namespace

std::string render_metrics(const Status& status, const Counters& counters, const Measurements& measurements,
                           const std::array<uint64_t, event_type_count>& events, const BgpStatus& bgp,
                           const Totals& totals) {
  Exposition out;
  router_metrics(out, status);
  service_metrics(out, totals);
  tunnel_metrics(out, totals);
  load_balancer_metrics(out, status.load_balancers);
  content_metrics(out, status.content);
  worker_metrics(out, status.workers);
  conntrack_metrics(out, status);
  snat_metrics(out, status.workers);
  interface_metrics(out, status.interfaces);
  port_metrics(out, status.interfaces);
  counter_metrics(out, counters);
  measured_metrics(out, measurements);
  name_metrics(out, measurements.external_names);
  event_metrics(out, events);
  if (bgp.enabled) bgp_metrics(out, bgp);
  return out.take();
}

}  // namespace sluice::control
