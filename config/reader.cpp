#include "config/reader.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "config/duration.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

// Edits (insert, delete, replace, upper or lower case counts as half) between two field names, in halves.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = 2 * j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = 2 * i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const auto low = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
      const size_t change = a[i - 1] == b[j - 1] ? 0 : low(a[i - 1]) == low(b[j - 1]) ? 1 : 2;
      const size_t best = std::min({diagonal + change, row[j] + 2, row[j - 1] + 2});
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[b.size()];
}

// The known name that `key` was probably meant to be, or empty.
std::string_view meant(std::string_view key, std::span<const std::string_view> known) {
  static constexpr size_t longest = 64;
  std::string_view best;
  size_t nearest = 2 * 3;  // less than three edits
  if (key.size() > longest) return best;
  for (const std::string_view name : known) {
    const size_t edits = distance(key, name);
    if (edits < nearest && edits < name.size()) {  // half of a short name is no likeness
      best = name;
      nearest = edits;
    }
  }
  return best;
}

}  // namespace

Path Place::path() const {
  if (parent == nullptr) return {};
  Path path = parent->path();
  return is_index ? path.add(index) : path.add(key);
}

std::string_view type_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "an integer";
    case json::kind::double_:
      return "a number with a fraction";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "a list";
    case json::kind::object:
      return "an object";
  }
  return "nothing";
}

std::string unknown_field_text(std::string_view key, std::span<const std::string_view> known) {
  const std::string_view near = meant(key, known);
  if (near.empty()) return "unknown field, ignored";
  return fmt::format("unknown field, ignored; did you mean \"{}\"?", near);
}

Reader::~Reader() {
  if (unknown_ == UnknownFields::Ignore || fields_ == nullptr) return;
  for (const auto& field : *fields_) {
    const std::string_view key = field.key();
    if (std::find(asked_.begin(), asked_.end(), key) != asked_.end()) continue;
    warn(key, unknown_field_text(key, asked_));
  }
}

const json::value* Reader::find(std::string_view key) {
  if (fields_ == nullptr) return nullptr;
  if (unknown_ == UnknownFields::Warn) asked_.push_back(key);
  const json::value* value = fields_->if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool Reader::require(std::string_view key) {
  if (has(key)) return true;
  if (fields_ != nullptr) fault(key, "required");
  return false;
}

void Reader::unused(std::string_view key) {
  if (has(key)) warn(key, "not used by this version");
}

void Reader::flag(std::string_view key, bool& out) {
  const auto* value = find(key);
  if (value == nullptr) return;
  if (const bool* flag = value->if_bool()) {
    out = *flag;
  } else {
    wrong_type(*value, Place{&place_, key}, "a boolean");
  }
}

void Reader::text(std::string_view key, std::string& out) {
  if (const auto* value = find(key)) {
    if (const auto text = to_text(*value, Place{&place_, key})) out = *text;
  }
}

bool Reader::need_text(std::string_view key, std::string& out) {
  if (!require(key)) return false;
  const auto text = to_text(*find(key), Place{&place_, key});
  if (!text) return false;
  out = *text;
  if (out.empty()) fault(key, "must not be empty");
  return !out.empty();
}

void Reader::texts(std::string_view key, std::vector<std::string>& out) {
  each_value(key, [&](const json::value& value, const Place& place) {
    if (const auto text = to_text(value, place)) out.emplace_back(*text);
  });
}

void Reader::labels(std::string_view key, std::map<std::string, std::string>& out) {
  const json::object* labels = to_object(key);
  if (labels == nullptr) return;
  const Place parent{&place_, key};
  for (const auto& label : *labels) {
    const std::string_view name = label.key();
    if (const auto text = to_text(label.value(), Place{&parent, name})) out.emplace(name, *text);
  }
}

void Reader::addresses(std::string_view key, std::vector<net::IpAddr>& out) {
  parsed_list(key, out, net::parse_ip, "an IPv4 or IPv6 address");
}

std::optional<net::Prefix> Reader::to_network(std::string_view text, const Place& place, HostBits host_bits) {
  const auto prefix = net::parse_prefix(text);
  if (!prefix) {
    not_a(text, "a network such as 10.244.0.0/16", place);
    return std::nullopt;
  }
  const net::Prefix masked = prefix->masked();
  if (masked == *prefix) return masked;
  if (host_bits == HostBits::Warn) {
    report_.warn(place.path(), fmt::format("{} has host bits set; taken as {}", text, net::to_string(masked)));
    return masked;
  }
  report_.fault(place.path(), fmt::format("{} has host bits set; the network is {}", text, net::to_string(masked)));
  return std::nullopt;
}

void Reader::network(std::string_view key, net::Prefix& out, HostBits host_bits) {
  const auto* value = find(key);
  if (value == nullptr) return;
  const Place place{&place_, key};
  if (const auto text = to_text(*value, place)) {
    if (const auto network = to_network(*text, place, host_bits)) out = *network;
  }
}

void Reader::networks(std::string_view key, std::vector<net::Prefix>& out, HostBits host_bits) {
  each_value(key, [&](const json::value& value, const Place& place) {
    if (const auto text = to_text(value, place)) {
      if (const auto network = to_network(*text, place, host_bits)) out.push_back(*network);
    }
  });
}

template <class Unit>
void Reader::whole_duration(std::string_view key, Unit& out, std::string_view expected) {
  const auto* value = find(key);
  if (value == nullptr) return;
  const Place place{&place_, key};
  const auto length = parse_value(*value, place, parse_duration, "a length of time such as \"1h30m\" or \"30s\"");
  if (!length) return;
  const auto whole = std::chrono::duration_cast<Unit>(*length);
  if (whole == *length) {
    out = whole;
  } else {
    report_.fault(place.path(), std::string(expected));
  }
}

void Reader::duration(std::string_view key, std::chrono::seconds& out) {
  whole_duration(key, out, "expected whole seconds");
}
void Reader::duration(std::string_view key, std::chrono::milliseconds& out) {
  whole_duration(key, out, "expected whole milliseconds");
}

std::optional<std::string_view> Reader::to_text(const json::value& value, const Place& place) {
  if (const json::string* text = value.if_string()) return std::string_view(text->data(), text->size());
  wrong_type(value, place, "a string");
  return std::nullopt;
}

std::optional<uint64_t> Reader::to_number(const json::value& value, const Place& place, uint64_t min, uint64_t max) {
  if (!value.is_int64() && !value.is_uint64()) {
    wrong_type(value, place, "an integer");
    return std::nullopt;
  }
  const bool negative = value.is_int64() && value.get_int64() < 0;
  const uint64_t number = value.is_uint64() ? value.get_uint64() : static_cast<uint64_t>(value.get_int64());
  if (!negative && number >= min && number <= max) return number;
  const std::string found = negative ? std::to_string(value.get_int64()) : std::to_string(number);
  report_.fault(place.path(), fmt::format("expected {} to {}, found {}", min, max, found));
  return std::nullopt;
}

const json::object* Reader::to_object(std::string_view key) {
  const auto* value = find(key);
  if (value == nullptr) return nullptr;
  const json::object* fields = value->if_object();
  if (fields == nullptr) wrong_type(*value, Place{&place_, key}, "an object");
  return fields;
}

void Reader::wrong_type(const json::value& value, const Place& place, std::string_view expected) {
  report_.fault(place.path(), fmt::format("expected {}, found {}", expected, type_name(value)));
}

void Reader::not_a(std::string_view text, std::string_view what, const Place& place) {
  report_.fault(place.path(), fmt::format("{} is not {}", quoted(text), what));
}

void Reader::not_one_of(std::string_view text, const std::vector<std::string_view>& allowed, const Place& place) {
  report_.fault(place.path(), fmt::format("{} is not one of {}", quoted(text), fmt::join(allowed, ", ")));
}

}  // namespace sluice::config
