// Compressed bodies: what zlib made comes out, however it is cut; nothing else does, and never more than asked for.
#include <string>

#include <gtest/gtest.h>

#include "control/gunzip.h"
#include "tests/unit/gzip.h"

namespace sluice::control {
namespace {

using Outcome = Gunzip::Outcome;

std::string some_text(size_t size) {
  std::string text;
  for (size_t i = 0; text.size() < size; ++i) text += std::to_string(i * i) + ",";
  return text;
}

TEST(Gunzip, AnyCutGivesTheText) {
  const std::string text = some_text(200'000);
  const std::string packed = gzip(text);
  for (const size_t step : {size_t{1}, size_t{1000}, packed.size()}) {
    for (const uint64_t room : {uint64_t{7'000}, uint64_t{1} << 20}) {
      Gunzip gunzip;
      std::string out;
      for (size_t at = 0; at < packed.size(); at += step) {
        EXPECT_FALSE(gunzip.complete());
        std::string_view rest = std::string_view(packed).substr(at, step);
        Outcome outcome = Outcome::Full;
        while (outcome == Outcome::Full) {
          const size_t before = out.size();
          outcome = gunzip.expand(rest, out, room);
          ASSERT_LE(out.size() - before, room);
        }
        ASSERT_EQ(outcome, Outcome::Consumed);
        EXPECT_TRUE(rest.empty());
      }
      EXPECT_TRUE(gunzip.complete());
      EXPECT_EQ(out, text);
    }
  }
}

TEST(Gunzip, MembersFollowEachOther) {
  const std::string packed = gzip("one ") + gzip("two");
  Gunzip gunzip;
  std::string out;
  std::string_view rest = packed;
  EXPECT_EQ(gunzip.expand(rest, out, 100), Outcome::Consumed);
  EXPECT_EQ(out, "one two");
  EXPECT_TRUE(gunzip.complete());
}

TEST(Gunzip, WhatIsBrokenIsNoticed) {
  const std::string packed = gzip(some_text(1000));
  for (size_t at = packed.size() - 8; at < packed.size() - 4; ++at) {  // RFC 1952 section 2.3: CRC32
    std::string wrong = packed;
    wrong[at] = static_cast<char>(wrong[at] ^ 1);
    Gunzip gunzip;
    std::string out;
    std::string_view rest = wrong;
    EXPECT_EQ(gunzip.expand(rest, out, 1 << 20), Outcome::Broken);
  }
  for (const std::string& wrong : {std::string("{}"), packed + "x{}y"}) {
    Gunzip gunzip;
    std::string out;
    std::string_view rest = wrong;
    EXPECT_NE(gunzip.expand(rest, out, 1 << 20) == Outcome::Consumed && gunzip.complete(), true);
  }
}

TEST(Gunzip, ABombCostsWhatIsAskedFor) {
  const std::string packed = gzip(std::string(50 << 20, ' '));
  Gunzip gunzip;
  std::string out;
  std::string_view rest = packed;
  EXPECT_EQ(gunzip.expand(rest, out, 100'000), Outcome::Full);
  EXPECT_EQ(out.size(), 100'000U);
  EXPECT_LT(out.capacity(), 1U << 20);
}

}  // namespace
}  // namespace sluice::control
