// Classes of characters that HTTP and URIs are written in, and comparisons that do not know case.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::l7 {

[[nodiscard]] constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
[[nodiscard]] constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }
[[nodiscard]] constexpr bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }
// -1: no hexadecimal digit.
[[nodiscard]] constexpr int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  return lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1;
}

// RFC 9110 section 5.6.2.
[[nodiscard]] constexpr bool is_token_char(char c) {
  return is_digit(c) || is_letter(c) ||
         (c != 0 && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

// A table of them: heads are read byte by byte.
using CharClass = std::array<bool, 256>;
template <class Test>
[[nodiscard]] constexpr CharClass char_class(Test test) {
  CharClass out{};
  for (size_t i = 0; i < out.size(); ++i) out[i] = test(static_cast<char>(i));
  return out;
}
inline constexpr CharClass token_chars = char_class(is_token_char);

[[nodiscard]] constexpr bool all_of_class(std::string_view text, const CharClass& wanted) {
  for (const char c : text) {
    if (!wanted[static_cast<uint8_t>(c)]) return false;
  }
  return true;
}
[[nodiscard]] constexpr bool is_token(std::string_view text) {
  return !text.empty() && all_of_class(text, token_chars);
}

[[nodiscard]] constexpr bool equals_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

// Without spaces and tabs around it (OWS, RFC 9110 section 5.6.3).
[[nodiscard]] constexpr std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace sluice::l7
