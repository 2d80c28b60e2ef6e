#include "dataplane/l7/authority.h"

#include "dataplane/l7/http_chars.h"

namespace sluice::l7 {

namespace {

// RFC 3986 section 3.2.2: unreserved, sub-delims and what stands for others.
constexpr CharClass host_chars = char_class([](char c) {
  return is_digit(c) || is_letter(c) ||
         (c != 0 && std::string_view("-._~!$&'()*+,;=%").find(c) != std::string_view::npos);
});
constexpr CharClass literal_chars = char_class([](char c) { return hex_digit(c) >= 0 || c == ':' || c == '.'; });
constexpr CharClass digits = char_class(is_digit);

}  // namespace

Authority parse_authority(std::string_view text) {
  Authority out;
  size_t end = 0;
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos || end == 1 || !all_of_class(text.substr(1, end - 1), literal_chars)) return out;
    ++end;
  } else {
    end = text.find(':');
    if (end == std::string_view::npos) end = text.size();
    if (end > HostName::most_bytes || !all_of_class(text.substr(0, end), host_chars)) return out;
  }
  out.host = text.substr(0, end);
  std::string_view rest = text.substr(end);
  if (!rest.empty()) {
    if (rest.front() != ':') return out;
    rest.remove_prefix(1);
    if (rest.size() > 5 || !all_of_class(rest, digits)) return out;
    out.port = rest;
  }
  out.ok = true;
  return out;
}

HostName::HostName(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.size() > most_bytes) return;
  for (const char c : host) bytes_[size_++] = lower(c);
}

}  // namespace sluice::l7
