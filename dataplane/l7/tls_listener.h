// Listens for TLS connections, which are passed on as they are: the server name of the ClientHello says where to
// (ING-14).
#pragma once

#include <utility>

#include "dataplane/l7/decision.h"
#include "dataplane/l7/host_rules.h"

namespace sluice::l7 {

class TlsListener final : public Listener {
 public:
  // Of each host the rule of the path "/" counts.
  explicit TlsListener(HostRules rules) : rules_(std::move(rules)) {}

  [[nodiscard]] Decision decide(Bytes start) const override;
  [[nodiscard]] Bytes too_long() const override;
  [[nodiscard]] uint32_t most_bytes() const override;
  [[nodiscard]] const HostRules& rules() const { return rules_; }

 private:
  HostRules rules_;
};

}  // namespace sluice::l7
