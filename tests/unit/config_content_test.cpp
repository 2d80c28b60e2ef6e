// ContentPolicy, and what of Suricata's rules becomes a pattern of one.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/suricata.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string policy(std::string_view spec) {
  return fmt::format(R"({{"apiVersion": "sluice.dev/v1", "kind": "ContentPolicy",
    "metadata": {{"name": "no-shells", "namespace": "default"}}, "spec": {}}})",
                     spec);
}

ContentPolicy policy_of(std::string_view spec) {
  return valid_set(list_with_gateway({policy(spec)})).config().content_policies.at({"default", "no-shells"});
}

ContentPattern rule(std::string_view line) {
  const SuricataRule read = parse_suricata_rule(line);
  const auto* const unmapped = std::get_if<UnmappedRule>(&read);
  EXPECT_EQ(unmapped, nullptr) << (unmapped == nullptr ? "" : unmapped->reason);
  const auto* const pattern = std::get_if<ContentPattern>(&read);
  return pattern == nullptr ? ContentPattern{} : *pattern;
}

std::string refusal(std::string_view line) {
  const SuricataRule read = parse_suricata_rule(line);
  const auto* const unmapped = std::get_if<UnmappedRule>(&read);
  return unmapped == nullptr ? "taken" : unmapped->reason;
}

TEST(ConfigContent, CNT1_APolicySaysWhatIsLookedForWhereAndWhatHappens) {
  const ContentPolicy read = policy_of(R"({
    "serviceSelector": {"matchLabels": {"app": "web"}}, "podSelector": {}, "depth": 4096, "overload": "Drop",
    "action": "Reset", "direction": "Ingress",
    "patterns": [
      {"name": "jndi", "regex": "\\$\\{jndi:", "flags": ["caseless", "dotAll"]},
      {"name": "secret", "literal": "AKIA", "action": "Count", "direction": "Egress"}]})");
  ASSERT_TRUE(read.services && read.pods);
  EXPECT_TRUE(read.services->matches({{"app", "web"}}));
  EXPECT_FALSE(read.services->matches({{"app", "db"}}));
  EXPECT_TRUE(read.pods->matches({}));
  EXPECT_EQ(read.depth, 4096u);
  EXPECT_EQ(read.overload, ContentOverload::Drop);
  ASSERT_EQ(read.patterns.size(), 2u);
  const ContentPattern& jndi = read.patterns[0];
  EXPECT_EQ(jndi.name, "jndi");
  EXPECT_EQ(jndi.action, ContentAction::Reset);
  EXPECT_EQ(jndi.direction, ContentDirection::Ingress);
  EXPECT_EQ(jndi.all.at(0), (ContentExpression{.text = "\\$\\{jndi:", .caseless = true, .dot_all = true}));
  const ContentPattern& secret = read.patterns[1];
  EXPECT_EQ(secret.action, ContentAction::Count);
  EXPECT_EQ(secret.direction, ContentDirection::Egress);
  EXPECT_EQ(secret.all.at(0), (ContentExpression{.text = "AKIA", .literal = true}));
  EXPECT_EQ(secret.index, 1u);
}

TEST(ConfigContent, CNT1_FaultsAreToldAtTheirPlace) {
  EXPECT_THAT(
      lines(faults_of(list_with_gateway({policy(R"({"podSelector": {}, "depth": 3, "action": "Log", "patterns": [
      {"name": "a", "regex": "x", "literal": "x"}, {"name": "a", "literal": "y"}, {"regex": "x", "flags": ["fast"]},
      {"name": "b"}]})")}))),
      testing::UnorderedElementsAre(HasSubstr("/spec/depth"), HasSubstr("/spec/action"),
                                    HasSubstr("/spec/patterns/0/literal: exactly one of regex and literal"),
                                    HasSubstr("/spec/patterns/1/name: there is a pattern \"a\" already"),
                                    HasSubstr("/spec/patterns/2/name"),
                                    HasSubstr("/spec/patterns/2/flags/0: \"fast\" is not one of"),
                                    HasSubstr("/spec/patterns/3/regex: exactly one of")));
}

TEST(ConfigContent, CNT3_WhoMirrorsSaysWhereTo) {
  const std::string mirrors =
      policy(R"({"podSelector": {}, "action": "Mirror", "patterns": [{"name": "a", "regex": "x"}]})");
  const auto set = load(list_with_gateway({mirrors}));
  ASSERT_TRUE(set);
  EXPECT_THAT(lines(validate(*set)),
              ElementsAre("/items/1/spec: pattern \"a\" mirrors, but GatewayConfiguration default "
                          "has no spec.content.collector to send copies to"));
}

TEST(ConfigContent, CNT2_RulesOfSuricataStandInAListOrInAText) {
  const ContentPolicy list = policy_of(R"j({"podSelector": {}, "suricataRules": [
      "drop tcp any any -> any any (msg:\"one\"; content:\"abc\"; sid:1;)", "# a comment"]})j");
  ASSERT_EQ(list.patterns.size(), 1u);
  EXPECT_EQ(list.patterns[0].name, "sid 1: one");
  EXPECT_EQ(list.patterns[0].list, "suricataRules");
  const std::string rules =
      R"j("# first\nalert tcp any any -> any any (content:\"a\"; sid:2;)\nalert http any any -> any any (content:\"a\";)\n")j";
  const ObjectSet set = valid_set(
      list_with_gateway({policy(R"({"podSelector": {}, "direction": "Egress", "suricataRules": )" + rules + "}")}));
  const ContentPolicy& read = set.config().content_policies.at({"default", "no-shells"});
  ASSERT_EQ(read.patterns.size(), 1u);
  EXPECT_EQ(read.patterns[0].index, 1u);
  EXPECT_EQ(read.patterns[0].direction, ContentDirection::Egress);
  EXPECT_THAT(lines(set.warnings()),
              Contains(HasSubstr("/spec/suricataRules: line 3: this rule is left out: the protocol \"http\"")));
}

TEST(ConfigContent, CNT2_ContentsBecomeExpressions) {
  const ContentPattern one = rule(
      R"(alert tcp $EXTERNAL_NET any -> $HOME_NET $HTTP_PORTS (msg:"web; shell"; flow:established,to_server; content:"cmd|3A 20|\"x\""; nocase; offset:4; depth:20; classtype:x; sid:7; rev:2;))");
  EXPECT_EQ(one.name, "sid 7: web; shell");
  EXPECT_EQ(one.action, ContentAction::Count);
  EXPECT_EQ(one.direction, ContentDirection::Ingress);
  ASSERT_EQ(one.all.size(), 1u);
  EXPECT_EQ(one.all[0], (ContentExpression{
                            .text = "cmd: \"x\"", .literal = true, .caseless = true, .least_end = 12, .most_end = 24}));

  const ContentPattern both = rule(R"(reject udp any any <> any any (content:"a"; pcre:"/b+\/c/ims"; sid:8;))");
  EXPECT_EQ(both.action, ContentAction::Reset);
  EXPECT_EQ(both.all, (std::vector<ContentExpression>{
                          {.text = "a", .literal = true},
                          {.text = "b+\\/c", .caseless = true, .dot_all = true, .multi_line = true}}));
}

TEST(ConfigContent, CNT2_WhatFollowsAContentIsOneExpressionWithIt) {
  const auto text = [](std::string_view options) {
    const ContentPattern read = rule(fmt::format("drop ip any any -> any any ({} sid:1;)", options));
    return read.all.empty() ? "" : read.all[0].text;
  };
  EXPECT_EQ(text(R"(content:"A"; content:"B"; distance:0;)"), R"((?:\x41).*(?:\x42))");
  EXPECT_EQ(text(R"(content:"A"; content:"B"; distance:5;)"), R"((?:\x41).{5,}(?:\x42))");
  EXPECT_EQ(text(R"(content:"A"; content:"BC"; within:10;)"), R"((?:\x41).{0,8}(?:\x42\x43))");
  EXPECT_EQ(text(R"(content:"A"; nocase; content:"B"; distance:2; within:3; content:"C"; distance:0;)"),
            R"((?i:\x41).{2,4}(?:\x42).*(?:\x43))");
}

TEST(ConfigContent, CNT2_WhatHasNoCounterpartIsLeftOutAndSaidWhy) {
  const auto options = [](std::string_view text) {
    return refusal(fmt::format("drop tcp any any -> any any ({})", text));
  };
  EXPECT_THAT(refusal("pass tcp any any -> any any (content:\"a\";)"), HasSubstr("the action \"pass\""));
  EXPECT_THAT(refusal("drop tcp 192.0.2.1 any -> any any (content:\"a\";)"), HasSubstr("its source is \"192.0.2.1\""));
  EXPECT_THAT(refusal("drop tcp any any -> any 80 (content:\"a\";)"), HasSubstr("its destination port is \"80\""));
  EXPECT_THAT(options("sid:1;"), HasSubstr("no content and no pcre"));
  EXPECT_THAT(options("content:!\"a\";"), HasSubstr("must not be there"));
  EXPECT_THAT(options("http.uri; content:\"a\";"), HasSubstr("\"http.uri\" has no counterpart"));
  EXPECT_THAT(options("content:\"a\"; http_uri;"), HasSubstr("\"http_uri\" has no counterpart"));
  EXPECT_THAT(options("content:\"a\"; flowbits:set,x;"), HasSubstr("\"flowbits\" has no counterpart"));
  EXPECT_THAT(options("content:\"a\"; content:\"b\"; distance:-3;"), HasSubstr("a negative distance"));
  EXPECT_THAT(options("content:\"abc\"; depth:2;"), HasSubstr("never matches"));
  EXPECT_THAT(options("distance:1; content:\"a\";"), HasSubstr("distance stands before any content"));
  EXPECT_THAT(options("content:\"a\"; distance:1;"), HasSubstr("need a content before"));
  EXPECT_THAT(options("pcre:\"/a/U\";"), HasSubstr("the modifier U of a pcre"));
  EXPECT_THAT(options("content:\"a|4\";"), HasSubstr("cannot be read"));
  EXPECT_THAT(options("content:\"a\""), HasSubstr("does not end with"));
  EXPECT_THAT(refusal("drop tcp any any -> any any"), HasSubstr("not in brackets"));
  EXPECT_THAT(refusal("drop"), HasSubstr("the protocol \"\""));
}

}  // namespace
}  // namespace sluice::config
