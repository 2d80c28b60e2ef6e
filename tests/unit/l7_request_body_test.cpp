// Where bodies of requests end: RFC 9112 sections 6.3 and 7.1, ING-12 and ING-13.
#include <string_view>

#include <gtest/gtest.h>

#include "dataplane/l7/decision.h"

namespace sluice::l7 {
namespace {

Bytes bytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

struct Ended {
  size_t at;
  bool done;
  bool bad;
  friend bool operator==(const Ended&, const Ended&) = default;
};
void PrintTo(const Ended& ended, std::ostream* out) {
  *out << "at " << ended.at << (ended.done ? ", done" : "") << (ended.bad ? ", bad" : "");
}

// `step` bytes at a time.
Ended run(Body body, std::string_view text, size_t step) {
  size_t at = 0;
  while (at < text.size() && !body.done()) {
    const std::string_view part = text.substr(at, step);
    const Skipped skipped = skip(body, bytes(part));
    at += skipped.bytes;
    if (skipped.bad) return {at, false, true};
    if (skipped.bytes < part.size()) break;
  }
  return {at, body.done(), false};
}

void expect(const Body& body, std::string_view text, const Ended& wanted) {
  for (const size_t step : {text.size(), size_t{1}, size_t{2}, size_t{3}, size_t{7}}) {
    SCOPED_TRACE(step);
    EXPECT_EQ(run(body, text, step), wanted) << text;
  }
}

TEST(L7RequestBody, ING12_ABodyOfKnownLengthEndsThere) {
  expect({.remaining = 5, .framing = Framing::Length}, "helloGET /", {5, true, false});
  expect({.remaining = 5, .framing = Framing::Length}, "hell", {4, false, false});
  expect({}, "GET /", {0, true, false});
  expect({.framing = Framing::Endless}, "whatever\r\n\r\nGET /", {17, false, false});
}

TEST(L7RequestBody, ING12_ChunksEndBehindTheTrailers) {
  const Body chunked{.framing = Framing::Chunked};
  expect(chunked, "5\r\nhello\r\n0\r\n\r\nGET /", {15, true, false});
  expect(chunked, "A;name=\"v\"\r\n0123456789\r\n00\r\nExpires: now\r\nX: y\r\n\r\nGET", {50, true, false});
  expect(chunked, "5\r\nhello\r\n0\r\n\r", {14, false, false});
}

TEST(L7RequestBody, ING13_BadChunksAreRefused) {
  const Body chunked{.framing = Framing::Chunked};
  expect(chunked, "g\r\n", {1, false, true});
  expect(chunked, "\r\n", {1, false, true});
  expect(chunked, "0x5\r\nhello", {2, false, true});
  expect(chunked, "5 \r\nhello", {2, false, true});
  expect(chunked, "5\nhello\n", {2, false, true});
  expect(chunked, "5\r\nhello0\r\n", {9, false, true});
  expect(chunked, "5\r\nhello\n", {9, false, true});
  expect(chunked, "5;a\nb\r\nhello\r\n", {4, false, true});
  expect(chunked, "0\r\n folded\r\n\r\n", {4, false, true});
  expect(chunked, "0\r\nX: y\n\r\n", {8, false, true});
  // Sizes that overflow are no sizes.
  expect(chunked, "10000000000000000\r\n", {17, false, true});
}

}  // namespace
}  // namespace sluice::l7
