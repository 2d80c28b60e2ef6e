// Answers of the API as text for a person: tables in the manner of kubectl, numbers with units.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/value.hpp>

namespace sluice::ctl {

// Columns as wide as their widest cell, two spaces between, upper-case headers.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }

  // As many cells as the header has. Empty cells show as "-".
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  [[nodiscard]] bool empty() const { return rows_.size() == 1; }
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "1023B", "1.5KiB", "12MiB": at most three digits.
[[nodiscard]] std::string bytes_text(uint64_t bytes);
// "834", "12.3k", "1.49M": three digits.
[[nodiscard]] std::string rate_text(double rate);
// "119s", "12m05s", "3h04m", "5d02h".
[[nodiscard]] std::string duration_text(double seconds);
// Indented by two spaces, with a line feed at the end.
[[nodiscard]] std::string pretty(const boost::json::value& value);

// Of the answers to GET /v1/…; a field that is not there counts as empty. `wide`: with more columns.
[[nodiscard]] std::string config_text(const boost::json::value& answer, bool wide);
[[nodiscard]] std::string status_text(const boost::json::value& answer);
[[nodiscard]] std::string interfaces_text(const boost::json::value& status, bool wide);
[[nodiscard]] std::string workers_text(const boost::json::value& status, bool wide);
[[nodiscard]] std::string counters_text(const boost::json::value& answer, bool zeros);
[[nodiscard]] std::string bgp_text(const boost::json::value& answer, bool wide);
[[nodiscard]] std::string neighbors_text(const boost::json::value& answer);
[[nodiscard]] std::string routes_text(const boost::json::value& answer, bool wide);
[[nodiscard]] std::string services_text(const boost::json::value& answer, bool wide);
[[nodiscard]] std::string flows_text(const boost::json::value& answer, bool wide);
// A line of the table without its frame: "[NEW]    tcp  10.0.0.1:1 → …".
[[nodiscard]] std::string flow_event_text(std::string_view event, const boost::json::value& data);
[[nodiscard]] std::string ingress_text(const boost::json::value& answer);         // ingress_table.cpp
[[nodiscard]] std::string load_balancers_text(const boost::json::value& answer);  // load_balancer_tables.cpp
[[nodiscard]] std::string l2_text(const boost::json::value& answer);
[[nodiscard]] std::string content_policies_text(const boost::json::value& answer);  // content_table.cpp
[[nodiscard]] std::string drains_text(const boost::json::value& answer);
// ipam_tables.cpp
[[nodiscard]] std::string addresses_text(const boost::json::value& answer);
[[nodiscard]] std::string blocks_text(const boost::json::value& answer);
[[nodiscard]] std::string handles_text(const boost::json::value& answer);

// "Service default/web  spec.ports[1].nodePort: message".
[[nodiscard]] std::string finding_text(const boost::json::value& finding);

}  // namespace sluice::ctl
