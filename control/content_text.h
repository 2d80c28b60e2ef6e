// What ContentPolicies do to a packet, in words: which of them look into its connection, what was found, and in which
// bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "control/trace_text.h"
#include "dataplane/l7/content_rules.h"

namespace sluice::control {

struct ContentText {
  std::vector<std::string> lines;
  // The strongest of what is found in what a packet that nobody sent says (TraceNames::said).
  l7::ContentAction action = l7::ContentAction::None;
};

// `payload`: of the packet, as much as there is of it.
[[nodiscard]] ContentText describe_content(const dataplane::PacketTrace& trace, const TraceNames& names, bool dry,
                                           std::span<const uint8_t> payload);

// In quotes, with \xNN for what cannot be printed, cut where it is long.
[[nodiscard]] std::string quoted_bytes(std::span<const uint8_t> bytes);

}  // namespace sluice::control
