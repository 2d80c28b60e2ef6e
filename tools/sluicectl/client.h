// One call to the config API of sluiced, over its UNIX socket or over TCP, with TLS or without.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "dataplane/net/result.h"

namespace sluice::ctl {

struct Server {
  std::string socket;                 // path; used when `url` is empty
  std::string url;                    // "https://192.0.2.1:9443", "http://127.0.0.1:9080"
  std::string token;                  // for a url; empty: none is sent
  std::string ca;                     // of https: PEM file; empty: the authorities that this machine trusts
  std::string certificate, key;       // of https: PEM files that say who asks; empty: none
  std::chrono::seconds timeout{120};  // of one call, from connecting to the last byte
};

struct Call {
  std::string method = "GET";
  std::string target;             // "/v1/status?x=y", percent-encoded
  std::string content_type = {};  // empty: no body
  std::string body = {};
  std::string if_match = {};  // RFC 9110 section 13.1.1; empty: whatever serves
};

struct Answer {
  unsigned status = 0;
  std::string body;
};

// Error: no answer came; it says why and what to do.
[[nodiscard]] net::Result<Answer> send(const Server& server, const Call& call);

// Of a call whose answer has no end: gives `piece` what comes, as it comes, until the server ends it; server.timeout is
// for its beginning. Another status than 200 is the answer, and nothing goes to `piece`.
[[nodiscard]] net::Result<Answer> follow(const Server& server, const Call& call,
                                         const std::function<void(std::string_view)>& piece);

// For a part of a path, or a parameter's value.
[[nodiscard]] std::string percent_encoded(std::string_view text);

}  // namespace sluice::ctl
