// The words of a URL as values; declared in api_json.h.
#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "config/kinds.h"
#include "control/api_json.h"
#include "control/flow_entry.h"

namespace sluice::control {
namespace {

// What one answer lists of a table that may hold millions.
constexpr uint64_t max_flow_limit = 1'000'000;

// kubectl's short names, and the one kind whose short form people will type most.
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> short_names{{
    {"gateway", "GatewayConfiguration"},
    {"ing", "Ingress"},
    {"netpol", "NetworkPolicy"},
    {"no", "Node"},
    {"ns", "Namespace"},
    {"po", "Pod"},
    {"svc", "Service"},
}};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::optional<uint64_t> parse_number(std::string_view word, uint64_t max) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc{} || end != word.data() + word.size() || number > max) return std::nullopt;
  return number;
}

std::string plural(const std::string& singular) {
  if (singular.ends_with('s')) return singular + "es";
  if (singular.ends_with('y')) return singular.substr(0, singular.size() - 1) + "ies";
  return singular + 's';
}

}  // namespace

std::string_view kind_of_word(std::string_view word) {
  const std::string wanted = lower(word);
  for (const config::Kind& kind : config::all_kinds()) {
    const std::string singular = lower(kind.name);
    if (wanted == singular || wanted == plural(singular)) return kind.name;
  }
  const auto* alias =
      std::find_if(short_names.begin(), short_names.end(), [&](const auto& entry) { return entry.first == wanted; });
  return alias == short_names.end() ? std::string_view{} : alias->second;
}

// ---- parameters --------------------------------------------------------------------------------------

std::optional<std::string_view> Query::find(std::string_view name) const {
  const auto found =
      std::find_if(fields_.begin(), fields_.end(), [&](const auto& field) { return field.first == name; });
  return found == fields_.end() ? std::nullopt : std::optional<std::string_view>(found->second);
}

void Query::complain(std::string_view name, std::string_view expected, std::string_view found) {
  if (complaint_.empty()) complaint_ = fmt::format("parameter {}: expected {}, found \"{}\"", name, expected, found);
}

std::string_view Query::text(std::string_view name) const { return find(name).value_or(""); }

bool Query::flag(std::string_view name, bool fallback) {
  const auto word = find(name);
  if (!word) return fallback;
  if (word == "false") return false;
  if (word != "true") complain(name, "true or false", *word);
  return true;
}

std::optional<uint64_t> Query::number(std::string_view name, uint64_t min, uint64_t max) {
  const auto word = find(name);
  if (!word) return std::nullopt;
  const auto number = parse_number(*word, max);
  if (number && *number >= min) return number;
  complain(name, fmt::format("a number from {} to {}", min, max), *word);
  return std::nullopt;
}

std::optional<net::IpAddr> Query::address(std::string_view name) {
  const auto word = find(name);
  if (!word) return std::nullopt;
  const auto address = net::parse_ip(*word);
  if (!address) complain(name, "an address", *word);
  return address;
}

std::optional<net::Prefix> Query::prefix(std::string_view name) {
  const auto word = find(name);
  if (!word) return std::nullopt;
  if (const auto address = net::parse_ip(*word)) return net::Prefix::host(*address);
  if (const auto prefix = net::parse_prefix(*word)) return prefix->masked();
  complain(name, "an address or a prefix", *word);
  return std::nullopt;
}

std::optional<uint8_t> Query::protocol(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, uint8_t>, 6> names{
      {{"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"icmpv6", 58}, {"ipv6-icmp", 58}, {"sctp", 132}}};
  const auto word = find(name);
  if (!word) return std::nullopt;
  const std::string wanted = lower(*word);
  for (const auto& [text, number] : names) {
    if (wanted == text) return number;
  }
  const auto number = parse_number(*word, 255);
  if (!number) complain(name, "tcp, udp, sctp, icmp, icmpv6 or a protocol number", *word);
  return number ? std::optional(static_cast<uint8_t>(*number)) : std::nullopt;
}

std::string_view Query::kind(std::string_view name) {
  const auto word = find(name);
  if (!word) return "";
  const std::string_view kind = kind_of_word(*word);
  if (kind.empty()) complain(name, "a kind, like Service or services", *word);
  return kind;
}

void Query::state(FlowFilter& filter) {
  static constexpr std::array<std::pair<std::string_view, FlowStanding>, 3> standings{
      {{"UNREPLIED", FlowStanding::Unreplied}, {"REPLIED", FlowStanding::Replied}, {"ASSURED", FlowStanding::Assured}}};
  const auto word = find("state");
  if (!word) return;
  std::string wanted(*word);
  for (char& c : wanted) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  filter.tcp_state = parse_tcp_state(wanted);
  for (const auto& [text, standing] : standings) {
    if (wanted == text) filter.standing = standing;
  }
  if (filter.tcp_state || filter.standing) return;
  complain("state", "a state of TCP like ESTABLISHED, or UNREPLIED, REPLIED, ASSURED", *word);
}

std::optional<uint16_t> Query::port(std::string_view name) {
  const auto port = number(name, 0, 65535);
  return port ? std::optional(static_cast<uint16_t>(*port)) : std::nullopt;
}

FlowFilter Query::flow_filter(size_t default_limit) {
  FlowFilter filter;
  filter.src = prefix("src");
  filter.dst = prefix("dst");
  filter.src_port = port("sport");
  filter.dst_port = port("dport");
  filter.reply_src = prefix("reply-src");
  filter.reply_dst = prefix("reply-dst");
  filter.reply_src_port = port("reply-sport");
  filter.reply_dst_port = port("reply-dport");
  filter.protocol = protocol("proto");
  state(filter);
  filter.service = text("service");
  filter.limit = number("limit", 1, max_flow_limit).value_or(default_limit);
  return filter;
}

}  // namespace sluice::control
