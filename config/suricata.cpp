#include "config/suricata.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <vector>

#include <fmt/format.h>

#include "config/finding.h"

namespace sluice::config {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// The next word of the header, cut off `text`.
std::string_view take_word(std::string_view& text) {
  text = trimmed(text);
  const size_t end = std::min(text.find_first_of(" \t("), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

struct Option {
  std::string_view keyword;
  std::string_view value;
};

// "keyword:value;", "keyword;": where the options end is a semicolon outside of quotation marks. Empty: it does not.
std::optional<std::vector<Option>> split_options(std::string_view text) {
  std::vector<Option> out;
  text = trimmed(text);
  while (!text.empty()) {
    bool quoted_text = false;
    size_t end = 0;
    for (; end < text.size() && (quoted_text || text[end] != ';'); ++end) {
      if (text[end] == '\\') {
        ++end;
      } else if (text[end] == '"') {
        quoted_text = !quoted_text;
      }
    }
    if (end >= text.size()) return std::nullopt;
    const std::string_view option = trimmed(text.substr(0, end));
    const size_t colon = option.find(':');
    if (colon == std::string_view::npos) {
      out.push_back({option, {}});
    } else {
      out.push_back({trimmed(option.substr(0, colon)), trimmed(option.substr(colon + 1))});
    }
    text = trimmed(text.substr(end + 1));
  }
  return out;
}

// Without the quotation marks around it; empty if there are none.
std::optional<std::string_view> unquoted(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') return std::nullopt;
  return value.substr(1, value.size() - 2);
}

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  const auto lower = static_cast<char>(c | 0x20);
  if (lower >= 'a' && lower <= 'f') return static_cast<unsigned>(lower - 'a') + 10;
  return std::nullopt;
}

// Bytes of `content`: text, \" \; \: \\ and |0d 0A| in hexadecimal.
std::optional<std::string> content_bytes(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      if (++i == text.size()) return std::nullopt;
      out.push_back(text[i]);
    } else if (text[i] != '|') {
      out.push_back(text[i]);
    } else {
      const size_t end = text.find('|', i + 1);
      if (end == std::string_view::npos) return std::nullopt;
      std::string digits;
      for (const char c : text.substr(i + 1, end - i - 1)) {
        if (c != ' ') digits.push_back(c);
      }
      if (digits.size() % 2 != 0) return std::nullopt;
      for (size_t at = 0; at < digits.size(); at += 2) {
        const auto high = hex_digit(digits[at]);
        const auto low = hex_digit(digits[at + 1]);
        if (!high || !low) return std::nullopt;
        out.push_back(static_cast<char>(*high << 4 | *low));
      }
      i = end;
    }
  }
  return out.empty() ? std::nullopt : std::optional(std::move(out));
}

// As a regular expression that matches just these bytes.
std::string escaped(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return out;
}

// A `content` or `pcre` and the keywords behind it.
struct Match {
  bool is_pcre = false;
  std::string text;  // bytes, or the expression
  bool caseless = false;
  bool dot_all = false;
  bool multi_line = false;
  std::optional<int64_t> offset, depth, distance, within;

  [[nodiscard]] bool relative() const { return distance || within; }
};

// Keywords with a number, which say where the last content must be.
struct Modifier {
  std::string_view keyword;
  std::optional<int64_t> Match::*field;
};
constexpr std::array modifiers{Modifier{"offset", &Match::offset}, Modifier{"depth", &Match::depth},
                               Modifier{"distance", &Match::distance}, Modifier{"within", &Match::within}};

// Keywords that say nothing about the bytes.
constexpr std::array annotations{"msg",       "sid",      "rev",    "gid",          "classtype",
                                 "reference", "metadata", "target", "fast_pattern", "priority"};

bool is_annotation(std::string_view keyword) {
  return std::find(annotations.begin(), annotations.end(), keyword) != annotations.end();
}

class RuleReader {
 public:
  SuricataRule read(std::string_view line) {
    read_header(line);
    read_body(line);
    if (!refusal_.empty()) return UnmappedRule{std::move(refusal_)};
    pattern_.name = name();
    return std::move(pattern_);
  }

 private:
  // The first reason counts.
  void refuse(std::string reason) {
    if (refusal_.empty()) refusal_ = std::move(reason);
  }

  void read_body(std::string_view line) {
    line = trimmed(line);
    if (line.size() < 2 || line.front() != '(' || line.back() != ')') return refuse("its options are not in brackets");
    const auto options = split_options(line.substr(1, line.size() - 2));
    if (!options) return refuse("an option does not end with \";\"");
    for (const Option& option : *options) read_option(option);
    if (matches_.empty()) return refuse("it has no content and no pcre");
    if (refusal_.empty()) join();
  }

  void read_header(std::string_view& line) {
    const std::string_view action = take_word(line);
    if (action == "alert") {
      pattern_.action = ContentAction::Count;
    } else if (action == "drop") {
      pattern_.action = ContentAction::Drop;
    } else if (action == "reject" || action == "rejectboth" || action == "rejectsrc" || action == "rejectdst") {
      pattern_.action = ContentAction::Reset;
    } else {
      return refuse(fmt::format("the action {} has no counterpart", quoted(action)));
    }
    const std::string_view protocol = take_word(line);
    if (protocol != "tcp" && protocol != "udp" && protocol != "ip") {
      return refuse(fmt::format("the protocol {} has no counterpart: tcp, udp or ip", quoted(protocol)));
    }
    for (const std::string_view part : {"source", "source port", "direction", "destination", "destination port"}) {
      const std::string_view word = take_word(line);
      if (part == "direction") {
        if (word != "->" && word != "<>") return refuse("\"->\" or \"<>\" is missing");
      } else if (word != "any" && !word.starts_with('$') && !word.starts_with("!$")) {
        return refuse(
            fmt::format("its {} is {}: whose traffic it is for is said by the selectors", part, quoted(word)));
      }
    }
  }

  void read_option(const Option& option) {
    const std::string_view keyword = option.keyword;
    const std::string_view value = option.value;
    if (keyword == "msg") message_ = unquoted(value).value_or(value);
    if (keyword == "sid") sid_ = value;
    if (is_annotation(keyword)) return;
    if (keyword == "flow") return read_flow(value);
    if (keyword == "content") return read_content(value);
    if (keyword == "pcre") return read_pcre(value);
    if (keyword == "rawbytes") return;
    Match* const match = matches_.empty() ? nullptr : &matches_.back();
    const auto* const modifier =
        std::find_if(modifiers.begin(), modifiers.end(), [&](const Modifier& one) { return one.keyword == keyword; });
    if (keyword != "nocase" && keyword != "startswith" && modifier == modifiers.end()) {
      return refuse(fmt::format("{} has no counterpart", quoted(keyword)));
    }
    if (match == nullptr) return refuse(fmt::format("{} stands before any content", keyword));
    if (match->is_pcre) return refuse(fmt::format("{} behind a pcre has no counterpart", keyword));
    if (keyword == "nocase") {
      match->caseless = true;
    } else if (keyword == "startswith") {
      match->offset = 0;
      match->depth = static_cast<int64_t>(match->text.size());
    } else {
      match->*(modifier->field) = number(option);
    }
  }

  void read_flow(std::string_view value) {
    while (!value.empty()) {
      const size_t comma = std::min(value.find(','), value.size());
      const std::string_view word = trimmed(value.substr(0, comma));
      if (word == "to_server" || word == "from_client") {
        pattern_.direction = ContentDirection::Ingress;
      } else if (word == "to_client" || word == "from_server") {
        pattern_.direction = ContentDirection::Egress;
      } else if (word != "established" && word != "stateless") {
        return refuse(fmt::format("flow:{} has no counterpart", word));
      }
      value.remove_prefix(std::min(comma + 1, value.size()));
    }
  }

  void read_content(std::string_view value) {
    if (value.starts_with('!')) return refuse("a content that must not be there has no counterpart");
    const auto text = unquoted(value);
    const auto bytes = text ? content_bytes(*text) : std::nullopt;
    if (!bytes) return refuse(fmt::format("content:{} cannot be read", value));
    matches_.push_back({.text = *bytes});
  }

  void read_pcre(std::string_view value) {
    if (value.starts_with('!')) return refuse("a pcre that must not be found has no counterpart");
    const auto text = unquoted(value);
    const size_t end = text ? text->rfind('/') : std::string_view::npos;
    if (!text || text->empty() || text->front() != '/' || end == 0 || end == std::string_view::npos) {
      return refuse(fmt::format("pcre:{} cannot be read", value));
    }
    Match match{.is_pcre = true, .text = std::string(text->substr(1, end - 1))};
    for (const char modifier : text->substr(end + 1)) {
      switch (modifier) {
        case 'i':
          match.caseless = true;
          break;
        case 's':
          match.dot_all = true;
          break;
        case 'm':
          match.multi_line = true;
          break;
        case 'x':
          match.text.insert(0, "(?x)");
          break;
        default:
          return refuse(fmt::format("the modifier {} of a pcre has no counterpart", modifier));
      }
    }
    matches_.push_back(std::move(match));
  }

  int64_t number(const Option& option) {
    int64_t out = 0;
    const std::string_view text = option.value;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (problem != std::errc() || end != text.data() + text.size()) {
      refuse(fmt::format("{}:{} is not a number", option.keyword, option.value));
    } else if (out < 0) {
      refuse(fmt::format("a negative {} has no counterpart", option.keyword));
    }
    return out;
  }

  // What must follow something makes one expression with it.
  void join() {
    for (size_t i = 0; i < matches_.size(); ++i) {
      const bool chained = i + 1 < matches_.size() && matches_[i + 1].relative();
      pattern_.all.push_back(chained ? chain(i) : single(matches_[i]));
    }
  }

  ContentExpression single(const Match& match) {
    if (match.relative()) refuse("distance and within need a content before them");
    const auto size = static_cast<int64_t>(match.text.size());
    ContentExpression out{.text = match.text,
                          .literal = !match.is_pcre,
                          .caseless = match.caseless,
                          .dot_all = match.dot_all,
                          .multi_line = match.multi_line};
    const int64_t begin = match.offset.value_or(0);
    if (match.depth && *match.depth < size) refuse("a depth shorter than its content never matches");
    if (begin > 0) out.least_end = static_cast<uint64_t>(begin + size);
    if (match.depth) out.most_end = static_cast<uint64_t>(begin + *match.depth);
    return out;
  }

  // matches_[first] and all that follow it relatively; `first` becomes the last of them.
  ContentExpression chain(size_t& first) {
    const ContentExpression head = single(matches_[first]);
    if (!head.literal) refuse("distance and within behind a pcre have no counterpart");
    if (head.most_end) refuse("depth together with distance or within has no counterpart");
    const auto bytes_of = [](const Match& match) {
      return fmt::format("(?{}:{})", match.caseless ? "i" : "", escaped(match.text));
    };
    ContentExpression out{.text = bytes_of(matches_[first]), .dot_all = true};
    out.least_end = head.least_end;
    while (first + 1 < matches_.size() && matches_[first + 1].relative()) {
      const Match& next = matches_[++first];
      const auto size = static_cast<int64_t>(next.text.size());
      const int64_t least = next.distance.value_or(0);
      if (next.offset || next.depth) refuse("offset or depth together with distance or within has no counterpart");
      if (next.within && *next.within < size) refuse("a within shorter than its content never matches");
      if (out.least_end) *out.least_end += static_cast<uint64_t>(least + size);
      out.text += next.within ? fmt::format(".{{{},{}}}", least, least + *next.within - size)
                  : least > 0 ? fmt::format(".{{{},}}", least)
                              : ".*";
      out.text += bytes_of(next);
    }
    return out;
  }

  [[nodiscard]] std::string name() const {
    if (sid_.empty()) return std::string(message_);
    return message_.empty() ? fmt::format("sid {}", sid_) : fmt::format("sid {}: {}", sid_, message_);
  }

  ContentPattern pattern_;
  std::vector<Match> matches_;
  std::string_view message_;
  std::string_view sid_;
  std::string refusal_;
};

}  // namespace

SuricataRule parse_suricata_rule(std::string_view line) {
  line = trimmed(line);
  if (line.empty() || line.front() == '#') return NoRule{};
  return RuleReader().read(line);
}

}  // namespace sluice::config
