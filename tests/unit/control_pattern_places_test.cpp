// Where matches begin, which workers do not know.
#include <string>
#include <thread>
#include <utility>
#include <vector>

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
    (void)look(pattern, text, end);
    compile();
    return look(pattern, text, end);
  }
  std::vector<PatternPlace> look(const ContentPattern& pattern, std::string_view text,
                                 std::optional<uint64_t> end = std::nullopt) {
    return places_.find(pattern, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, end);
  }
  // How many were missing.
  size_t compile() {
    const std::vector<ContentExpression> missing = places_.take_missing();
    std::vector<PatternPlaces::Compiled> made;
    std::thread([&] { made = PatternPlaces::compile(missing); }).join();
    places_.keep(std::move(made));
    return missing.size();
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

TEST_F(PatternPlacesTest, CNT9_WhoLooksCompilesNothing) {
  const ContentPattern pattern{.name = "p", .all = {{.text = "two"}, {.text = "one"}, {.text = "two"}}};
  EXPECT_EQ(look(pattern, "one two"), Places{});
  EXPECT_EQ(look(pattern, "one two"), Places{}) << "it is not compiled by being asked for again";
  EXPECT_EQ(compile(), 2U) << "each once";
  EXPECT_EQ(look(pattern, "one two"), (Places{{4, 7}, {0, 3}, {4, 7}}));
  EXPECT_EQ(compile(), 0U);
}

TEST_F(PatternPlacesTest, CNT9_WhatIsKeptIsBounded) {
  ContentPattern many{.name = "many"};
  for (int i = 0; i < 100; ++i) many.all.push_back({.text = "word" + std::to_string(i), .literal = true});
  EXPECT_EQ(look(many, "word7"), Places{});
  EXPECT_EQ(compile(), 64U);
  EXPECT_EQ(look(many, "word7"), (Places{{0, 5}}));
  EXPECT_EQ(compile(), 36U) << "those that there was no room for take the others' place";
  EXPECT_EQ(look(many, "word7"), Places{});
  EXPECT_EQ(look(many, "word99"), (Places{{0, 6}}));
}

TEST_F(PatternPlacesTest, CNT9_WhatIsLookedForStays) {
  const auto words = [](const std::string& stem, int count) {
    ContentPattern pattern{.name = stem};
    for (int i = 0; i < count; ++i) pattern.all.push_back({.text = stem + std::to_string(i), .literal = true});
    return pattern;
  };
  const ContentPattern old = words("old", 40);
  const ContentPattern wanted = words("wanted", 20);
  EXPECT_EQ(look(wanted, ""), Places{});
  EXPECT_EQ(look(old, ""), Places{});
  EXPECT_EQ(compile(), 60U);
  EXPECT_EQ(look(wanted, "wanted0"), (Places{{0, 7}}));
  EXPECT_EQ(look(words("new", 10), ""), Places{});
  EXPECT_EQ(compile(), 10U);
  EXPECT_EQ(look(wanted, "wanted0"), (Places{{0, 7}})) << "others make room";
  EXPECT_EQ(look(old, ""), Places{});
  EXPECT_EQ(compile(), 6U) << "as much as was needed";
}

// Of such an expression Hyperscan cannot say where it begins: that is known once it has been tried.
TEST_F(PatternPlacesTest, CNT9_WhatCannotBeCompiledIsTriedOnce) {
  const ContentPattern pattern{.name = "p", .all = {{.text = "a("}}};
  EXPECT_EQ(look(pattern, "a("), Places{});
  EXPECT_EQ(compile(), 1U);
  EXPECT_EQ(look(pattern, "a("), Places{});
  EXPECT_EQ(compile(), 0U);
}

}  // namespace
}  // namespace sluice::control
