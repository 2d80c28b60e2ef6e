// The API's words: how the router's values are written as JSON, and how the words of a URL are read as values.
// Names are lowerCamelCase, times are numbers with their unit in the name, addresses are text (RFC 5952).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/value.hpp>

#include "control/router.h"

namespace sluice::control {

// Names and values in order: the parameters of a query, the headers of an answer.
using FieldList = std::vector<std::pair<std::string, std::string>>;

[[nodiscard]] boost::json::value to_json(const ApplyReply& reply, bool dry_run);
[[nodiscard]] boost::json::value to_json(const Status& status);
[[nodiscard]] boost::json::value to_json(const Counters& counters);
[[nodiscard]] boost::json::value to_json(const std::vector<NeighborEntry>& neighbors);
[[nodiscard]] boost::json::value to_json(const std::vector<RouteEntry>& routes);
[[nodiscard]] boost::json::value to_json(const std::vector<ServiceEntry>& services);
[[nodiscard]] boost::json::value to_json(const std::vector<FlowEntry>& flows);
[[nodiscard]] boost::json::value to_json(const FlowEventEntry& event);
[[nodiscard]] boost::json::value to_json(const RouterEvent& event);
[[nodiscard]] boost::json::value to_json(const std::vector<DrainEntry>& drains);
[[nodiscard]] boost::json::value to_json(const DrainReply& reply);
[[nodiscard]] boost::json::value to_json(const std::vector<config::Fault>& faults);

// Server-sent events (the WHATWG's HTML standard, section 9.2): "event: NAME", "data: JSON", an empty line. `id` 0: the
// event has none, and the client goes on with the last it had.
[[nodiscard]] std::string server_sent(std::string_view name, const boost::json::value& data, uint64_t id = 0);

// One line of JSON and a line feed.
[[nodiscard]] std::string to_text(const boost::json::value& value);

// "Service" for service, Services, svc: the words that kubectl takes for a kind. Empty if it is none of ours.
[[nodiscard]] std::string_view kind_of_word(std::string_view word);

// Reads the parameters of a query and keeps the first complaint; whether their names are known is checked before.
class Query {
 public:
  // `fields` outlives the query.
  explicit Query(const FieldList& fields) : fields_(fields) {}

  // "" without the parameter.
  [[nodiscard]] std::string_view text(std::string_view name) const;
  bool flag(std::string_view name, bool fallback = false);  // without the parameter: `fallback`
  // Empty without the parameter.
  std::optional<uint64_t> number(std::string_view name, uint64_t min, uint64_t max);
  std::optional<net::IpAddr> address(std::string_view name);
  std::optional<net::Prefix> prefix(std::string_view name);  // "192.0.2.1" is the prefix of just that address
  std::optional<uint8_t> protocol(std::string_view name);    // "tcp", "TCP" or "6"
  std::string_view kind(std::string_view name);              // as kind_of_word; "" without the parameter

  // src, dst, sport, dport, the same of replies (reply-src …), proto, state, service, limit.
  FlowFilter flow_filter(size_t default_limit);

  // What was wrong, for a person; "" if nothing was.
  [[nodiscard]] const std::string& complaint() const { return complaint_; }

 private:
  // A state of TCP, or UNREPLIED, REPLIED, ASSURED; in upper or lower case.
  void state(FlowFilter& filter);
  std::optional<uint16_t> port(std::string_view name);
  // The parameter's text. A parameter without text is as wrong as one with a wrong text.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const;
  void complain(std::string_view name, std::string_view expected, std::string_view found);

  const FieldList& fields_;
  std::string complaint_;
};

}  // namespace sluice::control
