// The parts of a profile that read_profile puts together, each from its own object.
#pragma once

#include "config/reader.h"
#include "tools/trafgen/profile.h"

namespace sluice::trafgen {

inline constexpr std::string_view addr_range_form =
    "an address range such as \"10.0.0.0/24\", \"10.0.0.1-10.0.0.9\" or {\"first\": \"10.0.0.1\", \"count\": 9}";
inline constexpr std::string_view port_range_form = "a port such as 80 or a range such as \"1024-65535\"";

void read_addr_range(config::Reader& from, std::string_view key, std::optional<AddrRange>& out);
void read_addr_ranges(config::Reader& from, std::string_view key, std::vector<AddrRange>& out);
void read_port_range(config::Reader& from, std::string_view key, std::optional<PortRange>& out);
void read_port_ranges(config::Reader& from, std::string_view key, std::vector<PortRange>& out);
// Seconds or rates: a number above 0, or a text such as "1.5M".
void read_quantity(config::Reader& from, std::string_view key, std::optional<double>& out);

void read_flows(config::Reader& stream, StreamProfile& out);
void read_tunnel(config::Reader& stream, StreamProfile& out);
// `key` holds "same", "reversed" or an object.
void read_expect(config::Reader& from, std::string_view key, ExpectProfile& out);
void read_replay(config::Reader& stream, StreamProfile& out);
void read_stream(config::Reader& stream, size_t index, const std::vector<PortProfile>& ports, StreamProfile& out);

}  // namespace sluice::trafgen
