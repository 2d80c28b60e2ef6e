#include <fmt/format.h>

#include "tools/trafgen/profile_reader.h"

namespace sluice::trafgen {
namespace {

namespace json = boost::json;

std::optional<AddrRange> to_addr_range(const json::value& value) {
  if (const auto* text = value.if_string()) return parse_addr_range({text->data(), text->size()});
  const auto* fields = value.if_object();
  if (fields == nullptr) return std::nullopt;
  const auto number = [&](std::string_view key, uint64_t otherwise) -> std::optional<uint64_t> {
    const auto* found = fields->if_contains(key);
    if (found == nullptr) return otherwise;
    if (const auto* i = found->if_int64(); i != nullptr && *i > 0) return static_cast<uint64_t>(*i);
    if (const auto* u = found->if_uint64()) return *u;
    return std::nullopt;
  };
  const auto* first = fields->if_contains("first");
  if (first == nullptr || !first->is_string()) return std::nullopt;
  for (const auto& field : *fields) {
    if (field.key() != "first" && field.key() != "count" && field.key() != "step") return std::nullopt;
  }
  const auto address = net::parse_ip({first->get_string().data(), first->get_string().size()});
  const auto count = number("count", 1);
  const auto step = number("step", 1);
  if (!address || !count || !step) return std::nullopt;
  return make_addr_range(*address, *count, *step);
}

std::optional<PortRange> to_port_range(const json::value& value) {
  if (const auto* text = value.if_string()) return parse_port_range({text->data(), text->size()});
  if (const auto* number = value.if_int64(); number != nullptr && *number >= 0 && *number <= 65535) {
    return PortRange{static_cast<uint16_t>(*number), 1};
  }
  return std::nullopt;
}

template <class T, class Convert>
void read_one(config::Reader& from, std::string_view key, std::optional<T>& out, Convert convert,
              std::string_view form) {
  const auto* value = from.find(key);
  if (value == nullptr) return;
  if (auto found = convert(*value)) {
    out = found;
  } else {
    from.fault(key, fmt::format("expected {}", form));
  }
}

template <class T, class Convert>
void read_list(config::Reader& from, std::string_view key, std::vector<T>& out, Convert convert,
               std::string_view form) {
  const auto* value = from.find(key);
  if (value == nullptr) return;
  if (const auto* text = value->if_string(); text != nullptr && *text == "same") return;
  const auto take = [&](const json::value& item, config::Path place) {
    if (auto found = convert(item)) {
      out.push_back(*found);
    } else {
      from.report().fault(place, fmt::format("expected {}", form));
    }
  };
  if (!value->is_array()) {
    if (auto found = convert(*value)) {
      out.push_back(*found);
    } else {
      from.fault(key, fmt::format("expected \"same\", a list, or {}", form));
    }
    return;
  }
  from.each_value(key, [&](const json::value& item, const config::Place& place) { take(item, place.path()); });
}

}  // namespace

void read_addr_range(config::Reader& from, std::string_view key, std::optional<AddrRange>& out) {
  read_one(from, key, out, to_addr_range, addr_range_form);
}
void read_addr_ranges(config::Reader& from, std::string_view key, std::vector<AddrRange>& out) {
  read_list(from, key, out, to_addr_range, addr_range_form);
}
void read_port_range(config::Reader& from, std::string_view key, std::optional<PortRange>& out) {
  read_one(from, key, out, to_port_range, port_range_form);
}
void read_port_ranges(config::Reader& from, std::string_view key, std::vector<PortRange>& out) {
  read_list(from, key, out, to_port_range, port_range_form);
}

void read_quantity(config::Reader& from, std::string_view key, std::optional<double>& out) {
  read_one(
      from, key, out,
      [](const json::value& value) -> std::optional<double> {
        if (const auto* text = value.if_string()) return parse_rate({text->data(), text->size()});
        double number = 0;
        if (const auto* i = value.if_int64()) number = static_cast<double>(*i);
        if (const auto* u = value.if_uint64()) number = static_cast<double>(*u);
        if (const auto* d = value.if_double()) number = *d;
        return number > 0 && number <= 1e12 ? std::optional(number) : std::nullopt;
      },
      "a number above 0 such as 1000000 or \"1.5M\"");
}

}  // namespace sluice::trafgen
