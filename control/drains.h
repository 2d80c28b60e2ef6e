// Endpoints that a person has taken out of service by hand: sluicectl drain. They get no new flows over any service;
// what they have goes on, or, drained hard, ends with its next packet (TCP with a reset, SVC-92; UDP gets another
// endpoint, SVC-94).
//
// They are no part of the configuration: a new document leaves them as they are, and they are kept in a file of their
// own. A drain of an endpoint that does not exist waits for it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/value.hpp>

#include "config/model.h"
#include "dataplane/net/result.h"

namespace sluice::control {

// A pod, an address with all its ports, or one port of it.
struct DrainTarget {
  config::ObjectName pod;  // empty: an address
  net::IpAddr address;
  uint16_t port = 0;  // 0: every port

  // "prod/web-0", "web-0" (in "default"), "10.244.34.5", "10.244.34.5:8080", "fd00::5", "[fd00::5]:8080".
  [[nodiscard]] static net::Result<DrainTarget> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
  [[nodiscard]] bool covers(const config::ObjectName& endpoint_pod, const net::IpAddr& endpoint,
                            uint16_t endpoint_port) const;
  // Whether it does at some port. `ns`: of the endpoint's slice.
  [[nodiscard]] bool may_cover(const std::string& ns, const config::Endpoint& endpoint) const {
    return pod.name.empty() ? address == endpoint.address : pod.name == endpoint.pod && pod.ns == ns;
  }

  friend bool operator==(const DrainTarget&, const DrainTarget&) = default;
  friend auto operator<=>(const DrainTarget&, const DrainTarget&) = default;
};

enum class Drain : uint8_t { None, Graceful, Hard };

class DrainList {
 public:
  // False: it was there, as hard as this.
  bool add(const DrainTarget& target, bool hard);
  // False: it was not there.
  bool remove(const DrainTarget& target) { return targets_.erase(target) != 0; }

  [[nodiscard]] bool empty() const { return targets_.empty(); }
  [[nodiscard]] const std::map<DrainTarget, bool>& targets() const { return targets_; }  // true: hard
  // What holds for an endpoint; the hardest of what covers it.
  [[nodiscard]] Drain of(const config::ObjectName& pod, const net::IpAddr& address, uint16_t port) const;

  // What only one of the two says, or says in another way.
  [[nodiscard]] static std::set<DrainTarget> difference(const DrainList& a, const DrainList& b);

  // The form of the file: {"drains": [{"endpoint": "prod/web-0", "hard": false}]}.
  [[nodiscard]] std::string to_text() const;
  [[nodiscard]] static net::Result<DrainList> from_text(std::string_view text);

 private:
  std::map<DrainTarget, bool> targets_;
};

// Services that have an endpoint which one of these may cover.
[[nodiscard]] std::set<config::ObjectName> services_with(const config::Config& config,
                                                         const std::set<DrainTarget>& targets);
// The service ports that have such an endpoint, "default/web:http", sorted.
[[nodiscard]] std::vector<std::string> services_of(const config::Config& config, const DrainTarget& target);

}  // namespace sluice::control
