// A whole document in the place of another: the result is that of the document alone, the cost that of the difference.
#include <algorithm>
#include <array>
#include <random>
#include <string_view>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/json_items.h"
#include "config/object_set.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

// The change, or the refusal as lines.
std::vector<std::string> replace(ObjectSet& objects, const std::string& text, const Options& options = {}) {
  auto prepared = objects.prepare(text, options);
  if (!prepared) return {prepared.error().syntax ? prepared.error().syntax->text() : "faults"};
  auto change = objects.apply(std::move(*prepared), validate);
  if (!change) return lines(change.error().faults);
  std::vector<std::string> out;
  for (const Change::Touched& touched : change->touched) {
    const char sign = touched.action == Change::Action::Added     ? '+'
                      : touched.action == Change::Action::Removed ? '-'
                                                                  : '*';
    out.push_back(sign + touched.key.kind + " " + touched.key.name);
  }
  return out;
}

TEST(ConfigReplacement, TheSameDocumentChangesNothing) {
  const std::string text = list_with_gateway({service("a", "10.96.0.1"), service("b", "10.96.0.2")});
  ObjectSet objects;
  EXPECT_THAT(replace(objects, text), ElementsAre("+GatewayConfiguration default", "+Service a", "+Service b"));
  EXPECT_THAT(replace(objects, text), IsEmpty());
  // In another form it is still the same.
  EXPECT_THAT(replace(objects, objects.to_text({}, 7)), IsEmpty());
  EXPECT_EQ(objects.config(), valid_set(text).config());
}

TEST(ConfigReplacement, LeadsToWhatTheDocumentSays) {
  ObjectSet objects = valid_set(list_with_gateway({service("a", "10.96.0.1"), service("b", "10.96.0.2")}));
  const std::string next = list_with_gateway({service("b", "10.96.0.9"), service("c", "10.96.0.1")});
  EXPECT_THAT(replace(objects, next), ElementsAre("-Service a", "*Service b", "+Service c"));
  EXPECT_EQ(objects.config(), valid_set(next).config());
  EXPECT_EQ(objects.to_text({}), valid_set(next).to_text({}));
  EXPECT_THAT(replace(objects, next), IsEmpty());
}

TEST(ConfigReplacement, AnObjectThatADeltaChangedIsNotTakenForTheOldOne) {
  const std::string text = list_with_gateway({service("a", "10.96.0.1")});
  ObjectSet objects;
  (void)replace(objects, text);
  auto delta = parse_delta(R"({"kind": "Delta", "upsert": [)" + service("a", "10.96.0.7") + "]}");
  ASSERT_TRUE(objects.apply(std::move(*delta), validate));
  EXPECT_THAT(replace(objects, text), ElementsAre("*Service a"));
  EXPECT_EQ(objects.config(), valid_set(text).config());
}

TEST(ConfigReplacement, IsRefusedWholeWithPlacesInTheNewDocument) {
  const std::string text = list_with_gateway({service("a", "10.96.0.1"), service("b", "10.96.0.2")});
  ObjectSet objects;
  (void)replace(objects, text);
  const std::string before = objects.to_text({});
  EXPECT_THAT(replace(objects, list_with_gateway({service("b", "10.96.0.1"), service("a", "10.96.0.1")})),
              ElementsAre("/items/1/spec/clusterIP: 10.96.0.1 belongs to service default/a"));
  EXPECT_THAT(replace(objects, list_with_gateway({service("a", "10.96.0.1"), service("a", "10.96.0.1")})),
              ElementsAre("/items/2/metadata/name: a second Service of this name; the first is at /items/1"));
  EXPECT_THAT(replace(objects, list_of({service("a", "10.96.0.1")})),
              ElementsAre(": exactly one GatewayConfiguration is required, found none"));
  EXPECT_EQ(objects.to_text({}), before);
  EXPECT_THAT(replace(objects, text), IsEmpty());
}

TEST(ConfigReplacement, ManyObjectsAndLargeOnes) {
  std::vector<std::string> services;
  for (int i = 0; i < 3000; ++i) {
    services.push_back(service(fmt::format("s{}", i), fmt::format("10.96.{}.{}", 1 + i / 250, i % 250)));
    if (i % 100 != 0) continue;  // larger than what is set aside for one
    std::string list = "0";
    for (int j = 0; j < 30'000; ++j) list += ",0";
    services.back().insert(services.back().size() - 1, R"(, "x": [)" + list + "]");
  }
  const std::string text = list_with_gateway(services);
  ObjectSet objects;
  EXPECT_EQ(replace(objects, text).size(), 3001u);
  EXPECT_EQ(objects.config(), valid_set(text).config());
  EXPECT_THAT(replace(objects, text), IsEmpty());
}

// A text that serialising its value would give is kept as it came; every other is written anew. Either way it is what
// reading the whole document at once leads to.
TEST(ConfigReplacement, TextsAreKeptInOneForm) {
  const std::vector<std::string> metadata{
      R"("name":"n")",
      R"("name":"n","x":1)",
      R"("name":"n","x":-0)",
      R"("name":"n","x":-1)",
      R"("name":"n","x":0.5)",
      R"("name":"n","x":1e2)",
      R"("name":"n","x":18446744073709551615)",
      R"("name":"n","x":18446744073709551616)",
      R"("name":"n","x":-9223372036854775808)",
      R"("name":"n","x":[])",
      R"("name":"n","x":[1,2,{}])",
      R"("name":"n","x":{"a":true,"b":false,"c":null})",
      R"("name":"n","x":{"a":1,"a":2})",
      R"("name":"m","name":"n")",
      R"("name":"n","x":"\u0041")",
      R"("name":"n","x":"\"\\\/\n")",
      R"("name":"n","x":"\u00e9 é \ud83d\ude00")",
      R"("name":"n","\u0078":"y")",
      R"("name":"n","x": 1)",
      R"("name":"n", "x":[1 ,2])",
      "\"name\":\"n\",\n\"x\":\"a  b\"",
      R"("name":"n","managedFields":[{"a":1}])",
      R"("name":"n","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","a":"b"})",
      R"("name":"n","annotations":{"a":"b"})"};
  for (const std::string& fields : metadata) {
    for (const char* kind : {"Namespace", "Secret"}) {
      for (const char* more : {"", R"(,"data":{"a":"b"})", R"(,"stringData":{})", R"(, "spec":{})"}) {
        const std::string text =
            fmt::format(R"({{"kind":"List","items":[{},{{"apiVersion":"v1","kind":"{}","metadata":{{{}}}{}}}]}})",
                        gateway_object, kind, fields, more);
        ObjectSet objects;
        ASSERT_THAT(replace(objects, text), testing::SizeIs(2)) << text;
        ASSERT_EQ(objects.to_text({}), valid_set(text).to_text({})) << text;
        // What comes out is read as it is, where nothing is hidden.
        if (objects.to_text({}).find("sluice.dev/redacted") != std::string::npos) continue;
        ObjectSet again;
        ASSERT_THAT(replace(again, objects.to_text({})), testing::SizeIs(2)) << text;
        ASSERT_EQ(again.to_text({}), objects.to_text({})) << text;
      }
    }
  }
}

// Object by object or all at once: what is wrong with a text is said in the same words, at the same place.
TEST(ConfigReplacement, SyntaxErrorsAreThoseOfTheWholeText) {
  const std::string good = list_with_gateway({service("a", "10.96.0.1"), service("b", "10.96.0.2")});
  std::vector<std::string> texts{good + " x", "", "[]", "{}", good.substr(1), "\xef\xbb\xbf" + good};
  for (size_t cut = 1; cut < good.size(); cut += 17) texts.push_back(good.substr(0, cut));
  for (size_t at = 0; at < good.size(); at += 3) {
    for (const char c : {'}', ']', ',', '"', '\\', '0', '\x01'}) {
      texts.push_back(good);
      texts.back()[at] = c;
    }
  }
  size_t syntax = 0;
  for (const std::string& text : texts) {
    const auto whole = parse_document(text);
    const auto items = ObjectSet().prepare(text);
    const bool whole_fails = !whole && whole.error().syntax;
    const bool items_fail = !items && items.error().syntax;
    ASSERT_EQ(whole_fails, items_fail) << text;
    if (!whole_fails) continue;
    ++syntax;
    ASSERT_EQ(whole.error().syntax->text(), items.error().syntax->text()) << text;
  }
  EXPECT_GT(syntax, 500u);
}

TEST(ConfigReplacement, NestingIsLimitedAsInTheWholeText) {
  for (int depth = 20; depth < 40; ++depth) {
    std::string nested = "1";
    for (int i = 0; i < depth; ++i) nested = "[" + nested + "]";
    const std::string text = list_with_gateway(
        {R"({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "x": )" + nested + "}}"});
    const auto whole = parse_document(text);
    const auto items = ObjectSet().prepare(text);
    ASSERT_EQ(static_cast<bool>(whole), static_cast<bool>(items)) << depth;
    if (!whole) {
      EXPECT_EQ(whole.error().syntax->text(), items.error().syntax->text());
    }
  }
}

TEST(ConfigReplacement, LinesAreItemsAndBlankOnesDoNotCount) {
  const auto line = [](std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text + "\n";
  };
  Options options;
  options.format = Format::NdJson;
  ObjectSet objects;
  const std::string text =
      line(std::string(gateway_object)) + "\n \r\n" + line(service("a", "10.96.0.1")) + line(service("b", "10.96.0.2"));
  EXPECT_EQ(replace(objects, text, options).size(), 3u);
  EXPECT_THAT(replace(objects, text, options), IsEmpty());
  EXPECT_THAT(replace(objects, text + line(service("a", "10.96.0.1")), options),
              ElementsAre("/items/3/metadata/name: a second Service of this name; the first is at /items/1"));
}

std::optional<std::vector<std::string_view>> items_of(std::string_view text) {
  return list_items(text, std::make_shared<MemoryBudget>(SIZE_MAX));
}

TEST(ConfigListItems, FindsItemsWithoutParsingThem) {
  const auto items =
      items_of(R"( { "kind" : "List", "items": [ {"a": "]}\"\\"} , 5,"x,y", [1,{}] ], "metadata": {} } )");
  ASSERT_TRUE(items);
  EXPECT_THAT(*items, ElementsAre(R"({"a": "]}\"\\"})", "5", R"("x,y")", "[1,{}]"));
  EXPECT_TRUE(items_of(R"({"items": [], "kind": "List"})")->empty());
  for (const char* other :
       {R"({"kind": "Lists", "items": []})", R"({"kind": "List"})", R"({"items": []})",
        R"({"kind": "List", "kind": "List", "items": []})", R"({"kind": "List", "items": [] } x)",
        R"({"kind": "List", "items": [1,]})", R"({"kind": "List", "items": [] "a": 1})",
        R"({"k\u0069nd": "List", "kind": "List", "items": []})", R"({"kind": "List", "items": [{]})",
        R"({"kind": "List", "items": [], "x": tru})", R"(["kind"])", "{", ""}) {
    EXPECT_FALSE(items_of(other)) << other;
  }
}

// Any value, of strings that are hard to tell from what is around them.
std::string random_value(std::minstd_rand& random, unsigned levels) {
  static constexpr std::array<std::string_view, 8> pieces{"a",    "{",  "]",  "\\\\",
                                                          "\\\"", "},", "[ ", "0123456789abcdef"};
  const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
  if (levels == 0 || below(3) == 0) {
    std::string text = "\"";
    for (unsigned left = below(12); left != 0; --left) text += pieces.at(below(pieces.size()));
    return text + "\"";
  }
  const bool object = below(2) == 0;
  std::string text = object ? "{" : "[";
  for (unsigned i = 0, count = below(5); i < count; ++i) {
    if (i != 0) text += below(4) == 0 ? " ,\n " : ",";
    if (object) text += random_value(random, 0) + ":";
    text += random_value(random, levels - 1);
  }
  return text + (object ? "}" : "]");
}

TEST(ConfigListItems, WhateverStandsInThem) {
  std::minstd_rand random(7);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> values;
    std::string text = R"({"kind":"List","items":[)";
    for (int i = 0; i < 8; ++i) {
      values.push_back(random_value(random, 4));
      text += (i == 0 ? "" : ",") + std::string(random() % 3, ' ') + values.back();
    }
    const std::string whole = text + "]}";
    const auto items = items_of(whole);
    ASSERT_TRUE(items) << text;
    ASSERT_THAT(*items, ElementsAreArray(values)) << text;
    ASSERT_FALSE(items_of(text)) << text;
  }
}

TEST(ConfigDigest, OneByteMakesAnother) {
  const std::string text(100, 'x');
  const Digest digest = digest_of(text);
  EXPECT_EQ(digest, digest_of(text));
  EXPECT_FALSE(digest_of("").empty());
  for (size_t i = 0; i < text.size(); ++i) {
    std::string other = text;
    other[i] = 'y';
    EXPECT_NE(digest_of(other), digest);
    EXPECT_NE(digest_of(text.substr(0, i)), digest);
  }
}

}  // namespace
}  // namespace sluice::config
