// GatewayConfiguration spec.ingress: where the gateway listens for what Ingress objects have rules for.
#include <algorithm>
#include <charconv>

#include "config/convert.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

std::optional<DefaultBackend> parse_default_backend(std::string_view text) {
  const size_t slash = text.find('/');
  const size_t colon = text.rfind(':');
  if (slash == std::string_view::npos || colon == std::string_view::npos || colon < slash) return std::nullopt;
  DefaultBackend out;
  out.ns = text.substr(0, slash);
  out.service = text.substr(slash + 1, colon - slash - 1);
  const std::string_view port = text.substr(colon + 1);
  if (!is_dns_label(out.ns) || !is_dns_1035_label(out.service) || port.empty()) return std::nullopt;
  if (std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    const auto read = std::from_chars(port.data(), port.data() + port.size(), out.port.number);
    return read.ec != std::errc{} || out.port.number == 0 ? std::nullopt : std::optional(out);
  }
  out.port = {std::string(port), 0};
  return is_dns_label(port) ? std::optional(out) : std::nullopt;
}

void read_ports(Reader& object, std::string_view key, std::vector<uint16_t>& out) {
  if (!object.has(key)) return;
  out.clear();
  object.each_value(key, [&](const json::value& value, const Place& place) {
    if (const auto port = object.to_number(value, place, 1, 65535)) out.push_back(static_cast<uint16_t>(*port));
  });
}

}  // namespace

void read_ingress_settings(Reader& spec, IngressSettings& out) {
  Reader object = spec.object("ingress");
  object.flag("enabled", out.enabled);
  read_ports(object, "http", out.http);
  read_ports(object, "https", out.https);
  object.addresses("addresses", out.addresses);
  object.parsed("defaultBackend", out.default_backend, parse_default_backend,
                "a port of a Service such as default/web:80 or default/web:http");
  object.flag("sslRedirect", out.ssl_redirect);
  object.flag("preserveClientAddress", out.preserve_client_address);
  Reader tcp = object.object("tcp");
  constexpr uint64_t least_mss = 536;  // what every link takes (RFC 9293 section 3.7.1)
  tcp.number("mss", out.tcp.mss, least_mss, 65495);
  tcp.flag("timestamps", out.tcp.timestamps);
  tcp.flag("sack", out.tcp.sack);
  Reader timeouts = object.object("timeouts");
  timeouts.duration("headers", out.header_timeout);
}

}  // namespace sluice::config
