// Selectors over labels, as Calico has them.
#include <gtest/gtest.h>

#include "config/selector.h"

namespace sluice::config {
namespace {

const std::map<std::string, std::string> labels{{"zone", "a"}, {"kubernetes.io/os", "linux"}, {"role", "front-end"}};

bool matches(std::string_view text) {
  const auto selector = Selector::parse(text);
  EXPECT_TRUE(selector) << text;
  return selector && selector->matches(labels);
}

TEST(Selector, IPAM9_WhatHolds) {
  for (const char* text : {"",
                           "all()",
                           "has(zone)",
                           "!has(rack)",
                           "zone == 'a'",
                           "zone == \"a\"",
                           "zone != 'b'",
                           "rack != 'b'",
                           "zone in {'a', 'b'}",
                           "zone not in { 'c' }",
                           "rack not in {'c'}",
                           "role contains 'end'",
                           "role starts with 'front'",
                           "role ends with '-end'",
                           "zone == 'b' || has(role)",
                           "zone == 'a' && kubernetes.io/os == 'linux'",
                           "zone == 'b' && has(rack) || has(zone)",
                           "!(zone == 'b' && has(zone))",
                           "!zone == 'b'",
                           " has( zone ) "}) {
    EXPECT_TRUE(matches(text)) << text;
  }
}

TEST(Selector, IPAM9_WhatDoesNot) {
  for (const char* text : {"!all()", "has(rack)", "zone == 'b'", "rack == 'b'", "zone in {}", "rack in {'a'}",
                           "role contains 'back'", "rack starts with ''", "has(zone) && has(rack)",
                           "has(rack) || zone == 'b'", "zone == 'b' && (has(rack) || has(zone))"}) {
    EXPECT_FALSE(matches(text)) << text;
  }
}

TEST(Selector, WhatIsNone) {
  for (const char* text : {"zone", "zone =", "zone == a", "has()", "has(zone", "(has(zone)", "has(zone))",
                           "all() all()", "&& all()", "all() &&", "zone in 'a'", "zone in {'a' 'b'}", "zone not 'a'",
                           "zone starts 'a'", "zone == 'a", "!", "nonsense(zone)"}) {
    EXPECT_FALSE(Selector::parse(text)) << text;
  }
  // Put together piece by piece: g++ 12 sees overflows in sums of strings.
  std::string deep(1000, '(');
  deep += "all()";
  deep.append(1000, ')');
  EXPECT_FALSE(Selector::parse(deep)) << "too deep";
  std::string negated(1000, '!');
  negated += "all()";
  EXPECT_FALSE(Selector::parse(negated));
}

}  // namespace
}  // namespace sluice::config
