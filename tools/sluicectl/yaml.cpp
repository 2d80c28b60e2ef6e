#include "tools/sluicectl/yaml.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::ctl {
namespace {

namespace json = boost::json;

// Words that are sure to be read back as text. Everything else stays in quotes, where YAML reads what JSON wrote.
bool is_plain(std::string_view text) {
  static constexpr std::array<std::string_view, 8> taken{"true", "false", "null", "yes", "no", "on", "off", "y"};
  const auto letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; };
  const auto inner = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '/' || c == '.';
  };
  if (text.size() < 2 || !letter(text.front()) || !std::all_of(text.begin(), text.end(), inner)) return false;
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::find(taken.begin(), taken.end(), lower) == taken.end();
}

std::string scalar(const json::value& value) {
  if (const auto* text = value.if_string(); text != nullptr && is_plain(*text)) return std::string(*text);
  if (const auto* real = value.if_double()) return fmt::format("{}", *real);
  return json::serialize(value);
}

bool is_block(const json::value& value) {
  return (value.is_object() && !value.get_object().empty()) || (value.is_array() && !value.get_array().empty());
}

// Lines of an object or a list that is not empty. `first`: what stands before the first line, "- " in a list.
void write(std::string& out, const json::value& value, size_t depth, std::string_view first) {
  const std::string indent(depth, ' ');
  bool begun = false;
  const auto line = [&](const std::string& text) {
    if (begun) {
      out += indent;
    } else {
      out += first;
    }
    begun = true;
    out += text;
  };
  const auto member = [&](const json::value& inner, size_t inner_depth) {
    if (is_block(inner)) {
      out += "\n" + std::string(inner_depth, ' ');
      write(out, inner, inner_depth, "");
    } else {
      out += " " + scalar(inner) + "\n";
    }
  };
  if (value.is_object()) {
    for (const auto& [key, inner] : value.get_object()) {
      const std::string_view name(key);
      line((is_plain(name) ? std::string(name) : json::serialize(json::string_view(key))) + ":");
      member(inner, inner.is_array() ? depth : depth + 2);
    }
    return;
  }
  for (const json::value& inner : value.get_array()) {
    if (is_block(inner)) {
      line("");
      write(out, inner, depth + 2, "- ");
    } else {
      line("- " + scalar(inner) + "\n");
    }
  }
}

}  // namespace

std::string yaml_text(const json::value& value) {
  if (!is_block(value)) return scalar(value) + "\n";
  std::string out;
  write(out, value, 0, "");
  return out;
}

}  // namespace sluice::ctl
