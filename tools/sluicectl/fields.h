// Reading JSON that another version of sluiced may have written: what is not there counts as empty, not as an error.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/value.hpp>

namespace sluice::ctl {

inline const boost::json::value& field(const boost::json::value& object, std::string_view name) {
  static const boost::json::value none;
  const auto* fields = object.if_object();
  const auto* found = fields == nullptr ? nullptr : fields->if_contains(name);
  return found == nullptr ? none : *found;
}

inline const boost::json::array& list(const boost::json::value& object, std::string_view name) {
  static const boost::json::array none;
  const auto* found = field(object, name).if_array();
  return found == nullptr ? none : *found;
}

inline std::string text(const boost::json::value& object, std::string_view name) {
  const auto* found = field(object, name).if_string();
  return found == nullptr ? std::string() : std::string(*found);
}

template <class T>
T number(const boost::json::value& object, std::string_view name) {
  boost::json::error_code error;
  const auto value = field(object, name).to_number<T>(error);
  return error ? T{} : value;
}

inline bool flag(const boost::json::value& object, std::string_view name) {
  const auto* found = field(object, name).if_bool();
  return found != nullptr && *found;
}

}  // namespace sluice::ctl
