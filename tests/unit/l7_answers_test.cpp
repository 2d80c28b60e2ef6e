// Where the answers of an endpoint end: RFC 9112 section 6.3. What two readers could take differently is never said to
// have an end.
#include <algorithm>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "dataplane/l7/answers.h"

namespace sluice::l7 {
namespace {

Bytes bytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

// Bytes after which all is answered; npos: never.
size_t end_of(Answers answers, std::string_view text, size_t step) {
  for (size_t at = 0; at < text.size(); at += step) {
    const std::string_view part = text.substr(at, step);
    answers.read(bytes(part));
    if (answers.complete()) return at + part.size();
  }
  return std::string_view::npos;
}

Answers asked(unsigned requests = 1, bool head = false) {
  Answers out;
  for (unsigned i = 0; i < requests; ++i) out.expect(head, false);
  return out;
}

void expect_end(const Answers& answers, const std::string& text) {
  for (const size_t step : {size_t{1}, size_t{2}, size_t{5}, text.size()}) {
    const size_t end = end_of(answers, text, step);
    EXPECT_EQ(end, text.size()) << step << " at a time: " << text;
  }
}
void expect_lost(const Answers& answers, const std::string& text) {
  for (const size_t step : {size_t{1}, size_t{3}, text.size()}) {
    EXPECT_EQ(end_of(answers, text, step), std::string_view::npos) << step << " at a time: " << text;
    Answers all = answers;
    all.read(bytes(text));
    EXPECT_TRUE(all.lost()) << text;
    EXPECT_FALSE(all.reads());
  }
}

TEST(L7Answers, ING12_WhereAnAnswerEnds) {
  expect_end(asked(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  expect_end(asked(), "HTTP/1.1 200 OK\r\ncontent-length:\t 0 \r\nX: y\r\n\r\n");
  expect_end(asked(), "HTTP/1.0 200\r\nContent-Length: 1\r\n\r\nx");
  expect_end(asked(), "HTTP/1.1 404 Not Found\r\nServer: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  expect_end(asked(), "HTTP/1.1 200 \r\nTRANSFER-ENCODING: gzip, Chunked \r\n\r\n0\r\nX: trailer\r\n\r\n");
  expect_end(asked(), "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n");
  expect_end(asked(), "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n");
  expect_end(asked(1, true), "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n");
  expect_end(asked(1, true), "HTTP/1.1 200 OK\r\n\r\n");
  expect_end(asked(),
             "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 OK\r\n\r\n");
  expect_end(asked(3),
             "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 204 x\r\n\r\n"
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
  EXPECT_TRUE(Answers().complete());
}

// To who knows no line's end but CRLF a bare LF is part of a value, and the head ends behind the next CRLF of whatever
// comes: Content-Length is none to him, or another one. What is the body to others may be the next answer to him.
TEST(L7Answers, ING13_LinesOfAHeadThatEndWithLineFeedAlone) {
  for (const char* const head :
       {"HTTP/1.1 200 OK\nContent-Length: 1\n\n", "HTTP/1.1 200\nX:\nContent-Length: 1\n\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: gzip,\tchunked\nX: y\n\n", "HTTP/1.1 204 No\n\n",
        "HTTP/1.1 100 Continue\n\n", "HTTP/1.1 204\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 1\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200\r\nContent-Length: 1\n\r\n", "HTTP/1.1 200\nContent-Length: 1\r\n\n",
        "HTTP/1.1 200\r\nContent-Length: 1\r\n\n", "HTTP/1.1 200 OK\nContent-Length: 1\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\r\nX: y\n\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\nX: y\r\n\r\n", "HTTP/1.1 204 No\r\nX: y\n\r\n",
        "HTTP/1.1 100 Continue\r\nX: y\n\r\n"}) {
    expect_lost(asked(), head);
    expect_lost(asked(2), std::string(head) + "xHTTP/1.1 204 No\r\n\r\n");
  }
  // A CR alone is a line's end to some and a blank to others.
  for (const char* const head :
       {"HTTP/1.1 200 OK\r\nX: a\rTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\rX: y\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 200\rX: y\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 200 OK\nX: \ry\nContent-Length: 1\n\n"}) {
    expect_lost(asked(), head);
  }
  // Behind this there is no other answer, wherever it ends.
  for (const std::string text : {"HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: upgrade\n\n",
                                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\nConnection: upgrade\r\n\r\n",
                                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\n"}) {
    for (const size_t step : {size_t{1}, text.size()}) {
      Answers asks;
      asks.expect(false, true);
      EXPECT_EQ(end_of(asks, text, step), std::string_view::npos);
      for (size_t at = 0; at < text.size(); at += step) asks.read(bytes(text).subspan(at, step));
      EXPECT_TRUE(asks.switched()) << text;
    }
  }
}

TEST(L7Answers, ING13_WhatHasNoCertainEnd) {
  expect_lost(asked(), "HTTP/1.1 200 OK\r\nServer: a\r\n\r\n");  // ends with the connection
  for (const char* const head : {"HTTP/2.0 200 OK\r\n",
                                 "HTTP/1.1 2x0 OK\r\n",
                                 "HTTP/1.1  200 OK\r\n",
                                 "HTTP/1.1 200OK\r\n",
                                 "ICY 200 OK\r\n",
                                 "HTTP/1.1 200\n OK\r\nContent-Length: 1\r\n",
                                 "HTTP/1.1 200 OK\n Content-Length: 1\n",
                                 "HTTP/1.1 200 OK\nContent-Length\n: 1\n",
                                 "HTTP/1.1 200 OK\nContent-Length:\n",
                                 "HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 1\n",
                                 "HTTP/1.1 200 OK\nX: y\nContent-Length: 1\rX: z\n",
                                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\rX\n",
                                 "HTTP/1.1 200 OK\r\n Content-Length: 1\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: \r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: 1 1\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: 1111111111111111111\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                                 "HTTP/1.1 200 OK\r\n: x\r\n",
                                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n",
                                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
                                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunkedd\r\n",
                                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chun ked\r\n",
                                 "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
                                 "HTTP/1.1 101 OK\r\nUpgrade: x\r\n",
                                 "HTTP/1.1 099 OK\r\n"}) {
    expect_lost(asked(), std::string(head) + "\r\n");
  }
  expect_lost(asked(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
  // More than anybody asked for.
  Answers answers = asked();
  answers.read(bytes("HTTP/1.1 204 No Content\r\n\r\nH"));
  EXPECT_TRUE(answers.lost());
  Answers many = asked(Answers::most_pending);
  EXPECT_FALSE(many.lost());
  many.expect(false, false);
  EXPECT_TRUE(many.lost());
}

TEST(L7Answers, ING12_AnUpgradeIsAgreedToOrNot) {
  Answers asks;
  asks.expect(false, true);
  EXPECT_TRUE(asks.may_switch());
  for (const char* const refusal : {"HTTP/1.1 200 OK\r\n", "HTTP/1.1 401 No\r\n", "HTTP/1.1 426 Not so\r\n"}) {
    Answers refused = asks;
    refused.read(bytes(refusal));
    EXPECT_FALSE(refused.may_switch()) << "the status line says it";
    refused.read(bytes("Content-Length: 2\r\n\r\nno"));
    EXPECT_TRUE(refused.complete());
    EXPECT_FALSE(refused.switched());
  }
  Answers agreed = asks;
  agreed.read(bytes("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n"));
  EXPECT_TRUE(agreed.may_switch());
  EXPECT_FALSE(agreed.switched());
  agreed.read(bytes("Upgrade: websocket\r\n\r\n\x81\x05hello"));
  EXPECT_TRUE(agreed.switched());
  EXPECT_FALSE(agreed.complete());
  EXPECT_FALSE(agreed.reads());
  // Behind an answer that is still missing.
  Answers second = asked();
  second.expect(false, true);
  Answers early = second;
  early.read(bytes("HTTP/1.1 101 Switching Protocols\r\n\r\n"));
  EXPECT_TRUE(early.lost()) << "nobody asked for that";
  second.read(bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  EXPECT_FALSE(second.may_switch() && second.complete());
  second.read(bytes("HTTP/1.1 101 Switching Protocols\r\n\r\n"));
  EXPECT_TRUE(second.switched());
}

TEST(L7Answers, ING12_WhatNeedNotBeRead) {
  Answers answers = asked();
  EXPECT_TRUE(answers.reads());
  EXPECT_TRUE(answers.silent());
  EXPECT_EQ(answers.skippable(), 0U);
  answers.read(bytes("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello"));
  EXPECT_FALSE(answers.silent());
  EXPECT_FALSE(answers.reads());
  EXPECT_EQ(answers.skippable(), 995U);
  Answers pipelined = answers;
  pipelined.expect(false, false);
  EXPECT_TRUE(pipelined.reads()) << "its end is another's beginning";
  answers.pass(990);
  EXPECT_FALSE(answers.complete());
  answers.pass(5);
  EXPECT_TRUE(answers.complete());
  // Numbers of 32 bits do not tell where this one ends.
  Answers large = asked();
  large.read(bytes("HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n"));
  EXPECT_TRUE(large.reads());
  large.pass(4'000'000'000);
  EXPECT_FALSE(large.reads());
  large.pass(1'000'000'000);
  EXPECT_TRUE(large.complete());
  // Nor does the length of a chunk say where the body ends.
  Answers chunked = asked();
  chunked.read(bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n"));
  EXPECT_TRUE(chunked.reads());
  EXPECT_EQ(chunked.skippable(), 16U);
  chunked.pass(16);
  chunked.read(bytes("\r\n0\r\n\r\n"));
  EXPECT_TRUE(chunked.complete());
}

}  // namespace
}  // namespace sluice::l7
