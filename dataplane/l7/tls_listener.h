// Listens for TLS connections, which are passed on as they are: the server name of the ClientHello says where to
// (ING-14).
#pragma once

#include <cstdint>
#include <utility>

#include "dataplane/l7/decision.h"
#include "dataplane/l7/host_rules.h"

namespace sluice::l7 {

struct TlsSettings {
  uint32_t head_seconds = 0;  // Listener::head_seconds()
  bool preserve_client = false;
  TcpLimits tcp;
  friend bool operator==(const TlsSettings&, const TlsSettings&) = default;
};

class TlsListener final : public Listener {
 public:
  // Of each host the rule of the path "/" counts.
  explicit TlsListener(HostRules rules, const TlsSettings& settings = {})
      : rules_(std::move(rules)), settings_(settings) {}

  [[nodiscard]] Decision decide(Bytes start) const override;
  [[nodiscard]] Bytes too_long(Bytes start = {}) const override;
  [[nodiscard]] TcpLimits tcp() const override { return settings_.tcp; }
  [[nodiscard]] uint32_t head_seconds() const override { return settings_.head_seconds; }
  [[nodiscard]] uint32_t most_bytes() const override;
  [[nodiscard]] const HostRules& rules() const { return rules_; }
  [[nodiscard]] const TlsSettings& settings() const { return settings_; }

 private:
  HostRules rules_;
  TlsSettings settings_;
};

}  // namespace sluice::l7
