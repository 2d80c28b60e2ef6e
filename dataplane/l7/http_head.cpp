#include "dataplane/l7/http_head.h"

#include <algorithm>
#include <optional>

#include "dataplane/l7/authority.h"
#include "dataplane/l7/http_chars.h"

namespace sluice::l7 {

namespace {

constexpr std::string_view empty_line = "\r\n";

// RFC 9110 section 5.5: no control characters but the tab; obs-text is let through.
constexpr CharClass line_chars = char_class([](char c) {
  const auto byte = static_cast<uint8_t>(c);
  return c == '\t' || (byte >= ' ' && byte != 0x7f);
});
// RFC 3986 has no other octets, but clients send UTF-8 as it is. No fragment: that is never sent (RFC 9112
// section 3.2).
constexpr CharClass target_chars = char_class([](char c) {
  const auto byte = static_cast<uint8_t>(c);
  return byte > ' ' && byte != 0x7f && c != '#';
});

struct Line {
  HeadState state = HeadState::More;
  std::string_view text;  // without CR LF
  std::string_view reason;
};

class HeadParser {
 public:
  explicit HeadParser(std::string_view text) : text_(text) {}

  HttpHead run() {
    // RFC 9112 section 2.2: an empty line before the request line is ignored; one is enough for those who send it.
    if (text_.starts_with(empty_line)) at_ = empty_line.size();
    if (!request_line()) return head_;
    while (true) {
      const std::optional<std::string_view> line = next_line();
      if (!line) return head_;
      if (line->empty()) break;
      if (!field(*line)) return head_;
    }
    if (!resolve_authority() || !frame_body()) return head_;
    head_.size = static_cast<uint32_t>(at_);
    head_.state = HeadState::Whole;
    return head_;
  }

 private:
  bool bad(uint16_t status, std::string_view reason) {
    head_.state = HeadState::Bad;
    head_.status = status;
    head_.reason = reason;
    return false;
  }
  bool bad(std::string_view reason) { return bad(400, reason); }

  // Empty: it is not whole yet, or bad.
  std::optional<std::string_view> next_line() {
    size_t end = at_;
    while (end < text_.size() && line_chars[static_cast<uint8_t>(text_[end])]) ++end;
    if (end + empty_line.size() > most_head_bytes) {
      bad(431, "head_too_long");
      return std::nullopt;
    }
    if (end == text_.size()) return std::nullopt;
    if (text_[end] != '\r') {
      bad(text_[end] == '\n' ? "bare_line_feed" : "control_character");
      return std::nullopt;
    }
    if (end + 1 == text_.size()) return std::nullopt;
    if (text_[end + 1] != '\n') {
      bad("bare_carriage_return");
      return std::nullopt;
    }
    const std::string_view line = text_.substr(at_, end - at_);
    at_ = end + empty_line.size();
    return line;
  }

  // RFC 9112 section 3. What cannot become a method is refused with its first byte: it is another protocol.
  bool request_line() {
    for (size_t i = at_; i < text_.size() && text_[i] != ' '; ++i) {
      if (i == at_ && (text_[i] == '\r' || text_[i] == '\n') && i + 1 == text_.size()) break;
      if (!token_chars[static_cast<uint8_t>(text_[i])]) return bad("method");
    }
    const std::optional<std::string_view> line = next_line();
    if (!line) return false;
    const size_t first = line->find(' ');
    if (first == std::string_view::npos || first == 0) return bad("request_line");
    const size_t second = line->find(' ', first + 1);
    if (second == std::string_view::npos) return bad("request_line");
    head_.method = line->substr(0, first);
    head_.target = line->substr(first + 1, second - first - 1);
    return version(line->substr(second + 1)) && target();
  }

  bool version(std::string_view text) {
    constexpr std::string_view name = "HTTP/";
    if (text.size() != 8 || !text.starts_with(name) || !is_digit(text[5]) || text[6] != '.' || !is_digit(text[7])) {
      return bad("version");
    }
    if (text[5] != '1') return bad(505, "version_not_supported");
    head_.http10 = text[7] == '0';
    return true;
  }

  // RFC 9112 section 3.2.
  bool target() {
    std::string_view rest = head_.target;
    if (rest.empty() || !all_of_class(rest, target_chars)) return bad("target");
    if (head_.method == "CONNECT") {
      authority_of_target_ = rest;
      return parse_authority(rest).valid() || bad("target");
    }
    if (rest == "*") {
      head_.path = rest;
      return head_.method == "OPTIONS" || bad("target");
    }
    if (rest.front() != '/') {
      const size_t scheme = rest.find("://");
      if (scheme == std::string_view::npos) return bad("target");
      const std::string_view name = rest.substr(0, scheme);
      if (!equals_ignoring_case(name, "http") && !equals_ignoring_case(name, "https")) return bad("target");
      rest.remove_prefix(scheme + 3);
      const size_t end = rest.find_first_of("/?");
      authority_of_target_ = rest.substr(0, end);
      if (authority_of_target_->empty()) return bad("target");
      rest.remove_prefix(authority_of_target_->size());
    }
    const size_t query = rest.find('?');
    head_.path = rest.substr(0, query);
    if (query != std::string_view::npos) head_.query = rest.substr(query);
    if (head_.path.empty()) head_.path = "/";
    return true;
  }

  bool field(std::string_view line) {
    if (line.front() == ' ' || line.front() == '\t') return bad("folded_line");
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return bad("field_without_colon");
    const std::string_view name = line.substr(0, colon);
    if (!is_token(name)) return bad("field_name");
    const std::string_view value = trimmed(line.substr(colon + 1));
    switch (name.size()) {
      case 4:
        if (equals_ignoring_case(name, "host")) return host(value);
        break;
      case 6:
        if (equals_ignoring_case(name, "expect")) head_.expects_continue = equals_ignoring_case(value, "100-continue");
        break;
      case 7:
        if (equals_ignoring_case(name, "upgrade")) upgrade_field_ = true;
        break;
      case 10:
        if (equals_ignoring_case(name, "connection")) connection(value);
        break;
      case 14:
        if (equals_ignoring_case(name, "content-length")) return content_length(value);
        break;
      case 17:
        if (equals_ignoring_case(name, "transfer-encoding")) return transfer_encoding(value);
        break;
      default:
        break;
    }
    return true;
  }

  bool host(std::string_view value) {
    if (host_) return bad("several_hosts");
    host_ = value;
    return parse_authority(value).valid() || bad("host");
  }

  void connection(std::string_view value) {
    while (true) {
      const size_t comma = value.find(',');
      const std::string_view option = trimmed(value.substr(0, comma));
      if (equals_ignoring_case(option, "close")) head_.close = true;
      if (equals_ignoring_case(option, "keep-alive")) keep_alive_ = true;
      if (equals_ignoring_case(option, "upgrade")) upgrade_option_ = true;
      if (comma == std::string_view::npos) return;
      value.remove_prefix(comma + 1);
    }
  }

  // RFC 9110 section 8.6 lets a recipient refuse a list of equal lengths, too.
  bool content_length(std::string_view value) {
    if (length_) return bad("several_content_lengths");
    constexpr size_t most_digits = 18;
    if (value.empty() || value.size() > most_digits) return bad("content_length");
    uint64_t length = 0;
    for (const char c : value) {
      if (!is_digit(c)) return bad("content_length");
      length = length * 10 + static_cast<uint64_t>(c - '0');
    }
    length_ = length;
    return true;
  }

  // RFC 9112 section 6.1: chunked once, and last; otherwise nobody knows where the body ends.
  bool transfer_encoding(std::string_view value) {
    if (chunked_) return bad("several_transfer_encodings");
    while (true) {
      const size_t comma = value.find(',');
      const std::string_view coding = trimmed(value.substr(0, comma));
      const bool last = comma == std::string_view::npos;
      if (!is_token(coding) || equals_ignoring_case(coding, "chunked") != last) return bad("transfer_encoding");
      if (last) break;
      value.remove_prefix(comma + 1);
    }
    chunked_ = true;
    return true;
  }

  // RFC 9112 section 3.2.2: the target's counts. As the head goes on as it came, a Host that says something else would
  // lead the endpoint to another name than the rules.
  bool resolve_authority() {
    if (!host_ && !head_.http10) return bad("no_host");
    head_.authority = host_.value_or(std::string_view{});
    if (!authority_of_target_) return true;
    if (!parse_authority(*authority_of_target_).valid()) return bad("target");
    if (host_ && head_.method != "CONNECT" && !equals_ignoring_case(*authority_of_target_, *host_)) {
      return bad("host_is_not_of_target");
    }
    head_.authority = *authority_of_target_;
    return true;
  }

  // RFC 9112 sections 6.1 and 6.3.
  bool frame_body() {
    if (head_.http10 && !keep_alive_) head_.close = true;
    // RFC 9110 section 7.8. The endpoint may ignore it, and then the next head stands behind the body.
    head_.upgrade = upgrade_field_ && upgrade_option_ && !head_.http10;
    if (chunked_ && length_) return bad("content_length_and_transfer_encoding");
    if (chunked_ && head_.http10) return bad("transfer_encoding_of_http10");
    if (head_.method == "CONNECT") {
      head_.body = {.framing = Framing::Endless};
    } else if (chunked_) {
      head_.body = {.framing = Framing::Chunked};
    } else if (length_ && *length_ != 0) {
      head_.body = {.remaining = *length_, .framing = Framing::Length};
    }
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
  HttpHead head_;
  std::optional<std::string_view> authority_of_target_;
  std::optional<std::string_view> host_;
  std::optional<uint64_t> length_;
  bool chunked_ = false;
  bool upgrade_field_ = false;
  bool upgrade_option_ = false;
  bool keep_alive_ = false;
};

}  // namespace

bool http_head_may_end(Bytes start) {
  if (start.size() <= strict_head_bytes || start.size() >= most_head_bytes) return true;
  // Blocks of a known length are compared many bytes at once; no line feed is rare enough to be sought one by one.
  constexpr size_t block = 64;
  const auto ends_at = [](const uint8_t* at) {
    return static_cast<unsigned>(at[0] == '\n') &
           (static_cast<unsigned>(at[1] == '\n') | (static_cast<unsigned>(at[1] == '\r') & (at[2] == '\n' ? 1U : 0U)));
  };
  size_t at = 0;
  for (; at + block + 2 <= start.size(); at += block) {
    unsigned found = 0;
    for (size_t i = 0; i < block; ++i) found |= ends_at(start.data() + at + i);
    if (found != 0) return true;
  }
  for (; at + 2 < start.size(); ++at) {
    if (ends_at(start.data() + at) != 0) return true;
  }
  return start[at] == '\n' && start[at + 1] == '\n';
}

HttpHead parse_http_head(Bytes start) {
  return HeadParser({reinterpret_cast<const char*>(start.data()), start.size()}).run();
}

}  // namespace sluice::l7
