#include "control/api_access.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sys/stat.h>

#include <boost/beast/core/string.hpp>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

namespace sluice::control {
namespace {

constexpr std::string_view digest_prefix = "sha256:";
constexpr std::string_view blanks = " \t\r";
constexpr off_t largest_file = 1 << 20;  // bytes

// The next word of `line`, which loses it and the blanks around it.
std::string_view take_word(std::string_view& line) {
  const std::string_view word = line.substr(0, line.find_first_of(blanks));
  line.remove_prefix(word.size());
  line.remove_prefix(std::min(line.find_first_not_of(blanks), line.size()));
  return word;
}

Role role_of_word(std::string_view word) {
  if (word == "read-only") return Role::ReadOnly;
  return word == "read-write" ? Role::ReadWrite : Role::None;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

template <size_t size>
bool read_hex(std::string_view text, std::array<unsigned char, size>& out) {
  if (text.size() != 2 * size) return false;
  for (size_t i = 0; i < size; ++i) {
    const int high = hex_digit(text[2 * i]);
    const int low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<unsigned char>(high << 4 | low);
  }
  return true;
}

std::array<unsigned char, 32> sha256(std::string_view text) {
  std::array<unsigned char, 32> digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

// RFC 6750 section 3.
Response unauthorized(std::string_view message, std::string_view error) {
  Response response = error_response(401, message);
  std::string challenge = "Bearer realm=\"sluice\"";
  if (!error.empty()) challenge += fmt::format(", error=\"{}\"", error);
  response.headers.emplace_back("WWW-Authenticate", std::move(challenge));
  return response;
}

}  // namespace

std::string_view name_of(Role role) {
  switch (role) {
    case Role::None:
      return "none";
    case Role::ReadOnly:
      return "read-only";
    case Role::ReadWrite:
      return "read-write";
  }
  return "none";
}

Role needed_role(std::string_view method, std::string_view path) {
  const bool reads = method == "GET" || method == "HEAD";
  if (reads && (path == "/healthz" || path == "/livez" || path == "/readyz")) return Role::None;
  if (path == "/v1/trace" || path == "/v1/capture") return Role::ReadWrite;
  if (method == "POST" && (path == "/v1/explain" || path == "/v1/config:validate")) return Role::ReadOnly;
  return reads ? Role::ReadOnly : Role::ReadWrite;
}

net::Status<> AccessList::add(std::string_view line) {
  const Role role = role_of_word(take_word(line));
  if (role == Role::None) return net::Error{"a rule begins with read-only or read-write"};
  const std::string_view kind = take_word(line);
  const std::string_view value = line;
  if (kind != "token" && kind != "cn" && kind != "o") {
    return net::Error{"behind the role stands what has it: token, cn or o"};
  }
  if (value.empty()) return net::Error{fmt::format("behind {} stands its value", kind)};
  if (kind != "token") {
    subjects_.push_back({kind == "o", std::string(value), role});
    return net::Done{};
  }
  if (value.find_first_of(blanks) != std::string_view::npos) return net::Error{"a token is one word"};
  TokenRule rule{{}, role};
  if (value.starts_with(digest_prefix)) {
    if (!read_hex(value.substr(digest_prefix.size()), rule.digest)) {
      return net::Error{"sha256: wants 64 hexadecimal digits (printf %s TOKEN | sha256sum)"};
    }
  } else if (value.size() < min_token_length) {
    return net::Error{fmt::format("the token is shorter than {} characters", min_token_length)};
  } else {
    rule.digest = sha256(value);
  }
  tokens_.push_back(rule);
  return net::Done{};
}

net::Result<AccessList> AccessList::parse(std::string_view text) {
  AccessList list;
  for (size_t number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    line.remove_prefix(std::min(line.find_first_not_of(blanks), line.size()));
    line = line.substr(0, line.find_last_not_of(blanks) + 1);
    if (line.empty() || line.front() == '#') continue;
    if (const auto added = list.add(line); !added) {
      return net::Error{fmt::format("line {}: {}", number, added.error().message)};
    }
  }
  if (list.tokens_.empty() && list.subjects_.empty()) return net::Error{"there are no rules, nobody could do anything"};
  return list;
}

net::Result<AccessList> AccessList::read(const std::string& path) {
  const auto text = read_secret_file(path);
  if (!text) return text.error();
  auto list = parse(*text);
  if (!list) return net::Error{fmt::format("{}: {}", path, list.error().message)};
  return list;
}

Role AccessList::of_token(std::string_view token) const {
  const Digest digest = sha256(token);
  Role best = Role::None;
  for (const TokenRule& rule : tokens_) {  // all of them, whichever matches
    if (CRYPTO_memcmp(rule.digest.data(), digest.data(), digest.size()) == 0) best = std::max(best, rule.role);
  }
  return best;
}

Role AccessList::of_subject(const Subject& subject) const {
  Role best = Role::None;
  for (const SubjectRule& rule : subjects_) {
    const auto& organizations = subject.organizations;
    const bool matches = rule.organization
                             ? std::find(organizations.begin(), organizations.end(), rule.value) != organizations.end()
                             : subject.common_name == rule.value;
    if (matches) best = std::max(best, rule.role);
  }
  return best;
}

std::optional<Response> AccessList::refuse(const Caller& caller, std::string_view method, std::string_view path) const {
  static constexpr std::string_view scheme = "Bearer ";
  const Role needed = needed_role(method, path);
  if (needed == Role::None) return std::nullopt;
  Role role = caller.subject ? of_subject(*caller.subject) : Role::None;
  if (!caller.authorization.empty()) {
    const std::string_view credentials = caller.authorization;
    const bool bearer =
        credentials.size() > scheme.size() && boost::beast::iequals(credentials.substr(0, scheme.size()), scheme);
    const Role given = bearer ? of_token(credentials.substr(scheme.size())) : Role::None;
    if (given == Role::None) {
      return unauthorized(bearer ? "this token is unknown here" : "expected Authorization: Bearer TOKEN",
                          bearer ? "invalid_token" : "");
    }
    role = std::max(role, given);
  } else if (!caller.subject) {
    return unauthorized(caller.may_use_certificate
                            ? "a bearer token (Authorization: Bearer TOKEN) or a client certificate is needed"
                            : "a bearer token is needed: Authorization: Bearer TOKEN",
                        "");
  }
  if (role >= needed) return std::nullopt;
  const std::string has = role == Role::None
                              ? fmt::format("the client certificate of CN={} has none", caller.subject->common_name)
                              : fmt::format("this caller has {}", name_of(role));
  Response response =
      error_response(403, fmt::format("{} {} needs the role {}; {}", method, path, name_of(needed), has));
  response.headers.emplace_back(
      "WWW-Authenticate",
      fmt::format("Bearer realm=\"sluice\", error=\"insufficient_scope\", scope=\"{}\"", name_of(needed)));
  return response;
}

net::Result<std::string> read_secret_file(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) {
    return net::Error{fmt::format("cannot read {}: {}", path, std::strerror(errno))};
  }
  if ((file.st_mode & S_IRWXO) != 0) {
    return net::Error{fmt::format("{} is open to other users: chmod o= {}", path, path)};
  }
  if (!S_ISREG(file.st_mode)) return net::Error{fmt::format("{} is no file", path)};
  if (file.st_size > largest_file) return net::Error{fmt::format("{} is too large", path)};
  std::ifstream in(path);
  std::string text(static_cast<size_t>(file.st_size), '\0');
  in.read(text.data(), file.st_size);
  if (!in.is_open() || in.bad()) return net::Error{fmt::format("cannot read {}: {}", path, std::strerror(errno))};
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

}  // namespace sluice::control
