#include "tools/trafgen/profile.h"

#include <algorithm>
#include <set>

#include <boost/json/stream_parser.hpp>
#include <fmt/format.h>

#include "tools/trafgen/profile_reader.h"

namespace sluice::trafgen {
namespace {

namespace json = boost::json;
using config::Choice;
using config::Reader;

constexpr std::array<Choice<Reflect>, 3> reflections{
    {{"off", Reflect::Off}, {"mac", Reflect::Mac}, {"swap", Reflect::Swap}}};

void read_port(Reader& port, size_t index, PortProfile& out) {
  out.name = fmt::format("port{}", index);
  port.text("name", out.name);
  port.need_text("device", out.device);
  port.mac("mac", out.mac);
  port.number("receiveQueues", out.receive_queues, 1, 32);
  port.parsed_list("addresses", out.addresses, net::parse_prefix, "an address with its prefix, such as 10.0.0.2/24");
  read_addr_ranges(port, "answersFor", out.answers_for);
  port.parsed("gateway", out.gateway, net::parse_ip, "an IP address");
  port.parsed("gateway6", out.gateway6, net::parse_ip, "an IPv6 address");
  port.choice("reflect", out.reflect, reflections);
  const auto from = [&](const net::IpAddr& gateway) {
    return std::any_of(out.addresses.begin(), out.addresses.end(),
                       [&](const net::Prefix& own) { return own.family() == gateway.family(); });
  };
  if (out.gateway && !from(*out.gateway)) port.fault("gateway", "needs an own address of its family in \"addresses\"");
  if (out.gateway6 && !from(*out.gateway6))
    port.fault("gateway6", "needs an own address of its family in \"addresses\"");
}

template <class Item>
void refuse_twins(Reader& reader, std::string_view key, const std::vector<Item>& items) {
  std::set<std::string_view> seen;
  for (size_t i = 0; i < items.size(); ++i) {
    if (seen.insert(items[i].name).second) continue;
    reader.report().fault(config::Path::of(key, i, "name"), "a second one of this name; choose another");
  }
}

}  // namespace

std::string_view name_of(Mode mode) {
  static constexpr std::string_view names[] = {"flood", "rate", "requests", "connections", "replay"};
  return names[static_cast<size_t>(mode)];
}

net::Result<json::value> parse_json(std::string_view text) {
  json::error_code error;
  json::stream_parser parser;
  const size_t end = parser.write_some(json::string_view(text.data(), text.size()), error);
  if (!error) parser.finish(error);
  if (!error && text.find_first_not_of(" \t\r\n", end) != std::string_view::npos) {
    error = json::error::extra_data;
  }
  if (error) {
    const std::string_view before = text.substr(0, end);
    const size_t newline = before.rfind('\n');
    return net::Error{fmt::format("not JSON at line {}, column {}: {}",
                                  1 + std::count(before.begin(), before.end(), '\n'),
                                  newline == std::string_view::npos ? end + 1 : end - newline, error.message())};
  }
  return parser.release();
}

net::Result<Profile> read_profile(const json::value& document) {
  Profile out;
  config::Findings findings;
  config::Report report(findings, {});
  if (!document.is_object()) return net::Error{"expected an object with \"ports\" and \"streams\""};
  {
    Reader root(&document.get_object(), report, {}, config::UnknownFields::Warn);
    std::optional<double> duration;
    read_quantity(root, "duration", duration);
    out.duration = duration.value_or(out.duration);
    if (const auto* warmup = root.find("warmup")) {
      if (warmup->is_number() && warmup->to_number<double>() >= 0) {
        out.warmup = warmup->to_number<double>();
      } else {
        root.fault("warmup", "expected seconds, 0 or more");
      }
    }
    root.each("ports", [&](Reader& port, size_t index) { read_port(port, index, out.ports.emplace_back()); });
    if (out.ports.empty()) root.fault("ports", "there is no port; name a DPDK device here or with --port");
    root.each("streams",
              [&](Reader& stream, size_t index) { read_stream(stream, index, out.ports, out.streams.emplace_back()); });
    refuse_twins(root, "ports", out.ports);
    refuse_twins(root, "streams", out.streams);
    if (out.streams.size() > 64) root.fault("streams", "more than 64 streams");
    size_t trials = 1;
    for (size_t i = 0; i < out.streams.size(); ++i) {
      const size_t rates = out.streams[i].rates.size();
      if (rates > 1 && trials > 1 && rates != trials) {
        report.fault(config::Path::of("streams", i, "rate"), "ramps of different lengths; give all the same steps");
      }
      trials = std::max(trials, rates);
    }
    const bool connections = std::any_of(out.streams.begin(), out.streams.end(),
                                         [](const StreamProfile& s) { return s.mode == Mode::Connections; });
    if (connections && out.streams.size() > 8) {
      root.fault("streams", "with mode \"connections\" there can be 8 streams, whose number TCP carries");
    }
  }
  std::string text;
  const auto add = [&](const config::Finding& finding) {
    if (!text.empty()) text += '\n';
    text += (finding.pointer.empty() ? "" : finding.pointer + ": ") + finding.message;
  };
  for (const auto& fault : findings.take_faults()) add(fault);
  for (const auto& warning : findings.warnings) add(warning);
  if (!text.empty()) return net::Error{text};
  return out;
}

}  // namespace sluice::trafgen
