// Sets of objects: they change whole or not at all, and what comes out of them goes in again.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/object_set.h"
#include "tests/source_dir.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using Lines = std::vector<std::string>;

TEST(ConfigObjectSet, OrderOfObjectsIsIrrelevantAndTextComesOutSorted) {
  const std::string a = service("a", "10.96.0.1");
  const std::string b = service("b", "10.96.0.2");
  const ObjectSet one = valid_set(list_with_gateway({a, b}));
  const ObjectSet two = valid_set(list_of({b, a, std::string(gateway_object)}));
  EXPECT_EQ(one.config(), two.config());
  EXPECT_EQ(one.to_text({}, 7), two.to_text({}, 7));
  EXPECT_EQ(one.to_text({"Service", "", "b"}),
            R"({"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Service",)"
            R"("metadata":{"name":"b"},"spec":{"clusterIP":"10.96.0.2","ports":[{"port":80}]}}]})");
  EXPECT_EQ(one.to_json({"Service", "other", ""}, 7).at("items").as_array().size(), 0U);
  EXPECT_EQ(one.to_json({}, 7).at("metadata").at("generation"), 7);
}

TEST(ConfigObjectSet, WhatComesOutGoesInAgain) {
  const ObjectSet before = valid_set(list_with_gateway({service("a", "10.96.0.1")}));
  const ObjectSet after = valid_set(before.to_text({}, 3));
  EXPECT_EQ(before.config(), after.config());
  EXPECT_EQ(before.to_text({}), after.to_text({}));
  EXPECT_TRUE(ObjectSet::difference(before, after).empty());
}

Delta delta(const std::string& fields) {
  auto parsed = parse_delta(R"({"kind": "Delta", "baseGeneration": 41, )" + fields + "}");
  EXPECT_TRUE(parsed);
  return parsed ? std::move(*parsed) : Delta{};
}

std::vector<std::string> actions(const Change& change) {
  std::vector<std::string> out;
  for (const Change::Touched& touched : change.touched) {
    const Change::Action action = touched.action;
    const char sign = action == Change::Action::Added ? '+' : action == Change::Action::Removed ? '-' : '*';
    out.push_back(sign + touched.key.kind + " " + touched.key.object_name() + (touched.effective ? "" : " (same)"));
  }
  return out;
}

TEST(ConfigDelta, UpsertsAndDeletes) {
  ObjectSet objects = valid_set(list_with_gateway({service("a", "10.96.0.1"), service("b", "10.96.0.2")}));
  Delta change_of = delta("\"upsert\": [" + service("a", "10.96.0.9") + "," + service("c", "10.96.0.3") +
                          R"(], "delete": [{"kind": "Service", "namespace": "default", "name": "b"},
                             {"kind": "Service", "name": "nobody"}])");
  EXPECT_EQ(change_of.base_generation, 41U);
  const auto change = objects.apply(std::move(change_of));
  ASSERT_TRUE(change);
  EXPECT_EQ(actions(*change), (Lines{"*Service default/a", "-Service default/b", "+Service default/c"}));
  EXPECT_EQ(lines(change->warnings), (Lines{"/delete/1: nothing to delete"}));
  EXPECT_TRUE(change->touches("Service"));
  EXPECT_FALSE(change->touches("Node"));
  EXPECT_TRUE(change->touches(ObjectKey{"Service", "default", "b"}));
  EXPECT_EQ(objects.config(),
            valid_set(list_with_gateway({service("a", "10.96.0.9"), service("c", "10.96.0.3")})).config());
}

// Numbers that a parser which misses the nearest double turns into others, some of them at every turn.
TEST(ConfigDelta, UndoingItKeepsNumbersExactly) {
  const auto pod = [](const std::string& number) {
    return R"({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"load": )" + number + "}}";
  };
  for (const char* number : {"1.8330823803049299E183", "-1.772497822403298E307", "1.3927926388013963E-143", "5E-324",
                             "2.2250738585072014E-308", "1.7976931348623157E308", "1E-1", "1E23"}) {
    SCOPED_TRACE(number);
    ObjectSet objects = valid_set(list_with_gateway({pod(number)}));
    const std::string text = objects.to_text({});
    EXPECT_THAT(text, HasSubstr(std::string(R"({"load":)") + number + "}"));
    EXPECT_EQ(valid_set(text).to_text({}), text);
    auto change = objects.apply(delta("\"upsert\": [" + pod("0") + "]"));
    ASSERT_TRUE(change);
    objects.revert(std::move(*change));
    EXPECT_EQ(objects.to_text({}), text);
  }
}

TEST(ConfigDelta, NothingNewIsNoChange) {
  ObjectSet objects = valid_set(list_with_gateway({service("a", "10.96.0.1")}));
  const auto same = objects.apply(delta("\"upsert\": [" + service("a", "10.96.0.1") + "]"));
  ASSERT_TRUE(same);
  EXPECT_TRUE(same->empty());
  std::string newer = service("a", "10.96.0.1");
  newer.insert(newer.find("\"name\""), "\"resourceVersion\": \"7\", ");
  const auto bookkeeping = objects.apply(delta("\"upsert\": [" + newer + "]"));
  ASSERT_TRUE(bookkeeping);
  EXPECT_EQ(actions(*bookkeeping), (Lines{"*Service default/a (same)"}));
  EXPECT_FALSE(bookkeeping->effective());
  EXPECT_FALSE(bookkeeping->touches("Service"));
}

TEST(ConfigDelta, WithFaultsChangesNothing) {
  ObjectSet objects = valid_set(list_with_gateway({service("a", "10.96.0.1")}));
  const std::string before = objects.to_text({});
  const auto change = objects.apply(delta("\"upsert\": [" + service("b", "10.96.0.2") + "," + service("c", "x") +
                                          R"(], "delete": [{"kind": "Service", "name": "a"}])"));
  ASSERT_FALSE(change);
  EXPECT_EQ(lines(change.error().faults),
            (Lines{"/upsert/1/spec/clusterIP: \"x\" is not an IPv4 or IPv6 address or \"None\""}));
  EXPECT_EQ(objects.to_text({}), before);
}

constexpr std::string_view overlapping_pools = R"(
  {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "a"}, "spec": {"cidr": "10.244.0.0/16"}},
  {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "b"}, "spec": {"cidr": "10.244.0.0/20"}})";

TEST(ConfigDocument, FaultsInObjectsAndBetweenThemComeOutAtOnce) {
  std::string gateway(gateway_object);
  gateway.replace(gateway.find("\"net_null0\""), 11, "7");
  const Lines faults = lines(faults_of(list_of({gateway, service("c", "x"), std::string(overlapping_pools)})));
  EXPECT_THAT(faults, UnorderedElementsAre(HasSubstr("/items/0/spec/interfaces/0/device: "),
                                           HasSubstr("/items/1/spec/clusterIP: "), HasSubstr("/items/3/spec/cidr: ")));
}

TEST(ConfigDelta, FaultsInObjectsAndBetweenThemComeOutAtOnceAndChangeNothing) {
  ObjectSet objects = valid_set(list_with_gateway({service("a", "10.96.0.1")}));
  const std::string before = objects.to_text({});
  std::string gateway(gateway_object);
  gateway.replace(gateway.find("\"net_null0\""), 11, "7");
  std::string second(gateway_object);
  second.replace(second.find("\"default\""), 9, "\"other\"");
  const auto change = objects.apply(delta("\"upsert\": [" + gateway + "," + second + "," + service("c", "10.96.0.1") +
                                          "," + std::string(overlapping_pools) + "]"),
                                    validate);
  ASSERT_FALSE(change);
  EXPECT_THAT(
      lines(change.error().faults),
      UnorderedElementsAre(HasSubstr("/upsert/0/spec/interfaces/0/device: "), HasSubstr("/upsert/1/metadata/name: "),
                           HasSubstr("/upsert/2/spec/clusterIP: "), HasSubstr("/upsert/4/spec/cidr: ")));
  EXPECT_EQ(objects.to_text({}), before);
  EXPECT_EQ(objects.config(), valid_set(before).config());
}

TEST(ConfigDelta, RevertRestoresEverything) {
  const std::string text =
      list_with_gateway({service("a", "10.96.0.1"), service("b", "10.96.0.2"),
                         R"({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
           "spec": {"cidrs": ["10.97.0.0/16"]}})",
                         R"({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})"});
  ObjectSet objects = valid_set(text);
  std::string gateway(gateway_object);
  gateway.replace(gateway.find("gw-1"), 4, "gw-9");
  auto change = objects.apply(delta("\"upsert\": [" + gateway + "," + service("a", "10.96.0.9") + "," +
                                    service("c", "10.96.0.3") + R"(], "delete": [{"kind": "Service", "name": "b"},
                                       {"kind": "ServiceCIDR", "name": "more"}, {"kind": "Pod", "name": "p"}])"));
  ASSERT_TRUE(change);
  EXPECT_EQ(objects.config().gateway.node_name, "gw-9");
  objects.revert(std::move(*change));
  const ObjectSet expected = valid_set(text);
  EXPECT_EQ(objects.config(), expected.config());
  EXPECT_EQ(objects.to_text({}), expected.to_text({}));
}

TEST(ConfigDelta, TheGatewayCanBeReplacedButNotRemoved) {
  ObjectSet objects = valid_set(gateway_object);
  const auto removed = objects.apply(deletion_of({"GatewayConfiguration", "", "default"}));
  ASSERT_FALSE(removed);
  EXPECT_EQ(lines(removed.error().faults), (Lines{": exactly one GatewayConfiguration is required, found none"}));

  std::string other(gateway_object);
  other.replace(other.find("\"default\""), 9, "\"other\"");
  EXPECT_FALSE(objects.apply(delta("\"upsert\": [" + other + "]")));
  EXPECT_TRUE(objects.apply(
      delta("\"upsert\": [" + other + R"(], "delete": [{"kind": "GatewayConfiguration", "name": "default"}])")));
  EXPECT_EQ(objects.config().gateway.name, "other");
  EXPECT_EQ(objects.size(), 1U);
}

TEST(ConfigDelta, OneObjectIsADelta) {
  ObjectSet objects = valid_set(gateway_object);
  auto document = parse_document(service("a", "10.96.0.1"));
  ASSERT_TRUE(document);
  EXPECT_EQ(document->objects.at(0).key, *make_key("Service", "", "a"));
  ASSERT_TRUE(objects.apply(to_delta(std::move(*document))));
  EXPECT_TRUE(objects.contains({"Service", "default", "a"}));
  ASSERT_TRUE(objects.apply(deletion_of({"Service", "default", "a"})));
  EXPECT_EQ(objects.size(), 1U);
  // The place is in the object, which is the document here.
  auto broken = parse_document(R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": 1})");
  const auto change = objects.apply(to_delta(std::move(*broken)));
  ASSERT_FALSE(change);
  EXPECT_EQ(lines(change.error().faults), (Lines{"/spec: expected an object, found an integer"}));
}

TEST(ConfigDelta, WrongDeltas) {
  const auto faults_in = [](std::string_view text) {
    auto parsed = parse_delta(text);
    if (!parsed) return lines(parsed.error().faults);
    return lines(parsed->findings.take_faults());
  };
  EXPECT_EQ(faults_in("[]"), (Lines{": expected an object, found a list"}));
  EXPECT_EQ(faults_in(R"({"kind": "List"})"), (Lines{"/kind: expected \"Delta\""}));
  EXPECT_EQ(faults_in(R"({"kind": "Delta", "baseGeneration": -1, "upsert": {}, "delete": [7, {}, {"kind": "X",
                          "name": "y"}]})"),
            (Lines{"/baseGeneration: expected 0 to 18446744073709551615, found -1",
                   "/upsert: expected a list, found an object", "/delete/0: expected an object, found an integer",
                   "/delete/1/kind: required", "/delete/1/name: required", "/delete/2/kind: unknown kind \"X\""}));
  EXPECT_EQ(faults_in("{\"kind\": \"Delta\", \"upsert\": [" + service("a", "10.96.0.1") +
                      R"(], "delete": [{"kind": "Service", "namespace": "default", "name": "a"}]})"),
            (Lines{"/upsert/0: to be both set and deleted, see /delete/0"}));
  EXPECT_FALSE(parse_delta("{"));
}

TEST(ConfigDelta, DifferenceOfTwoSets) {
  const ObjectSet before = valid_set(list_with_gateway({service("a", "10.96.0.1"), service("b", "10.96.0.2")}));
  const ObjectSet after = valid_set(list_with_gateway({service("b", "10.96.0.7"), service("c", "10.96.0.3")}));
  EXPECT_EQ(actions(ObjectSet::difference(before, after)),
            (Lines{"-Service default/a", "*Service default/b", "+Service default/c"}));
}

TEST(ConfigKey, FromThreeWords) {
  EXPECT_EQ(make_key("Service", "", "a"), (ObjectKey{"Service", "default", "a"}));
  EXPECT_EQ(make_key("Node", "ignored", "a"), (ObjectKey{"Node", "", "a"}));
  EXPECT_EQ(make_key("BGPPeer", "", "a"), (ObjectKey{"BGPPeer", "", "a"}));
  EXPECT_EQ(make_key("BGPPeer", "metallb-system", "a"), (ObjectKey{"BGPPeer", "metallb-system", "a"}));
  EXPECT_EQ(make_key("Gizmo", "", "a"), std::nullopt);
}

TEST(ConfigExamples, AreRightAndWithoutWarnings) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SLUICE_SOURCE_DIR "/config/examples")) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path());
    ++count;
    const ObjectSet objects = valid_set(read_text(entry.path()));
    EXPECT_THAT(lines(objects.warnings()), IsEmpty());
    EXPECT_EQ(valid_set(objects.to_text({})).config(), objects.config());
  }
  EXPECT_GE(count, 3U);
}

TEST(ConfigObjectSet, FiltersByKindNamespaceAndName) {
  const auto at = [](const std::string& ns, const std::string& name) {
    return R"({"apiVersion":"v1","kind":"Pod","metadata":{"namespace":")" + ns + R"(","name":")" + name + R"("}})";
  };
  const ObjectSet objects = valid_set(list_with_gateway(
      {at("a", "one"), at("a", "two"), at("b", "one"), at("b", "zero"), service("one", "10.96.0.1")}));
  const auto names = [&](const ObjectSet::Filter& filter) {
    Lines out;
    const boost::json::value list = objects.to_json(filter);
    for (const auto& item : list.at("items").as_array()) {
      const auto& metadata = item.at("metadata").as_object();
      out.push_back((metadata.contains("namespace") ? std::string(metadata.at("namespace").as_string()) + "/" : "") +
                    std::string(metadata.at("name").as_string()));
    }
    return out;
  };
  EXPECT_EQ(names({"Pod", "a", "one"}), (Lines{"a/one"}));
  EXPECT_EQ(names({"Pod", "a", "none"}), Lines{});
  EXPECT_EQ(names({"Pod", "aa", "one"}), Lines{});
  EXPECT_EQ(names({"Pod", "b", ""}), (Lines{"b/one", "b/zero"}));
  EXPECT_EQ(names({"Pod", "", "one"}), (Lines{"a/one", "b/one"}));
  EXPECT_EQ(names({"Pod", "", ""}).size(), 4U);
  EXPECT_EQ(names({"", "", "one"}), (Lines{"a/one", "b/one", "one"}));
  EXPECT_EQ(names({"GatewayConfiguration", "", "default"}), (Lines{"default"}));
}

}  // namespace
}  // namespace sluice::config
