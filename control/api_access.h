// Who may do what over TCP: roles, and the file that gives them to bearer tokens and client certificates.
//
// The file has one rule a line, ROLE KIND VALUE; lines that begin with # and empty ones say nothing:
//
//   read-write token sha256:9b74c9897bac770ffc029102a200c5de…    the SHA-256 of a token, in hexadecimal
//   read-only  token 3c469e9d6c5875d37a43f353d4f88e61fcf812c6     the token itself, at least min_token_length
//   characters read-only  cn    prometheus                                  client certificates with this common name
//   (CN) read-write o     platform-team                               client certificates of this organization (O)
//
// The highest role of all rules that match counts. Only digests of tokens are kept; they are compared in a time that
// does not tell where they differ. The UNIX socket has no roles: its file's mode says who may use it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/api.h"
#include "dataplane/net/result.h"

namespace sluice::control {

enum class Role : uint8_t { None, ReadOnly, ReadWrite };

[[nodiscard]] std::string_view name_of(Role role);  // "read-only"

// What a call needs: nothing for the probes, read-only for what shows without changing, read-write for everything
// else, and for traces and captures, which show what is in other people's packets and cost the workers time. `path`
// is decoded and has no query.
[[nodiscard]] Role needed_role(std::string_view method, std::string_view path);

inline constexpr size_t min_token_length = 16;

// Of a client certificate that has been verified; attributes as UTF-8 (RFC 4514).
struct Subject {
  std::string common_name;
  std::vector<std::string> organizations;
  time_t valid_until = std::numeric_limits<time_t>::max();
};

// Who asks.
struct Caller {
  std::string authorization;        // the header field as sent; empty: none
  std::optional<Subject> subject;   // of its certificate
  bool may_use_certificate = true;  // for the advice to those who have neither
};

class AccessList {
 public:
  // Error: the line and what is wrong with it.
  [[nodiscard]] static net::Result<AccessList> parse(std::string_view text);
  // Error: unreadable, open to other users (mode), no rules, or as parse().
  [[nodiscard]] static net::Result<AccessList> read(const std::string& path);

  [[nodiscard]] Role of_token(std::string_view token) const;
  [[nodiscard]] Role of_subject(const Subject& subject) const;
  [[nodiscard]] bool names_certificates() const { return !subjects_.empty(); }

  // The answer to a caller who may not make this call: 401 to one who is unknown, 403 to one whose role does not reach.
  [[nodiscard]] std::optional<Response> refuse(const Caller& caller, std::string_view method,
                                               std::string_view path) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  struct TokenRule {
    Digest digest;
    Role role;
  };
  struct SubjectRule {
    bool organization;
    std::string value;
    Role role;
  };
  [[nodiscard]] net::Status<> add(std::string_view line);

  std::vector<TokenRule> tokens_;
  std::vector<SubjectRule> subjects_;
};

// The text of a file with secrets. Error: unreadable, larger than 1 MiB, open to other users.
[[nodiscard]] net::Result<std::string> read_secret_file(const std::string& path);

}  // namespace sluice::control
