// What an answer hides is not lost when the answer is sent back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

constexpr std::string_view secret = R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp"},
  "data": {"upstream": "aHVzaC0x"}, "stringData": {"other": "hush-2"}})";
constexpr std::string_view peer = R"({"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer",
  "metadata": {"name": "tor", "namespace": "metallb-system", "annotations": {"a": "b"}},
  "spec": {"myASN": 64500, "peerASN": 64999, "peerAddress": "192.168.0.1", "password": "hush-3"}})";

ObjectSet both() { return valid_set(list_with_gateway({std::string(secret), std::string(peer)})); }

const std::string* secret_text(const ObjectSet& set) { return set.text_of({"Secret", "default", "bgp"}); }

// The set after a PUT of this document.
void put(ObjectSet& set, const std::string& text) {
  auto prepared = set.prepare(text);
  ASSERT_TRUE(prepared);
  const auto change = set.apply(std::move(*prepared), validate);
  ASSERT_TRUE(change) << testing::PrintToString(lines(change.error().faults));
}

std::vector<std::string> faults_of_put(ObjectSet& set, const std::string& text) {
  auto prepared = set.prepare(text);
  if (!prepared) return lines(prepared.error().faults);
  const auto change = set.apply(std::move(*prepared), validate);
  return change ? std::vector<std::string>{} : lines(change.error().faults);
}

TEST(ConfigRedacted, API_WhatIsShownCanBeSentBackWithoutLoss) {
  ObjectSet set = both();
  const Config before = set.config();
  const std::string shown = set.to_text({});
  EXPECT_THAT(shown, Not(HasSubstr("hush")));
  EXPECT_THAT(shown, Not(HasSubstr("aHVzaC0x")));
  EXPECT_THAT(shown, HasSubstr(R"("annotations":{"sluice.dev/redacted":"data,stringData"})"));
  EXPECT_THAT(shown, HasSubstr(R"("annotations":{"a":"b","sluice.dev/redacted":"password"})"));
  for (int round = 0; round < 2; ++round) {
    put(set, shown);
    EXPECT_EQ(set.config(), before);
    EXPECT_EQ(set.to_text({}), shown);
  }
  EXPECT_EQ(set.config().secrets.at({"default", "bgp"}).data.at("upstream"), "hush-1");
  EXPECT_EQ(set.config().metallb_peers.at({"metallb-system", "tor"}).password, "hush-3");
  EXPECT_THAT(*secret_text(set), Not(HasSubstr("redacted"))) << "what is kept says what it is";
}

TEST(ConfigRedacted, API_SentBackOneByOneNothingChanges) {
  ObjectSet set = both();
  for (const std::string_view kind : {"Secret", "BGPPeer"}) {
    const std::string shown = set.to_text({kind, "", ""});
    auto delta = parse_document(shown);
    ASSERT_TRUE(delta);
    const auto change = set.apply(to_delta(std::move(*delta)), validate);
    ASSERT_TRUE(change);
    EXPECT_TRUE(change->empty()) << kind;
  }
}

TEST(ConfigRedacted, API_TheOrderOfFieldsIsNoChange) {
  // As kubectl prints it.
  ObjectSet set = valid_set(list_with_gateway(
      {R"({"apiVersion": "v1", "data": {"a": "aHVzaC0x"}, "kind": "Secret", "metadata": {"name": "bgp"}, "type": "Opaque"})",
       std::string(peer)}));
  const std::string stored = *secret_text(set);
  auto prepared = set.prepare(set.to_text({}));
  ASSERT_TRUE(prepared);
  const auto change = set.apply(std::move(*prepared), validate);
  ASSERT_TRUE(change);
  EXPECT_TRUE(change->empty());
  EXPECT_EQ(*secret_text(set), stored);
}

TEST(ConfigRedacted, API_NullIsAsAbsent) {
  ObjectSet set = both();
  auto delta = parse_delta(R"({"kind": "Delta", "upsert": [{"apiVersion": "v1", "kind": "Secret", "metadata":
    {"name": "bgp", "annotations": {"sluice.dev/redacted": "data"}}, "data": null}]})");
  ASSERT_TRUE(delta);
  ASSERT_TRUE(set.apply(std::move(*delta), validate));
  EXPECT_EQ(set.config().secrets.at({"default", "bgp"}).data.at("upstream"), "hush-1");
  auto empty =
      parse_delta(R"({"kind": "Delta", "upsert": [{"apiVersion":"v1","kind":"Secret","metadata":{"name":"bgp",)"
                  R"("annotations":{"sluice.dev/redacted":""}}}]})");
  ASSERT_TRUE(set.apply(std::move(*empty), validate));
  EXPECT_EQ(*secret_text(set), R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"bgp"}})");
}

TEST(ConfigRedacted, API_WhatTheObjectSaysItselfCounts) {
  ObjectSet set = both();
  auto delta = parse_delta(R"({"kind": "Delta", "upsert": [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp",
     "annotations": {"sluice.dev/redacted": "data,stringData"}}, "data": {"upstream": "bmV3"}},
    {"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "tor", "namespace": "metallb-system"},
     "spec": {"myASN": 64500, "peerASN": 64999, "peerAddress": "192.168.0.1"}}]})");
  ASSERT_TRUE(delta);
  ASSERT_TRUE(set.apply(std::move(*delta), validate));
  const Secret& now = set.config().secrets.at({"default", "bgp"});
  EXPECT_EQ(now.data.at("upstream"), "new");
  EXPECT_EQ(now.data.at("other"), "hush-2");
  EXPECT_EQ(set.config().metallb_peers.at({"metallb-system", "tor"}).password, "") << "without the annotation it goes";
}

TEST(ConfigRedacted, API_AKeyCountsInWhicheverFieldItIsSaid) {
  ObjectSet set = valid_set(list_with_gateway(
      {R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp"}, "stringData": {"tor": "old", "up": "kept"}})",
       std::string(peer)}));
  auto delta = parse_delta(R"({"kind": "Delta", "upsert": [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp",
     "annotations": {"sluice.dev/redacted": "stringData"}}, "data": {"tor": "bmV3"}}]})");
  ASSERT_TRUE(delta);
  ASSERT_TRUE(set.apply(std::move(*delta), validate));
  const Secret& now = set.config().secrets.at({"default", "bgp"});
  EXPECT_EQ(now.data.at("tor"), "new");
  EXPECT_EQ(now.data.at("up"), "kept");
}

TEST(ConfigRedacted, API_WhatIsNotStoredIsAFaultAtItsPlace) {
  const std::string shown = both().to_text({});
  ObjectSet empty = valid_set(list_with_gateway({}));
  const std::string before = empty.to_text({});
  EXPECT_THAT(faults_of_put(empty, shown),
              ElementsAre(StartsWith("/items/0/metadata/annotations/sluice.dev~1redacted: password was left out"),
                          StartsWith("/items/2/metadata/annotations/sluice.dev~1redacted: data was left out"),
                          StartsWith("/items/2/metadata/annotations/sluice.dev~1redacted: stringData was left out")));
  EXPECT_EQ(empty.to_text({}), before);
  EXPECT_THAT(lines(faults_of(shown)), Not(IsEmpty())) << "nor in a first document";
  ObjectSet set = both();
  std::string odd = set.to_text({});
  odd.replace(odd.find("data,stringData"), 15, "spec");
  EXPECT_THAT(faults_of_put(set, odd), ElementsAre(HasSubstr("\"spec\" is nothing that is ever hidden")));
}

TEST(ConfigRedacted, API_NothingHiddenNothingMarked) {
  const ObjectSet set = valid_set(list_with_gateway(
      {R"({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "t"},
           "data": {"tls.key": "aHVzaC0x"}})",
       R"({"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "p", "namespace": "m"},
           "spec": {"myASN": 64500, "peerASN": 64999, "peerAddress": "192.168.0.1"}})"}));
  EXPECT_THAT(set.to_text({}), Not(HasSubstr("redacted")));
}

}  // namespace
}  // namespace sluice::config
