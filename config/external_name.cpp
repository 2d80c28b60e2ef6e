#include "config/external_name.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include "config/finding.h"
#include "config/kinds.h"
#include "dataplane/net/addr.h"

namespace sluice::config {

// An address is not what the field is for: Kubernetes takes one of IPv4 for a DNS name of digits, which nobody knows.
ExternalName parse_external_name(std::string_view text) {
  ExternalName out;
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty()) {
    out.problem = "it names nothing";
    return out;
  }
  if (net::parse_ip(text)) {
    out.problem = fmt::format(
        "{} is an address, which Kubernetes takes for a DNS name of digits; for an address make a Service without a "
        "selector and an EndpointSlice of it",
        quoted(text));
    return out;
  }
  out.name = text;
  for (char& c : out.name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  if (!is_dns_subdomain(out.name)) {
    out = {{}, fmt::format("{} is not a DNS name such as db.example.com", quoted(text))};
  }
  return out;
}

ExternalName external_name_of(std::string_view service) {
  namespace json = boost::json;
  json::error_code wrong;
  const json::value value = json::parse({service.data(), service.size()}, wrong);
  const json::object* const object = wrong ? nullptr : value.if_object();
  const json::value* const spec = object == nullptr ? nullptr : object->if_contains("spec");
  const json::object* const fields = spec == nullptr ? nullptr : spec->if_object();
  const json::value* const name = fields == nullptr ? nullptr : fields->if_contains("externalName");
  const json::string* const text = name == nullptr ? nullptr : name->if_string();
  return parse_external_name(text == nullptr ? std::string_view() : std::string_view(text->data(), text->size()));
}

}  // namespace sluice::config
