// What a listener for HTTP decides: where requests go, and what the router answers itself.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

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
  EXPECT_FALSE(decision.watched);
  EXPECT_FALSE(decision.proxy_protocol);
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
  EXPECT_FALSE(ask("GET /a HTTP/1.1\r\nHost: two.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").watched);
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

TEST(L7HttpListener, ING6_WhatToSayIfTheTargetHasNoEndpoint) {
  EXPECT_TRUE(text(get("foo.com", "/").unavailable).starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_FALSE(text(ask("HEAD / HTTP/1.1\r\nHost: foo.com\r\n\r\n").unavailable).ends_with("Unavailable\n"));
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
