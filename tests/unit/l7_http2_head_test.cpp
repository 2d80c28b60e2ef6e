// The first request of HTTP/2 connections: what curl sends, cut anywhere, and what nobody may send. RFC 9113.
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/l7/http2_head.h"
#include "dataplane/l7/http_chars.h"
#include "dataplane/l7/http_listener.h"

namespace sluice::l7 {
namespace {

using Data = std::vector<uint8_t>;

Data from_hex(std::string_view text) {
  Data out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    out.push_back(static_cast<uint8_t>(hex_digit(text[i]) * 16 + hex_digit(text[i + 1])));
  }
  return out;
}

// curl 7.88.1 with nghttp2 1.52: --http2-prior-knowledge -H 'Host: www.example.com' -H 'X-Test: a' …/api/v1?x=y
Data of_curl() {
  return from_hex(
      "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a0000120400000000000003000000640004020000000002000000000000040800"
      "0000000001ff00010000330105000000018204896075998ee1ff3cc1eb86418cf1e3c2e5f23a6ba0ab90f4ff7a8825b650c3abbcf2e15303"
      "2a2f2a4085f2b24a84ff0161");
}

void frame(Data& out, uint8_t type, uint8_t flags, uint32_t stream, const Data& payload) {
  const size_t size = payload.size();
  for (const size_t value : {size >> 16, size >> 8, size}) out.push_back(static_cast<uint8_t>(value));
  out.insert(out.end(), {type, flags});
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out.push_back(static_cast<uint8_t>(stream >> shift));
  out.insert(out.end(), payload.begin(), payload.end());
}

Data preface() {
  Data out(http2_preface.begin(), http2_preface.end());
  frame(out, 4, 0, 0, {});
  return out;
}

// A literal field without indexing.
Data field(std::string_view name, std::string_view value) {
  Data out{0, static_cast<uint8_t>(name.size())};
  out.insert(out.end(), name.begin(), name.end());
  out.push_back(static_cast<uint8_t>(value.size()));
  out.insert(out.end(), value.begin(), value.end());
  return out;
}

Data block(const std::vector<std::pair<std::string, std::string>>& fields) {
  Data out;
  for (const auto& [name, value] : fields) {
    const Data one = field(name, value);
    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

Data request(const std::vector<std::pair<std::string, std::string>>& fields) {
  Data out = preface();
  frame(out, 1, 5, 1, block(fields));
  return out;
}

const std::vector<std::pair<std::string, std::string>> usual{
    {":method", "GET"}, {":scheme", "http"}, {":path", "/a?b"}, {":authority", "foo.com"}};

TEST(L7Http2Head, ING1_TheRequestOfARealClient) {
  const Data data = of_curl();
  for (size_t size = 0; size < data.size(); ++size) {
    ASSERT_EQ(Http2Head(Bytes(data).first(size)).state(), HeadState::More) << size;
  }
  const Http2Head head(data);
  EXPECT_EQ(head.state(), HeadState::Whole) << head.reason();
  EXPECT_EQ(head.method(), "GET");
  EXPECT_EQ(head.target(), "/api/v1?x=y");
  EXPECT_EQ(head.authority(), "www.example.com");
  EXPECT_EQ(head.stream(), 1U);
  EXPECT_EQ(head.size(), data.size());
}

TEST(L7Http2Head, ING1_FramesBeforeAndWithinTheHead) {
  const Data all = block(usual);
  for (size_t cut = 0; cut <= all.size(); cut += 5) {
    Data data = preface();
    frame(data, 6, 0, 0, Data(8));          // PING
    frame(data, 8, 0, 0, {0, 0, 1, 0});     // WINDOW_UPDATE
    frame(data, 2, 0, 3, Data(5));          // PRIORITY
    frame(data, 0xfe, 0xff, 7, {1, 2, 3});  // unknown
    Data padded{2, 0, 0, 0, 0, 15};         // two bytes of padding, priority
    padded.insert(padded.end(), all.begin(), all.begin() + static_cast<ptrdiff_t>(cut));
    padded.insert(padded.end(), {0, 0});
    frame(data, 1, 0x28, 5, padded);
    frame(data, 9, 0, 5, {});
    frame(data, 9, 4, 5, Data(all.begin() + static_cast<ptrdiff_t>(cut), all.end()));
    const Http2Head head(data);
    ASSERT_EQ(head.state(), HeadState::Whole) << head.reason();
    EXPECT_EQ(head.authority(), "foo.com");
    EXPECT_EQ(head.target(), "/a?b");
    EXPECT_EQ(head.stream(), 5U);
  }
}

TEST(L7Http2Head, ING13_ConnectionsThatMustEnd) {
  const auto error = [](const Data& data) {
    const Http2Head head(data);
    EXPECT_EQ(head.state(), HeadState::Bad);
    return head.error();
  };
  const auto with = [](uint8_t type, uint8_t flags, uint32_t stream, const Data& payload) {
    Data data = preface();
    frame(data, type, flags, stream, payload);
    return data;
  };
  EXPECT_EQ(error({'P', 'R', 'X'}), Http2Error::Protocol);
  Data no_settings(http2_preface.begin(), http2_preface.end());
  frame(no_settings, 6, 0, 0, Data(8));
  EXPECT_EQ(error(no_settings), Http2Error::Protocol);
  EXPECT_EQ(error(with(4, 0, 1, {})), Http2Error::Protocol) << "SETTINGS of a stream";
  EXPECT_EQ(error(with(4, 0, 0, Data(5))), Http2Error::FrameSize);
  EXPECT_EQ(error(with(0, 0, 1, {})), Http2Error::Protocol) << "DATA before HEADERS";
  EXPECT_EQ(error(with(9, 4, 1, {})), Http2Error::Protocol) << "CONTINUATION before HEADERS";
  EXPECT_EQ(error(with(1, 5, 0, block(usual))), Http2Error::Protocol) << "HEADERS of no stream";
  EXPECT_EQ(error(with(1, 5, 2, block(usual))), Http2Error::Protocol) << "a stream of the server";
  EXPECT_EQ(error(with(1, 0xd, 1, {5, 0, 0, 0, 0})), Http2Error::Protocol) << "more padding than there is";
  EXPECT_EQ(error(with(1, 0x25, 1, {0, 0, 0})), Http2Error::FrameSize);
  EXPECT_EQ(error(with(1, 5, 1, {0x80})), Http2Error::Compression);
  Data interrupted = with(1, 1, 1, block(usual));
  frame(interrupted, 6, 0, 0, Data(8));
  EXPECT_EQ(error(interrupted), Http2Error::Protocol);
  Data large = preface();
  large.insert(large.end(), {0, 0x40, 1, 1, 5, 0, 0, 0, 1});
  EXPECT_EQ(error(large), Http2Error::FrameSize);
  Data pings = preface();
  while (pings.size() <= most_head_bytes) frame(pings, 6, 0, 0, Data(8));
  EXPECT_EQ(error(pings), Http2Error::EnhanceYourCalm);
}

TEST(L7Http2Head, ING13_RequestsThatAreMalformed) {
  const auto reason = [](const std::vector<std::pair<std::string, std::string>>& fields) {
    const Data data = request(fields);
    const Http2Head head(data);
    EXPECT_EQ(head.state(), HeadState::Bad);
    EXPECT_EQ(head.error(), Http2Error::None);
    return std::string(head.reason());
  };
  const auto and_one = [](std::string name, std::string value) {
    auto fields = usual;
    fields.emplace_back(std::move(name), std::move(value));
    return fields;
  };
  EXPECT_EQ(reason({{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}}), "request_line");
  EXPECT_EQ(reason({{":method", "GET"}, {":path", "/"}, {":authority", "a"}}), "request_line");
  EXPECT_EQ(reason({{":scheme", "http"}, {":path", "/"}, {":authority", "a"}}), "request_line");
  EXPECT_EQ(reason({{":method", "GET"}, {":scheme", "http"}, {":path", "a"}}), "target");
  EXPECT_EQ(reason({{":method", "GET"}, {":scheme", "http"}, {":path", "/a b"}}), "target");
  EXPECT_EQ(reason({{":method", "GET"}, {":scheme", "http"}, {":path", "*"}}), "target");
  EXPECT_EQ(reason(and_one(":path", "/b")), "pseudo_field");
  EXPECT_EQ(reason(and_one(":authority", "foo.com")), "pseudo_field");
  EXPECT_EQ(reason(and_one(":status", "200")), "pseudo_field");
  EXPECT_EQ(reason({{"a", "b"}, {":method", "GET"}}), "pseudo_field");
  EXPECT_EQ(reason(and_one("Upper", "a")), "field_name");
  EXPECT_EQ(reason(and_one("a:b", "a")), "field_name");
  EXPECT_EQ(reason(and_one("a", "b\r\nc: d")), "control_character");
  EXPECT_EQ(reason(and_one("connection", "close")), "field_of_connection");
  EXPECT_EQ(reason(and_one("transfer-encoding", "chunked")), "field_of_connection");
  EXPECT_EQ(reason(and_one("te", "gzip")), "field_of_connection");
  EXPECT_EQ(reason(and_one("host", "bar.com")), "host_is_not_of_target");
  EXPECT_EQ(reason({{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "u@a"}}), "host");
}

Data to_data(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

TEST(L7HttpListener, ING1_AnHttp2ConnectionGoesWhereItsFirstRequestDoes) {
  const auto paths = [](std::vector<PathRule> rules) { return std::make_shared<const PathRules>(std::move(rules)); };
  const HttpListener listener(
      HostRules().changed({{"www.example.com", paths({{"/api", PathMatch::Prefix, {.target = 3, .rule = 7}},
                                                      {"/", PathMatch::Prefix, {.target = 3}}})},
                           {"safe.com", paths({{"/", PathMatch::Prefix, {.redirect = true}}})}}),
      {});
  const Decision decision = listener.decide(of_curl());
  EXPECT_EQ(decision.outcome, Outcome::Forward);
  EXPECT_EQ(decision.target, 3U);
  EXPECT_EQ(decision.rule, 7U);
  EXPECT_FALSE(decision.watched);
  EXPECT_EQ(decision.body.framing, Framing::Endless);
  // SETTINGS, its acknowledgement, the status for stream 1, GOAWAY.
  const std::vector<std::pair<Failure, std::string>> failures{
      {Failure::Unavailable, "353033"}, {Failure::Refused, "353032"}, {Failure::Unanswered, "353034"}};
  for (const auto& [failure, status] : failures) {
    EXPECT_EQ(to_data(listener.failed(of_curl(), failure)),
              from_hex("0000000400000000000000000401000000000000050105000000010803" + status +
                       "0000080700000000000000000100000000"));
  }

  const auto answer = [&](const Data& data) {
    const Decision out = listener.decide(data);
    EXPECT_EQ(out.outcome, Outcome::Answer);
    return to_data(out.answer);
  };
  const auto has = [](const Data& data, std::string_view text) {
    return std::string_view(reinterpret_cast<const char*>(data.data()), data.size()).find(text) !=
           std::string_view::npos;
  };
  EXPECT_TRUE(has(answer(request(usual)),
                  "\x08\x03"
                  "404"));
  EXPECT_TRUE(has(answer(request({{":method", "GET"}, {":scheme", "http"}, {":path", "/healthz"}})),
                  "\x08\x03"
                  "200"));
  const Data redirect =
      answer(request({{":method", "GET"}, {":scheme", "http"}, {":path", "/a?b"}, {":authority", "safe.com"}}));
  EXPECT_TRUE(has(redirect,
                  "\x08\x03"
                  "308"));
  EXPECT_TRUE(has(redirect, std::string_view("\x0f\x1f\x14https://safe.com/a?b", 23)));
  EXPECT_TRUE(has(answer(request({{":method", "CONNECT"}, {":authority", "a:1"}})),
                  "\x08\x03"
                  "405"));
  EXPECT_TRUE(has(answer(request({{":method", "GET"}, {":scheme", "http"}, {":path", "a"}})),
                  "\x08\x03"
                  "400"));
  Data bad = preface();
  frame(bad, 0, 0, 1, {});
  EXPECT_EQ(answer(bad), from_hex("00000004000000000000000004010000000000000807000000000000000000"
                                  "00000001"));
  EXPECT_EQ(listener.decide(Bytes(bad).first(3)).outcome, Outcome::More);
}

TEST(L7HttpListener, SPL10_AClientThatWasGreeted) {
  const auto to = [](TargetId target) {
    return std::make_shared<const PathRules>(std::vector<PathRule>{{"/", PathMatch::Prefix, {.target = target}}});
  };
  const HttpListener listener(HostRules().changed({{"foo.com", to(1)}, {"bar.com", to(2)}}), {});
  const Data start = preface();
  EXPECT_EQ(listener.decide(start).outcome, Outcome::More);
  EXPECT_EQ(listener.greeting(Bytes(start).first(30)).size(), 0U) << "its own SETTINGS come first";
  const Bytes greeting = listener.greeting(start);
  EXPECT_EQ(Data(greeting.begin(), greeting.end()), from_hex("000000040000000000"));
  Data before = start;
  frame(before, 4, 1, 0, {});
  frame(before, 1, 5, 1, block(usual));
  Data behind = start;
  frame(behind, 1, 4, 1, block(usual));
  frame(behind, 0, 0, 1, Data(100, 'x'));
  frame(behind, 4, 1, 0, {});
  for (const Data& data : {before, behind}) {
    for (size_t size = 0; size < data.size(); ++size) {
      ASSERT_EQ(listener.decide_greeted(Bytes(data).first(size)).outcome, Outcome::More) << size;
    }
    const Decision decision = listener.decide_greeted(data);
    EXPECT_EQ(decision.outcome, Outcome::Forward);
    EXPECT_EQ(decision.target, 1U);
    ASSERT_EQ(decision.cut, 9U);
    const Bytes cut = Bytes(data).subspan(decision.cut_at, decision.cut);
    EXPECT_EQ(Data(cut.begin(), cut.end()), from_hex("000000040100000000"));
  }
  EXPECT_EQ(listener.decide(before).cut, 0U) << "of who was not greeted the endpoint gets all";
}

}  // namespace
}  // namespace sluice::l7
