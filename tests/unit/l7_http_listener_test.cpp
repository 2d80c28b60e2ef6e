// What a listener for HTTP decides: where requests go, and what the router answers itself.
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/l7/http_head.h"
#include "dataplane/l7/http_listener.h"

namespace sluice::l7 {
namespace {

constexpr auto prefix = PathMatch::Prefix;

Bytes bytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }
std::string text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::shared_ptr<const PathRules> paths(std::vector<PathRule> rules, Route otherwise = {}) {
  return std::make_shared<const PathRules>(std::move(rules), otherwise);
}

HttpListener listener(const HttpSettings& settings = {}) {
  return HttpListener(HostRules().changed({
                          {"foo.com", paths({{"/", prefix, {.target = 1, .rule = 10}}})},
                          {"two.com", paths({{"/a", prefix, {.target = 1, .rule = 20}},
                                             {"/b", prefix, {.target = 2, .rule = 21, .proxy_protocol = true}}})},
                          {"*.wild.com", paths({{"/", prefix, {.target = 3}}})},
                          {"own.com", paths({{"/a", prefix, {.target = 1}}}, {.target = 4})},
                          {"safe.com", paths({{"/", prefix, {.rule = 40, .redirect = true}}})},
                      }),
                      settings);
}

Decision ask(std::string_view request, const HttpSettings& settings = {}) {
  // Answers outlive their listener in these tests: they are the program's or this thread's.
  return listener(settings).decide(bytes(request));
}
Decision get(std::string_view host, std::string_view path, const HttpSettings& settings = {}) {
  return ask("GET " + std::string(path) + " HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n", settings);
}

TEST(L7HttpListener, ING1_ARequestGoesToTheTargetOfItsRule) {
  const Decision decision = get("Foo.com.:8080", "/x?y=/../z");
  EXPECT_EQ(decision.outcome, Outcome::Forward);
  EXPECT_EQ(decision.target, 1U);
  EXPECT_EQ(decision.rule, 10U);
  EXPECT_TRUE(decision.watched) << "a later request may name another host";
  EXPECT_FALSE(decision.proxy_protocol);
  EXPECT_FALSE(decision.preserve_client);
  EXPECT_EQ(get("a.wild.com", "/").target, 3U);
  EXPECT_TRUE(get("two.com", "/b/c").proxy_protocol);
  EXPECT_EQ(ask("GET /").outcome, Outcome::More);
  EXPECT_EQ(ask("").outcome, Outcome::More);
}

TEST(L7HttpListener, ING10_RulesSeeThePathWithoutDots) {
  EXPECT_EQ(get("two.com", "/a/../b").target, 2U);
  EXPECT_EQ(get("two.com", "/%61/").target, 1U);
  EXPECT_EQ(get("two.com", "/a%2F..%2Fb").outcome, Outcome::Answer) << "%2F is no separator: there is no rule for that";
  EXPECT_EQ(get("two.com", "/../b").reason, "path");
}

TEST(L7HttpListener, ING12_TheBodyAndLaterRequests) {
  const std::string_view post = "POST /a HTTP/1.1\r\nHost: two.com\r\nContent-Length: 7\r\n\r\nabcdefg";
  const Decision decision = ask(post);
  EXPECT_EQ(decision.head, post.size() - 7);
  EXPECT_EQ(decision.body.remaining, 7U);
  EXPECT_TRUE(decision.watched);
  EXPECT_FALSE(ask("GET /a HTTP/1.1\r\nHost: two.com\r\nConnection: close\r\n\r\n").watched);
  EXPECT_FALSE(ask("GET /a HTTP/1.0\r\nHost: two.com\r\n\r\n").watched);
}

TEST(L7HttpListener, ING12_LaterRequestsAreReadUnlessThereIsOnePlaceForAll) {
  const Route web{.target = 1, .rule = 5};
  const auto watched = [&](std::vector<HostRules::Host> hosts, Route otherwise) {
    const HttpListener any(HostRules().changed(std::move(hosts)), {.otherwise = otherwise});
    const Decision decision = any.decide(bytes("GET / HTTP/1.1\r\nHost: a.com\r\n\r\n"));
    EXPECT_EQ(decision.target, 1U);
    return decision.watched;
  };
  const std::vector<PathRule> root{{"/", prefix, web}};
  EXPECT_FALSE(watched({}, web));
  EXPECT_FALSE(watched({{"", paths(root)}}, {}));
  EXPECT_FALSE(watched({{"a.com", paths(root)}, {"b.com", paths({{"/x", prefix, web}})}}, web));
  EXPECT_TRUE(watched({{"a.com", paths(root)}}, {})) << "other hosts get 404";
  EXPECT_TRUE(watched({{"a.com", paths(root)}}, {.target = 2}));
  EXPECT_TRUE(watched({{"a.com", paths(root)}, {"b.com", paths({{"/", prefix, {.target = 2}}})}}, web));
  EXPECT_TRUE(watched({{"a.com", paths(root)}, {"b.com", paths({{"/x", prefix, {.target = 2}}})}}, web));
  EXPECT_TRUE(watched({{"a.com", paths(root)}, {"b.com", paths({{"/", prefix, {.redirect = true}}})}}, web));
  EXPECT_TRUE(watched({{"", paths({{"/x", prefix, {.target = 2}}})}}, web));
  EXPECT_TRUE(watched({{"", paths({{"/x", prefix, web}})}, {"a.com", paths(root)}}, {}));
}

TEST(L7HttpListener, ING12_WhatAsksForAnUpgradeIsReadOn) {
  const auto upgrade = [](std::string_view start, std::string_view fields) {
    return ask(std::string(start) + "\r\nHost: two.com\r\nConnection: keep-alive, Upgrade\r\n" + std::string(fields) +
               "\r\n");
  };
  for (const auto& [start, fields] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"GET /a HTTP/1.1", "Upgrade: WebSocket\r\n"},
           {"GET /a HTTP/1.1", "Upgrade: x\r\n"},
           {"GET /a HTTP/1.1", "Upgrade: h2c\r\n"},
           {"GET /a HTTP/1.1", "Upgrade: websocket, h2c\r\n"},
           {"GET /a HTTP/1.1", "Upgrade: h2c\r\nUpgrade: websocket\r\n"},
           {"GET /a HTTP/1.1", "Upgrade: websocket\r\nUpgrade: websocket\r\n"},
           {"POST /a HTTP/1.1", "Upgrade: websocket\r\n"},
       }) {
    const Decision other = upgrade(start, fields);
    EXPECT_EQ(other.outcome, Outcome::Forward);
    EXPECT_TRUE(other.watched) << start << fields;
    EXPECT_TRUE(other.upgrade) << start << fields;
    EXPECT_EQ(other.answers, AnswerKind::Http);
    EXPECT_EQ(other.body.framing, Framing::None) << start << fields;
  }
  EXPECT_FALSE(upgrade("GET /a HTTP/1.0", "Upgrade: websocket\r\n").upgrade);
  EXPECT_FALSE(upgrade("GET /a HTTP/1.1", "").upgrade);
  EXPECT_EQ(upgrade("HEAD /a HTTP/1.1", "").answers, AnswerKind::Head);
  const Decision length = upgrade("GET /a HTTP/1.1", "Upgrade: websocket\r\nContent-Length: 3\r\n");
  EXPECT_TRUE(length.watched && length.upgrade);
  EXPECT_EQ(length.body.remaining, 3U);
  EXPECT_EQ(upgrade("GET /a HTTP/1.1", "Upgrade: x\r\nTransfer-Encoding: chunked\r\n").body.framing, Framing::Chunked);
}

// Preface and an empty SETTINGS of the client.
std::string http2_start() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\4\0\0\0\0\0", 9); }
// GET of a path by stream 1, with the fields as they are (RFC 7541 section 6.2.2).
std::string http2_get(std::string_view host, std::string_view path) {
  const auto literal = [](char index, std::string_view value) {
    return std::string{index, static_cast<char>(value.size())} + std::string(value);
  };
  const std::string block = "\x82\x86" + literal(1, host) + literal(4, path);
  return http2_start() + std::string("\0\0", 2) + static_cast<char>(block.size()) + std::string("\1\5\0\0\0\1", 6) +
         block;
}

TEST(L7HttpListener, ING12_HTTP2GoesToOnePlaceOrIsToldToUseHTTP11) {
  const Decision one = ask(http2_get("foo.com", "/x"));
  EXPECT_EQ(one.outcome, Outcome::Forward);
  EXPECT_EQ(one.target, 1U);
  EXPECT_EQ(one.rule, 10U);
  const Decision several = ask(http2_get("two.com", "/a"));
  EXPECT_EQ(several.outcome, Outcome::Answer);
  EXPECT_EQ(several.reason, "several_places");
  EXPECT_TRUE(text(several.answer).ends_with(std::string("\7\0\0\0\0\0\0\0\0\0\0\0\0\x0d", 14)))
      << "GOAWAY, HTTP_1_1_REQUIRED";
}

TEST(L7HttpListener, ING12_HTTP2ClientsThatWaitForSettingsReachTheOnlyPlace) {
  const HttpListener only(HostRules(), {.otherwise = {.target = 7}, .preserve_client = true});
  const std::string start = http2_start();
  EXPECT_EQ(only.decide(bytes(start.substr(0, start.size() - 1))).outcome, Outcome::More);
  const Decision decision = only.decide(bytes(start));
  EXPECT_EQ(decision.outcome, Outcome::Forward);
  EXPECT_EQ(decision.target, 7U);
  EXPECT_TRUE(decision.preserve_client);
  EXPECT_EQ(decision.head, start.size());
  EXPECT_EQ(decision.body.framing, Framing::Endless);
  EXPECT_EQ(ask(start).outcome, Outcome::More) << "it is not known which host it will be";
}

TEST(L7HttpListener, ING13_HeadsInSmallPiecesDecideTheSame) {
  const std::string request = "GET /a HTTP/1.1\r\nHost: two.com\r\nCookie: " + std::string(200, 'c') +
                              "\r\nBad\x01: \r\nX: " + std::string(150, 'x') + "\r\n\r\n";
  std::string good = request;
  good.replace(good.find("Bad\x01: \r\n"), 8, "");
  const HttpListener any = listener();
  for (size_t size = 0; size < good.size(); ++size) {
    ASSERT_EQ(any.decide(bytes(good.substr(0, size))).outcome, Outcome::More) << size;
  }
  EXPECT_EQ(any.decide(bytes(good)).target, 1U);
  EXPECT_EQ(any.decide(bytes(good + "more")).head, good.size());
  EXPECT_EQ(any.decide(bytes(request)).outcome, Outcome::Answer);
  // Where the end is must not matter to how it is found.
  for (size_t fill = 0; fill < 140; ++fill) {
    const std::string shifted = "GET /a HTTP/1.1\r\nHost: two.com\r\nX: " + std::string(fill, 'x') + "\r\n\r\n";
    EXPECT_EQ(any.decide(bytes(shifted)).outcome, Outcome::Forward) << fill;
    EXPECT_EQ(any.decide(bytes(shifted.substr(0, shifted.size() - 2) + "\n")).outcome, Outcome::Answer) << fill;
  }
  EXPECT_EQ(any.decide(bytes("\x16\x03\x01" + std::string(500, 'x'))).outcome, Outcome::Answer) << "other protocols";
  // Until the end, only the beginning is parsed.
  EXPECT_EQ(any.decide(bytes(request.substr(0, request.size() - 1))).outcome, Outcome::More);
  EXPECT_FALSE(http_head_may_end(bytes(request.substr(0, request.size() - 1))));
}

TEST(L7HttpListener, ING13_HTTP2ConnectionsThatEndEarlyGetGOAWAY) {
  const HttpListener any = listener({.head_seconds = 12});
  EXPECT_EQ(any.head_seconds(), 12U);
  EXPECT_TRUE(text(any.timed_out(bytes("POST"))).starts_with("HTTP/1.1 408 "));
  const std::string frames("\0\0\0\4\0\0\0\0\0", 9);
  for (const std::string& start : {std::string("PRI "), http2_start()}) {
    EXPECT_TRUE(text(any.timed_out(bytes(start))).starts_with(frames)) << start;
    EXPECT_TRUE(text(any.too_long(bytes(start))).ends_with(std::string("\0\0\0\x0b", 4))) << start;
  }
}

TEST(L7HttpListener, ING5_WhatNoRuleMatchesGoesToTheDefaultBackend) {
  const HttpSettings with_default{.otherwise = {.target = 9, .rule = 90}};
  EXPECT_EQ(get("unknown.com", "/", with_default).target, 9U);
  EXPECT_EQ(get("two.com", "/c", with_default).target, 9U);
  EXPECT_EQ(get("b.a.wild.com", "/", with_default).target, 9U);
  EXPECT_EQ(get("own.com", "/c", with_default).target, 4U) << "the host's own goes first";
  EXPECT_EQ(ask("GET / HTTP/1.0\r\n\r\n", with_default).target, 9U);
  EXPECT_EQ(ask("OPTIONS * HTTP/1.1\r\nHost: foo.com\r\n\r\n").target, 1U);
}

TEST(L7HttpListener, ING15_TheRoutersOwnAnswersWithoutADefaultBackend) {
  const Decision missing = get("unknown.com", "/");
  EXPECT_EQ(missing.outcome, Outcome::Answer);
  EXPECT_EQ(missing.reason, "no_host_rule");
  EXPECT_EQ(text(missing.answer),
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 14\r\nConnection: close\r\n\r\n"
            "404 Not Found\n");
  EXPECT_EQ(get("two.com", "/c").reason, "no_path_rule");
  EXPECT_TRUE(text(get("unknown.com", "/healthz").answer).starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(get("foo.com", "/healthz").target, 1U);
  const Decision head = ask("HEAD / HTTP/1.1\r\nHost: unknown.com\r\n\r\n");
  EXPECT_TRUE(text(head.answer).ends_with("Content-Length: 14\r\nConnection: close\r\n\r\n"));
}

TEST(L7HttpListener, ING13_BadRequestsAreAnsweredAndClosed) {
  const Decision bad = ask("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(bad.outcome, Outcome::Answer);
  EXPECT_EQ(bad.reason, "no_host");
  EXPECT_TRUE(text(bad.answer).starts_with("HTTP/1.1 400 Bad Request\r\n"));
  EXPECT_TRUE(text(ask("\x16\x03\x01").answer).starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(text(ask("GET / HTTP/3.0\r\n").answer).starts_with("HTTP/1.1 505 "));
  EXPECT_TRUE(text(ask("CONNECT foo.com:1 HTTP/1.1\r\nHost: foo.com\r\n\r\n").answer).starts_with("HTTP/1.1 405 "));
  const HttpListener any = listener();
  EXPECT_TRUE(
      text(any.decide(bytes("GET /" + std::string(any.most_bytes(), 'x'))).answer).starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(text(any.too_long()).starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(text(any.timed_out()).starts_with("HTTP/1.1 408 "));
}

TEST(L7HttpListener, ING6_WhatToSayIfTheTargetFails) {
  const HttpListener any = listener();
  const auto failed = [&](std::string_view method, Failure failure) {
    return std::string(text(any.failed(bytes(std::string(method) + " / HTTP/1.1\r\nHost: foo.com\r\n\r\n"), failure)));
  };
  EXPECT_TRUE(failed("GET", Failure::Unavailable).starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_TRUE(failed("GET", Failure::Refused).starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
  EXPECT_TRUE(failed("GET", Failure::Unanswered).starts_with("HTTP/1.1 504 Gateway Timeout\r\n"));
  EXPECT_TRUE(failed("GET", Failure::Refused).ends_with("\r\n\r\n502 Bad Gateway\n"));
  EXPECT_TRUE(failed("HEAD", Failure::Refused).ends_with("\r\n\r\n"));
}

TEST(L7HttpListener, ING13_WhatToSayToABadBody) {
  EXPECT_TRUE(text(listener().bad_body()).starts_with("HTTP/1.1 400 Bad Request\r\n"));
}

TEST(L7HttpListener, ING14_RedirectsKeepHostPathAndQuery) {
  const Decision decision = get("safe.com:80", "/a/../b?c=d");
  EXPECT_EQ(decision.outcome, Outcome::Answer);
  EXPECT_EQ(decision.reason, "redirect");
  EXPECT_EQ(decision.rule, 40U);
  EXPECT_EQ(text(decision.answer),
            "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://safe.com/a/../b?c=d\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n");
  EXPECT_NE(text(get("safe.com", "/", {.https_port = 8443}).answer).find("Location: https://safe.com:8443/\r\n"),
            std::string::npos);
}

}  // namespace
}  // namespace sluice::l7
