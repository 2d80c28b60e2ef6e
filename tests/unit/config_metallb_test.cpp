// MetalLB's pools and advertisements, and what a Service says of the address that it wants.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;
using Lines = std::vector<std::string>;

IpAddr ip(std::string_view text) { return *net::parse_ip(text); }

std::string metallb(std::string_view kind, std::string_view name, std::string_view spec) {
  return fmt::format(R"({{"apiVersion": "metallb.io/v1beta1", "kind": "{}",
    "metadata": {{"name": "{}", "namespace": "metallb-system", "labels": {{"zone": "east"}}}}, "spec": {}}})",
                     kind, name, spec);
}

std::string pool(std::string_view name, std::string_view spec) { return metallb("IPAddressPool", name, spec); }

AddressPool pool_of(std::string_view spec) {
  const ObjectSet set = valid_set(list_with_gateway({pool("public", spec)}));
  return set.config().address_pools.at({"metallb-system", "public"});
}

Service service_of(std::string_view metadata, std::string_view spec) {
  const std::string text = fmt::format(R"({{"apiVersion": "v1", "kind": "Service",
    "metadata": {{"name": "web"{}}}, "spec": {{"type": "LoadBalancer", "clusterIP": "10.96.0.7",
    "ports": [{{"port": 80}}]{}}}}})",
                                       metadata, spec);
  return valid_set(list_with_gateway({text})).config().services.at({"default", "web"});
}

TEST(ConfigMetallb, LB1_NetworksAndRanges) {
  const AddressPool read =
      pool_of(R"({"addresses": ["203.0.113.16/28", "198.51.100.3 - 198.51.100.5", "2001:db8::/126"]})");
  ASSERT_EQ(read.ranges.size(), 3u);
  EXPECT_EQ(read.ranges[0], (AddressRange{ip("203.0.113.16"), ip("203.0.113.31")}));
  EXPECT_EQ(read.ranges[1], (AddressRange{ip("198.51.100.3"), ip("198.51.100.5")}));
  EXPECT_EQ(read.ranges[2], (AddressRange{ip("2001:db8::"), ip("2001:db8::3")}));
  EXPECT_TRUE(read.auto_assign);
  EXPECT_FALSE(read.avoid_buggy);
  EXPECT_FALSE(read.allocation);
  EXPECT_TRUE(read.has(ip("203.0.113.31")));
  EXPECT_FALSE(read.has(ip("203.0.113.32")));
}

TEST(ConfigMetallb, LB1_AvoidBuggyIps) {
  const AddressPool read = pool_of(R"({"addresses": ["203.0.112.0/23", "2001:db8::ff/128"], "avoidBuggyIPs": true})");
  for (const char* buggy : {"203.0.112.0", "203.0.112.255", "203.0.113.0", "203.0.113.255"}) {
    EXPECT_FALSE(read.has(ip(buggy))) << buggy;
  }
  EXPECT_TRUE(read.has(ip("203.0.113.1")));
  EXPECT_TRUE(read.has(ip("2001:db8::ff"))) << "only IPv4 has such";
}

TEST(ConfigMetallb, LB1_ServiceAllocation) {
  const AddressPool read = pool_of(R"({"addresses": ["203.0.113.0/24"], "autoAssign": false, "serviceAllocation": {
    "priority": 7, "namespaces": ["shop"], "namespaceSelectors": [{"matchLabels": {"team": "a"}}],
    "serviceSelectors": [{"matchExpressions": [{"key": "tier", "operator": "In", "values": ["web", "api"]}]}]}})");
  EXPECT_FALSE(read.auto_assign);
  ASSERT_TRUE(read.allocation);
  EXPECT_EQ(read.allocation->priority, 7u);
  EXPECT_THAT(read.allocation->namespaces, ElementsAre("shop"));
  EXPECT_TRUE(any_matches(read.allocation->namespace_selectors, {{"team", "a"}}));
  EXPECT_FALSE(any_matches(read.allocation->namespace_selectors, {{"team", "b"}}));
  EXPECT_TRUE(any_matches(read.allocation->service_selectors, {{"tier", "api"}}));
  EXPECT_FALSE(any_matches(read.allocation->service_selectors, {}));
}

TEST(ConfigMetallb, LB1_WhatIsWrongWithAPoolIsSaidWhereItStands) {
  const auto faults = [](std::string_view spec) { return lines(faults_of(list_with_gateway({pool("p", spec)}))); };
  EXPECT_THAT(faults(R"({"addresses": ["203.0.113.9-203.0.113.2"]})"),
              ElementsAre(StartsWith("/items/1/spec/addresses/0: \"203.0.113.9-203.0.113.2\" is not a network")));
  EXPECT_THAT(faults(R"({"addresses": ["203.0.113.9-2001:db8::1"]})"),
              ElementsAre(StartsWith("/items/1/spec/addresses/0: ")));
  EXPECT_THAT(faults(R"({"addresses": []})"), ElementsAre(StartsWith("/items/1/spec/addresses: at least one")));
  EXPECT_THAT(faults(R"({})"), ElementsAre(StartsWith("/items/1/spec/addresses: ")));
  EXPECT_THAT(faults(R"({"addresses": ["127.0.0.0/30"]})"),
              ElementsAre("/items/1/spec/addresses/0: 127.0.0.0 is a loopback address"));
  EXPECT_THAT(
      faults(R"({"addresses": ["203.0.113.0/24"], "serviceAllocation": {"serviceSelectors": [
                {"matchExpressions": [{"key": "a", "operator": "In"}]}]}})"),
      ElementsAre(StartsWith("/items/1/spec/serviceAllocation/serviceSelectors/0/matchExpressions/0/values: ")));
}

TEST(ConfigMetallb, LB1_PoolsDoNotOverlap) {
  EXPECT_THAT(lines(faults_of(list_with_gateway(
                  {pool("a", R"({"addresses": ["203.0.113.0/24"]})"), pool("b", R"({"addresses": ["198.51.100.0/24",
                                                              "203.0.113.255-203.0.114.1"]})")}))),
              ElementsAre(StartsWith("/items/2/spec/addresses/1: 203.0.113.255-203.0.114.1 overlaps "
                                     "203.0.113.0-203.0.113.255 of IPAddressPool a")));
}

TEST(ConfigMetallb, LB1_UnknownFieldsAndPoolsWarn) {
  const ObjectSet set = valid_set(list_with_gateway(
      {pool("a", R"({"addresses": ["203.0.113.0/24"], "autoasign": false})"),
       metallb("L2Advertisement", "x", R"({"ipAddressPools": ["a", "b"], "interfaces": ["uplink0", "eth7"]})")}));
  EXPECT_THAT(lines(set.warnings()), Contains(StartsWith("/items/1/spec/autoasign: ")));
  EXPECT_THAT(load_balancer_warnings(set.config()),
              ElementsAre("L2Advertisement metallb-system/x: spec.ipAddressPools[1]: there is no IPAddressPool \"b\"",
                          "L2Advertisement metallb-system/x: spec.interfaces[1]: this gateway has no interface "
                          "\"eth7\""));
}

TEST(ConfigMetallb, L22_AdvertisementsSelectPools) {
  const auto advertisement = [](std::string_view spec) {
    const ObjectSet set = valid_set(list_with_gateway({metallb("L2Advertisement", "x", spec)}));
    return set.config().l2_advertisements.at({"metallb-system", "x"});
  };
  const AddressPool east{.name = "a", .labels = {{"zone", "east"}}};
  const AddressPool west{.name = "b", .labels = {{"zone", "west"}}};
  EXPECT_TRUE(advertisement("{}").announces(east)) << "nothing said: every pool";
  EXPECT_FALSE(advertisement(R"({"ipAddressPools": ["b"]})").announces(east));
  EXPECT_TRUE(advertisement(R"({"ipAddressPools": ["b"]})").announces(west));
  const L2Advertisement both =
      advertisement(R"({"ipAddressPools": ["b"], "ipAddressPoolSelectors": [{"matchLabels": {"zone": "east"}}]})");
  EXPECT_TRUE(both.announces(east));
  EXPECT_TRUE(both.announces(west));
}

TEST(ConfigMetallb, LB2_WhatAServiceWants) {
  const Service service = service_of(R"(, "annotations": {"metallb.io/loadBalancerIPs": "203.0.113.5, 2001:db8::5",
    "metallb.io/address-pool": "public", "metallb.io/allow-shared-ip": "k"}, "labels": {"tier": "web"})",
                                     R"(, "selector": {"app": "web"})");
  const LoadBalancerRequest& request = service.load_balancer;
  EXPECT_TRUE(request.ours);
  EXPECT_THAT(request.wanted, ElementsAre(ip("203.0.113.5"), ip("2001:db8::5")));
  EXPECT_EQ(request.pool, "public");
  EXPECT_EQ(request.share_key, "k");
  EXPECT_EQ(service.labels.at("tier"), "web");
  EXPECT_EQ(request.selector.at("app"), "web");
  const Service older = service_of(R"(, "annotations": {"metallb.universe.tf/loadBalancerIPs": "203.0.113.6",
    "metallb.universe.tf/address-pool": "old", "metallb.universe.tf/allow-shared-ip": "j"})",
                                   "");
  EXPECT_THAT(older.load_balancer.wanted, ElementsAre(ip("203.0.113.6")));
  EXPECT_EQ(older.load_balancer.pool, "old");
  EXPECT_EQ(older.load_balancer.share_key, "j");
  EXPECT_THAT(service_of("", R"(, "loadBalancerIP": "203.0.113.7")").load_balancer.wanted,
              ElementsAre(ip("203.0.113.7")));
}

TEST(ConfigMetallb, LB2_WantedAddressesThatAreNone) {
  const std::string text = R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web",
    "annotations": {"metallb.io/loadBalancerIPs": "203.0.113.5,203.0.113.6"}}, "spec": {"type": "LoadBalancer",
    "ports": [{"port": 80}]}})";
  EXPECT_THAT(lines(faults_of(list_with_gateway({text}))),
              ElementsAre("/items/1/metadata/annotations/metallb.io~1loadBalancerIPs: at most one address of each "
                          "family"));
}

TEST(ConfigMetallb, LB4_TheClassOfAnotherIsNotOurs) {
  EXPECT_FALSE(service_of("", R"(, "loadBalancerClass": "example.com/lb")").load_balancer.ours);
  EXPECT_TRUE(service_of("", R"(, "loadBalancerClass": "sluice.dev/gateway")").load_balancer.ours);
}

TEST(ConfigMetallb, LB5_Families) {
  using net::Family;
  EXPECT_THAT(service_of("", "").load_balancer.families, ElementsAre(Family::V4));
  EXPECT_THAT(service_of("", R"(, "ipFamilies": ["IPv6"])").load_balancer.families, ElementsAre(Family::V6));
  EXPECT_THAT(service_of("", R"(, "ipFamilies": ["IPv6"], "ipFamilyPolicy": "PreferDualStack")").load_balancer.families,
              ElementsAre(Family::V6, Family::V4));
}

TEST(ConfigMetallb, L22_NodesThatAreNotWell) {
  const auto node_of = [](std::string_view more) {
    const std::string text =
        fmt::format(R"({{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "n"}}{}}})", more);
    return valid_set(list_with_gateway({text})).config().nodes.at("n");
  };
  EXPECT_TRUE(node_of("").alive);
  EXPECT_TRUE(node_of(R"(, "status": {"conditions": [{"type": "Ready", "status": "True"}]})").alive);
  EXPECT_FALSE(node_of(R"(, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]})").alive);
  EXPECT_FALSE(node_of(R"(, "spec": {"taints": [{"key": "node.kubernetes.io/unreachable"}]})").alive);
  EXPECT_FALSE(
      node_of(R"(, "status": {"conditions": [{"type": "NetworkUnavailable", "status": "True"}]})").network_available);
}

TEST(ConfigMetallb, LB5_AFamilyTwiceIsAFault) {
  const std::string text = R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
    "spec": {"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv4"],
    "ports": [{"port": 80}]}})";
  EXPECT_THAT(lines(faults_of(list_with_gateway({text}))),
              ElementsAre("/items/1/spec/ipFamilies/1: this family is there already; IPv4 and IPv6 once each at most"));
}

// Where there is a pool the status of a service that comes is a wish; without one it is what serves.
TEST(ConfigMetallb, LB4_AStaleStatusIsNoClaimWhereThereIsAPool) {
  const auto service = [](std::string_view name, int last) {
    return fmt::format(R"({{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{}"}},
      "spec": {{"type": "LoadBalancer", "clusterIP": "10.96.0.{}", "ports": [{{"port": 80}}]}},
      "status": {{"loadBalancer": {{"ingress": [{{"ip": "203.0.113.5"}}]}}}}}})",
                       name, last);
  };
  const std::string pool = R"({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
    "metadata": {"name": "a", "namespace": "metallb-system"}, "spec": {"addresses": ["203.0.113.0/28"]}})";
  EXPECT_THAT(lines(faults_of(list_with_gateway({service("a", 7), service("b", 8)}))), testing::SizeIs(1));
  EXPECT_THAT(lines(faults_of(list_with_gateway({service("a", 7), service("b", 8), pool}))), IsEmpty());
  ObjectSet set = valid_set(list_with_gateway({service("a", 7), pool}));
  set.give({"default", "a"}, std::vector{ip("203.0.113.5")});
  const auto faults = [&](const std::string& text) {
    auto document = parse_document(text);
    auto change = set.apply(to_delta(std::move(*document)), validate);
    return change ? std::vector<std::string>{} : lines(change.error().faults);
  };
  EXPECT_THAT(faults(service("b", 8)), IsEmpty());
  set.give({"default", "b"}, std::vector{ip("203.0.113.6")});
  const std::string external = R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"},
    "spec": {"clusterIP": "10.96.0.9", "externalIPs": ["203.0.113.6"], "ports": [{"port": 80}]}})";
  EXPECT_THAT(faults(external), testing::SizeIs(1)) << "what was given is a claim";
}

// What was given out takes the place of the status, also when the service comes again.
TEST(ConfigMetallb, LB4_GivenAddressesStayWhenTheServiceChanges) {
  const auto web = [](std::string_view label) {
    return fmt::format(R"({{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "web",
      "labels": {{"a": "{}"}}}}, "spec": {{"type": "LoadBalancer", "clusterIP": "10.96.0.7", "ports": [{{"port": 80}}]}}}})",
                       label);
  };
  ObjectSet set = valid_set(list_with_gateway({web("1")}));
  set.give({"default", "web"}, std::vector{ip("203.0.113.5")});
  EXPECT_THAT(set.config().services.at({"default", "web"}).load_balancer_ips, ElementsAre(ip("203.0.113.5")));
  auto document = parse_document(web("2"));
  ASSERT_TRUE(document);
  auto change = set.apply(to_delta(std::move(*document)));
  ASSERT_TRUE(change);
  EXPECT_FALSE(change->touched.at(0).moved) << "it has the address that it had";
  EXPECT_THAT(set.config().services.at({"default", "web"}).load_balancer_ips, ElementsAre(ip("203.0.113.5")));
  set.revert(std::move(*change));
  EXPECT_THAT(set.config().services.at({"default", "web"}).load_balancer_ips, ElementsAre(ip("203.0.113.5")));
  set.give({"default", "web"}, std::nullopt);
  EXPECT_THAT(set.config().services.at({"default", "web"}).load_balancer_ips, IsEmpty());
}

}  // namespace
}  // namespace sluice::config
