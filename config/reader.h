// Typed access to the fields of a JSON object. Every reader method has one shape: it reads one field into `out`,
// leaves `out` alone when the field is absent or null (so `out` holds the default), and records a fault at the
// field's place, leaving `out` alone as well, when the value is not what it should be. Nothing stops at a fault:
// one run over a document finds them all.
//
// Readers live on the stack, inner ones below the outer ones they came from: a place is a chain of links up the
// stack and becomes text only for a finding. They cannot be copied, and an inner reader cannot be taken from a
// temporary one.
//
// A reader may watch for unknown fields: when it goes, it warns of every field that nobody asked for. That is
// for our own kind; Kubernetes objects are full of fields that mean nothing to a router.
#pragma once

#include <array>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "config/finding.h"
#include "dataplane/net/addr.h"

namespace sluice::config {

// Where a value stands in its object; outlived by `parent`.
struct Place {
  const Place* parent = nullptr;
  std::string_view key;  // of an object, unless is_index
  size_t index = 0;      // in a list
  bool is_index = false;

  [[nodiscard]] Path path() const;
};

enum class UnknownFields : uint8_t { Ignore, Warn };
// What to do with host bits in a network: 10.1.2.3/16. Either way the result is masked.
enum class HostBits : uint8_t { Refuse, Warn };

// One spelling of an enumeration.
template <class E>
struct Choice {
  std::string_view text;
  E value;
};

// What to say of a field that is none of `known`, which it may have been meant to be.
[[nodiscard]] std::string unknown_field_text(std::string_view key, std::span<const std::string_view> known);

// "an integer", "a list": what a value is, for messages.
[[nodiscard]] std::string_view type_name(const boost::json::value& value);

class Reader {
 public:
  Reader(const boost::json::object* fields, Report& report, Place place, UnknownFields unknown)
      : fields_(fields), report_(report), place_(place), unknown_(unknown) {}
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // False: the object is absent, or was no object and a fault has been recorded.
  explicit operator bool() const { return fields_ != nullptr; }

  // Present and not null.
  [[nodiscard]] bool has(std::string_view key) { return find(key) != nullptr; }
  // Records a fault unless the field is there.
  bool require(std::string_view key);
  // The field is fine, but this version makes nothing of it.
  void unused(std::string_view key);

  void fault(std::string_view key, std::string message) { report_.fault(path(key), std::move(message)); }
  void warn(std::string_view key, std::string message) { report_.warn(path(key), std::move(message)); }
  [[nodiscard]] Report& report() { return report_; }

  void flag(std::string_view key, bool& out);
  void text(std::string_view key, std::string& out);
  // A field that must be there and hold a text that is not empty. False: a fault has been recorded.
  bool need_text(std::string_view key, std::string& out);
  void texts(std::string_view key, std::vector<std::string>& out);
  void labels(std::string_view key, std::map<std::string, std::string>& out);

  // `Out` is an unsigned integer or an optional one.
  template <class Out>
  void number(std::string_view key, Out& out, uint64_t min, uint64_t max) {
    if (const auto* value = find(key)) {
      if (const auto number = to_number(*value, Place{&place_, key}, min, max)) out = static_cast<Bare<Out>>(*number);
    }
  }

  // `parse`: std::string_view → optional value; `what` follows "is not": "an IPv4 address".
  template <class Out, class Parse>
  void parsed(std::string_view key, Out& out, Parse parse, std::string_view what) {
    if (const auto* value = find(key)) {
      if (auto result = parse_value(*value, Place{&place_, key}, parse, what)) out = std::move(*result);
    }
  }
  template <class T, class Parse>
  void parsed_list(std::string_view key, std::vector<T>& out, Parse parse, std::string_view what) {
    each_value(key, [&](const boost::json::value& value, const Place& place) {
      if (auto result = parse_value(value, place, parse, what)) out.push_back(std::move(*result));
    });
  }

  template <class Out>
  void mac(std::string_view key, Out& out) {
    parsed(key, out, net::parse_mac, "a MAC address such as 02:00:00:00:00:01");
  }
  void addresses(std::string_view key, std::vector<net::IpAddr>& out);
  // A network: masked.
  void network(std::string_view key, net::Prefix& out, HostBits host_bits);
  void networks(std::string_view key, std::vector<net::Prefix>& out, HostBits host_bits);
  // The text of one item of such a list; empty if it is none.
  [[nodiscard]] std::optional<net::Prefix> to_network(std::string_view text, const Place& place, HostBits host_bits);

  // A length of time in whole seconds.
  void duration(std::string_view key, std::chrono::seconds& out);
  // In whole milliseconds.
  void duration(std::string_view key, std::chrono::milliseconds& out);

  template <class E, size_t N>
  void choice(std::string_view key, E& out, const std::array<Choice<E>, N>& choices) {
    const auto* value = find(key);
    if (value == nullptr) return;
    const Place place{&place_, key};
    const auto text = to_text(*value, place);
    if (!text) return;
    std::vector<std::string_view> allowed;
    for (const auto& [name, meaning] : choices) {
      if (name == *text) {
        out = meaning;
        return;
      }
      if (!name.empty()) allowed.push_back(name);
    }
    not_one_of(*text, allowed, place);
  }

  // The object in a field; false when there is none.
  [[nodiscard]] Reader object(std::string_view key) & {
    return {to_object(key), report_, Place{&place_, key}, unknown_};
  }
  Reader object(std::string_view key) && = delete;

  // visit(Reader& item, size_t index) for every object of the list in a field.
  template <class Visit>
  void each(std::string_view key, Visit visit) {
    each_value(key, [&](const boost::json::value& value, const Place& place) {
      if (const auto* fields = value.if_object()) {
        Reader item(fields, report_, place, unknown_);
        visit(item, place.index);
      } else {
        wrong_type(value, place, "an object");
      }
    });
  }
  // visit(const boost::json::value&, const Place&) for every item of the list in a field.
  template <class Visit>
  void each_value(std::string_view key, Visit visit) {
    const auto* value = find(key);
    if (value == nullptr) return;
    const Place list{&place_, key};
    const auto* items = value->if_array();
    if (items == nullptr) return wrong_type(*value, list, "a list");
    size_t index = 0;
    for (const auto& item : *items) visit(item, Place{&list, {}, index++, true});
  }

  // The values themselves. Absent and null are both nullptr.
  [[nodiscard]] const boost::json::value* find(std::string_view key);
  [[nodiscard]] std::optional<std::string_view> to_text(const boost::json::value& value, const Place& place);
  [[nodiscard]] std::optional<uint64_t> to_number(const boost::json::value& value, const Place& place, uint64_t min,
                                                  uint64_t max);
  template <class Parse>
  [[nodiscard]] auto parse_value(const boost::json::value& value, const Place& place, Parse parse,
                                 std::string_view what) -> decltype(parse(std::string_view{})) {
    const auto text = to_text(value, place);
    if (!text) return std::nullopt;
    auto result = parse(*text);
    if (!result) not_a(*text, what, place);
    return result;
  }

 private:
  template <class Unit>
  void whole_duration(std::string_view key, Unit& out, std::string_view expected);
  template <class T>
  struct BareType {
    using Type = T;
  };
  template <class T>
  struct BareType<std::optional<T>> {
    using Type = T;
  };
  template <class T>
  using Bare = typename BareType<T>::Type;

  [[nodiscard]] Path path(std::string_view key) const { return Place{&place_, key}.path(); }
  [[nodiscard]] const boost::json::object* to_object(std::string_view key);
  void wrong_type(const boost::json::value& value, const Place& place, std::string_view expected);
  void not_a(std::string_view text, std::string_view what, const Place& place);
  void not_one_of(std::string_view text, const std::vector<std::string_view>& allowed, const Place& place);

  const boost::json::object* fields_;
  Report& report_;
  Place place_;
  UnknownFields unknown_;
  std::vector<std::string_view> asked_;  // only if unknown fields are wanted
};

}  // namespace sluice::config
