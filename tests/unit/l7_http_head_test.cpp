// Heads of HTTP/1 requests: RFC 9112, ING-12 and ING-13.
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/l7/authority.h"
#include "dataplane/l7/http_head.h"

namespace sluice::l7 {
namespace {

Bytes bytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }
HttpHead parse(std::string_view text) { return parse_http_head(bytes(text)); }

// A whole head stays undecided until its last byte, and does not look at what is behind it.
HttpHead whole(std::string_view text) {
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(parse(text.substr(0, size)).state, HeadState::More) << text.substr(0, size);
  }
  const HttpHead head = parse(text);
  EXPECT_EQ(head.state, HeadState::Whole) << text << ": " << head.reason;
  EXPECT_EQ(head.size, text.size());
  const std::string more = std::string(text) + std::string("\0\n\r garbage", 11);
  EXPECT_EQ(parse(more).size, text.size()) << text;
  return head;
}

struct Refused {
  std::string_view text;
  std::string_view reason;
  uint16_t status = 400;
};

void expect_refused(const std::vector<Refused>& cases) {
  for (const Refused& one : cases) {
    const HttpHead head = parse(one.text);
    EXPECT_EQ(head.state, HeadState::Bad) << one.text;
    EXPECT_EQ(head.status, one.status) << one.text;
    EXPECT_EQ(head.reason, one.reason) << one.text;
  }
}

TEST(L7HttpHead, ING12_TheRequestLineAndItsTarget) {
  const HttpHead plain = whole("GET /a/b?c=d HTTP/1.1\r\nHost: Foo.com:8080\r\nAccept: */*\r\n\r\n");
  EXPECT_EQ(plain.method, "GET");
  EXPECT_EQ(plain.target, "/a/b?c=d");
  EXPECT_EQ(plain.path, "/a/b");
  EXPECT_EQ(plain.query, "?c=d");
  EXPECT_EQ(plain.authority, "Foo.com:8080");
  EXPECT_TRUE(plain.body.done());
  EXPECT_FALSE(plain.close);

  const HttpHead absolute = whole("GET http://foo.com?x HTTP/1.1\r\nHost:foo.com\r\n\r\n");
  EXPECT_EQ(absolute.authority, "foo.com");
  EXPECT_EQ(absolute.path, "/");
  EXPECT_EQ(absolute.query, "?x");
  EXPECT_EQ(whole("GET HTTPS://foo.com/x/y HTTP/1.0\r\n\r\n").path, "/x/y");

  const HttpHead asterisk = whole("OPTIONS * HTTP/1.1\r\nHost: foo.com\r\n\r\n");
  EXPECT_EQ(asterisk.path, "*");
  const HttpHead tunnel = whole("CONNECT foo.com:443 HTTP/1.1\r\nHost: foo.com\r\n\r\n");
  EXPECT_EQ(tunnel.authority, "foo.com:443");
  EXPECT_EQ(tunnel.path, "");
  EXPECT_EQ(tunnel.body.framing, Framing::Endless);
  // RFC 9112 section 2.2.
  EXPECT_EQ(whole("\r\nGET / HTTP/1.1\r\nHost:\r\n\r\n").authority, "");
}

TEST(L7HttpHead, ING12_Http10NeedsNoHostAndCloses) {
  const HttpHead old = whole("GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(old.http10);
  EXPECT_TRUE(old.close);
  EXPECT_EQ(old.authority, "");
  EXPECT_FALSE(whole("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").close);
  EXPECT_TRUE(whole("GET / HTTP/1.1\r\nHost: a\r\nconnection: foo , CLOSE\r\n\r\n").close);
}

TEST(L7HttpHead, ING12_WhereTheBodyEnds) {
  const HttpHead length = whole("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:  42 \r\n\r\n");
  EXPECT_EQ(length.body.framing, Framing::Length);
  EXPECT_EQ(length.body.remaining, 42);
  EXPECT_TRUE(whole("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").body.done());
  EXPECT_EQ(whole("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n").body.framing, Framing::Chunked);
  EXPECT_EQ(whole("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip ,\tchunked\r\n\r\n").body.framing,
            Framing::Chunked);
  EXPECT_TRUE(
      whole("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n").expects_continue);
}

TEST(L7HttpHead, ING12_AnUpgradeIsARequestLikeOthers) {
  const HttpHead upgrade = whole(
      "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  EXPECT_TRUE(upgrade.upgrade);
  EXPECT_EQ(upgrade.body.framing, Framing::None);
  // RFC 9110 section 7.8: without the option the field means nothing; nor does it to HTTP/1.0.
  EXPECT_FALSE(whole("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").upgrade);
  EXPECT_FALSE(whole("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").upgrade);
}

TEST(L7HttpHead, ING13_TwoWordsOnWhereTheBodyEnds) {
  expect_refused({
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
       "content_length_and_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
       "content_length_and_transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "several_content_lengths"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "several_content_lengths"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", "content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", "content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n", "content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "content_length"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", "transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", "transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", "transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", "transfer_encoding"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
       "several_transfer_encodings"},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer_encoding_of_http10"},
  });
}

TEST(L7HttpHead, ING13_LinesAndFieldsThatReadersDifferOn) {
  using namespace std::string_view_literals;
  expect_refused({
      {"GET / HTTP/1.1\nHost: a\r\n\r\n", "bare_line_feed"},
      {"GET / HTTP/1.1\r\nHost: a\n\r\n", "bare_line_feed"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\n", "bare_line_feed"},
      {"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "bare_carriage_return"},
      {"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"sv, "control_character"},
      {"GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n", "control_character"},
      {"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", "folded_line"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n", "folded_line"},
      {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded_line"},
      {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n", "field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX\"Y: b\r\n\r\n", "field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa4: b\r\n\r\n", "field_name"},
      {"GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n", "field_without_colon"},
  });
}

TEST(L7HttpHead, ING13_OneHostOnly) {
  expect_refused({
      {"GET / HTTP/1.1\r\n\r\n", "no_host"},
      {"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "several_hosts"},
      {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "host"},
      {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "host"},
      {"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", "host"},
      {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "host"},
      {"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", "host"},
      {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "host"},
      {"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "host_is_not_of_target"},
      {"GET http://a/ HTTP/1.1\r\n\r\n", "no_host"},
      {"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "target"},
  });
}

TEST(L7HttpHead, ING13_RequestLinesThatAreNone) {
  expect_refused({
      {"\x16\x03\x01", "method"},
      {"\r\n\r\n", "method"},
      {"G(T / HTTP/1.1\r\n", "method"},
      {" GET / HTTP/1.1\r\n", "request_line"},
      {"GET /\r\n", "request_line"},
      {"GET\r\n", "method"},
      {"GET  / HTTP/1.1\r\n", "version"},
      {"GET / x HTTP/1.1\r\n", "version"},
      {"GET / HTTP/1.1 \r\n", "version"},
      {"GET / http/1.1\r\n", "version"},
      {"GET / HTTP/1\r\n", "version"},
      {"GET / HTTP/2.0\r\n", "version_not_supported", 505},
      {"GET / HTTP/0.9\r\n", "version_not_supported", 505},
      {"GET a HTTP/1.1\r\n", "target"},
      {"GET /a#b HTTP/1.1\r\n", "target"},
      {"GET ftp://a/ HTTP/1.1\r\n", "target"},
      {"GET * HTTP/1.1\r\n", "target"},
      {"GET http:///x HTTP/1.1\r\n", "target"},
      {"CONNECT /x HTTP/1.1\r\n", "target"},
  });
}

TEST(L7HttpHead, ING13_LongHeadsAreRefused) {
  const std::string end = "\r\n\r\n";
  std::string text = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
  text.append(most_head_bytes - text.size() - end.size(), 'x');
  EXPECT_EQ(parse(text).state, HeadState::More);
  EXPECT_EQ(parse(text + end).state, HeadState::Whole);
  const std::string longer = text + "x";
  const std::string longer_and_whole = longer + end;
  const std::string much_longer = longer + "xx";
  EXPECT_EQ(parse(longer + "x").state, HeadState::More) << "the line may end here, the head cannot";
  expect_refused({{longer_and_whole, "head_too_long", 431}, {much_longer, "head_too_long", 431}});
  const std::string target = "GET /" + std::string(most_head_bytes, 'x');
  expect_refused({{target, "head_too_long", 431}});
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  while (many.size() <= most_head_bytes) many += "X: y\r\n";
  expect_refused({{many, "head_too_long", 431}});
}

TEST(L7HttpHead, ING1_HostsWithoutPortCaseAndDot) {
  EXPECT_EQ(parse_authority("Foo.Com.:80").host, "Foo.Com.");
  EXPECT_EQ(parse_authority("foo:").host, "foo");
  EXPECT_EQ(parse_authority("[2001:db8::1]:8080").host, "[2001:db8::1]");
  EXPECT_EQ(parse_authority("[2001:db8::1]:8080").port, "8080");
  EXPECT_EQ(HostName("Foo.Com.").text(), "foo.com");
  EXPECT_EQ(HostName(std::string(300, 'a')).text(), "");
}

}  // namespace
}  // namespace sluice::l7
