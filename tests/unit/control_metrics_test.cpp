// GET /metrics: what comes out is valid text exposition (format 0.0.4), by a reader of that format written for this
// test, and says what the router said.
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/metrics.h"
#include "dataplane/net/verdict.h"

namespace sluice::control {
namespace {

struct Sample {
  std::string metric;
  std::map<std::string, std::string> labels;
  double value = 0;
};

bool is_name(std::string_view text, bool colons) {
  const auto good = [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || (colons && c == ':');
  };
  return !text.empty() && !std::isdigit(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(), good);
}

// Reads an exposition and complains about everything the format forbids.
class Reader {
 public:
  explicit Reader(const std::string& text) {
    EXPECT_TRUE(text.ends_with('\n'));
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      line.starts_with('#') ? comment(line) : sample(line);
    }
    for (const auto& [name, type] : types_) EXPECT_TRUE(helps_.contains(name)) << name;
  }

  [[nodiscard]] std::optional<double> value(const std::string& metric,
                                            const std::map<std::string, std::string>& labels = {}) const {
    for (const Sample& sample : samples) {
      if (sample.metric == metric && sample.labels == labels) return sample.value;
    }
    return std::nullopt;
  }

  std::vector<Sample> samples;

 private:
  void comment(const std::string& line) {
    std::istringstream words(line);
    std::string hash, keyword, name, rest;
    words >> hash >> keyword >> name;
    std::getline(words >> std::ws, rest);
    EXPECT_TRUE(is_name(name, true)) << line;
    EXPECT_FALSE(rest.empty()) << line;
    if (keyword == "HELP") {
      EXPECT_TRUE(helps_.insert(name).second) << line;
    } else {
      EXPECT_EQ(keyword, "TYPE") << line;
      EXPECT_TRUE(rest == "counter" || rest == "gauge" || rest == "histogram") << line;
      EXPECT_TRUE(rest != "histogram" || name.ends_with("_seconds")) << "without a unit: " << line;
      EXPECT_EQ(rest == "counter", name.ends_with("_total")) << line;
      EXPECT_TRUE(name.starts_with("sluice_")) << line;
      EXPECT_TRUE(types_.emplace(name, rest).second) << "a metric that stands in two places: " << line;
      current_ = name;
    }
  }

  void sample(const std::string& line) {
    Sample sample;
    const size_t name_end = line.find_first_of("{ ");
    ASSERT_NE(name_end, std::string::npos) << line;
    sample.metric = line.substr(0, name_end);
    if (types_[current_] == "histogram") {
      ASSERT_TRUE(sample.metric.starts_with(current_)) << "a sample away from its TYPE";
    } else {
      EXPECT_EQ(sample.metric, current_) << "a sample away from its TYPE";
    }
    size_t at = name_end;
    if (line[at] == '{') at = labels(line, at + 1, sample);
    ASSERT_EQ(line[at], ' ') << line;
    const std::string number = line.substr(at + 1);
    size_t used = 0;
    sample.value = std::stod(number, &used);
    EXPECT_EQ(used, number.size()) << line;
    EXPECT_TRUE(seen_.emplace(sample.metric, sample.labels).second) << "twice: " << line;
    if (types_[current_] == "histogram") part_of_histogram(sample, line);
    samples.push_back(std::move(sample));
  }

  // Buckets in the order of their bounds, each with all below it, the last one with all; then the sum and the count.
  void part_of_histogram(const Sample& sample, const std::string& line) {
    const std::string part = sample.metric.substr(current_.size());
    if (part == "_bucket") {
      const double bound = std::stod(sample.labels.at("le"));
      if (last_bound_ && std::isinf(*last_bound_)) last_bound_.reset();
      EXPECT_TRUE(!last_bound_ || *last_bound_ < bound) << line;
      EXPECT_TRUE(!last_bound_ || below_ <= sample.value) << line;
      last_bound_ = bound;
      below_ = sample.value;
    } else if (part == "_count") {
      EXPECT_TRUE(last_bound_ && std::isinf(*last_bound_)) << "no bucket for +Inf: " << line;
      EXPECT_EQ(sample.value, below_) << line;
    } else {
      EXPECT_EQ(part, "_sum") << line;
    }
  }

  // From behind the brace to behind the other.
  static size_t labels(const std::string& line, size_t at, Sample& sample) {
    while (at < line.size() && line[at] != '}') {
      const size_t equals = line.find("=\"", at);
      if (equals == std::string::npos) break;
      const std::string name = line.substr(at, equals - at);
      EXPECT_TRUE(is_name(name, false)) << line;
      std::string value;
      for (at = equals + 2; at < line.size() && line[at] != '"'; ++at) {
        if (line[at] == '\\') {
          ++at;
          EXPECT_NE(std::string("\\\"n").find(line[at]), std::string::npos) << line;
          value += line[at] == 'n' ? '\n' : line[at];
        } else {
          value += line[at];
        }
      }
      EXPECT_TRUE(sample.labels.emplace(name, value).second) << line;
      ++at;
      if (line[at] == ',') ++at;
    }
    EXPECT_EQ(line[at], '}') << line;
    return at + 1;
  }

  std::string current_;
  std::optional<double> last_bound_;
  double below_ = 0;
  std::set<std::string> helps_;
  std::map<std::string, std::string> types_;
  std::set<std::pair<std::string, std::map<std::string, std::string>>> seen_;
};

Status two_workers() {
  Status status;
  status.version = "0.1.0";
  status.ready = true;
  status.generation_applied = 41;
  status.generation_wanted = 42;
  status.uptime_seconds = 12.5;
  status.last_apply_milliseconds = 12;
  status.mbufs_total = 65536;
  status.mbufs_in_use = 100;
  status.conntrack_max = 1048576;
  for (uint16_t i = 0; i < 2; ++i) {
    WorkerStatus worker;
    worker.index = i;
    worker.packets = 1000 + i;
    worker.busy_cycles = 18446744073709551615U;
    worker.flows_v4 = 10;
    worker.flows_v6 = 20;
    worker.flows_opened = 7;
    worker.snat_exhausted = 3U + i;
    worker.snat_gave_up = 11;
    worker.snat_mappings = 12;
    status.workers.push_back(worker);
  }
  for (uint16_t vlan : {10, 20}) {
    InterfaceStatus interface;
    interface.name = fmt::format("uplink0.{}", vlan);
    interface.device = "0000:3b:00.0";
    interface.vlan = vlan;
    interface.link_up = vlan == 10;
    interface.mtu = 1500;
    interface.rx_packets = vlan;
    interface.rx_missed = 5;
    status.interfaces.push_back(interface);
  }
  return status;
}

TEST(Metrics, AreValidAndComplete) {
  const Reader read(render_metrics(two_workers(), {{{"none", 9}, {"no_route", 3}}, {{"icmp_errors", 4}}}));
  EXPECT_EQ(read.value("sluice_build_info", {{"version", "0.1.0"}}), 1);
  EXPECT_EQ(read.value("sluice_ready"), 1);
  EXPECT_EQ(read.value("sluice_uptime_seconds"), 12.5);
  EXPECT_EQ(read.value("sluice_config_generation"), 41);
  EXPECT_EQ(read.value("sluice_config_generation_wanted"), 42);
  EXPECT_EQ(read.value("sluice_config_last_apply_seconds"), 0.012);
  EXPECT_EQ(read.value("sluice_mbufs_in_use"), 100);
  EXPECT_EQ(read.value("sluice_worker_packets_total", {{"worker", "1"}}), 1001);
  EXPECT_EQ(read.value("sluice_conntrack_entries", {{"family", "ipv4"}}), 20);
  EXPECT_EQ(read.value("sluice_conntrack_entries", {{"family", "ipv6"}}), 40);
  EXPECT_EQ(read.value("sluice_worker_conntrack_entries", {{"worker", "0"}, {"family", "ipv6"}}), 20);
  EXPECT_EQ(read.value("sluice_conntrack_opened_total", {{"worker", "0"}}), 7);
  EXPECT_EQ(read.value("sluice_snat_exhausted_total", {{"worker", "1"}}), 4) << "MASQ-6";
  EXPECT_EQ(read.value("sluice_snat_gave_up_total", {{"worker", "0"}}), 11);
  EXPECT_EQ(read.value("sluice_snat_mappings", {{"worker", "0"}}), 12);
  EXPECT_EQ(read.value("sluice_snat_ports_allocated_total", {{"worker", "0"}}), 0);
  EXPECT_EQ(read.value("sluice_interface_receive_packets_total", {{"interface", "uplink0.20"}}), 20);
  EXPECT_EQ(read.value("sluice_interface_up", {{"interface", "uplink0.20"}}), 0);
  EXPECT_EQ(read.value("sluice_drops_total", {{"reason", "no_route"}}), 3);
  EXPECT_EQ(read.value("sluice_drops_total", {{"reason", "none"}}), std::nullopt);
  EXPECT_EQ(read.value("sluice_events_total", {{"event", "icmp_errors"}}), 4);
}

TEST(Metrics, SCALE2_HistogramsAreCumulative) {
  Measurements measured;
  for (const double seconds : {0.0004, 0.004, 0.3, 1000.0}) measured.network_programming.observe(seconds);
  measured.applies["endpoints"].observe(0.002);
  const Reader read(render_metrics(two_workers(), {}, measured));
  const std::string name = "sluice_network_programming_duration_seconds";
  EXPECT_EQ(read.value(name + "_bucket", {{"le", "0.001"}}), 1);
  EXPECT_EQ(read.value(name + "_bucket", {{"le", "0.005"}}), 2);
  EXPECT_EQ(read.value(name + "_bucket", {{"le", "0.5"}}), 3);
  EXPECT_EQ(read.value(name + "_bucket", {{"le", "300"}}), 3);
  EXPECT_EQ(read.value(name + "_bucket", {{"le", "+Inf"}}), 4);
  EXPECT_EQ(read.value(name + "_count"), 4);
  EXPECT_NEAR(read.value(name + "_sum").value_or(0), 1000.3044, 1e-9);
  EXPECT_EQ(read.value("sluice_config_apply_duration_seconds_count", {{"change", "endpoints"}}), 1);
  EXPECT_EQ(read.value("sluice_config_apply_duration_seconds_count", {{"change", "document"}}), 0);
}

TEST(Metrics, TheApiCountsItsRequests) {
  Measurements measured;
  measured.requests[{"/v1/config", "PUT", 422}] = 3;
  measured.request_durations["/v1/config"].observe(0.02);
  measured.connections = 2;
  std::array<uint64_t, event_type_count> events{};
  events[static_cast<size_t>(EventType::Link)] = 5;
  const Reader read(render_metrics(two_workers(), {}, measured, events));
  EXPECT_EQ(read.value("sluice_api_requests_total", {{"path", "/v1/config"}, {"method", "PUT"}, {"code", "422"}}), 3);
  EXPECT_EQ(read.value("sluice_api_request_duration_seconds_bucket", {{"path", "/v1/config"}, {"le", "0.025"}}), 1);
  EXPECT_EQ(read.value("sluice_api_connections"), 2);
  EXPECT_EQ(read.value("sluice_router_events_total", {{"type", "link"}}), 5);
  EXPECT_EQ(read.value("sluice_router_events_total", {{"type", "config"}}), 0);
}

TEST(Metrics, ING9_NamesAreSums) {
  Measurements measured;
  measured.external_names = {.answered = 5, .none = 4, .failed = 3, .known = 2, .unknown = 1};
  const Reader read(render_metrics(two_workers(), {}, measured));
  EXPECT_EQ(read.value("sluice_external_name_lookups_total", {{"result", "answered"}}), 5);
  EXPECT_EQ(read.value("sluice_external_name_lookups_total", {{"result", "none"}}), 4);
  EXPECT_EQ(read.value("sluice_external_name_lookups_total", {{"result", "failed"}}), 3);
  EXPECT_EQ(read.value("sluice_external_names", {{"state", "known"}}), 2);
  EXPECT_EQ(read.value("sluice_external_names", {{"state", "unknown"}}), 1);
}

TEST(Metrics, CountersKeepAllTheirDigits) {
  EXPECT_NE(
      render_metrics(two_workers(), {}).find("sluice_worker_busy_cycles_total{worker=\"0\"} 18446744073709551615\n"),
      std::string::npos);
}

TEST(Metrics, InterfacesOfOnePortShareItsCounters) {
  const Reader read(render_metrics(two_workers(), {}));
  EXPECT_EQ(read.value("sluice_port_receive_missed_total", {{"port", "0"}, {"device", "0000:3b:00.0"}}), 5);
  EXPECT_EQ(std::count_if(read.samples.begin(), read.samples.end(),
                          [](const Sample& sample) { return sample.metric == "sluice_port_receive_missed_total"; }),
            1);
}

TEST(Metrics, LabelsAreEscaped) {
  Status status = two_workers();
  status.interfaces[0].name = "a\"b\\c\nd";
  const Reader read(render_metrics(status, {}));
  EXPECT_EQ(read.value("sluice_interface_receive_packets_total", {{"interface", "a\"b\\c\nd"}}), 10);
}

TEST(Metrics, NumbersThatAreNoneHaveTheirWords) {
  Status status = two_workers();
  status.uptime_seconds = std::numeric_limits<double>::infinity();
  EXPECT_NE(render_metrics(status, {}).find("sluice_uptime_seconds +Inf\n"), std::string::npos);
  status.uptime_seconds = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(render_metrics(status, {}).find("sluice_uptime_seconds NaN\n"), std::string::npos);
}

TEST(Metrics, EveryDropReasonIsASeries) {
  Counters counters;
  for (size_t i = 0; i < net::drop_reason_count; ++i) {
    counters.drops.push_back({std::string(net::name(static_cast<net::DropReason>(i))), i});
  }
  const Reader read(render_metrics({}, counters));
  for (size_t i = 1; i < net::drop_reason_count; ++i) {
    EXPECT_EQ(read.value("sluice_drops_total", {{"reason", counters.drops[i].name}}), i);
  }
}

// Ten thousand pods are not ten thousand series of each metric.
TEST(Metrics, SeriesAreBounded) {
  Status status;
  for (uint16_t i = 0; i < 10'000; ++i) {
    InterfaceStatus interface;
    interface.name = fmt::format("cali{}", i);
    interface.port = i;
    interface.rx_packets = 1;
    status.interfaces.push_back(interface);
  }
  const Reader read(render_metrics(status, {}));
  EXPECT_EQ(read.value("sluice_interface_receive_packets_total", {{"interface", "(others)"}}),
            10'000 - max_labelled_interfaces);
  EXPECT_LT(read.samples.size(), 10 * max_labelled_interfaces);
}

TEST(Metrics, AnEmptyRouterHasMetricsToo) {
  const Reader read(render_metrics({}, {}));
  EXPECT_EQ(read.value("sluice_ready"), 0);
  EXPECT_EQ(read.value("sluice_conntrack_entries", {{"family", "ipv4"}}), 0);
}

TEST(Metrics, API_ServicesAndTunnelsAreSums) {
  Totals totals;
  totals.cluster_ip_services = 3;
  totals.load_balancer_services = 1;
  totals.ready_endpoints = 5;
  totals.terminating_endpoints = 2;
  totals.drained = 4;
  totals.ipip_tunnels = 7;
  totals.unreachable_tunnels = 6;
  const std::string text = render_metrics({}, {}, {}, {}, {}, totals);
  for (const char* line :
       {"sluice_services{type=\"ClusterIP\"} 3\n", "sluice_services{type=\"NodePort\"} 0\n",
        "sluice_services{type=\"LoadBalancer\"} 1\n", "sluice_service_endpoints{state=\"ready\"} 5\n",
        "sluice_service_endpoints{state=\"terminating\"} 2\n", "sluice_service_endpoints{state=\"unready\"} 0\n",
        "sluice_drained_endpoints 4\n", "sluice_tunnels{kind=\"vxlan\"} 0\n", "sluice_tunnels{kind=\"ipip\"} 7\n",
        "sluice_tunnels_unreachable 6\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace sluice::control
