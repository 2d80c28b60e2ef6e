// MetalLB's BGPPeer, BGPAdvertisement, Community and BFDProfile as objects.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

std::string metallb(std::string_view kind, std::string_view spec, std::string_view version = "v1beta1") {
  return fmt::format(R"({{"apiVersion": "metallb.io/{}", "kind": "{}",
    "metadata": {{"name": "x", "namespace": "metallb-system"}}, "spec": {}}})",
                     version, kind, spec);
}
std::string peer(std::string_view spec) { return metallb("BGPPeer", spec, "v1beta2"); }
std::string pool(std::string_view addresses) {
  return fmt::format(R"({{"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
    "metadata": {{"name": "public", "namespace": "metallb-system", "labels": {{"zone": "east"}}}},
    "spec": {{"addresses": [{}]}}}})",
                     addresses);
}
const ObjectName name{"metallb-system", "x"};

MetallbPeer peer_of(std::string_view spec) {
  return valid_set(list_with_gateway({peer(spec)})).config().metallb_peers.at(name);
}
BgpAdvertisement advertisement_of(std::string_view spec) {
  return valid_set(list_with_gateway({metallb("BGPAdvertisement", spec)})).config().bgp_advertisements.at(name);
}
std::vector<std::string> faults(std::vector<std::string> objects) {
  return lines(faults_of(list_with_gateway(std::move(objects))));
}
std::vector<std::string> warnings(std::vector<std::string> objects) {
  return lines(valid_set(list_with_gateway(std::move(objects))).warnings());
}

TEST(ConfigMetallbBgp, LB10_Peer) {
  const MetallbPeer read = peer_of(R"({"myASN": 64500, "peerASN": 64999, "peerAddress": "192.168.0.1",
    "peerPort": 1179, "sourceAddress": "192.168.0.2", "holdTime": "30s", "keepaliveTime": "7s", "connectTime": "9s",
    "routerID": "1.2.3.4", "bfdProfile": "fast", "enableGracefulRestart": true, "ebgpMultiHop": true,
    "passwordSecret": {"name": "secret"}, "nodeSelectors": [{"matchLabels": {"edge": "yes"}}], "disableMP": false})");
  EXPECT_EQ(read.my_as, 64500U);
  EXPECT_EQ(read.peer_as, 64999U);
  EXPECT_EQ(read.address, net::parse_ip("192.168.0.1"));
  EXPECT_EQ(read.port, 1179);
  EXPECT_EQ(read.source, net::parse_ip("192.168.0.2"));
  EXPECT_EQ(read.hold_time, Seconds(30));
  EXPECT_EQ(read.keepalive_time, Seconds(7));
  EXPECT_EQ(read.connect_time, Seconds(9));
  EXPECT_EQ(read.router_id, net::parse_ipv4("1.2.3.4"));
  EXPECT_EQ(read.bfd_profile, "fast");
  EXPECT_TRUE(read.graceful_restart);
  EXPECT_EQ(read.password_secret, (SecretKeyRef{"secret", "password"}));
  EXPECT_EQ(read.password_namespace, "metallb-system");
  EXPECT_TRUE(any_matches(read.node_selectors, {{"edge", "yes"}}));
  EXPECT_FALSE(any_matches(read.node_selectors, {}));
  const MetallbPeer least = peer_of(R"({"myASN": 64500, "dynamicASN": "external", "peerAddress": "fd00::1"})");
  EXPECT_EQ(least.port, 179);
  EXPECT_EQ(least.hold_time, Seconds(90)) << "MetalLB's";
  EXPECT_EQ(least.dynamic_as, DynamicAs::External);
  EXPECT_FALSE(least.graceful_restart);
}

TEST(ConfigMetallbBgp, LB10_TheOlderVersionAndCalicosKindOfTheSameName) {
  const ObjectSet set = valid_set(list_with_gateway(
      {metallb("BGPPeer", R"({"myASN": 64500, "peerASN": 64999, "peerAddress": "192.168.0.1", "password": "hush"})"),
       R"({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "x"},
           "spec": {"peerIP": "192.168.0.9", "asNumber": 64998}})"}));
  EXPECT_EQ(set.config().metallb_peers.at(name).password, "hush");
  EXPECT_EQ(set.config().bgp_peers.at("x").as_number, 64998U);
  EXPECT_THAT(set.to_text({}, std::nullopt), Not(HasSubstr("hush"))) << "passwords are not shown";
  EXPECT_THAT(*set.text_of({"BGPPeer", "metallb-system", "x"}), HasSubstr("hush")) << "but kept";
}

TEST(ConfigMetallbBgp, LB10_WhatIsWrongWithAPeer) {
  EXPECT_THAT(faults({peer(R"({"peerAddress": "192.168.0.1", "peerASN": 1})")}),
              Contains(StartsWith("/items/1/spec/myASN: ")));
  EXPECT_THAT(faults({peer(R"({"myASN": 1, "peerAddress": "192.168.0.1"})")}),
              ElementsAre("/items/1/spec/peerASN: required, or dynamicASN"));
  EXPECT_THAT(faults({peer(R"({"myASN": 1, "peerASN": 2})")}), ElementsAre("/items/1/spec/peerAddress: required"));
  EXPECT_THAT(faults({peer(R"({"myASN": 1, "peerASN": 2, "dynamicASN": "internal", "peerAddress": "192.168.0.1"})")}),
              ElementsAre(StartsWith("/items/1/spec/dynamicASN: ")));
  EXPECT_THAT(faults({peer(R"({"myASN": 1, "peerASN": 2, "peerAddress": "fe80::1"})")}),
              ElementsAre("/items/1/spec/peerAddress: fe80::1 is a link-local address"));
  EXPECT_THAT(faults({peer(R"({"myASN": 1, "peerASN": 2, "peerAddress": "192.168.0.1", "holdTime": "2s"})")}),
              ElementsAre(StartsWith("/items/1/spec/holdTime: 0s or at least 3s")));
  EXPECT_THAT(faults({peer(R"({"myASN": 1, "peerASN": 2, "peerAddress": "192.168.0.1", "keepaliveTime": "91s"})")}),
              ElementsAre("/items/1/spec/keepaliveTime: is more than holdTime, 90s"));
  EXPECT_THAT(faults({peer(R"({"myASN": 1, "peerASN": 2, "peerAddress": "192.168.0.1", "password": "a",
                              "passwordSecret": {"name": "b"}})")}),
              ElementsAre(StartsWith("/items/1/spec/passwordSecret: ")));
  EXPECT_THAT(faults({peer(R"({"myASN": 1, "peerASN": 2, "peerAddress": "192.168.0.1", "sourceAddress": "fd00::2"})")}),
              ElementsAre(StartsWith("/items/1/spec/sourceAddress: is of another address family")));
}

TEST(ConfigMetallbBgp, LB10_WhatIsNotSupportedWarns) {
  EXPECT_THAT(warnings({peer(R"({"myASN": 1, "peerASN": 2, "interface": "eth0"})")}),
              ElementsAre(StartsWith("/items/1/spec/interface: not supported, no session is made")));
  EXPECT_THAT(warnings({peer(R"({"myASN": 1, "peerASN": 2, "peerAddress": "192.168.0.1", "vrf": "red"})")}),
              ElementsAre(StartsWith("/items/1/spec/vrf: not supported, no session is made")));
  EXPECT_THAT(
      warnings({peer(R"({"myASN": 1, "peerASN": 2, "peerAddress": "192.168.0.1", "dualStackAddressFamily": true})")}),
      ElementsAre(StartsWith("/items/1/spec/dualStackAddressFamily: not supported")));
  EXPECT_THAT(warnings({peer(R"({"myASN": 1, "peerASN": 2, "peerAddress": "192.168.0.1", "peerAdress": "x"})")}),
              ElementsAre(StartsWith("/items/1/spec/peerAdress: ")));
  EXPECT_THAT(warnings({metallb("BFDProfile", R"({"echoMode": true, "minimumTtl": 3})")}),
              ElementsAre(StartsWith("/items/1/spec/echoMode: "), StartsWith("/items/1/spec/minimumTtl: ")));
}

TEST(ConfigMetallbBgp, LB10_Advertisement) {
  const BgpAdvertisement read = advertisement_of(R"({"ipAddressPools": ["public"], "peers": ["tor"],
    "aggregationLength": 24, "aggregationLengthV6": 64, "localPref": 150, "communities": ["64512:7", "vip"],
    "nodeSelectors": [{"matchLabels": {"edge": "yes"}}]})");
  EXPECT_EQ(read.length(net::Family::V4), 24);
  EXPECT_EQ(read.length(net::Family::V6), 64);
  EXPECT_EQ(read.local_pref, 150U);
  EXPECT_THAT(read.communities, ElementsAre("64512:7", "vip"));
  EXPECT_THAT(read.peers, ElementsAre("tor"));
  const AddressPool east{.name = "a", .labels = {{"zone", "east"}}};
  EXPECT_FALSE(read.announces(east));
  const BgpAdvertisement least = advertisement_of("{}");
  EXPECT_TRUE(least.announces(east)) << "nothing said: every pool";
  EXPECT_EQ(least.length(net::Family::V4), 32);
  EXPECT_EQ(least.length(net::Family::V6), 128);
  EXPECT_FALSE(least.local_pref);
  EXPECT_TRUE(advertisement_of(R"({"ipAddressPoolSelectors": [{"matchLabels": {"zone": "east"}}]})").announces(east));
}

TEST(ConfigMetallbBgp, LB10_WhatIsWrongWithAnAdvertisement) {
  const auto with = [](std::string_view addresses, std::string_view spec) {
    return faults({pool(addresses), metallb("BGPAdvertisement", spec)});
  };
  EXPECT_THAT(with(R"("203.0.113.0/28")", R"({"aggregationLength": 24})"),
              ElementsAre(StartsWith("/items/2/spec/aggregationLength: 203.0.113.0-203.0.113.15 of IPAddressPool "
                                     "public has no whole /24 in it")));
  EXPECT_THAT(with(R"("203.0.113.0/28")", R"({"aggregationLength": 28})"), IsEmpty());
  EXPECT_THAT(with(R"("203.0.113.9-203.0.113.30")", R"({"aggregationLength": 29})"), IsEmpty());
  EXPECT_THAT(with(R"("203.0.113.9-203.0.113.22")", R"({"aggregationLength": 29})"),
              ElementsAre(StartsWith("/items/2/spec/aggregationLength: ")));
  EXPECT_THAT(with(R"("255.255.240.1-255.255.255.254")", R"({"aggregationLength": 16})"), Not(IsEmpty()));
  EXPECT_THAT(with(R"("2001:db8::/112")", R"({"aggregationLengthV6": 64})"),
              ElementsAre(StartsWith("/items/2/spec/aggregationLengthV6: ")));
  EXPECT_THAT(
      with(R"("203.0.113.0/24")", R"({"aggregationLength": 24, "serviceSelectors": [{"matchLabels": {"a": "b"}}]})"),
      ElementsAre(StartsWith("/items/2/spec/serviceSelectors: ")));
  EXPECT_THAT(with(R"("203.0.113.0/24")", R"({"aggregationLength": 33})"),
              ElementsAre(StartsWith("/items/2/spec/aggregationLength: ")));
}

TEST(ConfigMetallbBgp, LB10_CommunitiesAndBfdProfiles) {
  const ObjectSet set = valid_set(list_with_gateway(
      {metallb("Community",
               R"({"communities": [{"name": "vip", "value": "64512:7"}, {"name": "big", "value": "large:1:2:3"}]})"),
       metallb("BFDProfile", R"({"receiveInterval": 100, "detectMultiplier": 5, "passiveMode": true})")}));
  const CommunityList& list = set.config().community_lists.at(name);
  EXPECT_EQ(to_string(list.communities.at("vip")), "64512:7");
  EXPECT_EQ(to_string(list.communities.at("big")), "1:2:3");
  const BfdProfile& bfd = set.config().bfd_profiles.at(name);
  EXPECT_EQ(bfd.times.receive, std::chrono::milliseconds(100));
  EXPECT_EQ(bfd.times.transmit, std::chrono::milliseconds(300));
  EXPECT_EQ(bfd.times.multiplier, 5);
  EXPECT_TRUE(bfd.passive);
  EXPECT_THAT(faults({metallb("Community", R"({"communities": [{"name": "a", "value": "large:1:2"}]})")}),
              ElementsAre(StartsWith("/items/1/spec/communities/0/value: ")));
  EXPECT_THAT(faults({metallb("BFDProfile", R"({"receiveInterval": 1})")}),
              ElementsAre(StartsWith("/items/1/spec/receiveInterval: ")));
}

TEST(ConfigMetallbBgp, L22_PreferredNodes) {
  const ObjectSet set = valid_set(list_with_gateway({metallb("L2Advertisement", R"({"preferredNodeSelectors": [
    {"weight": 60, "preference": {"matchLabels": {"zone": "a"}}}, {"weight": 1, "preference": {}}]})")}));
  const L2Advertisement& read = set.config().l2_advertisements.at(name);
  ASSERT_EQ(read.preferred.size(), 2U);
  EXPECT_EQ(read.preferred[0].weight, 60);
  EXPECT_TRUE(read.preferred[0].nodes.matches({{"zone", "a"}}));
  EXPECT_FALSE(read.preferred[0].nodes.matches({}));
  EXPECT_TRUE(read.preferred[1].nodes.matches({}));
  EXPECT_THAT(
      faults({metallb("L2Advertisement", R"({"preferredNodeSelectors": [{"weight": 101, "preference": {}}]})")}),
      ElementsAre(StartsWith("/items/1/spec/preferredNodeSelectors/0/weight: ")));
  EXPECT_THAT(faults({metallb("L2Advertisement", R"({"serviceSelectors": [{"matchLabels": {"a": "b"}}],
                "preferredNodeSelectors": [{"weight": 1, "preference": {}}]})")}),
              ElementsAre(StartsWith("/items/1/spec/preferredNodeSelectors: and serviceSelectors exclude")));
}

TEST(ConfigNamespace, IPAM9_PoolsOfItsPods) {
  const auto space = [](std::string_view annotations) {
    return fmt::format(R"({{"apiVersion": "v1", "kind": "Namespace",
      "metadata": {{"name": "shop", "labels": {{"team": "x"}}, "annotations": {{{}}}}}}})",
                       annotations);
  };
  const ObjectSet set = valid_set(list_with_gateway({space(R"("cni.projectcalico.org/ipv4pools": "[\"a\", \"b\"]",
    "cni.projectcalico.org/ipv6pools": "[\"six\"]")")}));
  EXPECT_THAT(set.config().namespaces.at("shop").ipv4_pools, ElementsAre("a", "b"));
  EXPECT_THAT(set.config().namespaces.at("shop").ipv6_pools, ElementsAre("six"));
  EXPECT_THAT(faults({space(R"("cni.projectcalico.org/ipv4pools": "a, b")")}),
              ElementsAre(StartsWith("/items/1/metadata/annotations/cni.projectcalico.org~1ipv4pools: ")));
}

}  // namespace
}  // namespace sluice::config
