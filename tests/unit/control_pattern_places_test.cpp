// Where matches begin, which workers do not know.
#include <gtest/gtest.h>

#include "control/pattern_places.h"

namespace sluice::control {
namespace {

using config::ContentExpression;
using config::ContentPattern;

class PatternPlacesTest : public testing::Test {
 protected:
  std::vector<PatternPlace> find(const std::vector<ContentExpression>& all, std::string_view text,
                                 std::optional<uint64_t> end = std::nullopt) {
    const ContentPattern pattern{.name = "p", .all = all};
    return places_.find(pattern, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, end);
  }
  using Places = std::vector<PatternPlace>;

  PatternPlaces places_;
};

TEST_F(PatternPlacesTest, CNT9_TheMatchThatEndsFirst) {
  EXPECT_EQ(find({{.text = "b+c"}}, "a bbc bc"), (Places{{2, 5}}));
  EXPECT_EQ(find({{.text = "b+c"}}, "a bbc bc", 8), (Places{{6, 8}}));
  EXPECT_EQ(find({{.text = "b+c"}}, "a bbc bc", 7), Places{}) << "none ends there";
  EXPECT_EQ(find({{.text = "x"}}, "a bbc bc"), Places{});
}

TEST_F(PatternPlacesTest, CNT9_EveryExpression) {
  EXPECT_EQ(find({{.text = "two", .literal = true}, {.text = "one"}}, "one two"), (Places{{4, 7}, {0, 3}}));
}

TEST_F(PatternPlacesTest, CNT9_WhatIsSaidOfAnExpressionCounts) {
  EXPECT_EQ(find({{.text = "A.b", .caseless = true, .dot_all = true}}, "xa\nB"), (Places{{1, 4}}));
  EXPECT_EQ(find({{.text = "A.b"}}, "xa\nB"), Places{});
  EXPECT_EQ(find({{.text = "a.b", .literal = true}}, "axb a.b"), (Places{{4, 7}}));
  EXPECT_EQ(find({{.text = "a", .literal = true, .least_end = 3}}, "aaaa"), (Places{{2, 3}}));
}

}  // namespace
}  // namespace sluice::control
