// JSON text → objects: the shapes of documents and deltas, what is refused, and where a fault is said to be.
#include <algorithm>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/duration.h"
#include "config/json.h"
#include "config/json_memory.h"
#include "config/json_reader.h"
#include "config/object_set.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Lines = std::vector<std::string>;

TEST(ConfigDocument, SyntaxErrorTellsOffsetLineAndColumn) {
  const auto document = parse_document("{\n  \"kind\": \"List\",\n  \"items\": [1 2]\n}");
  ASSERT_FALSE(document);
  ASSERT_TRUE(document.error().syntax);
  EXPECT_EQ(document.error().syntax->offset, 34U);
  EXPECT_EQ(document.error().syntax->line, 3U);
  EXPECT_EQ(document.error().syntax->column, 15U);
  EXPECT_THAT(document.error().faults, IsEmpty());
}

TEST(ConfigDocument, RefusesWhatIsNoJson) {
  for (const std::string_view text : {"", "   ", "{", "{} x", "nul", "{\"a\": 01}", "{\"a\": \"\xff\"}", "[1,]"}) {
    const auto document = parse_document(text);
    ASSERT_FALSE(document) << text;
    EXPECT_TRUE(document.error().syntax) << text;
  }
}

TEST(ConfigDocument, RefusesWhatIsNoDocument) {
  EXPECT_EQ(lines(faults_of("[]")), (Lines{": expected an object, found a list"}));
  EXPECT_EQ(lines(faults_of("1")), (Lines{": expected an object, found an integer"}));
  EXPECT_EQ(lines(faults_of(R"({"kind": "List"})")), (Lines{"/items: expected a list of objects"}));
}

TEST(ConfigDocument, NestingIsLimitedTheSameAloneAndInAList) {
  const auto nested = [](size_t depth) {
    return R"({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "p"}, "spec": )" +
           std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_TRUE(parse_document(nested(29))->findings.faults.empty());
  EXPECT_TRUE(parse_document(list_of({nested(29)})).ok());
  EXPECT_EQ(lines(parse_document(nested(30))->findings.faults),
            (Lines{": lists and objects in it are nested too deeply"}));
  EXPECT_FALSE(parse_document(list_of({nested(30)})).ok());
}

std::string repeated(std::string_view text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) (out += i == 0 ? "" : ",") += text;
  return out;
}

// Whether it is refused for the memory that it takes: true with less than `memory` bytes, false without a limit.
template <class Read>
bool takes_more_than(size_t memory, const Read& read) {
  EXPECT_TRUE(read().ok() || read().error().syntax.value_or(SyntaxError{}).message != TooLarge().what());
  const auto budget = std::make_shared<MemoryBudget>(memory);
  const MemoryScope scope(budget);
  const auto result = read();
  if (!result.ok()) {
    EXPECT_EQ(result.error().syntax.value().message, TooLarge().what());
    EXPECT_THAT(result.error().syntax->message, HasSubstr("send it in several parts"));
  }
  EXPECT_EQ(budget->exceeded(), !result.ok());
  return !result.ok();
}

// The limits are far from what the whole would take.
TEST(ConfigDocument, API_MemoryIsBoundedWhileItIsRead) {
  constexpr size_t memory = size_t{2} << 20;
  const std::string zeros = "[" + repeated("0", 1 << 18) + "]";
  const std::string object =
      R"({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "p"}, "spec": )" + zeros + "}";
  const std::vector<std::string> texts{
      zeros,
      object,
      list_of({object}),
      R"({"kind": "List", "metadata": )" + zeros + R"(, "items": []})",
      R"({"kind": "List", "items": )" + zeros + "}",
  };
  for (const std::string& text : texts) {
    const ObjectSet set;
    EXPECT_TRUE(takes_more_than(memory, [&] { return parse_document(text); })) << text.substr(0, 90);
    EXPECT_TRUE(takes_more_than(memory, [&] { return set.prepare(text); })) << text.substr(0, 90);
  }
  const std::string delta = R"({"kind": "Delta", "upsert": [)" + object + "]}";
  EXPECT_TRUE(takes_more_than(memory, [&] { return parse_delta(delta); }));
  std::string zero_lines;
  for (size_t i = 0; i < size_t{1} << 16; ++i) zero_lines += "0\n";
  EXPECT_TRUE(takes_more_than(memory, [&] { return ObjectSet().prepare(zero_lines, {.format = Format::NdJson}); }));
}

// Two hundred bytes of warning for ten of text.
TEST(ConfigDocument, API_MemoryOfWhatIsFoundIsBounded) {
  constexpr size_t memory = size_t{3} << 20;
  std::string unknown;
  for (size_t i = 0; i < 10000; ++i) unknown += fmt::format(R"(,"a{}":0)", i);
  const std::string object =
      R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "p"}, "spec": {"x":0)" + unknown + "}}";
  const std::string list = list_of({object});
  EXPECT_TRUE(takes_more_than(memory, [&] { return ObjectSet().prepare(list); }));
  EXPECT_FALSE(takes_more_than(16 * memory, [&] { return ObjectSet().prepare(list); }));
  // What is found in a delta is found when it is applied, after it was parsed.
  const std::string text = R"({"kind": "Delta", "upsert": [)" + std::string(gateway_object) + "," + object + "]}";
  EXPECT_TRUE(takes_more_than(memory, [&] {
    auto delta = parse_delta(text);
    EXPECT_TRUE(delta.ok());
    return ObjectSet().apply(std::move(*delta));
  }));
}

TEST(ConfigDocument, API_MemoryIsGivenBackWhenTheDocumentIsGone) {
  const auto budget = std::make_shared<MemoryBudget>(size_t{4} << 20);
  const MemoryScope scope(budget);
  const std::string text = "{\"a\": [" + repeated("0", 10000) + "]}";
  for (int round = 0; round < 100; ++round) ASSERT_TRUE(read_within(text, budget));
  EXPECT_FALSE(budget->exceeded());
}

// They could not be written out again.
TEST(ConfigDocument, NumbersPastTheRangeOfDoubleAreRefused) {
  EXPECT_EQ(lines(faults_of(list_with_gateway({R"({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "p"},
                                                   "spec": [-1e400]})"}))),
            (Lines{"/items/1: a number in it is too large"}));
}

TEST(ConfigDocument, AllFaultsOfADocumentAreReportedAtOnce) {
  const auto faults = faults_of(list_with_gateway({
      R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "Web"}, "spec": {}})",
      R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
          "spec": {"type": "Nodeport", "ports": [{"port": "80"}, {"port": 81, "nodePort": 70000}, {}]}})",
      "7",
      R"({"apiVersion": "v1", "kind": "Gizmo", "metadata": {"name": "g"}})",
      R"({"kind": "Node", "metadata": {"name": "n"}})",
  }));
  EXPECT_EQ(lines(faults),
            (Lines{
                "/items/1/metadata/name: expected at most 63 of a-z, 0-9 and \"-\", beginning with a letter, ending "
                "without \"-\"",
                "/items/3: expected an object, found an integer",
                "/items/4/kind: unknown kind \"Gizmo\"",
                "/items/5/apiVersion: required",
                "/items/2/spec/type: \"Nodeport\" is not one of ClusterIP, NodePort, LoadBalancer, ExternalName",
                "/items/2/spec/ports/0/port: expected an integer, found a string",
                "/items/2/spec/ports/1/nodePort: expected 0 to 65535, found 70000",
                "/items/2/spec/ports/2/port: required",
            }));
  EXPECT_EQ(faults.at(6).kind, "Service");
  EXPECT_EQ(faults.at(6).name, "default/web");
  EXPECT_EQ(faults.at(6).path, "spec.ports[1].nodePort");
  EXPECT_EQ(faults.at(6).text(), "Service default/web: spec.ports[1].nodePort: expected 0 to 65535, found 70000");
}

TEST(ConfigDocument, FaultsPastTheLimitAreCounted) {
  std::vector<std::string> objects(50, "1");
  Options options;
  options.max_faults = 3;
  const auto faults = faults_of(list_with_gateway(std::move(objects)), options);
  ASSERT_THAT(faults, SizeIs(4));
  EXPECT_EQ(faults.back().message, "and 47 more faults");
}

TEST(ConfigDocument, DuplicateObjectIsAFault) {
  EXPECT_EQ(lines(faults_of(list_with_gateway({service("a", "10.96.0.1"), service("a", "10.96.0.2")}))),
            (Lines{"/items/2/metadata/name: a second Service of this name; the first is at /items/1"}));
}

TEST(ConfigDocument, ExactlyOneGatewayConfiguration) {
  EXPECT_EQ(lines(faults_of(list_of({}))), (Lines{": exactly one GatewayConfiguration is required, found none"}));
  std::string second(gateway_object);
  second.replace(second.find("\"default\""), 9, "\"other\"");
  EXPECT_EQ(lines(faults_of(list_with_gateway({second}))),
            (Lines{"/items/1/metadata/name: there is another GatewayConfiguration; exactly one is allowed"}));
}

TEST(ConfigDocument, UnknownKindIsAFaultOrIgnoredOnRequest) {
  const std::string text = list_with_gateway({
      R"({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})",
      R"({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}})",
      R"({"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice", "metadata": {"name": "b"}})",
  });
  EXPECT_EQ(lines(faults_of(text)),
            (Lines{"/items/1/kind: unknown kind \"ConfigMap\"", "/items/2/kind: unknown kind \"ConfigMap\"",
                   "/items/3/apiVersion: unknown kind EndpointSlice of \"discovery.k8s.io/v1beta1\"; known is that of "
                   "discovery.k8s.io/v1"}));
  Options options;
  options.ignore_unknown_kinds = true;
  const auto objects = load(text, options);
  ASSERT_TRUE(objects);
  EXPECT_EQ(lines(objects->warnings()),
            (Lines{": unknown kind, ignored (2 objects)", ": unknown kind, ignored (1 objects)"}));
}

TEST(ConfigDocument, KnownKindsWithoutUseAreKeptWithOneWarningEach) {
  const ObjectSet objects = valid_set(list_with_gateway({
      R"({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "allow"}})",
      R"({"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "tor"},
          "spec": {"myASN": 64512, "peerASN": 64999, "peerAddress": "192.168.0.2"}})",
      R"({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"}})",
      R"({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "tor"},
          "spec": {"peerIP": "192.168.0.1", "asNumber": 64999}})",
  }));
  EXPECT_EQ(lines(objects.warnings()), (Lines{": accepted but not used by this version (2 objects)"}));
  EXPECT_NE(objects.text_of({"BGPPeer", "default", "tor"}), nullptr);
  EXPECT_NE(objects.text_of({"BGPPeer", "", "tor"}), nullptr);
}

TEST(ConfigDocument, SecretsAndBookkeepingAreNotKept) {
  const ObjectSet objects = valid_set(list_with_gateway({
      R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls", "managedFields": [{"f:x": {}}],
          "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hush", "other": "stays"}},
          "type": "kubernetes.io/tls", "data": {"tls.key": "aHVzaA=="}, "stringData": {"a": "hush"}})",
  }));
  EXPECT_EQ(*objects.text_of({"Secret", "default", "tls"}),
            R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"tls","annotations":{"other":"stays"}},)"
            R"("type":"kubernetes.io/tls"})");
}

TEST(ConfigDocument, ASingleObjectIsADocument) {
  const ObjectSet objects = valid_set(gateway_object);
  EXPECT_EQ(objects.size(), 1U);
  const auto faults = faults_of(R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
                                    "metadata": {"name": "default"}, "spec": {"interfaces": {}}})");
  EXPECT_EQ(lines(faults), (Lines{"/spec/interfaces: expected a list, found an object"}));
}

TEST(ConfigDocument, LinesOfObjectsAreADocument) {
  Options options;
  options.format = Format::NdJson;
  std::string gateway(gateway_object);
  std::replace(gateway.begin(), gateway.end(), '\n', ' ');
  const auto objects = load("\n" + gateway + "\n\n" + service("a", "10.96.0.1") + "\r\n", options);
  ASSERT_TRUE(objects);
  EXPECT_EQ(objects->size(), 2U);

  EXPECT_EQ(lines(faults_of(gateway + "\n\n" + service("a", "10.96.0.1.1"), options)),
            (Lines{"/items/1/spec/clusterIP: \"10.96.0.1.1\" is not an IPv4 or IPv6 address or \"None\""}));
  const auto broken = load(gateway + "\n{\"kind\": }\n", options);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().syntax->line, 2U);
  EXPECT_EQ(broken.error().syntax->column, 10U);
}

TEST(ConfigDuration, GoNotation) {
  EXPECT_EQ(parse_duration("24h"), 24h);
  EXPECT_EQ(parse_duration("1h30m"), 90min);
  EXPECT_EQ(parse_duration("1.5h"), 90min);
  EXPECT_EQ(parse_duration("600s"), 600s);
  EXPECT_EQ(parse_duration("250ms"), 250ms);
  EXPECT_EQ(parse_duration("1m.5s"), 60s + 500ms);
  EXPECT_EQ(parse_duration("0"), 0s);
  EXPECT_EQ(parse_duration("7us"), std::chrono::microseconds(7));
  EXPECT_EQ(parse_duration("7\u00b5s"), std::chrono::microseconds(7));
  for (const std::string_view text : {"", "1", "h", "-1s", "+1s", "1 s", "1s ", "1d", ".s", "1e3s", "99999999999h",
                                      "2562047h2562047h", "999999999999999999999s"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
}

TEST(ConfigPath, PointerIsEscapedAndDottedFormHasBrackets) {
  const Path path = Path::of("metadata", "annotations", "a/b~c", 3);
  EXPECT_EQ(path.pointer(), "/metadata/annotations/a~1b~0c/3");
  EXPECT_EQ(path.dotted(), "metadata.annotations[a/b~c][3]");
}

TEST(ConfigKinds, DnsNames) {
  EXPECT_TRUE(is_dns_subdomain("node1-10-244-34-0-26"));
  EXPECT_TRUE(is_dns_subdomain("a.b.c"));
  EXPECT_TRUE(is_dns_subdomain(std::string(253, 'a')));
  for (const std::string& name : {std::string(), std::string("-a"), std::string("a-"), std::string("A"),
                                  std::string("a..b"), std::string("a."), std::string("a_b"), std::string(254, 'a')}) {
    EXPECT_FALSE(is_dns_subdomain(name)) << name;
  }
  EXPECT_TRUE(is_dns_label("1a"));
  EXPECT_FALSE(is_dns_1035_label("1a"));
  EXPECT_FALSE(is_dns_label("a.b"));
  EXPECT_FALSE(is_dns_label(std::string(64, 'a')));
}

}  // namespace
}  // namespace sluice::config
