// Connections between the data plane's records and the API's words.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/router.h"
#include "dataplane/flow_record.h"

namespace sluice::control {

// As conntrack(8) prints and takes them: "ESTABLISHED".
[[nodiscard]] std::string_view name_of(nat::TcpState state);
[[nodiscard]] std::string_view name_of(nat::SctpState state);
[[nodiscard]] std::optional<nat::TcpState> parse_tcp_state(std::string_view upper_case);
// "tcp"; a number if it has no name here.
[[nodiscard]] std::string protocol_name(uint8_t protocol);

// `service`: its name, empty for none.
[[nodiscard]] FlowEntry entry_of(const dataplane::FlowRecord& record, std::string service);
// Everything but the service.
[[nodiscard]] dataplane::FlowQuery query_of(const FlowFilter& filter);

}  // namespace sluice::control
