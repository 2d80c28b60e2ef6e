#include "config/secret.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "config/convert.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

constexpr size_t longest_base64 = (Secret::longest_value + 2) / 3 * 4;

// RFC 4648 section 4; line breaks are left out, as Kubernetes does.
std::optional<std::string> decode_base64(std::string_view text) {
  static constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  size_t digits = 0;
  size_t padding = 0;
  for (const char c : text) {
    if (c == '\n' || c == '\r') continue;
    ++digits;
    if (c == '=') {
      ++padding;
      continue;
    }
    const size_t digit = alphabet.find(c);
    if (digit == std::string_view::npos || padding != 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xff);
  }
  return digits % 4 == 0 && padding <= 2 ? std::optional(std::move(out)) : std::nullopt;
}

bool any_purpose(const json::object& secret) {
  const json::value* type = secret.if_contains("type");
  if (type == nullptr || !type->is_string()) return true;
  const std::string_view text(type->get_string());
  return text.empty() || text == "Opaque" || text == "kubernetes.io/basic-auth";
}

bool strip(json::object& secret, std::string_view field, size_t longest, bool keep) {
  const json::value* found = secret.if_contains(field);
  if (found == nullptr) return false;
  json::object kept;
  const json::object* values = found->if_object();
  if (keep && values != nullptr) {
    for (const auto& [name, value] : *values) {
      if (value.is_string() && value.get_string().size() <= longest) kept[name] = value;
    }
  }
  if (values != nullptr && !kept.empty() && kept.size() == values->size()) return false;
  if (kept.empty()) {
    secret.erase(field);
  } else {
    secret[field] = std::move(kept);
  }
  return true;
}

}  // namespace

bool strip_secret(json::object& secret) {
  const bool keep = any_purpose(secret);
  const bool data = strip(secret, "data", longest_base64, keep);
  const bool text = strip(secret, "stringData", Secret::longest_value, keep);
  return data || text;
}

void hide_secret(json::object& secret) {
  secret.erase("data");
  secret.erase("stringData");
}

void hide_password(json::object& peer) {
  json::value* spec = peer.if_contains("spec");
  if (spec != nullptr && spec->is_object()) spec->get_object().erase("password");
}

Secret read_secret(const ObjectKey&, Reader& object) {
  Secret secret;
  std::string type;
  object.text("type", type);
  if (!type.empty() && type != "Opaque" && type != "kubernetes.io/basic-auth") return secret;
  {
    Reader data = object.object("data");
    std::map<std::string, std::string> encoded;
    object.labels("data", encoded);
    for (const auto& [name, text] : encoded) {
      auto value = text.size() <= longest_base64 ? decode_base64(text) : std::string(Secret::longest_value + 1, ' ');
      if (!value) {
        data.warn(name, "not base64, not used; text as it is goes into stringData");
      } else if (value->size() <= Secret::longest_value) {
        secret.data.insert_or_assign(name, std::move(*value));
      }
    }
  }
  std::map<std::string, std::string> plain;
  object.labels("stringData", plain);
  for (auto& [name, value] : plain) {
    if (value.size() <= Secret::longest_value) secret.data.insert_or_assign(name, std::move(value));
  }
  return secret;
}

}  // namespace sluice::config
