#include "config/secret.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "config/convert.h"
#include "config/json_reader.h"

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

constexpr std::string_view password_field = "password";

void mark_hidden(json::object& object, std::string_view fields) {
  json::value* metadata = object.if_contains("metadata");
  if (fields.empty() || metadata == nullptr || !metadata->is_object()) return;
  json::value& annotations = metadata->get_object()["annotations"];
  if (!annotations.is_object()) annotations = json::object();
  annotations.get_object()[redacted_annotation] = json::string(fields);
}

// Removes it.
std::optional<std::string> take_annotation(json::object& object) {
  json::value* metadata = object.if_contains("metadata");
  if (metadata == nullptr || !metadata->is_object()) return std::nullopt;
  json::object& fields = metadata->get_object();
  json::value* found = fields.if_contains("annotations");
  if (found == nullptr || !found->is_object()) return std::nullopt;
  json::object& annotations = found->get_object();
  const json::value* mark = annotations.if_contains(redacted_annotation);
  if (mark == nullptr || !mark->is_string()) return std::nullopt;
  std::string text(mark->get_string());
  annotations.erase(redacted_annotation);
  if (annotations.empty()) fields.erase("annotations");
  return text;
}

bool has(const json::object& object, std::string_view field) {
  const json::value* value = object.if_contains(field);
  return value != nullptr && !value->is_null();
}

// Where the hidden fields of an object are.
template <class Object>
Object* part(Object& object, bool peer) {
  if (!peer) return &object;
  auto* spec = object.if_contains("spec");
  return spec == nullptr ? nullptr : spec->if_object();
}

// Of both fields of a Secret.
std::set<std::string> keys_of(const json::object& secret) {
  std::set<std::string> out;
  for (const std::string_view field : {"data", "stringData"}) {
    const json::value* values = secret.if_contains(field);
    if (values == nullptr || !values->is_object()) continue;
    for (const auto& entry : values->get_object()) out.emplace(entry.key());
  }
  return out;
}

// What was stored of these keys does not come back: they have a value that counts.
void leave_to(const std::set<std::string>& keys, json::value& stored) {
  if (!stored.is_object()) return;
  for (const std::string& key : keys) stored.get_object().erase(key);
}

}  // namespace

bool strip_secret(json::object& secret) {
  const bool keep = any_purpose(secret);
  const bool data = strip(secret, "data", longest_base64, keep);
  const bool text = strip(secret, "stringData", Secret::longest_value, keep);
  return data || text;
}

void hide_secret(json::object& secret) {
  std::string hidden;
  for (const std::string_view field : {"data", "stringData"}) {
    if (secret.erase(field) != 0) hidden += (hidden.empty() ? "" : ",") + std::string(field);
  }
  mark_hidden(secret, hidden);
}

void hide_password(json::object& peer) {
  json::value* spec = peer.if_contains("spec");
  if (spec != nullptr && spec->is_object() && spec->get_object().erase(password_field) != 0) {
    mark_hidden(peer, password_field);
  }
}

void restore_hidden(RawObject& raw, const std::string* stored, Findings& findings) {
  const bool peer = raw.kind->use == KindUse::MetallbPeer;
  if (!peer && raw.kind->use != KindUse::Secret) return;
  json::object& object = raw.value.get_object();
  const std::optional<std::string> hidden = take_annotation(object);
  if (!hidden) return;
  raw.text = {};
  const json::value before = stored == nullptr ? json::value() : read_canonical(*stored);
  const auto fault = [&](std::string message) {
    Report(findings, {raw.key.kind, raw.key.ns, raw.key.name, raw.location})
        .fault(Path::of("metadata", "annotations", redacted_annotation), std::move(message));
  };
  const std::set<std::string> said = peer ? std::set<std::string>{} : keys_of(object);
  for (std::string_view rest = *hidden; !rest.empty();) {
    const size_t comma = rest.find(',');
    const std::string_view field = rest.substr(0, comma);
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    if (peer ? field != password_field : field != "data" && field != "stringData") {
      fault(fmt::format("{} is nothing that is ever hidden; it is {}", quoted(field),
                        peer ? password_field : "data or stringData"));
      continue;
    }
    json::object* to = part(object, peer);
    if (to == nullptr || has(*to, field)) continue;
    const json::object* from = before.is_object() ? part(before.get_object(), peer) : nullptr;
    const json::value* value = from == nullptr ? nullptr : from->if_contains(field);
    if (value == nullptr) {
      fault(
          fmt::format("{} was left out when this was read, and the router has none for {} {}; put it in and remove "
                      "the annotation, or remove the annotation alone to go without",
                      field, raw.key.kind, raw.key.object_name()));
    } else {
      json::value& restored = (*to)[field] = *value;
      if (!peer) leave_to(said, restored);
    }
  }
  // The same in another order is no change.
  if (before.is_object() && before.get_object() == object) raw.text = *stored;
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
