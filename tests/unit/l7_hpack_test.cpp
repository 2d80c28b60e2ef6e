// RFC 7541: the examples of its appendix C, and blocks that must be refused.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/l7/hpack.h"
#include "dataplane/l7/http_chars.h"

namespace sluice::l7 {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Data = std::vector<uint8_t>;
using Lines = std::vector<std::string>;

// "8286 8441" as the RFC prints octets.
Data octets(std::string_view text) {
  Data out;
  int high = -1;
  for (const char c : text) {
    const int digit = hex_digit(c);
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      out.push_back(static_cast<uint8_t>(high * 16 + digit));
      high = -1;
    }
  }
  return out;
}

// "name: value" of each, and how it ended if not at the end.
Lines decode(const Data& block) {
  HpackDecoder decoder;
  decoder.start(block);
  Lines out;
  HeaderField field;
  while (true) {
    switch (decoder.next(field)) {
      case HpackState::Field:
        out.push_back(std::string(field.name) + ": " + std::string(field.value));
        break;
      case HpackState::End:
        return out;
      case HpackState::Bad:
        out.emplace_back("bad");
        return out;
      case HpackState::TooLong:
        out.emplace_back("too long");
        return out;
    }
  }
}
Lines decode(std::string_view text) { return decode(octets(text)); }

TEST(L7Hpack, ING1_LiteralFields) {
  EXPECT_THAT(decode("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"),
              ElementsAre("custom-key: custom-header"));                                               // C.2.1
  EXPECT_THAT(decode("040c 2f73 616d 706c 652f 7061 7468"), ElementsAre(":path: /sample/path"));       // C.2.2
  EXPECT_THAT(decode("1008 7061 7373 776f 7264 0673 6563 7265 74"), ElementsAre("password: secret"));  // C.2.3
  EXPECT_THAT(decode("82"), ElementsAre(":method: GET"));                                              // C.2.4
}

TEST(L7Hpack, ING1_ARequestWithoutHuffman) {
  EXPECT_THAT(decode("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d"),  // C.3.1
              ElementsAre(":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"));
}

TEST(L7Hpack, ING1_ARequestWithHuffman) {
  EXPECT_THAT(decode("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"),  // C.4.1
              ElementsAre(":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"));
  // The literals of C.4.2 and C.4.3.
  EXPECT_THAT(decode("5886 a8eb 1064 9cbf"), ElementsAre("cache-control: no-cache"));
  EXPECT_THAT(decode("4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"), ElementsAre("custom-key: custom-value"));
  // Of C.6.1 and C.6.3.
  EXPECT_THAT(decode("4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d"
                     "29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3"),
              ElementsAre(":status: 302", "cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT",
                          "location: https://www.example.com"));
  EXPECT_THAT(decode("77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0"
                     "03ed 4ee5 b106 3d50 07"),
              ElementsAre("set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"));
}

TEST(L7Hpack, ING1_ABlockRefersToItself) {
  // Two entries, and both again: 62 is the newest.
  EXPECT_THAT(decode("4001 6101 31 4001 6201 32 be bf"), ElementsAre("a: 1", "b: 2", "b: 2", "a: 1"));
  EXPECT_THAT(decode("4001 6101 31 7e01 33 be"), ElementsAre("a: 1", "a: 3", "a: 3")) << "a name of the table";
  EXPECT_THAT(decode("4001 6101 31 bf"), ElementsAre("a: 1", "bad"));
  // A table of 34 octets has room for one entry of one and one.
  EXPECT_THAT(decode("3f03 4001 6101 31 4001 6201 32 be bf"), ElementsAre("a: 1", "b: 2", "b: 2", "bad"));
  EXPECT_THAT(decode("20 4001 6101 31 be"), ElementsAre("a: 1", "bad")) << "a table without room";
  Data many;
  for (int i = 0; i < 200; ++i) {
    for (const uint8_t byte : octets("4001 6101 31")) many.push_back(byte);
  }
  many.push_back(0xff);  // 127 and more: 61 of the static table, and the 66th of the 120 that fit
  many.push_back(0x00);
  EXPECT_EQ(decode(many).back(), "a: 1");
  many.back() = 0x7f;
  EXPECT_EQ(decode(many).back(), "bad");
}

TEST(L7Hpack, ING13_BlocksThatAreNone) {
  EXPECT_THAT(decode("80"), ElementsAre("bad")) << "index 0";
  EXPECT_THAT(decode("be"), ElementsAre("bad")) << "an index behind the table";
  EXPECT_THAT(decode("ff"), ElementsAre("bad")) << "a number without its end";
  EXPECT_THAT(decode("ff ff ff ff ff ff ff ff 00"), ElementsAre("bad")) << "a number without bounds";
  EXPECT_THAT(decode("40"), ElementsAre("bad"));
  EXPECT_THAT(decode("400a 61"), ElementsAre("bad")) << "a name longer than the block";
  EXPECT_THAT(decode("3fe2 1f"), ElementsAre("bad")) << "a table of 4097 octets";
  EXPECT_THAT(decode("82 20"), ElementsAre(":method: GET", "bad")) << "a size behind a field";
  EXPECT_THAT(decode("0482 ffff"), ElementsAre("bad")) << "padding of more than seven bits";
  EXPECT_THAT(decode("0481 18"), ElementsAre("bad")) << "padding that is not ones";
  EXPECT_THAT(decode("0484 ffff ffff"), ElementsAre("bad")) << "the end of string within one";
  EXPECT_THAT(decode(""), IsEmpty());
  // '0' has five bits: 16384 octets become more than all texts may be.
  Data bomb{0x04, 0xff};
  size_t length = 12000 - 127;
  for (; length >= 128; length >>= 7) bomb.push_back(static_cast<uint8_t>(length | 0x80));
  bomb.push_back(static_cast<uint8_t>(length));
  bomb.resize(bomb.size() + 12000, 0);
  EXPECT_THAT(decode(bomb), ElementsAre("too long"));
}

TEST(L7Hpack, ING1_EveryOctetOfHuffman) {
  // Codes of single octets, from appendix B: with their padding.
  const auto one = [](const Data& coded) {
    char out = 0;
    EXPECT_EQ(huffman_decode(coded, &out, 1), 1);
    return static_cast<uint8_t>(out);
  };
  EXPECT_EQ(one({0x07}), '0');                     // 00000
  EXPECT_EQ(one({0x1f}), 'a');                     // 00011
  EXPECT_EQ(one({0xfc}), 'X');                     // 11111100
  EXPECT_EQ(one({0xff, 0xc7}), 0);                 // 1ff8, 13 bits
  EXPECT_EQ(one({0xff, 0xff, 0xff, 0xcf}), 127);   // ffffffc, 28 bits
  EXPECT_EQ(one({0xff, 0xff, 0xff, 0xf3}), '\n');  // 3ffffffc, 30 bits
  EXPECT_EQ(one({0xff, 0xff, 0xff, 0xef}), 249);   // ffffffe, 28 bits
  EXPECT_EQ(one({0xff, 0xff, 0xfb, 0xbf}), 255);   // 3ffffee, 26 bits
}

}  // namespace
}  // namespace sluice::l7
