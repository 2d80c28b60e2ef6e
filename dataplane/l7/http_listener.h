// Listens for HTTP requests: the rule of their host and path says which service port they go to.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "dataplane/l7/decision.h"
#include "dataplane/l7/host_rules.h"

namespace sluice::l7 {

struct HttpSettings {
  // Where goes what no rule of its host matches; without a target the router answers: /healthz with 200, everything
  // else with 404 (ING-5, ING-15).
  Route otherwise;
  uint16_t https_port = 443;  // that redirects name (ING-14)
  uint32_t head_seconds = 0;  // Listener::head_seconds()
  bool preserve_client = false;
  TcpLimits tcp;
  friend bool operator==(const HttpSettings&, const HttpSettings&) = default;
};

class HttpListener final : public Listener {
 public:
  HttpListener(HostRules rules, const HttpSettings& settings);

  [[nodiscard]] Decision decide(Bytes start) const override;
  [[nodiscard]] Bytes greeting(Bytes start) const override;
  [[nodiscard]] Decision decide_greeted(Bytes start) const override { return decide_http2(start, true); }
  [[nodiscard]] Bytes timed_out(Bytes start = {}) const override;
  [[nodiscard]] Bytes too_long(Bytes start = {}) const override;
  [[nodiscard]] Bytes failed(Bytes start, Failure failure) const override;
  [[nodiscard]] Bytes bad_body() const override;
  [[nodiscard]] TcpLimits tcp() const override { return settings_.tcp; }
  [[nodiscard]] uint32_t head_seconds() const override { return settings_.head_seconds; }
  [[nodiscard]] uint32_t most_bytes() const override;

  // What a host and a path lead to; for people as well.
  struct Match {
    uint16_t status = 0;      // 0: to the route; else the router answers so
    std::string_view reason;  // why it answers
    Route route;
    std::string_view host;   // as it was sent, without port
    bool one_place = false;  // every path of the host leads there
  };
  [[nodiscard]] Match match(std::string_view authority, std::string_view path) const;
  [[nodiscard]] const HostRules& rules() const { return rules_; }
  [[nodiscard]] const HttpSettings& settings() const { return settings_; }

 private:
  [[nodiscard]] Decision decide_http2(Bytes start, bool greeted) const;
  [[nodiscard]] Decision forward(const Route& route) const;
  // Of a redirect; empty: too long.
  [[nodiscard]] std::string_view location(const Match& match, std::string_view path, std::string_view query) const;

  HostRules rules_;
  HttpSettings settings_;
  std::optional<Route> only_place_;  // where every request leads; nothing: there are several places
};

}  // namespace sluice::l7
