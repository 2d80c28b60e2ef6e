// spec.externalName of a Service of type ExternalName: a name that DNS knows the endpoints of (ING-9). It is read when
// it is needed, of the few services that rules of Ingresses lead to, and not kept with every Service.
#pragma once

#include <string>
#include <string_view>

namespace sluice::config {

struct ExternalName {
  std::string name;     // in lower case and without a dot at its end; empty: there is none
  std::string problem;  // why it is never asked for; empty: it can be
  friend bool operator==(const ExternalName&, const ExternalName&) = default;
};

// `text`: the value of the field.
[[nodiscard]] ExternalName parse_external_name(std::string_view text);
// Of the JSON text of a Service.
[[nodiscard]] ExternalName external_name_of(std::string_view service);

}  // namespace sluice::config
