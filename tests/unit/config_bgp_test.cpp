// BGPConfiguration, BGPPeer, BGPFilter and Secrets: what is read, what is refused and where, what is never shown.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string object(const std::string& kind, const std::string& name, const std::string& spec) {
  return R"({"apiVersion": "projectcalico.org/v3", "kind": ")" + kind + R"(", "metadata": {"name": ")" + name +
         R"("}, "spec": )" + spec + "}";
}

std::vector<std::string> faults(const std::string& kind, const std::string& spec) {
  return lines(faults_of(list_with_gateway({object(kind, "default", spec)})));
}

std::vector<std::string> warnings(const std::string& kind, const std::string& spec,
                                  const std::string& name = "default") {
  return lines(valid_set(list_with_gateway({object(kind, name, spec)})).warnings());
}

TEST(BgpObjects, BGP6_AsNumbersAndCommunities) {
  EXPECT_EQ(parse_as_number("64512"), 64512U);
  EXPECT_EQ(parse_as_number("1.10"), 65546U);
  EXPECT_EQ(parse_as_number("4294967295"), 4294967295U);
  for (const char* text : {"", "0", "0.0", "4294967296", "1.65536", "1.2.3", "AS1", "-1", "1 "}) {
    EXPECT_FALSE(parse_as_number(text)) << text;
  }
  EXPECT_EQ(to_string(*parse_bgp_community("65535:0")), "65535:0");
  EXPECT_EQ(to_string(*parse_bgp_community("4294967295:1:2")), "4294967295:1:2");
  for (const char* text : {"", "1", "1:", ":1", "65536:1", "1:65536", "1:2:3:4", "1:2:4294967296", "a:b"}) {
    EXPECT_FALSE(parse_bgp_community(text)) << text;
  }
}

TEST(BgpObjects, BGP6_FaultsOfPeers) {
  EXPECT_THAT(faults("BGPPeer", R"({"peerIP": "192.168.0.1"})"),
              ElementsAre("/items/1/spec/asNumber: required beside peerIP"));
  EXPECT_THAT(faults("BGPPeer", "{}"), ElementsAre("/items/1/spec/peerIP: required, or peerSelector"));
  EXPECT_THAT(faults("BGPPeer", R"x({"node": "a", "nodeSelector": "all()", "peerIP": "10.0.0.1",
                                       "peerSelector": "all()", "asNumber": 7})x"),
              ElementsAre("/items/1/spec/nodeSelector: node and nodeSelector exclude each other",
                          "/items/1/spec/peerSelector: peerIP and peerSelector exclude each other",
                          "/items/1/spec/asNumber: excluded by peerSelector: nodes have their own AS numbers"));
  EXPECT_THAT(faults("BGPPeer", R"({"peerIP": "10.0.0.1:0", "asNumber": 1})"),
              testing::Contains(HasSubstr("/items/1/spec/peerIP: ")));
  EXPECT_THAT(faults("BGPPeer", R"({"peerIP": "fe80::1", "asNumber": 1})"),
              ElementsAre(HasSubstr("/items/1/spec/peerIP: fe80::1 is a link-local address")));
  EXPECT_THAT(faults("BGPPeer", R"({"peerIP": "127.0.0.1", "asNumber": 1})"),
              ElementsAre("/items/1/spec/peerIP: 127.0.0.1 is a loopback address"));
  EXPECT_THAT(faults("BGPPeer", R"({"peerIP": "10.0.0.1", "asNumber": 4294967296})"),
              testing::Contains("/items/1/spec/asNumber: expected 1 to 4294967295, found 4294967296"));
  EXPECT_THAT(
      faults("BGPPeer", R"({"peerIP": "10.0.0.1", "asNumber": 1, "keepaliveTime": "7h", "maxRestartTime": "4096s"})"),
      ElementsAre("/items/1/spec/maxRestartTime: at most 4095s, found 4096s",
                  "/items/1/spec/keepaliveTime: at most 21845s, found 25200s"));
  EXPECT_THAT(faults("BGPPeer", R"({"peerIP": "10.0.0.1", "asNumber": 1, "keepaliveTime": "0s"})"),
              ElementsAre("/items/1/spec/keepaliveTime: at least 1s, found 0s"));
  EXPECT_THAT(faults("BGPPeer", R"({"peerIP": "10.0.0.1", "asNumber": 1, "keepaliveTime": "500ms"})"),
              ElementsAre("/items/1/spec/keepaliveTime: expected whole seconds"));
  EXPECT_THAT(faults("BGPPeer", R"({"peerIP": "10.0.0.1", "asNumber": 1, "reachableBy": "fd00::1"})"),
              ElementsAre("/items/1/spec/reachableBy: is of another address family than peerIP"));
  EXPECT_THAT(
      faults("BGPPeer", R"({"peerIP": "10.0.0.1", "asNumber": 1, "password": {"secretKeyRef": {"name": "a"}}})"),
      ElementsAre("/items/1/spec/password/secretKeyRef/key: required"));
}

TEST(BgpObjects, BGP6_FaultsOfFiltersAndOfTheConfiguration) {
  EXPECT_THAT(faults("BGPFilter", R"({"importV4": [{"cidr": "10.0.0.0/8", "action": "Accept"}, {"action": "Drop"},
                                     {"cidr": "fd00::/8", "matchOperator": "In", "action": "Reject"},
                                     {"cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 30, "max": 20}, "action": "Reject"}]})"),
              ElementsAre("/items/1/spec/importV4/0/matchOperator: required beside cidr",
                          HasSubstr("/items/1/spec/importV4/1/action: ")));
  EXPECT_THAT(faults("BGPFilter", R"({"importV4": [
                                     {"cidr": "fd00::/8", "matchOperator": "In", "action": "Reject"},
                                     {"cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 30, "max": 20}, "action": "Reject"}]})"),
              ElementsAre("/items/1/spec/importV4/0/cidr: expected an IPv4 network",
                          "/items/1/spec/importV4/1/prefixLength: expected 8 <= min <= max <= 32"));
  EXPECT_THAT(faults("BGPFilter", R"({"exportV4": [{"interface": "e\"; }", "action": "Reject"}]})"),
              ElementsAre(HasSubstr("/items/1/spec/exportV4/0/interface: expected the name of an interface")));
  EXPECT_THAT(
      faults("BGPConfiguration", R"({"serviceClusterIPs": [{"cidr": "0.0.0.0/0"}],
                                            "prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["x"]}]})"),
      ElementsAre(HasSubstr("/items/1/spec/serviceClusterIPs/0/cidr: everything is announced by nobody"),
                  HasSubstr("/items/1/spec/prefixAdvertisements/0/communities/0: \"x\" is neither a community")));
}

TEST(BgpObjects, BGP6_WhatIsNotKnownWarns) {
  EXPECT_THAT(warnings("BGPPeer", R"({"peerIP": "10.0.0.1", "asNumber": 1, "keepAliveTime": "3s"})"),
              ElementsAre(HasSubstr("did you mean \"keepaliveTime\"?")));
  EXPECT_THAT(warnings("BGPPeer", R"({"peerIP": "10.0.0.1", "asNumber": 1, "failureDetectionMode": "None"})"),
              ElementsAre("/items/1/spec/failureDetectionMode: not used by this version"));
  EXPECT_THAT(warnings("BGPConfiguration", R"({"logSeverityScreen": "Info"})"), IsEmpty());
  EXPECT_THAT(warnings("BGPConfiguration", "{}", "other"), ElementsAre(HasSubstr("/items/1/metadata/name: not used")));
}

// Who may write the configuration may not have any file replaced: where BIRD's are is said on the command line.
TEST(BgpObjects, BGP6_FilesAreNoMatterOfTheDocument) {
  EXPECT_THAT(lines(valid_set(R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
      "metadata": {"name": "default"}, "spec": {"nodeName": "gw-1", "interfaces": [{"name": "up0", "device": "net_null0"}],
      "bgp": {"engine": "bird", "configFile": "/etc/passwd", "controlSocket": "/run/a"}}})")
                        .warnings()),
              ElementsAre(HasSubstr("/spec/bgp/configFile: "), HasSubstr("/spec/bgp/controlSocket: ")));
}

TEST(BgpObjects, BGP12_FaultsOfTheGateway) {
  const auto faults_of_bgp = [](const std::string& bgp, const std::string& node = R"("nodeName": "gw-1", )") {
    return lines(
        faults_of(R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
        "spec": {)" +
                  node + R"("interfaces": [{"name": "up0", "device": "net_null0"}], "bgp": )" + bgp + "}}"));
  };
  EXPECT_THAT(faults_of_bgp(R"({"engine": "bird"})"), IsEmpty());
  EXPECT_THAT(faults_of_bgp(R"({"engine": "bird"})", ""), ElementsAre(HasSubstr("/spec/nodeName: required for BGP")));
  EXPECT_THAT(faults_of_bgp(R"({"engine": "quagga"})"), ElementsAre(HasSubstr("/spec/bgp/engine: ")));
  EXPECT_THAT(faults_of_bgp(R"({"bfd": {"detectMultiplier": 1}})"),
              ElementsAre("/spec/bgp/bfd/detectMultiplier: expected 2 to 255, found 1"));
}

const char* const secret = R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp"},
  "data": {"tor": "aHVzaA==", "long": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
  "stringData": {"other": "quiet"}})";

TEST(BgpObjects, BGP6_SecretsAreReadAndNeverShown) {
  ObjectSet objects = valid_set(list_with_gateway({secret}));
  const auto data = [&] { return objects.config().secrets.at({"default", "bgp"}).data; };
  EXPECT_THAT(data(), ElementsAre(testing::Pair("other", "quiet"), testing::Pair("tor", "hush")));
  const std::string shown = objects.to_text({});
  for (const char* word : {"aHVzaA", "hush", "quiet", "AAAA"}) EXPECT_THAT(shown, Not(HasSubstr(word)));
  EXPECT_THAT(shown, HasSubstr(R"("name":"bgp")"));
  // What is kept for the next start, and to undo a change, has it.
  EXPECT_THAT(*objects.text_of({"Secret", "default", "bgp"}), HasSubstr("aHVzaA=="));
  auto changed = parse_document(
      R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp"}, "data": {"tor": "bG91ZA=="}})");
  auto change = objects.apply(to_delta(std::move(*changed)));
  ASSERT_TRUE(change);
  EXPECT_TRUE(change->effective());
  EXPECT_THAT(data(), ElementsAre(testing::Pair("tor", "loud")));
  objects.revert(std::move(*change));
  EXPECT_THAT(data(), ElementsAre(testing::Pair("other", "quiet"), testing::Pair("tor", "hush")));
}

TEST(BgpObjects, BGP6_SecretsThatAreNoBase64) {
  for (const char* text : {"h", "a b=", "aHVzaA", "aH=zaA==", "====", "äääß"}) {
    const ObjectSet objects = valid_set(list_with_gateway(
        {std::string(R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": ")") + text +
         "\"}}"}));
    EXPECT_THAT(lines(objects.warnings()),
                ElementsAre("/items/1/data/k: not base64, not used; text as it is goes into stringData"))
        << text;
    EXPECT_THAT(objects.config().secrets.at({"default", "s"}).data, IsEmpty());
  }
}

TEST(BgpObjects, BGP7_AnnotationsOfNodes) {
  const ObjectSet objects =
      valid_set(list_with_gateway({R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a",
      "annotations": {"projectcalico.org/ASNumber": "64999", "projectcalico.org/RouteReflectorClusterID": "244.0.0.1"}}})"}));
  const Node& node = objects.config().nodes.at("a");
  EXPECT_EQ(node.as_number, 64999U);
  EXPECT_EQ(node.cluster_id, net::parse_ipv4("244.0.0.1"));
  EXPECT_THAT(lines(faults_of(list_with_gateway({R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a",
      "annotations": {"projectcalico.org/ASNumber": "none"}}})"}))),
              ElementsAre(HasSubstr("/items/1/metadata/annotations/projectcalico.org~1ASNumber: ")));
}

}  // namespace
}  // namespace sluice::config
